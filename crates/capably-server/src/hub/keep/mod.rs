//! Persistence: the records that the front is to persist, and restoring an app from them.
//!
//! An app without a storage, the usual case, outputs no records.

mod read;
mod record;
mod restore;
mod spec;
mod withdraw;

use std::{sync::Arc, time::Duration};

use super::{
    App, Output,
    channel::{Channel, Channels},
    log::{Entry, Log, Retention, position::Position},
};

pub(crate) use self::{
    read::{Reader, Saved, Stored, version},
    record::Record,
};

/// The number of entries that a log drops before they are removed from the storage, too.
const TRIM_AFTER: usize = 10_000;

/// The newest position of an app at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(Position);

/// The state of an app's serials: the last position, and the newest floor of the dropped channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serials {
    pub(crate) last: Position,
    pub(crate) forgotten: Position,
}

/// The state of an app's records.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// The serials of the last record.
    serials: Option<Serials>,
}

/// The state of a channel's records.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The floor of the last record.
    floor: Option<Position>,
    /// The number of entries that the log has dropped since.
    dropped: usize,
    /// Set while the storage has entries that are not in memory.
    pub(crate) evicted: Option<Evicted>,
}

/// The entries of a channel before its log. Only the storage has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evicted {
    /// The storage is complete after this position.
    floor: Position,
    /// The time of the newest of them, by the steady clock.
    newest: Duration,
    /// The number of entries, and their approximate size in bytes.
    entries: usize,
    bytes: usize,
}

impl Kept {
    fn stored(floor: Option<Position>) -> Self {
        Self { floor, dropped: 0, evicted: None }
    }

    /// The log has dropped its oldest entry as expired. The storage need not have it any longer, nor older entries.
    pub(crate) fn drop_entry(&mut self) {
        self.dropped += 1;
        self.evicted = None;
    }

    /// The log, which began after `floor`, has dropped an entry to make room. The storage is still to have it.
    pub(crate) fn evict(&mut self, floor: Position, entry: &Entry) {
        let none = Evicted { floor, newest: Duration::ZERO, entries: 0, bytes: 0 };
        let evicted = self.evicted.get_or_insert(none);
        evicted.newest = entry.at();
        evicted.entries += 1;
        evicted.bytes += entry.size();
    }

    /// Drops the evicted entries if they are too old, or too many together with those of the log.
    pub(crate) fn expire(&mut self, retention: &Retention, log: &Log, now: Duration) {
        let is_over = |Evicted { newest, entries, bytes, .. }: Evicted| {
            now.saturating_sub(newest) > retention.age
                || entries + log.len() > retention.frames
                || bytes + log.bytes() > retention.bytes
        };
        if let Some(evicted) = self.evicted.take_if(|evicted| is_over(*evicted)) {
            self.dropped += evicted.entries;
        }
    }
}

impl App {
    /// Starts to output records, as [`Output::Keep`].
    pub(crate) fn keep(&mut self) {
        self.channels.keeping = Some(Keeping::default());
    }

    /// Outputs a record that removes the app, and no records after it.
    pub(crate) fn forget(&mut self, outputs: &mut Vec<Output>) {
        if self.channels.keeping.take().is_some() {
            self.channels.each(|channel| channel.kept = None);
            outputs.push(Output::Keep(Record::removal()));
        }
    }

    /// Outputs the serials, if they have changed.
    pub(crate) fn keep_serials(&mut self, outputs: &mut Vec<Output>) {
        let serials = self.channels.serials();
        if let Some(keeping) = &mut self.channels.keeping
            && keeping.serials != Some(serials)
        {
            keeping.serials = Some(serials);
            outputs.push(Output::Keep(Record::serials(serials)));
        }
    }

    /// The newest position.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.channels.last_position())
    }

    /// Outputs the revocations.
    pub(crate) fn keep_revocations(&self, outputs: &mut Vec<Output>) {
        if self.channels.keeping.is_some() {
            outputs.push(Output::Keep(Record::revocations(&self.access.revocations)));
        }
    }
}

impl Channels {
    /// The state for a new channel.
    pub(crate) fn new_kept(&self) -> Option<Kept> {
        self.keeping.is_some().then(Kept::default)
    }
}

impl Channel {
    /// Outputs a new entry of the log.
    pub(crate) fn keep(&mut self, entry: &Arc<Entry>, outputs: &mut Vec<Output>) {
        let Some(kept) = &self.kept else { return };
        outputs.push(Output::Keep(Record::entry(Arc::clone(entry))));
        if kept.floor.is_none() || kept.dropped >= TRIM_AFTER {
            self.trim_kept(outputs);
        }
    }

    /// Outputs the floor of the log, so that the storage drops the entries before it.
    pub(crate) fn trim_kept(&mut self, outputs: &mut Vec<Output>) {
        let Some(kept) = &mut self.kept else { return };
        let floor = kept.evicted.map_or(self.log.floor(), |evicted| evicted.floor);
        if kept.floor == Some(floor) {
            return;
        }
        *kept = Kept { evicted: kept.evicted, ..Kept::stored(Some(floor)) };
        outputs.push(Output::Keep(Record::floor(self.name.clone(), floor)));
    }

    /// Outputs a record that removes the channel.
    pub(crate) fn forget_kept(&self, outputs: &mut Vec<Output>) {
        if self.kept.as_ref().is_some_and(|kept| kept.floor.is_some()) {
            outputs.push(Output::Keep(Record::forgotten_channel(self.name.clone())));
        }
    }
}
