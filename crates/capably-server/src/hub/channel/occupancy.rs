//! Occupancy: the attachments and members of a channel, counted by mode, and its metadata events (CHM).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use capably_protocol::{
    ChannelMode, Data, Flags, Message, MessageAction, ServerFrame, Str, frame::Delivery,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Channels;
use crate::hub::{Output, Turn, ids::NodeId, metachannel::is_metachannel};

/// The numbers of attachments and members of a channel (CHM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Occupancy {
    pub(crate) connections: u32,
    pub(crate) publishers: u32,
    pub(crate) subscribers: u32,
    pub(crate) presence_connections: u32,
    pub(crate) presence_members: u32,
    pub(crate) presence_subscribers: u32,
    pub(crate) object_publishers: u32,
    pub(crate) object_subscribers: u32,
}

impl Occupancy {
    /// The counts with their names on the wire.
    pub(crate) fn metrics(&self) -> [(&'static str, u32); 8] {
        [
            ("connections", self.connections),
            ("publishers", self.publishers),
            ("subscribers", self.subscribers),
            ("presenceConnections", self.presence_connections),
            ("presenceMembers", self.presence_members),
            ("presenceSubscribers", self.presence_subscribers),
            ("objectPublishers", self.object_publishers),
            ("objectSubscribers", self.object_subscribers),
        ]
    }

    /// The details of the channel (CHD).
    pub(crate) fn details(&self, channel: &str, is_active: bool) -> Value {
        let metrics = BTreeMap::from(self.metrics());
        json!({
            "channelId": channel,
            "name": channel,
            "status": { "isActive": is_active, "occupancy": { "metrics": metrics } },
        })
    }

    /// Adds the attachments at another node. All nodes have the same members.
    fn add(&mut self, other: &Self) {
        for (count, more) in [
            (&mut self.connections, other.connections),
            (&mut self.publishers, other.publishers),
            (&mut self.subscribers, other.subscribers),
            (&mut self.presence_connections, other.presence_connections),
            (&mut self.presence_subscribers, other.presence_subscribers),
            (&mut self.object_publishers, other.object_publishers),
            (&mut self.object_subscribers, other.object_subscribers),
        ] {
            *count = count.saturating_add(more);
        }
        self.presence_members = self.presence_members.max(other.presence_members);
    }

    /// Counts the change of an attachment's modes. An attachment has at least one mode: without any, there is none.
    fn count(&mut self, before: Flags, after: Flags) {
        let change =
            |count: &mut u32, counts: &dyn Fn(Flags) -> bool| match (counts(before), counts(after))
            {
                (false, true) => *count += 1,
                (true, false) => *count = count.saturating_sub(1),
                (false, false) | (true, true) => {}
            };
        change(&mut self.connections, &|modes| modes != Flags::NONE);
        for (count, mode) in [
            (&mut self.publishers, ChannelMode::Publish),
            (&mut self.subscribers, ChannelMode::Subscribe),
            (&mut self.presence_connections, ChannelMode::Presence),
            (&mut self.presence_subscribers, ChannelMode::PresenceSubscribe),
            (&mut self.object_publishers, ChannelMode::ObjectPublish),
            (&mut self.object_subscribers, ChannelMode::ObjectSubscribe),
        ] {
            change(count, &|modes| modes.contains(mode.flag()));
        }
    }
}

/// The counts that an attachment requests: `metrics` for all, or `metrics.` and the name of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    All,
    One(&'static str),
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "metrics" {
            return Some(Self::All);
        }
        let wanted = text.strip_prefix("metrics.")?;
        let names = Occupancy::default().metrics().into_iter().map(|(name, _)| name);
        names.into_iter().find(|name| *name == wanted).map(Self::One)
    }

    fn of(self, occupancy: &Occupancy) -> BTreeMap<&'static str, u32> {
        let is_wanted = |(name, _): &(&'static str, u32)| match self {
            Self::All => true,
            Self::One(wanted) => *name == wanted,
        };
        occupancy.metrics().into_iter().filter(is_wanted).collect()
    }
}

/// The occupancy events of a subscriber.
#[derive(Debug)]
pub(super) struct Watch {
    metrics: Metrics,
    /// The occupancy that was sent last.
    sent: Option<Occupancy>,
}

impl Watch {
    pub(super) fn new(metrics: Metrics) -> Box<Self> {
        Box::new(Self { metrics, sent: None })
    }

