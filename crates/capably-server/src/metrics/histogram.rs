//! Durations, counted by buckets.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets, in microseconds. From a commit in memory to one that waits for a busy disk.
const BOUNDS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000,
];

/// A histogram of durations. The one of `prometheus-client` locks for each value.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// The number of values in each bucket, and of those above all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// The sum of all values, in microseconds.
    sum: AtomicU64,
}

/// The values of a histogram at a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distribution {
    /// The sum of all values, in seconds.
    pub(super) sum: f64,
    pub(super) count: u64,
    /// The upper bound of each bucket in seconds, and the number of its values.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    pub(super) fn observe(&self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Distribution {
        let bounds = BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        Distribution {
            sum: self.sum.load(Ordering::Relaxed) as f64 / 1e6,
            // The count is that of the buckets read, so that a reader never sees a bucket above the total.
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_the_bucket_below() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 1_000_000, 5_000_001, u64::MAX / 2] {
            histogram.observe(Duration::from_micros(micros));
        }
        let read = histogram.read();
        let filled: Vec<_> = read.buckets.iter().copied().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.0001, 2), (0.00025, 1), (1.0, 1), (f64::INFINITY, 2)]);
        assert_eq!(read.count, 6);
        assert!(read.sum > 9e12);
    }
}
