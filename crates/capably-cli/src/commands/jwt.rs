//! `capably jwt`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{request::pair, token::Grant};
use crate::{
    failure::Failure,
    jwt,
    output::{Output, notice},
    service::Service,
    time::{now, show},
};

/// Sign a JWT with the key, without asking the service
#[derive(Debug, Args)]
#[command(after_help = "\
The JWT is written to stdout, and when it expires to stderr. --client-id names the
client that may use it; '*' stands for any client id. The JWT starts 10 s in the past
at most, so that a clock that is a little ahead does no harm.

Examples:
  capably jwt --ttl 15m --client-id ada
  capably jwt --capability '{\"chat:*\":[\"subscribe\"]}' --claim ably.channel.chat=admin
  capably jwt --json | jq -r .token")]
pub(crate) struct Jwt {
    #[command(flatten)]
    grant: Grant,

    /// Add a claim; its value is JSON, or else text; repeat the option to add several
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = pair::<'='>)]
    claims: Vec<(String, String)>,

    /// Print one JSON object, with the JWT and its claims
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Jwt {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let key = self.service.key()?;
        let ttl = self.grant.ttl() / 1_000;
        if ttl == 0 {
            return Err(Failure::usage("a JWT counts whole seconds").remedy("use --ttl 1s or more"));
        }
        // Service clocks may be behind this one, and refuse an `iat` in the future. The day is the longest lifetime.
        let issued = now() / 1_000 - 10.min(86_400 - ttl);
        let expires = now() / 1_000 + ttl;
        let mut claims =
            Map::from_iter([("iat".to_owned(), json!(issued)), ("exp".to_owned(), json!(expires))]);
        if let Some(capability) = &self.grant.capability {
            claims.insert("x-ably-capability".to_owned(), json!(capability.to_string()));
        }
        if let Some(client_id) = self.service.client_id() {
            claims.insert("x-ably-clientId".to_owned(), json!(client_id));
        }
        for (name, value) in self.claims {
            let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
            claims.insert(name, value);
        }
        let token = jwt::sign(&key, &claims);
        let mut output = Output::stdout();
        if self.json {
            let (name, claims) = (key.name(), &claims);
            output.json(json!({ "token": token, "keyName": name, "claims": claims }))?;
        } else {
            output.line(token)?;
            notice(format_args!("Valid until {}", show(expires * 1_000)));
        }
        output.flush()
    }
}
