//! Subscriptions to messages (RTL7).

use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};

use capably_protocol::{Message, Str};
use futures_core::Stream;

use super::{
    AnySubscriber, Feed, FeedItem, Gap, MessageFilter, Subscriber,
    fill::{self, GapFiller},
    gap::warn_of_gap,
    listener::{Listener, ListenerBuilder, public_types, warn_of_lag},
    selection::MessageSelection,
};
use crate::{
    Error, Result,
    http::BoxFuture,
    realtime::{
        Channel, Overflow,
        queue::{Break, Next},
    },
};

/// A subscription to messages before it is made.
///
/// Awaiting it registers the listener and attaches the channel in one step, so that nothing is missed in
/// between. It returns once the channel is attached (RTL7g). [`listen`](Self::listen) does not wait, and the
/// listener stays registered when the attach fails.
///
/// # Errors
/// The reason why the channel is not attached, as [`Channel::attach`] describes; 90001 if the channel has failed
/// or was released. With [`strict_mode`](crate::ClientOptions::strict_mode), 90009 when the channel is attached
/// without the mode `subscribe` (RTL7i1).
#[derive(Debug)]
#[must_use = "nothing is subscribed to until this is awaited"]
pub struct Subscribe {
    listener: ListenerBuilder<Message>,
    /// How many messages of a gap to read from history; `None` does not fill gaps.
    fill: Option<usize>,
}

impl Subscribe {
    pub(in crate::realtime) fn new(channel: &Channel) -> Self {
        Self { listener: ListenerBuilder::new(channel), fill: None }
    }

    /// Selects messages with this name; several calls select several names (RTL7b).
    pub fn name(mut self, name: impl Into<Str>) -> Self {
        self.listener.selection.names.push(name.into());
        self
    }

    /// Selects messages that match this filter. After several calls a message must match one of the filters
    /// (RTL22), or have one of the selected names.
    pub fn filter(mut self, filter: MessageFilter) -> Self {
        self.listener.selection.filters.push(filter);
        self
    }

    /// Fills gaps from the channel's history. After a [`Gap`] the subscription reads the messages that were
    /// published meanwhile, up to 10,000, and yields them in order as [`SubscriptionEvent::Filled`] before it
    /// continues. Messages that arrive during the read wait in the queue.
    ///
    /// If a gap cannot be filled completely, the subscription yields it before the messages that could be read,
    /// with the reason in [`Gap::unfilled`]: history refused the request, the messages have expired, there were
    /// too many, or the subscription had received no message before the gap, so that nothing shows whether
    /// history is complete. The client needs the right to read history.
    pub fn fill_gaps(self) -> Self {
        self.fill_gaps_up_to(fill::DEFAULT_LIMIT)
    }

    /// As [`fill_gaps`](Self::fill_gaps), but reads at most this many messages for one gap, including messages
    /// that the subscription does not select. If there are more, it yields the newest.
    pub fn fill_gaps_up_to(mut self, messages: usize) -> Self {
        self.fill = Some(messages);
        self
    }

    /// Registers the listener, starts to attach the channel, and returns at once.
    /// [`Subscription::attached`] gives the outcome of the attach. If the attach fails, the listener stays
    /// registered, and receives messages once the channel is attached after all (RTL7g).
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
    ///     eprintln!("no message arrives before the channel is attached: {error}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn listen(self) -> Subscription {
        let selection = &self.listener.selection;
        let filler = self.fill.map(|limit| Box::new(GapFiller::new(selection.clone(), limit)));
        Subscription { listener: self.listener.listen(), filler }
    }
}

/// The messages of a channel, as a stream.
///
/// Dropping it unsubscribes (RTL8). It outlasts detaching, reconnecting, and a failure of its first attach
/// ([`Subscribe::listen`]). It ends when no more messages can come unless the program acts: the connection was
/// closed or failed, or the channel failed or was released. [`end_reason`](Self::end_reason) then gives the
/// reason.
pub struct Subscription {
    listener: Listener<Message>,
    filler: Option<Box<GapFiller>>,
}

impl Subscription {
    /// The next message, including messages that were filled in; `None` once the subscription has ended. Gaps
    /// and dropped messages ([`Overflow::DropOldest`]) are logged; to act on them, use
    /// [`next_event`](Self::next_event).
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_item(cx)).await
    }

    /// The next message, or a note of missing messages before it; `None` once the subscription has ended.
    pub async fn next_event(&mut self) -> Option<SubscriptionEvent> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    #[inline(always)]
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        if self.filler.is_none()
            && let Some(message) = self.listener.taken_item()
        {
            return Poll::Ready(Some(SubscriptionEvent::Message(message)));
        }
        self.poll_any_event(cx)
    }

    #[inline(never)]
    fn poll_any_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<SubscriptionEvent>> {
        let Some(filler) = &mut self.filler else { return self.listener.poll_event(cx) };
        loop {
            if let Some(event) = ready!(filler.poll_filled(cx)) {
                return Poll::Ready(Some(event));
            }
            match ready!(self.listener.poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Next::Item(message)) if filler.is_duplicate(&message) => {}
                Some(Next::Break(Break::Notice(gap))) => {
                    filler.start(gap, self.listener.channel());
                }
                Some(next) => return Poll::Ready(Some(Message::into_event(next))),
            }
        }
    }

    #[inline(always)]
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.filler.is_none()
            && let Some(message) = self.listener.taken_item()
        {
            return Poll::Ready(Some(message));
        }
        self.poll_any_item(cx)
    }

    #[inline(never)]
    fn poll_any_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.filler.is_none() {
            return self.listener.poll_item(cx);
        }
        loop {
            match ready!(self.poll_event(cx)) {
                Some(SubscriptionEvent::Message(message) | SubscriptionEvent::Filled(message)) => {
                    return Poll::Ready(Some(message));
                }
                Some(SubscriptionEvent::Gap(gap)) => {
                    warn_of_gap(Feed::Messages, self.listener.channel().name(), &gap);
                }
                Some(SubscriptionEvent::Lagged(missed)) => {
                    warn_of_lag(Feed::Messages, self.listener.channel().name(), missed);
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

public_types!(
    Subscribe => Subscription of Message;
    items: "messages", attach: "RTL7g", attach_by_default: "TB4"
);

/// An event of a subscription to messages.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SubscriptionEvent {
    /// A message.
    Message(Message),
    /// A missed message that was read from history, with [`fill_gaps`](Subscribe::fill_gaps). History has the
    /// latest version of each message.
    Filled(Message),
    /// Messages may be missing here.
    Gap(Gap),
    /// This many messages were dropped here, because the listener did not keep up
    /// ([`Overflow::DropOldest`]).
    Lagged(u64),
}

impl SubscriptionEvent {
    /// The message, whether it arrived live or was filled in.
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) | Self::Filled(message) => Some(message),
            Self::Gap(_) | Self::Lagged(_) => None,
        }
    }
}

impl FeedItem for Message {
    const FEED: Feed = Feed::Messages;
    const RESYNCED: bool = false;
    type Selection = MessageSelection;
    type Event = SubscriptionEvent;

    fn into_event(next: Next<Self, Gap>) -> SubscriptionEvent {
        match next {
            Next::Item(message) => SubscriptionEvent::Message(message),
            Next::Break(Break::Notice(gap)) => SubscriptionEvent::Gap(gap),
            Next::Break(Break::Lagged(missed)) => SubscriptionEvent::Lagged(missed),
        }
    }

    fn into_any(subscriber: Subscriber<Self>) -> AnySubscriber {
        AnySubscriber::Messages(subscriber)
    }
}
