//! Tokens of the connection: obtained before it, replaced on it, and renewed when the service rejects them
//! (RSA4, RTC8, RTN14b, RTN15h, RTN22).

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, mem,
};

use capably_protocol::{ApiKey, ClientFrame, ErrorInfo, Str, frame::AuthDetails};

use super::{Connection, ConnectionCx, State, attempt::Phase};
use crate::{AuthId, Credentials, Event, OpId, Outcome, Output, Timer, TransportId, errors};

/// A token that the driver obtained.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: Str,
    /// The number of this token; a later token has a greater one. It comes back in [`TokenNeed`].
    pub generation: u64,
    /// Whether the driver can obtain another when this one is no longer valid (RSA4a).
    pub renewable: bool,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("generation", &self.generation)
            .field("renewable", &self.renewable)
            .finish_non_exhaustive()
    }
}

/// Which token the client needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenNeed {
    /// The token in use, or a new one if it is no longer valid.
    Current,
    /// A token after that of this generation, which the service has rejected.
    Replacement(u64),
    /// A token after that of this generation, which is still valid for a while.
    Successor(u64),
    /// The token that the application requested with this operation (RTC8).
    Authorized(OpId),
}

/// Why the driver obtained no token.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthFailure {
    /// The client has no way to obtain a token (RSA4a2).
    NoMeans(ErrorInfo),
    /// The token is for another client (RSA15c).
    WrongClient(ErrorInfo),
    /// The token was refused (RSA4c). Status 403 makes the refusal final (RSA4d).
    Refused(ErrorInfo),
}

/// The purpose of a token request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The attempt to connect.
    Connecting,
    /// The connection as it is, whose token ends soon (RTN22).
    Renewing,
    /// An operation of the application (RTC8).
    Authorizing(OpId),
}

/// Token requests under way, to the driver and to the service.
#[derive(Debug, Default)]
pub(super) struct Authorization {
    wanted: BTreeMap<AuthId, Purpose>,
    /// For each AUTH that the service has not answered, the operations that end with the answer.
    sent: VecDeque<Vec<OpId>>,
    /// Operations whose token the next connection uses (RTC8b1).
    waiting: Vec<OpId>,
    next: u64,
}

impl Authorization {
    fn is_authorizing(&self) -> bool {
        self.wanted.values().any(|purpose| matches!(purpose, Purpose::Authorizing(_)))
    }
}

/// The credentials of a new transport.
#[derive(Clone, Copy)]
pub(crate) enum Proof<'a> {
    Key(&'a ApiKey),
    Token(&'a str),
}

impl Connection {
    pub(super) fn proof(&self) -> Proof<'_> {
        match (&self.credentials, &self.grant) {
            (Credentials::Key(key), _) => Proof::Key(key),
            (Credentials::Tokens, grant) => {
                Proof::Token(grant.as_ref().map_or("", |grant| &grant.token))
            }
        }
    }
}

impl Connection {
    /// Requests a new token, and uses it on the connection, or to connect (RTC8).
    pub(crate) fn authorize(&mut self, op: OpId, cx: &mut ConnectionCx<'_>) {
        // An attempt with the old token is of no use any more (RTC8b).
        if matches!(self.state, State::Connecting(_)) {
            self.interrupt_attempt(cx);
            if matches!(self.state, State::Connecting(_)) {
                self.connecting(Phase::Authorizing, cx);
            }
        }
        self.request_token(Purpose::Authorizing(op), TokenNeed::Authorized(op), cx);
    }

    /// The outcome of an [`Output::RequestToken`].
    pub(crate) fn handle_token(
        &mut self,
        id: AuthId,
        result: Result<Grant, AuthFailure>,
        cx: &mut ConnectionCx<'_>,
    ) {
        let Some(purpose) = self.authorization.wanted.remove(&id) else { return };
        cx.timers.clear(Timer::Token(id));
        match result {
            Ok(grant) => self.granted(purpose, grant, cx),
            Err(failure) => self.not_granted(purpose, failure, cx),
        }
    }

    /// The driver did not obtain a token in time.
    pub(crate) fn token_timed_out(&mut self, id: AuthId, cx: &mut ConnectionCx<'_>) {
        if let Some(purpose) = self.authorization.wanted.remove(&id) {
            cx.push(Output::AbandonToken { auth: id });
            let failure = AuthFailure::Refused(errors::token_timed_out());
            self.not_granted(purpose, failure, cx);
        }
    }

    fn request_token(&mut self, purpose: Purpose, need: TokenNeed, cx: &mut ConnectionCx<'_>) {
        let auth = AuthId(self.authorization.next);
        self.authorization.next += 1;
        self.authorization.wanted.insert(auth, purpose);
        cx.await_answer(Timer::Token(auth));
        cx.push(Output::RequestToken { auth, need });
    }

    pub(super) fn abandon_token(&mut self, auth: AuthId, cx: &mut ConnectionCx<'_>) {
        if self.authorization.wanted.remove(&auth).is_some() {
            cx.timers.clear(Timer::Token(auth));
            cx.push(Output::AbandonToken { auth });
        }
    }

