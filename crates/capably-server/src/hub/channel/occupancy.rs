//! How many use a channel, and telling those who ask for it with the parameter `occupancy`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use capably_protocol::{
    ChannelMode, Data, Flags, Message, MessageAction, ServerFrame, Str, frame::Delivery,
};

use super::{Channel, Channels, Subscriber};
use crate::hub::{App, Now, Output, TransportId};

/// How many use a channel, by what they may do on it (CHM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The counts by their names.
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

    /// Counts an attachment by its modes: those that it had, and those that it has. An attachment has at least
    /// one; without any, there is none.
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

/// Which counts an attachment asks for: `metrics`, or `metrics.` and the name of one.
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

/// A subscriber that is told how many use the channel.
#[derive(Debug)]
pub(crate) struct Watch {
    metrics: Metrics,
    /// What it was told last.
    told: Option<Occupancy>,
}

impl Watch {
    pub(crate) fn new(metrics: Metrics) -> Box<Self> {
        Box::new(Self { metrics, told: None })
    }

    /// How much the subscriber should hear of it.
    fn news(&self, occupancy: &Occupancy) -> News {
        let Some(told) = &self.told else { return News::Now };
        let (told, now) = (self.metrics.of(told), self.metrics.of(occupancy));
        let is_used =
            |counts: &BTreeMap<_, u32>| counts.values().map(|it| *it > 0).collect::<Vec<_>>();
        if told == now {
            News::None
        } else if is_used(&told) != is_used(&now) {
            News::Now
        } else {
            News::Later
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    /// Numbers have changed.
    Later,
    /// There are users of a kind of which there were none, or none any more.
    Now,
}

/// How long changes of mere numbers are gathered before they are told.
const GATHERING: Duration = Duration::from_secs(1);

/// The name of the messages that tell how many use a channel.
const EVENT: &str = "[meta]occupancy";

/// What is to be told of channels.
#[derive(Debug, Default)]
pub(crate) struct OccupancyNews {
    /// Those of which something has changed just now, and where somebody wants to know.
    changed: BTreeSet<Str>,
    /// Those whose changes are gathered, by when they are told.
    due: BTreeSet<(Duration, Str)>,
    /// The same without the times.
    gathering: BTreeSet<Str>,
}

impl OccupancyNews {
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }
}

impl Channels {
    /// Takes note that the modes of an attachment to the channel have changed. None at all mean that it is not
    /// attached.
    pub(crate) fn count_attachment(&mut self, name: &str, before: Flags, after: Flags) {
        let Some(channel) = self.get_mut(name) else { return };
        channel.used.count(before, after);
        self.occupancy_changed(name);
    }

    /// Takes note that the occupancy of the channel may have changed.
    pub(crate) fn occupancy_changed(&mut self, name: &str) {
        if self.get(name).is_some_and(|channel| channel.watchers > 0) {
            self.occupancy.changed.insert(name.into());
        }
    }
}

impl Channel {
    /// The subscribers that are told how many use the channel, with the names by which they are attached.
    fn watching(&mut self) -> impl Iterator<Item = (&Str, TransportId, &mut Subscriber)> {
        let name = &self.name;
        let own = self.subscribers.iter_mut().map(move |(id, it)| (name, *id, it));
        let viewers = self.views.iter_mut().flat_map(|(name, viewers)| {
            viewers.subscribers.iter_mut().map(move |(id, it)| (name, *id, it))
        });
        own.chain(viewers).filter(|(_, _, subscriber)| subscriber.watch.is_some())
    }
}

impl App {
    /// How many use the channel now.
    pub(crate) fn occupancy_of(&self, channel: &str) -> Occupancy {
        let used = self.channels.get(channel).map(|channel| channel.used).unwrap_or_default();
        let members = self.presence.count(channel);
        Occupancy { presence_members: members.try_into().unwrap_or(u32::MAX), ..used }
    }

    /// Tells of what has changed, or sees to it that it is told in a while.
    pub(crate) fn tell_occupancy(&mut self, now: Now, outputs: &mut Vec<Output>) {
        for name in std::mem::take(&mut self.channels.occupancy.changed) {
            if self.tell_occupancy_of(&name, News::Now, now, outputs) {
                let OccupancyNews { due, gathering, .. } = &mut self.channels.occupancy;
                if gathering.insert(name.clone()) {
                    due.insert((now.steady + GATHERING, name));
                }
            }
        }
    }

    /// Tells of the changes that have been gathered for long enough.
    pub(crate) fn handle_occupancy(&mut self, now: Now, outputs: &mut Vec<Output>) {
        while self.channels.occupancy.next_due().is_some_and(|due| due <= now.steady) {
            let OccupancyNews { due, gathering, .. } = &mut self.channels.occupancy;
            let Some((_, name)) = due.pop_first() else { break };
            gathering.remove(&name);
            self.tell_occupancy_of(&name, News::Later, now, outputs);
        }
    }

    /// Tells of one channel whatever is news of at least this urgency. Returns whether there is any left.
    fn tell_occupancy_of(
        &mut self,
        name: &str,
        urgency: News,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let occupancy = self.occupancy_of(name);
        let position = self.channels.next_position(now);
        let Some(channel) = self.channels.get_mut(name) else { return false };
        let mut left = false;
        for (name, transport, subscriber) in channel.watching() {
            let may_see = subscriber.modes.contains(ChannelMode::Subscribe.flag());
            let Some(watch) = subscriber.watch.as_mut().filter(|_| may_see) else { continue };
            match watch.news(&occupancy) {
                News::None => continue,
                News::Later if urgency == News::Now => {
                    left = true;
                    continue;
                }
                News::Later | News::Now => {}
            }
            watch.told = Some(occupancy);
            let counts = serde_json::json!({ "metrics": watch.metrics.of(&occupancy) });
            let message = Message {
                name: Some(Str::from_static(EVENT)),
                data: Data::from(counts.to_string()),
                encoding: Some(Str::from_static("json")),
                action: Some(MessageAction::Meta),
                ..Message::default()
            };
            // It is no part of what the channel carries, and has no serial there.
            let mut delivery = Delivery::new(name.clone(), vec![message]);
            delivery.id = Some(format!("occupancy:{}", position.channel_serial()).into());
            delivery.timestamp = Some(now.wall);
            outputs.push(Output::Frame(transport, ServerFrame::Message(delivery)));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_all_or_one_that_there_is() {
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
    fn an_attachment_counts_by_its_modes() {
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
