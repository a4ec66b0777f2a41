//! Changes of state, as a stream.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use super::queue::{Batches, Queue, Taken};

/// Every change since the stream was made, in order. It ends with the client.
///
/// A listener that leaves more than 1,024 changes unread misses the oldest.
pub struct Changes<T> {
    queue: Arc<Queue<T>>,
    taken: Batches<T>,
}

impl<T> Changes<T> {
    pub(crate) fn new(queue: Arc<Queue<T>>) -> Self {
        Self { queue, taken: Batches::new() }
    }

    /// The next change; `None` once the client has ended.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(change) = self.taken.next() {
                return Poll::Ready(Some(change));
            }
            match self.queue.poll_take(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Taken::Items(items)) => self.taken = items,
                Poll::Ready(Taken::Lagged(missed)) => {
                    tracing::warn!(missed, "a listener to changes of state did not keep up");
                }
                Poll::Ready(Taken::End(_)) => return Poll::Ready(None),
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
        f.debug_struct("Changes").field("taken", &self.taken.len()).finish_non_exhaustive()
    }
}
