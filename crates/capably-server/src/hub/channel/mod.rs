//! Channels: who subscribes, and what was published.

pub(super) mod attach;
pub(super) mod delta;
pub(super) mod filter;
pub(super) mod history;
pub(super) mod name;
pub(super) mod occupancy;
pub(super) mod status;
pub(super) mod view;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use capably_protocol::{ChannelMode, Flags, Message, Millis, Str, frame::Delivery};

use self::{
    delta::{Deltas, Fanout},
    occupancy::{Occupancy, OccupancyNews, Watch},
    view::{View, Views},
};
use super::{
    Now, Output, TransportId,
    keep::{Keeping, Kept, Serials},
    log::{
        Entry, Log, Retention,
        position::{Position, SerialClock},
        room::Room,
        volume::Traffic,
    },
    message::change::{Changes, rewound},
    output::ConnectionId,
    push::{Payload, Push},
};

/// Rules for the channel whose name is the namespace's id, and for those whose name begins with it and a colon.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    /// The name up to the first colon.
    pub(crate) id: Str,
    /// Whether messages are kept for longer than two minutes.
    pub(crate) persisted: bool,
    /// Whether messages can be changed.
    pub(crate) mutable: bool,
    /// Whether devices can subscribe to what is pushed to the channels.
    pub(crate) push_enabled: bool,
}

/// How long messages of a persisted namespace are kept.
const PERSISTED_AGE: Duration = Duration::from_secs(72 * 3600);

/// All channels of an app, and the one clock that orders what they carry.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) map: HashMap<Str, Channel>,
    clock: SerialClock,
    /// The newest position that any forgotten channel has dropped.
    pub(crate) forgotten: Position,
    retention: Retention,
    pub(crate) room: Room,
    namespaces: Vec<Namespace>,
    pub(crate) push: Push,
    /// How many have been made that nobody has counted yet.
    opened: usize,
    /// Set when entries are to outlive the process.
    pub(crate) keeping: Option<Keeping>,
    pub(crate) occupancy: OccupancyNews,
    /// What has been taken in to be kept for longer than usual, and not been counted yet.
    pub(crate) persisted: Traffic,
}

