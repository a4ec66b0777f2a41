//! Operations on objects (OOP).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ObjectData, ObjectsMapEntry, ObjectsMapSemantics, serialize_number, state::entries_size,
};
use crate::{
    Str, lenient,
    wire::{number_field, numbered},
};

/// An operation on an object (OOP3). Each action has a payload of its own; the others are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectOperation {
    /// The action (OOP3a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<ObjectOperationAction>,
    /// The object that it applies to (OOP3b).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_id: Option<Str>,
    /// Makes a map (OOP3j).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_create: Option<MapCreate>,
    /// Sets a key of a map (OOP3k).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_set: Option<MapSet>,
    /// Removes a key of a map (OOP3l).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_remove: Option<MapRemove>,
    /// Makes a counter (OOP3m).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_create: Option<CounterCreate>,
    /// Adds to a counter (OOP3n).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_inc: Option<CounterInc>,
    /// Deletes the object (OOP3o).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_delete: Option<ObjectDelete>,
    /// Makes a map whose id the client chose (OOP3p).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_create_with_object_id: Option<MapCreateWithObjectId>,
    /// Makes a counter whose id the client chose (OOP3q).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_create_with_object_id: Option<CounterCreateWithObjectId>,
    /// Removes every key of a map (OOP3r).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_clear: Option<MapClear>,
}

impl ObjectOperation {
    /// The size that counts against `maxMessageSize`, in bytes (OOP4).
    pub fn size(&self) -> usize {
        let map_create = self.map_create.as_ref().or_else(|| {
            self.map_create_with_object_id.as_ref().and_then(|create| create.source.as_ref())
        });
        let counter_create = self.counter_create.as_ref().or_else(|| {
            self.counter_create_with_object_id.as_ref().and_then(|create| create.source.as_ref())
        });
        map_create.map_or(0, |create| entries_size(&create.entries))
            + self.map_set.as_ref().map_or(0, |set| set.key.len() + set.value.size())
            + self.map_remove.as_ref().map_or(0, |remove| remove.key.len())
            + counter_create.and_then(|create| create.count).map_or(0, |_| 8)
            + self.counter_inc.as_ref().and_then(|inc| inc.number).map_or(0, |_| 8)
    }
}

numbered! {
    /// The action of an operation (OOP2).
    pub enum ObjectOperationAction {
        /// Makes a map (0).
        MapCreate = 0,
        /// Sets a key of a map (1).
        MapSet = 1,
        /// Removes a key of a map (2).
        MapRemove = 2,
        /// Makes a counter (3).
        CounterCreate = 3,
        /// Adds to a counter (4).
        CounterInc = 4,
        /// Deletes an object (5).
        ObjectDelete = 5,
        /// Removes every key of a map (6).
        MapClear = 6;
        /// One this version does not know, by its number; received, never to be sent (OOP2a).
        Unknown(u32),
    }
    /// The action with this number; an unknown number is kept.
    pub fn from_number;
}

number_field!(ObjectOperationAction);

/// The payload of MAP_CREATE (MCR2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapCreate {
    /// How conflicts are resolved (MCR2a).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantics: Option<ObjectsMapSemantics>,
    /// The first entries, by key (MCR2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub entries: BTreeMap<Str, ObjectsMapEntry>,
}

/// The payload of MAP_SET (MST2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapSet {
    /// The key to set (MST2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: Str,
    /// Its value (MST2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub value: ObjectData,
}

/// The payload of MAP_REMOVE (MRM2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapRemove {
    /// The key to remove (MRM2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub key: Str,
}

/// The payload of COUNTER_CREATE (CCR2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CounterCreate {
    /// The first value (CCR2a).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_number")]
    pub count: Option<f64>,
}

/// The payload of COUNTER_INC (CIN2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CounterInc {
    /// The number to add (CIN2a).
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_number")]
    pub number: Option<f64>,
}

/// The payload of OBJECT_DELETE: nothing (ODE2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectDelete {}

/// The payload of a MAP_CREATE whose object id the client chose (MCRO2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MapCreateWithObjectId {
    /// The JSON text of a [`MapCreate`] (MCRO2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub initial_value: Str,
    /// A random string that makes the id unique (MCRO2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub nonce: Str,
    /// The value of `initial_value`, for the size (OOP4h2); not on the wire.
    #[serde(skip)]
    pub source: Option<MapCreate>,
}

/// The payload of a COUNTER_CREATE whose object id the client chose (CCRO2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CounterCreateWithObjectId {
    /// The JSON text of a [`CounterCreate`] (CCRO2a).
    #[serde(deserialize_with = "lenient::or_default")]
    pub initial_value: Str,
    /// A random string that makes the id unique (CCRO2b).
    #[serde(deserialize_with = "lenient::or_default")]
    pub nonce: Str,
    /// The value of `initial_value`, for the size (OOP4k2); not on the wire.
    #[serde(skip)]
    pub source: Option<CounterCreate>,
}

/// The payload of MAP_CLEAR: nothing (MCL2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapClear {}
