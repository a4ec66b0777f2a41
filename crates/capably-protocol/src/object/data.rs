//! Values of objects (OD).

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::{Data, Str, data::json_size, encoding::from_base64, wire::wire};

/// The value of a map's entry: a leaf, or a reference to another object (OD2).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "DataFields")]
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

wire! {
    /// The fields of an [`ObjectData`] on the wire. Each kind of leaf has a field of its own.
    #[derive(Default)]
    pub(crate) struct DataFields: Direct {
        object_id: Option<Str> = "objectId";
        encoding: Option<Str> = "encoding";
        boolean: Option<bool> = "boolean";
        bytes: Data = "bytes";
        number: Option<f64> = "number";
        string: Option<Str> = "string";
        /// JSON text, or from some services the JSON itself.
        json: Data = "json";
    }
}

impl Serialize for ObjectData {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut fields = DataFields {
            object_id: self.object_id.clone(),
            encoding: self.encoding.clone(),
            ..DataFields::default()
        };
        match &self.value {
            None => {}
            Some(ObjectValue::Boolean(value)) => fields.boolean = Some(*value),
            Some(ObjectValue::Bytes(bytes)) => fields.bytes = Data::Binary(bytes.clone()),
            Some(ObjectValue::Number(number)) => fields.number = Some(*number),
            Some(ObjectValue::String(text)) => fields.string = Some(text.clone()),
            Some(ObjectValue::Json(value)) => fields.json = Data::Text(value.to_string().into()),
        }
        fields.serialize(s)
    }
}

impl TryFrom<DataFields> for ObjectData {
    type Error = &'static str;

    fn try_from(mut fields: DataFields) -> Result<Self, Self::Error> {
        // Some services send a JSON leaf as a string with this encoding.
        if fields.encoding.as_deref() == Some("json")
            && let Some(text) = fields.string.take()
        {
            fields.json = Data::Text(text);
            fields.encoding = None;
        }
        let bytes = match fields.bytes {
            Data::None => None,
            Data::Binary(bytes) => Some(bytes),
            Data::Text(text) => {
                Some(from_base64(text.as_bytes()).ok_or("`bytes` that are not base64")?.into())
            }
            Data::Json(_) => return Err("`bytes` that are not bytes"),
        };
        let json = match fields.json {
            Data::None => None,
            Data::Json(value) => Some(value),
            Data::Text(text) => {
                Some(serde_json::from_str(&text).map_err(|_| "`json` that is not JSON")?)
            }
            Data::Binary(_) => return Err("`json` that is not text"),
        };
        let value = (fields.boolean.map(ObjectValue::Boolean))
            .or(bytes.map(ObjectValue::Bytes))
            .or(fields.number.map(ObjectValue::Number))
            .or(fields.string.map(ObjectValue::String))
            .or(json.map(ObjectValue::Json));
        Ok(Self { object_id: fields.object_id, value, encoding: fields.encoding })
    }
}
