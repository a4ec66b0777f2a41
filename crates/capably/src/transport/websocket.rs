//! WebSockets over TCP and TLS.

use std::{
    fmt,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use capably_protocol::ErrorCode;
use futures_core::Stream;
use futures_util::{FutureExt, Sink};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError, Message as WsMessage, Utf8Bytes,
        client::IntoClientRequest,
        error::{CapacityError, ProtocolError},
        protocol::WebSocketConfig,
    },
};

use super::{Connector, DialRequest, Dialling, Packet, WebSocket};
use crate::{BoxError, Error, Result, proxy::Proxies};

/// The size of the read buffer, in bytes: large enough to read a burst in few calls. A message that stays in use does
/// not keep the buffer alive, because small frames are copied out of it.
const READ_BUFFER: usize = 64 * 1024;

/// How many bytes are buffered before they are written without a flush.
const WRITE_BUFFER: usize = 64 * 1024;

/// Small frames are copied out of the read buffer into pages of this size, in bytes, so that a message keeps at most a
/// page alive. Frames larger than half a page are not copied.
const PAGE: usize = 4 * 1024;

/// Opens WebSockets over TCP, with or without TLS, directly or through a proxy.
#[derive(Debug)]
pub(crate) struct TcpConnector {
    proxies: Proxies,
}

impl TcpConnector {
    pub(crate) fn new(proxies: Proxies) -> Self {
        Self { proxies }
    }
}

impl Connector for TcpConnector {
    fn connect(&self, request: DialRequest) -> Dialling {
        let proxies = self.proxies.clone();
        Box::pin(async move {
            let stream = dial(&request, &proxies).await?;
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER)
                .write_buffer_size(WRITE_BUFFER)
                .max_frame_size(Some(request.max_frame_size))
                .max_message_size(Some(request.max_frame_size));
            let upgrade = request.url().into_client_request().map_err(handshake_failed)?;
            let (stream, _) = client_async_with_config(upgrade, stream, Some(config))
                .await
                .map_err(handshake_failed)?;
            Ok(Box::new(TcpWebSocket { stream, page: BytesMut::new() }) as Box<dyn WebSocket>)
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn dial(request: &DialRequest, proxies: &Proxies) -> Result<Box<dyn Io>> {
    let stream = reach(request, proxies).await.map_err(|error| {
        let place = request.authority();
        let message = format!("{place} cannot be reached: {error}");
        Error::new(ErrorCode::CONNECTION_FAILED, 0, message).with_source(error)
    })?;
    // The driver flushes whole batches, so Nagle's algorithm would only add latency.
    stream.set_nodelay(true).map_err(lost)?;
    if request.tls { start_tls(request, stream).await } else { Ok(Box::new(stream)) }
}

/// Opens a TCP connection or a tunnel to the host.
async fn reach(request: &DialRequest, proxies: &Proxies) -> Result<TcpStream, BoxError> {
    let scheme = if request.tls { "https" } else { "http" };
    let host = crate::endpoint::url_host(&request.host);
    let target = format!("{scheme}://{host}:{}/", request.port).parse()?;
    match proxies.of(&target)? {
        None => Ok(TcpStream::connect((request.host.as_str(), request.port)).await?),
        Some(proxy) => Ok(proxy.tunnel(HttpConnector::new(), target).await?.into_inner()),
    }
}

#[cfg(feature = "tls")]
async fn start_tls(request: &DialRequest, stream: TcpStream) -> Result<Box<dyn Io>> {
    let failed = |message: String| Error::new(ErrorCode::CONNECTION_FAILED, 0, message);
    let name = rustls::pki_types::ServerName::try_from(request.host.clone()).map_err(|error| {
        failed(format!("`{}` is not a valid TLS server name: {error}", request.host))
    })?;
    let connector = tokio_rustls::TlsConnector::from(crate::tls::client_config());
    let stream = connector.connect(name, stream).await.map_err(|error| {
        failed(format!("TLS with {} failed: {error}", request.authority())).with_source(error)
    })?;
    Ok(Box::new(stream))
}

#[cfg(not(feature = "tls"))]
async fn start_tls(_: &DialRequest, _: TcpStream) -> Result<Box<dyn Io>> {
    Err(Error::new(
        ErrorCode::CONNECTION_FAILED,
        0,
        "this build has no TLS: enable the cargo feature `tls`, or set the option `tls(false)`",
    ))
}

struct TcpWebSocket {
    stream: WebSocketStream<Box<dyn Io>>,
    /// The free rest of the page for small frames.
    page: BytesMut,
}

impl fmt::Debug for TcpWebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpWebSocket").finish_non_exhaustive()
    }
}

impl WebSocket for TcpWebSocket {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<()>> {
        let before = packets.len();
        while packets.len() - before < limit {
            match Pin::new(&mut self.stream).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => match message {
                    WsMessage::Binary(bytes) => {
                        packets.push(Packet::Binary(own(&mut self.page, bytes)))
                    }
                    WsMessage::Text(text) => {
                        packets.push(Packet::Text(own(&mut self.page, text.into())))
                    }
                    WsMessage::Ping(_) | WsMessage::Pong(_) => packets.push(Packet::Ping),
                    // The end of the stream follows a close frame.
                    WsMessage::Close(_) | WsMessage::Frame(_) => {}
                },
                // The stream reports an error only once; the next call would only report the end.
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(ended(error))),
                Poll::Ready(None) => return Poll::Ready(Err(ended(WsError::ConnectionClosed))),
                Poll::Pending if packets.len() > before => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_ready(cx).map_err(ended)
    }

