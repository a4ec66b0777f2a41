//! Callbacks: functions that are called for each item of a subscription.
//!
//! Each callback has a thread. So it may block, and a callback that never returns keeps neither the client nor the
//! runtime from ending, as a blocking task of the runtime would. The handle and the thread share the subscription, and
//! the thread has it only while it looks for the next item: a handle can unsubscribe while the callback runs.

use std::{
    fmt,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use capably_protocol::ErrorCode;
use futures_core::Stream;
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{Error, Result, sync::lock};

/// A callback that is called for each item of a subscription, from a method `each`, such as
/// [`Subscribe::each`](super::Subscribe::each). Dropping the handle stops the callback and unsubscribes.
///
/// Each callback runs on a thread of its own, one item after the other, in order. So it may block, and it may call the
/// client: publish, subscribe to more, close or drop the client. A slow callback delays no other subscription: its
/// items wait in its queue, and when the queue is full, the subscription's [`Overflow`](super::Overflow) applies. A
/// program with thousands of subscriptions should use streams instead, which need no threads.
///
/// If the callback panics or returns an error, this is logged, and the callback is called for the next item.
///
/// The thread has entered the client's runtime: a callback may call `tokio::spawn`, and with the feature `blocking` it
/// may `wait` for a call.
#[must_use = "dropping the handle stops the callback; `forget` lets it run"]
pub struct CallbackHandle {
    registered: Option<Arc<dyn Registered>>,
    thread: Thread,
}

impl CallbackHandle {
    /// Unsubscribes. The callback is not called again; a call that is under way goes on.
    pub fn stop(self) {}

    /// Lets the callback run without a handle, until the subscription ends. The subscription keeps the client alive: it
    /// ends with [`close`](crate::Realtime::close), for example, but not with the last handle of the client.
    pub fn forget(mut self) {
        self.registered = None;
    }

    /// Whether the subscription has ended, and no call is under way any more.
    pub fn has_ended(&self) -> bool {
        self.registered.as_ref().is_some_and(|registered| registered.ended().is_closed())
    }

    /// Waits until the subscription has ended, and no call is under way any more. Returns why it ended; `None` if the
    /// callback has ended it.
    ///
    /// # Errors
    /// Inside the callback itself the wait would not end: there it returns code 40000 at once.
    pub async fn ended(&self) -> Option<Error> {
        let registered = self.registered.as_ref()?;
        if thread::current().id() == self.thread.id() && !self.has_ended() {
            return Some(own_end());
        }
        // The semaphore has no permits: this returns when it is closed.
        let _ = registered.ended().acquire().await;
        registered.end_reason()
    }
}

impl Drop for CallbackHandle {
    fn drop(&mut self) {
        if let Some(registered) = self.registered.take() {
            registered.unsubscribe();
            self.thread.unpark();
        }
    }
}

impl fmt::Debug for CallbackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackHandle").field("ended", &self.has_ended()).finish_non_exhaustive()
    }
}

/// What a callback may return: nothing, a [`ControlFlow`], with which it ends its own subscription, or a [`Result`] of
/// these.
///
/// An error is logged, and the callback is called for the next item, as after a panic. A callback that never returns,
/// such as one that only panics, is accepted, too.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use capably::{ClientOptions, Realtime};
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port());
/// # let client = Realtime::connect(options.tls(false)).await?;
/// use std::{num::ParseIntError, ops::ControlFlow};
///
/// let channel = client.channels().get("numbers");
/// let printing = channel.subscribe().each(|message| println!("{message:?}"))?;
/// let first_only = channel.subscribe().each(|message| {
///     println!("{message:?}");
///     ControlFlow::Break(())
/// })?;
/// let parsing = channel.subscribe().each(|message| -> Result<(), ParseIntError> {
///     let number: u32 = message.data.as_str().unwrap_or_default().parse()?;
///     println!("{number}");
///     Ok(())
/// })?;
/// let until_zero = channel.subscribe().each(|message| -> Result<ControlFlow<()>, ParseIntError> {
///     let number: u32 = message.data.as_str().unwrap_or_default().parse()?;
///     Ok(if number == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
/// })?;
/// let unexpected = client.channels().get("unused").subscribe().each(|_| panic!("nobody publishes here"))?;
/// # channel.publish("n", "0").await?;
/// # assert!(first_only.ended().await.is_none() && until_zero.ended().await.is_none());
/// # assert!(!printing.has_ended() && !parsing.has_ended() && !unexpected.has_ended());
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a callback cannot return `{Self}`",
    label = "this callback returns `{Self}`",
    note = "a callback returns nothing, a `ControlFlow<()>`, or a `Result` of these with an error that is `Display`",
    note = "for asynchronous work, call `tokio::spawn` in the callback, or use the subscription as a stream"
)]
pub trait CallbackFlow: sealed::Sealed {
    /// Whether the callback is to be called for the next item.
    fn flow(self) -> ControlFlow<()>;
}

