//! The server's connections: accepting them, and ending them when the server stops.

use std::{net::SocketAddr, sync::Arc};

use capably_protocol::ServerFrame;
use hyper::{Request, body::Incoming};
use tokio::{
    net::TcpStream,
    task::{AbortHandle, JoinSet},
};

use super::{
    Shared,
    http::{
        connection::{Handle, Upgraded, serve_http},
        reply::Response,
    },
    router,
    socket::{Opening, session::Session},
};
use crate::{
    hub::error,
    service::{Sockets, Stop, Stream, accept, drain},
};

/// Serves until the server is to stop. Then every client gets a DISCONNECTED (80003).
pub(crate) async fn serve(listener: Sockets, mut stop: Stop, shared: Arc<Shared>) {
    let stopping = stop.clone();
    let sessions = Arc::clone(&shared.comets);
    let comets = sessions.accept();
    let mut tasks = JoinSet::new();
    let keepers = [
        tasks.spawn(Arc::clone(&shared).keep_time()),
        tasks.spawn(Arc::clone(&shared).keep_stats()),
    ];
    accept(listener, &mut tasks, &mut stop, |stream| {
        serve_stream(stream, stopping.clone(), Arc::clone(&shared))
    })
    .await;
    keepers.iter().for_each(AbortHandle::abort);
    shared.end_all(&ServerFrame::Disconnected { error: Some(error::shutting_down()) });
    tokio::join!(drain(tasks), drain(comets.finish()));
}

/// Serves one connection of a client.
pub(crate) async fn serve_stream(stream: TcpStream, stop: Stop, shared: Arc<Shared>) {
    // Boxed: the future of HTTP is large, and would take its space in the task of every WebSocket.
    if let Some(session) = Box::pin(open(stream, stop, shared)).await {
        session.run().await;
    }
}

/// Serves HTTP until the connection ends or becomes the WebSocket of a client that is accepted.
async fn open(stream: TcpStream, stop: Stop, shared: Arc<Shared>) -> Option<Box<Session>> {
    let stream = secured(stream, stop.clone(), &shared).await?;
    let peer = stream.peer_addr().ok();
    let handler = Handler { shared: Arc::clone(&shared), peer };
    let Upgraded { stream, already_read, upgrade } = serve_http(stream, stop, &handler).await?;
    Session::over_websocket(shared, stream, &already_read, upgrade).await
}

/// Opens TLS, if the server has it. `None` for a client that does not succeed, or when the server stops before.
#[cfg(feature = "tls")]
async fn secured(tcp: TcpStream, mut stop: Stop, shared: &Shared) -> Option<Stream> {
    let Some(tls) = &shared.tls else { return Some(tcp.into()) };
    tokio::select! {
        stream = tls.accept(tcp) => stream.map(|stream| Stream::Tls(Box::new(stream))),
        () = stop.requested() => None,
    }
}

#[cfg(not(feature = "tls"))]
async fn secured(tcp: TcpStream, _: Stop, _: &Shared) -> Option<Stream> {
    Some(tcp.into())
}

struct Handler {
    shared: Arc<Shared>,
    /// The address of the client.
    peer: Option<SocketAddr>,
}

impl Handle for Handler {
    type Upgrade = Opening;

    async fn handle(
        &self,
        request: Request<Incoming>,
        upgrade: &mut Option<Opening>,
    ) -> Option<Response> {
        Some(router::handle(&self.shared, request, self.peer, upgrade).await)
    }
}
