//! Members that leave without an event of their client: it detached, closed, or was disconnected for too long.

use std::time::Duration;

use capably_protocol::{Millis, PresenceAction, PresenceMessage, Str};

use super::{Presence, set::Set};
use crate::hub::{
    ids::ConnectionId,
    log::{position::Position, proposal::Departure},
};

/// The most bytes of members' data in one departure.
const MAX_DATA: usize = 256 * 1024;

/// The id of the event of a member that leaves without an event of its client. It must not begin with the connection's
/// id, as the client did not send the event (RTP2b1).
pub(crate) fn left_id(position: Position, index: usize) -> Str {
    format!("left:{}", position.message_serial(index)).into()
}

/// The members of a departure, from members as they are. A departure is one entry of the engine, which limits the size of
/// entries; so members beyond [`MAX_DATA`] leave without their data.
pub(crate) fn leaving(members: Vec<PresenceMessage>) -> Vec<PresenceMessage> {
    let mut room = MAX_DATA;
    let leaving = members.into_iter().map(|member| {
        let size = member.size();
        let PresenceMessage { id, client_id, data, encoding, extras, .. } = member;
        let named = PresenceMessage { id, client_id, ..PresenceMessage::default() };
        if size > room {
            return named;
        }
        room -= size;
        PresenceMessage { data, encoding, extras, ..named }
    });
    leaving.collect()
}

/// Whether the event is of a member that left without an event of its client.
pub(crate) fn is_left_id(id: &str) -> bool {
    id.starts_with("left:")
}

impl Presence {
    /// The client ids of a connection's members of a channel.
    pub(crate) fn clients_of(&self, connection: &ConnectionId, name: &Str) -> Vec<Str> {
        let members = self.channels.get(name).into_iter().flat_map(|set: &Set| set.of(connection));
        members.filter_map(|member| member.client_id.clone()).collect()
    }

    /// A connection's members of a channel.
    pub(crate) fn members_of(&self, connection: &ConnectionId, name: &Str) -> Vec<PresenceMessage> {
        let set = self.channels.get(name);
        set.into_iter().flat_map(|set: &Set| set.of(connection)).cloned().collect()
    }

    /// The client ids of a departure's members that have had no event since it was first proposed.
    pub(crate) fn unchanged(&self, name: &Str, departure: &Departure) -> Vec<Str> {
        let Departure { connection, members, .. } = departure;
        let set = self.channels.get(name);
        let id = |client: &Str| set?.get(connection, client)?.id.as_ref();
        let clients = members.iter().filter_map(|member| {
            let client = member.client_id.as_ref()?;
            (id(client)? == member.id.as_ref()?).then(|| client.clone())
        });
        clients.collect()
    }

