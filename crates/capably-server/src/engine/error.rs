//! Errors of engines.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// The reason why an engine cannot be used, or cannot commit.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EngineError {
    /// Another server uses the directory.
    Locked(PathBuf),
    /// The data has a version that this server cannot read.
    Version(String),
    /// The data is damaged, or not the data of a server.
    Corrupt(String),
    /// There is no room for more.
    Full(String),
    /// The engine cannot be reached, or has no quorum. It may be back later.
    Unavailable(String),
    /// This node does not fit to the other nodes of its cluster: another secret, another clock.
    Mismatch(String),
    /// The engine is closed.
    Closed,
    /// The system refuses an operation.
    Io {
        /// The operation, such as `open data/capably`.
        action: String,
        /// The error of the system.
        source: Arc<io::Error>,
    },
    /// Another error, for engines of your own.
    Other(Arc<dyn std::error::Error + Send + Sync>),
}

impl EngineError {
    /// Whether nothing of the operation was done. After other errors that is unknown.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Closed)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => {
                write!(f, "another server uses the data directory {}", path.display())
            }
            Self::Version(found) => write!(f, "the stored data is of another version: {found}"),
            Self::Corrupt(reason) => write!(f, "the stored data is damaged: {reason}"),
            Self::Full(reason) => write!(f, "there is no room for more data: {reason}"),
            Self::Unavailable(reason) => write!(f, "the engine cannot be reached: {reason}"),
            Self::Mismatch(reason) => f.write_str(reason),
            Self::Closed => f.write_str("the engine is closed"),
            Self::Io { action, source } => write!(f, "cannot {action}: {source}"),
            Self::Other(source) => write!(f, "the engine failed: {source}"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(&**source),
            Self::Other(source) => Some(&**source),
            _ => None,
        }
    }
}
