//! How long a client is without a connection when its socket is cut: from the cut, on loopback, to CONNECTED
//! again, the connection resumed.
//!
//! `cargo bench -p capably --bench reconnect [-- drops]`. One socket is cut at a time.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::time::{Duration, Instant};

use capably::{
    ClientOptions, Realtime,
    realtime::{Changes, ConnectionState, ConnectionStateChange},
};
use capably_protocol::Format;
use capably_server::{Server, faults::Faults};

/// Clients take turns: a client with only short-lived connections would wait before it reconnects.
const CLIENTS: usize = 10;
const TURN: Duration = Duration::from_millis(1_100);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let drops = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    // The server has its own thread: in practice it does not share one with the client.
    let server_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let faults = Faults::new();
    let server = server_runtime.spawn(Server::builder().faults(&faults).start());
    let server = server.await.unwrap().unwrap();
    for format in [Format::MsgPack, Format::Json] {
        let mut times = measure(&server, &faults, format, drops).await;
        times.sort();
        println!(
            "{:<8} {drops} drops: median {:>7.1} µs, p99 {:>7.1} µs, longest {:>7.1} µs",
            format!("{format:?}"),
            micros(times[drops / 2]),
            micros(times[(drops * 99).div_ceil(100) - 1]),
            micros(times[drops - 1]),
        );
    }
    // A runtime must not be dropped in asynchronous code.
    server_runtime.shutdown_background();
}

async fn measure(server: &Server, faults: &Faults, format: Format, drops: usize) -> Vec<Duration> {
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let name = format!("{format:?}-{number}");
        let options = ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .client_id(&name)
            .use_binary_protocol(format == Format::MsgPack);
        let client = Realtime::connect(options).await.unwrap();
        let changes = client.connection().changes();
        clients.push((name, client, changes));
    }
    let mut times = Vec::new();
    while times.len() < drops {
        tokio::time::sleep(TURN).await;
        for (name, client, changes) in clients.iter_mut().take(drops - times.len()) {
            times.push(cut(faults, name, client, changes).await);
        }
    }
    times
}

/// Cuts the socket of a client. Returns how long it takes until the client is connected again.
async fn cut(
    faults: &Faults,
    name: &str,
    client: &Realtime,
    changes: &mut Changes<ConnectionStateChange>,
) -> Duration {
    let id = client.connection().id();
    let start = Instant::now();
    faults.connections().param("clientId", name).disconnect();
    while changes.next().await.unwrap().current != ConnectionState::Connected {}
    let took = start.elapsed();
    assert_eq!(client.connection().id(), id, "the connection is resumed");
    took
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