    /// Requests the token of an attempt to connect: a new one, if the service has rejected the one in use.
    pub(super) fn authenticate(&mut self, cx: &mut ConnectionCx<'_>) {
        let need = match self.rejected.take() {
            Some(generation) => {
                self.attempt.renewed = true;
                TokenNeed::Replacement(generation)
            }
            None => TokenNeed::Current,
        };
        // The change of state is emitted before the request for the token that it waits for.
        let next = AuthId(self.authorization.next);
        self.connecting(Phase::Authenticating(next), cx);
        self.request_token(Purpose::Connecting, need, cx);
    }

    fn granted(&mut self, purpose: Purpose, grant: Grant, cx: &mut ConnectionCx<'_>) {
        let token = grant.token.clone();
        match (purpose, self.state) {
            (Purpose::Connecting, State::Connecting(_)) => {
                self.grant = Some(grant);
                self.dial(cx);
            }
            (Purpose::Renewing, State::Connected { .. }) => {
                self.grant = Some(grant);
                self.send_auth(token, None, cx);
            }
            // The driver has the token, and the next attempt asks for it again.
            (Purpose::Connecting | Purpose::Renewing, _) => {}
            (Purpose::Authorizing(op), state) => {
                let newest = self.grant.as_ref().map(|newest| newest.generation);
                // Requests may end in another order than they began; an older token must not replace a newer one.
                if newest.is_some_and(|newest| grant.generation < newest) {
                    return self.superseded(op, cx);
                }
                self.credentials = Credentials::Tokens;
                self.grant = Some(grant);
                // The application asked for this token, so it is not the rejected one.
                self.rejected = None;
                match state {
                    State::Connected { .. } => self.send_auth(token, Some(op), cx),
                    State::Connecting(_) => {
                        self.authorization.waiting.push(op);
                        // A transport that is opened already has sent the old token (RTC8b).
                        self.halt_attempt(cx);
                        self.start_with_primary(cx);
                        self.dial(cx);
                    }
                    State::Closing(_) => self.authorization.waiting.push(op),
                    State::Initialized
                    | State::Disconnected
                    | State::Suspended
                    | State::Closed
                    | State::Failed => {
                        self.authorization.waiting.push(op);
                        self.connect(cx);
                    }
                }
            }
        }
    }

    /// A later token than this operation's is already in use: the operation ends with the later one.
    fn superseded(&mut self, op: OpId, cx: &mut ConnectionCx<'_>) {
        match (self.authorization.sent.back_mut(), self.state) {
            (Some(ops), _) => ops.push(op),
            (None, State::Connected { .. }) => cx.done(op, Ok(Outcome::Done)),
            (None, _) => self.authorization.waiting.push(op),
        }
    }

    fn not_granted(&mut self, purpose: Purpose, failure: AuthFailure, cx: &mut ConnectionCx<'_>) {
        let hopeless = matches!(failure, AuthFailure::NoMeans(_));
        let (own, error, is_final) = match failure {
            AuthFailure::NoMeans(error) | AuthFailure::WrongClient(error) => {
                (error.clone(), error, true)
            }
            AuthFailure::Refused(error) => {
                let is_final = error.status_code == 403;
                (error.clone(), errors::no_token(error), is_final)
            }
        };
        match self.state {
            // The connection continues with its valid token, if there is no way to obtain another.
            State::Connected { .. } if hopeless => {}
            State::Connected { transport } if is_final => {
                cx.push(Output::Shut { transport });
                self.enter(State::Failed, Some(error), None, cx);
            }
            // The token in use may be valid for a while (RSA4c3).
            State::Connected { .. } => self.note_error(error, cx),
            State::Connecting(_) if is_final => {
                self.halt_attempt(cx);
                self.enter(State::Failed, Some(error), None, cx);
            }
            State::Connecting(phase) => {
                let over = match phase {
                    Phase::Authenticating(_) => purpose == Purpose::Connecting,
                    // Another authorize call may still succeed, and the attempt then uses its token.
                    Phase::Authorizing => !self.authorization.is_authorizing(),
                    Phase::Dialling(_) | Phase::Opened(_) | Phase::Checking(_) => false,
                };
                if over {
                    self.attempt_failed(error, cx);
                }
            }
            State::Initialized | State::Disconnected | State::Suspended | State::Closed
                if is_final && !hopeless =>
            {
                self.enter(State::Failed, Some(error), None, cx);
            }
            State::Disconnected | State::Suspended => self.note_error(error, cx),
            State::Initialized | State::Closing(_) | State::Closed | State::Failed => {}
        }
        if let Purpose::Authorizing(op) = purpose {
            cx.done(op, Err(own));
        }
    }

    /// Sets the reason without a change of state.
    fn note_error(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        self.error_reason = Some(error);
        cx.emit(Event::ErrorReason);
    }

