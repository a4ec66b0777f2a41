//! The thread that owns the store.
//!
//! It takes all jobs that wait, applies them in one write, and then answers them: publishes that arrive during a write
//! share the next one. The runtime never waits for the store.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorCode, ErrorInfo, PublishResult};
use tokio::sync::{mpsc::UnboundedSender, oneshot, watch};

use super::{Outbox, OutboxChange, OutboxEntry, OutboxPolicy, OutboxUsage, room::Room};
use crate::{Error, Result, auth::Clock};

/// How long acknowledgements may wait until they are synced. A crash of the machine in that time has their publishes
/// sent again, which the service recognises.
const SYNC_AFTER: Duration = Duration::from_secs(1);

/// The most jobs in one write.
const MAX_JOBS: usize = 4096;

/// The sender of a receipt's result.
pub(super) type ReceiptSender = oneshot::Sender<Result<PublishResult, ErrorInfo>>;

/// A job for the thread.
#[derive(Debug)]
pub(super) enum Job {
    /// Store a publish, which has room.
    Accept(Acceptance),
    /// Take publishes that wait for room: one before them was given up.
    Admit,
    /// Send entries above a sequence number to the sender as soon as there are any. A later demand replaces it.
    Demand { above: u64, entries: usize, bytes: usize },
    /// Remove an acknowledged entry.
    Acknowledged(u64),
    /// Move an entry to the refused ones.
    Refuse { seq: u64, reason: Bytes },
    /// Read the refused entries.
    Refused(oneshot::Sender<Result<Vec<(OutboxEntry, Bytes)>>>),
    /// Store refused entries again, as new ones; all of them or one.
    Retry(Option<u64>, oneshot::Sender<Result<u64>>),
    /// Remove refused entries; all of them or one.
    Discard(Option<u64>, oneshot::Sender<Result<u64>>),
    /// Close the store. Whoever waits is told by the end of the thread.
    Close(Option<oneshot::Sender<()>>),
}

/// A publish to store.
#[derive(Debug)]
pub(super) struct Acceptance {
    pub(super) payload: Bytes,
    /// The sender of the receipt, if anybody waits for the acknowledgement.
    pub(super) receipt: Option<ReceiptSender>,
    pub(super) accepted: oneshot::Sender<Result<()>>,
}

impl Acceptance {
    pub(super) fn bytes(&self) -> u64 {
        self.payload.len() as u64
    }
}

/// What the thread tells the sender.
#[derive(Debug)]
pub(super) enum StoreEvent {
    /// Somebody waits for the acknowledgement of an entry.
    Receipt(u64, ReceiptSender),
    /// Entries that were demanded. The store has marked them as sent.
    Entries(Vec<OutboxEntry>),
    /// The demanded entries cannot be read now. The sender demands them again later.
    Failed,
}

/// What the thread tells the handles.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoreState {
    pub(super) usage: OutboxUsage,
    pub(super) accepted: u64,
    pub(super) dropped: u64,
}

pub(super) struct Worker {
    pub(super) store: Box<dyn Outbox>,
    pub(super) policy: OutboxPolicy,
    pub(super) clock: Clock,
    pub(super) jobs: Receiver<Job>,
    pub(super) events: UnboundedSender<StoreEvent>,
    pub(super) state: watch::Sender<StoreState>,
    pub(super) room: Arc<Room>,
    pub(super) demand: Option<Demand>,
    pub(super) next_seq: u64,
    /// The highest sequence number that the store has had.
    pub(super) highest: u64,
    /// Removals that could not be written yet.
    pub(super) unwritten: Vec<OutboxChange>,
    /// Whether acknowledgements are not synced yet.
    pub(super) unsynced: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    above: u64,
    entries: usize,
    bytes: usize,
}

/// The changes of a group of jobs, and what to do once they are stored.
#[derive(Default)]
struct Group {
    changes: Vec<OutboxChange>,
    /// Changes for what the service has settled. They must not get lost with a failed write.
    settled: Vec<OutboxChange>,
    accepted: Vec<(u64, Acceptance)>,
    replies: Vec<(oneshot::Sender<Result<u64>>, u64)>,
    refused: bool,
    /// The bytes that were admitted for this group, of publishes that were given up, too.
    admitted: u64,
}

