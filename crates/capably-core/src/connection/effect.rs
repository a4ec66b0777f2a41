//! The context of the connection, and its effects on the rest of the client.

use capably_protocol::ErrorInfo;

use crate::{Config, Event, Now, OpId, Outcome, Output, Timer, timers::Timers};

/// A step that the client takes for the connection.
///
/// The connection knows nothing of channels and operations. It leaves its effects here, and the client carries them
/// out in order once the connection has handled the input. Channels then see the connection as it is after the whole
/// input: an effect must not depend on a state that the connection only passed through.
#[derive(Debug)]
pub(crate) enum Effect {
    Output(Output),
    /// The connection is established: channels attach (RTL3d).
    Connected,
    /// Frames that wait for an acknowledgement are sent again, then those that were queued (RTN19a), then pings.
    Resend {
        /// The service continues the connection, so it still has its serials.
        resumed: bool,
    },
    /// There is no connection for now: no answer can arrive.
    Disconnected,
    /// There was a connection, and it is lost: operations that have waited for too long end.
    Lost,
    /// Channels are suspended (RTL3c).
    Suspended(ErrorInfo),
    /// Channels are detached (RTL3b).
    Closed,
    /// Channels fail (RTL3a).
    Failed(ErrorInfo),
    /// Channels are as if they had never been attached (RTN11d).
    Reinitialized,
    /// Publishes end with this error, whether sent or queued (RTN7e).
    FailPublishes(ErrorInfo),
    /// Pings end with this error (RTN13b).
    FailPings(ErrorInfo),
}

/// The parts of the client that the connection uses while it handles an input, and the list of its effects.
pub(crate) struct ConnectionCx<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) timers: &'a mut Timers,
    pub(crate) rng: &'a mut fastrand::Rng,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl ConnectionCx<'_> {
    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn push(&mut self, output: Output) {
        self.effect(Effect::Output(output));
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// Ends an operation.
    pub(super) fn done(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        self.emit(Event::Done(op, outcome));
    }

    /// Ends every publish and every ping (RTN7e, RTN13b).
    pub(super) fn fail_operations(&mut self, error: &ErrorInfo) {
        self.effect(Effect::FailPublishes(error.clone()));
        self.effect(Effect::FailPings(error.clone()));
    }

    /// Sets a deadline: the realtimeRequestTimeout from here.
    pub(super) fn await_answer(&mut self, timer: Timer) {
        self.timers.set(timer, self.now.instant + self.config.realtime_request_timeout);
    }
}
