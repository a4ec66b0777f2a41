//! Attachments that this client has given up, and of which the service has not confirmed the end (RTS4a, RTL5l, RTN19b).
//!
//! A channel that is released is gone at once, and one that is detached without a connection is detached at once. The
//! service learns it later, or never. Two things must not happen meanwhile to the next channel of that name. It must not
//! get frames of the old attachment. And members of the old attachment must not be among its own: the service keeps them
//! for a client that resumes its connection.

use std::{collections::BTreeMap, time::Duration};

use capably_protocol::Str;

use crate::Instant;

/// The detaches without an answer, by the names of their channels.
#[derive(Debug, Default)]
pub(crate) struct Detaches {
    by_name: BTreeMap<Str, Detach>,
}

#[derive(Debug)]
enum Detach {
    /// DETACH was sent on the current transport.
    Sent {
        /// How many answers are still to come.
        unanswered: u32,
        /// When the last of them was sent.
        at: Instant,
        /// The service may have members of the attachment.
        may_have_members: bool,
    },
    /// DETACH is to be sent on the next connection, because the service may have members of the attachment.
    Owed,
}

impl Detaches {
    /// DETACH was sent for an attachment that nothing here waits for any more.
    pub(crate) fn sent(&mut self, name: Str, may_have_members: bool, now: Instant) {
        let (before, had_members) = match self.by_name.get(&name) {
            Some(Detach::Sent { unanswered, may_have_members, .. }) => {
                (*unanswered, *may_have_members)
            }
            Some(Detach::Owed) | None => (0, false),
        };
        let may_have_members = may_have_members || had_members;
        let sent = Detach::Sent { unanswered: before + 1, at: now, may_have_members };
        self.by_name.insert(name, sent);
    }

    /// There is no connection on which DETACH could be sent.
    pub(crate) fn owe(&mut self, name: Str) {
        self.by_name.insert(name, Detach::Owed);
    }

    /// Whether DETACH is still to be sent for an earlier attachment. An ATTACH must not be sent before.
    pub(crate) fn is_owed(&self, name: &str) -> bool {
        matches!(self.by_name.get(name), Some(Detach::Owed))
    }

    /// Whether the frames of a channel are those of an attachment that was given up: they come before its DETACHED. The
    /// service has as long to answer as for any detach (RTL5f).
    pub(crate) fn precede_answer(&self, name: &Str, now: Instant, timeout: Duration) -> bool {
        match self.by_name.get(name) {
            Some(Detach::Sent { at, .. }) => now.since(*at) < timeout,
            Some(Detach::Owed) | None => false,
        }
    }

    /// Whether a DETACHED answers one of these detaches. It must not detach a channel that was opened under the same name
    /// since.
    pub(crate) fn take_answer(&mut self, name: &Str) -> bool {
        let Some(Detach::Sent { unanswered, .. }) = self.by_name.get_mut(name) else {
            return false;
        };
        *unanswered -= 1;
        if *unanswered == 0 {
            self.by_name.remove(name);
        }
        true
    }

    /// There is a new transport, which does not answer the DETACHs of an earlier one.
    pub(crate) fn connected(&mut self) {
        self.by_name.retain(|_, detach| match detach {
            Detach::Sent { may_have_members, .. } => *may_have_members,
            Detach::Owed => true,
        });
        self.by_name.values_mut().for_each(|detach| *detach = Detach::Owed);
    }

    /// The names of the channels for which DETACH is now sent.
    pub(crate) fn send_owed(&mut self, now: Instant) -> Vec<Str> {
        let owed = self.by_name.iter().filter(|(_, detach)| matches!(detach, Detach::Owed));
        let owed: Vec<Str> = owed.map(|(name, _)| name.clone()).collect();
        for name in &owed {
            self.sent(name.clone(), true, now);
        }
        owed
    }

    /// The connection has ended, and with it every attachment.
    pub(crate) fn clear(&mut self) {
        self.by_name.clear();
    }
}
