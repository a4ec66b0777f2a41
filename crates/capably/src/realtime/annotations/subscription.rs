//! Subscriptions to annotations (RTAN4).

use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use capably_protocol::{Annotation, Str};
use futures_core::Stream;

use crate::{
    Error, Result,
    realtime::{
        Channel, Overflow,
        command::{AnnotationCommand, Command},
        implicit_attach::ImplicitAttach,
        kinds::SubscriberOfKinds,
        queue::{Break, Intake, Next, Queue},
    },
};

/// How many annotations a subscription queues, unless it says otherwise.
const CAPACITY: usize = 8192;

static NEXT_SUBSCRIBER: AtomicU64 = AtomicU64::new(0);

/// A subscription to annotations about to be made.
///
/// Awaiting it registers the listener and attaches the channel in one step, so that nothing is missed in
/// between, and returns once the channel is attached (RTAN4d). [`listen`](Self::listen) does not wait, and goes
/// on listening when the attach fails.
///
/// # Errors
/// Why the channel is not attached, as [`Channel::attach`] says; 90001 if it has failed or was released. With
/// [`strict_mode`](crate::ClientOptions::strict_mode), 93001 when the channel is attached without the mode
/// `annotation_subscribe`; otherwise the log says so (RTAN4e).
#[derive(Debug)]
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct SubscribeAnnotations<'a> {
    channel: &'a Channel,
    types: Vec<Str>,
    capacity: usize,
    overflow: Overflow,
    attach: bool,
}

impl<'a> SubscribeAnnotations<'a> {
    pub(super) fn new(channel: &'a Channel) -> Self {
        Self {
            channel,
            types: Vec::new(),
            capacity: CAPACITY,
            overflow: Overflow::default(),
            attach: channel.shared.options().attach_on_subscribe,
        }
    }

    /// Listens only to annotations of exactly this type; call it again for several (RTAN4c).
    pub fn annotation_type(mut self, annotation_type: impl Into<Str>) -> Self {
        self.types.push(annotation_type.into());
        self
    }

    /// How many annotations may wait to be taken; 8,192 by default. What the listener has taken in its last
    /// batch, and what arrives in one, comes on top.
    pub fn capacity(mut self, annotations: usize) -> Self {
        self.capacity = annotations;
        self
    }

    /// What happens when that many wait; by default nothing is lost and the client reads no further.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Whether to attach the channel; by default what the channel's options say (TB4).
    pub fn attach(mut self, attach: bool) -> Self {
        self.attach = attach;
        self
    }

    /// Registers the listener, has the channel attached, and returns at once; as
    /// [`Subscribe::listen`](crate::realtime::Subscribe::listen) does for messages, it goes on listening when
    /// the attach fails (RTAN4d).
    pub fn listen(self) -> AnnotationSubscription {
        let id = NEXT_SUBSCRIBER.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::new(self.capacity, self.overflow));
        let intake = Intake::new(Arc::clone(&queue));
        let attaching = self.attach;
        let subscriber = SubscriberOfKinds { id, kinds: self.types, queue, attaching };
        let (reply, attach) = ImplicitAttach::new();
        let command = AnnotationCommand::Subscribe { subscriber, attach: attaching, reply };
        self.channel.handle.send(Command::Annotations(self.channel.shared.id, command));
        AnnotationSubscription { channel: self.channel.clone(), id, intake, attach }
    }

    async fn start(self) -> Result<AnnotationSubscription> {
        if self.attach {
            self.channel.handle.check_may_wait()?;
        }
        let mut subscription = self.listen();
        subscription.attached().await?;
        Ok(subscription)
    }
}

impl<'a> IntoFuture for SubscribeAnnotations<'a> {
    type Output = Result<AnnotationSubscription>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// The annotations of a channel's messages, as they are made and removed, as a stream.
///
/// Dropping it unsubscribes (RTAN5). It outlasts detaching and reconnecting, and the failure of the attach it
/// began with ([`SubscribeAnnotations::listen`]). It ends when no more can come without the user's doing: the
/// connection was closed or failed, or the channel failed or was released;
/// [`end_reason`](Self::end_reason) then says why.
pub struct AnnotationSubscription {
    channel: Channel,
    id: u64,
    intake: Intake<Annotation>,
    attach: ImplicitAttach,
}

/// What a subscription to annotations has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly every event is an annotation")]
pub enum AnnotationEvent {
    /// An annotation was made or removed.
    Annotation(Annotation),
    /// So many annotations were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl AnnotationSubscription {
    /// The next annotation; `None` once the subscription has ended. What was dropped
    /// ([`Overflow::DropOldest`]) is logged; see [`next_event`](Self::next_event) to act on it.
    pub async fn next(&mut self) -> Option<Annotation> {
        poll_fn(|cx| self.poll_annotation(cx)).await
    }

    /// The next annotation, or how many annotations were dropped before it; `None` once the subscription has
    /// ended.
    pub async fn next_event(&mut self) -> Option<AnnotationEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Waits for the attach that the subscription began with, and says what came of it, however often it is
    /// asked (RTAN4d). Done at once where subscribing attached nothing.
    ///
    /// # Errors
    /// As [`SubscribeAnnotations`] says. The subscription goes on listening.
    pub async fn attached(&mut self) -> Result<()> {
        self.attach.outcome().await
    }

    /// Why the subscription ended; `None` while it goes on.
    pub fn end_reason(&self) -> Option<&Error> {
        self.intake.end_reason()
    }

    /// The channel it listens to.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<AnnotationEvent>> {
        self.intake.poll_next(cx).map(|next| {
            next.map(|next| match next {
                Next::Item(annotation) => AnnotationEvent::Annotation(annotation),
                Next::Break(Break::Lagged(missed)) => AnnotationEvent::Lagged(missed),
            })
        })
    }

    fn poll_annotation(&mut self, cx: &mut Context<'_>) -> Poll<Option<Annotation>> {
        let channel = &self.channel;
        self.intake.poll_item(cx, |Break::Lagged(missed)| {
            let channel = &**channel.name();
            tracing::warn!(channel, missed, "a subscription to annotations did not keep up");
        })
    }
}

impl Stream for AnnotationSubscription {
    type Item = Annotation;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Annotation>> {
        self.poll_annotation(cx)
    }
}

impl Drop for AnnotationSubscription {
    fn drop(&mut self) {
        self.intake.close();
        let command = AnnotationCommand::Unsubscribe { subscriber: self.id };
        self.channel.handle.send(Command::Annotations(self.channel.shared.id, command));
    }
}

impl fmt::Debug for AnnotationSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnnotationSubscription")
            .field("channel", self.channel.name())
            .field("taken", &self.intake.taken())
            .field("end", &self.intake.end_reason())
            .finish_non_exhaustive()
    }
}
