//! The inputs of a node of a cluster: entries, notices and counts of the other nodes.

use std::collections::BTreeSet;

use bytes::Bytes;
use capably_protocol::{Millis, PresenceMessage, Str};

use super::App;
use crate::{
    engine,
    hub::{
        Now, Occupancy, Output, Turn,
        ids::{ConnectionId, NodeId},
        log::position::Position,
    },
};

impl App {
    /// Entries of followed channels have arrived, in their order.
    pub(crate) fn follow(
        &mut self,
        entries: impl IntoIterator<Item = (Box<str>, engine::Entry)>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        for (channel, entry) in entries {
            self.channels.follow(&channel, &entry, turn);
        }
        self.after_following(sent, now, outputs);
    }

    /// Does what follows from entries that were applied: answers publishers, and corrects members.
    pub(super) fn after_following(&mut self, sent: usize, now: Now, outputs: &mut Vec<Output>) {
        let settled = self.channels.take_settled();
        self.settle_all(settled, now, outputs);
        for (id, channel) in std::mem::take(&mut self.channels.unclaimed) {
            self.reconsider_members(&id, &channel, now, outputs);
        }
        for (id, channel, left) in std::mem::take(&mut self.channels.evicted) {
            self.enter_again(&id, &channel, left, now, outputs);
        }
        self.count(&outputs[sent..], now);
        self.channels.make_room();
        self.send_metadata(now, outputs);
    }

    /// A connection has members or an owner of which this node did not know.
    pub(super) fn reconsider_members(
        &mut self,
        id: &ConnectionId,
        channel: &Str,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        match self.connections.get(id) {
            // If it was a connection of this node, it has ended before its events were committed.
            None => self.channels.lapse(id, channel, false, turn),
            // The client has sent the events to another node before it resumed here. Not at once: if the other node thinks the
            // same, as it does not know yet that its transport is lost, each would answer the other without end.
            Some(it) if it.is_connected() && it.attached.can_have_members(channel) => {
                self.channels.adopt_later(id, channel, now.steady);
            }
            // The client has detached meanwhile, or it has not attached again yet.
            Some(it) => self.channels.expect_back(id, now.steady + it.remain()),
        }
    }

    /// Another node has let members leave, as it thought that this node was gone. They enter again if their client is still
    /// attached.
    fn enter_again(
        &mut self,
        id: &ConnectionId,
        channel: &Str,
        left: Vec<PresenceMessage>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get(id) else { return };
        if !connection.attached.can_have_members(channel) {
            return;
        }
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.enter_again(id, channel, left, connection.remain(), turn);
    }

    /// The channels that have left the memory, so that they are followed no more.
    pub(crate) fn take_dropped(&mut self, now: Now, outputs: &mut Vec<Output>) -> Vec<Str> {
        let (dropped, settled) = self.channels.take_dropped();
        self.settle_all(settled, now, outputs);
        dropped
    }

    /// The nodes of the cluster that are alive.
    pub(crate) fn set_nodes(
        &mut self,
        alive: BTreeSet<NodeId>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        self.channels.set_nodes(alive, now.steady);
        self.send_metadata(now, outputs);
    }

    /// The engine of the cluster is away, or has come back.
    pub(crate) fn set_outage(&mut self, is_away: bool, now: Now) {
        self.channels.set_outage(is_away, now.steady);
    }

    /// A client has resumed the connection at another node.
    pub(crate) fn resumed_elsewhere(
        &mut self,
        id: &ConnectionId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.connections.resumed_elsewhere(id, &mut self.channels, turn);
        self.channels.connection_served(id, now.steady);
        self.count(&[], now);
        self.send_metadata(now, outputs);
    }

    /// Another node serves the connection that it has resumed.
    pub(crate) fn served_elsewhere(&mut self, id: &ConnectionId, now: Now) {
        self.channels.connection_served(id, now.steady);
    }

    /// The connection has ended at another node.
    pub(crate) fn ended_elsewhere(
        &mut self,
        id: ConnectionId,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.connection_ended(&id);
        self.connections.ended_elsewhere(id, turn);
    }

    /// Sends ephemeral messages of another node to the subscribers.
    pub(crate) fn relay_ephemeral(
        &mut self,
        channel: &Str,
        (position, time): (Position, Millis),
        record: &Bytes,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let sent = outputs.len();
        let turn = &mut Turn { now, settings: &self.settings, outputs };
        self.channels.relay_ephemeral(channel, position, time, record, turn);
        self.count(&outputs[sent..], now);
    }

    /// The counts of this node that have changed since the last call, or all of them.
    pub(crate) fn occupancy_to_tell(&mut self, all: bool) -> Vec<(Str, Occupancy)> {
        self.channels.occupancy_to_tell(all)
    }

    /// Another node has told its counts. With `all`, it has no others.
    pub(crate) fn set_remote_occupancy(
        &mut self,
        node: NodeId,
        all: bool,
        counts: Vec<(Str, Occupancy)>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        self.channels.set_remote_occupancy(node, all, counts);
        self.send_metadata(now, outputs);
    }

    /// The position up to which entries of the channel are applied. `None` if it is not in memory, or not followed.
    pub(crate) fn reached(&self, channel: &str) -> Option<Position> {
        self.channels.reached(channel)
    }

    /// Whether entries of the channel wait for a message.
    pub(crate) fn is_stalled(&self, channel: &str) -> bool {
        self.channels.is_stalled(channel)
    }

    /// The members of a channel could not be stored.
    pub(crate) fn snapshot_failed(&mut self, channel: &Str, now: Now) {
        self.channels.snapshot_failed(channel, now.steady);
    }

    /// Whether several nodes share the engine of the app.
    pub(crate) fn is_node(&self) -> bool {
        self.channels.node().is_some()
    }

    /// Whether the channel is in memory.
    pub(crate) fn has_channel(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some()
    }
}
