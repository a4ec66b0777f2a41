//! The requests of comet.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::{Answer, DialRequest, lost};
use crate::{
    Result,
    http::{HttpClient, HttpError, HttpErrorKind, HttpMethod, HttpRequest},
    rest::append_pair,
};

/// A request that waits for the head of its response, or for all of it.
pub(super) type Asking = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// The service, as requests for one connection reach it. It has credentials, so it has no `Debug`.
#[derive(Clone)]
pub(super) struct Service {
    http: Arc<dyn HttpClient>,
    /// `http://host:port/comet/`.
    base: String,
    /// The name and value of the parameter with the credentials, which every request has.
    credentials: Option<(String, String)>,
    /// Whether the responses that receive are streams.
    streams: bool,
    /// The largest array of frames, in bytes.
    max_size: usize,
    /// How long a request that sends may take.
    pub(super) timeout: Duration,
}

impl Service {
    pub(super) fn new(http: Arc<dyn HttpClient>, request: &DialRequest, streams: bool) -> Self {
        let scheme = if request.tls { "https" } else { "http" };
        let credentials = params(request)
            .find(|(name, _)| matches!(&**name, "key" | "accessToken" | "access_token"));
        Self {
            http,
            base: format!("{scheme}://{}/comet/", request.authority()),
            credentials,
            streams,
            max_size: request.max_frame_size,
            timeout: request.timeout,
        }
    }

    /// Later requests have this token.
    pub(super) fn renewed(&mut self, access_token: &str) {
        self.credentials = Some(("accessToken".to_owned(), access_token.to_owned()));
    }

    pub(super) fn streams(&self) -> bool {
        self.streams
    }

    /// Opens a connection.
    pub(super) fn connect(&self, request: &DialRequest) -> Asking {
        let mut query = String::new();
        for (name, value) in params(request) {
            match &*name {
                // The service takes JSON alone over comet.
                "format" | "stream" => {}
                // There are no pings of a WebSocket.
                "heartbeats" if value == "false" => {}
                _ => append_pair(&mut query, &name, &value),
            }
        }
        append_pair(&mut query, "stream", if self.streams { "true" } else { "false" });
        let url = format!("{}connect?{query}", self.base);
        self.ask(HttpMethod::Get, url, Bytes::new(), self.streams)
    }

    /// Receives frames of the connection with this key.
    pub(super) fn receive(&self, key: &str) -> Asking {
        self.ask(HttpMethod::Get, self.url(key, "recv"), Bytes::new(), self.streams)
    }

    /// Sends an array of frames.
    pub(super) fn send(&self, key: &str, frames: Bytes) -> Asking {
        self.ask(HttpMethod::Post, self.url(key, "send"), frames, false)
    }

    fn url(&self, key: &str, what: &str) -> String {
        let mut url = format!("{}{}/{what}?", self.base, crate::rest::escape(key));
        if let Some((name, value)) = &self.credentials {
            append_pair(&mut url, name, value);
        }
        url
    }

    fn ask(&self, method: HttpMethod, url: String, body: Bytes, streams: bool) -> Asking {
        let mut request = HttpRequest::new(method, url);
        request.headers.push(("Accept".to_owned(), "application/json".to_owned()));
        if !body.is_empty() {
            request.headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        }
        request.body = body;
        request.max_response = self.max_size;
        let (http, max_size) = (Arc::clone(&self.http), self.max_size);
        Box::pin(async move {
            Ok(match streams {
                true => Answer::stream(http.open(request).await.map_err(failed)?, max_size),
                false => Answer::whole(http.send(request).await.map_err(failed)?, max_size),
            })
        })
    }
}

/// The parameters of a request to connect, decoded.
fn params(request: &DialRequest) -> impl Iterator<Item = (String, String)> {
    let query = request.path.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Some((decode(name), decode(value)))
    })
}

/// The error of a request without a response. The status says whether other hosts may do better.
fn failed(error: HttpError) -> crate::Error {
    let status = match error.kind() {
        HttpErrorKind::Request => 400,
        _ => 0,
    };
    lost(status, error.to_string()).with_source(error)
}
