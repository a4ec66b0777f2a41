//! Fetching the data from the engine that the hub needs before it can handle an input.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Str};
use tokio::{sync::oneshot, time::Instant};

use super::{AppHandle, log::Log};
use crate::{
    engine::{self, Bucket, ChannelId, Direction, Kind, Range, Thread},
    hub::{
        App, Excerpt, Members, Need, Place, Position, Records, Rewind, StoredMembers, StoredState,
        TransportId, error,
    },
};

/// The most entries of a channel that are loaded when it is first used, and their most bytes.
const TAIL: (usize, usize) = (500, 128 * 1024);

/// The most bytes that are read at once for a client that is behind.
const STEP: usize = 256 * 1024;

/// The most entries that are read at once.
pub(super) const PAGE: usize = 1000;

/// The most bytes that are read at once.
pub(super) const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The time between two attempts to fetch what an entry of another node needs.
const RETRY: Duration = Duration::from_millis(200);

/// The longest time for which a client waits until this node has caught up with the one that it comes from.
const MAX_LAG: Duration = Duration::from_secs(5);

/// The time for which a client's position may be behind the end of the engine, before it counts as invalid.
const MAX_DOUBT: Duration = Duration::from_secs(3);

/// The callers that wait for a channel to be loaded.
pub(super) type Loads = HashMap<Str, Vec<oneshot::Sender<Result<(), ErrorInfo>>>>;

impl AppHandle {
    /// Fetches the data that the hub needs. A separate task does this, so that it ends even if the caller is dropped.
    ///
    /// # Errors
    /// Code 50003 when the engine cannot be reached, 50000 when it fails.
    pub(in crate::front) async fn fetch(
        &self,
        need: Need,
        transport: Option<TransportId>,
    ) -> Result<(), ErrorInfo> {
        let Some(app) = self.me.upgrade() else { return Err(error::not_stored()) };
        match need {
            Need::Settled => {
                app.wait_until(transport, App::is_settled).await;
                Ok(())
            }
            Need::Answers => {
                app.wait_until(transport, App::has_room).await;
                Ok(())
            }
            Need::Channel(name) => app.load(name).await,
            need => {
                let work = async move { app.fetch_entries(need, transport).await };
                tokio::spawn(work).await.unwrap_or_else(|_| Err(error::not_stored()))
            }
        }
    }

    /// Waits until results of the engine let a connection go on.
    async fn wait_until(
        &self,
        transport: Option<TransportId>,
        goes_on: fn(&mut App, TransportId) -> bool,
    ) {
        let (Some(log), Some(transport)) = (&self.log, transport) else { return };
        loop {
            let progress = log.progress.notified();
            tokio::pin!(progress);
            // Before the check, so that no progress after it is missed.
            progress.as_mut().enable();
            if self.with(|hub, _| goes_on(hub, transport)) {
                return;
            }
            progress.await;
        }
    }

    /// Loads a channel. Callers that need it at the same time share the work.
    async fn load(self: Arc<Self>, name: Str) -> Result<(), ErrorInfo> {
        let (done, loaded) = oneshot::channel();
        let is_first = {
            let mut loads = self.loads();
            match loads.entry(name.clone()) {
                Entry::Occupied(mut waiting) => {
                    waiting.get_mut().push(done);
                    false
                }
                Entry::Vacant(slot) => {
                    slot.insert(vec![done]);
                    true
                }
            }
        };
        if is_first {
            tokio::spawn(async move {
                // In a task of its own: a panic there must not leave the callers waiting.
                let loading = {
                    let (app, name) = (Arc::clone(&self), name.clone());
                    tokio::spawn(async move { app.load_channel(&name).await })
                };
                let result = loading.await.unwrap_or_else(|_| Err(error::not_stored()));
                if result.is_err() {
                    self.with(|hub, _| hub.abandon_load(&name));
                }
                for waiting in self.loads().remove(&name).into_iter().flatten() {
                    let _ = waiting.send(result.clone());
                }
            });
        }
        loaded.await.unwrap_or_else(|_| Err(error::not_stored()))
    }

