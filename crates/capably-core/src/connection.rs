//! The connection's states and the ways between them (RTN).

use std::{mem, sync::Arc, time::Duration};

use capably_protocol::{
    ClientFrame, ConnectionDetails, ErrorInfo, RecoveryKey, Str, frame::Connected,
};

use attempt::{Attempt, Phase};
use auth::Grant;
use request::Continuation;

use crate::{
    Channel, Client, Config, ConnectionEvent, ConnectionState, ConnectionStateChange, Credentials,
    Event, Instant, Now, OpId, Outcome, Output, Timer, TransportId, errors,
};

mod attempt;
pub(crate) mod auth;
mod idle;
mod network;
pub(crate) mod request;

/// A connection that is lost sooner than this counts as short-lived.
const SHORT: Duration = Duration::from_secs(1);

/// How many short-lived connections in a row are resumed at once; then the client waits before each.
const SHORT_LIVED: u32 = 5;

/// A state with what belongs to it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
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
pub(crate) enum Goodbye {
    /// CONNECTED is awaited, so as to close properly (RTN12f).
    Accepting(TransportId),
    /// CLOSE was sent, and CLOSED is awaited (RTN12a).
    Sent(TransportId),
    /// There is nobody to say it to: CLOSED follows at once.
    Needless,
}

/// The connection, and what outlives a transport.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) state: State,
    pub(crate) id: Option<Str>,
    pub(crate) key: Option<Str>,
    /// What an earlier client left behind (RTN16). Its channel serials go to channels as they are made.
    pub(crate) recover: Option<RecoveryKey>,
    /// The first connection is still to come, and is to continue the earlier client's (RTN16k).
    recovering: bool,
    pub(crate) error_reason: Option<ErrorInfo>,
    pub(super) client_id: Option<Str>,
    pub(crate) last_activity: Instant,
    /// When the machine was last found to have slept, and for how long without activity in between.
    slept: (Instant, Duration),
    pub(crate) max_message_size: u64,
    pub(crate) max_frame_size: u64,
    /// What the service last said of the connection, without its key (CD).
    pub(crate) details: ConnectionDetails,
    max_idle_interval: Duration,
    pub(crate) state_ttl: Duration,
    /// Attempts that failed since the connection was last there.
    retries: u32,
    /// When the connection was last established, and how often in a row it was lost soon after.
    since: Instant,
    short_lived: u32,
    /// A transport of this connection was ended for a frame that cannot be read.
    pub(crate) ended_by_frame: bool,
    next_transport: u64,
    next_check: u64,
    /// The domain that was dialled last.
    pub(super) host: Str,
    attempt: Attempt,
    /// The client's own at first; tokens once the user has authorized.
    credentials: Credentials,
    /// The last token.
    grant: Option<Grant>,
    /// The service has rejected the token of this generation, and no other has come in its place.
    rejected: Option<u64>,
}

impl Connection {
    pub(crate) fn new(config: &Arc<Config>, now: Instant) -> Self {
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

    /// The transport whose reports count.
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

    /// A frame that cannot be read ends the transport. Returns whether one has before, on this connection.
    pub(crate) fn end_for_frame(&mut self) -> bool {
        mem::replace(&mut self.ended_by_frame, true)
    }

    /// Whether CONNECTED goes on with the connection that was asked for: the same id (RTN15c6), or, as the
    /// id of a recovered one is not known, no error (RTN16l).
    fn is_continued_by(&self, connected: &Connected) -> bool {
        if self.recovering { connected.error.is_none() } else { self.id == connected.connection_id }
    }

    /// Who the client is identified as; a wildcard identifies nobody (RSA7).
    pub(crate) fn identity<'a>(&'a self, config: &'a Config) -> Option<&'a Str> {
        self.client_id.as_ref().or(config.client_id.as_ref()).filter(|id| *id != "*")
    }
}

impl Client {
    /// Connects (RTN11).
    pub fn connect(&mut self, now: Now) {
        match self.shared.connection.state {
            State::Connecting(_) | State::Connected { .. } => return,
            State::Closing(_) => {
                if let Some(transport) = self.shared.connection.transport() {
                    self.push(Output::Shut { transport });
                }
                self.stop_timers();
                self.end_operations(&errors::closed(), now.instant);
                self.each_channel(now, Channel::connection_closed);
                self.start_afresh();
            }
            State::Closed | State::Failed => self.start_afresh(),
            State::Initialized | State::Disconnected | State::Suspended => {}
        }
        self.start_connecting(now.instant);
    }

