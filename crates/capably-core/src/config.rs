//! The settings of a client.

use std::{fmt, sync::Arc, time::Duration};

use capably_protocol::{ApiKey, Format, RecoveryKey, Str, frame::Params};

use crate::VcdiffDecoder;

/// The settings of a [`Client`](crate::Client): the options of the specification that the realtime state
/// machine needs (TO3).
#[derive(Clone, Debug)]
pub struct Config {
    /// The credentials that authenticate the client.
    pub credentials: Credentials,
    /// The primary domain (REC1), without scheme or port.
    pub host: Str,
    /// The fallback domains (REC2); with none there is no fallback (RTN17g).
    pub fallback_hosts: Vec<Str>,
    /// The client's identity (TO3a).
    pub client_id: Option<Str>,
    /// The encoding of frames (TO3f).
    pub format: Format,
    /// Whether the client receives its own messages (TO3h).
    pub echo_messages: bool,
    /// Whether to queue messages that are published while not connected (TO3g).
    pub queue_messages: bool,
    /// Whether an operation that cannot have its intended effect fails; otherwise it logs a warning (TO3r).
    pub strict_mode: bool,
    /// The connection of an earlier client to continue (TO3i).
    pub recover: Option<RecoveryKey>,
    /// Further query parameters of the connection (TO3q); they win over the client's own (RTC1f1).
    pub transport_params: Params,
    /// The decoder of deltas (PC3). Without it a channel that receives a delta fails.
    pub vcdiff: Option<Arc<dyn VcdiffDecoder>>,
    /// The agent identifier (RSC7d).
    pub agent: Str,
    /// The first wait before reconnecting (TO3l1).
    pub disconnected_retry_timeout: Duration,
    /// The wait between attempts while suspended (TO3l2).
    pub suspended_retry_timeout: Duration,
    /// The first wait before attaching a suspended channel again (TO3l7).
    pub channel_retry_timeout: Duration,
    /// How long to wait for an answer of the service (TO3l11).
    pub realtime_request_timeout: Duration,
    /// How long an attempt to open a transport may take, with CONNECTED; `None` is the time of any answer (RTN14c). A
    /// driver that tries several kinds of transports needs more.
    pub connect_timeout: Option<Duration>,
    /// How long a connection may be down before it is suspended. The service may set another value (DF1a).
    pub connection_state_ttl: Duration,
    /// The longest silence of the service. The service may set another value (CD2h).
    pub max_idle_interval: Duration,
    /// The largest publish, in bytes. The service may set another value (TO3l8).
    pub max_message_size: u64,
    /// The largest frame, in bytes. The service may set another value (TO3l9).
    pub max_frame_size: u64,
}

impl Config {
    /// The defaults of the specification, with these credentials, and without fallback domains.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            host: Str::from_static("main.realtime.ably.net"),
            fallback_hosts: Vec::new(),
            client_id: None,
            format: Format::MsgPack,
            echo_messages: true,
            queue_messages: true,
            strict_mode: false,
            recover: None,
            transport_params: Params::new(),
            vcdiff: None,
            agent: Str::from_static(concat!("capably/", env!("CARGO_PKG_VERSION"))),
            disconnected_retry_timeout: Duration::from_secs(15),
            suspended_retry_timeout: Duration::from_secs(30),
            channel_retry_timeout: Duration::from_secs(15),
            realtime_request_timeout: Duration::from_secs(10),
            connect_timeout: None,
            connection_state_ttl: Duration::from_secs(120),
            max_idle_interval: Duration::from_secs(15),
            max_message_size: 65_536,
            max_frame_size: 524_288,
        }
    }
}

/// The credentials of a client (RSA).
#[derive(Clone)]
#[non_exhaustive]
pub enum Credentials {
    /// An API key (RSA11).
    Key(ApiKey),
    /// Tokens, which the client requests from its driver (RSA4).
    Tokens,
}

impl From<ApiKey> for Credentials {
    fn from(key: ApiKey) -> Self {
        Self::Key(key)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Tokens => f.write_str("Tokens"),
        }
    }
}
