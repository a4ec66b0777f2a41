//! Who listens on a channel.

use std::sync::Arc;

use capably_protocol::{Annotation, Message, PresenceMessage};

use crate::{
    Error,
    realtime::{
        Gap, channel::ChannelShared, command::Subscriber, kinds::SubscribersOfKinds,
        operation::Listener, queue::Pushed,
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
            && subscriber.wanted.is_all()
        {
            full = subscriber.queue.push(messages);
        } else {
            for subscriber in &self.subscribers {
                let wanted = |message: &&Message| subscriber.wanted.contains(message);
                let wanted = messages.iter().filter(wanted).cloned();
                let wanted: Vec<_> = wanted.collect();
                if !wanted.is_empty() && subscriber.queue.push(wanted) == Pushed::Full {
                    full = Pushed::Full;
                }
            }
        }
        full
    }

    /// The attach that a subscriber caused is over.
    pub(super) fn attach_over(&mut self, listener: Listener) {
        match listener {
            Listener::Messages(id) => {
                if let Some(subscriber) = self.subscribers.iter_mut().find(|own| own.id == id) {
                    subscriber.attaching = false;
                }
            }
            Listener::Presence(id) => self.presence.attach_over(id),
            Listener::Annotations(id) => self.annotations.attach_over(id),
        }
    }

    /// The channel has failed. Who has just subscribed learns so from its attach, and goes on listening
    /// (RTL7g, RTP6d, RTAN4d).
    pub(super) fn failed(&self, reason: &Error) {
        for subscriber in self.subscribers.iter().filter(|own| !own.attaching) {
            subscriber.queue.end(reason.clone());
        }
        self.presence.failed(reason);
        self.annotations.failed(reason);
    }

    /// From now on every subscriber is to miss nothing.
    pub(super) fn attached(&mut self) {
        for subscriber in &mut self.subscribers {
            subscriber.continuous = true;
        }
    }

    /// Tells those who were to miss nothing that they may have.
    pub(super) fn tell_gap(&self, gap: capably_core::Gap) {
        let gap = Gap::from(gap);
        for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.continuous) {
            subscriber.queue.push_notice(gap.clone());
        }
    }

    pub(super) fn end(&self, reason: &Error) {
        for subscriber in &self.subscribers {
            subscriber.queue.end(reason.clone());
        }
        self.presence.end(reason);
        self.annotations.end(reason);
    }
}
