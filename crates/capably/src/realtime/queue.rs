//! A queue from the driver to one listener: filled in batches, emptied in batches.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    vec,
};

use super::command::gone;
use crate::Error;

/// What happens when a listener does not keep up and its queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing is lost: the client reads no more from its connection until there is room. A listener that
    /// takes nothing for the realtime request timeout ends, so that it cannot hold up the others for good.
    #[default]
    Wait,
    /// The oldest items are dropped; the listener is told how many.
    DropOldest,
    /// The listener ends, after what is queued.
    End,
}

/// A queue of items for one listener.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    capacity: usize,
    overflow: Overflow,
}

#[derive(Debug)]
struct Inner<T> {
    items: Batches<T>,
    /// Dropped since the listener last looked.
    lagged: u64,
    end: Option<Error>,
    listener: Option<Waker>,
    /// The driver waits for room.
    producer: Option<Waker>,
}

/// Items in the batches they came in, which are handed on without touching the items.
#[derive(Debug)]
pub(crate) struct Batches<T> {
    first: vec::IntoIter<T>,
    rest: VecDeque<Vec<T>>,
    len: usize,
}

impl<T> Batches<T> {
    pub(crate) fn new() -> Self {
        Self { first: Vec::new().into_iter(), rest: VecDeque::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, batch: Vec<T>) {
        self.len += batch.len();
        self.rest.push_back(batch);
    }

    /// Drops all but the first `len` items.
    fn truncate(&mut self, len: usize) {
        while self.len > len
            && let Some(batch) = self.rest.back_mut()
        {
            let excess = (self.len - len).min(batch.len());
            batch.truncate(batch.len() - excess);
            self.len -= excess;
            if batch.is_empty() {
                self.rest.pop_back();
            }
        }
    }
}

impl<T> Iterator for Batches<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.first.next() {
                self.len -= 1;
                return Some(item);
            }
            self.first = self.rest.pop_front()?.into_iter();
        }
    }
}

/// What a listener takes.
#[derive(Debug)]
pub(crate) enum Taken<T> {
    /// So many items were dropped before the next one.
    Lagged(u64),
    /// The next items.
    Items(Batches<T>),
    /// No more will come.
    End(Error),
}

/// A listener's end of a queue: takes what there is in batches, and hands it out one by one.
#[derive(Debug)]
pub(crate) struct Intake<T> {
    queue: Arc<Queue<T>>,
    taken: Batches<T>,
    end: Option<Error>,
}

/// What an intake hands out.
pub(crate) enum Next<T> {
    Item(T),
    /// So many items were dropped here.
    Lagged(u64),
}

impl<T> Intake<T> {
    pub(crate) fn new(queue: Arc<Queue<T>>) -> Self {
        Self { queue, taken: Batches::new(), end: None }
    }

    /// The next item, or how many were dropped before it; `None` once no more will come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next<T>>> {
        loop {
            if let Some(item) = self.taken.next() {
                return Poll::Ready(Some(Next::Item(item)));
            }
            if let Some(missed) = ready!(self.poll_take(cx)) {
                return Poll::Ready(Some(Next::Lagged(missed)));
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
        }
    }

    /// As [`poll_next`](Self::poll_next), telling `lagged` how many were dropped.
    pub(crate) fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
        lagged: impl Fn(u64),
    ) -> Poll<Option<T>> {
        loop {
            if let Some(item) = self.taken.next() {
                return Poll::Ready(Some(item));
            }
            if let Some(missed) = ready!(self.poll_take(cx)) {
                lagged(missed);
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
        }
    }

    /// Takes what has arrived since the last batch was used up. Returns how many items were dropped before
    /// what comes next, if any were.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.queue.poll_take(cx)) {
            Taken::Items(items) => {
                self.taken = items;
                None
            }
            Taken::Lagged(missed) => Some(missed),
            Taken::End(reason) => {
                self.end = Some(reason);
                None
            }
        })
    }

    /// How many items have been taken and not yet handed out.
    pub(crate) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Why no more will come, once that is so.
    pub(crate) fn end_reason(&self) -> Option<&Error> {
        self.end.as_ref()
    }

    /// The listener goes: the driver need not wait for room that nobody will make.
    pub(crate) fn close(&self) {
        self.queue.end(gone());
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: Batches::new(),
                lagged: 0,
                end: None,
                listener: None,
                producer: None,
            }),
            capacity: capacity.max(1),
            overflow,
        }
    }

    /// Adds items and wakes the listener once. Returns what to do if the queue is now full.
    pub(crate) fn push(&self, items: Vec<T>) -> Pushed {
        let mut inner = self.lock();
        if inner.end.is_some() {
            return Pushed::Ended;
        }
        inner.items.push(items);
        let excess = inner.items.len().saturating_sub(self.capacity);
        let pushed = match self.overflow {
            Overflow::Wait if inner.items.len() >= self.capacity => Pushed::Full,
            Overflow::DropOldest if excess > 0 => {
                inner.items.by_ref().take(excess).for_each(drop);
                inner.lagged += excess as u64;
                Pushed::Room
            }
            Overflow::End if excess > 0 => {
                inner.items.truncate(self.capacity);
                inner.end = Some(too_slow());
                Pushed::Ended
            }
            Overflow::Wait | Overflow::DropOldest | Overflow::End => Pushed::Room,
        };
        let listener = inner.listener.take();
        drop(inner);
        if let Some(waker) = listener {
            waker.wake();
        }
        pushed
    }

    /// Whether there is room again, or need not be; if not, the driver is woken once there is.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let waits = self.overflow == Overflow::Wait && inner.end.is_none();
        if !waits || inner.items.len() < self.capacity {
            return Poll::Ready(());
        }
        inner.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the listener, after what is queued.
    pub(crate) fn end(&self, error: Error) {
        let mut inner = self.lock();
        if inner.end.is_none() {
            inner.end = Some(error);
        }
        let listener = inner.listener.take();
        drop(inner);
        if let Some(waker) = listener {
            waker.wake();
        }
    }

    /// Ends a listener that holds up the driver.
    pub(crate) fn end_too_slow(&self) {
        self.end(too_slow());
    }

    /// Takes all there is.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken<T>> {
        let mut inner = self.lock();
        if inner.lagged > 0 {
            return Poll::Ready(Taken::Lagged(mem::take(&mut inner.lagged)));
        }
        if inner.items.len() > 0 {
            let items = mem::replace(&mut inner.items, Batches::new());
            let producer = inner.producer.take();
            drop(inner);
            if let Some(waker) = producer {
                waker.wake();
            }
            return Poll::Ready(Taken::Items(items));
        }
        if let Some(error) = &inner.end {
            return Poll::Ready(Taken::End(error.clone()));
        }
        if !inner.listener.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.listener = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing that runs under the lock leaves the queue half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a push went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// There is room for more.
    Room,
    /// The driver must wait for room.
    Full,
    /// The listener has ended.
    Ended,
}

fn too_slow() -> Error {
    Error::new(
        capably_protocol::ErrorCode::CHANNEL_BACKLOG_TOO_LARGE,
        0,
        "the listener did not take what arrived, and its queue was full",
    )
}