impl Channels {
    pub(crate) fn new(
        retention: Retention,
        room: Room,
        namespaces: Vec<Namespace>,
        now: Millis,
    ) -> Self {
        let clock = SerialClock::new(now);
        let forgotten = clock.last();
        let (map, push) = (HashMap::new(), Push::default());
        Self {
            map,
            clock,
            forgotten,
            retention,
            room,
            namespaces,
            push,
            opened: 0,
            keeping: None,
            occupancy: OccupancyNews::default(),
            persisted: Traffic::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Channel> {
        self.map.get(name)
    }

    /// The names of all channels, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Str> {
        self.map.keys()
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Channel> {
        self.map.get_mut(name)
    }

    /// The channel, made when nobody has used it yet.
    pub(crate) fn get_or_create(&mut self, name: &Str) -> &mut Channel {
        if !self.map.contains_key(&**name) {
            // The name may be a slice of a whole frame; the map must not pin that.
            let name = Str::from(&**name);
            let retention = self.retention_of(&name);
            let kept = self.new_kept();
            let log = Log::new(self.forgotten, self.room.meter.clone());
            let channel = Channel::new(name.clone(), retention, log, kept);
            self.map.insert(name, channel);
            self.opened += 1;
        }
        self.map.get_mut(&**name).expect("it was there or has just been inserted")
    }

    /// Publishes one frame of messages and sends it to the channel's subscribers.
    pub(crate) fn publish(
        &mut self,
        name: &Str,
        frame: NewFrame,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Position {
        let position = self.clock.next(now.wall);
        let channel = self.get_or_create(name);
        channel.publish(position, frame, now, outputs);
        let persisted = channel.newly_persisted();
        self.persisted.add(persisted);
        position
    }

    /// The position of a frame that is to be committed now.
    pub(crate) fn next_position(&mut self, now: Now) -> Position {
        self.clock.next(now.wall)
    }

    /// Whether messages of the channel can be changed.
    pub(crate) fn is_mutable(&self, name: &str) -> bool {
        self.namespace_of(name).is_some_and(|namespace| namespace.mutable)
    }

    /// Whether devices can subscribe to what is pushed to the channel.
    pub(crate) fn is_push_enabled(&self, name: &str) -> bool {
        self.namespace_of(name).is_some_and(|namespace| namespace.push_enabled)
    }

    /// What is to be sent to devices because of messages that say what to push, in `extras.push`.
    pub(crate) fn pushes(&self, name: &str, messages: &[Message], now: Now) -> Vec<Output> {
        let extras = messages.iter().filter_map(|message| message.extras.as_ref());
        // What has nothing to push is a message like any other.
        extras
            .filter_map(|extras| Payload::read(extras.get("push")?.as_object()?).ok())
            .flat_map(|payload| self.push.channel_deliveries(name, &payload, now))
            .collect()
    }

    /// The position after which the app's next publish will be.
    pub(crate) fn last_position(&self) -> Position {
        self.clock.last()
    }

    /// How far the serials have come.
    pub(crate) fn serials(&self) -> Serials {
        Serials { last: self.clock.last(), forgotten: self.forgotten }
    }

    /// Goes on after serials that were given before.
    pub(crate) fn go_on_after(&mut self, Serials { last, forgotten }: Serials) {
        self.clock.go_on_after(last);
        self.forgotten = forgotten;
    }

    /// Does something with every channel, in no order.
    pub(crate) fn each(&mut self, each: impl FnMut(&mut Channel)) {
        self.map.values_mut().for_each(each);
    }

    /// How many there are, and how many of them have been made since this was last asked.
    pub(crate) fn count(&mut self) -> (usize, usize) {
        (self.map.len(), std::mem::take(&mut self.opened))
    }

    /// Whether there is anything that [`sweep`](Self::sweep) may have to clear away.
    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Drops what is older than it need be kept, and channels that nobody uses and that hold nothing.
    pub(crate) fn sweep(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        let mut floors = Vec::new();
        self.drop_channels(outputs, |channel| {
            channel.expire(now);
            let dropped = channel.is_forgettable(now);
            if !dropped {
                channel.trim_kept(&mut floors);
            }
            dropped
        });
        outputs.append(&mut floors);
        self.room.reconsider();
    }

    fn retention_of(&self, name: &str) -> Retention {
        let persisted = self.namespace_of(name).is_some_and(|namespace| namespace.persisted);
        if persisted { Retention { age: PERSISTED_AGE, ..self.retention } } else { self.retention }
    }

    fn namespace_of(&self, name: &str) -> Option<&Namespace> {
        // A name without a colon is a namespace of its own.
        let prefix = name.split_once(':').map_or(name, |(prefix, _)| prefix);
        self.namespaces.iter().find(|namespace| namespace.id == prefix)
    }
}

/// Messages on their way into a channel.
#[derive(Debug)]
pub(crate) struct NewFrame {
    /// The frame's id; without one it is made from the position.
    pub(crate) id: Option<Str>,
    /// The connection that publishes; none for REST.
    pub(crate) connection: Option<ConnectionId>,
    /// The messages, valid and in canonical form.
    pub(crate) messages: Vec<Message>,
}

/// One channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) name: Str,
    retention: Retention,
    pub(crate) log: Log,
    /// Where the app was when it was last attached.
    pub(crate) attached_at: Position,
    /// Ids that publishers chose, to tell a repetition (RSL1k).
    pub(crate) ids: HashMap<Str, Position>,
    pub(crate) changes: Changes,
    pub(crate) subscribers: BTreeMap<TransportId, Subscriber>,
    pub(crate) views: Views,
    /// How many use it, members aside.
    pub(crate) used: Occupancy,
    /// How many subscribers are told how many use it.
    pub(crate) watchers: usize,
    /// Since when a sweep has found nobody here and nothing.
    idle_since: Option<Duration>,
    /// Set when its entries are to outlive the process.
    pub(crate) kept: Option<Kept>,
}

/// An attachment that is sent what is published.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) connection: ConnectionId,
    /// What it was granted; it is sent what these let it see.
    pub(crate) modes: Flags,
    /// Whether it wants what its own connection published.
    pub(crate) echo: bool,
    /// Whether it wants messages whole that something was appended to.
    pub(crate) whole_appends: bool,
    /// What it has been sent, if it wants deltas.
    pub(crate) deltas: Option<Deltas>,
    /// Everything after this position that it wants, it has been sent or is being sent.
    pub(crate) since: Position,
    /// What happened after this position it is sent as it happened. What did before is rewound: it is sent each
    /// message once, in its latest version; a sync tells who is there.
    pub(crate) live_since: Position,
    /// Set while a replay goes on: how far it has come. Meanwhile new frames only go to the log.
    pub(crate) behind: Option<Position>,
    /// Set if it is told how many use the channel.
    pub(crate) watch: Option<Box<Watch>>,
}

impl Subscriber {
    /// Whether the entry is to be sent to it.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        let own = entry.connection() == Some(&self.connection);
        let may_see = self.modes.contains(entry.mode().flag());
        if self.is_rewound(entry) {
            may_see && (self.echo || !own) && entry.is_creation()
        } else if entry.members().is_empty() {
            may_see && (self.echo || !own)
        } else {
            // A connection is always told of its own members (RTP17a).
            may_see || own
        }
    }

