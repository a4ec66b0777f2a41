//! The realtime client against the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod proxy;