    fn send_auth(&mut self, token: Str, op: Option<OpId>, cx: &mut ConnectionCx<'_>) {
        self.authorization.sent.push_back(op.into_iter().collect());
        cx.await_answer(Timer::Auth);
        self.send(ClientFrame::Auth(AuthDetails { access_token: token }), cx);
    }

    /// AUTH arrived: the service asks for a new token (RTN22). A request under way is enough.
    pub(crate) fn auth_requested(&mut self, cx: &mut ConnectionCx<'_>) {
        if !matches!(self.state, State::Connected { .. }) {
            return;
        }
        let Some(grant) = &self.grant else { return };
        let (generation, renewable) = (grant.generation, grant.renewable);
        if !renewable {
            tracing::warn!(
                "the service asks for a new token, and the client has no way to obtain one"
            );
        // A request under way was started by this AUTH or by the application: its token answers both.
        } else if self.authorization.wanted.is_empty() && self.authorization.sent.is_empty() {
            self.request_token(Purpose::Renewing, TokenNeed::Successor(generation), cx);
        }
    }

    /// CONNECTED arrived while connected. It answers the first AUTH without an answer (RTC8a3). Returns the
    /// operations that end with it, if there is such an AUTH.
    pub(super) fn auth_answered(&mut self, cx: &mut ConnectionCx<'_>) -> Option<Vec<OpId>> {
        let ops = self.authorization.sent.pop_front()?;
        if self.authorization.sent.is_empty() {
            cx.timers.clear(Timer::Auth);
        }
        Some(ops)
    }

    /// The service did not answer AUTH in time.
    pub(crate) fn auth_timed_out(&mut self, cx: &mut ConnectionCx<'_>) {
        for op in mem::take(&mut self.authorization.sent).into_iter().flatten() {
            cx.done(op, Err(errors::auth_timed_out()));
        }
    }

    /// The transport that AUTHs were sent on has ended: their operations end with the next connection.
    pub(super) fn auth_interrupted(&mut self, cx: &mut ConnectionCx<'_>) {
        cx.timers.clear(Timer::Auth);
        let authorization = &mut self.authorization;
        authorization.waiting.extend(authorization.sent.drain(..).flatten());
    }

    /// Ends the operations whose token the connection was to use (RTC8b1).
    pub(super) fn settle_authorized(
        &mut self,
        outcome: Result<(), &ErrorInfo>,
        cx: &mut ConnectionCx<'_>,
    ) {
        for op in mem::take(&mut self.authorization.waiting) {
            cx.done(op, outcome.map(|()| Outcome::Done).map_err(Clone::clone));
        }
    }

    /// Abandons every token request, and ends its operation.
    pub(super) fn abandon_tokens(&mut self, error: &ErrorInfo, cx: &mut ConnectionCx<'_>) {
        for (auth, purpose) in mem::take(&mut self.authorization.wanted) {
            cx.timers.clear(Timer::Token(auth));
            cx.push(Output::AbandonToken { auth });
            if let Purpose::Authorizing(op) = purpose {
                cx.done(op, Err(error.clone()));
            }
        }
    }

    /// Abandons every token request that the application does not wait for.
    pub(super) fn abandon_own_tokens(&mut self, cx: &mut ConnectionCx<'_>) {
        let own = self.authorization.wanted.iter().filter(|(_, purpose)| match purpose {
            Purpose::Connecting | Purpose::Renewing => true,
            Purpose::Authorizing(_) => false,
        });
        for auth in own.map(|(auth, _)| *auth).collect::<Vec<_>>() {
            self.abandon_token(auth, cx);
        }
    }

    /// The service rejects the token (RTN14b, RTN15h1, RTN15h2).
    pub(super) fn token_error(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        cx: &mut ConnectionCx<'_>,
    ) {
        cx.push(Output::Shut { transport });
        let grant = match (&self.credentials, &self.grant) {
            (Credentials::Tokens, Some(grant)) => grant,
            // The service made no sense: it has no token to reject. The refusal may pass.
            (Credentials::Key(_), _) | (Credentials::Tokens, None) => {
                return self.transport_closed(error, cx);
            }
        };
        let (generation, renewable) = (grant.generation, grant.renewable);
        match self.state {
            // No other token can be obtained (RSA4a2).
            State::Connected { .. } | State::Connecting(_) if !renewable => {
                self.enter(State::Failed, Some(errors::not_renewable(error)), None, cx);
            }
            State::Connected { .. } => {
                // The next attempt must not use this token; `authenticate` requests a replacement.
                self.rejected = Some(generation);
                self.connection_lost(error, cx);
            }
            State::Connecting(_) => {
                self.rejected = Some(generation);
                // One new token per attempt: a service that rejects every token would keep the auth server busy.
                if self.attempt.renewed {
                    self.attempt_failed(error, cx);
                } else {
                    cx.timers.clear(Timer::Connect);
                    self.authenticate(cx);
                }
            }
            State::Closing(_) => self.enter(State::Closed, Some(error), None, cx),
            State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => {}
        }
    }
}
