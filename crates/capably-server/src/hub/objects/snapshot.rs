//! Snapshots: the objects of a channel after an entry, as they are stored. They outlast the entries that they come from.

use bytes::Bytes;
use capably_objects::ObjectsPool;
use capably_protocol::{
    Format, Limits, Millis, ObjectMessage, ServerFrame, Str, codec, frame::Delivery,
    object::ObjectsMap,
};
use serde::{Deserialize, Serialize};

use super::{ChannelObjects, sync::pages};
use crate::hub::log::position::Position;

/// The version of the form. A part begins with it.
const VERSION: u8 = 1;

/// The length of the head: the version, and the length of the extra fields.
const HEAD: usize = 5;

/// About the most bytes of a part. A fact of a cluster is a message, and brokers accept about a megabyte.
const PART_BYTES: usize = 256 * 1024;

/// More than the depth of any state: JSON values are text.
const MAX_DEPTH: usize = 128;

/// The fields of a part beside its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extra {
    position: u64,
    collected: Millis,
    parts: usize,
}

/// A part of a snapshot. The first is found by the channel's name, and says how many follow.
#[derive(Debug)]
pub(crate) struct SnapshotPart {
    extra: Extra,
    states: Vec<ObjectMessage>,
}

impl SnapshotPart {
    /// Reads a part.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(crate) fn decode(record: &Bytes) -> Result<Self, String> {
        let read = || {
            let (&[version, length @ ..], rest) = record.split_first_chunk::<HEAD>()?;
            let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
            let extra = rest.get(..length).filter(|_| version == VERSION)?;
            let extra = serde_json::from_slice(extra).ok()?;
            let limits = Limits { max_size: usize::MAX, max_depth: MAX_DEPTH };
            let frame = record.slice(HEAD + length..);
            let frame = codec::decode_server_frame(Format::MsgPack, &frame, &limits).ok()?;
            let ServerFrame::ObjectSync(Delivery { items: states, .. }) = frame else {
                return None;
            };
            Some(Self { extra, states })
        };
        read().ok_or_else(|| "the objects of a channel cannot be read".to_owned())
    }

    /// The newest entry that the snapshot has.
    pub(crate) fn position(&self) -> Position {
        Position(self.extra.position)
    }

    /// The number of parts of the snapshot.
    pub(crate) fn parts(&self) -> usize {
        self.extra.parts
    }
}

/// A snapshot that is not encoded yet. Only the copy of the states is made under the lock of the app.
#[derive(Debug)]
pub(crate) struct SnapshotDraft {
    extra: Extra,
    pages: Vec<Vec<ObjectMessage>>,
}

impl SnapshotDraft {
    /// The newest entry that the snapshot has.
    pub(crate) fn position(&self) -> Position {
        Position(self.extra.position)
    }

    /// The parts, each encoded when it is taken.
    pub(crate) fn into_parts(self) -> impl Iterator<Item = Bytes> + Send {
        let Self { extra, pages } = self;
        pages.into_iter().map(move |states| encode(extra, states))
    }
}

impl ChannelObjects {
    /// The snapshot.
    pub(crate) fn snapshot(&self) -> SnapshotDraft {
        let pages = pages(self.pool.states(), usize::MAX, PART_BYTES);
        let Self { position, collected, .. } = *self;
        let extra = Extra { position: position.0, collected, parts: pages.len() };
        SnapshotDraft { extra, pages }
    }

    /// The objects of a snapshot.
    ///
    /// # Errors
    /// The parts are not those of one snapshot.
    pub(crate) fn restore(parts: Vec<SnapshotPart>) -> Result<Self, String> {
        let first = parts.first().map(|first| first.extra);
        let Some(extra) = first
            .filter(|it| it.parts == parts.len() && parts.iter().all(|part| part.extra == *it))
        else {
            return Err("the objects of a channel are incomplete".to_owned());
        };
        let mut states: Vec<ObjectMessage> = Vec::new();
        for mut message in parts.into_iter().flat_map(|part| part.states) {
            match states.last_mut().filter(|last| object_id(last) == object_id(&message)) {
                Some(whole) => join(whole, &mut message),
                None => states.push(message),
            }
        }
        let deleted = states.iter().filter_map(newest_deletion).max();
        let pool = ObjectsPool::from_states(states, extra.collected);
        let (position, collected) = (Position(extra.position), extra.collected);
        Ok(Self { pool, position, collected, deleted, ..Self::default() }.measured())
    }
}

