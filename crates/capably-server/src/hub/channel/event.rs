//! Events of channels, for the webhooks and the metachannel `[meta]channel.lifecycle` of the app.
//!
//! An event is noted when its entry is applied, and the front takes all of them after each input, in their order. Nothing is
//! noted for sources that nobody observes, nor for metachannels.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use capably_protocol::{MessageAction, Millis, PresenceAction, ServerFrame, Str};

use super::{
    Channel, Channels, channels::NO_RETENTION, commit::Commit, excerpt::Excerpt,
    occupancy::Occupancy,
};
use crate::hub::{
    Now,
    log::{
        Entry,
        position::Position,
        proposal::{Body, Proposal, Proposer},
    },
    metachannel::is_metachannel,
};

/// The shortest time between two events of a channel's occupancy, unless a count changes from or to zero.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long entries that webhooks deliver are stored, at least: as long as their events may wait, and some more for a restart.
pub(super) const EVENTS_KEPT: Duration = Duration::from_secs(600);

/// The sources of events that are observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) messages: bool,
    pub(crate) presence: bool,
    pub(crate) lifecycle: bool,
    pub(crate) occupancy: bool,
}

impl Observed {
    /// Whether there is any.
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

/// An event of a channel.
#[derive(Clone, Debug)]
pub(crate) struct ChannelEvent {
    pub(crate) channel: Str,
    /// In ms since the epoch.
    pub(crate) time: Millis,
    pub(crate) happening: Happening,
}

/// The content of an event.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// Messages or presence events that were committed.
    Entry(Arc<Entry>),
    Opened(Occupancy),
    Closed,
    Occupancy(Occupancy),
}

/// The events that the front has not taken yet, and the occupancy that it was told.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The sources that rules of webhooks have.
    hooked: Observed,
    /// Whether a client is attached to the metachannel.
    is_watched: bool,
    waiting: Vec<Waiting>,
    /// An entry of a channel that is not in memory, until its commit ends.
    unlogged: Option<Arc<Entry>>,
    /// Channels whose occupancy may have changed.
    changed: BTreeSet<Str>,
    told: BTreeMap<Str, Told>,
    /// Changes that are combined, by the time when they are due.
    due: BTreeSet<(Duration, Str)>,
}

#[derive(Debug)]
enum Waiting {
    Entry(Str, Arc<Entry>),
    Opened(Str),
    Closed(Str),
}

/// The occupancy of a channel as the front was told, and when.
#[derive(Debug)]
struct Told {
    occupancy: Occupancy,
    at: Duration,
}

impl Events {
    fn observed(&self) -> Observed {
        let Observed { lifecycle, occupancy, .. } = self.hooked;
        let watched = self.is_watched;
        Observed { lifecycle: lifecycle || watched, occupancy: occupancy || watched, ..self.hooked }
    }

    fn observes(&self, name: &str, body: &Body) -> bool {
        match body {
            _ if is_metachannel(name) => false,
            Body::Messages(_) | Body::Change(_) => self.hooked.messages,
            Body::Presence(_) | Body::Departure(_) => self.hooked.presence,
            Body::Annotations(_) | Body::Summary(_) | Body::Adoption(_) | Body::Objects(_) => false,
        }
    }

    pub(super) fn opened(&mut self, name: &Str) {
        if self.observed().lifecycle && !is_metachannel(name) {
            self.waiting.push(Waiting::Opened(name.clone()));
        }
    }

    pub(super) fn closed(&mut self, name: &Str) {
        if self.observed().lifecycle && !is_metachannel(name) {
            self.waiting.push(Waiting::Closed(name.clone()));
        }
    }

    pub(super) fn occupancy_changed(&mut self, name: &str) {
        let is_observed = self.observed().occupancy && !is_metachannel(name);
        if is_observed && !self.changed.contains(name) {
            self.changed.insert(name.into());
        }
    }

    /// An entry that no log of this server has.
    pub(super) fn unlogged(&mut self, entry: &Arc<Entry>) {
        if self.hooked.any() {
            self.unlogged = Some(Arc::clone(entry));
        }
    }

    fn forget_unobserved(&mut self) {
        if !self.observed().occupancy {
            self.told.clear();
            self.due.clear();
            self.changed.clear();
        }
    }
}

impl Channels {
    /// Sets the sources of events that webhooks report from now on.
    pub(crate) fn observe(&mut self, hooked: Observed) {
        self.events.hooked = hooked;
        self.events.forget_unobserved();
    }

    /// Sets whether the events of the metachannel are observed from now on.
    pub(super) fn watch_lifecycle(&mut self, is_watched: bool) {
        self.events.is_watched = is_watched;
        self.events.forget_unobserved();
    }

    /// The sources of events that are observed.
    pub(crate) fn observed(&self) -> Observed {
        self.events.observed()
    }

    /// Whether webhooks report any source.
    pub(super) fn is_hooked(&self) -> bool {
        self.events.hooked.any()
    }

    /// Whether an entry that is about to be applied makes an event. In a cluster, each entry makes one at its proposer.
    pub(super) fn makes_event(&self, name: &str, body: &Body, proposer: Option<Proposer>) -> bool {
        self.events.observes(name, body)
            && self.node().is_none_or(|node| proposer.is_some_and(|it| it.node == node))
    }

