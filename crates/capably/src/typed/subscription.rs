//! Typed subscriptions: the channel's own subscriptions, with each payload decoded when it is read.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use capably_protocol::{Message, PresenceAction, PresenceMessage, Str};
use futures_core::Stream;
use serde::de::DeserializeOwned;

use super::{DecodeError, PayloadFormat, TypedMessage};
use crate::{
    Error, Result,
    http::BoxFuture,
    realtime::{
        CallbackFlow, CallbackHandle, Channel, Gap, MessageFilter, Overflow, PresenceSubscription,
        Subscribe, Subscription, SubscriptionEvent, presence::SubscribePresence,
    },
};

/// An event of a typed subscription to messages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TypedEvent<T> {
    /// A message.
    Message(Result<TypedMessage<T>, DecodeError>),
    /// A missed message that was read from history; see [`SubscriptionEvent::Filled`].
    Filled(Result<TypedMessage<T>, DecodeError>),
    /// Messages may be missing here.
    Gap(Gap),
    /// This many messages were dropped here, because the listener did not keep up ([`Overflow::DropOldest`]).
    Lagged(u64),
}

/// Declares a builder and a subscription around those of a feed.
macro_rules! typed {
    (
        $builder:ident of $inner_builder:ident => $subscription:ident of $inner:ident;
        $item:ident, $items:literal
    ) => {
        #[doc = concat!("A typed subscription to ", $items, " before it is made.")]
        ///
        #[doc = concat!("It behaves as a [`", stringify!($inner_builder), "`], and has the same errors.")]
        #[must_use = "nothing is subscribed to until this is awaited"]
        pub struct $builder<T> {
            inner: $inner_builder,
            format: PayloadFormat,
            values: PhantomData<fn() -> T>,
        }

        impl<T> $builder<T> {
            pub(super) fn new(inner: $inner_builder, format: PayloadFormat) -> Self {
                Self { inner, format, values: PhantomData }
            }

            fn with(self, set: impl FnOnce($inner_builder) -> $inner_builder) -> Self {
                Self { inner: set(self.inner), ..self }
            }

            #[doc = concat!("See [`", stringify!($inner_builder), "::capacity`].")]
            pub fn capacity(self, items: usize) -> Self {
                self.with(|inner| inner.capacity(items))
            }

            #[doc = concat!("See [`", stringify!($inner_builder), "::capacity_bytes`].")]
            pub fn capacity_bytes(self, bytes: usize) -> Self {
                self.with(|inner| inner.capacity_bytes(bytes))
            }

            #[doc = concat!("See [`", stringify!($inner_builder), "::overflow`].")]
            pub fn overflow(self, overflow: Overflow) -> Self {
                self.with(|inner| inner.overflow(overflow))
            }

            #[doc = concat!("See [`", stringify!($inner_builder), "::attach`].")]
            pub fn attach(self, attach: bool) -> Self {
                self.with(|inner| inner.attach(attach))
            }

            #[doc = concat!("See [`", stringify!($inner_builder), "::listen`].")]
            pub fn listen(self) -> $subscription<T> {
                $subscription::new(self.inner.listen(), self.format)
            }
        }

        impl<T: DeserializeOwned + 'static> $builder<T> {
            #[doc = concat!("Calls a function for each item; see [`", stringify!($inner_builder), "::each`].")]
            ///
            /// # Errors
            /// Code 50000 when the system cannot start a thread.
            pub fn each<R: CallbackFlow>(
                self,
                callback: impl FnMut(Result<TypedMessage<T, $item>, DecodeError<$item>>) -> R
                + Send
                + 'static,
            ) -> Result<CallbackHandle> {
                self.listen().each(callback)
            }
        }

        impl<T: Send + 'static> IntoFuture for $builder<T> {
            type Output = Result<$subscription<T>>;
            type IntoFuture = BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                let Self { inner, format, .. } = self;
                Box::pin(async move { Ok($subscription::new(inner.await?, format)) })
            }
        }

        impl<T> fmt::Debug for $builder<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($builder))
                    .field("inner", &self.inner)
                    .field("format", &self.format)
                    .finish_non_exhaustive()
            }
        }

        #[doc = concat!("The ", $items, " of a channel with values of a type, as a stream.")]
        ///
        #[doc = concat!("It behaves and ends as a [`", stringify!($inner), "`].")]
        /// An item whose payload is not of the type is an error (40013), which has the item; the subscription goes on.
        pub struct $subscription<T> {
            inner: $inner,
            format: PayloadFormat,
            values: PhantomData<fn() -> T>,
        }

        impl<T> $subscription<T> {
            fn new(inner: $inner, format: PayloadFormat) -> Self {
                Self { inner, format, values: PhantomData }
            }

            /// Waits for the outcome of the attach that the subscription began with.
            ///
            /// # Errors
            #[doc = concat!("As for [`", stringify!($inner), "::attached`].")]
            pub async fn attached(&mut self) -> Result<()> {
                self.inner.attached().await
            }

            /// Why the subscription ended; `None` before the end.
            pub fn end_reason(&self) -> Option<&Error> {
                self.inner.end_reason()
            }

            /// The channel of the subscription.
            pub fn channel(&self) -> &Channel {
                self.inner.channel()
            }
        }

        impl<T: DeserializeOwned> $subscription<T> {
            /// The next item, or the error of an item that is not of the type; `None` once the subscription has ended.
            pub async fn next(
                &mut self,
            ) -> Option<Result<TypedMessage<T, $item>, DecodeError<$item>>> {
                let item = self.inner.next().await?;
                Some(self.format.decode(item))
            }

            #[doc = concat!("Calls a function for each item; see [`", stringify!($inner), "::each`].")]
            ///
            /// # Errors
            /// Code 50000 when the system cannot start a thread.
            pub fn each<R: CallbackFlow>(
                self,
                mut callback: impl FnMut(Result<TypedMessage<T, $item>, DecodeError<$item>>) -> R
                + Send
                + 'static,
            ) -> Result<CallbackHandle> {
                let format = self.format;
                self.inner.each(move |item| callback(format.decode(item)))
            }

            /// Waits for each item, on the calling thread.
            ///
            /// # Errors
            /// 40000 in asynchronous code, which must not block; 50000 when the system cannot start a thread.
            #[cfg(feature = "blocking")]
            pub fn blocking_iter(&mut self) -> Result<crate::blocking::BlockingIter<'_, Self>> {
                crate::blocking::BlockingIter::new(self)
            }
        }

        impl<T: DeserializeOwned> Stream for $subscription<T> {
            type Item = Result<TypedMessage<T, $item>, DecodeError<$item>>;

            fn poll_next(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                let format = self.format;
                let next = Pin::new(&mut self.inner).poll_next(cx);
                next.map(|item| item.map(|item| format.decode(item)))
            }
        }

        impl<T> fmt::Debug for $subscription<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($subscription))
                    .field("inner", &self.inner)
                    .field("format", &self.format)
                    .finish_non_exhaustive()
            }
        }
    };
}

