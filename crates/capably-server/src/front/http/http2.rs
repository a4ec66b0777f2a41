//! HTTP/2 on one connection.
//!
//! All requests of a connection run in the task of the connection. So a client gets no larger share of the processor by
//! sending many requests at once, requests end with their connection, and the server waits for them when it stops.

mod requests;
mod response;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::{
    Method, Request, body::Incoming, header, header::HeaderValue, server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep},
};

use self::{
    requests::Requests,
    response::{PieceBody, Signals},
};
use super::connection::{HEADER_TIMEOUT, Handle, MAX_HEAD, STALL_TIMEOUT, Unanswered};
use crate::service::Stop;

/// How many requests of one connection may be unanswered. Event streams and receives of comet count as long as they last.
const MAX_STREAMS: u32 = 100;

/// How much a client may send of the bodies of all requests before they are read, in bytes.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How much a client may send of one body before it is read, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// How much of a response waits for the socket, in bytes.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// How long a client without requests may take to end its connection once it was asked to.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves HTTP/2 until the connection ends.
///
/// A client may reset requests as often as it makes them: h2 ends the connection of one that resets faster than the
/// requests are accepted, or whose resets the server has to make (`ENHANCE_YOUR_CALM`).
pub(super) async fn serve<S, H>(stream: S, mut stop: Stop, handler: &H)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    H: Handle,
{
    let signals = Arc::new(Signals::default());
    let mut requests = Requests::new(Arc::clone(&signals), STALL_TIMEOUT);
    let service = service_fn(|request: Request<Incoming>| {
        let signals = Arc::clone(&signals);
        Box::pin(async move {
            let is_head = request.method() == Method::HEAD;
            let mut upgrade = None;
            let response = handler.handle(with_host(request), &mut upgrade).await;
            match response {
                Some(response) if upgrade.is_none() => {
                    Ok(PieceBody::of(response, is_head, signals))
                }
                // No request of HTTP/2 can ask for an upgrade. Only a script of the faults answers with one.
                Some(_) | None => {
                    signals.cut();
                    Err(Unanswered)
                }
            }
        })
    });
    let mut connection = http2::Builder::new(requests.executor())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEAD as u32)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = pin!(stop.requested());
    let mut idle = pin!(sleep(HEADER_TIMEOUT));
    let (mut is_closing, mut was_busy) = (false, false);
    let served = poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(ended);
            }
            requests.poll(cx);
            if signals.is_cut() {
                return Poll::Ready(Ok(()));
            }
            let is_idle = if requests.is_empty() {
                if was_busy {
                    let limit = if is_closing { CLOSING_TIMEOUT } else { HEADER_TIMEOUT };
                    idle.as_mut().reset(Instant::now() + limit);
                }
                idle.as_mut().poll(cx).is_ready()
            } else {
                false
            };
            was_busy = !requests.is_empty();
            if is_closing {
                return if is_idle { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            if !(is_idle || signals.is_last() || stopping.as_mut().poll(cx).is_ready()) {
                return Poll::Pending;
            }
            // Requests that are on their way are still answered.
            is_closing = true;
            Pin::new(&mut connection).graceful_shutdown();
            idle.as_mut().reset(Instant::now() + CLOSING_TIMEOUT);
        }
    })
    .await;
    if let Err(problem) = served {
        tracing::debug!(%problem, "HTTP/2 connection ended");
    }
}

/// The request with its authority as `Host`, where handlers expect it.
fn with_host(mut request: Request<Incoming>) -> Request<Incoming> {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if let Some(host) = authority.and_then(|authority| HeaderValue::from_str(authority).ok()) {
        // The authority counts when a request has both (RFC 9113, 8.3.1).
        request.headers_mut().insert(header::HOST, host);
    }
    request
}