    /// Whether the entry is sent to it at once, rather than by the replay that goes on. An ephemeral one is in no
    /// replay.
    pub(crate) fn is_due(&self, entry: &Entry) -> bool {
        self.behind.is_none() || entry.is_ephemeral()
    }

    /// The entry as it is replayed to it.
    pub(crate) fn replayed(&self, changes: &Changes, entry: &Arc<Entry>) -> Arc<Entry> {
        if self.is_rewound(entry) {
            rewound(changes, entry, self.live_since)
        } else {
            Arc::clone(entry)
        }
    }

    /// Whether the entry is older than the attachment, and not missed but rewound.
    fn is_rewound(&self, entry: &Entry) -> bool {
        entry.position() <= self.live_since
    }
}

/// How a step of a replay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The subscriber has everything.
    Complete,
    /// There is more; the budget is spent.
    More,
    /// Entries were dropped before they could be sent.
    Lost,
}

impl Channel {
    fn new(name: Str, retention: Retention, log: Log, kept: Option<Kept>) -> Self {
        Self {
            name,
            retention,
            attached_at: log.floor(),
            log,
            ids: HashMap::new(),
            changes: Changes::new(),
            subscribers: BTreeMap::new(),
            views: Views::new(),
            used: Occupancy::default(),
            watchers: 0,
            idle_since: None,
            kept,
        }
    }

    /// The position of an earlier publish with this id, chosen by its publisher.
    pub(crate) fn position_of_id(&self, id: &str) -> Option<Position> {
        self.ids.get(id).copied()
    }

    /// Goes on with the replay to a subscriber, by about `budget` bytes.
    pub(crate) fn fill(
        &mut self,
        transport: TransportId,
        view: Option<&Arc<View>>,
        budget: &mut usize,
        outputs: &mut Vec<Output>,
    ) -> Fill {
        let subscriber = match view {
            None => self.subscribers.get_mut(&transport),
            Some(view) => view::viewer(&mut self.views, view, transport),
        };
        let Some(subscriber) = subscriber else { return Fill::Complete };
        let Some(position) = subscriber.behind else { return Fill::Complete };
        if position < self.log.floor() {
            subscriber.behind = Some(self.log.floor());
            return Fill::Lost;
        }
        for entry in self.log.after(position) {
            if *budget == 0 {
                return Fill::More;
            }
            subscriber.behind = Some(entry.position());
            if subscriber.wants(entry) {
                let entry = subscriber.replayed(&self.changes, entry);
                *budget = budget.saturating_sub(entry.size());
                let seen = match view {
                    None => Some(entry),
                    Some(view) => view.of(&entry),
                };
                if let Some(seen) = seen {
                    let broadcast = Fanout::new(&seen).broadcast(subscriber);
                    outputs.push(Output::Broadcast(transport, broadcast));
                }
            }
        }
        subscriber.behind = None;
        Fill::Complete
    }

