//! The SDK for programs without a runtime: the same API with `wait` instead of `await`.
//!
//! [`Wait`] adds `wait` to every call of a [`Rest`](crate::Rest) or [`Realtime`](crate::Realtime) client.
//! [`WaitEach`] converts a stream of pages or items into an iterator, and every subscription has a method
//! `blocking_iter`, such as [`Subscription::blocking_iter`](crate::Subscription::blocking_iter). All of them use a
//! runtime with one thread, which the first call starts and all calls share.
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
//! Asynchronous code must not block. In a task each of these calls returns an error with code 40000. Inside
//! `tokio::task::spawn_blocking` they work.
//!
//! The guide's page about [blocking](crate::guide::blocking) has an example with a connection, and says where a client
//! runs and how it ends.

use std::time::Duration;

use capably_protocol::ErrorCode;
use tokio::time::timeout;

use crate::{Error, Result, realtime::ChannelProperties};

mod each;
mod iter;
mod runtime;

pub use each::{Each, WaitEach};
pub use iter::BlockingIter;
use runtime::runtime;
pub(crate) use runtime::shared as shared_runtime;

/// Runs a call to its end on the calling thread.
pub trait Wait: IntoFuture {
    /// The result of the call.
    type Value;

    /// Waits for the result.
    ///
    /// # Errors
    /// The errors of the call; 40000 in asynchronous code, which must not block; 50000 when the system cannot start a
    /// thread, and in a process that was forked after the first blocking call.
    fn wait(self) -> Result<Self::Value>;

    /// Waits for the result, but not longer than this.
    ///
    /// After the limit the call is dropped, as a future is: the client stops waiting, but does not take back a request
    /// that it has sent. A wait for the next item of a subscription loses no item.
    ///
    /// # Errors
    /// 50003 after the limit; and the errors of [`wait`](Self::wait).
    fn wait_timeout(self, limit: Duration) -> Result<Self::Value>;
}

impl<F> Wait for F
where
    F: IntoFuture,
    F::Output: Outcome,
{
    type Value = <F::Output as Outcome>::Value;

    fn wait(self) -> Result<Self::Value> {
        runtime()?.block_on(self.into_future()).into_result()
    }

    fn wait_timeout(self, limit: Duration) -> Result<Self::Value> {
        let call = async { timeout(limit, self.into_future()).await };
        match runtime()?.block_on(call) {
            Ok(outcome) => outcome.into_result(),
            Err(_) => Err(timed_out(limit)),
        }
    }
}

/// The output of a call that [`Wait`] can wait for: a result, or a value of a call that cannot fail.
pub trait Outcome: sealed::Sealed {
    /// The value without the error.
    type Value;

    /// The value or the error.
    ///
    /// # Errors
    /// The error of the call.
    fn into_result(self) -> Result<Self::Value>;
}

mod sealed {
    pub trait Sealed {}
}

impl<T> sealed::Sealed for Result<T> {}

impl<T> Outcome for Result<T> {
    type Value = T;

    fn into_result(self) -> Self {
        self
    }
}

macro_rules! infallible {
    ($([$($generic:ident)?] $output:ty),*) => {$(
        impl<$($generic)?> sealed::Sealed for $output {}

        impl<$($generic)?> Outcome for $output {
            type Value = Self;

            fn into_result(self) -> Result<Self> {
                Ok(self)
            }
        }
    )*};
}

infallible!([] (), [T] Option<T>, [] ChannelProperties);

/// The error of a wait with a limit.
fn timed_out(limit: Duration) -> Error {
    Error::new(ErrorCode::TIMEOUT_ERROR, 0, format!("there was no result within {limit:?}"))
        .with_remedy("wait again, or allow more time")
}
