//! A store in memory, for tests.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{
    Outbox, OutboxChange, OutboxEntry, OutboxUsage,
    index::{Index, Indexed, fitting},
};
use crate::{Result, sync::lock};

/// A store in memory, for tests: it survives the client, but not the process.
///
/// Clones have the same contents, so that a test can give them to a second client once the first one has ended.
#[derive(Clone, Debug)]
pub struct MemoryOutbox(Arc<Mutex<Index<Stored>>>);

#[derive(Clone, Debug)]
struct Stored {
    payload: Bytes,
    reason: Bytes,
}

impl MemoryOutbox {
    /// An empty store.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Index::new(1))))
    }
}

impl Default for MemoryOutbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox for MemoryOutbox {
    fn usage(&self) -> OutboxUsage {
        lock(&self.0).usage()
    }

    fn next_seq(&self) -> u64 {
        lock(&self.0).next_seq()
    }

    fn write(&mut self, changes: &[OutboxChange]) -> Result<()> {
        let mut index = lock(&self.0);
        for change in changes {
            match change {
                OutboxChange::Accept(entry) => {
                    let OutboxEntry { seq, accepted_at, sent_at, payload } = entry.clone();
                    let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                    let place = Stored { payload, reason: Bytes::new() };
                    index.accept(seq, Indexed { accepted_at, sent_at, size, place });
                }
                OutboxChange::Sent { through, at } => index.sent(*through, *at),
                OutboxChange::Remove(seq) => {
                    index.remove(*seq);
                }
                OutboxChange::Refuse { seq, reason } => {
                    index.refuse(*seq, |stored| Stored { reason: reason.clone(), ..stored });
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, above: u64, entries: usize, bytes: usize) -> Result<Vec<OutboxEntry>> {
        let index = lock(&self.0);
        Ok(fitting(index.above(above), entries, bytes)
            .map(|(seq, entry)| entry_of(seq, entry))
            .collect())
    }

    fn refused(&mut self) -> Result<Vec<(OutboxEntry, Bytes)>> {
        let index = lock(&self.0);
        let refused = index.refused();
        Ok(refused.map(|(seq, entry)| (entry_of(seq, entry), entry.place.reason.clone())).collect())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

fn entry_of(seq: u64, entry: &Indexed<Stored>) -> OutboxEntry {
    let Indexed { accepted_at, sent_at, place, .. } = entry;
    let payload = place.payload.clone();
    OutboxEntry { seq, accepted_at: *accepted_at, sent_at: *sent_at, payload }
}
