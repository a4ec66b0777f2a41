//! The nodes of a cluster: the members of nodes that are gone, and the snapshots of members.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use capably_protocol::{PresenceMessage, Str};

use super::{Channels, served::Served};
use crate::hub::{
    Output, Turn,
    ids::{ConnectionId, NodeId},
    log::{
        position::Position,
        proposal::{Adoption, Body, Departure, Owner, Place, Proposal},
    },
    message::publish::Receipt,
    presence::leaving,
};

/// How long entries about members are stored at least. Snapshots are written much more often.
pub(super) const MEMBERS_KEPT: Duration = Duration::from_secs(15 * 60);

/// The time after which members that have changed are written to a snapshot.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(60);

/// The time after which another node proposes a summary.
const SUMMARY_AFTER: Duration = Duration::from_secs(5);

/// The time after which a departure, an adoption or a snapshot that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The nodes of the cluster, as this node knows them.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    alive: BTreeSet<NodeId>,
    /// Nodes that have members and are not alive, with the time since when that is known.
    gone: BTreeMap<NodeId, Duration>,
    /// The time of the next check of the members of nodes that are gone.
    check: Option<Duration>,
    /// The departures that this node has proposed.
    proposed: BTreeSet<(Str, ConnectionId, Position)>,
    /// Messages whose annotations have changed and whose summary is still to be committed, by the time when this node
    /// proposes it in place of the one that should.
    unsummarized: VecDeque<(Duration, (Str, Place))>,
    /// The same messages without those that were summarized meanwhile.
    to_summarize: BTreeSet<(Str, Place)>,
    /// Departures that no client wished and adoptions that were refused, by the time when they are proposed again, and
    /// adoptions that wait.
    refused: BTreeSet<(Duration, Str, ConnectionId, Refused)>,
    /// Departures that their client wished and that were refused, with their members and the time when they are proposed
    /// again, in the order of the times.
    refused_leaves: VecDeque<(Duration, Str, ConnectionId, Vec<PresenceMessage>)>,
    /// Channels whose members are to be written to a snapshot, by the time.
    unsaved: BTreeSet<(Duration, Str)>,
    outage: Outage,
    served: Served,
}

/// When the engine was away. No member leaves then because its client is disconnected, nor for as long afterwards: no node
/// could say that the client has come to it.
#[derive(Debug, Default)]
enum Outage {
    #[default]
    None,
    Since(Duration),
    /// The time up to which members stay.
    Until(Duration),
}

impl Outage {
    fn keeps_members(&self, now: Duration) -> bool {
        match self {
            Self::None => false,
            Self::Since(_) => true,
            Self::Until(end) => now < *end,
        }
    }
}

/// A proposal about the members of a connection that was refused.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refused {
    /// The client is disconnected.
    Lapse,
    Adoption,
}

impl Channels {
    /// Sets the nodes that are alive.
    pub(crate) fn set_nodes(&mut self, alive: BTreeSet<NodeId>, now: Duration) {
        let nodes = &mut self.nodes;
        for node in nodes.alive.difference(&alive) {
            nodes.gone.entry(*node).or_insert(now);
        }
        nodes.gone.retain(|node, _| !alive.contains(node));
        nodes.alive = alive;
        nodes.check = Some(now);
        self.forget_occupancy_of_others();
    }

    /// The engine is away, or has come back.
    pub(crate) fn set_outage(&mut self, is_away: bool, now: Duration) {
        let outage = &mut self.nodes.outage;
        match outage {
            Outage::None | Outage::Until(_) if is_away => *outage = Outage::Since(now),
            Outage::Since(since) if !is_away => *outage = Outage::Until(now + (now - *since)),
            Outage::None | Outage::Since(_) | Outage::Until(_) => {}
        }
    }

    /// Whether members stay whose client is disconnected here, as the engine was away, or another node serves their client
    /// and cannot adopt them yet. Their departure is considered again later.
    pub(super) fn stays(&mut self, connection: &ConnectionId, name: &Str, now: Duration) -> bool {
        let served = self.nodes.served.last(connection);
        let served = served.zip(self.presence.remain(name, connection));
        let due = match served.map(|(last, remain)| last + remain) {
            Some(until) if until > now => until,
            _ if self.nodes.outage.keeps_members(now) => now + RETRY_AFTER,
            _ => return false,
        };
        self.nodes.refused.insert((due, name.clone(), connection.clone(), Refused::Lapse));
        true
    }

    /// A node serves the connection: this one or another.
    pub(crate) fn connection_served(&mut self, connection: &ConnectionId, now: Duration) {
        self.nodes.served.add(connection, now);
    }

    /// The connection has ended at the node that served it.
    pub(crate) fn connection_ended(&mut self, connection: &ConnectionId) {
        self.nodes.served.remove(connection);
    }

    /// The nodes that are alive, as far as this node knows.
    pub(super) fn alive_nodes(&self) -> &BTreeSet<NodeId> {
        &self.nodes.alive
    }

