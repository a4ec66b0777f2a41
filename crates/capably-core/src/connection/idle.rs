//! Silence of the service (RTN23), and sleep of the machine.

use std::time::Duration;

use super::{Connection, ConnectionCx, State, attempt::Phase};
use crate::{Timer, errors};

/// An attempt to connect that was interrupted by a sleep of this length is started again: its transport has most likely
/// ended.
const LONG: Duration = Duration::from_secs(5);

impl Connection {
    /// The service must send something within its idle interval and a request timeout (RTN23a).
    pub(super) fn watch_idle(&mut self, cx: &mut ConnectionCx<'_>) {
        match self.idle_limit(cx) {
            Some(limit) => cx.timers.set(Timer::Idle, cx.now.instant + limit),
            None => cx.timers.clear(Timer::Idle),
        }
    }

    fn idle_limit(&self, cx: &ConnectionCx<'_>) -> Option<Duration> {
        let interval = self.max_idle_interval;
        (!interval.is_zero()).then(|| interval.saturating_add(cx.config.realtime_request_timeout))
    }

    /// The idle deadline has passed, or the machine slept. Activity does not move the timer, as that would cost each frame
    /// a change of the timers; the time of the last activity is compared here instead, once an interval.
    pub(crate) fn check_idle(&mut self, cx: &mut ConnectionCx<'_>) {
        let (State::Connected { transport }, Some(limit)) = (self.state, self.idle_limit(cx))
        else {
            return;
        };
        let left = limit.saturating_sub(self.slept());
        let deadline = self.last_activity + left;
        if deadline > cx.now.instant {
            cx.timers.set(Timer::Idle, deadline);
        } else {
            self.fail_transport(transport, errors::idle(), cx);
        }
    }

    /// The machine slept. Sleep counts as silence, and as time without a connection.
    pub(crate) fn woke(&mut self, slept: Duration, cx: &mut ConnectionCx<'_>) {
        self.slept = (cx.now.instant, self.slept().saturating_add(slept));
        cx.timers.hasten(Timer::Suspend, slept);
        match self.state {
            State::Connected { .. } => self.check_idle(cx),
            // After a sleep the network is often another one, so the wait for a retry has lost its meaning.
            State::Disconnected | State::Suspended => self.start_connecting(cx),
            // The application waits for this token, and its request has a time limit of its own.
            State::Connecting(Phase::Authorizing) => {}
            State::Connecting(_) if slept >= LONG => self.restart_attempt(cx),
            State::Connecting(_)
            | State::Initialized
            | State::Closing(_)
            | State::Closed
            | State::Failed => {}
        }
    }

    /// How long the machine slept since the last activity.
    fn slept(&self) -> Duration {
        let (at, slept) = self.slept;
        if at <= self.last_activity { Duration::ZERO } else { slept }
    }
}
