//! Silence: of the service (RTN23), and of a machine that slept.

use std::time::Duration;

use super::{Connection, State, attempt::Phase};
use crate::{Client, Instant, Now, Timer, errors};

/// From here on, an attempt to connect that a sleep came in between is not worth waiting for.
const LONG: Duration = Duration::from_secs(5);

impl Connection {
    /// For how long the machine slept since the service was last heard from.
    fn slept(&self) -> Duration {
        let (at, slept) = self.slept;
        if at <= self.last_activity { Duration::ZERO } else { slept }
    }
}

impl Client {
    /// The service must be heard from within its idle interval and a request timeout (RTN23a).
    pub(super) fn watch_idle(&mut self, now: Instant) {
        match self.idle_limit() {
            Some(limit) => self.shared.timers.set(Timer::Idle, now + limit),
            None => self.shared.timers.clear(Timer::Idle),
        }
    }

    fn idle_limit(&self) -> Option<Duration> {
        let interval = self.shared.connection.max_idle_interval;
        (!interval.is_zero())
            .then(|| interval.saturating_add(self.shared.config.realtime_request_timeout))
    }

    /// Activity does not move the timer; it is looked at here, once an interval.
    pub(crate) fn check_idle(&mut self, now: Instant) {
        let (State::Connected { transport }, Some(limit)) =
            (self.shared.connection.state, self.idle_limit())
        else {
            return;
        };
        let left = limit.saturating_sub(self.shared.connection.slept());
        let deadline = self.shared.connection.last_activity + left;
        if deadline > now {
            self.shared.timers.set(Timer::Idle, deadline);
        } else {
            self.fail_transport(transport, errors::idle(), now);
        }
    }

    /// The machine slept for so long, by the wall clock, while the monotonic one stood still.
    ///
    /// Sleep counts as silence, and as time without a connection. A client that waits to retry does so
    /// now, since a machine that wakes is one that somebody uses.
    pub fn woke(&mut self, slept: Duration, now: Now) {
        let now = now.instant;
        self.shared.connection.slept = (now, self.shared.connection.slept().saturating_add(slept));
        self.shared.timers.hasten(Timer::Suspend, slept);
        match self.shared.connection.state {
            State::Connected { .. } => self.check_idle(now),
            State::Disconnected | State::Suspended => self.start_connecting(now),
            State::Connecting(Phase::Authorizing) => {}
            State::Connecting(_) if slept >= LONG => {
                self.halt_attempt();
                self.start_connecting(now);
            }
            State::Connecting(_)
            | State::Initialized
            | State::Closing(_)
            | State::Closed
            | State::Failed => {}
        }
    }
}
