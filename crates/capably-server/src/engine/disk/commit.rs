//! The commit thread: it orders the appended entries, and writes all that wait with one sync.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use tokio::sync::oneshot;

use super::{
    Shared, journal,
    keys::{
        ChannelKey, NEVER, PROGRESS, Progress, channel_key, due_key, entry_key, entry_value,
        fact_key, fact_value, floor_key, id_key, read_fact_value, read_position, thread_key,
    },
    retention::{Swept, due},
    store::{Store, describe},
};
use crate::engine::{Append, Appended, Bucket, Completion, EngineError, Position};

/// The most bytes of payloads in one commit, about.
const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// The most changes in one commit, about.
const BATCH_CHANGES: usize = 16 * 1024;

/// How long everything is refused after an error, and how often the store is opened again.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 1000 });

/// How long after a commit the thread writes once more if nothing else happens.
const QUIET: Duration = Duration::from_secs(1);

/// How many channels are remembered with the time at which they are due. With fewer than there are in use, most entries
/// would write a due again, and opening would take longer for it. This many take 16 MiB.
const DUES: usize = 256 * 1024;

/// The room that an entry takes in a commit in addition to its payload, in bytes.
const OVERHEAD: usize = 128;

/// Work for the thread.
pub(super) enum Job {
    Append(Vec<Append>, Done),
    SetFacts(Bucket, Vec<(String, Option<Bytes>)>, Reply<()>),
    CreateFact(Bucket, String, Bytes, Reply<bool>),
    Sweep(Swept, Reply<()>),
    Close(Reply<()>),
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// The completion of an append. It is called even if this is dropped.
pub(super) struct Done {
    completion: Option<Completion>,
    count: usize,
}

impl Done {
    pub(super) fn new(completion: Completion, count: usize) -> Self {
        Self { completion: Some(completion), count }
    }

    fn complete(mut self, results: Vec<Result<Appended, EngineError>>) {
        if let Some(completion) = self.completion.take() {
            completion(results);
        }
    }

    fn refuse(self, error: &EngineError) {
        let results = (0..self.count).map(|_| Err(error.clone())).collect();
        self.complete(results);
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(completion) = self.completion.take() {
            let error = EngineError::Unavailable("it has stopped".to_owned());
            completion((0..self.count).map(|_| Err(error.clone())).collect());
        }
    }
}

impl Job {
    pub(super) fn refuse(self, error: &EngineError) {
        match self {
            Self::Append(_, done) => done.refuse(error),
            Self::SetFacts(_, _, reply) | Self::Sweep(_, reply) | Self::Close(reply) => {
                let _ = reply.send(Err(error.clone()));
            }
            Self::CreateFact(_, _, _, reply) => {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }

    /// About how many bytes and how many changes it writes.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Append(entries, _) => {
                let bytes = entries.iter().map(|entry| entry.payload.len() + OVERHEAD).sum();
                (bytes, entries.len())
            }
            Self::SetFacts(_, facts, _) => {
                let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
                let bytes = facts.iter().map(|(key, value)| key.len() + size(value)).sum();
                (bytes, facts.len())
            }
            Self::CreateFact(_, key, value, _) => (key.len() + value.len(), 1),
            Self::Sweep(swept, _) => (0, swept.floors.len()),
            Self::Close(_) => (0, 0),
        }
    }
}

/// The result of a job when its commit succeeds.
enum Staged {
    Append(Vec<Appended>, Done),
    Facts(Reply<()>),
    Created(bool, Reply<bool>),
    Swept(Reply<()>),
}

impl Staged {
    fn answer(self, result: &Result<(), EngineError>) {
        match (self, result) {
            (Self::Append(appended, done), Ok(())) => {
                done.complete(appended.into_iter().map(Ok).collect());
            }
            (Self::Append(_, done), Err(error)) => done.refuse(error),
            (Self::Created(created, reply), result) => {
                let _ = reply.send(result.clone().map(|()| created));
            }
            (Self::Facts(reply) | Self::Swept(reply), result) => {
                let _ = reply.send(result.clone());
            }
        }
    }
}

