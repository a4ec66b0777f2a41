//! The thread that writes to the storage what the apps want to keep.
//!
//! Whatever is waiting is written together, so that one wait for the disk is for all of it; what comes
//! meanwhile is the next lot.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use tokio::sync::oneshot;

use crate::front::app::AppHandle;
use crate::{
    hub::{
        Now, Record,
        keep::{Reader, Stored, version},
    },
    storage::{self, Change, Storage, StorageError},
};

/// Most bytes, about, that are written together.
const MAX_COMMIT: usize = 8 * 1024 * 1024;

/// How a storage is come by: opened, perhaps, which takes its time.
pub(crate) type Open = Box<dyn FnOnce() -> Result<Arc<dyn Storage>, StorageError> + Send>;

/// What an app wants to keep.
pub(crate) struct Job {
    pub(crate) app: Arc<AppHandle>,
    /// How often the app has taken back what it wanted to keep.
    pub(crate) epoch: u64,
    /// Which of the app's jobs it is; they count up.
    pub(crate) ticket: u64,
    pub(crate) records: Vec<Record>,
}

enum Order {
    Keep(Job),
    /// Write what has been wanted so far, and end.
    End,
}

/// Takes jobs, in order.
#[derive(Clone, Debug)]
pub(crate) struct Jobs(mpsc::Sender<Order>);

impl Jobs {
    /// Hands in a job; `false` when nothing is kept any more.
    pub(crate) fn add(&self, job: Job) -> bool {
        self.0.send(Order::Keep(job)).is_ok()
    }
}

/// The thread of a server. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Jobs,
    ended: Option<oneshot::Receiver<()>>,
}

impl Keeper {
    /// Starts the thread, and gives what is stored so far.
    ///
    /// # Errors
    /// A [`StorageError`] when the storage cannot be opened or read.
    pub(crate) async fn start(open: Open, now: Now) -> Result<(Self, Stored), StorageError> {
        let (jobs, orders) = mpsc::channel();
        let (loaded, stored) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let work = move || {
            // Dropped when all is done, and the storage with it.
            let _end = end;
            let opened = open().and_then(|storage| Ok((load(&*storage, now)?, storage)));
            match opened {
                Ok((stored, storage)) => {
                    if loaded.send(Ok(stored)).is_ok() {
                        keep(&*storage, &orders);
                    }
                    drop(storage);
                }
                // Nobody listens when the server is not wanted any more.
                Err(problem) => drop(loaded.send(Err(problem))),
            }
        };
        let spawned = thread::Builder::new().name(storage::THREAD.to_owned()).spawn(work);
        spawned.map_err(|source| StorageError::Io { action: "start a thread".into(), source })?;
        let stored = stored.await.unwrap_or_else(|_| Err(ended_early()))?;
        Ok((Self { jobs: Jobs(jobs), ended: Some(ended) }, stored))
    }

    pub(crate) fn jobs(&self) -> Jobs {
        self.jobs.clone()
    }

    /// Waits until all that was to be kept is, and the storage is let go.
    pub(crate) async fn end(&mut self) {
        self.tell_to_end();
        if let Some(ended) = self.ended.take() {
            // It is never sent anything; it is dropped.
            let _ = ended.await;
        }
    }

    fn tell_to_end(&self) {
        // It may have ended already.
        let _ = self.jobs.0.send(Order::End);
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tell_to_end();
    }
}

fn ended_early() -> StorageError {
    let source = io::Error::other("its thread has panicked");
    StorageError::Io { action: "read the storage".into(), source }
}

/// Reads what is stored, and marks it as a server's.
fn load(storage: &dyn Storage, now: Now) -> Result<Stored, StorageError> {
    let mut reader = Reader::new(now);
    storage.load(&mut |key, value| reader.take(key, value))?;
    let stored = reader.finish()?;
    // Whether it can be written is known from the start, too.
    storage.commit(&[version()])?;
    Ok(stored)
}

/// Does the jobs until told to end.
fn keep(storage: &dyn Storage, orders: &mpsc::Receiver<Order>) {
    let mut lot = Lot::default();
    let mut ending = false;
    while !ending && let Ok(first) = orders.recv() {
        for order in std::iter::once(first).chain(orders.try_iter()) {
            match order {
                Order::Keep(job) => lot.add(job),
                Order::End => ending = true,
            }
            if ending || lot.size >= MAX_COMMIT {
                break;
            }
        }
        lot.finish(storage);
    }
}

/// What is written together.
#[derive(Default)]
struct Lot {
    changes: Vec<Change>,
    size: usize,
    /// The apps that it is of, each with its last job.
    apps: BTreeMap<String, (Arc<AppHandle>, u64)>,
}

impl Lot {
    fn add(&mut self, job: Job) {
        let Job { app, epoch, ticket, records } = job;
        // What the app has taken back is not to be kept.
        if app.epoch() != epoch {
            return;
        }
        for record in records {
            self.size += record.size();
            record.write(app.id(), &mut self.changes);
        }
        self.apps.insert(app.id().to_owned(), (app, ticket));
    }

    fn finish(&mut self, storage: &dyn Storage) {
        if self.apps.is_empty() {
            return;
        }
        // Whatever the storage does, those who wait for it are answered.
        let commit = || storage.commit(&self.changes);
        let committed = catch_unwind(AssertUnwindSafe(commit))
            .unwrap_or_else(|_| Err(StorageError::Other("it has panicked".into())));
        self.changes.clear();
        self.size = 0;
        if let Err(problem) = &committed {
            tracing::error!(%problem, "cannot write to the storage");
        }
        for (app, ticket) in std::mem::take(&mut self.apps).into_values() {
            match committed {
                Ok(()) => app.kept(ticket),
                Err(_) => app.not_kept(),
            }
        }
    }
}
