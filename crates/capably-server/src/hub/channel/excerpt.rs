//! Excerpts: entries that were read from the engine, and what follows from them.

use std::{collections::BTreeSet, sync::Arc};

use capably_protocol::{Annotation, ErrorInfo, Message, PresenceMessage, Str};

use super::{
    Channel, Channels, Room, channels::NO_RETENTION, commit::Meanwhile, history::HistoryQuery,
    objects_stored::StoredState, view::View,
};
use crate::{
    engine,
    hub::{
        Now, Page, PageQuery, Settings, Turn,
        log::{
            Log,
            position::Position,
            proposal::{Body, Place, Proposal},
        },
        message::change::Changes,
        presence::Presence,
    },
};

/// The entries of a channel between two positions, folded.
#[derive(Debug)]
pub(crate) struct Excerpt {
    channel: Channel,
    /// The excerpt is complete up to this position.
    end: Position,
}

/// The entries of an excerpt before they are folded. Entries that cannot be read are left out: the others must still reach
/// the clients.
#[derive(Debug)]
pub(crate) struct Records {
    channel: Str,
    /// In their order.
    proposals: Vec<(Position, Proposal)>,
    /// The position of the last entry of the excerpt, readable or not.
    end: Position,
    /// The entries that cannot be read, and why.
    damaged: Vec<(Position, String)>,
}

impl Records {
    /// Reads the entries of the excerpt.
    pub(crate) fn read(channel: &Str, entries: Vec<engine::Entry>) -> Self {
        let end = entries.iter().map(|entry| entry.position).max().unwrap_or_default();
        let (proposals, damaged) = (Vec::new(), Vec::new());
        let mut records = Self { channel: channel.clone(), proposals, end, damaged };
        records.add(entries);
        records
    }

    /// Adds entries, for the state that the others depend on.
    pub(crate) fn add(&mut self, entries: Vec<engine::Entry>) {
        for entry in entries {
            match Proposal::decode(&self.channel, entry.time, &entry.payload) {
                Ok(proposal) => self.proposals.push((entry.position, proposal)),
                Err(reason) => self.damaged.push((entry.position, reason)),
            }
        }
        self.proposals.sort_by_key(|(position, _)| *position);
        self.proposals.dedup_by_key(|(position, _)| *position);
    }

    /// The entries that cannot be read, and why.
    pub(crate) fn damaged(&self) -> &[(Position, String)] {
        &self.damaged
    }

    /// Drops the entries after a position.
    pub(crate) fn truncate(&mut self, until: Position) {
        self.proposals.retain(|(position, _)| *position <= until);
    }

    /// The entries, in their order.
    pub(crate) fn into_proposals(self) -> Vec<(Position, Proposal)> {
        self.proposals
    }

    /// The positions of the entries.
    pub(crate) fn positions(&self) -> BTreeSet<Position> {
        self.proposals.iter().map(|(position, _)| *position).collect()
    }

    /// The first and the last message that the entries create, for finding what changes them.
    pub(crate) fn created(&self) -> Option<(Position, Position)> {
        let created = self.proposals.iter().filter(|(_, it)| matches!(it.body, Body::Messages(_)));
        let mut positions = created.map(|(position, _)| *position);
        let first = positions.next()?;
        Some((first, positions.next_back().unwrap_or(first)))
    }

    /// The messages that the entries change, annotate or summarize, and that are not among them.
    pub(crate) fn missing(&self) -> BTreeSet<Place> {
        let known = self.positions();
        let mut missing = BTreeSet::new();
        for (_, proposal) in &self.proposals {
            match &proposal.body {
                Body::Change(change) => missing.extend([change.at]),
                Body::Summary(summary) => missing.extend([summary.at]),
                Body::Annotations(frame) => {
                    missing.extend(frame.items.iter().filter_map(|item| {
                        Position::parse_message(item.message_serial.as_deref()?)
                    }))
                }
                Body::Messages(_)
                | Body::Presence(_)
                | Body::Departure(_)
                | Body::Adoption(_)
                | Body::Objects(_) => {}
            }
        }
        missing.retain(|(position, _)| !known.contains(position));
        missing
    }

