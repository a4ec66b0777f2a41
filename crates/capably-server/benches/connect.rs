//! Measures the time until many clients that connect at the same moment, as after a restart, have CONNECTED.
//!
//! `cargo bench -p capably-server --bench connect [-- [clients] [json|msgpack]]`. The server runs in a
//! separate process. Each client opens a WebSocket and waits for CONNECTED without a time limit, so that the figures show
//! a SYN that the system drops and repeats a second later.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use capably_protocol::{Format, Limits, ServerFrame, codec};
use capably_server::Server;
use futures_util::StreamExt;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{Barrier, mpsc},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config, tungstenite::protocol::WebSocketConfig,
};

const ROUNDS: usize = 5;
const KEY: &str = "crowds.keyId:keySecret";

type Socket = WebSocketStream<TcpStream>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |word: &str| arguments.iter().any(|argument| argument == word);
    if is("serve") {
        return serve();
    }
    let clients = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let format = if is("json") { Format::Json } else { Format::MsgPack };
    println!("{clients} clients at once, {format:?}, {ROUNDS} rounds");
    for _ in 0..ROUNDS {
        let times = run(clients, format);
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64();
        println!(
            "connected: median {:>6.2} s, p99 {:>6.2} s, last {:>6.2} s",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}

/// The time of each client, the fastest first.
fn run(clients: usize, format: Format) -> Vec<Duration> {
    let server = Process::start();
    runtime().block_on(async {
        let ready = Arc::new(Barrier::new(clients + 1));
        let (connected, mut all) = mpsc::unbounded_channel();
        for _ in 0..clients {
            let (ready, connected) = (Arc::clone(&ready), connected.clone());
            let address = server.address;
            tokio::spawn(async move {
                ready.wait().await;
                let start = Instant::now();
                let socket = connect(address, format).await;
                // The socket stays open until the end of the round.
                connected.send((start.elapsed(), socket)).unwrap();
            });
        }
        drop(connected);
        ready.wait().await;
        let mut done = Vec::with_capacity(clients);
        while let Some(client) = all.recv().await {
            done.push(client);
        }
        let mut times: Vec<_> = done.iter().map(|(time, _)| *time).collect();
        times.sort();
        times
    })
}

async fn connect(address: SocketAddr, format: Format) -> Socket {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let word = if format == Format::Json { "json" } else { "msgpack" };
    let url = format!("ws://{address}/?v=6&key={KEY}&format={word}");
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await.unwrap();
    let frame = socket.next().await.unwrap().unwrap().into_data();
    let frame = codec::decode_server_frame(format, &frame, &Limits::default()).unwrap();
    assert!(matches!(frame, ServerFrame::Connected(_)), "not CONNECTED: {frame:?}");
    socket
}

/// A server in a separate process.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server has no data to lose, and may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() {
    runtime().block_on(async {
        let server = Server::builder().key(KEY).start().await.unwrap();
        println!("{}", server.local_addr());
        std::future::pending::<()>().await;
    });
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
