//! Reading a pool: values, maps and counters (RTLM5, RTLM10 to RTLM13, RTLC5, RTPO3).

use std::fmt;

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Str, object::ObjectValue};
use serde_json::Value;

use crate::{
    Compact, ObjectsPool, Path,
    entry::{Entry, EntryData, Place},
    errors,
    object::{MapValue, Value as Stored},
};

/// A value in a pool: a leaf, a map or a counter (RTLM5d2).
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(f64),
    /// A string.
    String(&'a Str),
    /// Bytes.
    Bytes(&'a Bytes),
    /// A JSON object or array.
    Json(&'a Value),
    /// A map.
    Map(MapRef<'a>),
    /// A counter.
    Counter(CounterRef<'a>),
}

impl<'a> ValueRef<'a> {
    /// The leaf, or a counter's number (RTPO7c, RTPO7d); none for a map (RTPO7e).
    pub fn value(self) -> Option<ObjectValue> {
        Some(match self {
            Self::Boolean(value) => ObjectValue::Boolean(value),
            Self::Number(value) => ObjectValue::Number(value),
            Self::String(text) => ObjectValue::String(text.clone()),
            Self::Bytes(bytes) => ObjectValue::Bytes(bytes.clone()),
            Self::Json(value) => ObjectValue::Json(value.clone()),
            Self::Counter(counter) => ObjectValue::Number(counter.value()),
            Self::Map(_) => return None,
        })
    }

    /// The id of a map or counter (RTINS3).
    pub fn object_id(self) -> Option<&'a Str> {
        match self {
            Self::Map(map) => Some(map.id()),
            Self::Counter(counter) => Some(counter.id()),
            Self::Boolean(_)
            | Self::Number(_)
            | Self::String(_)
            | Self::Bytes(_)
            | Self::Json(_) => None,
        }
    }

    /// The value as a map, to read its keys; none if it is no map.
    pub fn as_map(self) -> Option<MapRef<'a>> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The value as a counter; none if it is no counter.
    pub fn as_counter(self) -> Option<CounterRef<'a>> {
        match self {
            Self::Counter(counter) => Some(counter),
            _ => None,
        }
    }

    /// The map, for an operation on it.
    ///
    /// # Errors
    /// Code 92007 if it is no map (RTPO15e, RTINS12d).
    pub fn require_map(self) -> Result<MapRef<'a>, ErrorInfo> {
        self.as_map().ok_or_else(|| errors::not_a("map", self.kind(), self.own_place()))
    }

    /// The counter, for an operation on it.
    ///
    /// # Errors
    /// Code 92007 if it is no counter (RTPO17e, RTINS14d).
    pub fn require_counter(self) -> Result<CounterRef<'a>, ErrorInfo> {
        self.as_counter().ok_or_else(|| errors::not_a("counter", self.kind(), self.own_place()))
    }

    /// The value with all that is below it (RTPO13).
    pub fn compact(self) -> Compact {
        Compact::of(self)
    }

    /// The value with all that is below it, as JSON (RTPO14).
    pub fn compact_json(self) -> Value {
        self.compact().to_json()
    }

    /// The object's id, for errors.
    fn own_place(self) -> errors::Place<'a> {
        self.object_id().map_or(errors::Place::Value, |id| errors::Place::Object(id))
    }

    /// The kind, for errors.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Boolean(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Bytes(_) => "value of bytes",
            Self::Json(_) => "JSON value",
            Self::Map(_) => "map",
            Self::Counter(_) => "counter",
        }
    }
}

/// A map in a pool.
#[derive(Clone, Copy)]
pub struct MapRef<'a> {
    pool: &'a ObjectsPool,
    pub(crate) place: Place,
    map: &'a MapValue,
}

impl<'a> MapRef<'a> {
    /// Its object id.
    pub fn id(self) -> &'a Str {
        self.pool.id(self.place)
    }

    /// The value of a key (RTLM5). None if there is none, or it was removed.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        self.map.entries.get(&Str::from(key)).and_then(|entry| self.pool.value(entry))
    }

    /// The keys, in order (RTLM12).
    pub fn keys(self) -> impl Iterator<Item = &'a Str> {
        self.present().map(|(key, _)| key)
    }

    /// The keys and their values, in the order of the keys (RTLM11). A value is none if the key refers to an object that is
    /// not known (RTLM11d3a).
    pub fn entries(self) -> impl Iterator<Item = (&'a Str, Option<ValueRef<'a>>)> {
        self.present().map(move |(key, entry)| (key, self.pool.value(entry)))
    }

    /// The number of keys (RTLM10d).
    pub fn len(self) -> usize {
        self.present().count()
    }

    /// Whether it has no keys.
    pub fn is_empty(self) -> bool {
        self.present().next().is_none()
    }

    /// The entries that are not removed (RTLM11d1).
    fn present(self) -> impl Iterator<Item = (&'a Str, &'a Entry)> {
        self.map.entries.iter().filter(move |(_, entry)| !self.pool.is_removed(entry))
    }
}

