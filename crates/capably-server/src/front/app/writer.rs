//! The thread that writes the records of all apps to the storage.
//!
//! It commits in batches: one wait for the disk serves all records that are queued at that time, and records that
//! arrive meanwhile form the next batch.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

use tokio::sync::oneshot;

use super::AppHandle;
use crate::{
    hub::{
        Now, Record,
        keep::{Reader, Stored, version},
    },
    metrics::Metrics,
    storage::{self, Change, Storage, StorageError},
};

/// About the most bytes of one commit.
const MAX_COMMIT: usize = 8 * 1024 * 1024;

/// Opens a storage. It may block, so it runs on the thread.
pub(crate) type Open = Box<dyn FnOnce() -> Result<Arc<dyn Storage>, StorageError> + Send>;

/// The thread of a server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct StorageWriter {
    queue: WriteQueue,
    ended: Option<oneshot::Receiver<()>>,
}

impl StorageWriter {
    /// Starts the thread, and loads the data of the storage.
    ///
    /// # Errors
    /// A [`StorageError`] when the storage cannot be opened or read.
    pub(crate) async fn start(
        open: Open,
        now: Now,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Stored), StorageError> {
        let (queue, orders) = mpsc::channel();
        let (loaded, stored) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let work = move || {
            // Dropped after the storage: then its lock is free for another server.
            let _end = end;
            let opened = open().and_then(|storage| Ok((load(&*storage, now)?, storage)));
            match opened {
                Ok((stored, storage)) => {
                    if loaded.send(Ok(stored)).is_ok() {
                        write_all(&*storage, &orders, &metrics);
                    }
                    drop(storage);
                }
                // The receiver is gone if the start of the server was cancelled.
                Err(problem) => drop(loaded.send(Err(problem))),
            }
        };
        let spawned = thread::Builder::new().name(storage::THREAD.to_owned()).spawn(work);
        spawned.map_err(|source| StorageError::Io { action: "start a thread".into(), source })?;
        let stored = stored.await.unwrap_or_else(|_| Err(ended_early()))?;
        Ok((Self { queue: WriteQueue(queue), ended: Some(ended) }, stored))
    }

    pub(crate) fn queue(&self) -> WriteQueue {
        self.queue.clone()
    }

    /// Waits until all queued records are committed and the storage is closed.
    pub(crate) async fn end(&mut self) {
        self.request_end();
        if let Some(ended) = self.ended.take() {
            // The thread sends nothing. It drops the sender at its end.
            let _ = ended.await;
        }
    }

    fn request_end(&self) {
        // An error means that the thread has ended already.
        let _ = self.queue.0.send(Order::End);
    }
}

impl Drop for StorageWriter {
    fn drop(&mut self) {
        self.request_end();
    }
}

fn ended_early() -> StorageError {
    let source = io::Error::other("its thread has panicked");
    StorageError::Io { action: "read the storage".into(), source }
}

/// Sends writes to the thread, in order.
#[derive(Clone, Debug)]
pub(crate) struct WriteQueue(mpsc::Sender<Order>);

impl WriteQueue {
    /// Queues a write; `false` when the thread has ended.
    pub(super) fn add(&self, write: Write) -> bool {
        self.0.send(Order::Write(write)).is_ok()
    }
}

/// Records of one app, to be committed together.
pub(super) struct Write {
    pub(super) app: Arc<AppHandle>,
    /// The app's epoch when the records were made.
    pub(super) epoch: u64,
    /// The number of the write; an app numbers its writes upwards.
    pub(super) ticket: u64,
    pub(super) records: Vec<Record>,
}

enum Order {
    Write(Write),
    /// Commit the writes before this, and end.
    End,
}

/// Loads the data of a storage, and marks it with the version of its format.
fn load(storage: &dyn Storage, now: Now) -> Result<Stored, StorageError> {
    let mut reader = Reader::new(now);
    storage.load(&mut |key, value| reader.take(key, value))?;
    let stored = reader.finish()?;
    // A storage that cannot be written fails here, at the start, and not with the first publish.
    storage.commit(&[version()])?;
    Ok(stored)
}

/// Commits writes until the end is requested.
fn write_all(storage: &dyn Storage, orders: &mpsc::Receiver<Order>, metrics: &Metrics) {
    let mut batch = Batch::default();
    let mut ending = false;
    while !ending && let Ok(first) = orders.recv() {
        for order in std::iter::once(first).chain(orders.try_iter()) {
            match order {
                Order::Write(write) => batch.add(write),
                Order::End => ending = true,
            }
            if ending || batch.size >= MAX_COMMIT {
                break;
            }
        }
        batch.commit(storage, metrics);
    }
}

/// The changes of one commit.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    size: usize,
    /// The apps with changes, and the last ticket of each.
    apps: BTreeMap<String, (Arc<AppHandle>, u64)>,
}

impl Batch {
    fn add(&mut self, write: Write) {
        let Write { app, epoch, ticket, records } = write;
        // After a failed commit the app has withdrawn these records: they must not be stored any more.
        if app.epoch() != epoch {
            return;
        }
        for record in records {
            self.size += record.size();
            record.write(app.id(), &mut self.changes);
        }
        self.apps.insert(app.id().to_owned(), (app, ticket));
    }

    fn commit(&mut self, storage: &dyn Storage, metrics: &Metrics) {
        if self.apps.is_empty() {
            return;
        }
        let started = Instant::now();
        // A storage that panics must not leave the apps without an answer.
        let commit = || storage.commit(&self.changes);
        let committed = catch_unwind(AssertUnwindSafe(commit))
            .unwrap_or_else(|_| Err(StorageError::Other("it has panicked".into())));
        metrics.committed(started.elapsed());
        self.changes.clear();
        self.size = 0;
        if let Err(problem) = &committed {
            tracing::error!(%problem, "cannot write to the storage");
        }
        for (app, ticket) in std::mem::take(&mut self.apps).into_values() {
            match committed {
                Ok(()) => app.commit_succeeded(ticket),
                Err(_) => app.commit_failed(),
            }
        }
    }
}
