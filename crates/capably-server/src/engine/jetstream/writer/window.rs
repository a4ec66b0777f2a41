//! The entries that are published and wait for their acknowledgement.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Waiting;

/// Published entries, in the order of their publishing.
#[derive(Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    /// The number of the first slot. Numbers are not used twice.
    first: u64,
}

struct Slot {
    state: Published,
    sent: Instant,
    /// The newest sequence that was acknowledged when the entry was published. Its own is higher, unless it repeats an
    /// earlier entry.
    floor: u64,
}

enum Published {
    Waiting(Waiting),
    /// The entry is resolved. Where an earlier one waits, the channel of a committed entry is still of interest.
    Resolved(Option<Box<str>>),
}

/// What became of a published entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Committed,
    Refused,
}

/// What was published before something went wrong.
pub(super) enum Unresolved {
    /// An entry that is not resolved.
    Waiting(Waiting),
    /// A committed entry of this channel.
    Committed(Box<str>),
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The time at which the oldest unresolved entry was published.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.slots.front().map(|slot| slot.sent)
    }

    /// Adds an entry. Returns its number.
    pub(super) fn push(&mut self, waiting: Waiting, floor: u64) -> u64 {
        let state = Published::Waiting(waiting);
        self.slots.push_back(Slot { state, sent: Instant::now(), floor });
        self.first + self.slots.len() as u64 - 1
    }

    /// Resolves the entry with a number. `None` if it is resolved already.
    pub(super) fn resolve(&mut self, number: u64, resolution: Resolution) -> Option<Waiting> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let slot = self.slots.get_mut(index)?;
        // The usual case: nothing before it waits.
        if index == 0 {
            let slot = self.slots.pop_front()?;
            self.first += 1;
            self.trim();
            return match slot.state {
                Published::Waiting(waiting) => Some(waiting),
                Published::Resolved(_) => None,
            };
        }
        let Published::Waiting(waiting) = &slot.state else { return None };
        let channel = (resolution == Resolution::Committed).then(|| waiting.item.channel().into());
        match std::mem::replace(&mut slot.state, Published::Resolved(channel)) {
            Published::Waiting(waiting) => Some(waiting),
            Published::Resolved(_) => None,
        }
    }

    /// Takes the oldest entry if its deadline is over.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Waiting> {
        let Slot { state: Published::Waiting(waiting), .. } = self.slots.front()? else {
            return None;
        };
        if waiting.deadline > now {
            return None;
        }
        self.resolve(self.first, Resolution::Refused)
    }

    /// Whether the entry with a number is in the window and not resolved.
    pub(super) fn has(&self, number: u64) -> bool {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let slot = index.and_then(|index| self.slots.get(index));
        matches!(slot, Some(Slot { state: Published::Waiting(_), .. }))
    }

    /// The ids of the unresolved entries.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().filter_map(|slot| match &slot.state {
            Published::Waiting(waiting) => Some(&*waiting.item.id),
            Published::Resolved(_) => None,
        })
    }

    /// All unresolved entries that were committed have a higher sequence.
    pub(super) fn floor(&self) -> u64 {
        self.slots.iter().map(|slot| slot.floor).min().unwrap_or(0)
    }

    /// Takes all entries, in the order of their publishing.
    pub(super) fn take(&mut self) -> Vec<Unresolved> {
        self.first += self.slots.len() as u64;
        let entries = self.slots.drain(..).filter_map(|slot| match slot.state {
            Published::Waiting(waiting) => Some(Unresolved::Waiting(waiting)),
            Published::Resolved(channel) => channel.map(Unresolved::Committed),
        });
        entries.collect()
    }

    /// Drops resolved entries at the front, so that the front always waits.
    fn trim(&mut self) {
        while let Some(Slot { state: Published::Resolved(_), .. }) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}
