//! The realtime client against the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/app.rs"]
mod app;
mod auth;
mod channel_attach;
mod channel_derived;
mod channel_history;
mod channel_identity;
mod channel_publish;
mod channel_subscribe;
mod connection_failures;
mod connection_lifecycle;
mod deltas;
mod derived;
mod mutable_messages;
mod objects;
mod proxy;
mod support;
