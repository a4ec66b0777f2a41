//! Whose auth callback a task runs in, so that no callback waits for the token that it is to give.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use capably_protocol::ErrorCode;

use crate::{Error, Result};

/// How many calls of a client's auth callback may be under way. A callback that authorizes from a task of
/// its own would call itself for ever.
const MAX_CALLS: usize = 128;

tokio::task_local! {
    /// The clients whose auth callbacks led to the current task, the outermost first.
    static CALLERS: Vec<ClientNumber>;
}

/// A client of this process, whichever handles there are to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientNumber(u64);

impl ClientNumber {
    /// The number of a new client.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The clients whose auth callbacks led to the current task.
pub(super) fn callers() -> Vec<ClientNumber> {
    CALLERS.try_with(Clone::clone).unwrap_or_default()
}

/// Runs work that these clients' auth callbacks led to.
pub(super) async fn led_to_by<T>(callers: Vec<ClientNumber>, work: impl Future<Output = T>) -> T {
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

/// What needs a new token of this client may not run in the auth callback that is to give it.
///
/// # Errors
/// Code 40170 in an auth callback of this client.
pub(crate) fn refuse_callback_of(client: ClientNumber) -> Result<()> {
    if !is_callback_of(client) {
        return Ok(());
    }
    let message = "this call needs a token, and comes from the auth callback that is to give it";
    Err(super::failed(message).with_remedy(
        "ask your auth server, or another client, for the token; `time` needs no token",
    ))
}

/// Counts the calls of a client's auth callback that are under way.
#[derive(Debug, Default)]
pub(super) struct Calls(AtomicUsize);

impl Calls {
    /// Begins a call, which lasts until the guard is dropped.
    ///
    /// # Errors
    /// Code 40170 while too many are under way.
    pub(super) fn begin(&self) -> Result<CallGuard<'_>> {
        let call = CallGuard(&self.0);
        if self.0.fetch_add(1, Ordering::Relaxed) < MAX_CALLS {
            return Ok(call);
        }
        let message = format!("{MAX_CALLS} calls of the auth callback are under way");
        let code = ErrorCode::ERROR_FROM_CLIENT_TOKEN_CALLBACK;
        Err(Error::new(code, 401, message)
            .with_remedy("let the auth callback not authorize the client that calls it"))
    }
}

/// A call under way.
pub(super) struct CallGuard<'a>(&'a AtomicUsize);

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
