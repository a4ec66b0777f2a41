//! `capably serve`.

mod options;
#[cfg(feature = "tls")]
mod tls;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic,
    path::PathBuf,
    thread,
};

use capably_server::{
    Server, ServerError,
    engine::{self, EngineError},
    faults::{FaultControl, Faults},
};
use clap::Args;
use serde_json::json;

#[cfg(feature = "cluster")]
use self::options::Cluster;
use self::options::{Limits, Operating, Secret, Webhooks};
use crate::{
    failure::Failure,
    interrupt::{Interrupts, Signal},
    log::LogFormat,
    output::{Output, notice},
    service::DEFAULT_LOCAL_PORT,
};

/// Run an Ably-compatible server, until Ctrl-C or SIGTERM
#[derive(Debug, Args)]
#[command(after_help = "\
Clients connect without TLS, unless --tls-cert and --tls-key, or --tls-self-signed are
given. SIGHUP reads the files of --tls-cert and --tls-key again; if they cannot be used,
the server goes on with those that it has, and says so.

Without --data, all data is in memory, and lost when the server stops.

With --data, the server stores apps with their keys, history and revocations in
that directory, and the next server with the same directory continues from there.
A message is acknowledged only after it is on disk. Connections and live members of
presence are not stored. Statistics are stored once a minute.

With --cluster, several servers are one service: any client can use any of them, and
resumes at another one when its server ends. The brokers store everything. A message
is acknowledged only after the brokers have it: with --replicas 3, more than half of
three.

POST /apps creates an app. On a loopback address, every client can create apps. On
any other address, clients need the secret of --provision-secret, as
`Authorization: Bearer <secret>`.

GET /health/live and GET /health/ready need no credentials. SIGTERM drains the server:
/health/ready fails, new clients are refused, and connected clients are disconnected a
few at a time, so that they connect to another server. Ctrl-C disconnects all clients
at once.

The console is a web page to watch and operate the server: channels, connections,
frames, faults, tokens. Its URL opens one session with every right: do not share it.
Later sessions begin with a key, and have its rights. Beyond a loopback address, there
is a console only with --console.

Webhooks report events of channels to HTTP endpoints: those of --rules, and those of
`capably rules create`.

Limits apply to each app, except --max-apps and --max-connections, which apply to
the server, and --max-inbound-rate, which applies to each connection. A request
beyond a limit is refused with an error that names the limit.

Examples:
  capably serve
  capably serve --data ./capably-data
  capably serve --cluster nats://10.0.0.1:4222,nats://10.0.0.2:4222 --replicas 3
  capably serve --port 0 --json
  capably serve --rules rules.json
  capably serve --bind 0.0.0.0 --key local1.key:secret
  capably serve --bind 0.0.0.0 --metrics 127.0.0.1:9100 --log-format json
  CAPABLY_PROVISION_SECRET=secret capably serve --bind 0.0.0.0 --max-apps 10

Fault injection, with --control 9090. In this example, a client loses an
acknowledgement and its connection, and its next attempt to connect is refused.
Then the rules and the log are shown, all connections are closed, and the rules
are removed.

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
http_replace_response, http_delay and http_drop. For the parameters of each, see
FaultControl in the documentation of capably-server.")]
pub(crate) struct Serve {
    /// TCP port to listen on; 0 takes a free port
    #[arg(long, default_value_t = DEFAULT_LOCAL_PORT)]
    port: u16,

    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,

    /// Directory for the data of the server; it is created if it does not exist
    #[arg(long, value_name = "DIRECTORY")]
    data: Option<PathBuf>,

    /// API key of the first app, such as local1.key:secret, with an app id of six characters [default: the key in --data,
    /// or a random key]
    #[arg(long)]
    key: Option<String>,

    /// Port of an HTTP server on this machine, to inject faults and to read the log of all frames; 0 takes a free port
    #[arg(long, value_name = "PORT")]
    control: Option<u16>,

    /// Secret for creating apps; without it, apps can be created only on a loopback address
    #[arg(long, value_name = "SECRET", env = "CAPABLY_PROVISION_SECRET", hide_env_values = true)]
    provision_secret: Option<Secret>,

    /// Print endpoint, port, key and the URL of the console (and the control port) as one line of JSON
    #[arg(long)]
    json: bool,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: Box<Cluster>,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: tls::TlsOptions,

    #[command(flatten)]
    operating: Operating,

    #[command(flatten)]
    webhooks: Webhooks,

    // Last: clap would put later options under its heading.
    #[command(flatten)]
    limits: Limits,
}