/// The state of the thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    progress: Progress,
    /// The last due that was noted for a channel. Incomplete: noting a due again does no harm.
    dues: HashMap<ChannelKey, i64>,
    /// Until when everything is refused, and why.
    refusing: Option<(Instant, EngineError)>,
    /// Whether the last commit in the journal has content.
    is_last_of_use: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, progress: Progress) -> Self {
        Self { shared, progress, dues: HashMap::new(), refusing: None, is_last_of_use: false }
    }

    /// Works until the engine is closed.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) -> Reply<()> {
        loop {
            match jobs.recv_timeout(QUIET) {
                Ok(first) => {
                    if let Some(reply) = self.commit_group(first, jobs) {
                        return reply;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.rest(),
                // The sender sends `Close` before it goes.
                Err(RecvTimeoutError::Disconnected) => return oneshot::channel().0,
            }
        }
    }

    /// Commits everything that waits. Returns the reply of `Close`, if that was among it.
    fn commit_group(&mut self, first: Job, jobs: &Receiver<Job>) -> Option<Reply<()>> {
        let mut group = Vec::new();
        let (mut bytes, mut changes) = (0, 0);
        let mut next = Some(first);
        let mut close = None;
        while let Some(job) = next.take() {
            if let Job::Close(reply) = job {
                close = Some(reply);
                break;
            }
            let size = job.size();
            bytes += size.0;
            changes += size.1;
            group.push(job);
            if bytes < BATCH_BYTES && changes < BATCH_CHANGES {
                next = jobs.try_recv().ok();
            }
        }
        if !group.is_empty() {
            self.commit(group);
        }
        close
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        let mut jobs = jobs.into_iter();
        let mut staged = Vec::new();
        let result = self.ready().and_then(|store| {
            // Not earlier: getting ready may open the store again, and so find fewer commits than were tried.
            let before = self.progress.commits;
            let work = || {
                let mut batch = Batch::new(&store, self);
                for job in jobs.by_ref() {
                    batch.stage(job, &mut staged)?;
                }
                batch.commit()
            };
            catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(self.shared.panicked()))
                .map_err(|error| {
                    drop(store);
                    self.recover(before, error)
                })
        });
        self.shared.retention.committing.store(NEVER, Ordering::SeqCst);
        let refused = result.clone().err();
        for answer in staged {
            complete(|| answer.answer(&result));
        }
        for job in jobs {
            let error = refused.clone().unwrap_or(EngineError::Closed);
            complete(|| job.refuse(&error));
        }
    }

    /// The store, if it can be written to.
    fn ready(&mut self) -> Result<Store, EngineError> {
        if let Some((until, error)) = &self.refusing {
            if Instant::now() < *until {
                return Err(error.clone());
            }
            if let Err(error) = self.shared.directory.probe().and_then(|()| self.reopen_if_closed())
            {
                self.refusing = Some((Instant::now() + PAUSE, error.clone()));
                return Err(error);
            }
            self.refusing = None;
        }
        self.shared.store()
    }

    fn reopen_if_closed(&mut self) -> Result<(), EngineError> {
        if self.shared.store().is_ok() { Ok(()) } else { self.reopen() }
    }

    /// After an error: opens the store again. So it becomes known whether the commit is in the journal.
    fn recover(&mut self, before: u64, error: EngineError) -> EngineError {
        tracing::error!(%error, "the disk engine cannot commit");
        let error = match self.reopen() {
            Ok(()) if self.progress.commits == before => error,
            Ok(()) | Err(_) => uncertain(error),
        };
        self.refusing = Some((Instant::now() + PAUSE, error.clone()));
        error
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        let last = self.progress.last;
        self.progress = self.shared.reopen()?;
        self.progress.last = self.progress.last.max(last);
        self.dues.clear();
        Ok(())
    }

    /// Called when nothing has happened for a while.
    fn rest(&mut self) {
        if self.refusing.is_some() {
            if self.ready().is_ok() {
                tracing::info!("the disk engine can commit again");
            }
        } else if self.is_last_of_use {
            // Damage to the last commit in a journal cannot be told from a commit that a crash has cut off. So an empty
            // commit follows. It is not synced: nothing is lost with it.
            let written = self.shared.store().and_then(|store| {
                self.progress.commits += 1;
                let mut batch = store.database.batch().durability(Some(PersistMode::Buffer));
                batch.insert(&store.state, PROGRESS, self.progress.write());
                batch.commit().map_err(|error| describe(&self.shared.directory, error))
            });
            self.is_last_of_use = false;
            if let Err(error) = written {
                self.recover(self.progress.commits, error);
            }
        }
    }
}

