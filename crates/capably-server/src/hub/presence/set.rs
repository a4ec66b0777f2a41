//! The members of one channel, in the order in which they entered.

use std::{collections::BTreeMap, time::Duration};

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use crate::hub::{ids::ConnectionId, log::proposal::Owner};

/// The members of a channel.
#[derive(Debug, Default)]
pub(super) struct Set {
    members: BTreeMap<u64, PresenceMessage>,
    /// The number of each member, by connection and client.
    numbers: BTreeMap<(ConnectionId, Str), u64>,
    next: u64,
    /// The owners of the members of each connection, and how long these members stay while their client is disconnected.
    /// Empty if the server is not a node of a cluster.
    owners: BTreeMap<ConnectionId, (Owner, Duration)>,
}

impl Set {
    /// Adds or updates a member. An update does not change its place in the order.
    pub(super) fn put(&mut self, message: PresenceMessage) {
        let (Some(connection), Some(client)) = (&message.connection_id, &message.client_id) else {
            return;
        };
        let number = self.numbers.get(&(connection.clone(), client.clone()));
        let number = number.copied().unwrap_or(self.next);
        self.put_at(number, message);
    }

    /// Adds a member with its number.
    pub(super) fn put_at(&mut self, number: u64, message: PresenceMessage) {
        let (Some(connection), Some(client)) = (&message.connection_id, &message.client_id) else {
            return;
        };
        self.numbers.insert((connection.clone(), client.clone()), number);
        self.next = self.next.max(number + 1);
        let member = PresenceMessage { action: Some(PresenceAction::Present), ..message };
        self.members.insert(number, member);
    }

    /// The number of the next member.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Lets the numbers continue with this one.
    pub(super) fn continue_at(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Sets the owner of a connection's members, if it has any.
    pub(super) fn set_owner(&mut self, connection: &ConnectionId, owner: Owner, remain: Duration) {
        if self.of(connection).next().is_none() {
            return;
        }
        let (known, kept) = self.owners.entry(connection.clone()).or_insert((owner, remain));
        if known.node != owner.node {
            *known = owner;
        }
        *kept = remain;
    }

    /// The owner of a connection's members.
    pub(super) fn owner(&self, connection: &ConnectionId) -> Option<Owner> {
        self.owners.get(connection).map(|(owner, _)| *owner)
    }

    /// How long the members of a connection that has an owner stay while their client is disconnected.
    pub(super) fn remain(&self, connection: &ConnectionId) -> Option<Duration> {
        self.owners.get(connection).map(|(_, remain)| *remain)
    }

    /// All connections that have an owner.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&ConnectionId, Owner, Duration)> {
        self.owners.iter().map(|(connection, (owner, remain))| (connection, *owner, *remain))
    }

    pub(super) fn get(&self, connection: &ConnectionId, client: &Str) -> Option<&PresenceMessage> {
        self.members.get(self.numbers.get(&(connection.clone(), client.clone()))?)
    }

    pub(super) fn remove(
        &mut self,
        connection: &ConnectionId,
        client: &Str,
    ) -> Option<PresenceMessage> {
        let number = self.numbers.remove(&(connection.clone(), client.clone()))?;
        if self.of(connection).next().is_none() {
            self.owners.remove(connection);
        }
        self.members.remove(&number)
    }

    /// The members of a connection.
    pub(super) fn of(&self, connection: &ConnectionId) -> impl Iterator<Item = &PresenceMessage> {
        self.numbers
            .range((connection.clone(), Str::new())..)
            .take_while(move |((own, _), _)| own == connection)
            .filter_map(|(_, number)| self.members.get(number))
    }

    /// Every member with its number, in their order.
    pub(super) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u64, &PresenceMessage)> {
        self.members.iter().map(|(number, member)| (*number, member))
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}