    /// Folds the entries. Those at `positions` are the excerpt, which is complete after `floor`; the others only give the
    /// state that these depend on.
    pub(crate) fn fold(
        self,
        positions: &BTreeSet<Position>,
        floor: Position,
        settings: &Settings,
        now: Now,
    ) -> Excerpt {
        let Self { channel: name, proposals, end, damaged: _ } = self;
        let room = Room::new(None, usize::MAX);
        let mut channels = Channels::replaying(room);
        channels.insert(Channel::new(name.clone(), NO_RETENTION, channels.new_log(Position(0))));
        let mut outputs = Vec::new();
        for (position, proposal) in proposals {
            let turn = &mut Turn { now, settings, outputs: &mut outputs };
            // An entry that was refused when it was committed is refused again.
            let _ = channels.apply(position, proposal, turn);
        }
        let mut log = channels.new_log(floor);
        let channel = channels.map.remove(&*name).map(|channel| *channel);
        let mut channel =
            channel.unwrap_or_else(|| Channel::new(name, NO_RETENTION, channels.new_log(floor)));
        for entry in channel.log.iter() {
            if positions.contains(&entry.position()) {
                log.append(Arc::clone(entry));
            } else if entry.is_creation() {
                channel.older.insert(entry.position(), Some(Arc::clone(entry)));
            }
        }
        channel.log = log;
        // Whoever reads on must not meet the last entry again, if that cannot be read.
        let end = channel.log.last().max(end);
        Excerpt { channel, end }
    }
}

impl Excerpt {
    /// The position up to which the excerpt is complete.
    pub(super) fn end(&self) -> Position {
        self.end
    }

    /// The same excerpt, which is known to be complete up to `end`.
    pub(crate) fn up_to(self, end: Position) -> Self {
        Self { end: self.end.max(end), ..self }
    }

    /// The changes and annotations of the messages.
    pub(super) fn changes(&self) -> &Changes {
        &self.channel.changes
    }

    /// The log.
    pub(crate) fn log(&self) -> &Log {
        &self.channel.log
    }

    /// A page of the messages, each in its latest version.
    ///
    /// # Errors
    /// Code 40003 for an invalid serial in the query.
    pub(crate) fn history(
        &self,
        view: Option<&View>,
        query: &HistoryQuery,
    ) -> Result<Page<Message>, ErrorInfo> {
        self.channel.history(view, query)
    }

    /// The latest version of a message.
    pub(crate) fn message(&self, serial: &str) -> Option<Message> {
        self.channel.latest(serial).map(|(_, message)| message)
    }

    /// A page of the versions of a message.
    pub(crate) fn versions(&self, serial: &str, query: &PageQuery) -> Option<Page<Message>> {
        self.channel.versions(serial, query)
    }

    /// A page of the annotations of a message.
    ///
    /// # Errors
    /// Code 40400 for an unknown message.
    pub(crate) fn annotations(
        &self,
        serial: &str,
        query: &PageQuery,
    ) -> Result<Page<Annotation>, ErrorInfo> {
        self.channel.annotations(serial, query)
    }

    /// The position before the newest `count` messages.
    pub(crate) fn rewind_count(&self, count: usize) -> Position {
        self.channel.log.rewind_count(count)
    }
}

impl Channels {
    /// Begins to load a channel: entries that are committed from here on are kept for it. When there are too many, the load
    /// has no effect, and begins again when the channel is needed.
    pub(crate) fn begin_load(&mut self, name: &Str) {
        self.loading.entry(name.clone()).or_default();
    }

    /// Ends the loading of a channel that could not be read.
    pub(crate) fn abandon_load(&mut self, name: &Str) {
        self.loading.remove(name);
        if self.node().is_some() {
            self.dropped.push(name.clone());
        }
    }

