//! An object: its sites' serials, whether it is deleted, and its value (RTLO).

use capably_protocol::{Millis, Str};

use crate::{ObjectType, entry::Entry, sites::Sites, sorted::SortedMap};

/// An object that exists.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// The serial of the last operation applied, by site (RTLO3b).
    pub(crate) sites: Sites,
    /// When the object was deleted, in ms since the epoch (RTLO3d, RTLO3e).
    pub(crate) tombstoned_at: Option<Millis>,
    pub(crate) value: Value,
}

/// The value of an object.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Boxed, so that a counter does not take the memory of a map.
    Map(Box<MapValue>),
    Counter(CounterValue),
}

/// The value of a map (RTLM3, RTLM25). Its semantics are always LWW: there are no others, and no other could be sent
/// (RTLM4b, OMP2a).
#[derive(Clone, Debug, Default)]
pub(crate) struct MapValue {
    pub(crate) entries: SortedMap<Str, Entry>,
    /// The serial of the last MAP_CLEAR (RTLM25).
    pub(crate) cleared: Option<Box<str>>,
    /// Whether the create operation was merged (RTLO3c).
    pub(crate) created: bool,
}

/// The value of a counter (RTLC3).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CounterValue {
    /// The sum of the initial value and all increments.
    pub(crate) data: f64,
    /// The initial value, once the create operation was merged (RTLO3c). States list it on its own (OST2d).
    pub(crate) initial: Option<f64>,
}

impl MapValue {
    /// Whether an operation on a key with this serial comes after the last clear (RTLM7h, RTLM8g).
    pub(crate) fn is_after_clear(&self, serial: Option<&str>) -> bool {
        self.cleared.as_deref().is_none_or(|cleared| serial.unwrap_or_default() > cleared)
    }

    /// Whether an operation with this serial may change the key.
    pub(crate) fn accepts(&self, key: &Str, serial: Option<&str>) -> bool {
        self.is_after_clear(serial)
            && self.entries.get(key).is_none_or(|entry| entry.is_before(serial))
    }
}

impl Object {
    /// An object without any operation (RTLC4, RTLM4, RTLO3).
    pub(crate) fn empty(object_type: ObjectType) -> Self {
        let value = match object_type {
            ObjectType::Map => Value::Map(Box::default()),
            ObjectType::Counter => Value::Counter(CounterValue::default()),
        };
        Self { sites: Sites::default(), tombstoned_at: None, value }
    }

    pub(crate) fn object_type(&self) -> ObjectType {
        match self.value {
            Value::Map(_) => ObjectType::Map,
            Value::Counter(_) => ObjectType::Counter,
        }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.tombstoned_at.is_some()
    }

    pub(crate) fn map(&self) -> Option<&MapValue> {
        match &self.value {
            Value::Map(map) => Some(map),
            Value::Counter(_) => None,
        }
    }

    pub(crate) fn map_mut(&mut self) -> Option<&mut MapValue> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            Value::Counter(_) => None,
        }
    }

    /// Whether an operation of this site with this serial is new to the object (RTLO4a).
    pub(crate) fn is_newer(&self, site: &str, serial: &str) -> bool {
        // An empty stored serial is less than any other (RTLO4a5). A site's serials are in lexicographic order (RTLO4a6).
        self.sites.get(site).is_none_or(|last| serial > last)
    }
}
