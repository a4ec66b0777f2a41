//! What was published on a channel: the source of history and of every replay.
//!
//! All of it is in memory; what is to outlive the process is put out by [`keep`](super::keep), too.

pub(super) mod broadcast;
pub(super) mod meter;
pub(super) mod page;
pub(super) mod payload;
pub(super) mod position;
pub(super) mod volume;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use capably_protocol::{
    Annotation, ChannelMode, Message, MessageAction, MessageAnnotations, Millis, PresenceMessage,
    ServerFrame, frame::Delivery,
};

use self::{meter::Meter, position::Position, volume::Volume};
use super::ids::ConnectionId;

/// One frame of a channel.
#[derive(Debug)]
pub(crate) struct Entry {
    position: Position,
    /// When it was published, by the steady clock.
    at: Duration,
    size: usize,
    frame: ServerFrame,
}

/// What an entry needs on top of its payload, about: names, ids, serials, and the structures around them.
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

    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// When it was published, by the steady clock.
    pub(crate) fn at(&self) -> Duration {
        self.at
    }

    /// About how many bytes it takes, encoded or held.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The channel that it is of.
    pub(crate) fn channel(&self) -> &str {
        match &self.frame {
            ServerFrame::Message(delivery) => &delivery.channel,
            ServerFrame::Annotation(delivery) => &delivery.channel,
            ServerFrame::Presence(delivery) => &delivery.channel,
            _ => "",
        }
    }

    /// How many items it has, and how many bytes of payload.
    pub(crate) fn volume(&self) -> Volume {
        let count = self.items().len() + self.annotation_items().len() + self.members().len();
        let data = self.size.saturating_sub(OVERHEAD * (1 + count));
        Volume { count: count as u64, data: data as u64 }
    }

    pub(crate) fn frame(&self) -> &ServerFrame {
        &self.frame
    }

    /// The mode of the attachments that it is for.
    pub(crate) fn mode(&self) -> ChannelMode {
        match &self.frame {
            ServerFrame::Annotation(_) => ChannelMode::AnnotationSubscribe,
            ServerFrame::Presence(_) => ChannelMode::PresenceSubscribe,
            _ => ChannelMode::Subscribe,
        }
    }

    /// The connection that published it; none for REST.
    pub(crate) fn connection(&self) -> Option<&ConnectionId> {
        match &self.frame {
            ServerFrame::Message(delivery) => delivery.connection_id.as_ref(),
            ServerFrame::Annotation(delivery) => delivery.connection_id.as_ref(),
            ServerFrame::Presence(delivery) => delivery.connection_id.as_ref(),
            _ => None,
        }
    }

    /// When it was published, in ms since the epoch.
    pub(crate) fn timestamp(&self) -> Millis {
        self.delivery().and_then(|delivery| delivery.timestamp).unwrap_or_default()
    }

    /// The messages as they were delivered: what they share with their frame is left out.
    pub(crate) fn items(&self) -> &[Message] {
        self.delivery().map_or(&[], |delivery| &delivery.items)
    }

    /// The message at `index` with every field of its own, as history shows it.
    pub(crate) fn message(&self, index: usize) -> Option<Message> {
        let delivery = self.delivery()?;
        let mut message = delivery.items.get(index)?.clone();
        let Delivery { id, connection_id, timestamp, .. } = delivery;
        message.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        Some(message)
    }

    /// The annotations as they were delivered: what they share with their frame is left out.
    pub(crate) fn annotation_items(&self) -> &[Annotation] {
        match &self.frame {
            ServerFrame::Annotation(delivery) => &delivery.items,
            _ => &[],
        }
    }

    /// The annotation at `index` with every field of its own.
    pub(crate) fn annotation(&self, index: usize) -> Option<Annotation> {
        let ServerFrame::Annotation(delivery) = &self.frame else { return None };
        let mut annotation = delivery.items.get(index)?.clone();
        let Delivery { id, connection_id, timestamp, .. } = delivery;
        annotation.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        Some(annotation)
    }

    /// What members did, as it was delivered; nothing in an entry of another kind.
    pub(crate) fn members(&self) -> &[PresenceMessage] {
        match &self.frame {
            ServerFrame::Presence(delivery) => &delivery.items,
            _ => &[],
        }
    }

    /// What the member at `index` did, with every field of its own.
    pub(crate) fn member(&self, index: usize) -> Option<PresenceMessage> {
        let ServerFrame::Presence(delivery) = &self.frame else { return None };
        let mut member = delivery.items.get(index)?.clone();
        let Delivery { id, connection_id, timestamp, .. } = delivery;
        member.inherit(id.as_ref(), index, connection_id.as_ref(), *timestamp);
        Some(member)
    }

    /// Whether it brought new messages, rather than a change of one.
    pub(crate) fn is_creation(&self) -> bool {
        self.items().first().is_some_and(|item| item.action == Some(MessageAction::Create))
    }

    /// Whether it is delivered and kept nowhere: it has no place in the log that a client could go on from.
    pub(crate) fn is_ephemeral(&self) -> bool {
        self.delivery().is_some_and(|delivery| delivery.channel_serial.is_none())
    }

    /// The same entry with other messages in the place of its own.
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

/// How much a log keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Most frames.
    pub(crate) frames: usize,
    /// Most bytes, about.
    pub(crate) bytes: usize,
    /// How long, when the other two allow.
    pub(crate) age: Duration,
}

/// The frames of one channel, in order, as far back as its [`Retention`] allows.
#[derive(Debug)]
pub(crate) struct Log {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    meter: Meter,
    /// Everything after this position is here.
    floor: Position,
}

impl Log {
    /// An empty log in which nothing is missing after `floor`.
    pub(crate) fn new(floor: Position, meter: Meter) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, meter, floor }
    }

    pub(crate) fn append(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.size();
        self.meter.add(entry.size());
        self.entries.push_back(entry);
    }

    /// Takes out the oldest entry when it is beyond what `retention` keeps.
    pub(crate) fn pop_expired(
        &mut self,
        retention: &Retention,
        now: Duration,
    ) -> Option<Arc<Entry>> {
        let oldest = self.entries.front()?;
        let full = self.entries.len() > retention.frames || self.bytes > retention.bytes;
        let old = now.saturating_sub(oldest.at) > retention.age;
        // The newest stays whatever its size: it is what subscribers are just being sent.
        if !(old || (full && self.entries.len() > 1)) {
            return None;
        }
        self.pop_oldest()
    }

    /// Takes out the oldest entry.
    pub(crate) fn pop_oldest(&mut self) -> Option<Arc<Entry>> {
        let oldest = self.entries.pop_front()?;
        self.bytes -= oldest.size();
        self.meter.subtract(oldest.size());
        self.floor = oldest.position;
        Some(oldest)
    }

    /// Drops every entry as if it had never been there.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.meter.subtract(std::mem::take(&mut self.bytes));
    }

    /// How many bytes the entries have, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries there are.
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

    /// The position from which the newest `count` messages follow, as they were first published.
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

    /// The position from which the messages of the last `span` follow.
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
