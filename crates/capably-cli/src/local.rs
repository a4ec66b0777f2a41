//! An HTTP server on this machine that also opens WebSockets, for `record` and `replay`.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, time::sleep};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::failure::Failure;

/// The largest frame and the largest body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024 * 1024;

pub(crate) type Reply = Response<Full<Bytes>>;

/// The WebSocket of a client.
pub(crate) type ClientSocket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers requests. An error closes the connection without a response.
pub(crate) trait Handle: Send + Sync + 'static {
    fn handle(self: Arc<Self>, request: Request<Incoming>)
    -> BoxFuture<'static, io::Result<Reply>>;
}

/// Listens on a loopback port; 0 takes a free one.
pub(crate) async fn listen(port: u16) -> Result<(TcpListener, SocketAddr), Failure> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        io::Result::Ok((listener, address))
    };
    bound.await.map_err(|error| {
        Failure::failed(format!("cannot listen on {address}: {error}"))
            .remedy("choose another port: --port 0 takes a free one")
    })
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, handler: Arc<impl Handle>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Most likely the process has too many open files. Some will close.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            let service = service_fn(|request| Arc::clone(&handler).handle(request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new());
            // An error means that the client is gone.
            let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// Whether the request asks for a WebSocket.
pub(crate) fn is_websocket(request: &Request<Incoming>) -> bool {
    request.headers().contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Opens the WebSocket that a request asks for, and runs `run` with it.
pub(crate) fn upgrade<F>(
    mut request: Request<Incoming>,
    run: impl FnOnce(ClientSocket) -> F + Send + 'static,
) -> Reply
where
    F: Future<Output = ()> + Send + 'static,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = derive_accept_key(key.map_or(&[][..], |key| key.as_bytes()));
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            let stream = TokioIo::new(upgraded);
            let config = Some(websocket_config());
            run(WebSocketStream::from_raw_socket(stream, Role::Server, config).await).await;
        }
    });
    let mut reply = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept.parse() {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    reply
}

pub(crate) fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default().max_frame_size(Some(MAX_BODY)).max_message_size(Some(MAX_BODY))
}

pub(crate) fn empty(status: StatusCode) -> Reply {
    with_body(status, Bytes::new())
}

pub(crate) fn with_body(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply
}
