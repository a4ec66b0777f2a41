//! An engine on disk.
//!
//! ```text
//! append ─► queue ─► thread `capably-engine`: order, recognise ids, one batch ─► journal, one sync ─► completions
//! read   ─► blocking thread of the runtime ─► memory and tables of the store
//! sweep  ─► thread `capably-sweep`: channels that are due ─► new floors, committed as everything else
//! ```

mod commit;
mod directory;
mod journal;
mod keys;
mod read;
mod retention;
mod store;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::Ordering,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use self::{
    commit::{Committer, Done, Job, Reply},
    directory::Directory,
    keys::Progress,
    read::ReadError,
    retention::{Cursor, Retention, cursor_after},
    store::{Store, describe},
};
use super::{
    Append, Bucket, ChannelId, Completion, Engine, EngineError, Entry, Fact, Pending, Position,
    Range, Thread,
};

/// The name of the thread that commits.
///
/// A panic of the store in this thread becomes an [`EngineError`]; the store of a damaged directory may panic. A panic
/// hook can recognise the thread by its name, and print nothing for it.
pub const THREAD: &str = "capably-engine";

/// How often channels are looked for that have expired entries.
const SWEEP: Duration = Duration::from_secs(5);

/// An engine in a data directory, for one server on one machine.
///
/// Committed entries survive the end of the process and of the machine. The directory is locked until the engine is closed
/// or dropped. Dropping waits until everything that was appended is committed or refused.
///
/// After an error of the system, such as a full disk, the engine refuses what it is asked to commit, and tries again after a
/// second. Nothing has to be done once the cause is removed.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("data");
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use capably_server::engine::{Bucket, Disk, Engine};
///
/// let engine = Disk::open(&path)?;
/// engine.set_facts(Bucket::Apps, vec![("a".into(), Some("1".into()))]).await?;
/// engine.close().await?;
///
/// let engine = Disk::open(&path)?;
/// assert_eq!(engine.fact(Bucket::Apps, "a").await?, Some("1".into()));
/// # Ok::<_, capably_server::engine::EngineError>(())
/// # }).unwrap();
/// ```
pub struct Disk {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    committing: Mutex<Option<JoinHandle<()>>>,
}

/// The state that the engine shares with its commit thread, its sweep thread and its readers.
struct Shared {
    directory: Directory,
    retention: Arc<Retention>,
    slot: RwLock<Slot>,
    #[cfg(test)]
    fault: tests::Fault,
}

enum Slot {
    Open(Store),
    /// The store could not be opened again after an error.
    Failed(EngineError),
    Closed,
}

