//! The states of a pool's objects, for a sync or a snapshot (OST).

use std::collections::BTreeMap;

use capably_protocol::{
    Millis, ObjectMessage, Str,
    object::{
        CounterCreate, MapCreate, ObjectData, ObjectOperation, ObjectOperationAction, ObjectState,
        ObjectValue, ObjectsCounter, ObjectsMap, ObjectsMapEntry, ObjectsMapSemantics,
    },
};

use super::ObjectsPool;
use crate::{
    entry::{Entry, EntryData, Place},
    object::{CounterValue, MapValue, Object, Value},
};

impl ObjectsPool {
    /// The state of every object, the root first. [`from_states`](Self::from_states) makes an equal pool of them.
    ///
    /// The states are in messages, because the time of a deletion is the time of its message (RTLO4e3).
    pub fn states(&self) -> impl Iterator<Item = ObjectMessage> {
        let places = (0..self.nodes.len()).map(|at| Place(u32::try_from(at).unwrap_or(u32::MAX)));
        places.filter_map(|place| Some(self.state_message(place, self.get(place)?)))
    }

    /// The state of an object; none if it does not exist.
    pub fn state(&self, object_id: &str) -> Option<ObjectMessage> {
        let place = self.place(object_id)?;
        Some(self.state_message(place, self.get(place)?))
    }

    fn state_message(&self, place: Place, object: &Object) -> ObjectMessage {
        let id = self.id(place);
        let sites = object.sites.iter();
        let mut state = ObjectState {
            object_id: Some(id.clone()),
            site_timeserials: sites
                .map(|(site, serial)| (Str::from(site), Str::from(serial)))
                .collect(),
            tombstone: object.is_tombstone().then_some(true),
            ..ObjectState::default()
        };
        match &object.value {
            Value::Map(map) => self.fill_map(&mut state, id, map),
            Value::Counter(counter) => fill_counter(&mut state, id, *counter),
        }
        ObjectMessage {
            object: Some(Box::new(state)),
            serial_timestamp: object.tombstoned_at,
            ..ObjectMessage::default()
        }
    }

    /// OST2d, OST2e
    fn fill_map(&self, state: &mut ObjectState, id: &Str, map: &MapValue) {
        let semantics = Some(ObjectsMapSemantics::Lww);
        let mut entries = BTreeMap::new();
        let mut initial = BTreeMap::new();
        // The entries without a serial are those of the create operation. With a clear's serial they would not survive
        // the merge (RTLM7h).
        let apart = map.created && map.cleared.is_none();
        for (key, entry) in map.entries.iter() {
            let place = if apart && entry.serial.is_empty() { &mut initial } else { &mut entries };
            place.insert(key.clone(), self.wire_entry(entry));
        }
        state.create_op = map.created.then(|| ObjectOperation {
            action: Some(ObjectOperationAction::MapCreate),
            object_id: Some(id.clone()),
            map_create: Some(MapCreate { semantics, entries: initial }),
            ..ObjectOperation::default()
        });
        let clear_timeserial = map.cleared.as_deref().map(Str::from);
        state.map = Some(ObjectsMap { semantics, entries, clear_timeserial });
    }

    fn wire_entry(&self, entry: &Entry) -> ObjectsMapEntry {
        let removed = match entry.data {
            EntryData::Removed(at) => Some(at),
            _ => None,
        };
        ObjectsMapEntry {
            tombstone: removed.map(|_| true),
            timeserial: (!entry.serial.is_empty()).then(|| entry.serial.as_str().into()),
            serial_timestamp: removed,
            data: self.wire_data(&entry.data),
        }
    }

    /// The data of an entry as it is on the wire; none if there is no value.
    pub(crate) fn wire_data(&self, data: &EntryData) -> Option<ObjectData> {
        let value = match data {
            EntryData::Removed(_) | EntryData::Empty => return None,
            EntryData::Reference(place) => return Some(ObjectData::reference(self.id(*place))),
            EntryData::Encoded(data) => return Some((**data).clone()),
            EntryData::Boolean(value) => ObjectValue::Boolean(*value),
            EntryData::Number(value) => ObjectValue::Number(*value),
            EntryData::String(text) => ObjectValue::String(text.clone()),
            EntryData::Bytes(bytes) => ObjectValue::Bytes(bytes.clone()),
            EntryData::Json(value) => ObjectValue::Json((**value).clone()),
        };
        Some(value.into())
    }

    /// When an object was deleted, in ms since the epoch; none if it is not, or does not exist.
    pub fn tombstoned_at(&self, object_id: &str) -> Option<Millis> {
        self.get(self.place(object_id)?)?.tombstoned_at
    }
}

/// OST2d, OST2f
fn fill_counter(state: &mut ObjectState, id: &Str, counter: CounterValue) {
    let CounterValue { data, initial } = counter;
    // The sum is exact, or the reader would have another value than this pool.
    let apart = |initial: f64| (data - initial) + initial == data;
    let initial = initial.map(|initial| if apart(initial) { initial } else { 0.0 });
    let count = Some(data - initial.unwrap_or_default());
    state.create_op = initial.map(|count| ObjectOperation {
        action: Some(ObjectOperationAction::CounterCreate),
        object_id: Some(id.clone()),
        counter_create: Some(CounterCreate { count: Some(count) }),
        ..ObjectOperation::default()
    });
    state.counter = Some(ObjectsCounter { count });
}

#[cfg(test)]
mod tests;
