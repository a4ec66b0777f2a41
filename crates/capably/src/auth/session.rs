//! The current token, and its renewal: one at a time, shared by all waiting calls (RSA4b, RSA16).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use capably_protocol::{ApiKey, ErrorCode, Millis, Str, TokenDetails, TokenParams, TokenRequest};

use super::{
    AuthOptions,
    calling::{self, Calls, ClientNumber},
    credentials::{self, Credentials, TokenProvider},
    obtain,
    renewal::Renewal,
};
use crate::{
    Error, Result,
    options::{Config, Problems},
    rest::Pipeline,
    sync::lock,
};

/// After this many tokens in a row that were expired on arrival, the local clock must have been changed since the
/// service's time was queried.
const MAX_EXPIRED_ON_ARRIVAL: u8 = 2;

/// The authentication state of a client.
pub(crate) struct Session {
    config: Arc<Config>,
    state: Mutex<SessionState>,
    /// Running calls of the auth callback.
    pub(super) calls: Calls,
}

struct SessionState {
    credentials: Arc<Credentials>,
    /// The default parameters of new tokens.
    params: TokenParams,
    token: Option<TokenDetails>,
    /// A token request to exchange for the next token, before the usual ways are used.
    request: Option<TokenRequest>,
    /// The number of tokens so far. It identifies the current one.
    generation: u64,
    /// The client id of the last token, even if the service has rejected the token.
    client_id: Option<Str>,
    /// The offset of the service's clock from the local clock, in ms (RSA10k); `None` before the service's time is
    /// queried.
    offset: Option<Millis>,
    /// The number of tokens in a row that were expired on arrival.
    stale: u8,
    renewal: Option<Arc<Renewal>>,
}

/// Proves the client's identity in a request.
#[derive(Clone)]
pub(crate) enum Proof {
    /// The key itself (RSA2).
    Basic(ApiKey),
    /// A token (RSA3) and its generation.
    Token { token: Str, generation: u64 },
}

impl Proof {
    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        match self {
            Self::Basic(key) => credentials::basic(key),
            Self::Token { token, .. } => credentials::bearer(token),
        }
    }
}

