//! Presence in the driver: what handles ask.

use capably_core::{ChannelId, Now};

use super::{Driver, commands::released};
use crate::realtime::{command::PresenceCommand, operation::Operation};

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
                entry.presence.add(subscriber);
                if let Some(reply) = attach {
                    self.attach_to_subscribe(id, Operation::Unit(reply), now);
                }
            }
            PresenceCommand::Unsubscribe { subscriber } => {
                if let Some(entry) = self.channels.get_mut(&id) {
                    entry.presence.remove(subscriber);
                }
            }
        }
    }
}
