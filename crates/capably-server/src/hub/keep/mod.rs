//! What outlives the process: which changes of it the front is asked to keep, and the way back.
//!
//! An app that keeps nothing, the usual one, does none of this.

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

/// How many entries a log drops before the storage does, too.
const TRIM_AFTER: usize = 10_000;

/// How far an app has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(Position);

/// The places of the serials of an app: the last one given, and the newest that was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serials {
    pub(crate) last: Position,
    pub(crate) forgotten: Position,
}

/// What is known of the kept side of an app's channels.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    /// The serials as they were last handed out to be kept.
    serials: Option<Serials>,
}

/// What is known of the kept side of a channel.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The floor of the log that was last handed out to be kept.
    floor: Option<Position>,
    /// How many entries the log has dropped since.
    dropped: usize,
    /// Set while entries are stored that are not in memory any more.
    pub(crate) evicted: Option<Evicted>,
}

/// The entries of a channel that only its storage has: those before its log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evicted {
    /// Everything after this position is stored.
    floor: Position,
    /// When the newest of them was published, by the steady clock.
    newest: Duration,
    /// How many there are, and how many bytes they have, about.
    entries: usize,
    bytes: usize,
}

impl Kept {
    fn stored(floor: Option<Position>) -> Self {
        Self { floor, dropped: 0, evicted: None }
    }

    /// The log has dropped its oldest entry, which need not be stored any longer; nor need older ones.
    pub(crate) fn drop_entry(&mut self) {
        self.dropped += 1;
        self.evicted = None;
    }

    /// The log, which began after `floor`, has dropped an entry to make room: it is still to be stored.
    pub(crate) fn evict(&mut self, floor: Position, entry: &Entry) {
        let none = Evicted { floor, newest: Duration::ZERO, entries: 0, bytes: 0 };
        let evicted = self.evicted.get_or_insert(none);
        evicted.newest = entry.at();
        evicted.entries += 1;
        evicted.bytes += entry.size();
    }

    /// Entries that are older than is kept, or with those in the log more than is, need not be stored any longer.
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
    /// From now on, whatever should outlive the process is put out as [`Output::Keep`].
    pub(crate) fn keep(&mut self) {
        self.channels.keeping = Some(Keeping::default());
    }

    /// The app is no more: nothing of it is kept.
    pub(crate) fn forget(&mut self, outputs: &mut Vec<Output>) {
        if self.channels.keeping.take().is_some() {
            self.channels.each(|channel| channel.kept = None);
            outputs.push(Output::Keep(Record::removal()));
        }
    }

    /// Puts out how far the serials have come, if that is to be kept.
    pub(crate) fn keep_serials(&mut self, outputs: &mut Vec<Output>) {
        let serials = self.channels.serials();
        if let Some(keeping) = &mut self.channels.keeping
            && keeping.serials != Some(serials)
        {
            keeping.serials = Some(serials);
            outputs.push(Output::Keep(Record::serials(serials)));
        }
    }

    /// How far the app has come.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.channels.last_position())
    }

    /// Puts out what has been revoked, if that is to be kept.
    pub(crate) fn keep_revocations(&self, outputs: &mut Vec<Output>) {
        if self.channels.keeping.is_some() {
            outputs.push(Output::Keep(Record::revocations(&self.access.revocations)));
        }
    }
}

impl Channels {
    /// For a channel that is being made.
    pub(crate) fn new_kept(&self) -> Option<Kept> {
        self.keeping.is_some().then(Kept::default)
    }
}

impl Channel {
    /// Puts out a new entry of the log, if it is to be kept.
    pub(crate) fn keep(&mut self, entry: &Arc<Entry>, outputs: &mut Vec<Output>) {
        let Some(kept) = &self.kept else { return };
        outputs.push(Output::Keep(Record::entry(Arc::clone(entry))));
        if kept.floor.is_none() || kept.dropped >= TRIM_AFTER {
            self.trim_kept(outputs);
        }
    }

    /// Puts out where the log begins by now, if it is kept.
    pub(crate) fn trim_kept(&mut self, outputs: &mut Vec<Output>) {
        let Some(kept) = &mut self.kept else { return };
        let floor = kept.evicted.map_or(self.log.floor(), |evicted| evicted.floor);
        if kept.floor == Some(floor) {
            return;
        }
        *kept = Kept { evicted: kept.evicted, ..Kept::stored(Some(floor)) };
        outputs.push(Output::Keep(Record::floor(self.name.clone(), floor)));
    }

    /// Nothing of the channel is kept any more.
    pub(crate) fn forget_kept(&self, outputs: &mut Vec<Output>) {
        if self.kept.as_ref().is_some_and(|kept| kept.floor.is_some()) {
            outputs.push(Output::Keep(Record::forgotten_channel(self.name.clone())));
        }
    }
}
