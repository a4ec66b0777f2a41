//! Committing entries, and applying what is committed.
//!
//! Applying is a fold: the same entries in the same order give the same state. What needs a clock, randomness or rights
//! is decided by the proposer, and stands in the entry.

use std::{sync::Arc, time::Duration};

use capably_protocol::{ErrorInfo, Millis, Str};

use super::Channels;
use crate::hub::{
    Output, Turn,
    log::{
        Entry,
        position::Position,
        proposal::{Body, Proposal, Summary},
    },
    message::publish::{Accepted, Receipt},
};

/// The place and the time of a committed entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit {
    pub(super) position: Position,
    /// The time of the proposal, in ms since the epoch.
    pub(super) time: Millis,
    /// The time of the proposal by the steady clock.
    pub(super) at: Duration,
}

impl Channels {
    /// Commits an entry, and applies it.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply).
    pub(super) fn propose(
        &mut self,
        channel: &Str,
        body: Body,
        receipt: Receipt,
        turn: &mut Turn<'_>,
    ) -> Result<Accepted, ErrorInfo> {
        let position = self.next_position(turn.now);
        let proposal = Proposal { channel: channel.clone(), time: turn.now.wall, body };
        let pushes = match &proposal.body {
            Body::Messages(frame) => self.pushes(channel, &frame.items, turn.now),
            _ => Vec::new(),
        };
        self.apply(position, proposal, turn)?;
        turn.outputs.extend(pushes.into_iter().map(Output::from));
        Ok(receipt.at(position))
    }

    /// Applies a committed entry, and delivers it.
    ///
    /// # Errors
    /// The entry has no effect: 40400 for an unknown message, 40000 for an append of another type of data, 40009 for a
    /// message that becomes too large, 91003 for too many members.
    fn apply(
        &mut self,
        position: Position,
        proposal: Proposal,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorInfo> {
        let Proposal { channel: name, time, body } = proposal;
        let commit = Commit { position, time, at: turn.now.steady_at(time) };
        match body {
            Body::Messages(frame) => self.apply_messages(&name, commit, frame, turn),
            Body::Change(change) => self.apply_change(&name, commit, *change, turn)?,
            Body::Annotations(frame) => {
                let max_size = turn.settings.max_message_size;
                for at in self.apply_annotations(&name, commit, frame, turn) {
                    let body = Body::Summary(Summary { at, max_size });
                    self.propose(&name, body, Receipt::default(), turn)?;
                }
            }
            Body::Summary(summary) => self.apply_summary(&name, commit, summary, turn),
            Body::Presence(events) => self.apply_presence(&name, commit, events, turn)?,
            Body::Departure(departure) => self.apply_departure(&name, commit, departure, turn),
        }
        Ok(())
    }

    /// Appends an entry to the channel's log and sends it to the subscribers, if the channel exists.
    pub(super) fn append(&mut self, name: &str, entry: &Arc<Entry>, turn: &mut Turn<'_>) {
        if let Some(channel) = self.map.get_mut(name) {
            channel.commit(entry, turn);
            self.persisted.add(channel.newly_persisted());
        }
    }
}
