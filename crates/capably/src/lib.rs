//! The Ably SDK for Rust.

pub mod error;
pub mod http;
pub mod realtime;
pub mod rest;
pub mod transport;

mod auth;
mod endpoint;
mod options;
mod payload;
mod random;
#[cfg(feature = "tls")]
mod tls;

pub use auth::Auth;
pub use capably_protocol::{
    ApiKey, CipherParams, Data, ErrorCode, ErrorInfo, JsonObject, Message, MessageAction,
    MessageAnnotations, MessageVersion, Millis, PublishResult, Str,
};
pub use error::{Error, Recourse, Result};
pub use options::ClientOptions;
pub use realtime::{Channel, Overflow, Realtime, Subscription};
pub use rest::Rest;
