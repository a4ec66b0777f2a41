//! The options of `capably serve` that belong together.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use capably_server::Builder;
use clap::Args;

use crate::log::LogFormat;

/// How the server is watched and stopped.
#[derive(Debug, Args)]
#[command(next_help_heading = "Operating")]
pub(super) struct Operating {
    /// Address for GET /metrics, in the text format of Prometheus, such as 127.0.0.1:9100 [default: the address of the
    /// server if that is a loopback address, or else none]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,

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
    pub(super) fn apply(&self, mut builder: Builder) -> Builder {
        if let Some(address) = self.metrics {
            builder = builder.metrics(address);
        }
        builder.drain_notice(Duration::from_secs(self.drain_notice))
    }

    pub(super) fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain_timeout)
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
        builder
    }
}

/// The secret for creating apps. `Debug` does not show it.
#[derive(Clone)]
pub(super) struct ProvisionSecret(pub(super) String);

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
