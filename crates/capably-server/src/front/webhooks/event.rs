//! An event on its way to an endpoint.

use std::sync::Arc;

use capably_protocol::{Message, Millis, PresenceMessage, ServerFrame, Str};
use tokio::time::Instant;

use crate::{
    engine::Position,
    hub::{ChannelEvent, Entry, Happening, Occupancy},
    webhooks::{RequestMode, Source},
};

/// About the bytes that an event takes besides what it reports.
const OVERHEAD: usize = 200;

/// An event on its way to an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) channel: Str,
    /// In ms since the epoch.
    pub(super) time: Millis,
    pub(super) report: Report,
    /// What tells a repeated event from a new one.
    pub(super) serial: Str,
    /// The entry of the log, if the event is of one.
    pub(super) position: Option<Position>,
    /// About its bytes.
    pub(super) size: usize,
    /// Since when it waits.
    pub(super) since: Instant,
}

/// What an event reports.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// Messages of an entry: one, or all.
    Messages(Arc<Entry>, Items),
    /// Presence events of an entry: one, or all.
    Presence(Arc<Entry>, Items),
    Opened(Occupancy),
    Closed,
    Occupancy(Occupancy),
}

/// The items of an entry that an event has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Items {
    All,
    One(usize),
}

impl Event {
    /// The events that a rule with this source and mode sends of what has happened. `number` makes the serials of events that
    /// are not in the log.
    pub(super) fn of(
        event: &ChannelEvent,
        source: Source,
        mode: RequestMode,
        number: impl FnOnce() -> Str,
    ) -> Vec<Self> {
        let ChannelEvent { channel, time, happening } = event;
        let plain = |report| {
            let serial = number();
            let size = OVERHEAD + channel.len();
            let (channel, time, position) = (channel.clone(), *time, None);
            vec![Self { channel, time, report, serial, position, size, since: Instant::now() }]
        };
        match (source, happening) {
            (Source::Lifecycle, Happening::Opened(occupancy)) => plain(Report::Opened(*occupancy)),
            (Source::Lifecycle, Happening::Closed) => plain(Report::Closed),
            (Source::Occupancy, Happening::Occupancy(occupancy)) => {
                plain(Report::Occupancy(*occupancy))
            }
            (Source::Message | Source::Presence, Happening::Entry(entry)) => {
                Self::of_entry(channel, *time, entry, source, mode)
            }
            (
                Source::Message | Source::Presence | Source::Lifecycle | Source::Occupancy,
                Happening::Entry(_)
                | Happening::Opened(_)
                | Happening::Closed
                | Happening::Occupancy(_),
            ) => Vec::new(),
        }
    }

    fn of_entry(
        channel: &Str,
        time: Millis,
        entry: &Arc<Entry>,
        source: Source,
        mode: RequestMode,
    ) -> Vec<Self> {
        let is_message = matches!(entry.frame(), ServerFrame::Message(_));
        if is_message != (source == Source::Message) {
            return Vec::new();
        }
        let count = entry.count();
        let event = |items: Items| {
            let entry = Arc::clone(entry);
            let position = entry.position();
            let serial = match items {
                Items::All => position.channel_serial(),
                Items::One(index) => position.message_serial(index),
            };
            let size = OVERHEAD + entry.size() / count.max(1);
            let size = if items == Items::All { OVERHEAD + entry.size() } else { size };
            let report = if is_message {
                Report::Messages(entry, items)
            } else {
                Report::Presence(entry, items)
            };
            let (channel, position) = (channel.clone(), Some(position));
            Self { channel, time, report, serial, position, size, since: Instant::now() }
        };
        match mode {
            RequestMode::Batch => vec![event(Items::All)],
            RequestMode::Single => (0..count).map(|index| event(Items::One(index))).collect(),
        }
    }

    /// The event as requests of this mode have it: one for each item, or as it is.
    pub(super) fn into_mode(self, mode: RequestMode) -> Vec<Self> {
        let (entry, items) = match &self.report {
            Report::Messages(entry, items) | Report::Presence(entry, items) => (entry, *items),
            Report::Opened(_) | Report::Closed | Report::Occupancy(_) => return vec![self],
        };
        let count = entry.count();
        if mode == RequestMode::Batch || items != Items::All || count == 0 {
            return vec![self];
        }
        let one = |index| {
            let (entry, items) = (Arc::clone(entry), Items::One(index));
            let serial = entry.position().message_serial(index);
            let size = OVERHEAD + entry.size() / count;
            let report = match &self.report {
                Report::Presence(..) => Report::Presence(entry, items),
                Report::Messages(..)
                | Report::Opened(_)
                | Report::Closed
                | Report::Occupancy(_) => Report::Messages(entry, items),
            };
            Self { report, serial, size, ..self.clone() }
        };
        (0..count).map(one).collect()
    }

    /// The messages, with all their fields.
    pub(super) fn messages(&self) -> Vec<Message> {
        match &self.report {
            Report::Messages(entry, items) => {
                items.of(entry).filter_map(|index| entry.message(index)).collect()
            }
            Report::Presence(..) | Report::Opened(_) | Report::Closed | Report::Occupancy(_) => {
                Vec::new()
            }
        }
    }

    /// The presence events, with all their fields.
    pub(super) fn members(&self) -> Vec<PresenceMessage> {
        match &self.report {
            Report::Presence(entry, items) => {
                items.of(entry).filter_map(|index| entry.member(index)).collect()
            }
            Report::Messages(..) | Report::Opened(_) | Report::Closed | Report::Occupancy(_) => {
                Vec::new()
            }
        }
    }

    pub(super) fn source(&self) -> Source {
        match &self.report {
            Report::Messages(..) => Source::Message,
            Report::Presence(..) => Source::Presence,
            Report::Opened(_) | Report::Closed => Source::Lifecycle,
            Report::Occupancy(_) => Source::Occupancy,
        }
    }

    /// The type of the event, as its name in a batch.
    pub(super) fn name(&self) -> &'static str {
        match &self.report {
            Report::Messages(..) => "channel.message",
            Report::Presence(..) => "presence.message",
            Report::Opened(_) => "channel.opened",
            Report::Closed => "channel.closed",
            Report::Occupancy(_) => "channel.occupancy",
        }
    }

    #[cfg(test)]
    pub(super) fn occupancy(channel: Str, time: Millis, occupancy: Occupancy) -> Self {
        let happening = Happening::Occupancy(occupancy);
        let event = ChannelEvent { channel, time, happening };
        let mut events = Self::of(&event, Source::Occupancy, RequestMode::Single, Str::new);
        events.remove(0)
    }
}

impl Items {
    fn of(self, entry: &Entry) -> std::ops::Range<usize> {
        match self {
            Self::All => 0..entry.count(),
            Self::One(index) => index..index + 1,
        }
    }
}
