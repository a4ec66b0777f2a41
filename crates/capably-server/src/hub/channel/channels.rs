//! All channels of an app.

use std::{collections::HashMap, sync::Arc, time::Duration};

use capably_protocol::{Message, Millis, Str};

use super::{Channel, occupancy::OccupancyUpdates, room::Room};
use crate::hub::{
    Now, Turn,
    keep::{Keeping, Serials},
    log::{
        Entry, Log, Retention,
        position::{Position, SerialClock},
        volume::Traffic,
    },
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

/// The age up to which messages of a persisted namespace are stored.
pub(super) const PERSISTED_AGE: Duration = Duration::from_secs(72 * 3600);

/// All channels of an app, with the one clock that orders their entries, the members, and the push registrations.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(super) map: HashMap<Str, Channel>,
    clock: SerialClock,
    /// The newest floor of all dropped channels. A new channel begins here, so that nobody resumes across the gap.
    pub(super) forgotten: Position,
    retention: Retention,
    pub(crate) room: Room,
    namespaces: Vec<Namespace>,
    pub(crate) presence: Presence,
    pub(crate) push: Push,
    /// The number of channels created since the last [`count`](Self::count).
    opened: usize,
    /// Set when entries are to outlive the process.
    pub(crate) keeping: Option<Keeping>,
    pub(super) occupancy: OccupancyUpdates,
    /// The traffic that was persisted for longer than usual, since the statistics were last updated.
    pub(crate) persisted: Traffic,
}

impl Channels {
    pub(crate) fn new(
        retention: Retention,
        room: Room,
        namespaces: Vec<Namespace>,
        presence: Presence,
        now: Millis,
    ) -> Self {
        let clock = SerialClock::new(now);
        Self {
            map: HashMap::new(),
            forgotten: clock.last(),
            clock,
            retention,
            room,
            namespaces,
            presence,
            push: Push::default(),
            opened: 0,
            keeping: None,
            occupancy: OccupancyUpdates::default(),
            persisted: Traffic::default(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Channel> {
        self.map.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Channel> {
        self.map.get_mut(name)
    }

    /// The channel, which is created on its first use.
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

    /// The names of all channels, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Str> {
        self.map.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Calls `each` with every channel, in no order.
    pub(crate) fn each(&mut self, each: impl FnMut(&mut Channel)) {
        self.map.values_mut().for_each(each);
    }

    /// The number of channels, and how many of them were created since the last call.
    pub(crate) fn count(&mut self) -> (usize, usize) {
        (self.map.len(), std::mem::take(&mut self.opened))
    }

    /// Commits an entry to the channel, if the channel exists.
    pub(super) fn commit(&mut self, name: &str, entry: &Arc<Entry>, turn: &mut Turn<'_>) {
        if let Some(channel) = self.map.get_mut(name) {
            channel.commit(entry, turn);
            self.persisted.add(channel.newly_persisted());
        }
    }

    /// The position for an entry that is committed next.
    pub(crate) fn next_position(&mut self, now: Now) -> Position {
        self.clock.next(now.wall)
    }

    /// The position of the newest entry of the app.
    pub(crate) fn last_position(&self) -> Position {
        self.clock.last()
    }

    /// The state of the clock and of the dropped channels, to persist.
    pub(crate) fn serials(&self) -> Serials {
        Serials { last: self.clock.last(), forgotten: self.forgotten }
    }

    /// Continues after the serials of an earlier process.
    pub(crate) fn go_on_after(&mut self, Serials { last, forgotten }: Serials) {
        self.clock.go_on_after(last);
        self.forgotten = forgotten;
    }

    /// Drops expired entries, and channels that are empty and have been unused for as long as a client can resume.
    pub(crate) fn sweep(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.steady;
        let mut floors = Vec::new();
        self.drop_channels(turn.outputs, |channel| {
            channel.expire(now);
            let dropped = channel.is_forgettable(now);
            if !dropped {
                channel.trim_kept(&mut floors);
            }
            dropped
        });
        turn.outputs.append(&mut floors);
        self.room.reconsider();
    }

    /// Whether messages of the channel can be changed.
    pub(super) fn is_mutable(&self, name: &str) -> bool {
        self.namespace_of(name).is_some_and(|namespace| namespace.mutable)
    }

    /// Whether devices can subscribe to push notifications of the channel.
    pub(crate) fn is_push_enabled(&self, name: &str) -> bool {
        self.namespace_of(name).is_some_and(|namespace| namespace.push_enabled)
    }

    /// The push notifications for the messages that carry a payload in `extras.push`. An invalid payload is ignored:
    /// the message is published without a push.
    pub(super) fn pushes(&self, name: &str, messages: &[Message], now: Now) -> Vec<Delivery> {
        let extras = messages.iter().filter_map(|message| message.extras.as_ref());
        extras
            .filter_map(|extras| Payload::read(extras.get("push")?.as_object()?).ok())
            .flat_map(|payload| self.push.channel_deliveries(name, &payload, now))
            .collect()
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
