//! Subscriptions to presence (RTP6).

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

use capably_protocol::{PresenceAction, PresenceMessage};
use futures_core::Stream;

use crate::{
    Error, Result,
    realtime::{
        Channel, Gap, Overflow,
        driver::command::{Command, PresenceCommand},
        subscribing::gap::warn_of_gap,
        subscribing::implicit_attach::ImplicitAttach,
        subscribing::queue::{Bounds, Break, Intake, Next, Queue},
        subscribing::subscribers::Subscriber,
    },
};

static NEXT_SUBSCRIBER: AtomicU64 = AtomicU64::new(0);

/// A subscription to presence about to be made.
///
/// Awaiting it registers the listener and attaches the channel in one step, so that nothing is missed in
/// between, and returns once the channel is attached (RTP6d). [`listen`](Self::listen) does not wait, and goes
/// on listening when the attach fails.
///
/// # Errors
/// Why the channel is not attached, as [`Channel::attach`] says; 90001 if it has failed or was released.
#[derive(Debug)]
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct SubscribePresence {
    channel: Channel,
    actions: Vec<PresenceAction>,
    bounds: Bounds,
    overflow: Overflow,
    attach: bool,
}

impl SubscribePresence {
    pub(in crate::realtime) fn new(channel: &Channel) -> Self {
        Self {
            channel: channel.clone(),
            actions: Vec::new(),
            bounds: Bounds::default(),
            overflow: Overflow::default(),
            attach: channel.shared.options().attach_on_subscribe,
        }
    }

    /// Listens only to this action; call it again for several (RTP6b).
    pub fn action(mut self, action: PresenceAction) -> Self {
        self.actions.push(action);
        self
    }

    /// How many events may wait to be taken; 8,192 by default. What the listener has taken in its last
    /// batch, and what arrives in one, comes on top.
    pub fn capacity(mut self, events: usize) -> Self {
        self.bounds.items = events;
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

    /// Whether to attach the channel; by default what the channel's options say (RTP6e, TB4).
    pub fn attach(mut self, attach: bool) -> Self {
        self.attach = attach;
        self
    }

    /// Registers the listener, has the channel attached, and returns at once; as
    /// [`Subscribe::listen`](crate::realtime::Subscribe::listen) does for messages, it goes on listening when
    /// the attach fails (RTP6d).
    pub fn listen(self) -> PresenceSubscription {
        let id = NEXT_SUBSCRIBER.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::new(self.bounds, self.overflow));
        let intake = Intake::new(Arc::clone(&queue));
        let attaching = self.attach;
        let subscriber = Subscriber::new(id, self.actions, queue, attaching);
        let (reply, attach) = ImplicitAttach::new();
        let command = PresenceCommand::Subscribe { subscriber, attach: attaching, reply };
        self.channel.handle.send(Command::Presence(self.channel.shared.id, command));
        PresenceSubscription { channel: self.channel.clone(), id, intake, attach }
    }

    async fn start(self) -> Result<PresenceSubscription> {
        if self.attach {
            self.channel.handle.check_may_wait()?;
        }
        let mut subscription = self.listen();
        subscription.attached().await?;
        Ok(subscription)
    }
}

impl IntoFuture for SubscribePresence {
    type Output = Result<PresenceSubscription>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// What members of a channel do, as a stream.
///
/// Dropping it unsubscribes (RTP7). It outlasts detaching and reconnecting, and the failure of the attach it
/// began with ([`SubscribePresence::listen`]). It ends when no more can come without the user's doing: the
/// connection was closed or failed, or the channel failed or was released;
/// [`end_reason`](Self::end_reason) then says why.
pub struct PresenceSubscription {
    channel: Channel,
    id: u64,
    intake: Intake<PresenceMessage, Gap>,
    attach: ImplicitAttach,
}

/// What a subscription to presence has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// A member did something.
    Message(PresenceMessage),
    /// The listener did not keep up, and the service no longer had what was missing: events are missing here.
    Gap(Gap),
    /// So many events were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl PresenceSubscription {
    /// What a member did next; `None` once the subscription has ended. What is missing
    /// is logged; see [`next_event`](Self::next_event) to act on it.
    pub async fn next(&mut self) -> Option<PresenceMessage> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// What a member did next, or how many events were dropped before it; `None` once the subscription has
    /// ended.
    pub async fn next_event(&mut self) -> Option<PresenceEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Waits for the attach that the subscription began with, and says what came of it, however often it is
    /// asked (RTP6d). Done at once where subscribing attached nothing.
    ///
    /// # Errors
    /// As [`SubscribePresence`] says. The subscription goes on listening.
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

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<PresenceEvent>> {
        self.intake.poll_next(cx).map(|next| {
            next.map(|next| match next {
                Next::Item(message) => PresenceEvent::Message(message),
                Next::Break(Break::Notice(gap)) => PresenceEvent::Gap(gap),
                Next::Break(Break::Lagged(missed)) => PresenceEvent::Lagged(missed),
            })
        })
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<PresenceMessage>> {
        let channel = &**self.channel.name();
        self.intake.poll_item(cx, |passed| match passed {
            Break::Notice(gap) => warn_of_gap(channel, &gap),
            Break::Lagged(missed) => {
                tracing::warn!(channel, missed, "a subscription to presence did not keep up");
            }
        })
    }
}

impl Stream for PresenceSubscription {
    type Item = PresenceMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PresenceMessage>> {
        self.poll_message(cx)
    }
}

impl Drop for PresenceSubscription {
    fn drop(&mut self) {
        self.intake.close();
        let command = PresenceCommand::Unsubscribe { subscriber: self.id };
        self.channel.handle.send(Command::Presence(self.channel.shared.id, command));
    }
}

impl fmt::Debug for PresenceSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresenceSubscription")
            .field("channel", self.channel.name())
            .field("taken", &self.intake.taken())
            .field("end", &self.intake.end_reason())
            .finish_non_exhaustive()
    }
}