    /// Adds a channel that was loaded up to `last`. `stored` is the position after which the engine is complete.
    pub(crate) fn finish_load(
        &mut self,
        name: &Str,
        excerpt: Excerpt,
        (stored, last): (Position, Position),
        state: StoredState,
        turn: &mut Turn<'_>,
    ) {
        let StoredState { members, objects } = state;
        let Some(Meanwhile { entries: meanwhile, .. }) = self.loading.remove(name) else {
            // There were too many entries. The channel is followed again when it is loaded again.
            return self.abandon_load(name);
        };
        if self.map.contains_key(&**name) {
            return;
        }
        let retention = self.retention_of(name);
        let mut log = self.new_log(excerpt.channel.log.floor());
        excerpt.channel.log.iter().for_each(|entry| log.append(Arc::clone(entry)));
        let last = if self.node().is_some() { last } else { log.last() };
        self.order.applied(log.last());
        let mut channel = Channel::new(name.clone(), retention, log);
        channel.stored = Some(stored);
        channel.changes = excerpt.channel.changes;
        channel.older = excerpt.channel.older;
        self.insert(channel);
        self.restore_objects(name, objects, turn);
        self.start_following(name, last, members);
        for (position, proposal) in meanwhile.into_iter().filter(|(it, _)| *it > last) {
            if self.node().is_some() {
                self.enqueue(position, proposal, turn);
            } else {
                self.catch_up(position, proposal, turn);
            }
        }
    }

    /// Adds a message that is not among the entries in memory, or that does not exist.
    pub(crate) fn add_message(
        &mut self,
        name: &Str,
        at: Place,
        excerpt: Option<Excerpt>,
        turn: &mut Turn<'_>,
    ) {
        self.insert_message(name, at, excerpt);
        self.resume_stalled(name, turn);
    }

    fn insert_message(&mut self, name: &Str, at: Place, excerpt: Option<Excerpt>) {
        let Some(channel) = self.map.get_mut(&**name) else { return };
        if channel.knows(at) {
            return;
        }
        let Some(excerpt) = excerpt else {
            channel.older.insert(at.0, None);
            return;
        };
        let found = excerpt.channel.log.get(at.0).cloned();
        channel.older.insert(at.0, found);
        for (place, changed) in excerpt.channel.changes {
            channel.changes.entry(place).or_insert(changed);
        }
    }
}

#[cfg(test)]
impl Channels {
    /// The number of entries that are kept for a channel that is being loaded.
    pub(crate) fn kept(&self, name: &str) -> Option<usize> {
        self.loading.get(name).map(|meanwhile| meanwhile.entries.len())
    }

    /// The number of entries of a channel that is in memory.
    pub(crate) fn loaded(&self, name: &str) -> Option<usize> {
        self.map.get(name).map(|channel| channel.log.iter().count())
    }
}

impl Channel {
    /// Keeps the message at this place in memory until its change is committed.
    pub(super) fn pin(&mut self, at: Place) {
        if self.stored.is_some()
            && !self.older.contains_key(&at.0)
            && let Some(entry) = self.log.get(at.0)
        {
            self.older.insert(at.0, Some(Arc::clone(entry)));
        }
    }

    /// Whether the message at this place is in memory, or is known not to exist.
    pub(super) fn knows(&self, at: Place) -> bool {
        at.0 > self.log.floor() || self.older.contains_key(&at.0)
    }

    /// Whether all entries of the channel are in memory.
    pub(super) fn is_complete(&self) -> bool {
        self.stored.is_none_or(|stored| self.log.floor() <= stored)
    }

    /// Drops messages that were fetched or kept for changes. None of these may be waiting for the engine.
    pub(super) fn drop_older(&mut self) {
        let floor = self.log.floor();
        let dropped = std::mem::take(&mut self.older).into_keys();
        for position in dropped.filter(|position| *position <= floor) {
            let messages = (position, 0)..=(position, usize::MAX);
            let places: Vec<Place> =
                self.changes.range(messages).map(|(place, _)| *place).collect();
            for place in places {
                self.changes.remove(&place);
            }
        }
    }
}

/// The presence events of an excerpt, with the members that every channel of the app begins with.
pub(crate) fn presence_page(
    presence: &Presence,
    channel: &str,
    excerpt: &Excerpt,
    query: &PageQuery,
) -> Page<PresenceMessage> {
    presence.history(channel, Some(excerpt.log()), query)
}
