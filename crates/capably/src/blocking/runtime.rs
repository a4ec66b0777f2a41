//! The runtime of all blocking calls.

use std::{
    pin::pin,
    process,
    sync::OnceLock,
    task::{Context, Waker},
};

use capably_protocol::ErrorCode;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::consume_budget,
};

use crate::{Error, Result};

/// The runtime, for a caller that will wait. Its thread serves the clients and connections that outlive a call.
///
/// # Errors
/// Code 40000 in asynchronous code; 50000 when the system cannot start a thread, and in a forked process.
pub(super) fn runtime() -> Result<&'static Runtime> {
    if is_task() {
        let message = "a blocking call in a task would block the tokio runtime of the task";
        return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
            .with_remedy("await the call, or make it inside `tokio::task::spawn_blocking`"));
    }
    shared()
}

/// The runtime, for any caller. It is never shut down: the process ends it.
///
/// # Errors
/// Code 50000 when the system cannot start a thread, and in a forked process.
pub(crate) fn shared() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<(Runtime, ProcessId)> = OnceLock::new();
    let current = ProcessId(process::id());
    if let Some((runtime, own)) = RUNTIME.get() {
        own.check(current)?;
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let built = builder.worker_threads(1).thread_name("capably-blocking").enable_all().build();
    let runtime = built.map_err(|error| {
        Error::new(ErrorCode::INTERNAL_ERROR, 500, "the system cannot start a thread")
            .with_source(error)
    })?;
    // Another thread may have been first; its runtime counts, and this one is dropped.
    Ok(&RUNTIME.get_or_init(|| (runtime, current)).0)
}

/// The process that started the runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ProcessId(u32);

impl ProcessId {
    /// A fork copies the memory of a process but only one of its threads, so a wait in the copy would never end.
    fn check(self, current: Self) -> Result<()> {
        if self == current {
            return Ok(());
        }
        let message = "this process was forked, and the threads of the SDK are in its parent only";
        Err(Error::new(ErrorCode::INTERNAL_ERROR, 500, message)
            .with_remedy("fork before the first use of the SDK, or start another program"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_process_gets_an_error_and_does_not_wait_for_threads_of_its_parent() {
        let parent = ProcessId(7);
        parent.check(ProcessId(7)).expect("the parent may wait");
        let error = parent.check(ProcessId(8)).expect_err("the child may not");
        assert_eq!(error.code().0, 50000);
        assert!(error.remediation().is_some_and(|remedy| remedy.contains("fork before")));
    }
}
