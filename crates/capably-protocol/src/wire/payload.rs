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
    Data, Str,
    codec::{
        json::reader::JsonReader,
        msgpack::reader::{Fault, Reader},
    },
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
            Self::Text(text) => w.str(text),
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

    fn read_json<'de, D: Deserializer<'de>>(
        &mut self,
        d: D,
        json: JsonReader<'_>,
    ) -> Result<(), D::Error> {
        *self = d.deserialize_any(JsonDataVisitor(json))?;
        Ok(())
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

/// Reads a payload from a JSON frame: text is a slice of the frame.
struct JsonDataVisitor<'a>(JsonReader<'a>);

impl<'de> Visitor<'de> for JsonDataVisitor<'_> {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DataVisitor.expecting(f)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Data, E> {
        let mut place = Str::new();
        self.0.set_text(&mut place, text);
        Ok(Data::Text(place))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Data, E> {
        DataVisitor.visit_str(text)
    }

    fn visit_unit<E: Error>(self) -> Result<Data, E> {
        DataVisitor.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Data, E> {
        DataVisitor.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Data, E> {
        DataVisitor.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Data, E> {
        DataVisitor.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Data, E> {
        DataVisitor.visit_f64(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Data, A::Error> {
        self.0.leave_unmeasured();
        DataVisitor.visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Data, A::Error> {
        self.0.leave_unmeasured();
        DataVisitor.visit_map(map)
    }
}
