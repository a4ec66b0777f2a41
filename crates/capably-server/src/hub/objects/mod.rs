//! The objects of a channel: their operations, and their states (RTO).
//!
//! `capably-objects` applies operations and has the values. Here are the checks of what clients send, and the frames and
//! records of the result.

mod check;
mod entry;
mod path;
mod request;
mod room;
mod snapshot;
mod sync;
mod view;

use capably_objects::{ObjectsPool, Source};
use capably_protocol::{Millis, ObjectMessage, object::ObjectOperationAction as Action};

use super::{ids::NodeId, log::position::Position};

pub(crate) use self::{
    check::{Creates, check_operations},
    entry::objects_entry,
    request::{NewObjects, Resolved, RestOperation, resolve},
    snapshot::{SnapshotDraft, SnapshotPart},
    sync::SyncPages,
    view::{ObjectView, ViewForm},
};

/// The shortest time between two searches for deleted objects to collect, in ms.
const COLLECT_INTERVAL: Millis = 60_000;

/// The objects of a channel, which all its nodes have in the same state after the same entry.
#[derive(Debug, Default)]
pub(crate) struct ChannelObjects {
    pool: ObjectsPool,
    /// The newest entry that was applied.
    position: Position,
    /// The time of the entry with which deleted objects were last collected, in ms since the epoch.
    collected: Millis,
    /// The time of the newest deletion since the last collection that left nothing deleted, in ms since the epoch.
    deleted: Option<Millis>,
    /// How much the channel has.
    estimate: room::Estimate,
    /// Whether this node has planned to look for objects to collect.
    pub(crate) is_collection_planned: bool,
    /// Whether this node has written the last snapshot that it knows of. It may have replaced a newer one, which another node
    /// wrote at the same time.
    pub(crate) has_written: bool,
    /// Set if the engine has no snapshot of the newest entries.
    pub(crate) unsaved: Option<Unsaved>,
}

/// Objects without a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsaved {
    /// This node writes the snapshot.
    Here,
    /// The node of the newest entry writes it, if it is alive by then.
    At(NodeId),
}

impl ChannelObjects {
    /// The objects.
    pub(crate) fn pool(&self) -> &ObjectsPool {
        &self.pool
    }

    /// The newest entry that was applied.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The time from which on nothing would be left to collect, in ms since the epoch. None if nothing is deleted.
    pub(crate) fn collectable_at(&self, grace: Millis) -> Option<Millis> {
        self.deleted.map(|at| at.saturating_add(grace))
    }

    /// Applies the operations of an entry. `time` is that of the entry, so that all nodes collect the same objects. An entry
    /// without operations is a collection.
    pub(crate) fn apply(
        &mut self,
        operations: &[ObjectMessage],
        (position, time): (Position, Millis),
        grace: Millis,
    ) {
        for operation in operations {
            self.estimate.grow(&self.pool, operation);
            // Clients ignore the same operations, so that their replicas agree with this one.
            let _ = self.pool.apply(operation, Source::Channel, time);
            if deletes(operation) {
                self.deleted = self.deleted.max(Some(time));
            }
        }
        self.position = self.position.max(position);
        let is_due = time.saturating_sub(self.collected) >= grace.min(COLLECT_INTERVAL);
        if is_due || operations.is_empty() {
            self.pool.collect(time, grace);
            self.collected = time;
            self.deleted = self.deleted.filter(|at| at.saturating_add(grace) > time);
        }
    }
}

/// Whether an operation can leave something deleted.
fn deletes(message: &ObjectMessage) -> bool {
    let action = message.operation.as_ref().and_then(|operation| operation.action);
    matches!(action, Some(Action::MapRemove | Action::ObjectDelete))
}
