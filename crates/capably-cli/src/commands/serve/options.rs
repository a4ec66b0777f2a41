//! The options of `capably serve` that belong together.

#[cfg(feature = "cluster")]
use std::sync::Arc;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

#[cfg(feature = "cluster")]
use capably_server::engine::{EngineError, JetStream};
use capably_server::{Builder, webhooks::Rule};
use clap::Args;

use crate::{data_options::read_file, failure::Failure, log::LogFormat};

/// How the server is watched and stopped.
#[derive(Debug, Args)]
#[command(next_help_heading = "Operating")]
pub(super) struct Operating {
    /// Address for GET /metrics, in the text format of Prometheus, such as 127.0.0.1:9100 [default: the address of the
    /// server if that is a loopback address, or else none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,

    /// Serve the console, a web page to watch and operate the server, on an address that is not a loopback address, too; put
    /// TLS in front of it
    #[arg(long)]
    console: bool,

    /// Serve no console
    #[arg(long, conflicts_with = "console")]
    no_console: bool,

    /// Seconds within which clients are sent to other servers after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    drain_timeout: u64,

    /// Seconds in which clients are still accepted after SIGTERM, while GET /health/ready fails
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    drain_notice: u64,

    /// Write a log to stderr in this format, from the level info on; RUST_LOG selects its parts
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<LogFormat>,
}

impl Operating {
    /// Applies the options to a server that listens on this address.
    pub(super) fn apply(&self, mut builder: Builder, bind: IpAddr) -> Builder {
        let is_loopback = bind.to_canonical().is_loopback();
        builder = builder.console(self.console || (is_loopback && !self.no_console));
        if let Some(address) = self.metrics {
            builder = builder.metrics(address);
        }
        builder.drain_notice(Duration::from_secs(self.drain_notice))
    }

    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout)
    }
}

/// The cluster that the server is a node of.
#[cfg(feature = "cluster")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Cluster {
    /// Addresses of NATS brokers with JetStream, such as nats://host:4222: the server is a node of the cluster that stores
    /// its data there
    #[arg(
        long,
        value_name = "ADDRESS,...",
        value_delimiter = ',',
        env = "CAPABLY_CLUSTER",
        hide_env_values = true,
        conflicts_with = "data"
    )]
    cluster: Vec<Secret>,

    /// Brokers that store each entry: 1, 3 or 5
    #[arg(long, value_name = "BROKERS", default_value_t = 1, requires = "cluster")]
    replicas: usize,

    /// Most bytes of entries that the brokers store for the cluster; beyond that, publishes are refused. Only counts when the
    /// cluster is created [default: no limit]
    #[arg(
        long,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "cluster"
    )]
    cluster_max_bytes: Option<u64>,

    /// Name of the cluster; clusters with other names share nothing
    #[arg(long, value_name = "NAME", default_value = "capably", requires = "cluster")]
    cluster_name: String,

    /// Secret that signs the keys with which clients resume at any node; all nodes need the same [default: one that the
    /// first node stores in the cluster]
    #[arg(
        long,
        value_name = "SECRET",
        env = "CAPABLY_CLUSTER_SECRET",
        hide_env_values = true,
        requires = "cluster"
    )]
    cluster_secret: Option<Secret>,

    /// File with credentials for the brokers, as `nsc` writes it
    #[arg(long, value_name = "FILE", requires = "cluster")]
    cluster_credentials: Option<PathBuf>,

    /// PEM file with the certificates that the brokers' certificates are checked against, instead of those of the system
    #[arg(long, value_name = "FILE", requires = "cluster")]
    cluster_ca: Option<PathBuf>,
}

