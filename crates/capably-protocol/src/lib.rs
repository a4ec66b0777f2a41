//! The Ably realtime protocol, version 6, as plain data: frames, messages, encodings, and their JSON
//! and MessagePack codecs.
//!
//! Client and server both use this crate. It does no I/O, reads no clock and needs no runtime; it
//! compiles for `wasm32-unknown-unknown`.
//!
//! | module | content |
//! |---|---|
//! | [`frame`] | every protocol message, as [`ClientFrame`] and [`ServerFrame`] |
//! | [`message`], [`presence`], [`annotation`], [`object`] | the items that channels carry |
//! | [`batch`], [`channel_details`], [`mutation`], [`push`], [`stats`] | bodies of REST requests and replies |
//! | [`summary`] | summaries of annotations, as types |
//! | [`data`], [`encoding`], [`cipher`] | payloads and the RSL4/RSL6 pipeline |
//! | [`delta`], [`vcdiff`] | the extras of a delta, and the format of its payload |
//! | [`codec`] | bytes to frames and back, in both [`Format`]s |
//! | [`error`], [`code`] | [`ErrorInfo`] and [`ErrorCode`] |
//! | [`key`], [`recovery`] | API keys and recovery keys |
//! | [`websocket`] | the framing of WebSockets |
//! | [`token`], [`capability`] | tokens, signed requests for them, and their rights |

pub mod annotation;
pub mod batch;
pub mod capability;
pub mod channel_details;
pub mod cipher;
pub mod code;
pub mod codec;
pub mod connection_details;
pub mod data;
pub mod delta;
mod encoded;
pub mod encoding;
pub mod error;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod flags;
pub mod frame;
pub mod key;
mod lenient;
pub mod message;
pub mod mutation;
pub mod object;
pub mod presence;
pub mod push;
pub mod recovery;
pub mod reference;
mod secret;
pub mod stats;
pub mod summary;
mod text;
pub mod token;
pub mod vcdiff;
pub mod websocket;
mod wire;

pub use annotation::{Annotation, AnnotationAction};
pub use batch::{
    BatchFailure, BatchPresence, BatchPresenceResult, BatchPublishResult, BatchPublishSpec,
    BatchPublished, BatchResult,
};
pub use capability::{Capability, Operation};
pub use channel_details::{ChannelDetails, ChannelMetrics, ChannelOccupancy, ChannelStatus};
pub use cipher::CipherParams;
pub use code::ErrorCode;
pub use codec::{DecodeError, Format, Limits};
pub use connection_details::ConnectionDetails;
pub use data::Data;
pub use delta::DeltaExtras;
pub use error::ErrorInfo;
pub use flags::{ChannelMode, Flags};
pub use frame::{ClientFrame, ServerFrame};
pub use key::ApiKey;
pub use message::{Message, MessageAction, MessageAnnotations, MessageVersion, PublishResult};
pub use mutation::{MessageOperation, UpdateDeleteResult};
pub use object::ObjectMessage;
pub use presence::{PresenceAction, PresenceMessage};
pub use push::{
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, DevicePushState,
    PushChannelSubscription,
};
pub use recovery::RecoveryKey;
pub use reference::ReferenceExtras;
pub use stats::{Stats, StatsInterval, StatsUnit};
pub use text::Str;
pub use token::{TokenDetails, TokenParams, TokenRequest};

/// A JSON object, as `extras` and stats use it.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

/// The protocol version this crate speaks, sent as `v` and `X-Ably-Version` (CSV2).
pub const PROTOCOL_VERSION: u32 = 6;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
