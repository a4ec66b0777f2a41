//! A proxy between clients and a service, which injects the faults.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::Format;
#[cfg(feature = "console")]
use futures_util::future::Either;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
    http::request::Parts,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use super::{
    Connect, Faults, Side,
    relay::{self, Socket},
    rule::{Answer, End, Opened},
    script, stream,
    table::{OpeningFault, RequestFault},
};
#[cfg(feature = "console")]
use crate::front::console;
use crate::{
    ServerError,
    front::http::{
        connection::{Handle, Upgraded, serve_http},
        query::Query,
        reply::{self, Reply, Response},
    },
    service::{Listener, Service, Sockets, Stop, accept, drain},
};

/// Largest body of a request or a response, and largest frame, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// A proxy in front of a service, which injects [`Faults`]. Dropping it stops it.
///
/// It uses HTTP and WebSockets without TLS on both sides. [The module](super) has an example.
pub struct FaultProxy {
    service: Service,
    faults: Faults,
}

impl FaultProxy {
    /// A builder of a proxy in front of `target`, a host and a port such as `localhost:8080`.
    pub fn builder(target: impl Into<String>) -> ProxyBuilder {
        ProxyBuilder {
            target: target.into(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            faults: Faults::new(),
        }
    }

    /// The host to connect to, such as `127.0.0.1`.
    pub fn endpoint(&self) -> String {
        self.service.host()
    }

    /// The port that the proxy listens on.
    pub fn port(&self) -> u16 {
        self.service.address().port()
    }

    /// The address that the proxy listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.service.address()
    }

    /// The rules and the log.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stops the proxy: it accepts no more connections, and cuts the open ones. Returns when all its tasks have ended.
    pub async fn shutdown(&self) {
        self.service.stop();
        self.faults.connections().disconnect();
        self.service.ended().await;
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy")
            .field("address", &self.service.address())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

/// The settings of a [`FaultProxy`], before it starts.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct ProxyBuilder {
    target: String,
    bind: IpAddr,
    port: u16,
    faults: Faults,
}

impl ProxyBuilder {
    /// The port to listen on; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The address to listen on; 127.0.0.1 by default.
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.bind = address;
        self
    }

    /// The rules and the log. By default the proxy has new ones.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.faults = faults.clone();
        self
    }

    /// Starts the proxy on the current tokio runtime. It does not connect to the service before a client connects. While
    /// the service cannot be reached, clients get the status 502.
    ///
    /// # Errors
    /// A [`ServerError`] when the port is in use.
    pub async fn start(self) -> Result<FaultProxy, ServerError> {
        let Self { target, bind, port, faults } = self;
        let listener = Listener::bind(SocketAddr::new(bind, port))?;
        let target = Target {
            faults: faults.clone(),
            address: target,
            #[cfg(feature = "console")]
            server: None,
        };
        let service = Service::start(listener, |socket, stop| serve(socket, stop, target));
        Ok(FaultProxy { service, faults })
    }
}

/// A service, and the faults in front of it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) faults: Faults,
    /// Host and port.
    pub(crate) address: String,
    /// The server itself, if the service is one of this process: requests to its console are answered in front of the
    /// faults. Its operator gets there whatever the rules are, and it sees the `Host` of the request.
    #[cfg(feature = "console")]
    pub(crate) server: Option<Arc<crate::front::Shared>>,
}

/// Serves until the proxy is to stop.
pub(crate) async fn serve(listener: Sockets, mut stop: Stop, target: Target) {
    let mut tasks = JoinSet::new();
    let target = Arc::new(target);
    let stopping = stop.clone();
    accept(listener, &mut tasks, &mut stop, |stream| {
        serve_stream(stream, stopping.clone(), Arc::clone(&target))
    })
    .await;
    drain(tasks).await;
}

/// As [`serve`], with faults for the connections that are accepted while `is_armed` returns true. The others are served by
/// `serve_directly`.
#[cfg(feature = "console")]
pub(crate) async fn serve_on_demand<F>(
    listener: Sockets,
    mut stop: Stop,
    target: Target,
    is_armed: impl Fn() -> bool,
    serve_directly: impl Fn(TcpStream, Stop) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let target = Arc::new(target);
    let stopping = stop.clone();
    accept(listener, &mut tasks, &mut stop, |stream| {
        let stop = stopping.clone();
        if is_armed() {
            // Boxed: it is large, and would take its space in the task of every connection.
            Either::Left(Box::pin(serve_stream(stream, stop, Arc::clone(&target))))
        } else {
            Either::Right(serve_directly(stream, stop))
        }
    })
    .await;
    drain(tasks).await;
}

