//! All channels of an app.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use capably_protocol::{Message, PresenceMessage, Str};

use super::{
    Channel,
    commit::Meanwhile,
    event::Events,
    nodes::Nodes,
    objects_collect::Collections,
    objects_stored::UnsavedObjects,
    occupancy::{OccupancyUpdates, RemoteOccupancy},
    order::{Order, Settled},
    room::Room,
};
use crate::hub::{
    Now, Turn,
    ids::ConnectionId,
    log::{Log, Retention, position::Position, volume::Traffic},
    metachannel::Metachannel,
    presence::Presence,
    push::{Delivery, Payload, Push},
};

/// Rules for the channel that is named as the namespace, and for the channels whose name begins with it and a colon.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    /// The name up to the first colon.
    pub(crate) id: Str,
    /// Whether messages are stored for [`PERSISTED_AGE`], and not for two minutes only.
    pub(crate) persisted: bool,
    /// Whether messages can be updated, deleted, appended to and annotated.
    pub(crate) mutable: bool,
    /// Whether devices can subscribe to push notifications of the channels.
    pub(crate) push_enabled: bool,
}

/// The end of the names of channels that are rooms of chat.
pub(crate) const CHAT_SUFFIX: &str = "::$chat";

/// The age up to which messages of a persisted namespace are stored.
pub(super) const PERSISTED_AGE: Duration = Duration::from_secs(72 * 3600);

/// A retention without limits, for logs that do not grow.
pub(super) const NO_RETENTION: Retention =
    Retention { frames: usize::MAX, bytes: usize::MAX, age: Duration::MAX };

/// The time after which a channel without attachments leaves the memory, if an engine has its entries.
const IDLE: Duration = Duration::from_secs(60);

/// The most channels that are listed although they are not in memory.
const MAX_RECENT: usize = 10_000;

/// The channels of an app, the order of their entries, the members, and the push registrations.
///
/// Without an engine, all channels are in memory. With one, only those that are in use.
#[derive(Debug)]
pub(crate) struct Channels {
    /// The id of the app.
    pub(super) app: Str,
    /// Boxed: after the map has grown, more than half of its slots are empty.
    pub(super) map: HashMap<Str, Box<Channel>>,
    pub(super) order: Order,
    /// The channels that are being loaded, each with the entries that were committed meanwhile.
    pub(super) loading: HashMap<Str, Meanwhile>,
    /// Channels that are not in memory, by the time of their last publish.
    pub(super) recent: BTreeMap<Str, Duration>,
    /// The newest floor of all dropped channels. A new channel begins here, so that nobody resumes across the gap.
    pub(super) forgotten: Position,
    retention: Retention,
    pub(crate) room: Room,
    namespaces: Vec<Namespace>,
    pub(crate) presence: Presence,
    pub(crate) push: Push,
    /// The number of channels created since the last [`count`](Self::count).
    opened: usize,
    pub(super) occupancy: OccupancyUpdates,
    /// The traffic that was persisted for longer than usual, since the statistics were last updated.
    pub(crate) persisted: Traffic,
    pub(super) nodes: Nodes,
    pub(super) unsaved: UnsavedObjects,
    pub(super) collections: Collections,
    pub(super) remote: RemoteOccupancy,
    pub(super) events: Events,
    /// The metachannels with subscribers, at any node.
    pub(super) watched: BTreeSet<Metachannel>,
    /// The results for publishers of entries that were applied since the last call.
    pub(super) settled: Vec<Settled>,
    /// Followed channels that have left the memory since the last call.
    pub(super) dropped: Vec<Str>,
    /// Members of this node that another node has let leave, as it thought that this node was gone.
    pub(crate) evicted: Vec<(ConnectionId, Str, Vec<PresenceMessage>)>,
    /// The connections and the channels of presence events that were applied, and that no publisher of this node waited
    /// for.
    pub(crate) unclaimed: Vec<(ConnectionId, Str)>,
}

