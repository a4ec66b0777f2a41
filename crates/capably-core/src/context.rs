//! The context that the client hands to its sub-machines with each input.

use std::{collections::VecDeque, sync::Arc};

use capably_protocol::{ClientFrame, ErrorInfo};

use crate::{
    Config, ConnectionState, Event, Instant, Now, OpId, Outcome, Output, Timer,
    connection::Connection, detaches::Detaches, timers::Timers,
};

/// The parts of a client that all its sub-machines use. The sub-machines see them as a [`Cx`].
///
/// They stand in a struct of their own, so that a context can be borrowed beside a channel or the outbox.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) connection: Connection,
    pub(crate) detaches: Detaches,
    pub(crate) timers: Timers,
    pub(crate) rng: fastrand::Rng,
    pub(crate) outputs: VecDeque<Output>,
}

impl Shared {
    /// The context of an input that arrives at this time.
    pub(crate) fn cx(&mut self, now: Now) -> Cx<'_> {
        Cx {
            now,
            config: &self.config,
            connection: &self.connection,
            detaches: &mut self.detaches,
            timers: &mut self.timers,
            rng: &mut self.rng,
            outputs: &mut self.outputs,
        }
    }
}

/// The parts of the client that a sub-machine reads while it handles an input, and the places of its effects.
///
/// A sub-machine changes only itself. It reaches the outside through outputs and timers, and sees the
/// connection without being able to change it.
pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a Config,
    pub(crate) connection: &'a Connection,
    pub(crate) detaches: &'a mut Detaches,
    pub(crate) timers: &'a mut Timers,
    pub(crate) rng: &'a mut fastrand::Rng,
    outputs: &'a mut VecDeque<Output>,
}

impl Cx<'_> {
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.state() == ConnectionState::Connected
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Ends an operation.
    pub(crate) fn done(&mut self, op: OpId, outcome: Result<Outcome, ErrorInfo>) {
        self.emit(Event::Done(op, outcome));
    }

    /// Sends a frame on the current transport. Without an open transport the frame is dropped: what has to
    /// be sent is sent again once there is a connection.
    pub(crate) fn send(&mut self, frame: ClientFrame) {
        if let Some(transport) = self.connection.open_transport() {
            self.outputs.push_back(Output::Send { transport, frame });
        }
    }

    /// The last output that the driver has not polled yet. A batch can join it.
    pub(crate) fn last_output(&mut self) -> Option<&mut Output> {
        self.outputs.back_mut()
    }

    /// Sets the deadline for an answer of the service: the realtimeRequestTimeout from here.
    pub(crate) fn await_answer(&mut self, timer: Timer) {
        self.timers.set(timer, self.now.instant + self.config.realtime_request_timeout);
    }

    /// Whether an operation that has waited since then does not survive this loss of the connection.
    ///
    /// Each loss has frames sent again with a new deadline (RTN19a, RTN19b), and each new connection puts off SUSPENDED
    /// (RTN14e). While the connection flaps, nothing else would ever end an operation. An outage alone ends none: the
    /// connection is suspended first, or comes back, and then the service can still answer.
    pub(crate) fn is_overdue(&self, since: Instant) -> bool {
        let limit = self.connection.state_ttl.saturating_add(self.config.realtime_request_timeout);
        self.now.instant.since(since) >= limit
    }

    /// Limits how long operations wait for a client that the application does not connect: as long as for
    /// a lost connection. Without the limit they might never end.
    pub(crate) fn limit_wait(&mut self) {
        if self.connection.state() == ConnectionState::Initialized
            && !self.timers.is_set(Timer::Suspend)
        {
            self.timers.set(Timer::Suspend, self.now.instant + self.connection.state_ttl);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credentials;

    impl Shared {
        /// The shared parts of a client that is connected.
        pub(crate) fn connected() -> Self {
            let key = "app.key:secret".parse().expect("a key");
            let config = Arc::new(Config::new(Credentials::Key(key)));
            Self {
                connection: Connection::connected_for_test(&config),
                config,
                detaches: Detaches::default(),
                timers: Timers::default(),
                rng: fastrand::Rng::with_seed(1),
                outputs: VecDeque::new(),
            }
        }
    }
}
