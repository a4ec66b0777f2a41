//! The built-in HTTP client: hyper with a connection pool.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyDataStream, BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::Incoming,
    header::{HeaderValue, PROXY_AUTHORIZATION},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tower_service::Service;

use super::{
    BoxFuture, HttpClient, HttpError, HttpErrorKind, HttpMethod, HttpRequest, HttpResponse,
    HttpStream, route::Route,
};
use crate::{BoxError, proxy::Proxies, tls::Tls};

/// How long an idle connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(feature = "tls")]
type Scheme = hyper_rustls::HttpsConnector<Route>;
#[cfg(not(feature = "tls"))]
type Scheme = Route;

/// An HTTP/1.1 client with keep-alive.
pub(crate) struct BuiltinClient {
    client: Client<Bounded<Scheme>, Full<Bytes>>,
    proxies: Proxies,
}

impl BuiltinClient {
    /// Makes a client that opens a connection within `open_timeout`. It needs a runtime only for requests.
    pub(crate) fn new(proxies: Proxies, tls: &Tls, open_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(cfg!(not(feature = "tls")));
        let route = Route::new(tcp, proxies.clone());
        let connector = Bounded { inner: scheme(route, tls), limit: open_timeout };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, proxies }
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = request.max_response;
        let (head, body) = self.begin(request).await?.into_parts();
        let body = Limited::new(body, limit).collect().await;
        let body = body.map_err(|error| body_error(error, limit))?;
        Ok(HttpResponse {
            status: head.status.as_u16(),
            headers: headers(&head.headers),
            body: body.to_bytes(),
        })
    }

    async fn stream(&self, request: HttpRequest) -> Result<HttpStream, HttpError> {
        let (head, body) = self.begin(request).await?.into_parts();
        let pieces = BodyDataStream::new(body).map_err(|error| body_error(error.into(), 0));
        Ok(HttpStream {
            status: head.status.as_u16(),
            headers: headers(&head.headers),
            body: Box::pin(pieces),
        })
    }

    /// Sends a request, and reads the head of its response.
    async fn begin(&self, request: HttpRequest) -> Result<Response<Incoming>, HttpError> {
        if tokio::runtime::Handle::try_current().is_err() {
            let message = "an HTTP request needs a tokio runtime, and this thread has none";
            return Err(HttpError::new(HttpErrorKind::Request, message));
        }
        if cfg!(not(feature = "tls")) && request.url.starts_with("https:") {
            let message = "https needs the cargo feature `tls`, which is not enabled in this build";
            return Err(HttpError::new(HttpErrorKind::Request, message));
        }
        let request = self.with_proxy_auth(hyper_request(request)?);
        self.client.request(request).await.map_err(send_error)
    }

    /// Adds the proxy's credentials to a request that a proxy forwards. A tunnel has sent them when it was opened.
    fn with_proxy_auth(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        if request.uri().scheme_str() == Some("http")
            && let Ok(Some(proxy)) = self.proxies.of(request.uri())
            && let Some(auth) = proxy.auth
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth);
        }
        request
    }
}

impl HttpClient for BuiltinClient {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, HttpError>> {
        Box::pin(self.exchange(request))
    }

    fn can_stream(&self) -> bool {
        true
    }

    fn open(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpStream, HttpError>> {
        Box::pin(self.stream(request))
    }
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

#[cfg(feature = "tls")]
fn scheme(route: Route, tls: &Tls) -> Scheme {
    let tls = rustls::ClientConfig::clone(&tls.config);
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(route)
}

#[cfg(not(feature = "tls"))]
fn scheme(route: Route, _: &Tls) -> Scheme {
    route
}

fn hyper_request(request: HttpRequest) -> Result<Request<Full<Bytes>>, HttpError> {
    let method = match request.method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    };
    let mut builder = Request::builder().method(method).uri(request.url);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(request.body)).map_err(|error| {
        HttpError::new(HttpErrorKind::Request, "the URL or a header is malformed")
            .with_source(error)
    })
}

