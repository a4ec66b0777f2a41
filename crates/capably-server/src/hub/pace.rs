//! Rates: token buckets that decide whether more messages or requests are admitted.

use std::{collections::BTreeMap, fmt, time::Duration};

use capably_protocol::Str;

/// The rate in `connectionDetails` when the server has no limit, in messages a second.
pub(crate) const USUAL_RATE: u32 = 250;

const SECOND: Duration = Duration::from_secs(1);

/// A limit on the rate of messages. It may be less than one a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    /// The time between messages. `None` when no message is allowed.
    interval: Option<Duration>,
}

impl Rate {
    /// A rate of so many messages a second. `None` for a number that is not a rate.
    pub(crate) fn per_second(per_second: f64) -> Option<Self> {
        if !per_second.is_finite() || per_second < 0.0 {
            return None;
        }
        // Rounded down, so that the full rate fits into a second.
        let nanos = (1e9 / per_second).floor();
        let interval = (nanos < u64::MAX as f64).then(|| Duration::from_nanos(nanos as u64));
        Some(Self { per_second, interval })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.per_second.fmt(f)
    }
}

/// The recent messages of one publisher, as a token bucket.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The time at which all of them would have been published at the limit.
    until: Duration,
}

impl Pace {
    /// Counts `count` messages if the `rate` a second admits them. The messages of a second may come in one burst.
    pub(crate) fn admit(&mut self, count: usize, rate: u32, now: Duration) -> bool {
        rate > 0 && self.admit_every(count, SECOND / rate, now)
    }

    /// As [`admit`](Self::admit), with the interval between messages. The burst is at least one message.
    fn admit_every(&mut self, count: usize, interval: Duration, now: Duration) -> bool {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let until = self.until.max(now).saturating_add(interval.saturating_mul(count));
        let fits = until <= now.saturating_add(interval.max(SECOND));
        if fits {
            self.until = until;
        }
        fits
    }
}

/// The recent messages of a connection on each channel for which its token sets a rate. Attaching again does not reset
/// them.
#[derive(Debug, Default)]
pub(crate) struct ChannelPaces(BTreeMap<Str, Pace>);

/// The most channels on which a connection can publish with such rates at the same time.
const MAX_PACES: usize = 1000;

impl ChannelPaces {
    /// Counts `count` messages on the channel if the `rate` admits them.
    pub(crate) fn admit(&mut self, channel: &str, count: usize, rate: Rate, now: Duration) -> bool {
        let Some(interval) = rate.interval else { return false };
        if let Some(pace) = self.0.get_mut(channel) {
            return pace.admit_every(count, interval, now);
        }
        if self.0.len() >= MAX_PACES {
            self.0.retain(|_, pace| pace.until > now);
            if self.0.len() >= MAX_PACES {
                return false;
            }
        }
        let mut pace = Pace::default();
        let fits = pace.admit_every(count, interval, now);
        if fits {
            self.0.insert(channel.into(), pace);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_of_one_second_may_come_at_once() {
        let mut pace = Pace::default();
        let ms = Duration::from_millis;
        let now = ms(5000);
        assert!(pace.admit(9, 10, now));
        assert!(!pace.admit(2, 10, now), "what does not fit is not counted");
        assert!(pace.admit(1, 10, now));
        assert!(!pace.admit(1, 10, now + ms(99)));
        assert!(pace.admit(1, 10, now + ms(100)));
        assert!(!pace.admit(1, 10, now + ms(100)));
        assert!(pace.admit(10, 10, now + ms(2000)));
        assert!(!pace.admit(11, 10, now + ms(9000)), "more than there may ever be at once");
        assert!(!pace.admit(1, 0, now + ms(99_000)));
        assert!(!pace.admit(usize::MAX, 10, now + ms(99_000)));
    }

    #[test]
    fn a_rate_may_be_a_fraction() {
        let now = Duration::from_secs(5);
        let admitted = |rate: f64, at: &[(usize, u64)]| -> Vec<bool> {
            let rate = Rate::per_second(rate).unwrap();
            let mut paces = ChannelPaces::default();
            let after = |millis| now + Duration::from_millis(millis);
            at.iter().map(|(count, at)| paces.admit("a", *count, rate, after(*at))).collect()
        };
        assert_eq!(admitted(0.1, &[(1, 0), (1, 9_999), (1, 10_000)]), [true, false, true]);
        assert_eq!(admitted(0.1, &[(2, 0), (1, 0), (1, 5_000)]), [false, true, false]);
        assert_eq!(admitted(6.0, &[(6, 0), (1, 0), (1, 167)]), [true, false, true]);
        assert_eq!(admitted(2.5, &[(2, 0), (1, 0), (1, 400)]), [true, false, true]);
        assert_eq!(admitted(0.0, &[(1, 0), (1, 1_000_000)]), [false, false]);
        assert_eq!(admitted(1e-300, &[(1, 0), (1, 1_000_000)]), [false, false]);
        assert_eq!(admitted(1e-9, &[(1, 0), (1, 1_000_000)]), [true, false]);
        assert_eq!(admitted(1e300, &[(1000, 0), (usize::MAX, 0)]), [true, true]);
        for rate in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::per_second(rate), None, "{rate}");
        }
    }

    #[test]
    fn the_number_of_channel_rates_is_limited_and_idle_ones_expire() {
        let rate = Rate::per_second(0.1).unwrap();
        let mut paces = ChannelPaces::default();
        let now = Duration::from_secs(5);
        for number in 0..MAX_PACES {
            assert!(paces.admit(&number.to_string(), 1, rate, now), "{number}");
        }
        assert!(!paces.admit("one more", 1, rate, now));
        assert!(!paces.admit("7", 1, rate, now + Duration::from_secs(9)));
        let later = now + Duration::from_secs(10);
        assert!(paces.admit("one more", 1, rate, later));
        assert_eq!(paces.0.len(), 1);
    }
}
