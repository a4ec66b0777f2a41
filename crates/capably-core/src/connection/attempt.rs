//! An attempt to connect: credentials first, then one host after the other until one accepts (RTN14, RTN17).

use std::time::Duration;

use capably_protocol::{ErrorInfo, Str};

use super::{Connection, Continuation, State};
use crate::{
    AuthId, CheckId, Client, ConnectRequest, Credentials, Instant, Now, Output, Timer, TransportId,
    backoff, errors,
};

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A token (RTN27b).
    Authenticating(AuthId),
    /// A token that the user asked for meanwhile (RTC8b).
    Authorizing,
    /// An open WebSocket.
    Dialling(TransportId),
    /// CONNECTED.
    Opened(TransportId),
    /// Whether there is a network at all (RTN17j).
    Checking(CheckId),
}

/// What an attempt remembers, from CONNECTING to the next state.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// The fallback domains to try yet, the next one last; `None` while they have not come into it.
    fallbacks: Option<Vec<Str>>,
    /// Why the last host was no good.
    failure: Option<ErrorInfo>,
    /// Whether a token that the service rejected has been replaced: that is done once (RTN14b).
    pub(super) renewed: bool,
    /// Whether the connection has been down for its TTL since it began.
    overdue: bool,
}

impl Connection {
    /// The transport that this attempt is about to use.
    fn dialled(&self) -> Option<TransportId> {
        match self.state {
            State::Connecting(Phase::Dialling(transport) | Phase::Opened(transport)) => {
                Some(transport)
            }
            _ => None,
        }
    }

    /// What a new transport is to continue.
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

impl Client {
    /// Starts an attempt, with the primary domain (RTN17i).
    pub(super) fn start_connecting(&mut self, now: Instant) {
        let retrying =
            matches!(self.shared.connection.state, State::Disconnected | State::Suspended);
        if !retrying {
            // Being without a connection counts from here (RTN14e).
            self.shared.timers.set(Timer::Suspend, now + self.shared.connection.state_ttl);
        }
        self.shared.timers.clear(Timer::Retry);
        self.start_with_primary();
        match self.shared.connection.credentials {
            Credentials::Key(_) => self.dial(now),
            Credentials::Tokens => self.authenticate(now),
        }
    }

    /// The next host to dial is the primary domain, and fallbacks have not come into it.
    pub(super) fn start_with_primary(&mut self) {
        self.shared.connection.attempt = Attempt::default();
        self.shared.connection.host.clone_from(&self.shared.config.host);
    }

    /// Gives up what the attempt under way waits for. It stays CONNECTING.
    pub(super) fn halt_attempt(&mut self) {
        let State::Connecting(phase) = self.shared.connection.state else { return };
        match phase {
            Phase::Authenticating(auth) => self.abandon_token(auth),
            Phase::Dialling(transport) | Phase::Opened(transport) => {
                self.push(Output::Shut { transport });
            }
            Phase::Authorizing | Phase::Checking(_) => {}
        }
        self.shared.timers.clear(Timer::Connect);
    }

    /// CONNECTING, waiting for this.
    pub(super) fn connecting(&mut self, phase: Phase, now: Instant) {
        if matches!(self.shared.connection.state, State::Connecting(_)) {
            self.shared.connection.state = State::Connecting(phase);
        } else {
            self.enter(State::Connecting(phase), None, None, now);
        }
    }

    /// Opens a transport to the host that it is the turn of.
    pub(super) fn dial(&mut self, now: Instant) {
        let transport = TransportId(self.shared.connection.next_transport);
        self.shared.connection.next_transport += 1;
        self.shared.timers.set(Timer::Connect, now + self.shared.config.realtime_request_timeout);
        let request = ConnectRequest::new(
            &self.shared.config,
            self.shared.connection.host.clone(),
            self.shared.connection.proof(),
            self.shared.connection.continuation(),
        );
        self.connecting(Phase::Dialling(transport), now);
        self.push(Output::Open { transport, request: Box::new(request) });
    }

    pub(crate) fn transport_opened(&mut self) {
        if let State::Connecting(Phase::Dialling(transport)) = self.shared.connection.state {
            self.shared.connection.state = State::Connecting(Phase::Opened(transport));
        }
    }

