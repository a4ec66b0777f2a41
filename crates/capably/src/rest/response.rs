//! Replies: their format, and the errors in them.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use capably_protocol::{
    Data, DecodeError, ErrorCode, ErrorInfo, Format, Limits,
    codec::{Item, decode_body, decode_items, split_items},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Error, Result, http::HttpResponse};

/// How much of an unreadable body the error quotes, in bytes (RSC8e).
const EXCERPT: usize = 512;

/// A reply with a status from 200 to 299 in a supported format.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    format: Format,
    body: Bytes,
    /// Limits for decoding the body.
    limits: Limits,
    /// Scheme, host and port of the request's URL.
    pub(crate) origin: String,
    /// The values of its `Link` headers.
    pub(crate) links: Vec<String>,
}

impl Reply {
    /// Reads a response to a request for the format `requested`.
    ///
    /// # Errors
    /// The service's error; 40013 for a success in an unsupported format (RSC8e2); for a failure in an unsupported
    /// format, a code derived from its status (RSC8e1).
    pub(crate) fn read(response: HttpResponse, requested: Format, origin: String) -> Result<Self> {
        let content = Content::of(&response, requested);
        if !(200..300).contains(&response.status) {
            return Err(failure(&response, &content));
        }
        let format = match content {
            Content::Format(format) => format,
            // The content type of an empty body does not matter.
            Content::Unsupported(_) if response.body.is_empty() => requested,
            Content::Unsupported(kind) => {
                let message = unsupported(&kind, &response);
                return Err(Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message));
            }
        };
        let links = response.header_values("Link").map(str::to_owned).collect();
        Ok(Self { format, body: response.body, limits: Limits::default(), origin, links })
    }

    /// Sets the size limit for decoding the body, in bytes.
    pub(crate) fn within(mut self, max_size: usize) -> Self {
        self.limits.max_size = max_size;
        self
    }

    /// Accepts a body of the deepest nesting that can be decoded.
    pub(crate) fn deep(mut self) -> Self {
        self.limits.max_depth = usize::MAX;
        self
    }

    /// Decodes the body as a value.
    ///
    /// # Errors
    /// Code 40013 when the body has another form.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        decode_body(self.format, &self.body, &self.limits).map_err(unreadable)
    }

    /// Decodes the body as items. Their payloads stay encoded.
    ///
    /// # Errors
    /// Code 40013 when the body has another form.
    pub(crate) fn items<T: Item>(&self) -> Result<Vec<T>> {
        decode_items(self.format, &self.body, &self.limits).map_err(unreadable)
    }

    /// Splits a body that cannot be read as a whole into one reply for each item; `None` if the items cannot be
    /// separated.
    pub(crate) fn split(&self) -> Option<Vec<Self>> {
        let bodies = split_items(self.format, &self.body, &self.limits)?;
        let reply = |body| Self { body, links: Vec::new(), ..self.clone() };
        Some(bodies.into_iter().map(reply).collect())
    }
}

/// The items in the body of a response of any status (HP3).
///
/// # Errors
/// Code 40013 for a success that cannot be read. An unreadable failure has no items: its status is enough.
pub(crate) fn items(response: &HttpResponse, requested: Format) -> Result<Vec<Value>> {
    if response.body.is_empty() {
        return Ok(Vec::new());
    }
    let data: Result<Data> = match Content::of(response, requested) {
        Content::Format(format) => {
            decode_body(format, &response.body, &Limits::default()).map_err(unreadable)
        }
        Content::Unsupported(kind) => {
            let message = unsupported(&kind, response);
            Err(Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message))
        }
    };
    match data {
        Ok(Data::None) => Ok(Vec::new()),
        Ok(Data::Json(Value::Array(items))) => Ok(items),
        Ok(Data::Json(item)) => Ok(vec![item]),
        Ok(Data::Text(text)) => Ok(vec![Value::String(text.to_string())]),
        Ok(Data::Binary(bytes)) => Ok(vec![Value::String(BASE64_STANDARD.encode(bytes))]),
        Err(error) if (200..300).contains(&response.status) => Err(error),
        Err(_) => Ok(Vec::new()),
    }
}

fn unreadable(error: DecodeError) -> Error {
    let message = format!("the reply cannot be read: {error}");
    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message).with_source(error)
}

/// The content type of a body.
enum Content {
    Format(Format),
    Unsupported(String),
}

impl Content {
    /// The type in the response's header (RSC8d), or the requested format without that header.
    fn of(response: &HttpResponse, requested: Format) -> Self {
        let Some(header) = response.header("Content-Type") else { return Self::Format(requested) };
        let kind = header.split(';').next().unwrap_or_default().trim();
        [Format::Json, Format::MsgPack]
            .into_iter()
            .find(|format| kind.eq_ignore_ascii_case(format.content_type()))
            .map_or_else(|| Self::Unsupported(header.to_owned()), Self::Format)
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorInfo,
}

/// The error in a response that is not a success.
fn failure(response: &HttpResponse, content: &Content) -> Error {
    let status = response.status;
    let stated = match content {
        Content::Format(format) => {
            let body: Result<ErrorBody, _> =
                decode_body(*format, &response.body, &Limits::default());
            body.ok().map(|body| body.error)
        }
        Content::Unsupported(_) => None,
    };
    let in_header = response.header("X-Ably-Errorcode").and_then(|code| code.trim().parse().ok());
    let code = in_header.map_or_else(|| code_for(status), ErrorCode);
    if let Some(mut info) = stated {
        if info.code.0 == 0 {
            info.code = code;
        }
        if info.status_code == 0 {
            info.status_code = status;
        }
        if info.message.is_empty() {
            info.message = message_for(status).into();
        }
        return info.into();
    }
    let message = match content {
        Content::Unsupported(kind) if !response.body.is_empty() => unsupported(kind, response),
        Content::Unsupported(_) | Content::Format(_) => {
            match response.header("X-Ably-Errormessage") {
                Some(message) => message.to_owned(),
                None => message_for(status),
            }
        }
    };
    Error::new(code, status, message)
}

fn message_for(status: u16) -> String {
    format!("the request failed with status {status}, and the response contains no error")
}

/// The code for a status without one: 404 becomes 40400 and so on, if the list of codes contains that.
fn code_for(status: u16) -> ErrorCode {
    let code = ErrorCode(u32::from(status) * 100);
    if code.title().is_some() {
        code
    } else if status >= 500 {
        ErrorCode::INTERNAL_ERROR
    } else {
        ErrorCode::BAD_REQUEST
    }
}

fn unsupported(kind: &str, response: &HttpResponse) -> String {
    let excerpt = &response.body[..response.body.len().min(EXCERPT)];
    format!(
        "the content type `{kind}` of a response with status {} is not supported; the start of the body, in \
         base64: {}",
        response.status,
        BASE64_STANDARD.encode(excerpt)
    )
}