    fn send(&mut self, packet: Packet) -> Result<()> {
        let message = match packet {
            Packet::Binary(bytes) => WsMessage::Binary(bytes),
            Packet::Text(bytes) => WsMessage::Text(
                Utf8Bytes::try_from(bytes)
                    .map_err(|_| protocol_error("a text frame must be UTF-8".to_owned()))?,
            ),
            Packet::Ping => WsMessage::Ping(Bytes::new()),
        };
        Pin::new(&mut self.stream).start_send(message).map_err(ended)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(ended)
    }

    fn close(&mut self) {
        // A peer that does not take the close frame at once will notice the closed socket.
        let _ = pin!(self.stream.close(None)).now_or_never();
    }
}

/// Copies a small frame out of the read buffer.
fn own(page: &mut BytesMut, frame: Bytes) -> Bytes {
    if frame.len() > PAGE / 2 {
        return frame;
    }
    if page.capacity() < frame.len() {
        *page = BytesMut::with_capacity(PAGE);
    }
    page.extend_from_slice(&frame);
    page.split().freeze()
}

fn handshake_failed(error: WsError) -> Error {
    let (status, message) = match &error {
        WsError::Http(response) => {
            let status = response.status().as_u16();
            let message = format!("the server answered the WebSocket request with status {status}");
            // CloudFront is in front of the service: its refusal is not the service's (RSC15l4).
            let server = response.headers().get("server");
            match server.is_some_and(|server| server == "CloudFront") {
                true => (503, format!("{message}, which comes from CloudFront")),
                false => (status, message),
            }
        }
        other => (0, format!("the WebSocket handshake failed: {other}")),
    };
    Error::new(ErrorCode::CONNECTION_FAILED, status, message).with_source(error)
}

fn ended(error: WsError) -> Error {
    match error {
        WsError::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            protocol_error(format!("a frame of {size} bytes is more than the limit of {max_size}"))
        }
        // A peer that disappears without a closing handshake is a lost socket, and no violation of the protocol.
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | WsError::ConnectionClosed => {
            Error::new(ErrorCode::CONNECTION_DISCONNECTED, 0, "the server closed the socket")
        }
        WsError::Io(error) => lost(error),
        WsError::Protocol(_) | WsError::Capacity(_) | WsError::Utf8(_) => {
            protocol_error(format!("the peer violated the WebSocket protocol: {error}"))
        }
        other => Error::new(
            ErrorCode::CONNECTION_DISCONNECTED,
            0,
            format!("the socket was lost: {other}"),
        ),
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorCode::CONNECTION_DISCONNECTED, 0, format!("the socket was lost: {error}"))
        .with_source(error)
}

fn protocol_error(message: String) -> Error {
    Error::new(ErrorCode::PROTOCOL_ERROR, 400, message)
}
