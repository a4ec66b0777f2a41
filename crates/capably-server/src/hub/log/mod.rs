//! The log of a channel: the source of history and of every replay.
//!
//! It is in memory. With an engine, that is the end of the channel only, and the engine has the rest.

pub(super) mod broadcast;
pub(super) mod meter;
pub(super) mod page;
pub(super) mod payload;
pub(super) mod position;
pub(super) mod proposal;
pub(super) mod record;
pub(super) mod volume;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use capably_protocol::{
    Annotation, ChannelMode, Message, MessageAction, MessageAnnotations, Millis, ObjectMessage,
    PresenceMessage, ServerFrame, frame::Delivery,
};

use self::{meter::Meter, position::Position, volume::Volume};
use super::ids::ConnectionId;

/// A frame of a channel, with its position.
#[derive(Debug)]
pub(crate) struct Entry {
    position: Position,
    /// The time of the publish, by the steady clock.
    at: Duration,
    size: usize,
    frame: ServerFrame,
}

/// The approximate size of an item without its payload: names, ids, serials, and the structures around them. A frame has it
/// once more.
const OVERHEAD: usize = 250;

impl Entry {
    pub(crate) fn new(position: Position, at: Duration, delivery: Delivery<Message>) -> Arc<Self> {
        let size = |item: &Message| item.size() + item.annotations.as_deref().map_or(0, json_size);
        let size = OVERHEAD + delivery.items.iter().map(|it| OVERHEAD + size(it)).sum::<usize>();
        Arc::new(Self { position, at, size, frame: ServerFrame::Message(delivery) })
    }

    pub(crate) fn annotations(
        position: Position,
        at: Duration,
        delivery: Delivery<Annotation>,
    ) -> Arc<Self> {
        let size =
            OVERHEAD + delivery.items.iter().map(|item| OVERHEAD + item.size()).sum::<usize>();
        Arc::new(Self { position, at, size, frame: ServerFrame::Annotation(delivery) })
    }

    pub(crate) fn presence(
        position: Position,
        at: Duration,
        delivery: Delivery<PresenceMessage>,
    ) -> Arc<Self> {
        let size =
            OVERHEAD + delivery.items.iter().map(|item| OVERHEAD + item.size()).sum::<usize>();
        Arc::new(Self { position, at, size, frame: ServerFrame::Presence(delivery) })
    }

    pub(crate) fn objects(
        position: Position,
        at: Duration,
        delivery: Delivery<ObjectMessage>,
    ) -> Arc<Self> {
        let size =
            OVERHEAD + delivery.items.iter().map(|item| OVERHEAD + item.size()).sum::<usize>();
        Arc::new(Self { position, at, size, frame: ServerFrame::Object(delivery) })
    }

    /// A page of a sync. It is in no log, and many clients may share it. `size` is its approximate size, in bytes.
    pub(crate) fn objects_page(
        position: Position,
        size: usize,
        delivery: Delivery<ObjectMessage>,
    ) -> Arc<Self> {
        let frame = ServerFrame::ObjectSync(delivery);
        Arc::new(Self { position, at: Duration::ZERO, size, frame })
    }

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The time of the publish, by the steady clock.
    pub(crate) fn at(&self) -> Duration {
        self.at
    }

    /// The approximate size in memory and on the wire, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The number of items.
    pub(crate) fn count(&self) -> usize {
        match &self.frame {
            ServerFrame::Message(delivery) => delivery.items.len(),
            ServerFrame::Annotation(delivery) => delivery.items.len(),
            ServerFrame::Presence(delivery) => delivery.items.len(),
            ServerFrame::Object(delivery) => delivery.items.len(),
            _ => 0,
        }
    }

    /// The number of items, and the size of their payloads.
    pub(crate) fn volume(&self) -> Volume {
        let count = self.count();
        let data = self.size.saturating_sub(OVERHEAD * (1 + count));
        Volume { count: count as u64, data: data as u64 }
    }

    pub(crate) fn frame(&self) -> &ServerFrame {
        &self.frame
    }

    /// The mode that an attachment needs to receive the entry.
    pub(crate) fn mode(&self) -> ChannelMode {
        match &self.frame {
            ServerFrame::Annotation(_) => ChannelMode::AnnotationSubscribe,
            ServerFrame::Presence(_) => ChannelMode::PresenceSubscribe,
            ServerFrame::Object(_) => ChannelMode::ObjectSubscribe,
            _ => ChannelMode::Subscribe,
        }
    }

    /// The connection that published the entry. `None` for REST.
    pub(crate) fn connection(&self) -> Option<&ConnectionId> {
        match &self.frame {
            ServerFrame::Message(delivery) => delivery.connection_id.as_ref(),
            ServerFrame::Annotation(delivery) => delivery.connection_id.as_ref(),
            ServerFrame::Presence(delivery) => delivery.connection_id.as_ref(),
            ServerFrame::Object(delivery) => delivery.connection_id.as_ref(),
            _ => None,
        }
    }

    /// The time of the publish, in ms since the epoch.
    pub(crate) fn timestamp(&self) -> Millis {
        self.delivery().and_then(|delivery| delivery.timestamp).unwrap_or_default()
    }

    /// The messages as they are delivered, without the fields that they inherit from the frame.
    pub(crate) fn items(&self) -> &[Message] {
        self.delivery().map_or(&[], |delivery| &delivery.items)
    }

    /// The message at `index` with the fields that it inherits from the frame, as history returns it.
    pub(crate) fn message(&self, index: usize) -> Option<Message> {
        let delivery = self.delivery()?;
        let mut message = delivery.items.get(index)?.clone();
        let Delivery { id, connection_id, timestamp, .. } = delivery;
        message.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        Some(message)
    }

