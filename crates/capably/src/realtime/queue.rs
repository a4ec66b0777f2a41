//! The queue between the driver and one listener: filled in batches, emptied in batches.
//!
//! The driver holds a [`Queue`] and pushes into it; the listener holds the [`Intake`] of the same queue.

use std::{
    convert::Infallible,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use capably_protocol::{Annotation, ErrorCode, Message, ObjectMessage, PresenceMessage};

use super::{ChannelStateChange, ConnectionStateChange};
use crate::{Error, outbox::RefusedPublish};

mod batches;
mod intake;
mod items;

use batches::Batches;
pub(crate) use batches::Notice;
pub(crate) use intake::{Break, Intake, Next};
pub(crate) use items::Items;

/// What happens when a listener does not keep up and its queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing is lost as long as the service still has it. Items without room stay with the service. The
    /// client fetches them in order when half of the queue is free again. Fetching needs no right beyond
    /// `subscribe`.
    ///
    /// Other listeners and channels wait at most 5 ms when the queue fills, and then go on. If the service no
    /// longer has an item, the listener receives a [`Gap`](super::Gap).
    #[default]
    Replay,
    /// The oldest items are dropped. The listener receives the number of dropped items.
    DropOldest,
    /// The subscription ends after the queued items.
    End,
}

/// A queue of items for one listener, with notices between them.
#[derive(Debug)]
pub(crate) struct Queue<T, N = Infallible> {
    state: Mutex<QueueState<T, N>>,
    bounds: Bounds,
    overflow: Overflow,
}

#[derive(Debug)]
struct QueueState<T, N> {
    batches: Batches<T, N>,
    /// The weight of all queued items, in bytes.
    bytes: usize,
    /// Items dropped since the listener last took a batch.
    lagged: u64,
    /// Why the queue accepts no more items.
    end: Option<Error>,
    listener: Option<Waker>,
    /// The driver's waker, while the driver waits for room.
    producer: Option<Waker>,
}

impl<T, N: Notice> Queue<T, N> {
    pub(crate) fn new(bounds: Bounds, overflow: Overflow) -> Self {
        Self {
            state: Mutex::new(QueueState {
                batches: Batches::new(),
                bytes: 0,
                lagged: 0,
                end: None,
                listener: None,
                producer: None,
            }),
            // A queue without any room would have its channel replayed for ever.
            bounds: Bounds { items: bounds.items.max(1), bytes: bounds.bytes.max(1) },
            overflow,
        }
    }

    /// Adds a notice behind the queued items, and wakes the listener.
    pub(crate) fn push_notice(&self, notice: N) {
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.batches.push_notice(notice);
        wake_listener(state);
    }

    /// Ready when half of the queue is free; otherwise the driver is woken at the next take.
    ///
    /// An ended queue is never ready: nobody reads from it.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.end.is_some() {
            return Poll::Pending;
        }
        let Bounds { items, bytes } = self.bounds;
        // Half, and not a single free place: each replay costs two requests, so it should bring many items.
        if state.batches.len() <= items / 2 && state.bytes <= bytes / 2 {
            return Poll::Ready(());
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the next arrival has room; otherwise the driver is woken at the next take.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Bounds { items, bytes } = self.bounds;
        let full = state.batches.len() >= items || state.bytes >= bytes;
        if state.end.is_some() || self.overflow != Overflow::Replay || !full {
            return Poll::Ready(());
        }
        state.producer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the listener after the queued items. The first reason counts.
    pub(crate) fn end(&self, error: Error) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(error);
        }
        wake_listener(state);
    }

    /// Takes everything that is queued.
    fn poll_take(&self, cx: &mut Context<'_>) -> Poll<QueueOutput<T, N>> {
        let mut state = self.lock();
        // Before the batches: the dropped items were older than every queued one.
        if state.lagged > 0 {
            return Poll::Ready(QueueOutput::Lagged(mem::take(&mut state.lagged)));
        }
        if !state.batches.is_empty() {
            let batches = mem::replace(&mut state.batches, Batches::new());
            state.bytes = 0;
            let producer = state.producer.take();
            // Wakes the driver after the unlock, because it will lock the queue at once.
            drop(state);
            if let Some(waker) = producer {
                waker.wake();
            }
            return Poll::Ready(QueueOutput::Batches(batches));
        }
        if let Some(error) = &state.end {
            return Poll::Ready(QueueOutput::End(error.clone()));
        }
        if !state.listener.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.listener = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, QueueState<T, N>> {
        // No code that can panic runs while the state is half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Weigh, N: Notice> Queue<T, N> {
    /// Adds items, and wakes the listener once.
    ///
    /// With [`Overflow::Replay`] the queue accepts all items of a push or none, and a queue that is not full
    /// accepts a push of any size: a replay can only start at the boundary of a frame.
    pub(crate) fn push(&self, items: impl Into<Items<T>>, origin: Origin) -> Pushed {
        let mut items = items.into();
        let mut state = self.lock();
        if state.end.is_some() {
            return Pushed::Ended;
        }
        let Bounds { items: capacity, bytes } = self.bounds;
        let queued = state.batches.len();
        let has_bytes = state.bytes < bytes;
        let has_room = match origin {
            Origin::Live => has_bytes && queued < capacity,
            Origin::Replay => has_bytes && queued < capacity.max(MIN_REPLAY),
            Origin::Unplaced => has_bytes,
            Origin::Continued => true,
        };
        if self.overflow == Overflow::Replay && !has_room {
            return Pushed::Refused;
        }
        let mut pushed = Pushed::Queued;
        if self.overflow == Overflow::End {
            let room = capacity.saturating_sub(queued);
            if items.len() > room || state.bytes >= bytes {
                items.truncate(if state.bytes >= bytes { 0 } else { room });
                state.end = Some(too_slow());
                pushed = Pushed::Ended;
            }
        }
        state.bytes += items.weight();
        state.batches.push(items);
        let is_full = state.batches.len() >= capacity || state.bytes >= bytes;
        if self.overflow == Overflow::Replay && origin == Origin::Live && is_full {
            pushed = Pushed::Filled;
        }
        if self.overflow == Overflow::DropOldest {
            let QueueState { batches, bytes, lagged, .. } = &mut *state;
            let before = batches.len();
            batches.drop_first(bytes, self.bounds);
            *lagged += (before - batches.len()) as u64;
        }
        wake_listener(state);
        pushed
    }
}

/// Wakes the listener after the lock is released, so that it does not block on the lock at once.
fn wake_listener<T, N>(mut state: MutexGuard<'_, QueueState<T, N>>) {
    let listener = state.listener.take();
    drop(state);
    if let Some(waker) = listener {
        waker.wake();
    }
}

/// Where pushed items come from. It decides how much room they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A frame of the channel. The service can replay it.
    Live,
    /// A replay.
    Replay,
    /// A frame without a position in the channel. The service does not send it again, so only the bound in
    /// bytes refuses it.
    Unplaced,
    /// A further part of a batch whose first part the queue has accepted.
    Continued,
}

