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
//! One listener serves both sides: WebSockets at `/`, and REST. The server starts with one app and its
//! key; `POST /apps` makes more, each with its own keys and capabilities, and nothing of one app is visible
//! from another.
//!
//! # What it does
//!
//! In JSON and in MessagePack:
//!
//! - connections with resume and recovery, heartbeats, attaching with modes and rewind;
//! - names with a qualifier: `[?rewind=1]name`, and `[filter=…]name` for the messages that match an expression;
//! - telling how many use a channel, in messages `[meta]occupancy`, to attachments with the parameter `occupancy`;
//! - publishing with acknowledgements over WebSockets and REST, where a message may come as a form, too; idempotent
//!   publishing, batches;
//! - ephemeral messages (`extras.ephemeral`, or the publish parameter `ephemeral=true`), delivered and kept nowhere; their
//!   ids are not remembered;
//! - updating, deleting and appending to messages, annotations with their summaries; a rewind brings each
//!   message once, in its latest version, and `appendMode=full` turns appends into updates;
//! - history with pagination, the status of channels, lists of them;
//! - tokens, JWTs, those of others that carry a token, revocation, capabilities;
//! - statistics, counted as things happen or posted as fixtures;
//! - reading the members that `POST /apps` gives to channels;
//! - push.
//!
//! With [`faults`] it also loses, delays and changes what passes, refuses connections and cuts them, as your
//! tests of what an application does about it need.
//!
//! # Limits
//!
//! Everything is in memory, and ends with the process unless there is a [`storage`]. A channel keeps its messages for at least two
//! minutes (72 hours in a persisted namespace), as far as [`Builder::resume_buffer`] allows; a client that
//! was away for longer, or missed more, is told that continuity was lost. A client that does not read is
//! disconnected when more than [`Builder::max_queue`] waits for it.
//!
//! Push keeps devices and their subscriptions, and delivers what is pushed to recipients of the transport
//! `ablyChannel`: it publishes to the channel that they name, in the app of this server that their key
//! belongs to, whatever `ablyUrl` they give. What is for a phone or a browser is accepted and goes nowhere.
//! Of live activities (`/push/apnsBroadcastChannels`) the steps are checked, and nothing is sent.
//!
//! An app can have limits of its own, as `POST /apps` takes them: `limits.presence.maxMembers`,
//! `limits.messages.maxSize` in bytes, and `limits.connections.maxInboundRate` in messages a second, in place of those of
//! the [`Builder`]; and as far as they are lower, `limits.channels.max` (40114), `limits.connections.max` (40111),
//! `limits.requests.maxRate` a second (42918) and `limits.messages.maxLogBytes`. The builder has the same for every app,
//! and [`Builder::max_apps`] (40300) and [`Builder::max_connections`] (50004) for the whole server. The messages of a
//! refusal name the limit. Rates of channels are not limited.
//!
//! On a loopback address whoever reaches the server may make apps; on any other, [`Builder::provision_secret`] says who.
//!
//! The channels of an app and their messages take no more memory than [`Builder::max_log_bytes`]: beyond that, the oldest
//! messages of the channels used least recently go first. Channels that nobody uses and that hold nothing are dropped.
//!
//! # Times
//!
//! A JWT may hold for 24 hours after its `iat` (40003), and its `iat` may be ahead of the server's clock by two minutes
//! (40144), as the timestamp of a token request may (40104). Revoking tokens without `issuedBefore` means all that were
//! issued up to then, and none that are issued later; JWTs are as old as their `iat` says, which is usually in whole
//! seconds. The connect parameter `heartbeatInterval` sets the longest silence, between 5 seconds, or
//! [`Builder::max_idle_interval`] if that is less, and 30 minutes. Links to the pages of history and statistics say when the
//! pages end.
//!
//! The expression of a filter is JMESPath over `name` and `headers`, of at most 2,048 bytes and 100 operators, and
//! such as takes little work; one that is not is refused with 40010. Through a filter there are messages to
//! receive and history to read, and nothing else: its one mode is `subscribe`. It needs a capability with a
//! qualifier, such as `[*]*`. Metachannels (`[meta]…`) are refused with 40021.
//!
//! Lists of clients in the summaries of annotations are clipped so that a summary is no larger than a
//! message may be.
//!
//! Not there yet: objects and TLS. A request for one of them is refused with an error.

pub mod faults;
mod front;
mod hub;
mod server;
mod service;
pub mod storage;

/// The types of the wire.
pub use capably_protocol as protocol;
pub use server::{Builder, Server, ServerError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
