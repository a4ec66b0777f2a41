//! Gaps: places in a feed where items may be missing.

use capably_protocol::{ErrorInfo, Millis, Str};

use super::Feed;
use crate::realtime::queue::Notice;

/// A place in a subscription where messages may be missing (RTL2f, RTL12).
///
/// A subscription receives a gap in these cases:
///
/// - The channel was attached again without continuity: the service had given up the connection (RTN15c7), had
///   dropped messages for a slow client, or the channel had been detached. There is no gap at the first attach,
///   and none when the service continued the channel.
/// - An item could not be read (40013).
/// - A slow listener lacks messages that the service no longer has
///   ([`Overflow::Replay`](crate::realtime::Overflow::Replay)).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gap {
    /// The reason, if the service or the connection gave one.
    pub reason: Option<ErrorInfo>,
    /// The channel serial up to which nothing is missing (RTL15b); `None` if the service did not send it.
    pub after: Option<Str>,
    /// The channel serial from which on nothing is missing (RTL15c); `None` if the service did not send it.
    pub until: Option<Str>,
    /// When the client found the gap, in ms since the epoch by the local clock.
    pub time: Millis,
    /// Why [`fill_gaps`](crate::realtime::Subscribe::fill_gaps) did not fill the gap completely.
    pub unfilled: Option<ErrorInfo>,
}

impl From<capably_core::Gap> for Gap {
    fn from(gap: capably_core::Gap) -> Self {
        let capably_core::Gap { reason, after, until, time } = gap;
        Self { reason, after, until, time, unfilled: None }
    }
}

impl Notice for Gap {
    fn merge(&mut self, later: Self) {
        self.reason = later.reason.or_else(|| self.reason.take());
        self.until = later.until;
        self.time = later.time;
    }
}

/// Logs a gap for a listener that does not read events.
pub(super) fn warn_of_gap(feed: Feed, channel: &str, gap: &Gap) {
    let Gap { reason, after, until, time: _, unfilled } = gap;
    tracing::warn!(
        channel,
        %feed,
        ?reason,
        ?after,
        ?until,
        ?unfilled,
        "a subscription may have missed messages"
    );
}
