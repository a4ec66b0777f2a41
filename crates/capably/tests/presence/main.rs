//! Presence between real clients and the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lifecycle;
mod rights;
mod syncing;

use capably::{Channel, ClientOptions, PresenceMessage, Realtime};
use capably_server::Server;

/// Runs a test in JSON and in MessagePack.
macro_rules! in_both_formats {
    ($(#[doc = $doc:literal])* async fn $name:ident($binary:ident) $body:block) => {
        mod $name {
            use super::*;

            async fn run($binary: bool) $body

            #[tokio::test]
            async fn json() {
                run(false).await;
            }

            #[tokio::test]
            async fn msgpack() {
                run(true).await;
            }
        }
    };
}
pub(crate) use in_both_formats;

/// A server of the test's own.
async fn server() -> Server {
    Server::builder().start().await.unwrap()
}

/// Options for a client of the server.
fn options(server: &Server, binary: bool) -> ClientOptions {
    ClientOptions::new(server.key())
        .endpoint(server.endpoint())
        .port(server.port())
        .tls(false)
        .use_binary_protocol(binary)
}

/// A client that may act for any client id.
async fn client(server: &Server, binary: bool) -> Realtime {
    Realtime::connect(options(server, binary)).await.unwrap()
}

/// A client with a client id.
async fn named(server: &Server, binary: bool, client_id: &str) -> Realtime {
    Realtime::connect(options(server, binary).client_id(client_id)).await.unwrap()
}

/// A channel of a client, attached.
async fn attached(client: &Realtime, name: &str) -> Channel {
    let channel = client.channels().get(name);
    channel.attach().await.unwrap();
    channel
}

/// Client and text of each member, in order.
fn readable(members: &[PresenceMessage]) -> Vec<(&str, &str)> {
    let mut readable: Vec<_> = members
        .iter()
        .map(|member| (member.client_id.as_deref().unwrap(), member.data.as_str().unwrap_or("")))
        .collect();
    readable.sort_unstable();
    readable
}
