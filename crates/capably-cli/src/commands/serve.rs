//! `capably serve`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use capably_server::{Server, ServerError};
use clap::Args;
use serde_json::json;

use crate::{
    failure::Failure,
    interrupt::Interrupts,
    output::{Output, notice},
    service::DEFAULT_LOCAL_PORT,
};

/// Run a server on this machine until Ctrl-C
#[derive(Debug, Args)]
#[command(after_help = "\
Clients connect with TLS off. All state is in memory: it is gone when the server stops.

Examples:
  capably serve
  capably serve --port 0 --json
  capably serve --bind 0.0.0.0 --key local1.key:secret")]
pub(crate) struct Serve {
    /// TCP port; 0 takes a free one
    #[arg(long, default_value_t = DEFAULT_LOCAL_PORT)]
    port: u16,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,

    /// API key of the app, `appId.keyId:secret`, the app id of six characters; a random one when left
    /// out
    #[arg(long)]
    key: Option<String>,

    /// Print endpoint, port and key as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut builder = Server::builder().bind(self.bind).port(self.port);
        if let Some(key) = &self.key {
            builder = builder.key(key.as_str());
        }
        let server = builder.start().await.map_err(not_started)?;
        let (endpoint, port, key) = (server.endpoint(), server.port(), server.key());
        let mut output = Output::stdout();
        if self.json {
            output.line_now(json!({ "endpoint": endpoint, "port": port, "key": key }))?;
        } else {
            output.line_now(format_args!(
                "\
Serving REST and WebSocket; Ctrl-C stops.

  endpoint  {endpoint}
  port      {port}
  key       {key}

For clients in other terminals:

  export CAPABLY_ENDPOINT={endpoint} CAPABLY_PORT={port} CAPABLY_KEY={key}
  capably subscribe greetings
  capably publish greetings hello world
"
            ))?;
        }
        interrupts.next().await;
        notice("Stopping: clients are told to reconnect.");
        tokio::select! {
            () = server.shutdown() => Ok(()),
            () = interrupts.next() => Err(Failure::failed("stopped before all clients were told")),
        }
    }
}

fn not_started(error: ServerError) -> Failure {
    match &error {
        ServerError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Failure::failed(error.to_string())
                .remedy("stop what uses it, or choose another: --port 0 takes a free one")
        }
        ServerError::Bind { source, .. } => Failure::failed(format!("{error}: {source}")),
        ServerError::Key(_) | ServerError::AppId => Failure::usage(error.to_string())
            .remedy("give a key such as local1.key:secret, or none for a random one"),
        _ => Failure::failed(error.to_string()),
    }
}