fn send_error(error: hyper_util::client::legacy::Error) -> HttpError {
    if find_source::<OpenTimeout>(&error).is_some() {
        return HttpError::new(HttpErrorKind::Timeout, OpenTimeout.to_string());
    }
    let (kind, message) = if error.is_connect() {
        (HttpErrorKind::Connect, "could not connect")
    } else if find_source::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
        (HttpErrorKind::Response, "the response is not valid HTTP")
    } else {
        (HttpErrorKind::Interrupted, "the connection broke before the response was complete")
    };
    // The deepest source is the most precise: "connection refused", "invalid peer certificate".
    let reason = sources(&error).last();
    let message = match reason {
        Some(reason) => format!("{message}: {reason}"),
        None => message.to_owned(),
    };
    HttpError::new(kind, message).with_source(error)
}

fn body_error(error: BoxError, limit: usize) -> HttpError {
    if error.is::<LengthLimitError>() {
        let message = format!("the response is larger than the limit of {limit} bytes");
        HttpError::new(HttpErrorKind::Response, message)
    } else {
        let message = "the connection broke before the response was complete";
        HttpError::new(HttpErrorKind::Interrupted, message).with_source(error)
    }
}

fn find_source<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    sources(error).find_map(|source| source.downcast_ref())
}

fn sources<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let source = next?;
        next = source.source();
        Some(source)
    })
}

/// A connector with a timeout for the whole connection: name resolution, TCP and TLS.
#[derive(Clone)]
struct Bounded<C> {
    inner: C,
    limit: Duration,
}

impl<C> Service<Uri> for Bounded<C>
where
    C: Service<Uri>,
    C::Error: Into<BoxError>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let limit = self.limit;
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(result) => result.map_err(Into::into),
                Err(_) => Err(OpenTimeout.into()),
            }
        })
    }
}

#[derive(Debug)]
struct OpenTimeout;

impl fmt::Display for OpenTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("opening the connection took too long")
    }
}

impl StdError for OpenTimeout {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A network that never answers.
    #[derive(Clone)]
    struct BlackHole;

    impl Service<Uri> for BlackHole {
        type Response = hyper_util::rt::TokioIo<tokio::net::TcpStream>;
        type Error = BoxError;
        type Future = std::future::Pending<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Uri) -> Self::Future {
            std::future::pending()
        }
    }

    // Spec: TO3l3
    #[tokio::test(start_paused = true)]
    async fn opening_a_connection_has_a_time_limit() {
        let limit = Duration::from_secs(4);
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build(Bounded { inner: BlackHole, limit });
        let start = tokio::time::Instant::now();
        let request = HttpRequest::new(HttpMethod::Get, "http://a.example/time");
        let error = client.request(hyper_request(request).expect("it is well formed")).await;
        let error = send_error(error.expect_err("nothing answers"));
        assert_eq!(error.kind(), HttpErrorKind::Timeout);
        assert_eq!(start.elapsed(), limit);
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_sent_is_refused() {
        let client =
            BuiltinClient::new(Proxies::default(), &Tls::default(), Duration::from_secs(1));
        let mut bad_header = HttpRequest::new(HttpMethod::Get, "http://127.0.0.1:1/");
        bad_header.headers.push(("a".to_owned(), "b\r\nc: d".to_owned()));
        for request in [HttpRequest::new(HttpMethod::Get, "http://a b/"), bad_header] {
            let error = client.send(request).await.expect_err("it is malformed");
            assert_eq!(error.kind(), HttpErrorKind::Request);
        }
    }

    #[test]
    fn without_a_runtime_it_is_an_error_rather_than_a_panic() {
        let client =
            BuiltinClient::new(Proxies::default(), &Tls::default(), Duration::from_secs(1));
        let request = HttpRequest::new(HttpMethod::Get, "http://127.0.0.1:1/");
        let outcome = futures_util::FutureExt::now_or_never(client.send(request));
        let error = outcome.expect("at once").expect_err("there is no runtime");
        assert_eq!(error.kind(), HttpErrorKind::Request);
    }
}
