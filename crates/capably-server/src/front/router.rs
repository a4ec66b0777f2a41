//! The router: every request goes to the WebSocket side, to comet, to the event streams, to the REST side, or to the
//! operator's.

use std::{net::SocketAddr, sync::Arc};

use capably_protocol::{ErrorInfo, Format};
use hyper::{Method, Request, body::Incoming, header, http::request::Parts};

#[cfg(feature = "console")]
use super::console;
use super::{
    Shared, comet,
    http::{
        cors,
        query::Query,
        reply::{self, Reply, Response},
    },
    operating::{self, Operating},
    rest::{self, observation::Observation},
    socket::{Opening, upgrade},
    stream,
};
use crate::hub::error;

/// Answers a request of the client at `peer`. For a WebSocket, the upgrade of the connection is put into `upgrade`.
pub(super) async fn handle(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    peer: Option<SocketAddr>,
    upgrade: &mut Option<Opening>,
) -> Response {
    let (head, body) = request.into_parts();
    let Operating { metrics, readiness, metrics_on_main_port, .. } = &shared.operating;
    let path = head.uri.path();
    if let Some(reply) = operating::answer(shared, &head.method, path, *metrics_on_main_port) {
        return reply.into_response();
    }
    #[cfg(feature = "console")]
    if console::answers(shared, path) {
        return console::respond(shared, head, body, peer.map(|peer| peer.ip())).await;
    }
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let format = reply::accepted(&head.headers, query.get("format"));
    let mut reply = if head.method == Method::GET && path == "/" {
        match accept_client(shared, &head, &query) {
            Ok((reply, accepted)) => {
                *upgrade = Some(accepted);
                reply
            }
            Err(error) => {
                metrics.refused(&error, 1);
                refuse(format, &error)
            }
        }
    } else if stream::answers(&head.method, path) {
        stream::open(shared, &head, &query).await.unwrap_or_else(|error| {
            metrics.refused(&error, 1);
            refuse(format, &error)
        })
    } else if comet::answers(&head) {
        comet::answer(shared, &head, &query, body, peer).await.unwrap_or_else(|refused| {
            tracing::debug!(code = refused.error.code.0, "a request of comet is refused");
            metrics.refused(&refused.error, 1);
            refused.into_reply(format)
        })
    } else {
        let observation = Observation::start(&head);
        let answer = rest::answer(shared, &head, &query, format, body);
        let reply = observation.inside(answer).await.unwrap_or_else(|error| {
            observation.refused(&error, metrics);
            refuse(format, &error)
        });
        observation.answered(&reply, metrics);
        reply
    };
    if upgrade.is_none() && !readiness.accepts_clients() {
        // The next request of a client or of a load balancer goes to another node.
        reply.add_header(header::CONNECTION, "close");
    }
    let mut response = reply.into_response();
    cors::allow_reading(&head.headers, &mut response);
    response
}

/// Accepts the request for a WebSocket.
///
/// # Errors
/// Code 80003 with status 503 when the server drains, 40000 when the request is not a WebSocket handshake.
fn accept_client(
    shared: &Shared,
    head: &Parts,
    query: &Query,
) -> Result<(Reply, Opening), ErrorInfo> {
    // As a response to the handshake, and not over the WebSocket as other refusals: a load balancer can then send the
    // same request to another node. A client without a load balancer tries its other hosts (RSC15l3).
    if !shared.operating.readiness.accepts_clients() {
        return Err(error::shutting_down());
    }
    upgrade::accept(shared, head, query)
}

fn refuse(format: Format, error: &ErrorInfo) -> Reply {
    let reply = Reply::error(format, error);
    match error.status_code {
        // The rest of the body is not read, so the connection cannot be used again.
        408 | 413 => reply.header(header::CONNECTION, "close"),
        _ => reply,
    }
}
