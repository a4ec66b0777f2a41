//! The pipeline of every REST request: host, headers, credentials, timeouts and fallback; then the reply or the error.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use capably_protocol::{ErrorCode, Millis};
use tokio::{sync::watch, time::Instant};

use super::{
    LocalDevice,
    call::{Call, append},
    fallback::{HostSequence, Hosts, needs_another_host},
    response::Reply,
};
use crate::{
    Error, Result,
    auth::{Proof, Session},
    http::{
        BuiltinClient, HttpClient, HttpError, HttpErrorKind, HttpMethod, HttpRequest, HttpResponse,
    },
    options::Config,
    push::PushDevice,
    random,
    sync::lock,
};

/// A call with the parts that are the same for every host.
struct PreparedCall<'a> {
    call: &'a Call,
    authorization: Option<String>,
    /// The request's id (RSC7c).
    id: Option<&'a str>,
}

/// A response of any status.
struct Answered {
    response: HttpResponse,
    /// Scheme, host and port of the request's URL.
    origin: String,
    /// The request's id (RSC7c).
    id: Option<String>,
}

/// Sends the requests of a REST client.
#[derive(Clone)]
pub(crate) struct Pipeline {
    config: Arc<Config>,
    client: Arc<dyn HttpClient>,
    hosts: Arc<Hosts>,
    /// The largest body of a request, in bytes (TO3l9, CD2d).
    max_frame_size: Arc<AtomicUsize>,
    agent: String,
    /// The agents of a wrapper SDK (RSC7d7).
    wrapper: Option<String>,
    session: Arc<Session>,
    /// The program as a push device, as far as it is known (RSH8).
    device: Arc<Mutex<Option<LocalDevice>>>,
    /// The push device of the client's options.
    push: Option<Arc<PushDevice>>,
    /// Ends with the last handle and the last pending call.
    life: Option<watch::Sender<()>>,
}

