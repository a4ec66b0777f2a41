//! A queue from the driver to one listener: filled in batches, emptied in batches.

use std::{
    collections::VecDeque,
    convert::Infallible,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    vec,
};

use capably_protocol::{Annotation, Message, PresenceMessage};

use crate::Error;
use crate::realtime::{ChannelStateChange, ConnectionStateChange, driver::command::gone};

/// What happens when a listener does not keep up and its queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing is lost, as long as the service has it: what has no room stays there, and is fetched in order
    /// when half of the queue is free again. Nobody else is held up meanwhile, but for up to 5 ms when the queue
    /// fills. What the service no longer has by then is told as a [`Gap`](super::Gap). Fetching needs no right
    /// beyond `subscribe`.
    #[default]
    Replay,
    /// The oldest items are dropped; the listener is told how many.
    DropOldest,
    /// The listener ends, after what is queued.
    End,
}

/// A queue of items for one listener, with notices between them.
#[derive(Debug)]
pub(crate) struct Queue<T, N = Infallible> {
    inner: Mutex<Inner<T, N>>,
    bounds: Bounds,
    overflow: Overflow,
}

/// How much a queue holds. What arrives together comes on top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { items: CAPACITY, bytes: BYTES }
    }
}

/// How many items a subscription queues, unless it says otherwise.
const CAPACITY: usize = 8192;

/// How many bytes a subscription queues, unless it says otherwise.
const BYTES: usize = 16 * 1024 * 1024;

/// How many items a queue takes in a replay at least: each replay costs two requests.
const REPLAYED: usize = 256;

/// What a queue counts of an item, in bytes.
pub(crate) trait Weigh {
    fn weight(&self) -> usize;
}

impl Weigh for Message {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.size()
    }
}

impl Weigh for PresenceMessage {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.size()
    }
}

impl Weigh for Annotation {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.size()
    }
}

impl Weigh for ConnectionStateChange {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Weigh for ChannelStateChange {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

/// What is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// What arrives on the channel, and can be replayed.
    Live,
    /// What a replay brings.
    Repeated,
    /// What can be had only now: it is refused by the bound in bytes alone.
    Unplaced,
    /// The rest of what the queue has taken a part of.
    Rest,
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
    /// How many bytes the items have.
    bytes: usize,
    /// Dropped since the listener last looked.
    lagged: u64,
    end: Option<Error>,
    listener: Option<Waker>,
    /// The driver, if it has something for when there is room.
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
}

impl<T: Weigh, N: Notice> Batches<T, N> {
    /// Drops the first items until what is left is within the bounds. The notices among them stay, as one in front
    /// of what is left.
    fn drop_first(&mut self, bytes: &mut usize, bounds: Bounds) {
        let mut passed: Option<N> = None;
        loop {
            // The newest item stays, whatever it weighs.
            while (self.len > bounds.items || (*bytes > bounds.bytes && self.len > 1))
                && let Some(item) = self.next_item()
            {
                *bytes = bytes.saturating_sub(item.weight());
            }
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
    pub(crate) fn new(bounds: Bounds, overflow: Overflow) -> Self {
        Self {
            inner: Mutex::new(Inner {
                batches: Batches::new(),
                bytes: 0,
                lagged: 0,
                end: None,
                listener: None,
                producer: None,
            }),
            // A queue that takes nothing would have the channel replayed for ever.
            bounds: Bounds { items: bounds.items.max(1), bytes: bounds.bytes.max(1) },
            overflow,
        }
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

    /// Whether half of the queue is free; if not, the task is woken once there is room. One that has ended never has.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.end.is_some() {
            return Poll::Pending;
        }
        let Bounds { items, bytes } = self.bounds;
        if inner.batches.len() <= items / 2 && inner.bytes <= bytes / 2 {
            return Poll::Ready(());
        }
        inner.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the queue has room for what arrives next; if not, the task is woken once it has.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        let Bounds { items, bytes } = self.bounds;
        let full = inner.batches.len() >= items || inner.bytes >= bytes;
        if inner.end.is_some() || self.overflow != Overflow::Replay || !full {
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

    /// Takes all there is.
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Taken<T, N>> {
        let mut inner = self.lock();
        if inner.lagged > 0 {
            return Poll::Ready(Taken::Lagged(mem::take(&mut inner.lagged)));
        }
        if !inner.batches.is_empty() {
            let batches = mem::replace(&mut inner.batches, Batches::new());
            inner.bytes = 0;
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

impl<T: Weigh, N: Notice> Queue<T, N> {
    /// Adds items and wakes the listener once. All of them are taken or none: a queue that is not full takes what
    /// arrives together.
    pub(crate) fn push(&self, mut items: Vec<T>, push: Push) -> Pushed {
        let mut inner = self.lock();
        if inner.end.is_some() {
            return Pushed::Ended;
        }
        let Bounds { items: capacity, bytes } = self.bounds;
        let queued = inner.batches.len();
        let has_bytes = inner.bytes < bytes;
        let has_room = match push {
            Push::Live => has_bytes && queued < capacity,
            Push::Repeated => has_bytes && queued < capacity.max(REPLAYED),
            Push::Unplaced => has_bytes,
            Push::Rest => true,
        };
        if self.overflow == Overflow::Replay && !has_room {
            return Pushed::Refused;
        }
        let mut pushed = Pushed::Taken;
        if self.overflow == Overflow::End {
            let room = capacity.saturating_sub(queued);
            if items.len() > room || inner.bytes >= bytes {
                items.truncate(if inner.bytes >= bytes { 0 } else { room });
                inner.end = Some(too_slow());
                pushed = Pushed::Ended;
            }
        }
        inner.bytes += items.iter().map(T::weight).sum::<usize>();
        inner.batches.push(items);
        let is_full = inner.batches.len() >= capacity || inner.bytes >= bytes;
        if self.overflow == Overflow::Replay && push == Push::Live && is_full {
            pushed = Pushed::Filled;
        }
        if self.overflow == Overflow::DropOldest {
            let Inner { batches, bytes, lagged, .. } = &mut *inner;
            let before = batches.len();
            batches.drop_first(bytes, self.bounds);
            *lagged += (before - batches.len()) as u64;
        }
        wake_listener(inner);
        pushed
    }
}

/// How a push went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// All items are queued.
    Taken,
    /// All items are queued, and nothing more has room.
    Filled,
    /// The queue is full and has taken none of them.
    Refused,
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

pub(super) fn too_slow() -> Error {
    Error::new(
        capably_protocol::ErrorCode::CHANNEL_BACKLOG_TOO_LARGE,
        0,
        "the listener did not take what arrived, and its queue was full",
    )
}
