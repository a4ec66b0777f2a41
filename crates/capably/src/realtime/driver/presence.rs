//! Presence in the driver: what handles ask.

use capably_core::{ChannelId, Now, Outcome};

use super::{Driver, dispatch::released};
use crate::{
    Error,
    realtime::{
        driver::command::PresenceCommand,
        driver::operation::{Listener, Operation},
    },
};

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
            PresenceCommand::Subscribe { subscriber, attach, reply } => {
                let Some(entry) = self.channels.get_mut(&id) else {
                    subscriber.queue.end(Error::from(released()));
                    let _ = reply.send(Err(released()));
                    return;
                };
                let listener = Listener::Presence(subscriber.id);
                let subscribe = Operation::Subscribe(id, listener, reply);
                entry.presence.add(subscriber);
                if attach {
                    self.attach_to_subscribe(id, subscribe, now);
                } else {
                    self.complete(subscribe, Ok(Outcome::Done));
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
