//! The seam between the SDK and the sockets it uses.
//!
//! A [`Connector`] opens WebSockets. The SDK brings one that dials over TCP and TLS; give your own with
//! [`ClientOptions::connector`](crate::ClientOptions::connector) to use another WebSocket library, or to
//! script a peer in a test.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use crate::Result;

mod websocket;

pub(crate) use websocket::TcpConnector;

/// Opens WebSockets.
pub trait Connector: fmt::Debug + Send + Sync {
    /// Opens a WebSocket. The future is dropped when the attempt is given up, and must then leave
    /// nothing behind.
    ///
    /// # Errors
    /// Code 80000 when there is no connection to be had. The status says whether the client tries other
    /// hosts (RTN17f): it does with 0, for a host that cannot be reached, and from 500 to 504, for one that
    /// answers that it is out of order; it does not with any other, as a refusal by other hosts would be
    /// the same.
    fn connect(&self, request: DialRequest) -> Dialling;
}

/// A WebSocket on its way.
pub type Dialling = Pin<Box<dyn Future<Output = Result<Box<dyn WebSocket>>> + Send>>;

/// An open WebSocket.
///
/// Frames travel in batches: the SDK takes all that has arrived at once, and hands over all that is to be
/// sent before it flushes.
pub trait WebSocket: fmt::Debug + Send {
    /// Appends what has arrived to `packets`: at least one when ready, at most about `limit`.
    ///
    /// # Errors
    /// The socket has ended, with code 80003; or the peer broke the WebSocket protocol or sent a frame
    /// too large, with code 80013. What was appended arrived before; nothing follows an error.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<()>>;

    /// Whether there is room to send a packet.
    ///
    /// # Errors
    /// The socket has ended, with code 80003.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Hands over a packet; it leaves at the next flush at the latest. To be called after `poll_ready`
    /// was ready.
    ///
    /// # Errors
    /// The socket has ended, with code 80003.
    fn send(&mut self, packet: Packet) -> Result<()>;

    /// Writes out all that was handed over.
    ///
    /// # Errors
    /// The socket has ended, with code 80003.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>>;

    /// Says goodbye, as far as it goes without waiting; the socket is dropped next.
    fn close(&mut self);
}

/// What travels over a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet {
    /// A text frame: JSON, in UTF-8.
    Text(Bytes),
    /// A binary frame: MessagePack.
    Binary(Bytes),
    /// A ping, which the connector answers itself. It is passed on as a sign of life (RTN23b).
    Ping,
}

/// Where to open a WebSocket.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialRequest {
    /// Whether to use TLS.
    pub tls: bool,
    /// The host's name or address, an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, percent-encoded; the query holds credentials.
    pub path: String,
    /// The largest frame to accept, in bytes.
    pub max_frame_size: usize,
    /// How long the attempt may take in all; it is then given up by dropping the future.
    pub timeout: Duration,
}

impl DialRequest {
    /// The URL, credentials included.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// Host and port as a `Host` header has them.
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