fn encode(extra: Extra, states: Vec<ObjectMessage>) -> Bytes {
    let mut record = vec![VERSION, 0, 0, 0, 0];
    // Only numbers: writing them to memory cannot fail.
    let _ = serde_json::to_writer(&mut record, &extra);
    let length = u32::try_from(record.len() - HEAD).unwrap_or(0);
    record[1..HEAD].copy_from_slice(&length.to_be_bytes());
    let frame = ServerFrame::ObjectSync(Delivery::new(Str::new(), states));
    codec::encode_server_frame(Format::MsgPack, &frame, &mut record);
    record.into()
}

fn object_id(message: &ObjectMessage) -> Option<&Str> {
    message.object.as_ref()?.object_id.as_ref()
}

/// When the object was deleted, or the entry of it that was removed last, in ms since the epoch.
fn newest_deletion(message: &ObjectMessage) -> Option<Millis> {
    let state = message.object.as_ref()?;
    let entries = state.map.iter().flat_map(|map| map.entries.values());
    let removed = entries.filter(|entry| entry.tombstone == Some(true));
    let removed = removed.filter_map(|entry| entry.serial_timestamp).max();
    message.serial_timestamp.filter(|_| state.tombstone == Some(true)).max(removed)
}

/// Adds the entries of a further part of a large map.
fn join(whole: &mut ObjectMessage, part: &mut ObjectMessage) {
    fn map(message: &mut ObjectMessage) -> Option<&mut ObjectsMap> {
        message.object.as_mut()?.map.as_mut()
    }
    if let (Some(whole), Some(part)) = (map(whole), map(part)) {
        whole.entries.append(&mut part.entries);
    }
}

#[cfg(test)]
mod tests {
    use capably_objects::Source;
    use capably_protocol::object::{
        CounterInc, MapSet, ObjectOperation, ObjectOperationAction, ObjectValue,
    };

    use super::*;

    fn objects(keys: usize) -> ChannelObjects {
        let mut objects = ChannelObjects {
            position: Position(1_726_585_978_590_001),
            collected: 7,
            ..ChannelObjects::default()
        };
        let mut apply = |number: usize, operation: ObjectOperation| {
            let message = ObjectMessage {
                operation: Some(Box::new(operation)),
                serial: Some(format!("{number:05}").into()),
                site_code: Some("s".into()),
                ..ObjectMessage::default()
            };
            objects.pool.apply(&message, Source::Channel, 5).unwrap();
        };
        for number in 0..keys {
            let value = ObjectValue::String("x".repeat(200).into()).into();
            apply(
                number,
                ObjectOperation {
                    action: Some(ObjectOperationAction::MapSet),
                    object_id: Some("root".into()),
                    map_set: Some(MapSet { key: format!("k{number}").into(), value }),
                    ..ObjectOperation::default()
                },
            );
            apply(
                number,
                ObjectOperation {
                    action: Some(ObjectOperationAction::CounterInc),
                    object_id: Some(format!("counter:{number}").into()),
                    counter_inc: Some(CounterInc { number: Some(0.5) }),
                    ..ObjectOperation::default()
                },
            );
        }
        objects
    }

    fn decoded(parts: &[Bytes]) -> Vec<SnapshotPart> {
        parts.iter().map(|part| SnapshotPart::decode(part).unwrap()).collect()
    }

    #[test]
    fn snapshots_survive_a_round_trip() {
        for (keys, at_least) in [(0, 1), (3, 1), (3000, 3)] {
            let objects = objects(keys);
            let parts: Vec<Bytes> = objects.snapshot().into_parts().collect();
            assert!(parts.len() >= at_least, "{} parts", parts.len());
            assert!(parts.iter().all(|part| part.len() < 2 * PART_BYTES));
            let restored = ChannelObjects::restore(decoded(&parts)).unwrap();
            let states = |it: &ChannelObjects| it.pool.states().collect::<Vec<_>>();
            assert_eq!(states(&restored), states(&objects));
            assert_eq!((restored.position, restored.collected), (objects.position, 7));
        }
    }

    #[test]
    fn damaged_and_incomplete_snapshots_are_errors() {
        let parts: Vec<Bytes> = objects(3000).snapshot().into_parts().collect();
        let first = &parts[0];
        for length in (0..first.len()).step_by(1000) {
            assert!(SnapshotPart::decode(&first.slice(..length)).is_err(), "{length}");
        }
        let mut newer = first.to_vec();
        newer[0] = 2;
        assert!(SnapshotPart::decode(&newer.into()).is_err());
        assert!(ChannelObjects::restore(decoded(&parts[1..])).is_err());
        let mut mixed = decoded(&parts);
        mixed[1].extra.position += 1;
        assert!(ChannelObjects::restore(mixed).is_err());
        assert!(ChannelObjects::restore(Vec::new()).is_err());
    }
}
