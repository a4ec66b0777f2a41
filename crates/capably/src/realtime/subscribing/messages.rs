//! Subscriptions to messages (RTL7).

use std::{
    fmt,
    future::{Future, IntoFuture, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use capably_protocol::{Message, Str};
use futures_core::Stream;

use crate::realtime::{
    Channel, Gap, MessageFilter, Overflow,
    driver::command::Command,
    subscribing::fill::{self, Filler},
    subscribing::filter::Wanted,
    subscribing::gap::warn_of_gap,
    subscribing::implicit_attach::ImplicitAttach,
    subscribing::queue::{Bounds, Break, Intake, Next, Queue},
    subscribing::subscribers::Subscriber,
};
use crate::{Error, Result};

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
pub struct Subscribe {
    channel: Channel,
    wanted: Wanted,
    bounds: Bounds,
    overflow: Overflow,
    attach: bool,
    /// How many messages of a gap to read from history, if gaps are to be filled.
    fill: Option<usize>,
}

impl Subscribe {
    pub(crate) fn new(channel: &Channel) -> Self {
        Self {
            channel: channel.clone(),
            wanted: Wanted::default(),
            bounds: Bounds::default(),
            overflow: Overflow::default(),
            attach: channel.shared.options().attach_on_subscribe,
            fill: None,
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
        self.bounds.items = messages;
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

    /// Fills gaps from the channel's history: after a [`Gap`] the subscription reads what was published
    /// meanwhile, up to 10,000 messages, and hands it out in order as [`SubscriptionEvent::Filled`] before it
    /// goes on. What arrives while it reads waits in the queue.
    ///
    /// A gap that cannot be filled, or not wholly, is still told, with the reason in [`Gap::unfilled`], in
    /// front of the messages that could be read: history refused or out of reach, older messages kept no more,
    /// or too many. The same goes for one before which the channel had no message, as nothing then shows that
    /// history is complete. The client needs the right to read history.
    pub fn fill_gaps(self) -> Self {
        self.fill_gaps_up_to(fill::LIMIT)
    }

    /// As [`fill_gaps`](Self::fill_gaps), reading at most this many messages for one gap, those with other
    /// names included. Of more, it hands out the newest.
    pub fn fill_gaps_up_to(mut self, messages: usize) -> Self {
        self.fill = Some(messages);
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
        let queue = Arc::new(Queue::new(self.bounds, self.overflow));
        let intake = Intake::new(Arc::clone(&queue));
        let attach = self.attach;
        let filler = self.fill.map(|limit| Box::new(Filler::new(self.wanted.clone(), limit)));
        let subscriber = Subscriber::new(id, self.wanted, queue, attach);
        let channel = self.channel.shared.id;
        let (reply, outcome) = ImplicitAttach::new();
        self.channel.handle.send(Command::Subscribe { channel, subscriber, attach, reply });
        let attach = outcome;
        Subscription { channel: self.channel.clone(), id, intake, filler, attach }
    }

    async fn start(self) -> Result<Subscription> {
        if self.attach {
            self.channel.handle.check_may_wait()?;
        }
        let mut subscription = self.listen();
        subscription.attached().await?;
        Ok(subscription)
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}

/// The messages of a channel, as a stream.
///
/// Dropping it unsubscribes (RTL8). It outlasts detaching and reconnecting, and the failure of the attach it
/// began with ([`Subscribe::listen`]). It ends when no more can come without the user's doing: the connection
/// was closed or failed, or the channel failed or was released; [`end_reason`](Self::end_reason) then says why.
pub struct Subscription {
    channel: Channel,
    id: u64,
    intake: Intake<Message, Gap>,
    filler: Option<Box<Filler>>,
    attach: ImplicitAttach,
}

/// What a subscription has to say.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// A message.
    Message(Message),
    /// A message that was missed, read from history with [`fill_gaps`](Subscribe::fill_gaps). It is what
    /// history shows: the latest version of the message.
    Filled(Message),
    /// Messages may be missing here.
    Gap(Gap),
    /// So many messages were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl SubscriptionEvent {
    /// The message, whether it came as it was published or was filled in.
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) | Self::Filled(message) => Some(message),
            Self::Gap(_) | Self::Lagged(_) => None,
        }
    }
}

impl Subscription {
    /// The next message, of those filled in too; `None` once the subscription has ended. Gaps and what was
    /// dropped ([`Overflow::DropOldest`]) are logged; see [`next_event`](Self::next_event) to act on them.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The next message, or what is known to be missing before it; `None` once the subscription has ended.
    pub async fn next_event(&mut self) -> Option<SubscriptionEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Waits for the attach that the subscription began with, and says what came of it, however often it is
    /// asked (RTL7g). Done at once where subscribing attached nothing.
    ///
    /// # Errors
    /// As [`Subscribe`] says. The subscription goes on listening.
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

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        loop {
            if let Some(filler) = &mut self.filler
                && let Some(event) = ready!(filler.poll_filled(cx))
            {
                return Poll::Ready(Some(event));
            }
            match ready!(self.intake.poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Next::Item(message)) => {
                    if !self.filler.as_mut().is_some_and(|filler| filler.is_repeated(&message)) {
                        return Poll::Ready(Some(SubscriptionEvent::Message(message)));
                    }
                }
                Some(Next::Break(Break::Notice(gap))) => match &mut self.filler {
                    Some(filler) => filler.begin(gap, &self.channel),
                    None => return Poll::Ready(Some(SubscriptionEvent::Gap(gap))),
                },
                Some(Next::Break(Break::Lagged(missed))) => {
                    return Poll::Ready(Some(SubscriptionEvent::Lagged(missed)));
                }
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.filler.is_none() {
            let channel = &**self.channel.name();
            return self.intake.poll_item(cx, |passed| match passed {
                Break::Notice(gap) => warn_of_gap(channel, &gap),
                Break::Lagged(missed) => warn_of_lag(channel, missed),
            });
        }
        loop {
            match ready!(self.poll_event(cx)) {
                Some(SubscriptionEvent::Message(message) | SubscriptionEvent::Filled(message)) => {
                    return Poll::Ready(Some(message));
                }
                Some(SubscriptionEvent::Gap(gap)) => warn_of_gap(self.channel.name(), &gap),
                Some(SubscriptionEvent::Lagged(missed)) => {
                    warn_of_lag(self.channel.name(), missed);
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

fn warn_of_lag(channel: &str, missed: u64) {
    tracing::warn!(channel, missed, "a subscription did not keep up");
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
