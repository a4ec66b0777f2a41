//! HTTP responses in either format.

use std::io;

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Format, codec};
use http_body_util::{Either, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde::Serialize;
use serde_json::json;

pub(crate) type Response = hyper::Response<Body>;

/// The body of a response: known as a whole, or sent as it comes into being.
pub(crate) type Body = Either<Full<Bytes>, StreamingBody>;

pub(crate) type StreamingBody = UnsyncBoxBody<Bytes, io::Error>;

/// A response before it is sent. Its body may have new keys, so it has no `Debug`.
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// Sent in place of `body`.
    streaming: Option<StreamingBody>,
}

impl Reply {
    /// A reply without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), streaming: None }
    }

    /// A body that is already encoded in `format`.
    pub(crate) fn encoded(status: StatusCode, format: Format, body: Vec<u8>) -> Self {
        // Exactly this type, with no charset: clients choose their decoder by it.
        let mut reply = Self::empty(status).header(header::CONTENT_TYPE, format.content_type());
        reply.body = body.into();
        reply
    }

    /// A body of this type, for readers that know no format of the protocol.
    pub(crate) fn plain(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::empty(status).header(header::CONTENT_TYPE, content_type);
        reply.body = body.into();
        reply
    }

    /// A body of this type that is sent as it comes into being.
    pub(crate) fn streaming(content_type: &str, body: StreamingBody) -> Self {
        let mut reply = Self::empty(StatusCode::OK).header(header::CONTENT_TYPE, content_type);
        reply.streaming = Some(body);
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

    /// The size of the body, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.body.len()
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
        let body = match self.streaming {
            Some(streaming) => Either::Right(streaming),
            None => whole(self.body),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A body that is known as a whole.
pub(crate) fn whole(body: Bytes) -> Body {
    Either::Left(Full::new(body))
}

/// The text with a question mark for each character that a header cannot have.
fn in_ascii(text: &str) -> String {
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
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(format_of_type)
        .unwrap_or(Format::Json)
}

fn format_of_type(text: &str) -> Option<Format> {
    let media_type = text.split(';').next().unwrap_or(text).trim();
    [Format::Json, Format::MsgPack]
        .into_iter()
        .find(|format| media_type.eq_ignore_ascii_case(format.content_type()))
}
