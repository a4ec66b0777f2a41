//! The renewal of a token: a separate task, shared by all calls that wait for the token (RSA4b).

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_util::{FutureExt, future::select};
use tokio::{sync::watch, task::AbortHandle};

use super::{calling, failed, session::Proof};
use crate::Result;

/// A running renewal. It does not depend on the calls that wait for it: if one is dropped, the renewal continues.
pub(super) struct Renewal {
    ended: watch::Sender<Option<Ended>>,
    task: OnceLock<AbortHandle>,
}

#[derive(Clone)]
enum Ended {
    With(Result<Proof>),
    /// The task was dropped before its end, because its runtime has ended.
    Lost,
}

impl Renewal {
    /// Starts the work on the current runtime. The work stops early when `gone` resolves.
    pub(super) fn spawn(
        work: impl Future<Output = Result<Proof>> + Send + 'static,
        gone: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let renewal = Arc::new(Self { ended: watch::Sender::new(None), task: OnceLock::new() });
        let guard = LostOnDrop(Arc::clone(&renewal));
        let work = async move {
            let work = pin!(AssertUnwindSafe(work).catch_unwind());
            if let futures_util::future::Either::Left((outcome, _)) = select(work, pin!(gone)).await
            {
                guard.0.end(
                    outcome.unwrap_or_else(|_| Err(failed("the renewal of the token panicked"))),
                );
            }
        };
        // The new task inherits the callers, so that a callback that needs its own token is still detected.
        let task = tokio::spawn(calling::led_to_by(calling::callers(), work));
        let _ = renewal.task.set(task.abort_handle());
        renewal
    }

    /// Ends the renewal with this outcome, unless it has ended.
    pub(super) fn end(&self, outcome: Result<Proof>) {
        self.end_as(Ended::With(outcome));
    }

    /// Stops the work.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for the outcome. `None` if the task was lost with its runtime, or takes longer than `limit`, which means
    /// that its runtime does not run any more.
    pub(super) async fn outcome(&self, limit: Duration) -> Option<Result<Proof>> {
        let mut ended = self.ended.subscribe();
        let waited = tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await;
        match waited.ok()?.ok()?.clone()? {
            Ended::With(outcome) => Some(outcome),
            Ended::Lost => None,
        }
    }

    fn end_as(&self, how: Ended) {
        self.ended.send_if_modified(|ended| {
            let is_first = ended.is_none();
            if is_first {
                *ended = Some(how);
            }
            is_first
        });
    }
}

/// Ends the renewal when its task is dropped, so that no call waits for ever.
struct LostOnDrop(Arc<Renewal>);

impl Drop for LostOnDrop {
    fn drop(&mut self) {
        self.0.end_as(Ended::Lost);
    }
}
