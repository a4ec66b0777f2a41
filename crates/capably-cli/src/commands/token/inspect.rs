//! `capably token inspect`.

use std::path::Path;

use capably::{Millis, TokenDetails};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    data_options::read_file,
    failure::Failure,
    jwt::Jwt,
    output::Output,
    service::Service,
    table::pairs,
    time::{now, show},
    visible::visible,
};

/// Show what a token is valid for, without asking the service
#[derive(Debug, Args)]
#[command(after_help = "\
Reads JWTs, and token details as JSON. A native token is opaque: only its app is
known. When the key of the command has signed the JWT, its signature is checked.

Examples:
  capably token inspect \"$TOKEN\"
  capably token issue --json | capably token inspect -
  capably jwt | capably token inspect - --json | jq .claims")]
pub(super) struct Inspect {
    /// Token; `-` reads it from standard input
    token: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Inspect {
    pub(super) fn run(self) -> Result<(), Failure> {
        let text = match self.token.as_str() {
            "-" => String::from_utf8(read_file(Path::new("-"))?)
                .map_err(|_| Failure::failed("the token is not UTF-8 text"))?,
            token => token.to_owned(),
        };
        let text = text.trim();
        let line = if text.starts_with('{') {
            let details = TokenDetails::from_json(text)
                .map_err(|e| Failure::from(capably::Error::from(e)))?;
            details_of(&details)
        } else if let Some(jwt) = Jwt::read(text) {
            self.jwt(&jwt)
        } else if let Some((app, rest)) = text.split_once('.').filter(|(app, _)| !app.is_empty())
            && !rest.is_empty()
            && !text.contains(char::is_whitespace)
            && !text.contains(':')
        {
            Map::from_iter([("kind".to_owned(), json!("native")), ("appId".to_owned(), json!(app))])
        } else {
            return Err(Failure::failed("the text is not a token").remedy(
                "give a JWT, a native token, or the JSON of `capably token issue --json`",
            ));
        };
        let mut output = Output::stdout();
        if self.json {
            output.json(Value::Object(line))?;
        } else {
            for line in pairs(line.iter().flat_map(|(name, value)| shown(name, value))) {
                output.line(line)?;
            }
        }
        output.flush()
    }

    fn jwt(&self, jwt: &Jwt<'_>) -> Map<String, Value> {
        let key = self.service.key().ok();
        let key = key.filter(|key| jwt.key_name() == Some(key.name()));
        let signature = match key {
            Some(key) if jwt.is_signed_by(&key) => "valid",
            Some(_) => "wrong",
            None => "not checked",
        };
        let expires = jwt.claims.get("exp").and_then(Value::as_i64);
        let state = expires.map(|seconds| state(seconds.saturating_mul(1_000)));
        Map::from_iter([
            ("kind".to_owned(), json!("jwt")),
            ("keyName".to_owned(), json!(jwt.key_name())),
            ("signature".to_owned(), json!(signature)),
            ("state".to_owned(), json!(state)),
            ("claims".to_owned(), json!(jwt.claims)),
        ])
    }
}

/// The properties of a token; not the token, which is a secret.
fn details_of(details: &TokenDetails) -> Map<String, Value> {
    Map::from_iter([
        ("kind".to_owned(), json!("details")),
        ("state".to_owned(), json!(details.expires.map(state))),
        ("clientId".to_owned(), json!(details.client_id)),
        ("capability".to_owned(), json!(details.capability)),
        ("issued".to_owned(), json!(details.issued)),
        ("expires".to_owned(), json!(details.expires)),
    ])
}

fn state(expires: Millis) -> &'static str {
    if expires <= now() { "expired" } else { "valid" }
}

/// A property for people: claims are shown one a line, and times as such.
fn shown<'a>(name: &'a str, value: &'a Value) -> Vec<(&'a str, String)> {
    let text = match value {
        Value::Null => return Vec::new(),
        Value::Object(claims) if name == "claims" => {
            let claim = |(name, value): (&String, &Value)| {
                let time =
                    matches!(&**name, "iat" | "exp" | "nbf").then(|| value.as_i64()).flatten();
                let value = match (value, time.and_then(|seconds| seconds.checked_mul(1_000))) {
                    (_, Some(time)) => show(time),
                    (Value::String(text), None) => text.clone(),
                    (value, None) => value.to_string(),
                };
                ("claim", visible(&format!("{name}  {value}")).into_owned())
            };
            return claims.iter().map(claim).collect();
        }
        Value::Number(time) if matches!(name, "issued" | "expires") => {
            time.as_i64().map_or(time.to_string(), show)
        }
        Value::String(text) => visible(text).into_owned(),
        other => visible(&other.to_string()).into_owned(),
    };
    vec![(name, text)]
}