impl fmt::Debug for MapRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the values: references can form a cycle.
        f.debug_struct("MapRef").field("id", self.id()).field("len", &self.len()).finish()
    }
}

/// A counter in a pool.
#[derive(Clone, Copy)]
pub struct CounterRef<'a> {
    pool: &'a ObjectsPool,
    place: Place,
    data: f64,
}

impl<'a> CounterRef<'a> {
    /// Its object id.
    pub fn id(self) -> &'a Str {
        self.pool.id(self.place)
    }

    /// Its number (RTLC5c).
    pub fn value(self) -> f64 {
        self.data
    }
}

impl fmt::Debug for CounterRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CounterRef").field("id", self.id()).field("value", &self.data).finish()
    }
}

impl ObjectsPool {
    /// The root map (RTO3b).
    pub fn root(&self) -> MapRef<'_> {
        match self.object_at(Place::ROOT) {
            Some(ValueRef::Map(root)) => root,
            // The pool always has a map at the root's place.
            _ => unreachable!("the root is a map from the start, and neither removed nor replaced"),
        }
    }

    /// The object with this id (RTINS2). None if it does not exist. A deleted map is empty, a deleted counter 0.
    pub fn object(&self, object_id: &str) -> Option<ValueRef<'_>> {
        self.object_at(self.place(object_id)?)
    }

    /// The object with this id, for an operation on it.
    ///
    /// # Errors
    /// Code 92004 if it does not exist.
    pub fn require_object(&self, object_id: &str) -> Result<ValueRef<'_>, ErrorInfo> {
        self.object(object_id).ok_or_else(|| errors::no_object(object_id))
    }

    /// The value at a path (RTPO3). None if there is none (RTPO3c1).
    pub fn resolve(&self, path: &Path) -> Option<ValueRef<'_>> {
        let mut value = ValueRef::Map(self.root()); // RTPO3b
        for key in path.keys() {
            value = value.as_map()?.get(key)?; // RTPO3a1, RTPO3a2
        }
        Some(value)
    }

    /// The value at a path, for an operation on it.
    ///
    /// # Errors
    /// Code 92005 if there is none (RTPO3c2).
    pub fn require(&self, path: &Path) -> Result<ValueRef<'_>, ErrorInfo> {
        self.resolve(path).ok_or_else(|| errors::no_value_at(path))
    }

    pub(crate) fn object_at(&self, place: Place) -> Option<ValueRef<'_>> {
        Some(match &self.get(place)?.value {
            Stored::Map(map) => ValueRef::Map(MapRef { pool: self, place, map }),
            Stored::Counter(counter) => {
                ValueRef::Counter(CounterRef { pool: self, place, data: counter.data })
            }
        })
    }

    /// Whether an entry counts as removed: it is, or its object is deleted (RTLM14).
    fn is_removed(&self, entry: &Entry) -> bool {
        match &entry.data {
            EntryData::Removed(_) => true, // RTLM14a
            EntryData::Reference(place) => {
                self.get(*place).is_some_and(|object| object.is_tombstone()) // RTLM14c
            }
            _ => false, // RTLM14b
        }
    }

    /// The value of an entry (RTLM5d2).
    fn value<'a>(&'a self, entry: &'a Entry) -> Option<ValueRef<'a>> {
        if self.is_removed(entry) {
            return None; // RTLM5d2h
        }
        match &entry.data {
            EntryData::Boolean(value) => Some(ValueRef::Boolean(*value)),
            EntryData::Bytes(bytes) => Some(ValueRef::Bytes(bytes)),
            EntryData::Number(value) => Some(ValueRef::Number(*value)),
            EntryData::String(text) => Some(ValueRef::String(text)),
            EntryData::Json(value) => Some(ValueRef::Json(value)),
            EntryData::Reference(place) => self.object_at(*place), // RTLM5d2f
            EntryData::Encoded(data) => match &data.value {
                Some(ObjectValue::Boolean(value)) => Some(ValueRef::Boolean(*value)),
                Some(ObjectValue::Bytes(bytes)) => Some(ValueRef::Bytes(bytes)),
                Some(ObjectValue::Number(value)) => Some(ValueRef::Number(*value)),
                Some(ObjectValue::String(text)) => Some(ValueRef::String(text)),
                Some(ObjectValue::Json(value)) => Some(ValueRef::Json(value)),
                None => None,
            },
            EntryData::Empty | EntryData::Removed(_) => None, // RTLM5d2g
        }
    }
}

#[cfg(test)]
mod tests;
