//! The token in use, and its renewal: one at a time, shared by all who need it (RSA4b, RSA16).

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
};

/// So many tokens in a row that are past their time on arrival show that the local clock was set since the
/// service's time was queried.
const STALE_ON_ARRIVAL: u8 = 2;

/// What a client knows of its authentication.
pub(crate) struct Session {
    config: Arc<Config>,
    state: Mutex<SessionState>,
    /// Calls of the auth callback that are under way.
    pub(super) calls: Calls,
}

struct SessionState {
    credentials: Arc<Credentials>,
    /// What tokens are asked for, when nothing else is said.
    params: TokenParams,
    token: Option<TokenDetails>,
    /// What the next token is given for, instead of asking as usual.
    request: Option<TokenRequest>,
    /// Counts the tokens there were.
    generation: u64,
    /// Of the last token, good or not.
    client_id: Option<Str>,
    /// How far the service's clock is ahead, in ms (RSA10k); `None` while the service's time was not
    /// queried.
    offset: Option<Millis>,
    /// How many tokens in a row were past their time on arrival.
    stale: u8,
    renewal: Option<Arc<Renewal>>,
}

/// What proves the identity on a request.
#[derive(Clone)]
pub(crate) enum Proof {
    /// The key itself (RSA2).
    Basic(ApiKey),
    /// A token (RSA3), and which in the row of tokens it is.
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
                "the token cannot be renewed: there is nothing to get a new one from"
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

    /// What proves the identity now: the key, the token, or a new token where there is none that is still
    /// good.
    ///
    /// # Errors
    /// Why there is none; 40170 where it takes a new token, in the auth callback that is to give it.
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

    /// What proves the identity, if nobody has to be asked for it.
    pub(crate) fn present(&self) -> Option<Proof> {
        self.lock().present(self.config.options.clock.now())
    }

    /// What proves the identity, after the service has rejected a token: the one that came after it, or a
    /// new one.
    ///
    /// # Errors
    /// 40171 when there is nothing to get one from (RSA4a2), caused by the rejection; why there is none.
    pub(crate) async fn proof_after(
        pipeline: &Arc<Pipeline>,
        rejected: u64,
        error: Error,
    ) -> Result<Proof> {
        Self::renewed(pipeline, |state| {
            state.discard(rejected);
            if let Some(proof) = state.current() {
                return Some(Ok(proof));
            }
            if !state.can_renew() {
                let message = format!("the token is no longer good: {}", error.message());
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

    /// The token that came after this one, or a new one. The old one stays in use until then.
    ///
    /// # Errors
    /// 40171 when there is nothing to get one from; why there is none.
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

    /// What `look` finds, or else what a renewal comes to: the one under way, or a new one.
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
                calling::refuse_callback_of(session.config.number)?;
                state.join_renewal(pipeline)
            };
            if let Some(outcome) = renewal.outcome(pipeline.patience()).await {
                return outcome;
            }
            session.lock().give_up(&renewal);
            if is_own {
                return Err(super::failed("the runtime that was to get a new token has ended"));
            }
        }
    }

    /// Whether a new token can be had when one is no longer good (RSA4a).
    pub(crate) fn can_renew(&self) -> bool {
        self.lock().can_renew()
    }

    /// Notes who the service says that the client is (RSA7b3, RSA12a).
    pub(crate) fn confirm(&self, client_id: Option<Str>) {
        self.lock().client_id = client_id;
    }

    /// Notes that the service has rejected a token (RSA16d).
    pub(crate) fn discard(&self, rejected: u64) {
        self.lock().discard(rejected);
    }

    /// Gets a token now, and uses it and what it was got with from now on (RSA10). With it comes its
    /// generation.
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
        forget_one_time(&mut params);
        let mut state = session.lock();
        let kept = Arc::make_mut(&mut credentials);
        kept.basic = false;
        if options.is_some() {
            kept.query_time = false;
        }
        state.credentials = credentials;
        state.params = params;
        state.install(details.clone(), session.config.options.clock.now());
        // Its token would replace the one that the user asked for.
        if let (Some(renewal), Some(proof)) = (state.renewal.take(), state.current()) {
            renewal.end(Ok(proof));
            renewal.abort();
        }
        Ok((details, state.generation))
    }

