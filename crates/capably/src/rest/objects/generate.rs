//! New objects, and their ids.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use capably_objects::{LiveCounter, LiveMap, NewIds, ObjectId, ObjectType, ROOT, set};
use capably_protocol::{
    ErrorCode, Millis, Str,
    object::{
        CounterCreate, CounterCreateWithObjectId, MapCreate, MapCreateWithObjectId, ObjectData,
        ObjectOperation, ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use serde::Serialize;

use super::operation::{Content, RestObjectValue, RestOperation, empty_id};
use crate::{
    Error, Result,
    auth::service_time,
    random,
    rest::{channel::RestChannel, query::wrong},
};

/// A new object: from a [`LiveMap`], a [`LiveCounter`], or [a map](Self::map) that refers to objects that exist.
#[derive(Clone, Debug, PartialEq)]
pub struct NewObject(Blueprint);

#[derive(Clone, Debug, PartialEq)]
enum Blueprint {
    Map(Vec<(Str, RestObjectValue)>),
    Counter(LiveCounter),
}

impl NewObject {
    /// A map with these entries, some of which may refer to objects that exist.
    ///
    /// ```
    /// use capably::rest::objects::{NewObject, RestObjectValue};
    ///
    /// # let (author, likes) = ("map:a@1", "counter:b@1");
    /// let post = NewObject::map([
    ///     ("title", RestObjectValue::from("Tea")),
    ///     ("author", RestObjectValue::reference(author)),
    ///     ("likes", RestObjectValue::reference(likes)),
    /// ]);
    /// ```
    pub fn map<K: Into<Str>, V: Into<RestObjectValue>>(
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into()));
        Self(Blueprint::Map(entries.collect()))
    }

    /// Whether there are new objects within it.
    pub(super) fn has_objects(&self) -> bool {
        match &self.0 {
            Blueprint::Map(entries) => entries.iter().any(|(_, value)| value.makes_objects()),
            Blueprint::Counter(_) => false,
        }
    }
}

impl From<LiveMap> for NewObject {
    fn from(map: LiveMap) -> Self {
        Self::map(map.entries().iter().map(|(key, value)| (key.clone(), value.clone())))
    }
}

impl From<LiveCounter> for NewObject {
    fn from(counter: LiveCounter) -> Self {
        Self(Blueprint::Counter(counter))
    }
}

/// A new object with its id, before it is made, from [`RestObjects::generate_id`](super::RestObjects::generate_id).
///
/// [`RestObjects::create_with_id`](super::RestObjects::create_with_id) makes the object. Before that, changes of the same
/// batch can refer to it.
#[derive(Clone)]
pub struct GeneratedObject {
    object_id: Str,
    nonce: Str,
    initial_value: Str,
    /// Those of the objects within it, and then its own.
    operations: Vec<RestOperation>,
}

impl GeneratedObject {
    /// The id.
    pub fn object_id(&self) -> &Str {
        &self.object_id
    }

    /// The random text from which the id was made.
    pub fn nonce(&self) -> &Str {
        &self.nonce
    }

    /// The JSON text of the object's first value, from which the id was made.
    pub fn initial_value(&self) -> &Str {
        &self.initial_value
    }

    pub(super) fn operations(&self) -> &[RestOperation] {
        &self.operations
    }
}

impl fmt::Debug for GeneratedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedObject")
            .field("object_id", &self.object_id)
            .field("nonce", &self.nonce)
            .field("initial_value", &self.initial_value)
            .finish_non_exhaustive()
    }
}

/// Generates the id of an object, and of those within it.
pub(super) async fn generate(channel: &RestChannel, object: NewObject) -> Result<GeneratedObject> {
    // An object that cannot be made asks the service for nothing.
    with_id(&object, &mut NewObjects::trial())?;
    let mut new = NewObjects::at(service_time(channel.pipeline(), true).await?);
    let generated = with_id(&object, &mut new)?;
    new.finish()?;
    Ok(generated)
}

fn with_id(object: &NewObject, new: &mut NewObjects) -> Result<GeneratedObject> {
    let mut operations = Vec::new();
    let (object_id, initial_value, nonce, operation) = match &object.0 {
        Blueprint::Map(entries) => {
            let source = map_create(entries, new, &mut operations)?;
            let initial_value = json_text(&source)?;
            let (object_id, nonce) = new.id(ObjectType::Map, &initial_value);
            let create = MapCreateWithObjectId {
                initial_value: initial_value.clone(),
                nonce: nonce.clone(),
                source: Some(source),
            };
            let map_create_with_object_id = Some(create);
            let operation =
                ObjectOperation { map_create_with_object_id, ..ObjectOperation::default() };
            (object_id, initial_value, nonce, operation)
        }
        Blueprint::Counter(counter) => {
            let source = counter_create(*counter)?;
            let initial_value = json_text(&source)?;
            let (object_id, nonce) = new.id(ObjectType::Counter, &initial_value);
            let create = CounterCreateWithObjectId {
                initial_value: initial_value.clone(),
                nonce: nonce.clone(),
                source: Some(source),
            };
            let counter_create_with_object_id = Some(create);
            let operation =
                ObjectOperation { counter_create_with_object_id, ..ObjectOperation::default() };
            (object_id, initial_value, nonce, operation)
        }
    };
    let operation = ObjectOperation { object_id: Some(object_id.clone()), ..operation };
    operations.push(RestOperation::new(operation));
    Ok(GeneratedObject { object_id, nonce, initial_value, operations })
}

