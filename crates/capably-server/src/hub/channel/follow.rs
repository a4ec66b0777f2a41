//! Following: the entries of a channel that arrive from an engine which several nodes share.
//!
//! Every node applies the same entries in the same order, those of its own proposals too.

use std::collections::VecDeque;

use capably_protocol::{PresenceMessage, Str};

use super::{Channel, Channels, order::Settled};
use crate::{
    engine,
    hub::{
        Output, Turn,
        channel::need::Need,
        log::{
            position::Position,
            proposal::{Body, Events, Place, Proposal},
        },
        objects::Unsaved,
        presence::{Members, event_id, is_left_id, place_of},
    },
};

/// The state of a channel that follows a shared engine.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// All entries up to this position are applied.
    reached: Position,
    /// Entries that cannot be applied before a message is fetched which they change, and those behind them.
    stalled: VecDeque<(Position, Proposal)>,
    /// Whether connections of this node have members.
    pub(super) has_own_members: bool,
    /// Whether this node is to write a snapshot of the members.
    pub(super) is_unsaved: bool,
}

/// The members of a channel as they were read: a snapshot, and the entries after it.
#[derive(Debug, Default)]
pub(crate) struct StoredMembers {
    pub(crate) snapshot: Option<Members>,
    pub(crate) later: Vec<(Position, Proposal)>,
}

impl Channel {
    /// The position up to which this node has applied the entries of the channel, if it follows a shared engine.
    pub(super) fn reached(&self) -> Option<Position> {
        self.followed.as_ref().map(|followed| followed.reached)
    }

    /// Whether connections of this node have members.
    pub(super) fn has_own_members(&self) -> bool {
        self.followed.as_ref().is_some_and(|followed| followed.has_own_members)
    }

    /// Whether an engine needs the channel to stay in memory.
    pub(super) fn is_kept(&self) -> bool {
        let is_unsaved = self.objects.as_ref().is_some_and(|it| it.unsaved == Some(Unsaved::Here));
        is_unsaved || self.followed.as_ref().is_some_and(|it| it.has_own_members || it.is_unsaved)
    }

    /// The message that must be fetched before the entry can be applied.
    fn unknown_message(&self, body: &Body) -> Option<Place> {
        match body {
            Body::Change(change) => Some(change.at).filter(|at| !self.knows(*at)),
            Body::Summary(summary) => Some(summary.at).filter(|at| !self.knows(*at)),
            Body::Annotations(frame) => {
                let serials = frame.items.iter().filter_map(|it| it.message_serial.as_deref());
                serials.filter_map(Position::parse_message).find(|at| !self.knows(*at))
            }
            Body::Messages(_)
            | Body::Presence(_)
            | Body::Departure(_)
            | Body::Adoption(_)
            | Body::Objects(_) => None,
        }
    }
}

impl Channels {
    /// Whether this node has applied the entry, or does not follow the channel.
    pub(super) fn has_reached(&self, name: &str, position: Position) -> bool {
        if self.loading.contains_key(name) {
            return false;
        }
        let channel = self.map.get(name);
        channel.and_then(|channel| channel.reached()).is_none_or(|reached| reached >= position)
    }

    /// The position up to which entries of the channel are applied. `None` if it is not in memory, or not followed.
    pub(crate) fn reached(&self, name: &str) -> Option<Position> {
        self.map.get(name)?.reached()
    }

    /// Whether entries of the channel wait for a message.
    pub(crate) fn is_stalled(&self, name: &str) -> bool {
        let followed = self.map.get(name).and_then(|channel| channel.followed.as_ref());
        followed.is_some_and(|followed| !followed.stalled.is_empty())
    }

    /// An entry of a followed channel has arrived.
    pub(crate) fn follow(&mut self, name: &str, entry: &engine::Entry, turn: &mut Turn<'_>) {
        let name = Str::from(name);
        let proposal = match Proposal::decode(&name, entry.time, &entry.payload) {
            Ok(proposal) => proposal,
            Err(problem) => {
                tracing::error!(problem, channel = &*name, "an entry is skipped");
                return;
            }
        };
        if !self.keep_meanwhile(entry.position, &proposal) {
            self.enqueue(entry.position, proposal, turn);
        }
    }

