//! Bytes to frames and back, as JSON text or MessagePack.

mod batch;
mod delivery;
pub(crate) mod frame;
pub(crate) mod json;
pub(crate) mod msgpack;
mod salvage;

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Annotation, ClientFrame, ErrorCode, ErrorInfo, JsonObject, Message, ObjectMessage,
    PresenceMessage, PublishResult, ServerFrame, Str, lenient,
};
pub use batch::{FrameBatch, split_frames};
use frame::FrameOut;
pub use salvage::{Damaged, salvage_client_frame, salvage_server_frame, split_items};

/// The deepest nesting that any decoder accepts, even with higher [`Limits`]: each level takes stack.
const MAX_DEPTH: usize = 120;

/// Deepest nesting of a frame or a body that publishes something.
///
/// A published item comes back in frames, pages and batches, which add at most 4 levels around it. Readers
/// with the [default limits](Limits::default) can thus read whatever a service accepted within this one.
pub const MAX_PUBLISH_DEPTH: usize = 60;

/// The levels around the extras of an item in a frame: frame, array and item.
const AROUND_EXTRAS: usize = 3;

/// Checks that an item with these extras is within [`MAX_PUBLISH_DEPTH`] when it is published in a frame.
///
/// # Errors
/// Code 40013 when they nest deeper.
pub fn check_extras(extras: Option<&JsonObject>) -> Result<(), ErrorInfo> {
    fn is_within(value: &Value, levels: usize) -> bool {
        match value {
            Value::Array(values) => {
                levels > 0 && values.iter().all(|value| is_within(value, levels - 1))
            }
            Value::Object(values) => {
                levels > 0 && values.values().all(|value| is_within(value, levels - 1))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
    }
    // The map of the extras is a level itself.
    let limit = MAX_PUBLISH_DEPTH - AROUND_EXTRAS;
    let mut values = extras.into_iter().flat_map(JsonObject::values);
    if values.all(|value| is_within(value, limit - 1)) {
        return Ok(());
    }
    let message = format!("the extras nest deeper than the limit of {limit} levels");
    Err(ErrorInfo::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message))
}

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
    /// Deepest nesting of arrays and maps; more than 120 counts as 120.
    pub max_depth: usize,
}

impl Default for Limits {
    /// 16 MiB and 64 levels.
    fn default() -> Self {
        Self { max_size: 16 * 1024 * 1024, max_depth: 64 }
    }
}

impl Limits {
    fn check_size(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let (size, limit) = (bytes.len(), self.max_size);
        if size > limit { Err(DecodeError::TooLarge { size, limit }) } else { Ok(()) }
    }
}

/// The reason why bytes are not a frame or a body.
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
        /// The expected or found value, and its position.
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

/// A decoding error inside a reader. It is boxed so that a `Result` without an error stays small: every value that is
/// read returns one.
pub(crate) type Fault = Box<DecodeError>;

/// Appends a client's frame to `out`.
pub fn encode_client_frame(format: Format, frame: &ClientFrame, out: &mut Vec<u8>) {
    let mut fields = FrameOut::default();
    frame.put(&mut fields);
    encode_frame(format, &fields, out);
}

/// Appends a server's frame to `out`.
pub fn encode_server_frame(format: Format, frame: &ServerFrame, out: &mut Vec<u8>) {
    let mut fields = FrameOut::default();
    frame.put(&mut fields);
    encode_frame(format, &fields, out);
}

/// Reads a frame that a client sent. Text and payloads are slices of `bytes` where the format allows.
///
/// # Errors
/// A [`DecodeError`] with the reason; unknown fields, actions and flags are not errors (RTF1).
pub fn decode_client_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<ClientFrame, DecodeError> {
    match format {
        Format::Json => json::read_frame(bytes, limits)?.client(),
        Format::MsgPack => msgpack::read_client_frame(bytes, limits),
    }
}

/// Reads a frame that a service sent. Text and payloads are slices of `bytes` where the format allows.
///
/// # Errors
/// A [`DecodeError`] with the reason; unknown fields, actions and flags are not errors (RTF1).
pub fn decode_server_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<ServerFrame, DecodeError> {
    let mut frame = ServerFrame::Closed;
    read_server_frame(format, bytes, limits, &mut frame)?;
    Ok(frame)
}

