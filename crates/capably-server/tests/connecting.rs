//! Many clients that connect at the same moment, as after a restart.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::{net::TcpStream, time::Duration};

use capably_protocol::Format;
use capably_server::{Server, faults::Faults};

use support::*;

/// More than the default backlog of a listener, and fewer than the maximum of common systems.
const CLIENTS: usize = 3_000;

/// The system retries a connection without room in the backlog after a second at the earliest.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Opens and closes connections without awaiting, so that the server cannot run and all of them stay in the backlog.
/// Only one is open at a time, so that the test needs few files. Closed ones keep their place in the backlog.
async fn connect_many(server: &Server) {
    for number in 0..CLIENTS {
        TcpStream::connect_timeout(&server.local_addr(), AT_ONCE)
            .unwrap_or_else(|problem| panic!("{problem} after {number} clients"));
    }
    // Closed connections do not delay new clients.
    for format in [Format::Json, Format::MsgPack] {
        let (mut client, _) = Client::connect(server, format).await;
        client.attach("a").await;
    }
}

#[tokio::test]
async fn the_backlog_accepts_many_simultaneous_clients() {
    connect_many(&server().await).await;
}

#[tokio::test]
async fn the_backlog_of_a_fault_proxy_accepts_many_simultaneous_clients() {
    let faults = Faults::new();
    connect_many(&builder().faults(&faults).start().await.unwrap()).await;
}
