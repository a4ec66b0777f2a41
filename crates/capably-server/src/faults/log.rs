//! What has passed.

use std::{collections::VecDeque, fmt, time::Duration};

use capably_protocol::{ClientFrame, Millis, ServerFrame, frame::Action};

use super::{rule::Direction, table::RuleId};
use crate::front::http::query::Query;

/// Most entries that are kept.
const MAX_ENTRIES: usize = 20_000;

/// Most bytes of frames that are kept.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// What has passed between clients and a service, in the order in which it arrived.
///
/// The last 20,000 entries are kept, and the last 64 MiB of frames.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    forgotten: u64,
    bytes: usize,
}

/// One thing that has passed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// When, since the log's [`Faults`](super::Faults) was made.
    pub elapsed: Duration,
    /// When, in ms since the epoch.
    pub timestamp: Millis,
    /// The connection's number, or the request's; both are counted from 1, each by itself.
    pub number: u64,
    /// The rule that applied.
    pub rule: Option<RuleId>,
    /// What it was.
    pub event: Event,
    /// Of a frame.
    bytes: usize,
}

/// What can pass.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client asked for a WebSocket.
    Connect {
        /// The query it came with.
        params: Params,
    },
    /// A frame from a client.
    ToServer {
        /// The frame.
        frame: ClientFrame,
        /// What became of it.
        fate: Fate,
    },
    /// A frame from the service.
    ToClient {
        /// The frame.
        frame: ServerFrame,
        /// What became of it.
        fate: Fate,
    },
    /// Bytes that are no frame.
    Unreadable {
        /// Where they were going.
        direction: Direction,
        /// How many there are.
        bytes: usize,
        /// What became of them.
        fate: Fate,
    },
    /// A WebSocket has ended.
    Disconnect {
        /// Who ended it.
        by: Side,
        /// The code of the close, if there was one.
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
    /// An HTTP request was answered.
    Response {
        /// The status of the answer.
        status: u16,
    },
    /// A request for a WebSocket was answered with something else.
    Refused {
        /// The status of the answer.
        status: u16,
    },
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It went on; a rule may have delayed it.
    Passed,
    /// A rule dropped it.
    Suppressed,
    /// A rule put another in its place, which follows as `Injected`.
    Replaced,
    /// A rule, or a test, made it.
    Injected,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The service.
    Service,
    /// A rule or a test.
    Faults,
}

/// The query of a request, decoded. `Debug` shows the names only, as values may be credentials.
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
    /// All entries that are kept, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many entries are not kept any more.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The queries with which clients asked for WebSockets, in their order.
    pub fn connects(&self) -> Vec<&Params> {
        self.pick(|entry| match &entry.event {
            Event::Connect { params } => Some(params),
            _ => None,
        })
    }

    /// The frames of this action that clients sent, whatever became of them.
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

    /// The frames of this action that the service sent, whatever became of them.
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

    /// The methods and paths of the HTTP requests in whose path this occurs.
    pub fn requests(&self, path_contains: &str) -> Vec<(&str, &str)> {
        self.pick(|entry| match &entry.event {
            Event::Request { method, path, .. } if path.contains(path_contains) => {
                Some((method.as_str(), path.as_str()))
            }
            _ => None,
        })
    }

    /// The statuses with which HTTP requests were answered, those for WebSockets that were not opened
    /// included.
    pub fn statuses(&self) -> Vec<u16> {
        self.pick(|entry| match &entry.event {
            Event::Response { status } | Event::Refused { status } => Some(*status),
            _ => None,
        })
    }

    fn pick<'a, T>(&'a self, pick: impl FnMut(&'a Entry) -> Option<T>) -> Vec<T> {
        self.entries.iter().filter_map(pick).collect()
    }

    /// Adds an entry, and forgets the oldest ones when there are too many.
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
    /// An entry; `bytes` counts towards what the log keeps.
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
    fn the_oldest_entries_are_forgotten() {
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
    fn values_of_queries_are_not_shown() {
        let params = Params(Query::parse("key=app.key%3Asecret&v=6"));
        assert_eq!(params.get("key"), Some("app.key:secret"));
        assert_eq!(format!("{params:?}"), r#"["key", "v"]"#);
    }
}
