//! The types of fields that only objects have.
//!
//! | type of field | JSON | MessagePack | left out | also read |
//! |---|---|---|---|---|
//! | `Option<bool>` | boolean | boolean | when `None` | nil |
//! | `Option<f64>` | number, an integer if it has no fraction | 64-bit float (OD4c3) | when `None` | nil, an integer |
//! | [`Str`] | string | string | never | nil |
//! | `Option<ObjectsMapSemantics>` | number | shortest integer | when `None` | nil, the name; an unknown one is kept |
//! | [`ObjectData`], `Option<ObjectData>` | object | map | never; when `None` | nil |
//! | `Option<T>` of a `Direct` type | object | map | when `None` | nil |
//! | `BTreeMap<Str, Str>`, `BTreeMap<Str, T>` of a `Direct` type | object | map | never | nil |

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::{Fields, JsonFields, ReadField, Write, WriteField, Writer};
use crate::{
    Str,
    codec::{
        Fault,
        json::reader::JsonReader,
        msgpack::reader::{Reader, Token, malformed, utf8},
    },
    lenient,
    object::{
        CounterCreate, CounterCreateWithObjectId, CounterInc, DataFields, MapClear, MapCreate,
        MapCreateWithObjectId, MapRemove, MapSet, ObjectData, ObjectDelete, ObjectOperation,
        ObjectsCounter, ObjectsMap, ObjectsMapSemantics,
    },
};

/// A value of a map of any keys.
pub(crate) trait EntryValue: Default {
    /// Reads the value from JSON into `self`, an empty one.
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault>;

    /// Reads the value from MessagePack into `self`, an empty one.
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault>;
}

impl EntryValue for Str {
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.required_text(self)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        if r.required_str(self)? { Ok(()) } else { Err(malformed("expected a string")) }
    }
}

impl<T: Fields + JsonFields> EntryValue for T {
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.fields(self)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.fields(|r, key| self.read_field(r, key))
    }
}

impl<V: Serialize> WriteField for BTreeMap<Str, V> {
    fn is_absent(&self) -> bool {
        false
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl<V: EntryValue + DeserializeOwned> ReadField for BTreeMap<Str, V> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::or_default(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.entries(self)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        self.clear();
        r.entries(self, |r, value| V::read(value, r))
    }
}

impl WriteField for Str {
    fn is_absent(&self) -> bool {
        false
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }

    fn write<W: Writer>(&self, w: &mut W) {
        w.str(self);
    }
}

impl ReadField for Str {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::or_default(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.text(self).map(drop)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.required_str(self).map(drop)
    }
}

/// Scalars: their serde form, the function that reads them from MessagePack, and the method that reads the ordinary
/// form in JSON, with the conversion of what it returns.
macro_rules! scalars {
    ($($type:ty, $read:ident, $plain:ident => $from:expr, $value:ident => $serde:expr;)*) => {$(
        impl WriteField for Option<$type> {
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl Serialize {
                let $value = self;
                $serde
            }
        }

        impl ReadField for Option<$type> {
            fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Deserialize::deserialize(d)
            }

            fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
                *self = r.$plain().map($from);
                if self.is_none() {
                    return r.field_by_serde(self);
                }
                Ok(())
            }

            fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
                *self = $read(r.token()?)?;
                Ok(())
            }
        }
    )*};
}

scalars! {
    bool, boolean, boolean => |value| value, value => value;
    f64, number, whole_number => |value| value as f64, value => Number(*value);
    ObjectsMapSemantics, semantics,
        whole_number => |value| ObjectsMapSemantics::from_integer(value.into()), value => value;
}

fn boolean(token: Token<'_>) -> Result<Option<bool>, Fault> {
    match token {
        Token::Bool(value) => Ok(Some(value)),
        Token::Nil | Token::Ext => Ok(None),
        _ => Err(malformed("expected a boolean")),
    }
}