    /// Whether these options, or the client's own, get a token by calling the auth callback.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub(super) fn calls_back(&self, options: Option<&AuthOptions>) -> Result<bool> {
        let credentials = self.credentials(options)?;
        let is_given =
            options.is_some() && (credentials.token.is_some() || credentials.request.is_some());
        Ok(!is_given && matches!(credentials.source, Some(TokenProvider::Callback(_))))
    }

    /// Which client this is of.
    pub(super) fn client(&self) -> ClientNumber {
        self.config.number
    }

    /// The credentials that options amount to, or the client's own.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub(super) fn credentials(&self, options: Option<&AuthOptions>) -> Result<Arc<Credentials>> {
        let own = Arc::clone(&self.lock().credentials);
        let Some(options) = options else { return Ok(own) };
        let mut problems = Problems::default();
        match options.credentials(own.key.as_ref(), &mut problems) {
            Some(credentials) => Ok(Arc::new(credentials)),
            None => Err(problems.into_error()),
        }
    }

    /// What tokens are asked for, when nothing else is said.
    pub(super) fn params(&self) -> TokenParams {
        let mut params = self.lock().params.clone();
        if params.client_id.is_none() {
            params.client_id = self.client_id();
        }
        params
    }

    /// Who the client is, as far as that is known (RSA7b, RSA12).
    pub(crate) fn client_id(&self) -> Option<Str> {
        let set = self.config.options.client_id.as_deref().map(Str::from);
        set.or_else(|| self.lock().client_id.clone())
    }

    /// The token in use (RSA16).
    pub(super) fn token(&self) -> Option<TokenDetails> {
        self.lock().token.clone()
    }

    /// Whether requests carry the key itself.
    pub(super) fn is_basic(&self) -> bool {
        self.lock().credentials.basic
    }

    pub(super) fn offset(&self) -> Option<Millis> {
        self.lock().offset
    }

    pub(super) fn set_offset(&self, offset: Millis) {
        self.lock().offset = Some(offset);
    }

    /// Whether the token is for the client that this is (RSA15).
    ///
    /// # Errors
    /// Code 40102 when it is for another one.
    fn check(&self, details: &TokenDetails) -> Result<()> {
        match mismatch(self.config.options.client_id.as_deref(), details) {
            Some(message) => Err(Error::new(ErrorCode::INCOMPATIBLE_CREDENTIALS, 401, message)),
            None => Ok(()),
        }
    }

    /// Nothing panics while it holds the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, SessionState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionState {
    fn current(&self) -> Option<Proof> {
        let token = self.token.as_ref()?.token.clone();
        Some(Proof::Token { token, generation: self.generation })
    }

    /// The key, or the token unless its time is over.
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

    /// Whether the token's time is over and another can be had. Only the service's clock counts, once the
    /// service's time was queried: the local one may be wrong (RSA4b1).
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
        if self.stale >= STALE_ON_ARRIVAL {
            // A token that the service would take must not be renewed on every request (RSA10k).
            self.offset = None;
        }
        self.token = Some(details);
    }

    fn discard(&mut self, generation: u64) {
        if self.generation == generation {
            self.token = None;
        }
    }

    /// The renewal under way, or a new one, and whether it is new.
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

    /// Lets others begin a renewal in place of this one.
    fn give_up(&mut self, renewal: &Arc<Renewal>) {
        if self.renewal.as_ref().is_some_and(|running| Arc::ptr_eq(running, renewal)) {
            self.renewal = None;
        }
        renewal.abort();
    }
}

/// Replaces the token of this generation.
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
        // Somebody has authorized meanwhile, which is what counts.
        if let Some(proof) = state.current() {
            return Ok(proof);
        }
    } else {
        state.renewal = None;
    }
    state.install(
        outcome.inspect_err(|error| tracing::warn!(error = %error.logged(), "no new token"))?,
        session.config.options.clock.now(),
    );
    tracing::debug!(generation = state.generation, "a new token");
    Ok(Proof::Token {
        token: state.token.as_ref().map(|details| details.token.clone()).unwrap_or_default(),
        generation: state.generation,
    })
}

/// What does not go together, if the token is for another client than the one set (RSA15a).
pub(crate) fn mismatch(client_id: Option<&str>, details: &TokenDetails) -> Option<String> {
    match (client_id, details.client_id.as_deref()) {
        (Some(set), Some(of_token)) if of_token != "*" && of_token != set => Some(format!(
            "clientId mismatch: the client is `{set}`, and the token is for `{of_token}`"
        )),
        (Some(_) | None, Some(_) | None) => None,
    }
}

/// Removes what is good for one request alone (TK2d, RSA10g).
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
