//! The connection's states and the transitions between them (RTN).

use std::time::Duration;

use capably_protocol::{ClientFrame, ConnectionDetails, ErrorInfo, RecoveryKey, Str};

use crate::{
    Config, ConnectionEvent, ConnectionState, ConnectionStateChange, Credentials, Event, Instant,
    Output, Timer, TransportId, errors,
};

mod attempt;
pub(crate) mod auth;
mod effect;
mod idle;
mod network;
pub(crate) mod request;
mod service;

pub(crate) use self::effect::{ConnectionCx, Effect};
use self::{
    attempt::{Attempt, Phase},
    auth::{Authorization, Grant},
    request::Continuation,
};

/// The connection, with the data that outlives a transport.
#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    pub(crate) id: Option<Str>,
    pub(crate) key: Option<Str>,
    /// The recovery key of an earlier client (RTN16). Channels take their serials out of it as they are opened.
    recover: Option<RecoveryKey>,
    /// The first connection is still to come, and is to continue the earlier client's (RTN16k).
    recovering: bool,
    pub(crate) error_reason: Option<ErrorInfo>,
    pub(crate) client_id: Option<Str>,
    last_activity: Instant,
    /// When the machine was last found to have slept, and for how long without activity in between.
    slept: (Instant, Duration),
    pub(crate) max_message_size: u64,
    pub(crate) max_frame_size: u64,
    /// The details of the last CONNECTED, without the connection's key (CD).
    pub(crate) details: ConnectionDetails,
    max_idle_interval: Duration,
    pub(crate) state_ttl: Duration,
    /// Attempts that failed since the connection was last established.
    retries: u32,
    /// When the connection was last established, and how often in a row it was lost soon after.
    since: Instant,
    short_lived: u32,
    /// A transport of this connection was ended for a frame that cannot be read.
    ended_by_frame: bool,
    next_transport: u64,
    next_check: u64,
    /// The domain that was dialled last.
    pub(crate) host: Str,
    attempt: Attempt,
    /// The configured credentials; tokens once the application has authorized.
    credentials: Credentials,
    authorization: Authorization,
    /// The last token.
    grant: Option<Grant>,
    /// The generation of the token that the service has rejected, until another takes its place.
    rejected: Option<u64>,
}

/// The state of the connection, with data that only exists in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Initialized,
    Connecting(Phase),
    Connected { transport: TransportId },
    Disconnected,
    Suspended,
    Closing(Goodbye),
    Closed,
    Failed,
}

/// How far closing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goodbye {
    /// CONNECTED is awaited, because only a connection that the service knows can be closed properly (RTN12f).
    Accepting(TransportId),
    /// CLOSE was sent, and CLOSED is awaited (RTN12a).
    Sent(TransportId),
    /// The service has not heard of the connection: CLOSED follows at once.
    Needless,
}