impl Channels {
    pub(crate) fn new(
        app: Str,
        retention: Retention,
        room: Room,
        namespaces: Vec<Namespace>,
        presence: Presence,
        order: Order,
    ) -> Self {
        Self {
            app,
            map: HashMap::new(),
            forgotten: order.newest(),
            order,
            loading: HashMap::new(),
            recent: BTreeMap::new(),
            retention,
            room,
            namespaces,
            presence,
            push: Push::default(),
            opened: 0,
            occupancy: OccupancyUpdates::default(),
            persisted: Traffic::default(),
            nodes: Nodes::default(),
            unsaved: UnsavedObjects::default(),
            collections: Collections::default(),
            remote: RemoteOccupancy::default(),
            events: Events::default(),
            watched: BTreeSet::new(),
            settled: Vec::new(),
            dropped: Vec::new(),
            evicted: Vec::new(),
            unclaimed: Vec::new(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Channel> {
        self.map.get(name).map(|channel| &**channel)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Channel> {
        self.map.get_mut(name).map(|channel| &mut **channel)
    }

    /// Channels without limits and clients, to fold entries of an engine.
    pub(super) fn replaying(room: Room) -> Self {
        let presence = Presence::default();
        Self::new(Str::new(), NO_RETENTION, room, Vec::new(), presence, Order::Replay)
    }

    /// The channel, which is created on its first use.
    pub(crate) fn get_or_create(&mut self, name: &Str) -> &mut Channel {
        let key = name.as_str();
        if !self.map.contains_key(key) {
            // The name may be a slice of a whole frame; the map must not pin that.
            let name = Str::from(&**name);
            let channel =
                Channel::new(name.clone(), self.retention_of(&name), self.new_log(self.forgotten));
            self.insert(channel);
        }
        self.map.get_mut(key).expect("it was there or has just been inserted")
    }

    pub(super) fn insert(&mut self, channel: Channel) {
        if self.recent.remove(&channel.name).is_none() {
            self.opened += 1;
            self.events.opened(&channel.name);
        }
        self.map.insert(channel.name.clone(), Box::new(channel));
    }

    /// An empty log that is complete after `floor`.
    pub(super) fn new_log(&self, floor: Position) -> Log {
        Log::new(floor, self.room.meter.clone())
    }

    /// The names of the channels in memory, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Str> {
        self.map.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The number of channels, and how many of them were created since the last call.
    pub(crate) fn count(&mut self) -> (usize, usize) {
        (self.map.len() + self.recent.len(), std::mem::take(&mut self.opened))
    }

    /// Drops expired entries, and channels that are not in use: those that nobody can resume on, or that an engine has.
    pub(crate) fn sweep(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.steady;
        let has_engine = self.has_engine();
        let busy = self.order.busy_channels();
        self.drop_channels(|channel| {
            channel.expire(now);
            channel.syncs.sweep();
            if has_engine && !busy.contains(&channel.name) {
                channel.drop_older();
            }
            channel.is_forgettable(now, if has_engine { IDLE } else { Duration::ZERO })
        });
        let Self { recent, events, .. } = self;
        recent.retain(|name, published| {
            let is_used = now.saturating_sub(*published) <= IDLE;
            if !is_used {
                events.closed(name);
            }
            is_used
        });
        self.room.reconsider();
    }

    /// Notes a publish on a channel that is not in memory.
    pub(super) fn note_recent(&mut self, name: &Str, now: Duration) {
        if let Some(published) = self.recent.get_mut(name) {
            *published = now;
        } else if self.recent.len() < MAX_RECENT {
            self.recent.insert(name.clone(), now);
            self.opened += 1;
            self.events.opened(name);
        }
    }

    /// Whether messages of the channel can be changed. Those of chat rooms can.
    pub(crate) fn is_mutable(&self, name: &str) -> bool {
        name.ends_with(CHAT_SUFFIX)
            || self.namespace_of(name).is_some_and(|namespace| namespace.mutable)
    }

    /// Whether devices can subscribe to push notifications of the channel.
    pub(crate) fn is_push_enabled(&self, name: &str) -> bool {
        self.namespace_of(name).is_some_and(|namespace| namespace.push_enabled)
    }

    /// The push notifications for the messages that carry a payload in `extras.push`. An invalid payload is ignored:
    /// the message is published without a push.
    pub(super) fn pushes(&self, name: &Str, messages: &[Message], now: Now) -> Vec<Delivery> {
        let extras = messages.iter().filter_map(|message| message.extras.as_ref());
        extras
            .filter_map(|extras| Payload::read(extras.get("push")?.as_object()?).ok())
            .flat_map(|payload| self.push.channel_deliveries(name, &payload, now))
            .collect()
    }

    pub(crate) fn retention_of(&self, name: &str) -> Retention {
        let persisted = self.namespace_of(name).is_some_and(|namespace| namespace.persisted);
        if persisted { Retention { age: PERSISTED_AGE, ..self.retention } } else { self.retention }
    }

    fn namespace_of(&self, name: &str) -> Option<&Namespace> {
        // A name without a colon is a namespace of its own.
        let prefix = name.split_once(':').map_or(name, |(prefix, _)| prefix);
        self.namespaces.iter().find(|namespace| namespace.id == prefix)
    }
}
