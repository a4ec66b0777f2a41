//! Subscriptions to messages (RTL7).

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

use capably_protocol::{ErrorInfo, Message, Str};
use futures_core::Stream;
use tokio::sync::oneshot;

use super::{
    Channel, MessageFilter, Overflow,
    command::{Command, Subscriber, answered},
    filter::Wanted,
    queue::{Intake, Next, Queue},
};
use crate::{Error, Result};

/// How many messages a subscription queues, unless it says otherwise.
const CAPACITY: usize = 8192;

static NEXT_SUBSCRIBER: AtomicU64 = AtomicU64::new(0);

/// A subscription about to be made.
///
/// Awaiting it registers the listener and attaches the channel in one step, so that nothing is missed in
/// between, and returns once the channel is attached (RTL7g). [`listen`](Self::listen) does not wait, and
/// goes on listening when the attach fails.
///
/// # Errors
/// Why the channel is not attached, as [`Channel::attach`] says; 90001 if it has failed or was released. With
/// [`strict_mode`](crate::ClientOptions::strict_mode), 90009 when the channel is attached without the mode
/// `subscribe` (RTL7i1).
#[derive(Debug)]
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct Subscribe<'a> {
    channel: &'a Channel,
    wanted: Wanted,
    capacity: usize,
    overflow: Overflow,
    attach: bool,
}

impl<'a> Subscribe<'a> {
    pub(crate) fn new(channel: &'a Channel) -> Self {
        Self {
            channel,
            wanted: Wanted::default(),
            capacity: CAPACITY,
            overflow: Overflow::default(),
            attach: channel.shared.options().attach_on_subscribe,
        }
    }

    /// Listens only to messages with this name; call it again for several (RTL7b).
    pub fn name(mut self, name: impl Into<Str>) -> Self {
        self.wanted.names.push(name.into());
        self
    }

    /// Listens only to messages that match this filter; call it again for several, of which one must match
    /// (RTL22). With names as well, it is enough to have one of those.
    pub fn filter(mut self, filter: MessageFilter) -> Self {
        self.wanted.filters.push(filter);
        self
    }

    /// How many messages may wait to be taken; 8,192 by default. What the listener has taken in its last
    /// batch, and what arrives in one, comes on top.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
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

    /// Registers the listener, has the channel attached, and returns at once. What comes of the attach says
    /// [`Subscription::attached`]; if it fails, the listener stays and gets what comes once the channel is
    /// attached after all (RTL7g).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use capably::{ClientOptions, Realtime};
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port());
    /// # let client = Realtime::connect(options.tls(false)).await?;
    /// let channel = client.channels().get("greetings");
    /// let mut messages = channel.subscribe().listen();
    /// if let Err(error) = messages.attached().await {
    ///     eprintln!("nothing will come before the channel is attached: {error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(self) -> Subscription {
        let id = NEXT_SUBSCRIBER.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::new(self.capacity, self.overflow));
        let intake = Intake::new(Arc::clone(&queue));
        let attach = self.attach;
        let subscriber = Subscriber { id, wanted: self.wanted, queue, attaching: attach };
        let channel = self.channel.shared.id;
        let (reply, answer) = oneshot::channel();
        self.channel.handle.send(Command::Subscribe { channel, subscriber, attach, reply });
        Subscription { channel: self.channel.clone(), id, intake, attach: Attach::UnderWay(answer) }
    }

    async fn start(self) -> Result<Subscription> {
        let mut subscription = self.listen();
        subscription.attached().await?;
        Ok(subscription)
    }
}

impl<'a> IntoFuture for Subscribe<'a> {
    type Output = Result<Subscription>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// The messages of a channel, as a stream.
///
/// Dropping it unsubscribes (RTL8). It outlasts detaching and reconnecting, and the failure of the attach it
/// began with ([`Subscribe::listen`]); it ends when no more can come without the user's doing: the connection was closed or failed, or the channel failed or was released;
/// [`end_reason`](Self::end_reason) then says why.
pub struct Subscription {
    channel: Channel,
    id: u64,
    intake: Intake<Message>,
    attach: Attach,
}

/// The attach that a subscription began with.
enum Attach {
    UnderWay(oneshot::Receiver<Result<(), ErrorInfo>>),
    Over(Result<()>),
}

/// What a subscription has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly every event is a message")]
pub enum SubscriptionEvent {
    /// A message.
    Message(Message),
    /// So many messages were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl Subscription {
    /// The next message; `None` once the subscription has ended. What was dropped
    /// ([`Overflow::DropOldest`]) is logged; see [`next_event`](Self::next_event) to act on it.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The next message, or how many were dropped before it; `None` once the subscription has ended.
    pub async fn next_event(&mut self) -> Option<SubscriptionEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Waits for the attach that the subscription began with, and says what came of it, however often it is
    /// asked (RTL7g). Done at once where subscribing attached nothing.
    ///
    /// # Errors
    /// As [`Subscribe`] says. The subscription goes on listening.
    pub async fn attached(&mut self) -> Result<()> {
        let result = match &mut self.attach {
            Attach::UnderWay(answer) => answered(answer).await,
            Attach::Over(result) => return result.clone(),
        };
        self.attach = Attach::Over(result.clone());
        result
    }

    /// Why the subscription ended; `None` while it goes on.
    pub fn end_reason(&self) -> Option<&Error> {
        self.intake.end_reason()
    }

    /// The channel it listens to.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        self.intake.poll_next(cx).map(|next| {
            next.map(|next| match next {
                Next::Item(message) => SubscriptionEvent::Message(message),
                Next::Lagged(missed) => SubscriptionEvent::Lagged(missed),
            })
        })
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let channel = &self.channel;
        self.intake.poll_item(cx, |missed| {
            let channel = &**channel.name();
            tracing::warn!(channel, missed, "a subscription did not keep up");
        })
    }
}

impl Stream for Subscription {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_message(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.intake.close();
        let channel = self.channel.shared.id;
        self.channel.handle.send(Command::Unsubscribe { channel, subscriber: self.id });
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("channel", self.channel.name())
            .field("taken", &self.intake.taken())
            .field("end", &self.intake.end_reason())
            .finish_non_exhaustive()
    }
}