    /// Closes the connection (RTN12).
    pub fn close(&mut self, now: Now) {
        let now = now.instant;
        match self.shared.connection.state {
            State::Connected { transport } => {
                self.send(ClientFrame::Close);
                self.shared
                    .timers
                    .set(Timer::Close, now + self.shared.config.realtime_request_timeout);
                self.enter(State::Closing(Goodbye::Sent(transport)), None, None, now);
            }
            // The service may be about to accept the connection: it is then closed properly (RTN12f).
            // The deadline of the attempt stays in force.
            State::Connecting(Phase::Opened(transport)) => {
                self.enter(State::Closing(Goodbye::Accepting(transport)), None, None, now);
            }
            // The service has not heard of this attempt.
            State::Connecting(_) => {
                self.halt_attempt();
                self.enter(State::Closing(Goodbye::Needless), None, None, now);
                self.enter(State::Closed, None, None, now);
            }
            State::Initialized | State::Disconnected | State::Suspended => {
                self.enter(State::Closed, None, None, now);
            }
            State::Closing(_) | State::Closed | State::Failed => {}
        }
    }

    /// Clears what an ended connection left behind (RTN11d), but for its id and key: those are unset since it
    /// began to close, or failed (RTN8d, RTN9d).
    fn start_afresh(&mut self) {
        self.shared.connection.error_reason = None;
        self.shared.connection.client_id = None;
        self.shared.connection.recover = None;
        self.shared.connection.recovering = false;
        self.shared.connection.retries = 0;
        self.shared.connection.rejected = None;
        self.each_channel(Now::default(), Channel::reinitialize);
    }

    /// CONNECTED arrived: the connection is there (RTN6), goes on (RTN15c6), is a new one (RTN15c7), or
    /// has new conditions (RTN24).
    pub(crate) fn connected(&mut self, connected: Connected, now: Instant) {
        match self.shared.connection.state {
            State::Connecting(Phase::Dialling(transport) | Phase::Opened(transport)) => {
                if let Err(error) = self.adopt(&connected) {
                    return self.unacceptable(transport, error, now);
                }
                let resumed = self.shared.connection.is_continued_by(&connected);
                self.shared.connection.recovering = false;
                self.shared.connection.ended_by_frame &= resumed;
                self.shared.connection.id = connected.connection_id;
                self.shared.connection.retries = 0;
                self.shared.connection.since = now;
                self.shared.connection.error_reason = None;
                self.shared.timers.clear(Timer::Connect);
                self.shared.timers.clear(Timer::Suspend);
                self.watch_idle(now);
                self.enter(State::Connected { transport }, connected.error, None, now);
                let cx = &mut self.shared.cx(at(now));
                self.outbox.resend(resumed, cx);
                self.pings.flush(cx);
            }
            State::Closing(Goodbye::Accepting(transport)) => {
                self.shared.timers.clear(Timer::Connect);
                self.shared
                    .timers
                    .set(Timer::Close, now + self.shared.config.realtime_request_timeout);
                self.shared.connection.state = State::Closing(Goodbye::Sent(transport));
                self.send(ClientFrame::Close);
            }
            State::Connected { transport } => {
                if let Err(error) = self.adopt(&connected) {
                    return self.unacceptable(transport, error, now);
                }
                self.shared.connection.id = connected.connection_id;
                self.watch_idle(now);
                self.updated(connected.error);
            }
            State::Connecting(
                Phase::Authenticating(_) | Phase::Authorizing | Phase::Checking(_),
            )
            | State::Closing(Goodbye::Sent(_) | Goodbye::Needless)
            | State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => {}
        }
    }

    /// The connection stays, under new conditions (RTN24).
    fn updated(&mut self, reason: Option<ErrorInfo>) {
        let authorized = self.auth_answered();
        match &reason {
            Some(error) => self.shared.connection.error_reason = Some(error.clone()),
            // A token that was missed before is there.
            None if authorized.is_some() => self.shared.connection.error_reason = None,
            None => {}
        }
        self.push(Output::Event(Event::Connection(ConnectionStateChange {
            previous: ConnectionState::Connected,
            current: ConnectionState::Connected,
            event: ConnectionEvent::Update,
            reason,
            retry_in: None,
        })));
        for op in authorized.into_iter().flatten() {
            self.done(op, Ok(Outcome::Done));
        }
    }

    /// The service's CONNECTED cannot be used.
    fn unacceptable(&mut self, transport: TransportId, error: ErrorInfo, now: Instant) {
        self.push(Output::Shut { transport });
        if error.code == errors::WRONG_CLIENT {
            self.enter(State::Failed, Some(error), None, now);
        } else {
            self.transport_closed(error, now);
        }
    }

