//! Who listens on a channel.

use std::sync::Arc;

use capably_protocol::{Annotation, Message, PresenceMessage};

use crate::{
    Error,
    realtime::{
        channel::ChannelShared, command::Subscriber, kinds::SubscribersOfKinds, queue::Pushed,
    },
};

/// A channel that handles exist for.
pub(super) struct Entry {
    pub(super) shared: Arc<ChannelShared>,
    pub(super) subscribers: Vec<Subscriber>,
    pub(super) presence: SubscribersOfKinds<PresenceMessage>,
    pub(super) annotations: SubscribersOfKinds<Annotation>,
}

impl Entry {
    /// Hands messages to every subscriber that wants them.
    pub(super) fn deliver(&mut self, messages: Vec<Message>) -> Pushed {
        let mut full = Pushed::Room;
        if let [subscriber] = &self.subscribers[..]
            && subscriber.names.is_empty()
        {
            full = subscriber.queue.push(messages);
        } else {
            for subscriber in &self.subscribers {
                let wanted = messages.iter().filter(|message| subscriber.wants(message)).cloned();
                let wanted: Vec<_> = wanted.collect();
                if !wanted.is_empty() && subscriber.queue.push(wanted) == Pushed::Full {
                    full = Pushed::Full;
                }
            }
        }
        full
    }

    pub(super) fn end(&self, reason: &Error) {
        for subscriber in &self.subscribers {
            subscriber.queue.end(reason.clone());
        }
        self.presence.end(reason);
        self.annotations.end(reason);
    }
}

impl Subscriber {
    fn wants(&self, message: &Message) -> bool {
        self.names.is_empty() || message.name.as_ref().is_some_and(|name| self.names.contains(name))
    }
}
