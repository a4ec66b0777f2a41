//! The listener's end of a queue.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use super::{Notice, Queue, QueueOutput, batches::Batches};
use crate::{Error, realtime::driver::gone};

/// The listener's end of a queue. It takes everything that is queued at once, and yields it item by item, so that
/// the queue is locked once a batch and not once an item.
#[derive(Debug)]
pub(crate) struct Intake<T, N = std::convert::Infallible> {
    queue: Arc<Queue<T, N>>,
    taken: Batches<T, N>,
    end: Option<Error>,
}

/// The next element of an intake.
pub(crate) enum Next<T, N> {
    Item(T),
    Break(Break<N>),
}

/// An interruption before the next item.
pub(crate) enum Break<N> {
    Notice(N),
    /// This many items were dropped here.
    Lagged(u64),
}

impl<T, N: Notice> Intake<T, N> {
    pub(crate) fn new(queue: Arc<Queue<T, N>>) -> Self {
        Self { queue, taken: Batches::new(), end: None }
    }

    /// The next item, if it was taken from the queue already. The short way: an item is large, and a function that may
    /// also return something else moves it once more.
    #[inline(always)]
    pub(crate) fn taken_item(&mut self) -> Option<T> {
        self.taken.next_item()
    }

    /// The next item or the interruption before it; `None` after the end.
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

    /// The next item; `None` after the end. Passes interruptions before it to `on_break`.
    pub(crate) fn poll_item(
        &mut self,
        cx: &mut Context<'_>,
        on_break: impl Fn(Break<N>),
    ) -> Poll<Option<T>> {
        loop {
            if let Some(item) = self.taken.next_item() {
                return Poll::Ready(Some(item));
            }
            if let Some(found) = ready!(self.poll_more(cx)) {
                on_break(found);
            }
            if self.end.is_some() {
                return Poll::Ready(None);
            }
        }
    }

    /// Continues where no item is at hand: with a notice, with another batch from the queue, or at the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Option<Break<N>>> {
        if let Some(notice) = self.taken.next_notice() {
            return Poll::Ready(Some(Break::Notice(notice)));
        }
        if self.end.is_some() {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(self.queue.poll_take(cx)) {
            QueueOutput::Batches(batches) => {
                self.taken = batches;
                None
            }
            QueueOutput::Lagged(missed) => Some(Break::Lagged(missed)),
            QueueOutput::End(reason) => {
                self.end = Some(reason);
                None
            }
        })
    }

    /// The number of items that were taken from the queue and not yet yielded.
    pub(crate) fn buffered(&self) -> usize {
        self.taken.len()
    }

    /// The reason of the end, once it is reached.
    pub(crate) fn end_reason(&self) -> Option<&Error> {
        self.end.as_ref()
    }

    /// Ends the queue from the listener's side, so that the driver does not wait for room in it.
    pub(crate) fn close(&self) {
        self.queue.end(gone());
    }
}
