//! Pings (RTN13).

use std::collections::BTreeMap;

use capably_protocol::Str;

use crate::{Instant, OpId};

/// Pings that wait for their answer, or for a connection to be sent on.
#[derive(Debug, Default)]
pub(crate) struct Pings {
    sent: BTreeMap<Str, (OpId, Instant)>,
    waiting: Vec<OpId>,
}

impl Pings {
    /// Keeps a ping until there is a connection (RTN13d).
    pub(crate) fn wait(&mut self, op: OpId) {
        self.waiting.push(op);
    }

    /// Takes the pings that waited for a connection.
    pub(crate) fn take_waiting(&mut self) -> Vec<OpId> {
        std::mem::take(&mut self.waiting)
    }

    /// Notes that a ping was sent under this id (RTN13e).
    pub(crate) fn sent(&mut self, id: Str, op: OpId, at: Instant) {
        self.sent.insert(id, (op, at));
    }

    /// The ping that a HEARTBEAT with this id answers.
    pub(crate) fn answer(&mut self, id: &Str) -> Option<(OpId, Instant)> {
        self.sent.remove(id)
    }

    /// Forgets a ping that was not answered in time.
    pub(crate) fn forget(&mut self, op: OpId) {
        self.sent.retain(|_, (own, _)| *own != op);
    }

    /// Takes every ping, sent or waiting.
    pub(crate) fn take_all(&mut self) -> Vec<OpId> {
        let mut ops: Vec<_> =
            std::mem::take(&mut self.sent).into_values().map(|(op, _)| op).collect();
        ops.append(&mut self.waiting);
        ops
    }
}
