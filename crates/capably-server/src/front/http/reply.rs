//! HTTP responses in either format.

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format, codec};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::json;

use super::body::{Body, Pieces};

pub(crate) type Response = hyper::Response<Body>;

/// A response before it is sent. Its body may have new keys, so it has no `Debug`.
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Reply {
    /// A reply without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::default() }
    }

    /// A body that is already encoded in `format`.
    pub(crate) fn encoded(status: StatusCode, format: Format, body: impl Into<Bytes>) -> Self {
        // Exactly this type, with no charset: clients choose their decoder by it.
        let mut reply = Self::empty(status).header(header::CONTENT_TYPE, format.content_type());
        reply.body = body.into().into();
        reply
    }

    /// A body of this type in pieces.
    pub(crate) fn stream(content_type: &str, pieces: Box<dyn Pieces>) -> Self {
        let mut reply = Self::empty(StatusCode::OK).header(header::CONTENT_TYPE, content_type);
        reply.body = Body::Stream(pieces);
        reply
    }

    /// A body of this type, for readers that know no format of the protocol.
    pub(crate) fn plain(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::empty(status).header(header::CONTENT_TYPE, content_type);
        reply.body = body.into().into();
        reply
    }

    /// A reply with this value as its body.
    pub(crate) fn value<T: Serialize>(status: StatusCode, format: Format, value: &T) -> Self {
        match codec::encode_body(format, value) {
            Ok(body) => Self::encoded(status, format, body),
            Err(_) => Self::empty(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The error as a body and in headers.
    pub(crate) fn error(format: Format, error: &ErrorInfo) -> Self {
        let body = json!({ "error": {
            "message": &*error.message,
            "code": error.code.0,
            "statusCode": error.status_code,
        }});
        Self::error_with(format, error, &body)
    }

    /// The error in headers, with a body that has the error and more.
    pub(crate) fn error_with<T: Serialize>(format: Format, error: &ErrorInfo, body: &T) -> Self {
        let status =
            StatusCode::from_u16(error.status_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::value(status, format, body)
            .header(HeaderName::from_static("x-ably-errorcode"), error.code.0.to_string())
            .header(HeaderName::from_static("x-ably-errormessage"), in_ascii(&error.message))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The size of the body, in bytes; 0 if it is a stream.
    pub(crate) fn size(&self) -> usize {
        self.body.size()
    }

    /// With a header added.
    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        self.add_header(name, value);
        self
    }

    /// Adds a header. A value that no header can have is left out.
    pub(crate) fn add_header(&mut self, name: HeaderName, value: impl AsRef<str>) {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.append(name, value);
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The text with a question mark for each character that a header cannot have.
pub(crate) fn in_ascii(text: &str) -> String {
    let plain = |character: char| character == ' ' || character.is_ascii_graphic();
    text.chars().map(|character| if plain(character) { character } else { '?' }).collect()
}

/// The format of the response: the first known type in the `Accept` headers, or else the parameter `format`, or JSON.
pub(crate) fn accepted(headers: &HeaderMap, format_parameter: Option<&str>) -> Format {
    let named = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(format_of_type);
    named.unwrap_or(match format_parameter {
        Some("msgpack") => Format::MsgPack,
        _ => Format::Json,
    })
}

/// The format of the request's body: its `Content-Type`, or JSON.
pub(crate) fn content_type(headers: &HeaderMap) -> Format {
    named_type(headers).unwrap_or(Format::Json)
}

/// The format that the `Content-Type` of the request names.
pub(crate) fn named_type(headers: &HeaderMap) -> Option<Format> {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(format_of_type)
}

fn format_of_type(text: &str) -> Option<Format> {
    let media_type = text.split(';').next().unwrap_or(text).trim();
    [Format::Json, Format::MsgPack]
        .into_iter()
        .find(|format| media_type.eq_ignore_ascii_case(format.content_type()))
}
