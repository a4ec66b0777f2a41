//! Events on metachannels. Nothing is published on one without subscribers.

use capably_protocol::{Data, Message, Str};
use serde_json::Value;

use super::{
    Channels,
    event::{ChannelEvent, Happening},
    occupancy::Occupancy,
};
use crate::hub::{
    Turn,
    log::proposal::{Body, Items},
    message::publish::Receipt,
    metachannel::Metachannel,
};

impl Channels {
    /// Whether a client is attached to the metachannel, at any node.
    pub(crate) fn is_watched(&self, metachannel: Metachannel) -> bool {
        self.watched.contains(&metachannel)
    }

    /// The occupancy of a metachannel may have changed.
    pub(super) fn reconsider_metachannel(&mut self, name: &str) {
        let Some(metachannel) = Metachannel::of(name) else { return };
        let is_watched = self.occupancy_of(name).subscribers > 0;
        let has_changed = match is_watched {
            true => self.watched.insert(metachannel),
            false => self.watched.remove(&metachannel),
        };
        if has_changed && metachannel == Metachannel::ChannelLifecycle {
            self.watch_lifecycle(is_watched);
        }
    }

    /// Publishes an event on a metachannel, if it has subscribers.
    pub(crate) fn report(
        &mut self,
        metachannel: Metachannel,
        name: Option<&'static str>,
        data: impl FnOnce() -> Value,
        turn: &mut Turn<'_>,
    ) {
        if !self.is_watched(metachannel) {
            return;
        }
        let message = Message {
            name: name.map(Str::from_static),
            data: Data::from(data().to_string()),
            encoding: Some(Str::from_static("json")),
            ..Message::default()
        };
        let body = Body::Messages(Items { id: None, connection: None, items: vec![message] });
        let channel = Str::from_static(metachannel.name());
        // Nobody waits for the event. The engine's problem is logged.
        let _ = self.propose(&channel, body, Receipt::default(), turn);
    }

    /// Publishes an event of a channel on its metachannel.
    pub(crate) fn report_channel(&mut self, event: &ChannelEvent, turn: &mut Turn<'_>) {
        let (name, occupancy) = match &event.happening {
            Happening::Entry(_) => return,
            Happening::Opened(occupancy) => ("channel.opened", *occupancy),
            Happening::Closed => ("channel.closed", Occupancy::default()),
            Happening::Occupancy(occupancy) => ("channel.occupancy", *occupancy),
        };
        let is_active = !matches!(event.happening, Happening::Closed);
        let details = || occupancy.details(&event.channel, is_active);
        self.report(Metachannel::ChannelLifecycle, Some(name), details, turn);
    }
}
