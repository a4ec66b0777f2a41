//! An HTTP client that answers by script and records its requests.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use capably::{
    ClientOptions, Rest,
    http::{BoxFuture, HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse},
};
use capably_protocol::{Format, Limits, codec};
use percent_encoding::percent_decode_str;
use serde_json::Value;

pub(crate) const KEY: &str = "appId.keyId:keySecret";

/// The outcome of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This response.
    Raw(HttpResponse),
    /// A body in the format that the request accepts.
    Body { status: u16, body: Value, headers: Vec<(&'static str, String)> },
    /// No response.
    Fail(HttpErrorKind),
    /// No outcome at all.
    Hang,
    /// This outcome, after a delay.
    After(Duration, Box<Answer>),
}

impl Answer {
    /// The same answer with a `Link` header.
    pub(crate) fn link(mut self, link: impl Into<String>) -> Self {
        match &mut self {
            Self::Body { headers, .. } => headers.push(("Link", link.into())),
            other => panic!("{other:?} takes no header"),
        }
        self
    }
}

/// A body in the format that the request accepts.
pub(crate) fn respond(status: u16, body: Value) -> Answer {
    Answer::Body { status, body, headers: Vec::new() }
}

type Script = dyn Fn(&HttpRequest, usize) -> Answer + Send + Sync;

#[derive(Clone)]
pub(crate) struct ScriptedHttp {
    script: Arc<Script>,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl fmt::Debug for ScriptedHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedHttp").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl ScriptedHttp {
    /// Answers by a function of the request and of the number of earlier ones.
    pub(crate) fn new(
        script: impl Fn(&HttpRequest, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self { script: Arc::new(script), requests: Arc::default() }
    }

    /// Answers every request alike.
    pub(crate) fn always(answer: Answer) -> Self {
        Self::new(move |_, _| answer.clone())
    }

    /// Answers each request with the next of these, and repeats the last.
    pub(crate) fn sequence(answers: impl Into<Vec<Answer>>) -> Self {
        let answers = answers.into();
        Self::new(move |_, index| answers[index.min(answers.len() - 1)].clone())
    }

    /// A client with a key that uses this.
    pub(crate) fn rest(&self) -> Rest {
        self.rest_with(ClientOptions::new(KEY))
    }

    /// A client with these options that uses this.
    pub(crate) fn rest_with(&self, options: ClientOptions) -> Rest {
        Rest::new(options.http_client(Arc::new(self.clone()))).expect("the options are good")
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().iter().cloned().map(Request).collect()
    }

    /// The only request.
    #[track_caller]
    pub(crate) fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

impl HttpClient for ScriptedHttp {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        Box::pin(async move {
            let index = {
                let mut requests = self.requests.lock().unwrap();
                requests.push(request.clone());
                requests.len() - 1
            };
            let mut answer = (self.script)(&request, index);
            loop {
                answer = match answer {
                    Answer::After(delay, then) => {
                        tokio::time::sleep(delay).await;
                        *then
                    }
                    Answer::Hang => std::future::pending().await,
                    Answer::Fail(kind) => return Err(HttpError::new(kind, "scripted failure")),
                    Answer::Raw(response) => return Ok(response),
                    Answer::Body { status, body, headers } => {
                        let format = match request.header("Accept") {
                            Some("application/json") => Format::Json,
                            Some("application/x-msgpack") => Format::MsgPack,
                            other => panic!("Accept: {other:?}"),
                        };
                        let mut response = encoded(format, status, &body);
                        for (name, value) in headers {
                            response = response.with_header(name, value);
                        }
                        return Ok(response);
                    }
                }
            }
        })
    }
}

/// A response with a body in this format.
pub(crate) fn encoded(format: Format, status: u16, body: &Value) -> HttpResponse {
    let bytes = codec::encode_body(format, body).expect("a JSON value has a form in both formats");
    HttpResponse::new(status, bytes).with_header("Content-Type", format.content_type())
}

/// A request, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Request(pub(crate) HttpRequest);

impl Request {
    pub(crate) fn method(&self) -> &'static str {
        self.0.method.as_str()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    pub(crate) fn scheme(&self) -> &str {
        self.0.url.split("://").next().unwrap()
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        let rest = self.0.url.split("://").nth(1).unwrap();
        rest.split('/').next().unwrap()
    }

    /// The path as it was sent, escapes included.
    pub(crate) fn path(&self) -> &str {
        let after = self.0.url.find("://").unwrap() + 3;
        let path = after + self.0.url[after..].find('/').unwrap();
        self.0.url[path..].split('?').next().unwrap()
    }

    /// A query parameter.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let decode = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let (_, query) = self.0.url.split_once('?')?;
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0.body
    }

    /// The body, read by its content type; it must have no binary values.
    #[track_caller]
    pub(crate) fn body(&self) -> Value {
        let format = match self.header("Content-Type") {
            Some("application/json") => Format::Json,
            Some("application/x-msgpack") => Format::MsgPack,
            other => panic!("Content-Type: {other:?}"),
        };
        codec::decode_body(format, &self.0.body, &Limits::default()).expect("the body is readable")
    }
}
