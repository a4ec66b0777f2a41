//! A REST call: everything of a request but its host.

use std::fmt;

use bytes::Bytes;
use capably_protocol::PROTOCOL_VERSION;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::{HttpMethod, MAX_RESPONSE};

/// The characters that are percent-encoded in path segments and query values: all but RFC 3986's unreserved ones.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes text for a path segment, or for a name or a value in a query.
pub(crate) fn escape(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ESCAPED)
}

/// A request without its host.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(super) method: HttpMethod,
    /// Path and query, escaped.
    pub(super) target: String,
    pub(super) body: Bytes,
    /// The protocol version of the request (CSV2, RSC19f1).
    pub(super) version: u32,
    /// Headers in addition to the common ones.
    pub(super) headers: Vec<(String, String)>,
    /// Whether the request is the client's own, and so does not name a wrapper SDK (WP6).
    pub(super) unattributed: bool,
    /// Whether the request is by the push device alone, and so does not name the client (RSH3d2b).
    pub(super) by_device: bool,
    /// The size limit for the body of the response, in bytes.
    pub(super) max_response: usize,
}

impl Call {
    /// A GET request for an escaped path, with or without a query.
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(HttpMethod::Get, target)
    }

    /// A request for an escaped path, with or without a query.
    pub(crate) fn new(method: HttpMethod, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            body: Bytes::new(),
            version: PROTOCOL_VERSION,
            headers: Vec::new(),
            unattributed: false,
            by_device: false,
            max_response: MAX_RESPONSE,
        }
    }

    /// A POST request with a body in the client's format.
    pub(crate) fn post(target: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(HttpMethod::Post, target).body(body)
    }

    /// Sets the body, in the client's format.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the protocol version.
    pub(crate) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Raises the size limit for the body of the response to this many bytes.
    pub(crate) fn expecting(mut self, bytes: usize) -> Self {
        self.max_response = self.max_response.max(bytes);
        self
    }

    /// The size limit for the body of the response, in bytes.
    pub(crate) fn max_response(&self) -> usize {
        self.max_response
    }

    /// Marks the request as the client's own: it does not name a wrapper SDK (WP6a, WP6b).
    pub(crate) fn unattributed(mut self) -> Self {
        self.unattributed = true;
        self
    }

    /// Marks the request as one of the push device alone: it does not name the client (RSH3d2b).
    pub(crate) fn by_device(mut self) -> Self {
        self.by_device = true;
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A GET request for another page, with the same headers.
    pub(crate) fn follow(&self, target: String) -> Self {
        Self { method: HttpMethod::Get, target, body: Bytes::new(), ..self.clone() }
    }

    /// Adds a query parameter.
    pub(crate) fn param(mut self, name: &str, value: impl fmt::Display) -> Self {
        append(&mut self.target, name, &value.to_string());
        self
    }

    /// Path and query, escaped.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

/// Adds a parameter to the query of a target.
pub(super) fn append(target: &mut String, name: &str, value: &str) {
    if !target.contains('?') {
        target.push('?');
    }
    append_pair(target, name, value);
}

/// Adds a parameter to a query, with or without the path before it, or to a form.
///
/// A space becomes `%20`, not `+`: servers that decode a query as a path understand only `%20`, and all servers
/// understand it in a form.
pub(crate) fn append_pair(query: &mut String, name: &str, value: &str) {
    use fmt::Write as _;
    let separator = if query.is_empty() || query.ends_with('?') { "" } else { "&" };
    let _ = write!(query, "{separator}{}={}", escape(name), escape(value));
}
