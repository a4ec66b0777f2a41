//! `capably apps`.

use std::{fmt, path::PathBuf};

use capably::{Capability, http::HttpMethod};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    control::{is_id, json_file, require_endpoint, text},
    request::succeeded,
    token::capability,
};
use crate::{
    failure::Failure,
    output::Output,
    service::Service,
    style::Style,
    table::{Table, pairs},
};

/// Create or delete apps of a server of capably serve
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Ably's own service has no such requests: create its apps in its dashboard.

Examples:
  capably apps create --endpoint localhost --namespace chat=mutable,persisted
  capably apps delete \"$APP\" --endpoint localhost --key \"$APP_KEY\""
)]
pub(crate) struct Apps {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    Delete(Delete),
}

impl Apps {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Create(create) => create.run().await,
            Action::Delete(delete) => delete.run().await,
        }
    }
}

/// Create an app, and print its keys
#[derive(Debug, Args)]
#[command(after_help = "\
Needs no key. A server that is reachable from other machines asks for its
provision secret. The keys are printed with their secrets: no later command can
print them again. The rules of a namespace are mutable, persisted and push.

Examples:
  capably apps create --endpoint localhost
  capably apps create --endpoint localhost --namespace chat=mutable --namespace news=push
  capably apps create --endpoint localhost --capability '{\"*\":[\"subscribe\"]}' --json")]
struct Create {
    /// Add a namespace with rules; repeat the option to add several
    #[arg(long, value_name = "ID=RULE,...", value_parser = namespace)]
    namespace: Vec<Value>,

    /// Add a key with this capability, as JSON; repeat the option to add several [default: one key with every right]
    #[arg(long, value_name = "JSON", value_parser = capability)]
    capability: Vec<Capability>,

    /// Let the keys revoke the tokens that they issue
    #[arg(long)]
    revocable_tokens: bool,

    /// Read the description of the app from a JSON file; `-` is standard input
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with_all = ["namespace", "capability", "revocable_tokens"]
    )]
    file: Option<PathBuf>,

    /// Secret of the server for creating apps
    #[arg(long, value_name = "SECRET", env = "CAPABLY_PROVISION_SECRET", hide_env_values = true)]
    provision_secret: Option<Secret>,

    /// Print one JSON object, as the server sends it
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        require_endpoint(&self.service)?;
        let spec = match &self.file {
            Some(path) => json_file(path)?,
            None => self.spec(),
        };
        let secret = self.provision_secret.as_ref().filter(|Secret(it)| !it.trim().is_empty());
        // A server that asks for no secret ignores the credentials.
        let secret = secret.map_or("none", |Secret(secret)| secret.as_str());
        let client = self.service.with_token(secret)?;
        let app = succeeded(client.request(HttpMethod::Post, "/apps").body(spec).await?)?;
        let Some(app) = app.items().first() else {
            return Err(Failure::failed("the server does not describe the app"));
        };
        let mut output = Output::stdout();
        if self.json {
            output.line(app)?;
            return output.flush();
        }
        for line in pairs([("app", text(&app["appId"]))]) {
            output.line(line)?;
        }
        let mut keys = Table::new(["key", "capability"]);
        for key in app["keys"].as_array().into_iter().flatten() {
            keys.row([text(&key["keyStr"]), text(&key["capability"])]);
        }
        keys.print(&mut output, Style::stdout())?;
        output.flush()
    }

    fn spec(&self) -> Value {
        let all = [Capability::all()];
        let capabilities = if self.capability.is_empty() { &all[..] } else { &self.capability };
        let keys: Vec<Value> = capabilities
            .iter()
            .map(|capability| {
                json!({
                    "capability": capability.to_string(),
                    "revocableTokens": self.revocable_tokens,
                })
            })
            .collect();
        json!({ "keys": keys, "namespaces": self.namespace })
    }
}

/// Delete an app with everything in it
#[derive(Debug, Args)]
#[command(after_help = "\
Needs a key of the app that has every right.

Examples:
  capably apps delete \"$APP\" --endpoint localhost --key \"$APP_KEY\"")]
struct Delete {
    /// Id of the app
    app: String,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        require_endpoint(&self.service)?;
        if !is_id(&self.app) {
            return Err(Failure::usage(
                "the app id has other characters than letters, digits, _ and -",
            ));
        }
        let path = format!("/apps/{}", self.app);
        succeeded(self.service.rest()?.request(HttpMethod::Delete, path).await?)?;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({ "appId": self.app, "deleted": true }))?;
        } else {
            output.line(format_args!("Deleted app {}", self.app))?;
        }
        output.flush()
    }
}

/// Reads `id` or `id=rule,rule`.
fn namespace(text: &str) -> Result<Value, String> {
    let (id, rules) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err("write an id, `=` and rules".to_owned());
    }
    let mut namespace = Map::from_iter([("id".to_owned(), json!(id))]);
    for rule in rules.split(',').filter(|rule| !rule.is_empty()) {
        let field = match rule {
            "mutable" => "mutableMessages",
            "persisted" => "persisted",
            "push" => "pushEnabled",
            _ => return Err("the rules are mutable, persisted and push".to_owned()),
        };
        namespace.insert(field.to_owned(), json!(true));
    }
    Ok(Value::Object(namespace))
}

/// A secret. `Debug` does not show it.
#[derive(Clone)]
struct Secret(String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
