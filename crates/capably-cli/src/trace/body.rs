//! Frames and bodies in both formats as JSON, and back. The bytes of MessagePack become `{"$binary": "<base64>"}`.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use capably_server::protocol::{Format, Limits, codec};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Map, Number, Value, json};

use super::{BINARY, FrameFormat};

/// Bytes as a value; none if they are not of this format.
pub(crate) fn decode(format: FrameFormat, bytes: &[u8]) -> Option<Value> {
    let limits = Limits::default();
    match format {
        FrameFormat::Json => codec::decode_body(Format::Json, bytes, &limits).ok(),
        FrameFormat::Msgpack => {
            codec::decode_body(Format::MsgPack, bytes, &limits).ok().map(|Lossless(value)| value)
        }
    }
}

/// A value as bytes of this format.
pub(crate) fn encode(format: FrameFormat, value: &Value) -> Vec<u8> {
    let bytes = match format {
        FrameFormat::Json => codec::encode_body(Format::Json, &for_json(value.clone())),
        FrameFormat::Msgpack => codec::encode_body(Format::MsgPack, &Writing(value)),
    };
    // A JSON value has a form in both formats.
    bytes.unwrap_or_default()
}

/// The value as the protocol writes it in JSON: bytes are base64, and the encoding of a payload says so.
pub(crate) fn for_json(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(for_json).collect(),
        Value::Object(mut fields) => {
            if let Some(base64) = binary(&fields) {
                return base64.into();
            }
            let is_binary =
                fields.get("data").and_then(Value::as_object).is_some_and(|d| binary(d).is_some());
            if is_binary {
                let encoding = match fields.get("encoding").and_then(Value::as_str) {
                    Some(encoding) if !encoding.is_empty() => format!("{encoding}/base64"),
                    _ => "base64".to_owned(),
                };
                fields.insert("encoding".to_owned(), encoding.into());
            }
            Value::Object(fields.into_iter().map(|(name, value)| (name, for_json(value))).collect())
        }
        other => other,
    }
}

/// The base64 of a map that stands for bytes.
fn binary(fields: &Map<String, Value>) -> Option<&str> {
    match fields.get(BINARY) {
        Some(Value::String(base64)) if fields.len() == 1 => Some(base64),
        _ => None,
    }
}

struct Lossless(Value);

impl<'de> Deserialize<'de> for Lossless {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value of MessagePack")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
                Ok(json!({ BINARY: BASE64_STANDARD.encode(bytes) }))
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_none<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
                Lossless::deserialize(inner).map(|Lossless(value)| value)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut array = Vec::new();
                while let Some(Lossless(item)) = items.next_element()? {
                    array.push(item);
                }
                Ok(array.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
                let mut map = Map::new();
                while let Some((Lossless(key), Lossless(value))) = entries.next_entry()? {
                    let Value::String(key) = key else {
                        return Err(de::Error::custom("the key of a map is not text"));
                    };
                    map.insert(key, value);
                }
                Ok(map.into())
            }
        }

        deserializer.deserialize_any(Reading).map(Self)
    }
}

struct Writing<'a>(&'a Value);

impl Serialize for Writing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Array(items) => {
                let mut array = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    array.serialize_element(&Writing(item))?;
                }
                array.end()
            }
            Value::Object(fields) => {
                if let Some(bytes) =
                    binary(fields).and_then(|text| BASE64_STANDARD.decode(text).ok())
                {
                    return serializer.serialize_bytes(&bytes);
                }
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, &Writing(value))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_messagepack_survive_and_are_base64_in_json() {
        let message =
            json!({ "data": { "$binary": "/wD+" }, "encoding": "cipher", "n": -1, "f": 1.5 });
        let frame = json!({ "action": 15, "messages": [message, null, true] });
        let bytes = encode(FrameFormat::Msgpack, &frame);
        assert_eq!(decode(FrameFormat::Msgpack, &bytes), Some(frame.clone()));
        let json: Value = serde_json::from_slice(&encode(FrameFormat::Json, &frame)).unwrap();
        assert_eq!(json["messages"][0]["data"], "/wD+");
        assert_eq!(json["messages"][0]["encoding"], "cipher/base64");
        assert_eq!(decode(FrameFormat::Msgpack, &bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(FrameFormat::Json, b"{"), None);
    }
}
