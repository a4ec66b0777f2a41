//! The renewal of a token: a task of its own, shared by all who wait for it (RSA4b).

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

/// A renewal under way. Whoever gives up waiting for it does not matter to it.
pub(super) struct Renewal {
    ended: watch::Sender<Option<Ended>>,
    task: OnceLock<AbortHandle>,
}

#[derive(Clone)]
enum Ended {
    With(Result<Proof>),
    /// Its task was dropped, as tasks are whose runtime ends.
    Lost,
}

impl Renewal {
    /// Begins the work on the current runtime. It ends early when `gone` does.
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
        let task = tokio::spawn(calling::led_to_by(calling::callers(), work));
        let _ = renewal.task.set(task.abort_handle());
        renewal
    }

    /// Ends the renewal with this outcome, unless it has ended.
    pub(super) fn end(&self, outcome: Result<Proof>) {
        self.end_as(Ended::With(outcome));
    }

    /// Has the work stop.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    /// Waits for the outcome; `None` when the work was lost with its runtime, or takes longer than it may:
    /// then nobody drives its runtime.
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

/// Tells those who wait when the task is dropped.
struct LostOnDrop(Arc<Renewal>);

impl Drop for LostOnDrop {
    fn drop(&mut self) {
        self.0.end_as(Ended::Lost);
    }
}
