//! What clients say of their members: PRESENCE (RTP8, RTP9, RTP10, RTP14, RTP15).

use std::collections::BTreeSet;

use capably_protocol::{
    ChannelMode, Data, ErrorInfo, PresenceAction, PresenceMessage, Str,
    frame::{Delivery, Publish},
};

use super::Presence;
use crate::hub::{
    Now, Output, Settings,
    access::{capability::Operation, claims},
    channel::{Channels, name as channel_name},
    connection::{Connection, ack::Outcome},
    error,
    log::{
        Entry,
        payload::{canonicalize, take_items},
        position::{MAX_INDEX, Position},
    },
    message::publish::Accepted,
    output::ConnectionId,
};

/// Handles a PRESENCE, if all of it is in order. One that is sent again brings back members that have left
/// since because their client was away for too long.
///
/// # Errors
/// 40010 for the channel's name, 40160 for the capability, 40165 for the mode, 91001 on a channel that is not
/// attached, 40012 and 91000 for a client id, 91003 for too many members, 40009 for the size, 40013 for a
/// broken encoding, 40000 for the rest.
pub(crate) fn say(
    connection: &Connection,
    presence: &mut Presence,
    channels: &mut Channels,
    publish: Publish<PresenceMessage>,
    settings: &Settings,
    now: Now,
    outputs: &mut Vec<Output>,
) -> Result<Accepted, ErrorInfo> {
    let msg_serial = publish.msg_serial;
    // One that was handled before is told only what has to be told again.
    let repeated = msg_serial < connection.next_msg_serial;
    let outcome = connection.outcomes.get(msg_serial);
    if repeated && !matches!(outcome, Outcome::Accepted { .. }) {
        return Err(error::bad_request("the frame was not accepted before"));
    }
    let Publish { channel: name, items, .. } = publish;
    let attachment = connection.attached.get(&name);
    let name = channel_name::plain_str(&name)?;
    connection.identity.require(&name, Operation::Presence)?;
    let attachment = attachment.ok_or_else(error::not_attached)?;
    if !attachment.granted.contains(ChannelMode::Presence.flag()) {
        return Err(error::mode_missing(ChannelMode::Presence.name()));
    }
    let (items, bytes) = prepare(&name, take_items(items), connection, settings.max_message_size)?;
    check_room(presence, &connection.id, &name, &items, settings.max_presence_members)?;

    let position = channels.next_position(now);
    let messages = items.len();
    let mut told = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let place = (msg_serial, index);
        told.extend(presence.apply(&connection.id, &name, item, place, repeated, now));
    }
    tell(channels, &name, &connection.id, told, position, now, outputs);
    Ok(Accepted { position, messages, bytes, chosen_id: None })
}

/// Sends what members did to whom it concerns.
pub(super) fn tell(
    channels: &mut Channels,
    name: &Str,
    connection: &ConnectionId,
    told: Vec<PresenceMessage>,
    position: Position,
    now: Now,
    outputs: &mut Vec<Output>,
) {
    if told.is_empty() {
        return;
    }
    channels.occupancy_changed(name);
    let channel = channels.get_or_create(name);
    let mut delivery = Delivery::new(Str::from(&**name), told);
    delivery.channel_serial = Some(position.channel_serial());
    delivery.connection_id = Some(connection.clone());
    delivery.timestamp = Some(now.wall);
    channel.commit(&Entry::presence(position, now.steady, delivery), now, outputs);
    let persisted = channel.newly_persisted();
    channels.persisted.add(persisted);
}

/// Checks every message and brings it into the form in which it is stored. Gives their size, too.
fn prepare(
    channel: &str,
    mut items: Vec<PresenceMessage>,
    connection: &Connection,
    max_message_size: usize,
) -> Result<(Vec<PresenceMessage>, usize), ErrorInfo> {
    if items.is_empty() {
        return Err(error::bad_request("a presence frame needs at least one message"));
    }
    if items.len() > MAX_INDEX {
        return Err(error::too_many_messages(MAX_INDEX));
    }
    let claim = connection.identity.user_claim(channel);
    let mut size = 0;
    for item in &mut items {
        if !matches!(
            item.action,
            Some(PresenceAction::Enter | PresenceAction::Update | PresenceAction::Leave)
        ) {
            return Err(error::bad_request("clients enter, update and leave presence only"));
        }
        let client_id = connection.identity.client_id_for(item.client_id.take())?;
        let client_id = client_id.ok_or_else(error::no_client_id)?;
        claims::stamp(&mut item.extras, claim);
        canonicalize(&mut item.data, &mut item.encoding)?;
        // Members stay for long; the frame that they came in need not.
        item.client_id = Some(Str::from(&*client_id));
        item.data = match std::mem::take(&mut item.data) {
            Data::Text(text) => Data::Text(Str::from(&*text)),
            Data::Binary(bytes) => Data::from(bytes.to_vec()),
            other => other,
        };
        size += item.size();
    }
    if size > max_message_size {
        return Err(error::message_too_large(size, max_message_size));
    }
    Ok((items, size))
}

