//! Making the messages of operations (RTLM20, RTLM21, RTLC12, RTLCV4, RTLMV4).

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::{
    ErrorInfo, Millis, ObjectMessage, Str,
    object::{
        CounterCreate, CounterCreateWithObjectId, CounterInc, MapClear, MapCreate,
        MapCreateWithObjectId, MapRemove, MapSet, ObjectData, ObjectOperation,
        ObjectOperationAction as Action, ObjectValue, ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use serde_json::Value;

use crate::{LiveCounter, LiveMap, LiveValue, ObjectId, ObjectType, errors};

/// The inputs of new object ids: the server's time and random bytes.
///
/// ```
/// use capably_objects::{LiveCounter, NewIds, set};
///
/// // A caller takes the bytes from its generator.
/// let mut ids = NewIds::new(1_700_000_000_000, || [7; 16]);
/// let messages = set("root", "votes", LiveCounter::new(0.0), &mut ids)?;
/// assert_eq!(messages.len(), 2, "the counter is made, and then the key is set to it");
/// # Ok::<(), capably_protocol::ErrorInfo>(())
/// ```
#[derive(Debug)]
pub struct NewIds<R> {
    now: Millis,
    random: R,
}

impl<R: FnMut() -> [u8; 16]> NewIds<R> {
    /// `now` is the server's time in ms since the epoch (RTO16). `random` gives bytes that nobody can foresee and that do
    /// not repeat.
    pub fn new(now: Millis, random: R) -> Self {
        Self { now, random }
    }

    /// A nonce, and the id of an object with this initial value (RTLCV4d to RTLCV4f, RTLMV4g to RTLMV4i).
    fn next(&mut self, object_type: ObjectType, initial_value: &str) -> (Str, Str) {
        let nonce = URL_SAFE_NO_PAD.encode((self.random)());
        let id = ObjectId::generate(object_type, initial_value, &nonce, self.now);
        (nonce.into(), Str::from(&id))
    }
}

/// The messages that set a key of a map (RTLM20e). Those that make the objects of `value` come first, the deepest before
/// the maps that contain them (RTLM20h1). Publish them together.
///
/// # Errors
/// Code 40013 if a value cannot be stored (RTLMV4c); 40003 if the number of a counter is not finite (RTLCV4a).
pub fn set<R: FnMut() -> [u8; 16]>(
    map_id: impl Into<Str>,
    key: impl Into<Str>,
    value: impl Into<LiveValue>,
    ids: &mut NewIds<R>,
) -> Result<Vec<ObjectMessage>, ErrorInfo> {
    let (key, mut messages) = (key.into(), Vec::new());
    let value = evaluate(&key, &value.into(), ids, &mut messages)?;
    messages.push(message(Action::MapSet, map_id, |operation| {
        operation.map_set = Some(MapSet { key, value });
    }));
    Ok(messages)
}

/// The message that removes a key of a map (RTLM21e).
pub fn remove(map_id: impl Into<Str>, key: impl Into<Str>) -> ObjectMessage {
    message(Action::MapRemove, map_id, |operation| {
        operation.map_remove = Some(MapRemove { key: key.into() });
    })
}

/// The message that removes every key of a map.
pub fn clear(map_id: impl Into<Str>) -> ObjectMessage {
    message(Action::MapClear, map_id, |operation| operation.map_clear = Some(MapClear {}))
}

/// The message that adds to a counter, or subtracts from it if `amount` is negative (RTLC12e, RTLC13b).
///
/// # Errors
/// Code 40003 if the amount is not finite (RTLC12e1).
pub fn increment(counter_id: impl Into<Str>, amount: f64) -> Result<ObjectMessage, ErrorInfo> {
    if !amount.is_finite() {
        return Err(errors::not_finite("the amount", amount));
    }
    Ok(message(Action::CounterInc, counter_id, |operation| {
        operation.counter_inc = Some(CounterInc { number: Some(amount) });
    }))
}

fn message(
    action: Action,
    object_id: impl Into<Str>,
    fill: impl FnOnce(&mut ObjectOperation),
) -> ObjectMessage {
    let mut operation = ObjectOperation {
        action: Some(action),
        object_id: Some(object_id.into()),
        ..ObjectOperation::default()
    };
    fill(&mut operation);
    ObjectMessage { operation: Some(Box::new(operation)), ..ObjectMessage::default() }
}

/// A map of which the entries are evaluated one after the other. A stack of them stands in for recursion.
struct OpenMap<'a> {
    rest: std::collections::btree_map::Iter<'a, Str, LiveValue>,
    entries: BTreeMap<Str, ObjectsMapEntry>,
    /// The key whose value is a nested map under evaluation.
    key: Option<&'a Str>,
}

impl<'a> OpenMap<'a> {
    fn new(map: &'a LiveMap) -> Self {
        Self { rest: map.entries().iter(), entries: BTreeMap::new(), key: None }
    }
}

/// The data that stands for a value. The messages that make its objects are appended (RTLMV4k).
fn evaluate<R: FnMut() -> [u8; 16]>(
    key: &str,
    value: &LiveValue,
    ids: &mut NewIds<R>,
    messages: &mut Vec<ObjectMessage>,
) -> Result<ObjectData, ErrorInfo> {
    let mut open = match value {
        LiveValue::Map(map) => vec![OpenMap::new(map)],
        LiveValue::Counter(counter) => return counter_create(*counter, ids, messages),
        LiveValue::Leaf(leaf) => return checked(key, leaf),
    };
    loop {
        let Some(map) = open.last_mut() else { return Ok(ObjectData::default()) };
        let Some((key, value)) = map.rest.next() else {
            // The map's values are known: make the map, and set the key that it stands at.
            let entries = std::mem::take(&mut map.entries);
            open.pop();
            let made = map_create(entries, ids, messages)?;
            let Some(parent) = open.last_mut() else { return Ok(made) };
            if let Some(key) = parent.key.take() {
                parent.entries.insert(key.clone(), entry(made)); // RTLMV4d2
            }
            continue;
        };
        let data = match value {
            LiveValue::Map(nested) => {
                map.key = Some(key);
                open.push(OpenMap::new(nested));
                continue;
            }
            LiveValue::Counter(counter) => counter_create(*counter, ids, messages)?, // RTLMV4d1
            LiveValue::Leaf(leaf) => checked(key, leaf)?,
        };
        map.entries.insert(key.clone(), entry(data));
    }
}

fn entry(data: ObjectData) -> ObjectsMapEntry {
    ObjectsMapEntry { data: Some(data), ..ObjectsMapEntry::default() }
}

/// The data of a leaf (RTLMV4d3 to RTLMV4d7).
fn checked(key: &str, leaf: &ObjectValue) -> Result<ObjectData, ErrorInfo> {
    match leaf {
        ObjectValue::Number(number) if !number.is_finite() => {
            Err(errors::unsupported(key, "the number is not finite"))
        }
        ObjectValue::Json(Value::Object(_) | Value::Array(_)) => Ok(leaf.clone().into()),
        ObjectValue::Json(_) => Err(errors::unsupported(
            key,
            "JSON must be an object or an array; remove a key for null",
        )),
        ObjectValue::Boolean(_)
        | ObjectValue::Bytes(_)
        | ObjectValue::Number(_)
        | ObjectValue::String(_) => Ok(leaf.clone().into()),
    }
}

/// Appends the message that makes a counter (RTLCV4). Returns a reference to it.
fn counter_create<R: FnMut() -> [u8; 16]>(
    counter: LiveCounter,
    ids: &mut NewIds<R>,
    messages: &mut Vec<ObjectMessage>,
) -> Result<ObjectData, ErrorInfo> {
    let count = counter.count();
    if !count.is_finite() {
        return Err(errors::not_finite("the count of a new counter", count));
    }
    let create = CounterCreate { count: Some(count) }; // RTLCV4b1
    let initial_value = json_text(&create)?;
    let (nonce, id) = ids.next(ObjectType::Counter, &initial_value);
    messages.push(message(Action::CounterCreate, &id, |operation| {
        operation.counter_create_with_object_id = Some(CounterCreateWithObjectId {
            initial_value,
            nonce,
            source: Some(create), // RTLCV4g5
        });
    }));
    Ok(ObjectData::reference(id))
}

/// Appends the message that makes a map (RTLMV4e to RTLMV4j). Returns a reference to it.
fn map_create<R: FnMut() -> [u8; 16]>(
    entries: BTreeMap<Str, ObjectsMapEntry>,
    ids: &mut NewIds<R>,
    messages: &mut Vec<ObjectMessage>,
) -> Result<ObjectData, ErrorInfo> {
    let create = MapCreate { semantics: Some(ObjectsMapSemantics::Lww), entries };
    let initial_value = json_text(&create)?; // RTLMV4f
    let (nonce, id) = ids.next(ObjectType::Map, &initial_value);
    messages.push(message(Action::MapCreate, &id, |operation| {
        operation.map_create_with_object_id = Some(MapCreateWithObjectId {
            initial_value,
            nonce,
            source: Some(create), // RTLMV4j5
        });
    }));
    Ok(ObjectData::reference(id))
}

fn json_text<T: serde::Serialize>(create: &T) -> Result<Str, ErrorInfo> {
    let text = serde_json::to_string(create);
    text.map(Str::from).map_err(|error| errors::unsupported("a new object", &error.to_string()))
}

#[cfg(test)]
mod tests;
