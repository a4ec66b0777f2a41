//! Records: committed entries as the engine stores them.

use bytes::Bytes;
use capably_protocol::{
    Format, Limits, Message, MessageVersion, ServerFrame, Str, codec, frame::Delivery,
};
use serde::{Deserialize, Serialize};

use super::{
    position::Position,
    proposal::{Body, Change, Departure, Events, Items, Place, Proposal, Summary},
};
use crate::{
    engine::{Append, ChannelId, Kind, Thread},
    hub::ids::ConnectionId,
};

/// The version of the form. A record begins with it, so that nodes of different builds understand each other, or notice
/// that they do not.
const VERSION: u8 = 1;

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clients: Vec<Str>,
    #[serde(skip_serializing_if = "is_default")]
    lapsed: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Proposal {
    /// The entry to append to the engine.
    pub(crate) fn encode_append(&mut self, app: &str, keep: std::time::Duration) -> Append {
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
            Body::Presence(_) | Body::Departure(_) => (Kind::Presence, Vec::new()),
        };
        Append {
            channel: ChannelId { app: app.into(), name: (&*self.channel).into() },
            id: self.id().map(Into::into),
            kind,
            threads,
            time: self.time,
            keep,
            payload: self.encode(),
        }
    }

    /// The id by which the engine recognises a repeated proposal, if its publisher chose one.
    fn id(&self) -> Option<&str> {
        match &self.body {
            Body::Messages(frame) => frame.items.first()?.id.as_deref(),
            Body::Change(change) => change.message.id.as_deref(),
            Body::Annotations(frame) => frame.items.first()?.id.as_deref(),
            Body::Summary(_) | Body::Presence(_) | Body::Departure(_) => None,
        }
    }

    fn encode(&mut self) -> Bytes {
        let time = self.time;
        match &mut self.body {
            Body::Messages(frame) => with_items(frame, time, |delivery| {
                write(Tag::Messages, &Extra::default(), ServerFrame::Message(delivery))
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
                    write(Tag::Change, &extra, ServerFrame::Message(delivery))
                })
            }
            Body::Annotations(frame) => with_items(frame, time, |delivery| {
                write(Tag::Annotations, &Extra::default(), ServerFrame::Annotation(delivery))
            }),
            Body::Summary(Summary { at, max_size }) => {
                let of = Some(at.0.message_serial(at.1));
                let extra = Extra { of, max: *max_size, ..Extra::default() };
                let frame = ServerFrame::Message(Delivery::new(Str::new(), Vec::new()));
                write(Tag::Summary, &extra, frame).0
            }
            Body::Presence(events) => {
                let Events { connection, msg_serial, repeated, items, max_members } = events;
                let extra = Extra {
                    msg_serial: *msg_serial,
                    repeated: *repeated,
                    max: *max_members,
                    ..Extra::default()
                };
                let connection = Some(connection.clone());
                let mut frame = Items { id: None, connection, items: std::mem::take(items) };
                let bytes = with_items(&mut frame, time, |delivery| {
                    write(Tag::Presence, &extra, ServerFrame::Presence(delivery))
                });
                *items = frame.items;
                bytes
            }
            Body::Departure(Departure { connection, clients, lapsed }) => {
                let extra = Extra { clients: clients.clone(), lapsed: *lapsed, ..Extra::default() };
                let mut delivery = Delivery::new(Str::new(), Vec::new());
                delivery.connection_id = Some(connection.clone());
                write(Tag::Departure, &extra, ServerFrame::Presence(delivery)).0
            }
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(crate) fn decode(channel: &Str, time: i64, record: &Bytes) -> Result<Self, String> {
        let body = decode(record).ok_or_else(|| match record.first() {
            Some(version) if *version != VERSION => {
                format!("an entry has version {version}, and this server reads {VERSION}")
            }
            _ => "an entry cannot be read".to_owned(),
        })?;
        Ok(Self { channel: channel.clone(), time, body })
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
    capably_protocol::PresenceMessage: Presence;
}

/// A record: its version, its tag, the length of the extra fields, these as JSON, and the frame.
fn write(tag: Tag, extra: &Extra, frame: ServerFrame) -> (Bytes, ServerFrame) {
    let mut record = Vec::with_capacity(256);
    record.extend_from_slice(&[VERSION, tag as u8, 0, 0, 0, 0]);
    let start = record.len();
    if tag != Tag::Messages && tag != Tag::Annotations {
        // Only strings and numbers: writing them to memory cannot fail.
        let _ = serde_json::to_writer(&mut record, extra);
    }
    let length = u32::try_from(record.len() - start).unwrap_or(0);
    record[start - 4..start].copy_from_slice(&length.to_be_bytes());
    codec::encode_server_frame(Format::MsgPack, &frame, &mut record);
    (record.into(), frame)
}

fn decode(record: &Bytes) -> Option<Body> {
    let (head, rest) = record.split_at_checked(6)?;
    let ([VERSION, tag], length) = head.split_first_chunk::<2>()? else { return None };
    let tag = Tag::of(*tag)?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (extra, _) = rest.split_at_checked(length)?;
    let extra: Extra =
        if extra.is_empty() { Extra::default() } else { serde_json::from_slice(extra).ok()? };
    let frame = record.slice(6 + length..);
    let limits = Limits { max_size: usize::MAX, max_depth: MAX_DEPTH };
    let frame = codec::decode_server_frame(Format::MsgPack, &frame, &limits).ok()?;
    let Extra { of, claim, max, msg_serial, repeated, clients, lapsed } = extra;
    let at = of.as_deref().and_then(Position::parse_message);
    Some(match (tag, frame) {
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
        }),
        (Tag::Departure, ServerFrame::Presence(delivery)) => {
            let connection: ConnectionId = delivery.connection_id?;
            Body::Departure(Departure { connection, clients, lapsed })
        }
        _ => return None,
    })
}

