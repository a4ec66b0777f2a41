//! Changes of state, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::queue::{Break, Intake, Queue};

/// Every change since the stream was made, in order. It ends with the client.
///
/// A listener that leaves more than 1,024 changes unread misses the oldest.
pub struct Changes<T> {
    intake: Intake<T>,
}

impl<T> Changes<T> {
    pub(crate) fn new(queue: Arc<Queue<T>>) -> Self {
        Self { intake: Intake::new(queue) }
    }

    /// The next change; `None` once the client has ended.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.intake.poll_item(cx, |Break::Lagged(missed)| {
            tracing::warn!(missed, "a listener to changes of state did not keep up");
        })
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
