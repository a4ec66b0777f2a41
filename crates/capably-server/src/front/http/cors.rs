//! Cross-origin requests (CORS). A request carries its own credentials and none of the browser's, so every origin may
//! use the service.

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderValue},
    http::request::Parts,
};

use super::reply::{Reply, Response};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The headers of a response that a page may read.
const EXPOSED: &str = "Link, X-Ably-Errorcode, X-Ably-Errormessage";

/// The reply to a preflight: a browser asks whether it may send a request.
pub(crate) fn preflight(request: &Parts) -> Option<Reply> {
    let is_preflight = request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method != Method::OPTIONS || !is_preflight {
        return None;
    }
    let reply = Reply::empty(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .header(header::ACCESS_CONTROL_MAX_AGE, "3600");
    let headers = request.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    Some(match headers.and_then(|headers| headers.to_str().ok()) {
        Some(headers) => reply.header(header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
        None => reply,
    })
}

/// Lets a page of another origin read the response.
pub(crate) fn allow_reading(request: &HeaderMap, response: &mut Response) {
    if request.contains_key(header::ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
