//! The router: every request goes to the WebSocket side or to the REST side.

use std::sync::Arc;

use capably_protocol::{ErrorInfo, Format};
use hyper::{Method, Request, body::Incoming, header};

use super::{
    Shared,
    http::{
        cors,
        query::Query,
        reply::{self, Reply, Response},
    },
    rest,
    socket::{Upgrade, upgrade},
};

/// Answers a request. For a WebSocket, the upgrade of the connection is put into `upgrade`.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    upgrade: &mut Option<Upgrade>,
) -> Response {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let format = reply::accepted(&head.headers, query.get("format"));
    let answered = if head.method == Method::GET && head.uri.path() == "/" {
        upgrade::accept(shared, &head, &query).map(|(reply, accepted)| {
            *upgrade = Some(accepted);
            reply
        })
    } else {
        rest::answer(shared, &head, &query, format, body).await
    };
    let mut response = answered.unwrap_or_else(|error| refuse(format, &error)).into_response();
    cors::allow_reading(&head.headers, &mut response);
    response
}

fn refuse(format: Format, error: &ErrorInfo) -> Reply {
    let reply = Reply::error(format, error);
    match error.status_code {
        // The rest of the body is not read, so the connection cannot be used again.
        408 | 413 => reply.header(header::CONNECTION, "close"),
        _ => reply,
    }
}
