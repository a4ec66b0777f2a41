//! Event streams: `GET /sse` and `GET /event-stream`, for readers of channels without an SDK.
//!
//! A reader is a transport of the hub as a WebSocket is, but it sends nothing: the server attaches it to the channels in
//! its query. [`request`] reads the query, [`reader`] is the body of the response, and [`framing`] writes the events. An
//! event's [id](event_id) has the positions of all channels of the stream, so that a reader goes on from it at any node.

mod event_id;
pub(super) mod framing;
mod reader;
pub(super) mod request;

use std::sync::Arc;

use capably_protocol::ErrorInfo;
use hyper::{
    Method,
    header::{self, HeaderName},
    http::request::Parts,
};

use self::{reader::Reader, request::StreamRequest};
use super::{
    Shared,
    http::{query::Query, reply::Reply},
};
use crate::hub::error;

/// Whether the request is for an event stream.
pub(super) fn answers(method: &Method, path: &str) -> bool {
    *method == Method::GET && matches!(path, "/sse" | "/event-stream")
}

/// Attaches a reader to its channels, and begins the stream.
///
/// # Errors
/// Code 80003 when the server drains; 40003 for a parameter; 40101, 40142, 40144, 40400 for the credentials; 40010 and
/// 40160 for a channel; 40111 and 50004 when there are too many connections; 50003 when the engine does not answer in time.
pub(super) async fn open(
    shared: &Arc<Shared>,
    head: &Parts,
    query: &Query,
) -> Result<Reply, ErrorInfo> {
    if !shared.operating.readiness.accepts_clients() {
        return Err(error::shutting_down());
    }
    let request = StreamRequest::read(&head.headers, head.uri.path(), query)?;
    let content_type = request.framing.content_type();
    let reader = Reader::open(shared, request).await?;
    Ok(Reply::stream(content_type, Box::new(reader))
        // A cache or a proxy that collects the response would withhold the events.
        .header(header::CACHE_CONTROL, "no-cache, no-transform")
        .header(HeaderName::from_static("x-accel-buffering"), "no"))
}
