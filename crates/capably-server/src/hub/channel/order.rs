//! The order of an app's entries: the hub's own, or that of an engine.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    time::Duration,
};

use capably_protocol::{ErrorInfo, Millis, Str};

use super::{Channels, event::EVENTS_KEPT, nodes::MEMBERS_KEPT, objects_stored::OBJECTS_KEPT};
pub(crate) use crate::hub::log::proposal::Ticket;
use crate::{
    engine::Appended,
    hub::{
        Output, TransportId, Turn, error,
        ids::{ConnectionId, NodeId},
        log::{
            position::{Position, SerialClock},
            proposal::{About, Body, Place, Proposal, Proposer, Summary},
            volume::Volume,
        },
        message::publish::{Accepted, Receipt},
        push::Delivery,
    },
};

/// The longest time for which the publisher of a committed entry waits until it arrives at its own node.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// Orders the entries of an app.
#[derive(Debug)]
pub(crate) enum Order {
    /// The hub commits an entry within the call that proposes it, and keeps all entries in memory.
    Own(SerialClock),
    /// An engine commits entries, and has those that are not in memory.
    Engine(Proposals),
    /// Entries of an engine are applied again. None is proposed.
    Replay,
}

impl Order {
    /// The hub's own order, with positions after `now`.
    pub(crate) fn own(now: Millis) -> Self {
        Self::Own(SerialClock::new(now))
    }

    /// The order of an engine. `node` is this node, if several share the engine.
    pub(crate) fn engine(node: Option<NodeId>) -> Self {
        // The ephemeral positions of the nodes differ.
        let ephemeral = node.map_or(0, |node| node.0 % 1_000_000 * 1_000_000_000);
        Self::Engine(Proposals { node, ephemeral, ..Proposals::default() })
    }

    /// The newest position that the hub has applied.
    pub(crate) fn newest(&self) -> Position {
        match self {
            Self::Own(clock) => clock.last(),
            Self::Engine(proposals) => proposals.newest,
            Self::Replay => Position(0),
        }
    }

    /// The hub has applied the entry at this position.
    pub(super) fn applied(&mut self, position: Position) {
        if let Self::Engine(proposals) = self {
            proposals.newest = proposals.newest.max(position);
        }
    }

    /// The hub has committed the entry at this position.
    pub(super) fn committed_at(&mut self, position: Position) {
        if let Self::Engine(proposals) = self {
            let first = proposals.first.unwrap_or(position);
            proposals.first = Some(first.min(position));
        }
    }

    /// Whether the engine can have entries about members or objects after this position that this server has not applied,
    /// and that no later entry corrects. Without a cluster, they are of an earlier life of the server, whose members have
    /// gone with it, or of proposals that the engine has refused and stored all the same, or that had no effect.
    pub(super) fn may_have_unapplied(&self, position: Position) -> bool {
        match self {
            Self::Engine(proposals) if proposals.node.is_none() => {
                proposals.first.is_none_or(|first| position < first)
                    || proposals.refused.is_some()
                    || position < proposals.unapplied_until
            }
            Self::Own(_) | Self::Engine(_) | Self::Replay => false,
        }
    }

    /// Events of members had no effect, such as those that a client has repeated. Readers of the log cannot tell.
    pub(super) fn not_applied(&mut self, position: Position) {
        if let Self::Engine(proposals) = self {
            proposals.unapplied_until = proposals.unapplied_until.max(position);
        }
    }

    /// Whether an event of this member was proposed, and is not applied yet.
    pub(super) fn expects_event(
        &self,
        channel: &str,
        connection: &ConnectionId,
        client: Option<&Str>,
    ) -> bool {
        let Self::Engine(proposals) = self else { return false };
        proposals.waiting.values().map(|it| &it.proposal).any(|proposal| match &proposal.body {
            Body::Presence(events) => {
                *proposal.channel == *channel
                    && events.connection == *connection
                    && events.items.iter().any(|item| item.client_id.as_ref() == client)
            }
            _ => false,
        })
    }

