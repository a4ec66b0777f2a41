//! The transports of the realtime client, and the WebSocket interface of the SDK.
//!
//! A [`Connector`] opens WebSockets. The SDK has a connector for TCP and TLS. Pass your own to
//! [`ClientOptions::connector`](crate::ClientOptions::connector) to use another WebSocket library, or to script a peer in a
//! test.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::Uri;

use crate::Result;

pub(crate) mod comet;
mod fallback;
mod pages;
mod websocket;

pub use capably_protocol::Format;

pub(crate) use self::{comet::CometConnector, fallback::FallbackConnector};
pub(crate) use websocket::TcpConnector;

/// A way to carry the frames of a realtime connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// A WebSocket (RTN1).
    WebSocket,
    /// HTTP requests, for networks that let no WebSocket through: one request receives, as a stream or again and
    /// again, and others send. Each takes longer than a frame over a WebSocket.
    Comet,
}

/// Opens WebSockets.
pub trait Connector: fmt::Debug + Send + Sync {
    /// Opens a WebSocket. The client drops the future to cancel the attempt; it must then leave nothing behind.
    ///
    /// # Errors
    /// Code 80000 when the connection cannot be opened. The status decides whether the client tries other hosts
    /// (RTN17f). It does with status 0, for a host that cannot be reached, and with 500 to 504, for a host that is
    /// out of order. It does not with any other status, because other hosts would refuse as well.
    fn connect(&self, request: DialRequest) -> Dialling;
}

/// A pending attempt to open a WebSocket.
pub type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn WebSocket>>> + Send>>;

/// An open WebSocket.
///
/// The SDK reads and writes in batches: it receives all frames that have arrived at once, and sends several frames
/// before it flushes.
pub trait WebSocket: fmt::Debug + Send {
    /// Appends received packets to `packets`: at least one when ready, and at most about `limit`.
    ///
    /// # Errors
    /// 80003 when the socket has ended; 80013 when the peer violated the WebSocket protocol or sent a frame that is too
    /// large. Packets that were appended arrived before the error. No packet follows an error.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<()>>;

    /// Ready when there is room to send a packet.
    ///
    /// # Errors
    /// 80003 when the socket has ended.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Buffers a packet. It is written at the next flush at the latest. Call this only after `poll_ready` was ready.
    ///
    /// # Errors
    /// 80003 when the socket has ended.
    fn send(&mut self, packet: Packet) -> Result<()>;

    /// Buffers a packet in this format, whose bytes `write` appends to a buffer. It has the effect of
    /// [`send`](Self::send), which the default implementation calls. A socket with a buffer of bytes saves a copy if it
    /// lets `write` append to that buffer.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    fn send_with(&mut self, format: Format, write: &mut dyn FnMut(&mut Vec<u8>)) -> Result<()> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.send(match format {
            Format::Json => Packet::Text(bytes.into()),
            Format::MsgPack => Packet::Binary(bytes.into()),
        })
    }

    /// Writes all buffered packets.
    ///
    /// # Errors
    /// 80003 when the socket has ended.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// The format of the frames, if it is another than the `format` in the path of the [`DialRequest`].
    fn format(&self) -> Option<Format> {
        None
    }

    /// The service has sent CONNECTED with this connection key. A transport that is made of several requests names the
    /// connection in each of them.
    fn connected(&mut self, connection_key: &str) {
        let _ = connection_key;
    }

    /// A frame AUTH with this token is sent next. A transport that is made of several requests has the token in each of
    /// them.
    fn renewed(&mut self, access_token: &str) {
        let _ = access_token;
    }

    /// Sends a close frame if that is possible without waiting. The socket is dropped next.
    fn close(&mut self);
}

/// A unit of WebSocket traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet {
    /// A text frame: JSON, in UTF-8.
    Text(Bytes),
    /// A binary frame: MessagePack.
    Binary(Bytes),
    /// A ping. The connector answers it itself, and reports it to the client as activity (RTN23b).
    Ping,
}

/// A request to open a WebSocket.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialRequest {
    /// Whether to use TLS.
    pub tls: bool,
    /// The host's name or address; an IPv6 address has no brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, percent-encoded. The query contains credentials.
    pub path: String,
    /// The largest frame to accept, in bytes.
    pub max_frame_size: usize,
    /// How long the whole attempt may take. The client then drops the future.
    pub timeout: Duration,
}

impl DialRequest {
    /// The request for a WebSocket at a URL; `None` if the text is no URL of a WebSocket.
    pub(crate) fn of_url(url: &str, max_frame_size: usize, timeout: Duration) -> Option<Self> {
        let url: Uri = url.parse().ok()?;
        let tls = match url.scheme_str()? {
            "wss" => true,
            "ws" => false,
            _ => return None,
        };
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = url.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
        Some(Self { tls, host, port, path, max_frame_size, timeout })
    }

    /// The URL, including credentials.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// Host and port for a `Host` header.
    pub fn authority(&self) -> String {
        let host = crate::endpoint::url_host(&self.host);
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Debug for DialRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DialRequest")
            .field("tls", &self.tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
