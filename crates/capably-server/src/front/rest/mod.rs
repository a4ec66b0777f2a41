//! REST. A request goes through three steps:
//!
//! 1. [`answer`] reads its body, and parses it into a [`Call`](call::Call).
//! 2. [`routes`] is the table of all routes: method, path, the right that the caller needs, and the handler.
//! 3. A handler reads its arguments from the call, gives them to the hub and puts the result into a reply. Each
//!    resource has a file of handlers.
//!
//! A new resource is a file of handlers and its rows in the table.

mod access;
mod annotations;
pub(crate) mod apps;
mod batch;
mod call;
mod channels;
mod chat;
pub(super) mod form;
mod messages;
mod objects;
pub(super) mod observation;
mod page;
mod presence;
mod push;
mod routes;
mod rules;
mod stats;
mod time;
pub(super) mod tokens;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format};
use http_body_util::BodyExt;
use hyper::{Method, body::Incoming, http::request::Parts};
use tokio::time::timeout;

use self::call::Call;
use super::{
    Shared,
    app::AppHandle,
    credentials,
    http::{
        cors,
        query::{self, Query},
        reply::Reply,
    },
};
use crate::hub::{RequestKind, auth::Credentials, error};

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// How many bytes beyond the limit of a body are read and discarded.
const MAX_EXCESS: usize = 8 * 1024 * 1024;

/// Answers a request, and counts it in the statistics of its app.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    head: &Parts,
    query: &Query,
    format: Format,
    body: Incoming,
) -> Result<Reply, ErrorInfo> {
    let credentials = credentials::in_request(&head.headers, query);
    let counted = counted_app(shared, head, &credentials);
    if let Some((app, _)) = &counted {
        observation::app(app.id());
    }
    let answered = respond(shared, head, query, format, credentials, body).await;
    if let Some((app, kind)) = counted {
        let now = shared.now();
        app.with(|hub, _| hub.count_request(kind, answered.is_ok(), now));
    }
    answered
}

async fn respond(
    shared: &Arc<Shared>,
    head: &Parts,
    query: &Query,
    format: Format,
    credentials: Result<Option<Credentials>, ErrorInfo>,
    body: Incoming,
) -> Result<Reply, ErrorInfo> {
    let max_body = shared.settings.max_frame_size;
    let body = timeout(BODY_TIMEOUT, read_body(body, max_body))
        .await
        .map_err(|_| error::request_timeout())?;
    shared.operating.metrics.rest().received(0, body.as_ref().map_or(0, Bytes::len) as u64);
    if let Some(reply) = cors::preflight(head) {
        return Ok(reply);
    }
    let call = Call {
        shared,
        method: &head.method,
        headers: &head.headers,
        query,
        path: query::path_segments(head.uri.path())?,
        credentials,
        body,
        format,
        now: shared.now(),
    };
    routes::dispatch(&call).await
}

/// The app in whose statistics the request counts, and as which kind: the app of its credentials, valid or not.
///
/// A token request counts for the app in its path, because it may come without credentials.
fn counted_app(
    shared: &Shared,
    head: &Parts,
    credentials: &Result<Option<Credentials>, ErrorInfo>,
) -> Option<(Arc<AppHandle>, RequestKind)> {
    let path = head.uri.path();
    let token_key = path.strip_prefix("/keys/").and_then(|it| it.strip_suffix("/requestToken"));
    if let Some(key_name) = token_key {
        let app_id = key_name.split('.').next().unwrap_or_default();
        return Some((shared.app(app_id)?, RequestKind::Token));
    }
    if head.method == Method::OPTIONS {
        return None;
    }
    let app = shared.app(credentials.as_ref().ok()?.as_ref()?.app_id())?;
    let is_push = path.starts_with("/push/");
    Some((app, if is_push { RequestKind::Push } else { RequestKind::Other }))
}

/// Reads a body of at most `limit` bytes, in time.
///
/// # Errors
/// Code 40009 with status 413 for a larger body, 50003 with status 408 for one that is late, 40000 for one that ends early.
pub(super) async fn body(body: Incoming, limit: usize) -> Result<Bytes, ErrorInfo> {
    let read = timeout(BODY_TIMEOUT, read_body(body, limit)).await;
    read.map_err(|_| error::request_timeout())?
}

/// Reads a body of at most `limit` bytes.
///
/// A larger body is read too, up to a point, and discarded: closing a connection with unread bytes resets it, and
/// the client would not get the response.
async fn read_body(mut body: Incoming, limit: usize) -> Result<Bytes, ErrorInfo> {
    let mut bytes = Vec::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| error::bad_request("the body ended early"))?;
        let Some(data) = frame.data_ref() else { continue };
        size += data.len();
        if size <= limit {
            bytes.extend_from_slice(data);
        } else if size > limit.saturating_add(MAX_EXCESS) {
            break;
        }
    }
    if size > limit { Err(error::body_too_large(limit)) } else { Ok(bytes.into()) }
}
