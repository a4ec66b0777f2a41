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
            Some(limit) => self.timers.set(Timer::Idle, now + limit),
            None => self.timers.clear(Timer::Idle),
        }
    }

    fn idle_limit(&self) -> Option<Duration> {
        let interval = self.connection.max_idle_interval;
        (!interval.is_zero()).then(|| interval.saturating_add(self.config.realtime_request_timeout))
    }

    /// Activity does not move the timer; it is looked at here, once an interval.
    pub(crate) fn check_idle(&mut self, now: Instant) {
        let (State::Connected { transport }, Some(limit)) =
            (self.connection.state, self.idle_limit())
        else {
            return;
        };
        let left = limit.saturating_sub(self.connection.slept());
        let deadline = self.connection.last_activity + left;
        if deadline > now {
            self.timers.set(Timer::Idle, deadline);
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
        self.connection.slept = (now, self.connection.slept().saturating_add(slept));
        self.timers.hasten(Timer::Suspend, slept);
        match self.connection.state {
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
