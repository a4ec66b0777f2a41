//! Members: applies presence events of clients, and those of clients that are gone, to a channel.

use std::time::Duration;

use capably_protocol::{
    ChannelMode, ErrorInfo, PresenceAction, PresenceMessage, Str,
    frame::{Delivery, Publish},
};

use super::{
    Channels,
    attachment::Attachments,
    commit::Commit,
    order::{Order, Proposed, Ticket},
};
use crate::hub::{
    Turn,
    access::{capability::Operation, identity::Identity},
    channel_name, error,
    ids::ConnectionId,
    log::{
        Entry, Log,
        payload::take_items,
        proposal::{Body, Departure, Events, Owner, Proposer},
    },
    message::publish::Receipt,
    presence::{check_events, event_id, leaving, left_id},
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
    /// The time for which the members stay while their client is disconnected.
    pub(crate) remain: Duration,
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
    ) -> Result<Proposed, ErrorInfo> {
        let PresenceFrame { connection, identity, attached, publish, repeated, remain } = frame;
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
        let receipt = Receipt { messages: items.len(), bytes, chosen_id: None };
        let connection = connection.clone();
        // In a cluster the engine recognises a repeated frame, and the proposer decides on its effect.
        let repeated = repeated && self.node().is_none();
        let again = None;
        let events = Events { connection, msg_serial, repeated, items, max_members, remain, again };
        self.propose(&name, Body::Presence(events), receipt, turn)
    }

    /// Applies committed presence events of a client.
    ///
    /// # Errors
    /// Code 91003 for too many members.
    pub(super) fn apply_presence(
        &mut self,
        name: &Str,
        commit: Commit,
        events: Events,
        turn: &mut Turn<'_>,
    ) -> Result<(), ErrorInfo> {
        if matches!(self.order, Order::Replay) {
            self.append_as_proposed(name, commit, events, turn);
            return Ok(());
        }
        let (connection, count) = (events.connection.clone(), events.items.len());
        let place = (commit.position, commit.time);
        let node = commit.proposer.map(|proposer| proposer.node);
        let applied = self.presence.apply_all(name, events, node, place);
        if applied.as_ref().map_or(0, Vec::len) < count {
            self.order.not_applied(commit.position);
        }
        let applied = applied?;
        self.append_events(name, &connection, applied, commit, turn);
        Ok(())
    }

    /// Applies a committed departure.
    pub(super) fn apply_departure(
        &mut self,
        name: &Str,
        commit: Commit,
        departure: Departure,
        turn: &mut Turn<'_>,
    ) {
        if matches!(self.order, Order::Replay) {
            self.append_departure(name, commit, departure, turn);
            return;
        }
        let Commit { position, time, .. } = commit;
        let is_node = self.node().is_some() && departure.owner.is_some();
        let members = if is_node {
            self.presence.members_of(&departure.connection, name)
        } else {
            Vec::new()
        };
        let events = self.presence.leave(name, &departure, position, time);
        if events.len() < departure.members.len() {
            self.order.not_applied(position);
        }
        let Departure { connection, owner, .. } = departure;
        if let Some(owner) = owner {
            self.departed(name, &connection, &owner);
            // The client may be attached here all the same: its adoption was late or not committed, or it has come back since
            // this node has proposed the departure.
            if is_node && !events.is_empty() {
                // If an event of a member is under way, that decides: it enters the member again, or says that it has left.
                let is_decided = |member: &PresenceMessage| {
                    self.order.expects_event(name, &connection, member.client_id.as_ref())
                };
                let mut left = members;
                left.retain(|member| !is_decided(member));
                self.evicted.push((connection.clone(), name.clone(), left));
            }
        }
        self.append_events(name, &connection, events, commit, turn);
    }

    /// Proposes that members of a connection enter again, with their last events. They left by mistake. A member that has
    /// entered again meanwhile, at another node, stays as it is: the ids say which events are repeated.
    pub(crate) fn enter_again(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        left: Vec<PresenceMessage>,
        remain: Duration,
        turn: &mut Turn<'_>,
    ) {
        let items = left.into_iter().map(|member| {
            let PresenceMessage { id, client_id, data, encoding, extras, .. } = member;
            let action = Some(PresenceAction::Enter);
            PresenceMessage { id, action, client_id, data, encoding, extras, ..Default::default() }
        });
        let items: Vec<_> = items.collect();
        if items.is_empty() {
            return;
        }
        let events = Events {
            connection: connection.clone(),
            msg_serial: u64::MAX,
            repeated: false,
            items,
            max_members: usize::MAX,
            remain,
            // The position makes the id of the proposal differ from those of the client's frames.
            again: Some(self.order.newest()),
        };
        let _ = self.propose(name, Body::Presence(events), Receipt::default(), turn);
    }

    /// Appends presence events to the log as their client sent them, without the members.
    pub(super) fn append_as_proposed(
        &mut self,
        name: &Str,
        commit: Commit,
        events: Events,
        turn: &mut Turn<'_>,
    ) {
        let Events { connection, msg_serial, items, .. } = events;
        if let Some(Proposer { node, .. }) = commit.proposer {
            self.presence.replay_owner(&connection, Owner { node, since: commit.position });
        }
        let events = items.into_iter().enumerate().map(|(index, item)| PresenceMessage {
            id: Some(event_id(&item, &connection, (msg_serial, index))),
            connection_id: Some(connection.clone()),
            timestamp: Some(commit.time),
            ..item
        });
        // A repeated event has an effect only if the member has left since.
        let log = self.get(name).map(|channel| &channel.log);
        let is_known = |event: &PresenceMessage| {
            let entries = log.into_iter().flat_map(Log::iter).rev();
            let mut earlier = entries
                .filter(|entry| entry.connection() == Some(&connection))
                .flat_map(|entry| entry.members().iter().rev())
                .filter(|earlier| earlier.client_id == event.client_id);
            earlier.next().is_some_and(|earlier| earlier.id == event.id)
        };
        let events = events.filter(|event| !is_known(event)).collect();
        self.append_events(name, &connection, events, commit, turn);
    }

    /// Appends the events of a departure to the log, without the members.
    pub(super) fn append_departure(
        &mut self,
        name: &Str,
        commit: Commit,
        departure: Departure,
        turn: &mut Turn<'_>,
    ) {
        if !self.presence.was_effective(&departure) {
            return;
        }
        let Departure { connection, members, repeated, .. } = departure;
        let log = self.get(name).map(|channel| &channel.log);
        // A repeated departure has an effect only on members without an event since.
        let has_left = |(_, member): &(usize, PresenceMessage)| {
            let entries = log.into_iter().flat_map(Log::iter).rev();
            let own = entries.filter(|entry| entry.connection() == Some(&connection));
            let mut events = own.flat_map(|entry| entry.members().iter().rev());
            let newest = events.find(|event| event.client_id == member.client_id);
            !repeated || newest.is_none_or(|newest| newest.id == member.id)
        };
        let members = members.into_iter().enumerate().filter(has_left);
        let events = members.map(|(index, member)| PresenceMessage {
            id: Some(left_id(commit.position, index)),
            action: Some(PresenceAction::Leave),
            connection_id: Some(connection.clone()),
            timestamp: Some(commit.time),
            ..member
        });
        let events = events.collect();
        self.append_events(name, &connection, events, commit, turn);
    }

    /// Appends the presence events of a connection. Without any, the channel need not even exist.
    fn append_events(
        &mut self,
        name: &Str,
        connection: &ConnectionId,
        events: Vec<PresenceMessage>,
        commit: Commit,
        turn: &mut Turn<'_>,
    ) {
        if events.is_empty() {
            return;
        }
        self.occupancy_changed(name);
        let mut delivery = Delivery::new(Str::from(&**name), events);
        delivery.channel_serial = Some(commit.position.channel_serial());
        delivery.connection_id = Some(connection.clone());
        delivery.timestamp = Some(commit.time);
        if matches!(self.order, Order::Own(_)) {
            self.get_or_create(name);
        }
        self.append(name, &Entry::presence(commit.position, commit.at, delivery), turn);
    }

    /// The members of a connection leave a channel, because their client or this server wishes it. Returns the proposal that
    /// waits for the engine, if there are members.
    pub(crate) fn leave(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        self.propose_departure(connection, name, false, None, turn)
    }

    /// The members of a connection leave a channel, because their client is disconnected. In a cluster, only members that
    /// no other node owns.
    pub(crate) fn lapse(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        lapsed: bool,
        turn: &mut Turn<'_>,
    ) {
        let owner = self.presence.owner(name, connection);
        if owner.is_none_or(|owner| Some(owner.node) == self.node())
            && !self.stays(connection, name, turn.now.steady)
        {
            self.propose_departure(connection, name, lapsed, owner, turn);
        }
    }

    fn propose_departure(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        lapsed: bool,
        owner: Option<Owner>,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let members = leaving(self.presence.members_of(connection, name));
        if members.is_empty() {
            return None;
        }
        let (connection, repeated) = (connection.clone(), false);
        let departure = Departure { connection, members, repeated, lapsed, owner };
        self.propose_one(name, departure, turn)
    }

    /// Proposes a departure of no member, which tells when this node knows of all events so far.
    pub(super) fn propose_barrier(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let (members, connection) = (Vec::new(), connection.clone());
        let (repeated, lapsed, owner) = (false, false, None);
        let departure = Departure { connection, members, repeated, lapsed, owner };
        self.propose_one(name, departure, turn)
    }

    fn propose_one(
        &mut self,
        name: &Str,
        departure: Departure,
        turn: &mut Turn<'_>,
    ) -> Option<Ticket> {
        let left = self.propose(name, Body::Departure(departure), Receipt::default(), turn);
        debug_assert!(left.is_ok(), "a departure is always possible");
        match left {
            Ok(Proposed::Waiting(ticket)) => Some(ticket),
            Ok(Proposed::Committed(_)) | Err(_) => None,
        }
    }

    /// All members of a connection leave, as it was closed. Returns the proposals that wait for the engine.
    pub(crate) fn leave_all(
        &mut self,
        connection: &ConnectionId,
        turn: &mut Turn<'_>,
    ) -> Vec<Ticket> {
        self.presence.expect_back(connection, None);
        let names = self.presence.channels_of(connection).into_iter();
        let departures = names.filter_map(|name| self.leave(connection, &name, turn)).collect();
        self.presence.forget(connection);
        departures
    }

    /// All members of a connection leave, as its client was disconnected for too long to resume it.
    pub(crate) fn lapse_all(&mut self, connection: &ConnectionId, turn: &mut Turn<'_>) {
        self.presence.expect_back(connection, None);
        for name in self.presence.channels_of(connection) {
            self.lapse(connection, &name, false, turn);
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
                self.lapse(&connection, &name, true, turn);
            }
        }
    }

    /// Schedules the departure of a connection's members from channels that the client does not attach again `until`
    /// then.
    pub(crate) fn expect_back(&mut self, connection: &ConnectionId, until: Duration) {
        self.presence.expect_back(connection, Some(until));
    }
}
