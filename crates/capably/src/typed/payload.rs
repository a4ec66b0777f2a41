//! Payloads as values of a type.

use std::{error::Error as StdError, fmt};

use capably_protocol::{Annotation, Data, ErrorCode, Message, PresenceMessage, Str};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::objects;
use crate::{BoxError, Error, Result};

/// How the values of a typed channel are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadFormat {
    /// As JSON, which all SDKs and the service's rules and filters can read.
    #[default]
    Json,
    /// As MessagePack in a binary payload, which is smaller. Structs have the names of their fields. Only programs that
    /// know of it can read it.
    MessagePack,
}

/// A message with its payload as a value; also a presence message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TypedMessage<T, M = Message> {
    /// The payload.
    pub value: T,
    /// The whole message: its name, serial, client id, extras and so on, and the payload as it came.
    pub message: M,
}

/// A message whose payload is not a value of the type (40013). The other messages are not affected.
///
/// As a [`crate::Error`], this error is the source:
///
/// ```
/// use capably::typed::DecodeError;
/// use std::error::Error;
///
/// fn message_of(error: &capably::Error) -> Option<&capably::Message> {
///     error.source()?.downcast_ref::<DecodeError>().map(|wrong| &*wrong.message)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecodeError<M = Message> {
    /// Why the payload is not a value of the type.
    pub error: Error,
    /// The message, so that it is not lost.
    pub message: Box<M>,
}

impl<M> fmt::Display for DecodeError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<M: fmt::Debug> StdError for DecodeError<M> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

impl<M: fmt::Debug + Send + Sync + 'static> From<DecodeError<M>> for Error {
    fn from(error: DecodeError<M>) -> Self {
        error.error.clone().with_source(error)
    }
}

/// A message, presence message or annotation: an item with a payload.
pub trait Payload: sealed::Sealed {
    /// The payload.
    fn data(&self) -> &Data;

    /// The steps of the payload's encoding that could not be undone.
    fn encoding(&self) -> Option<&Str>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! payloads {
    ($($item:ty),*) => {$(
        impl sealed::Sealed for $item {}

        impl Payload for $item {
            fn data(&self) -> &Data {
                &self.data
            }

            fn encoding(&self) -> Option<&Str> {
                self.encoding.as_ref()
            }
        }
    )*};
}

payloads!(Message, PresenceMessage, Annotation);

impl PayloadFormat {
    /// The payload of a value.
    ///
    /// # Errors
    /// Code 40013 for a value that cannot be serialized, or that is no payload.
    pub(super) fn encode<T: Serialize>(self, value: &T) -> Result<Data> {
        match self {
            Self::MessagePack => rmp_serde::to_vec_named(value)
                .map(Data::from)
                .map_err(|error| cannot_encode("the value has no MessagePack form", error)),
            Self::Json => match serde_json::to_value(value) {
                Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(Data::Json(value)),
                Ok(Value::String(text)) => Ok(Data::from(text)),
                Ok(Value::Null) => Ok(Data::None),
                Ok(Value::Number(_)) => Err(no_payload("a number")),
                Ok(Value::Bool(_)) => Err(no_payload("a boolean")),
                Err(error) => Err(cannot_encode("the value has no JSON form", error)),
            },
        }
    }

    /// A message with its payload as a value. Both formats are read, whatever this one is.
    ///
    /// # Errors
    /// Code 40013, with the message, for a payload that is not a value of the type.
    pub(super) fn decode<T: DeserializeOwned, M: Payload>(
        self,
        message: M,
    ) -> Result<TypedMessage<T, M>, DecodeError<M>> {
        match self.value(message.data(), message.encoding()) {
            Ok(value) => Ok(TypedMessage { value, message }),
            Err(error) => Err(DecodeError { error, message: Box::new(message) }),
        }
    }

    fn value<T: DeserializeOwned>(self, data: &Data, encoding: Option<&Str>) -> Result<T> {
        if let Some(steps) = encoding.filter(|steps| !steps.is_empty()) {
            let message = format!("the payload still has the encoding `{steps}`");
            return Err(Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
                .with_remedy("if the payload is encrypted, set the channel's cipher"));
        }
        match data {
            Data::None => T::deserialize(&Value::Null).map_err(wrong_type),
            Data::Json(value) => T::deserialize(value).map_err(wrong_type),
            Data::Text(text) => read_text(text).map_err(wrong_type),
            Data::Binary(bytes) => match self {
                Self::MessagePack => rmp_serde::from_slice(bytes).map_err(wrong_type),
                Self::Json => objects::read_bytes(bytes.clone()).map_err(wrong_type),
            },
        }
    }
}

/// Reads text as a string, or else as JSON text.
fn read_text<T: DeserializeOwned>(text: &Str) -> Result<T, serde_json::Error> {
    T::deserialize(&Value::String(text.to_string())).or_else(|as_string| {
        serde_json::from_str(text).map_err(|as_json| {
            // The more helpful of the two: text that is no JSON was meant as a string.
            if as_json.is_data() { as_json } else { as_string }
        })
    })
}

fn wrong_type(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    let message = format!("the payload is not of the type that was asked for: {error}");
    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
        .with_remedy("use the message that comes with the error, or read another type")
        .with_source(error)
}

fn cannot_encode(what: &str, error: impl Into<BoxError>) -> Error {
    let error = error.into();
    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, format!("{what}: {error}"))
        .with_remedy("publish a type that serde can serialize in this format")
        .with_source(error)
}

fn no_payload(kind: &str) -> Error {
    let message = format!("{kind} alone is no payload");
    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
        .with_remedy("put the value into a struct, or use `PayloadFormat::MessagePack`")
}
