//! Tokens on the connection: got before it, replaced on it, and renewed when the service rejects them
//! (RSA4, RTC8, RTN14b, RTN15h, RTN22).

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use capably_protocol::{ApiKey, ClientFrame, ErrorInfo, Str, frame::AuthDetails};

use super::{Connection, State, attempt::Phase};
use crate::{
    AuthId, Client, Credentials, Event, Instant, Now, OpId, Outcome, Output, Timer, TransportId,
    errors,
};

/// A token that the driver got.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: Str,
    /// Which in the row of tokens it is. It comes back in [`TokenNeed`].
    pub generation: u64,
    /// Whether another can be got when it is no longer good (RSA4a).
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
    /// The one in use, or a new one if it is no longer good.
    Current,
    /// One that came after that of this generation, which the service has rejected.
    Replacement(u64),
    /// One that came after that of this generation, which is good for a while yet.
    Successor(u64),
    /// The one that the user asked for with this operation (RTC8).
    Authorized(OpId),
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthFailure {
    /// There is nothing to get one from (RSA4a2).
    NoMeans(ErrorInfo),
    /// It is for another client (RSA15c).
    WrongClient(ErrorInfo),
    /// Whoever gives tokens gave none (RSA4c); with status 403, it never will (RSA4d).
    Refused(ErrorInfo),
}

/// What a token is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The attempt to connect.
    Connecting,
    /// The connection as it is, whose token ends soon (RTN22).
    Renewing,
    /// An operation of the user (RTC8).
    Authorizing(OpId),
}

/// Tokens on their way, to the client and to the service.
#[derive(Debug, Default)]
pub(crate) struct Authorization {
    wanted: BTreeMap<AuthId, Purpose>,
    /// AUTHs that the service has not answered, with the operations that end with the answer.
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

/// What proves the identity on a new transport.
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

impl Client {
    /// Gets a new token and uses it on the connection; without one, connects with it (RTC8). The driver
    /// is asked for the token with [`TokenNeed::Authorized`]. Ends with [`Outcome::Done`] once the
    /// service has accepted it.
    pub fn authorize(&mut self, op: OpId, now: Now) {
        // What is being tried with the token there was need not go on (RTC8b).
        if matches!(self.shared.connection.state, State::Connecting(_)) {
            self.halt_attempt();
            self.connecting(Phase::Authorizing, now.instant);
        }
        self.want_token(Purpose::Authorizing(op), TokenNeed::Authorized(op), now.instant);
    }

    /// The outcome of an [`Output::RequestToken`].
    pub fn handle_token(&mut self, id: AuthId, result: Result<Grant, AuthFailure>, now: Now) {
        let now = now.instant;
        let Some(purpose) = self.authorization.wanted.remove(&id) else { return };
        self.shared.timers.clear(Timer::Token(id));
        match result {
            Ok(grant) => self.granted(purpose, grant, now),
            Err(failure) => self.not_granted(purpose, failure, now),
        }
    }

    pub(crate) fn token_timed_out(&mut self, id: AuthId, now: Instant) {
        if let Some(purpose) = self.authorization.wanted.remove(&id) {
            self.push(Output::AbandonToken { auth: id });
            let failure = AuthFailure::Refused(errors::token_timed_out());
            self.not_granted(purpose, failure, now);
        }
    }

    fn want_token(&mut self, purpose: Purpose, need: TokenNeed, now: Instant) -> AuthId {
        let auth = AuthId(self.authorization.next);
        self.authorization.next += 1;
        self.authorization.wanted.insert(auth, purpose);
        self.shared
            .timers
            .set(Timer::Token(auth), now + self.shared.config.realtime_request_timeout);
        self.push(Output::RequestToken { auth, need });
        auth
    }

    pub(super) fn abandon_token(&mut self, auth: AuthId) {
        if self.authorization.wanted.remove(&auth).is_some() {
            self.shared.timers.clear(Timer::Token(auth));
            self.push(Output::AbandonToken { auth });
        }
    }

