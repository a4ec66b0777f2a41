//! Objects as a reply describes them, with ids and types.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use capably_objects::Path;
use capably_protocol::{
    Str,
    object::{ObjectData, ObjectValue, ObjectsMapSemantics},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Number, Value};

use crate::{
    Result,
    typed::{self, Shape, Shaped},
};

/// A value with all that is below it, at one moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RestObject {
    /// A map.
    Map(RestMap),
    /// A counter.
    Counter(RestCounter),
    /// A leaf.
    Leaf(ObjectValue),
    /// An object by its id only: a map that contains this place, a map that is too deep to show, or an object of a type that
    /// this version does not know.
    Reference(Str),
    /// A leaf of a type that this version does not know.
    Unknown,
}

/// A map with its entries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RestMap {
    /// The id of the object.
    pub object_id: Str,
    /// How the map resolves conflicts.
    pub semantics: ObjectsMapSemantics,
    /// The values by key.
    pub entries: BTreeMap<Str, RestObject>,
}

/// A counter with its number.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RestCounter {
    /// The id of the object.
    pub object_id: Str,
    /// The number.
    pub count: f64,
}

impl RestObject {
    /// The id; `None` for a leaf.
    pub fn object_id(&self) -> Option<&Str> {
        match self {
            Self::Map(map) => Some(&map.object_id),
            Self::Counter(counter) => Some(&counter.object_id),
            Self::Reference(id) => Some(id),
            Self::Leaf(_) | Self::Unknown => None,
        }
    }

    /// The leaf or the counter's number; `None` for a map, and for what the reply does not describe.
    pub fn value(&self) -> Option<ObjectValue> {
        match self {
            Self::Leaf(value) => Some(value.clone()),
            Self::Counter(counter) => Some(ObjectValue::Number(counter.count)),
            Self::Map(_) | Self::Reference(_) | Self::Unknown => None,
        }
    }

    /// The value of a key of the map; `None` if there is none, or this is no map.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(map) => map.entries.get(key),
            Self::Counter(_) | Self::Leaf(_) | Self::Reference(_) | Self::Unknown => None,
        }
    }

    /// The value at a path below this one, such as `votes.tea`; `None` if there is none.
    pub fn at(&self, path: &str) -> Option<&Self> {
        Path::parse(path).keys().iter().try_fold(self, |value, key| value.get(key))
    }

    /// The value with all that is below it, as a type of the program. Maps are read as structs or maps, counters as numbers.
    ///
    /// # Errors
    /// Code 40013 if the value is not of this type.
    pub fn read_as<T: DeserializeOwned>(&self) -> Result<T> {
        typed::read(self)
    }

    /// The value with all that is below it, as JSON: bytes as base64, a JSON leaf as itself, and a reference as its
    /// `objectId`. A number that JSON cannot write becomes null, and so does an unknown leaf.
    pub fn compact_json(&self) -> Value {
        match self {
            Self::Map(map) => {
                let entry = |(key, value): (&Str, &Self)| (key.to_string(), value.compact_json());
                Value::Object(map.entries.iter().map(entry).collect())
            }
            Self::Counter(counter) => number_json(counter.count),
            Self::Leaf(ObjectValue::Boolean(value)) => Value::Bool(*value),
            Self::Leaf(ObjectValue::Bytes(bytes)) => bytes_json(bytes),
            Self::Leaf(ObjectValue::Number(number)) => number_json(*number),
            Self::Leaf(ObjectValue::String(text)) => Value::String(text.to_string()),
            Self::Leaf(ObjectValue::Json(value)) => value.clone(),
            Self::Reference(id) => {
                Value::Object(Map::from_iter([("objectId".to_owned(), id.as_str().into())]))
            }
            Self::Unknown => Value::Null,
        }
    }
}

impl Shaped for &RestObject {
    fn shape(self) -> Shape<Self> {
        match self {
            RestObject::Map(map) => Shape::Map(
                map.entries.iter().map(|(key, value)| (key.to_string(), value)).collect(),
            ),
            RestObject::Counter(counter) => Shape::Leaf(ObjectValue::Number(counter.count)),
            RestObject::Leaf(leaf) => Shape::Leaf(leaf.clone()),
            RestObject::Reference(id) => Shape::Reference(id.clone()),
            RestObject::Unknown => Shape::Unknown,
        }
    }
}

pub(super) fn bytes_json(bytes: &Bytes) -> Value {
    Value::String(BASE64_STANDARD.encode(bytes))
}

/// A number without a fraction as an integer, as people expect it of JSON.
fn number_json(number: f64) -> Value {
    match typed::whole(number) {
        Some(whole) => whole.into(),
        None => Number::from_f64(number).map_or(Value::Null, Value::Number),
    }
}

/// A value in a reply. Its fields tell what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    map: Option<MapFields>,
    counter: Option<CounterFields>,
    #[serde(flatten)]
    data: ObjectData,
}

#[derive(Deserialize)]
struct MapFields {
    semantics: Option<ObjectsMapSemantics>,
    entries: Option<BTreeMap<Str, EntryFields>>,
}

#[derive(Deserialize)]
struct EntryFields {
    data: RestObject,
}

#[derive(Deserialize)]
struct CounterFields {
    data: Option<CounterData>,
}

#[derive(Deserialize)]
struct CounterData {
    number: Option<f64>,
}

impl<'de> Deserialize<'de> for RestObject {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Fields { map, counter, data } = Fields::deserialize(d)?;
        let id = || data.object_id.clone().ok_or_else(|| D::Error::missing_field("objectId"));
        if let Some(map) = map {
            let entries = map.entries.unwrap_or_default().into_iter();
            return Ok(Self::Map(RestMap {
                object_id: id()?,
                semantics: map.semantics.unwrap_or(ObjectsMapSemantics::Lww),
                entries: entries.map(|(key, entry)| (key, entry.data)).collect(),
            }));
        }
        if let Some(counter) = counter {
            let count = counter.data.and_then(|data| data.number).unwrap_or_default();
            return Ok(Self::Counter(RestCounter { object_id: id()?, count }));
        }
        Ok(match data {
            ObjectData { value: Some(value), .. } => Self::Leaf(value),
            ObjectData { object_id: Some(id), .. } => Self::Reference(id),
            ObjectData { .. } => Self::Unknown,
        })
    }
}
