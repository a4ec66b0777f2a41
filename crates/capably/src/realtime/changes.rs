//! Changes of the state of a connection or a channel, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::runtime::Handle;

use super::{
    ChannelEvent, ChannelStateChange, ConnectionEvent, ConnectionStateChange, Overflow,
    callback::{CallbackSource, on_threads},
    driver::gone,
    queue::{Bounds, Break, Intake, Origin, Queue, Weigh},
};
use crate::{Error, sync::lock};

/// All changes since the stream was made, in order. The stream ends with the client.
///
/// A listener that leaves more than 1,024 changes unread misses the oldest of them.
pub struct Changes<T> {
    intake: Intake<T>,
    /// Selects changes; `None` selects all.
    filter: Option<ChangeFilter<T>>,
    /// The client's runtime.
    runtime: Handle,
}

type ChangeFilter<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

impl Changes<ConnectionStateChange> {
    /// Only changes with one of these events, each a state or [`ConnectionEvent::Update`] (RTN4, RTE3).
    #[must_use]
    pub fn only(self, events: impl IntoIterator<Item = impl Into<ConnectionEvent>>) -> Self {
        let events: Vec<_> = events.into_iter().map(Into::into).collect();
        self.filtered(move |change| events.contains(&change.event))
    }
}

impl Changes<ChannelStateChange> {
    /// Only changes with one of these events, each a state or [`ChannelEvent::Update`] (RTL2, RTE3).
    #[must_use]
    pub fn only(self, events: impl IntoIterator<Item = impl Into<ChannelEvent>>) -> Self {
        let events: Vec<_> = events.into_iter().map(Into::into).collect();
        self.filtered(move |change| events.contains(&change.event))
    }
}

impl<T> Changes<T> {
    fn filtered(self, filter: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self { filter: Some(Box::new(filter)), ..self }
    }

    /// The next change; `None` once the client has ended.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            let change = ready!(self.intake.poll_item(cx, |Break::Lagged(missed)| {
                tracing::warn!(missed, "a listener to changes of state did not keep up");
            }));
            match (&change, &self.filter) {
                (Some(change), Some(filter)) if !filter(change) => {}
                _ => return Poll::Ready(change),
            }
        }
    }
}

// The stream owns its queue through an `Arc`; it contains nothing pinned.
impl<T> Unpin for Changes<T> {}

impl<T> Stream for Changes<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_change(cx)
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("buffered", &self.intake.buffered()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> CallbackSource for Changes<T> {
    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn ended_by(&self) -> Option<Error> {
        self.intake.end_reason().cloned()
    }
}

on_threads!([T: Send + 'static] Changes<T>: T);

/// The driver's side: sends each change to every [`Changes`] that still exists.
#[derive(Debug)]
pub(crate) struct ChangeSender<T> {
    /// `None` after the end.
    queues: Mutex<Option<Vec<Arc<Queue<T>>>>>,
}

/// The number of unread changes beyond which a listener misses the oldest.
const MAX_UNREAD: usize = 1024;

impl<T: Clone + Weigh> ChangeSender<T> {
    pub(crate) fn new() -> Self {
        Self { queues: Mutex::new(Some(Vec::new())) }
    }

    /// A new listener, for all changes from this moment.
    pub(crate) fn listen(&self, runtime: &Handle) -> Changes<T> {
        let bounds = Bounds { items: MAX_UNREAD, ..Bounds::default() };
        let queue = Arc::new(Queue::new(bounds, Overflow::DropOldest));
        match &mut *lock(&self.queues) {
            Some(queues) => queues.push(Arc::clone(&queue)),
            None => queue.end(gone()),
        }
        Changes { intake: Intake::new(queue), filter: None, runtime: runtime.clone() }
    }

    /// Sends a change to every listener, and forgets dropped listeners.
    pub(crate) fn send(&self, change: &T) {
        if let Some(queues) = &mut *lock(&self.queues) {
            queues.retain(|queue| {
                // The other reference is the listener's; without it nobody can read the queue.
                let listening = Arc::strong_count(queue) > 1;
                if listening {
                    queue.push(vec![change.clone()], Origin::Live);
                }
                listening
            });
        }
    }

    /// Ends every listener, and every later one at once.
    pub(crate) fn end(&self) {
        for queue in lock(&self.queues).take().into_iter().flatten() {
            queue.end(gone());
        }
    }
}
