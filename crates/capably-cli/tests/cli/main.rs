//! The built `capably` command, as a shell runs it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bench;
mod connection;
mod data;
mod demo;
mod doctor;
mod durability;
mod examples;
mod explain;
mod extremes;
mod failures;
mod faults;
mod help;
mod image;
mod man;
mod messages;
mod new;
mod objects;
mod operating;
mod presence;
mod recording;
mod serve;
mod support;
