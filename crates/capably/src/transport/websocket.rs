//! WebSockets over TCP and TLS.

use capably_protocol::ErrorCode;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Connector, DialRequest, Dialling, Packet, WebSocket};
use crate::{BoxError, Error, Result, proxy::Proxies, tls::Tls};

mod framed;
mod upgrade;

use self::{framed::FramedSocket, upgrade::upgrade};

/// Opens WebSockets over TCP, with or without TLS, directly or through a proxy.
#[derive(Debug)]
pub(crate) struct TcpConnector {
    proxies: Proxies,
    tls: Tls,
}

impl TcpConnector {
    pub(crate) fn new(proxies: Proxies, tls: Tls) -> Self {
        Self { proxies, tls }
    }
}

impl Connector for TcpConnector {
    fn connect(&self, request: DialRequest) -> Dialling {
        let (proxies, tls) = (self.proxies.clone(), self.tls.clone());
        Box::pin(async move {
            let stream = dial(&request, &proxies, &tls).await?;
            let (stream, unread) = upgrade(&request, stream).await?;
            let socket = FramedSocket::new(stream, unread, request.max_frame_size);
            Ok(Box::new(socket) as Box<dyn WebSocket>)
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn dial(request: &DialRequest, proxies: &Proxies, tls: &Tls) -> Result<Box<dyn Io>> {
    let stream = reach(request, proxies).await.map_err(|error| {
        let place = request.authority();
        let message = format!("{place} cannot be reached: {error}");
        Error::new(ErrorCode::CONNECTION_FAILED, 0, message).with_source(error)
    })?;
    // The driver flushes whole batches, so Nagle's algorithm would only add latency.
    stream.set_nodelay(true).map_err(lost)?;
    if request.tls { start_tls(request, stream, tls).await } else { Ok(Box::new(stream)) }
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
async fn start_tls(request: &DialRequest, stream: TcpStream, tls: &Tls) -> Result<Box<dyn Io>> {
    let failed = |message: String| Error::new(ErrorCode::CONNECTION_FAILED, 0, message);
    let name = rustls::pki_types::ServerName::try_from(request.host.clone()).map_err(|error| {
        failed(format!("`{}` is not a valid TLS server name: {error}", request.host))
    })?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&tls.config));
    let stream = connector.connect(name, stream).await.map_err(|error| {
        failed(format!("TLS with {} failed: {error}", request.authority())).with_source(error)
    })?;
    Ok(Box::new(stream))
}

#[cfg(not(feature = "tls"))]
async fn start_tls(_: &DialRequest, _: TcpStream, _: &Tls) -> Result<Box<dyn Io>> {
    Err(Error::new(
        ErrorCode::CONNECTION_FAILED,
        0,
        "this build has no TLS: enable the cargo feature `tls`, or set the option `tls(false)`",
    ))
}

fn lost(error: std::io::Error) -> Error {
    Error::new(ErrorCode::CONNECTION_DISCONNECTED, 0, format!("the socket was lost: {error}"))
        .with_source(error)
}
