//! `capably token revoke`.

use capably::{Millis, auth::RevocationTarget};
use clap::Args;
use serde_json::json;

use crate::{
    failure::Failure,
    output::{Output, notice},
    service::Service,
    time::{show, time},
    visible::visible,
};

/// Revoke the tokens of a client, of a revocation key or for a channel
#[derive(Debug, Args)]
#[command(after_help = "\
A target is clientId:<id>, revocationKey:<key> or channel:<name>. The key must have
revocable tokens, and revokes only tokens that it has issued.

Examples:
  capably token revoke clientId:ada
  capably token revoke clientId:ada channel:chat:lobby --issued-before '5m ago'
  capably token revoke revocationKey:group1 --allow-reauth-margin --json")]
pub(super) struct Revoke {
    /// Tokens to revoke, such as clientId:ada
    #[arg(required = true, value_name = "TARGET", value_parser = target)]
    targets: Vec<RevocationTarget>,

    /// Revoke only tokens that were issued before this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    issued_before: Option<Millis>,

    /// Give connected clients about 30 s to get a new token
    #[arg(long)]
    allow_reauth_margin: bool,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Revoke {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut revoke = self.service.rest()?.auth().revoke_tokens(self.targets);
        if let Some(time) = self.issued_before {
            revoke = revoke.issued_before(time);
        }
        let result = revoke.allow_reauth_margin(self.allow_reauth_margin).await?;
        let mut output = Output::stdout();
        let mut failed = None;
        for outcome in result.results {
            match outcome {
                Ok(revoked) if self.json => output.json(json!({
                    "target": revoked.target, "appliesAt": revoked.applies_at,
                    "issuedBefore": revoked.issued_before,
                }))?,
                Ok(revoked) => output.line(format_args!(
                    "Revoked {} from {}: tokens issued before {}",
                    visible(&revoked.target),
                    show(revoked.applies_at),
                    show(revoked.issued_before),
                ))?,
                Err(failure) => {
                    if self.json {
                        let error = failure.error.info();
                        output.json(json!({ "target": failure.target, "error": error }))?;
                    } else {
                        notice(format_args!("Not revoked: {}", visible(&failure.target)));
                    }
                    failed = Some(failure.error);
                }
            }
        }
        output.flush()?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn target(text: &str) -> Result<RevocationTarget, String> {
    match text.split_once(':') {
        Some((kind @ ("clientId" | "revocationKey" | "channel"), value)) if !value.is_empty() => {
            Ok(RevocationTarget::new(kind, value))
        }
        _ => Err("write clientId:<id>, revocationKey:<key> or channel:<name>".to_owned()),
    }
}
