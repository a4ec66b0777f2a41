//! The objects of channels in an engine: snapshots, and the entries after them.
//!
//! A snapshot is written a while after a change, long before the entries that it has may expire.

use std::{collections::BTreeSet, time::Duration};

use capably_protocol::{Millis, Str};

use super::{Channels, follow::StoredMembers};
use crate::hub::{
    Output, Turn,
    log::{
        position::Position,
        proposal::{Body, Operations, Proposal, Proposer},
    },
    objects::{ChannelObjects, SnapshotDraft, Unsaved, objects_entry},
};

/// How long entries with operations are stored at least. Nobody writes a snapshot while the server is down, so this is the
/// longest time for which it may be after it was killed within [`SNAPSHOT_AFTER`].
pub(super) const OBJECTS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// The time after which objects that have changed are written to a snapshot.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(60);

/// The time after which a snapshot that failed is written again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Channels whose objects are to be written to a snapshot.
#[derive(Debug, Default)]
pub(crate) struct UnsavedObjects {
    /// By the time.
    due: BTreeSet<(Duration, Str)>,
    /// Those whose snapshot is being written. No other is written meanwhile: the older one could come last.
    writing: BTreeSet<Str>,
    /// The app is deleted: nothing is written.
    is_ended: bool,
}

/// The end of the writing of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotEnd {
    Written,
    /// The engine had one that is as new.
    NotNeeded,
    Failed,
}

/// The state of a channel that was loaded, beside its entries.
#[derive(Debug, Default)]
pub(crate) struct StoredState {
    /// The members, if the engine is shared.
    pub(crate) members: StoredMembers,
    pub(crate) objects: StoredObjects,
}

impl From<StoredMembers> for StoredState {
    fn from(members: StoredMembers) -> Self {
        Self { members, ..Self::default() }
    }
}

/// The objects of a channel as they were read: a snapshot, and the entries after it.
#[derive(Debug, Default)]
pub(crate) struct StoredObjects {
    pub(crate) snapshot: Option<ChannelObjects>,
    pub(crate) later: Vec<(Position, Proposal)>,
}

impl StoredObjects {
    /// The objects, once there was an operation.
    pub(crate) fn fold(self, name: &Str) -> Option<ChannelObjects> {
        let Self { snapshot, later } = self;
        let mut objects = snapshot;
        for (position, Proposal { time, body, .. }) in later {
            let Body::Objects(Operations { frame, grace }) = body else { continue };
            let entry = objects_entry(name, frame, position, time, Duration::ZERO);
            let objects = objects.get_or_insert_default();
            objects.apply(entry.operations(), (position, time), millis(grace));
            objects.unsaved = Some(Unsaved::Here);
        }
        objects
    }
}

/// A time in ms.
pub(super) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

impl Channels {
    /// Sets the objects of a channel that was loaded.
    pub(super) fn restore_objects(&mut self, name: &Str, stored: StoredObjects, turn: &Turn<'_>) {
        let Some(objects) = stored.fold(name) else { return };
        let Some(channel) = self.map.get_mut(&**name) else { return };
        // The node of these entries may be gone.
        if objects.unsaved.is_some() {
            let due = turn.now.steady + SNAPSHOT_AFTER;
            self.unsaved.due.insert((due, channel.name.clone()));
        }
        channel.objects = Some(Box::new(objects));
        self.plan_collection(name, turn.now, turn.settings.objects_grace_period);
    }

    /// The objects of a channel have changed.
    pub(super) fn objects_changed(
        &mut self,
        name: &Str,
        proposer: Option<Proposer>,
        now: Duration,
    ) {
        if !self.has_engine() {
            return;
        }
        let me = self.node();
        let Some(channel) = self.map.get_mut(&**name) else { return };
        let Some(objects) = &mut channel.objects else { return };
        let unsaved = match proposer {
            Some(Proposer { node, .. }) if Some(node) != me => Unsaved::At(node),
            Some(_) | None => Unsaved::Here,
        };
        if objects.unsaved.replace(unsaved).is_none() {
            self.unsaved.due.insert((now + SNAPSHOT_AFTER, channel.name.clone()));
        }
    }

    /// Writes the snapshots that are due.
    pub(crate) fn handle_unsaved_objects(&mut self, turn: &mut Turn<'_>) {
        while let Some((due, _)) = self.unsaved.due.first()
            && *due <= turn.now.steady
        {
            let Some((_, name)) = self.unsaved.due.pop_first() else { return };
            if self.unsaved.writing.contains(&name) {
                self.unsaved.due.insert((turn.now.steady + RETRY_AFTER, name));
            } else if let Some(draft) = self.take_unsaved(&name) {
                turn.outputs.push(Output::SaveObjects(name, draft));
            }
        }
    }

    /// A snapshot that this node has to write before it ends, though it is not due yet.
    pub(crate) fn next_unwritten(&mut self) -> Option<(Str, SnapshotDraft)> {
        loop {
            let UnsavedObjects { due, writing, .. } = &mut self.unsaved;
            let next = due.iter().find(|(_, name)| !writing.contains(name)).cloned()?;
            due.remove(&next);
            let (_, name) = next;
            if let Some(draft) = self.take_unsaved(&name) {
                return Some((name, draft));
            }
        }
    }

    /// The snapshot of a channel's objects, if this node writes it.
    fn take_unsaved(&mut self, name: &Str) -> Option<SnapshotDraft> {
        let objects = self.map.get_mut(&**name)?.objects.as_mut()?;
        let (unsaved, has_written) = (objects.unsaved.take()?, objects.has_written);
        let is_writer = match unsaved {
            Unsaved::Here => true,
            Unsaved::At(node) => has_written || !self.alive_nodes().contains(&node),
        };
        if !is_writer || self.unsaved.is_ended {
            return None;
        }
        let draft = self.get(name)?.objects()?.snapshot();
        self.unsaved.writing.insert(name.clone());
        Some(draft)
    }

    /// A snapshot was written, or could not be. Then it is written again later.
    pub(crate) fn objects_saved(&mut self, name: &Str, end: SnapshotEnd, now: Duration) {
        self.unsaved.writing.remove(name);
        let objects = self.map.get_mut(&**name).and_then(|channel| channel.objects.as_mut());
        let Some(objects) = objects else { return };
        objects.has_written = end == SnapshotEnd::Written;
        if end == SnapshotEnd::Failed && !self.unsaved.is_ended && objects.unsaved.is_none() {
            objects.unsaved = Some(Unsaved::Here);
            self.unsaved.due.insert((now + RETRY_AFTER, name.clone()));
        }
    }

    /// Whether snapshots are being written.
    pub(crate) fn is_writing_objects(&self) -> bool {
        !self.unsaved.writing.is_empty()
    }

    /// The app is deleted. Its snapshots are removed, and none is written from here on.
    pub(crate) fn end_objects(&mut self) {
        self.unsaved.is_ended = true;
        self.unsaved.due.clear();
    }

    /// Whether the app is deleted.
    pub(crate) fn has_ended_objects(&self) -> bool {
        self.unsaved.is_ended
    }

    /// The time of the next snapshot.
    pub(crate) fn next_unsaved_objects(&self) -> Option<Duration> {
        self.unsaved.due.first().map(|(due, _)| *due)
    }
}