    /// Drops what is older or more than is kept.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(entry) = self.log.pop_expired(&self.retention, now) {
            if let Some(kept) = &mut self.kept {
                kept.drop_entry();
            }
            self.forget(&entry);
        }
        if let Some(kept) = &mut self.kept {
            kept.expire(&self.retention, &self.log, now);
        }
    }

    /// Forgets what was known because of an entry that is not in the log any more.
    pub(crate) fn forget(&mut self, entry: &Entry) {
        for id in entry.items().iter().filter_map(|item| item.id.as_ref()) {
            self.ids.remove(id);
        }
        if entry.is_creation() && !self.changes.is_empty() {
            let position = entry.position();
            for index in 0..entry.items().len() {
                self.changes.remove(&(position, index));
            }
        }
    }

    /// Whether it has been idle for so long that no client can come back to it.
    fn is_forgettable(&mut self, now: Duration) -> bool {
        if !self.is_unused() {
            self.idle_since = None;
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        now.saturating_sub(since) > self.retention.age
    }

    fn publish(
        &mut self,
        position: Position,
        frame: NewFrame,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        for id in frame.messages.iter().filter_map(|message| message.id.as_ref()) {
            self.ids.insert(id.clone(), position);
        }
        let delivery = self.delivery_of(position, frame, now);
        self.commit(&Entry::new(position, now.steady, delivery), now, outputs);
    }

    /// The messages as they are delivered, with all that the service stamps.
    pub(crate) fn delivery_of(
        &self,
        position: Position,
        frame: NewFrame,
        now: Now,
    ) -> Delivery<Message> {
        let NewFrame { id, connection, mut messages } = frame;
        let (first_serial, channel_serial) = position.first_serials();
        for (index, message) in messages.iter_mut().enumerate() {
            let serial =
                if index == 0 { first_serial.clone() } else { position.message_serial(index) };
            message.version = Some(Box::new(capably_protocol::MessageVersion {
                serial: Some(serial.clone()),
                timestamp: Some(now.wall),
                ..Default::default()
            }));
            message.serial = Some(serial);
            message.action = Some(capably_protocol::MessageAction::Create);
        }
        let mut delivery = Delivery::new(self.name.clone(), messages);
        delivery.id = Some(id.unwrap_or_else(|| channel_serial.clone()));
        delivery.channel_serial = Some(channel_serial);
        delivery.connection_id = connection;
        delivery.timestamp = Some(now.wall);
        delivery
    }

    /// The newest entry, if it is kept for longer than usual.
    pub(crate) fn newly_persisted(&self) -> Traffic {
        let newest = self.log.iter().next_back();
        let newest = newest.filter(|_| self.retention.age >= PERSISTED_AGE);
        newest.map_or_else(Traffic::default, |entry| {
            let volume = entry.volume();
            match entry.mode() {
                ChannelMode::PresenceSubscribe => {
                    Traffic { presence: volume, ..Traffic::default() }
                }
                _ => Traffic { messages: volume, ..Traffic::default() },
            }
        })
    }

    /// Takes an entry into the log and sends it to the subscribers that want it.
    pub(crate) fn commit(&mut self, entry: &Arc<Entry>, now: Now, outputs: &mut Vec<Output>) {
        self.append(entry, now, outputs);
        self.send(entry, |_| true, outputs);
    }

    /// Takes a new version of the message at `at` into the log and sends it: the whole of it, or, to those
    /// who have been sent the message, only the `addition`.
    pub(crate) fn commit_change(
        &mut self,
        at: (Position, usize),
        whole: Arc<Entry>,
        addition: Option<Arc<Entry>>,
        id: Option<&Str>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(id) = id {
            self.ids.insert(id.clone(), whole.position());
        }
        let mut known: Vec<Arc<Entry>> = self.log.get(at.0).cloned().into_iter().collect();
        let versions = &mut self.changes.entry(at).or_default().versions;
        known.extend(versions.iter().cloned());
        versions.push(Arc::clone(&whole));
        self.append(&whole, now, outputs);
        match addition {
            None => self.send(&whole, |_| true, outputs),
            Some(addition) => {
                let has = |subscriber: &Subscriber| {
                    known
                        .iter()
                        .rev()
                        .take_while(|entry| entry.position() > subscriber.since)
                        .any(|entry| subscriber.wants(entry))
                };
                let suffices =
                    |subscriber: &Subscriber| !subscriber.whole_appends && has(subscriber);
                self.send(&whole, |subscriber| !suffices(subscriber), outputs);
                self.send(&addition, suffices, outputs);
            }
        }
    }

    fn append(&mut self, entry: &Arc<Entry>, now: Now, outputs: &mut Vec<Output>) {
        self.log.append(Arc::clone(entry));
        self.expire(now.steady);
        self.keep(entry, outputs);
    }

    /// Sends an entry to the subscribers that want it and that `filter` lets through.
    pub(crate) fn send(
        &mut self,
        entry: &Arc<Entry>,
        filter: impl Fn(&Subscriber) -> bool,
        outputs: &mut Vec<Output>,
    ) {
        let mut fanout = Fanout::new(entry);
        for (transport, subscriber) in &mut self.subscribers {
            if subscriber.is_due(entry) && subscriber.wants(entry) && filter(subscriber) {
                outputs.push(Output::Broadcast(*transport, fanout.broadcast(subscriber)));
            }
        }
        self.views.values_mut().for_each(|viewers| viewers.send(entry, &filter, outputs));
    }
}
