//! Gaps: what a subscription may have missed.

use capably_protocol::{ErrorInfo, Millis, Str};

use super::queue::Notice;

/// Continuity was lost here: messages may be missing between the one before it and the one after it (RTL2f,
/// RTL12).
///
/// A subscription gets one whenever its channel is attached again without continuing: after the service gave
/// up the connection (RTN15c7) or dropped what a slow client had to get, and after a detach. There is none at
/// the first attach, and none when the service continued the channel.
///
/// There is also one where an item could not be read (40013), and where a slow listener lacks messages that the service
/// no longer has ([`Overflow::Replay`](super::Overflow::Replay)).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gap {
    /// Why, if the service or the connection said.
    pub reason: Option<ErrorInfo>,
    /// The channel serial up to which nothing is missing (RTL15b); `None` when the service has not said it.
    pub after: Option<Str>,
    /// The channel serial from which on nothing is missing (RTL15c); `None` when the service has not said it.
    pub until: Option<Str>,
    /// When the gap was found, as the channel was attached again, in ms since the epoch by this machine's clock.
    pub time: Millis,
    /// Why it was not filled, or not wholly, with [`fill_gaps`](super::Subscribe::fill_gaps).
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

/// Logs a gap, for a listener that does not ask for gaps.
pub(crate) fn warn_of_gap(channel: &str, gap: &Gap) {
    let Gap { reason, after, until, time: _, unfilled } = gap;
    tracing::warn!(
        channel,
        ?reason,
        ?after,
        ?until,
        ?unfilled,
        "a subscription may have missed messages"
    );
}
