//! Values to store, and blueprints of new objects (RTLCV, RTLMV).

use std::{collections::BTreeMap, mem, sync::Arc};

use bytes::Bytes;
use capably_protocol::{Str, object::ObjectValue};
use serde_json::Value;

/// A value for a key of a map: a leaf, or the blueprint of a new object (RTLM20a3).
///
/// ```
/// use capably_objects::{LiveCounter, LiveMap, LiveValue};
///
/// let poll = LiveMap::from_iter([
///     ("question", LiveValue::from("Tea or coffee?")),
///     ("tea", LiveCounter::new(0.0).into()),
///     ("coffee", LiveCounter::new(0.0).into()),
/// ]);
/// assert!(matches!(LiveValue::from(poll), LiveValue::Map(_)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum LiveValue {
    /// A leaf.
    Leaf(ObjectValue),
    /// A new map.
    Map(LiveMap),
    /// A new counter.
    Counter(LiveCounter),
}

/// The blueprint of a new counter (RTLCV1).
///
/// The number is checked when an operation is made of it (RTLCV3c).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveCounter {
    count: f64,
}

impl LiveCounter {
    /// A counter that starts at this number (RTLCV3); the default starts at 0.
    pub const fn new(count: f64) -> Self {
        Self { count }
    }

    /// The number at which it starts (RTLCV2a).
    pub fn count(self) -> f64 {
        self.count
    }
}

/// The blueprint of a new map (RTLMV1). Its values can be blueprints too, at any depth. Cloning shares the entries.
///
/// The values are checked when an operation is made of it (RTLMV3c).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LiveMap {
    entries: Arc<BTreeMap<Str, LiveValue>>,
}

impl LiveMap {
    /// A map without entries (RTLMV3).
    pub fn new() -> Self {
        Self::default()
    }

    /// The same map with a further entry, or another value for its key.
    #[must_use]
    pub fn with(mut self, key: impl Into<Str>, value: impl Into<LiveValue>) -> Self {
        // An entry takes its value along if the map is not shared, which is the rule while it is built.
        Arc::make_mut(&mut self.entries).insert(key.into(), value.into());
        self
    }

    /// The entries, by key (RTLMV2a).
    pub fn entries(&self) -> &BTreeMap<Str, LiveValue> {
        &self.entries
    }
}

impl Drop for LiveMap {
    /// Drops nested maps one by one: one that is very deep would overflow the stack otherwise.
    fn drop(&mut self) {
        let is_deep = |value: &LiveValue| matches!(value, LiveValue::Map(_));
        let Some(entries) = Arc::get_mut(&mut self.entries) else { return };
        if !entries.values().any(is_deep) {
            return;
        }
        let mut open: Vec<LiveValue> = mem::take(entries).into_values().collect();
        while let Some(value) = open.pop() {
            if let LiveValue::Map(mut map) = value
                && let Some(entries) = Arc::get_mut(&mut map.entries)
            {
                open.extend(mem::take(entries).into_values().filter(is_deep));
            }
        }
    }
}

impl<K: Into<Str>, V: Into<LiveValue>> FromIterator<(K, V)> for LiveMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into()));
        Self { entries: Arc::new(entries.collect()) }
    }
}

impl From<ObjectValue> for LiveValue {
    fn from(value: ObjectValue) -> Self {
        Self::Leaf(value)
    }
}

impl From<LiveMap> for LiveValue {
    fn from(map: LiveMap) -> Self {
        Self::Map(map)
    }
}

impl From<LiveCounter> for LiveValue {
    fn from(counter: LiveCounter) -> Self {
        Self::Counter(counter)
    }
}

impl From<bool> for LiveValue {
    fn from(value: bool) -> Self {
        Self::Leaf(ObjectValue::Boolean(value))
    }
}

impl From<&str> for LiveValue {
    fn from(text: &str) -> Self {
        Self::Leaf(ObjectValue::String(text.into()))
    }
}

impl From<String> for LiveValue {
    fn from(text: String) -> Self {
        Self::Leaf(ObjectValue::String(text.into()))
    }
}

impl From<Str> for LiveValue {
    fn from(text: Str) -> Self {
        Self::Leaf(ObjectValue::String(text))
    }
}

impl From<Bytes> for LiveValue {
    fn from(bytes: Bytes) -> Self {
        Self::Leaf(ObjectValue::Bytes(bytes))
    }
}

impl From<Vec<u8>> for LiveValue {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Leaf(ObjectValue::Bytes(bytes.into()))
    }
}

impl From<Value> for LiveValue {
    /// A JSON object or array as such, and a JSON boolean, string or number as the leaf of that kind. Null has no form, and
    /// is refused when an operation is made of it.
    fn from(value: Value) -> Self {
        Self::Leaf(match value {
            Value::Bool(value) => ObjectValue::Boolean(value),
            Value::String(text) => ObjectValue::String(text.into()),
            Value::Number(number) => ObjectValue::Number(number.as_f64().unwrap_or(f64::NAN)),
            value @ (Value::Null | Value::Array(_) | Value::Object(_)) => ObjectValue::Json(value),
        })
    }
}

/// Numbers are stored as 64-bit floats.
macro_rules! from_numbers {
    ($($number:ty),*) => {$(
        impl From<$number> for LiveValue {
            fn from(number: $number) -> Self {
                Self::Leaf(ObjectValue::Number(number.into()))
            }
        }
    )*};
}

from_numbers!(f64, f32, i32, u32, i16, u16, i8, u8);