typed!(TypedSubscribe of Subscribe => TypedSubscription of Subscription; Message, "messages");
typed!(
    TypedSubscribePresence of SubscribePresence => TypedPresenceSubscription of PresenceSubscription;
    PresenceMessage, "presence events"
);

impl<T> TypedSubscribe<T> {
    /// Selects messages with this name; see [`Subscribe::name`] (RTL7b).
    pub fn name(self, name: impl Into<Str>) -> Self {
        self.with(|inner| inner.name(name))
    }

    /// Selects messages that match this filter; see [`Subscribe::filter`] (RTL22).
    pub fn filter(self, filter: MessageFilter) -> Self {
        self.with(|inner| inner.filter(filter))
    }

    /// Fills gaps from the channel's history; see [`Subscribe::fill_gaps`].
    pub fn fill_gaps(self) -> Self {
        self.with(Subscribe::fill_gaps)
    }

    /// As [`fill_gaps`](Self::fill_gaps), but reads at most this many messages for one gap.
    pub fn fill_gaps_up_to(self, messages: usize) -> Self {
        self.with(|inner| inner.fill_gaps_up_to(messages))
    }
}

impl<T> TypedSubscribePresence<T> {
    /// Selects this action only; several calls select several actions (RTP6b).
    pub fn action(self, action: PresenceAction) -> Self {
        self.with(|inner| inner.action(action))
    }
}

impl<T: DeserializeOwned> TypedSubscription<T> {
    /// The next message, or a note of missing messages before it; `None` once the subscription has ended.
    pub async fn next_event(&mut self) -> Option<TypedEvent<T>> {
        Some(match self.inner.next_event().await? {
            SubscriptionEvent::Message(message) => TypedEvent::Message(self.format.decode(message)),
            SubscriptionEvent::Filled(message) => TypedEvent::Filled(self.format.decode(message)),
            SubscriptionEvent::Gap(gap) => TypedEvent::Gap(gap),
            SubscriptionEvent::Lagged(missed) => TypedEvent::Lagged(missed),
        })
    }
}