    /// Takes over what CONNECTED says of the connection (RTN21).
    fn adopt(&mut self, connected: &Connected) -> Result<(), ErrorInfo> {
        if connected.connection_id.is_none() {
            return Err(errors::protocol("CONNECTED came without a connectionId"));
        }
        let mut details = connected.details.clone().unwrap_or_default();
        if details.connection_key.is_none() {
            return Err(errors::protocol("CONNECTED came without a connectionKey"));
        }
        if let (Some(own), Some(confirmed)) = (&self.shared.config.client_id, &details.client_id)
            && confirmed != "*"
            && own != confirmed
        {
            return Err(errors::connected_as_another(own, confirmed));
        }
        self.shared.connection.key = details.connection_key.take();
        self.shared.connection.client_id = details.client_id.clone();
        let connection = &mut self.shared.connection;
        if let Some(size) = details.max_message_size {
            connection.max_message_size = size;
        }
        if let Some(size) = details.max_frame_size {
            connection.max_frame_size = size;
        }
        if let Some(ttl) = details.connection_state_ttl {
            connection.state_ttl = Duration::from_millis(ttl);
        }
        if let Some(interval) = details.max_idle_interval {
            connection.max_idle_interval = Duration::from_millis(interval);
        }
        connection.details = details;
        Ok(())
    }

    /// The service drops the transport (RTN15h), or does not take the attempt (RTN14d).
    pub(crate) fn disconnected(&mut self, error: Option<ErrorInfo>, now: Instant) {
        let Some(transport) = self.shared.connection.transport() else { return };
        let error = errors::said(error, errors::transport_lost);
        if error.is_token_error() {
            return self.token_error(transport, error, now);
        }
        self.push(Output::Shut { transport });
        match self.shared.connection.state {
            // Another host may take it (RTN17f1).
            State::Connecting(_) if errors::is_failure_of_host(&error) => {
                self.host_failed(error, now);
            }
            State::Connecting(_) => self.attempt_failed(error, now),
            _ => self.transport_closed(error, now),
        }
    }

    /// The transport ended without a word from the service (RTN15a, RTN12c), or after one.
    pub(crate) fn transport_closed(&mut self, error: ErrorInfo, now: Instant) {
        match self.shared.connection.state {
            State::Connecting(_) if errors::is_failure_on_the_way(&error) => {
                self.host_failed(error, now);
            }
            State::Connecting(_) => self.attempt_failed(error, now),
            State::Connected { .. } => self.connection_lost(error, now),
            State::Closing(_) => self.enter(State::Closed, None, None, now),
            State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => {}
        }
    }

    /// An established connection is down. The first attempt to resume it starts at once (RTN15h3), unless
    /// the service made no sense, or accepts connections only to drop them: then it is given time to
    /// recover.
    fn connection_lost(&mut self, error: ErrorInfo, now: Instant) {
        self.shared.timers.clear(Timer::Idle);
        self.shared.timers.set(Timer::Suspend, now + self.shared.connection.state_ttl);
        let connection = &mut self.shared.connection;
        connection.short_lived = match now.since(connection.since) < SHORT {
            true => connection.short_lived.saturating_add(1),
            false => 0,
        };
        if error.code == errors::PROTOCOL || connection.short_lived > SHORT_LIVED {
            return self.wait_to_retry(error, now);
        }
        self.enter(State::Disconnected, Some(error), Some(Duration::ZERO), now);
        self.start_connecting(now);
    }

    pub(crate) fn close_timed_out(&mut self, now: Instant) {
        if let (State::Closing(_), Some(transport)) =
            (self.shared.connection.state, self.shared.connection.transport())
        {
            self.push(Output::Shut { transport });
            self.enter(State::Closed, None, None, now);
        }
    }

    pub(crate) fn closed_by_service(&mut self, now: Instant) {
        let Some(transport) = self.shared.connection.transport() else { return };
        self.push(Output::Shut { transport });
        self.transport_closed(errors::transport_lost(), now);
    }

    /// The service ended the connection for good (RTN14g, RTN15j), or its token did (RTN14b).
    pub(crate) fn connection_error(&mut self, error: Option<ErrorInfo>, now: Instant) {
        let Some(transport) = self.shared.connection.transport() else { return };
        let error = errors::said(error, errors::failed);
        if error.is_token_error() {
            return self.token_error(transport, error, now);
        }
        self.push(Output::Shut { transport });
        match self.shared.connection.state {
            State::Closing(_) => self.enter(State::Closed, Some(error), None, now),
            _ => self.enter(State::Failed, Some(error), None, now),
        }
    }

    fn fail_transport(&mut self, transport: TransportId, error: ErrorInfo, now: Instant) {
        self.push(Output::Shut { transport });
        self.transport_closed(error, now);
    }

