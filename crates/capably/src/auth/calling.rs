//! Tracks the auth callbacks that a task runs in, so that no callback waits for the token that it provides.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use capably_protocol::ErrorCode;

use crate::{Error, Result};

/// How many calls of a client's auth callback may run at once. Without a limit, a callback that calls `authorize` in a
/// spawned task would call itself for ever.
const MAX_CALLS: usize = 128;

tokio::task_local! {
    /// The clients whose auth callbacks started the current task, directly or indirectly, the outermost first.
    static CALLERS: Vec<ClientNumber>;
}

/// Identifies a client of this process. All its handles have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientNumber(u64);

impl ClientNumber {
    /// The number of a new client.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The clients whose auth callbacks started the current task.
pub(crate) fn callers() -> Vec<ClientNumber> {
    CALLERS.try_with(Clone::clone).unwrap_or_default()
}

/// Runs work that the auth callbacks of these clients have started.
pub(crate) async fn led_to_by<T>(callers: Vec<ClientNumber>, work: impl Future<Output = T>) -> T {
    CALLERS.scope(callers, work).await
}

/// Runs a call of this client's auth callback.
pub(super) async fn called_by<T>(client: ClientNumber, call: impl Future<Output = T>) -> T {
    let mut callers = callers();
    callers.push(client);
    led_to_by(callers, call).await
}

/// Whether the current task runs in an auth callback of this client.
fn is_callback_of(client: ClientNumber) -> bool {
    CALLERS.try_with(|callers| callers.contains(&client)).unwrap_or_default()
}

/// Refuses a call that needs a new token in the auth callback that provides it: the two would wait for each other.
///
/// # Errors
/// Code 40170 in an auth callback of this client.
pub(crate) fn refuse_callback_of(client: ClientNumber) -> Result<()> {
    if !is_callback_of(client) {
        return Ok(());
    }
    let message =
        "the auth callback made this call, which needs the token that the callback provides";
    Err(super::failed(message).with_remedy(
        "get the token from your auth server or with another client; `time` needs no token",
    ))
}

/// Counts the running calls of a client's auth callback.
#[derive(Debug, Default)]
pub(super) struct Calls(AtomicUsize);

impl Calls {
    /// Starts a call. It ends when the guard is dropped.
    ///
    /// # Errors
    /// Code 40170 while too many calls run.
    pub(super) fn begin(&self) -> Result<CallGuard<'_>> {
        let call = CallGuard(&self.0);
        if self.0.fetch_add(1, Ordering::Relaxed) < MAX_CALLS {
            return Ok(call);
        }
        let message = format!("{MAX_CALLS} calls of the auth callback are running already");
        let code = ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK;
        Err(Error::new(code, 401, message).with_remedy(
            "do not call `authorize` in the auth callback for the client that called it",
        ))
    }
}

/// A running call.
pub(super) struct CallGuard<'a>(&'a AtomicUsize);

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
