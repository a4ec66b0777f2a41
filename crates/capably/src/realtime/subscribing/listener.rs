//! The user's side of a subscription, for every feed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use super::{
    FeedItem, Gap, SubscriberId, gap::warn_of_gap, implicit_attach::ImplicitAttach,
    subscribers::Subscriber,
};
use crate::{
    Error, Result,
    realtime::{
        Channel, Overflow,
        driver::Command,
        queue::{Bounds, Break, Intake, Next, Queue},
    },
};

static NEXT_SUBSCRIBER: AtomicU64 = AtomicU64::new(0);

/// The settings of a subscription before it is made.
pub(in crate::realtime) struct ListenerBuilder<T: FeedItem> {
    pub(in crate::realtime) channel: Channel,
    pub(in crate::realtime) selection: T::Selection,
    pub(in crate::realtime) bounds: Bounds,
    pub(in crate::realtime) overflow: Overflow,
    pub(in crate::realtime) attach: bool,
}

impl<T: FeedItem> ListenerBuilder<T> {
    pub(in crate::realtime) fn new(channel: &Channel) -> Self {
        Self {
            channel: channel.clone(),
            selection: T::Selection::default(),
            bounds: Bounds::default(),
            overflow: Overflow::default(),
            attach: channel.shared.options().attach_on_subscribe,
        }
    }

    /// Registers the listener, and attaches the channel if it is to. Does not wait for either.
    pub(in crate::realtime) fn listen(self) -> Listener<T> {
        // One command registers and attaches: with two, a message could arrive in between and be missed.
        let Self { channel, selection, bounds, overflow, attach } = self;
        let id =
            SubscriberId { feed: T::FEED, number: NEXT_SUBSCRIBER.fetch_add(1, Ordering::Relaxed) };
        let queue = Arc::new(Queue::new(bounds, overflow));
        let intake = Intake::new(Arc::clone(&queue));
        let subscriber = T::into_any(Subscriber::new(id, selection, queue, attach));
        let (reply, implicit_attach) = ImplicitAttach::new();
        channel.handle.send(Command::Subscribe {
            channel: channel.shared.id,
            subscriber: Box::new(subscriber),
            attach,
            reply,
        });
        Listener { channel, id, intake, implicit_attach }
    }

    /// Checks whether the caller may wait for the attach.
    ///
    /// # Errors
    /// Code 40170 in the auth callback that provides the token for the connection.
    pub(in crate::realtime) fn check_may_wait(&self) -> Result<()> {
        if self.attach { self.channel.handle.check_may_wait() } else { Ok(()) }
    }
}

impl<T: FeedItem> fmt::Debug for ListenerBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("channel", self.channel.name())
            .field("selection", &self.selection)
            .field("bounds", &self.bounds)
            .field("overflow", &self.overflow)
            .field("attach", &self.attach)
            .finish()
    }
}

/// A registered listener. Dropping it unsubscribes.
pub(in crate::realtime) struct Listener<T: FeedItem> {
    channel: Channel,
    id: SubscriberId,
    intake: Intake<T, Gap>,
    implicit_attach: ImplicitAttach,
}

impl<T: FeedItem> Listener<T> {
    /// The next item or the interruption before it; `None` after the end.
    pub(in crate::realtime) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Next<T, Gap>>> {
        self.intake.poll_next(cx)
    }

    /// The next item, if it is at hand.
    #[inline(always)]
    pub(in crate::realtime) fn taken_item(&mut self) -> Option<T> {
        self.intake.taken_item()
    }

    /// The next event; `None` after the end.
    pub(in crate::realtime) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<T::Event>> {
        self.intake.poll_next(cx).map(|next| next.map(T::into_event))
    }

    /// The next item; `None` after the end. Interruptions before it are logged.
    pub(in crate::realtime) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let channel = &**self.channel.name();
        self.intake.poll_item(cx, |interruption| match interruption {
            Break::Notice(gap) => warn_of_gap(T::FEED, channel, &gap),
            Break::Lagged(missed) => warn_of_lag(T::FEED, channel, missed),
        })
    }

    /// Waits for the outcome of the implicit attach.
    pub(in crate::realtime) async fn attached(&mut self) -> Result<()> {
        self.implicit_attach.outcome().await
    }

    /// As [`attached`](Self::attached).
    pub(in crate::realtime) fn poll_attached(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.implicit_attach.poll_outcome(cx)
    }

    pub(in crate::realtime) fn end_reason(&self) -> Option<&Error> {
        self.intake.end_reason()
    }

    pub(in crate::realtime) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(in crate::realtime) fn fmt_as(
        &self,
        name: &str,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        f.debug_struct(name)
            .field("channel", self.channel.name())
            .field("buffered", &self.intake.buffered())
            .field("end", &self.intake.end_reason())
            .finish_non_exhaustive()
    }
}

