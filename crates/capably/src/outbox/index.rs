//! The entries of a store by their sequence numbers, and their sum.

use std::{collections::BTreeMap, ops::Bound};

use capably_protocol::Millis;

use super::OutboxUsage;

/// The entries of a store. `T` is how the store finds the payload of an entry.
#[derive(Debug)]
pub(super) struct Index<T> {
    waiting: BTreeMap<u64, Indexed<T>>,
    refused: BTreeMap<u64, Indexed<T>>,
    usage: OutboxUsage,
    next_seq: u64,
    /// Entries up to here are marked as sent.
    marked: u64,
}

/// An entry in an [`Index`].
#[derive(Clone, Debug)]
pub(super) struct Indexed<T> {
    pub(super) accepted_at: Millis,
    pub(super) sent_at: Option<Millis>,
    pub(super) size: u32,
    pub(super) place: T,
}

impl<T> Index<T> {
    pub(super) fn new(next_seq: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            refused: BTreeMap::new(),
            usage: OutboxUsage::default(),
            next_seq,
            marked: 0,
        }
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn usage(&self) -> OutboxUsage {
        let oldest = self.waiting.first_key_value().map(|(_, entry)| entry.accepted_at);
        OutboxUsage { oldest, ..self.usage }
    }

    pub(super) fn accept(&mut self, seq: u64, entry: Indexed<T>) {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        self.usage.entries += 1;
        self.usage.bytes += u64::from(entry.size);
        self.waiting.insert(seq, entry);
    }

    pub(super) fn sent(&mut self, through: u64, at: Millis) {
        if through <= self.marked {
            return;
        }
        let range = (Bound::Excluded(self.marked), Bound::Included(through));
        for (_, entry) in self.waiting.range_mut(range) {
            entry.sent_at.get_or_insert(at);
        }
        self.marked = through;
    }

    /// Returns the entry, if there was one.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Indexed<T>> {
        if let Some(entry) = self.waiting.remove(&seq) {
            self.usage.entries -= 1;
            self.usage.bytes -= u64::from(entry.size);
            return Some(entry);
        }
        let entry = self.refused.remove(&seq)?;
        self.usage.refused_entries -= 1;
        self.usage.refused_bytes -= u64::from(entry.size);
        Some(entry)
    }

    /// Moves an entry to the refused ones, at another place.
    pub(super) fn refuse(&mut self, seq: u64, place: impl FnOnce(T) -> T) {
        let Some(entry) = self.remove(seq) else { return };
        self.usage.refused_entries += 1;
        self.usage.refused_bytes += u64::from(entry.size);
        let Indexed { accepted_at, sent_at, size, place: old } = entry;
        self.refused.insert(seq, Indexed { accepted_at, sent_at, size, place: place(old) });
    }

    /// The waiting entries above a sequence number.
    pub(super) fn above(&self, seq: u64) -> impl Iterator<Item = (u64, &Indexed<T>)> {
        let range = (Bound::Excluded(seq), Bound::Unbounded);
        self.waiting.range(range).map(|(seq, entry)| (*seq, entry))
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = (u64, &Indexed<T>)> {
        self.refused.iter().map(|(seq, entry)| (*seq, entry))
    }

    /// All entries, refused or not, in their order.
    pub(super) fn all_mut(&mut self) -> Vec<(u64, bool, &mut Indexed<T>)> {
        let waiting = self.waiting.iter_mut().map(|(seq, entry)| (*seq, false, entry));
        let refused = self.refused.iter_mut().map(|(seq, entry)| (*seq, true, entry));
        let mut all: Vec<_> = waiting.chain(refused).collect();
        all.sort_by_key(|(seq, ..)| *seq);
        all
    }
}

/// Takes as many entries as fit: at least one.
pub(super) fn fitting<'a, T: 'a>(
    entries: impl Iterator<Item = (u64, &'a Indexed<T>)>,
    count: usize,
    bytes: usize,
) -> impl Iterator<Item = (u64, &'a Indexed<T>)> {
    let mut total = 0;
    entries.take(count.max(1)).take_while(move |(_, entry)| {
        let first = total == 0;
        total += (entry.size as usize).max(1);
        first || total <= bytes
    })
}