/// # Errors
/// Code 91003 when the channel would have more members than it may.
fn check_room(
    presence: &Presence,
    connection: &ConnectionId,
    name: &Str,
    items: &[PresenceMessage],
    max_members: usize,
) -> Result<(), ErrorInfo> {
    let set = presence.channels.get(name);
    let clients = items.iter().filter(|item| item.action != Some(PresenceAction::Leave));
    let new: BTreeSet<&Str> = clients
        .filter_map(|item| item.client_id.as_ref())
        .filter(|client| set.is_none_or(|set| set.get(connection, client).is_none()))
        .collect();
    if !new.is_empty() && presence.count(name) + new.len() > max_members {
        return Err(error::too_many_members(max_members));
    }
    Ok(())
}

impl Presence {
    /// Takes in what a member does. Returns what others are told: nothing if it changes nothing.
    fn apply(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        item: PresenceMessage,
        place: Place,
        repeated: bool,
        now: Now,
    ) -> Option<PresenceMessage> {
        let client = item.client_id.clone()?;
        let known = self.channels.get(name).and_then(|set| set.get(connection, &client));
        let lapsed = (Str::from(&**name), client.clone());
        let earlier = item.id.as_deref().and_then(|id| place_of(id, connection));
        let earlier = earlier.filter(|earlier| *earlier < place);
        if repeated || earlier.is_some() {
            // The client says again what it has said, not knowing what became of it. That is news if the
            // member has lapsed since.
            let at = earlier.unwrap_or(place);
            let was = |id: &Str| place_of(id, connection);
            let is_news = match known {
                Some(known) => known.id.as_ref().and_then(was).is_none_or(|known| known < at),
                // Who enters again may not have heard of all that was said before it lapsed.
                None => {
                    let lapsed = self.connections.get(connection)?.lapsed.get(&lapsed)?;
                    earlier.is_some() || was(lapsed).is_some_and(|lapsed| lapsed <= at)
                }
            };
            if !is_news {
                return None;
            }
        }
        let (msg_serial, index) = earlier.unwrap_or(place);
        let mut told = PresenceMessage {
            id: Some(format!("{connection}:{msg_serial}:{index}").into()),
            connection_id: Some(connection.clone()),
            timestamp: Some(now.wall),
            ..item
        };
        let is_new = known.is_none();
        if let Some(party) = self.connections.get_mut(connection) {
            party.lapsed.remove(&lapsed);
        }
        if told.action == Some(PresenceAction::Leave) {
            let left = self.remove(connection, name, &client)?;
            if told.data.is_none() && claims::is_stamp_only(told.extras.as_ref()) {
                told.data = left.data;
                told.encoding = left.encoding;
            }
            return Some(told);
        }
        // Who updates what was never entered enters (RTP9b).
        if is_new {
            told.action = Some(PresenceAction::Enter);
        }
        let party = self.connections.entry(connection.clone()).or_default();
        party.channels.insert(lapsed.0.clone());
        self.channels.entry(lapsed.0).or_default().put(told.clone());
        Some(told)
    }

    /// Takes a member out of a channel.
    pub(super) fn remove(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        client: &Str,
    ) -> Option<PresenceMessage> {
        let set = self.channels.get_mut(name)?;
        let left = set.remove(connection, client);
        if set.of(connection).next().is_none()
            && let Some(party) = self.connections.get_mut(connection)
        {
            party.channels.remove(name);
        }
        if set.is_empty() {
            self.channels.remove(name);
        }
        left
    }
}

/// Where a connection said something: in which frame, and where in it.
type Place = (u64, usize);

/// The place that an id tells, if it is one of the connection's.
fn place_of(id: &str, connection: &str) -> Option<Place> {
    let rest = id.strip_prefix(connection)?.strip_prefix(':')?;
    let (msg_serial, index) = rest.split_once(':')?;
    Some((msg_serial.parse().ok()?, index.parse().ok()?))
}
