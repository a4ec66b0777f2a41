//! Serde helpers that read the variants other implementations write: integers as floats, numbers as text in
//! string maps, null for anything absent, bytes inside JSON values.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor,
        value::MapAccessDeserializer,
    },
};
use serde_json::{Number, Value};

use crate::JsonObject;

/// More items than this in one array are refused: an empty item is one byte on the wire and hundreds in
/// memory.
pub(crate) const MAX_ITEMS: usize = 65_536;

/// An integer of a type that the wire may carry in any width, or as a float without a fraction.
pub(crate) trait Integer: Sized {
    fn from_wire(value: i128) -> Option<Self>;
}

impl Integer for u64 {
    fn from_wire(value: i128) -> Option<Self> {
        value.try_into().ok()
    }
}

impl Integer for i64 {
    fn from_wire(value: i128) -> Option<Self> {
        value.try_into().ok()
    }
}

impl Integer for u16 {
    fn from_wire(value: i128) -> Option<Self> {
        value.try_into().ok()
    }
}

impl Integer for u32 {
    /// Actions and codes: one out of range is as unknown as any other, so it is not an error (RTF1).
    fn from_wire(value: i128) -> Option<Self> {
        Some(value.try_into().unwrap_or(Self::MAX))
    }
}

/// The value of a float without a fraction.
pub(crate) fn float_to_integer(value: f64) -> Option<i128> {
    (value.fract() == 0.0 && value.abs() < 2f64.powi(64)).then_some(value as i128)
}

struct IntegerVisitor<T>(PhantomData<T>);

impl<T: Integer> Visitor<'_> for IntegerVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        let integer = T::from_wire(value.into());
        integer.map(Some).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        let integer = T::from_wire(value.into());
        integer.map(Some).ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let integer = float_to_integer(value).and_then(T::from_wire);
        integer.map(Some).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// An integer that may be absent.
pub(crate) fn integer<'de, T: Integer, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    d.deserialize_any(IntegerVisitor(PhantomData))
}

/// An integer whose absence is the type's default.
pub(crate) fn integer_or_default<'de, T: Integer + Default, D: Deserializer<'de>>(
    d: D,
) -> Result<T, D::Error> {
    Ok(integer(d)?.unwrap_or_default())
}

/// A value whose absence is null or the type's default.
pub(crate) fn or_default<'de, T, D>(d: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// An array of at most [`MAX_ITEMS`] items; null is an empty one.
pub(crate) fn items<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == MAX_ITEMS {
                    return Err(A::Error::custom(too_many_items()));
                }
                items.push(item);
            }
            Ok(items)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
    }

    d.deserialize_any(Items(PhantomData))
}

/// As [`items`], for items that are maps.
pub(crate) fn maps<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    let items: Vec<FromMap<T>> = items(d)?;
    Ok(items.into_iter().map(|FromMap(item)| item).collect())
}

/// A type read from a map only: serde's own code for a struct accepts an array of its fields, too.
pub(crate) struct FromMap<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FromMap<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct MapVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MapVisitor<T> {
            type Value = FromMap<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(FromMap)
            }
        }

        d.deserialize_any(MapVisitor(PhantomData))
    }
}

/// The reason why an array that is too long is refused.
pub(crate) fn too_many_items() -> String {
    format!("more than {MAX_ITEMS} items in one array")
}

/// A map of strings whose values may arrive as numbers, booleans or JSON.
pub(crate) fn string_map<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(optional_string_map(d)?.unwrap_or_default())
}

/// As [`string_map`]; null is `None`, not an empty map.
pub(crate) fn optional_string_map<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    let object = optional_object(d)?;
    Ok(object.map(stringify_values))
}

/// Every value that is not null, as text.
pub(crate) fn stringify_values(object: JsonObject) -> BTreeMap<String, String> {
    let text = |value| match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    object.into_iter().filter_map(|(key, value)| Some((key, text(value)?))).collect()
}

/// A JSON object that may be absent.
pub(crate) fn optional_object<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<JsonObject>, D::Error> {
    match d.deserialize_any(JsonVisitor)? {
        Value::Null => Ok(None),
        Value::Object(object) => Ok(Some(object)),
        _ => Err(D::Error::custom("expected a map")),
    }
}

/// A map of JSON values; null is an empty one.
pub(crate) fn value_map<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<BTreeMap<String, Value>, D::Error> {
    Ok(optional_object(d)?.unwrap_or_default().into_iter().collect())
}

/// Reads a JSON value from any format: bytes become base64 text, floats without a JSON form become null.
pub(crate) struct JsonVisitor;

impl<'de> DeserializeSeed<'de> for JsonVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::String(BASE64.encode(bytes)))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(JsonVisitor)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = JsonObject::new();
        while let Some(key) = map.next_key::<String>()? {
            object.insert(key, map.next_value_seed(JsonVisitor)?);
        }
        Ok(Value::Object(object))
    }
}
