//! How a field is read and written, by its type.
//!
//! | type of field | JSON | MessagePack | left out | also read |
//! |---|---|---|---|---|
//! | `Option<Str>` | string | string | when `None` | nil, bytes that are UTF-8 |
//! | `Option<u64>`, `Option<Millis>` | number | shortest integer | when `None` | nil, a float without a fraction |
//! | `Option<…Action>` | number | shortest integer | when `None` | the same; an unknown number is kept (RTF1) |
//! | [`Data`](crate::Data) | string; base64 of bytes | string or bytes | without a payload | any value, as JSON |
//! | `Option<JsonObject>` | object | map | when `None` | nil |
//! | `Option<BTreeMap<String, String>>` | object | map | when `None` | nil; other values, as their text |
//! | `BTreeMap<String, Value>` | object | map | never | nil |
//! | `Option<Box<T>>` of a `Direct` type | object | map | when `None` | nil |
//! | fields of objects | see [`objects`](super::objects) | | | |
//! | `Vec<T>` of items | array | array | never | nil; too many are refused |
//! | `Vec<Option<Str>>` | array | array | never | nil; too many are refused |

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Fields, JsonFields, Key, Read, Write, Writer};
use crate::{
    ConnectionDetails, ErrorInfo, JsonObject, Str,
    codec::{Fault, json::reader::JsonReader, msgpack::reader::Reader},
    lenient::{self, stringify_values},
};

/// A type of field that can be written.
pub(crate) trait WriteField {
    /// Whether the field is left out.
    fn is_absent(&self) -> bool;

    /// The value as serde writes it.
    fn as_serde(&self) -> impl Serialize;

    /// Writes the value, which is not absent.
    #[inline]
    fn write<W: Writer>(&self, w: &mut W) {
        w.value(&self.as_serde());
    }
}

/// A type of field that can be read.
pub(crate) trait ReadField: Sized {
    /// Reads the value by serde.
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error>;

    /// Reads the value from JSON into `self`, an empty one.
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.field_by_serde(self)
    }

    /// Reads the value from MessagePack into `self`, an empty one.
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault>;
}

/// Writes a field, unless it is left out.
#[inline(always)]
pub(crate) fn write_field<W: Writer>(
    w: &mut W,
    map: &mut W::Map,
    key: Key,
    field: &impl WriteField,
) {
    if !field.is_absent() {
        w.key(map, key);
        field.write(w);
    }
}

impl<T: WriteField> WriteField for &T {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        T::is_absent(self)
    }

    fn as_serde(&self) -> impl Serialize {
        T::as_serde(self)
    }

    #[inline(always)]
    fn write<W: Writer>(&self, w: &mut W) {
        T::write(self, w);
    }
}

impl WriteField for Option<&Str> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }

    #[inline(always)]
    fn write<W: Writer>(&self, w: &mut W) {
        match self {
            Some(text) => w.text(text),
            None => w.null(),
        }
    }
}

impl WriteField for Option<Str> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }

    #[inline(always)]
    fn write<W: Writer>(&self, w: &mut W) {
        self.as_ref().write(w);
    }
}

impl ReadField for Option<Str> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(d)
    }

    #[inline]
    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        let found = r.text(self.get_or_insert_default())?;
        if !found {
            *self = None;
        }
        Ok(())
    }

    #[inline(always)]
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.str(self)
    }
}

/// Integers, by the method of [`Writer`] that writes them.
macro_rules! integers {
    ($($type:ty, $write:ident;)*) => {$(
        impl WriteField for Option<$type> {
            #[inline(always)]
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl Serialize {
                self
            }

            #[inline(always)]
            fn write<W: Writer>(&self, w: &mut W) {
                match self {
                    Some(value) => w.$write((*value).into()),
                    None => w.null(),
                }
            }
        }

        impl ReadField for Option<$type> {
            fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                lenient::integer(d)
            }

            fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
                *self = r.integer();
                if self.is_none() {
                    return r.field_by_serde(self);
                }
                Ok(())
            }

            #[inline(always)]
            fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
                *self = r.integer()?;
                Ok(())
            }
        }
    )*};
}

integers! {
    u32, unsigned;
    u64, unsigned;
    i64, signed;
}

impl ReadField for u64 {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::integer_or_default(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        match r.integer() {
            Some(value) => *self = value,
            None => r.field_by_serde(self)?,
        }
        Ok(())
    }

    #[inline]
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        *self = r.integer()?.unwrap_or_default();
        Ok(())
    }
}

impl WriteField for Option<JsonObject> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl ReadField for Option<JsonObject> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::optional_object(d)
    }

    #[inline]
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        *self = r.object()?;
        Ok(())
    }
}

impl WriteField for Option<BTreeMap<String, String>> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl ReadField for Option<BTreeMap<String, String>> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::optional_string_map(d)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        *self = r.object()?.map(stringify_values);
        Ok(())
    }
}

impl WriteField for Option<&BTreeMap<String, String>> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl ReadField for BTreeMap<String, String> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::string_map(d)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        *self = r.object()?.map(stringify_values).unwrap_or_default();
        Ok(())
    }
}

impl WriteField for BTreeMap<String, Value> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        false
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }
}

impl ReadField for BTreeMap<String, Value> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::value_map(d)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        *self = r.object()?.unwrap_or_default().into_iter().collect();
        Ok(())
    }
}

impl<T: Fields + Serialize> WriteField for Option<Box<T>> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }

    #[inline]
    fn write<W: Writer>(&self, w: &mut W) {
        match self {
            Some(value) => value.as_ref().write(w),
            None => w.null(),
        }
    }
}

impl<T: Fields + JsonFields + DeserializeOwned> ReadField for Option<Box<T>> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        let mut value = Box::<T>::default();
        let found = r.optional_fields(&mut *value)?;
        *self = found.then_some(value);
        Ok(())
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        let mut value = Box::<T>::default();
        let found = r.optional_fields(|r, key| value.read_field(r, key))?;
        *self = found.then_some(value);
        Ok(())
    }
}

/// Types that are read from MessagePack, and written to it, by rmp-serde.
macro_rules! by_serde {
    ($($type:ty),*) => {$(
        impl WriteField for Option<Box<$type>> {
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl Serialize {
                self
            }
        }

        impl WriteField for Option<&$type> {
            fn is_absent(&self) -> bool {
                self.is_none()
            }

            fn as_serde(&self) -> impl Serialize {
                self
            }
        }

        impl ReadField for Option<Box<$type>> {
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

by_serde!(ConnectionDetails, ErrorInfo);

impl<T: Read + JsonFields + DeserializeOwned> ReadField for Vec<T> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::maps(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.items(self)
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.items_into(self)
    }
}

impl<T: Write + Serialize> WriteField for Option<&[T]> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }

    fn write<W: Writer>(&self, w: &mut W) {
        w.array(self.unwrap_or_default(), |w, item| item.write(w));
    }
}

impl WriteField for Vec<Option<Str>> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        false
    }

    fn as_serde(&self) -> impl Serialize {
        self
    }

    fn write<W: Writer>(&self, w: &mut W) {
        w.array(self, |w, text| text.write(w));
    }
}

impl ReadField for Vec<Option<Str>> {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        lenient::items(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        *self = r.strings()?;
        Ok(())
    }

    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        *self = r.strings()?;
        Ok(())
    }
}
