//! The log of an app in an engine: appends on their way to it, and results on their way back.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use capably_protocol::ErrorInfo;
use tokio::sync::Notify;

use super::AppHandle;
use crate::{
    engine::{self, Append, Appended, Engine, EngineError},
    front::cluster::Cluster,
    hub::{Ticket, error},
    metrics::Metrics,
    readiness::Readiness,
};

/// When entries on their way to the engine take more memory than this, in bytes, publishers pause until half of it is free.
const HIGH_WATER: usize = 8 * 1024 * 1024;

/// The log of an app in an engine.
pub(in crate::front) struct Log {
    pub(super) engine: Arc<dyn Engine>,
    /// The node that this server is, if several share the engine.
    pub(super) cluster: Option<Arc<Cluster>>,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    queue: Mutex<Queue>,
    /// Wakes those who wait for results.
    pub(super) progress: Notify,
}

#[derive(Default)]
struct Queue {
    /// The results that the hub does not know yet, in the order in which they arrived.
    results: VecDeque<(Ticket, Result<Appended, ErrorInfo>)>,
    /// The entries of followed channels that the hub does not know yet, in their order.
    entries: VecDeque<(Box<str>, engine::Entry)>,
    /// The memory that entries on their way to the engine take, in bytes.
    bytes: usize,
    /// Publishers that pause.
    paused: Vec<Waker>,
}

impl Queue {
    fn has_arrivals(&self) -> bool {
        !self.results.is_empty() || !self.entries.is_empty()
    }
}

/// Entries for the engine, in order.
#[derive(Default)]
pub(super) struct Appends {
    tickets: Vec<Ticket>,
    pub(super) entries: Vec<Append>,
    /// The memory that they take until they are committed, in bytes.
    bytes: usize,
}

impl Appends {
    pub(super) fn push(&mut self, ticket: Ticket, entry: Append, bytes: usize) {
        self.tickets.push(ticket);
        self.entries.push(entry);
        self.bytes += bytes;
    }
}

impl Log {
    pub(in crate::front) fn new(
        engine: Arc<dyn Engine>,
        cluster: Option<Arc<Cluster>>,
        metrics: Arc<Metrics>,
        readiness: Arc<Readiness>,
    ) -> Self {
        let (queue, progress) = (Mutex::default(), Notify::new());
        Self { engine, cluster, metrics, readiness, queue, progress }
    }

    /// Gives entries to the engine.
    pub(super) fn append(&self, appends: Appends, app: &Weak<AppHandle>) {
        let Appends { tickets, entries, bytes } = appends;
        if entries.is_empty() {
            return;
        }
        self.queue().bytes += bytes;
        let waiting = Waiting { app: Weak::clone(app), tickets, bytes, started: Instant::now() };
        let append = || self.engine.append(entries, Box::new(|results| waiting.settle(results)));
        // An engine that panics must not end the client whose frame this was. `Waiting` answers for it.
        if catch_unwind(AssertUnwindSafe(append)).is_err() {
            tracing::error!("the engine has panicked");
        }
    }

    /// Whether publishers should pause.
    pub(super) fn is_full(&self) -> bool {
        self.queue().bytes > HIGH_WATER
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries that an engine was given. If it drops this without a result, they count as refused.
struct Waiting {
    app: Weak<AppHandle>,
    tickets: Vec<Ticket>,
    bytes: usize,
    started: Instant,
}

impl Waiting {
    fn settle(mut self, results: Vec<Result<Appended, EngineError>>) {
        self.report(results);
    }

    fn report(&mut self, mut results: Vec<Result<Appended, EngineError>>) {
        let Some(app) = self.app.upgrade() else { return };
        let tickets = std::mem::take(&mut self.tickets);
        results.resize_with(tickets.len(), || Err(EngineError::Closed));
        app.receive_results(tickets, results, self.bytes, self.started.elapsed());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.tickets.is_empty() {
            self.report(Vec::new());
        }
    }
}

impl AppHandle {
    /// The engine has committed or refused entries. It may call this while the app is locked.
    fn receive_results(
        &self,
        tickets: Vec<Ticket>,
        results: Vec<Result<Appended, EngineError>>,
        bytes: usize,
        time: Duration,
    ) {
        let Some(log) = &self.log else { return };
        match results.iter().find_map(|result| result.as_ref().err()) {
            None => {
                log.metrics.committed(time);
                log.readiness.engine_is_available();
            }
            Some(problem) => {
                tracing::error!(%problem, "the engine has not committed");
                log.readiness.engine_is_unavailable(problem.to_string());
            }
        }
        let results = results.into_iter().map(|it| it.map_err(|problem| error::engine(&problem)));
        let woken = {
            let mut queue = log.queue();
            queue.results.extend(tickets.into_iter().zip(results));
            queue.bytes -= bytes;
            let half_full = queue.bytes > HIGH_WATER / 2;
            if half_full { Vec::new() } else { std::mem::take(&mut queue.paused) }
        };
        woken.into_iter().for_each(Waker::wake);
        self.apply_results();
    }

    /// An entry of a followed channel has arrived. The engine may call this while the app is locked.
    pub(in crate::front) fn receive_entry(&self, channel: Box<str>, entry: engine::Entry) {
        let Some(log) = &self.log else { return };
        let age = self.clock.now().wall.saturating_sub(entry.time).max(0);
        log.metrics.set_lag(Duration::from_millis(age.unsigned_abs()));
        log.queue().entries.push_back((channel, entry));
        self.apply_results();
    }

    /// Gives the results and the entries of the engine to the hub. While another call has the lock, that call does it at its end.
    pub(super) fn apply_results(&self) {
        let Some(log) = &self.log else { return };
        while log.queue().has_arrivals() {
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let (results, entries) = {
                let mut queue = log.queue();
                (std::mem::take(&mut queue.results), std::mem::take(&mut queue.entries))
            };
            let now = self.clock.now();
            state.input(|hub, outputs| {
                if !results.is_empty() {
                    hub.committed(results.into(), now, outputs);
                }
                if !entries.is_empty() {
                    hub.follow(entries, now, outputs);
                }
            });
            self.carry_out(state);
            log.progress.notify_waiters();
        }
    }

    /// Ready when a publisher that pauses for the engine can continue.
    pub(in crate::front) fn poll_storage(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(log) = &self.log else { return Poll::Ready(()) };
        let mut queue = log.queue();
        if queue.bytes <= HIGH_WATER / 2 {
            return Poll::Ready(());
        }
        if !queue.paused.iter().any(|waker| waker.will_wake(cx.waker())) {
            queue.paused.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("engine", &self.engine).finish_non_exhaustive()
    }
}