    /// The channels with proposals that wait for the engine.
    pub(crate) fn busy_channels(&self) -> HashSet<Str> {
        match self {
            Self::Engine(proposals) => {
                proposals.waiting.values().map(|it| it.proposal.channel.clone()).collect()
            }
            Self::Own(_) | Self::Replay => HashSet::new(),
        }
    }
}

/// The proposals that the engine has not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    /// This node, if several share the engine.
    node: Option<NodeId>,
    next: Ticket,
    waiting: BTreeMap<Ticket, Waiting>,
    /// In a cluster, the committed proposals that have to arrive here, by the time when their publishers are answered
    /// without that.
    overdue: VecDeque<(Duration, Ticket)>,
    newest: Position,
    /// The first position that the hub has committed.
    first: Option<Position>,
    /// The first ticket after the last refusal of a proposal about members or objects, until a proposal from that ticket on
    /// is committed.
    refused: Option<Ticket>,
    /// Entries about members or objects that are stored and not applied are not after this position, unless `refused` is
    /// set.
    unapplied_until: Position,
    /// The positions of frames that are delivered and not logged. They lie before those of all entries.
    ephemeral: u64,
}

impl Proposals {
    /// The engine of a single server has decided on a proposal.
    fn decided(
        &mut self,
        ticket: Ticket,
        is_about_state: bool,
        result: &Result<Appended, ErrorInfo>,
    ) {
        match result {
            Err(_) if is_about_state => self.refused = Some(self.next),
            Ok(Appended { position, repeated: false })
                if self.refused.is_some_and(|refused| refused <= ticket) =>
            {
                self.refused = None;
                self.unapplied_until = self.unapplied_until.max(*position);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    receipt: Receipt,
    pushes: Vec<Delivery>,
    origin: Origin,
    /// The position, once the engine has committed the entry and the hub has not applied it yet.
    committed: Option<Position>,
}

/// The publisher that waits for a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A frame of a client, with its `msgSerial`.
    Frame(ConnectionId, u64),
    /// A PRESENCE that was accepted before, with its `msgSerial`. Its members may enter again.
    Repeated(ConnectionId, u64),
    /// A DETACH of a client, with the name of the channel as the client has written it. Members leave.
    Detach(ConnectionId, Str),
    /// A CLOSE of a client on this transport. Members leave.
    Close(TransportId),
    /// A REST request.
    Request,
    /// Nobody waits.
    Hub,
}

/// A proposal that was committed or refused.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) ticket: Ticket,
    pub(crate) origin: Origin,
    pub(crate) result: Result<Accepted, ErrorInfo>,
    pub(crate) about: About,
}

/// A publish that was proposed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Proposed {
    Committed(Accepted),
    /// The engine has not committed it yet.
    Waiting(Ticket),
}

impl Proposed {
    /// The volume of the published messages. A waiting proposal is counted at its commit.
    pub(crate) fn volume(&self) -> Volume {
        match self {
            Self::Committed(accepted) => accepted.volume(),
            Self::Waiting(_) => Volume::default(),
        }
    }
}

#[cfg(test)]
impl Proposed {
    /// The answer to a publish of an app that orders its entries itself.
    pub(crate) fn published(self) -> crate::hub::Published {
        match self {
            Self::Committed(accepted) => accepted.into(),
            Self::Waiting(ticket) => panic!("{ticket:?} waits for an engine"),
        }
    }
}

impl Channels {
    /// Whether an engine orders the entries.
    pub(crate) fn has_engine(&self) -> bool {
        matches!(self.order, Order::Engine(_))
    }

    /// This node, if several share the engine.
    pub(crate) fn node(&self) -> Option<NodeId> {
        match &self.order {
            Order::Engine(proposals) => proposals.node,
            Order::Own(_) | Order::Replay => None,
        }
    }

    /// A position for a frame that is not logged.
    pub(crate) fn unlogged_position(&mut self, now: Millis) -> Position {
        match &mut self.order {
            Order::Own(clock) => clock.next(now),
            Order::Engine(proposals) => {
                proposals.ephemeral += 1;
                Position(proposals.ephemeral)
            }
            Order::Replay => Position(0),
        }
    }