/// The outcome of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// All items are queued.
    Queued,
    /// All items are queued, and the queue is full.
    Filled,
    /// The queue is full, and no item is queued.
    Refused,
    /// The listener has ended.
    Ended,
}

/// The result of a take.
#[derive(Debug)]
enum QueueOutput<T, N> {
    /// This many items were dropped before the next item.
    Lagged(u64),
    /// The queued items and the notices between them.
    Batches(Batches<T, N>),
    /// No more items will come.
    End(Error),
}

/// How much a queue accepts before it is full. The last push may exceed it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { items: DEFAULT_ITEMS, bytes: DEFAULT_BYTES }
    }
}

/// The default capacity of a queue, in items.
const DEFAULT_ITEMS: usize = 8192;

/// The default capacity of a queue, in bytes.
const DEFAULT_BYTES: usize = 16 * 1024 * 1024;

/// How many items a queue accepts from a replay at least. Each replay costs two requests, so a queue with a
/// small capacity would spend most of its time on requests.
const MIN_REPLAY: usize = 256;

/// The memory that an item takes, in bytes, approximately.
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

impl Weigh for ObjectMessage {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.size()
    }
}

impl Weigh for RefusedPublish {
    fn weight(&self) -> usize {
        let messages = self.messages.iter().map(Weigh::weight);
        size_of::<Self>() + messages.sum::<usize>()
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

/// The error of a listener whose queue was full.
pub(super) fn too_slow() -> Error {
    Error::new(
        ErrorCode::CHANNEL_BACKLOG_TOO_LARGE,
        0,
        "the listener did not keep up, and its queue was full",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that fetches again what has no room.
    fn queue(items: usize, bytes: usize) -> Queue<Message> {
        Queue::new(Bounds { items, bytes }, Overflow::Replay)
    }

    /// Pushes one item at a time. Returns how many the queue accepts before it refuses one.
    fn accepted(queue: &Queue<Message>, origin: Origin) -> usize {
        let push = || queue.push(vec![Message::new("n", "d")], origin);
        (0..1_000).take_while(|_| push() != Pushed::Refused).count()
    }

    #[test]
    fn a_replay_fills_the_capacity_and_256_items_at_least() {
        for (capacity, expected) in [(1, 256), (255, 256), (256, 256), (257, 257), (300, 300)] {
            let queue = queue(capacity, usize::MAX);
            assert_eq!(accepted(&queue, Origin::Replay), expected, "a capacity of {capacity}");
            // Nothing but a replay exceeds the capacity.
            assert_eq!(accepted(&queue, Origin::Live), 0, "a capacity of {capacity}");
        }
    }

    #[test]
    fn frames_of_the_channel_fill_the_capacity() {
        for capacity in [1, 255, 256, 257] {
            let queue = queue(capacity, usize::MAX);
            assert_eq!(accepted(&queue, Origin::Live), capacity);
            // A replay starts when half of the queue is free, so it may fill what a full queue refuses.
            let more = accepted(&queue, Origin::Replay);
            assert_eq!(capacity + more, capacity.max(256));
        }
    }

    #[test]
    fn a_replay_does_not_exceed_the_bytes() {
        let weight = Message::new("n", "d").weight();
        for (bytes, expected) in [(0, 1), (1, 1), (10 * weight - 1, 10), (10 * weight, 10)] {
            let queue = queue(1, bytes);
            assert_eq!(accepted(&queue, Origin::Replay), expected, "{bytes} bytes");
        }
    }
}