/// Calls a completion. Its panic must not end the thread.
fn complete(work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        tracing::error!("a completion has panicked");
    }
}

/// Changes an error that says that nothing was done into one that does not.
fn uncertain(error: EngineError) -> EngineError {
    match error {
        EngineError::Full(reason) => EngineError::Io {
            action: "commit".to_owned(),
            source: Arc::new(std::io::Error::new(std::io::ErrorKind::StorageFull, reason)),
        },
        error => error,
    }
}

/// A commit that is being prepared.
struct Batch<'a> {
    store: &'a Store,
    committer: &'a mut Committer,
    batch: OwnedWriteBatch,
    /// The time, in ms since the epoch.
    now: i64,
    /// The ids of this batch: the store does not find them yet.
    ids: HashMap<[u8; 16], Position>,
    /// Which facts have a value after this batch, as far as it changes them.
    facts: HashMap<Vec<u8>, bool>,
    swept: Option<i64>,
}

impl<'a> Batch<'a> {
    fn new(store: &'a Store, committer: &'a mut Committer) -> Self {
        let retention = &committer.shared.retention;
        let now = retention.now();
        retention.committing.store(now, Ordering::SeqCst);
        let batch = store.database.batch().durability(Some(PersistMode::SyncData));
        let (ids, facts) = (HashMap::new(), HashMap::new());
        Self { store, committer, batch, now, ids, facts, swept: None }
    }

    fn stage(&mut self, job: Job, staged: &mut Vec<Staged>) -> Result<(), EngineError> {
        match job {
            Job::Append(entries, done) => {
                let mut appended = Vec::with_capacity(entries.len());
                for entry in &entries {
                    match self.append(entry) {
                        Ok(result) => appended.push(result),
                        Err(error) => {
                            staged.push(Staged::Append(appended, done));
                            return Err(self.describe(error));
                        }
                    }
                }
                staged.push(Staged::Append(appended, done));
            }
            Job::SetFacts(bucket, facts, reply) => {
                let facts = facts.into_iter().map(|(key, value)| {
                    fact_key(bucket, &key).map(|key| (key, value)).ok_or_else(too_long)
                });
                match facts.collect::<Result<Vec<_>, _>>() {
                    Ok(facts) => {
                        for (key, value) in facts {
                            self.set(bucket, key, value.as_deref());
                        }
                        staged.push(Staged::Facts(reply));
                    }
                    Err(error) => drop(reply.send(Err(error))),
                }
            }
            Job::CreateFact(bucket, key, value, reply) => match fact_key(bucket, &key) {
                None => drop(reply.send(Err(too_long()))),
                Some(key) => {
                    let exists = match self.exists(&key) {
                        Ok(exists) => exists,
                        Err(error) => {
                            staged.push(Staged::Created(false, reply));
                            return Err(self.describe(error));
                        }
                    };
                    if !exists {
                        self.set(bucket, key, Some(&value));
                    }
                    staged.push(Staged::Created(!exists, reply));
                }
            },
            Job::Sweep(swept, reply) => {
                for (channel, floor) in swept.floors {
                    self.batch.insert(
                        &self.store.state,
                        floor_key(&channel),
                        floor.0.to_be_bytes(),
                    );
                }
                let progress = &mut self.committer.progress;
                progress.swept = progress.swept.max(swept.until);
                self.committer.shared.retention.dead.fetch_add(swept.dead, Ordering::Relaxed);
                self.swept = Some(progress.swept);
                staged.push(Staged::Swept(reply));
            }
            // The caller keeps it.
            Job::Close(_) => {}
        }
        Ok(())
    }

    fn append(&mut self, entry: &Append) -> fjall::Result<Appended> {
        let Append { channel, id, kind, threads, time, keep, payload } = entry;
        let channel = channel_key(channel);
        let progress = &mut self.committer.progress;
        let wall = u64::try_from(self.now).unwrap_or(0).saturating_mul(1000);
        let position = Position(wall.max(progress.last.saturating_add(1)));
        if let Some(id) = id {
            let id = id_key(&channel, id);
            if let Some(position) = self.position_of(&id)? {
                return Ok(Appended { position, repeated: true });
            }
            self.ids.insert(id, position);
            self.batch.insert(&self.store.ids, id, position.0.to_be_bytes());
        }
        self.committer.progress.last = position.0;
        let milliseconds = i64::try_from(keep.as_millis()).unwrap_or(NEVER);
        let expires = self.now.saturating_add(milliseconds);
        let value = entry_value(*kind, *time, expires, payload);
        self.batch.insert(&self.store.entries, entry_key(&channel, position), value);
        for thread in threads {
            let key = thread_key(&channel, *thread, position);
            self.batch.insert(&self.store.threads, key, []);
        }
        if expires < NEVER {
            self.note_due(channel, due(expires, *keep));
        }
        Ok(Appended { position, repeated: false })
    }

