//! The members that this client entered, to be entered again (RTP17).

use std::collections::BTreeMap;

use capably_protocol::{PresenceAction, PresenceMessage, Str};

use super::newness;

/// The members of the client's own connections, by client id (RTP17h). They are stored as the service sent them, still
/// encoded, so that an encrypted payload is sent again encrypted.
#[derive(Debug, Default)]
pub(crate) struct LocalMembers {
    members: BTreeMap<Str, PresenceMessage>,
    acknowledged: Option<Acknowledged>,
}

/// The acknowledgements of the presence messages that this client has sent on one connection.
///
/// The service sends each message back to this client, and a rewind or a replay can bring it again. A message that was
/// acknowledged was applied then. An ENTER that arrives after the LEAVE of its member was acknowledged must not undo it.
#[derive(Debug)]
struct Acknowledged {
    connection: Str,
    /// The serial of the first one. Messages before it may be of an earlier client, whose connection this one recovered.
    first: u64,
    /// The place of the last LEAVE.
    left: Option<(u64, u64)>,
}

impl LocalMembers {
    /// A message of the current connection is acknowledged.
    pub(super) fn acknowledged(&mut self, message: &PresenceMessage) {
        let Some(place) = newness::place(message) else { return };
        let Some(connection) = &message.connection_id else { return };
        let known = self.acknowledged.take().filter(|known| known.connection == *connection);
        let mut known = known.unwrap_or_else(|| Acknowledged {
            connection: connection.clone(),
            first: place.0,
            left: None,
        });
        if message.action == Some(PresenceAction::Leave) {
            known.left = Some(place);
        }
        self.acknowledged = Some(known);
    }

    /// Whether a message comes from before an acknowledged LEAVE, perhaps of its member.
    fn is_before_a_leave(&self, message: &PresenceMessage) -> bool {
        self.acknowledged.as_ref().is_some_and(|known| {
            message.connection_id.as_ref() == Some(&known.connection)
                && newness::place(message)
                    .is_some_and(|place| place.0 >= known.first && Some(place) < known.left)
        })
    }

    /// Applies an ENTER, UPDATE or PRESENT of the current connection (RTP17b).
    pub(super) fn put(&mut self, message: PresenceMessage) {
        let Some(client_id) = message.client_id.clone() else { return };
        if self.is_before_a_leave(&message) {
            return;
        }
        if self.get(&client_id).is_none_or(|existing| supersedes(&message, existing)) {
            let message = PresenceMessage { action: Some(PresenceAction::Present), ..message };
            self.members.insert(client_id, message);
        }
    }

    /// Applies a LEAVE of the current connection, unless the service synthesized it (RTP17b). Returns whether the member
    /// has left.
    pub(super) fn remove(&mut self, message: &PresenceMessage) -> bool {
        let Some(client_id) = message.client_id.as_ref() else { return false };
        let leaves = !newness::is_synthesized(message)
            && self.get(client_id).is_some_and(|existing| supersedes(message, existing));
        if leaves {
            self.members.remove(client_id);
        }
        leaves
    }

    pub(super) fn get(&self, client_id: &str) -> Option<&PresenceMessage> {
        self.members.get(client_id)
    }

    /// The members, in the order of their client ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, &PresenceMessage)> {
        self.members.iter()
    }

    /// Forgets the ids of the members: the service ignores an ENTER with the id of a member that has left.
    pub(super) fn forget_ids(&mut self) {
        self.members.values_mut().for_each(|member| member.id = None);
    }

    /// Removes every member (RTP5a).
    pub(super) fn clear(&mut self) {
        self.members.clear();
    }
}

/// A message of another connection is older, whatever its serial: serials start at 0 on each connection. So is a member
/// whose id was forgotten.
fn supersedes(incoming: &PresenceMessage, existing: &PresenceMessage) -> bool {
    incoming.connection_id != existing.connection_id
        || existing.id.is_none()
        || newness::is_newer(incoming, existing)
}

#[cfg(test)]
mod tests;
