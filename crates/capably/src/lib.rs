//! The Ably SDK for Rust.
//!
//! | to | start with |
//! |---|---|
//! | publish and subscribe over a connection | [`Realtime`] and [`realtime`] |
//! | publish and read history over HTTP | [`Rest`] and [`rest`] |
//! | configure a client | [`ClientOptions`] |
//! | authenticate, and issue tokens to clients | [`auth`] |
//! | encrypt payloads | [`crypto`] |
//! | keep publishes on disk until the service has them | [`outbox`] |
//! | become a push device, and receive notifications | [`push`] |
//! | receive deltas instead of whole messages | [`plugin`] |
//! | publish and receive types of your program | [`typed`] |
//! | find out why an operation failed, and what to do | [`Error`] |
//! | use your own HTTP client or WebSocket | [`http`], [`transport`] |
//! | read more about a topic, with examples | [`guide`] |
//!
//! Clients need a tokio runtime with I/O and timers enabled. Programs without a runtime can use the module `blocking`.
//!
//! # Features
//!
//! - `blocking`: calls that block until they are done and iterators over subscriptions, for programs without a runtime.
//! - `network-events`: on Linux, realtime clients watch the machine's network, and notice at once when it is gone or
//!   back. [`ClientOptions::network_events`] turns the watch on or off for a client.
//! - `tls` (on by default): TLS by rustls with the Mozilla roots. Without it only
//!   [`tls(false)`](ClientOptions::tls) works.

pub mod auth;
#[cfg(feature = "blocking")]
pub mod blocking;
pub mod client_information;
pub mod crypto;
pub mod error;
pub mod guide;
pub mod http;
pub mod outbox;
pub mod plugin;
pub mod push;
pub mod realtime;
pub mod rest;
pub mod transport;
pub mod typed;

mod agents;
mod endpoint;
mod options;
mod outgoing;
mod payload;
mod proxy;
mod random;
mod sync;
mod tls;

pub use auth::Auth;
pub use capably_protocol::{
    Annotation, AnnotationAction, ApiKey, BatchFailure, BatchPresence, BatchPresenceResult,
    BatchPublishResult, BatchPublishSpec, BatchPublished, BatchResult, Capability, ChannelDetails,
    ChannelMetrics, ChannelMode, ChannelOccupancy, ChannelStatus, CipherParams, Data, DeltaExtras,
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, DevicePushState, ErrorCode,
    ErrorInfo, JsonObject, Message, MessageAction, MessageAnnotations, MessageOperation,
    MessageVersion, Millis, Operation, PresenceAction, PresenceMessage, PublishResult,
    PushChannelSubscription, ReferenceExtras, Stats, StatsUnit, Str, TokenDetails, TokenParams,
    TokenRequest, UpdateDeleteResult, summary,
};
pub use error::{Error, Recourse, Result};
pub use options::ClientOptions;
pub use plugin::Plugin;
pub use realtime::{Channel, Overflow, Realtime, Subscription};
pub use rest::Rest;

/// Targets of private parsers, for the crate in `fuzz/`. It is no part of the API.
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz {
    pub use crate::{
        outbox::file::fuzz::outbox_file, rest::fuzz::link, transport::comet::fuzz::comet,
    };
}

/// Any error.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
