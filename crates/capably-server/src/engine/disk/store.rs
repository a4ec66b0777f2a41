//! The store under the engine: an LSM tree with a journal, by the crate `fjall`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy},
};

use super::{
    directory::{Directory, failed, full, is_full},
    journal,
    keys::{ChannelKey, PROGRESS, Progress, floor_key, read_position},
    retention::Retention,
};
use crate::engine::{EngineError, Position};

/// The size of the cache for blocks, in bytes.
const CACHE: u64 = 32 * 1024 * 1024;

/// The most bytes of entries in memory before they are written to a table.
const ENTRIES_MEMTABLE: u64 = 16 * 1024 * 1024;

/// The same for everything else.
const MEMTABLE: u64 = 4 * 1024 * 1024;

/// The most bytes in journals, the least that the store allows. Opening reads them all.
const JOURNALS: u64 = 64 * 1024 * 1024;

/// The number of files that are open at the same time.
const FILES: usize = 64;

/// The store, open.
#[derive(Clone)]
pub(super) struct Store {
    pub(super) database: Database,
    pub(super) entries: Keyspace,
    pub(super) threads: Keyspace,
    pub(super) ids: Keyspace,
    pub(super) dues: Keyspace,
    pub(super) state: Keyspace,
}

impl Store {
    /// Opens the store of a directory. It is created if there is none.
    pub(super) fn open(
        directory: &Directory,
        retention: &Arc<Retention>,
    ) -> Result<(Self, Progress), EngineError> {
        directory.create_log(|path| Self::start(path, retention, true).map(drop))?;
        let log = directory.log();
        journal::check(&log)?;
        let store = Self::start(&log, retention, false)?;
        let progress = store.progress().map_err(|error| describe(directory, error))?;
        let progress = progress
            .ok_or_else(|| EngineError::Corrupt(format!("{}: no progress", log.display())))?;
        retention.start(&store, progress);
        Ok((store, progress))
    }

    fn start(path: &Path, retention: &Arc<Retention>, is_new: bool) -> Result<Self, EngineError> {
        let error = |error| describe_at(path, error);
        let filters = Arc::clone(retention);
        let open = || {
            let builder = Database::builder(path)
                .cache_size(CACHE)
                .max_journaling_size(JOURNALS)
                .max_cached_files(Some(FILES))
                // Another crate may turn compression on. The journals are checked without it.
                .journal_compression(CompressionType::None)
                // One thread compacts while the other writes memtables.
                .worker_threads(2)
                .with_compaction_filter_factories(Arc::new(move |keyspace| {
                    filters.filter_of(keyspace)
                }));
            builder.open()
        };
        // The store may panic on damaged files.
        let database = match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => opened.map_err(error)?,
            Err(_) => {
                let text = format!("{} cannot be opened", path.display());
                return Err(EngineError::Corrupt(text));
            }
        };
        let keyspace = |name: &str, options: fn() -> KeyspaceCreateOptions| {
            if !is_new && !database.keyspace_exists(name) {
                let text = format!("{} has no {name}", path.display());
                return Err(EngineError::Corrupt(text));
            }
            database.keyspace(name, options).map_err(error)
        };
        let store = Self {
            entries: keyspace("entries", || scanned(ENTRIES_MEMTABLE))?,
            threads: keyspace("threads", || scanned(MEMTABLE))?,
            ids: keyspace("ids", looked_up)?,
            dues: keyspace("dues", || scanned(MEMTABLE))?,
            state: keyspace("state", looked_up)?,
            database: database.clone(),
        };
        if is_new {
            let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&store.state, PROGRESS, Progress::default().write());
            batch.commit().map_err(error)?;
        }
        Ok(store)
    }

    pub(super) fn progress(&self) -> fjall::Result<Option<Progress>> {
        Ok(self.state.get(PROGRESS)?.and_then(|value| Progress::read(&value)))
    }

    /// The position of the last expired entry of a channel.
    pub(super) fn floor(&self, channel: &ChannelKey) -> fjall::Result<Position> {
        let floor = self.state.get(floor_key(channel))?;
        Ok(floor.and_then(|value| read_position(&value)).unwrap_or_default())
    }

    /// Whether a commit would wait for the background work of the store. It would wait for ever if that has failed.
    pub(super) fn is_busy(&self) -> bool {
        let all = [&self.entries, &self.threads, &self.ids, &self.dues, &self.state];
        all.iter().any(|it| it.sealed_memtable_count() >= 2 || it.l0_table_count() >= 16)
    }
}

/// Options for a keyspace that is read in ranges.
fn scanned(memtable: u64) -> KeyspaceCreateOptions {
    uncompressed(memtable)
        .data_block_size_policy(BlockSizePolicy::all(8 * 1024))
        .filter_policy(FilterPolicy::disabled())
}

/// Options for a keyspace in which single keys are looked up.
fn looked_up() -> KeyspaceCreateOptions {
    uncompressed(MEMTABLE)
}

/// Another crate may turn compression on. A server without it could not read the tables.
fn uncompressed(memtable: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable)
        .data_block_compression_policy(CompressionPolicy::disabled())
}

/// Translates an error of the store into the error that the owner of the directory gets.
pub(super) fn describe(directory: &Directory, error: fjall::Error) -> EngineError {
    match error {
        // A background thread of the store has failed without a cause. A probe of the directory may find the cause.
        fjall::Error::Poisoned => match directory.probe() {
            Ok(()) => EngineError::Io {
                action: format!("use {}", directory.path().display()),
                source: Arc::new(std::io::Error::other("the store failed in the background")),
            },
            Err(error) => error,
        },
        error => describe_at(directory.path(), error),
    }
}

fn describe_at(path: &Path, error: fjall::Error) -> EngineError {
    use fjall::{Error, LsmError};
    match error {
        Error::Io(source) | Error::Storage(LsmError::Io(source)) => {
            use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
            match source.kind() {
                _ if is_full(&source) => full(path, &source),
                // Damaged offsets and names lead to any of these.
                InvalidData | InvalidInput | UnexpectedEof | NotFound => {
                    EngineError::Corrupt(format!("{}: {source}", path.display()))
                }
                _ => failed("use", path)(source),
            }
        }
        Error::Locked => EngineError::Locked(path.to_owned()),
        Error::InvalidVersion(Some(_)) | Error::Storage(LsmError::InvalidVersion(_)) => {
            EngineError::Version(format!("{} was written by another store", path.display()))
        }
        Error::Poisoned => EngineError::Unavailable(format!("{} has failed", path.display())),
        error => EngineError::Corrupt(format!("{}: {error}", path.display())),
    }
}