    /// Commits an entry and applies it, or passes it to the engine.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub(super) fn propose(
        &mut self,
        channel: &Str,
        body: Body,
        receipt: Receipt,
        turn: &mut Turn<'_>,
    ) -> Result<Proposed, ErrorInfo> {
        let pushes = match &body {
            Body::Messages(frame) => self.pushes(channel, &frame.items, turn.now),
            _ => Vec::new(),
        };
        let time = match body.is_about_members() {
            true => self.presence.next_time(turn.now.wall),
            false => turn.now.wall,
        };
        let proposal = Proposal { channel: channel.clone(), time, proposer: None, body };
        match &mut self.order {
            Order::Own(clock) => {
                let position = clock.next(turn.now.wall);
                let summaries = self.apply(position, proposal, turn)?;
                turn.outputs.extend(pushes.into_iter().map(Output::from));
                self.propose_summaries(channel, summaries, turn);
                Ok(Proposed::Committed(receipt.at(position)))
            }
            Order::Engine(_) => Ok(Proposed::Waiting(self.submit(proposal, receipt, pushes, turn))),
            Order::Replay => Err(error::not_stored()),
        }
    }

    /// Passes a proposal to the engine.
    fn submit(
        &mut self,
        mut proposal: Proposal,
        receipt: Receipt,
        pushes: Vec<Delivery>,
        turn: &mut Turn<'_>,
    ) -> Ticket {
        // The name may be a slice of a whole frame; the proposal must not pin that.
        proposal.channel = Str::from(&*proposal.channel);
        if !self.map.contains_key(&*proposal.channel) {
            self.note_recent(&proposal.channel, turn.now.steady);
        }
        let mut keep = self.retention_of(&proposal.channel).age;
        if let Body::Objects(_) = &proposal.body {
            keep = keep.max(OBJECTS_KEPT);
        }
        if self.is_hooked() {
            keep = keep.max(EVENTS_KEPT);
        }
        let Order::Engine(proposals) = &mut self.order else { return Ticket(u64::MAX) };
        let ticket = proposals.next;
        proposals.next = Ticket(ticket.0 + 1);
        if let Some(node) = proposals.node {
            proposal.proposer = Some(Proposer { node, ticket });
            if proposal.body.is_about_members() {
                keep = keep.max(MEMBERS_KEPT);
            }
        }
        let append = proposal.encode_append(&self.app, keep);
        let size = proposal.body.size() + append.payload.len();
        let waiting = Waiting { proposal, receipt, pushes, origin: Origin::Hub, committed: None };
        proposals.waiting.insert(ticket, waiting);
        turn.outputs.push(Output::Append(ticket, append, size));
        ticket
    }

    /// Proposes the new summaries of messages that were annotated.
    pub(super) fn propose_summaries(&mut self, channel: &Str, of: Vec<Place>, turn: &mut Turn<'_>) {
        let max_size = turn.settings.max_message_size;
        for at in of {
            let body = Body::Summary(Summary { at, max_size });
            // Nobody waits for a summary. The next one has what this one would have had.
            let _ = self.propose(channel, body, Receipt::default(), turn);
        }
    }

    /// Sets the publisher that waits for a proposal.
    pub(crate) fn set_origin(&mut self, ticket: Ticket, origin: Origin) {
        if let Order::Engine(proposals) = &mut self.order
            && let Some(waiting) = proposals.waiting.get_mut(&ticket)
        {
            waiting.origin = origin;
        }
    }

    /// The engine has committed or refused a proposal. Applies it, if this server alone uses the engine. `can_enter` tells
    /// whether a connection may have members on a channel.
    pub(crate) fn committed(
        &mut self,
        ticket: Ticket,
        result: Result<Appended, ErrorInfo>,
        can_enter: impl Fn(&ConnectionId, &Str) -> bool,
        turn: &mut Turn<'_>,
    ) -> Option<Settled> {
        if self.node().is_some() {
            return self.acknowledged(ticket, result, can_enter, turn);
        }
        let Order::Engine(proposals) = &mut self.order else { return None };
        let waiting = proposals.waiting.remove(&ticket)?;
        let Waiting { proposal, receipt, pushes, origin, .. } = waiting;
        proposals.decided(ticket, proposal.body.is_about_state(), &result);
        let about = proposal.about();
        if result.is_err() {
            // Members that are gone would stay for ever.
            self.not_committed(&proposal, turn.now.steady);
        }
        let result = result.and_then(|Appended { position, repeated }| {
            if !repeated {
                let channel = proposal.channel.clone();
                let summaries = self.apply(position, proposal, turn)?;
                turn.outputs.extend(pushes.into_iter().map(Output::from));
                self.propose_summaries(&channel, summaries, turn);
            }
            Ok(receipt.at(position))
        });
        Some(Settled { ticket, origin, result, about })
    }

    /// The engine that several nodes share has committed or refused a proposal. The hub applies it when it receives the
    /// entry. If only that tells whether the entry has an effect, the publisher waits for it.
    fn acknowledged(
        &mut self,
        ticket: Ticket,
        result: Result<Appended, ErrorInfo>,
        can_enter: impl Fn(&ConnectionId, &Str) -> bool,
        turn: &mut Turn<'_>,
    ) -> Option<Settled> {
        let Order::Engine(proposals) = &mut self.order else { return None };
        let mut waiting = proposals.waiting.remove(&ticket)?;
        let result = match result {
            Ok(Appended { position, repeated: false }) => {
                // The clients of this node receive an entry before its publisher is answered, as on a single server.
                if !self.has_reached(&waiting.proposal.channel, position) {
                    waiting.committed = Some(position);
                    self.keep_waiting(ticket, waiting, turn.now.steady);
                    return None;
                }
                self.note_not_applied(position, &waiting.proposal, turn.now);
                turn.outputs.extend(waiting.pushes.into_iter().map(Output::from));
                Ok(waiting.receipt.at(position))
            }
            Ok(Appended { position, repeated: true }) => {
                // The client may have detached since it sent the frame. Its members have left then, and stay away.
                if let Some((connection, channel)) = waiting.proposal.presence()
                    && can_enter(&connection, &channel)
                    && let Some(body) = self.lapsed_again(&waiting.proposal, position)
                {
                    let Waiting { proposal, receipt, origin, .. } = waiting;
                    let time = self.presence.next_time(turn.now.wall);
                    let again = Proposal { time, body, ..proposal };
                    let ticket = self.submit(again, receipt, Vec::new(), turn);
                    self.set_origin(ticket, origin);
                    return None;
                }
                Ok(waiting.receipt.at(position))
            }
            Err(error) => {
                let Waiting { proposal, .. } = &waiting;
                self.not_committed(proposal, turn.now.steady);
                if let Body::Summary(summary) = &proposal.body {
                    self.expect_summaries(&proposal.channel, vec![summary.at], turn.now.steady);
                }
                Err(error)
            }
        };
        let about = waiting.proposal.about();
        Some(Settled { ticket, origin: waiting.origin, result, about })
    }

    fn keep_waiting(&mut self, ticket: Ticket, waiting: Waiting, now: Duration) {
        if let Order::Engine(proposals) = &mut self.order {
            if !waiting.proposal.body.has_verdict() {
                proposals.overdue.push_back((now + MAX_DELAY, ticket));
            }
            proposals.waiting.insert(ticket, waiting);
        }
    }

    /// Settles proposals that were committed a while ago and do not arrive, as this node is cut off from the others. Their
    /// publishers need not wait for that.
    pub(crate) fn handle_overdue(&mut self, turn: &mut Turn<'_>) {
        let Order::Engine(proposals) = &mut self.order else { return };
        while let Some((due, ticket)) = proposals.overdue.front()
            && *due <= turn.now.steady
        {
            let ticket = *ticket;
            proposals.overdue.pop_front();
            let is_committed = |it: &Waiting| it.committed.is_some();
            if !proposals.waiting.get(&ticket).is_some_and(is_committed) {
                continue;
            }
            let Some(waiting) = proposals.waiting.remove(&ticket) else { continue };
            let Waiting { proposal, receipt, pushes, origin, committed: Some(position) } = waiting
            else {
                continue;
            };
            turn.outputs.extend(pushes.into_iter().map(Output::from));
            let (result, about) = (Ok(receipt.at(position)), proposal.about());
            self.settled.push(Settled { ticket, origin, result, about });
        }
        let waiting = &proposals.waiting;
        // Nearly all have arrived long before.
        while let Some((_, ticket)) = proposals.overdue.front()
            && !waiting.contains_key(ticket)
        {
            proposals.overdue.pop_front();
        }
    }

    /// The time when [`handle_overdue`](Self::handle_overdue) is needed next.
    pub(crate) fn next_overdue(&self) -> Option<Duration> {
        match &self.order {
            Order::Engine(proposals) => proposals.overdue.front().map(|(due, _)| *due),
            Order::Own(_) | Order::Replay => None,
        }
    }

    /// Applies an entry of a shared engine. Returns the result for the publisher, if it waits at this node.
    pub(super) fn apply_followed(
        &mut self,
        position: Position,
        proposal: Proposal,
        turn: &mut Turn<'_>,
    ) -> Option<Settled> {
        let name = proposal.channel.clone();
        let own = proposal.proposer.filter(|it| Some(it.node) == self.node());
        let waiting = match &mut self.order {
            Order::Engine(proposals) => own.and_then(|it| proposals.waiting.remove(&it.ticket)),
            Order::Own(_) | Order::Replay => None,
        };
        let (presence, about) = (proposal.presence(), proposal.about());
        let result = self.apply(position, proposal, turn).map(|summaries| {
            if own.is_some() {
                self.propose_summaries(&name, summaries, turn);
            } else {
                self.expect_summaries(&name, summaries, turn.now.steady);
            }
        });
        if waiting.is_none() {
            self.unclaimed.extend(presence);
        }
        let Waiting { receipt, pushes, origin, .. } = waiting?;
        let ticket = own?.ticket;
        let result = result.map(|()| {
            turn.outputs.extend(pushes.into_iter().map(Output::from));
            receipt.at(position)
        });
        Some(Settled { ticket, origin, result, about })
    }

    /// The proposals on a channel that are committed, and that nobody will apply because the channel has left the
    /// memory.
    pub(super) fn settle_committed(&mut self, channel: &str) -> Vec<Settled> {
        let Order::Engine(proposals) = &mut self.order else { return Vec::new() };
        let is_committed =
            |it: &Waiting| it.committed.is_some() && &*it.proposal.channel == channel;
        let tickets = proposals.waiting.iter().filter(|(_, it)| is_committed(it));
        let tickets: Vec<Ticket> = tickets.map(|(ticket, _)| *ticket).collect();
        let settled = tickets.into_iter().filter_map(|ticket| {
            let Waiting { proposal, receipt, origin, committed, .. } =
                proposals.waiting.remove(&ticket)?;
            let result = Ok(receipt.at(committed?));
            Some(Settled { ticket, origin, result, about: proposal.about() })
        });
        settled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Position = Position(10);
    const AFTER: Position = Position(20);

    fn committed(position: Position) -> Result<Appended, ErrorInfo> {
        Ok(Appended { position, repeated: false })
    }

    #[test]
    fn a_refused_event_may_be_stored_before_the_next_proposal_that_is_committed() {
        let refused = || Err(error::not_stored());
        let first = Some(Position(1));
        let mut order = Order::Engine(Proposals { next: Ticket(3), first, ..Proposals::default() });
        let mut decide = |ticket, is_about_state, result: Result<Appended, ErrorInfo>| {
            if let Order::Engine(proposals) = &mut order {
                proposals.decided(Ticket(ticket), is_about_state, &result);
            }
            [BEFORE, AFTER].map(|position| order.may_have_unapplied(position))
        };
        assert_eq!(decide(0, false, refused()), [false, false], "messages");
        assert_eq!(decide(1, true, refused()), [true, true]);
        // The engine may have stored it before the refused one.
        assert_eq!(decide(2, true, committed(BEFORE)), [true, true], "was under way");
        let repeated = Ok(Appended { position: BEFORE, repeated: true });
        assert_eq!(decide(3, false, repeated), [true, true], "was stored earlier");
        assert_eq!(decide(4, false, committed(AFTER)), [true, false]);
    }
}
