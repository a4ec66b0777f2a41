//! The proxy that records.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use capably_server::protocol::frame::Action;
use futures_util::{
    FutureExt, Sink, SinkExt, Stream, StreamExt,
    future::{self, BoxFuture},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Error as WsError, Message},
};

use crate::{
    dial::{self, Address, BoxedStream},
    failure::Failure,
    local::{self, ClientSocket, Handle, MAX_BODY, Reply},
    trace::{self, Body, Event, FrameFormat, Pairs, Peer, Redactor, Writer},
};

/// Headers that belong to a connection, not to the request or the response.
const CONNECTION_HEADERS: [HeaderName; 6] = [
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Forwards to a service, and records everything.
#[derive(Debug)]
pub(super) struct Recorder {
    service: Address,
    writer: Writer,
    redactor: Redactor,
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Recorder {
    pub(super) fn new(service: Address, writer: Writer, without_data: bool) -> Self {
        Self {
            service,
            writer,
            redactor: Redactor::new(without_data),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
        }
    }

    /// Ends the recording. Returns the numbers of connections and of requests.
    pub(super) fn finish(&self) -> Result<(u64, u64), Failure> {
        self.writer.finish()?;
        Ok((self.connections.load(Ordering::Relaxed), self.requests.load(Ordering::Relaxed)))
    }

    /// A client opens a WebSocket.
    async fn open(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let (path, query) = self.target(request.uri());
        let headers = self.headers(request.headers());
        self.writer.write(Event::Connect { connection, path, query, headers });
        let socket = match self.dial(&request).await {
            Ok(socket) => socket,
            Err(Dialled::Answer(answer)) => {
                let (head, body) = answer.into_parts();
                let body = body.unwrap_or_default();
                self.writer.write(Event::Refused {
                    connection,
                    status: head.status.as_u16(),
                    headers: self.headers(&head.headers),
                    body: self.body(&head.headers, &body),
                });
                return reply(head.status, &head.headers, body.into());
            }
            Err(Dialled::Unreachable(error)) => {
                let connection = Some(connection);
                let error = self.redactor.text(&error);
                self.writer.write(Event::Unreachable { connection, request: None, error });
                return local::empty(StatusCode::BAD_GATEWAY);
            }
        };
        self.writer.write(Event::Opened { connection });
        local::upgrade(request, move |client| self.relay(connection, client, socket))
    }

    async fn dial(
        &self,
        request: &Request<Incoming>,
    ) -> Result<WebSocketStream<BoxedStream>, Dialled> {
        let unreachable = |error: &dyn std::fmt::Display| Dialled::Unreachable(error.to_string());
        let stream = dial::connect(&self.service).await.map_err(|error| unreachable(&error))?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let mut to_service = Request::new(());
        // The stream has its TLS already.
        let uri = format!("ws://{}{path}", self.service.authority());
        *to_service.uri_mut() = uri.parse().map_err(|error| unreachable(&error))?;
        *to_service.headers_mut() = request.headers().clone();
        // The proxy supports no extensions, so the service must not choose one.
        to_service.headers_mut().remove(header::SEC_WEBSOCKET_EXTENSIONS);
        to_service.headers_mut().insert(header::HOST, self.host());
        let config = Some(local::websocket_config());
        match client_async_with_config(to_service, stream, config).await {
            Ok((socket, _)) => Ok(socket),
            Err(WsError::Http(answer)) => Err(Dialled::Answer(answer)),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// Forwards frames until one side ends.
    async fn relay(
        self: Arc<Self>,
        connection: u64,
        client: ClientSocket,
        service: WebSocketStream<BoxedStream>,
    ) {
        let (to_client, from_client) = client.split();
        let (to_service, from_service) = service.split();
        let up = self.forward(connection, Peer::Service, from_client, to_service).boxed();
        let down = self.forward(connection, Peer::Client, from_service, to_client).boxed();
        let (ended, other) = future::select(up, down).await.factor_first();
        let (by, code) = ended;
        self.writer.write(Event::Closed { connection, by, code });
        // The other side gets a moment to answer the close frame.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), other).await;
    }

    /// Forwards frames in one direction. Returns the side that has ended, and its code.
    async fn forward<E>(
        &self,
        connection: u64,
        to: Peer,
        mut from: impl Stream<Item = Result<Message, WsError>> + Unpin,
        mut sink: impl Sink<Message, Error = E> + Unpin,
    ) -> (Peer, Option<u16>) {
        let (sender, receiver) = match to {
            Peer::Client => (Peer::Service, Peer::Client),
            Peer::Service => (Peer::Client, Peer::Service),
        };
        loop {
            let message = match from.next().await {
                Some(Ok(message)) => message,
                Some(Err(_)) | None => {
                    let _ = sink.close().await;
                    return (sender, None);
                }
            };
            match &message {
                Message::Text(text) => {
                    self.frame(connection, to, FrameFormat::Json, text.as_bytes())
                }
                Message::Binary(bytes) => self.frame(connection, to, FrameFormat::Msgpack, bytes),
                // The WebSocket library answers pings itself; a client may use them as heartbeats.
                Message::Ping(_) => {}
                Message::Pong(_) | Message::Frame(_) => continue,
                Message::Close(frame) => {
                    let code = frame.as_ref().map(|frame| frame.code.into());
                    let _ = sink.send(message).await;
                    return (sender, code);
                }
            }
            if sink.send(message).await.is_err() {
                return (receiver, None);
            }
        }
    }

    fn frame(&self, connection: u64, to: Peer, format: FrameFormat, bytes: &[u8]) {
        let frame = trace::decode(format, bytes).filter(|frame| frame["action"].is_u64());
        self.writer.write(match frame {
            None => Event::Unreadable { connection, to, bytes: bytes.len() },
            Some(frame) => {
                let number = frame["action"].as_u64().unwrap_or_default();
                let action = u32::try_from(number).ok().and_then(Action::from_number);
                let action = action.map_or_else(|| number.to_string(), |a| a.name().to_owned());
                let frame = self.redactor.value(frame);
                Event::Frame { connection, to, format, action, frame }
            }
        });
    }

    /// Answers an HTTP request.
    async fn exchange(&self, request: Request<Incoming>) -> Reply {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
            return local::empty(StatusCode::PAYLOAD_TOO_LARGE);
        };
        let body = body.to_bytes();
        let (path, query) = self.target(&head.uri);
        self.writer.write(Event::Request {
            request: number,
            method: head.method.to_string(),
            path,
            query,
            headers: self.headers(&head.headers),
            body: self.body(&head.headers, &body),
        });
        match self.forward_request(head, body).await {
            Ok((status, headers, body, is_head)) => {
                self.writer.write(Event::Response {
                    request: number,
                    status: status.as_u16(),
                    headers: self.headers(&headers),
                    body: self.body(&headers, &body),
                });
                let mut answer = reply(status, &headers, body);
                if is_head && let Some(length) = headers.get(header::CONTENT_LENGTH) {
                    answer.headers_mut().insert(header::CONTENT_LENGTH, length.clone());
                }
                answer
            }
            Err(error) => {
                let request = Some(number);
                let error = self.redactor.text(&error);
                self.writer.write(Event::Unreachable { connection: None, request, error });
                local::empty(StatusCode::BAD_GATEWAY)
            }
        }
    }

    async fn forward_request(
        &self,
        head: Parts,
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap, Bytes, bool), String> {
        let is_head = head.method == Method::HEAD;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|error| format!("{error}"))?;
        *request.headers_mut() = end_to_end(&head.headers);
        // A compressed response could not be read.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        request.headers_mut().insert(header::HOST, self.host());
        let stream = dial::connect(&self.service).await.map_err(|error| error.to_string())?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let answered = async {
                let (head, body) = sender.send_request(request).await?.into_parts();
                let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head, body))
            };
            tokio::pin!(answered);
            tokio::select! {
                answer = &mut answered => answer,
                // The connection has ended, but the sender may still have the response that it read before.
                _ = connection => answered.await,
            }
        };
        let (head, body) = exchange.await.map_err(|error| error.to_string())?;
        Ok((head.status, head.headers, body, is_head))
    }

    /// The path and the query of a request.
    fn target(&self, uri: &hyper::Uri) -> (String, Pairs) {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let query = self.redactor.query(&pairs.into_owned().collect());
        (self.redactor.text(uri.path()), query)
    }

    fn headers(&self, headers: &HeaderMap) -> Pairs {
        self.redactor.headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
    }

    fn body(&self, headers: &HeaderMap, body: &[u8]) -> Body {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default();
        let format = match kind {
            _ if kind.contains("msgpack") => Some(FrameFormat::Msgpack),
            _ if kind.contains("json") => Some(FrameFormat::Json),
            _ => None,
        };
        if let Some(format) = format
            && let Some(value) = trace::decode(format, body)
        {
            return Body::Value { format, value: self.redactor.value(value) };
        }
        let is_text = kind.starts_with("text/") && kind != "text/event-stream";
        match std::str::from_utf8(body) {
            Ok(text) if is_text && !text.is_empty() => {
                Body::Text { text: self.redactor.text(text) }
            }
            _ => Body::Bytes { bytes: body.len() },
        }
    }

    fn host(&self) -> HeaderValue {
        // The host was resolved, so it is a name or an address.
        let host = HeaderValue::from_str(&self.service.host_header());
        host.unwrap_or_else(|_| HeaderValue::from_static("localhost"))
    }
}

impl Handle for Recorder {
    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, io::Result<Reply>> {
        Box::pin(async move {
            Ok(match local::is_websocket(&request) {
                true => self.open(request).await,
                false => self.exchange(request).await,
            })
        })
    }
}

/// The reason why the service opened no WebSocket.
enum Dialled {
    Answer(Box<Response<Option<Vec<u8>>>>),
    Unreachable(String),
}

fn reply(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Reply {
    let mut reply = local::with_body(status, body);
    *reply.headers_mut() = end_to_end(headers);
    reply
}

/// The headers without those of the connection, and without the length, which is computed from the body.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in CONNECTION_HEADERS {
        headers.remove(name);
    }
    headers.remove(header::CONTENT_LENGTH);
    headers
}
