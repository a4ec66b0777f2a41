//! Streams of results as iterators.

use std::{fmt, iter::FusedIterator, pin::Pin};

use futures_core::Stream;
use futures_util::StreamExt;

use super::runtime::runtime;
use crate::Result;

/// Converts a stream of results into an iterator, such as
/// [`pages`](crate::rest::PaginatedResult::pages) and
/// [`items_stream`](crate::rest::PaginatedResult::items_stream).
pub trait WaitEach: Stream + Sized {
    /// An iterator over the results.
    fn wait_each(self) -> Each<Self>;
}

impl<S, T> WaitEach for S
where
    S: Stream<Item = Result<T>>,
{
    fn wait_each(self) -> Each<S> {
        Each(Some(Box::pin(self)))
    }
}

/// Waits for each result of a stream.
///
/// It returns the errors of the stream and of [`Wait::wait`](super::Wait::wait). An error of `wait` ends the iterator.
#[must_use = "nothing is read until the iterator is used"]
pub struct Each<S>(Option<Pin<Box<S>>>);

impl<S, T> Iterator for Each<S>
where
    S: Stream<Item = Result<T>>,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let mut stream = self.0.take()?;
        match runtime() {
            Ok(runtime) => {
                let item = runtime.block_on(stream.next())?;
                self.0 = Some(stream);
                Some(item)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl<S, T> FusedIterator for Each<S> where S: Stream<Item = Result<T>> {}

impl<S> fmt::Debug for Each<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Each").field("ended", &self.0.is_none()).finish_non_exhaustive()
    }
}