impl Serve {
    pub(crate) fn log_format(&self) -> Option<LogFormat> {
        self.operating.log_format
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut interrupts = Interrupts::listen()?;
        let mut builder = Server::builder().bind(self.bind).port(self.port);
        if let Some(key) = &self.key {
            builder = builder.key(key.as_str());
        }
        if let Some(directory) = &self.data {
            builder = builder.data(directory);
            silence_panics_of_the_engine();
        }
        // An empty variable counts as not set, as for CAPABLY_KEY.
        if let Some(Secret(secret)) = &self.provision_secret
            && !secret.is_empty()
        {
            builder = builder.provision_secret(secret.as_str());
        }
        #[cfg(feature = "cluster")]
        {
            let engine = self.cluster.apply(builder).await;
            builder = engine.map_err(|problem| not_started(ServerError::Engine(problem)))?;
        }
        builder = self.operating.apply(self.limits.apply(builder), self.bind);
        builder = self.webhooks.apply(builder)?;
        #[cfg(feature = "tls")]
        let mut tls = self.tls.load(self.bind)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &tls {
            builder = builder.tls(&tls.identity);
        }
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
        #[cfg(feature = "tls")]
        let ca = tls.as_ref().and_then(|tls| tls.ca.as_ref());
        #[cfg(not(feature = "tls"))]
        let ca: Option<&String> = None;
        let mut output = Output::stdout();
        if self.json {
            let mut line = json!({ "endpoint": endpoint, "port": port, "key": key });
            if let Some(port) = control_port {
                line["control"] = port.into();
            }
            if let Some(address) = server.metrics_addr() {
                line["metrics"] = address.to_string().into();
            }
            if let Some(url) = server.console_url() {
                line["console"] = url.into();
            }
            if let Some(ca) = ca {
                line["ca"] = ca.as_str().into();
            }
            output.json_now(line)?;
        } else {
            let control = control_port.map_or_else(String::new, |port| {
                format!("  control   http://127.0.0.1:{port}/rules, /actions, /log\n")
            });
            let metrics = server.metrics_addr().map_or_else(String::new, |address| {
                format!("  metrics   http://{address}/metrics\n")
            });
            let console =
                server.console_url().map_or_else(String::new, |url| format!("  console   {url}\n"));
            let (ca, export) = ca.map_or_else(Default::default, |ca| {
                (format!("  ca        {ca}\n"), format!(" CAPABLY_CA={ca}"))
            });
            output.line_now(format_args!(
                "\
Serving REST and WebSocket; Ctrl-C stops.

  endpoint  {endpoint}
  port      {port}
  key       {key}
{ca}{console}{control}{metrics}
For clients in other terminals:

  export CAPABLY_ENDPOINT={endpoint} CAPABLY_PORT={port} CAPABLY_KEY={key}{export}
  capably subscribe greetings
  capably publish greetings hello world
"
            ))?;
        }
        #[cfg(feature = "tls")]
        let signal = tls::reloading(&mut tls, interrupts.next()).await;
        #[cfg(not(feature = "tls"))]
        let signal = interrupts.next().await;
        if signal == Signal::Terminate {
            let time = self.operating.drain_timeout();
            notice(format!(
                "Draining for up to {} s. Clients get a DISCONNECTED and will connect to another server. \
                 A second signal stops at once.",
                time.as_secs(),
            ));
            tokio::select! {
                () = server.drain(time) => return Ok(()),
                _ = interrupts.next() => {}
            }
        }
        notice("Stopping. Clients get a DISCONNECTED and will reconnect.");
        tokio::select! {
            () = server.shutdown() => Ok(()),
            _ = interrupts.next() => Err(Failure::failed("stopped before all clients were disconnected; the engine may still be writing")),
        }
    }
}

/// Prints no message for a panic in the thread of the engine. It becomes an error, which has a text for the user.
fn silence_panics_of_the_engine() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(engine::THREAD) {
            print(panic);
        }
    }));
}

fn not_started(error: ServerError) -> Failure {
    match &error {
        ServerError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            Failure::failed(error.to_string())
                .remedy("stop the program that uses the port, or choose another port: --port 0 takes a free one")
        }
        ServerError::Bind { source, .. } => Failure::failed(format!("{error}: {source}")),
        ServerError::Key(_) | ServerError::AppId => Failure::usage(error.to_string())
            .remedy("use a key such as local1.key:secret, or leave out --key for a random key"),
        ServerError::Engine(problem) => {
            let failure = Failure::failed(error.to_string());
            match problem {
                EngineError::Locked(_) => failure.remedy("stop the other server, or choose another directory"),
                EngineError::Version(_) => {
                    failure.remedy("use the version of capably that wrote it, or another directory or --cluster-name")
                }
                EngineError::Unavailable(_) => {
                    failure.remedy("check the addresses of --cluster, and that the brokers run with JetStream")
                }
                EngineError::Corrupt(_) => {
                    failure.remedy("restore the directory from a backup, or choose another directory")
                }
                EngineError::Mismatch(_) => {
                    failure.remedy("give all nodes the same --cluster-secret and the right time, or choose another --cluster-name")
                }
                EngineError::Full(_) => failure.remedy("make room on the disk, or raise the limits of the brokers"),
                _ => failure,
            }
        }
        _ => Failure::failed(error.to_string()),
    }
}
