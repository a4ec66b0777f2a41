//! Pages about the tasks of an application, each with an example that runs.
//!
//! | about | page |
//! |---|---|
//! | the first hour: from an empty directory to a test of your own | [`tutorial`] |
//! | the calls of other SDKs, and ours beside them | [`coming_from`] |
//! | twelve tasks of real programs | [`cookbook`] |
//! | API keys, tokens, and servers that issue tokens | [`auth`](crate::auth) |
//! | tokens on a live connection | [`tokens`] |
//! | the states of a connection, and what to do in each | [`connections`] |
//! | the states of a channel, its options, derived channels | [`channels`] |
//! | subscribing to some or all messages, and overflow | [`subscribing`] |
//! | continuity: gaps in a subscription, and filling them | [`continuity`] |
//! | continuing a connection in another process | [`recovery`] |
//! | publishing over REST: messages, ids, limits, many channels | [`publishing`] |
//! | publishes that survive a crash or days without a network | [`outbox`] |
//! | history, and pages of results | [`history`] |
//! | changing and annotating messages | [`changes`] |
//! | the members of a channel | [`presence`]; over REST [`rest::presence`](crate::rest::presence) |
//! | maps and counters that clients share | [`objects`]; over REST [`rest::objects`](crate::rest::objects) |
//! | receiving deltas instead of whole messages | [`deltas`] |
//! | encrypting payloads | [`encryption`] |
//! | statistics | [`statistics`] |
//! | receiving push notifications, as a device | [`push_devices`] |
//! | sending push notifications | [`rest::push`](crate::rest::push) |
//! | errors and retries | [`errors`] |
//! | payloads as types of your program | [`typed`](crate::typed) |
#![cfg_attr(
    feature = "blocking",
    doc = "| programs without an async runtime: blocking calls, iterators, callbacks | [`blocking`] |"
)]
//! | testing your application with an embedded server and injected faults | [`testing`] |
//!
//! The examples use a server in their own process. To use Ably's service, take your own key, and remove the options
//! that name the server.

#[doc = include_str!("guide/tutorial.md")]
pub mod tutorial {}

#[doc = include_str!("guide/coming_from.md")]
pub mod coming_from {}

#[doc = include_str!("guide/cookbook.md")]
pub mod cookbook {}

#[doc = include_str!("guide/tokens.md")]
pub mod tokens {}

#[doc = include_str!("guide/connections.md")]
pub mod connections {}

#[doc = include_str!("guide/channels.md")]
pub mod channels {}

#[doc = include_str!("guide/subscribing.md")]
pub mod subscribing {}

#[doc = include_str!("guide/continuity.md")]
pub mod continuity {}

#[doc = include_str!("guide/recovery.md")]
pub mod recovery {}

#[doc = include_str!("guide/publishing.md")]
pub mod publishing {}

#[doc = include_str!("guide/outbox.md")]
pub mod outbox {}

#[doc = include_str!("guide/history.md")]
pub mod history {}

#[doc = include_str!("guide/changes.md")]
pub mod changes {}

#[doc = include_str!("guide/presence.md")]
pub mod presence {}

#[doc = include_str!("guide/objects.md")]
pub mod objects {}

#[doc = include_str!("guide/push_devices.md")]
pub mod push_devices {}

#[doc = include_str!("guide/deltas.md")]
pub mod deltas {}

#[doc = include_str!("guide/encryption.md")]
pub mod encryption {}

#[doc = include_str!("guide/statistics.md")]
pub mod statistics {}

#[cfg(feature = "blocking")]
#[doc = include_str!("guide/blocking.md")]
pub mod blocking {}

#[doc = include_str!("guide/errors.md")]
pub mod errors {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}
