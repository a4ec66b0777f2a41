//! The REST client against the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod auth;
mod batch_presence;
mod encoding;
mod errors;
mod fixtures;
mod history;
mod mutable_messages;
mod pagination;
mod presence;
mod proxy;
mod publish;
mod push_admin;
mod push_channels;
mod revoke_tokens;
mod stats;
mod support;
mod time;

/// Runs a test in JSON and in MessagePack, each with a new app on a new server.
macro_rules! in_both_formats {
    (async fn $name:ident($app:ident) $body:block) => {
        mod $name {
            #[allow(unused_imports, reason = "some tests need nothing from their file")]
            use super::*;

            async fn run($app: crate::support::App) $body

            #[tokio::test]
            async fn json() {
                run(crate::support::App::start(capably_protocol::Format::Json).await).await;
            }

            #[tokio::test]
            async fn msgpack() {
                run(crate::support::App::start(capably_protocol::Format::MsgPack).await).await;
            }
        }
    };
}
pub(crate) use in_both_formats;