    /// The annotations as they are delivered, without the fields that they inherit from the frame.
    pub(crate) fn annotation_items(&self) -> &[Annotation] {
        match &self.frame {
            ServerFrame::Annotation(delivery) => &delivery.items,
            _ => &[],
        }
    }

    /// The annotation at `index` with the fields that it inherits from the frame.
    pub(crate) fn annotation(&self, index: usize) -> Option<Annotation> {
        let ServerFrame::Annotation(delivery) = &self.frame else { return None };
        let mut annotation = delivery.items.get(index)?.clone();
        let Delivery { id, connection_id, timestamp, .. } = delivery;
        annotation.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        Some(annotation)
    }

    /// The presence events as they are delivered. Empty for an entry of another type.
    pub(crate) fn members(&self) -> &[PresenceMessage] {
        match &self.frame {
            ServerFrame::Presence(delivery) => &delivery.items,
            _ => &[],
        }
    }

    /// The presence event at `index` with the fields that it inherits from the frame.
    pub(crate) fn member(&self, index: usize) -> Option<PresenceMessage> {
        let ServerFrame::Presence(delivery) = &self.frame else { return None };
        let mut member = delivery.items.get(index)?.clone();
        let Delivery { id, connection_id, timestamp, .. } = delivery;
        member.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        Some(member)
    }

    /// The operations on objects, as they are delivered. Empty for an entry of another type.
    pub(crate) fn operations(&self) -> &[ObjectMessage] {
        match &self.frame {
            ServerFrame::Object(delivery) => &delivery.items,
            _ => &[],
        }
    }

    /// Whether the entry has new messages, rather than a change of one.
    pub(crate) fn is_creation(&self) -> bool {
        self.items().first().is_some_and(|item| item.action == Some(MessageAction::Create))
    }

    /// Whether the entry is delivered and not logged. It has no channel serial, so that no client resumes from it.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.delivery().is_some_and(|delivery| delivery.channel_serial.is_none())
    }

    /// The same entry with other messages.
    pub(crate) fn with_items(&self, items: Vec<Message>) -> Option<Arc<Self>> {
        let delivery = Delivery { items, ..self.delivery()?.clone() };
        Some(Self::new(self.position, self.at, delivery))
    }

    fn delivery(&self) -> Option<&Delivery<Message>> {
        match &self.frame {
            ServerFrame::Message(delivery) => Some(delivery),
            _ => None,
        }
    }
}

fn json_size(annotations: &MessageAnnotations) -> usize {
    serde_json::to_string(annotations).map_or(0, |text| text.len())
}

/// The limits of a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// The most entries.
    pub(crate) frames: usize,
    /// The most bytes, approximately.
    pub(crate) bytes: usize,
    /// The age up to which entries are stored.
    pub(crate) age: Duration,
}

/// The entries of a channel, as far back as its [`Retention`] allows.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    meter: Meter,
    /// The log is complete after this position.
    floor: Position,
}

impl Log {
    /// An empty log that is complete after `floor`.
    pub(crate) fn new(floor: Position, meter: Meter) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, meter, floor }
    }

    pub(crate) fn append(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.size();
        self.meter.add(entry.size());
        self.entries.push_back(entry);
    }

    /// Removes the oldest entry if it exceeds the `retention`.
    pub(crate) fn pop_expired(
        &mut self,
        retention: &Retention,
        now: Duration,
    ) -> Option<Arc<Entry>> {
        let oldest = self.entries.front()?;
        let full = self.entries.len() > retention.frames || self.bytes > retention.bytes;
        let old = now.saturating_sub(oldest.at) > retention.age;
        // The newest entry stays, whatever its size: subscribers whose replay is in progress receive it from the log.
        if !(old || (full && self.entries.len() > 1)) {
            return None;
        }
        self.pop_oldest()
    }

    /// Removes the oldest entry.
    pub(crate) fn pop_oldest(&mut self) -> Option<Arc<Entry>> {
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.size();
        self.meter.subtract(oldest.size());
        self.floor = oldest.position;
        Some(oldest)
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn floor(&self) -> Position {
        self.floor
    }

    /// The position of the newest entry, or the floor.
    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.floor, |entry| entry.position)
    }

    /// The entries after `position`, oldest first.
    pub(crate) fn after(&self, position: Position) -> impl Iterator<Item = &Arc<Entry>> {
        let start = self.entries.partition_point(|entry| entry.position <= position);
        self.entries.range(start..)
    }

    /// All entries, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }

    /// The entry at this position.
    pub(crate) fn get(&self, position: Position) -> Option<&Arc<Entry>> {
        let at = self.entries.binary_search_by_key(&position, |entry| entry.position).ok()?;
        self.entries.get(at)
    }

    /// The position before the newest `count` messages. Changes are not counted.
    pub(crate) fn rewind_count(&self, count: usize) -> Position {
        let mut messages = 0;
        for entry in self.entries.iter().rev() {
            if messages >= count {
                return entry.position;
            }
            if entry.is_creation() {
                messages += entry.items().len();
            }
        }
        self.floor
    }

    /// The position before the messages of the last `span`.
    pub(crate) fn rewind_span(&self, span: Duration, now: Duration) -> Position {
        let since = now.saturating_sub(span);
        let start = self.entries.partition_point(|entry| entry.at < since);
        match start.checked_sub(1) {
            Some(before) => self.entries[before].position,
            None => self.floor,
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.meter.subtract(self.bytes);
    }
}
