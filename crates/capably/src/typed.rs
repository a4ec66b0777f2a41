//! Typed channels: messages and presence data as types of the program, by serde.
//!
//! [`Channel::typed`](crate::Channel::typed) is a view of a channel whose payloads are values of one type. Publishing
//! serializes a value; a subscription and history yield values with their messages. Everything else is the channel's
//! own: encryption, deltas, extras, filters, gaps and time limits work as without types. [`RestChannel::typed`] is
//! the same over REST, and [`Presence::typed`] for the data of members.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use capably::{ClientOptions, Realtime};
//! # let server = capably_server::Server::builder().start().await?;
//! # let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port());
//! # let client = Realtime::connect(options.tls(false)).await?;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Order {
//!     item: String,
//!     count: u32,
//! }
//!
//! let orders = client.channels().get("orders").typed::<Order>();
//! let mut created = orders.subscribe().name("created").await?;
//! orders.publish("created", &Order { item: "tea".into(), count: 2 }).await?;
//! // Somebody publishes something else.
//! orders.channel().publish("created", "two cups of tea").await?;
//!
//! let order = created.next().await.ok_or("the subscription ended")??;
//! assert_eq!(order.value, Order { item: "tea".into(), count: 2 });
//! assert_eq!(order.message.name.as_deref(), Some("created"));
//!
//! // The error is of this message only, and has it.
//! let wrong = created.next().await.ok_or("the subscription ended")?.unwrap_err();
//! assert_eq!(wrong.error.code().0, 40013);
//! assert_eq!(wrong.message.data.as_str(), Some("two cups of tea"));
//! # Ok(())
//! # }
//! ```
//!
//! # Payloads
//! A value travels as the payload that other SDKs expect: an object or a list as JSON, a string as text, and nothing
//! (`None`, `()`) as no payload. A number or a boolean alone is no payload (RSL4a): publishing it fails with 40013,
//! so put it into a struct. [`PayloadFormat::MessagePack`] sends binary instead, which is smaller and takes any
//! value.
//!
//! Text that is not a value of the type is read as JSON text, for publishers that serialize by themselves.
//!
//! # Messages without a value
//! A message that was deleted, or a summary of annotations, may have no payload. On channels with such messages use
//! `Option<T>` as the type: they then arrive with the value `None` instead of an error.
//!
//! [`RestChannel::typed`]: crate::rest::RestChannel::typed
//! [`Presence::typed`]: crate::realtime::Presence::typed

mod channel;
mod history;
mod objects;
mod payload;
mod presence;
mod rest;
mod subscription;

pub use channel::TypedChannel;
pub use history::TypedHistory;
pub(crate) use objects::{Shape, Shaped, read, whole};
pub use payload::{DecodeError, Payload, PayloadFormat, TypedMessage};
pub use presence::TypedPresence;
pub use rest::TypedRestChannel;
pub use subscription::{
    TypedEvent, TypedPresenceSubscription, TypedSubscribe, TypedSubscribePresence,
    TypedSubscription,
};
