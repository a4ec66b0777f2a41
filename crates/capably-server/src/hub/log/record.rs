//! Records: committed entries as the engine stores them.

use std::time::Duration;

use bytes::Bytes;
use capably_protocol::{
    Format, Limits, Message, MessageVersion, ObjectMessage, PresenceMessage, ServerFrame, Str,
    codec, frame::Delivery,
};
use serde::{Deserialize, Serialize};

use super::{
    position::Position,
    proposal::{
        Adoption, Body, Change, Departure, Events, Items, Operations, Owner, Place, Proposal,
        Proposer, Summary, Ticket,
    },
};
use crate::{
    engine::{Append, ChannelId, Kind, Thread},
    hub::ids::{ConnectionId, NodeId},
};

/// The version of the form. A record begins with it, so that nodes of different builds understand each other, or notice
/// that they do not.
const VERSION: u8 = 1;

/// The version of records with a proposer: the node and the ticket, eight bytes each, follow the head.
const VERSION_WITH_PROPOSER: u8 = 2;

/// The length of the head: the version, the tag, and the length of the extra fields.
const HEAD: usize = 6;

/// More than the depth of any frame of a client.
const MAX_DEPTH: usize = 128;

/// The type of a record, its second byte.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Messages = 0,
    Change = 1,
    Annotations = 2,
    Summary = 3,
    Presence = 4,
    Departure = 5,
    Adoption = 6,
    Objects = 7,
}

impl Tag {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Messages,
            Self::Change,
            Self::Annotations,
            Self::Summary,
            Self::Presence,
            Self::Departure,
            Self::Adoption,
            Self::Objects,
        ]
        .into_iter()
        .find(|tag| *tag as u8 == byte)
    }
}

/// The fields of a record that its frame has no place for.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Extra {
    /// The serial of the message that a change or a summary is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<Str>,
    /// A limit: of a size in bytes, or of members.
    #[serde(skip_serializing_if = "is_default")]
    max: usize,
    #[serde(skip_serializing_if = "is_default")]
    msg_serial: u64,
    #[serde(skip_serializing_if = "is_default")]
    repeated: bool,
    /// The client ids of the members that leave, and the ids of their last events. Builds that write no items read these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<Str>,
    #[serde(skip_serializing_if = "is_default")]
    lapsed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last: Vec<Str>,
    /// A time in ms.
    #[serde(skip_serializing_if = "is_default")]
    remain: u64,
    /// A node, and the position since which it has members.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<(u64, u64)>,
}

