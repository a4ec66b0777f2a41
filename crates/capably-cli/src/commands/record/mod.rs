//! `capably record`.

mod proxy;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use serde_json::json;

use self::proxy::Recorder;
use crate::{
    failure::Failure, interrupt::Interrupts, local, output::Output, service::Target, trace::Writer,
};

/// Record the traffic between a client and the service in a file, without secrets
#[derive(Debug, Args)]
#[command(after_help = "\
Listens on this machine, and forwards everything to the service. Connect any Ably client
to the port, without TLS: with `tls` off, and the endpoint 127.0.0.1. Ctrl-C ends the
recording.

The file has one JSON object per line: each WebSocket, each frame, and each request with
its response. Keys, tokens and connection keys are replaced by placeholders. Payloads are
recorded unless --no-data is given. Attach the file to a bug report; `capably replay`
shows it, and answers a client as the service did.

Examples:
  capably record trace.jsonl
  capably record trace.jsonl --endpoint localhost --port 8080 --no-data
  capably record trace.jsonl --listen 9000 --json")]
pub(crate) struct Record {
    /// File to write
    file: PathBuf,

    /// Port to listen on; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    listen: u16,

    /// Leave out the payloads of messages, members and objects
    #[arg(long)]
    no_data: bool,

    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,

    /// Print endpoint and port as one line of JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

impl Record {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let service = self.target.address()?;
        let (listener, address) = local::listen(self.listen).await?;
        let writer = Writer::create(&self.file, self.force, &service.authority())?;
        let recorder = Arc::new(Recorder::new(service.clone(), writer, self.no_data));
        let (host, port) = (address.ip(), address.port());
        let mut output = Output::stdout();
        if self.json {
            output.json_now(json!({ "endpoint": host.to_string(), "port": port }))?;
        } else {
            output.line_now(format_args!(
                "\
Recording to {}; Ctrl-C ends the recording.

  service   {}
  endpoint  {host}
  port      {port}

For clients in other terminals:

  export CAPABLY_ENDPOINT={host} CAPABLY_PORT={port}
",
                self.file.display(),
                service.authority(),
            ))?;
        }
        tokio::select! {
            () = local::serve(listener, Arc::clone(&recorder)) => {}
            _ = interrupts.next() => {}
        }
        let (connections, requests) = recorder.finish()?;
        if !self.json {
            output.line_now(format_args!(
                "Recorded connections: {connections}, requests: {requests}."
            ))?;
        }
        Ok(())
    }
}
