//! Comet beside a WebSocket, in one run: the time from a publish to its acknowledgement, and received messages a
//! second.
//!
//! `cargo bench -p capably --bench comet [-- messages]`. Both carry JSON. The ratio counts.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::time::{Duration, Instant};

use capably::{ClientOptions, Realtime, transport::Transport};
use capably_server::Server;

/// How many publishes are timed one by one.
const PINGS: usize = 500;

/// The figures of one way: the median of an acknowledgement, and messages a second.
struct Figures {
    acknowledged: Duration,
    rate: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let messages =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(50_000);
    // The server has its own thread: in practice it does not share one with the client.
    let server_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = server_runtime.spawn(Server::builder().start()).await.unwrap().unwrap();
    let mut websocket = None;
    for (name, transport) in [("WebSocket", Transport::WebSocket), ("comet", Transport::Comet)] {
        let figures = measure(&server, transport, messages).await;
        let beside = websocket.get_or_insert(figures.rate);
        println!(
            "{name:<10} ack p50 {:>7.1} µs, {:>9.0} messages/s received, {:.2} of the WebSocket",
            figures.acknowledged.as_secs_f64() * 1e6,
            figures.rate,
            figures.rate / *beside,
        );
    }
    // A runtime must not be dropped in asynchronous code.
    server_runtime.shutdown_background();
}

async fn measure(server: &Server, transport: Transport, messages: usize) -> Figures {
    let options = |transport| {
        ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .use_binary_protocol(false)
            .transports([transport])
    };
    let name = format!("bench-{transport:?}");
    let subscriber = Realtime::connect(options(transport)).await.unwrap();
    let mut received = subscriber.channels().get(&name).subscribe().await.unwrap();
    let own = subscriber.channels().get(format!("{name}-pings"));
    let mut times = Vec::new();
    for number in 0..PINGS {
        let start = Instant::now();
        own.publish("ping", number.to_string()).await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();

    // The publisher is the same in both runs.
    let publisher = Realtime::connect(options(Transport::WebSocket)).await.unwrap();
    let channel = publisher.channels().get(&name);
    let start = Instant::now();
    let publishing = async {
        let mut receipts = Vec::new();
        for _ in 0..messages {
            receipts.push(channel.publish("n", "x".repeat(100)).submit().await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..messages {
            received.next().await.unwrap();
        }
    };
    tokio::join!(publishing, receiving);
    let rate = messages as f64 / start.elapsed().as_secs_f64();
    publisher.close().await;
    subscriber.close().await;
    Figures { acknowledged: times[PINGS / 2], rate }
}
