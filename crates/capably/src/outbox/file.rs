//! A store in a directory.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use capably_protocol::ErrorCode;

use self::{
    log::{Log, OpenError},
    scan::{Damage, ScanError},
};
use super::{Outbox, OutboxChange, OutboxEntry, OutboxUsage};
use crate::{Error, Result, random};

mod disk;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod log;
mod record;
mod scan;
#[cfg(test)]
mod tests;

/// A store in a directory, which one client of one process uses at a time.
///
/// The directory has the files `outbox.log`, `lock` and, after a repair, `outbox.log.damaged-…`. Only the user of the
/// process can read the log. It takes at most twice the bytes of its entries and 8 MiB, and as much again for the
/// moment in which it is written anew. All of it is read when it is opened.
///
/// ```no_run
/// use capably::{ClientOptions, Realtime, outbox::FileOutbox};
///
/// # async fn run() -> Result<(), capably::Error> {
/// let options = ClientOptions::new("app.key:secret").outbox(FileOutbox::open("/var/lib/sensor/outbox")?);
/// let client = Realtime::new(options)?;
/// // On disk when `await` returns, and sent as soon as there is a connection.
/// client.channels().get("readings").publish("temperature", "21.5").await?;
/// # Ok(())
/// # }
/// ```
pub struct FileOutbox {
    log: Log,
    directory: PathBuf,
    /// It is unlocked when the file is closed, also by a crash.
    _lock: File,
}

/// When an accepted publish survives what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A crash of the machine: the file is synced before a publish is accepted. Publishes that arrive during a sync
    /// share the next one.
    #[default]
    Machine,
    /// A crash of the process. The operating system writes the file when it likes to; a crash of the machine may lose
    /// the latest publishes.
    Process,
}

/// The result of [`FileOutbox::repair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxRepair {
    /// The number of publishes that were kept.
    pub kept: u64,
}

impl FileOutbox {
    /// Opens the outbox in a directory, which is created if it does not exist. An incomplete write at the end, from a
    /// crash, is cut off: it belongs to publishes that were not accepted.
    ///
    /// # Errors
    /// 40000 if another client or process uses the directory, if the log is damaged, or if it is of a newer version of
    /// this library; 50000 with the system's error if the directory cannot be written or read.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let lock = lock_directory(directory)?;
        let log = Log::open(directory, random_salt()?);
        let log = log.map_err(|error| not_opened("open", directory, error))?;
        Ok(Self { log, directory: directory.to_owned(), _lock: lock })
    }

    /// Sets what an accepted publish survives; by default a crash of the machine.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.log.sync_writes = durability == Durability::Machine;
        self
    }

    /// Makes the outbox of a directory usable again after damage, which [`open`](Self::open) reports. Keeps every
    /// readable publish. The damaged file stays beside it, as `outbox.log.damaged-…`.
    ///
    /// The record that a publish was acknowledged may be lost. Such a publish is sent again: see
    /// [the guarantee](crate::guide::outbox).
    ///
    /// # Errors
    /// 40000 if another client or process uses the directory, or if the log is of a newer version of this library; 50000
    /// with the system's error.
    pub fn repair(directory: impl AsRef<Path>) -> Result<OutboxRepair> {
        let directory = directory.as_ref();
        let _lock = lock_directory(directory)?;
        let kept = Log::repair(directory, random_salt()?);
        Ok(OutboxRepair { kept: kept.map_err(|error| not_opened("repair", directory, error))? })
    }
}

impl Outbox for FileOutbox {
    fn usage(&self) -> OutboxUsage {
        self.log.contents.index.usage()
    }

    fn next_seq(&self) -> u64 {
        self.log.contents.index.next_seq()
    }

    fn write(&mut self, changes: &[OutboxChange]) -> Result<()> {
        self.log.write(changes).map_err(|error| failed("write", &self.directory, error))
    }

    fn read(&mut self, above: u64, entries: usize, bytes: usize) -> Result<Vec<OutboxEntry>> {
        let read = self.log.read(above, entries, bytes);
        read.map_err(|error| failed("read", &self.directory, error))
    }

    fn refused(&mut self) -> Result<Vec<(OutboxEntry, Bytes)>> {
        self.log.refused().map_err(|error| failed("read", &self.directory, error))
    }

    fn sync(&mut self) -> Result<()> {
        self.log.sync().map_err(|error| failed("write", &self.directory, error))
    }
}

impl Drop for FileOutbox {
    fn drop(&mut self) {
        if let Err(error) = self.log.sync() {
            tracing::warn!(%error, "the end of the outbox could not be written; nothing accepted is lost");
        }
    }
}

impl fmt::Debug for FileOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileOutbox")
            .field("directory", &self.directory)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

fn lock_directory(directory: &Path) -> Result<File> {
    let lock = fs::create_dir_all(directory).and_then(|()| {
        let path = directory.join("lock");
        OpenOptions::new().create(true).truncate(false).write(true).open(path)
    });
    let lock = lock.map_err(|error| failed("open", directory, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::Error(error)) => Err(failed("lock", directory, error)),
        Err(TryLockError::WouldBlock) => {
            let message = format!(
                "the outbox {} is in use by another client or process",
                directory.display()
            );
            Err(Error::new(ErrorCode::BAD_REQUEST, 0, message).with_remedy(
                "give each client a directory of its own; in the same process, call `OutboxHandle::close` of the \
                 client that used it",
            ))
        }
    }
}

fn random_salt() -> Result<u64> {
    random::bytes().map(u64::from_le_bytes)
}

fn failed(action: &str, directory: &Path, error: io::Error) -> Error {
    let message = format!("could not {action} the outbox {}: {error}", directory.display());
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "let the process write to the directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free space on the disk, and publish again"
        }
        _ => "check the disk, and publish again",
    };
    Error::new(ErrorCode::INTERNAL_ERROR, 0, message).with_remedy(remedy).with_source(error)
}

fn not_opened(action: &str, directory: &Path, error: OpenError) -> Error {
    match error {
        OpenError::Io(error) => failed(action, directory, error),
        OpenError::Scan(error) => unreadable(directory, error),
    }
}

fn unreadable(directory: &Path, error: ScanError) -> Error {
    let directory = directory.display();
    let (message, remedy) = match error {
        ScanError::Version(version) => (
            format!(
                "the outbox {directory} has version {version} of the format, which is newer than this library"
            ),
            "open it with the version of the library that wrote it",
        ),
        ScanError::Damaged(Damage { offset, before, after }) => (
            format!(
                "the outbox {directory} is damaged at byte {offset}: {before} publishes before it and {after} records \
                 after it are readable"
            ),
            "call `FileOutbox::repair` to keep the readable publishes, and check the disk",
        ),
    };
    Error::new(ErrorCode::BAD_REQUEST, 0, message).with_remedy(remedy)
}
