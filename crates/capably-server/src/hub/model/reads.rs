//! Reads of the front: what it fetches from the engine for a hub, as `front/app/fetch.rs` does.

use capably_protocol::Str;

use super::engine::ModelEngine;
use crate::{
    engine::{Direction, Entry, Kind, Range},
    hub::{App, Excerpt, Members, Now, Place, Position, Records, StoredMembers},
};

/// The end of a channel.
pub(in crate::hub) const LAST: Position = Position(u64::MAX);

/// Reads a channel for a hub.
pub(in crate::hub) struct Reader<'a> {
    pub(in crate::hub) engine: &'a ModelEngine,
    pub(in crate::hub) app: &'a App,
    pub(in crate::hub) name: Str,
    pub(in crate::hub) now: Now,
}

impl Reader<'_> {
    /// The newest entries up to `last`, `limit` at most.
    pub(in crate::hub) fn tail(&self, last: Position, limit: usize) -> Excerpt {
        let range = Range {
            after: Position(0),
            until: last,
            kind: None,
            direction: Direction::Backwards,
            limit,
            max_bytes: usize::MAX,
        };
        let mut entries = self.engine.read(&self.name, &range);
        entries.reverse();
        let start = match entries.first() {
            Some(first) => {
                let before = Position(first.position.0 - 1);
                let earlier = Range { until: before, limit: 1, ..range };
                let is_first = self.engine.read(&self.name, &earlier).is_empty();
                if is_first { Position(0) } else { before }
            }
            None => last,
        };
        self.excerpt(entries, start, Some(last))
    }

    /// The members up to `last`: the newest snapshot, and the entries after it.
    pub(in crate::hub) fn members(&self, last: Position) -> StoredMembers {
        let snapshot = self.engine.snapshots.get(&self.name);
        let snapshot = snapshot.map(|it| Members::decode(it).expect("a snapshot that was written"));
        let snapshot = snapshot.filter(|it| it.position() <= last);
        let after = snapshot.as_ref().map_or(Position(0), Members::position);
        let range = Range {
            after,
            until: last,
            kind: Some(Kind::Presence),
            direction: Direction::Forwards,
            limit: usize::MAX,
            max_bytes: usize::MAX,
        };
        let later = self.records(self.engine.read(&self.name, &range)).into_proposals();
        StoredMembers { snapshot, later }
    }

    /// A message with its changes and annotations up to a position.
    pub(in crate::hub) fn message(&self, (position, _): Place, until: Position) -> Option<Excerpt> {
        let entries = self.entry_at(position);
        if !entries.iter().any(|entry| entry.kind == Kind::Messages) {
            return None;
        }
        Some(self.excerpt(entries, Position(position.0 - 1), Some(until)))
    }

    /// The entries between two positions for a client that is behind, `limit` at most.
    pub(in crate::hub) fn entries(
        &self,
        after: Position,
        until: Position,
        limit: usize,
    ) -> Excerpt {
        let range = Range {
            after,
            until,
            kind: None,
            direction: Direction::Forwards,
            limit,
            max_bytes: usize::MAX,
        };
        let entries = self.engine.read(&self.name, &range);
        let is_end = entries.is_empty();
        let excerpt = self.excerpt(entries, after, Some(LAST));
        if is_end { excerpt.up_to(until) } else { excerpt }
    }

    pub(in crate::hub) fn excerpt(
        &self,
        entries: Vec<Entry>,
        floor: Position,
        changes: Option<Position>,
    ) -> Excerpt {
        let mut records = self.records(entries);
        let positions = records.positions();
        if self.app.is_mutable(&self.name) {
            if changes.is_some()
                && let Some((first, last)) = records.created()
            {
                self.add(&mut records, self.engine.threads(&self.name, first, last));
            }
            for (position, _) in records.missing() {
                self.add(&mut records, self.entry_at(position));
                self.add(&mut records, self.engine.threads(&self.name, position, position));
            }
            if let Some(until) = changes {
                records.truncate(until);
            }
        }
        records.fold(&positions, floor, &self.app.settings, self.now)
    }

    fn entry_at(&self, position: Position) -> Vec<Entry> {
        let range = Range {
            after: Position(position.0.saturating_sub(1)),
            until: position,
            kind: None,
            direction: Direction::Forwards,
            limit: 1,
            max_bytes: 0,
        };
        self.engine.read(&self.name, &range)
    }

    fn records(&self, entries: Vec<Entry>) -> Records {
        Records::read(&self.name, entries)
    }

    fn add(&self, records: &mut Records, entries: Vec<Entry>) {
        records.add(entries);
    }
}
