//! The objects of channels: requests, and their snapshots.
//!
//! A snapshot is stored in parts. The first part is found by the name of the channel. The others have the position of the snapshot in their keys, so that
//! a snapshot is whole for as long as its first part is there.

use capably_protocol::{ErrorInfo, Str};

use super::{
    AppHandle,
    fetch::{PAGE, PAGE_BYTES, failed},
    log::Log,
};
use crate::{
    engine::{Bucket, Direction, EngineError, Kind, Range},
    front::random,
    hub::{
        Accepted, App, ChannelObjects, NewObjects, Now, ObjectView, Position, Records,
        RestOperation, SnapshotDraft, SnapshotEnd, SnapshotPart, StoredObjects, ViewForm,
        auth::Identity, error,
    },
};

/// The most parts of earlier snapshots that are read at once, to remove them.
const REMOVED: usize = 16;

/// How often a snapshot is read that another node replaces meanwhile.
const ATTEMPTS: usize = 3;

impl AppHandle {
    /// Publishes the operations of a request on objects. Waits until they are committed. Returns the objects that the answer
    /// names, too.
    ///
    /// # Errors
    /// The reason why they are refused, and codes 50003 and 50000 for the engine.
    pub(in crate::front) async fn request_objects(
        &self,
        identity: &Identity,
        channel: &Str,
        operations: Vec<RestOperation>,
        now: Now,
    ) -> Result<(Accepted, Vec<Str>), ErrorInfo> {
        let mut object_ids = Vec::new();
        let need = |hub: &App| hub.need_of_objects(channel);
        let accepted = self.commit_with(need, |hub, outputs| {
            let nonce = &mut || match random::text(22) {
                Ok(text) => Ok(text.into()),
                Err(problem) => {
                    tracing::error!(%problem, "no ids for new objects");
                    Err(error::not_stored())
                }
            };
            let new = &mut NewObjects { nonce, now: now.wall };
            let turn = (now, outputs);
            let (proposed, ids) = hub.request_objects(identity, channel, operations, new, turn)?;
            object_ids = ids;
            Ok(proposed)
        });
        let accepted = accepted.await?;
        let position = accepted.position;
        let ids = self.with(|hub, _| hub.requested_objects(channel, position, object_ids));
        Ok((accepted, ids))
    }

    /// The value of objects at a path, from an object or from the root.
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 92004 for an unknown object, 92005 for a path without a value,
    /// 40114 for one channel too many; 50003 and 50000 for the engine.
    pub(in crate::front) async fn object_view(
        &self,
        identity: &Identity,
        channel: &str,
        object_id: Option<&str>,
        path: &str,
        form: ViewForm,
    ) -> Result<ObjectView, ErrorInfo> {
        if let Some(need) = self.with(|hub, _| hub.need_of_objects(channel)) {
            self.fetch(need, None).await?;
        }
        self.with(|hub, _| hub.object_view(identity, channel, object_id, path, form))
    }

    /// The objects of a channel up to a position.
    ///
    /// # Errors
    /// Code 50003 when the engine cannot be reached, 50000 when it fails.
    pub(super) async fn stored_objects(
        &self,
        log: &Log,
        name: &Str,
        floor: Position,
        until: Position,
    ) -> Result<StoredObjects, ErrorInfo> {
        let snapshot = self.objects_snapshot(log, name).await.map_err(failed)?;
        // A snapshot may have later entries, too: an operation that is applied twice has no further effect.
        let mut after = snapshot.as_ref().map_or(floor, ChannelObjects::position);
        let channel = self.channel(name);
        let mut later = Vec::new();
        while after < until {
            let range = Range {
                after,
                until,
                kind: Some(Kind::Objects),
                direction: Direction::Forwards,
                limit: PAGE,
                max_bytes: PAGE_BYTES,
            };
            let entries = log.engine.read(&channel, range).await.map_err(failed)?;
            let Some(newest) = entries.last() else { break };
            after = newest.position;
            let records = Records::read(name, entries);
            for (position, reason) in records.damaged() {
                self.damage.report(&self.id, name, *position, reason);
            }
            later.extend(records.into_proposals());
        }
        Ok(StoredObjects { snapshot, later })
    }

    async fn objects_snapshot(
        &self,
        log: &Log,
        name: &str,
    ) -> Result<Option<ChannelObjects>, EngineError> {
        let mut problem = String::new();
        for _ in 0..ATTEMPTS {
            let Some(first) = self.first_part(log, name).await? else { return Ok(None) };
            let restored = match first {
                Ok(first) => self.restore(log, name, first).await?,
                Err(reason) => Err(reason),
            };
            match restored {
                Ok(objects) => return Ok(Some(objects)),
                Err(reason) => problem = reason,
            }
        }
        tracing::error!(problem, channel = name, "a snapshot is left out");
        Ok(None)
    }

    async fn first_part(
        &self,
        log: &Log,
        name: &str,
    ) -> Result<Option<Result<SnapshotPart, String>>, EngineError> {
        let record = log.engine.fact(Bucket::Snapshots, &self.objects_key(name)).await?;
        Ok(record.map(|record| SnapshotPart::decode(&record)))
    }

    /// The objects of the snapshot with this first part.
    async fn restore(
        &self,
        log: &Log,
        name: &str,
        first: SnapshotPart,
    ) -> Result<Result<ChannelObjects, String>, EngineError> {
        let (position, count) = (first.position(), first.parts());
        let mut parts = vec![first];
        for index in 1..count {
            let key = self.part_key(name, position, index);
            match log
                .engine
                .fact(Bucket::Snapshots, &key)
                .await?
                .map(|it| SnapshotPart::decode(&it))
            {
                Some(Ok(part)) => parts.push(part),
                Some(Err(reason)) => return Ok(Err(reason)),
                None => return Ok(Err("a part of a snapshot is missing".to_owned())),
            }
        }
        Ok(ChannelObjects::restore(parts))
    }