impl Disk {
    /// Opens the directory. It is created if it does not exist, and then only this user can read it.
    ///
    /// # Errors
    /// [`Locked`](EngineError::Locked) when another server uses the directory,
    /// [`Corrupt`](EngineError::Corrupt) when the data is damaged or not the data of a server,
    /// [`Version`](EngineError::Version) when the data has another version, that of a server before the engine among them,
    /// [`Full`](EngineError::Full) when there is no room in the directory,
    /// [`Io`](EngineError::Io) when the system refuses an operation.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, EngineError> {
        let directory = Directory::open(directory.as_ref())?;
        let retention = Arc::new(Retention::default());
        let (store, progress) = Store::open(&directory, &retention)?;
        let shared = Arc::new(Shared {
            directory,
            retention,
            slot: RwLock::new(Slot::Open(store)),
            #[cfg(test)]
            fault: tests::Fault::default(),
        });
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new().name(THREAD.to_owned());
        let committing = thread.spawn({
            let (shared, jobs) = (Arc::clone(&shared), jobs.clone());
            move || {
                let sweeper = Sweeper::start(&shared, jobs, progress);
                let reply = Committer::new(Arc::clone(&shared), progress).run(&queue);
                let closed = commit::close(&shared, queue);
                drop(sweeper);
                // The handle of the engine may stay for longer.
                let released = shared.directory.release();
                let _ = reply.send(closed.and(released));
            }
        });
        let committing =
            committing.map_err(directory::failed("start a thread for", shared.directory.path()))?;
        Ok(Self { shared, jobs, committing: Mutex::new(Some(committing)) })
    }

    fn send(&self, job: Job) {
        if let Err(mpsc::SendError(job)) = self.jobs.send(job) {
            job.refuse(&EngineError::Closed);
        }
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, EngineError> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply));
        answer.await.unwrap_or(Err(EngineError::Closed))
    }

    /// Reads on a thread that may block.
    async fn read_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store, i64) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, EngineError> {
        let shared = Arc::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || {
            let now = shared.retention.now();
            shared.with(|store| work(store, now))
        });
        reading.await.unwrap_or_else(|_| Err(self.shared.panicked()))
    }
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&Store) -> Result<T, ReadError>) -> Result<T, EngineError> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let store = slot.store()?;
        work(store).map_err(|error| match error {
            ReadError::Store(error) => describe(&self.directory, error),
            ReadError::Unreadable(what) => {
                let path = self.directory.path().display();
                EngineError::Corrupt(format!("{what} in {path} is not readable"))
            }
        })
    }

    /// The store, for the thread that commits. It must not outlive the next `reopen` or `close`.
    fn store(&self) -> Result<Store, EngineError> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).store().cloned()
    }

    /// Closes the store when its readers are done, and opens it again.
    fn reopen(&self) -> Result<Progress, EngineError> {
        self.retention.halt.store(true, Ordering::Relaxed);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        self.retention.stop();
        *slot = Slot::Closed;
        self.retention.halt.store(false, Ordering::Relaxed);
        match Store::open(&self.directory, &self.retention) {
            Ok((store, progress)) => {
                *slot = Slot::Open(store);
                Ok(progress)
            }
            Err(error) => {
                *slot = Slot::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Closes the store when its readers are done. Returns whether it was open.
    fn close(&self) -> bool {
        self.retention.halt.store(true, Ordering::Relaxed);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        self.retention.stop();
        matches!(std::mem::replace(&mut *slot, Slot::Closed), Slot::Open(_))
    }

    fn panicked(&self) -> EngineError {
        let path = self.directory.path().display();
        EngineError::Corrupt(format!("{path}: the store has panicked"))
    }
}

impl Slot {
    fn store(&self) -> Result<&Store, EngineError> {
        match self {
            Self::Open(store) => Ok(store),
            Self::Failed(error) => Err(error.clone()),
            Self::Closed => Err(EngineError::Closed),
        }
    }
}

impl Engine for Disk {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        let done = Done::new(done, entries.len());
        self.send(Job::Append(entries, done));
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        let channel = channel.clone();
        Box::pin(self.read_blocking(move |store, _| read::page(store, &channel, range)))
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        let channel = channel.clone();
        Box::pin(
            self.read_blocking(move |store, _| {
                read::threads(store, &channel, &messages, after, limit)
            }),
        )
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        let channel = channel.clone();
        Box::pin(self.read_blocking(move |store, _| read::seek(store, &channel, time)))
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        let channel = channel.clone();
        Box::pin(self.read_blocking(move |store, _| read::bounds(store, &channel)))
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        let key = key.to_owned();
        Box::pin(self.read_blocking(move |store, now| read::fact(store, bucket, &key, now)))
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        Box::pin(self.read_blocking(move |store, now| {
            read::facts(store, bucket, &prefix, after.as_deref(), limit, now)
        }))
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        Box::pin(self.ask(move |reply| Job::SetFacts(bucket, facts, reply)))
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        let key = key.to_owned();
        Box::pin(self.ask(move |reply| Job::CreateFact(bucket, key, value, reply)))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(self.ask(Job::Close))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        self.send(Job::Close(reply));
        let committing = self.committing.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A completion may hold the last handle of the engine. Then this is the thread itself.
        if let Some(committing) = committing
            && committing.thread().id() != thread::current().id()
        {
            let _ = committing.join();
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("directory", &self.shared.directory.path()).finish()
    }
}

/// The thread that looks for expired entries. Dropping it ends it, and waits for that.
struct Sweeper {
    /// The thread ends when this is dropped.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    fn start(shared: &Arc<Shared>, jobs: mpsc::Sender<Job>, progress: Progress) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let shared = Arc::clone(shared);
        let thread = thread::Builder::new().name("capably-sweep".to_owned()).spawn(move || {
            let mut cursor = cursor_after(progress.swept);
            while stopped.recv_timeout(SWEEP) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = shared.sweep(&jobs, &mut cursor) {
                    tracing::warn!(%error, "cannot remove expired entries");
                }
            }
        });
        let thread = thread.inspect_err(|error| {
            tracing::error!(%error, "cannot start a thread: expired entries are not removed");
        });
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Raises the floors of the channels that have expired entries, and drops the entries if that is worthwhile.
    fn sweep(&self, jobs: &mpsc::Sender<Job>, cursor: &mut Cursor) -> Result<(), EngineError> {
        let until = self.retention.advance();
        let now = self.retention.now();
        loop {
            let mut next = *cursor;
            let step = |store: &Store| Ok(retention::sweep(store, &mut next, until, now)?);
            let Some(swept) = self.with(step)? else {
                *cursor = next;
                break;
            };
            let (reply, answer) = oneshot::channel();
            let sent = jobs.send(Job::Sweep(swept, reply)).is_ok();
            match answer.blocking_recv() {
                Ok(result) if sent => result?,
                // The engine is closed.
                _ => return Ok(()),
            }
            // Only after the commit: a step that was refused is made again.
            *cursor = next;
        }
        let reclaimed = self.with(|store| Ok(retention::reclaim(store, &self.retention)?));
        // Closing the store interrupts it.
        if self.retention.halt.load(Ordering::Relaxed) { Ok(()) } else { reclaimed }
    }
}
