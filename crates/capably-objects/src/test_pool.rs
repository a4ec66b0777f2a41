//! Messages and states for tests, and the tree that the tests of Ably's Universal Test Specification use.

use std::collections::BTreeMap;

use capably_protocol::{
    Millis, ObjectMessage, Str,
    object::{
        CounterCreate, CounterInc, MapClear, MapCreate, MapRemove, MapSet, ObjectData,
        ObjectDelete, ObjectOperation, ObjectOperationAction as Action, ObjectState, ObjectValue,
        ObjectsCounter, ObjectsMap, ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use serde_json::json;

use crate::{Change, Ignored, KeyChange, ObjectsPool, Source, Update};

/// A time that dates deletions, in ms since the epoch.
pub(crate) const NOW: Millis = 1_700_000_000_000;

/// A message with an operation on an object, from the site `remote`.
pub(crate) fn operation(
    action: Action,
    object_id: &str,
    serial: &str,
    fill: impl FnOnce(&mut ObjectOperation),
) -> ObjectMessage {
    let mut operation = ObjectOperation {
        action: Some(action),
        object_id: Some(object_id.into()),
        ..ObjectOperation::default()
    };
    fill(&mut operation);
    ObjectMessage {
        operation: Some(Box::new(operation)),
        serial: Some(serial.into()),
        site_code: Some("remote".into()),
        ..ObjectMessage::default()
    }
}

pub(crate) fn map_set(
    map: &str,
    key: &str,
    value: impl Into<ObjectData>,
    serial: &str,
) -> ObjectMessage {
    let set = MapSet { key: key.into(), value: value.into() };
    operation(Action::MapSet, map, serial, |operation| operation.map_set = Some(set))
}

pub(crate) fn map_remove(map: &str, key: &str, serial: &str) -> ObjectMessage {
    let remove = MapRemove { key: key.into() };
    operation(Action::MapRemove, map, serial, |operation| operation.map_remove = Some(remove))
}

pub(crate) fn map_clear(map: &str, serial: &str) -> ObjectMessage {
    operation(Action::MapClear, map, serial, |operation| operation.map_clear = Some(MapClear {}))
}

pub(crate) fn map_create(map: &str, create: MapCreate, serial: &str) -> ObjectMessage {
    operation(Action::MapCreate, map, serial, |operation| operation.map_create = Some(create))
}

pub(crate) fn counter_create(counter: &str, count: Option<f64>, serial: &str) -> ObjectMessage {
    let create = CounterCreate { count };
    operation(Action::CounterCreate, counter, serial, |operation| {
        operation.counter_create = Some(create);
    })
}

pub(crate) fn counter_inc(
    counter: &str,
    number: impl Into<Option<f64>>,
    serial: &str,
) -> ObjectMessage {
    let inc = CounterInc { number: number.into() };
    operation(Action::CounterInc, counter, serial, |operation| operation.counter_inc = Some(inc))
}

pub(crate) fn object_delete(object: &str, serial: &str) -> ObjectMessage {
    operation(Action::ObjectDelete, object, serial, |operation| {
        operation.object_delete = Some(ObjectDelete {});
    })
}

/// The same message from another site.
pub(crate) fn from_site(site: &str, message: ObjectMessage) -> ObjectMessage {
    ObjectMessage { site_code: Some(site.into()), ..message }
}

pub(crate) fn string(text: &str) -> ObjectData {
    ObjectValue::String(text.into()).into()
}

pub(crate) fn number(number: f64) -> ObjectData {
    ObjectValue::Number(number).into()
}

pub(crate) fn entry(data: ObjectData, timeserial: &str) -> ObjectsMapEntry {
    let timeserial = Some(timeserial.into());
    ObjectsMapEntry { data: Some(data), timeserial, ..ObjectsMapEntry::default() }
}

/// An entry whose key was removed at this time.
pub(crate) fn removed(timeserial: &str, at: Option<Millis>) -> ObjectsMapEntry {
    ObjectsMapEntry {
        tombstone: Some(true),
        timeserial: Some(timeserial.into()),
        serial_timestamp: at,
        data: None,
    }
}

pub(crate) fn entries<const N: usize>(
    entries: [(&str, ObjectsMapEntry); N],
) -> BTreeMap<Str, ObjectsMapEntry> {
    entries.into_iter().map(|(key, entry)| (key.into(), entry)).collect()
}

/// The payload of MAP_CREATE with these entries.
pub(crate) fn create<const N: usize>(list: [(&str, ObjectsMapEntry); N]) -> MapCreate {
    MapCreate { semantics: Some(ObjectsMapSemantics::Lww), entries: entries(list) }
}

/// The state of a map that was created without entries.
pub(crate) fn map_state<const N: usize>(
    id: &str,
    list: [(&str, ObjectsMapEntry); N],
) -> ObjectMessage {
    let entries = entries(list);
    state(id, |state| {
        state.map = Some(ObjectsMap { entries, ..ObjectsMap::default() });
        let create = map_create(id, MapCreate::default(), "").operation;
        state.create_op = create.map(|create| *create);
    })
}

/// The state of a counter that was created with this count.
pub(crate) fn counter_state(id: &str, count: f64) -> ObjectMessage {
    state(id, |state| {
        state.counter = Some(ObjectsCounter { count: Some(0.0) });
        let create = counter_create(id, Some(count), "").operation;
        state.create_op = create.map(|create| *create);
    })
}

/// The state of an object that has seen `t:0` of the site `aaa`.
pub(crate) fn state(id: &str, fill: impl FnOnce(&mut ObjectState)) -> ObjectMessage {
    let mut state = ObjectState {
        object_id: Some(id.into()),
        site_timeserials: BTreeMap::from([("aaa".into(), "t:0".into())]),
        ..ObjectState::default()
    };
    fill(&mut state);
    ObjectMessage { object: Some(Box::new(state)), ..ObjectMessage::default() }
}

/// The state of a message, to change it.
pub(crate) fn edit(
    mut message: ObjectMessage,
    edit: impl FnOnce(&mut ObjectState),
) -> ObjectMessage {
    edit(message.object.as_deref_mut().expect("the message of a state"));
    message
}

/// The tree of the Universal Test Specification.
pub(crate) fn standard_states() -> Vec<ObjectMessage> {
    let reference = |id: &str| entry(ObjectData::reference(id), "t:0");
    let leaf = |value: ObjectValue| entry(value.into(), "t:0");
    vec![
        map_state(
            "root",
            [
                ("name", leaf(ObjectValue::String("Alice".into()))),
                ("age", leaf(ObjectValue::Number(30.0))),
                ("active", leaf(ObjectValue::Boolean(true))),
                ("score", reference("counter:score@1000")),
                ("profile", reference("map:profile@1000")),
                ("data", leaf(ObjectValue::Json(json!({ "tags": ["a", "b"] })))),
                ("avatar", leaf(ObjectValue::Bytes(vec![1, 2, 3].into()))),
            ],
        ),
        counter_state("counter:score@1000", 100.0),
        map_state(
            "map:profile@1000",
            [
                ("email", leaf(ObjectValue::String("alice@example.com".into()))),
                ("nested_counter", reference("counter:nested@1000")),
                ("prefs", reference("map:prefs@1000")),
            ],
        ),
        counter_state("counter:nested@1000", 5.0),
        map_state("map:prefs@1000", [("theme", leaf(ObjectValue::String("dark".into())))]),
    ]
}

/// A pool with the standard tree.
pub(crate) fn standard_pool() -> ObjectsPool {
    ObjectsPool::from_states(standard_states(), NOW)
}

/// Applies an operation of the channel.
pub(crate) fn apply(
    pool: &mut ObjectsPool,
    message: &ObjectMessage,
) -> Result<Option<Update>, Ignored> {
    pool.apply(message, Source::Channel, NOW)
}

/// Applies an operation of the channel that must be applied, and returns its change.
pub(crate) fn change(pool: &mut ObjectsPool, message: &ObjectMessage) -> Option<Change> {
    apply(pool, message).expect("the operation is applied").map(|update| update.change)
}

/// A change of these keys: those with `+` were updated, those with `-` removed.
pub(crate) fn keys<const N: usize>(keys: [&str; N]) -> Change {
    let change = |key: &str| match key.strip_prefix('-') {
        Some(key) => (key.into(), KeyChange::Removed),
        None => (key.trim_start_matches('+').into(), KeyChange::Updated),
    };
    Change::Map(keys.into_iter().map(change).collect())
}

/// The value of a counter.
pub(crate) fn count(pool: &ObjectsPool, id: &str) -> f64 {
    pool.object(id).and_then(|object| object.as_counter()).expect("a counter").value()
}

/// The map with this id, as JSON.
pub(crate) fn json_of(pool: &ObjectsPool, id: &str) -> serde_json::Value {
    pool.object(id).expect("an object").compact_json()
}

/// The paths of an object, as text and in order.
pub(crate) fn paths(pool: &ObjectsPool, id: &str) -> Vec<String> {
    let mut paths: Vec<String> = pool.paths(id).iter().map(ToString::to_string).collect();
    paths.sort();
    paths
}
