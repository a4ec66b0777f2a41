//! Whether the server is ready for new clients, as a load balancer asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The readiness of a server. The owner of the engine reports whether it can commit; [`drain`](crate::Server::drain)
/// and the shutdown report the rest.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Facts>);

#[derive(Debug, Default)]
struct Facts {
    phase: Phase,
    /// Why the engine cannot commit; `None` while it can.
    engine_problem: Option<String>,
}

/// The phases of a server, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Serving,
    /// Load balancers learn that the server will close. It still accepts new clients.
    Announcing,
    /// The server accepts no new clients.
    Closed,
}

/// The state that a load balancer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// The server is about to stop.
    Draining,
    /// The engine cannot commit, for this reason.
    Unavailable(String),
}

impl Readiness {
    pub(crate) fn state(&self) -> State {
        let facts = self.lock();
        match (facts.phase, &facts.engine_problem) {
            (Phase::Announcing | Phase::Closed, _) => State::Draining,
            (Phase::Serving, Some(problem)) => State::Unavailable(problem.clone()),
            (Phase::Serving, None) => State::Ready,
        }
    }

    /// Whether the server accepts new clients. It does while the engine is unavailable: clients may still receive, and
    /// no other node may be better off.
    pub(crate) fn accepts_clients(&self) -> bool {
        self.lock().phase < Phase::Closed
    }

    /// The server is about to stop.
    pub(crate) fn announce_drain(&self) {
        self.advance_to(Phase::Announcing);
    }

    /// The server accepts no new clients from now on.
    pub(crate) fn close(&self) {
        self.advance_to(Phase::Closed);
    }

    fn advance_to(&self, phase: Phase) {
        let mut facts = self.lock();
        facts.phase = facts.phase.max(phase);
    }

    /// The engine cannot commit, for this reason, until [`engine_is_available`](Self::engine_is_available).
    pub(crate) fn engine_is_unavailable(&self, problem: impl Into<String>) {
        let problem = problem.into();
        let before = self.lock().engine_problem.replace(problem.clone());
        if before.is_none() {
            tracing::error!(problem, "the engine is unavailable");
        }
    }

    /// The engine can commit again.
    pub(crate) fn engine_is_available(&self) {
        let before = self.lock().engine_problem.take();
        if before.is_some() {
            tracing::info!("the engine is available again");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_server_is_never_ready() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), State::Ready);
        readiness.engine_is_unavailable("no quorum");
        assert_eq!(readiness.state(), State::Unavailable("no quorum".to_owned()));
        assert!(readiness.accepts_clients());
        readiness.announce_drain();
        assert_eq!(readiness.state(), State::Draining);
        assert!(readiness.accepts_clients());
        readiness.engine_is_available();
        readiness.close();
        readiness.announce_drain();
        assert_eq!(readiness.state(), State::Draining);
        assert!(!readiness.accepts_clients());
    }

    #[test]
    fn a_recovered_engine_makes_the_server_ready() {
        let readiness = Readiness::default();
        readiness.engine_is_unavailable("away");
        readiness.engine_is_available();
        assert_eq!(readiness.state(), State::Ready);
    }
}
