//! `capably token`, and the options that describe a token.

mod inspect;
mod issue;
mod revoke;

use std::time::Duration;

use capably::{Capability, Millis};
use clap::{Args, Subcommand};

use crate::{failure::Failure, time::duration};

/// Issue, inspect or revoke tokens
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  capably token issue --ttl 1h --client-id ada
  capably token inspect \"$TOKEN\"
  capably token revoke clientId:ada"
)]
pub(crate) struct Token {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Issue(issue::Issue),
    Inspect(inspect::Inspect),
    Revoke(revoke::Revoke),
}

impl Token {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Issue(issue) => issue.run().await,
            Action::Inspect(inspect) => inspect.run(),
            Action::Revoke(revoke) => revoke.run().await,
        }
    }
}

/// The grant of a token: its lifetime and its capability. `--client-id` names its client.
#[derive(Debug, Args)]
pub(super) struct Grant {
    /// How long the token is valid, such as 90s or 1h30m; a day at most
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = lifetime)]
    ttl: Duration,

    /// Rights of the token, as JSON, such as '{"chat:*":["subscribe"]}' [default: the rights of the key]
    #[arg(long, value_name = "JSON", value_parser = capability)]
    pub(super) capability: Option<Capability>,
}

impl Grant {
    /// The time to live, in ms.
    pub(super) fn ttl(&self) -> Millis {
        Millis::try_from(self.ttl.as_millis()).unwrap_or(Millis::MAX)
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    if ttl.is_zero() || ttl > Duration::from_secs(86_400) {
        return Err("a token is valid from 1ms to 24h".to_owned());
    }
    Ok(ttl)
}

/// Reads a capability. For clap: an error is a text for the user.
pub(super) fn capability(text: &str) -> Result<Capability, String> {
    text.parse().map_err(|error: capably::ErrorInfo| error.message.to_string())
}
