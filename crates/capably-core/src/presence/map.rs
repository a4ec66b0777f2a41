//! The members of a channel (RTP2), and how a sync replaces them (RTP18, RTP19).

use std::collections::BTreeMap;

use capably_protocol::{Millis, PresenceAction, PresenceMessage, Str};

use super::newness;

/// The identity of a member (TP3h).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct MemberKey {
    connection_id: Str,
    client_id: Str,
}

impl MemberKey {
    /// The key of a message; none if one of its parts is missing.
    fn of(message: &PresenceMessage) -> Option<Self> {
        Some(Self {
            connection_id: message.connection_id.clone()?,
            client_id: message.client_id.clone()?,
        })
    }
}

/// A member, with the action PRESENT; or ABSENT if it left during a sync, which may still list it (RTP2h2a).
#[derive(Debug)]
struct Member {
    message: PresenceMessage,
    /// The last sync during which a message of the member arrived.
    seen: u64,
}

/// The members of a channel.
#[derive(Debug, Default)]
pub(crate) struct PresenceMap {
    members: BTreeMap<MemberKey, Box<Member>>,
    /// The sync under way, or the last one.
    sync: u64,
    syncing: bool,
}

impl PresenceMap {
    /// Applies an ENTER, UPDATE or PRESENT (RTP2d). Returns the message to emit, with its own action; none if a newer
    /// message is known (RTP2a).
    pub(super) fn put(&mut self, message: PresenceMessage) -> Option<PresenceMessage> {
        let key = MemberKey::of(&message)?;
        let (sync, existing) = (self.sync, self.members.get_mut(&key));
        if let Some(existing) = existing {
            // Even an old message shows that the sync lists the member (RTP19).
            existing.seen = sync;
            if !newness::is_newer(&message, &existing.message) {
                return None;
            }
            existing.message = present(&message);
        } else {
            let member = Member { message: present(&message), seen: sync };
            self.members.insert(key, Box::new(member));
        }
        Some(message)
    }

    /// Applies a LEAVE (RTP2h). Returns the message to emit; none if a newer message is known, or a sync is under way
    /// (RTP2h2).
    pub(super) fn remove(&mut self, message: PresenceMessage) -> Option<PresenceMessage> {
        let key = MemberKey::of(&message)?;
        let existing = self.members.get_mut(&key)?;
        if !newness::is_newer(&message, &existing.message) {
            return None;
        }
        if self.syncing {
            // The member is kept until the end of the sync: a later page may contain an older PRESENT of it,
            // which must not bring it back.
            existing.message = PresenceMessage { action: Some(PresenceAction::Absent), ..message };
            return None;
        }
        self.members.remove(&key);
        Some(message)
    }

    /// Starts a sync, in place of one that is under way (RTP18a).
    pub(super) fn start_sync(&mut self) {
        self.sync += 1;
        self.syncing = true;
    }

    /// Ends the sync, and removes the members that it did not list (RTP19). Returns a LEAVE for each, dated `now`, in ms
    /// since the epoch.
    pub(super) fn end_sync(&mut self, now: Millis) -> Vec<PresenceMessage> {
        let mut left = Vec::new();
        if !std::mem::take(&mut self.syncing) {
            return left;
        }
        let sync = self.sync;
        self.members.retain(|_, member| {
            // Its LEAVE is not emitted: the service sent it during the sync, and the sync decides (RTP2h2).
            if member.message.action == Some(PresenceAction::Absent) {
                return false;
            }
            if member.seen != sync {
                left.push(PresenceMessage {
                    action: Some(PresenceAction::Leave),
                    // No message of the service reported this LEAVE, so it has neither its id nor its time (RTP19).
                    id: None,
                    timestamp: Some(now),
                    ..std::mem::take(&mut member.message)
                });
                return false;
            }
            true
        });
        left
    }

    pub(super) fn is_syncing(&self) -> bool {
        self.syncing
    }

    /// The members that are present, in the order of their connections' and clients' ids.
    pub(super) fn values(&self) -> impl Iterator<Item = &PresenceMessage> {
        let messages = self.members.values().map(|member| &member.message);
        messages.filter(|message| message.action == Some(PresenceAction::Present))
    }

    /// Removes every member, and ends the sync under way (RTP5a).
    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.syncing = false;
    }
}

/// The message that is stored of a member (RTP2d2).
fn present(message: &PresenceMessage) -> PresenceMessage {
    PresenceMessage { action: Some(PresenceAction::Present), ..message.clone() }
}

#[cfg(test)]
mod sync_tests;
#[cfg(test)]
mod tests;
