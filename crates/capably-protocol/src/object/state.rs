//! The state of objects, as a sync transfers it (OST).

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};

use super::{ObjectData, ObjectOperation, serialize_number};
use crate::{
    Millis, Str,
    lenient::{self, Integer, float_to_integer},
    wire::numbered,
};

/// The state of an object (OST2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectState {
    /// The object (OST2a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_id: Option<Str>,
    /// The serial of the last operation applied, by site (OST2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub site_timeserials: BTreeMap<Str, Str>,
    /// Whether the object is deleted (OST2c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstone: Option<bool>,
    /// The operation that made it, with its initial value (OST2d).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_op: Option<ObjectOperation>,
    /// The map after all operations, without its initial value (OST2e).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<ObjectsMap>,
    /// The counter after all operations, without its initial value (OST2f).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<ObjectsCounter>,
}

impl ObjectState {
    /// The size that counts against `maxMessageSize`, in bytes (OST3).
    pub fn size(&self) -> usize {
        self.map.as_ref().map_or(0, |map| entries_size(&map.entries))
            + self.counter.and_then(|counter| counter.count).map_or(0, |_| 8)
            + self.create_op.as_ref().map_or(0, ObjectOperation::size)
    }
}

/// A map (OMP3).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectsMap {
    /// How conflicts are resolved (OMP3a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantics: Option<ObjectsMapSemantics>,
    /// The entries, by key (OMP3b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub entries: BTreeMap<Str, ObjectsMapEntry>,
    /// The serial of the last MAP_CLEAR (OMP3c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_timeserial: Option<Str>,
}

/// An entry of a map (OME2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectsMapEntry {
    /// Whether the key was removed (OME2a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tombstone: Option<bool>,
    /// The serial of the last operation on the key (OME2b).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeserial: Option<Str>,
    /// When that serial was made, in ms since the epoch; only with a tombstone (OME2d).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::integer")]
    pub serial_timestamp: Option<Millis>,
    /// The value (OME2c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<ObjectData>,
}

/// The size of a map's entries with their keys, in bytes (OMP4, MCR3).
pub(super) fn entries_size(entries: &BTreeMap<Str, ObjectsMapEntry>) -> usize {
    let data = |entry: &ObjectsMapEntry| entry.data.as_ref().map_or(0, ObjectData::size);
    entries.iter().map(|(key, entry)| key.len() + data(entry)).sum()
}

/// A counter (OCN2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectsCounter {
    /// Its value (OCN2a).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_number")]
    pub count: Option<f64>,
}

numbered! {
    /// How a map resolves conflicts (OMP2).
    pub enum ObjectsMapSemantics {
        /// The last write wins (0).
        Lww = 0;
        /// One this version does not know, by its number; received, never to be sent (OMP2a).
        Unknown(u32),
    }
    /// The semantics with this number; an unknown number is kept.
    pub fn from_number;
}

impl<'de> Deserialize<'de> for ObjectsMapSemantics {
    /// Reads the number, or the name that the REST interface uses.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct NumberOrName;

        impl Visitor<'_> for NumberOrName {
            type Value = ObjectsMapSemantics;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("map semantics")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
                let number = u32::from_wire(value.into()).unwrap_or(u32::MAX);
                Ok(ObjectsMapSemantics::from_number(number))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
                let number = u32::from_wire(value.into()).unwrap_or(u32::MAX);
                Ok(ObjectsMapSemantics::from_number(number))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
                let number = float_to_integer(value).and_then(u32::from_wire).unwrap_or(u32::MAX);
                Ok(ObjectsMapSemantics::from_number(number))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                let lww = name.eq_ignore_ascii_case("lww");
                Ok(if lww {
                    ObjectsMapSemantics::Lww
                } else {
                    ObjectsMapSemantics::Unknown(u32::MAX)
                })
            }
        }

        d.deserialize_any(NumberOrName)
    }
}
