//! Incremental backoff and jitter (RTB1).

use std::time::Duration;

/// The wait before the `nth` retry, counting from 1, if the first wait is `initial`. Jitter spreads the retries of many
/// clients that lost the service at the same time.
pub(crate) fn delay(initial: Duration, nth: u32, rng: &mut fastrand::Rng) -> Duration {
    let backoff = ((f64::from(nth) + 2.0) / 3.0).min(2.0);
    let jitter = 0.8 + 0.2 * rng.f64();
    Duration::try_from_secs_f64(initial.as_secs_f64() * backoff * jitter).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_and_none_have_no_longer_one() {
        let mut rng = fastrand::Rng::with_seed(7);
        for nth in [1, 2, 90, u32::MAX] {
            assert_eq!(delay(Duration::ZERO, nth, &mut rng), Duration::ZERO);
            assert!(delay(Duration::MAX, nth, &mut rng) >= Duration::MAX.mul_f64(0.79));
        }
    }

    #[test]
    fn grows_to_twice_the_initial_wait_less_a_fifth_at_most() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seen = Vec::new();
        for (nth, backoff) in [(1, 1.0), (2, 4.0 / 3.0), (3, 5.0 / 3.0), (4, 2.0), (90, 2.0)] {
            for _ in 0..200 {
                let jitter =
                    delay(Duration::from_secs(15), nth, &mut rng).as_secs_f64() / 15.0 / backoff;
                assert!((0.799_999..=1.000_001).contains(&jitter), "retry {nth}: jitter {jitter}");
                seen.push(jitter);
            }
        }
        let mean = seen.iter().sum::<f64>() / seen.len() as f64;
        assert!((0.89..0.91).contains(&mean), "jitter is uniform: mean {mean}");
    }
}