/// As [`decode_server_frame`], into an existing frame. For a reader of many frames: moving a frame costs nearly as much
/// as reading it.
///
/// # Errors
/// As [`decode_server_frame`]; the content of `frame` is then unspecified.
pub fn read_server_frame(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
    frame: &mut ServerFrame,
) -> Result<(), DecodeError> {
    match format {
        Format::Json => json::read_server_frame(bytes, limits, frame),
        Format::MsgPack => msgpack::read_server_frame(bytes, limits, frame),
    }
}

fn encode_frame(format: Format, frame: &FrameOut<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Json => json::write(frame, out),
        Format::MsgPack => msgpack::write(frame, out),
    }
}

/// The two fields by which a scripted peer or a router sorts frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// The frame's action, as its number.
    pub action: u32,
    /// The frame's serial, when it has one.
    pub msg_serial: Option<u64>,
}

/// Reads only a frame's action and serial; `None` when the bytes are not a frame.
pub fn peek(format: Format, bytes: &[u8]) -> Option<Peek> {
    match format {
        Format::Json => json::peek(bytes),
        Format::MsgPack => msgpack::peek(bytes),
    }
}

/// An item of a REST body: a message, presence message, annotation, object message or publish result.
pub trait Item: sealed::Sealed {}

mod sealed {
    use serde::de::DeserializeOwned;

    use crate::wire::{JsonFields, Read, Write};

    pub trait Sealed: Write + Read + JsonFields + DeserializeOwned {}
}

macro_rules! items {
    ($($type:ty),*) => {
        $(
            impl sealed::Sealed for $type {}
            impl Item for $type {}
        )*
    };
}

items!(Message, PresenceMessage, Annotation, ObjectMessage, PublishResult);

/// One item as a REST body.
pub fn encode_item<T: Item>(format: Format, item: &T) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        Format::Json => json::write(item, &mut out),
        Format::MsgPack => msgpack::write(item, &mut out),
    }
    out
}

/// Items as a REST body: an array.
pub fn encode_items<T: Item>(format: Format, items: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        Format::Json => json::write_array(items, &mut out),
        Format::MsgPack => msgpack::write_array(items, &mut out),
    }
    out
}

/// Reads a REST body that holds one item or an array of them.
///
/// # Errors
/// A [`DecodeError`] with the reason.
pub fn decode_items<T: Item>(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<Vec<T>, DecodeError> {
    match format {
        Format::Json => json::read_items(bytes, limits),
        Format::MsgPack => msgpack::read_items(bytes, limits),
    }
}

/// The messages as the body of a REST request or response: an array.
pub fn encode_messages(format: Format, messages: &[Message]) -> Vec<u8> {
    encode_items(format, messages)
}

/// Reads a REST body that holds one message or an array of them.
///
/// # Errors
/// A [`DecodeError`] with the reason.
pub fn decode_messages(
    format: Format,
    bytes: &Bytes,
    limits: &Limits,
) -> Result<Vec<Message>, DecodeError> {
    decode_items(format, bytes, limits)
}

/// The body that answers a publish over REST (RSL1n).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublishBody {
    /// The channel published to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<Str>,
    /// The id of the publish, from which its messages derive theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Str>,
    /// The serial of each message, in order; `None` for one discarded by conflation (PBR2a).
    #[serde(deserialize_with = "lenient::items")]
    pub serials: Vec<Option<Str>>,
}

/// The body of a REST response that failed (RSC8e).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The reason.
    pub error: ErrorInfo,
}

/// Serializes a body of a cold type in this format.
///
/// # Errors
/// [`DecodeError::Malformed`] when the value has no form in the format, such as a map whose keys are not
/// strings.
pub fn encode_body<T: Serialize>(format: Format, value: &T) -> Result<Vec<u8>, DecodeError> {
    match format {
        Format::Json => serde_json::to_vec(value).map_err(|error| error.to_string()),
        Format::MsgPack => rmp_serde::to_vec_named(value).map_err(|error| error.to_string()),
    }
    .map_err(|reason| DecodeError::Malformed { reason })
}

/// Reads a body of a cold type.
///
/// # Errors
/// A [`DecodeError`] with the reason.
pub fn decode_body<T: DeserializeOwned>(
    format: Format,
    bytes: &[u8],
    limits: &Limits,
) -> Result<T, DecodeError> {
    match format {
        Format::Json => json::read(bytes, limits),
        Format::MsgPack => {
            msgpack::check(bytes, limits)?;
            rmp_serde::from_slice(bytes)
                .map_err(|error| DecodeError::Malformed { reason: error.to_string() })
        }
    }
}