    /// Gets the token that an attempt to connect begins with: a new one, if the service is known to reject
    /// the one in use.
    pub(super) fn authenticate(&mut self, now: Instant) {
        let need = match self.shared.connection.rejected.take() {
            Some(generation) => {
                self.shared.connection.attempt.renewed = true;
                TokenNeed::Replacement(generation)
            }
            None => TokenNeed::Current,
        };
        // The state comes first, what it waits for second.
        let next = AuthId(self.authorization.next);
        self.connecting(Phase::Authenticating(next), now);
        self.want_token(Purpose::Connecting, need, now);
    }

    fn granted(&mut self, purpose: Purpose, grant: Grant, now: Instant) {
        let token = grant.token.clone();
        match (purpose, self.shared.connection.state) {
            (Purpose::Connecting, State::Connecting(_)) => {
                self.shared.connection.grant = Some(grant);
                self.dial(now);
            }
            (Purpose::Renewing, State::Connected { .. }) => {
                self.shared.connection.grant = Some(grant);
                self.send_auth(token, None, now);
            }
            // The next attempt finds it.
            (Purpose::Connecting | Purpose::Renewing, _) => {}
            (Purpose::Authorizing(op), state) => {
                let newest = self.shared.connection.grant.as_ref().map(|newest| newest.generation);
                if newest.is_some_and(|newest| grant.generation < newest) {
                    return self.superseded(op);
                }
                self.shared.connection.credentials = Credentials::Tokens;
                self.shared.connection.grant = Some(grant);
                self.shared.connection.rejected = None;
                match state {
                    State::Connected { .. } => self.send_auth(token, Some(op), now),
                    State::Connecting(_) => {
                        self.authorization.waiting.push(op);
                        self.halt_attempt();
                        self.start_with_primary();
                        self.dial(now);
                    }
                    State::Closing(_) => self.authorization.waiting.push(op),
                    State::Initialized
                    | State::Disconnected
                    | State::Suspended
                    | State::Closed
                    | State::Failed => {
                        self.authorization.waiting.push(op);
                        self.connect(Now { instant: now, ..Now::default() });
                    }
                }
            }
        }
    }

    /// The token of this operation was followed by another before it came: the operation ends with that.
    fn superseded(&mut self, op: OpId) {
        match (self.authorization.sent.back_mut(), self.shared.connection.state) {
            (Some(ops), _) => ops.push(op),
            (None, State::Connected { .. }) => self.done(op, Ok(Outcome::Done)),
            (None, _) => self.authorization.waiting.push(op),
        }
    }

    fn not_granted(&mut self, purpose: Purpose, failure: AuthFailure, now: Instant) {
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
        match self.shared.connection.state {
            // A connection that has a good token goes on with it, if there is no way to get another.
            State::Connected { .. } if hopeless => {}
            State::Connected { transport } if is_final => {
                self.push(Output::Shut { transport });
                self.enter(State::Failed, Some(error), None, now);
            }
            // The token there is may be good for a while (RSA4c3).
            State::Connected { .. } => self.note_error(error),
            State::Connecting(_) if is_final => {
                self.halt_attempt();
                self.enter(State::Failed, Some(error), None, now);
            }
            State::Connecting(phase) => {
                let over = match phase {
                    Phase::Authenticating(_) => purpose == Purpose::Connecting,
                    Phase::Authorizing => !self.authorization.is_authorizing(),
                    Phase::Dialling(_) | Phase::Opened(_) | Phase::Checking(_) => false,
                };
                if over {
                    self.attempt_failed(error, now);
                }
            }
            State::Initialized | State::Disconnected | State::Suspended | State::Closed
                if is_final && !hopeless =>
            {
                self.enter(State::Failed, Some(error), None, now);
            }
            State::Disconnected | State::Suspended => self.note_error(error),
            State::Initialized | State::Closing(_) | State::Closed | State::Failed => {}
        }
        if let Purpose::Authorizing(op) = purpose {
            self.done(op, Err(own));
        }
    }

    /// Sets the reason without a change of state.
    fn note_error(&mut self, error: ErrorInfo) {
        self.shared.connection.error_reason = Some(error);
        self.push(Output::Event(Event::ErrorReason));
    }

    fn send_auth(&mut self, token: Str, op: Option<OpId>, now: Instant) {
        self.authorization.sent.push_back(op.into_iter().collect());
        self.shared.timers.set(Timer::Auth, now + self.shared.config.realtime_request_timeout);
        self.send(ClientFrame::Auth(AuthDetails { access_token: token }));
    }

