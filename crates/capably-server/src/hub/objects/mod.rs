//! The objects of a channel: their operations, and their states (RTO).
//!
//! `capably-objects` applies operations and has the values. Here are the checks of what clients send, and the frames and
//! records of the result.

mod check;
mod entry;
mod sync;

use capably_objects::{ObjectsPool, Source};
use capably_protocol::{Millis, ObjectMessage};

pub(crate) use self::{
    check::check_operations,
    entry::objects_entry,
    sync::{page_size, sync_frames},
};

/// The shortest time between two searches for deleted objects to collect, in ms.
const COLLECT_INTERVAL: Millis = 60_000;

/// The objects of a channel, which all its nodes have in the same state after the same entry.
#[derive(Debug, Default)]
pub(crate) struct ChannelObjects {
    pool: ObjectsPool,
    /// The time of the entry with which deleted objects were last collected, in ms since the epoch.
    collected: Millis,
}

impl ChannelObjects {
    /// The objects.
    pub(crate) fn pool(&self) -> &ObjectsPool {
        &self.pool
    }

    /// Applies the operations of an entry. `time` is that of the entry, so that all nodes collect the same objects.
    pub(crate) fn apply(&mut self, operations: &[ObjectMessage], time: Millis, grace: Millis) {
        for operation in operations {
            // Clients ignore the same operations, so that their replicas agree with this one.
            let _ = self.pool.apply(operation, Source::Channel, time);
        }
        if time.saturating_sub(self.collected) >= grace.min(COLLECT_INTERVAL) {
            self.pool.collect(time, grace);
            self.collected = time;
        }
    }
}
