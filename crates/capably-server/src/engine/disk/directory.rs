//! The data directory: its lock, its permissions, and its content.
//!
//! ```text
//! capably.lock   locked while a server uses the directory
//! log/           the store
//!   capably      the version of the format
//!   closed       the end of the journal, if a server has closed it
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::engine::EngineError;

/// The version of the format that this server reads and writes.
const VERSION: &str = "capably log 1\n";

/// The file of servers before the engine.
const OLD_FILE: &str = "capably.redb";

/// The size of the file that tests whether there is room, in bytes.
const PROBE: usize = 256 * 1024;

/// A data directory that is locked for this server, until it is released or dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    lock: fs::File,
}

impl Directory {
    /// Creates the directory if it does not exist, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        make(path).map_err(failed("create the data directory", path))?;
        let file = path.join("capably.lock");
        let lock = private().create(true).truncate(false).open(&file);
        let lock = lock.map_err(failed("open", &file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(EngineError::Locked(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(failed("lock", &file)(source)),
        }
        let directory = Self { path: path.to_owned(), lock };
        directory.check_version()?;
        Ok(directory)
    }

    /// The path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets another server use the directory.
    pub(super) fn release(&self) -> Result<(), EngineError> {
        self.lock.unlock().map_err(failed("unlock", &self.path))
    }

    /// The path of the store.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Creates the store with `create` if there is none.
    pub(super) fn create_log(
        &self,
        create: impl FnOnce(&Path) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let log = self.log();
        if log.try_exists().map_err(failed("open", &log))? {
            return Ok(());
        }
        // The store is created beside its place: after a crash it is there as a whole or not at all.
        let new = self.path.join("log.new");
        match fs::remove_dir_all(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &new)(error));
            }
            _ => make(&new).map_err(failed("create", &new))?,
        }
        create(&new)?;
        let version = new.join("capably");
        write(&version, VERSION.as_bytes()).map_err(failed("write", &version))?;
        sync_directory(&new).map_err(failed("sync", &new))?;
        fs::rename(&new, &log).map_err(failed("create", &log))?;
        sync_directory(&self.path).map_err(failed("sync", &self.path))
    }

    /// Checks whether there is room in the directory, and whether it can be written to.
    pub(super) fn probe(&self) -> Result<(), EngineError> {
        let file = self.path.join("capably.probe");
        let written = write(&file, &vec![1; PROBE]);
        let removed = fs::remove_file(&file);
        written.and(removed).map_err(|source| match is_full(&source) {
            true => full(&self.path, &source),
            false => failed("write", &file)(source),
        })
    }

    fn check_version(&self) -> Result<(), EngineError> {
        let log = self.log();
        let old = self.path.join(OLD_FILE);
        if !log.try_exists().map_err(failed("open", &log))? {
            return match old.try_exists().map_err(failed("open", &old))? {
                true => Err(EngineError::Version(format!(
                    "{} is in the format of older servers, which this server cannot read; to move its messages, start \
                     the older server with it and this one with another directory and the same key, read the history \
                     of each channel from the older one (`GET /channels/<name>/messages?direction=forwards`) and \
                     publish it to this one (`POST /channels/<name>/messages`)",
                    old.display()
                ))),
                false => Ok(()),
            };
        }
        let file = log.join("capably");
        match fs::read(&file) {
            Ok(found) if found == VERSION.as_bytes() => {}
            Ok(found) => {
                let found = String::from_utf8_lossy(&found[..found.len().min(40)]);
                return Err(match found.strip_prefix("capably log ") {
                    Some(version) => EngineError::Version(format!(
                        "{} has version {}, and this server reads version 1",
                        log.display(),
                        version.trim_end()
                    )),
                    None => EngineError::Corrupt(format!("{} is not readable", file.display())),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(EngineError::Corrupt(format!(
                    "{} is missing, so {} may be of another program",
                    file.display(),
                    log.display()
                )));
            }
            Err(error) => return Err(failed("read", &file)(error)),
        }
        // Without this file, the store would take the directory for a new one and start from nothing.
        let marker = log.join("version");
        match marker.try_exists().map_err(failed("read", &marker))? {
            true => Ok(()),
            false => Err(EngineError::Corrupt(format!("{} is missing", marker.display()))),
        }
    }
}

/// An error of the system, for an operation on a path.
pub(super) fn failed(action: &str, path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let action = format!("{action} {}", path.display());
    move |source| EngineError::Io { action, source: Arc::new(source) }
}

/// The error for a file system without room.
pub(super) fn full(path: &Path, source: &io::Error) -> EngineError {
    EngineError::Full(format!("{}: {source}", path.display()))
}

/// Whether an error says that a file cannot grow.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Writes a file and syncs it.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private().create(true).truncate(true).open(path)?;
    io::Write::write_all(&mut file, content)?;
    file.sync_all()
}

/// Syncs the names of the files in a directory.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) { fs::File::open(path)?.sync_all() } else { Ok(()) }
}

/// Creates a directory that only this user can read.
fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Options for a file that only this user can read.
fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
