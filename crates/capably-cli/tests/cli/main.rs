//! The built `capably` command, as a shell runs it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod bench;
mod completion;
mod connection;
mod data;
mod demo;
mod doctor;
mod durability;
mod examples;
mod explain;
mod extremes;
mod failures;
mod fake;
mod faults;
mod help;
mod image;
mod listing;
mod man;
mod messages;
mod new;
mod objects;
mod operating;
mod output;
mod planted;
mod presence;
mod recording;
mod rules;
mod serve;
mod support;
#[cfg(unix)]
mod terminal;
#[cfg(feature = "tls")]
mod tls;