impl Pipeline {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let client = config.options.http_client.clone().unwrap_or_else(|| {
            let (proxies, timeout) = (config.proxies.clone(), config.options.http_open_timeout);
            Arc::new(BuiltinClient::new(proxies, &config.tls, timeout))
        });
        let agent = config.agent();
        tracing::info!(host = config.domains.primary, "client created");
        let session = Arc::new(Session::new(Arc::clone(&config)));
        let (hosts, device) = (Arc::default(), Arc::default());
        let max_frame_size = Arc::new(AtomicUsize::new(config.options.max_frame_size));
        let push = config.options.push.clone().map(|options| Arc::new(PushDevice::new(options)));
        let life = Some(watch::Sender::new(()));
        Self {
            config,
            client,
            hosts,
            max_frame_size,
            agent,
            wrapper: None,
            session,
            device,
            push,
            life,
        }
    }

    /// A pipeline with the same state for the calls of a wrapper SDK (WP5, WP6).
    pub(crate) fn attributed(&self, agents: &str) -> Self {
        let wrapper = match &self.wrapper {
            Some(outer) => format!("{outer} {agents}"),
            None => agents.to_owned(),
        };
        Self { wrapper: Some(wrapper), ..self.clone() }
    }

    /// A pipeline with the same state that does not keep the client alive, and a future that resolves when the client
    /// ends. A background task uses both.
    pub(crate) fn outlived(&self) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let life = self.life.as_ref().map(watch::Sender::subscribe);
        let gone = async move {
            match life {
                Some(mut life) => while life.changed().await.is_ok() {},
                None => std::future::pending().await,
            }
        };
        (Self { life: None, ..self.clone() }, gone)
    }

    /// The longest time to get a token: the result of a callback or an auth URL, the service's time, and a token
    /// request.
    pub(crate) fn patience(&self) -> Duration {
        let options = &self.config.options;
        let call = options.http_max_retry_duration.saturating_add(options.http_request_timeout);
        options.http_request_timeout.saturating_add(call.saturating_mul(2))
    }

    /// The client that sends the HTTP requests.
    pub(crate) fn http_client(&self) -> Arc<dyn HttpClient> {
        Arc::clone(&self.client)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The client's identity and tokens.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// The push device of the client's options.
    pub(crate) fn push_device(&self) -> Option<&PushDevice> {
        self.push.as_deref()
    }

    /// The client may be identified by now, by a token or by its connection (RSA7b2, RSA7b3).
    pub(crate) fn identified(&self) {
        if let Some(push) = &self.push {
            push.identified(self);
        }
    }

    /// The program as a push device, as far as it is known.
    pub(crate) fn device(&self) -> MutexGuard<'_, Option<LocalDevice>> {
        lock(&self.device)
    }

    /// Sends a call and reads the reply. If the service rejects the token, it is renewed once (RSC10, RSA4b).
    ///
    /// # Errors
    /// The reason why there are no credentials; the service's reason; 50003 after a timeout, 80000 when no host can be
    /// reached, 80003 when the connection breaks, 40013 for a reply that cannot be read (RSC8e).
    pub(crate) async fn send(self: &Arc<Self>, call: &Call) -> Result<Reply> {
        let answer = self.answer(call).await?;
        self.read(answer, call)
    }

    /// Sends a call and returns the response of any status, with scheme, host and port of its URL.
    ///
    /// # Errors
    /// As for [`send`](Self::send), if there are no credentials or no response.
    pub(crate) async fn exchange(self: &Arc<Self>, call: &Call) -> Result<(HttpResponse, String)> {
        let Answered { response, origin, .. } = self.answer(call).await?;
        Ok((response, origin))
    }

    /// Sends a call with credentials, and again with a new token if the service rejects the first.
    async fn answer(self: &Arc<Self>, call: &Call) -> Result<Answered> {
        self.require_runtime()?;
        self.check_size(call)?;
        let proof = Session::proof(self).await?;
        let mut answer = self.respond(call, Some(&proof)).await?;
        // A key cannot be renewed, so only a rejected token is worth another attempt.
        if let Proof::Token { generation, .. } = proof
            && let Some(rejection) = self.rejection(&answer)
        {
            let proof = Session::proof_after(self, generation, rejection).await?;
            answer = self.respond(call, Some(&proof)).await?;
            if let Proof::Token { generation, .. } = proof
                && self.rejection(&answer).is_some()
            {
                self.session.discard(generation);
            }
        }
        Ok(answer)
    }

    /// Sends a call without credentials and reads the reply.
    ///
    /// # Errors
    /// As for [`send`](Self::send), except for errors of credentials.
    pub(crate) async fn send_anonymously(&self, call: &Call) -> Result<Reply> {
        self.require_runtime()?;
        let answer = self.respond(call, None).await?;
        self.read(answer, call)
    }

    /// Sends a call with these credentials, or with none, to one host after the other.
    ///
    /// # Errors
    /// The reason why there is no response.
    async fn respond(&self, call: &Call, proof: Option<&Proof>) -> Result<Answered> {
        let id = if self.config.options.add_request_ids { Some(random::id()?) } else { None };
        let authorization = proof.map(Proof::header);
        let sent = PreparedCall { call, authorization, id: id.as_deref() };
        let (outcome, host) = self.try_hosts(&sent).await?;
        match outcome {
            Ok(response) => Ok(Answered { response, origin: self.config.origin(&host), id }),
            Err(error) => Err(failed(transport_error(error, &host), id.as_deref())),
        }
    }

    fn read(&self, answer: Answered, call: &Call) -> Result<Reply> {
        let Answered { response, origin, id } = answer;
        let reply = Reply::read(response, self.config.format(), origin)
            .map(|reply| reply.within(call.max_response));
        reply.map_err(|error| failed(error, id.as_deref()))
    }

    /// The service's reason for rejecting the token, if it has (RSA4b).
    fn rejection(&self, answer: &Answered) -> Option<Error> {
        if answer.response.status != 401 {
            return None;
        }
        let read = Reply::read(answer.response.clone(), self.config.format(), String::new());
        read.err().filter(Error::is_token_error)
    }

    /// Sends a call for the service's time, and returns the time in ms since the epoch (RSC16).
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub(crate) async fn time(&self, call: &Call) -> Result<Millis> {
        let times: Vec<Millis> = self.send_anonymously(call).await?.decode()?;
        times.first().copied().ok_or_else(|| {
            let message = "the reply to a request for the time contains no time";
            Error::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message)
        })
    }

    /// Sends one request, and waits for the response within the request timeout (TO3l4).
    ///
    /// # Errors
    /// The reason why there is no response.
    pub(crate) async fn fetch(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = self.config.options.http_request_timeout;
        match tokio::time::timeout(limit, self.client.send(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed_out(limit)),
        }
    }

    /// Checks the size of the call's body (TO3l9, CD2d).
    ///
    /// # Errors
    /// Code 40009 for a body that is too large.
    fn check_size(&self, call: &Call) -> Result<()> {
        let (size, limit) = (call.body.len(), self.max_frame_size.load(Ordering::Relaxed));
        if size <= limit {
            return Ok(());
        }
        let message =
            format!("a body of {size} bytes is more than the limit of {limit} (`max_frame_size`)");
        Err(Error::new(ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED, 400, message))
    }

    /// The realtime connection is to this fallback host, or to the primary domain (RTN17e).
    pub(crate) fn follow(&self, realtime: Option<&str>) {
        self.hosts.follow(realtime);
    }

    /// Sets the service's limit for the body of a request, in bytes (CD2d).
    pub(crate) fn limit_bodies(&self, bytes: usize) {
        self.max_frame_size.store(bytes, Ordering::Relaxed);
    }

    /// Whether the connectivity check finds the internet (RTN17j).
    pub(crate) async fn is_online(&self) -> bool {
        let url = self.config.connectivity_check_url().to_owned();
        let outcome = self.fetch(HttpRequest::new(HttpMethod::Get, url)).await;
        let online = outcome.as_ref().is_ok_and(|response| {
            let yes = response.body.windows(3).any(|window| window == b"yes");
            (200..300).contains(&response.status) && yes
        });
        tracing::debug!(online, "connectivity check");
        online
    }

    /// Checks that there is a runtime: timers would panic without one.
    ///
    /// # Errors
    /// Code 40000 outside a runtime.
    pub(crate) fn require_runtime(&self) -> Result<()> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Ok(());
        }
        let message = "a REST request needs a tokio runtime, and this thread has none";
        Err(Error::new(ErrorCode::BAD_REQUEST, 400, message)
            .with_remedy("make the call inside a tokio runtime with its timer enabled"))
    }

    /// Sends the call to one host after the other, until a host answers or none is left (RSC15). Returns the outcome
    /// and its host.
    async fn try_hosts(
        &self,
        sent: &PreparedCall<'_>,
    ) -> Result<(Result<HttpResponse, HttpError>, String)> {
        let Config { options, domains, .. } = &*self.config;
        let start = Instant::now();
        let mut sequence = self.hosts.sequence(start);
        loop {
            let host = sequence.host(domains).to_owned();
            tracing::debug!(
                method = sent.call.method.as_str(),
                host,
                path = sent.call.target.split('?').next(),
                request_id = sent.id,
                "HTTP request"
            );
            let outcome = self.fetch(self.request(sent, &host)).await;
            let now = Instant::now();
            if !needs_another_host(&outcome) {
                // Only a host that this request fell back to: an answer of a preferred host must not extend the
                // preference (RSC15f).
                if matches!(sequence, HostSequence::Fallback { .. }) {
                    self.hosts.prefer(&host, now, options.fallback_retry_timeout);
                }
                return Ok((outcome, host));
            }
            // Otherwise the next request would try the broken host first.
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
                request_id = sent.id,
                "falling back"
            );
        }
    }

    fn request(&self, sent: &PreparedCall<'_>, host: &str) -> HttpRequest {
        let call = sent.call;
        let options = &self.config.options;
        let mut target = call.target.clone();
        if let Some(id) = sent.id {
            append(&mut target, "request_id", id);
        }
        let url = format!("{}{target}", self.config.origin(host));
        let mut request = HttpRequest::new(call.method, url);
        request.max_response = call.max_response;
        let mut header = |name: &str, value: String| request.headers.push((name.to_owned(), value));
        let content_type = self.config.format().content_type();
        header("X-Ably-Version", call.version.to_string());
        let wrapper = self.wrapper.as_ref().filter(|_| !call.unattributed);
        header(
            "Ably-Agent",
            match wrapper {
                Some(wrapper) => format!("{} {wrapper}", self.agent),
                None => self.agent.clone(),
            },
        );
        header("Accept", content_type.to_owned());
        if !call.body.is_empty() {
            header("Content-Type", content_type.to_owned());
        }
        if let Some(authorization) = &sent.authorization {
            header("Authorization", authorization.clone());
        }
        if let Some(client_id) = options.client_id.as_ref().filter(|_| !call.by_device) {
            header("X-Ably-ClientId", BASE64_STANDARD.encode(client_id));
        }
        for (name, value) in &call.headers {
            // A header of the SDK takes precedence over one of the program (RSC19b).
            if request.header(name).is_none() {
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

/// Adds the request's id to its error, and logs it.
fn failed(error: Error, id: Option<&str>) -> Error {
    let error = match id {
        Some(id) => error.with_request_id(id),
        None => error,
    };
    tracing::debug!(error = %error.logged(), request_id = id, "HTTP request failed");
    error
}

fn timed_out(limit: Duration) -> HttpError {
    let message = format!("there was no response within {} ms", limit.as_millis());
    HttpError::new(HttpErrorKind::Timeout, message)
}

/// The error of a request without a response.
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
