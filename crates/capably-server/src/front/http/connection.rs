//! HTTP on one connection, in the version that the client uses, until it ends or becomes a WebSocket.

use std::{fmt, time::Duration};

use bytes::Bytes;
use hyper::{Request, body::Incoming};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    http1, http2,
    preface::{self, Version},
    reply::Response,
    stalled::Stalled,
};
use crate::service::Stop;

/// How long the head of a request may take to arrive. An idle connection is closed after the same time.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may read nothing of a response.
pub(super) const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Answers requests.
pub(crate) trait Handle: Sync {
    /// The task of the connection after an upgrade.
    type Upgrade: Send;

    /// Answers one request. Without a response, the connection is closed. To upgrade the connection after the
    /// response, the handler puts a value into `upgrade`: only HTTP/1.1 has upgrades.
    fn handle(
        &self,
        request: Request<Incoming>,
        upgrade: &mut Option<Self::Upgrade>,
    ) -> impl Future<Output = Option<Response>> + Send;
}

/// A connection that is no longer HTTP.
pub(crate) struct Upgraded<S, U> {
    pub(crate) stream: S,
    /// Bytes that arrived after the request.
    pub(crate) already_read: Bytes,
    pub(crate) upgrade: U,
}

/// Serves HTTP until the connection ends or is upgraded.
pub(crate) async fn serve_http<S, H>(
    stream: S,
    stop: Stop,
    handler: &H,
) -> Option<Upgraded<S, H::Upgrade>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handle,
{
    let mut stopping = stop.clone();
    let recognized = tokio::select! {
        recognized = timeout(HEADER_TIMEOUT, preface::recognize(stream)) => recognized,
        () = stopping.requested() => return None,
    };
    let Ok(Ok((version, stream))) = recognized else {
        tracing::debug!("a connection ended without a request");
        return None;
    };
    let stream = Stalled::new(stream, STALL_TIMEOUT);
    match version {
        Version::Http1 => http1::serve(stream, stop, handler).await,
        Version::Http2 => {
            // Boxed: it is large, and few connections are HTTP/2.
            Box::pin(http2::serve(stream, stop, handler)).await;
            None
        }
    }
}

/// The handler gave no response.
#[derive(Debug)]
pub(super) struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has no response")
    }
}

impl std::error::Error for Unanswered {}