async fn serve_stream(stream: TcpStream, stop: Stop, target: Arc<Target>) {
    let peer = stream.peer_addr().ok();
    let upgraded = serve_http(stream, stop, &Visit { target: &target, peer }).await;
    let Some(Upgraded { stream, already_read, upgrade }) = upgraded else { return };
    let config = Some(websocket_config());
    let client =
        WebSocketStream::from_partially_read(stream, already_read.into(), Role::Server, config)
            .await;
    let Upgrade { connect, format, service } = upgrade;
    match service {
        // The rest of `dialled` lives as long as the relay.
        Ok(dialled) => {
            relay::run(target.faults.clone(), connect, format, client, dialled.socket).await;
        }
        Err(end) => relay::end_at_once(&target.faults, connect.number, client, end).await,
    }
}

/// The WebSocket that a request opens.
pub(crate) struct Upgrade {
    connect: Connect,
    format: Format,
    /// The connection to the service. Without one, how the WebSocket ends.
    service: Result<Dialled, End>,
}

/// A WebSocket to the service.
struct Dialled {
    socket: Socket,
    /// The subprotocol that the service has chosen.
    protocol: Option<HeaderValue>,
    /// Tells the server's console whose connection it is, while it lasts.
    #[cfg(feature = "console")]
    _note: Option<console::Note>,
}

/// A client's connection to the proxy.
struct Visit<'a> {
    target: &'a Target,
    peer: Option<SocketAddr>,
}

impl Handle for Visit<'_> {
    type Upgrade = Upgrade;

    async fn handle(
        &self,
        request: Request<Incoming>,
        upgrade: &mut Option<Upgrade>,
    ) -> Option<Response> {
        let (head, body) = request.into_parts();
        #[cfg(feature = "console")]
        if let Some(server) = &self.target.server
            && console::answers(server, head.uri.path())
        {
            return Some(console::respond(server, head, body, self.peer.map(|it| it.ip())).await);
        }
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let target = self.target;
        match head.headers.get(header::SEC_WEBSOCKET_KEY).cloned() {
            Some(key) => target.open(&head, &key, query, self.peer, upgrade).await,
            None => target.exchange(head, body, query).await,
        }
    }
}