    async fn load_channel(&self, name: &Str) -> Result<(), ErrorInfo> {
        let Some(log) = &self.log else { return Ok(()) };
        self.with(|hub, _| hub.begin_load(name));
        let channel = self.channel(name);
        let (floor, last) = log.engine.bounds(&channel).await.map_err(failed)?;
        let is_shared = log.cluster.is_some();
        if is_shared {
            log.engine.follow(&channel, last).await.map_err(failed)?;
        }
        // The later entries of a shared engine are received, and those of another are kept by the hub.
        let until = if is_shared { last } else { LAST };
        let (limit, max_bytes) = TAIL;
        let direction = Direction::Backwards;
        let range = Range { after: floor, until, kind: None, direction, limit, max_bytes };
        let mut entries = log.engine.read(&channel, range).await.map_err(failed)?;
        entries.reverse();
        let start = match entries.first() {
            Some(first) => {
                let before = Position(first.position.0 - 1);
                let earlier = Range { until: before, limit: 1, ..range };
                let earlier = log.engine.read(&channel, earlier).await.map_err(failed)?;
                if earlier.is_empty() { floor } else { before }
            }
            None => last.max(floor),
        };
        let excerpt = self.excerpt(log, name, entries, start, Some(until)).await?;
        let members = async {
            match is_shared {
                true => self.stored_members(log, name, floor, last).await,
                false => Ok(StoredMembers::default()),
            }
        };
        let objects = self.stored_objects(log, name, floor, until);
        let (members, objects) = tokio::try_join!(members, objects)?;
        let state = StoredState { members, objects };
        let now = self.clock.now();
        let bounds = (floor, last);
        self.with(|hub, outputs| hub.finish_load(name, excerpt, bounds, state, now, outputs));
        Ok(())
    }

    /// The members of a channel of a shared engine up to `last`.
    async fn stored_members(
        &self,
        log: &Log,
        name: &Str,
        floor: Position,
        last: Position,
    ) -> Result<StoredMembers, ErrorInfo> {
        let channel = self.channel(name);
        let key = self.members_key(name);
        let snapshot = log.engine.fact(Bucket::Snapshots, &key).await.map_err(failed)?;
        let snapshot = snapshot.and_then(|it| match Members::decode(&it) {
            // A newer snapshot has what the follower will receive, too.
            Ok(members) => Some(members).filter(|it| it.position() <= last),
            Err(reason) => {
                tracing::error!(reason, channel = &**name, "a snapshot is left out");
                None
            }
        });
        let mut after = snapshot.as_ref().map_or(floor, Members::position);
        let mut later = Vec::new();
        loop {
            let range = Range {
                after,
                until: last,
                kind: Some(Kind::Presence),
                direction: Direction::Forwards,
                limit: PAGE,
                max_bytes: PAGE_BYTES,
            };
            let entries = log.engine.read(&channel, range).await.map_err(failed)?;
            let Some(newest) = entries.last() else {
                return Ok(StoredMembers { snapshot, later });
            };
            after = newest.position;
            later.extend(Records::read(name, entries).into_proposals());
        }
    }

    /// Stores the members of a channel.
    pub(super) async fn save_members(&self, name: Str, members: Option<Bytes>) {
        let Some(log) = &self.log else { return };
        let fact = (self.members_key(&name), members);
        if let Err(problem) = log.engine.set_facts(Bucket::Snapshots, vec![fact]).await {
            tracing::warn!(%problem, channel = &*name, "the members are not stored yet");
            let now = self.clock.now();
            self.with(|hub, _| hub.snapshot_failed(&name, now));
        }
    }

    fn members_key(&self, name: &str) -> String {
        format!("{}/members/{name}", self.id)
    }