    /// The service asks for a new token (RTN22). One that is on its way will do.
    pub(crate) fn auth_requested(&mut self, now: Instant) {
        if !matches!(self.shared.connection.state, State::Connected { .. }) {
            return;
        }
        let Some(grant) = &self.shared.connection.grant else { return };
        let (generation, renewable) = (grant.generation, grant.renewable);
        if !renewable {
            tracing::warn!(
                "the service asks for a new token, and there is nothing to get one from"
            );
        } else if self.authorization.wanted.is_empty() && self.authorization.sent.is_empty() {
            self.want_token(Purpose::Renewing, TokenNeed::Successor(generation), now);
        }
    }

    /// CONNECTED while connected answers the first AUTH that has no answer yet, if there is one (RTC8a3):
    /// the operations that end with it.
    pub(super) fn auth_answered(&mut self) -> Option<Vec<OpId>> {
        let ops = self.authorization.sent.pop_front()?;
        if self.authorization.sent.is_empty() {
            self.shared.timers.clear(Timer::Auth);
        }
        Some(ops)
    }

    pub(crate) fn auth_timed_out(&mut self) {
        for op in std::mem::take(&mut self.authorization.sent).into_iter().flatten() {
            self.done(op, Err(errors::auth_timed_out()));
        }
    }

    /// The transport that AUTHs were sent on is gone: their operations end with the next connection.
    pub(super) fn auth_interrupted(&mut self) {
        self.shared.timers.clear(Timer::Auth);
        let authorization = &mut self.authorization;
        authorization.waiting.extend(authorization.sent.drain(..).flatten());
    }

    /// Ends the operations whose token the connection was to use (RTC8b1).
    pub(super) fn settle_authorized(&mut self, outcome: Result<(), &ErrorInfo>) {
        for op in std::mem::take(&mut self.authorization.waiting) {
            self.done(op, outcome.map(|()| Outcome::Done).map_err(Clone::clone));
        }
    }

    /// Gives up tokens on their way, and ends their operations.
    pub(super) fn abandon_tokens(&mut self, error: &ErrorInfo) {
        for (auth, purpose) in std::mem::take(&mut self.authorization.wanted) {
            self.shared.timers.clear(Timer::Token(auth));
            self.push(Output::AbandonToken { auth });
            if let Purpose::Authorizing(op) = purpose {
                self.done(op, Err(error.clone()));
            }
        }
    }

    /// Gives up tokens on their way that no user waits for.
    pub(super) fn abandon_own_tokens(&mut self) {
        let own = self.authorization.wanted.iter().filter(|(_, purpose)| match purpose {
            Purpose::Connecting | Purpose::Renewing => true,
            Purpose::Authorizing(_) => false,
        });
        for auth in own.map(|(auth, _)| *auth).collect::<Vec<_>>() {
            self.abandon_token(auth);
        }
    }

    /// The service rejects the token (RTN14b, RTN15h1, RTN15h2).
    pub(super) fn token_error(&mut self, transport: TransportId, error: ErrorInfo, now: Instant) {
        self.push(Output::Shut { transport });
        let grant = match (&self.shared.connection.credentials, &self.shared.connection.grant) {
            (Credentials::Tokens, Some(grant)) => grant,
            // A key is never refused as a token; tolerated as a refusal that may pass.
            (Credentials::Key(_), _) | (Credentials::Tokens, None) => {
                return self.transport_closed(error, now);
            }
        };
        let (generation, renewable) = (grant.generation, grant.renewable);
        match self.shared.connection.state {
            // There is no other token to go on with (RSA4a2).
            State::Connected { .. } | State::Connecting(_) if !renewable => {
                self.enter(State::Failed, Some(errors::not_renewable(error)), None, now);
            }
            State::Connected { .. } => {
                self.shared.connection.rejected = Some(generation);
                self.connection_lost(error, now);
            }
            State::Connecting(_) => {
                self.shared.connection.rejected = Some(generation);
                if self.shared.connection.attempt.renewed {
                    self.attempt_failed(error, now);
                } else {
                    self.shared.timers.clear(Timer::Connect);
                    self.authenticate(now);
                }
            }
            State::Closing(_) => self.enter(State::Closed, Some(error), None, now),
            State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => {}
        }
    }
}
