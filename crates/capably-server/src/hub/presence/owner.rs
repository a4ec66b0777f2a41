//! The owners of members in a cluster: the nodes that serve their connections; and the snapshots with which another node
//! continues.

use std::time::Duration;

use bytes::Bytes;
use capably_protocol::{PresenceMessage, Str};

use super::{FIXTURES, Presence, Set};
use crate::hub::{
    ids::{ConnectionId, NodeId},
    log::{
        position::Position,
        proposal::{Adoption, Body, Departure, Owner, Proposal},
        record::MembersRecord,
    },
};

/// The members of a channel at a position, as they are stored.
#[derive(Debug, Default)]
pub(crate) struct Members(MembersRecord);

impl Members {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    pub(crate) fn decode(snapshot: &Bytes) -> Result<Self, String> {
        MembersRecord::decode(snapshot).map(Self)
    }

    /// The position of the last entry that the snapshot has.
    pub(crate) fn position(&self) -> Position {
        self.0.position
    }
}

impl Presence {
    /// The owner of a connection's members of a channel.
    pub(crate) fn owner(&self, name: &Str, connection: &ConnectionId) -> Option<Owner> {
        self.channels.get(name)?.owner(connection)
    }

    /// How long a connection's members of a channel stay while their client is disconnected.
    pub(crate) fn remain(&self, name: &Str, connection: &ConnectionId) -> Option<Duration> {
        self.channels.get(name)?.remain(connection)
    }

    /// The connections that have members of a channel, with their owners.
    pub(crate) fn owners(&self, name: &str) -> impl Iterator<Item = (&ConnectionId, Owner)> {
        let owners = self.channels.get(name).into_iter().flat_map(Set::owners);
        owners.map(|(connection, owner, _)| (connection, owner))
    }

    /// The connections that have members of any channel, with their owners, and how long the members stay while their
    /// client is disconnected.
    pub(crate) fn all_owners(
        &self,
    ) -> impl Iterator<Item = (&Str, &ConnectionId, Owner, Duration)> {
        self.channels.iter().flat_map(|(name, set)| {
            set.owners().map(move |(connection, owner, remain)| (name, connection, owner, remain))
        })
    }

    /// Applies a committed adoption.
    pub(crate) fn adopt(&mut self, name: &Str, adoption: &Adoption, node: NodeId, at: Position) {
        if let Some(set) = self.channels.get_mut(name) {
            set.set_owner(&adoption.connection, Owner { node, since: at }, adoption.remain);
        }
    }

    /// Applies an entry about members without telling anyone.
    pub(crate) fn fold(&mut self, name: &Str, position: Position, proposal: Proposal) {
        let Proposal { time, proposer, body, .. } = proposal;
        let node = proposer.map(|proposer| proposer.node);
        match body {
            Body::Presence(events) => {
                // Events that were refused when they were committed are refused again.
                let _ = self.apply_all(name, events, node, (position, time));
            }
            Body::Departure(departure) => drop(self.leave(name, &departure, position, time)),
            Body::Adoption(adoption) => {
                if let Some(node) = node {
                    self.adopt(name, &adoption, node, position);
                }
            }
            Body::Messages(_)
            | Body::Change(_)
            | Body::Annotations(_)
            | Body::Summary(_)
            | Body::Objects(_) => {}
        }
    }

    /// Forgets the members of a channel, except those that stay for as long as the app.
    pub(crate) fn forget_channel(&mut self, name: &Str) {
        let Some(mut set) = self.channels.remove(name) else { return };
        let clients: Vec<_> = set.numbered().map(|(_, member)| member.clone()).collect();
        for member in clients {
            let (Some(connection), Some(client)) = (member.connection_id, member.client_id) else {
                continue;
            };
            if connection == FIXTURES {
                continue;
            }
            set.remove(&connection, &client);
            if let Some(party) = self.connections.get_mut(&connection) {
                party.channels.remove(name);
                if party.channels.is_empty() && party.due.is_none() {
                    self.connections.remove(&connection);
                }
            }
        }
        if !set.is_empty() {
            self.channels.insert(name.clone(), set);
        }
    }