    /// Stores the objects of all channels whose snapshots are not written yet, before the server ends. Waits for those that are
    /// being written, too.
    pub(in crate::front) async fn store_objects(&self) {
        loop {
            let saved = self.saved.notified();
            let next = self.with(|hub, _| match hub.next_unwritten_objects() {
                None if hub.is_writing_objects() => Err(()),
                next => Ok(next),
            });
            match next {
                Ok(Some((name, draft))) => {
                    let mut saving = Saving::begin(self, &name);
                    if let Err(problem) = saving.write(draft).await {
                        tracing::error!(%problem, channel = &*name, "the objects are not stored");
                        // The engine may be gone. There is no later.
                        saving.end = SnapshotEnd::NotNeeded;
                    }
                }
                Ok(None) => return,
                Err(()) => saved.await,
            }
        }
    }

    /// Waits until no snapshot is being written.
    pub(super) async fn objects_settle(&self) {
        loop {
            let saved = self.saved.notified();
            if !self.with(|hub, _| hub.is_writing_objects()) {
                return;
            }
            saved.await;
        }
    }

    /// Stores the objects of a channel.
    pub(super) async fn save_objects(&self, name: &Str, draft: SnapshotDraft) {
        if let Err(problem) = Saving::begin(self, name).write(draft).await {
            tracing::warn!(%problem, channel = &**name, "the objects are not stored yet");
        }
    }

    /// Removes the objects of a channel that were written while the app was deleted, here or at another node.
    async fn remove_if_deleted(&self, name: &Str) {
        let Some(log) = self.log.as_ref().filter(|_| self.with(|hub, _| hub.has_ended_objects()))
        else {
            return;
        };
        let remove = async {
            log.engine.set_facts(Bucket::Snapshots, vec![(self.objects_key(name), None)]).await?;
            self.remove_parts(log, name, Position(u64::MAX)).await
        };
        if let Err(problem) = remove.await {
            tracing::error!(%problem, channel = &**name, "objects of a deleted app are left");
        }
    }

    async fn write_objects(
        &self,
        log: &Log,
        name: &str,
        draft: SnapshotDraft,
    ) -> Result<SnapshotEnd, EngineError> {
        let position = draft.position();
        let before = match self.first_part(log, name).await? {
            Some(Ok(before)) if before.position() >= position => return Ok(SnapshotEnd::NotNeeded),
            Some(Ok(before)) => before.position(),
            // A newer server may have written it. What this one has is not all.
            Some(Err(reason)) => {
                tracing::error!(reason, channel = name, "a snapshot is not replaced");
                return Ok(SnapshotEnd::NotNeeded);
            }
            None => Position(0),
        };
        let mut facts = Vec::new();
        for (index, part) in draft.into_parts().enumerate() {
            let key = match index {
                0 => self.objects_key(name),
                index => self.part_key(name, position, index),
            };
            facts.push((key, Some(part)));
            // Encoding a large tree must not hold up other tasks.
            tokio::task::yield_now().await;
        }
        // The first part comes last: it makes the snapshot.
        facts.reverse();
        log.engine.set_facts(Bucket::Snapshots, facts).await?;
        self.remove_parts(log, name, before).await?;
        Ok(SnapshotEnd::Written)
    }

    /// Removes the parts of snapshots before the one that was just replaced. That one stays: another node may be reading it, or
    /// may just have written it.
    async fn remove_parts(
        &self,
        log: &Log,
        name: &str,
        before: Position,
    ) -> Result<(), EngineError> {
        let prefix = self.parts_prefix(name);
        let first_kept = self.part_key(name, before, 0);
        loop {
            let found = log.engine.facts(Bucket::Snapshots, &prefix, None, REMOVED).await?;
            let old = found.into_iter().map(|fact| fact.key).filter(|key| *key < first_kept);
            let old: Vec<_> = old.map(|key| (key, None)).collect();
            if old.is_empty() {
                return Ok(());
            }
            log.engine.set_facts(Bucket::Snapshots, old).await?;
        }
    }

    fn objects_key(&self, name: &str) -> String {
        format!("{}/objects/{name}", self.id)
    }

    /// The start of the keys of a channel's parts. The length of the name keeps apart names of which one begins another.
    fn parts_prefix(&self, name: &str) -> String {
        format!("{}/objects-parts/{}:{name}/", self.id, name.len())
    }

    /// Keys sort by position.
    fn part_key(&self, name: &str, position: Position, index: usize) -> String {
        format!("{}{:020}/{index:06}", self.parts_prefix(name), position.0)
    }
}

/// A snapshot that is being written. When it is dropped, the hub learns how that ended, and others wait no longer.
struct Saving<'a> {
    app: &'a AppHandle,
    name: &'a Str,
    end: SnapshotEnd,
}

impl<'a> Saving<'a> {
    fn begin(app: &'a AppHandle, name: &'a Str) -> Self {
        Self { app, name, end: SnapshotEnd::Failed }
    }

    async fn write(&mut self, draft: SnapshotDraft) -> Result<(), EngineError> {
        let Self { app, name, .. } = *self;
        let Some(log) = &app.log else { return Ok(()) };
        let written = app.write_objects(log, name, draft).await;
        app.remove_if_deleted(name).await;
        self.end = written?;
        Ok(())
    }
}

impl Drop for Saving<'_> {
    fn drop(&mut self) {
        let Self { app, name, end } = *self;
        let now = app.clock.now();
        app.with(|hub, _| hub.objects_saved(name, end, now));
        app.saved.notify_waiters();
    }
}
