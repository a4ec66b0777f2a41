//! Payloads and their encodings on the wire.
//!
//! A JSON payload is text with the step `json` in either format. Bytes are bytes in MessagePack (RSL4c1), and
//! base64 text with the step `base64` in formats for people, such as JSON (RSL4d1).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use super::{ReadField, WriteField, Writer};
use crate::{
    Data,
    codec::{Fault, json::reader::JsonReader, msgpack::reader::Reader},
    lenient::JsonVisitor,
};

impl WriteField for Data {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        SerdeData(self)
    }

    #[inline(always)]
    fn write<W: Writer>(&self, w: &mut W) {
        match self {
            Self::None => w.null(),
            Self::Text(text) => w.text(text),
            Self::Binary(bytes) => w.bytes(bytes),
            Self::Json(value) => w.json_text(value),
        }
    }
}

/// A payload as serde writes it. [`Data`] itself is not `Serialize`: without its encoding it cannot be read back.
struct SerdeData<'a>(&'a Data);

impl Serialize for SerdeData<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Data::None => s.serialize_none(),
            Data::Text(text) => s.serialize_str(text),
            Data::Binary(bytes) if s.is_human_readable() => s.serialize_str(&BASE64.encode(bytes)),
            Data::Binary(bytes) => s.serialize_bytes(bytes),
            Data::Json(value) => s.serialize_str(&value.to_string()),
        }
    }
}

/// The encoding of a payload as it is written: the steps that the payload has already, and the format's own.
#[derive(Clone, Copy)]
pub(crate) struct Steps<'a> {
    before: Option<&'a str>,
    last: Option<&'static str>,
}

impl<'a> Steps<'a> {
    /// The steps of this payload in a format for people, or in another.
    #[inline(always)]
    pub(crate) fn of(data: &Data, encoding: Option<&'a str>, for_people: bool) -> Self {
        let last = match data {
            Data::Json(_) => Some("json"),
            Data::Binary(_) if for_people => Some("base64"),
            Data::None | Data::Text(_) | Data::Binary(_) => None,
        };
        // An empty encoding has no step: written, it would become one.
        Self { before: encoding.filter(|encoding| !encoding.is_empty()), last }
    }
}

impl WriteField for Steps<'_> {
    #[inline(always)]
    fn is_absent(&self) -> bool {
        self.before.is_none() && self.last.is_none()
    }

    fn as_serde(&self) -> impl Serialize {
        match (self.before, self.last) {
            (Some(before), Some(last)) => Cow::Owned(format!("{before}/{last}")),
            (before, last) => Cow::Borrowed(before.or(last).unwrap_or_default()),
        }
    }

    #[inline(always)]
    fn write<W: Writer>(&self, w: &mut W) {
        match (self.before, self.last) {
            (Some(before), Some(last)) => w.steps(before, last),
            (before, last) => match before.or(last) {
                Some(only) => w.str(only),
                None => w.null(),
            },
        }
    }
}

impl ReadField for Data {
    fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Deserialize::deserialize(d)
    }

    fn read_json(&mut self, r: &mut JsonReader<'_>) -> Result<(), Fault> {
        r.data(self)
    }

    #[inline(always)]
    fn read(&mut self, r: &mut Reader<'_>) -> Result<(), Fault> {
        r.data(self)
    }
}

impl<'de> Deserialize<'de> for Data {
    /// Reads a payload as it came: `encoding` has the steps that are left to undo.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a payload")
    }

    fn visit_str<E>(self, text: &str) -> Result<Data, E> {
        Ok(Data::Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Data, E> {
        Ok(Data::Text(text.into()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Data, E> {
        Ok(Data::Binary(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Data, E> {
        Ok(Data::Binary(bytes.into()))
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Data, E> {
        JsonVisitor.visit_bool(value).map(Data::Json)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Data, E> {
        JsonVisitor.visit_i64(value).map(Data::Json)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Data, E> {
        JsonVisitor.visit_u64(value).map(Data::Json)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Data, E> {
        JsonVisitor.visit_f64(value).map(Data::Json)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Data, A::Error> {
        JsonVisitor.visit_seq(seq).map(Data::Json)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data, A::Error> {
        JsonVisitor.visit_map(map).map(Data::Json)
    }
}
