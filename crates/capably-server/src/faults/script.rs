//! Frames and responses that rules send in place of the service or of a client.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use capably_protocol::{ClientFrame, Format, ServerFrame, codec};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as WsMessage;

/// A frame that a rule sends.
///
/// It is made from a [`ServerFrame`], a [`ClientFrame`] or the JSON of a frame, and is sent in the connection's format.
/// Frames of [`text`](Self::text) and [`binary`](Self::binary) are sent as they are: with them, a test can send malformed
/// data.
///
/// ```
/// use capably_server::faults::Frame;
/// use serde_json::json;
///
/// let closed = Frame::from(json!({ "action": 8 }));
/// let nonsense = Frame::text("{");
/// # let _ = (closed, nonsense);
/// ```
#[derive(Clone)]
pub struct Frame(Content);

#[derive(Clone)]
enum Content {
    Server(Box<ServerFrame>),
    Client(Box<ClientFrame>),
    Json(Value),
    Text(String),
    Binary(Bytes),
}

impl Frame {
    /// A text frame of the WebSocket with this content.
    pub fn text(text: impl Into<String>) -> Self {
        Self(Content::Text(text.into()))
    }

    /// A binary frame of the WebSocket with this content.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self(Content::Binary(bytes.into()))
    }

    /// The frame as it is sent on a connection of this format.
    pub(super) fn message(&self, format: Format) -> WsMessage {
        let mut bytes = Vec::new();
        match &self.0 {
            Content::Server(frame) => codec::encode_server_frame(format, frame, &mut bytes),
            Content::Client(frame) => codec::encode_client_frame(format, frame, &mut bytes),
            // Encoding a JSON value cannot fail in either format.
            Content::Json(value) => bytes = codec::encode_body(format, value).unwrap_or_default(),
            Content::Text(text) => return WsMessage::text(text.as_str()),
            Content::Binary(bytes) => return WsMessage::Binary(bytes.clone()),
        }
        match format {
            Format::Json => WsMessage::text(String::from_utf8_lossy(&bytes).into_owned()),
            Format::MsgPack => WsMessage::binary(bytes),
        }
    }

    /// The frame in the JSON of a rule.
    pub(super) fn to_json(&self) -> Value {
        match &self.0 {
            Content::Json(value) => value.clone(),
            Content::Text(text) => json!({ "text": text }),
            Content::Binary(bytes) => json!({ "binary": STANDARD.encode(bytes) }),
            Content::Server(frame) => server_frame_to_json(frame),
            Content::Client(frame) => client_frame_to_json(frame),
        }
    }

    /// Reads a frame from the JSON of a rule.
    pub(super) fn from_json(value: Value) -> Result<Self, String> {
        let Some(fields) = value.as_object() else {
            return Err("a frame must be an object with an `action`".into());
        };
        if fields.contains_key("action") {
            return Ok(Self(Content::Json(value)));
        }
        match (fields.get("text"), fields.get("binary")) {
            (Some(Value::String(text)), None) => Ok(Self::text(text)),
            (None, Some(Value::String(base64))) => STANDARD
                .decode(base64)
                .map(Self::binary)
                .map_err(|_| "the `binary` of a frame is not base64".into()),
            _ => Err("a frame must have an `action`, a `text` or a `binary`".into()),
        }
    }
}

pub(crate) fn server_frame_to_json(frame: &ServerFrame) -> Value {
    let mut bytes = Vec::new();
    codec::encode_server_frame(Format::Json, frame, &mut bytes);
    serde_json::from_slice(&bytes).unwrap_or_default()
}

pub(crate) fn client_frame_to_json(frame: &ClientFrame) -> Value {
    let mut bytes = Vec::new();
    codec::encode_client_frame(Format::Json, frame, &mut bytes);
    serde_json::from_slice(&bytes).unwrap_or_default()
}

impl From<ServerFrame> for Frame {
    fn from(frame: ServerFrame) -> Self {
        Self(Content::Server(Box::new(frame)))
    }
}

impl From<ClientFrame> for Frame {
    fn from(frame: ClientFrame) -> Self {
        Self(Content::Client(Box::new(frame)))
    }
}

impl From<Value> for Frame {
    fn from(frame: Value) -> Self {
        Self(Content::Json(frame))
    }
}

// JSON, text and bytes may have secrets, so they are not shown.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Content::Server(frame) => frame.fmt(f),
            Content::Client(frame) => frame.fmt(f),
            Content::Json(value) => write!(f, "Json(action: {})", value["action"]),
            Content::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Content::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// An HTTP response that a rule sends.
///
/// ```
/// use capably_server::faults::Response;
///
/// let busy = Response::new(503).error(50300, "try again").header("retry-after", "1");
/// # let _ = busy;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a response does nothing until a rule gives it"]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Body,
}

#[derive(Clone)]
pub(super) enum Body {
    /// In the format that the client accepts.
    Value(Value),
    Bytes(Bytes),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
        }
    }
}

impl Response {
    /// An empty response with this status, from 200 to 999. Another status is sent as 500.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(Bytes::new()) }
    }

    /// Adds a header. A header whose name or value is not valid is left out.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A body in the format that the client accepts.
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Body::Value(body.into());
        self
    }

    /// A body that is sent as it is. Add its `Content-Type` with [`header`](Self::header).
    pub fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }

    /// An error with this code and message, and with the status of the response. It is in the body and in headers, as the
    /// service sends it (RSC8e, HP6, HP7).
    pub fn error(self, code: u32, message: &str) -> Self {
        let status = self.status;
        self.body(json!({ "error": { "code": code, "statusCode": status, "message": message } }))
            .header("x-ably-errorcode", code.to_string())
            .header("x-ably-errormessage", message)
    }
}
