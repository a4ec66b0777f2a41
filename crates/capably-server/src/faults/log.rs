//! The log of frames and requests.

use std::{collections::VecDeque, fmt, time::Duration};

use capably_protocol::{ClientFrame, Millis, ServerFrame, frame::Action};

use super::{rule::Direction, table::RuleId};
use crate::front::http::query::Query;

/// Most entries.
const MAX_ENTRIES: usize = 20_000;

/// Most bytes of all frames.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The frames and requests between clients and a service, in the order in which they arrived.
///
/// It has the last 20,000 entries, with at most 64 MiB of frames.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    forgotten: u64,
    bytes: usize,
}

/// An entry of the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The time since the [`Faults`](super::Faults) were created.
    pub elapsed: Duration,
    /// The time in ms since the epoch.
    pub timestamp: Millis,
    /// The number of the connection or of the request. Connections and requests are counted separately, from 1.
    pub number: u64,
    /// The rule that applied.
    pub rule: Option<RuleId>,
    /// The event itself.
    pub event: Event,
    /// The size of the frame.
    bytes: usize,
}

/// An event in the log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client requested a WebSocket.
    Connect {
        /// The query of the request.
        params: Params,
    },
    /// A frame from a client.
    ToServer {
        /// The frame.
        frame: ClientFrame,
        /// The effect of the rules on the frame.
        fate: Fate,
    },
    /// A frame from the service.
    ToClient {
        /// The frame.
        frame: ServerFrame,
        /// The effect of the rules on the frame.
        fate: Fate,
    },
    /// Bytes that cannot be decoded as a frame.
    Unreadable {
        /// The direction in which they were sent.
        direction: Direction,
        /// The number of bytes.
        bytes: usize,
        /// The effect of the rules on them.
        fate: Fate,
    },
    /// A WebSocket has ended.
    Disconnect {
        /// The side that ended it.
        by: Side,
        /// The code of the close frame, if there was one.
        code: Option<u16>,
    },
    /// An HTTP request arrived.
    Request {
        /// Its method, such as `GET`.
        method: String,
        /// Its path, without the query.
        path: String,
        /// Its query.
        params: Params,
    },
    /// An HTTP request got a response.
    Response {
        /// The status of the response.
        status: u16,
    },
    /// A request for a WebSocket got a response that opens none.
    Refused {
        /// The status of the response.
        status: u16,
    },
}

/// The effect of the rules on a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It was forwarded, perhaps after a delay.
    Passed,
    /// A rule dropped it.
    Suppressed,
    /// A rule replaced it. The replacement is the next entry, as `Injected`.
    Replaced,
    /// A rule or a test has sent it.
    Injected,
}

/// The side that ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The service.
    Service,
    /// A rule or a test.
    Faults,
}

/// The query of a request, decoded. `Debug` shows only the names, because values may be credentials.
#[derive(Clone)]
pub struct Params(pub(super) Query);

impl Params {
    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    /// All names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter()
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

impl Log {
    /// All entries, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The number of older entries that were removed to make room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The queries of all requests for WebSockets, in order.
    pub fn connects(&self) -> Vec<&Params> {
        self.pick(|entry| match &entry.event {
            Event::Connect { params } => Some(params),
            _ => None,
        })
    }

    /// The frames of this action from clients, whatever happened to them. Injected frames are not among them.
    pub fn client_frames(&self, action: Action) -> Vec<&ClientFrame> {
        self.pick(|entry| match &entry.event {
            Event::ToServer { frame, fate }
                if frame.action() == action.number() && *fate != Fate::Injected =>
            {
                Some(frame)
            }
            _ => None,
        })
    }

    /// The frames of this action from the service, whatever happened to them. Injected frames are not among them.
    pub fn server_frames(&self, action: Action) -> Vec<&ServerFrame> {
        self.pick(|entry| match &entry.event {
            Event::ToClient { frame, fate }
                if frame.action() == action.number() && *fate != Fate::Injected =>
            {
                Some(frame)
            }
            _ => None,
        })
    }

    /// The methods and paths of the HTTP requests whose path contains this text.
    pub fn requests(&self, path_contains: &str) -> Vec<(&str, &str)> {
        self.pick(|entry| match &entry.event {
            Event::Request { method, path, .. } if path.contains(path_contains) => {
                Some((method.as_str(), path.as_str()))
            }
            _ => None,
        })
    }

    /// The statuses of all HTTP responses, including those to requests for WebSockets that were not opened.
    pub fn statuses(&self) -> Vec<u16> {
        self.pick(|entry| match &entry.event {
            Event::Response { status } | Event::Refused { status } => Some(*status),
            _ => None,
        })
    }

    fn pick<'a, T>(&'a self, pick: impl FnMut(&'a Entry) -> Option<T>) -> Vec<T> {
        self.entries.iter().filter_map(pick).collect()
    }

    /// Adds an entry, and removes the oldest ones when there are too many.
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.forgotten += 1;
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Entry {
    /// An entry. `bytes` counts towards the limit of the log.
    pub(super) fn new(
        at: (Duration, Millis),
        number: u64,
        rule: Option<RuleId>,
        event: Event,
        bytes: usize,
    ) -> Self {
        let (elapsed, timestamp) = at;
        Self { elapsed, timestamp, number, rule, event, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, bytes: usize) -> Entry {
        let event = Event::ToServer { frame: ClientFrame::Close, fate: Fate::Passed };
        Entry::new((Duration::ZERO, 0), number, None, event, bytes)
    }

    #[test]
    fn a_full_log_drops_its_oldest_entries() {
        let mut log = Log::default();
        for number in 0..=MAX_ENTRIES as u64 {
            log.push(entry(number, 1));
        }
        assert_eq!(log.forgotten(), 1);
        assert_eq!(log.entries().next().unwrap().number, 1);
        assert_eq!(log.entries().count(), MAX_ENTRIES);
        log.push(entry(0, MAX_BYTES - 1));
        assert_eq!(log.entries().count(), 2);
        log.push(entry(0, MAX_BYTES + 1));
        assert_eq!((log.entries().count(), log.bytes), (0, 0));
        log.clear();
        assert_eq!(log.forgotten(), 0);
    }

    #[test]
    fn the_log_hides_query_values() {
        let params = Params(Query::parse("key=app.key%3Asecret&v=6"));
        assert_eq!(params.get("key"), Some("app.key:secret"));
        assert_eq!(format!("{params:?}"), r#"["key", "v"]"#);
    }
}