    fn position_of(&self, id: &[u8; 16]) -> fjall::Result<Option<Position>> {
        if let Some(position) = self.ids.get(id) {
            return Ok(Some(*position));
        }
        let found = self.store.ids.get(id)?.and_then(|value| read_position(&value));
        Ok(found.filter(|position| self.committer.shared.retention.remembers(*position)))
    }

    fn note_due(&mut self, channel: ChannelKey, due: i64) {
        let swept = self.committer.shared.retention.horizon.load(Ordering::SeqCst);
        let due = due.max(swept.saturating_add(1));
        let dues = &mut self.committer.dues;
        if dues.get(&channel) == Some(&due) {
            return;
        }
        if dues.len() >= DUES {
            dues.clear();
        }
        dues.insert(channel, due);
        self.batch.insert(&self.store.dues, due_key(due, &channel), []);
    }

    fn exists(&self, key: &[u8]) -> fjall::Result<bool> {
        if let Some(exists) = self.facts.get(key) {
            return Ok(*exists);
        }
        let value = self.store.state.get(key)?;
        let expires = value.as_deref().and_then(read_fact_value).map(|(expires, _)| expires);
        Ok(expires.is_some_and(|expires| expires > self.now))
    }

    fn set(&mut self, bucket: Bucket, key: Vec<u8>, value: Option<&[u8]>) {
        self.facts.insert(key.clone(), value.is_some());
        match value {
            Some(value) => {
                let life = bucket.ttl().and_then(|ttl| i64::try_from(ttl.as_millis()).ok());
                let expires = life.map_or(NEVER, |life| self.now.saturating_add(life));
                self.batch.insert(&self.store.state, key, fact_value(expires, value));
            }
            None => self.batch.remove(&self.store.state, key),
        }
    }

    fn commit(mut self) -> Result<(), EngineError> {
        if self.batch.is_empty() {
            // Only repetitions. Their entries are committed.
            return Ok(());
        }
        self.wait_for_room()?;
        let directory = &self.committer.shared.directory;
        let retention = &self.committer.shared.retention;
        let progress = &mut self.committer.progress;
        progress.commits += 1;
        progress.dead = retention.dead.load(Ordering::Relaxed);
        self.batch.insert(&self.store.state, PROGRESS, progress.write());
        #[cfg(test)]
        self.committer.shared.fault.strike()?;
        self.batch.commit().map_err(|error| describe(directory, error))?;
        if let Some(swept) = self.swept {
            retention.swept.store(swept, Ordering::Relaxed);
        }
        self.committer.is_last_of_use = true;
        Ok(())
    }

    /// Waits while the store has too much to do in the background. A commit would wait as well, and not end if the
    /// background work fails.
    fn wait_for_room(&self) -> Result<(), EngineError> {
        while self.store.is_busy() {
            // This writes nothing. It fails if the background work has failed.
            let alive = self.store.database.persist(PersistMode::Buffer);
            alive.map_err(|error| self.describe(error))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn describe(&self, error: fjall::Error) -> EngineError {
        describe(&self.committer.shared.directory, error)
    }
}

fn too_long() -> EngineError {
    let text = "the key of a fact is longer than 65,533 bytes";
    EngineError::Other(Arc::new(std::io::Error::new(std::io::ErrorKind::InvalidInput, text)))
}

/// Refuses the remaining jobs, and closes the store.
pub(super) fn close(shared: &Shared, jobs: Receiver<Job>) -> Result<(), EngineError> {
    while let Ok(job) = jobs.try_recv() {
        complete(|| job.refuse(&EngineError::Closed));
    }
    drop(jobs);
    if shared.close()
        && let Err(error) = journal::close(&shared.directory.log())
    {
        return Err(super::directory::failed("close", shared.directory.path())(error));
    }
    Ok(())
}
