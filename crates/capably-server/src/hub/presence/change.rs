//! Presence events of clients: checks them, and applies them to the members (RTP8, RTP9, RTP10, RTP14, RTP15).

use std::collections::BTreeSet;

use capably_protocol::{Data, ErrorInfo, Millis, PresenceAction, PresenceMessage, Str};

use super::Presence;
use crate::hub::{
    access::{claims, identity::Identity},
    error,
    ids::{ConnectionId, NodeId},
    log::{
        payload::canonicalize,
        position::{MAX_ITEMS, Position},
        proposal::{Events, Owner},
    },
};

/// The origin of a presence event.
#[derive(Debug)]
struct EventOrigin<'a> {
    connection: &'a ConnectionId,
    channel: &'a Str,
    place: Place,
    /// Whether an earlier copy of the frame was accepted.
    repeated: bool,
    /// In a cluster, the node that has sent the event.
    owner: Option<Owner>,
}

/// The place of an event among those of its connection: the `msgSerial` of its frame, and its index there.
pub(crate) type Place = (u64, usize);

/// Checks every event and converts it to canonical form. Returns their size, too.
pub(crate) fn check_events(
    channel: &str,
    mut items: Vec<PresenceMessage>,
    identity: &Identity,
    max_message_size: usize,
) -> Result<(Vec<PresenceMessage>, usize), ErrorInfo> {
    if items.is_empty() {
        return Err(error::bad_request("a presence frame needs at least one message"));
    }
    if items.len() > MAX_ITEMS {
        return Err(error::too_many_messages(MAX_ITEMS));
    }
    let claim = identity.user_claim(channel);
    let mut size = 0;
    for item in &mut items {
        if !matches!(
            item.action,
            Some(PresenceAction::Enter | PresenceAction::Update | PresenceAction::Leave)
        ) {
            return Err(error::bad_request("clients enter, update and leave presence only"));
        }
        let client_id = identity.client_id_for(item.client_id.take())?;
        let client_id = client_id.ok_or_else(error::no_client_id)?;
        claims::stamp(&mut item.extras, claim);
        canonicalize(&mut item.data, &mut item.encoding)?;
        // Members stay for long. A slice would pin the whole frame for as long.
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

impl Presence {
    /// Checks that the channel may have the members that enter.
    ///
    /// # Errors
    /// Code 91003 for more members than `max_members`.
    pub(crate) fn require_room(
        &self,
        connection: &ConnectionId,
        name: &Str,
        items: &[PresenceMessage],
        max_members: usize,
    ) -> Result<(), ErrorInfo> {
        let set = self.channels.get(name);
        let clients = items.iter().filter(|item| item.action != Some(PresenceAction::Leave));
        let new: BTreeSet<&Str> = clients
            .filter_map(|item| item.client_id.as_ref())
            .filter(|client| set.is_none_or(|set| set.get(connection, client).is_none()))
            .collect();
        if !new.is_empty() && self.count(name) + new.len() > max_members {
            return Err(error::too_many_members(max_members));
        }
        Ok(())
    }

    /// Applies committed events of a client, of this node of the cluster. Returns them as subscribers receive them.
    ///
    /// # Errors
    /// Code 91003 for too many members.
    pub(crate) fn apply_all(
        &mut self,
        name: &Str,
        events: Events,
        node: Option<NodeId>,
        (position, time): (Position, Millis),
    ) -> Result<Vec<PresenceMessage>, ErrorInfo> {
        let Events { connection, msg_serial, repeated, items, max_members, remain, .. } = events;
        self.require_room(&connection, name, &items, max_members)?;
        let owner = node.map(|node| Owner { node, since: position });
        let mut applied = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            let place = (msg_serial, index);
            let origin =
                EventOrigin { connection: &connection, channel: name, place, repeated, owner };
            applied.extend(self.apply(item, &origin, time));
        }
        if let (Some(owner), Some(set)) = (owner, self.channels.get_mut(name)) {
            set.set_owner(&connection, owner, remain);
        }
        Ok(applied)
    }

    /// Applies an event. Returns it as subscribers receive it, or `None` if it changes nothing.
    fn apply(
        &mut self,
        item: PresenceMessage,
        origin: &EventOrigin<'_>,
        now: Millis,
    ) -> Option<PresenceMessage> {
        let EventOrigin { connection, channel: name, place, repeated, owner } = *origin;
        let client = item.client_id.clone()?;
        let known = self.channels.get(name).and_then(|set| set.get(connection, &client));
        let lapsed = (Str::from(&**name), client.clone());
        let earlier = earlier_place(&item, connection, place);
        let at = earlier.unwrap_or(place);
        let was = |id: &Str| place_of(id, connection);
        let has_effect = match known {
            // The client may have repeated the event in a new frame, and the first frame is committed only after that one.
            Some(known) => known.id.as_ref().and_then(was).is_none_or(|known| known < at),
            None if !repeated && earlier.is_none() => true,
            // The client repeats an event, as it does not know whether the server received it. The event has an effect only
            // if the member has lapsed since. The nodes of a cluster do not all know which members have lapsed: there, the
            // proposer has checked it.
            None if owner.is_some() => true,
            // A repeated frame has an effect unless the client has sent another event of the member behind it. A client that
            // enters again in a new frame may not have received all of its events before it lapsed.
            None => {
                let lapsed = self.connections.get(connection)?.lapsed.get(&lapsed)?;
                !repeated || was(lapsed).is_some_and(|lapsed| lapsed <= place)
            }
        };
        if !has_effect {
            return None;
        }
        let mut event = PresenceMessage {
            id: Some(event_id(&item, connection, place)),
            connection_id: Some(connection.clone()),
            timestamp: Some(now),
            ..item
        };
        let is_new = known.is_none();
        if let Some(party) = self.connections.get_mut(connection) {
            party.lapsed.remove(&lapsed);
        }
        if event.action == Some(PresenceAction::Leave) {
            let left = self.remove(connection, name, &client)?;
            if event.data.is_none() && claims::is_stamp_only(event.extras.as_ref()) {
                event.data = left.data;
                event.encoding = left.encoding;
            }
            return Some(event);
        }
        // An update of an absent member enters it (RTP9b).
        if is_new {
            event.action = Some(PresenceAction::Enter);
        }
        let party = self.connections.entry(connection.clone()).or_default();
        party.channels.insert(lapsed.0.clone());
        self.channels.entry(lapsed.0).or_default().put(event.clone());
        Some(event)
    }

    /// Removes a member from a channel, and returns its last event.
    pub(super) fn remove(
        &mut self,
        connection: &ConnectionId,
        name: &Str,
        client: &Str,
    ) -> Option<PresenceMessage> {
        let set = self.channels.get_mut(name)?;
        let is_owned = set.owner(connection).is_some();
        let left = set.remove(connection, client);
        if set.of(connection).next().is_none()
            && let Some(party) = self.connections.get_mut(connection)
        {
            party.channels.remove(name);
            if is_owned && party.channels.is_empty() && party.due.is_none() {
                self.connections.remove(connection);
            }
        }
        if set.is_empty() {
            self.channels.remove(name);
        }
        left
    }
}

/// The id of an event of a client. A client that repeats an event in a new frame names the event's id.
pub(crate) fn event_id(item: &PresenceMessage, connection: &str, place: Place) -> Str {
    let (msg_serial, index) = earlier_place(item, connection, place).unwrap_or(place);
    format!("{connection}:{msg_serial}:{index}").into()
}

/// The place of the earlier event that this one repeats, if it does.
fn earlier_place(item: &PresenceMessage, connection: &str, place: Place) -> Option<Place> {
    let earlier = place_of(item.id.as_deref()?, connection)?;
    Some(earlier).filter(|earlier| *earlier < place)
}

/// The place in an event's id, if the event is of this connection.
pub(crate) fn place_of(id: &str, connection: &str) -> Option<Place> {
    let rest = id.strip_prefix(connection)?.strip_prefix(':')?;
    let (msg_serial, index) = rest.split_once(':')?;
    Some((msg_serial.parse().ok()?, index.parse().ok()?))
}
