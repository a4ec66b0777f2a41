//! Storages: they persist the data of a server beyond its end.
//!
//! Without a storage, all data is lost when the server ends. With a storage, an acknowledged message is persisted: see
//! [`Builder::storage`](crate::Builder::storage).
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
//! // Another server continues with the data of the first one.
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
/// A panic of the storage in this thread becomes a [`StorageError`]; the storage of a damaged directory may panic. A panic
/// hook can recognise the thread by its name, and print nothing for it.
pub const THREAD: &str = "capably-storage";

#[cfg(feature = "disk")]
pub use self::disk::Disk;
pub use self::memory::Memory;

/// Pairs of keys and values, in the order of the keys. Changes are committed in groups.
///
/// Only one server uses a storage at a time, from one thread.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Calls `each` with every pair, in the order of the keys.
    ///
    /// # Errors
    /// A [`StorageError`] when a pair cannot be read.
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError>;

    /// Commits the changes in their order: all of them, or none. When this returns, they survive the end of the process
    /// and, as far as the storage can, the end of the machine.
    ///
    /// # Errors
    /// A [`StorageError`] when the changes cannot be committed. The server refuses the messages that wait for them, and
    /// calls this again with the next changes.
    fn commit(&self, changes: &[Change]) -> Result<(), StorageError>;
}

/// One change of a storage.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// Stores a value. It replaces the value that the key has.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes the keys from `from` up to, but not including, `to`.
    Remove {
        /// The first key to remove.
        from: Vec<u8>,
        /// The first key after it to keep.
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

/// The reason why a storage cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// Another server uses the directory.
    Locked(PathBuf),
    /// The data has a version that this server cannot read.
    Version(String),
    /// The data is damaged, or not the data of a server.
    Corrupt(String),
    /// The system refuses an operation.
    Io {
        /// The operation, such as `open data/capably.redb`.
        action: String,
        /// The error of the system.
        source: io::Error,
    },
    /// Another error, for storages of your own.
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(path) => {
                write!(f, "another server uses the data directory {}", path.display())
            }
            Self::Version(found) => write!(f, "the stored data is of another version: {found}"),
            Self::Corrupt(reason) => write!(f, "the stored data is damaged: {reason}"),
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
