//! REST for programs without a runtime: the same API with `wait` instead of `await`.
//!
//! [`Wait`] adds `wait` to every call of a [`Rest`](crate::Rest) client. [`WaitEach`] converts a stream of pages or items
//! into an iterator. Both use a runtime with one thread, which the first call starts and all calls share.
//!
//! ```
//! use capably::{ClientOptions, Rest, rest::Direction};
//! use capably::blocking::{Wait, WaitEach};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let server = runtime.block_on(capably_server::Server::builder().start())?;
//! # let options = ClientOptions::new(server.key())
//! #     .endpoint(server.endpoint()).port(server.port()).tls(false);
//! let rest = Rest::new(options)?;
//! let channel = rest.channels().get("greetings");
//! for name in ["Ada", "Eve", "Joe"] {
//!     channel.publish("hello", name).wait()?;
//! }
//!
//! let page = channel.history().direction(Direction::Forwards).limit(2).wait()?;
//! assert_eq!(page.items()[0].data.as_str(), Some("Ada"));
//!
//! // All messages from all pages.
//! let mut count = 0;
//! for message in page.items_stream().wait_each() {
//!     println!("{:?}", message?.data);
//!     count += 1;
//! }
//! assert_eq!(count, 3);
//! # Ok(())
//! # }
//! ```
//!
//! Asynchronous code must not block. In a task both return an error with code 40000. Inside
//! `tokio::task::spawn_blocking` they work.

use std::{
    fmt,
    iter::FusedIterator,
    pin::{Pin, pin},
    sync::OnceLock,
    task::{Context, Waker},
};

use capably_protocol::ErrorCode;
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::consume_budget,
};

use crate::{Error, Result};

/// Runs a call to its end on the calling thread.
pub trait Wait: IntoFuture {
    /// The result of the call.
    type Value;

    /// Waits for the result.
    ///
    /// # Errors
    /// The errors of the call; 40000 in asynchronous code, which must not block; 50000 when the system cannot start a
    /// thread.
    fn wait(self) -> Result<Self::Value>;
}

impl<F, T> Wait for F
where
    F: IntoFuture<Output = Result<T>>,
{
    type Value = T;

    fn wait(self) -> Result<T> {
        runtime()?.block_on(self.into_future())
    }
}

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
/// It returns the errors of the stream and of [`Wait::wait`]. An error of `wait` ends the iterator.
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

/// Whether the caller is asynchronous code. Only a task has a budget of steps, after which it must yield. A thread
/// that may block has no budget, even if the runtime started it.
fn is_task() -> bool {
    /// More steps than the budget of a task.
    const STEPS: usize = 1024;
    let mut cx = Context::from_waker(Waker::noop());
    let mut yields = || pin!(consume_budget()).poll(&mut cx).is_pending();
    Handle::try_current().is_ok() && (0..STEPS).any(|_| yields())
}

/// The runtime of all blocking calls. Its thread serves the connections that outlive a call.
///
/// # Errors
/// Code 40000 in asynchronous code; 50000 when the system cannot start a thread.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if is_task() {
        let message = "a blocking call in a task would block the tokio runtime of the task";
        return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
            .with_remedy("await the call, or make it inside `tokio::task::spawn_blocking`"));
    }
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let built = builder.worker_threads(1).thread_name("capably-blocking").enable_all().build();
    let runtime = built.map_err(|error| {
        Error::new(ErrorCode::INTERNAL_ERROR, 500, "the system cannot start a thread")
            .with_source(error)
    })?;
    Ok(RUNTIME.get_or_init(|| runtime))
}
