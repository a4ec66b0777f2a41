//! The order of an app's entries: the hub's own, or that of an engine.

use std::collections::{BTreeMap, HashSet};

use capably_protocol::{ErrorInfo, Millis, Str};

use super::Channels;
use crate::{
    engine::Appended,
    hub::{
        Output, Turn, error,
        ids::ConnectionId,
        log::{
            position::{Position, SerialClock},
            proposal::{Body, Place, Proposal, Summary},
            volume::Volume,
        },
        message::publish::{Accepted, Receipt},
        push::Delivery,
    },
};

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

    /// The order of an engine.
    pub(crate) fn engine() -> Self {
        Self::Engine(Proposals::default())
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

/// The number of a proposal that waits for the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(crate) u64);

/// The proposals that the engine has not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Proposals {
    next: Ticket,
    waiting: BTreeMap<Ticket, Waiting>,
    newest: Position,
    /// The positions of frames that are delivered and not logged. They lie before those of all entries.
    ephemeral: u64,
}

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    receipt: Receipt,
    pushes: Vec<Delivery>,
    origin: Origin,
}

/// The publisher that waits for a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A frame of a client, with its `msgSerial`.
    Frame(ConnectionId, u64),
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
    /// The connection and the channel of committed presence events.
    pub(crate) presence: Option<(ConnectionId, Str)>,
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
        let proposal = Proposal { channel: channel.clone(), time: turn.now.wall, body };
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
        let keep = self.retention_of(&proposal.channel).age;
        let append = proposal.encode_append(&self.app, keep);
        let Order::Engine(proposals) = &mut self.order else { return Ticket(u64::MAX) };
        let ticket = proposals.next;
        proposals.next = Ticket(ticket.0 + 1);
        let waiting = Waiting { proposal, receipt, pushes, origin: Origin::Hub };
        proposals.waiting.insert(ticket, waiting);
        turn.outputs.push(Output::Append(ticket, append));
        ticket
    }

    /// Proposes the new summaries of messages that were annotated.
    fn propose_summaries(&mut self, channel: &Str, of: Vec<Place>, turn: &mut Turn<'_>) {
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

    /// The engine has committed or refused a proposal: applies it.
    pub(crate) fn committed(
        &mut self,
        ticket: Ticket,
        result: Result<Appended, ErrorInfo>,
        turn: &mut Turn<'_>,
    ) -> Option<Settled> {
        let Order::Engine(proposals) = &mut self.order else { return None };
        let Waiting { proposal, receipt, pushes, origin } = proposals.waiting.remove(&ticket)?;
        let presence = match &proposal.body {
            Body::Presence(events) => Some((events.connection.clone(), proposal.channel.clone())),
            _ => None,
        };
        let result = result.and_then(|Appended { position, repeated }| {
            if !repeated {
                let channel = proposal.channel.clone();
                let summaries = self.apply(position, proposal, turn)?;
                turn.outputs.extend(pushes.into_iter().map(Output::from));
                self.propose_summaries(&channel, summaries, turn);
            }
            Ok(receipt.at(position))
        });
        Some(Settled { ticket, origin, result, presence })
    }
}