    /// Restores the members of a channel that is not in memory.
    pub(crate) fn restore(&mut self, name: &Str, members: Option<Members>) {
        self.forget_channel(name);
        let Some(Members(record)) = members else { return };
        let set = self.channels.entry(name.clone()).or_default();
        for (number, member) in record.numbers.into_iter().zip(record.members) {
            if let Some(connection) = &member.connection_id {
                let party = self.connections.entry(connection.clone()).or_default();
                party.channels.insert(name.clone());
            }
            set.put_at(number, member);
        }
        set.continue_at(record.next);
        for (connection, owner, remain) in record.owners {
            set.set_owner(&connection, owner, remain);
        }
        if set.is_empty() {
            self.channels.remove(name);
        }
    }

    /// The members of a channel after the entry at this position, to be stored. `None` if there are none.
    pub(crate) fn snapshot(&self, name: &Str, position: Position) -> Option<Bytes> {
        let set = self.channels.get(name)?;
        let is_fixture = |it: &PresenceMessage| it.connection_id.as_deref() == Some(FIXTURES);
        let members = set.numbered().filter(|(_, member)| !is_fixture(member));
        let (numbers, members): (Vec<u64>, Vec<_>) =
            members.map(|(number, member)| (number, member.clone())).unzip();
        if members.is_empty() {
            return None;
        }
        let owners = set.owners();
        let owners = owners.map(|(id, owner, remain)| (id.clone(), owner, remain)).collect();
        let next = set.next();
        Some(MembersRecord { position, next, numbers, members, owners }.encode())
    }

    /// Notes the owner of a connection's members in a replay.
    pub(crate) fn replay_owner(&mut self, connection: &ConnectionId, owner: Owner) {
        let known = self.replayed.entry(connection.clone()).or_insert(owner);
        if known.node != owner.node {
            *known = owner;
        }
    }

    /// Whether a departure has had an effect, as far as a replay can tell.
    pub(crate) fn was_effective(&self, departure: &Departure) -> bool {
        let Some(owner) = &departure.owner else { return true };
        let known = self.replayed.get(&departure.connection);
        known.is_none_or(|known| known.node == owner.node || known.since < owner.since)
    }
}

#[cfg(test)]
mod tests {
    use capably_protocol::PresenceAction;

    use super::*;
    use crate::hub::log::proposal::Events;

    const NAME: Str = Str::from_static("channel");
    const OTHER: Str = Str::from_static("other");
    const CONNECTION: Str = Str::from_static("connection");
    const REMAIN: Duration = Duration::from_secs(7);

    /// Lets clients of the connection enter, at positions from 1 on. They belong to a node if there is one.
    fn enter(presence: &mut Presence, name: &Str, node: Option<NodeId>, clients: &[&str]) {
        for (client, position) in clients.iter().zip(1..) {
            let item = PresenceMessage {
                action: Some(PresenceAction::Enter),
                client_id: Some((*client).into()),
                data: "data".into(),
                ..PresenceMessage::default()
            };
            let events = Events {
                connection: CONNECTION,
                msg_serial: position,
                repeated: false,
                items: vec![item],
                max_members: 10,
                remain: REMAIN,
                again: None,
            };
            let at = (Position(position), 1_700_000_000_000);
            assert_eq!(presence.apply_all(name, events, node, at).unwrap().len(), 1);
        }
    }

    fn fixtures(name: &Str) -> Presence {
        let member = PresenceMessage { client_id: Some("fix".into()), ..Default::default() };
        Presence::of_fixtures(vec![(name.clone(), vec![member])], 1)
    }

    fn clients(presence: &Presence, name: &Str) -> Vec<String> {
        let set = presence.channels.get(name).into_iter().flat_map(Set::numbered);
        set.filter_map(|(_, member)| Some(member.client_id.as_ref()?.to_string())).collect()
    }

