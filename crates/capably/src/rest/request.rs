//! The way of every REST request: URL, headers, time limit, and errors made of what comes back.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use capably_protocol::{ErrorCode, Limits, PROTOCOL_VERSION};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::{
    fallback::{Hosts, Sequence, needs_another_host},
    response::Reply,
};
use crate::{
    Error, Result,
    http::{
        BuiltinClient, HttpClient, HttpError, HttpErrorKind, HttpMethod, HttpRequest, HttpResponse,
    },
    options::Config,
    random,
};

/// What stands for itself in a path segment and a query value (RFC 3986's unreserved characters).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text as one path segment or one query value.
pub(crate) fn escape(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, ESCAPED)
}

/// A request before it knows its host.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: HttpMethod,
    /// Path and query, escaped.
    target: String,
    body: Bytes,
    authenticated: bool,
    /// The protocol version to be understood by (CSV2, RSC19f1).
    version: u32,
    /// Headers besides those that every request has.
    headers: Vec<(String, String)>,
}

impl Call {
    /// A GET of an escaped path, with or without a query.
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(HttpMethod::Get, target)
    }

    /// A request of an escaped path, with or without a query.
    pub(crate) fn new(method: HttpMethod, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            body: Bytes::new(),
            authenticated: true,
            version: PROTOCOL_VERSION,
            headers: Vec::new(),
        }
    }

    /// A POST of a body in the client's format.
    pub(crate) fn post(target: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self::new(HttpMethod::Post, target).body(body)
    }

    /// The same call with a body in the client's format.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The same call, to be understood by another version of the protocol.
    pub(crate) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// The same call with one more header.
    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// A GET of another page, with the same headers.
    pub(crate) fn follow(&self, target: String) -> Self {
        Self { method: HttpMethod::Get, target, body: Bytes::new(), ..self.clone() }
    }

    /// The same call with one more query parameter.
    pub(crate) fn param(mut self, name: &str, value: impl fmt::Display) -> Self {
        append(&mut self.target, name, &value.to_string());
        self
    }

    /// The same call without credentials.
    pub(crate) fn anonymous(mut self) -> Self {
        self.authenticated = false;
        self
    }

    /// Path and query, escaped.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }
}

fn append(target: &mut String, name: &str, value: &str) {
    use fmt::Write as _;
    let separator = if target.contains('?') { '&' } else { '?' };
    let _ = write!(target, "{separator}{}={}", escape(name), escape(value));
}

/// What a REST client sends its requests through.
pub(crate) struct Pipeline {
    config: Arc<Config>,
    client: Arc<dyn HttpClient>,
    hosts: Hosts,
    agent: String,
}

impl Pipeline {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let client = config.options.http_client.clone().unwrap_or_else(|| {
            let open_timeout = config.options.http_open_timeout;
            Arc::new(BuiltinClient::new(open_timeout, Limits::default().max_size))
        });
        let agent = config.agent();
        Self { config, client, hosts: Hosts::default(), agent }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Sends a call and reads the reply.
    ///
    /// # Errors
    /// What the service says; 50003 when time is up, 80000 when no host can be reached, 80003 when
    /// the connection breaks, 40013 for a reply that cannot be read (RSC8e).
    pub(crate) async fn send(&self, call: &Call) -> Result<Reply> {
        self.exchange_with(call, |response, origin| {
            Reply::read(response, self.config.format(), origin)
        })
        .await
    }

    /// Sends a call and returns the response, whatever its status, with the scheme, host and port that
    /// it came from.
    ///
    /// # Errors
    /// When no response came: as [`send`](Self::send).
    pub(crate) async fn exchange(&self, call: &Call) -> Result<(HttpResponse, String)> {
        self.exchange_with(call, |response, origin| Ok((response, origin))).await
    }