    /// A host did not do, for a reason that another may not have (RTN17f): if there is a network, the
    /// fallback domains are next.
    pub(super) fn host_failed(&mut self, error: ErrorInfo, now: Instant) {
        if self.shared.config.fallback_hosts.is_empty() {
            return self.attempt_failed(error, now);
        }
        self.shared.connection.attempt.failure = Some(error);
        if self.shared.connection.attempt.fallbacks.is_some() {
            return self.dial_fallback(now);
        }
        let check = CheckId(self.shared.connection.next_check);
        self.shared.connection.next_check += 1;
        self.shared.timers.set(Timer::Connect, now + self.shared.config.realtime_request_timeout);
        self.connecting(Phase::Checking(check), now);
        self.push(Output::CheckConnectivity { check });
    }

    /// Whether the network is there (RTN17j). Without it, no other host will do better.
    pub fn handle_connectivity(&mut self, check: CheckId, online: bool, now: Now) {
        if self.shared.connection.state == State::Connecting(Phase::Checking(check)) {
            self.checked(online, now.instant);
        }
    }

    fn checked(&mut self, online: bool, now: Instant) {
        let mut fallbacks = match online {
            true => self.shared.config.fallback_hosts.clone(),
            false => Vec::new(),
        };
        self.shared.rng.shuffle(&mut fallbacks);
        self.shared.connection.attempt.fallbacks = Some(fallbacks);
        self.dial_fallback(now);
    }

    fn dial_fallback(&mut self, now: Instant) {
        let attempt = &mut self.shared.connection.attempt;
        match attempt.fallbacks.as_mut().and_then(Vec::pop) {
            Some(host) => {
                self.shared.connection.host = host;
                self.dial(now);
            }
            None => {
                let error = attempt.failure.take().unwrap_or_else(errors::transport_lost);
                self.attempt_failed(error, now);
            }
        }
    }

    /// What the attempt waits for has not come (RTN14c).
    pub(crate) fn connect_timed_out(&mut self, now: Instant) {
        match self.shared.connection.state {
            State::Connecting(Phase::Checking(_)) => self.checked(false, now),
            State::Connecting(_) => {
                if let Some(transport) = self.shared.connection.dialled() {
                    self.push(Output::Shut { transport });
                }
                self.host_failed(errors::connect_timed_out(), now);
            }
            _ => self.close_timed_out(now),
        }
    }

    /// The attempt did not succeed (RTN14d, RTN14e).
    pub(super) fn attempt_failed(&mut self, error: ErrorInfo, now: Instant) {
        self.shared.timers.clear(Timer::Connect);
        if self.shared.timers.is_set(Timer::Suspend) {
            self.wait_to_retry(error, now);
        } else if self.shared.connection.attempt.overdue {
            self.suspend(errors::suspended().with_cause(error), now);
        } else {
            self.suspend(error, now);
        }
    }

    pub(super) fn wait_to_retry(&mut self, error: ErrorInfo, now: Instant) {
        self.shared.connection.retries = self.shared.connection.retries.saturating_add(1);
        let initial = self.shared.config.disconnected_retry_timeout;
        let wait = backoff::delay(initial, self.shared.connection.retries, &mut self.shared.rng);
        self.retry_in(State::Disconnected, error, wait, now);
    }

    fn suspend(&mut self, error: ErrorInfo, now: Instant) {
        self.retry_in(State::Suspended, error, self.shared.config.suspended_retry_timeout, now);
    }

    fn retry_in(&mut self, state: State, error: ErrorInfo, wait: Duration, now: Instant) {
        self.shared.timers.set(Timer::Retry, now + wait);
        self.enter(state, Some(error), Some(wait), now);
    }

    pub(crate) fn retry(&mut self, now: Instant) {
        if matches!(self.shared.connection.state, State::Disconnected | State::Suspended) {
            self.start_connecting(now);
        }
    }

    /// The connection has been down for its TTL (RTN14e). An attempt under way may still succeed.
    pub(crate) fn state_ttl_passed(&mut self, now: Instant) {
        if self.shared.connection.state == State::Disconnected {
            let cause = self.shared.connection.error_reason.clone();
            let error = match cause {
                Some(cause) => errors::suspended().with_cause(cause),
                None => errors::suspended(),
            };
            self.suspend(error, now);
        } else if self.shared.connection.state == State::Initialized {
            let error = errors::never_connected();
            self.end_operations(&error, now);
            self.each_channel(super::at(now), |channel, cx| {
                channel.connection_suspended(&error, cx)
            });
        } else {
            self.shared.connection.attempt.overdue = true;
        }
    }
}