fn items<T>(delivery: Delivery<T>) -> Items<T> {
    let Delivery { id, connection_id: connection, items, .. } = delivery;
    Items { id, connection, items }
}

#[cfg(test)]
mod tests {
    use capably_protocol::{Annotation, Data, MessageAction, PresenceAction, PresenceMessage};
    use serde_json::json;

    use super::*;

    fn proposals() -> Vec<Body> {
        let connection = Some(Str::from("connection"));
        let extras = json!({ "a": [1, "ü"] }).as_object().cloned();
        let message = Message {
            id: Some("id:0".into()),
            client_id: Some("ada".into()),
            encoding: Some("json".into()),
            extras,
            ..Message::new("name", "text")
        };
        let at = (Position(1_726_585_978_590_001), 7);
        let change = Change {
            at,
            id: Some("c:1".into()),
            connection: connection.clone(),
            message: Message { action: Some(MessageAction::Append), ..message.clone() },
            version: MessageVersion {
                client_id: Some("bo".into()),
                description: Some("why".into()),
                ..MessageVersion::default()
            },
            claim: Some("host".into()),
            max_size: 65_536,
        };
        let annotation = Annotation {
            annotation_type: Some("reaction:unique.v1".into()),
            message_serial: Some(at.0.message_serial(at.1)),
            name: Some("👍".into()),
            ..Annotation::default()
        };
        let member = PresenceMessage {
            action: Some(PresenceAction::Update),
            client_id: Some("ada".into()),
            data: Data::from(vec![0, 255]),
            ..PresenceMessage::default()
        };
        vec![
            Body::Messages(Items {
                id: Some("c:0".into()),
                connection: connection.clone(),
                items: vec![message, Message::default()],
            }),
            Body::Change(Box::new(change)),
            Body::Annotations(Items { id: None, connection: None, items: vec![annotation] }),
            Body::Summary(Summary { at, max_size: 100 }),
            Body::Presence(Events {
                connection: "connection".into(),
                msg_serial: u64::MAX,
                repeated: true,
                items: vec![member],
                max_members: 250,
            }),
            Body::Departure(Departure {
                connection: "connection".into(),
                clients: vec!["ada".into(), "bo".into()],
                lapsed: true,
            }),
        ]
    }

    #[test]
    fn records_survive_a_round_trip() {
        let channel = Str::from("a:b");
        for body in proposals() {
            let mut proposal = Proposal { channel: channel.clone(), time: 1_726_585_978_590, body };
            let before = format!("{proposal:?}");
            let append = proposal.encode_append("app-id", std::time::Duration::from_secs(1));
            assert_eq!(format!("{proposal:?}"), before, "the items are back in their place");
            let read = Proposal::decode(&channel, append.time, &append.payload).unwrap();
            assert_eq!(format!("{read:?}"), before);
        }
    }

    #[test]
    fn damaged_and_newer_records_are_errors() {
        let channel = Str::from("a");
        for body in proposals() {
            let mut proposal = Proposal { channel: channel.clone(), time: 1, body };
            let record = proposal.encode_append("app-id", std::time::Duration::ZERO).payload;
            for length in 0..record.len() {
                let cut = record.slice(..length);
                assert!(Proposal::decode(&channel, 1, &cut).is_err(), "{length}");
            }
            let mut newer = record.to_vec();
            newer[0] = 9;
            let error = Proposal::decode(&channel, 1, &newer.into()).unwrap_err();
            assert_eq!(error, "an entry has version 9, and this server reads 1");
        }
    }
}