    /// Members have been loaded, perhaps of nodes that are gone.
    pub(super) fn members_loaded(&mut self, name: &Str) {
        let is_gone = |(_, owner): (&ConnectionId, Owner)| !self.nodes.alive.contains(&owner.node);
        if self.presence.owners(name).any(is_gone) {
            self.nodes.check = Some(Duration::ZERO);
        }
    }

    /// Proposes the departures of members whose node is gone, after the time for which they stay. Several nodes may do so;
    /// the engine commits the first.
    pub(crate) fn handle_gone_nodes(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.steady;
        let Some(me) = self.node().filter(|_| self.nodes.check.is_some_and(|check| check <= now))
        else {
            return;
        };
        if self.nodes.outage.keeps_members(now) {
            self.nodes.check = Some(now + RETRY_AFTER);
            return;
        }
        let Nodes { alive, gone, proposed, served, .. } = &mut self.nodes;
        let mut next = None;
        let mut departures = Vec::new();
        for (name, connection, owner, remain) in self.presence.all_owners() {
            if owner.node == me || alive.contains(&owner.node) {
                continue;
            }
            let since = *gone.entry(owner.node).or_insert(now);
            let due = served.last(connection).map_or(since, |last| last.max(since)) + remain;
            if due > now {
                next = Some(next.map_or(due, |next: Duration| next.min(due)));
            } else if proposed.insert((name.clone(), connection.clone(), owner.since)) {
                departures.push((name.clone(), connection.clone(), owner));
            }
        }
        self.nodes.check = next;
        for (name, connection, owner) in departures {
            let members = leaving(self.presence.members_of(&connection, &name));
            let (repeated, lapsed, owner) = (false, true, Some(owner));
            let departure = Departure { connection, members, repeated, lapsed, owner };
            let _ = self.propose(&name, Body::Departure(departure), Receipt::default(), turn);
        }
    }

    /// A proposal was refused. A departure or an adoption is proposed again later.
    pub(super) fn not_committed(&mut self, proposal: &Proposal, now: Duration) {
        let name = proposal.channel.clone();
        let due = now + RETRY_AFTER;
        match &proposal.body {
            // A departure of no member was only to tell when it arrives. Its DETACH is sent again.
            Body::Departure(Departure { members, .. }) if members.is_empty() => {}
            Body::Departure(Departure { connection, members, owner, lapsed, .. }) => {
                let key = owner.map(|owner| (name.clone(), connection.clone(), owner.since));
                if key.is_some_and(|key| self.nodes.proposed.remove(&key)) {
                    self.nodes.check = Some(due);
                } else if owner.is_some() || *lapsed {
                    self.nodes.refused.insert((due, name, connection.clone(), Refused::Lapse));
                } else {
                    let leave = (due, name, connection.clone(), members.clone());
                    self.nodes.refused_leaves.push_back(leave);
                }
            }
            Body::Adoption(Adoption { connection, .. }) => {
                self.nodes.refused.insert((due, name, connection.clone(), Refused::Adoption));
            }
            Body::Messages(_)
            | Body::Change(_)
            | Body::Annotations(_)
            | Body::Summary(_)
            | Body::Presence(_)
            | Body::Objects(_) => {}
        }
    }

    /// Proposes again what was refused a while ago. `attached` is the time for which members of the connection stay, if it
    /// is attached to the channel.
    pub(crate) fn handle_refused(
        &mut self,
        attached: impl Fn(&ConnectionId, &Str) -> Option<Duration>,
        turn: &mut Turn<'_>,
    ) {
        // The client has left, even if it has attached again, here or at another node.
        while let Some((due, ..)) = self.nodes.refused_leaves.front()
            && *due <= turn.now.steady
            && let Some((_, name, connection, members)) = self.nodes.refused_leaves.pop_front()
        {
            self.leave_again(connection, &name, members, turn);
        }
        while let Some((due, ..)) = self.nodes.refused.first()
            && *due <= turn.now.steady
        {
            let Some((_, name, connection, refused)) = self.nodes.refused.pop_first() else {
                return;
            };
            match (attached(&connection, &name), refused) {
                (Some(remain), Refused::Lapse | Refused::Adoption) => {
                    self.adopt(&connection, &name, remain, turn);
                }
                (None, Refused::Lapse) => self.lapse(&connection, &name, true, turn),
                // The members leave when the client has been away for long enough.
                (None, Refused::Adoption) => {}
            }
        }
    }

    /// Proposes a departure again that was refused.
    fn leave_again(
        &mut self,
        connection: ConnectionId,
        name: &Str,
        members: Vec<PresenceMessage>,
        turn: &mut Turn<'_>,
    ) {
        let (repeated, lapsed, owner) = (true, false, None);
        let departure = Departure { connection, members, repeated, lapsed, owner };
        let is_done = || self.presence.unchanged(name, &departure).is_empty();
        if self.reached(name).is_some() && is_done() {
            return;
        }
        let _ = self.propose(name, Body::Departure(departure), Receipt::default(), turn);
    }

    /// A departure was committed.
    pub(super) fn departed(&mut self, name: &Str, connection: &ConnectionId, owner: &Owner) {
        self.nodes.proposed.remove(&(name.clone(), connection.clone(), owner.since));
    }

