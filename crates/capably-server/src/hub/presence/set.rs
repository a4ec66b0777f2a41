//! The members of one channel, in the order in which they entered.

use std::collections::BTreeMap;

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use crate::hub::ids::ConnectionId;

/// The members of a channel.
#[derive(Debug, Default)]
pub(super) struct Set {
    members: BTreeMap<u64, PresenceMessage>,
    /// The number of each member, by connection and client.
    numbers: BTreeMap<(ConnectionId, Str), u64>,
    next: u64,
}

impl Set {
    /// Adds or updates a member. An update does not change its place in the order.
    pub(super) fn put(&mut self, message: PresenceMessage) {
        let (Some(connection), Some(client)) = (&message.connection_id, &message.client_id) else {
            return;
        };
        let number = *self.numbers.entry((connection.clone(), client.clone())).or_insert(self.next);
        self.next = self.next.max(number + 1);
        let member = PresenceMessage { action: Some(PresenceAction::Present), ..message };
        self.members.insert(number, member);
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