impl Session {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        let credentials = Arc::new(config.credentials.clone());
        let mut params = config.options.default_token_params.clone().unwrap_or_default();
        forget_one_time(&mut params);
        if let Some(client_id) = &config.options.client_id {
            params.client_id = Some(client_id.as_str().into());
        }
        if !credentials.basic && !credentials.can_renew() {
            tracing::info!(
                code = ErrorCode::TOKEN_RENEWAL_NOT_CONFIGURED.0,
                href = "https://help.ably.io/error/40171",
                "the token cannot be renewed: the client has no way to get a new one"
            );
        }
        let token = if credentials.basic { None } else { credentials.token.clone() };
        let client_id = token.as_ref().and_then(|token| token.client_id.clone());
        let request = credentials.request.clone();
        let state = SessionState {
            credentials,
            params,
            token,
            request,
            generation: 0,
            client_id,
            offset: None,
            stale: 0,
            renewal: None,
        };
        Self { config, state: Mutex::new(state), calls: Calls::default() }
    }

    /// The proof for a request: the key, the current token, or a new token if the current one is not valid any more.
    ///
    /// # Errors
    /// The reason why there is no new token; 40170 if a new token is needed in the auth callback that provides it.
    pub(crate) async fn proof(pipeline: &Arc<Pipeline>) -> Result<Proof> {
        let clock = &pipeline.config().options.clock;
        Self::renewed(pipeline, |state| {
            if let Some(proof) = state.present(clock.now()) {
                return Some(Ok(proof));
            }
            if !state.can_renew() {
                return Some(Err(obtain::cannot_renew()));
            }
            state.token = None;
            None
        })
        .await
    }

    /// The proof for a request, if it needs no renewal.
    pub(crate) fn present(&self) -> Option<Proof> {
        self.lock().present(self.config.options.clock.now())
    }

    /// The proof for a repeated request after the service has rejected a token: the token after the rejected one,
    /// which another call may have got already, or a new token.
    ///
    /// # Errors
    /// 40171 without a way to get a token (RSA4a2), with the rejection as its cause; the reason why there is no new
    /// token.
    pub(crate) async fn proof_after(
        pipeline: &Arc<Pipeline>,
        rejected: u64,
        error: Error,
    ) -> Result<Proof> {
        Self::renewed(pipeline, |state| {
            // Several requests may be rejected at once: only the first of them discards the token.
            state.discard(rejected);
            if let Some(proof) = state.current() {
                return Some(Ok(proof));
            }
            if !state.can_renew() {
                let message = format!("the token is no longer valid: {}", error.message());
                return Some(Err(super::caused(
                    (ErrorCode::TOKEN_RENEWAL_NOT_CONFIGURED, 401),
                    message,
                    error.clone().into_info(),
                )));
            }
            None
        })
        .await
    }

    /// The token after this one, or a new token. The old token stays current until then.
    ///
    /// # Errors
    /// 40171 without a way to get a token; the reason why there is no new token.
    pub(crate) async fn successor(pipeline: &Arc<Pipeline>, generation: u64) -> Result<Proof> {
        Self::renewed(pipeline, |state| {
            if state.generation != generation
                && let Some(proof) = state.current()
            {
                return Some(Ok(proof));
            }
            if state.can_renew() { None } else { Some(Err(obtain::cannot_renew())) }
        })
        .await
    }

    /// The result of `look`, or else the outcome of a renewal: of the running one, or of a new one.
    async fn renewed(
        pipeline: &Arc<Pipeline>,
        look: impl Fn(&mut SessionState) -> Option<Result<Proof>>,
    ) -> Result<Proof> {
        let session = pipeline.session();
        loop {
            let (renewal, is_own) = {
                let mut state = session.lock();
                if let Some(outcome) = look(&mut state) {
                    return outcome;
                }
                // A callback that waits for its own token would wait for ever.
                calling::refuse_callback_of(session.config.number)?;
                state.join_renewal(pipeline)
            };
            if let Some(outcome) = renewal.outcome(pipeline.patience()).await {
                return outcome;
            }
            // The task of the renewal may have been dropped with its runtime; nothing would wake the callers.
            session.lock().give_up(&renewal);
            // A lost renewal of another call is started again here; a lost renewal of this call would be lost again.
            if is_own {
                return Err(super::failed("the runtime that was getting a new token has ended"));
            }
        }
    }

    /// Whether the client has a way to get a new token (RSA4a).
    pub(crate) fn can_renew(&self) -> bool {
        self.lock().can_renew()
    }

    /// Sets the client id that the service has confirmed (RSA7b3, RSA12a).
    pub(crate) fn confirm(&self, client_id: Option<Str>) {
        self.lock().client_id = client_id;
    }

    /// Discards a token that the service has rejected (RSA16d).
    pub(crate) fn discard(&self, rejected: u64) {
        self.lock().discard(rejected);
    }

    /// Gets a token, and makes it the current one. Later tokens use the same parameters and options (RSA10). Returns
    /// the token and its generation.
    pub(crate) async fn authorize(
        pipeline: &Arc<Pipeline>,
        params: Option<TokenParams>,
        options: Option<&AuthOptions>,
    ) -> Result<(TokenDetails, u64)> {
        let session = pipeline.session();
        let mut credentials = session.credentials(options)?;
        let (given, request) = match options {
            Some(_) => (credentials.token.clone(), credentials.request.clone()),
            None => (None, None),
        };
        let mut params = params.unwrap_or_else(|| session.lock().params.clone());
        if params.client_id.is_none() {
            params.client_id = session.client_id();
        }
        let details = match (given, request) {
            (Some(details), _) => details,
            (None, Some(request)) => obtain::exchange(pipeline, &request).await?,
            (None, None) => obtain::token(pipeline, &credentials, params.clone()).await?,
        };
        session.check(&details)?;
        // A timestamp or a nonce is valid once; a later token with them would be refused (RSA10g).
        forget_one_time(&mut params);
        let mut state = session.lock();
        let kept = Arc::make_mut(&mut credentials);
        // After authorize the client uses tokens, also if it has a key (RSA10a).
        kept.basic = false;
        if options.is_some() {
            kept.query_time = false;
        }
        state.credentials = credentials;
        state.params = params;
        state.install(details.clone(), session.config.options.clock.now());
        // A running renewal would replace the token that the program has requested.
        if let (Some(renewal), Some(proof)) = (state.renewal.take(), state.current()) {
            renewal.end(Ok(proof));
            renewal.abort();
        }
        let generation = state.generation;
        drop(state);
        pipeline.identified();
        Ok((details, generation))
    }

    /// Whether a token with these options, or with the client's own, comes from an auth callback.
    ///
    /// # Errors
    /// The problems of the options.
    pub(super) fn calls_back(&self, options: Option<&AuthOptions>) -> Result<bool> {
        let credentials = self.credentials(options)?;
        let is_given =
            options.is_some() && (credentials.token.is_some() || credentials.request.is_some());
        Ok(!is_given && matches!(credentials.source, Some(TokenProvider::Callback(_))))
    }

    /// The client of the session.
    pub(super) fn client(&self) -> ClientNumber {
        self.config.number
    }

    /// The credentials in these options; without options, the client's own.
    ///
    /// # Errors
    /// The problems of the options.
    pub(super) fn credentials(&self, options: Option<&AuthOptions>) -> Result<Arc<Credentials>> {
        let own = Arc::clone(&self.lock().credentials);
        let Some(options) = options else { return Ok(own) };
        let mut problems = Problems::default();
        match options.credentials(own.key.as_ref(), &mut problems) {
            Some(credentials) => Ok(Arc::new(credentials)),
            None => Err(problems.into_error()),
        }
    }

    /// The default parameters of new tokens.
    pub(super) fn params(&self) -> TokenParams {
        let mut params = self.lock().params.clone();
        if params.client_id.is_none() {
            params.client_id = self.client_id();
        }
        params
    }

    /// The client id, if it is known (RSA7b, RSA12).
    pub(crate) fn client_id(&self) -> Option<Str> {
        let set = self.config.options.client_id.as_deref().map(Str::from);
        set.or_else(|| self.lock().client_id.clone())
    }

    /// The current token (RSA16).
    pub(super) fn token(&self) -> Option<TokenDetails> {
        self.lock().token.clone()
    }

    /// Whether requests contain the key itself.
    pub(super) fn is_basic(&self) -> bool {
        self.lock().credentials.basic
    }

    pub(super) fn offset(&self) -> Option<Millis> {
        self.lock().offset
    }

    pub(super) fn set_offset(&self, offset: Millis) {
        self.lock().offset = Some(offset);
    }

    /// Checks that a token is for this client (RSA15).
    ///
    /// # Errors
    /// Code 40102 for a token of another client.
    fn check(&self, details: &TokenDetails) -> Result<()> {
        match mismatch(self.config.options.client_id.as_deref(), details) {
            Some(message) => Err(Error::new(ErrorCode::INCOMPATIBLE_CREDENTIALS, 401, message)),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, SessionState> {
        lock(&self.state)
    }
}

impl SessionState {
    fn current(&self) -> Option<Proof> {
        let token = self.token.as_ref()?.token.clone();
        Some(Proof::Token { token, generation: self.generation })
    }

    /// The key, or the current token unless it has expired.
    fn present(&self, now: Millis) -> Option<Proof> {
        if self.credentials.basic
            && let Some(key) = &self.credentials.key
        {
            return Some(Proof::Basic(key.clone()));
        }
        self.current().filter(|_| !self.is_expired(now))
    }

    fn can_renew(&self) -> bool {
        self.credentials.can_renew() || self.request.is_some()
    }

    /// Whether the token has expired and can be renewed. Only the service's clock decides, and only once it was
    /// queried: the local clock may be wrong (RSA4b1).
    fn is_expired(&self, now: Millis) -> bool {
        let Some(expires) = self.token.as_ref().and_then(|token| token.expires) else {
            return false;
        };
        let is_past = self.offset.is_some_and(|offset| expires <= now.saturating_add(offset));
        is_past && self.can_renew()
    }

    fn install(&mut self, details: TokenDetails, now: Millis) {
        self.generation += 1;
        self.request = None;
        self.client_id.clone_from(&details.client_id);
        let now = now.saturating_add(self.offset.unwrap_or_default());
        let is_stale = details.expires.is_some_and(|expires| expires <= now);
        self.stale = if is_stale { self.stale.saturating_add(1) } else { 0 };
        if self.stale >= MAX_EXPIRED_ON_ARRIVAL {
            // Otherwise a token that the service accepts would be renewed with every request (RSA10k).
            self.offset = None;
        }
        self.token = Some(details);
    }

    fn discard(&mut self, generation: u64) {
        // A late rejection of an old token must not discard its successor.
        if self.generation == generation {
            self.token = None;
        }
    }

    /// The running renewal or a new one, and whether it is new.
    fn join_renewal(&mut self, pipeline: &Arc<Pipeline>) -> (Arc<Renewal>, bool) {
        if let Some(running) = self.renewal.as_ref().filter(|renewal| !renewal.has_ended()) {
            return (Arc::clone(running), false);
        }
        let (credentials, request) = (Arc::clone(&self.credentials), self.request.clone());
        let (own, gone) = pipeline.outlived();
        let renewal = Renewal::spawn(renew(own, credentials, request, self.generation), gone);
        self.renewal = Some(Arc::clone(&renewal));
        (renewal, true)
    }

    /// Drops a renewal that will have no outcome, so that another call can start a new one.
    fn give_up(&mut self, renewal: &Arc<Renewal>) {
        if self.renewal.as_ref().is_some_and(|running| Arc::ptr_eq(running, renewal)) {
            self.renewal = None;
        }
        renewal.abort();
    }
}

/// Gets the token after the one of this generation.
async fn renew(
    pipeline: Pipeline,
    credentials: Arc<Credentials>,
    request: Option<TokenRequest>,
    generation: u64,
) -> Result<Proof> {
    let session = pipeline.session();
    let outcome = match &request {
        Some(request) => obtain::exchange(&pipeline, request).await,
        None => obtain::token(&pipeline, &credentials, session.params()).await,
    };
    let outcome = outcome.and_then(|details| session.check(&details).map(|()| details));
    let mut state = session.lock();
    if state.generation != generation {
        // An explicit `authorize` has set a token meanwhile, and takes precedence.
        if let Some(proof) = state.current() {
            return Ok(proof);
        }
    } else {
        state.renewal = None;
    }
    state.install(
        outcome.inspect_err(
            |error| tracing::warn!(error = %error.logged(), "the token was not renewed"),
        )?,
        session.config.options.clock.now(),
    );
    tracing::debug!(generation = state.generation, "the token was renewed");
    let proof = Proof::Token {
        token: state.token.as_ref().map(|details| details.token.clone()).unwrap_or_default(),
        generation: state.generation,
    };
    drop(state);
    pipeline.identified();
    Ok(proof)
}

/// A message if the token is for another client than this client id (RSA15a).
pub(crate) fn mismatch(client_id: Option<&str>, details: &TokenDetails) -> Option<String> {
    match (client_id, details.client_id.as_deref()) {
        (Some(set), Some(of_token)) if of_token != "*" && of_token != set => Some(format!(
            "clientId mismatch: the client is `{set}`, and the token is for `{of_token}`"
        )),
        (Some(_) | None, Some(_) | None) => None,
    }
}

/// Removes the parameters that are valid for one request only (TK2d, RSA10g).
fn forget_one_time(params: &mut TokenParams) {
    params.timestamp = None;
    params.nonce = None;
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Session")
            .field("credentials", &state.credentials)
            .field("token", &state.token)
            .finish_non_exhaustive()
    }
}
