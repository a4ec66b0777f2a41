//! How long a server that was killed takes to have all its clients back, each attached to its channel again.
//!
//! `cargo bench -p capably --bench storm [-- [clients] [json]]`. The server runs in a separate process. It is killed and
//! started again on the same port, with nothing kept: each client gets a new connection. Clients try every half second, and
//! by default only every 15 seconds, so that the figures show the server and not the wait. Each time is counted from the
//! moment when the new server listens.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use capably::{
    Channel, ClientOptions, Realtime,
    realtime::{Changes, ChannelState, ChannelStateChange},
};
use capably_server::Server;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::runtime::{Builder, Runtime};

const ROUNDS: usize = 3;
const KEY: &str = "storms.keyId:keySecret";
const RETRY: Duration = Duration::from_millis(500);
/// The clients of a channel.
const ROOM: usize = 10;
/// The clients that connect at the same time before the first round.
const CONNECTING: usize = 256;

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let is = |word: &str| arguments.iter().any(|argument| argument == word);
    let number = arguments.iter().find_map(|argument| argument.parse().ok());
    if is("serve") {
        return serve(u16::try_from(number.unwrap()).unwrap());
    }
    let clients = number.unwrap_or(10_000);
    let format = if is("json") { "JSON" } else { "MessagePack" };
    println!(
        "{clients} clients, {format}, {ROUNDS} rounds, from the moment when the server listens"
    );
    runtime().block_on(measure(clients, !is("json")));
}

async fn measure(clients: usize, binary: bool) {
    let mut server = Process::start(0);
    let clients: Vec<(Realtime, Channel)> = futures_util::stream::iter(0..clients)
        .map(|number| client(server.address, number, binary))
        .buffer_unordered(CONNECTING)
        .collect()
        .await;
    for _ in 0..ROUNDS {
        let returning = FuturesUnordered::new();
        for (_, channel) in &clients {
            returning.push(tokio::spawn(attached(channel.changes())));
        }
        let port = server.address.port();
        drop(server);
        server = Process::start(port);
        let start = Instant::now();
        let mut times: Vec<f64> = returning
            .map(|moment| moment.unwrap().saturating_duration_since(start).as_secs_f64())
            .collect()
            .await;
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        println!("back: median {:.2} s, p99 {:.2} s, last {:.2} s", at(0.5), at(0.99), at(1.0));
    }
}

async fn client(server: SocketAddr, number: usize, binary: bool) -> (Realtime, Channel) {
    let options = ClientOptions::new(KEY)
        .endpoint(server.ip().to_string())
        .port(server.port())
        .tls(false)
        .use_binary_protocol(binary)
        .disconnected_retry_timeout(RETRY);
    let client = Realtime::connect(options).await.unwrap();
    let channel = client.channels().get(format!("room:{}", number / ROOM));
    channel.attach().await.unwrap();
    (client, channel)
}

/// The moment when a channel is attached again.
async fn attached(mut changes: Changes<ChannelStateChange>) -> Instant {
    while changes.next().await.unwrap().current != ChannelState::Attached {}
    Instant::now()
}

/// A server in a separate process.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(port: u16) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["serve", &port.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().parse().unwrap() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server has no data to lose, and may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(port: u16) {
    runtime().block_on(async {
        let server = Server::builder().key(KEY).port(port).start().await.unwrap();
        println!("{}", server.local_addr());
        std::future::pending::<()>().await;
    });
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
