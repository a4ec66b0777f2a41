//! HTTP/1.1 on one connection, until it ends or becomes a WebSocket.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{reply::Response, stalled::Stalled};
use crate::service::Stop;

/// How long the head of a request may take to arrive. An idle connection is closed after the same time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may read nothing of a response.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Answers requests.
pub(crate) trait Handle: Sync {
    /// The task of the connection after an upgrade.
    type Upgrade: Send;

    /// Answers one request. Without a response, the connection is closed. To upgrade the connection after the
    /// response, the handler puts a value into `upgrade`.
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
    mut stop: Stop,
    handler: &H,
) -> Option<Upgraded<S, H::Upgrade>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handle,
{
    let slot: Mutex<Option<H::Upgrade>> = Mutex::new(None);
    let (stream, already_read) = {
        let service = service_fn(|request| {
            let slot = &slot;
            Box::pin(async move {
                let mut upgrade = None;
                let response = handler.handle(request, &mut upgrade).await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = upgrade;
                response.ok_or(Unanswered)
            })
        });
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(Stalled::new(stream, STALL_TIMEOUT)), service);
        let mut stopping = pin!(stop.requested());
        let mut is_stopping = false;
        // hyper's own upgrade would hide the TCP stream behind a box with dynamic calls.
        let served = poll_fn(|cx| {
            if !is_stopping && stopping.as_mut().poll(cx).is_ready() {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            connection.poll_without_shutdown(cx)
        })
        .await;
        if let Err(problem) = served {
            tracing::debug!(%problem, "HTTP connection ended");
            return None;
        }
        let http1::Parts { io, read_buf, .. } = connection.into_parts();
        (io.into_inner().into_inner(), read_buf)
    };
    let upgrade = slot.into_inner().unwrap_or_else(PoisonError::into_inner)?;
    Some(Upgraded { stream, already_read, upgrade })
}

/// The handler gave no response. hyper closes the connection on an error of its service.
#[derive(Debug)]
struct Unanswered;

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request has no response")
    }
}

impl std::error::Error for Unanswered {}