impl<T: FeedItem> Drop for Listener<T> {
    fn drop(&mut self) {
        self.intake.close();
        let channel = self.channel.shared.id;
        self.channel.handle.send(Command::Unsubscribe { channel, subscriber: self.id });
    }
}

/// Logs dropped items for a listener that does not read events.
pub(in crate::realtime) fn warn_of_lag(feed: super::Feed, channel: &str, missed: u64) {
    tracing::warn!(channel, %feed, missed, "a subscription did not keep up");
}

/// Implements the part of a feed's public types that is the same for every feed.
///
/// The builder has a field `listener: ListenerBuilder<_>` and a method `listen`; the subscription has a field
/// `listener: Listener<_>` and a method `poll_item`.
macro_rules! public_types {
    (
        $builder:ident => $subscription:ident of $item:ty;
        items: $items:literal, attach: $attach_point:literal, attach_by_default: $default_point:literal
    ) => {
        impl $builder {
            #[doc = concat!("How many ", $items, " may wait in the queue; 8,192 by default.")]
            ///
            /// The last batch that the listener has taken, and the rest of the last frame, come on top.
            pub fn capacity(mut self, items: usize) -> Self {
                self.listener.bounds.items = items;
                self
            }

            /// How many bytes may wait in the queue; 16 MiB by default.
            pub fn capacity_bytes(mut self, bytes: usize) -> Self {
                self.listener.bounds.bytes = bytes;
                self
            }

            /// What happens when the queue is full. By default nothing is lost: items without room are fetched
            /// later ([`Overflow::Replay`]).
            pub fn overflow(mut self, overflow: Overflow) -> Self {
                self.listener.overflow = overflow;
                self
            }

            #[doc = concat!(
                "Whether to attach the channel; the channel's options give the default (",
                $default_point, ")."
            )]
            pub fn attach(mut self, attach: bool) -> Self {
                self.listener.attach = attach;
                self
            }

            /// Subscribes, starts to attach the channel, and calls a function for each item, on a thread of its own.
            /// See [`CallbackHandle`](crate::realtime::CallbackHandle) for what the function may do, and how it ends.
            ///
            /// It returns at once, and works with and without a runtime. If the attach fails, the failure is logged,
            /// and the callback stays registered. To get the error instead, subscribe first:
            #[doc = concat!("await the subscription, and then call [`", stringify!($subscription), "::each`].")]
            ///
            /// # Errors
            /// Code 50000 when the system cannot start a thread.
            pub fn each<R: $crate::realtime::CallbackFlow>(
                self,
                callback: impl FnMut($item) -> R + Send + 'static,
            ) -> Result<$crate::realtime::CallbackHandle> {
                self.listen().each(callback)
            }
        }

        impl IntoFuture for $builder {
            type Output = Result<$subscription>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                Box::pin(async move {
                    self.listener.check_may_wait()?;
                    let mut subscription = self.listen();
                    subscription.attached().await?;
                    Ok(subscription)
                })
            }
        }

        impl $subscription {
            #[doc = concat!(
                "Waits for the outcome of the attach that the subscription began with (", $attach_point, ")."
            )]
            /// Returns at once if the subscription attached nothing, and may be called again.
            ///
            /// # Errors
            #[doc = concat!(
                "As [`", stringify!($builder), "`] describes. The subscription stays registered."
            )]
            pub async fn attached(&mut self) -> Result<()> {
                self.listener.attached().await
            }

            /// Why the subscription ended; `None` before the end.
            pub fn end_reason(&self) -> Option<&Error> {
                self.listener.end_reason()
            }

            /// The channel of the subscription.
            pub fn channel(&self) -> &Channel {
                self.listener.channel()
            }
        }

        impl Stream for $subscription {
            type Item = $item;

            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$item>> {
                self.poll_item(cx)
            }
        }

        impl $crate::realtime::callback::CallbackSource for $subscription {
            fn runtime(&self) -> &tokio::runtime::Handle {
                &self.listener.channel().handle.runtime
            }

            fn ended_by(&self) -> Option<Error> {
                self.end_reason().cloned()
            }

            fn poll_attached(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
                self.listener.poll_attached(cx)
            }
        }

        $crate::realtime::callback::on_threads!([] $subscription: $item);

        impl fmt::Debug for $subscription {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.listener.fmt_as(stringify!($subscription), f)
            }
        }
    };
}

pub(in crate::realtime) use public_types;
