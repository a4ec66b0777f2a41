//! Subscriptions to annotations (RTAN4).

use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use capably_protocol::{Annotation, Str};
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

/// A subscription to annotations before it is made.
///
/// Awaiting it registers the listener and attaches the channel in one step, so that nothing is missed in
/// between. It returns once the channel is attached (RTAN4d). [`listen`](Self::listen) does not wait, and the
/// listener stays registered when the attach fails.
///
/// # Errors
/// The reason why the channel is not attached, as [`Channel::attach`] describes; 90001 if the channel has failed
/// or was released. With [`strict_mode`](crate::ClientOptions::strict_mode), 93001 when the channel is attached
/// without the mode `annotation_subscribe`; without strict mode this is logged (RTAN4e).
#[derive(Debug)]
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct SubscribeAnnotations {
    listener: ListenerBuilder<Annotation>,
}

impl SubscribeAnnotations {
    pub(super) fn new(channel: &Channel) -> Self {
        Self { listener: ListenerBuilder::new(channel) }
    }

    /// Selects annotations of exactly this type; several calls select several types (RTAN4c).
    pub fn annotation_type(mut self, annotation_type: impl Into<Str>) -> Self {
        self.listener.selection.push(annotation_type.into());
        self
    }

    /// Registers the listener, starts to attach the channel, and returns at once. As with
    /// [`Subscribe::listen`](crate::realtime::Subscribe::listen), the listener stays registered when the attach
    /// fails (RTAN4d).
    pub fn listen(self) -> AnnotationSubscription {
        AnnotationSubscription { listener: self.listener.listen() }
    }
}

/// The annotations that are made and removed on a channel, as a stream.
///
/// Dropping it unsubscribes (RTAN5). It outlasts detaching, reconnecting, and a failure of its first attach
/// ([`SubscribeAnnotations::listen`]). It ends when no more annotations can come unless the program acts: the
/// connection was closed or failed, or the channel failed or was released. [`end_reason`](Self::end_reason) then
/// gives the reason.
pub struct AnnotationSubscription {
    listener: Listener<Annotation>,
}

impl AnnotationSubscription {
    /// The next annotation; `None` once the subscription has ended. Missing annotations are logged; to act on
    /// them, use [`next_event`](Self::next_event).
    pub async fn next(&mut self) -> Option<Annotation> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// The next annotation, or a note of missing annotations before it; `None` once the subscription has ended.
    pub async fn next_event(&mut self) -> Option<AnnotationEvent> {
        poll_fn(|cx| self.listener.poll_event(cx)).await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Annotation>> {
        self.listener.poll_item(cx)
    }
}

public_types!(
    SubscribeAnnotations => AnnotationSubscription of Annotation;
    items: "annotations", attach: "RTAN4d", attach_by_default: "TB4"
);

/// An event of a subscription to annotations.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AnnotationEvent {
    /// An annotation was made or removed.
    Annotation(Annotation),
    /// Annotations may be missing here: continuity was lost, or the listener did not keep up and the service no
    /// longer had the missing annotations.
    Gap(Gap),
    /// This many annotations were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl FeedItem for Annotation {
    const FEED: Feed = Feed::Annotations;
    const RESYNCED: bool = false;
    type Selection = Vec<Str>;
    type Event = AnnotationEvent;

    fn into_event(next: Next<Self, Gap>) -> AnnotationEvent {
        match next {
            Next::Item(annotation) => AnnotationEvent::Annotation(annotation),
            Next::Break(Break::Notice(gap)) => AnnotationEvent::Gap(gap),
            Next::Break(Break::Lagged(missed)) => AnnotationEvent::Lagged(missed),
        }
    }

    fn into_any(subscriber: Subscriber<Self>) -> AnySubscriber {
        AnySubscriber::Annotations(subscriber)
    }
}
