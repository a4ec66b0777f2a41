//! Committing entries, and applying committed entries.
//!
//! Applying is a fold: the same entries in the same order give the same state. What needs a clock, randomness or rights
//! is decided by the proposer, and stands in the entry.

use std::{sync::Arc, time::Duration};

use capably_protocol::{ErrorInfo, Millis, Str};

use super::{Channels, order::Order};
use crate::hub::{
    Turn,
    log::{
        Entry,
        position::Position,
        proposal::{Adoption, Body, Owner, Place, Proposal, Proposer},
    },
};

/// The most entries that are kept for a channel while it is loaded, and their most bytes.
const MAX_MEANWHILE: (usize, usize) = (1000, 4 * 1024 * 1024);

/// The entries that were committed while a channel is loaded.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    pub(super) entries: Vec<(Position, Proposal)>,
    bytes: usize,
}

/// The place and the time of a committed entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub(super) position: Position,
    /// The time of the proposal, in ms since the epoch.
    pub(super) time: Millis,
    /// The time of the proposal by the steady clock.
    pub(super) at: Duration,
    /// In a cluster, the node that has proposed the entry.
    pub(super) proposer: Option<Proposer>,
}

impl Channels {
    /// Applies a committed entry, and delivers it. Returns the messages whose summaries it changes.
    ///
    /// # Errors
    /// The entry has no effect: 40400 for an unknown message, 40000 for an append of another type of data, 40009 for a
    /// message that becomes too large, 91003 for too many members.
    pub(super) fn apply(
        &mut self,
        position: Position,
        proposal: Proposal,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Place>, ErrorInfo> {
        self.order.applied(position);
        self.order.committed_at(position);
        if self.node().is_none() {
            self.keep_meanwhile(position, &proposal);
        }
        let Proposal { channel: name, time, proposer, body } = proposal;
        if body.is_about_members() {
            self.presence.next_time(time);
        }
        let commit = Commit { position, time, at: turn.now.steady_at(time), proposer };
        let makes_event = self.makes_event(&name, &body, proposer);
        let summaries = match body {
            // Members are in memory whether their channel is or not.
            Body::Presence(events) => {
                self.apply_presence(&name, commit, events, turn)?;
                Vec::new()
            }
            Body::Departure(departure) => {
                self.apply_departure(&name, commit, departure, turn);
                Vec::new()
            }
            Body::Adoption(adoption) => {
                self.apply_adoption(&name, commit, &adoption);
                Vec::new()
            }
            body => self.apply_to_log(&name, commit, body, turn)?,
        };
        if makes_event {
            self.note_applied(&name, position);
        }
        Ok(summaries)
    }

    /// Keeps an entry for a channel that is being loaded. Returns whether the channel is.
    pub(super) fn keep_meanwhile(&mut self, position: Position, proposal: &Proposal) -> bool {
        if self.loading.is_empty() {
            return false;
        }
        let Some(meanwhile) = self.loading.get_mut(&*proposal.channel) else { return false };
        let (most, most_bytes) = MAX_MEANWHILE;
        meanwhile.bytes += proposal.body.size();
        if meanwhile.entries.len() < most && meanwhile.bytes <= most_bytes {
            meanwhile.entries.push((position, proposal.clone()));
        } else {
            self.loading.remove(&*proposal.channel);
        }
        true
    }

    /// Applies an entry that is committed while its channel was loaded. Members have their events already.
    pub(super) fn catch_up(&mut self, position: Position, proposal: Proposal, turn: &mut Turn<'_>) {
        let Proposal { channel: name, time, proposer, body } = proposal;
        let commit = Commit { position, time, at: turn.now.steady_at(time), proposer };
        match body {
            Body::Presence(events) => self.append_as_proposed(&name, commit, events, turn),
            Body::Departure(departure) => self.append_departure(&name, commit, departure, turn),
            // The proposer has its answer, and its summaries follow.
            body => drop(self.apply_to_log(&name, commit, body, turn)),
        }
    }

    fn apply_to_log(
        &mut self,
        name: &Str,
        commit: Commit,
        body: Body,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Place>, ErrorInfo> {
        if self.has_engine() && !self.map.contains_key(&**name) {
            self.note_unlogged(name, commit, &body);
            return Ok(Vec::new());
        }
        match body {
            Body::Messages(frame) => self.apply_messages(name, commit, frame, turn),
            Body::Change(change) => self.apply_change(name, commit, *change, turn)?,
            Body::Annotations(frame) => {
                return Ok(self.apply_annotations(name, commit, frame, turn));
            }
            Body::Summary(summary) => self.apply_summary(name, commit, summary, turn),
            Body::Objects(operations) => self.apply_objects(name, commit, operations, turn),
            Body::Presence(_) | Body::Departure(_) | Body::Adoption(_) => {}
        }
        Ok(Vec::new())
    }

    /// Applies a committed adoption of members.
    fn apply_adoption(&mut self, name: &Str, commit: Commit, adoption: &Adoption) {
        let Commit { position, proposer: Some(Proposer { node, .. }), .. } = commit else { return };
        if matches!(self.order, Order::Replay) {
            let owner = Owner { node, since: position };
            self.presence.replay_owner(&adoption.connection, owner);
        } else {
            self.presence.adopt(name, adoption, node, position);
            // The client may have come back here before the adoption arrived, or ended the connection since this node has
            // proposed it.
            self.unclaimed.push((adoption.connection.clone(), name.clone()));
        }
    }

    /// Appends an entry to the channel's log and sends it to the subscribers, if the channel exists.
    pub(super) fn append(&mut self, name: &str, entry: &Arc<Entry>, turn: &mut Turn<'_>) {
        if let Some(channel) = self.map.get_mut(name) {
            channel.commit(entry, turn);
            self.persisted.add(channel.newly_persisted());
        } else {
            self.events.unlogged(entry);
        }
    }
}
