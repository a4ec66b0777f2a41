//! Operations on objects (OOP).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ObjectData, ObjectsMapEntry, ObjectsMapSemantics, state::entries_size};
use crate::{
    Str, lenient,
    wire::{number_field, numbered, wire},
};

wire! {
    /// An operation on an object (OOP3). Each action has a payload of its own; the others are absent.
    #[derive(Clone, Default, PartialEq)]
    pub struct ObjectOperation: Direct {
        /// The action (OOP3a).
        pub action: Option<ObjectOperationAction> = "action";
        /// The object that it applies to (OOP3b).
        pub object_id: Option<Str> = "objectId";
        /// Makes a map (OOP3j).
        pub map_create: Option<MapCreate> = "mapCreate";
        /// Sets a key of a map (OOP3k).
        pub map_set: Option<MapSet> = "mapSet";
        /// Removes a key of a map (OOP3l).
        pub map_remove: Option<MapRemove> = "mapRemove";
        /// Makes a counter (OOP3m).
        pub counter_create: Option<CounterCreate> = "counterCreate";
        /// Adds to a counter (OOP3n).
        pub counter_inc: Option<CounterInc> = "counterInc";
        /// Deletes the object (OOP3o).
        pub object_delete: Option<ObjectDelete> = "objectDelete";
        /// Makes a map whose id the client chose (OOP3p).
        pub map_create_with_object_id: Option<MapCreateWithObjectId> = "mapCreateWithObjectId";
        /// Makes a counter whose id the client chose (OOP3q).
        pub counter_create_with_object_id: Option<CounterCreateWithObjectId> = "counterCreateWithObjectId";
        /// Removes every key of a map (OOP3r).
        pub map_clear: Option<MapClear> = "mapClear";
    }
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

wire! {
    /// The payload of MAP_CREATE (MCR2).
    #[derive(Clone, Default, PartialEq)]
    pub struct MapCreate: Direct {
        /// How conflicts are resolved (MCR2a).
        pub semantics: Option<ObjectsMapSemantics> = "semantics";
        /// The first entries, by key (MCR2b).
        pub entries: BTreeMap<Str, ObjectsMapEntry> = "entries";
    }
}

wire! {
    /// The payload of MAP_SET (MST2).
    #[derive(Clone, Default, PartialEq)]
    pub struct MapSet: Direct {
        /// The key to set (MST2a).
        pub key: Str = "key";
        /// Its value (MST2b).
        pub value: ObjectData = "value";
    }
}

wire! {
    /// The payload of MAP_REMOVE (MRM2).
    #[derive(Clone, Default, PartialEq, Eq)]
    pub struct MapRemove: Direct {
        /// The key to remove (MRM2a).
        pub key: Str = "key";
    }
}

wire! {
    /// The payload of COUNTER_CREATE (CCR2).
    #[derive(Clone, Copy, Default, PartialEq)]
    pub struct CounterCreate: Direct {
        /// The first value (CCR2a).
        pub count: Option<f64> = "count";
    }
}

wire! {
    /// The payload of COUNTER_INC (CIN2).
    #[derive(Clone, Copy, Default, PartialEq)]
    pub struct CounterInc: Direct {
        /// The number to add (CIN2a).
        pub number: Option<f64> = "number";
    }
}

wire! {
    /// The payload of OBJECT_DELETE: nothing (ODE2).
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct ObjectDelete: Direct {}
}

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

wire! {
    /// The payload of MAP_CLEAR: nothing (MCL2).
    #[derive(Clone, Copy, Default, PartialEq, Eq)]
    pub struct MapClear: Direct {}
}
