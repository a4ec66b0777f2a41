//! Subscriptions as iterators.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{
    runtime::{runtime, shared},
    timed_out,
};
use crate::Result;

/// Waits for each item of a subscription, on the calling thread.
///
/// It ends with the subscription, whose `end_reason` then gives the reason. The subscription stays registered when the
/// iterator is dropped, and a later iterator continues with the next item.
#[derive(Debug)]
#[must_use = "nothing is received until the iterator is used"]
pub struct BlockingIter<'a, S>(&'a mut S);

impl<'a, S: Stream + Unpin> BlockingIter<'a, S> {
    /// # Errors
    /// As for [`Wait::wait`](super::Wait::wait): an iterator that could not wait is not made.
    pub(crate) fn new(subscription: &'a mut S) -> Result<Self> {
        runtime()?;
        Ok(Self(subscription))
    }

    /// Waits for the next item, but not longer than this. Returns `None` once the subscription has ended.
    ///
    /// # Errors
    /// 50003 after the limit, and a later call can continue; the errors of [`Wait::wait`](super::Wait::wait).
    pub fn next_timeout(&mut self, limit: Duration) -> Result<Option<S::Item>> {
        if let Poll::Ready(item) = self.poll_queued()? {
            return Ok(item);
        }
        let next = async { timeout(limit, self.0.next()).await };
        runtime()?.block_on(next).map_err(|_| timed_out(limit))
    }

    /// The next item, if it is there already. In a burst this is the usual case, and it costs less than a wait.
    fn poll_queued(&mut self) -> Result<Poll<Option<S::Item>>> {
        let _context = shared()?.enter();
        Ok(Pin::new(&mut *self.0).poll_next(&mut Context::from_waker(Waker::noop())))
    }

    fn wait_next(&mut self) -> Result<Option<S::Item>> {
        match self.poll_queued()? {
            Poll::Ready(item) => Ok(item),
            Poll::Pending => Ok(runtime()?.block_on(self.0.next())),
        }
    }
}

impl<S: Stream + Unpin> Iterator for BlockingIter<'_, S> {
    type Item = S::Item;

    /// Waits for the next item; `None` once the subscription has ended.
    fn next(&mut self) -> Option<S::Item> {
        self.wait_next().unwrap_or_else(|error| {
            // Only an iterator that was made elsewhere and then moved into a task, or into a forked process.
            tracing::error!(%error, "a blocking iterator cannot wait here, and ends");
            None
        })
    }
}
