//! Metrics: counters of one server, and their text for Prometheus.
//!
//! Counting must cost nothing that can be measured. So all counters are relaxed atomics, whose labels are positions in
//! an array; the realtime traffic is spread over several cache lines; and a connection counts once for all frames that
//! it reads or writes together. Values that the server knows anyway, such as the number of connections, are
//! read when the metrics are: see [`Gauges`].

mod exposition;
mod histogram;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use capably_protocol::ErrorInfo;

pub(crate) use self::exposition::{CONTENT_TYPE, Gauges};
use self::histogram::Histogram;

/// The metrics of a server. Counters only grow, from its start on.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// The traffic of realtime connections. Each connection uses one of them.
    realtime: [Traffic; STRIPES],
    rest: Traffic,
    opened: Counter,
    closed: [Counter; Ending::ALL.len()],
    refused: [Counter; Refused::ALL.len()],
    requests: [Counter; StatusClass::ALL.len()],
    request_time: Histogram,
    commit_time: Histogram,
    /// In microseconds; [`NO_LAG`] until the engine reports one.
    lag: AtomicU64,
}

/// With this many stripes, two busy connections rarely write to the same cache line.
const STRIPES: usize = 16;

const NO_LAG: u64 = u64::MAX;

impl Default for Metrics {
    fn default() -> Self {
        Self {
            realtime: Default::default(),
            rest: Traffic::default(),
            opened: Counter::default(),
            closed: Default::default(),
            refused: Default::default(),
            requests: Default::default(),
            request_time: Histogram::default(),
            commit_time: Histogram::default(),
            lag: AtomicU64::new(NO_LAG),
        }
    }
}

impl Metrics {
    /// The traffic of the realtime connection with this number.
    pub(crate) fn realtime(&self, connection: u64) -> &Traffic {
        &self.realtime[connection as usize % STRIPES]
    }

    /// The traffic of REST requests.
    pub(crate) fn rest(&self) -> &Traffic {
        &self.rest
    }

    /// A client is connected.
    pub(crate) fn connection_opened(&self) {
        self.opened.add(1);
    }

    /// A client that was connected is not connected any more.
    pub(crate) fn connection_closed(&self, ending: Ending) {
        self.closed[ending as usize].add(1);
    }

    /// Frames, or a request, were refused with this error.
    pub(crate) fn refused(&self, error: &ErrorInfo, times: u64) {
        self.refused[Refused::with(error) as usize].add(times);
    }

    /// A REST request was answered.
    pub(crate) fn request_answered(&self, status: StatusClass, time: Duration) {
        self.requests[status as usize].add(1);
        self.request_time.observe(time);
    }

    /// The engine has taken this long to commit a group of entries, or to fail.
    ///
    /// An engine that commits within the call need not report it. An engine that commits entries in groups reports each
    /// group once.
    pub(crate) fn committed(&self, time: Duration) {
        self.commit_time.observe(time);
    }

    /// An entry of a shared engine has arrived at this node so long after it was proposed.
    pub(crate) fn set_lag(&self, lag: Duration) {
        self.lag.store(u64::try_from(lag.as_micros()).unwrap_or(NO_LAG - 1), Ordering::Relaxed);
    }

    /// Messages and bytes received, messages and bytes sent, over all interfaces.
    #[cfg(feature = "console")]
    pub(crate) fn traffic(&self) -> [u64; 4] {
        self.realtime.iter().chain([&self.rest]).fold([0; 4], |[a, b, c, d], it| {
            [
                a + it.messages_received.get(),
                b + it.bytes_received.get(),
                c + it.messages_sent.get(),
                d + it.bytes_sent.get(),
            ]
        })
    }

    fn lag(&self) -> Option<Duration> {
        let micros = self.lag.load(Ordering::Relaxed);
        (micros != NO_LAG).then(|| Duration::from_micros(micros))
    }
}

/// Messages and bytes, received and sent. It has a cache line of its own (two, because processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Traffic {
    messages_received: Counter,
    bytes_received: Counter,
    messages_sent: Counter,
    bytes_sent: Counter,
}

