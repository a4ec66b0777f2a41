//! Reading objects as types of the program, by serde.

use capably_objects::Compact;
use capably_protocol::{ErrorCode, object::ObjectValue};
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, Error as _, IntoDeserializer, Visitor,
        value::{Error as ValueError, MapAccessDeserializer, MapDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

use crate::{Error, Result};

/// How deep maps may nest: a cycle of references would be read for ever.
const DEEPEST: usize = 128;

/// Reads a value with all that is below it.
///
/// # Errors
/// Code 40013 if the value is not of this type.
pub(super) fn read<T: DeserializeOwned>(value: Compact) -> Result<T> {
    T::deserialize(TypedValue { value, depth: 0 }).map_err(|error| {
        let message = format!("the objects are not of the type that was asked for: {error}");
        Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
            .with_remedy("read another type, or the dynamic value")
            .with_source(error)
    })
}

type Entries = std::vec::IntoIter<(String, TypedValue)>;

struct TypedValue {
    value: Compact,
    depth: usize,
}

impl TypedValue {
    /// The entries of a map.
    fn map<'de>(&self) -> Result<MapDeserializer<'de, Entries, ValueError>, ValueError> {
        if self.depth == DEEPEST {
            return Err(ValueError::custom("the maps nest too deep, or form a cycle"));
        }
        let depth = self.depth + 1;
        let entries = self.value.entries();
        let entries: Vec<_> = entries
            .map(|(key, value)| (key.as_str().to_owned(), TypedValue { value, depth }))
            .collect();
        Ok(MapDeserializer::new(entries.into_iter()))
    }
}

impl<'de> IntoDeserializer<'de> for TypedValue {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for TypedValue {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value.value() {
            None => self.map()?.deserialize_any(visitor),
            Some(ObjectValue::Boolean(value)) => visitor.visit_bool(*value),
            Some(ObjectValue::String(text)) => visitor.visit_str(text),
            Some(ObjectValue::Bytes(bytes)) => visitor.visit_bytes(bytes),
            Some(ObjectValue::Json(value)) => {
                value.clone().deserialize_any(visitor).map_err(ValueError::custom)
            }
            Some(ObjectValue::Number(number)) => visit_number(*number, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        visitor.visit_some(self)
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
        match self.value.value() {
            None => visitor.visit_enum(MapAccessDeserializer::new(self.map()?)),
            Some(ObjectValue::String(text)) => {
                visitor.visit_enum(text.as_str().to_owned().into_deserializer())
            }
            Some(ObjectValue::Json(value)) => {
                value.clone().deserialize_enum(name, variants, visitor).map_err(ValueError::custom)
            }
            Some(ObjectValue::Boolean(_) | ObjectValue::Bytes(_) | ObjectValue::Number(_)) => {
                self.deserialize_any(visitor)
            }
        }
    }

    /// A list of numbers that is stored as bytes.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.value.value() {
            Some(ObjectValue::Bytes(bytes)) => {
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
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() != 0.0 || number.abs() >= EXACT {
        visitor.visit_f64(number)
    } else if number < 0.0 {
        visitor.visit_i64(number as i64)
    } else {
        visitor.visit_u64(number as u64)
    }
}
