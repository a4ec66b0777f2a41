//! Message payloads.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{ErrorInfo, Str, encoding::invalid};

/// A payload: text, binary, JSON, or none (RSL4a).
///
/// Text and binary stay distinct on every path, over JSON (where binary travels as base64) as over
/// MessagePack (RSL4c).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Data {
    /// No payload: the `data` field is absent.
    #[default]
    None,
    /// A string.
    Text(Str),
    /// Bytes. Cloning shares them.
    Binary(Bytes),
    /// A JSON object or array; on the wire a string with the encoding `json`.
    Json(Value),
}

impl Data {
    /// A value's JSON form, which must be an object or an array (RSL4a).
    ///
    /// ```
    /// # use capably_protocol::Data;
    /// # #[derive(serde::Serialize)]
    /// # struct Point { x: i32 }
    /// let data = Data::from_json(&Point { x: 1 })?;
    /// assert_eq!(data, Data::Json(serde_json::json!({ "x": 1 })));
    /// # Ok::<(), capably_protocol::ErrorInfo>(())
    /// ```
    ///
    /// # Errors
    /// Code 40013 when the value has no JSON form, or one that is neither object nor array.
    pub fn from_json<T: Serialize + ?Sized>(value: &T) -> Result<Self, ErrorInfo> {
        match serde_json::to_value(value) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(Self::Json(value)),
            Ok(_) => Err(invalid("JSON data must be an object or an array")),
            Err(error) => Err(invalid(format!("the data has no JSON form: {error}"))),
        }
    }

    /// The payload as a value of a type. Text is read as JSON text, and no payload as null.
    ///
    /// # Errors
    /// Code 40013 when the payload is not JSON, or JSON of another shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ErrorInfo> {
        match self {
            Self::None => T::deserialize(Value::Null),
            Self::Text(text) => serde_json::from_str(text),
            Self::Json(value) => T::deserialize(value),
            Self::Binary(_) => return Err(invalid("the data is binary, not JSON")),
        }
        .map_err(|error| invalid(format!("the data does not have the expected form: {error}")))
    }

    /// Whether there is no payload.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The text, when it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::None | Self::Binary(_) | Self::Json(_) => None,
        }
    }

    /// The bytes, when it is binary.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Binary(bytes) => Some(bytes),
            Self::None | Self::Text(_) | Self::Json(_) => None,
        }
    }

    /// The JSON value, when it is JSON.
    pub fn as_json(&self) -> Option<&Value> {
        match self {
            Self::Json(value) => Some(value),
            Self::None | Self::Text(_) | Self::Binary(_) => None,
        }
    }

    /// The size that counts against `maxMessageSize`, in bytes (TM6).
    pub fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Json(value) => json_size(value),
        }
    }
}

/// The length of a value's JSON text in bytes (TM6b, TM6d).
pub(crate) fn json_size(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // A JSON value always serializes: its keys are strings and the writer cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Data {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&String> for Data {
    fn from(text: &String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Cow<'_, str>> for Data {
    fn from(text: Cow<'_, str>) -> Self {
        Self::Text(text.into())
    }
}

impl From<Arc<str>> for Data {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text.into())
    }
}

impl From<Str> for Data {
    fn from(text: Str) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

impl From<&Vec<u8>> for Data {
    fn from(bytes: &Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Data {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Self {
        Self::Json(value)
    }
}

impl From<()> for Data {
    fn from((): ()) -> Self {
        Self::None
    }
}