impl Target {
    /// A client opens a WebSocket.
    async fn open(
        &self,
        head: &Parts,
        key: &HeaderValue,
        query: Query,
        peer: Option<SocketAddr>,
        upgrade: &mut Option<Upgrade>,
    ) -> Option<Response> {
        let format = match query.get("format") {
            Some("msgpack") => Format::MsgPack,
            _ => Format::Json,
        };
        let (connect, fault) = self.faults.connect(query);
        let number = connect.number;
        let OpeningFault { delay, answer } =
            fault.unwrap_or(OpeningFault { delay: Duration::ZERO, answer: Opened::Pass });
        sleep(delay).await;
        let (service, protocol) = match answer {
            Opened::Pass => match self.dial(head, peer).await {
                Ok(dialled) => {
                    let protocol = dialled.protocol.clone();
                    (Ok(dialled), protocol)
                }
                Err(response) => {
                    self.faults.refused(number, response.status().as_u16());
                    return Some(response);
                }
            },
            Opened::End(end) => (Err(end), None),
            Opened::Refuse => {
                self.faults.disconnected(number, Side::Faults, None);
                return None;
            }
            Opened::Respond(response) => {
                let response = response.for_client(reply::accepted(&head.headers, None));
                self.faults.refused(number, response.status().as_u16());
                return Some(response);
            }
        };
        *upgrade = Some(Upgrade { connect, format, service });
        let mut response = Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
            .into_response();
        if let Some(protocol) = protocol {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        Some(response)
    }

    /// Opens a WebSocket to the service for the client at `peer`. An error is the response for the client.
    #[cfg_attr(
        not(feature = "console"),
        expect(unused_variables, reason = "the console wants the client")
    )]
    async fn dial(&self, head: &Parts, peer: Option<SocketAddr>) -> Result<Dialled, Response> {
        let stream = self.connect().await?;
        // Before the request: the server looks for the note when it has read the request.
        #[cfg(feature = "console")]
        let note = self.note(&stream, peer);
        let mut request = Request::new(());
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("ws://{}{path}", self.address);
        *request.uri_mut() = uri.parse().map_err(|_| bad_gateway())?;
        *request.headers_mut() = head.headers.clone();
        // The proxy supports no extensions, so the service must not choose one.
        request.headers_mut().remove(header::SEC_WEBSOCKET_EXTENSIONS);
        request.headers_mut().insert(header::HOST, self.host().ok_or_else(bad_gateway)?);
        match client_async_with_config(request, stream, Some(websocket_config())).await {
            Ok((socket, mut answer)) => Ok(Dialled {
                socket,
                protocol: answer.headers_mut().remove(header::SEC_WEBSOCKET_PROTOCOL),
                #[cfg(feature = "console")]
                _note: note,
            }),
            Err(WsError::Http(answer)) => {
                let (head, body) = answer.into_parts();
                let body = Bytes::from(body.unwrap_or_default());
                let mut response = Response::new(body.into());
                *response.status_mut() = head.status;
                *response.headers_mut() = end_to_end(&head.headers, false);
                Err(response)
            }
            Err(problem) => {
                tracing::debug!(%problem, "the service did not open a WebSocket");
                Err(bad_gateway())
            }
        }
    }

    /// Notes for the server's console that this connection is one of the client.
    #[cfg(feature = "console")]
    fn note(&self, stream: &TcpStream, client: Option<SocketAddr>) -> Option<console::Note> {
        let console = self.server.as_ref()?.console.as_ref()?;
        Some(console.relayed.note(stream.local_addr().ok()?, client?))
    }

    /// Answers an HTTP request.
    async fn exchange(&self, head: Parts, body: Incoming, query: Query) -> Option<Response> {
        let (number, fault) = self.faults.request(head.method.as_str(), head.uri.path(), query);
        let RequestFault { delay, answer } =
            fault.unwrap_or(RequestFault { delay: Duration::ZERO, answer: Answer::Pass });
        sleep(delay).await;
        let response = match answer {
            Answer::Drop => return None,
            Answer::Respond(response) => {
                // Closing a connection with an unread body would reset it, and lose the response.
                let _ = Limited::new(body, MAX_BODY).collect().await;
                Ok(response.for_client(reply::accepted(&head.headers, None)))
            }
            Answer::Pass => self.forward(head, body).await,
            Answer::Replace(response) => {
                let format = reply::accepted(&head.headers, None);
                // The service must see the request; its response does not matter.
                let _ = self.forward(head, body).await;
                Ok(response.for_client(format))
            }
        };
        let response = response.unwrap_or_else(|refusal| refusal);
        self.faults.responded(number, response.status().as_u16());
        Some(response)
    }

    /// Forwards a request to the service, and returns its response. That of comet, or an event stream, is forwarded as it
    /// arrives.
    async fn forward(&self, head: Parts, body: Incoming) -> Result<Response, Response> {
        let path = head.uri.path();
        let may_be_stream = path.starts_with("/comet/") || matches!(path, "/sse" | "/event-stream");
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        })?;
        let mut request = Request::new(Full::new(body.to_bytes()));
        let is_head = head.method == Method::HEAD;
        *request.method_mut() = head.method;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| bad_gateway())?;
        *request.headers_mut() = end_to_end(&head.headers, false);
        request.headers_mut().insert(header::HOST, self.host().ok_or_else(bad_gateway)?);
        let stream = self.connect().await?;
        if may_be_stream {
            return stream::forward(stream, request).await.map_err(|problem| {
                tracing::debug!(%problem, "the service sent no response");
                bad_gateway()
            });
        }
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
        let (head, body) = exchange.await.map_err(|problem| {
            tracing::debug!(%problem, "the service sent no response");
            bad_gateway()
        })?;
        let mut response = Response::new(body.into());
        *response.status_mut() = head.status;
        *response.headers_mut() = end_to_end(&head.headers, is_head);
        Ok(response)
    }

    async fn connect(&self) -> Result<TcpStream, Response> {
        let stream = TcpStream::connect(&self.address).await.map_err(|problem| {
            tracing::debug!(%problem, "cannot connect to the service");
            bad_gateway()
        })?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn host(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.address).ok()
    }
}

impl script::Response {
    /// The response as it is sent.
    fn for_client(&self, format: Format) -> Response {
        let status = match self.status {
            200..=999 => StatusCode::from_u16(self.status).ok(),
            _ => None,
        };
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = match &self.body {
            script::Body::Value(value) => Reply::value(status, format, value).into_response(),
            script::Body::Bytes(bytes) => {
                let mut response = Response::new(bytes.clone().into());
                *response.status_mut() = status;
                response
            }
        };
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value.as_str()))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

fn bad_gateway() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

/// The headers without those that describe the connection, and without the length of the body. The length is computed
/// from the body, except for a response to HEAD, which has none.
pub(super) fn end_to_end(headers: &HeaderMap, keep_length: bool) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [
        header::CONNECTION,
        header::EXPECT,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ] {
        headers.remove(name);
    }
    if !keep_length {
        headers.remove(header::CONTENT_LENGTH);
    }
    headers
}

/// Frames may be large; the read buffer is small, because every connection has one.
fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .max_frame_size(Some(MAX_BODY))
        .max_message_size(Some(MAX_BODY))
}