/// The operation that makes an object, whose id the service chooses. Those of the objects within it are appended.
pub(super) fn plain(
    object: &NewObject,
    new: &mut NewObjects,
    to: &mut Vec<RestOperation>,
) -> Result<RestOperation> {
    let mut operation = ObjectOperation::default();
    match &object.0 {
        Blueprint::Map(entries) => operation.map_create = Some(map_create(entries, new, to)?),
        Blueprint::Counter(counter) => operation.counter_create = Some(counter_create(*counter)?),
    }
    Ok(RestOperation::new(operation))
}

fn map_create(
    entries: &[(Str, RestObjectValue)],
    new: &mut NewObjects,
    to: &mut Vec<RestOperation>,
) -> Result<MapCreate> {
    let entries = entries.iter().map(|(key, value)| {
        let data = Some(new.data(key, value, to)?);
        Ok((key.clone(), ObjectsMapEntry { data, ..ObjectsMapEntry::default() }))
    });
    let entries = entries.collect::<Result<_>>()?;
    Ok(MapCreate { semantics: Some(ObjectsMapSemantics::Lww), entries })
}

fn counter_create(counter: LiveCounter) -> Result<CounterCreate> {
    let count = counter.count();
    if !count.is_finite() {
        let message =
            format!("the count of a new counter must be a finite number, and this is {count}");
        return Err(wrong(message));
    }
    Ok(CounterCreate { count: Some(count) })
}

fn json_text<T: Serialize>(create: &T) -> Result<Str> {
    serde_json::to_string(create).map(Str::from).map_err(|error| {
        Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, "the new object has no JSON form")
            .with_source(error)
    })
}

/// The inputs of new ids: the service's time and random bytes.
pub(super) struct NewObjects {
    now: Millis,
    is_trial: bool,
    failure: Option<Error>,
}

impl NewObjects {
    /// For ids that are sent, at the service's time in ms since the epoch.
    pub(super) fn at(now: Millis) -> Self {
        Self { now, is_trial: false, failure: None }
    }

    /// For ids that are thrown away, to find errors.
    pub(super) fn trial() -> Self {
        Self { now: 0, is_trial: true, failure: None }
    }

    /// Checks that all ids are random.
    ///
    /// # Errors
    /// Code 50000 when the system provides no random bytes.
    pub(super) fn finish(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }

    /// The data that stands for a value of a map. The operations that make its objects are appended.
    ///
    /// # Errors
    /// Code 40003 for an empty id, and for a number that is not finite; 40013 for a value that cannot be stored.
    pub(super) fn data(
        &mut self,
        key: &Str,
        value: &RestObjectValue,
        to: &mut Vec<RestOperation>,
    ) -> Result<ObjectData> {
        let value = match &value.0 {
            Content::Reference(id) if id.is_empty() => return Err(empty_id()),
            Content::Reference(id) => return Ok(ObjectData::reference(id.clone())),
            Content::Live(value) => value.clone(),
        };
        let mut ids = NewIds::new(self.now, || self.bytes());
        let mut messages = set(ROOT, key.clone(), value, &mut ids)?;
        // The last message sets the key.
        let last = messages.pop().and_then(|message| message.operation);
        let data = last.and_then(|operation| operation.map_set).unwrap_or_default().value;
        to.extend(messages.into_iter().map(RestOperation::of));
        Ok(data)
    }

    /// An id for an object with this initial value, and its nonce.
    fn id(&mut self, object_type: ObjectType, initial_value: &str) -> (Str, Str) {
        let nonce = BASE64_URL_SAFE_NO_PAD.encode(self.bytes());
        let id = ObjectId::generate(object_type, initial_value, &nonce, self.now);
        (Str::from(&id), nonce.into())
    }

    fn bytes(&mut self) -> [u8; 16] {
        if self.is_trial {
            return [0; 16];
        }
        random::bytes().unwrap_or_else(|error| {
            self.failure = Some(error);
            [0; 16]
        })
    }
}