fn number(token: Token<'_>) -> Result<Option<f64>, Fault> {
    match token {
        Token::Float(value) => Ok(Some(value)),
        Token::Unsigned(value) => Ok(Some(value as f64)),
        Token::Negative(value) => Ok(Some(value as f64)),
        Token::Nil | Token::Ext => Ok(None),
        _ => Err(malformed("expected a number")),
    }
}

fn semantics(token: Token<'_>) -> Result<Option<ObjectsMapSemantics>, Fault> {
    Ok(Some(match token {
        Token::Unsigned(number) => ObjectsMapSemantics::from_integer(number.into()),
        Token::Negative(number) => ObjectsMapSemantics::from_integer(number.into()),
        Token::Float(number) => ObjectsMapSemantics::from_float(number),
        Token::Str(name) | Token::Bin(name) => ObjectsMapSemantics::from_name(utf8(name)?),
        Token::Nil | Token::Ext => return Ok(None),
        _ => return Err(malformed("expected map semantics")),
    }))
}

/// A number as it is written: a float in MessagePack (OD4c3); in JSON an integer if it has no fraction.
struct Number(Option<f64>);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self.0 {
            Some(number) => {
                let whole = number.fract() == 0.0 && number.abs() < EXACT;
                let negative_zero = number == 0.0 && number.is_sign_negative();
                if s.is_human_readable() && whole && !negative_zero {
                    s.serialize_i64(number as i64)
                } else {
                    s.serialize_f64(number)
                }
            }
            None => s.serialize_none(),
        }
    }
}

/// Optional structs that are not boxed.
macro_rules! structs {
    ($($type:ty),*) => {$(
        impl WriteField for Option<$type> {
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl Serialize {
                self
            }

            fn write<W: Writer>(&self, w: &mut W) {
                match self {
                    Some(value) => value.write(w),
                    None => w.null(),
                }
            }
        }

        impl ReadField for Option<$type> {
            fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Deserialize::deserialize(d)
            }

            fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
                if !r.optional_fields(self.insert(Default::default()))? {
                    *self = None;
                }
                Ok(())
            }

            fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
                let value = self.insert(Default::default());
                if !r.optional_fields(|r, key| value.read_field(r, key))? {
                    *self = None;
                }
                Ok(())
            }
        }
    )*};
}

structs!(
    ObjectOperation,
    MapCreate,
    MapSet,
    MapRemove,
    CounterCreate,
    CounterInc,
    ObjectDelete,
    MapClear,
    ObjectsMap,
    ObjectsCounter
);

/// Optional structs that are not boxed, by serde in either format.
macro_rules! by_serde {
    ($($type:ty),*) => {$(
        impl WriteField for Option<$type> {
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl Serialize {
                self
            }
        }

        impl ReadField for Option<$type> {
            fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Deserialize::deserialize(d)
            }

            fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
                *self = r.optional_by_serde()?;
                Ok(())
            }
        }
    )*};
}

by_serde!(MapCreateWithObjectId, CounterCreateWithObjectId);

impl WriteField for ObjectData {
    fn is_absent(&self) -> bool {
        false
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl ReadField for ObjectData {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::or_default(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        let mut data = None;
        ReadField::read_json(&mut data, r)?;
        *self = data.unwrap_or_default();
        Ok(())
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        let mut data = None;
        ReadField::read(&mut data, r)?;
        *self = data.unwrap_or_default();
        Ok(())
    }
}

impl WriteField for Option<ObjectData> {
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl ReadField for Option<ObjectData> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        let mut fields = DataFields::default();
        let found = r.optional_fields(&mut fields)?;
        *self =
            if found { Some(fields.try_into().map_err(|reason| r.fault(reason))?) } else { None };
        Ok(())
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        let mut fields = DataFields::default();
        let found = r.optional_fields(|r, key| fields.read_field(r, key))?;
        *self = if found { Some(fields.try_into().map_err(malformed)?) } else { None };
        Ok(())
    }
}
