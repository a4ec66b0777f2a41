//! Limits that an app has of its own, and the rate of what its clients publish.

use std::{sync::Arc, time::Duration};

use capably_protocol::ErrorInfo;
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
    pub(super) fn apply(self, settings: Arc<Settings>) -> Arc<Settings> {
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

/// What an app may use of the machine cannot be more than the operator lets every app use.
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
    pub(super) fn require_connection(
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
pub(super) const USUAL_RATE: u32 = 250;

/// How much a connection has published of late.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all of it would have been published at the highest rate.
    until: Duration,
}

impl Pace {
    /// Whether `count` more fit, at `rate` a second: those of a second may come at once.
    pub(super) fn admit(&mut self, count: usize, rate: u32, now: Duration) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let until =
            self.until.max(now).saturating_add((SECOND / rate.max(1)).saturating_mul(count));
        let fits = rate > 0 && until <= now + SECOND;
        if fits {
            self.until = until;
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
}
