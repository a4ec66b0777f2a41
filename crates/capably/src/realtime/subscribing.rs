//! Subscriptions to the feeds of a channel. Messages are here; presence and annotations are in their own modules.
//!
//! All feeds share one implementation, generic over the feed's item ([`FeedItem`]):
//!
//! | on the user's side | in the driver |
//! |---|---|
//! | [`ListenerBuilder`](listener::ListenerBuilder), then [`Listener`](listener::Listener) | [`Subscribers`], one for each feed of a channel |
//!
//! A [`Queue`](super::queue::Queue) connects the two. The public types of a feed wrap a builder and a listener, and
//! add the methods that only this feed has. A new feed needs an implementation of [`FeedItem`], a variant in [`Feed`]
//! and in
//! [`AnySubscriber`], a field in the driver's `ChannelEntry`, and its public types.

use std::fmt;

use super::queue::{Next, Weigh};

mod fill;
mod filter;
mod gap;
mod implicit_attach;
pub(super) mod listener;
mod messages;
mod selection;
mod subscribers;

pub use filter::MessageFilter;
pub use gap::Gap;
pub use messages::{Subscribe, Subscription, SubscriptionEvent};
pub(crate) use selection::Selection;
pub(crate) use subscribers::{AnySubscriber, Delivered, Subscriber, SubscriberSet, Subscribers};

/// An item of a feed: what a listener receives.
pub(crate) trait FeedItem: Weigh + Clone + Send + Sync + Sized + 'static {
    const FEED: Feed;

    /// Whether the service sends the whole state of the feed again after a loss of continuity. If it does, a
    /// listener needs no gap: the sync shows what has changed.
    const RESYNCED: bool;

    /// Which items a listener receives.
    type Selection: Selection<Self> + Default + fmt::Debug + Send + 'static;

    /// An item, or an interruption before it, as users see it.
    type Event;

    fn into_event(next: Next<Self, Gap>) -> Self::Event;

    fn into_any(subscriber: Subscriber<Self>) -> AnySubscriber;
}

/// A feed of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    Messages,
    Presence,
    Annotations,
}

impl fmt::Display for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Messages => "messages",
            Self::Presence => "presence",
            Self::Annotations => "annotations",
        })
    }
}

/// Identifies a subscriber of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriberId {
    pub(crate) feed: Feed,
    number: u64,
}