    #[test]
    fn a_snapshot_has_the_members_their_order_and_their_owners() {
        let mut presence = fixtures(&NAME);
        assert!(presence.snapshot(&NAME, Position(1)).is_none(), "fixtures are not stored");
        enter(&mut presence, &NAME, Some(NodeId(3)), &["ada", "bob", "cy"]);
        presence.remove(&CONNECTION, &NAME, &"cy".into());
        let snapshot = presence.snapshot(&NAME, Position(9)).unwrap();
        let members = Members::decode(&snapshot).unwrap();
        assert_eq!(members.position(), Position(9));
        assert!(Members::decode(&snapshot.slice(..snapshot.len() - 1)).is_err());

        let mut restored = fixtures(&NAME);
        enter(&mut restored, &NAME, None, &["outdated"]);
        restored.restore(&NAME, Some(members));
        assert_eq!(clients(&restored, &NAME), ["fix", "ada", "bob"]);
        let member = |presence: &Presence| presence.members_of(&CONNECTION, &NAME);
        assert_eq!(member(&restored), member(&presence));
        let owner = Owner { node: NodeId(3), since: Position(1) };
        assert_eq!(restored.owner(&NAME, &CONNECTION), Some(owner));
        assert_eq!(restored.remain(&NAME, &CONNECTION), Some(REMAIN));
        assert_eq!(restored.channels_of(&CONNECTION), [NAME]);
        // The number of the member that has left is not given again.
        assert_eq!(restored.channels[&NAME].next(), presence.channels[&NAME].next());

        restored.restore(&NAME, None);
        assert_eq!(clients(&restored, &NAME), ["fix"]);
        assert!(restored.connections.is_empty());
    }

    #[test]
    fn a_channel_is_forgotten_with_its_members_and_no_other() {
        let mut presence = Presence::default();
        enter(&mut presence, &NAME, None, &["ada", "bob"]);
        enter(&mut presence, &OTHER, None, &["ada"]);
        presence.forget_channel(&NAME);
        assert_eq!(Vec::from_iter(presence.channels()), [&OTHER]);
        assert_eq!(presence.channels_of(&CONNECTION), [OTHER]);
        // The connection is still expected back, for what it enters then.
        presence.expect_back(&CONNECTION, Some(REMAIN));
        presence.forget_channel(&OTHER);
        assert_eq!(presence.channels().next(), None);
        assert_eq!(presence.pop_departure(REMAIN), Some(CONNECTION));
        assert!(presence.connections.contains_key(&CONNECTION));
        presence.forget(&CONNECTION);
        assert!(presence.connections.is_empty());
    }

    #[test]
    fn a_replayed_departure_had_an_effect_unless_its_owner_was_no_longer_one() {
        let owner = |node, since| Owner { node: NodeId(node), since: Position(since) };
        let was_effective = |replayed: &[Owner], owner| {
            let mut presence = Presence::default();
            for owner in replayed {
                presence.replay_owner(&CONNECTION, *owner);
            }
            let connection = CONNECTION;
            let departure =
                Departure { connection, members: vec![], repeated: false, lapsed: false, owner };
            presence.was_effective(&departure)
        };
        for (replayed, departing, expected) in [
            (&[][..], None, true),
            (&[], Some(owner(1, 5)), true),
            (&[owner(2, 3)], None, true),
            (&[owner(1, 5)], Some(owner(1, 5)), true),
            // The same node may have become the owner before the replay began.
            (&[owner(1, 9)], Some(owner(1, 5)), true),
            (&[owner(2, 3)], Some(owner(1, 5)), true),
            (&[owner(2, 5)], Some(owner(1, 5)), false),
            (&[owner(2, 7)], Some(owner(1, 5)), false),
            (&[owner(1, 5), owner(2, 7)], Some(owner(1, 5)), false),
            // Further events of the same node do not change since when it has been the owner.
            (&[owner(2, 3), owner(2, 7)], Some(owner(1, 5)), true),
        ] {
            assert_eq!(was_effective(replayed, departing), expected, "{replayed:?} {departing:?}");
        }
    }
}
