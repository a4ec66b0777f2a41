//! A queue from the driver to one listener: filled in batches, emptied in batches.

use std::{
    collections::VecDeque,
    convert::Infallible,
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

/// A queue of items for one listener, with notices between them.
#[derive(Debug)]
pub(crate) struct Queue<T, N = Infallible> {
    inner: Mutex<Inner<T, N>>,
    capacity: usize,
    overflow: Overflow,
}

/// What stands between items. It takes no room, and is not dropped with the items around it.
pub(crate) trait Notice {
    /// Makes one of two that have no item between them.
    fn merge(&mut self, later: Self);
}

impl Notice for Infallible {
    fn merge(&mut self, later: Self) {
        match later {}
    }
}

#[derive(Debug)]
struct Inner<T, N> {
    batches: Batches<T, N>,
    /// Dropped since the listener last looked.
    lagged: u64,
    end: Option<Error>,
    listener: Option<Waker>,
    /// The driver waits for room.
    producer: Option<Waker>,
}

/// Items in the batches they came in, which are handed on without touching the items.
#[derive(Debug)]
pub(crate) struct Batches<T, N> {
    first: vec::IntoIter<T>,
    rest: VecDeque<Batch<T, N>>,
    /// How many items there are.
    len: usize,
}

#[derive(Debug)]
enum Batch<T, N> {
    Items(Vec<T>),
    Notice(N),
}

impl<T, N> Batches<T, N> {
    pub(crate) fn new() -> Self {
        Self { first: Vec::new().into_iter(), rest: VecDeque::new(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn is_empty(&self) -> bool {
        self.len == 0 && self.rest.is_empty()
    }

    fn push(&mut self, batch: Vec<T>) {
        self.len += batch.len();
        self.rest.push_back(Batch::Items(batch));
    }

    /// Drops the last items, as many as are more than `len`; they are all of the last batch.
    fn truncate(&mut self, len: usize) {
        if let Some(Batch::Items(batch)) = self.rest.back_mut() {
            let excess = self.len.saturating_sub(len).min(batch.len());
            batch.truncate(batch.len() - excess);
            self.len -= excess;
        }
    }

    /// The next item, while no notice comes first.
    #[inline]
    fn next_item(&mut self) -> Option<T> {
        loop {
            if let Some(item) = self.first.next() {
                self.len -= 1;
                return Some(item);
            }
            let Some(Batch::Items(_)) = self.rest.front() else { return None };
            if let Some(Batch::Items(items)) = self.rest.pop_front() {
                self.first = items.into_iter();
            }
        }
    }

    /// The notice that comes before the next item, if one does.
    fn next_notice(&mut self) -> Option<N> {
        match (self.first.len(), self.rest.pop_front()?) {
            (0, Batch::Notice(notice)) => Some(notice),
            (_, other) => {
                self.rest.push_front(other);
                None
            }
        }
    }
}

impl<T, N: Notice> Batches<T, N> {
    fn push_notice(&mut self, notice: N) {
        match self.rest.back_mut() {
            Some(Batch::Notice(before)) => before.merge(notice),
            Some(Batch::Items(_)) | None => self.rest.push_back(Batch::Notice(notice)),
        }
    }

    /// Drops the first items. The notices among them stay, as one in front of what is left.
    fn drop_first(&mut self, items: usize) {
        let left = self.len.saturating_sub(items);
        let mut passed: Option<N> = None;
        loop {
            while self.len > left && self.next_item().is_some() {}
            let Some(notice) = self.next_notice() else { break };
            match &mut passed {
                Some(passed) => passed.merge(notice),
                None => passed = Some(notice),
            }
        }
        if let Some(notice) = passed {
            let rest: Vec<T> = mem::take(&mut self.first).collect();
            if !rest.is_empty() {
                self.rest.push_front(Batch::Items(rest));
            }
            self.rest.push_front(Batch::Notice(notice));
        }
    }
}

/// What a listener takes.
#[derive(Debug)]
enum Taken<T, N> {
    /// So many items were dropped before the next one.
    Lagged(u64),
    /// The next items, and what stands between them.
    Batches(Batches<T, N>),
    /// No more will come.
    End(Error),
}

/// A listener's end of a queue: takes what there is in batches, and hands it out one by one.
#[derive(Debug)]
pub(crate) struct Intake<T, N = Infallible> {
    queue: Arc<Queue<T, N>>,
    taken: Batches<T, N>,
    end: Option<Error>,
}

/// What an intake hands out.
pub(crate) enum Next<T, N> {
    Item(T),
    Break(Break<N>),
}

/// What stands before the next item.
pub(crate) enum Break<N> {
    Notice(N),
    /// So many items were dropped here.
    Lagged(u64),
}

impl<T, N: Notice> Intake<T, N> {
    pub(crate) fn new(queue: Arc<Queue<T, N>>) -> Self {
        Self { queue, taken: Batches::new(), end: None }
    }

    /// The next item, or what stands before it; `None` once no more will come.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next<T, N>>> {
        loop {
            if let Some(item) = self.taken.next_item() {
                return Poll::Ready(Some(Next::Item(item)));
            }
            if let Some(found) = ready!(self.poll_more(cx)) {
                return Poll::Ready(Some(Next::Break(found)));
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
        }
    }

    /// As [`poll_next`](Self::poll_next), telling `passed` what stood before the item.
    pub(crate) fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
        passed: impl Fn(Break<N>),
    ) -> Poll<Option<T>> {
        loop {
            if let Some(item) = self.taken.next_item() {
                return Poll::Ready(Some(item));
            }
            if let Some(found) = ready!(self.poll_more(cx)) {
                passed(found);
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
        }
    }

    /// Goes on where no item is at hand. Returns what stands there, if anything does.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Break<N>>> {
        if let Some(notice) = self.taken.next_notice() {
            return Poll::Ready(Some(Break::Notice(notice)));
        }
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.queue.poll_take(cx)) {
            Taken::Batches(batches) => {
                self.taken = batches;
                None
            }
            Taken::Lagged(missed) => Some(Break::Lagged(missed)),
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

impl<T, N: Notice> Queue<T, N> {
    pub(crate) fn new(capacity: usize, overflow: Overflow) -> Self {
        Self {
            inner: Mutex::new(Inner {
                batches: Batches::new(),
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
        inner.batches.push(items);
        let excess = inner.batches.len().saturating_sub(self.capacity);
        let pushed = match self.overflow {
            Overflow::Wait if inner.batches.len() >= self.capacity => Pushed::Full,
            Overflow::DropOldest if excess > 0 => {
                inner.batches.drop_first(excess);
                inner.lagged += excess as u64;
                Pushed::Room
            }
            Overflow::End if excess > 0 => {
                inner.batches.truncate(self.capacity);
                inner.end = Some(too_slow());
                Pushed::Ended
            }
            Overflow::Wait | Overflow::DropOldest | Overflow::End => Pushed::Room,
        };
        wake_listener(inner);
        pushed
    }

    /// Adds a notice behind what is queued, and wakes the listener.
    pub(crate) fn push_notice(&self, notice: N) {
        let mut inner = self.lock();
        if inner.end.is_some() {
            return;
        }
        inner.batches.push_notice(notice);
        wake_listener(inner);
    }

    /// Whether there is room again, or need not be; if not, the driver is woken once there is.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let waits = self.overflow == Overflow::Wait && inner.end.is_none();
        if !waits || inner.batches.len() < self.capacity {
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
        wake_listener(inner);
    }

    /// Ends a listener that holds up the driver.
    pub(crate) fn end_too_slow(&self) {
        self.end(too_slow());
    }

    /// Takes all there is.
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken<T, N>> {
        let mut inner = self.lock();
        if inner.lagged > 0 {
            return Poll::Ready(Taken::Lagged(mem::take(&mut inner.lagged)));
        }
        if !inner.batches.is_empty() {
            let batches = mem::replace(&mut inner.batches, Batches::new());
            let producer = inner.producer.take();
            drop(inner);
            if let Some(waker) = producer {
                waker.wake();
            }
            return Poll::Ready(Taken::Batches(batches));
        }
        if let Some(error) = &inner.end {
            return Poll::Ready(Taken::End(error.clone()));
        }
        if !inner.listener.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.listener = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T, N>> {
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

fn wake_listener<T, N>(mut inner: MutexGuard<'_, Inner<T, N>>) {
    let listener = inner.listener.take();
    drop(inner);
    if let Some(waker) = listener {
        waker.wake();
    }
}

fn too_slow() -> Error {
    Error::new(
        capably_protocol::ErrorCode::CHANNEL_BACKLOG_TOO_LARGE,
        0,
        "the listener did not take what arrived, and its queue was full",
    )
}
