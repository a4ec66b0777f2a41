//! HTTP/1.1 on one connection, until it ends or becomes a WebSocket.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    connection::{HEADER_TIMEOUT, Handle, MAX_HEAD, Unanswered, Upgraded},
    preface::Rewound,
    stalled::Stalled,
};
use crate::service::Stop;

/// Serves HTTP/1.1 until the connection ends or is upgraded.
pub(super) async fn serve<S, H>(
    stream: Stalled<Rewound<S>>,
    mut stop: Stop,
    handler: &H,
) -> Option<Upgraded<S, H::Upgrade>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handle,
{
    let slot: Mutex<Option<H::Upgrade>> = Mutex::new(None);
    let (stream, read_buf) = {
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
            .serve_connection(TokioIo::new(stream), service);
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
    let (unread, stream) = stream.into_parts();
    let already_read =
        if unread.is_empty() { read_buf } else { Bytes::from([read_buf, unread].concat()) };
    Some(Upgraded { stream, already_read, upgrade })
}
