//! Values of objects (OD).

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use super::serialize_number;
use crate::{
    Data, Str,
    data::json_size,
    encoding::{from_base64, to_base64},
};

/// The value of a map's entry: a leaf, or a reference to another object (OD2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectData {
    /// The object referred to (OD2a).
    pub object_id: Option<Str>,
    /// The leaf (OD2c to OD2g).
    pub value: Option<ObjectValue>,
    /// An encoding of the leaf's string that this version could not undo (OD2b).
    pub encoding: Option<Str>,
}

/// A leaf value (OD2).
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectValue {
    /// A boolean (OD2c).
    Boolean(bool),
    /// Bytes; base64 text in JSON (OD2d).
    Bytes(Bytes),
    /// A number (OD2e).
    Number(f64),
    /// A string (OD2f).
    String(Str),
    /// A JSON object or array; JSON text on the wire (OD2g).
    Json(Value),
}

impl ObjectData {
    /// A reference to an object.
    pub fn reference(object_id: impl Into<Str>) -> Self {
        Self { object_id: Some(object_id.into()), ..Self::default() }
    }

    /// The size that counts against `maxMessageSize`, in bytes (OD3).
    pub fn size(&self) -> usize {
        match &self.value {
            None => 0,
            Some(ObjectValue::Boolean(_)) => 1,
            Some(ObjectValue::Bytes(bytes)) => bytes.len(),
            Some(ObjectValue::Number(_)) => 8,
            Some(ObjectValue::String(text)) => text.len(),
            Some(ObjectValue::Json(value)) => json_size(value),
        }
    }
}

impl From<ObjectValue> for ObjectData {
    fn from(value: ObjectValue) -> Self {
        Self { value: Some(value), ..Self::default() }
    }
}

/// The value as it is written.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    object_id: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boolean: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_bytes")]
    bytes: Option<&'a Bytes>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_number")]
    number: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    string: Option<&'a Str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<String>,
}

fn serialize_bytes<S: Serializer>(bytes: &Option<&Bytes>, s: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) if s.is_human_readable() => s.serialize_str(&to_base64(bytes)),
        Some(bytes) => s.serialize_bytes(bytes),
        None => s.serialize_none(),
    }
}

impl Serialize for ObjectData {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = DataOut {
            object_id: self.object_id.as_ref(),
            encoding: self.encoding.as_ref(),
            ..DataOut::default()
        };
        match &self.value {
            None => {}
            Some(ObjectValue::Boolean(value)) => out.boolean = Some(*value),
            Some(ObjectValue::Bytes(bytes)) => out.bytes = Some(bytes),
            Some(ObjectValue::Number(number)) => out.number = Some(*number),
            Some(ObjectValue::String(text)) => out.string = Some(text),
            Some(ObjectValue::Json(value)) => out.json = Some(value.to_string()),
        }
        out.serialize(s)
    }
}

/// The value as it is read. Bytes and JSON may come as text or as themselves.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DataIn {
    object_id: Option<Str>,
    encoding: Option<Str>,
    boolean: Option<bool>,
    bytes: Data,
    number: Option<f64>,
    string: Option<Str>,
    json: Data,
}

impl<'de> Deserialize<'de> for ObjectData {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut data = DataIn::deserialize(d)?;
        if let (Some("json"), Some(text)) = (data.encoding.as_deref(), &data.string) {
            data.json = Data::Text(text.clone());
            data.string = None;
            data.encoding = None;
        }
        let bytes = match data.bytes {
            Data::None => None,
            Data::Binary(bytes) => Some(bytes),
            Data::Text(text) => match from_base64(text.as_bytes()) {
                Some(bytes) => Some(bytes.into()),
                None => return Err(D::Error::custom("`bytes` that are not base64")),
            },
            Data::Json(_) => return Err(D::Error::custom("`bytes` that are not bytes")),
        };
        let json = match data.json {
            Data::None => None,
            Data::Json(value) => Some(value),
            Data::Text(text) => Some(
                serde_json::from_str(&text)
                    .map_err(|_| D::Error::custom("`json` that is not JSON"))?,
            ),
            Data::Binary(_) => return Err(D::Error::custom("`json` that is not text")),
        };
        let value = (data.boolean.map(ObjectValue::Boolean))
            .or(bytes.map(ObjectValue::Bytes))
            .or(data.number.map(ObjectValue::Number))
            .or(data.string.map(ObjectValue::String))
            .or(json.map(ObjectValue::Json));
        Ok(Self { object_id: data.object_id, value, encoding: data.encoding })
    }
}