    /// The time at which the subscriber is to receive the occupancy.
    fn urgency(&self, occupancy: &Occupancy) -> Urgency {
        let Some(sent) = &self.sent else { return Urgency::Now };
        let (sent, current) = (self.metrics.of(sent), self.metrics.of(occupancy));
        let is_used =
            |counts: &BTreeMap<_, u32>| counts.values().map(|it| *it > 0).collect::<Vec<_>>();
        if sent == current {
            Urgency::Never
        } else if is_used(&sent) != is_used(&current) {
            Urgency::Now
        } else {
            Urgency::Later
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Urgency {
    /// No count has changed.
    Never,
    /// Counts have changed, but none from or to zero.
    Later,
    /// A count has changed from or to zero.
    Now,
}

/// The time over which changes of counts are combined into one event.
const INTERVAL: Duration = Duration::from_secs(1);

/// The name of the events.
const EVENT: &str = "[meta]occupancy";

/// The channels whose occupancy is to be sent.
#[derive(Debug, Default)]
pub(super) struct OccupancyUpdates {
    /// Channels with subscribers to the occupancy, in which a count has changed in this turn.
    changed: BTreeSet<Str>,
    /// Channels whose changes are combined, by the time when they are sent.
    due: BTreeSet<(Duration, Str)>,
    /// The same channels without the times.
    scheduled: BTreeSet<Str>,
    /// In a cluster, the channels whose counts at this node may have changed since the other nodes were last told.
    untold: BTreeSet<Str>,
    /// The counts that the other nodes were last told.
    told: BTreeMap<Str, Occupancy>,
}

/// The occupancy of channels at the other nodes of a cluster.
pub(super) type RemoteOccupancy = BTreeMap<Str, BTreeMap<NodeId, Occupancy>>;

impl Channels {
    /// The current occupancy of the channel.
    pub(crate) fn occupancy_of(&self, name: &str) -> Occupancy {
        let used = self.get(name).map(|channel| channel.used).unwrap_or_default();
        let members = self.presence.count(name);
        let mut occupancy =
            Occupancy { presence_members: members.try_into().unwrap_or(u32::MAX), ..used };
        for (_, remote) in self.remote.get(name).into_iter().flatten() {
            occupancy.add(remote);
        }
        if self.reached(name).is_some() {
            occupancy.presence_members = members.try_into().unwrap_or(u32::MAX);
        }
        occupancy
    }

    /// The counts of this node that have changed since the last call, for the other nodes. With `all`, every count that is
    /// not zero.
    pub(crate) fn occupancy_to_tell(&mut self, all: bool) -> Vec<(Str, Occupancy)> {
        let mut names = std::mem::take(&mut self.occupancy.untold);
        if all {
            names.extend(self.map.keys().cloned());
            self.occupancy.told.clear();
        }
        let mut changed = Vec::new();
        for name in names {
            let channel = self.map.get(&*name);
            let mut own = channel.map(|channel| channel.used).unwrap_or_default();
            // Every node that has the channel in memory knows the members. The node of a member tells the others.
            if channel.is_some_and(|channel| channel.has_own_members()) {
                own.presence_members = self.presence.count(&name).try_into().unwrap_or(u32::MAX);
            }
            let told = &mut self.occupancy.told;
            let before = if own == Occupancy::default() {
                told.remove(&name)
            } else {
                told.insert(name.clone(), own)
            };
            if before.unwrap_or_default() != own {
                changed.push((name, own));
            }
        }
        changed
    }

    /// Another node has told its counts. With `all`, it has no others.
    pub(crate) fn set_remote_occupancy(
        &mut self,
        node: NodeId,
        all: bool,
        counts: Vec<(Str, Occupancy)>,
    ) {
        if all {
            self.forget_remote(|other| other == node);
        }
        for (name, occupancy) in counts {
            if occupancy == Occupancy::default() {
                if let Some(nodes) = self.remote.get_mut(&name) {
                    nodes.remove(&node);
                    if nodes.is_empty() {
                        self.remote.remove(&name);
                    }
                }
            } else {
                self.remote.entry(name.clone()).or_default().insert(node, occupancy);
            }
            self.watched_occupancy_changed(&name);
        }
    }

    /// Forgets the counts of nodes that are gone.
    pub(super) fn forget_occupancy_of_others(&mut self) {
        let alive = self.alive_nodes().clone();
        self.forget_remote(|node| !alive.contains(&node));
    }

    fn forget_remote(&mut self, is_forgotten: impl Fn(NodeId) -> bool) {
        let mut changed = Vec::new();
        self.remote.retain(|name, nodes| {
            let before = nodes.len();
            nodes.retain(|node, _| !is_forgotten(*node));
            if nodes.len() < before {
                changed.push(name.clone());
            }
            !nodes.is_empty()
        });
        changed.iter().for_each(|name| self.watched_occupancy_changed(name));
    }

    /// Counts an attachment whose modes have changed. Without any mode it is not attached.
    pub(super) fn count_attachment(&mut self, name: &str, before: Flags, after: Flags) {
        let Some(channel) = self.get_mut(name) else { return };
        channel.used.count(before, after);
        self.occupancy_changed(name);
    }

    /// Notes that the occupancy of the channel may have changed.
    pub(super) fn occupancy_changed(&mut self, name: &str) {
        if self.node().is_some() && !self.occupancy.untold.contains(name) {
            self.occupancy.untold.insert(name.into());
        }
        self.events.occupancy_changed(name);
        self.watched_occupancy_changed(name);
    }

    fn watched_occupancy_changed(&mut self, name: &str) {
        if is_metachannel(name) {
            self.reconsider_metachannel(name);
        }
        if self.get(name).is_some_and(|channel| channel.watchers > 0) {
            self.occupancy.changed.insert(name.into());
        }
    }

    /// Sends the occupancy that changed in this turn, or schedules it.
    pub(crate) fn send_occupancy(&mut self, turn: &mut Turn<'_>) {
        for name in std::mem::take(&mut self.occupancy.changed) {
            if self.send_occupancy_of(&name, Urgency::Now, turn) {
                let OccupancyUpdates { due, scheduled, .. } = &mut self.occupancy;
                if scheduled.insert(name.clone()) {
                    due.insert((turn.now.steady + INTERVAL, name));
                }
            }
        }
    }

    /// Sends the scheduled occupancy that is due.
    pub(crate) fn handle_occupancy(&mut self, turn: &mut Turn<'_>) {
        while self.next_occupancy().is_some_and(|due| due <= turn.now.steady) {
            let OccupancyUpdates { due, scheduled, .. } = &mut self.occupancy;
            let Some((_, name)) = due.pop_first() else { break };
            scheduled.remove(&name);
            self.send_occupancy_of(&name, Urgency::Later, turn);
        }
    }

    /// The time when [`handle_occupancy`](Self::handle_occupancy) is needed next.
    pub(crate) fn next_occupancy(&self) -> Option<Duration> {
        self.occupancy.due.first().map(|(due, _)| *due)
    }

    /// Sends the occupancy of one channel to the subscribers for which it is at least this urgent. Returns whether it
    /// is to be sent to others later.
    fn send_occupancy_of(&mut self, name: &str, least: Urgency, turn: &mut Turn<'_>) -> bool {
        let occupancy = self.occupancy_of(name);
        let position = self.unlogged_position(turn.now.wall);
        let Some(channel) = self.get_mut(name) else { return false };
        let mut left = false;
        for (name, transport, subscriber) in channel.watching() {
            let may_see = subscriber.modes.contains(ChannelMode::Subscribe.flag());
            let Some(watch) = subscriber.watch.as_mut().filter(|_| may_see) else { continue };
            match watch.urgency(&occupancy) {
                Urgency::Never => continue,
                Urgency::Later if least == Urgency::Now => {
                    left = true;
                    continue;
                }
                Urgency::Later | Urgency::Now => {}
            }
            watch.sent = Some(occupancy);
            let counts = json!({ "metrics": watch.metrics.of(&occupancy) });
            let message = Message {
                name: Some(Str::from_static(EVENT)),
                data: Data::from(counts.to_string()),
                encoding: Some(Str::from_static("json")),
                action: Some(MessageAction::Meta),
                ..Message::default()
            };
            // The event is not in the log: without a channel serial, no client resumes from it.
            let mut delivery = Delivery::new(name.clone(), vec![message]);
            delivery.id = Some(format!("occupancy:{}", position.channel_serial()).into());
            delivery.timestamp = Some(turn.now.wall);
            turn.outputs.push(Output::Frame(transport, ServerFrame::Message(delivery)));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_occupancy_parameter_selects_all_metrics_or_one() {
        assert_eq!(Metrics::parse("metrics"), Some(Metrics::All));
        assert_eq!(
            Metrics::parse("metrics.presenceMembers"),
            Some(Metrics::One("presenceMembers"))
        );
        for garbage in ["", "metrics.", "metrics.all", "metric", "connections"] {
            assert_eq!(Metrics::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn an_attachment_is_counted_by_its_modes() {
        let all = Flags::from_iter([
            ChannelMode::Publish,
            ChannelMode::Subscribe,
            ChannelMode::Presence,
            ChannelMode::PresenceSubscribe,
            ChannelMode::ObjectPublish,
            ChannelMode::ObjectSubscribe,
        ]);
        let mut occupancy = Occupancy::default();
        occupancy.count(Flags::NONE, all);
        let counts = |it: &Occupancy| it.metrics().map(|(_, count)| count);
        assert_eq!(counts(&occupancy), [1, 1, 1, 1, 0, 1, 1, 1]);
        occupancy.count(all, ChannelMode::Publish.flag());
        assert_eq!(counts(&occupancy), [1, 1, 0, 0, 0, 0, 0, 0]);
        occupancy.count(ChannelMode::Publish.flag(), Flags::NONE);
        assert_eq!(occupancy, Occupancy::default());
    }
}
