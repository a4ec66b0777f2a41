//! Who listens on a channel.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::ReplayEnd;
use capably_protocol::{Annotation, Message, PresenceAction, PresenceMessage, Str};

use crate::{
    Error,
    auth::Clock,
    realtime::{
        Gap, channel::ChannelShared, driver::operation::Listener, subscribing::filter::Wanted,
        subscribing::subscribers::Subscribers,
    },
};

/// A channel that handles exist for.
pub(super) struct Entry {
    pub(super) shared: Arc<ChannelShared>,
    pub(super) messages: Subscribers<Message, Wanted>,
    pub(super) presence: Subscribers<PresenceMessage, Vec<PresenceAction>>,
    pub(super) annotations: Subscribers<Annotation, Vec<Str>>,
}

impl Entry {
    pub(super) fn new(shared: Arc<ChannelShared>) -> Self {
        Self {
            shared,
            messages: Subscribers::default(),
            presence: Subscribers::default(),
            annotations: Subscribers::default(),
        }
    }

    /// The attach that a listener caused is over.
    pub(super) fn attach_over(&mut self, listener: Listener) {
        match listener {
            Listener::Messages(id) => self.messages.attach_over(id),
            Listener::Presence(id) => self.presence.attach_over(id),
            Listener::Annotations(id) => self.annotations.attach_over(id),
        }
    }

    /// Whether a listener is behind.
    pub(super) fn is_behind(&self) -> bool {
        self.messages.is_behind() || self.presence.is_behind() || self.annotations.is_behind()
    }

    /// Whether the replay under way can bring a listener more.
    pub(super) fn has_room(&self) -> bool {
        self.messages.has_room() || self.presence.has_room() || self.annotations.has_room()
    }

    /// The serial from which the channel is to be replayed, if a listener that is behind has room.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Option<Str> {
        let after = [
            self.messages.poll_room(cx),
            self.presence.poll_room(cx),
            self.annotations.poll_room(cx),
        ];
        after.into_iter().flatten().min().cloned()
    }

    /// Whether every listener that is not behind has room.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = [
            self.messages.poll_ready(cx),
            self.presence.poll_ready(cx),
            self.annotations.poll_ready(cx),
        ];
        if ready.iter().all(Poll::is_ready) { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn replay_begins(&mut self, after: &Str) {
        self.messages.replay_begins(after);
        self.presence.replay_begins(after);
        self.annotations.replay_begins(after);
    }

    pub(super) fn replay_ended(&mut self, end: &ReplayEnd, clock: &Clock) {
        self.messages.replay_ended(end, || clock.now());
        self.presence.replay_ended(end, || clock.now());
        self.annotations.replay_ended(end, || clock.now());
    }

    /// The channel has failed. Who has just subscribed learns so from its attach, and goes on listening
    /// (RTL7g, RTP6d, RTAN4d).
    pub(super) fn failed(&mut self, reason: &Error, clock: &Clock) {
        self.messages.failed(reason, || clock.now());
        self.presence.failed(reason, || clock.now());
        self.annotations.failed(reason, || clock.now());
    }

    /// From now on every listener is to miss nothing.
    pub(super) fn attached(&mut self) {
        self.messages.attached();
        self.annotations.attached();
    }

    /// Continuity was lost.
    pub(super) fn tell_gap(&mut self, gap: capably_core::Gap) {
        let gap = Gap::from(gap);
        self.messages.tell_gap(&gap);
        self.annotations.tell_gap(&gap);
        // The sync that follows tells what became of members.
        self.presence.settle(&gap);
    }

    pub(super) fn end(&mut self, reason: &Error, clock: &Clock) {
        self.messages.end(reason, || clock.now());
        self.presence.end(reason, || clock.now());
        self.annotations.end(reason, || clock.now());
    }
}
