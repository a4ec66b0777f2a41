//! Time, as the driver passes it with each input.

use std::{ops::Add, time::Duration};

use capably_protocol::Millis;

/// The last point of the clock: 30 years after its start. Later points are clamped to it, so that a driver can add any
/// point to its own clock without overflow, whatever duration an option or the service sets.
const LAST: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// A point on the driver's monotonic clock: the time since a moment of its choosing, at most 30 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The point this long after the driver's chosen moment.
    pub const fn from_start(elapsed: Duration) -> Self {
        // `min` is not const.
        if elapsed.as_secs() < LAST.as_secs() { Self(elapsed) } else { Self(LAST) }
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
        Self(self.0.saturating_add(duration).min(LAST))
    }
}

/// The time of an input, on two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock, which deadlines follow.
    pub instant: Instant,
    /// The wall clock, in ms since the epoch. The client dates the messages that it synthesizes by it.
    pub wall: Millis,
}

impl Now {
    /// This point of the monotonic clock, and this wall-clock time, in ms since the epoch.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_long_to_add() {
        let start = Instant::from_start(Duration::from_secs(1));
        for long in [LAST, Duration::from_millis(u64::MAX), Duration::MAX] {
            assert_eq!((start + long).since_start(), LAST, "{long:?}");
            assert_eq!((start + long + long).since_start(), LAST, "{long:?}");
            assert_eq!(Instant::from_start(long).since_start(), LAST, "{long:?}");
            assert_eq!((Now::at(start, 1) + long).instant.since_start(), LAST, "{long:?}");
        }
        assert_eq!((Now::at(start, 1) + Duration::MAX).wall, Millis::MAX);
        assert_eq!((start + Duration::from_nanos(1)).since(start), Duration::from_nanos(1));
    }
}
