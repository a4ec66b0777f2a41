//! The REST client against the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/app.rs"]
mod app;
mod auth;
mod batch_presence;
#[path = "../support/closed_port.rs"]
mod closed_port;
mod encoding;
mod errors;
mod fixtures;
mod history;
mod mutable_messages;
mod objects;
mod pagination;
mod presence;
mod proxy;
mod publish;
mod push_activation;
mod push_admin;
mod push_channels;
mod revoke_tokens;
mod stats;
mod support;
mod time;

pub(crate) use app::in_both_formats;
