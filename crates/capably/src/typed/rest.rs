//! Typed channels over REST.

use std::{fmt, marker::PhantomData};

use capably_protocol::{Message, Str};
use serde::{Serialize, de::DeserializeOwned};

use super::{DecodeError, PayloadFormat, TypedHistory, TypedMessage};
use crate::{
    Result,
    http::BoxFuture,
    rest::{MessageSerial, RestChannel, RestPublish},
};

/// A channel over REST whose payloads are values of a type, from [`RestChannel::typed`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = capably::ClientOptions::new(server.key())
/// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
/// # let rest = capably::Rest::new(options)?;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Reading {
///     celsius: f64,
/// }
///
/// let readings = rest.channels().get("readings").typed::<Reading>();
/// readings.publish("kitchen", &Reading { celsius: 21.5 }).await?;
/// let page = readings.history().limit(10).await?;
/// assert_eq!(page.items()[0].value.celsius, 21.5);
/// # Ok(())
/// # }
/// ```
pub struct TypedRestChannel<T> {
    channel: RestChannel,
    format: PayloadFormat,
    values: PhantomData<fn() -> T>,
}

impl RestChannel {
    /// The channel with payloads as values of a type, by serde; see [`typed`](crate::typed).
    pub fn typed<T>(&self) -> TypedRestChannel<T> {
        let format = PayloadFormat::default();
        TypedRestChannel { channel: self.clone(), format, values: PhantomData }
    }
}

impl<T> TypedRestChannel<T> {
    /// Sets how values are sent; JSON by default. Values in JSON are read with any format.
    #[must_use]
    pub fn format(self, format: PayloadFormat) -> Self {
        Self { format, ..self }
    }

    /// The channel itself, for everything that has no payload.
    pub fn channel(&self) -> &RestChannel {
        &self.channel
    }
}

impl<T: Serialize> TypedRestChannel<T> {
    /// Publishes a value with a name when awaited; see [`RestPublish`] (RSL1).
    ///
    /// # Errors
    /// Those of a [`RestPublish`]; 40013 for a value that cannot be serialized, and then nothing is sent.
    pub fn publish(&self, name: impl Into<Str>, value: &T) -> RestPublish {
        self.publish_result(self.message(name, value))
    }

    /// Publishes a value without a name when awaited.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_data(&self, value: &T) -> RestPublish {
        self.publish_result(self.format.encode(value).map(Message::unnamed))
    }

    /// A message with a value, for calls that take a whole message, such as [`RestChannel::publish_messages`].
    ///
    /// # Errors
    /// Code 40013 for a value that cannot be serialized.
    pub fn message(&self, name: impl Into<Str>, value: &T) -> Result<Message> {
        Ok(Message::new(name, self.format.encode(value)?))
    }

    fn publish_result(&self, message: Result<Message>) -> RestPublish {
        match message {
            Ok(message) => self.channel.publish_message(message),
            Err(error) => self.channel.publish_messages([]).failing(error),
        }
    }
}

impl<T: DeserializeOwned> TypedRestChannel<T> {
    /// Reads published messages when awaited, by default the newest first (RSL2).
    pub fn history(&self) -> TypedHistory<T> {
        TypedHistory::new(self.channel.history(), self.format)
    }

    /// Reads the latest version of a message when awaited; see [`RestChannel::get_message`] (RSL11).
    ///
    /// # Errors
    /// Those of [`RestChannel::get_message`]; 40013 for a payload that is not of the type, with the [`DecodeError`]
    /// as its source.
    pub fn get_message(
        &self,
        message: impl Into<MessageSerial>,
    ) -> BoxFuture<'static, Result<TypedMessage<T>>>
    where
        T: Send + 'static,
    {
        let (message, format) = (self.channel.get_message(message), self.format);
        Box::pin(async move { Ok(format.decode(message.await?)?) })
    }

    /// Reads the payload of a message that came in another way.
    ///
    /// # Errors
    /// Code 40013, with the message, for a payload that is not of the type.
    pub fn decode(&self, message: Message) -> Result<TypedMessage<T>, DecodeError> {
        self.format.decode(message)
    }
}

impl<T> Clone for TypedRestChannel<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), ..*self }
    }
}

impl<T> fmt::Debug for TypedRestChannel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedRestChannel")
            .field("channel", &self.channel.name())
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
