//! A storage on disk: one file. Committed data survives the end of the process and of the machine.

use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::{Change, Storage, StorageError};

/// A data directory.
///
/// It is locked until this value is dropped. Removed data makes room for new data in the file. The file itself becomes
/// smaller only when it is opened, and only if more than half of it is free.
pub struct Disk {
    file: PathBuf,
    /// None after an error: the next use opens the file again.
    database: Mutex<Option<Database>>,
}

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("capably");

/// The name of the file in the directory.
const FILE: &str = "capably.redb";

/// The size of the page cache, in bytes. It is small: after the start, a server mostly writes, near the ends of channels.
const CACHE: usize = 16 * 1024 * 1024;

/// A file below this size is never made smaller.
const SMALL: u64 = 64 * 1024 * 1024;

impl Disk {
    /// Opens the directory. It is created if it does not exist, and then only this user can read it.
    ///
    /// The data is checked for damage first. That takes about as long as reading it.
    ///
    /// # Errors
    /// [`Locked`](StorageError::Locked) when another server uses the directory,
    /// [`Corrupt`](StorageError::Corrupt) when the data is damaged or not the data of a server,
    /// [`Version`](StorageError::Version) when the data has another version,
    /// [`Io`](StorageError::Io) when the system refuses an operation.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StorageError> {
        let directory = directory.as_ref();
        make(directory).map_err(|source| StorageError::Io {
            action: format!("create the data directory {}", directory.display()),
            source,
        })?;
        let file = directory.join(FILE);
        let mut database = open(&file)?;
        shrink(&mut database, &file)?;
        Ok(Self { file, database: Mutex::new(Some(database)) })
    }

    /// Uses the database. After an error it is opened again first.
    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        let mut slot = self.slot();
        let database = match slot.take() {
            Some(database) => database,
            None => open(&self.file)?,
        };
        let done = work(&database).map_err(|problem| describe(&self.file, problem))?;
        // Not after an error: redb refuses further use of a database after an I/O error.
        *slot = Some(database);
        Ok(done)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Disk {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError> {
        self.with(|database| {
            let table = match database.begin_read()?.open_table(TABLE) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(problem) => return Err(problem.into()),
            };
            for pair in table.iter()? {
                let (key, value) = pair?;
                each(key.value(), value.value());
            }
            Ok(())
        })
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StorageError> {
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            // With a single phase, damage to the last commit would be taken for one that never ended.
            transaction.set_two_phase_commit(true);
            let mut table = transaction.open_table(TABLE)?;
            for change in changes {
                match change {
                    Change::Put { key, value } => {
                        table.insert(&key[..], &value[..])?;
                    }
                    Change::Remove { from, to } if from < to => {
                        table.retain_in(&from[..]..&to[..], |_, _| false)?;
                    }
                    Change::Remove { .. } => {}
                }
            }
            drop(table);
            Ok(transaction.commit()?)
        })
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Creates the directory, readable by this user only.
fn make(directory: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Opens the file and checks it. It is created if it does not exist.
fn open(path: &Path) -> Result<Database, StorageError> {
    let io = |source| StorageError::Io { action: format!("open {}", path.display()), source };
    let is_new = !path.try_exists().map_err(io)?;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(io)?;
    // redb may panic on a file that is not a database.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut database = Database::builder().set_cache_size(CACHE).create_file(file)?;
        database.check_integrity()?;
        Ok(database)
    }));
    match opened {
        Ok(Ok(database)) => {
            #[cfg(unix)]
            if let Some(directory) = path.parent().filter(|_| is_new) {
                fs::File::open(directory).and_then(|it| it.sync_all()).map_err(io)?;
            }
            Ok(database)
        }
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            Err(StorageError::Locked(path.parent().unwrap_or(path).to_owned()))
        }
        Ok(Err(DatabaseError::UpgradeRequired(version))) => {
            Err(StorageError::Version(format!("{} has the file format {version}", path.display())))
        }
        Ok(Err(problem)) => Err(describe(path, problem.into())),
        Err(_) => Err(StorageError::Corrupt(format!("{} cannot be opened", path.display()))),
    }
}

/// Compacts the file if more than half of it is free.
fn shrink(database: &mut Database, path: &Path) -> Result<(), StorageError> {
    let io = |source| StorageError::Io { action: format!("read {}", path.display()), source };
    let size = fs::metadata(path).map_err(io)?.len();
    if size < SMALL {
        return Ok(());
    }
    let mut work = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        if stats.allocated_pages().saturating_mul(stats.page_size() as u64) < size / 2 {
            database.compact()?;
        }
        Ok(())
    };
    work().map_err(|problem| describe(path, problem))
}

fn describe(path: &Path, problem: redb::Error) -> StorageError {
    match problem {
        redb::Error::Io(source)
            if matches!(
                source.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            StorageError::Corrupt(format!("{} is not a file of a server: {source}", path.display()))
        }
        redb::Error::Io(source) => {
            StorageError::Io { action: format!("use {}", path.display()), source }
        }
        redb::Error::Corrupted(reason) => {
            StorageError::Corrupt(format!("{}: {reason}", path.display()))
        }
        problem => StorageError::Other(Box::new(problem)),
    }
}
