//! Recordings: the traffic between a client and a service, one JSON object a line.

mod body;
mod file;
mod redact;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::{
    body::{decode, encode, for_json},
    file::{Recording, Writer},
    redact::Redactor,
};

/// The version of the format of a recording.
pub(crate) const VERSION: u32 = 1;

/// The field of an object that stands for bytes of MessagePack; its value is their base64.
const BINARY: &str = "$binary";

/// Names and values in their order.
pub(crate) type Pairs = Vec<(String, String)>;

/// A line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// The time since the recording began, in ms.
    pub(crate) ms: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// An event of a recording. Connections and requests are numbered separately, from 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Event {
    /// The first line.
    Start { capably: String, version: u32, service: String, timestamp: i64 },
    /// A client asks for a WebSocket.
    Connect { connection: u64, path: String, query: Pairs, headers: Pairs },
    /// The WebSocket is open.
    Opened { connection: u64 },
    /// The service opened no WebSocket.
    Refused { connection: u64, status: u16, headers: Pairs, body: Body },
    /// A frame.
    Frame { connection: u64, to: Peer, format: FrameFormat, action: String, frame: Value },
    /// Bytes that are no frame.
    Unreadable { connection: u64, to: Peer, bytes: usize },
    /// The WebSocket has ended.
    Closed {
        connection: u64,
        by: Peer,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
    },
    /// A request over HTTP.
    Request { request: u64, method: String, path: String, query: Pairs, headers: Pairs, body: Body },
    /// Its response.
    Response { request: u64, status: u16, headers: Pairs, body: Body },
    /// The service could not be reached.
    Unreachable {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        connection: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<u64>,
        error: String,
    },
    /// The last line. Without it, the recording was cut off.
    End,
}

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Client,
    Service,
}

/// The format of a frame or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FrameFormat {
    Json,
    Msgpack,
}

/// The body of a request or a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Body {
    /// JSON or MessagePack.
    Value { format: FrameFormat, value: Value },
    /// Text, such as an HTML page of a proxy.
    Text { text: String },
    /// Other bytes: only their number is recorded, because they could contain secrets.
    Bytes { bytes: usize },
}
