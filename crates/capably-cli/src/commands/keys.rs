//! `capably keys`.

use capably::TokenParams;
use clap::Args;
use serde_json::{Value, json};

use crate::{failure::Failure, output::Output, service::Service, table::pairs, visible::visible};

/// How long the token is valid that tells the rights of the key, in ms.
const PROBE_TTL: i64 = 1_000;

/// Show the key in use: its name, its app and its capability, but not its secret
#[derive(Debug, Args)]
#[command(after_help = "\
The service does not describe keys. The capability is that of a token with every right
of the key, which is issued for the purpose, and valid for a second. With --offline,
the service is not asked.

Examples:
  capably keys
  capably keys --json | jq .capability
  capably keys --offline")]
pub(crate) struct Keys {
    /// Do not ask the service for the capability
    #[arg(long)]
    offline: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Keys {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let key = self.service.key()?;
        let capability = if self.offline {
            None
        } else {
            let mut params = TokenParams::new();
            params.ttl = Some(PROBE_TTL);
            let token = self.service.issuer()?.auth().request_token().params(params).await?;
            token.capability
        };
        let mut output = Output::stdout();
        if self.json {
            let capability = capability.map(|text| {
                serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.to_string()))
            });
            output.json(json!({
                "keyName": key.name(), "appId": key.app_id(), "capability": capability,
            }))?;
        } else {
            let capability = capability.as_deref().map(|text| visible(text).into_owned());
            let fields = [
                ("key", Some(visible(key.name()).into_owned())),
                ("app", Some(visible(key.app_id()).into_owned())),
                ("capability", capability),
            ];
            for line in pairs(fields.into_iter().filter_map(|(name, value)| Some((name, value?)))) {
                output.line(line)?;
            }
        }
        output.flush()
    }
}
