//! Values of objects as types of the program, by serde.

use bytes::Bytes;
use capably_objects::Compact;
use capably_protocol::{ErrorCode, Str, object::ObjectValue};
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

/// A value that can be read as a type of the program.
pub(crate) trait Shaped: Sized {
    fn shape(self) -> Shape<Self>;
}

/// The content of a value.
pub(crate) enum Shape<S> {
    Map(Vec<(String, S)>),
    Leaf(ObjectValue),
    /// An object of which only the id is known.
    Reference(Str),
    /// A leaf of a type that this version does not know.
    Unknown,
}

impl Shaped for Compact {
    fn shape(self) -> Shape<Self> {
        match self.value() {
            Some(leaf) => Shape::Leaf(leaf.clone()),
            None => {
                Shape::Map(self.entries().map(|(key, value)| (key.to_string(), value)).collect())
            }
        }
    }
}

/// Reads a value with all that is below it.
///
/// # Errors
/// Code 40013 if the value is not of this type.
pub(crate) fn read<T: DeserializeOwned>(value: impl Shaped) -> Result<T> {
    let value = Typed { shape: value.shape(), depth: 0 };
    T::deserialize(value).map_err(|error| {
        let message = format!("the objects are not of the type that was asked for: {error}");
        Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
            .with_remedy("read another type, or the dynamic value")
            .with_source(error)
    })
}

/// Reads bytes as a value that serde visits as bytes or as a list of numbers.
pub(super) fn read_bytes<T: DeserializeOwned>(bytes: Bytes) -> Result<T, ValueError> {
    let shape = Shape::<Compact>::Leaf(ObjectValue::Bytes(bytes));
    T::deserialize(Typed { shape, depth: 0 })
}

/// The number as an integer, if it has no fraction and a float represents it exactly.
pub(crate) fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

struct Typed<S> {
    shape: Shape<S>,
    depth: usize,
}

/// A value of a map. It is looked into only when it is read.
struct Below<S> {
    value: S,
    depth: usize,
}

impl<'de, S: Shaped> IntoDeserializer<'de> for Below<S> {
    type Deserializer = Typed<S>;

    fn into_deserializer(self) -> Typed<S> {
        Typed { shape: self.value.shape(), depth: self.depth }
    }
}

/// The entries of a map that is so deep in the value.
fn entries<'de, S: Shaped>(
    map: Vec<(String, S)>,
    depth: usize,
) -> Result<MapDeserializer<'de, impl Iterator<Item = (String, Below<S>)>, ValueError>, ValueError>
{
    if depth == DEEPEST {
        return Err(ValueError::custom("the maps nest too deep, or form a cycle"));
    }
    let depth = depth + 1;
    let below = map.into_iter().map(move |(key, value)| (key, Below { value, depth }));
    Ok(MapDeserializer::new(below))
}

impl<'de, S: Shaped> Deserializer<'de> for Typed<S> {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.shape {
            Shape::Map(map) => entries(map, self.depth)?.deserialize_any(visitor),
            Shape::Leaf(ObjectValue::Boolean(value)) => visitor.visit_bool(value),
            Shape::Leaf(ObjectValue::String(text)) => visitor.visit_str(&text),
            Shape::Leaf(ObjectValue::Bytes(bytes)) => visitor.visit_bytes(&bytes),
            Shape::Leaf(ObjectValue::Number(number)) => visit_number(number, visitor),
            Shape::Leaf(ObjectValue::Json(value)) => {
                value.deserialize_any(visitor).map_err(ValueError::custom)
            }
            Shape::Reference(id) => {
                let fields = std::iter::once(("objectId", id.as_str()));
                MapDeserializer::new(fields).deserialize_any(visitor)
            }
            Shape::Unknown => visitor.visit_unit(),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.shape {
            Shape::Unknown => visitor.visit_none(),
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
        match self.shape {
            Shape::Map(map) => {
                visitor.visit_enum(MapAccessDeserializer::new(entries(map, self.depth)?))
            }
            Shape::Leaf(ObjectValue::String(text)) => {
                visitor.visit_enum(text.as_str().into_deserializer())
            }
            Shape::Leaf(ObjectValue::Json(value)) => {
                value.deserialize_enum(name, variants, visitor).map_err(ValueError::custom)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// A list of numbers that is stored as bytes.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ValueError> {
        match self.shape {
            Shape::Leaf(ObjectValue::Bytes(bytes)) => {
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
