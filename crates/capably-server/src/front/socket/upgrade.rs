//! The request that opens a WebSocket.

use capably_protocol::{ErrorInfo, websocket::accept_key};
use hyper::{HeaderMap, StatusCode, Version, header, http::request::Parts};

use super::opening::Opening;
use crate::{
    front::{
        Shared, credentials,
        http::{query::Query, reply::Reply},
    },
    hub::error,
};

/// Accepts the request for a WebSocket.
///
/// # Errors
/// Code 40000 when the request is not a WebSocket handshake.
pub(in crate::front) fn accept(
    shared: &Shared,
    request: &Parts,
    query: &Query,
) -> Result<(Reply, Opening), ErrorInfo> {
    if request.version == Version::HTTP_2 {
        return Err(error::bad_request("a WebSocket needs HTTP/1.1: this connection is HTTP/2"));
    }
    let has = |name, token: &str| header_has_token(&request.headers, name, token);
    let key = request.headers.get(header::SEC_WEBSOCKET_KEY);
    let (true, true, Some(key)) =
        (has(header::CONNECTION, "upgrade"), has(header::UPGRADE, "websocket"), key)
    else {
        return Err(error::bad_request("this path expects the upgrade to a WebSocket"));
    };
    if request.headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(error::bad_request("the version of the WebSocket is not 13"));
    }
    let reply = Reply::empty(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept_key(key.as_bytes()));
    // A refusal is sent over the WebSocket: browsers hide an HTTP error from a page. Nor can a page set headers on
    // it, so the credentials are in the query.
    let opening = Opening::read(shared, request, query, credentials::in_query(query));
    Ok((reply, opening))
}

fn header_has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
}