    /// Notes the event of an entry that was applied.
    pub(super) fn note_applied(&mut self, name: &Str, position: Position) {
        let unlogged = self.events.unlogged.take().filter(|entry| entry.position() == position);
        let logged = self.get(name).and_then(|channel| channel.log.get(position)).cloned();
        if let Some(entry) = logged.or(unlogged)
            && is_reported(&entry)
        {
            self.events.waiting.push(Waiting::Entry(Str::from(&**name), entry));
        }
    }

    /// Keeps messages of a channel that is not in memory until their commit ends: no log has them.
    pub(super) fn note_unlogged(&mut self, name: &Str, commit: Commit, body: &Body) {
        if let Body::Messages(frame) = body
            && self.events.observes(name, body)
        {
            let channel = Channel::new(name.clone(), NO_RETENTION, self.new_log(Position(0)));
            let delivery = channel.delivery_of(commit, frame.clone());
            self.events.unlogged = Some(Entry::new(commit.position, commit.at, delivery));
        }
    }

    /// Notes the event of an entry that this node has proposed, and that it does not apply as the channel is not in memory.
    pub(super) fn note_not_applied(&mut self, position: Position, proposal: &Proposal, now: Now) {
        let Proposal { channel, time, body, .. } = proposal;
        if !self.events.observes(channel, body) {
            return;
        }
        let commit = Commit { position, time: *time, at: now.steady_at(*time), proposer: None };
        self.note_unlogged(channel, commit, body);
        self.note_applied(channel, position);
    }

    /// The events since the last call, in their order. Changes of the occupancy come last.
    pub(crate) fn take_events(&mut self, now: Now) -> Vec<ChannelEvent> {
        let waiting = std::mem::take(&mut self.events.waiting);
        let mut events: Vec<_> = waiting
            .into_iter()
            .map(|waiting| {
                let (channel, time, happening) = match waiting {
                    Waiting::Entry(channel, entry) => {
                        (channel, entry_time(&entry), Happening::Entry(entry))
                    }
                    Waiting::Opened(channel) => {
                        let occupancy = self.occupancy_of(&channel);
                        (channel, now.wall, Happening::Opened(occupancy))
                    }
                    Waiting::Closed(channel) => (channel, now.wall, Happening::Closed),
                };
                ChannelEvent { channel, time, happening }
            })
            .collect();
        self.take_occupancy(now, &mut events);
        events
    }

    fn take_occupancy(&mut self, now: Now, events: &mut Vec<ChannelEvent>) {
        while let Some((due, _)) = self.events.due.first()
            && *due <= now.steady
        {
            if let Some((_, name)) = self.events.due.pop_first() {
                self.events.changed.insert(name);
            }
        }
        for channel in std::mem::take(&mut self.events.changed) {
            let occupancy = self.occupancy_of(&channel);
            let Events { told, due, .. } = &mut self.events;
            let before = told.get(&channel);
            let was = before.map(|told| told.occupancy).unwrap_or_default();
            if was == occupancy {
                continue;
            }
            let next = before.map(|told| told.at + INTERVAL);
            let used = |it: &Occupancy| it.metrics().map(|(_, count)| count > 0);
            if let Some(next) = next.filter(|next| *next > now.steady)
                && used(&was) == used(&occupancy)
            {
                due.insert((next, channel));
                continue;
            }
            if occupancy == Occupancy::default() {
                told.remove(&channel);
            } else {
                told.insert(channel.clone(), Told { occupancy, at: now.steady });
            }
            let happening = Happening::Occupancy(occupancy);
            events.push(ChannelEvent { channel, time: now.wall, happening });
        }
    }

    /// The time when [`take_events`](Self::take_events) has an event of the occupancy.
    pub(crate) fn next_event(&self) -> Option<Duration> {
        self.events.due.first().map(|(due, _)| *due)
    }
}

impl Excerpt {
    /// The events of the entries, with their positions.
    pub(crate) fn events(&self, name: &Str) -> Vec<(Position, ChannelEvent)> {
        let entries = self.log().iter().filter(|entry| is_reported(entry));
        let events = entries.map(|entry| {
            let (channel, time) = (name.clone(), entry_time(entry));
            let happening = Happening::Entry(Arc::clone(entry));
            (entry.position(), ChannelEvent { channel, time, happening })
        });
        events.collect()
    }
}

/// Whether rules are told of an entry. Summaries of annotations and members of a sync are no events of theirs.
fn is_reported(entry: &Entry) -> bool {
    match entry.frame() {
        ServerFrame::Message(frame) => {
            frame.items.iter().all(|item| item.action != Some(MessageAction::Summary))
        }
        ServerFrame::Presence(frame) => {
            frame.items.iter().all(|item| item.action != Some(PresenceAction::Present))
        }
        _ => false,
    }
}

fn entry_time(entry: &Entry) -> Millis {
    match entry.frame() {
        ServerFrame::Presence(frame) => frame.timestamp.unwrap_or_default(),
        _ => entry.timestamp(),
    }
}
