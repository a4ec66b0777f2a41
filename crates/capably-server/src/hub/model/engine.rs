//! A model of the engine that nodes share: a log for each channel, with positions and ids.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use capably_protocol::{Millis, Str};

use crate::engine::{Append, Appended, Direction, Entry, Position, Range, Thread};

/// How long an id is remembered, in ms. An engine promises no more.
pub(super) const REMEMBERED: Millis = 120_000;

/// The position before the first entry. Serials have a width for times of this century.
const START: u64 = 1_726_585_978_590_000;

/// The logs of channels, and the stored members.
#[derive(Debug, Default)]
pub(in crate::hub) struct ModelEngine {
    /// The number of entries so far.
    committed: u64,
    logs: BTreeMap<Str, ChannelLog>,
    pub(in crate::hub) snapshots: BTreeMap<Str, Bytes>,
}

#[derive(Debug, Default)]
struct ChannelLog {
    entries: Vec<Stored>,
    ids: HashMap<Box<str>, (Position, Millis)>,
}

#[derive(Debug)]
struct Stored {
    entry: Entry,
    threads: Vec<Thread>,
}

impl ModelEngine {
    /// Commits an entry, unless it is known by its id.
    pub(in crate::hub) fn append(&mut self, append: Append, now: Millis) -> Appended {
        let Append { channel, id, kind, threads, time, payload, .. } = append;
        let log = self.logs.entry(Str::from(&*channel.name)).or_default();
        if let Some(id) = &id
            && let Some((position, committed)) = log.ids.get(id)
            && now - committed <= REMEMBERED
        {
            return Appended { position: *position, repeated: true };
        }
        self.committed += 1;
        let position = Position(START + self.committed);
        if let Some(id) = id {
            log.ids.insert(id, (position, now));
        }
        let entry = Entry { position, kind, thread: None, time, payload };
        log.entries.push(Stored { entry, threads });
        Appended { position, repeated: false }
    }

    /// The positions after which and up to which the log of a channel is complete.
    pub(in crate::hub) fn bounds(&self, name: &str) -> (Position, Position) {
        let last = self.logs.get(name).and_then(|log| log.entries.last());
        (Position(0), last.map_or(Position(0), |last| last.entry.position))
    }

    /// The entries of a channel after a position, oldest first.
    pub(in crate::hub) fn after(
        &self,
        name: &str,
        position: Position,
    ) -> impl DoubleEndedIterator<Item = &Entry> + use<'_> {
        let entries = self.logs.get(name).map_or(&[][..], |log| &log.entries);
        let start = entries.partition_point(|stored| stored.entry.position <= position);
        entries[start..].iter().map(|stored| &stored.entry)
    }

    /// Reads entries.
    pub(in crate::hub) fn read(&self, name: &str, range: &Range) -> Vec<Entry> {
        let of_kind = |it: &&Entry| range.kind.is_none_or(|kind| it.kind == kind);
        let within = self.after(name, range.after).filter(|it| it.position <= range.until);
        let within = within.filter(of_kind);
        match range.direction {
            Direction::Forwards => within.take(range.limit).cloned().collect(),
            Direction::Backwards => within.rev().take(range.limit).cloned().collect(),
        }
    }

    /// The changes and annotations of messages.
    pub(in crate::hub) fn threads(
        &self,
        name: &str,
        first: Position,
        last: Position,
    ) -> Vec<Entry> {
        let stored = self.logs.get(name).map_or(&[][..], |log| &log.entries);
        let is_of = |thread: &Thread| (first..=last).contains(&thread.position);
        let found = stored.iter().filter(|it| it.threads.iter().any(is_of));
        found.map(|stored| stored.entry.clone()).collect()
    }
}
