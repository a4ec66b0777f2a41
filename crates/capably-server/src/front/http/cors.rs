//! What browsers ask before a page of another origin may use the service. Credentials are part of each
//! request and never of the browser's, so any origin may.

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderValue},
    http::request::Parts,
};

use crate::front::reply::{Reply, Response};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// What a page may read besides the body.
const EXPOSED: &str = "Link, X-Ably-Errorcode, X-Ably-Errormessage";

/// The answer to a browser that asks first whether a request is welcome.
pub(crate) fn preflight(request: &Parts) -> Option<Reply> {
    let asks = request.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if request.method != Method::OPTIONS || !asks {
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
pub(crate) fn open(request: &HeaderMap, response: &mut Response) {
    if request.contains_key(header::ORIGIN) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