    /// A client that resumed here has attached to a channel on which it has members of another node. This node becomes
    /// their owner.
    pub(crate) fn adopt(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        remain: Duration,
        turn: &mut Turn<'_>,
    ) {
        let Some(me) = self.node() else { return };
        let owner = self.presence.owner(name, connection);
        if owner.is_some_and(|owner| owner.node != me) {
            let adoption = Adoption { connection: connection.clone(), remain };
            let _ = self.propose(name, Body::Adoption(adoption), Receipt::default(), turn);
        }
    }

    /// Members of a connection that is attached here have another owner. This node becomes their owner later.
    pub(crate) fn adopt_later(&mut self, connection: &ConnectionId, name: &Str, now: Duration) {
        let owner = self.presence.owner(name, connection);
        if owner.is_some_and(|owner| Some(owner.node) != self.node()) {
            let (due, connection) = (now + RETRY_AFTER, connection.clone());
            self.nodes.refused.insert((due, name.clone(), connection, Refused::Adoption));
        }
    }

    /// The members of a channel have changed, by an entry of this node or of another.
    pub(super) fn members_changed(&mut self, name: &Str, proposer: Option<NodeId>, now: Duration) {
        let Some(me) = self.node() else { return };
        let has_own_members = self.presence.owners(name).any(|(_, owner)| owner.node == me);
        let Some(followed) = self.map.get_mut(&**name).and_then(|it| it.followed.as_mut()) else {
            return;
        };
        let had_own_members = std::mem::replace(&mut followed.has_own_members, has_own_members);
        // The node of the newest entry writes the snapshot.
        let is_writer = proposer == Some(me);
        if is_writer && !followed.is_unsaved {
            self.nodes.unsaved.insert((now + SNAPSHOT_AFTER, name.clone()));
        }
        followed.is_unsaved = is_writer;
        if had_own_members != has_own_members {
            // Nodes that do not follow the channel know its members from the nodes that have some.
            self.occupancy_changed(name);
        }
    }

    /// Writes the snapshots that are due.
    pub(crate) fn handle_snapshots(&mut self, turn: &mut Turn<'_>) {
        while let Some((due, _)) = self.nodes.unsaved.first()
            && *due <= turn.now.steady
        {
            let Some((_, name)) = self.nodes.unsaved.pop_first() else { return };
            let Some(followed) = self.map.get_mut(&*name).and_then(|it| it.followed.as_mut())
            else {
                continue;
            };
            // Another node has written to the log since then, and writes the snapshot.
            if !std::mem::take(&mut followed.is_unsaved) {
                continue;
            }
            let Some(reached) = self.reached(&name) else { continue };
            let snapshot = self.presence.snapshot(&name, reached);
            turn.outputs.push(Output::Snapshot(name, snapshot));
        }
    }

    /// A snapshot could not be written. It is written again later.
    pub(crate) fn snapshot_failed(&mut self, name: &Str, now: Duration) {
        if let Some(followed) = self.map.get_mut(&**name).and_then(|it| it.followed.as_mut())
            && !followed.is_unsaved
        {
            followed.is_unsaved = true;
            self.nodes.unsaved.insert((now + RETRY_AFTER, name.clone()));
        }
    }

    /// The annotations of messages have changed by an entry of another node, which proposes the summaries.
    pub(super) fn expect_summaries(&mut self, name: &Str, of: Vec<Place>, now: Duration) {
        for at in of {
            let summary = (name.clone(), at);
            if self.nodes.to_summarize.insert(summary.clone()) {
                self.nodes.unsummarized.push_back((now + SUMMARY_AFTER, summary));
            }
        }
    }

    /// A summary was committed.
    pub(super) fn summarized(&mut self, name: &Str, at: Place) {
        if !self.nodes.to_summarize.is_empty() {
            self.nodes.to_summarize.remove(&(name.clone(), at));
        }
    }

    /// Proposes the summaries that their node has not: it may be gone, or the engine has refused them.
    pub(crate) fn handle_summaries(&mut self, turn: &mut Turn<'_>) {
        while let Some((due, _)) = self.nodes.unsummarized.front()
            && *due <= turn.now.steady
            && let Some((_, summary)) = self.nodes.unsummarized.pop_front()
        {
            let is_missing = self.nodes.to_summarize.remove(&summary);
            let (name, at) = summary;
            if is_missing && self.get(&name).is_some() {
                self.propose_summaries(&name, vec![at], turn);
            }
        }
    }

    /// The time of the next departure, adoption, summary or snapshot.
    pub(crate) fn next_for_nodes(&self) -> Option<Duration> {
        let Nodes { check, refused, refused_leaves, unsummarized, unsaved, .. } = &self.nodes;
        let refused = refused.first().map(|(due, ..)| *due);
        let leave = refused_leaves.front().map(|(due, ..)| *due);
        let summary = unsummarized.front().map(|(due, _)| *due);
        let snapshot = unsaved.first().map(|(due, _)| *due);
        [*check, refused, leave, summary, snapshot].into_iter().flatten().min()
    }
}