impl Worker {
    /// Does jobs until the store is closed, or nobody is left.
    pub(super) fn run(mut self) {
        // Also when the store panics.
        let room = CloseRoom(Arc::clone(&self.room));
        let mut closing = Vec::new();
        let mut open = true;
        while open {
            let mut jobs = match self.wait() {
                Ok(job) => vec![job],
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            while jobs.len() < MAX_JOBS {
                match self.jobs.try_recv() {
                    Ok(job) => jobs.push(job),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            if jobs.is_empty() {
                self.sync();
            }
            let settled = std::mem::take(&mut self.unwritten);
            let mut group = Group { settled, ..Group::default() };
            for job in jobs {
                if let Job::Close(reply) = job {
                    closing.extend(reply);
                    open = false;
                } else if open {
                    self.add(job, &mut group);
                }
            }
            self.commit(group);
        }
        self.sync();
        drop(room);
        // The store's lock is released before anybody is told.
        drop(self.store);
        drop(self.jobs);
        for reply in closing {
            let _ = reply.send(());
        }
    }

    /// Waits for a job. The wait has a limit while something must be done without one.
    fn wait(&self) -> Result<Job, RecvTimeoutError> {
        if self.room.can_admit() {
            return self.jobs.recv_timeout(Duration::ZERO);
        }
        if self.unsynced || !self.unwritten.is_empty() {
            return self.jobs.recv_timeout(SYNC_AFTER);
        }
        self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    fn add(&mut self, job: Job, group: &mut Group) {
        match job {
            Job::Accept(acceptance) => self.accept(acceptance, group),
            // Every commit admits what has room.
            Job::Admit => {}
            Job::Demand { above, entries, bytes } => {
                self.demand = Some(Demand { above, entries, bytes });
            }
            Job::Acknowledged(seq) => group.settled.push(OutboxChange::Remove(seq)),
            Job::Refuse { seq, reason } => {
                group.settled.push(OutboxChange::Refuse { seq, reason });
                group.refused = true;
            }
            Job::Refused(reply) => {
                let _ = reply.send(self.store.refused());
            }
            Job::Retry(chosen, reply) => self.retry(chosen, reply, group),
            Job::Discard(chosen, reply) => match self.chosen(chosen) {
                Ok(entries) => {
                    let changes = entries.iter().map(|entry| OutboxChange::Remove(entry.seq));
                    group.changes.extend(changes);
                    group.replies.push((reply, entries.len() as u64));
                }
                Err(error) => drop(reply.send(Err(error))),
            },
            // The caller handles it.
            Job::Close(_) => {}
        }
    }

    fn accept(&mut self, acceptance: Acceptance, group: &mut Group) {
        group.admitted += acceptance.bytes();
        // A publish that was given up before it was stored leaves nothing behind.
        if acceptance.accepted.is_closed() {
            return;
        }
        let seq = self.take_seq();
        let payload = acceptance.payload.clone();
        let entry = OutboxEntry { seq, accepted_at: self.clock.now(), sent_at: None, payload };
        group.changes.push(OutboxChange::Accept(entry));
        group.accepted.push((seq, acceptance));
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// The refused entry with this sequence number, or all.
    fn chosen(&mut self, chosen: Option<u64>) -> Result<Vec<OutboxEntry>> {
        let refused = self.store.refused()?.into_iter().map(|(entry, _)| entry);
        Ok(refused.filter(|entry| chosen.is_none_or(|seq| seq == entry.seq)).collect())
    }

    fn retry(
        &mut self,
        chosen: Option<u64>,
        reply: oneshot::Sender<Result<u64>>,
        group: &mut Group,
    ) {
        let entries = match self.chosen(chosen) {
            Ok(entries) => entries,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let bytes: u64 = entries.iter().map(|entry| entry.payload.len() as u64).sum();
        if let Err(error) = self.room.reserve(bytes) {
            return drop(reply.send(Err(error)));
        }
        group.admitted += bytes;
        let count = entries.len() as u64;
        for entry in entries {
            let seq = self.take_seq();
            group.changes.push(OutboxChange::Remove(entry.seq));
            // It keeps the time at which it may have been sent first: the service may have accepted it then.
            group.changes.push(OutboxChange::Accept(OutboxEntry { seq, ..entry }));
        }
        group.replies.push((reply, count));
    }

    /// Writes the changes, and answers.
    fn commit(&mut self, mut group: Group) {
        for acceptance in self.room.admit() {
            self.accept(acceptance, &mut group);
        }
        let entries = self.supply(&mut group);
        let Group { mut changes, settled, accepted, replies, refused, admitted } = group;
        changes.extend_from_slice(&settled);
        let written = if changes.is_empty() { Ok(()) } else { self.store.write(&changes) };
        self.room.settle(admitted, self.store.usage().bytes);
        if let Err(error) = written {
            self.unwritten = settled;
            return self.failed(&error, accepted, replies, entries.is_some());
        }
        self.unsynced |= !changes.is_empty();
        self.highest = self.highest.max(highest(&changes));
        // Before the answers: who gets one finds the publish in the numbers.
        self.publish_state(accepted.len() as u64, 0);
        for (seq, Acceptance { receipt, accepted, .. }) in accepted {
            if let Some(receipt) = receipt {
                let _ = self.events.send(StoreEvent::Receipt(seq, receipt));
            }
            let _ = accepted.send(Ok(()));
        }
        for (reply, count) in replies {
            let _ = reply.send(Ok(count));
        }
        if let Some(entries) = entries {
            self.demand = None;
            let _ = self.events.send(StoreEvent::Entries(entries));
        }
        if refused {
            let dropped = self.drop_refused();
            self.publish_state(0, dropped);
        }
    }

    /// Nothing of a group was stored. What the service has settled is tried again with the next write.
    fn failed(
        &mut self,
        error: &Error,
        accepted: Vec<(u64, Acceptance)>,
        replies: Vec<(oneshot::Sender<Result<u64>>, u64)>,
        demanded: bool,
    ) {
        tracing::error!(error = %error.logged(), "the outbox cannot be written");
        for (_, acceptance) in accepted {
            let _ = acceptance.accepted.send(Err(error.clone()));
        }
        for (reply, _) in replies {
            let _ = reply.send(Err(error.clone()));
        }
        if demanded {
            self.demand = None;
            let _ = self.events.send(StoreEvent::Failed);
        }
    }

    /// The entries for the demand, if there are any; the group then marks them as sent. A mark in the same write as the
    /// entries costs nothing.
    fn supply(&mut self, group: &mut Group) -> Option<Vec<OutboxEntry>> {
        let Demand { above, entries, bytes } = self.demand?;
        let supplied = if self.highest > above {
            match self.store.read(above, entries, bytes) {
                Ok(supplied) => supplied,
                Err(error) => {
                    tracing::error!(error = %error.logged(), "the outbox cannot be read");
                    self.demand = None;
                    let _ = self.events.send(StoreEvent::Failed);
                    return None;
                }
            }
        } else {
            Vec::new()
        };
        let supplied = if supplied.is_empty() {
            let mut left = bytes;
            let added = group.changes.iter().filter_map(|change| match change {
                OutboxChange::Accept(entry) => Some(entry),
                _ => None,
            });
            added
                .take(entries)
                .take_while(|entry| {
                    let fits = left > 0;
                    left = left.saturating_sub(entry.payload.len());
                    fits
                })
                .cloned()
                .collect()
        } else {
            supplied
        };
        let through = supplied.last()?.seq;
        group.changes.push(OutboxChange::Sent { through, at: self.clock.now() });
        Some(supplied)
    }

    /// Drops the oldest refused entries while there are too many bytes of them. Returns how many.
    fn drop_refused(&mut self) -> u64 {
        let usage = self.store.usage();
        if usage.refused_bytes <= self.policy.max_refused_bytes {
            return 0;
        }
        let Ok(refused) = self.store.refused() else { return 0 };
        let mut excess = usage.refused_bytes - self.policy.max_refused_bytes;
        let mut changes = Vec::new();
        for (entry, _) in refused {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(entry.payload.len() as u64);
            changes.push(OutboxChange::Remove(entry.seq));
        }
        let count = changes.len() as u64;
        if self.store.write(&changes).is_err() {
            return 0;
        }
        tracing::warn!(
            count,
            "the outbox has dropped refused publishes, because there are too many"
        );
        count
    }

    fn sync(&mut self) {
        if self.unsynced {
            match self.store.sync() {
                Ok(()) => self.unsynced = false,
                Err(error) => {
                    tracing::error!(error = %error.logged(), "the outbox cannot be synced");
                }
            }
        }
    }

    fn publish_state(&self, accepted: u64, dropped: u64) {
        let usage = self.store.usage();
        self.state.send_modify(|state| {
            state.usage = usage;
            state.accepted += accepted;
            state.dropped += dropped;
        });
    }
}

/// Closes the room when it is dropped.
struct CloseRoom(Arc<Room>);

impl Drop for CloseRoom {
    fn drop(&mut self) {
        self.0.close();
    }
}

pub(super) fn start(worker: Worker) -> Result<()> {
    let thread = std::thread::Builder::new().name("capably-outbox".to_owned());
    let started = thread.spawn(move || worker.run());
    started.map(drop).map_err(|error| {
        Error::new(ErrorCode::INTERNAL_ERROR, 0, "the thread of the outbox cannot be started")
            .with_source(error)
    })
}

/// A worker's side of the queue of jobs, without a worker behind it.
pub(super) type Jobs = Sender<Job>;

fn highest(changes: &[OutboxChange]) -> u64 {
    let seqs = changes.iter().filter_map(|change| match change {
        OutboxChange::Accept(entry) => Some(entry.seq),
        _ => None,
    });
    seqs.max().unwrap_or_default()
}
