//! Pings (RTN13).

use std::{collections::BTreeMap, mem};

use capably_protocol::{ClientFrame, ErrorInfo, Str};

use crate::{ConnectionState, Instant, OpId, Outcome, Timer, context::Cx, errors};

/// Pings that wait for their answer, or for a connection to be sent on.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    /// The operation of each ping under way, and when the ping was sent, by the id of its HEARTBEAT.
    sent: BTreeMap<Str, (OpId, Instant)>,
    waiting: Vec<OpId>,
}

impl Pings {
    /// Sends a ping, or buffers it until there is a connection (RTN13d).
    pub(crate) fn ping(&mut self, op: OpId, cx: &mut Cx<'_>) {
        let state = cx.connection.state();
        match state {
            ConnectionState::Connected => self.send(op, cx),
            ConnectionState::Connecting | ConnectionState::Disconnected => self.waiting.push(op),
            ConnectionState::Initialized
            | ConnectionState::Suspended
            | ConnectionState::Closing
            | ConnectionState::Closed
            | ConnectionState::Failed => {
                let reason = cx.connection.error_reason.as_ref();
                cx.done(op, Err(errors::connection_state(state, reason)));
            }
        }
    }

    /// The client is connected: sends the waiting pings.
    pub(crate) fn flush(&mut self, cx: &mut Cx<'_>) {
        for op in mem::take(&mut self.waiting) {
            self.send(op, cx);
        }
    }

    fn send(&mut self, op: OpId, cx: &mut Cx<'_>) {
        // The id distinguishes the answer from that of another ping, and from a HEARTBEAT that the service sends by
        // itself (RTN13e).
        let id: Str = format!("{:016x}", cx.rng.u64(..)).into();
        cx.await_answer(Timer::Ping(op));
        self.sent.insert(id.clone(), (op, cx.now.instant));
        cx.send(ClientFrame::Heartbeat { id: Some(id) });
    }

    /// A HEARTBEAT with this id arrived.
    pub(crate) fn answered(&mut self, id: &Str, cx: &mut Cx<'_>) {
        if let Some((op, sent)) = self.sent.remove(id) {
            cx.timers.clear(Timer::Ping(op));
            cx.done(op, Ok(Outcome::Pong(cx.now.instant.since(sent))));
        }
    }

    /// A ping was not answered in time (RTN13c).
    pub(crate) fn timed_out(&mut self, op: OpId, cx: &mut Cx<'_>) {
        self.sent.retain(|_, (own, _)| *own != op);
        cx.done(op, Err(errors::ping_timed_out()));
    }

    /// Ends every ping with this error, sent or waiting (RTN13b).
    pub(crate) fn fail_all(&mut self, error: &ErrorInfo, cx: &mut Cx<'_>) {
        let sent = mem::take(&mut self.sent).into_values().map(|(op, _)| op);
        for op in sent.chain(mem::take(&mut self.waiting)) {
            cx.timers.clear(Timer::Ping(op));
            cx.done(op, Err(error.clone()));
        }
    }
}
