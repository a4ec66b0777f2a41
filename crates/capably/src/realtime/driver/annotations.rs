//! Annotations in the driver: what handles ask.

use capably_core::{Channel, ChannelId, Now, Outcome};

use super::{Driver, dispatch::released};
use crate::{
    Error,
    realtime::{
        driver::command::AnnotationCommand,
        driver::operation::{Listener, Operation},
    },
};

impl Driver {
    pub(super) fn handle_annotations(
        &mut self,
        id: ChannelId,
        command: AnnotationCommand,
        now: Now,
    ) {
        match command {
            AnnotationCommand::Publish { annotation, permits, reply } => {
                let op = self.operation(Operation::Publish(reply, permits));
                self.core.annotate(id, *annotation, op, now);
            }
            AnnotationCommand::Subscribe { mut subscriber, attach, reply } => {
                let Some(entry) = self.channels.get_mut(&id) else {
                    subscriber.queue.end(Error::from(released()));
                    let _ = reply.send(Err(released()));
                    return;
                };
                let listener = Listener::Annotations(subscriber.id);
                let subscribe = Operation::Subscribe(id, listener, reply);
                subscriber.continuous = self.core.channel(id).is_some_and(Channel::is_continuous);
                entry.annotations.add(subscriber);
                if attach {
                    self.attach_to_subscribe(id, subscribe, now);
                } else {
                    self.complete(subscribe, Ok(Outcome::Done));
                }
            }
            AnnotationCommand::Unsubscribe { subscriber } => {
                if let Some(entry) = self.channels.get_mut(&id) {
                    entry.annotations.remove(subscriber);
                }
            }
        }
    }
}
