//! Serde for what carries a payload, so that it can stand in bodies of cold types. In formats that people
//! read, bytes become base64 text (RSL4d1); elsewhere they stay bytes (RSL4c1).

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::{
    Annotation, AnnotationAction, Data, JsonObject, Message, MessageAction, MessageAnnotations,
    MessageVersion, Millis, PresenceAction, PresenceMessage, Str, lenient::JsonVisitor,
};

/// A payload in the form a format takes.
enum WireData<'a> {
    None,
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
}

impl WireData<'_> {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Serialize for WireData<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => s.serialize_none(),
            Self::Text(text) => s.serialize_str(text),
            Self::Binary(bytes) => s.serialize_bytes(bytes),
        }
    }
}

/// The payload and its encoding as they are written.
fn on_the_wire<'a>(
    data: &'a Data,
    encoding: Option<&'a str>,
    human_readable: bool,
) -> (WireData<'a>, Option<Cow<'a, str>>) {
    let encoding = encoding.filter(|encoding| !encoding.is_empty());
    let with_step = |step: &'static str| match encoding {
        Some(encoding) => Cow::Owned(format!("{encoding}/{step}")),
        None => Cow::Borrowed(step),
    };
    match data {
        Data::None => (WireData::None, encoding.map(Cow::Borrowed)),
        Data::Text(text) => (WireData::Text(Cow::Borrowed(text)), encoding.map(Cow::Borrowed)),
        Data::Json(value) => (WireData::Text(value.to_string().into()), Some(with_step("json"))),
        Data::Binary(bytes) if human_readable => {
            (WireData::Text(BASE64.encode(bytes).into()), Some(with_step("base64")))
        }
        Data::Binary(bytes) => (WireData::Binary(bytes), encoding.map(Cow::Borrowed)),
    }
}

impl<'de> Deserialize<'de> for Data {
    /// Reads a payload as it came: `encoding` says what is left to undo.
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Str>,
    #[serde(skip_serializing_if = "WireData::is_none")]
    data: WireData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_key: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<MessageAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a MessageVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a MessageAnnotations>,
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let human_readable = s.is_human_readable();
        let (data, encoding) = on_the_wire(&self.data, self.encoding.as_deref(), human_readable);
        MessageOut {
            id: self.id.as_ref(),
            name: self.name.as_ref(),
            data,
            encoding,
            client_id: self.client_id.as_ref(),
            connection_id: self.connection_id.as_ref(),
            connection_key: self.connection_key.as_ref(),
            timestamp: self.timestamp,
            extras: self.extras.as_ref(),
            action: self.action,
            serial: self.serial.as_ref(),
            version: self.version.as_deref(),
            annotations: self.annotations.as_deref(),
        }
        .serialize(s)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PresenceOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<PresenceAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "WireData::is_none")]
    data: WireData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a JsonObject>,
}

impl Serialize for PresenceMessage {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let human_readable = s.is_human_readable();
        let (data, encoding) = on_the_wire(&self.data, self.encoding.as_deref(), human_readable);
        PresenceOut {
            id: self.id.as_ref(),
            action: self.action,
            client_id: self.client_id.as_ref(),
            connection_id: self.connection_id.as_ref(),
            data,
            encoding,
            timestamp: self.timestamp,
            extras: self.extras.as_ref(),
        }
        .serialize(s)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AnnotationOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<AnnotationAction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "WireData::is_none")]
    data: WireData<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_serial: Option<&'a Str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    annotation_type: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extras: Option<&'a JsonObject>,
}

impl Serialize for Annotation {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let human_readable = s.is_human_readable();
        let (data, encoding) = on_the_wire(&self.data, self.encoding.as_deref(), human_readable);
        AnnotationOut {
            id: self.id.as_ref(),
            action: self.action,
            client_id: self.client_id.as_ref(),
            connection_id: self.connection_id.as_ref(),
            name: self.name.as_ref(),
            count: self.count,
            data,
            encoding,
            timestamp: self.timestamp,
            serial: self.serial.as_ref(),
            message_serial: self.message_serial.as_ref(),
            annotation_type: self.annotation_type.as_ref(),
            extras: self.extras.as_ref(),
        }
        .serialize(s)
    }
}