    /// Enters a state: its effects on operations and channels, then the change itself, so that channels
    /// are up to date when a listener hears of the connection (RTL3d1).
    fn enter(
        &mut self,
        state: State,
        reason: Option<ErrorInfo>,
        retry_in: Option<Duration>,
        now: Instant,
    ) {
        let previous = self.shared.connection.state();
        if previous == ConnectionState::Connected {
            self.auth_interrupted();
        }
        self.shared.connection.state = state;
        let current = self.shared.connection.state();
        if let Some(reason) = &reason {
            self.shared.connection.error_reason = Some(reason.clone());
        }
        match current {
            ConnectionState::Connected => {
                self.channels.forget_released();
                self.each_channel(at(now), Channel::connected);
            }
            ConnectionState::Disconnected => {
                self.shared.timers.clear(Timer::Ack);
                self.each_channel(at(now), Channel::disconnected);
                if !self.shared.config.queue_messages {
                    let error = reason.clone().unwrap_or_else(errors::transport_lost);
                    self.fail_publishes(&error, now);
                }
            }
            ConnectionState::Suspended => {
                let error = reason.clone().unwrap_or_else(errors::suspended);
                self.end_operations(&error, now);
                self.each_channel(at(now), |channel, cx| channel.connection_suspended(&error, cx));
            }
            ConnectionState::Closing => {
                self.forget_connection();
                self.pings.fail_all(&errors::closed(), &mut self.shared.cx(at(now)));
            }
            ConnectionState::Closed => {
                self.forget_connection();
                self.stop_timers();
                self.end_operations(&errors::closed(), now);
                self.abandon_tokens(&errors::closed());
                self.each_channel(at(now), Channel::connection_closed);
            }
            ConnectionState::Failed => {
                self.forget_connection();
                self.stop_timers();
                self.abandon_own_tokens();
                let error = reason.clone().unwrap_or_else(errors::failed);
                self.end_operations(&error, now);
                self.each_channel(at(now), |channel, cx| channel.connection_failed(&error, cx));
            }
            ConnectionState::Initialized | ConnectionState::Connecting => {}
        }
        let change = ConnectionStateChange {
            previous,
            current,
            event: ConnectionEvent::State(current),
            reason: reason.clone(),
            retry_in,
        };
        self.push(Output::Event(Event::Connection(change)));
        // Whoever authorized hears of it in the state that it led to.
        match current {
            ConnectionState::Connected => self.settle_authorized(Ok(())),
            ConnectionState::Suspended => {
                self.settle_authorized(Err(&reason.unwrap_or_else(errors::suspended)));
            }
            ConnectionState::Closed => {
                self.settle_authorized(Err(&reason.unwrap_or_else(errors::closed)));
            }
            ConnectionState::Failed => {
                self.settle_authorized(Err(&reason.unwrap_or_else(errors::failed)));
            }
            ConnectionState::Initialized
            | ConnectionState::Connecting
            | ConnectionState::Disconnected
            | ConnectionState::Closing => {}
        }
    }

    /// Id and key are unset while closing, closed or failed (RTN8d, RTN9d).
    pub(crate) fn push(&mut self, output: Output) {
        self.shared.outputs.push_back(output);
    }

    pub(crate) fn done(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        self.push(Output::Event(Event::Done(op, outcome)));
    }

    pub(crate) fn send(&mut self, frame: ClientFrame) {
        self.shared.cx(Now::default()).send(frame);
    }

    fn forget_connection(&mut self) {
        self.shared.connection.id = None;
        self.shared.connection.key = None;
    }

    fn stop_timers(&mut self) {
        for timer in [
            Timer::Connect,
            Timer::Retry,
            Timer::Suspend,
            Timer::Idle,
            Timer::Close,
            Timer::Auth,
            Timer::Ack,
        ] {
            self.shared.timers.clear(timer);
        }
    }

    /// Fails what waits for an acknowledgement or a pong (RTN7e, RTN13b).
    fn end_operations(&mut self, error: &ErrorInfo, now: Instant) {
        self.fail_publishes(error, now);
        self.pings.fail_all(error, &mut self.shared.cx(at(now)));
    }

    pub(crate) fn fail_publishes(&mut self, error: &ErrorInfo, now: Instant) {
        let unaccepted = self.outbox.fail_all(error, &mut self.shared.cx(at(now)));
        self.handle_unaccepted(unaccepted, at(now));
    }
}

pub(crate) fn at(now: Instant) -> Now {
    Now { instant: now, ..Now::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Connection {
        /// A connection that is established.
        pub(crate) fn connected(config: &Arc<Config>) -> Self {
            let state = State::Connected { transport: TransportId(0) };
            Self { state, ..Self::new(config, Instant::default()) }
        }
    }
}
