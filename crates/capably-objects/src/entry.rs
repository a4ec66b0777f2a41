//! The entries of a map, in little memory.

use bytes::Bytes;
use capably_protocol::{
    Millis, Str,
    object::{ObjectData, ObjectValue},
};
use serde_json::Value;

use crate::serial::Serial;

/// The place of an object in the pool.
///
/// An entry refers to an object by its place: an id takes some 60 bytes, and a search to follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(pub(crate) u32);

impl Place {
    /// The place of the root map.
    pub(crate) const ROOT: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An entry of a map (RTLM3a).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The serial of the last operation on the key; empty if the value comes from a create operation.
    pub(crate) serial: Serial,
    pub(crate) data: EntryData,
}

impl Entry {
    /// Whether an operation with this serial is later than the last one (RTLM9). No serial is the earliest, and equal to
    /// an empty one (RTLM9b to RTLM9d).
    pub(crate) fn is_before(&self, serial: Option<&str>) -> bool {
        serial.unwrap_or_default().as_bytes() > self.serial.as_bytes() // RTLM9a, RTLM9e
    }
}

/// The data of an entry.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EntryData {
    /// The key was removed, at this time in ms since the epoch (RTLM3a1).
    Removed(Millis),
    /// A value of no kind that this version knows; it reads as no value (RTLM5d2g).
    Empty,
    Boolean(bool),
    Number(f64),
    String(Str),
    Bytes(Bytes),
    Json(Box<Value>),
    /// A reference to an object, which may not exist (RTLM5d2f1).
    Reference(Place),
    /// A value with an encoding that could not be undone (OD2b). It is stored as it came.
    Encoded(Box<ObjectData>),
}

impl EntryData {
    /// Whether the key was removed (RTLM14a).
    pub(crate) fn is_removed(&self) -> bool {
        matches!(self, Self::Removed(_))
    }

    /// The object that the entry refers to.
    pub(crate) fn reference(&self) -> Option<Place> {
        match self {
            Self::Reference(place) => Some(*place),
            _ => None,
        }
    }

    /// The stored form of a leaf. Slices of a frame are copied: an entry lives long, and must not pin the frame.
    pub(crate) fn leaf(data: ObjectData) -> Self {
        let ObjectData { object_id, value, encoding } = data;
        if let Some(encoding) = encoding {
            let value = value.map(|value| match value {
                ObjectValue::String(text) => ObjectValue::String(text.into_unshared()),
                ObjectValue::Bytes(bytes) => ObjectValue::Bytes(Bytes::copy_from_slice(&bytes)),
                other => other,
            });
            let object_id = object_id.map(Str::into_unshared);
            let encoding = Some(encoding.into_unshared());
            return Self::Encoded(Box::new(ObjectData { object_id, value, encoding }));
        }
        match value {
            None => Self::Empty,
            Some(ObjectValue::Boolean(value)) => Self::Boolean(value),
            Some(ObjectValue::Number(value)) => Self::Number(value),
            Some(ObjectValue::String(text)) => Self::String(text.into_unshared()),
            Some(ObjectValue::Bytes(bytes)) => Self::Bytes(Bytes::copy_from_slice(&bytes)),
            Some(ObjectValue::Json(value)) => Self::Json(Box::new(value)),
        }
    }
}

/// The object that data refers to. A leaf beside the reference comes first (RTLM5d2b to RTLM5d2f).
pub(crate) fn reference_of(data: &ObjectData) -> Option<&Str> {
    data.object_id.as_ref().filter(|id| !id.is_empty() && data.value.is_none())
}
