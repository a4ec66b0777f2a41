//! Connections that are cut at any byte, in either direction, between real clients and the embedded server: each
//! message arrives once and in order, and every publish resolves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{ClientOptions, Data, Realtime, transport::Transport};
use capably_server::Server;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};

const RUNS: u64 = 100;
const MESSAGES: usize = 300;
/// The number of connections of each client that are cut; the next one is not. Comet uses two at a time.
fn cuts(transport: Transport) -> usize {
    if transport == Transport::Comet { 8 } else { 4 }
}

/// A relay that cuts the first connections, each after this many bytes in one direction.
struct Cutter {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    ToServer(usize),
    ToClient(usize),
    Never,
}

impl Cutter {
    async fn start(server: SocketAddr, seed: u64, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicUsize::new(0));
        let mut rng = fastrand::Rng::with_seed(seed);
        let counted = Arc::clone(&cuts);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let Ok((client, _)) = listener.accept().await else { return };
                let Ok(server) = TcpStream::connect(server).await else { return };
                // A cut may come in the handshake, between frames, or inside one.
                let after = rng.usize(1..20_000);
                let cut = match (number < most, rng.bool()) {
                    (false, _) => Cut::Never,
                    (true, true) => Cut::ToServer(after),
                    (true, false) => Cut::ToClient(after),
                };
                connections.spawn(pipe(client, server, cut, Arc::clone(&counted)));
            }
        });
        Self { address, cuts, _task: task }
    }
}

async fn pipe(client: TcpStream, server: TcpStream, cut: Cut, cuts: Arc<AtomicUsize>) {
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (to_server, to_client) = match cut {
        Cut::ToServer(bytes) => (bytes, usize::MAX),
        Cut::ToClient(bytes) => (usize::MAX, bytes),
        Cut::Never => (usize::MAX, usize::MAX),
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    // When one direction ends, both sockets are dropped.
    let is_cut = tokio::select! {
        cut = copy(client_read, server_write, to_server) => cut,
        cut = copy(server_read, client_write, to_client) => cut,
    };
    if is_cut {
        cuts.fetch_add(1, Ordering::Relaxed);
    }
}

/// Copies at most this many bytes. Returns whether the limit was reached.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut left: usize) -> bool {
    let mut buffer = [0; 4096];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return false };
        let passed = read.min(left);
        if to.write_all(&buffer[..passed]).await.is_err() {
            return false;
        }
        left -= passed;
        if left == 0 {
            return true;
        }
    }
}

async fn connect(
    server: &Server,
    through: SocketAddr,
    binary: bool,
    transport: Transport,
) -> Realtime {
    let options = ClientOptions::new(server.key())
        .endpoint(through.ip().to_string())
        .port(through.port())
        .tls(false)
        .use_binary_protocol(binary)
        .transports([transport])
        // A cut attempt must not delay the test.
        .disconnected_retry_timeout(Duration::from_millis(1));
    Realtime::new(options).unwrap()
}

fn payload(number: usize) -> Data {
    match number % 3 {
        0 => Data::from(format!("text {number}")),
        1 => Data::from(format!("bytes {number}").into_bytes()),
        _ => Data::from(serde_json::json!({ "number": number })),
    }
}

async fn run(seed: u64, transport: Transport) -> usize {
    let server = Server::builder().start().await.unwrap();
    let (to_publisher, to_subscriber) = (
        Cutter::start(server.local_addr(), 2 * seed, cuts(transport)).await,
        Cutter::start(server.local_addr(), 2 * seed + 1, cuts(transport)).await,
    );
    let subscriber =
        connect(&server, to_subscriber.address, seed.is_multiple_of(2), transport).await;
    let publisher = connect(&server, to_publisher.address, seed % 4 < 2, transport).await;

    let channel = subscriber.channels().get("stream");
    let mut messages = channel.subscribe().await.unwrap();
    let channel = publisher.channels().get("stream");
    let mut receipts = Vec::new();
    for number in 0..MESSAGES {
        let publish = channel.publish(number.to_string(), payload(number));
        receipts.push(publish.submit().await.unwrap());
        if number % 16 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut serials = BTreeSet::new();
    for (number, receipt) in receipts.into_iter().enumerate() {
        let result = receipt.await.unwrap_or_else(|error| panic!("publish {number}: {error}"));
        let serial = result.serials[0].clone().expect("every message has a serial");
        assert!(serials.insert(serial), "publish {number} has a serial of its own");
    }
    for number in 0..MESSAGES {
        let message = messages.next().await.expect("the subscription goes on");
        assert_eq!(message.name.as_deref(), Some(&*number.to_string()), "order is kept");
        assert_eq!(message.data, payload(number));
    }
    // A repeated message would arrive before this one.
    channel.publish("end", ()).await.unwrap();
    assert_eq!(messages.next().await.unwrap().name.as_deref(), Some("end"));
    publisher.close().await;
    subscriber.close().await;
    server.shutdown().await;
    to_publisher.cuts.load(Ordering::Relaxed) + to_subscriber.cuts.load(Ordering::Relaxed)
}

// Spec: RTN15d, RTN7, RTN7a, RTN7b, RTN19, RTN19a
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_lose_and_repeat_no_message() {
    run_all(Transport::WebSocket).await;
}

// The requests of comet are cut in the same way: in a head, inside a frame, between the frames of a stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_requests_of_comet_lose_and_repeat_no_message() {
    run_all(Transport::Comet).await;
}

async fn run_all(transport: Transport) {
    let mut cuts = 0;
    for seed in 0..RUNS {
        let run = tokio::time::timeout(Duration::from_secs(30), run(seed, transport));
        cuts += run.await.unwrap_or_else(|_| panic!("run {seed} hangs"));
    }
    // Without cuts the test would prove nothing.
    assert!(cuts >= 3 * RUNS as usize, "only {cuts} connections were cut");
}
