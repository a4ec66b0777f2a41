//! Helpers that the tests share.

#![allow(dead_code, reason = "no test program uses all of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

pub(crate) mod log;
pub(crate) mod scripted_http;
