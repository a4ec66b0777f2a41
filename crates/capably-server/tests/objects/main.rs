//! Objects over real sockets and HTTP, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod bad_input;
#[path = "../support/engine.rs"]
mod engine;
mod gated;
mod realtime;
mod rest;
mod sharer;
mod stored;
#[path = "../support/mod.rs"]
mod support;

use capably_protocol::Format;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];