    /// Applies an entry in its turn.
    pub(super) fn enqueue(&mut self, position: Position, proposal: Proposal, turn: &mut Turn<'_>) {
        let Some(channel) = self.map.get_mut(&*proposal.channel) else { return };
        let unknown = channel.unknown_message(&proposal.body);
        let Some(followed) = &mut channel.followed else { return };
        let newest = followed.stalled.back().map_or(followed.reached, |(position, _)| *position);
        if position <= newest {
            return;
        }
        if followed.stalled.is_empty() && unknown.is_none() {
            self.apply_next(position, proposal, turn);
            return;
        }
        if followed.stalled.is_empty() {
            turn.outputs
                .extend(unknown.map(|at| Output::Fetch(Need::Message(channel.name.clone(), at))));
        }
        followed.stalled.push_back((position, proposal));
    }

    /// Applies the entries that have waited for a message, up to the next that has to wait.
    pub(super) fn resume_stalled(&mut self, name: &str, turn: &mut Turn<'_>) {
        loop {
            let Some(channel) = self.map.get_mut(name) else { return };
            let Some(followed) = &mut channel.followed else { return };
            let Some((position, proposal)) = followed.stalled.pop_front() else { return };
            if let Some(at) = channel.unknown_message(&proposal.body) {
                turn.outputs.push(Output::Fetch(Need::Message(channel.name.clone(), at)));
                if let Some(followed) = &mut channel.followed {
                    followed.stalled.push_front((position, proposal));
                }
                return;
            }
            self.apply_next(position, proposal, turn);
        }
    }

    fn apply_next(&mut self, position: Position, proposal: Proposal, turn: &mut Turn<'_>) {
        let name = proposal.channel.clone();
        let proposer = proposal.proposer;
        let is_about_members = proposal.body.is_about_members();
        let settled = self.apply_followed(position, proposal, turn);
        self.settled.extend(settled);
        if let Some(followed) = self.map.get_mut(&*name).and_then(|it| it.followed.as_mut()) {
            followed.reached = position;
        }
        if is_about_members {
            self.members_changed(&name, proposer.map(|it| it.node), turn.now.steady);
        }
    }

    /// Begins to follow a channel that was loaded up to `last`: restores its members, without telling anyone.
    pub(super) fn start_following(&mut self, name: &Str, last: Position, stored: StoredMembers) {
        if self.node().is_none() {
            return;
        }
        let StoredMembers { snapshot, later } = stored;
        self.presence.restore(name, snapshot);
        for (position, proposal) in later {
            self.presence.fold(name, position, proposal);
        }
        if let Some(channel) = self.map.get_mut(&**name) {
            let followed = Followed { reached: last, ..Followed::default() };
            channel.followed = Some(Box::new(followed));
        }
        self.members_loaded(name);
    }

    /// The results for publishers since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// Channels of a shared engine that have left the memory since the last call, and the results of publishers who waited
    /// on them.
    pub(crate) fn take_dropped(&mut self) -> (Vec<Str>, Vec<Settled>) {
        let dropped = std::mem::take(&mut self.dropped);
        let settled = dropped.iter().flat_map(|name| self.settle_committed(name)).collect();
        (dropped, settled)
    }

    /// The events of a frame that the engine has an earlier copy of at this position, for the members that have left
    /// meanwhile because their client was disconnected for too long. They enter again, unless the client has sent another
    /// event of the member behind this one.
    pub(super) fn lapsed_again(&self, proposal: &Proposal, position: Position) -> Option<Body> {
        let Body::Presence(events) = &proposal.body else { return None };
        let channel = self.map.get(&*proposal.channel)?;
        let connection = &events.connection;
        let entries = channel.log.iter().rev().take_while(|it| it.position() > position);
        let own = entries.filter(|entry| entry.connection() == Some(connection));
        let later: Vec<_> = own.flat_map(|entry| entry.members().iter().rev()).collect();
        let lapsed = events.items.iter().enumerate().filter_map(|(index, item)| {
            let place = (events.msg_serial, index);
            let mut newest_first = later.iter().filter(|it| it.client_id == item.client_id);
            let has_lapsed = newest_first.next().is_some_and(|newest| is_left(newest));
            let is_last = newest_first.all(|event| {
                let at = event.id.as_deref().and_then(|id| place_of(id, connection));
                at.is_none_or(|at| at <= place)
            });
            // The frame has fewer items now, so each needs its id.
            let id = Some(event_id(item, connection, place));
            (has_lapsed && is_last).then(|| PresenceMessage { id, ..item.clone() })
        });
        let items: Vec<_> = lapsed.collect();
        let (msg_serial, again) = (u64::MAX, Some(position));
        let events = Events { msg_serial, again, items, ..events.clone() };
        (!events.items.is_empty()).then_some(Body::Presence(events))
    }
}

/// Whether the event is of a member that left because its client was disconnected for too long, or detached.
fn is_left(event: &PresenceMessage) -> bool {
    event.id.as_deref().is_some_and(is_left_id)
}
