//! Typed channels of a connection.

use std::{fmt, marker::PhantomData};

use capably_protocol::{Message, Str};
use serde::{Serialize, de::DeserializeOwned};

use super::{DecodeError, PayloadFormat, TypedHistory, TypedMessage, TypedSubscribe};
use crate::{
    Result,
    realtime::{Channel, MessagePublish},
};

/// A channel whose payloads are values of a type, from [`Channel::typed`].
///
/// See the [module](crate::typed) for an example. It is a handle, cheap to clone.
pub struct TypedChannel<T> {
    channel: Channel,
    format: PayloadFormat,
    values: PhantomData<fn() -> T>,
}

impl Channel {
    /// The channel with payloads as values of a type, by serde; see [`typed`](crate::typed).
    pub fn typed<T>(&self) -> TypedChannel<T> {
        let format = PayloadFormat::default();
        TypedChannel { channel: self.clone(), format, values: PhantomData }
    }
}

impl<T> TypedChannel<T> {
    /// Sets how values are sent; JSON by default. Values in JSON are read with any format.
    #[must_use]
    pub fn format(self, format: PayloadFormat) -> Self {
        Self { format, ..self }
    }

    /// The channel itself, for everything that has no payload.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl<T: Serialize> TypedChannel<T> {
    /// Publishes a value with a name when awaited; see [`MessagePublish`] (RTL6).
    ///
    /// # Errors
    /// Those of a [`MessagePublish`]; 40013 for a value that cannot be serialized, and then nothing is sent.
    pub fn publish(&self, name: impl Into<Str>, value: &T) -> MessagePublish {
        self.publish_result(self.message(name, value))
    }

    /// Publishes a value without a name when awaited.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_data(&self, value: &T) -> MessagePublish {
        self.publish_result(self.format.encode(value).map(Message::unnamed))
    }

    /// A message with a value, for calls that take a whole message, such as [`Channel::publish_messages`] and
    /// [`Channel::update_message`].
    ///
    /// # Errors
    /// Code 40013 for a value that cannot be serialized.
    pub fn message(&self, name: impl Into<Str>, value: &T) -> Result<Message> {
        Ok(Message::new(name, self.format.encode(value)?))
    }

    fn publish_result(&self, message: Result<Message>) -> MessagePublish {
        match message {
            Ok(message) => self.channel.publish_message(message),
            Err(error) => self.channel.publish_messages([]).failing(error),
        }
    }
}

impl<T: DeserializeOwned> TypedChannel<T> {
    /// Subscribes to messages when awaited; the channel is then attached (RTL7).
    pub fn subscribe(&self) -> TypedSubscribe<T> {
        TypedSubscribe::new(self.channel.subscribe(), self.format)
    }

    /// Reads published messages over REST when awaited, by default the newest first; see [`Channel::history`] (RTL10).
    pub fn history(&self) -> TypedHistory<T> {
        TypedHistory::new(self.channel.history(), self.format)
    }

    /// Reads the messages from before the channel was attached; see [`Channel::history_until_attach`] (RTL10b).
    pub fn history_until_attach(&self) -> TypedHistory<T> {
        TypedHistory::new(self.channel.history_until_attach(), self.format)
    }

    /// Reads the payload of a message that came in another way, such as [`Channel::get_message`].
    ///
    /// # Errors
    /// Code 40013, with the message, for a payload that is not of the type.
    pub fn decode(&self, message: Message) -> Result<TypedMessage<T>, DecodeError> {
        self.format.decode(message)
    }
}

impl<T> Clone for TypedChannel<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), ..*self }
    }
}

impl<T> fmt::Debug for TypedChannel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedChannel")
            .field("channel", self.channel.name())
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
