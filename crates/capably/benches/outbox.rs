//! The price of the durable outbox: publishes a second with 1 and with 1,024 in flight, by turns with an outbox on
//! disk, with one that is not synced, in memory, and without.
//!
//! ```text
//! cargo bench -p capably --bench outbox
//! CAPABLY_BENCH_DIRECTORY=/data cargo bench -p capably --bench outbox
//! ```
//!
//! Each figure is the median of the rounds. Accepted means: stored, or without an outbox acknowledged. The server is in
//! the same process.

#![allow(clippy::unwrap_used, reason = "a benchmark ends with what fails")]
#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    future::IntoFuture,
    path::PathBuf,
    time::{Duration, Instant},
};

use capably::{
    ClientOptions, Realtime,
    outbox::{Durability, FileOutbox, MemoryOutbox},
};
use capably_server::Server;
use futures_util::{StreamExt, stream};

const ROUNDS: usize = 5;
const KINDS: [&str; 4] = ["disk", "disk, not synced", "memory", "no outbox"];

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for in_flight in [1, 1024] {
            let time = Duration::from_millis(500);
            let mut rates = [const { Vec::new() }; KINDS.len()];
            for _ in 0..ROUNDS {
                for (kind, rates) in rates.iter_mut().enumerate() {
                    rates.push(rate(kind, in_flight, time).await);
                }
            }
            for (kind, rates) in KINDS.iter().zip(&mut rates) {
                rates.sort_by(f64::total_cmp);
                println!(
                    "{in_flight:>5} in flight, {kind:<16}: {:>8.0} accepted/s",
                    rates[ROUNDS / 2]
                );
            }
        }
    });
}

async fn rate(kind: usize, in_flight: usize, time: Duration) -> f64 {
    let server = Server::builder().start().await.unwrap();
    let options =
        ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port()).tls(false);
    let directory = match std::env::var_os("CAPABLY_BENCH_DIRECTORY") {
        Some(directory) => tempfile::tempdir_in(PathBuf::from(directory)).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let file = || FileOutbox::open(directory.path()).unwrap();
    let options = match kind {
        0 => options.outbox(file()),
        1 => options.outbox(file().durability(Durability::Process)),
        2 => options.outbox(MemoryOutbox::new()),
        _ => options,
    };
    let client = Realtime::connect(options).await.unwrap();
    let channel = client.channels().get("bench");
    let begin = Instant::now();
    let publishing = stream::repeat_with(|| channel.publish("n", vec![7; 200]).into_future());
    let mut publishing = std::pin::pin!(publishing.buffered(in_flight));
    let mut accepted = 0;
    while begin.elapsed() < time {
        publishing.next().await.unwrap().unwrap();
        accepted += 1;
    }
    let rate = f64::from(accepted) / begin.elapsed().as_secs_f64();
    if let Some(outbox) = client.outbox() {
        outbox.close().await;
    }
    rate
}