mod sealed {
    use std::{fmt::Display, ops::ControlFlow};

    use super::Never;

    pub trait Sealed {
        /// The text of the error, if it is one.
        fn error(&self) -> Option<String> {
            None
        }
    }

    /// The output of a function pointer, as a way to name the type `!`.
    pub trait FunctionOutput {
        type Output;
    }

    impl<R> FunctionOutput for fn() -> R {
        type Output = R;
    }

    impl Sealed for () {}
    impl Sealed for ControlFlow<()> {}
    impl Sealed for Never {}

    impl<R: Sealed, E: Display> Sealed for Result<R, E> {
        fn error(&self) -> Option<String> {
            match self {
                Ok(returned) => returned.error(),
                Err(error) => Some(error.to_string()),
            }
        }
    }
}

/// The type of expressions that never have a value: `!`.
type Never = <fn() -> ! as sealed::FunctionOutput>::Output;

impl CallbackFlow for () {
    fn flow(self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl CallbackFlow for ControlFlow<()> {
    fn flow(self) -> Self {
        self
    }
}

impl CallbackFlow for Never {
    fn flow(self) -> ControlFlow<()> {
        self
    }
}

impl<R: CallbackFlow, E: fmt::Display> CallbackFlow for Result<R, E> {
    fn flow(self) -> ControlFlow<()> {
        self.map_or(ControlFlow::Continue(()), CallbackFlow::flow)
    }
}

/// A subscription that can have a callback.
pub(crate) trait CallbackSource: Stream + Unpin + Send + 'static {
    /// The client's runtime.
    fn runtime(&self) -> &Handle;

    /// Why the subscription ended; `None` before the end.
    fn ended_by(&self) -> Option<Error>;

    /// The outcome of the attach that the subscription began with.
    fn poll_attached(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Calls the callback for each item, on a new thread.
///
/// # Errors
/// Code 50000 when the system cannot start a thread.
pub(crate) fn each<S: CallbackSource, R: CallbackFlow>(
    source: S,
    callback: impl FnMut(S::Item) -> R + Send + 'static,
) -> Result<CallbackHandle> {
    let runtime = source.runtime().clone();
    let registration = Arc::new(Registration {
        source: Mutex::new(Some(source)),
        end_reason: Mutex::default(),
        ended: Semaphore::new(0),
    });
    let own = Arc::clone(&registration);
    let spawned = thread::Builder::new().name("capably-callback".to_owned()).spawn(move || {
        let _context = runtime.enter();
        // Dropped last, also when the callback's own drop panics.
        let _end = Ended(&own);
        own.run(callback);
    });
    let thread = spawned.map_err(|error| {
        let message = "the system cannot start a thread for the callback";
        Error::new(ErrorCode::INTERNAL_ERROR, 500, message)
            .with_remedy("use fewer callbacks; a stream needs no thread")
            .with_source(error)
    })?;
    Ok(CallbackHandle { registered: Some(registration), thread: thread.thread().clone() })
}

/// A subscription and what is known of its callback.
struct Registration<S> {
    /// `None` once the subscription has ended.
    source: Mutex<Option<S>>,
    end_reason: Mutex<Option<Error>>,
    /// Closed once the callback is not called any more.
    ended: Semaphore,
}

impl<S: CallbackSource> Registration<S> {
    /// Calls the callback for each item, until the subscription ends.
    fn run<R: CallbackFlow>(&self, mut callback: impl FnMut(S::Item) -> R) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut cx = Context::from_waker(&waker);
        let mut attached = false;
        let (mut panics, mut errors) = (0u64, 0u64);
        loop {
            // The subscription's own code does not panic, but its runtime may be shut down under it.
            let polled = catch_unwind(AssertUnwindSafe(|| self.poll_next(&mut cx, &mut attached)));
            let item = match polled {
                Ok(Poll::Ready(Some(item))) => item,
                Ok(Poll::Ready(None)) => break,
                Ok(Poll::Pending) => {
                    thread::park();
                    continue;
                }
                Err(_) => {
                    tracing::error!("a subscription with a callback panicked, and ends");
                    break;
                }
            };
            let called = catch_unwind(AssertUnwindSafe(|| {
                let returned = callback(item);
                (returned.error(), returned.flow())
            }));
            match called {
                Ok((None, ControlFlow::Continue(()))) => {}
                Ok((_, ControlFlow::Break(()))) => break,
                Ok((Some(error), ControlFlow::Continue(()))) => {
                    errors += 1;
                    if errors == 1 {
                        tracing::error!(error, "a callback failed; it is called for the next item");
                    }
                }
                Err(_) => {
                    panics += 1;
                    if panics == 1 {
                        tracing::error!("a callback panicked; it is called for the next item");
                    }
                }
            }
        }
        if panics > 1 || errors > 1 {
            tracing::error!(panics, errors, "a callback that panicked or failed has ended");
        }
        self.unsubscribe();
    }

    fn poll_next(&self, cx: &mut Context<'_>, attached: &mut bool) -> Poll<Option<S::Item>> {
        let mut slot = lock(&self.source);
        let Some(source) = &mut *slot else { return Poll::Ready(None) };
        if !*attached && let Poll::Ready(outcome) = source.poll_attached(cx) {
            *attached = true;
            if let Err(error) = outcome {
                let error = error.logged();
                tracing::warn!(%error, "a callback is not called before its channel is attached");
            }
        }
        let next = Pin::new(&mut *source).poll_next(cx);
        if let Poll::Ready(None) = &next {
            *lock(&self.end_reason) = source.ended_by();
        }
        next
    }
}

/// The callback waits for its own end.
fn own_end() -> Error {
    Error::new(ErrorCode::BAD_REQUEST, 0, "a callback cannot wait for its own end")
        .with_remedy("return `ControlFlow::Break(())`, or drop the handle, and the callback ends")
}

/// A callback without the type of its items.
trait Registered: Send + Sync {
    fn unsubscribe(&self);
    fn ended(&self) -> &Semaphore;
    fn end_reason(&self) -> Option<Error>;
}

impl<S: CallbackSource> Registered for Registration<S> {
    fn unsubscribe(&self) {
        let source = lock(&self.source).take();
        // Outside of the lock: it may be the last handle of a client.
        drop(source);
    }

    fn ended(&self) -> &Semaphore {
        &self.ended
    }

    fn end_reason(&self) -> Option<Error> {
        lock(&self.end_reason).clone()
    }
}

/// Marks the end of a callback when it is dropped.
struct Ended<'a, S>(&'a Registration<S>);

impl<S> Drop for Ended<'_, S> {
    fn drop(&mut self) {
        self.0.ended.close();
    }
}

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Implements how threads use a subscription.
macro_rules! on_threads {
    ([$($generics:tt)*] $subscription:ty : $item:ty) => {
        impl<$($generics)*> $subscription {
            /// Calls a function for each item, on a thread of its own. See
            /// [`CallbackHandle`](crate::realtime::CallbackHandle) for what the function may do, and how it ends.
            ///
            /// # Errors
            /// Code 50000 when the system cannot start a thread.
            pub fn each<R: $crate::realtime::CallbackFlow>(
                self,
                callback: impl FnMut($item) -> R + Send + 'static,
            ) -> $crate::Result<$crate::realtime::CallbackHandle> {
                $crate::realtime::callback::each(self, callback)
            }
        }

        $crate::realtime::callback::blocking!([$($generics)*] $subscription);
    };
}

/// Implements the iterator of a subscription for programs without a runtime.
#[cfg(feature = "blocking")]
macro_rules! blocking {
    ([$($generics:tt)*] $subscription:ty) => {
        impl<$($generics)*> $subscription {
            /// Waits for each item, on the calling thread.
            ///
            /// # Errors
            /// 40000 in asynchronous code, which must not block; 50000 when the system cannot start a thread.
            pub fn blocking_iter(&mut self) -> $crate::Result<$crate::blocking::BlockingIter<'_, Self>> {
                $crate::blocking::BlockingIter::new(self)
            }
        }
    };
}

#[cfg(not(feature = "blocking"))]
macro_rules! blocking {
    ($($ignored:tt)*) => {};
}

pub(crate) use blocking;
pub(crate) use on_threads;
