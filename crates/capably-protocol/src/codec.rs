//! Bytes to frames and back, as JSON text or MessagePack.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{ClientFrame, Message, ServerFrame};

/// The two encodings of the protocol (RTN2a, RSC8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON, in text frames.
    Json,
    /// MessagePack, in binary frames.
    MsgPack,
}

impl Format {
    /// The name in the `format` query parameter: `json` or `msgpack` (RTN2a).
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MsgPack => "msgpack",
        }
    }

    /// The HTTP content type: `application/json` or `application/x-msgpack` (RSC8).
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MsgPack => "application/x-msgpack",
        }
    }
}

/// Bounds on what a decoder accepts from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame or body, in bytes.
    pub max_size: usize,
    /// Deepest nesting of arrays and maps.
    pub max_depth: usize,
}

impl Default for Limits {
    /// 16 MiB and 64 levels.
    fn default() -> Self {
        Self { max_size: 16 * 1024 * 1024, max_depth: 64 }
    }
}

/// Why bytes are not a frame or a body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// More bytes than [`Limits::max_size`].
    TooLarge {
        /// How many there are.
        size: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Nested deeper than [`Limits::max_depth`].
    TooDeep {
        /// How many levels are allowed.
        limit: usize,
    },
    /// The bytes are not the format they should be, or a field has the wrong type.
    Malformed {
        /// What was expected or found, and where.
        reason: String,
    },
    /// A field that the frame's action needs is missing.
    Missing {
        /// The field's name on the wire.
        field: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, limit } => {
                write!(f, "{size} bytes are more than the limit of {limit}")
            }
            Self::TooDeep { limit } => write!(f, "nested deeper than the limit of {limit} levels"),
            Self::Malformed { reason } => f.write_str(reason),
            Self::Missing { field } => write!(f, "the field `{field}` is missing"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends a client's frame to `out`.
pub fn encode_client_frame(format: Format, frame: &ClientFrame, out: &mut Vec<u8>) {
    let _ = (format, frame, out);
}

/// Appends a server's frame to `out`.
pub fn encode_server_frame(format: Format, frame: &ServerFrame, out: &mut Vec<u8>) {
    let _ = (format, frame, out);
}

/// Reads a frame that a client sent. Text and payloads are slices of `bytes` where the format allows.
///
/// # Errors
/// A [`DecodeError`] saying what is wrong; unknown fields, actions and flags are not errors (RTF1).
pub fn decode_client_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<ClientFrame, DecodeError> {
    let _ = (format, bytes, limits);
    Err(DecodeError::Missing { field: "action" })
}

/// Reads a frame that a service sent. Text and payloads are slices of `bytes` where the format allows.
///
/// # Errors
/// A [`DecodeError`] saying what is wrong; unknown fields, actions and flags are not errors (RTF1).
pub fn decode_server_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<ServerFrame, DecodeError> {
    let _ = (format, bytes, limits);
    Err(DecodeError::Missing { field: "action" })
}

/// The messages as the body of a REST request or response: an array.
pub fn encode_messages(format: Format, messages: &[Message]) -> Vec<u8> {
    let _ = (format, messages);
    Vec::new()
}

/// Reads a REST body that holds one message or an array of them.
///
/// # Errors
/// A [`DecodeError`] saying what is wrong.
pub fn decode_messages(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<Vec<Message>, DecodeError> {
    let _ = (format, bytes, limits);
    Ok(Vec::new())
}

/// Serializes a body of a cold type in this format.
///
/// # Errors
/// [`DecodeError::Malformed`] when the value has no form in the format, such as a map whose keys are not
/// strings.
pub fn encode_body<T: Serialize>(format: Format, value: &T) -> Result<Vec<u8>, DecodeError> {
    let _ = (format, value);
    Ok(Vec::new())
}

/// Reads a body of a cold type.
///
/// # Errors
/// A [`DecodeError`] saying what is wrong.
pub fn decode_body<T: DeserializeOwned>(
    format: Format,
    bytes: &[u8],
    limits: &Limits,
) -> Result<T, DecodeError> {
    let _ = (format, bytes, limits);
    Err(DecodeError::Malformed { reason: String::new() })
}
