//! What waits to be sent to one client: bounded, and shared between its session and everyone who has
//! something for it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use capably_protocol::ServerFrame;

use crate::hub::{Broadcast, error};

/// A frame to be sent.
#[derive(Debug)]
pub(crate) enum Item {
    Frame(Box<ServerFrame>),
    Broadcast(Arc<Broadcast>),
}

impl Item {
    fn frame(frame: ServerFrame) -> Self {
        Self::Frame(Box::new(frame))
    }

    /// About how many bytes it will have.
    pub(crate) fn size(&self) -> usize {
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

/// Above this many bytes, whoever publishes to the client is held back for a while; they go on below
/// half of it.
const HIGH_WATER: usize = 1024 * 1024;

pub(crate) struct Outbox {
    limit: usize,
    high_water: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    /// Of what is in the queue, and of what the session has taken but not written.
    bytes: usize,
    /// Nothing more is queued, and the transport closes after what is.
    closing: bool,
    /// A replay waits for room.
    behind: bool,
    /// The client has held others back for long enough.
    ignored: bool,
    session: Option<Waker>,
    held_back: Vec<Waker>,
}

/// What the session finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Items,
    /// Nothing is queued, and a replay can go on.
    Behind,
    /// Nothing is queued, nor will be.
    Closing,
}

impl Outbox {
    /// An empty outbox for at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let high_water = HIGH_WATER.min(limit / 4);
        Arc::new(Self { limit, high_water, state: Mutex::default() })
    }

    /// Queues a frame. Returns whether its sender should be held back; the session's waker, when it is
    /// waiting, goes to `wakers`.
    ///
    /// Beyond the limit, what is queued is given up for a DISCONNECTED (80020).
    pub(crate) fn push(&self, item: Item, wakers: &mut Vec<Waker>) -> bool {
        let mut state = self.lock();
        if state.closing {
            return false;
        }
        let size = item.size();
        if state.bytes + size > self.limit {
            state.queue.clear();
            let error = Some(error::too_slow());
            state.queue.push_back(Item::frame(ServerFrame::Disconnected { error }));
            state.closing = true;
            wakers.append(&mut state.held_back);
        } else {
            state.bytes += size;
            state.queue.push_back(item);
        }
        wakers.extend(state.session.take());
        state.bytes > self.high_water && !state.ignored && !state.closing
    }

    pub(crate) fn push_frame(&self, frame: ServerFrame, wakers: &mut Vec<Waker>) -> bool {
        self.push(Item::frame(frame), wakers)
    }

    /// A replay is to go on when there is room.
    pub(crate) fn set_behind(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.behind = true;
        wakers.extend(state.session.take());
    }

    /// Nothing more will be queued.
    pub(crate) fn close(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        state.closing = true;
        wakers.append(&mut state.held_back);
        wakers.extend(state.session.take());
    }

    /// Moves what is queued to `items`, which is empty.
    pub(crate) fn poll_take(
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

    /// The session has written `bytes` of what it took.
    pub(crate) fn written(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        if state.bytes > self.high_water / 2 {
            return;
        }
        state.ignored = false;
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        held_back.into_iter().for_each(Waker::wake);
    }

    /// Ready once the client has caught up, or is not waited for any more.
    pub(crate) fn poll_relief(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes <= self.high_water / 2 || state.ignored || state.closing {
            return Poll::Ready(());
        }
        if !state.held_back.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.held_back.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Lets everyone go on, until the client has caught up.
    pub(crate) fn ignore(&self) {
        let mut state = self.lock();
        state.ignored = true;
        let held_back = std::mem::take(&mut state.held_back);
        drop(state);
        held_back.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("limit", &self.limit).finish_non_exhaustive()
    }
}
