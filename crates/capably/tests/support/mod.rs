//! What tests share.

#![allow(dead_code, reason = "no test program uses all of it")]

pub(crate) mod scripted_http;
