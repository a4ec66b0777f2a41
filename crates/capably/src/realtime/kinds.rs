//! Listeners to what comes in kinds: presence by action, annotations by type.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use capably_protocol::{Annotation, PresenceAction, PresenceMessage, Str};

use super::{
    command::gone,
    queue::{Pushed, Queue},
};
use crate::Error;

/// Something that comes in kinds, by which one may listen to it.
pub(crate) trait OfKind: Clone {
    type Kind: PartialEq + fmt::Debug;

    fn kind(&self) -> Option<&Self::Kind>;
}

impl OfKind for PresenceMessage {
    type Kind = PresenceAction;

    fn kind(&self) -> Option<&PresenceAction> {
        self.action.as_ref()
    }
}

impl OfKind for Annotation {
    type Kind = Str;

    fn kind(&self) -> Option<&Str> {
        self.annotation_type.as_ref()
    }
}

/// One who listens.
#[derive(Debug)]
pub(crate) struct SubscriberOfKinds<T: OfKind> {
    pub(crate) id: u64,
    /// The kinds to listen to; none means all (RTP6a, RTP6b, RTAN4c).
    pub(crate) kinds: Vec<T::Kind>,
    pub(crate) queue: Arc<Queue<T>>,
    /// Its implicit attach is under way. If that fails, it learns so from there, and goes on listening
    /// (RTP6d, RTAN4d).
    pub(crate) attaching: bool,
}

impl<T: OfKind> Drop for SubscriberOfKinds<T> {
    fn drop(&mut self) {
        // Nobody fills the queue any more, be it that the client has ended before it came to this.
        self.queue.end(gone());
    }
}

impl<T: OfKind> SubscriberOfKinds<T> {
    fn wants(&self, item: &T) -> bool {
        self.kinds.is_empty() || item.kind().is_some_and(|kind| self.kinds.contains(kind))
    }
}

/// All who listen on one channel.
pub(crate) struct SubscribersOfKinds<T: OfKind>(Vec<SubscriberOfKinds<T>>);

impl<T: OfKind> Default for SubscribersOfKinds<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: OfKind> SubscribersOfKinds<T> {
    pub(crate) fn add(&mut self, subscriber: SubscriberOfKinds<T>) {
        self.0.push(subscriber);
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.0.retain(|own| own.id != id);
    }

    /// Hands what arrived to every subscriber that wants it.
    pub(crate) fn deliver(&self, mut items: Vec<T>) -> Pushed {
        let mut full = Pushed::Room;
        let last = self.0.len().saturating_sub(1);
        for (index, subscriber) in self.0.iter().enumerate() {
            let mut wanted = if index == last { std::mem::take(&mut items) } else { items.clone() };
            wanted.retain(|item| subscriber.wants(item));
            if !wanted.is_empty() && subscriber.queue.push(wanted) == Pushed::Full {
                full = Pushed::Full;
            }
        }
        full
    }

    /// Whether every subscriber has room; one that has none ends if it is `too_slow`.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>, too_slow: bool) -> Poll<()> {
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

    /// The attach that a subscriber caused is over.
    pub(crate) fn attach_over(&mut self, id: u64) {
        if let Some(subscriber) = self.0.iter_mut().find(|own| own.id == id) {
            subscriber.attaching = false;
        }
    }

    /// Ends all but those whose attach is under way.
    pub(crate) fn failed(&self, reason: &Error) {
        for subscriber in self.0.iter().filter(|own| !own.attaching) {
            subscriber.queue.end(reason.clone());
        }
    }

    pub(crate) fn end(&self, reason: &Error) {
        for subscriber in &self.0 {
            subscriber.queue.end(reason.clone());
        }
    }
}
