//! The HTTP interface of the SDK: the trait for HTTP clients, and the built-in client.
//!
//! Pass your own [`HttpClient`] to [`ClientOptions::http_client`](crate::ClientOptions::http_client) to script a
//! service in tests, or to use another HTTP stack.

use std::{error::Error as StdError, fmt, future::Future, pin::Pin};

use bytes::Bytes;
use futures_core::Stream;

mod builtin;
mod route;

pub(crate) use builtin::BuiltinClient;

pub use crate::proxy::HttpProxy;

/// Sends HTTP requests.
///
/// An implementation needs no timeout: the SDK limits the time of each request, and drops the future at its end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> capably::Result<()> {
/// use std::sync::Arc;
/// use capably::{ClientOptions, Rest};
/// use capably::http::{BoxFuture, HttpClient, HttpError, HttpRequest, HttpResponse};
///
/// /// A service whose time never changes.
/// struct Fixed;
///
/// impl HttpClient for Fixed {
///     fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
///         assert!(request.url.ends_with("/time"));
///         let body = HttpResponse::new(200, "[1704067200000]");
///         Box::pin(async { Ok(body.with_header("Content-Type", "application/json")) })
///     }
/// }
///
/// let options = ClientOptions::new("app.key:secret").http_client(Arc::new(Fixed));
/// assert_eq!(Rest::new(options)?.time().await?, 1_704_067_200_000);
/// # Ok(())
/// # }
/// ```
pub trait HttpClient: Send + Sync {
    /// Sends one request and reads the whole response. A response of any status is `Ok`.
    ///
    /// # Errors
    /// Without a complete response. The [`HttpError`]'s kind is the reason.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>>;

    /// Whether [`open`](Self::open) is there. By default it is not: a realtime client over
    /// [comet](crate::transport::Transport::Comet) then asks again and again instead of reading one stream.
    fn can_stream(&self) -> bool {
        false
    }

    /// Sends one request, and returns the response when its head has arrived. The body follows piece by piece, and
    /// its size has no limit.
    ///
    /// # Errors
    /// Without the head of a response. The [`HttpError`]'s kind is the reason; [`HttpErrorKind::Request`] by default.
    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpStream, HttpError>> {
        drop(request);
        let message = "this HTTP client reads only whole responses";
        Box::pin(async move { Err(HttpError::new(HttpErrorKind::Request, message)) })
    }
}

/// An HTTP response whose body is still to come. Dropping it ends the request.
#[non_exhaustive]
pub struct HttpStream {
    /// The status code.
    pub status: u16,
    /// Header names and values, in the order of the response.
    pub headers: Vec<(String, String)>,
    /// The pieces of the body. It ends without an error if the whole body has arrived.
    pub body: Pin<Box<dyn Stream<Item = Result<Bytes, HttpError>> + Send>>,
}

impl HttpStream {
    /// Makes a response without headers.
    pub fn new(
        status: u16,
        body: impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static,
    ) -> Self {
        Self { status, headers: Vec::new(), body: Box::pin(body) }
    }

    /// The first value of a header. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name).next()
    }
}

impl fmt::Debug for HttpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStream")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpMethod {
    /// Reads a resource.
    Get,
    /// Adds to a resource.
    Post,
    /// Replaces a resource.
    Put,
    /// Changes a resource.
    Patch,
    /// Removes a resource.
    Delete,
}

impl HttpMethod {
    /// The name in a request line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// An HTTP request. `Debug` shows no credentials.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// The method.
    pub method: HttpMethod,
    /// The absolute URL, `http` or `https`.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// The body; empty for none.
    pub body: Bytes,
    /// The size limit for the body of the response, in bytes; 16 MiB by default.
    pub max_response: usize,
}

/// The default size limit for the body of a response, in bytes.
pub(crate) const MAX_RESPONSE: usize = 16 * 1024 * 1024;

impl HttpRequest {
    /// Makes a request without headers and body.
    pub fn new(method: HttpMethod, url: impl Into<String>) -> Self {
        let (url, body) = (url.into(), Bytes::new());
        Self { method, url, headers: Vec::new(), body, max_response: MAX_RESPONSE }
    }

    /// The value of a header. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name).next()
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| {
                // Any other header may be a credential, such as one for an auth server.
                let harmless = ["Accept", "Content-Type", "X-Ably-Version", "Ably-Agent"];
                let shown = harmless.iter().any(|known| name.eq_ignore_ascii_case(known));
                (name, if shown { value } else { "[redacted]" })
            })
            .collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            // A query may contain credentials.
            .field("url", &self.url.split('?').next())
            .field("headers", &headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// An HTTP response. `Debug` does not show the body, which may be a token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Header names and values, in the order of the response.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

impl HttpResponse {
    /// Makes a response without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The first value of a header. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// All values of a header. The case of the name does not matter.
    pub fn header_values<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        find(&self.headers, name)
    }
}

impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

fn find<'a, 'n>(
    headers: &'a [(String, String)],
    name: &'n str,
) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
    let matching = headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
    matching.map(|(_, value)| value.as_str())
}

/// The reason why there is no response.
#[derive(Debug)]
pub struct HttpError {
    kind: HttpErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kind of an HTTP failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// No connection: the host name is unknown, no server listens, or TLS failed.
    Connect,
    /// A timeout.
    Timeout,
    /// The connection broke before the response was complete.
    Interrupted,
    /// The response is not valid HTTP, or too large.
    Response,
    /// The request is invalid and was not sent.
    Request,
}

impl HttpError {
    /// Makes an error of this kind, with a message.
    pub fn new(kind: HttpErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Sets the source of the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The kind of the failure.
    pub fn kind(&self) -> HttpErrorKind {
        self.kind
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for HttpError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_request_shows_no_credentials() {
        let mut request = HttpRequest::new(HttpMethod::Get, "https://a.example/b?key=s3cr3t");
        request.headers.push(("Authorization".to_owned(), "Basic s3cr3t".to_owned()));
        let text = format!("{request:?}");
        assert!(!text.contains("s3cr3t"), "{text}");
        assert!(text.contains("https://a.example/b"), "{text}");
        request.headers.push(("X-Session".to_owned(), "s3cr3t".to_owned()));
        let response = HttpResponse::new(200, "{\"token\":\"s3cr3t\"}");
        let text = format!("{request:?} {response:?}");
        assert!(!text.contains("s3cr3t") && text.contains("X-Session"), "{text}");
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let response = HttpResponse::new(200, "").with_header("LINK", "a").with_header("link", "b");
        assert_eq!(response.header("Link"), Some("a"));
        assert_eq!(response.header_values("Link").collect::<Vec<_>>(), ["a", "b"]);
    }
}