impl Connection {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            state: State::Initialized,
            id: None,
            key: None,
            recover: config.recover.clone(),
            recovering: config.recover.is_some(),
            error_reason: None,
            client_id: None,
            last_activity: now,
            slept: (now, Duration::ZERO),
            max_message_size: config.max_message_size,
            max_frame_size: config.max_frame_size,
            details: ConnectionDetails::default(),
            max_idle_interval: config.max_idle_interval,
            state_ttl: config.connection_state_ttl,
            retries: 0,
            since: now,
            short_lived: 0,
            ended_by_frame: false,
            next_transport: 0,
            next_check: 0,
            host: config.host.clone(),
            attempt: Attempt::default(),
            credentials: config.credentials.clone(),
            authorization: Authorization::default(),
            grant: None,
            rejected: None,
        }
    }

    pub(crate) fn state(&self) -> ConnectionState {
        match self.state {
            State::Initialized => ConnectionState::Initialized,
            State::Connecting(_) => ConnectionState::Connecting,
            State::Connected { .. } => ConnectionState::Connected,
            State::Disconnected => ConnectionState::Disconnected,
            State::Suspended => ConnectionState::Suspended,
            State::Closing(_) => ConnectionState::Closing,
            State::Closed => ConnectionState::Closed,
            State::Failed => ConnectionState::Failed,
        }
    }

    /// The current transport, whose events count.
    pub(crate) fn transport(&self) -> Option<TransportId> {
        match self.state {
            State::Connecting(Phase::Dialling(transport) | Phase::Opened(transport))
            | State::Connected { transport }
            | State::Closing(Goodbye::Accepting(transport) | Goodbye::Sent(transport)) => {
                Some(transport)
            }
            State::Connecting(
                Phase::Authenticating(_) | Phase::Authorizing | Phase::Checking(_),
            )
            | State::Closing(Goodbye::Needless)
            | State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => None,
        }
    }

    /// The transport that frames can be sent on.
    pub(crate) fn open_transport(&self) -> Option<TransportId> {
        match self.state {
            State::Connected { transport } | State::Closing(Goodbye::Sent(transport)) => {
                Some(transport)
            }
            State::Initialized
            | State::Connecting(_)
            | State::Closing(Goodbye::Accepting(_) | Goodbye::Needless)
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => None,
        }
    }

    /// The client id that the client is identified as. A wildcard is no identity (RSA7).
    pub(crate) fn identity<'a>(&'a self, config: &'a Config) -> Option<&'a Str> {
        self.client_id.as_ref().or(config.client_id.as_ref()).filter(|id| *id != "*")
    }

    /// Takes the serial at which the recovery key continues this channel (RTN16j).
    pub(crate) fn take_recovered_serial(&mut self, channel: &Str) -> Option<Str> {
        self.recover.as_mut()?.channel_serials.remove(channel)
    }

    /// Whether the next connection continues that of an earlier client, by its recovery key (RTN16).
    pub(crate) fn is_recovering(&self) -> bool {
        self.recovering
    }

    /// The current transport has shown that the service is alive (RTN23a).
    pub(crate) fn active(&mut self, now: Instant) {
        self.last_activity = now;
    }

    /// Connects (RTN11).
    pub(crate) fn connect(&mut self, cx: &mut ConnectionCx<'_>) {
        match self.state {
            State::Connecting(_) | State::Connected { .. } => return,
            State::Closing(_) | State::Closed | State::Failed => self.start_afresh(cx),
            State::Initialized | State::Disconnected | State::Suspended => {}
        }
        self.start_connecting(cx);
    }

    /// Ends a connection that is closing, before the service has confirmed it. The state stays CLOSING for the
    /// effects: requests that wait for a detach must fail rather than attach.
    pub(crate) fn cut_closing_short(&mut self, cx: &mut ConnectionCx<'_>) {
        if !matches!(self.state, State::Closing(_)) {
            return;
        }
        if let Some(transport) = self.transport() {
            cx.push(Output::Shut { transport });
        }
        stop_timers(cx);
        cx.fail_operations(&errors::closed());
        cx.effect(Effect::Closed);
    }

    /// Clears what an ended connection left behind (RTN11d). Its id and key were unset when it began to close,
    /// or failed (RTN8d, RTN9d).
    fn start_afresh(&mut self, cx: &mut ConnectionCx<'_>) {
        self.error_reason = None;
        self.client_id = None;
        self.recover = None;
        self.recovering = false;
        self.retries = 0;
        self.rejected = None;
        cx.effect(Effect::Reinitialized);
    }

    /// Closes the connection (RTN12).
    pub(crate) fn close(&mut self, cx: &mut ConnectionCx<'_>) {
        match self.state {
            State::Connected { transport } => {
                self.send(ClientFrame::Close, cx);
                cx.await_answer(Timer::Close);
                self.enter(State::Closing(Goodbye::Sent(transport)), None, None, cx);
            }
            // The service may be about to accept the connection: it is then closed properly (RTN12f).
            // The deadline of the attempt stays in force.
            State::Connecting(Phase::Opened(transport)) => {
                self.enter(State::Closing(Goodbye::Accepting(transport)), None, None, cx);
            }
            // The service has not heard of this attempt.
            State::Connecting(_) => {
                self.halt_attempt(cx);
                self.enter(State::Closing(Goodbye::Needless), None, None, cx);
                self.enter(State::Closed, None, None, cx);
            }
            State::Initialized | State::Disconnected | State::Suspended => {
                self.enter(State::Closed, None, None, cx);
            }
            State::Closing(_) | State::Closed | State::Failed => {}
        }
    }

    /// Enters a state. The effects on operations and channels come before the change itself, so that channels
    /// are up to date when a listener of the connection is called (RTL3d1).
    fn enter(
        &mut self,
        state: State,
        reason: Option<ErrorInfo>,
        retry_in: Option<Duration>,
        cx: &mut ConnectionCx<'_>,
    ) {
        let previous = self.state();
        if previous == ConnectionState::Connected {
            self.auth_interrupted(cx);
        }
        self.state = state;
        let current = self.state();
        if let Some(reason) = &reason {
            self.error_reason = Some(reason.clone());
        }
        match current {
            ConnectionState::Connected => cx.effect(Effect::Connected),
            ConnectionState::Disconnected => {
                cx.effect(Effect::Disconnected);
                if previous == ConnectionState::Connected {
                    cx.effect(Effect::Lost);
                }
                if !cx.config.queue_messages {
                    let error = reason.clone().unwrap_or_else(errors::transport_lost);
                    cx.effect(Effect::FailPublishes(error));
                }
            }
            ConnectionState::Suspended => {
                let error = reason.clone().unwrap_or_else(errors::suspended);
                cx.fail_operations(&error);
                cx.effect(Effect::Suspended(error));
            }
            ConnectionState::Closing => {
                self.unset_id();
                cx.effect(Effect::FailPings(errors::closed()));
            }
            ConnectionState::Closed => {
                self.unset_id();
                stop_timers(cx);
                cx.fail_operations(&errors::closed());
                self.abandon_tokens(&errors::closed(), cx);
                cx.effect(Effect::Closed);
            }
            ConnectionState::Failed => {
                self.unset_id();
                stop_timers(cx);
                // A token that the application asked for may still bring the client back.
                self.abandon_own_tokens(cx);
                let error = reason.clone().unwrap_or_else(errors::failed);
                cx.fail_operations(&error);
                cx.effect(Effect::Failed(error));
            }
            ConnectionState::Initialized | ConnectionState::Connecting => {}
        }
        let event = ConnectionEvent::State(current);
        let change =
            ConnectionStateChange { previous, current, event, reason: reason.clone(), retry_in };
        cx.emit(Event::Connection(change));
        // An authorize call ends in the state that it led to.
        match current {
            ConnectionState::Connected => self.settle_authorized(Ok(()), cx),
            ConnectionState::Suspended => {
                self.settle_authorized(Err(&reason.unwrap_or_else(errors::suspended)), cx);
            }
            ConnectionState::Closed => {
                self.settle_authorized(Err(&reason.unwrap_or_else(errors::closed)), cx);
            }
            ConnectionState::Failed => {
                self.settle_authorized(Err(&reason.unwrap_or_else(errors::failed)), cx);
            }
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Disconnected
            | ConnectionState::Closing => {}
        }
    }

    /// Id and key are unset while closing, closed or failed (RTN8d, RTN9d).
    fn unset_id(&mut self) {
        self.id = None;
        self.key = None;
    }

    fn send(&self, frame: ClientFrame, cx: &mut ConnectionCx<'_>) {
        if let Some(transport) = self.open_transport() {
            cx.push(Output::Send { transport, frame });
        }
    }
}

fn stop_timers(cx: &mut ConnectionCx<'_>) {
    for timer in
        [Timer::Connect, Timer::Retry, Timer::Suspend, Timer::Idle, Timer::Close, Timer::Auth]
    {
        cx.timers.clear(timer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Connection {
        /// A connection that is established.
        pub(crate) fn connected_for_test(config: &Config) -> Self {
            let state = State::Connected { transport: TransportId(0) };
            Self { state, ..Self::new(config, Instant::default()) }
        }
    }
}
