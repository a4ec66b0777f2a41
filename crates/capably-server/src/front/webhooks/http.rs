//! The HTTP client of webhooks: dials allowed addresses only, follows no redirect, and reads little of an answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorCode, ErrorInfo};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time::timeout,
};

use super::address::Allowed;

/// The most bytes of an answer's body that are read. Only then the connection is used again.
const MAX_ANSWER: usize = 64 * 1024;

/// How long the rest of an answer may take after its status.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The most connections that wait for their next request.
const MAX_IDLE: usize = 32;

/// What all endpoints of a server have in common.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    pub(crate) allowed: Allowed,
    /// The longest time of a request until its status.
    pub(crate) timeout: Duration,
    #[cfg(feature = "tls")]
    pub(crate) roots: super::tls::Roots,
}

impl Outbound {
    pub(crate) fn new(allowed: Allowed, timeout: Duration) -> Self {
        Self {
            allowed,
            timeout,
            #[cfg(feature = "tls")]
            roots: Default::default(),
        }
    }

    /// Checks a URL whose host is an address. A name is checked whenever it is called.
    ///
    /// # Errors
    /// Why it may not be called.
    pub(super) fn check(&self, uri: &Uri) -> Result<(), String> {
        match host_of(uri).parse() {
            Ok(address) if !self.allowed.allows(address) => {
                Err(format!("`target.url` cannot be used: {}", refused(address)))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The host of a URL, without the brackets of an IPv6 address.
fn host_of(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host)
}

/// Why a request was not accepted.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The status of the answer. `None` if there was none.
    pub(super) status: Option<StatusCode>,
    pub(super) error: ErrorInfo,
}

impl Failure {
    /// There was no answer (70001).
    fn unreachable(reason: impl std::fmt::Display) -> Self {
        let message = format!("the endpoint was not called: {reason}");
        Self { status: None, error: ErrorInfo::new(ErrorCode(70001), 503, message) }
    }

    /// The answer has another status than 2xx (70002).
    fn status(status: StatusCode) -> Self {
        let message = format!("the endpoint answered with the status {}", status.as_u16());
        let error = ErrorInfo::new(ErrorCode(70002), status.as_u16(), message);
        Self { status: Some(status), error }
    }
}

/// The endpoint of a rule, and its open connections. It has no `Debug`: the URL may have secrets.
pub(super) struct Endpoint {
    outbound: Outbound,
    uri: Uri,
    idle: Mutex<Vec<Connection>>,
}

impl Endpoint {
    pub(super) fn new(outbound: Outbound, uri: Uri) -> Self {
        Self { outbound, uri, idle: Mutex::default() }
    }

    /// Sends a request, and waits until it is accepted.
    ///
    /// # Errors
    /// A [`Failure`] with code 70001 when there is no answer in time, 70002 for another status than 2xx.
    pub(super) async fn post(&self, headers: &HeaderMap, body: &Bytes) -> Result<(), Failure> {
        let answered = timeout(self.outbound.timeout, self.exchange(headers, body)).await;
        let (response, connection) = answered.map_err(|_| {
            let time = self.outbound.timeout;
            Failure::unreachable(format!("there was no answer within {time:?}"))
        })??;
        let status = response.status();
        if let Ok(true) = timeout(ANSWER_TIME, read_rest(response.into_body())).await {
            self.keep(connection);
        }
        if status.is_success() { Ok(()) } else { Err(Failure::status(status)) }
    }

    async fn exchange(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(hyper::Response<Incoming>, Connection), Failure> {
        // The endpoint may have closed a connection that waited. Then the request goes over a new one at once.
        while let Some(mut connection) = self.idle_connection() {
            if connection.sender.ready().await.is_ok()
                && let Ok(response) =
                    connection.sender.send_request(self.request(headers, body)).await
            {
                return Ok((response, connection));
            }
        }
        let mut connection = self.dial().await?;
        let sent = connection.sender.send_request(self.request(headers, body)).await;
        Ok((sent.map_err(|problem| Failure::unreachable(sources(&problem)))?, connection))
    }

    fn request(&self, headers: &HeaderMap, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers.clone();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        if let Ok(host) = HeaderValue::from_str(authority) {
            request.headers_mut().insert(header::HOST, host);
        }
        let agent = concat!("capably-server/", env!("CARGO_PKG_VERSION"));
        let entry = request.headers_mut().entry(header::USER_AGENT);
        entry.or_insert(HeaderValue::from_static(agent));
        request
    }

    fn idle_connection(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !connection.sender.is_closed() {
            idle.push(connection);
        }
    }

    async fn dial(&self) -> Result<Connection, Failure> {
        let host = host_of(&self.uri);
        let is_tls = self.uri.scheme_str() == Some("https");
        let port = self.uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|problem| {
            Failure::unreachable(format!("the host {host} is not found: {problem}"))
        })?;
        let socket = self.connect(found).await.map_err(Failure::unreachable)?;
        let stream: Box<dyn Stream> =
            if is_tls { self.secure(host, socket).await? } else { Box::new(socket) };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|problem| Failure::unreachable(sources(&problem)))?;
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Connection { sender, task })
    }

    /// Connects to the first address that can be reached. Each is checked, and so is the one that was reached.
    async fn connect(&self, found: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, String> {
        let mut problem = "the host has no address".to_owned();
        for address in found {
            if !self.outbound.allowed.allows(address.ip()) {
                problem = refused(address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(socket) => {
                    let peer = socket.peer_addr().map_err(|problem| problem.to_string())?;
                    if !self.outbound.allowed.allows(peer.ip()) {
                        return Err(refused(peer.ip()));
                    }
                    let _ = socket.set_nodelay(true);
                    return Ok(socket);
                }
                Err(error) => problem = format!("{address} cannot be reached: {error}"),
            }
        }
        Err(problem)
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, host: &str, socket: TcpStream) -> Result<Box<dyn Stream>, Failure> {
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|_| {
            Failure::unreachable(format!("{host} is not a name that TLS can check"))
        })?;
        let config = self.outbound.roots.config().map_err(Failure::unreachable)?;
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = connector.connect(name, socket).await;
        let stream =
            stream.map_err(|problem| Failure::unreachable(super::tls::explain(&problem)))?;
        Ok(Box::new(stream))
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_async, reason = "with the feature `tls` it waits")]
    async fn secure(&self, _: &str, _: TcpStream) -> Result<Box<dyn Stream>, Failure> {
        Err(Failure::unreachable("the server was built without the feature `tls`"))
    }
}

fn refused(address: IpAddr) -> String {
    format!(
        "{address} is not a public address: start the server with --allow-private-webhooks to allow it"
    )
}

/// Reads the rest of an answer. Returns whether the connection can be used again.
async fn read_rest(mut body: Incoming) -> bool {
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        size += frame.data_ref().map_or(0, Bytes::len);
        if size > MAX_ANSWER {
            return false;
        }
    }
    true
}

/// A problem with what caused it.
fn sources(problem: &dyn std::error::Error) -> String {
    let mut text = problem.to_string();
    let mut source = problem.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection. Dropping it closes it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
