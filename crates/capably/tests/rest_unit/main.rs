//! The REST client at its public API, over a scripted HTTP client.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/closed_port.rs"]
mod closed_port;
#[path = "../support/mod.rs"]
mod support;

mod annotations;
mod auth;
mod bad_input;
mod batch;
mod channels;
mod encoding;
mod endpoint;
mod fallback;
mod headers;
mod history;
mod idempotency;
mod logging;
mod messages;
mod objects;
mod options;
mod pages;
mod presence;
mod publish;
mod push;
mod push_activation;
mod push_channels;
mod request;
mod stats;
mod status;
mod time;
mod types;
mod wrapper;

use capably::ClientOptions;
use support::scripted_http::KEY;

/// Options for each of the two formats.
fn both_formats() -> [ClientOptions; 2] {
    [true, false].map(|binary| ClientOptions::new(KEY).use_binary_protocol(binary))
}