    /// Fetches what entries of other nodes need, until that succeeds or the channel has left the memory.
    pub(super) async fn fetch_until(&self, need: Need) {
        let Need::Message(name, _) = &need else { return };
        while self.with(|hub, _| hub.is_stalled(name)) {
            if self.fetch(need.clone(), None).await.is_ok() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits until the hub has applied the entries up to a position, if there is such an entry.
    async fn reach(&self, log: &Log, name: &Str, position: Position) -> Result<(), ErrorInfo> {
        let channel = self.channel(name);
        let deadline = Instant::now() + MAX_DOUBT;
        while log.engine.bounds(&channel).await.map_err(failed)?.1 < position {
            // An engine whose parts have just failed may not know its newest entries yet. The client has received them.
            if Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(RETRY).await;
        }
        let applied = async {
            loop {
                let progress = log.progress.notified();
                tokio::pin!(progress);
                // Before the check, so that no progress after it is missed.
                progress.as_mut().enable();
                let reached = self.with(|hub, _| hub.reached(name));
                if reached.is_none_or(|reached| reached >= position) {
                    return;
                }
                progress.await;
            }
        };
        tokio::time::timeout(MAX_LAG, applied).await.map_err(|_| error::unavailable())
    }

    async fn fetch_entries(
        &self,
        need: Need,
        transport: Option<TransportId>,
    ) -> Result<(), ErrorInfo> {
        let Some(log) = &self.log else { return Ok(()) };
        match need {
            Need::Message(name, at) => {
                // Later changes of the message are received.
                let until = self.with(|hub, _| hub.reached(&name)).unwrap_or(LAST);
                let found = self.message_excerpt(log, &name, at, until).await?;
                let now = self.clock.now();
                self.with(|hub, outputs| hub.add_message(&name, at, found, now, outputs));
            }
            Need::Rewind(name, rewind) => {
                let start = self.rewind(log, &name, rewind).await?;
                if let Some(transport) = transport {
                    self.with(|hub, _| hub.set_start(transport, &name, start));
                }
            }
            Need::Entries { channel: name, after, until } => {
                let channel = self.channel(&name);
                let (floor, _) = log.engine.bounds(&channel).await.map_err(failed)?;
                let range = Range {
                    after: after.max(floor),
                    until,
                    kind: None,
                    direction: Direction::Forwards,
                    limit: PAGE,
                    max_bytes: STEP,
                };
                let entries = log.engine.read(&channel, range).await.map_err(failed)?;
                // A limit may have cut off the rest. Only an empty page is the end.
                let is_end = entries.is_empty();
                let mut excerpt =
                    self.excerpt(log, &name, entries, range.after, Some(LAST)).await?;
                if is_end {
                    excerpt = excerpt.up_to(until);
                }
                let now = self.clock.now();
                if let Some(transport) = transport {
                    self.with(|hub, outputs| {
                        hub.fill_from(transport, &name, &excerpt, floor, now, outputs);
                    });
                }
            }
            Need::Reached(name, position) => {
                self.reach(log, &name, position).await?;
                if let Some(transport) = transport {
                    self.with(|hub, _| hub.set_start(transport, &name, position));
                }
            }
            Need::Channel(_) | Need::Settled | Need::Answers => {}
        }
        Ok(())
    }

    /// The position before the messages that a rewind asks for.
    async fn rewind(&self, log: &Log, name: &Str, rewind: Rewind) -> Result<Position, ErrorInfo> {
        let channel = self.channel(name);
        let (floor, last) = log.engine.bounds(&channel).await.map_err(failed)?;
        let oldest = self.oldest(name);
        match rewind {
            Rewind::Span(span) => {
                let span = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
                let since = self.clock.now().wall.saturating_sub(span).max(oldest);
                let start = log.engine.seek(&channel, since).await.map_err(failed)?;
                Ok(start.max(floor))
            }
            Rewind::Count(count) => {
                let range = Range {
                    after: floor,
                    until: last,
                    kind: Some(Kind::Messages),
                    direction: Direction::Backwards,
                    limit: count.clamp(1, PAGE),
                    max_bytes: PAGE_BYTES,
                };
                let mut entries = log.engine.read(&channel, range).await.map_err(failed)?;
                entries.retain(|entry| entry.time >= oldest);
                entries.reverse();
                let first = entries.first().map_or(last, |first| Position(first.position.0 - 1));
                let excerpt = self.excerpt(log, name, entries, first, None).await?;
                Ok(excerpt.rewind_count(count))
            }
        }
    }

    /// A message with its changes and annotations up to a position. `None` if it does not exist, or is too old.
    pub(super) async fn message_excerpt(
        &self,
        log: &Log,
        name: &Str,
        (position, _): Place,
        until: Position,
    ) -> Result<Option<Excerpt>, ErrorInfo> {
        let entries = self.entry_at(log, name, position).await?;
        let oldest = self.oldest(name);
        if !entries.iter().any(|entry| entry.kind == Kind::Messages && entry.time >= oldest) {
            return Ok(None);
        }
        let before = Position(position.0.saturating_sub(1));
        self.excerpt(log, name, entries, before, Some(until)).await.map(Some)
    }

    /// Folds entries, which are in their order, with all that their state depends on. With `changes`, later changes and
    /// annotations of the messages up to this position belong to it, too.
    pub(super) async fn excerpt(
        &self,
        log: &Log,
        name: &Str,
        entries: Vec<engine::Entry>,
        floor: Position,
        changes: Option<Position>,
    ) -> Result<Excerpt, ErrorInfo> {
        let mut records = Records::read(name, entries);
        let positions = records.positions();
        if self.with(|hub, _| hub.is_mutable(name)) {
            if changes.is_some()
                && let Some((first, last)) = records.created()
            {
                let later = self.threads(log, name, first, last).await?;
                records.add(later);
            }
            for (position, _) in records.missing() {
                let created = self.entry_at(log, name, position).await?;
                records.add(created);
                let later = self.threads(log, name, position, position).await?;
                records.add(later);
            }
            if let Some(until) = changes {
                records.truncate(until);
            }
        }
        for (position, reason) in records.damaged() {
            self.damage.report(&self.id, name, *position, reason);
        }
        Ok(records.fold(&positions, floor, &self.settings, self.clock.now()))
    }

    async fn entry_at(
        &self,
        log: &Log,
        name: &Str,
        position: Position,
    ) -> Result<Vec<engine::Entry>, ErrorInfo> {
        let range = Range {
            after: Position(position.0.saturating_sub(1)),
            until: position,
            kind: None,
            direction: Direction::Forwards,
            limit: 1,
            max_bytes: 0,
        };
        log.engine.read(&self.channel(name), range).await.map_err(failed)
    }

    /// The changes and annotations of the messages of some entries.
    async fn threads(
        &self,
        log: &Log,
        name: &Str,
        first: Position,
        last: Position,
    ) -> Result<Vec<engine::Entry>, ErrorInfo> {
        let channel = self.channel(name);
        let messages =
            Thread { position: first, index: 0 }..=Thread { position: last, index: u16::MAX };
        let mut found: Vec<engine::Entry> = Vec::new();
        loop {
            let after = found.last().and_then(|last| Some((last.thread?, last.position)));
            let page = log.engine.threads(&channel, messages.clone(), after, PAGE);
            let page = page.await.map_err(failed)?;
            let is_last = page.len() < PAGE;
            found.extend(page);
            if is_last {
                return Ok(found);
            }
        }
    }

    pub(super) fn channel(&self, name: &str) -> ChannelId {
        ChannelId { app: self.id.as_str().into(), name: name.into() }
    }

    /// The time of the oldest entry that a channel still shows, in ms since the epoch.
    pub(super) fn oldest(&self, name: &str) -> i64 {
        let age = self.with(|hub, _| hub.age_of(name));
        self.clock.now().wall.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    }

    fn loads(&self) -> std::sync::MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The end of a channel.
pub(super) const LAST: Position = Position(u64::MAX);

pub(super) fn failed(problem: engine::EngineError) -> ErrorInfo {
    tracing::error!(%problem, "the engine cannot be read");
    error::engine(&problem)
}
