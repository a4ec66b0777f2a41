//! Channels: their attachments, and the messages published on them.
//!
//! [`Channels`] looks a channel up by name and calls it. A [`Channel`] owns its log and its subscribers.

pub(super) mod annotate;
mod attach;
pub(super) mod attachment;
pub(super) mod change;
mod channels;
mod commit;
mod delta;
pub(super) mod event;
pub(super) mod excerpt;
pub(super) mod filter;
mod flow;
pub(super) mod follow;
pub(super) mod history;
#[cfg(feature = "console")]
mod inspect;
pub(super) mod members;
mod metachannels;
pub(super) mod need;
mod nodes;
mod objects;
pub(super) mod objects_collect;
pub(super) mod objects_stored;
mod objects_sync;
pub(super) mod occupancy;
pub(super) mod order;
mod publish;
pub(super) mod replay;
mod room;
mod served;
mod status;
mod subscriber;
pub(super) mod view;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use capably_protocol::{ChannelMode, Str};

pub(crate) use self::{
    attach::Session,
    channels::{CHAT_SUFFIX, Channels, Namespace},
    room::Room,
};
use self::{
    channels::PERSISTED_AGE,
    delta::Fanout,
    flow::Flow,
    follow::Followed,
    objects_sync::ObjectsSyncs,
    occupancy::Occupancy,
    subscriber::{Subscriber, Viewers},
};
use super::{
    Output, TransportId, Turn,
    log::{Entry, Log, Retention, position::Position, volume::Traffic},
    message::change::Changes,
    objects::ChannelObjects,
};

/// A channel: its log, and the attachments that receive its messages.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: Str,
    retention: Retention,
    pub(crate) log: Log,
    /// The newest position of the app at the last attach: channels that were not used for long are evicted first.
    attached_at: Position,
    /// Ids that publishers chose, to recognise a repeated publish (RSL1k).
    pub(crate) ids: HashMap<Str, Position>,
    pub(crate) changes: Changes,
    /// Boxed: the smallest map has room for eleven subscribers, and most channels have fewer.
    subscribers: BTreeMap<TransportId, Box<Subscriber>>,
    /// The subscribers under names with a qualifier, by the name.
    views: BTreeMap<Str, Viewers>,
    /// The attachments by mode. Members are counted by the presence set.
    used: Occupancy,
    #[cfg_attr(not(feature = "console"), expect(dead_code, reason = "only the console counts"))]
    flow: Flow,
    /// The number of subscribers that receive the occupancy.
    pub(crate) watchers: usize,
    /// The time of the first sweep that found the channel unused.
    idle_since: Option<Duration>,
    /// The position after which the engine is complete, if there is an engine. The log may begin later.
    stored: Option<Position>,
    /// Entries before those of the log that changes need: `None` for those that do not exist.
    older: BTreeMap<Position, Option<Arc<Entry>>>,
    /// Set if several nodes share the engine.
    followed: Option<Box<Followed>>,
    /// The objects, once there was an operation.
    objects: Option<Box<ChannelObjects>>,
    syncs: ObjectsSyncs,
}

impl Channel {
    fn new(name: Str, retention: Retention, log: Log) -> Self {
        Self {
            name,
            retention,
            attached_at: log.floor(),
            log,
            ids: HashMap::new(),
            changes: Changes::new(),
            subscribers: BTreeMap::new(),
            views: BTreeMap::new(),
            used: Occupancy::default(),
            flow: Flow::default(),
            watchers: 0,
            idle_since: None,
            stored: None,
            older: BTreeMap::new(),
            followed: None,
            objects: None,
            syncs: ObjectsSyncs::default(),
        }
    }

    /// The position of an earlier publish with this id, chosen by its publisher.
    fn position_of_id(&self, id: &str) -> Option<Position> {
        self.ids.get(id).copied()
    }

    /// Appends an entry to the log and sends it to its subscribers.
    fn commit(&mut self, entry: &Arc<Entry>, turn: &mut Turn<'_>) {
        self.append(entry, turn);
        self.send(entry, |_| true, turn.outputs);
    }

    fn append(&mut self, entry: &Arc<Entry>, turn: &mut Turn<'_>) {
        self.count_published(entry);
        self.log.append(Arc::clone(entry));
        self.expire(turn.now.steady);
    }

    /// Sends an entry to the subscribers that want it and that `filter` accepts.
    fn send(
        &mut self,
        entry: &Arc<Entry>,
        filter: impl Fn(&Subscriber) -> bool,
        outputs: &mut Vec<Output>,
    ) {
        let before = outputs.len();
        let mut fanout = Fanout::new(entry);
        for (transport, subscriber) in &mut self.subscribers {
            if subscriber.is_due(entry) && subscriber.wants(entry) && filter(subscriber) {
                outputs.push(Output::Broadcast(*transport, fanout.broadcast(subscriber)));
            }
        }
        self.views.values_mut().for_each(|viewers| viewers.send(entry, &filter, outputs));
        self.count_delivered(entry, outputs.len() - before);
    }

    /// The volume of the newest entry, if it is persisted for longer than usual.
    fn newly_persisted(&self) -> Traffic {
        let newest = self.log.iter().next_back();
        let newest = newest.filter(|_| self.retention.age >= PERSISTED_AGE);
        newest.map_or_else(Traffic::default, |entry| {
            let volume = entry.volume();
            match entry.mode() {
                ChannelMode::PresenceSubscribe => {
                    Traffic { presence: volume, ..Traffic::default() }
                }
                ChannelMode::ObjectSubscribe => Traffic { objects: volume, ..Traffic::default() },
                _ => Traffic { messages: volume, ..Traffic::default() },
            }
        })
    }

    /// Drops the entries that exceed the retention.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(entry) = self.log.pop_expired(&self.retention, now) {
            self.forget(&entry);
        }
    }

    /// Drops the ids and the changes of messages whose entry has left the log.
    fn forget(&mut self, entry: &Entry) {
        if self.older.contains_key(&entry.position()) {
            return;
        }
        let messages = entry.items().iter().filter_map(|item| item.id.as_ref());
        let operations = entry.operations().iter().filter_map(|item| item.id.as_ref());
        for id in messages.chain(operations) {
            self.ids.remove(id);
        }
        if entry.is_creation() && !self.changes.is_empty() {
            let position = entry.position();
            for index in 0..entry.items().len() {
                self.changes.remove(&(position, index));
            }
        }
    }

    /// Whether the channel has been unused for so long that no client can resume on it.
    /// With an engine, that is the time `idle`.
    fn is_forgettable(&mut self, now: Duration, idle: Duration) -> bool {
        if !self.is_unused() {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now.saturating_sub(since) > if self.stored.is_some() { idle } else { self.retention.age }
    }
}
