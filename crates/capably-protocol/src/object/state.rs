//! The state of objects, as a sync transfers it (OST).

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

use super::{ObjectData, ObjectOperation};
use crate::{
    Millis, Str,
    lenient::{Integer, float_to_integer},
    wire::{numbered, wire},
};

wire! {
    /// The state of an object (OST2).
    #[derive(Clone, Default, PartialEq)]
    pub struct ObjectState: Direct {
        /// The object (OST2a).
        pub object_id: Option<Str> = "objectId";
        /// The serial of the last operation applied, by site (OST2b).
        pub site_timeserials: BTreeMap<Str, Str> = "siteTimeserials";
        /// Whether the object is deleted (OST2c).
        pub tombstone: Option<bool> = "tombstone";
        /// The operation that made it, with its initial value (OST2d).
        pub create_op: Option<ObjectOperation> = "createOp";
        /// The map after all operations, without its initial value (OST2e).
        pub map: Option<ObjectsMap> = "map";
        /// The counter after all operations, without its initial value (OST2f).
        pub counter: Option<ObjectsCounter> = "counter";
    }
}

impl ObjectState {
    /// The size that counts against `maxMessageSize`, in bytes (OST3).
    pub fn size(&self) -> usize {
        self.map.as_ref().map_or(0, |map| entries_size(&map.entries))
            + self.counter.and_then(|counter| counter.count).map_or(0, |_| 8)
            + self.create_op.as_ref().map_or(0, ObjectOperation::size)
    }
}

wire! {
    /// A map (OMP3).
    #[derive(Clone, Default, PartialEq)]
    pub struct ObjectsMap: Direct {
        /// How conflicts are resolved (OMP3a).
        pub semantics: Option<ObjectsMapSemantics> = "semantics";
        /// The entries, by key (OMP3b).
        pub entries: BTreeMap<Str, ObjectsMapEntry> = "entries";
        /// The serial of the last MAP_CLEAR (OMP3c).
        pub clear_timeserial: Option<Str> = "clearTimeserial";
    }
}

wire! {
    /// An entry of a map (OME2).
    #[derive(Clone, Default, PartialEq)]
    pub struct ObjectsMapEntry: Direct {
        /// Whether the key was removed (OME2a).
        pub tombstone: Option<bool> = "tombstone";
        /// The serial of the last operation on the key (OME2b).
        pub timeserial: Option<Str> = "timeserial";
        /// When that serial was made, in ms since the epoch; only with a tombstone (OME2d).
        pub serial_timestamp: Option<Millis> = "serialTimestamp";
        /// The value (OME2c).
        pub data: Option<ObjectData> = "data";
    }
}

/// The size of a map's entries with their keys, in bytes (OMP4, MCR3).
pub(super) fn entries_size(entries: &BTreeMap<Str, ObjectsMapEntry>) -> usize {
    let data = |entry: &ObjectsMapEntry| entry.data.as_ref().map_or(0, ObjectData::size);
    entries.iter().map(|(key, entry)| key.len() + data(entry)).sum()
}

wire! {
    /// A counter (OCN2).
    #[derive(Clone, Copy, Default, PartialEq)]
    pub struct ObjectsCounter: Direct {
        /// Its value (OCN2a).
        pub count: Option<f64> = "count";
    }
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

impl ObjectsMapSemantics {
    pub(crate) fn from_integer(number: i128) -> Self {
        Self::from_number(u32::from_wire(number).unwrap_or(u32::MAX))
    }

    pub(crate) fn from_float(number: f64) -> Self {
        float_to_integer(number).map_or(Self::Unknown(u32::MAX), Self::from_integer)
    }

    /// The semantics with the name that the REST interface uses.
    pub(crate) fn from_name(name: &str) -> Self {
        if name.eq_ignore_ascii_case("lww") { Self::Lww } else { Self::Unknown(u32::MAX) }
    }
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

            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(ObjectsMapSemantics::from_integer(number.into()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                Ok(ObjectsMapSemantics::from_integer(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
                Ok(ObjectsMapSemantics::from_float(number))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(ObjectsMapSemantics::from_name(name))
            }
        }

        d.deserialize_any(NumberOrName)
    }
}
