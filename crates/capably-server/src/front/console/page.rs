//! Serving the page: its files, and the headers that keep scripts of others out of it.

use hyper::{HeaderMap, Method, StatusCode, header, header::HeaderName};

use super::{files, origin};
use crate::front::http::reply::Reply;

/// Answers a request for a file. `path` is the path below `/console/`.
pub(super) fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Reply {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Reply::empty(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, "GET, HEAD");
    }
    let Some(file) = files::find(path) else {
        return secured(Reply::plain(StatusCode::NOT_FOUND, "text/plain", "no such file"), headers);
    };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_known = known.is_some_and(|tags| {
        tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == file.tag)
    });
    let reply = if is_known {
        Reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        Reply::plain(StatusCode::OK, file.content_type, file.content)
    };
    let reply = reply.header(header::ETAG, &file.tag).header(header::CACHE_CONTROL, "no-cache");
    secured(reply, headers)
}

/// The redirect from `/console`, whose relative links would be wrong.
pub(super) fn redirect() -> Reply {
    Reply::empty(StatusCode::PERMANENT_REDIRECT).header(header::LOCATION, "/console/")
}

/// Adds the headers that allow the page nothing but its own files and this server.
pub(super) fn secured(reply: Reply, headers: &HeaderMap) -> Reply {
    // Not every browser counts WebSockets of the same host as 'self'.
    let sockets = origin::host(headers)
        .filter(|host| is_plain(host))
        .map_or_else(String::new, |host| format!(" ws://{host} wss://{host}"));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    reply
        .header(header::CONTENT_SECURITY_POLICY, policy)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::REFERRER_POLICY, "no-referrer")
        .header(HeaderName::from_static("cross-origin-resource-policy"), "same-origin")
}

/// Whether the text has only characters of hosts and ports: others could add a directive to the policy.
fn is_plain(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]_".contains(&byte))
}
