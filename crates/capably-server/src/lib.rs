//! An Ably-compatible server, to embed in a test or to run on a laptop.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use capably_server::Server;
//!
//! let server = Server::builder().start().await?;
//! // Point a client at it: TLS off, basic authentication allowed without.
//! let (endpoint, port, key) = (server.endpoint(), server.port(), server.key());
//! # assert!(key.len() > 10 && port > 0 && endpoint == "127.0.0.1");
//! server.shutdown().await;
//! # Ok::<_, capably_server::ServerError>(())
//! # }).unwrap();
//! ```
//!
//! One listener serves WebSockets at `/`, and REST. The server starts with one app and its key. `POST /apps` creates
//! more apps, each with its own keys and capabilities. No app can see the data of another app.
//!
//! # Features
//!
//! In JSON and in MessagePack:
//!
//! - connections with resume and recovery, heartbeats, attaching with modes and rewind;
//! - channel names with a qualifier: `[?rewind=1]name`, and `[filter=…]name` for the messages that match an expression;
//! - the occupancy of a channel, as messages `[meta]occupancy` to attachments with the parameter `occupancy`;
//! - metachannels: `[meta]channel.lifecycle`, `[meta]connection.lifecycle`, `[meta]stats:minute`, `[meta]log` and
//!   `[meta]log:push`;
//! - publishing with acknowledgements over WebSockets, and over REST as JSON, MessagePack or a form; idempotent
//!   publishing, batches;
//! - ephemeral messages (`extras.ephemeral`, or the publish parameter `ephemeral=true`): they are delivered, but not
//!   stored, and their ids are not remembered;
//! - updates, deletes and appends of messages, annotations and their summaries; a rewind has each message once, in its
//!   latest version, and `appendMode=full` turns appends into updates;
//! - history with pagination, the status of a channel, the list of channels;
//! - tokens, JWTs, JWTs with an embedded token, revocation, capabilities;
//! - statistics, counted by the server or posted as fixtures;
//! - presence, with members that `POST /apps` sets as fixtures;
//! - push.
//!
//! Clients without an SDK read channels as event streams, `GET /sse` and `GET /event-stream`, and go on by the id of the last
//! event, without loss or repeats. With the feature `tls`, `Builder::tls` gives the server TLS.
//!
//! With [`faults`], the server also drops, delays and changes frames, and refuses and cuts connections. Tests use this to
//! check how an application handles failures.
//!
//! # Limits
//!
//! All data is in memory and ends with the process, unless the server has an [`engine`]. A channel has its messages for
//! at least two minutes (72 hours in a persisted namespace), as far as [`Builder::resume_buffer`] allows. A client that
//! was away for longer, or has missed more, learns that continuity was lost. A client that does not read is
//! disconnected when more than [`Builder::max_queue`] bytes wait for it.
//!
//! Push stores devices and their subscriptions. It delivers only to recipients of the transport `ablyChannel`: it
//! publishes to the channel of the recipient, in the app of its key, which must be an app of this server; `ablyUrl` is
//! ignored. Pushes to phones and browsers are accepted, and nothing is sent. For live activities
//! (`/push/apnsBroadcastChannels`) the order of the steps is checked, and nothing is sent.
//!
//! [`webhooks`] report events of channels to HTTP endpoints. The REST interface of chat (`/chat/v4/rooms/…`) works over channels
//! that are named `{room}::$chat`, whose messages can be changed without a namespace.
//!
//! `POST /apps` accepts limits for its app. `limits.presence.maxMembers`, `limits.messages.maxSize` in bytes, and
//! `limits.connections.maxInboundRate` in messages a second replace those of the [`Builder`]. `limits.channels.max`
//! (40114), `limits.connections.max` (40111), `limits.requests.maxRate` a second (42918) and
//! `limits.messages.maxLogBytes`, `limits.objects.max` and `limits.objects.maxBytes` (92001) apply if they are lower than those of the builder. [`Builder::max_apps`] (40300) and
//! [`Builder::max_connections`] (50004) apply to the whole server. The message of a refusal names the limit. Rates of
//! channels are not limited.
//!
//! On a loopback address, every client that reaches the server can create apps. On any other address, clients need the
//! secret of [`Builder::provision_secret`].
//!
//! The channels of an app and their messages take no more memory than [`Builder::max_log_bytes`]. Beyond that, the server
//! drops the oldest messages of the channels used least recently. Channels without clients and messages are dropped.
//!
//! # Times
//!
//! A JWT is valid for at most 24 hours after its `iat` (40003). Its `iat` may be ahead of the server's clock by two minutes
//! (40144), and so may the timestamp of a token request (40104). A revocation without `issuedBefore` revokes the tokens
//! that were issued before it, and no later tokens. The age of a JWT is that of its `iat`, which is usually in whole
//! seconds. The connect parameter `heartbeatInterval` sets the longest silence, at most 30 minutes, and at least 5
//! seconds, or [`Builder::max_idle_interval`] if that is less. Links to pages of history and statistics have the time at
//! which the pages end.
//!
//! # Filters
//!
//! The expression of a filter is JMESPath over `name` and `headers`. It has at most 2,048 bytes and 100 operators, and must
//! take little work; other expressions are refused with 40010. With a filter, a client can receive messages and read
//! history, and nothing else: its only mode is `subscribe`. It needs a capability with a qualifier, such as `[*]*`.
//!
//! # Metachannels
//!
//! The server publishes on a metachannel while a client at any node is attached to it. The capability must have the qualifier,
//! as `{"[meta]*":["subscribe"]}`. Clients can receive the events and read their history, and nothing else (40160). Other names
//! `[meta]…` are refused with 40021.
//!
//! # Other differences from the service
//!
//! Lists of clients in the summaries of annotations are clipped, so that a summary is no larger than the largest
//! message.
//!
//! A client gets a new sync of the objects when it attaches again, and not by a request of its own. HTTP is version 1.1, also
//! with TLS.

pub mod engine;
pub mod faults;
mod front;
mod hub;
mod metrics;
mod readiness;
mod server;
mod service;
#[cfg(feature = "tls")]
mod tls;
pub mod webhooks;

/// The server in virtual time, for the crate `capably-sim`. It is no part of the API.
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim {
    pub use crate::hub::model::{Committed, Limits, Moment, Service, Size, Store, Written};
}

/// Targets of private parsers, for the crate in `fuzz/`. It is no part of the API.
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::{
        front::fuzz::{event_stream, query},
        hub::fuzz::{channel_name, filter, record, token},
    };
}

/// The types of the protocol.
pub use capably_protocol as protocol;
pub use server::{Builder, Server, ServerError};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
