//! Time, as the driver hands it in.

use std::{ops::Add, time::Duration};

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
}

impl Now {
    /// This point of the monotonic clock.
    pub const fn at(instant: Instant) -> Self {
        Self { instant }
    }
}

impl Add<Duration> for Now {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self { instant: self.instant + duration }
    }
}
