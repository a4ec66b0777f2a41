//! Requests for which the SDK has no method (RSC19, HP).

use std::{fmt, sync::Arc};

use capably_protocol::{ErrorCode, codec::encode_body};
use serde_json::Value;

use super::{
    Rest,
    call::Call,
    link::{self, Links},
    pipeline::Pipeline,
    response,
};
use crate::{
    Error, Result,
    http::{BoxFuture, HttpMethod},
};

impl Rest {
    /// Sends any request when awaited, with the client's credentials, format, timeouts and fallback hosts (RSC19).
    /// The path is sent unchanged: percent-encode it where necessary.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = capably::ClientOptions::new(server.key())
    /// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
    /// # let rest = capably::Rest::new(options)?;
    /// use capably::http::HttpMethod;
    ///
    /// let response = rest.request(HttpMethod::Get, "/time").version(3).await?;
    /// assert!(response.is_success());
    /// assert!(response.items()[0].is_i64());
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, method: HttpMethod, path: impl AsRef<str>) -> HttpRequestBuilder {
        let path = path.as_ref();
        let slash = if path.starts_with('/') { "" } else { "/" };
        HttpRequestBuilder {
            pipeline: Arc::clone(&self.pipeline),
            call: Call::new(method, format!("{slash}{path}")),
            body: None,
        }
    }
}

/// Sends any request when awaited.
///
/// # Errors
/// When no response arrives: 50003 after a timeout, 80000 when no host can be reached, 80003 when the connection
/// breaks. 40013 for a success whose body cannot be read. A refusal by the service is no error but a response: see
/// [`is_success`](HttpPaginatedResponse::is_success) (RSC19e).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until this is awaited"]
pub struct HttpRequestBuilder {
    pipeline: Arc<Pipeline>,
    call: Call,
    body: Option<Value>,
}

impl HttpRequestBuilder {
    /// Sets the protocol version of the request; the SDK's own version by default (RSC19f1).
    pub fn version(mut self, version: u32) -> Self {
        self.call = self.call.version(version);
        self
    }

    /// Adds a parameter to the query.
    pub fn param(mut self, name: impl AsRef<str>, value: impl fmt::Display) -> Self {
        self.call = self.call.param(name.as_ref(), value);
        self
    }

    /// Adds a header. It does not replace a header that the SDK sets itself, such as the credentials (RSC19b).
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.call = self.call.header(name, value);
        self
    }

    /// Sets the body. It is sent in the client's format (RSC19c).
    pub fn body(mut self, body: impl Into<Value>) -> Self {
        self.body = Some(body.into());
        self
    }
}

impl IntoFuture for HttpRequestBuilder {
    type Output = Result<HttpPaginatedResponse>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut call = self.call;
            if let Some(body) = &self.body {
                let format = self.pipeline.config().format();
                let body = encode_body(format, body).map_err(|error| {
                    let message = format!("the body cannot be encoded: {error}");
                    Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
                })?;
                call = call.body(body);
            }
            HttpPaginatedResponse::load(self.pipeline, call).await
        })
    }
}

/// A response to a request made with [`Rest::request`] (HP1).
#[derive(Clone)]
pub struct HttpPaginatedResponse {
    status: u16,
    headers: Vec<(String, String)>,
    items: Vec<Value>,
    links: Links,
    call: Call,
    origin: String,
    pipeline: Arc<Pipeline>,
}

impl HttpPaginatedResponse {
    async fn load(pipeline: Arc<Pipeline>, call: Call) -> Result<Self> {
        let (response, origin) = pipeline.exchange(&call).await?;
        let items = response::items(&response, pipeline.config().format())?;
        let links = Links::parse(response.header_values("Link"));
        let (status, headers) = (response.status, response.headers);
        Ok(Self { status, headers, items, links, call, origin, pipeline })
    }

    /// The HTTP status (HP4).
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is a success, from 200 to 299 (HP5).
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The error code in the response's header (HP6).
    pub fn error_code(&self) -> Option<ErrorCode> {
        self.header("X-Ably-Errorcode")?.trim().parse().ok().map(ErrorCode)
    }

    /// The error message in the response's header (HP7).
    pub fn error_message(&self) -> Option<&str> {
        self.header("X-Ably-Errormessage")
    }

    /// The names and values of the headers (HP8).
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The first value of a header, by its name in any case (HP8).
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The items of the body: the elements of an array, one item for any other value, none for an empty body
    /// (HP3). Binary data is encoded as base64. An error body of an unsupported type has no items.
    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// Whether there is another page after this one (TG6).
    pub fn has_next(&self) -> bool {
        self.links.next.is_some()
    }

    /// Whether this is the last page (TG7).
    pub fn is_last(&self) -> bool {
        !self.has_next()
    }

    /// Loads the next page when awaited; `None` after the last page (HP2).
    ///
    /// # Errors
    /// The errors of the request itself, and 40000 for a link to another host.
    pub fn next(&self) -> BoxFuture<'static, Result<Option<Self>>> {
        self.load_linked(self.links.next.as_deref())
    }

    /// Loads the first page when awaited; `None` if the service sent no link to it (HP2).
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub fn first(&self) -> BoxFuture<'static, Result<Option<Self>>> {
        self.load_linked(self.links.first.as_deref())
    }

    fn load_linked(&self, link: Option<&str>) -> BoxFuture<'static, Result<Option<Self>>> {
        let target = link.map(|link| link::resolve(link, self.call.target(), &self.origin));
        let call = target.transpose().map(|target| target.map(|target| self.call.follow(target)));
        let pipeline = Arc::clone(&self.pipeline);
        Box::pin(async move {
            match call? {
                Some(call) => Self::load(pipeline, call).await.map(Some),
                None => Ok(None),
            }
        })
    }
}

impl fmt::Debug for HttpPaginatedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPaginatedResponse")
            .field("status", &self.status)
            .field("items", &self.items)
            .field("has_next", &self.has_next())
            .finish_non_exhaustive()
    }
}
