//! The frames that wait to be sent to one client. The session of the client takes them; the app puts them in, for
//! every publisher.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use capably_protocol::ServerFrame;

use crate::hub::{Broadcast, error};

/// A frame in an outbox.
#[derive(Debug)]
pub(in crate::front) enum Item {
    Frame(Box<ServerFrame>),
    Broadcast(Arc<Broadcast>),
}

impl Item {
    fn frame(frame: ServerFrame) -> Self {
        Self::Frame(Box::new(frame))
    }

    /// About how many bytes it has when it is encoded.
    pub(in crate::front) fn size(&self) -> usize {
        match self {
            Self::Broadcast(broadcast) => broadcast.size(),
            Self::Frame(frame) => match &**frame {
                ServerFrame::Ack(ack) => {
                    64 + ack.res.iter().map(|result| 16 + 48 * result.serials.len()).sum::<usize>()
                }
                _ => 256,
            },
        }
    }
}

/// With more bytes than this in the outbox, publishers to the client pause. They continue at half of it.
const HIGH_WATER: usize = 1024 * 1024;

/// The frames for one client, at most `limit` bytes of them.
pub(in crate::front) struct Outbox {
    limit: usize,
    high_water: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    /// The bytes in the queue, and those that the session has taken but not written.
    bytes: usize,
    /// The transport closes after the queue; no frame is added any more.
    closing: bool,
    /// A replay waits for room in the queue.
    behind: bool,
    /// Publishers have paused long enough for this client. They do not pause again until it has caught up.
    given_up: bool,
    /// The session, when it waits for frames.
    session: Option<Waker>,
    /// Publishers that pause.
    paused: Vec<Waker>,
}

/// The state of the outbox when the session takes frames.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::front) enum Taken {
    /// Frames were taken.
    Items,
    /// The queue is empty, and a replay can continue.
    Behind,
    /// The queue is empty, and the transport closes.
    Closing,
}

impl Outbox {
    /// An empty outbox for at most `limit` bytes.
    pub(in crate::front) fn new(limit: usize) -> Arc<Self> {
        let high_water = HIGH_WATER.min(limit / 4);
        Arc::new(Self { limit, high_water, state: Mutex::default() })
    }

    /// Locks the outbox, to put frames into it.
    pub(in crate::front) fn fill(&self) -> Filling<'_> {
        Filling { limit: self.limit, high_water: self.high_water, state: self.lock() }
    }

    /// As [`Filling::push`], for one frame.
    pub(in crate::front) fn push_frame(&self, frame: ServerFrame, wakers: &mut Vec<Waker>) -> bool {
        self.fill().push_frame(frame, wakers)
    }

    /// Frees the space that a burst of frames has left empty.
    pub(in crate::front) fn trim(&self) {
        self.lock().queue.shrink_to_fit();
    }

    /// The bytes that wait for the client.
    pub(in crate::front) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Moves the queue to `items`, which must be empty.
    pub(in crate::front) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        items: &mut VecDeque<Item>,
    ) -> Poll<Taken> {
        let mut state = self.lock();
        if !state.queue.is_empty() {
            std::mem::swap(&mut state.queue, items);
            return Poll::Ready(Taken::Items);
        }
        if state.closing {
            return Poll::Ready(Taken::Closing);
        }
        if std::mem::take(&mut state.behind) {
            return Poll::Ready(Taken::Behind);
        }
        state.session = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Moves what is in the queue to the end of `items`.
    pub(in crate::front) fn take(&self, items: &mut VecDeque<Item>) {
        items.append(&mut self.lock().queue);
    }

    /// The session has written `bytes` of the frames that it took.
    pub(in crate::front) fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.bytes > self.high_water / 2 {
            return;
        }
        state.given_up = false;
        let paused = std::mem::take(&mut state.paused);
        drop(state);
        paused.into_iter().for_each(Waker::wake);
    }

    /// Ready once publishers need not pause for the client any more.
    pub(in crate::front) fn poll_caught_up(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes <= self.high_water / 2 || state.given_up || state.closing {
            return Poll::Ready(());
        }
        if !state.paused.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.paused.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Lets publishers continue although the client has not caught up.
    pub(in crate::front) fn give_up(&self) {
        let mut state = self.lock();
        state.given_up = true;
        let paused = std::mem::take(&mut state.paused);
        drop(state);
        paused.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A locked outbox. The wakers to call after all locks go to `wakers`.
pub(in crate::front) struct Filling<'a> {
    limit: usize,
    high_water: usize,
    state: MutexGuard<'a, State>,
}

impl Filling<'_> {
    /// Queues a frame. Returns whether the publisher should pause.
    ///
    /// Beyond the limit, the queue is replaced by a DISCONNECTED (80020).
    pub(in crate::front) fn push(&mut self, item: Item, wakers: &mut Vec<Waker>) -> bool {
        let state = &mut *self.state;
        if state.closing {
            return false;
        }
        let size = item.size();
        if state.bytes + size > self.limit {
            state.queue.clear();
            let error = Some(error::too_slow());
            state.queue.push_back(Item::frame(ServerFrame::Disconnected { error }));
            state.closing = true;
            wakers.append(&mut state.paused);
        } else {
            state.bytes += size;
            state.queue.push_back(item);
        }
        wakers.extend(state.session.take());
        state.bytes > self.high_water && !state.given_up && !state.closing
    }

    pub(in crate::front) fn push_frame(
        &mut self,
        frame: ServerFrame,
        wakers: &mut Vec<Waker>,
    ) -> bool {
        self.push(Item::frame(frame), wakers)
    }

    /// Resumes a replay when the queue is empty.
    pub(in crate::front) fn set_behind(&mut self, wakers: &mut Vec<Waker>) {
        self.state.behind = true;
        wakers.extend(self.state.session.take());
    }

    /// Closes the transport after the queue.
    pub(in crate::front) fn close(&mut self, wakers: &mut Vec<Waker>) {
        self.state.closing = true;
        wakers.append(&mut self.state.paused);
        wakers.extend(self.state.session.take());
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("limit", &self.limit).finish_non_exhaustive()
    }
}
