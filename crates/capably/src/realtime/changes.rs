//! Changes of state, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;

pub(crate) mod listeners;

use super::{
    ChannelEvent, ChannelStateChange, ConnectionEvent, ConnectionStateChange,
    subscribing::queue::{Break, Intake, Queue},
};

/// Every change since the stream was made, in order. It ends with the client.
///
/// A listener that leaves more than 1,024 changes unread misses the oldest.
pub struct Changes<T> {
    intake: Intake<T>,
    /// Which changes are wanted; `None` means all.
    wanted: Option<Wanted<T>>,
}

type Wanted<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

impl Changes<ConnectionStateChange> {
    /// Only changes with one of these events, each a state or [`ConnectionEvent::Update`] (RTN4, RTE3).
    #[must_use]
    pub fn only(self, events: impl IntoIterator<Item = impl Into<ConnectionEvent>>) -> Self {
        let events: Vec<_> = events.into_iter().map(Into::into).collect();
        self.which(move |change| events.contains(&change.event))
    }
}

impl Changes<ChannelStateChange> {
    /// Only changes with one of these events, each a state or [`ChannelEvent::Update`] (RTL2, RTE3).
    #[must_use]
    pub fn only(self, events: impl IntoIterator<Item = impl Into<ChannelEvent>>) -> Self {
        let events: Vec<_> = events.into_iter().map(Into::into).collect();
        self.which(move |change| events.contains(&change.event))
    }
}

impl<T> Changes<T> {
    pub(crate) fn new(queue: Arc<Queue<T>>) -> Self {
        Self { intake: Intake::new(queue), wanted: None }
    }

    fn which(self, wanted: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        Self { wanted: Some(Box::new(wanted)), ..self }
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
            match (&change, &self.wanted) {
                (Some(change), Some(wanted)) if !wanted(change) => {}
                _ => return Poll::Ready(change),
            }
        }
    }
}

// Nothing in it is pinned.
impl<T> Unpin for Changes<T> {}

impl<T> Stream for Changes<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_change(cx)
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("taken", &self.intake.taken()).finish_non_exhaustive()
    }
}
