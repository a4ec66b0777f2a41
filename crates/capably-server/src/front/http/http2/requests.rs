//! The requests of a connection that are being answered.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::rt::Executor;
use tokio::time::{Sleep, sleep};

use super::response::{Sending, Signals};

type Answer<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Answers of hyper that have not been polled yet.
type Fresh<'a> = Mutex<Vec<Answer<'a>>>;

/// The requests of a connection that are being answered.
pub(super) struct Requests<'a> {
    running: FuturesUnordered<Answering<'a>>,
    fresh: Arc<Fresh<'a>>,
    signals: Arc<Signals>,
    stall_limit: Duration,
}

impl<'a> Requests<'a> {
    /// An answer is dropped, which resets its stream, if the client reads nothing of it for `stall_limit`.
    pub(super) fn new(signals: Arc<Signals>, stall_limit: Duration) -> Self {
        let (running, fresh) = (FuturesUnordered::new(), Arc::default());
        Self { running, fresh, signals, stall_limit }
    }

    /// The executor for hyper: it adds the future of each new request to this list.
    pub(super) fn executor(&self) -> Spawner<'a> {
        Spawner(Arc::downgrade(&self.fresh))
    }

    /// Continues all answers. Call it after hyper, which may have new requests.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        loop {
            let fresh = mem::take(&mut *lock(&self.fresh));
            let signals = &self.signals;
            self.running.extend(fresh.into_iter().map(|answer| Answering {
                answer,
                signals: Arc::clone(signals),
                stall_limit: self.stall_limit,
                deadline: None,
            }));
            while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
            if lock(&self.fresh).is_empty() {
                return;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

/// hyper's way to the requests of its connection.
///
/// Weak, since hyper's futures have a clone of it, and would keep themselves alive.
#[derive(Clone)]
pub(super) struct Spawner<'a>(Weak<Fresh<'a>>);

impl<'a, F: Future<Output = ()> + Send + 'a> Executor<F> for Spawner<'a> {
    fn execute(&self, future: F) {
        if let Some(fresh) = self.0.upgrade() {
            lock(&fresh).push(Box::pin(future));
        }
    }
}

fn lock<'a, 'b>(fresh: &'b Fresh<'a>) -> std::sync::MutexGuard<'b, Vec<Answer<'a>>> {
    fresh.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer, with the time limit for a client that does not read it.
///
/// The limit for the socket is not enough: a client can read from its connection, and yet allow nothing of one response.
struct Answering<'a> {
    answer: Answer<'a>,
    signals: Arc<Signals>,
    stall_limit: Duration,
    /// Runs while a piece of the response waits for the client.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Future for Answering<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // All answers of the connection are polled one after the other, so the signal is this one's.
        this.signals.take_sending();
        if this.answer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match this.signals.take_sending() {
            Some(Sending::Piece) => this.deadline = Some(Box::pin(sleep(this.stall_limit))),
            Some(Sending::Nothing) => this.deadline = None,
            None => {}
        }
        match &mut this.deadline {
            Some(deadline) => deadline.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
