//! Where a server keeps what must outlive it.
//!
//! Without a storage, everything ends with the server. With one, an acknowledgement means that what it
//! acknowledges is kept: see [`Builder::storage`](crate::Builder::storage).
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use capably_server::{Server, storage::Memory};
//!
//! let storage = Arc::new(Memory::new());
//! let server = Server::builder().storage(storage.clone()).start().await?;
//! let key = server.key().to_owned();
//! server.shutdown().await;
//!
//! // Another server goes on where the first one ended.
//! let server = Server::builder().storage(storage).start().await?;
//! assert_eq!(server.key(), key);
//! server.shutdown().await;
//! # Ok::<_, capably_server::ServerError>(())
//! # }).unwrap();
//! ```

#[cfg(feature = "disk")]
mod disk;
mod memory;

use std::{fmt, io, path::PathBuf};

/// The name of the thread that uses the storage of a server.
///
/// Should the storage panic in it, as that of a damaged directory may, that becomes an error. What is said of the
/// panic can be kept from people by the name of the thread.
pub const THREAD: &str = "capably-storage";

#[cfg(feature = "disk")]
pub use self::disk::Disk;
pub use self::memory::Memory;

/// Pairs of keys and values in the order of the keys, changed by many at a time.
///
/// One server uses it at a time, from one thread.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Hands every pair to `each`, in the order of the keys.
    ///
    /// # Errors
    /// A [`StorageError`] when not everything can be read.
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError>;

    /// Makes the changes in their order: all, or none. What they put survives the end of the process, and
    /// as far as the storage can, that of the machine, from when this returns.
    ///
    /// # Errors
    /// A [`StorageError`] when they cannot be made. Whoever waits for them is told so; the next ones are
    /// tried again.
    fn commit(&self, changes: &[Change]) -> Result<(), StorageError>;
}

/// One change of what is stored.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Stores a value, instead of the one that the key has had.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes the keys that are not before `from` and before `to`.
    Remove {
        /// The first that is removed.
        from: Vec<u8>,
        /// The first after it that is not.
        to: Vec<u8>,
    },
}

impl fmt::Debug for Change {
    // Values hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => f
                .debug_struct("Put")
                .field("key", &key.escape_ascii().to_string())
                .field("size", &value.len())
                .finish(),
            Self::Remove { from, to } => f
                .debug_struct("Remove")
                .field("from", &from.escape_ascii().to_string())
                .field("to", &to.escape_ascii().to_string())
                .finish(),
        }
    }
}

/// What is wrong with a storage.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// Another server uses this directory.
    Locked(PathBuf),
    /// What is stored is of a version that this server does not read.
    Version(String),
    /// What is stored is not as it was written, or something else.
    Corrupt(String),
    /// The system refuses something.
    Io {
        /// What.
        action: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something else, of a storage of your own.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => {
                write!(f, "another server uses the data directory {}", path.display())
            }
            Self::Version(what) => write!(f, "the stored data is of another version: {what}"),
            Self::Corrupt(what) => write!(f, "the stored data is damaged: {what}"),
            Self::Io { action, source } => write!(f, "cannot {action}: {source}"),
            Self::Other(source) => write!(f, "the storage failed: {source}"),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Other(source) => Some(&**source),
            Self::Locked(_) | Self::Version(_) | Self::Corrupt(_) => None,
        }
    }
}
