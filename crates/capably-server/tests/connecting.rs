//! Clients that come all at once, as after a restart.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{net::TcpStream, time::Duration};

use capably_protocol::Format;
use capably_server::{Server, faults::Faults};

use support::*;

/// More than wait in the queue of a listener that asks for nothing in particular, fewer than systems allow.
const CLIENTS: usize = 3_000;

/// A connection that finds no room is tried again by the system after a second at the earliest.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Nothing of the server runs while this thread does not wait: connections stay in the queue. One at a time is
/// open, so that the test needs few files; those that are closed keep their place.
async fn crowd(server: &Server) {
    for number in 0..CLIENTS {
        TcpStream::connect_timeout(&server.local_addr(), AT_ONCE)
            .unwrap_or_else(|problem| panic!("{problem} after {number} clients"));
    }
    // Those that have gone are in nobody's way.
    for format in [Format::Json, Format::MsgPack] {
        let (mut client, _) = Client::connect(server, format).await;
        client.attach("a").await;
    }
}

#[tokio::test]
async fn the_backlog_accepts_many_simultaneous_clients() {
    crowd(&server().await).await;
}

#[tokio::test]
async fn the_backlog_of_a_fault_proxy_accepts_many_simultaneous_clients() {
    let faults = Faults::new();
    crowd(&builder().faults(&faults).start().await.unwrap()).await;
}
