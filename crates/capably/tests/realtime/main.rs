//! The realtime client against a scripted service, on a paused clock, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/closed_port.rs"]
mod closed_port;
#[path = "../support/mod.rs"]
mod http;

mod annotations;
mod auth;
mod bad_input;
mod changing;
mod channels;
mod client;
mod connection;
mod deltas;
mod flapping;
mod gaps;
mod hours;
mod lifetime;
mod objects;
mod options;
mod owned;
mod presence;
mod publishing;
mod recovery;
mod subscribing;
mod support;
mod tokens;
mod wrapper;

/// The time limit of a test on its paused clock: a test that waits in vain fails at once.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3_600);

/// Runs a test in JSON and in MessagePack, each on a paused clock.
macro_rules! in_both_formats {
    ($(#[doc = $doc:literal])* async fn $name:ident($format:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn run($format: capably_protocol::Format) $body

            #[tokio::test(start_paused = true)]
            async fn json() {
                crate::http::log::keep_interest();
                let test = run(capably_protocol::Format::Json);
                tokio::time::timeout(crate::PATIENCE, test).await.expect("what it waits for never comes");
            }

            #[tokio::test(start_paused = true)]
            async fn msgpack() {
                crate::http::log::keep_interest();
                let test = run(capably_protocol::Format::MsgPack);
                tokio::time::timeout(crate::PATIENCE, test).await.expect("what it waits for never comes");
            }
        }
    };
}
pub(crate) use in_both_formats;