    async fn exchange_with<T>(
        &self,
        call: &Call,
        read: impl FnOnce(HttpResponse, String) -> Result<T>,
    ) -> Result<T> {
        if tokio::runtime::Handle::try_current().is_err() {
            let message = "a REST request needs a tokio runtime, and there is none here";
            return Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
                .with_remedy("make the call inside a tokio runtime with its timer enabled"));
        }
        let id = if self.config.options.add_request_ids { Some(random::id()?) } else { None };
        let (outcome, host) = self.try_hosts(call, id.as_deref()).await?;
        let result = match outcome {
            Ok(response) => read(response, self.config.origin(&host)),
            Err(error) => Err(transport_error(error, &host)),
        };
        result.map_err(|error| {
            let error = match &id {
                Some(id) => error.with_request_id(id),
                None => error,
            };
            tracing::debug!(method = call.method.as_str(), %error, "REST request failed");
            error
        })
    }

    /// Asks one host after the other, until one answers or there is no more (RSC15). With the outcome
    /// comes the host that it is from.
    async fn try_hosts(
        &self,
        call: &Call,
        request_id: Option<&str>,
    ) -> Result<(Result<HttpResponse, HttpError>, String)> {
        let Config { options, domains, .. } = &*self.config;
        let start = Instant::now();
        let mut sequence = self.hosts.sequence(start);
        loop {
            let host = sequence.host(domains).to_owned();
            let outcome = self.attempt(call, &host, request_id).await;
            let now = Instant::now();
            if !needs_another_host(&outcome) {
                // Only a host that this request fell back to: a late answer of a preferred host must
                // not renew the preference (RSC15f).
                if matches!(sequence, Sequence::Fallback { .. }) {
                    self.hosts.prefer(&host, now, options.fallback_retry_timeout);
                }
                return Ok((outcome, host));
            }
            self.hosts.forget(&host);
            if now.duration_since(start) >= options.http_max_retry_duration {
                return Ok((outcome, host));
            }
            sequence = match sequence.next(domains, options.http_max_retry_count)? {
                Some(next) => next,
                None => return Ok((outcome, host)),
            };
            tracing::warn!(
                failed = host,
                next = sequence.host(domains),
                request_id,
                "falling back"
            );
        }
    }

    /// One request to one host, within the request timeout (TO3l4).
    async fn attempt(
        &self,
        call: &Call,
        host: &str,
        request_id: Option<&str>,
    ) -> Result<HttpResponse, HttpError> {
        let request = self.request(call, host, request_id);
        tracing::trace!(method = call.method.as_str(), host, request_id, "REST request");
        let limit = self.config.options.http_request_timeout;
        match tokio::time::timeout(limit, self.client.send(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out(limit)),
        }
    }

    fn request(&self, call: &Call, host: &str, request_id: Option<&str>) -> HttpRequest {
        let options = &self.config.options;
        let mut target = call.target.clone();
        if let Some(id) = request_id {
            append(&mut target, "request_id", id);
        }
        let url = format!("{}{target}", self.config.origin(host));
        let mut request = HttpRequest::new(call.method, url);
        let mut header = |name: &str, value: String| request.headers.push((name.to_owned(), value));
        let content_type = self.config.format().content_type();
        header("X-Ably-Version", call.version.to_string());
        header("Ably-Agent", self.agent.clone());
        header("Accept", content_type.to_owned());
        if !call.body.is_empty() {
            header("Content-Type", content_type.to_owned());
        }
        if call.authenticated {
            header("Authorization", self.config.credentials.authorization());
        }
        if let Some(client_id) = &options.client_id {
            header("X-Ably-ClientId", BASE64_STANDARD.encode(client_id));
        }
        for (name, value) in &call.headers {
            // What the SDK says of a request is not to be said twice (RSC19b).
            if request.header(name).is_none() && !name.eq_ignore_ascii_case("Authorization") {
                request.headers.push((name.clone(), value.clone()));
            }
        }
        request.body = call.body.clone();
        request
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("config", &self.config).finish_non_exhaustive()
    }
}

fn timed_out(limit: Duration) -> HttpError {
    let message = format!("the request was not answered within {} ms", limit.as_millis());
    HttpError::new(HttpErrorKind::Timeout, message)
}

/// The error for a request that got no response.
fn transport_error(error: HttpError, host: &str) -> Error {
    let (code, status) = match error.kind() {
        HttpErrorKind::Timeout => (ErrorCode::TIMEOUT_ERROR, 500),
        HttpErrorKind::Connect => (ErrorCode::CONNECTION_FAILED, 0),
        HttpErrorKind::Interrupted => (ErrorCode::CONNECTION_DISCONNECTED, 0),
        HttpErrorKind::Response => (ErrorCode::INVALID_DATA_OR_ENCODING, 400),
        HttpErrorKind::Request => (ErrorCode::BAD_REQUEST, 400),
    };
    Error::new(code, status, format!("request to {host} failed: {error}")).with_source(error)
}