impl Traffic {
    /// Messages have arrived in frames or a body of `bytes` bytes.
    pub(crate) fn received(&self, messages: u64, bytes: u64) {
        self.messages_received.add(messages);
        self.bytes_received.add(bytes);
    }

    /// Messages were sent in frames or a body of `bytes` bytes.
    pub(crate) fn sent(&self, messages: u64, bytes: u64) {
        self.messages_sent.add(messages);
        self.bytes_sent.add(bytes);
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, more: u64) {
        // Most frames have no message: an addition of zero would still take the cache line from other processors.
        if more > 0 {
            self.0.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a client is not connected any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client has closed its connection.
    Closed,
    /// The socket has ended without a word.
    Lost,
    /// The server has sent DISCONNECTED: it shuts down or drains, or the token has expired.
    Disconnected,
    /// The server has sent ERROR: the client has broken the protocol, or its credentials are no longer valid.
    Failed,
    /// Too many bytes were waiting for the client (80020).
    Slow,
    /// The client answered no heartbeat (80014), or read nothing.
    Unresponsive,
}

impl Ending {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::Lost,
        Self::Disconnected,
        Self::Failed,
        Self::Slow,
        Self::Unresponsive,
    ];

    /// The ending of a client that receives a DISCONNECTED with this error.
    pub(crate) fn disconnected_with(error: Option<&ErrorInfo>) -> Self {
        match error.map(|error| error.code.0) {
            Some(80020) => Self::Slow,
            Some(80014) => Self::Unresponsive,
            _ => Self::Disconnected,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Slow => "slow",
            Self::Unresponsive => "unresponsive",
        }
    }
}

/// Why the server has refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many messages or requests a second.
    Rate,
    /// A limit of a size or a number.
    Limit,
    /// Credentials, or a capability, that do not allow it.
    Credentials,
    /// An invalid frame or request, or one for something that does not exist.
    Invalid,
    /// A failure of the server, or a server that is not ready.
    Server,
}

impl Refused {
    const ALL: [Self; 5] =
        [Self::Rate, Self::Limit, Self::Credentials, Self::Invalid, Self::Server];

    fn with(error: &ErrorInfo) -> Self {
        match (error.code.0, error.status_code) {
            (42900..43000, _) => Self::Rate,
            (40009 | 40034 | 40111 | 40114 | 40300 | 50004 | 91003, _) => Self::Limit,
            (40100..40200, _) | (_, 401 | 403) => Self::Credentials,
            (50000..60000 | 80000..80100, 500..) => Self::Server,
            _ => Self::Invalid,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Limit => "limit",
            Self::Credentials => "credentials",
            Self::Invalid => "invalid",
            Self::Server => "server",
        }
    }
}

/// The first digit of the status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusClass {
    Succeeded,
    ClientError,
    ServerError,
}

impl StatusClass {
    const ALL: [Self; 3] = [Self::Succeeded, Self::ClientError, Self::ServerError];

    /// The class of a status. REST answers no request with 1xx or 3xx.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            500.. => Self::ServerError,
            400.. => Self::ClientError,
            _ => Self::Succeeded,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "2xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::error;

    #[test]
    fn every_label_has_its_own_counter() {
        for (position, ending) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, position);
        }
        for (position, refused) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(refused as usize, position);
        }
        for (position, status) in StatusClass::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, position);
        }
    }

    #[test]
    fn refusals_are_grouped_by_the_remedy_of_the_operator() {
        for (error, refused) in [
            (error::too_fast(5), Refused::Rate),
            (error::too_many_requests(5), Refused::Rate),
            (error::too_many_channels(5), Refused::Limit),
            (error::too_many_connections(5), Refused::Limit),
            (error::server_full(5), Refused::Limit),
            (error::message_too_large(6, 5), Refused::Limit),
            (error::too_many_members(5), Refused::Limit),
            (error::denied("publish"), Refused::Credentials),
            (error::unknown_key(), Refused::Credentials),
            (error::not_found(), Refused::Invalid),
            (error::bad_request("no"), Refused::Invalid),
            (error::protocol("no"), Refused::Invalid),
            (error::not_stored(), Refused::Server),
            (error::shutting_down(), Refused::Server),
        ] {
            assert_eq!(Refused::with(&error), refused, "{error:?}");
        }
    }
}