/// The first character of the ids that no publisher has chosen.
const MARK: char = '\u{1}';

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Proposal {
    /// The entry to append to the engine.
    pub(crate) fn encode_append(&mut self, app: &str, keep: Duration) -> Append {
        let (kind, threads) = match &self.body {
            Body::Messages(_) => (Kind::Messages, Vec::new()),
            Body::Change(change) => (Kind::Change, vec![thread(change.at)]),
            Body::Annotations(frame) => {
                let serials = frame.items.iter().filter_map(|item| item.message_serial.as_deref());
                let mut threads: Vec<_> =
                    serials.filter_map(Position::parse_message).map(thread).collect();
                threads.sort_unstable();
                threads.dedup();
                (Kind::Annotations, threads)
            }
            // A summary changes no state: readers of a message find its annotations.
            Body::Summary(_) => (Kind::Change, Vec::new()),
            Body::Presence(_) | Body::Departure(_) | Body::Adoption(_) => {
                (Kind::Presence, Vec::new())
            }
            Body::Objects(_) => (Kind::Objects, Vec::new()),
        };
        Append {
            channel: ChannelId { app: app.into(), name: (&*self.channel).into() },
            id: self.id(),
            kind,
            threads,
            time: self.time,
            keep,
            payload: self.encode(),
        }
    }

    /// The id by which the engine recognises a repeated proposal.
    ///
    /// Publishers choose ids. In a cluster a client may repeat a frame at another node, which does not know the first
    /// copy, so there each frame has an id, and so have the departures that several nodes propose. [`MARK`] tells these from
    /// the ids that publishers choose.
    fn id(&self) -> Option<Box<str>> {
        let chosen = match &self.body {
            Body::Messages(frame) => frame.items.first().and_then(|it| it.id.as_deref()),
            Body::Change(change) => change.message.id.as_deref(),
            Body::Annotations(frame) => frame.items.first().and_then(|it| it.id.as_deref()),
            Body::Objects(Operations { frame, .. }) => {
                frame.items.first().and_then(|it| it.id.as_deref())
            }
            Body::Summary(_) | Body::Presence(_) | Body::Departure(_) | Body::Adoption(_) => None,
        };
        if let Some(chosen) = chosen {
            let is_marked = chosen.starts_with(MARK);
            return Some(if is_marked { format!("{MARK}c{chosen}").into() } else { chosen.into() });
        }
        self.proposer?;
        let of_frame = |connection: &Option<ConnectionId>, id: &Option<Str>| {
            connection.as_ref().and(id.as_ref()).map(|id| format!("{MARK}f{id}"))
        };
        let id = match &self.body {
            Body::Messages(frame) => of_frame(&frame.connection, &frame.id),
            Body::Change(change) => of_frame(&change.connection, &change.id),
            Body::Annotations(frame) => of_frame(&frame.connection, &frame.id),
            // Several nodes propose a collection.
            Body::Objects(Operations { frame, .. }) if frame.items.is_empty() => {
                frame.id.as_ref().map(|id| format!("{MARK}o{id}"))
            }
            Body::Objects(Operations { frame, .. }) => of_frame(&frame.connection, &frame.id),
            Body::Presence(Events { connection, msg_serial, again, .. }) => {
                let again = again.map_or(0, |position| position.0);
                Some(format!("{MARK}p{connection}:{msg_serial}:{again}"))
            }
            Body::Departure(Departure { connection, owner: Some(owner), .. }) => {
                Some(format!("{MARK}d{connection}:{}:{}", owner.node, owner.since.0))
            }
            Body::Departure(_) | Body::Adoption(_) | Body::Summary(_) => None,
        };
        id.map(Into::into)
    }

    fn encode(&mut self) -> Bytes {
        let (time, proposer) = (self.time, self.proposer);
        match &mut self.body {
            Body::Messages(frame) => with_items(frame, time, |delivery| {
                write(Tag::Messages, proposer, &Extra::default(), ServerFrame::Message(delivery))
            }),
            Body::Change(change) => {
                let Change { at, id, connection, message, version, claim, max_size } =
                    &mut **change;
                let extra = Extra {
                    of: Some(at.0.message_serial(at.1)),
                    claim: claim.clone(),
                    max: *max_size,
                    ..Extra::default()
                };
                let mut message = message.clone();
                message.version = Some(Box::new(version.clone()));
                let mut frame =
                    Items { id: id.clone(), connection: connection.clone(), items: vec![message] };
                with_items(&mut frame, time, |delivery| {
                    write(Tag::Change, proposer, &extra, ServerFrame::Message(delivery))
                })
            }
            Body::Annotations(frame) => with_items(frame, time, |delivery| {
                write(
                    Tag::Annotations,
                    proposer,
                    &Extra::default(),
                    ServerFrame::Annotation(delivery),
                )
            }),
            Body::Summary(Summary { at, max_size }) => {
                let of = Some(at.0.message_serial(at.1));
                let extra = Extra { of, max: *max_size, ..Extra::default() };
                let frame = ServerFrame::Message(Delivery::new(Str::new(), Vec::new()));
                write(Tag::Summary, proposer, &extra, frame).0
            }
            Body::Presence(events) => {
                let Events { connection, msg_serial, repeated, items, max_members, remain, .. } =
                    events;
                let extra = Extra {
                    remain: millis(*remain),
                    msg_serial: *msg_serial,
                    repeated: *repeated,
                    max: *max_members,
                    ..Extra::default()
                };
                let connection = Some(connection.clone());
                let mut frame = Items { id: None, connection, items: std::mem::take(items) };
                let bytes = with_items(&mut frame, time, |delivery| {
                    write(Tag::Presence, proposer, &extra, ServerFrame::Presence(delivery))
                });
                *items = frame.items;
                bytes
            }
            Body::Departure(Departure { connection, members, repeated, lapsed, owner }) => {
                let ids = members.iter().filter_map(|member| member.id.clone());
                let extra = Extra {
                    clients: members.iter().filter_map(|it| it.client_id.clone()).collect(),
                    last: if *repeated { ids.collect() } else { Vec::new() },
                    lapsed: *lapsed,
                    owner: owner.map(|owner| (owner.node.0, owner.since.0)),
                    ..Extra::default()
                };
                let connection = Some(connection.clone());
                let mut frame = Items { id: None, connection, items: std::mem::take(members) };
                let bytes = with_items(&mut frame, time, |delivery| {
                    write(Tag::Departure, proposer, &extra, ServerFrame::Presence(delivery))
                });
                *members = frame.items;
                bytes
            }
            Body::Adoption(Adoption { connection, remain }) => {
                let extra = Extra { remain: millis(*remain), ..Extra::default() };
                write(Tag::Adoption, proposer, &extra, frame_of(connection)).0
            }
            Body::Objects(Operations { frame, grace }) => {
                let extra = Extra { remain: millis(*grace), ..Extra::default() };
                with_items(frame, time, |delivery| {
                    write(Tag::Objects, proposer, &extra, ServerFrame::Object(delivery))
                })
            }
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(crate) fn decode(channel: &Str, time: i64, record: &Bytes) -> Result<Self, String> {
        let (proposer, body) = decode(record).ok_or_else(|| match record.first() {
            Some(version) if ![VERSION, VERSION_WITH_PROPOSER].contains(version) => {
                format!(
                    "an entry has version {version}, and this server reads up to {VERSION_WITH_PROPOSER}"
                )
            }
            _ => "an entry cannot be read".to_owned(),
        })?;
        Ok(Self { channel: channel.clone(), time, proposer, body })
    }

    /// The proposer of a record, without reading all of it.
    pub(crate) fn proposer_of(record: &[u8]) -> Option<Proposer> {
        let (head, rest) = record.split_at_checked(HEAD)?;
        if head.first() != Some(&VERSION_WITH_PROPOSER) {
            return None;
        }
        let (node, rest) = rest.split_first_chunk()?;
        let (ticket, _) = rest.split_first_chunk()?;
        let (node, ticket) = (u64::from_be_bytes(*node), u64::from_be_bytes(*ticket));
        Some(Proposer { node: NodeId(node), ticket: Ticket(ticket) })
    }
}

fn thread((position, index): Place) -> Thread {
    Thread { position, index: u16::try_from(index).unwrap_or(u16::MAX) }
}

/// Lends the items to a frame while it is written, so that they are not copied.
fn with_items<T>(
    frame: &mut Items<T>,
    time: i64,
    write: impl FnOnce(Delivery<T>) -> (Bytes, ServerFrame),
) -> Bytes
where
    Delivery<T>: FromFrame,
{
    let mut delivery = Delivery::new(Str::new(), std::mem::take(&mut frame.items));
    delivery.id = frame.id.clone();
    delivery.connection_id = frame.connection.clone();
    delivery.timestamp = Some(time);
    let (bytes, written) = write(delivery);
    if let Some(delivery) = Delivery::<T>::from_frame(written) {
        frame.items = delivery.items;
    }
    bytes
}

/// A delivery of one of the frames that have deliveries.
trait FromFrame: Sized {
    fn from_frame(frame: ServerFrame) -> Option<Self>;
}

macro_rules! from_frame {
    ($($item:ty: $frame:ident;)*) => {
        $(impl FromFrame for Delivery<$item> {
            fn from_frame(frame: ServerFrame) -> Option<Self> {
                match frame {
                    ServerFrame::$frame(delivery) => Some(delivery),
                    _ => None,
                }
            }
        })*
    };
}

from_frame! {
    Message: Message;
    capably_protocol::Annotation: Annotation;
    PresenceMessage: Presence;
    ObjectMessage: Object;
}

/// Members of which only the client ids are known, and perhaps the ids of their last events.
fn named(clients: Vec<Str>, last: Vec<Str>) -> Vec<PresenceMessage> {
    let last = last.into_iter().map(Some).chain(std::iter::repeat(None));
    let members = clients.into_iter().zip(last).map(|(client, id)| PresenceMessage {
        id,
        client_id: Some(client),
        ..PresenceMessage::default()
    });
    members.collect()
}

/// A frame that only names a connection.
fn frame_of(connection: &ConnectionId) -> ServerFrame {
    let mut delivery = Delivery::new(Str::new(), Vec::new());
    delivery.connection_id = Some(connection.clone());
    ServerFrame::Presence(delivery)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A record: its version, its tag, the length of the extra fields, the proposer if there is one, the extra fields as JSON,
/// and the frame.
fn write(
    tag: Tag,
    proposer: Option<Proposer>,
    extra: &Extra,
    frame: ServerFrame,
) -> (Bytes, ServerFrame) {
    let mut record = Vec::with_capacity(256);
    let version = if proposer.is_some() { VERSION_WITH_PROPOSER } else { VERSION };
    record.extend_from_slice(&[version, tag as u8, 0, 0, 0, 0]);
    if let Some(Proposer { node, ticket }) = proposer {
        record.extend_from_slice(&node.0.to_be_bytes());
        record.extend_from_slice(&ticket.0.to_be_bytes());
    }
    let start = record.len();
    if tag != Tag::Messages && tag != Tag::Annotations {
        // Only strings and numbers: writing them to memory cannot fail.
        let _ = serde_json::to_writer(&mut record, extra);
    }
    let length = u32::try_from(record.len() - start).unwrap_or(0);
    record[2..HEAD].copy_from_slice(&length.to_be_bytes());
    codec::encode_server_frame(Format::MsgPack, &frame, &mut record);
    (record.into(), frame)
}

fn decode(record: &Bytes) -> Option<(Option<Proposer>, Body)> {
    let (head, _) = record.split_at_checked(HEAD)?;
    let (&[version, tag], length) = head.split_first_chunk::<2>()?;
    let (proposer, start) = match version {
        VERSION => (None, HEAD),
        VERSION_WITH_PROPOSER => (Some(Proposal::proposer_of(record)?), HEAD + 16),
        _ => return None,
    };
    let tag = Tag::of(tag)?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let end = start.checked_add(length)?;
    let extra = record.get(start..end)?;
    let extra: Extra =
        if extra.is_empty() { Extra::default() } else { serde_json::from_slice(extra).ok()? };
    let frame = record.slice(end..);
    let limits = Limits { max_size: usize::MAX, max_depth: MAX_DEPTH };
    let frame = codec::decode_server_frame(Format::MsgPack, &frame, &limits).ok()?;
    let Extra { of, claim, max, msg_serial, repeated, clients, lapsed, last, remain, owner } =
        extra;
    let remain = Duration::from_millis(remain);
    let at = of.as_deref().and_then(Position::parse_message);
    let body = match (tag, frame) {
        (Tag::Messages, ServerFrame::Message(delivery)) => Body::Messages(items(delivery)),
        (Tag::Change, ServerFrame::Message(delivery)) => {
            let Items { id, connection, items } = items(delivery);
            let mut message: Message = items.into_iter().next()?;
            let version = message.version.take().map_or_else(MessageVersion::default, |it| *it);
            let (at, max_size) = (at?, max);
            let change = Change { at, id, connection, message, version, claim, max_size };
            Body::Change(Box::new(change))
        }
        (Tag::Annotations, ServerFrame::Annotation(delivery)) => Body::Annotations(items(delivery)),
        (Tag::Summary, _) => Body::Summary(Summary { at: at?, max_size: max }),
        (Tag::Presence, ServerFrame::Presence(delivery)) => Body::Presence(Events {
            connection: delivery.connection_id?,
            msg_serial,
            repeated,
            items: delivery.items,
            max_members: max,
            remain,
            again: None,
        }),
        (Tag::Departure, ServerFrame::Presence(delivery)) => {
            let connection: ConnectionId = delivery.connection_id?;
            let owner =
                owner.map(|(node, since)| Owner { node: NodeId(node), since: Position(since) });
            let repeated = !last.is_empty();
            let members = match delivery.items {
                members if !members.is_empty() => members,
                // A build that writes no items has proposed it.
                _ => named(clients, last),
            };
            Body::Departure(Departure { connection, members, repeated, lapsed, owner })
        }
        (Tag::Adoption, ServerFrame::Presence(delivery)) => {
            Body::Adoption(Adoption { connection: delivery.connection_id?, remain })
        }
        (Tag::Objects, ServerFrame::Object(delivery)) => {
            Body::Objects(Operations { frame: items(delivery), grace: remain })
        }
        _ => return None,
    };
    Some((proposer, body))
}

/// The members of a channel after an entry, as they are stored.
#[derive(Debug, Default)]
pub(crate) struct MembersRecord {
    pub(crate) position: Position,
    /// The number of the next member.
    pub(crate) next: u64,
    /// The number of each member.
    pub(crate) numbers: Vec<u64>,
    pub(crate) members: Vec<PresenceMessage>,
    /// The owners of each connection's members, and how long these stay while their client is disconnected.
    pub(crate) owners: Vec<(ConnectionId, Owner, Duration)>,
}

/// The fields of the members that their frame has no place for.
#[derive(Serialize, Deserialize)]
struct MembersExtra {
    position: u64,
    next: u64,
    numbers: Vec<u64>,
    /// The connection, the node, the position since which it is the owner, and a time in ms.
    owners: Vec<(Str, u64, u64, u64)>,
}

impl MembersRecord {
    /// The record: its version, the length of the extra fields, these as JSON, and the frame with the members.
    pub(crate) fn encode(self) -> Bytes {
        let Self { position, next, numbers, members, owners } = self;
        let owners = owners
            .into_iter()
            .map(|(id, owner, remain)| (id, owner.node.0, owner.since.0, millis(remain)))
            .collect();
        let extra = MembersExtra { position: position.0, next, numbers, owners };
        let mut record = vec![VERSION, 0, 0, 0, 0];
        // Only strings and numbers: writing them to memory cannot fail.
        let _ = serde_json::to_writer(&mut record, &extra);
        let length = u32::try_from(record.len() - 5).unwrap_or(0);
        record[1..5].copy_from_slice(&length.to_be_bytes());
        let frame = ServerFrame::Presence(Delivery::new(Str::new(), members));
        codec::encode_server_frame(Format::MsgPack, &frame, &mut record);
        record.into()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(crate) fn decode(record: &Bytes) -> Result<Self, String> {
        let read = || {
            let (&[version, length @ ..], rest) = record.split_first_chunk::<5>()?;
            let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
            let extra = rest.get(..length).filter(|_| version == VERSION)?;
            let extra: MembersExtra = serde_json::from_slice(extra).ok()?;
            let limits = Limits { max_size: usize::MAX, max_depth: MAX_DEPTH };
            let frame = record.slice(5 + length..);
            let ServerFrame::Presence(frame) =
                codec::decode_server_frame(Format::MsgPack, &frame, &limits).ok()?
            else {
                return None;
            };
            let MembersExtra { position, next, numbers, owners } = extra;
            let owners = owners.into_iter().map(|(id, node, since, remain)| {
                let owner = Owner { node: NodeId(node), since: Position(since) };
                (id, owner, Duration::from_millis(remain))
            });
            let (position, owners) = (Position(position), owners.collect());
            Some(Self { position, next, numbers, members: frame.items, owners })
        };
        read().ok_or_else(|| "the members of a channel cannot be read".to_owned())
    }
}

fn items<T>(delivery: Delivery<T>) -> Items<T> {
    let Delivery { id, connection_id: connection, items, .. } = delivery;
    Items { id, connection, items }
}

#[cfg(test)]
mod tests;
