//! Typed presence data.

use std::{fmt, marker::PhantomData};

use capably_protocol::{PresenceMessage, Str};
use serde::{Serialize, de::DeserializeOwned};

use super::{DecodeError, PayloadFormat, TypedHistory, TypedMessage, TypedSubscribePresence};
use crate::{
    Result,
    http::BoxFuture,
    realtime::{Presence, presence::PresenceChange},
};

/// The presence of a channel with data as values of a type, from [`Presence::typed`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use capably::{ClientOptions, Realtime};
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port());
/// # let client = Realtime::connect(options.tls(false).client_id("ada")).await?;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Status {
///     is_typing: bool,
/// }
///
/// let room = client.channels().get("room").presence().typed::<Status>();
/// room.enter(&Status { is_typing: true }).await?;
/// for member in room.get().await? {
///     let member = member?;
///     println!("{:?} is typing: {}", member.message.client_id, member.value.is_typing);
/// }
/// # Ok(())
/// # }
/// ```
pub struct TypedPresence<T> {
    presence: Presence,
    format: PayloadFormat,
    values: PhantomData<fn() -> T>,
}

impl Presence {
    /// The presence with data as values of a type, by serde; see [`typed`](crate::typed).
    pub fn typed<T>(&self) -> TypedPresence<T> {
        let format = PayloadFormat::default();
        TypedPresence { presence: self.clone(), format, values: PhantomData }
    }
}

impl<T> TypedPresence<T> {
    /// Sets how data is sent; JSON by default. Data in JSON is read with any format.
    #[must_use]
    pub fn format(self, format: PayloadFormat) -> Self {
        Self { format, ..self }
    }

    /// The presence itself, for everything that has no data.
    pub fn presence(&self) -> &Presence {
        &self.presence
    }
}

impl<T: Serialize> TypedPresence<T> {
    /// Enters this client when awaited; see [`Presence::enter`] (RTP8).
    ///
    /// # Errors
    /// Those of a [`PresenceChange`]; 40013 for data that cannot be serialized, and then nothing is sent.
    pub fn enter(&self, data: &T) -> PresenceChange {
        self.with_data(self.presence.enter(), data)
    }

    /// Changes the data of this client when awaited; see [`Presence::update`] (RTP9).
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn update(&self, data: &T) -> PresenceChange {
        self.with_data(self.presence.update(), data)
    }

    /// Leaves with this data when awaited; see [`Presence::leave`] (RTP10).
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn leave(&self, data: &T) -> PresenceChange {
        self.with_data(self.presence.leave(), data)
    }

    /// Enters another client when awaited; see [`Presence::enter_client`] (RTP14).
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn enter_client(&self, client_id: impl Into<Str>, data: &T) -> PresenceChange {
        self.with_data(self.presence.enter_client(client_id), data)
    }

    /// Changes the data of another client when awaited; see [`Presence::update_client`] (RTP15).
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    pub fn update_client(&self, client_id: impl Into<Str>, data: &T) -> PresenceChange {
        self.with_data(self.presence.update_client(client_id), data)
    }

    fn with_data(&self, change: PresenceChange, data: &T) -> PresenceChange {
        match self.format.encode(data) {
            Ok(data) => change.data(data),
            Err(error) => change.failing(error),
        }
    }
}

/// A member with its data, or a member whose data is not of the type.
type Member<T> = Result<TypedMessage<T, PresenceMessage>, DecodeError<PresenceMessage>>;

impl<T: DeserializeOwned> TypedPresence<T> {
    /// Gets the present members when awaited; see [`Presence::get`] (RTP11). For a selection of them, decode the
    /// members of
    /// `presence().get()`.
    ///
    /// # Errors
    /// Those of [`Members`](crate::realtime::presence::Members). A member whose data is not of the type is an error
    /// in the list (40013), with the member.
    pub fn get(&self) -> BoxFuture<'static, Result<Vec<Member<T>>>>
    where
        T: Send + 'static,
    {
        let (members, format) = (self.presence.get(), self.format);
        Box::pin(async move {
            let members = members.await?.into_iter();
            Ok(members.map(|member| format.decode(member)).collect())
        })
    }

    /// Subscribes, when awaited, to members that enter, leave, or change their data; see [`Presence::subscribe`]
    /// (RTP6).
    pub fn subscribe(&self) -> TypedSubscribePresence<T> {
        TypedSubscribePresence::new(self.presence.subscribe(), self.format)
    }

    /// Reads past presence events over REST when awaited, by default the newest first; see [`Presence::history`] (RTP12).
    pub fn history(&self) -> TypedHistory<T, PresenceMessage> {
        TypedHistory::new(self.presence.history(), self.format)
    }

    /// Reads the data of a presence message that came in another way, such as [`Presence::get`].
    ///
    /// # Errors
    /// Code 40013, with the message, for data that is not of the type.
    pub fn decode(&self, message: PresenceMessage) -> Member<T> {
        self.format.decode(message)
    }
}

impl<T> Clone for TypedPresence<T> {
    fn clone(&self) -> Self {
        Self { presence: self.presence.clone(), ..*self }
    }
}

impl<T> fmt::Debug for TypedPresence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedPresence")
            .field("presence", &self.presence)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
