//! Rates: the differences between two samples of counters that only grow.
//!
//! A sample is taken when somebody looks. So counting costs nothing more while nobody does.

use std::time::Duration;

/// The shortest time over which a rate is computed, once there are two samples.
const INTERVAL: Duration = Duration::from_secs(1);

/// A sample of this age tells nothing about the last seconds.
const STALE: Duration = Duration::from_secs(10);

/// The last samples of a set of counters.
#[derive(Debug)]
pub(super) struct Samples<T> {
    /// Oldest first, each with its time by the steady clock.
    kept: [Option<(Duration, T)>; 2],
}

impl<T> Default for Samples<T> {
    fn default() -> Self {
        Self { kept: [None, None] }
    }
}

impl<T: Clone> Samples<T> {
    /// Whether nobody has looked for so long that the samples are of no use.
    pub(super) fn is_stale(&self, now: Duration) -> bool {
        let newest = self.kept[1].as_ref();
        newest.is_none_or(|(at, _)| now.saturating_sub(*at) > STALE)
    }

    /// Adds a sample. Returns the one to compare it with, and the seconds between them.
    pub(super) fn compare(&mut self, sample: &T, now: Duration) -> Option<(T, f64)> {
        for kept in &mut self.kept {
            kept.take_if(|(at, _)| now.saturating_sub(*at) > STALE);
        }
        let [older, newer] = &self.kept;
        let base = older.as_ref().or(newer.as_ref());
        let base = base.filter(|(at, _)| *at < now).cloned();
        let newest = newer.as_ref().map(|(at, _)| *at);
        if newest.is_none_or(|at| now.saturating_sub(at) >= INTERVAL) {
            self.kept.swap(0, 1);
            self.kept[1] = Some((now, sample.clone()));
        }
        base.map(|(at, sample)| (sample, (now - at).as_secs_f64()))
    }
}

/// The rate of a counter, in units a second. A counter that is lower than before has begun anew.
pub(super) fn per_second(before: u64, now: u64, seconds: f64) -> f64 {
    let grown = now.checked_sub(before).unwrap_or(now);
    // Rounded: nobody reads more digits.
    (grown as f64 / seconds * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds_however_often_somebody_looks() {
        let at = |millis: u64| Duration::from_secs(100) + Duration::from_millis(millis);
        let mut samples = Samples::default();
        assert_eq!(samples.compare(&0u64, at(0)), None);
        assert_eq!(samples.compare(&5, at(500)), Some((0, 0.5)));
        assert_eq!(samples.compare(&10, at(1000)), Some((0, 1.0)));
        assert_eq!(samples.compare(&15, at(1500)), Some((0, 1.5)));
        assert_eq!(samples.compare(&20, at(2000)), Some((0, 2.0)));
        assert_eq!(samples.compare(&25, at(2500)), Some((10, 1.5)));
        assert_eq!(samples.compare(&25, at(60_000)), None, "the samples are stale");
        assert_eq!(samples.compare(&30, at(61_000)), Some((25, 1.0)));
    }

    #[test]
    fn a_counter_that_begins_anew_has_no_negative_rate() {
        assert_eq!(per_second(10, 40, 2.0), 15.0);
        assert_eq!(per_second(40, 10, 2.0), 5.0);
        assert_eq!(per_second(0, 1, 3.0), 0.33);
    }
}
