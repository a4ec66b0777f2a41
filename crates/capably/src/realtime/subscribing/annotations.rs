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
        Channel, Gap, Overflow,
        driver::command::{AnnotationCommand, Command},
        subscribing::gap::warn_of_gap,
        subscribing::implicit_attach::ImplicitAttach,
        subscribing::queue::{Bounds, Break, Intake, Next, Queue},
        subscribing::subscribers::Subscriber,
    },
};

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
pub struct SubscribeAnnotations {
    channel: Channel,
    types: Vec<Str>,
    bounds: Bounds,
    overflow: Overflow,
    attach: bool,
}

impl SubscribeAnnotations {
    pub(in crate::realtime) fn new(channel: &Channel) -> Self {
        Self {
            channel: channel.clone(),
            types: Vec::new(),
            bounds: Bounds::default(),
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
        self.bounds.items = annotations;
        self
    }

    /// How many bytes may wait to be taken; 16 MiB by default.
    pub fn capacity_bytes(mut self, bytes: usize) -> Self {
        self.bounds.bytes = bytes;
        self
    }

    /// What happens when that many wait; by default nothing is lost, and what has no room is fetched later
    /// ([`Overflow::Replay`]).
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
        let queue = Arc::new(Queue::new(self.bounds, self.overflow));
        let intake = Intake::new(Arc::clone(&queue));
        let attaching = self.attach;
        let subscriber = Subscriber::new(id, self.types, queue, attaching);
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

impl IntoFuture for SubscribeAnnotations {
    type Output = Result<AnnotationSubscription>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

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
    intake: Intake<Annotation, Gap>,
    attach: ImplicitAttach,
}

/// What a subscription to annotations has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AnnotationEvent {
    /// An annotation was made or removed.
    Annotation(Annotation),
    /// Annotations may be missing here: continuity was lost, or the listener did not keep up and the service no longer had
    /// what was missing.
    Gap(Gap),
    /// So many annotations were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl AnnotationSubscription {
    /// The next annotation; `None` once the subscription has ended. What is missing
    /// is logged; see [`next_event`](Self::next_event) to act on it.
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
                Next::Break(Break::Notice(gap)) => AnnotationEvent::Gap(gap),
                Next::Break(Break::Lagged(missed)) => AnnotationEvent::Lagged(missed),
            })
        })
    }

    fn poll_annotation(&mut self, cx: &mut Context<'_>) -> Poll<Option<Annotation>> {
        let channel = &**self.channel.name();
        self.intake.poll_item(cx, |passed| match passed {
            Break::Notice(gap) => warn_of_gap(channel, &gap),
            Break::Lagged(missed) => {
                tracing::warn!(channel, missed, "a subscription to annotations did not keep up");
            }
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