#[cfg(feature = "cluster")]
impl Cluster {
    /// Opens the engine, if there is a cluster.
    pub(super) async fn apply(&self, mut builder: Builder) -> Result<Builder, EngineError> {
        // An empty variable counts as not set.
        let addresses = self.cluster.iter().map(|Secret(address)| address.trim());
        let addresses: Vec<&str> = addresses.filter(|address| !address.is_empty()).collect();
        if addresses.is_empty() {
            return Ok(builder);
        }
        let engine = JetStream::builder(addresses);
        let mut engine = engine.replicas(self.replicas).prefix(&self.cluster_name);
        if let Some(bytes) = self.cluster_max_bytes {
            engine = engine.max_bytes(bytes);
        }
        if let Some(path) = &self.cluster_credentials {
            engine = engine.credentials_file(path);
        }
        if let Some(path) = &self.cluster_ca {
            engine = engine.root_certificates(path);
        }
        if let Some(Secret(secret)) = self.cluster_secret.as_ref().filter(|it| !it.0.is_empty()) {
            builder = builder.cluster_secret(secret.as_str());
        }
        Ok(builder.engine(Arc::new(engine.open().await?)))
    }
}

/// The webhooks of the first app, and what webhooks of all apps may call.
#[derive(Debug, Args)]
#[command(next_help_heading = "Webhooks")]
pub(super) struct Webhooks {
    /// JSON file with an array of rules for the first app, in the form of Ably's control API: their webhooks
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,

    /// Let webhooks call private addresses; without it, they call public ones, and from a loopback address loopback ones
    #[arg(long)]
    allow_private_webhooks: bool,

    /// PEM file with roots that webhooks trust besides the usual ones, for endpoints with https
    #[cfg(feature = "tls")]
    #[arg(long, value_name = "FILE")]
    webhook_ca: Option<PathBuf>,
}

impl Webhooks {
    /// Reads the rules.
    pub(super) fn apply(&self, builder: Builder) -> Result<Builder, Failure> {
        let builder = builder.allow_private_webhooks(self.allow_private_webhooks);
        #[cfg(feature = "tls")]
        let builder = match &self.webhook_ca {
            Some(path) => builder
                .webhook_root(read_file(path)?)
                .map_err(|error| Failure::usage(format!("the file of --webhook-ca: {error}")))?,
            None => builder,
        };
        let Some(path) = &self.rules else { return Ok(builder) };
        let text = String::from_utf8(read_file(path)?)
            .map_err(|_| Failure::usage("the file of --rules is not UTF-8"))?;
        let rules = Rule::list_from_json(&text)
            .map_err(|error| Failure::usage(format!("the file of --rules: {error}")))?;
        Ok(builder.webhook_rules(rules))
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct Limits {
    /// Most apps on the server, the first one included [default: no limit]
    #[arg(long, value_name = "APPS")]
    max_apps: Option<usize>,

    /// Most connections to the server [default: no limit]
    #[arg(long, value_name = "CONNECTIONS")]
    max_connections: Option<usize>,

    /// Most connections of an app [default: no limit]
    #[arg(long, value_name = "CONNECTIONS")]
    max_app_connections: Option<usize>,

    /// Most channels of an app [default: no limit]
    #[arg(long, value_name = "CHANNELS")]
    max_channels: Option<usize>,

    /// Most REST requests a second of an app [default: no limit]
    #[arg(long, value_name = "REQUESTS")]
    max_request_rate: Option<u32>,

    /// Most messages a second of a connection [default: no limit]
    #[arg(long, value_name = "MESSAGES")]
    max_inbound_rate: Option<u32>,

    /// Most bytes of an app's messages in memory; beyond that, the oldest messages of the channels used least recently are
    /// dropped [default: 1073741824]
    #[arg(long, value_name = "BYTES")]
    max_log_bytes: Option<usize>,

    /// Most objects of a channel [default: 200000]
    #[arg(long, value_name = "OBJECTS")]
    max_objects: Option<usize>,

    /// Most bytes of the objects of a channel, about [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    max_objects_bytes: Option<usize>,
}

impl Limits {
    pub(super) fn apply(&self, mut builder: Builder) -> Builder {
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
        if let Some(objects) = self.max_objects {
            builder = builder.max_objects(objects);
        }
        if let Some(bytes) = self.max_objects_bytes {
            builder = builder.max_objects_bytes(bytes);
        }
        builder
    }
}

/// A secret. `Debug` does not show it.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
