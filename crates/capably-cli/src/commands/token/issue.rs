//! `capably token issue`.

use capably::TokenParams;
use clap::Args;

use super::Grant;
use crate::{
    failure::Failure,
    output::{Output, notice},
    service::Service,
    time::show,
    visible::visible,
};

/// Ask the service for a token
#[derive(Debug, Args)]
#[command(after_help = "\
The token is written to stdout, and what it is valid for to stderr. --client-id names
the client that may use it; '*' stands for any client id.

Examples:
  capably token issue
  capably token issue --ttl 15m --client-id ada --capability '{\"chat:*\":[\"subscribe\"]}'
  capably token issue --client-id '*' --json | jq .expires")]
pub(super) struct Issue {
    #[command(flatten)]
    grant: Grant,

    /// Print one JSON object, with the token and its properties
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Issue {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut params = TokenParams::new();
        params.ttl = Some(self.grant.ttl());
        params.client_id = self.service.client_id().map(Into::into);
        params.capability = self.grant.capability.map(|it| it.to_string().into());
        let token = self.service.issuer()?.auth().request_token().params(params).await?;
        let mut output = Output::stdout();
        if self.json {
            output.json(token.to_json())?;
        } else {
            output.line(visible(&token.token))?;
            let expires = token.expires.map_or("an unknown time".to_owned(), show);
            let client = token.client_id.as_deref();
            let client = client.map_or("no client id".to_owned(), |id| visible(id).into_owned());
            notice(format_args!("Valid until {expires} for {client}"));
            if let Some(capability) = token.capability.as_deref() {
                notice(format_args!("Capability {}", visible(capability)));
            }
        }
        output.flush()
    }
}
