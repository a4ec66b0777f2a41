//! The driver's table entry of a channel.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use capably_core::ReplayEnd;
use capably_protocol::{Annotation, Message, PresenceMessage, Str};

use crate::{
    Error,
    auth::Clock,
    realtime::{
        Gap,
        channel::ChannelShared,
        subscribing::{AnySubscriber, Feed, SubscriberId, SubscriberSet, Subscribers},
    },
};

/// A channel, and the listeners of its feeds.
pub(super) struct ChannelEntry {
    pub(super) shared: Arc<ChannelShared>,
    pub(super) messages: Subscribers<Message>,
    pub(super) presence: Subscribers<PresenceMessage>,
    pub(super) annotations: Subscribers<Annotation>,
}

impl ChannelEntry {
    pub(super) fn new(shared: Arc<ChannelShared>) -> Self {
        Self {
            shared,
            messages: Subscribers::default(),
            presence: Subscribers::default(),
            annotations: Subscribers::default(),
        }
    }

    /// Adds a listener; `continuous` is whether the channel is attached with continuity.
    pub(super) fn add(&mut self, subscriber: AnySubscriber, continuous: bool) {
        match subscriber {
            AnySubscriber::Messages(subscriber) => self.messages.add(subscriber, continuous),
            AnySubscriber::Presence(subscriber) => self.presence.add(subscriber, continuous),
            AnySubscriber::Annotations(subscriber) => self.annotations.add(subscriber, continuous),
        }
    }

    pub(super) fn remove(&mut self, id: SubscriberId) {
        self.feed_mut(id.feed).remove(id);
    }

    /// The implicit attach of a listener is done.
    pub(super) fn attach_done(&mut self, id: SubscriberId) {
        self.feed_mut(id.feed).attach_done(id);
    }

    /// The channel was attached. From this moment no listener misses anything without a gap.
    pub(super) fn attached(&mut self) {
        self.feeds_mut().into_iter().for_each(SubscriberSet::attached);
    }

    /// Continuity was lost.
    pub(super) fn continuity_lost(&mut self, gap: capably_core::Gap) {
        let gap = Gap::from(gap);
        self.feeds_mut().into_iter().for_each(|feed| feed.continuity_lost(&gap));
    }

    /// The channel has failed. A listener whose implicit attach is pending receives the reason from the attach,
    /// and stays registered (RTL7g, RTP6d, RTAN4d).
    pub(super) fn failed(&mut self, reason: &Error, clock: &Clock) {
        self.feeds_mut().into_iter().for_each(|feed| feed.failed(reason, clock));
        self.end_objects(reason);
    }

    /// Ends every listener.
    pub(super) fn end(&mut self, reason: &Error, clock: &Clock) {
        self.feeds_mut().into_iter().for_each(|feed| feed.end(reason, clock));
        self.end_objects(reason);
    }

    fn end_objects(&self, reason: &Error) {
        if let Some(objects) = self.shared.objects_if_used() {
            objects.end_subscriptions(reason);
        }
    }

    /// Whether a listener is behind.
    pub(super) fn is_behind(&self) -> bool {
        self.feeds().into_iter().any(SubscriberSet::is_behind)
    }

    /// Whether the current replay is still of use to a listener.
    pub(super) fn needs_replay(&self) -> bool {
        self.feeds().into_iter().any(SubscriberSet::needs_replay)
    }

    /// The serial from which to replay the channel, if a listener that is behind has room.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Option<Str> {
        self.feeds().into_iter().filter_map(|feed| feed.poll_room(cx)).min().cloned()
    }

    /// Ready when every listener that is not behind has room.
    pub(super) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Polls every feed, also after a full one: each must know the waker.
        let full = self.feeds().into_iter().filter(|feed| feed.poll_ready(cx).is_pending()).count();
        if full == 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn replay_started(&mut self, after: &Str) {
        self.feeds_mut().into_iter().for_each(|feed| feed.replay_started(after));
    }

    pub(super) fn replay_ended(&mut self, end: &ReplayEnd, clock: &Clock) {
        self.feeds_mut().into_iter().for_each(|feed| feed.replay_ended(end, clock));
    }

    fn feeds(&self) -> [&dyn SubscriberSet; 3] {
        [&self.messages, &self.presence, &self.annotations]
    }

    fn feeds_mut(&mut self) -> [&mut dyn SubscriberSet; 3] {
        [&mut self.messages, &mut self.presence, &mut self.annotations]
    }

    fn feed_mut(&mut self, feed: Feed) -> &mut dyn SubscriberSet {
        match feed {
            Feed::Messages => &mut self.messages,
            Feed::Presence => &mut self.presence,
            Feed::Annotations => &mut self.annotations,
        }
    }
}
