//! The Ably SDK for Rust.

pub mod error;
pub mod http;

mod auth;
mod endpoint;
mod options;
mod rest;

pub use auth::Auth;
pub use capably_protocol::{
    ApiKey, CipherParams, Data, ErrorCode, ErrorInfo, JsonObject, Message, MessageAction,
    MessageAnnotations, MessageVersion, Millis, PublishResult, Str,
};
pub use error::{Error, Recourse, Result};
pub use options::ClientOptions;
pub use rest::Rest;
