//! Presence in the driver: what handles ask, and who is told.

use std::task::{Context, Poll};

use capably_core::{ChannelId, Now};
use capably_protocol::PresenceMessage;

use super::{Driver, commands::released};
use crate::{
    Error,
    realtime::{
        command::{PresenceCommand, PresenceSubscriber},
        operation::Operation,
        queue::Pushed,
    },
};

/// Who listens to the presence of a channel.
#[derive(Default)]
pub(super) struct PresenceSubscribers(Vec<PresenceSubscriber>);

impl Driver {
    pub(super) fn handle_presence(&mut self, id: ChannelId, command: PresenceCommand, now: Now) {
        match command {
            PresenceCommand::Say { message, reply } => {
                let op = self.operation(Operation::Unit(reply));
                self.core.presence(id, message, op, now);
            }
            PresenceCommand::Members { query, reply } => {
                let op = self.operation(Operation::Members(reply));
                self.core.members(id, query, op, now);
            }
            PresenceCommand::Subscribe { subscriber, attach } => {
                let Some(entry) = self.channels.get_mut(&id) else {
                    if let Some(reply) = attach {
                        let _ = reply.send(Err(released()));
                    }
                    return;
                };
                entry.presence.0.push(subscriber);
                if let Some(reply) = attach {
                    self.attach_to_subscribe(id, Operation::Unit(reply), now);
                }
            }
            PresenceCommand::Unsubscribe { subscriber } => {
                if let Some(entry) = self.channels.get_mut(&id) {
                    entry.presence.0.retain(|own| own.id != subscriber);
                }
            }
        }
    }
}

impl PresenceSubscribers {
    /// Hands what members did to every subscriber that wants it.
    pub(super) fn deliver(&self, mut messages: Vec<PresenceMessage>) -> Pushed {
        let mut full = Pushed::Room;
        let last = self.0.len().saturating_sub(1);
        for (index, subscriber) in self.0.iter().enumerate() {
            let mut wanted =
                if index == last { std::mem::take(&mut messages) } else { messages.clone() };
            wanted.retain(|message| subscriber.wants(message));
            if !wanted.is_empty() && subscriber.queue.push(wanted) == Pushed::Full {
                full = Pushed::Full;
            }
        }
        full
    }

    /// Whether every subscriber has room; one that has none ends if it is `too_slow`.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, too_slow: bool) -> Poll<()> {
        let mut full = false;
        for subscriber in &self.0 {
            if subscriber.queue.poll_room(cx).is_pending() {
                if too_slow {
                    subscriber.queue.end_too_slow();
                } else {
                    full = true;
                }
            }
        }
        if full { Poll::Pending } else { Poll::Ready(()) }
    }

    pub(super) fn end(&self, reason: &Error) {
        for subscriber in &self.0 {
            subscriber.queue.end(reason.clone());
        }
    }
}

impl PresenceSubscriber {
    fn wants(&self, message: &PresenceMessage) -> bool {
        self.actions.is_empty()
            || message.action.is_some_and(|action| self.actions.contains(&action))
    }
}
