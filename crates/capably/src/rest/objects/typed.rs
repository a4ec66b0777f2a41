//! Objects of a reply as types of the program, by serde.

use capably_protocol::{ErrorCode, object::ObjectValue};
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, IntoDeserializer, Visitor,
        value::{Error as ValueError, MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{RestMap, RestObject};
use crate::{Error, Result};

/// Reads a value with all that is below it. The depth is that of the reply.
///
/// # Errors
/// Code 40013 if the value is not of this type.
pub(super) fn read<T: DeserializeOwned>(value: &RestObject) -> Result<T> {
    T::deserialize(Typed(value)).map_err(|error| {
        let message = format!("the objects are not of the type that was asked for: {error}");
        Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
            .with_remedy("read another type, or the dynamic value")
            .with_source(error)
    })
}

/// The number as an integer, if it has no fraction and a float represents it exactly.
pub(super) fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

struct Typed<'a>(&'a RestObject);

impl<'de> IntoDeserializer<'de> for Typed<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The fields of a map.
fn fields<'de, 'a>(
    map: &'a RestMap,
) -> MapDeserializer<'de, impl Iterator<Item = (&'a str, Typed<'a>)>, ValueError> {
    MapDeserializer::new(map.entries.iter().map(|(key, value)| (key.as_str(), Typed(value))))
}

impl<'de> Deserializer<'de> for Typed<'_> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            RestObject::Map(map) => fields(map).deserialize_any(visitor),
            RestObject::Counter(counter) => visit_number(counter.count, visitor),
            RestObject::Leaf(ObjectValue::Boolean(value)) => visitor.visit_bool(*value),
            RestObject::Leaf(ObjectValue::String(text)) => visitor.visit_str(text),
            RestObject::Leaf(ObjectValue::Bytes(bytes)) => visitor.visit_bytes(bytes),
            RestObject::Leaf(ObjectValue::Number(number)) => visit_number(*number, visitor),
            RestObject::Leaf(ObjectValue::Json(value)) => {
                value.clone().deserialize_any(visitor).map_err(serde::de::Error::custom)
            }
            RestObject::Reference(id) => {
                let fields = std::iter::once(("objectId", id.as_str()));
                MapDeserializer::new(fields).deserialize_any(visitor)
            }
            RestObject::Unknown => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            RestObject::Unknown => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ValueError> {
        match self.0 {
            RestObject::Map(map) => visitor.visit_enum(MapAccessDeserializer::new(fields(map))),
            RestObject::Leaf(ObjectValue::String(text)) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            RestObject::Leaf(ObjectValue::Json(value)) => {
                let value = value.clone();
                value.deserialize_enum(name, variants, visitor).map_err(serde::de::Error::custom)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// A list of numbers that is stored as bytes.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.0 {
            RestObject::Leaf(ObjectValue::Bytes(bytes)) => {
                SeqDeserializer::new(bytes.iter().copied()).deserialize_any(visitor)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// Whole numbers are visited as integers, which floats accept, too.
fn visit_number<'de, V: Visitor<'de>>(number: f64, visitor: V) -> Result<V::Value, ValueError> {
    match whole(number) {
        None => visitor.visit_f64(number),
        Some(negative @ ..0) => visitor.visit_i64(negative),
        Some(whole) => visitor.visit_u64(whole.unsigned_abs()),
    }
}
