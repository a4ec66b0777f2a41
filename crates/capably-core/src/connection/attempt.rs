//! An attempt to connect: first the credentials, then one host after the other until one accepts (RTN14, RTN17).

use std::time::Duration;

use capably_protocol::{ErrorInfo, Str};

use super::{Connection, ConnectionCx, Continuation, Effect, State};
use crate::{
    AuthId, CheckId, ConnectRequest, Credentials, Output, Timer, TransportId, backoff, errors,
};

/// The phases of an attempt to connect: each waits for one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// A token (RTN27b).
    Authenticating(AuthId),
    /// A token that the application requested meanwhile (RTC8b).
    Authorizing,
    /// An open WebSocket.
    Dialling(TransportId),
    /// CONNECTED.
    Opened(TransportId),
    /// The result of a connectivity check (RTN17j).
    Checking(CheckId),
}

/// The data of an attempt, from CONNECTING to the next state.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    /// The fallback domains that are left to try, the next one last; `None` while the primary domain is tried.
    fallbacks: Option<Vec<Str>>,
    /// Why the last host failed.
    failure: Option<ErrorInfo>,
    /// Whether a token that the service rejected has been replaced. It is replaced once (RTN14b).
    pub(super) renewed: bool,
    /// Whether the connection has been down for its TTL since it began.
    overdue: bool,
}

impl Connection {
    /// Starts an attempt, at the primary domain (RTN17i).
    pub(super) fn start_connecting(&mut self, cx: &mut ConnectionCx<'_>) {
        let begins = matches!(
            self.state,
            State::Initialized | State::Closing(_) | State::Closed | State::Failed
        );
        // A retry keeps the deadline: it counts from the loss of the connection, not from each attempt.
        if begins {
            // The time without a connection starts here (RTN14e).
            cx.timers.set(Timer::Suspend, cx.now.instant + self.state_ttl);
        }
        cx.timers.clear(Timer::Retry);
        self.start_with_primary(cx);
        match self.credentials {
            Credentials::Key(_) => self.dial(cx),
            Credentials::Tokens => self.authenticate(cx),
        }
    }

    /// The next host to dial is the primary domain again.
    pub(super) fn start_with_primary(&mut self, cx: &ConnectionCx<'_>) {
        self.attempt = Attempt::default();
        self.host.clone_from(&cx.config.host);
    }

    /// Starts the attempt under way again, at the primary domain.
    pub(super) fn restart_attempt(&mut self, cx: &mut ConnectionCx<'_>) {
        self.interrupt_attempt(cx);
        self.start_connecting(cx);
    }

    /// Abandons the attempt under way, which another is to follow at once.
    ///
    /// If the connection has been down for its TTL, the attempt counts as failed (RTN14e). Otherwise attempts that are
    /// interrupted again and again would keep operations waiting for ever.
    pub(super) fn interrupt_attempt(&mut self, cx: &mut ConnectionCx<'_>) {
        self.halt_attempt(cx);
        if !cx.timers.is_set(Timer::Suspend) {
            self.suspend(errors::suspended(), cx);
        }
    }

    /// Abandons the step that the attempt waits for. The state stays CONNECTING.
    pub(super) fn halt_attempt(&mut self, cx: &mut ConnectionCx<'_>) {
        let State::Connecting(phase) = self.state else { return };
        match phase {
            Phase::Authenticating(auth) => self.abandon_token(auth, cx),
            Phase::Dialling(transport) | Phase::Opened(transport) => {
                cx.push(Output::Shut { transport });
            }
            Phase::Authorizing | Phase::Checking(_) => {}
        }
        cx.timers.clear(Timer::Connect);
    }

    /// Enters a phase of CONNECTING.
    pub(super) fn connecting(&mut self, phase: Phase, cx: &mut ConnectionCx<'_>) {
        if matches!(self.state, State::Connecting(_)) {
            self.state = State::Connecting(phase);
        } else {
            self.enter(State::Connecting(phase), None, None, cx);
        }
    }

    /// Opens a transport to the current host.
    pub(super) fn dial(&mut self, cx: &mut ConnectionCx<'_>) {
        let transport = TransportId(self.next_transport);
        self.next_transport += 1;
        let limit = cx.config.connect_timeout.unwrap_or(cx.config.realtime_request_timeout);
        cx.timers.set(Timer::Connect, cx.now.instant + limit);
        let request =
            ConnectRequest::new(cx.config, self.host.clone(), self.proof(), self.continuation());
        self.connecting(Phase::Dialling(transport), cx);
        cx.push(Output::Open { transport, request: Box::new(request) });
    }

    /// The WebSocket is open.
    pub(crate) fn transport_opened(&mut self) {
        if let State::Connecting(Phase::Dialling(transport)) = self.state {
            self.state = State::Connecting(Phase::Opened(transport));
        }
    }

    /// A host failed, for a reason that another may not have (RTN17f): the fallback domains are next.
    pub(super) fn host_failed(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        if cx.config.fallback_hosts.is_empty() {
            return self.attempt_failed(error, cx);
        }
        self.attempt.failure = Some(error);
        if self.attempt.fallbacks.is_some() {
            return self.dial_fallback(cx);
        }
        // Without a network every fallback would fail, each after its timeout (RTN17j).
        let check = CheckId(self.next_check);
        self.next_check += 1;
        cx.await_answer(Timer::Connect);
        self.connecting(Phase::Checking(check), cx);
        cx.push(Output::CheckConnectivity { check });
    }

