//! Presence between real clients and the embedded server, in both formats.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/embedded.rs"]
mod embedded;
mod lifecycle;
mod rights;
mod syncing;

use capably::{Channel, ClientOptions, PresenceMessage, Realtime};
use capably_server::Server;

pub(crate) use embedded::in_both_formats;
use embedded::{client, options, server};

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
