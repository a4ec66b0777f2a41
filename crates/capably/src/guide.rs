//! Pages about what the SDK is used for, each with an example that runs.
//!
//! | about | page |
//! |---|---|
//! | API keys, tokens, and servers that give tokens | [`auth`](crate::auth) |
//! | tokens while connected | [`tokens`] |
//! | the states of a connection, and what to do in each | [`connections`] |
//! | the states of a channel, its options, derived channels | [`channels`] |
//! | subscribing to some or all messages, and overflow | [`subscribing`] |
//! | continuity: what may have been missed, and filling it in | [`continuity`] |
//! | continuing a connection in another process | [`recovery`] |
//! | publishing over REST: forms, ids, limits, many channels | [`publishing`] |
//! | history, and pages of anything | [`history`] |
//! | changing and annotating messages | [`changes`] |
//! | who is present | [`presence`]; over REST [`rest::presence`](crate::rest::presence) |
//! | receiving only what changed since the message before | [`deltas`] |
//! | encrypting payloads | [`encryption`] |
//! | statistics | [`statistics`] |
//! | push notifications | [`rest::push`](crate::rest::push) |
//! | errors, and what is retried | [`errors`] |
//! | testing your application: a server of its own, faults on order | [`testing`] |
//!
//! The examples run against a server in their own process; with a key of your own and without the options
//! that name the server they run against Ably's service.

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

#[doc = include_str!("guide/history.md")]
pub mod history {}

#[doc = include_str!("guide/changes.md")]
pub mod changes {}

#[doc = include_str!("guide/presence.md")]
pub mod presence {}

#[doc = include_str!("guide/deltas.md")]
pub mod deltas {}

#[doc = include_str!("guide/encryption.md")]
pub mod encryption {}

#[doc = include_str!("guide/statistics.md")]
pub mod statistics {}

#[doc = include_str!("guide/errors.md")]
pub mod errors {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}
