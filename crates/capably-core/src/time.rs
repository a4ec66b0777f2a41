//! Time, as the driver hands it in.

use std::{ops::Add, time::Duration};

use capably_protocol::Millis;

/// A point on the driver's monotonic clock: the time since a moment of its choosing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The point this long after the driver's chosen moment.
    pub const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The time since the driver's chosen moment.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// What time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// On the monotonic clock, which timers follow.
    pub instant: Instant,
    /// On the wall clock, in ms since the epoch: what messages that the client makes are dated by.
    pub wall: Millis,
}

impl Now {
    /// This point of the monotonic clock, and this time of day, in ms since the epoch.
    pub const fn at(instant: Instant, wall: Millis) -> Self {
        Self { instant, wall }
    }
}

impl Add<Duration> for Now {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        let millis = Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX);
        Self { instant: self.instant + duration, wall: self.wall.saturating_add(millis) }
    }
}
