//! Every deadline of the client, by name, in one table.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{AuthId, ChannelId, Instant, OpId};

/// The name of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Timer {
    /// The attempt to connect must have received CONNECTED (RTN14c), or the result of a connectivity check.
    Connect,
    /// The driver must have obtained a token (RSA4c).
    Token(AuthId),
    /// The service must have answered the new token (RTC8a3).
    Auth,
    /// The next connection attempt starts (RTN14d, RTN14e).
    Retry,
    /// The connection has been down for the connectionStateTtl (RTN14e), or an operation has waited so long for a client
    /// that the application does not connect.
    Suspend,
    /// The service must have sent something (RTN23a).
    Idle,
    /// CLOSED must have arrived (RTN12b).
    Close,
    /// A ping must have been answered (RTN13c).
    Ping(OpId),
    /// ATTACHED must have arrived (RTL4f).
    Attach(ChannelId),
    /// DETACHED must have arrived (RTL5f).
    Detach(ChannelId),
    /// A suspended channel tries to attach again (RTL13b).
    Reattach(ChannelId),
    /// The next page of a sync that a query waits for must have arrived (RTP11c1).
    Sync(ChannelId),
    /// The next page of a sync of objects that an operation waits for must have arrived.
    ObjectsSync(ChannelId),
    /// Deleted objects and removed keys whose grace period has passed are to be forgotten (RTO10a).
    CollectObjects(ChannelId),
    /// The service must have acknowledged a frame.
    Ack,
    /// The service must have answered or continued a replay.
    Replay(ChannelId),
}

/// The deadlines that are set, at most one of each name. Two indexes: a deadline is replaced by name, and expires by
/// time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<Timer, Instant>,
    order: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets a deadline, and replaces one of the same name.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(old) = self.due.insert(timer, at) {
            self.order.remove(&(old, timer));
        }
        self.order.insert((at, timer));
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(old) = self.due.remove(&timer) {
            self.order.remove(&(old, timer));
        }
    }

    /// Moves a deadline forward in time, if it is set.
    pub(crate) fn hasten(&mut self, timer: Timer, by: Duration) {
        if let Some(at) = self.due.get(&timer) {
            self.set(timer, Instant::from_start(at.since_start().saturating_sub(by)));
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.due.contains_key(&timer)
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<(Instant, Timer)> {
        self.order.first().copied()
    }

    /// Removes the next deadline that has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn expire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Idle, at(3));
        timers.set(Timer::Retry, at(1));
        timers.set(Timer::Connect, at(2));
        assert_eq!(timers.expire(at(0)), None);
        assert_eq!(timers.expire(at(2)), Some(Timer::Retry));
        assert_eq!(timers.expire(at(2)), Some(Timer::Connect));
        assert_eq!(timers.expire(at(2)), None);
        assert_eq!(timers.next(), Some((at(3), Timer::Idle)));
    }

    #[test]
    fn setting_again_replaces() {
        let mut timers = Timers::default();
        timers.set(Timer::Idle, at(1));
        timers.set(Timer::Idle, at(5));
        assert_eq!(timers.expire(at(4)), None);
        assert!(timers.is_set(Timer::Idle));
        timers.hasten(Timer::Idle, Duration::from_secs(2));
        timers.hasten(Timer::Retry, Duration::from_secs(2));
        assert_eq!(timers.next(), Some((at(3), Timer::Idle)));
        timers.hasten(Timer::Idle, Duration::from_secs(9));
        assert_eq!(timers.next(), Some((at(0), Timer::Idle)));
        timers.clear(Timer::Idle);
        assert!(!timers.is_set(Timer::Idle));
        assert_eq!(timers.next(), None);
    }
}
