//! Subscriptions to presence (RTP6).

use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use capably_protocol::{PresenceAction, PresenceMessage};
use futures_core::Stream;

use crate::{
    Error, Result,
    http::BoxFuture,
    realtime::{
        Channel, Overflow,
        queue::{Break, Next},
        subscribing::{
            AnySubscriber, Feed, FeedItem, Gap, Subscriber,
            listener::{Listener, ListenerBuilder, public_types},
        },
    },
};

/// A subscription to presence before it is made.
///
/// Awaiting it registers the listener and attaches the channel in one step, so that nothing is missed in
/// between. It returns once the channel is attached (RTP6d). [`listen`](Self::listen) does not wait, and the
/// listener stays registered when the attach fails.
///
/// # Errors
/// The reason why the channel is not attached, as [`Channel::attach`] describes; 90001 if the channel has failed
/// or was released.
#[derive(Debug)]
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct SubscribePresence {
    listener: ListenerBuilder<PresenceMessage>,
}

impl SubscribePresence {
    pub(super) fn new(channel: &Channel) -> Self {
        Self { listener: ListenerBuilder::new(channel) }
    }

    /// Selects this action only; several calls select several actions (RTP6b).
    pub fn action(mut self, action: PresenceAction) -> Self {
        self.listener.selection.push(action);
        self
    }

    /// Registers the listener, starts to attach the channel, and returns at once. As with
    /// [`Subscribe::listen`](crate::realtime::Subscribe::listen), the listener stays registered when the attach
    /// fails (RTP6d).
    pub fn listen(self) -> PresenceSubscription {
        PresenceSubscription { listener: self.listener.listen() }
    }
}

/// The presence events of a channel, as a stream.
///
/// Dropping it unsubscribes (RTP7). It outlasts detaching, reconnecting, and a failure of its first attach
/// ([`SubscribePresence::listen`]). It ends when no more events can come unless the program acts: the connection
/// was closed or failed, or the channel failed or was released. [`end_reason`](Self::end_reason) then gives the
/// reason.
pub struct PresenceSubscription {
    listener: Listener<PresenceMessage>,
}

impl PresenceSubscription {
    /// The next presence event; `None` once the subscription has ended. Missing events are logged; to act on
    /// them, use [`next_event`](Self::next_event).
    pub async fn next(&mut self) -> Option<PresenceMessage> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// The next presence event, or a note of missing events before it; `None` once the subscription has ended.
    pub async fn next_event(&mut self) -> Option<PresenceEvent> {
        poll_fn(|cx| self.listener.poll_event(cx)).await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<PresenceMessage>> {
        self.listener.poll_item(cx)
    }
}

public_types!(
    SubscribePresence => PresenceSubscription of PresenceMessage;
    items: "events", attach: "RTP6d", attach_by_default: "RTP6e, TB4"
);

/// An event of a subscription to presence.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// A member entered, left, changed its data, or was present before.
    Message(PresenceMessage),
    /// Events are missing here: the listener did not keep up, and the service no longer had them.
    Gap(Gap),
    /// This many events were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl FeedItem for PresenceMessage {
    const FEED: Feed = Feed::Presence;
    const RESYNCED: bool = true;
    type Selection = Vec<PresenceAction>;
    type Event = PresenceEvent;

    fn into_event(next: Next<Self, Gap>) -> PresenceEvent {
        match next {
            Next::Item(message) => PresenceEvent::Message(message),
            Next::Break(Break::Notice(gap)) => PresenceEvent::Gap(gap),
            Next::Break(Break::Lagged(missed)) => PresenceEvent::Lagged(missed),
        }
    }

    fn into_any(subscriber: Subscriber<Self>) -> AnySubscriber {
        AnySubscriber::Presence(subscriber)
    }
}
