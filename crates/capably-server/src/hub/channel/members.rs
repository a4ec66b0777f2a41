//! Members: applies presence events of clients, and those of clients that are gone, to a channel.

use std::time::Duration;

use capably_protocol::{
    ChannelMode, ErrorInfo, PresenceMessage, Str,
    frame::{Delivery, Publish},
};

use super::{Channels, attachment::Attachments};
use crate::hub::{
    Turn,
    access::{capability::Operation, identity::Identity},
    channel_name, error,
    ids::ConnectionId,
    log::{Entry, payload::take_items, position::Position},
    message::publish::Accepted,
    presence::{EventOrigin, check_events},
};

/// A PRESENCE of a client.
pub(crate) struct PresenceFrame<'a> {
    pub(crate) connection: &'a ConnectionId,
    pub(crate) identity: &'a Identity,
    pub(crate) attached: &'a Attachments,
    pub(crate) publish: Publish<PresenceMessage>,
    /// Whether an earlier copy of the frame was accepted. The events are then applied only to members that have left
    /// since, because their client was disconnected for too long.
    pub(crate) repeated: bool,
}

impl Channels {
    /// Applies the events of a PRESENCE, all or none (RTP8, RTP9, RTP10, RTP14, RTP15).
    ///
    /// # Errors
    /// 40010 for the channel's name, 40160 for the capability, 40165 for the mode, 91001 on a channel that is not
    /// attached, 40012 and 91000 for a client id, 91003 for too many members, 40009 for the size, 40013 for a
    /// broken encoding, 40000 for the rest.
    pub(crate) fn publish_presence(
        &mut self,
        frame: PresenceFrame<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Accepted, ErrorInfo> {
        let PresenceFrame { connection, identity, attached, publish, repeated } = frame;
        let Publish { channel: name, msg_serial, items, .. } = publish;
        let attachment = attached.get(&name);
        let name = channel_name::plain_str(&name)?;
        identity.require(&name, Operation::Presence)?;
        let attachment = attachment.ok_or_else(error::not_attached)?;
        if !attachment.granted.contains(ChannelMode::Presence.flag()) {
            return Err(error::mode_missing(ChannelMode::Presence.name()));
        }
        let max_size = turn.settings.max_message_size;
        let (items, bytes) = check_events(&name, take_items(items), identity, max_size)?;
        let max_members = turn.settings.max_presence_members;
        self.presence.require_room(connection, &name, &items, max_members)?;

        let position = self.next_position(turn.now);
        let messages = items.len();
        let mut events = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let place = (msg_serial, index);
            let origin = EventOrigin { connection, channel: &name, place, repeated };
            events.extend(self.presence.apply(item, &origin, turn.now.wall));
        }
        self.commit_events(&name, connection, events, position, turn);
        Ok(Accepted { position, messages, bytes, chosen_id: None })
    }

    /// Commits presence events of a connection. Without any, the channel need not even exist.
    fn commit_events(
        &mut self,
        name: &Str,
        connection: &ConnectionId,
        events: Vec<PresenceMessage>,
        position: Position,
        turn: &mut Turn<'_>,
    ) {
        if events.is_empty() {
            return;
        }
        self.occupancy_changed(name);
        let mut delivery = Delivery::new(Str::from(&**name), events);
        delivery.channel_serial = Some(position.channel_serial());
        delivery.connection_id = Some(connection.clone());
        delivery.timestamp = Some(turn.now.wall);
        let channel = self.get_or_create(name);
        channel.commit(&Entry::presence(position, turn.now.steady, delivery), turn);
        let persisted = channel.newly_persisted();
        self.persisted.add(persisted);
    }

    /// The members of a connection leave a channel. Returns their client ids, with the ids of their last events.
    pub(super) fn leave(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        turn: &mut Turn<'_>,
    ) -> Vec<(Str, Str)> {
        let members = self.presence.members_of(connection, name);
        if members.is_empty() {
            return members;
        }
        let position = self.next_position(turn.now);
        let clients = members.iter().map(|(client, _)| client);
        let events = self.presence.leave(connection, name, clients, position, turn.now.wall);
        self.commit_events(name, connection, events, position, turn);
        members
    }

    /// All members of a connection leave for good, as the connection has ended.
    pub(crate) fn leave_all(&mut self, connection: &ConnectionId, turn: &mut Turn<'_>) {
        self.presence.expect_back(connection, None);
        for name in self.presence.channels_of(connection) {
            self.leave(connection, &name, turn);
        }
        self.presence.forget(connection);
    }

    /// Members leave whose client was disconnected for too long, except on channels where `has_returned` is true for
    /// the connection. They enter again when the client returns and repeats its events.
    pub(crate) fn handle_departures(
        &mut self,
        has_returned: impl Fn(&ConnectionId, &Str) -> bool,
        turn: &mut Turn<'_>,
    ) {
        while let Some(connection) = self.presence.pop_departure(turn.now.steady) {
            let names = self.presence.channels_of(&connection);
            for name in names.into_iter().filter(|name| !has_returned(&connection, name)) {
                let left = self.leave(&connection, &name, turn);
                self.presence.remember_lapsed(&connection, &name, left);
            }
        }
    }

    /// Schedules the departure of a connection's members from channels that the client does not attach again `until`
    /// then.
    pub(crate) fn expect_back(&mut self, connection: &ConnectionId, until: Duration) {
        self.presence.expect_back(connection, Some(until));
    }
}
