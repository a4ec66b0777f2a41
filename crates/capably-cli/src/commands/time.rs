//! `capably time`.

use clap::Args;
use serde_json::json;

use crate::{failure::Failure, output::Output, service::Service, time};

/// Print the time of the service, and how far this machine's clock is off
#[derive(Debug, Args)]
#[command(after_help = "\
The request takes some ms itself, so a difference of that size means nothing.

Examples:
  capably time
  capably time --json | jq .time")]
pub(crate) struct Time {
    /// Print a JSON object, with the time and the offset in ms
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    service: Service,
}

impl Time {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let client = self.service.rest()?;
        let before = time::now();
        let service = client.time().await?;
        // The service read its clock at some moment of the request: the middle is the best guess.
        let offset = (before + time::now()) / 2 - service;
        let mut output = Output::stdout();
        if self.json {
            output.json(json!({ "time": service, "offset": offset }))?;
        } else {
            let side = if offset < 0 { "behind" } else { "ahead" };
            let offset = offset.unsigned_abs();
            output.line(time::show(service))?;
            output.line(format_args!("This machine's clock is {offset} ms {side}"))?;
        }
        output.flush()
    }
}