    /// The result of a connectivity check (RTN17j).
    pub(crate) fn handle_connectivity(
        &mut self,
        check: CheckId,
        online: bool,
        cx: &mut ConnectionCx<'_>,
    ) {
        if self.state == State::Connecting(Phase::Checking(check)) {
            self.checked(online, cx);
        }
    }

    fn checked(&mut self, online: bool, cx: &mut ConnectionCx<'_>) {
        let mut fallbacks = match online {
            true => cx.config.fallback_hosts.clone(),
            false => Vec::new(),
        };
        // In random order, so that the clients of a failed host spread over the others (RTN17j).
        cx.rng.shuffle(&mut fallbacks);
        self.attempt.fallbacks = Some(fallbacks);
        self.dial_fallback(cx);
    }

    fn dial_fallback(&mut self, cx: &mut ConnectionCx<'_>) {
        let attempt = &mut self.attempt;
        match attempt.fallbacks.as_mut().and_then(Vec::pop) {
            Some(host) => {
                self.host = host;
                self.dial(cx);
            }
            None => {
                let error = attempt.failure.take().unwrap_or_else(errors::transport_lost);
                self.attempt_failed(error, cx);
            }
        }
    }

    /// The step that the attempt waits for took too long (RTN14c).
    pub(crate) fn connect_timed_out(&mut self, cx: &mut ConnectionCx<'_>) {
        match self.state {
            // A check without an answer counts as offline: the fallback domains would time out as well.
            State::Connecting(Phase::Checking(_)) => self.checked(false, cx),
            State::Connecting(_) => {
                if let Some(transport) = self.dialled() {
                    cx.push(Output::Shut { transport });
                }
                self.host_failed(errors::connect_timed_out(), cx);
            }
            // The deadline of an attempt stays in force while CONNECTED is awaited in order to close.
            State::Closing(_) => self.close_timed_out(cx),
            State::Initialized
            | State::Connected { .. }
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => {}
        }
    }

    /// The attempt failed (RTN14d, RTN14e).
    pub(super) fn attempt_failed(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        cx.timers.clear(Timer::Connect);
        if cx.timers.is_set(Timer::Suspend) {
            self.wait_to_retry(error, cx);
        } else if self.attempt.overdue {
            self.suspend(errors::suspended().with_cause(error), cx);
        } else {
            self.suspend(error, cx);
        }
    }

    pub(super) fn wait_to_retry(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        self.retries = self.retries.saturating_add(1);
        let initial = cx.config.disconnected_retry_timeout;
        let wait = backoff::delay(initial, self.retries, cx.rng);
        self.retry_in(State::Disconnected, error, wait, cx);
    }

    fn suspend(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        self.retry_in(State::Suspended, error, cx.config.suspended_retry_timeout, cx);
    }

    fn retry_in(
        &mut self,
        state: State,
        error: ErrorInfo,
        wait: Duration,
        cx: &mut ConnectionCx<'_>,
    ) {
        cx.timers.set(Timer::Retry, cx.now.instant + wait);
        self.enter(state, Some(error), Some(wait), cx);
    }

    /// The wait before the next attempt is over (RTN14d, RTN14e).
    pub(crate) fn retry(&mut self, cx: &mut ConnectionCx<'_>) {
        if matches!(self.state, State::Disconnected | State::Suspended) {
            self.start_connecting(cx);
        }
    }

    /// The connection has been down for its TTL (RTN14e). An attempt under way may still succeed.
    pub(crate) fn state_ttl_passed(&mut self, cx: &mut ConnectionCx<'_>) {
        if self.state == State::Disconnected {
            let cause = self.error_reason.clone();
            let error = match cause {
                Some(cause) => errors::suspended().with_cause(cause),
                None => errors::suspended(),
            };
            self.suspend(error, cx);
        } else if self.state == State::Initialized {
            let error = errors::never_connected();
            cx.fail_operations(&error);
            cx.effect(Effect::Suspended(error));
        } else {
            // The attempt ends in SUSPENDED if it fails; to stop it here could throw away a good connection.
            self.attempt.overdue = true;
        }
    }

    /// The transport of this attempt, if it has come that far.
    fn dialled(&self) -> Option<TransportId> {
        match self.state {
            State::Connecting(Phase::Dialling(transport) | Phase::Opened(transport)) => {
                Some(transport)
            }
            State::Connecting(
                Phase::Authenticating(_) | Phase::Authorizing | Phase::Checking(_),
            )
            | State::Initialized
            | State::Connected { .. }
            | State::Disconnected
            | State::Suspended
            | State::Closing(_)
            | State::Closed
            | State::Failed => None,
        }
    }

    /// The connection that a new transport is to continue.
    fn continuation(&self) -> Continuation<'_> {
        match (&self.key, &self.recover) {
            (Some(key), _) => Continuation::Resume(key),
            (None, Some(recover)) if self.recovering => {
                Continuation::Recover(&recover.connection_key)
            }
            (None, _) => Continuation::None,
        }
    }
}
