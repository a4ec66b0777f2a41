//! `capably serve`.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic,
    path::PathBuf,
    str::FromStr,
    thread,
};

use capably_server::{
    Builder, Server, ServerError,
    faults::{FaultControl, Faults},
    storage::{self, StorageError},
};
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
Clients connect with TLS off. Without --data, all state is in memory: it is gone
when the server stops.

With --data, apps and their keys, history and revocations are kept in that
directory, and the next server that is given it goes on with them. Nothing is
acknowledged before it is on disk. Connections, live members of presence,
statistics and push are not kept.

Apps are made with POST /apps: by whoever reaches a server that listens on
loopback, and on any other address only with the secret of --provision-secret, as
`Authorization: Bearer <secret>`. Limits are for each app, but for --max-apps and
--max-connections, which are for the server, and --max-inbound-rate, which is for
each connection; what is beyond one of them is refused with an error that names
it.

Examples:
  capably serve
  capably serve --data ./capably-data
  capably serve --port 0 --json
  capably serve --bind 0.0.0.0 --key local1.key:secret
  CAPABLY_PROVISION_SECRET=secret capably serve --bind 0.0.0.0 --max-apps 10

Faults, with --control 9090: a client loses an acknowledgement and its connection,
the next attempt to connect is refused, and the log says what passed.

  curl localhost:9090/rules -d '{
    \"match\": {\"type\": \"ws_frame_to_client\", \"action\": \"ACK\"},
    \"action\": [{\"type\": \"suppress\"}, {\"type\": \"disconnect\"}], \"times\": 1}'
  curl localhost:9090/rules -d '{
    \"match\": {\"type\": \"ws_connect\"},
    \"action\": {\"type\": \"refuse_connection\"}, \"times\": 1}'
  curl localhost:9090/rules
  curl localhost:9090/log
  curl localhost:9090/actions -d '{\"type\": \"close\", \"closeCode\": 1000}'
  curl -X DELETE localhost:9090/rules

A rule matches ws_connect, ws_frame_to_client, ws_frame_to_server,
delay_after_ws_connect or http_request. Its actions are refuse_connection,
accept_and_close, disconnect, close, suppress, suppress_onwards, delay, replace,
inject_to_client, inject_to_server, inject_to_client_and_close, http_respond,
http_replace_response, http_delay and http_drop. The documentation of
capably-server, under `faults`, says what each can be given.")]
pub(crate) struct Serve {
    /// TCP port; 0 takes a free one
    #[arg(long, default_value_t = DEFAULT_LOCAL_PORT)]
    port: u16,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,

    /// Directory in which to keep what outlives the server, made if it is not there
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,

    /// API key of the app, `appId.keyId:secret`, the app id of six characters; when left out, the one
    /// that --data has, or a random one
    #[arg(long)]
    key: Option<String>,

    /// Port on this machine over which to inject faults and read what passed, over HTTP; 0 takes a free
    /// one
    #[arg(long, value_name = "PORT")]
    control: Option<u16>,

    /// Secret with which apps can be made on any address; without it, they can be on loopback only
    #[arg(long, value_name = "SECRET", env = "CAPABLY_PROVISION_SECRET", hide_env_values = true)]
    provision_secret: Option<ProvisionSecret>,

    /// Print endpoint, port and key, and the control port if any, as one line of JSON
    #[arg(long)]
    json: bool,

    // Last, since what follows it would stand under its heading.
    #[command(flatten)]
    limits: Limits,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// Apps on the server, the first one among them [default: any number]
    #[arg(long, value_name = "APPS")]
    max_apps: Option<usize>,

    /// Connections to the server [default: any number]
    #[arg(long, value_name = "CONNECTIONS")]
    max_connections: Option<usize>,

    /// Connections of an app [default: any number]
    #[arg(long, value_name = "CONNECTIONS")]
    max_app_connections: Option<usize>,

    /// Channels of an app [default: any number]
    #[arg(long, value_name = "CHANNELS")]
    max_channels: Option<usize>,

