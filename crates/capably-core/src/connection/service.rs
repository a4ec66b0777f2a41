//! Frames of the service about the connection, and the end of a transport (RTN6, RTN14, RTN15).

use std::{mem, time::Duration};

use capably_protocol::{ClientFrame, ErrorInfo, frame::Connected};

use super::{Connection, ConnectionCx, Effect, Goodbye, State, attempt::Phase};
use crate::{
    Config, ConnectionEvent, ConnectionState, ConnectionStateChange, Event, Outcome, Output, Timer,
    TransportId, errors,
};

/// A connection that is lost sooner than this counts as short-lived.
const SHORT: Duration = Duration::from_secs(1);

/// How many short-lived connections in a row are resumed at once; then the client waits before each.
const SHORT_LIVED: u32 = 5;

impl Connection {
    /// CONNECTED arrived: the connection is established (RTN6), continues (RTN15c6), is another (RTN15c7), or
    /// has new conditions (RTN24).
    pub(crate) fn connected(&mut self, connected: Connected, cx: &mut ConnectionCx<'_>) {
        match self.state {
            State::Connecting(Phase::Dialling(transport) | Phase::Opened(transport)) => {
                if let Err(error) = self.adopt(&connected, cx.config) {
                    return self.unacceptable(transport, error, cx);
                }
                let resumed = self.is_continued_by(&connected);
                self.recovering = false;
                // A new connection has new frames, so the unreadable one may not come again.
                self.ended_by_frame &= resumed;
                self.id = connected.connection_id;
                self.retries = 0;
                self.since = cx.now.instant;
                self.error_reason = None;
                cx.timers.clear(Timer::Connect);
                cx.timers.clear(Timer::Suspend);
                self.watch_idle(cx);
                self.enter(State::Connected { transport }, connected.error, None, cx);
                // After the change of state: channels attach and publishes are sent again
                // only on a connection that is CONNECTED.
                cx.effect(Effect::Resend { resumed });
            }
            State::Closing(Goodbye::Accepting(transport)) => {
                cx.timers.clear(Timer::Connect);
                cx.await_answer(Timer::Close);
                self.state = State::Closing(Goodbye::Sent(transport));
                self.send(ClientFrame::Close, cx);
            }
            State::Connected { transport } => {
                if let Err(error) = self.adopt(&connected, cx.config) {
                    return self.unacceptable(transport, error, cx);
                }
                self.id = connected.connection_id;
                self.watch_idle(cx);
                self.updated(connected.error, cx);
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
    fn updated(&mut self, reason: Option<ErrorInfo>, cx: &mut ConnectionCx<'_>) {
        let authorized = self.auth_answered(cx);
        match &reason {
            Some(error) => self.error_reason = Some(error.clone()),
            // The reason may have been that no token could be obtained; the service has accepted one.
            None if authorized.is_some() => self.error_reason = None,
            None => {}
        }
        cx.emit(Event::Connection(ConnectionStateChange {
            previous: ConnectionState::Connected,
            current: ConnectionState::Connected,
            event: ConnectionEvent::Update,
            reason,
            retry_in: None,
        }));
        for op in authorized.into_iter().flatten() {
            cx.done(op, Ok(Outcome::Done));
        }
    }

    /// The client cannot use the connection that CONNECTED offers.
    fn unacceptable(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        cx: &mut ConnectionCx<'_>,
    ) {
        cx.push(Output::Shut { transport });
        if error.code == errors::WRONG_CLIENT {
            self.enter(State::Failed, Some(error), None, cx);
        } else {
            self.transport_closed(error, cx);
        }
    }

    /// Applies the details of CONNECTED, which override the configuration (RTN21).
    fn adopt(&mut self, connected: &Connected, config: &Config) -> Result<(), ErrorInfo> {
        // Without an id the next CONNECTED could not be compared, and a failed resume would pass for a good one.
        if connected.connection_id.is_none() {
            return Err(errors::protocol("CONNECTED came without a connectionId"));
        }
        let mut details = connected.details.clone().unwrap_or_default();
        if details.connection_key.is_none() {
            return Err(errors::protocol("CONNECTED came without a connectionKey"));
        }
        if let (Some(own), Some(confirmed)) = (&config.client_id, &details.client_id)
            && confirmed != "*"
            && own != confirmed
        {
            return Err(errors::connected_as_another(own, confirmed));
        }
        self.key = details.connection_key.take();
        self.client_id = details.client_id.clone();
        if let Some(size) = details.max_message_size {
            self.max_message_size = size;
        }
        if let Some(size) = details.max_frame_size {
            self.max_frame_size = size;
        }
        if let Some(ttl) = details.connection_state_ttl {
            self.state_ttl = Duration::from_millis(ttl);
        }
        if let Some(interval) = details.max_idle_interval {
            self.max_idle_interval = Duration::from_millis(interval);
        }
        self.details = details;
        Ok(())
    }

    /// DISCONNECTED arrived: the service drops the transport (RTN15h), or refuses the attempt (RTN14d).
    pub(crate) fn disconnected(&mut self, error: Option<ErrorInfo>, cx: &mut ConnectionCx<'_>) {
        let Some(transport) = self.transport() else { return };
        let error = errors::from_service(error, errors::transport_lost);
        if error.is_token_error() {
            return self.token_error(transport, error, cx);
        }
        cx.push(Output::Shut { transport });
        match self.state {
            // Another host may accept it (RTN17f1).
            State::Connecting(_) if errors::is_failure_of_host(&error) => {
                self.host_failed(error, cx);
            }
            State::Connecting(_) => self.attempt_failed(error, cx),
            State::Initialized
            | State::Connected { .. }
            | State::Disconnected
            | State::Suspended
            | State::Closing(_)
            | State::Closed
            | State::Failed => self.transport_closed(error, cx),
        }
    }

    /// The transport ended (RTN15a, RTN12c).
    pub(crate) fn transport_closed(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        match self.state {
            State::Connecting(_) if errors::is_failure_to_reach(&error) => {
                self.host_failed(error, cx);
            }
            State::Connecting(_) => self.attempt_failed(error, cx),
            State::Connected { .. } => self.connection_lost(error, cx),
            State::Closing(_) => self.enter(State::Closed, None, None, cx),
            State::Initialized
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => {}
        }
    }

    /// An established connection is lost. The first attempt to resume it starts at once (RTN15h3).
    pub(super) fn connection_lost(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        cx.timers.clear(Timer::Idle);
        cx.timers.set(Timer::Suspend, cx.now.instant + self.state_ttl);
        self.short_lived = match cx.now.instant.since(self.since) < SHORT {
            true => self.short_lived.saturating_add(1),
            false => 0,
        };
        // A service that breaks the protocol, or accepts connections only to drop them, needs time to recover:
        // to connect at once would be a loop without a pause.
        if error.code == errors::PROTOCOL || self.short_lived > SHORT_LIVED {
            return self.wait_to_retry(error, cx);
        }
        self.enter(State::Disconnected, Some(error), Some(Duration::ZERO), cx);
        self.start_connecting(cx);
    }

    /// The service did not confirm CLOSE in time (RTN12b).
    pub(crate) fn close_timed_out(&mut self, cx: &mut ConnectionCx<'_>) {
        if let (State::Closing(_), Some(transport)) = (self.state, self.transport()) {
            cx.push(Output::Shut { transport });
            self.enter(State::Closed, None, None, cx);
        }
    }

    /// CLOSED arrived: the answer to CLOSE (RTN12a), or the service's decision.
    pub(crate) fn closed_by_service(&mut self, cx: &mut ConnectionCx<'_>) {
        let Some(transport) = self.transport() else { return };
        cx.push(Output::Shut { transport });
        self.transport_closed(errors::transport_lost(), cx);
    }

    /// ERROR arrived: the connection failed (RTN14g, RTN15j), or the service rejects its token (RTN14b).
    pub(crate) fn connection_error(&mut self, error: Option<ErrorInfo>, cx: &mut ConnectionCx<'_>) {
        let Some(transport) = self.transport() else { return };
        let error = errors::from_service(error, errors::failed);
        if error.is_token_error() {
            return self.token_error(transport, error, cx);
        }
        cx.push(Output::Shut { transport });
        match self.state {
            State::Closing(_) => self.enter(State::Closed, Some(error), None, cx),
            State::Initialized
            | State::Connecting(_)
            | State::Connected { .. }
            | State::Disconnected
            | State::Suspended
            | State::Closed
            | State::Failed => self.enter(State::Failed, Some(error), None, cx),
        }
    }

    /// Shuts a transport that is of no use any more.
    pub(super) fn fail_transport(
        &mut self,
        transport: TransportId,
        error: ErrorInfo,
        cx: &mut ConnectionCx<'_>,
    ) {
        cx.push(Output::Shut { transport });
        self.transport_closed(error, cx);
    }

    /// A frame cannot be read, which ends the transport. Returns whether one has done so before on this connection:
    /// the same frame may come after every resume.
    pub(crate) fn end_for_frame(&mut self) -> bool {
        mem::replace(&mut self.ended_by_frame, true)
    }

    /// Shuts the current transport for a frame that cannot be read.
    pub(crate) fn shut_for_frame(&mut self, error: ErrorInfo, cx: &mut ConnectionCx<'_>) {
        if let Some(transport) = self.transport() {
            self.fail_transport(transport, error, cx);
        }
    }

    /// The next connection is a new one: to resume this one would bring the same frame again.
    pub(crate) fn begin_anew(&mut self) {
        self.key = None;
    }

    /// Whether CONNECTED continues the connection that was requested: it has the same id (RTN15c6). The id of a
    /// recovered connection is not known, so there the absence of an error decides (RTN16l).
    fn is_continued_by(&self, connected: &Connected) -> bool {
        if self.recovering { connected.error.is_none() } else { self.id == connected.connection_id }
    }
}