    /// Applies a committed departure. Returns the LEAVE events. Members that have `lapsed` enter again when their client
    /// returns and repeats its events.
    pub(crate) fn leave(
        &mut self,
        name: &Str,
        departure: &Departure,
        position: Position,
        time: Millis,
    ) -> Vec<PresenceMessage> {
        let Departure { connection, members, lapsed, owner, .. } = departure;
        let current = self.owner(name, connection);
        let clients = match owner {
            // Another node has become the owner meanwhile.
            Some(owner) if current.is_none_or(|current| current.node != owner.node) => {
                return Vec::new();
            }
            Some(_) => self.clients_of(connection, name),
            None if departure.repeated => self.unchanged(name, departure),
            None => members.iter().filter_map(|member| member.client_id.clone()).collect(),
        };
        // In a cluster the proposer of a repeated event decides whether it enters members again.
        let remembers = *lapsed && current.is_none();
        let mut events = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let Some(left) = self.remove(connection, name, client) else { continue };
            if remembers
                && let Some(party) = self.connections.get_mut(connection)
                && let Some(id) = &left.id
            {
                party.lapsed.insert((name.clone(), client.clone()), id.clone());
            }
            events.push(PresenceMessage {
                id: Some(left_id(position, index)),
                action: Some(PresenceAction::Leave),
                timestamp: Some(time),
                ..left
            });
        }
        events
    }

    /// The channels of which a connection has members.
    pub(crate) fn channels_of(&self, connection: &ConnectionId) -> Vec<Str> {
        let party = self.connections.get(connection);
        party.into_iter().flat_map(|party| party.channels.iter().cloned()).collect()
    }

    /// Sets the time `until` which the members stay of a client that is disconnected, or has not attached again yet.
    pub(crate) fn expect_back(&mut self, connection: &ConnectionId, until: Option<Duration>) {
        let Some(party) = self.connections.get_mut(connection) else { return };
        if let Some(due) = std::mem::replace(&mut party.due, until) {
            self.departures.remove(&(due, connection.clone()));
        }
        if let Some(until) = until {
            self.departures.insert((until, connection.clone()));
        }
    }

    /// Takes the next connection whose members have stayed for long enough.
    pub(crate) fn pop_departure(&mut self, now: Duration) -> Option<ConnectionId> {
        let (_, connection) = self.departures.first().filter(|(due, _)| *due <= now)?.clone();
        self.expect_back(&connection, None);
        Some(connection)
    }

    /// The time of the next departure.
    pub(crate) fn next_departure(&self) -> Option<Duration> {
        self.departures.first().map(|(due, _)| *due)
    }

    /// Forgets a connection, as it has ended.
    pub(crate) fn forget(&mut self, connection: &ConnectionId) {
        self.connections.remove(connection);
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::JsonObject;

    use super::*;
    use crate::hub::{
        ids::NodeId,
        log::proposal::{Adoption, Events, Owner},
    };

    const NAME: Str = Str::from_static("channel");
    const CONNECTION: Str = Str::from_static("connection");

    /// Applies an event of the client `ada`, whose members belong to the first node.
    fn apply(presence: &mut Presence, msg_serial: u64, action: PresenceAction, at: Position) {
        let item = PresenceMessage {
            action: Some(action),
            client_id: Some("ada".into()),
            ..PresenceMessage::default()
        };
        let events = Events {
            connection: CONNECTION,
            msg_serial,
            repeated: false,
            items: vec![item],
            max_members: 10,
            remain: Duration::ZERO,
            again: None,
        };
        let applied = presence.apply_all(&NAME, events, Some(NodeId(1)), (at, 1));
        assert_eq!(applied.unwrap().len(), 1);
    }

    /// A member of the first node.
    fn member() -> Presence {
        let mut presence = Presence::default();
        apply(&mut presence, 0, PresenceAction::Enter, Position(1));
        presence
    }

    fn departure(owner: Option<(u64, u64)>) -> Departure {
        Departure {
            connection: CONNECTION,
            members: vec![PresenceMessage {
                id: Some("connection:0:0".into()),
                client_id: Some("ada".into()),
                ..PresenceMessage::default()
            }],
            repeated: false,
            lapsed: true,
            owner: owner.map(|(node, since)| Owner { node: NodeId(node), since: Position(since) }),
        }
    }

    #[test]
    fn a_departure_of_an_earlier_owner_has_no_effect() {
        let mut presence = member();
        let adoption = Adoption { connection: CONNECTION, remain: Duration::ZERO };
        presence.adopt(&NAME, &adoption, NodeId(2), Position(2));
        assert_eq!(presence.leave(&NAME, &departure(Some((1, 1))), Position(3), 3), []);
        assert_eq!(presence.count(&NAME), 1);
        assert_eq!(presence.leave(&NAME, &departure(Some((2, 2))), Position(4), 4).len(), 1);
        assert_eq!(presence.leave(&NAME, &departure(Some((2, 2))), Position(5), 5), []);
        assert_eq!(presence.count(&NAME), 0);
    }

    #[test]
    fn a_client_leaves_whoever_owns_its_members() {
        let mut presence = member();
        assert_eq!(presence.leave(&NAME, &departure(None), Position(2), 2).len(), 1);
        assert_eq!(presence.count(&NAME), 0);
    }

    #[test]
    fn members_beyond_the_size_of_a_departure_leave_without_data() {
        let member = |length: usize| PresenceMessage {
            id: Some("connection:0:0".into()),
            client_id: Some("ada".into()),
            data: "x".repeat(length).into(),
            action: Some(PresenceAction::Present),
            ..PresenceMessage::default()
        };
        let left = leaving(vec![member(MAX_DATA / 2), member(MAX_DATA), member(100)]);
        let lengths = left.iter().map(|member| member.data.as_str().map(str::len));
        assert_eq!(lengths.collect::<Vec<_>>(), [Some(MAX_DATA / 2), None, Some(100)]);
        assert!(left.iter().all(|it| it.client_id.is_some() && it.id.is_some()));
        // As much as there is room for, with all that belongs to the data.
        let whole = PresenceMessage {
            encoding: Some("encoding".into()),
            extras: Some(JsonObject::from_iter([("key".to_owned(), "value".into())])),
            ..member(100)
        };
        let rest = MAX_DATA - whole.size();
        let named = member(0).size();
        let [filling, left] = &leaving(vec![member(rest - named), whole.clone()])[..] else {
            panic!("two members leave")
        };
        assert_eq!(filling.size(), rest);
        assert_eq!(left, &PresenceMessage { action: None, ..whole });
    }

    #[test]
    fn a_repeated_departure_removes_those_that_have_not_changed_since() {
        let mut changed = member();
        apply(&mut changed, 1, PresenceAction::Update, Position(2));
        let repeated = Departure { repeated: true, ..departure(None) };
        assert_eq!(changed.leave(&NAME, &repeated, Position(3), 3), []);
        assert_eq!(changed.count(&NAME), 1);
        assert_eq!(changed.leave(&NAME, &departure(None), Position(3), 3).len(), 1);
        assert_eq!(changed.count(&NAME), 0);
        assert_eq!(changed.channels().next(), None);

        assert_eq!(member().leave(&NAME, &repeated, Position(3), 3).len(), 1);
    }
}