    /// REST requests a second of an app [default: any number]
    #[arg(long, value_name = "REQUESTS")]
    max_request_rate: Option<u32>,

    /// Messages a second of a connection [default: any number]
    #[arg(long, value_name = "MESSAGES")]
    max_inbound_rate: Option<u32>,

    /// Bytes of an app's messages in memory; beyond that, the oldest of the channels used least go first
    /// [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    max_log_bytes: Option<usize>,
}

impl Limits {
    fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(apps) = self.max_apps {
            builder = builder.max_apps(apps);
        }
        if let Some(connections) = self.max_connections {
            builder = builder.max_connections(connections);
        }
        if let Some(connections) = self.max_app_connections {
            builder = builder.max_app_connections(connections);
        }
        if let Some(channels) = self.max_channels {
            builder = builder.max_channels(channels);
        }
        if let Some(rate) = self.max_request_rate {
            builder = builder.max_request_rate(rate);
        }
        if let Some(rate) = self.max_inbound_rate {
            builder = builder.max_inbound_rate(rate);
        }
        if let Some(bytes) = self.max_log_bytes {
            builder = builder.max_log_bytes(bytes);
        }
        builder
    }
}

/// The secret for making apps. `Debug` does not show it.
#[derive(Clone)]
struct ProvisionSecret(String);

impl FromStr for ProvisionSecret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for ProvisionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut builder = Server::builder().bind(self.bind).port(self.port);
        if let Some(key) = &self.key {
            builder = builder.key(key.as_str());
        }
        if let Some(directory) = &self.data {
            builder = builder.data(directory);
            say_nothing_of_panics_in_the_storage();
        }
        // As an empty CAPABLY_KEY, an empty variable counts as none.
        if let Some(ProvisionSecret(secret)) = &self.provision_secret
            && !secret.is_empty()
        {
            builder = builder.provision_secret(secret.as_str());
        }
        builder = self.limits.apply(builder);
        let faults = Faults::new();
        if self.control.is_some() {
            builder = builder.faults(&faults);
        }
        let server = builder.start().await.map_err(not_started)?;
        let control = match self.control {
            Some(port) => {
                let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
                Some(FaultControl::start(address, &faults).await.map_err(not_started)?)
            }
            None => None,
        };
        let control_port = control.as_ref().map(|control| control.local_addr().port());
        let (endpoint, port, key) = (server.endpoint(), server.port(), server.key());
        let mut output = Output::stdout();
        if self.json {
            let mut line = json!({ "endpoint": endpoint, "port": port, "key": key });
            if let Some(port) = control_port {
                line["control"] = port.into();
            }
            output.line_now(line)?;
        } else {
            let control = control_port.map_or_else(String::new, |port| {
                format!("  control   http://127.0.0.1:{port}/rules, /actions, /log\n")
            });
            output.line_now(format_args!(
                "\
Serving REST and WebSocket; Ctrl-C stops.

  endpoint  {endpoint}
  port      {port}
  key       {key}
{control}
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

/// They become errors, which say what is wrong in words for people.
fn say_nothing_of_panics_in_the_storage() {
    let say = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(storage::THREAD) {
            say(panic);
        }
    }));
}

fn not_started(error: ServerError) -> Failure {
    match &error {
        ServerError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Failure::failed(error.to_string())
                .remedy("stop what uses it, or choose another: 0 takes a free one")
        }
        ServerError::Bind { source, .. } => Failure::failed(format!("{error}: {source}")),
        ServerError::Key(_) | ServerError::AppId => Failure::usage(error.to_string())
            .remedy("give a key such as local1.key:secret, or none for a random one"),
        ServerError::Storage(problem) => {
            let failure = Failure::failed(error.to_string());
            match problem {
                StorageError::Locked(_) => failure.remedy("stop it, or choose another directory"),
                StorageError::Version(_) => {
                    failure.remedy("use the version of capably that wrote it, or another directory")
                }
                StorageError::Corrupt(_) => {
                    failure.remedy("put back a copy of the directory, or choose another one")
                }
                _ => failure,
            }
        }
        _ => Failure::failed(error.to_string()),
    }
}
