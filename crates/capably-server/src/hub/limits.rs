//! Limits that an app has of its own, and the rate of what its clients publish.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use capably_protocol::{ErrorInfo, Str};
use serde::{Deserialize, Serialize};

use super::{App, ConnectionId, Now, Settings, error};

/// What an app sets otherwise than its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Limits {
    /// Most members of a channel.
    pub(crate) max_presence_members: Option<usize>,
    /// Largest publish, in bytes.
    pub(crate) max_message_size: Option<usize>,
    /// Most messages a second that a connection publishes.
    pub(crate) max_inbound_rate: Option<u32>,
    /// Most channels.
    pub(crate) max_channels: Option<usize>,
    /// Most connections.
    pub(crate) max_connections: Option<usize>,
    /// Most REST requests a second.
    pub(crate) max_request_rate: Option<u32>,
    /// Most bytes of the logs of all channels, in memory.
    pub(crate) max_log_bytes: Option<usize>,
}

impl Limits {
    /// The settings of an app with these limits.
    pub(crate) fn apply(self, settings: Arc<Settings>) -> Arc<Settings> {
        if self == Self::default() {
            return settings;
        }
        Arc::new(Settings {
            max_presence_members: self
                .max_presence_members
                .unwrap_or(settings.max_presence_members),
            max_message_size: self.max_message_size.unwrap_or(settings.max_message_size),
            max_inbound_rate: self.max_inbound_rate.or(settings.max_inbound_rate),
            max_channels: lower(self.max_channels, settings.max_channels),
            max_connections: lower(self.max_connections, settings.max_connections),
            max_request_rate: lower(self.max_request_rate, settings.max_request_rate),
            max_log_bytes: self
                .max_log_bytes
                .map_or(settings.max_log_bytes, |own| own.min(settings.max_log_bytes)),
            ..(*settings).clone()
        })
    }
}

/// The limits of an app cannot exceed those that the operator sets for every app.
fn lower<T: Ord>(own: Option<T>, of_server: Option<T>) -> Option<T> {
    match (own, of_server) {
        (Some(own), Some(of_server)) => Some(own.min(of_server)),
        (own, of_server) => own.or(of_server),
    }
}

impl App {
    /// Counts a REST request of whoever has shown who they are.
    ///
    /// # Errors
    /// Code 42918 when the app gets more requests than it may.
    pub(crate) fn admit_request(&mut self, now: Now) -> Result<(), ErrorInfo> {
        match self.settings.max_request_rate {
            Some(rate) if !self.request_pace.admit(1, rate, now.steady) => {
                Err(error::too_many_requests(rate))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Checks that there is room for one more connection, or that it takes the place of one.
    ///
    /// # Errors
    /// Code 40111 when the app has as many connections as it may.
    pub(crate) fn require_connection(
        &self,
        resumed: Option<&ConnectionId>,
    ) -> Result<(), ErrorInfo> {
        let Some(max) = self.settings.max_connections else { return Ok(()) };
        let resumed = resumed.and_then(|id| self.connections.get(id));
        let replaces = resumed.is_some_and(|connection| connection.transport.is_some());
        if self.transports.len() < max || replaces {
            Ok(())
        } else {
            Err(error::too_many_connections(max))
        }
    }
}

/// What clients are told of the rate when it is not limited, in messages a second.
pub(crate) const USUAL_RATE: u32 = 250;

const SECOND: Duration = Duration::from_secs(1);

/// A highest rate of messages, which may be less than one a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    per_second: f64,
    /// From one message to the next; none when there may not be any.
    interval: Option<Duration>,
}

impl Rate {
    /// So many messages a second; `None` when that is no rate.
    pub(crate) fn per_second(per_second: f64) -> Option<Self> {
        if !per_second.is_finite() || per_second < 0.0 {
            return None;
        }
        // Rounded down, so that as many as the rate says fit into a second.
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

/// How much has been published of late.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When all of it would have been published at the highest rate.
    until: Duration,
}

impl Pace {
    /// Whether `count` more fit, at `rate` a second: those of a second may come at once.
    pub(crate) fn admit(&mut self, count: usize, rate: u32, now: Duration) -> bool {
        rate > 0 && self.admit_every(count, SECOND / rate, now)
    }

    /// As [`admit`](Self::admit), one at each `interval`. If that is more than a second, one may always come.
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

/// How much a connection has published of late on each of the channels for which its token sets a rate.
///
/// Attaching again does not begin anew.
#[derive(Debug, Default)]
pub(crate) struct ChannelPaces(BTreeMap<Str, Pace>);

/// Most channels that a connection publishes on at such a rate at the same time.
const MAX_PACES: usize = 1000;

impl ChannelPaces {
    /// Whether `count` more fit on the channel.
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
    fn a_second_of_messages_may_come_at_once() {
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
    fn a_rate_may_be_less_than_one_a_second_or_no_whole_number() {
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
    fn the_paces_of_channels_are_bounded_and_forgotten() {
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
