//! Why a server does not start.

use std::{fmt, io, net::SocketAddr};

use capably_protocol::ErrorInfo;

use crate::engine::EngineError;

/// The reason why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServerError {
    /// The server cannot listen on the address.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The key does not have the form `appId.keyId:secret` (code 40101).
    Key(ErrorInfo),
    /// The app id of the key does not have six letters, digits, `_` or `-`.
    AppId,
    /// [`Builder::max_idle_interval`](super::Builder::max_idle_interval) is zero.
    IdleInterval,
    /// [`Builder::provision_secret`](super::Builder::provision_secret) is empty.
    ProvisionSecret,
    /// [`Builder::faults`](super::Builder::faults) and TLS are both set.
    FaultsWithTls,
    /// The system gave no random bytes for a new key.
    Random(io::Error),
    /// A rule of [`Builder::webhook_rules`](super::Builder::webhook_rules) is not valid (codes 40000, 40125), or names a key that
    /// the first app does not have (40400).
    Rule(ErrorInfo),
    /// The engine cannot be used.
    Engine(EngineError),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } if source.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "port {} on {} is in use", address.port(), address.ip())
            }
            Self::Bind { address, .. } => write!(f, "cannot listen on {address}"),
            Self::Key(error) => f.write_str(&error.message),
            Self::AppId => f.write_str(
                "the app id, the part of the key before the first dot, must have six letters, digits, `_` or `-`",
            ),
            Self::IdleInterval => f.write_str("the longest idle interval must be more than zero"),
            Self::ProvisionSecret => f.write_str("the secret for creating apps must not be empty"),
            Self::FaultsWithTls => f.write_str("faults cannot be injected into connections with TLS"),
            Self::Random(_) => f.write_str("the system gives no random bytes"),
            Self::Rule(error) => write!(f, "a rule for webhooks: {}", error.message),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Key(error) | Self::Rule(error) => Some(error),
            Self::Random(error) => Some(error),
            Self::Engine(error) => error.source(),
            Self::AppId | Self::FaultsWithTls | Self::IdleInterval | Self::ProvisionSecret => None,
        }
    }
}

pub(super) fn no_randomness(
    problem: impl std::error::Error + Send + Sync + 'static,
) -> ServerError {
    ServerError::Random(io::Error::other(problem))
}
