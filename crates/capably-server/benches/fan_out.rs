//! Measures deliveries from one publisher to many subscribers of one channel, each with its own connection. The baseline
//! is a bare WebSocket server with the same library, which forwards the frames without decoding them.
//!
//! `cargo bench -p capably-server --bench fan_out [-- [subscribers] [messages] [json|msgpack] [sse]]`. With `sse`, readers of
//! event streams are compared with WebSockets of the same server. Each
//! server runs in a separate process, so that its memory is measured without that of the clients. Both have the same
//! clients: sockets that count frames. The result is the ratio of the two.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame, codec,
    frame::{Attach, Publish},
};
use capably_server::Server;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config, client_async_with_config,
    tungstenite::{Message as WsMessage, protocol::WebSocketConfig},
};

const ROUNDS: usize = 5;
/// Unacknowledged publishes of the publisher.
const IN_FLIGHT: usize = 64;
const PAYLOAD: usize = 200;
const KEY: &str = "fanOut.keyId:keySecret";
/// Batches that wait for a client of the bare server.
const QUEUE: usize = 1024;
/// A subscriber counts only frames that are longer than this: messages are, and heartbeats are not.
const SHORT: usize = 100;

type Socket = WebSocketStream<TcpStream>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |what: &str| arguments.iter().any(|argument| argument == what);
    if is("serve-capably") {
        return serve_capably();
    }
    if is("serve-bare") {
        return serve_bare();
    }
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let subscribers = numbers.next().unwrap_or(1_000);
    let messages = numbers.next().unwrap_or(1_000);
    let format = if is("json") { Format::Json } else { Format::MsgPack };
    println!(
        "{subscribers} subscribers, {messages} messages of {PAYLOAD} bytes a round, {format:?}, median of {ROUNDS} interleaved rounds"
    );

    let load = Load { subscribers, messages, format, as_events: false };
    if is("sse") {
        return compare_events(&load);
    }
    let mut ours = Vec::new();
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        let of_ours = load.run("serve-capably", |publish| publish);
        // The frames of the bare server are as long as those that ours delivers.
        let length = of_ours.frame_length;
        bare.push(load.run("serve-bare", |_| vec![b'x'; length].into()));
        ours.push(of_ours);
    }
    let rate = |of: &[Figures]| median(of.iter().map(|figures| figures.rate).collect());
    for (what, of) in [("capably-server", &ours), ("bare WebSocket", &bare)] {
        println!(
            "{what:<15} {:>6.0} k deliveries/s   a connection: {:>6.0} bytes idle, {:>6.0} after the flood",
            rate(of) / 1e3,
            median(of.iter().map(|figures| figures.idle).collect()),
            median(of.iter().map(|figures| figures.flooded).collect()),
        );
    }
    println!("ratio {:.2}, frames of {} bytes", rate(&ours) / rate(&bare), ours[0].frame_length);
}

/// Compares readers of event streams with WebSockets of the same server.
fn compare_events(load: &Load) {
    let readers = Load { as_events: true, ..*load };
    let (mut events, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        sockets.push(load.run("serve-capably", |publish| publish).rate);
        events.push(readers.run("serve-capably", |publish| publish).rate);
    }
    let (events, sockets) = (median(events), median(sockets));
    println!("WebSockets     {:>6.0} k deliveries/s", sockets / 1e3);
    println!("event streams  {:>6.0} k deliveries/s", events / 1e3);
    println!("ratio {:.2}", events / sockets);
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The load on a server.
struct Load {
    subscribers: usize,
    messages: usize,
    format: Format,
    /// Whether the subscribers read event streams.
    as_events: bool,
}

struct Figures {
    /// Deliveries a second.
    rate: f64,
    /// Bytes of the server's memory for each connection, before and after the flood.
    idle: f64,
    flooded: f64,
    /// The length of a delivered frame, in bytes.
    frame_length: usize,
}

impl Load {
    /// Measures one server. `frame_of` converts an encoded frame of ours into the frame to publish.
    fn run(&self, role: &str, frame_of: impl Fn(Bytes) -> Bytes) -> Figures {
        let server = Process::start(role);
        runtime(1).block_on(async {
            let mut publisher = self.connect(server.address).await;
            let before = server.memory();
            let mut listeners = JoinSet::new();
            for _ in 0..self.subscribers {
                if self.as_events {
                    let stream = self.read_events(server.address).await;
                    listeners.spawn(listen_to_events(stream, self.messages));
                } else {
                    let stream = self.subscribe(server.address).await;
                    listeners.spawn(listen(stream, self.messages));
                }
            }
            let each = |bytes: usize| bytes as f64 / self.subscribers as f64;
            let idle = each(server.memory().saturating_sub(before));
            let start = Instant::now();
            self.publish(&mut publisher, frame_of).await;
            let mut frame_length = 0;
            while let Some(length) = listeners.join_next().await {
                frame_length = length.unwrap();
            }
            let deliveries = (self.subscribers * self.messages) as f64;
            let rate = deliveries / start.elapsed().as_secs_f64();
            let flooded = each(server.memory().saturating_sub(before));
            Figures { rate, idle, flooded, frame_length }
        })
    }

    async fn connect(&self, address: SocketAddr) -> Socket {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let format = if self.format == Format::Json { "json" } else { "msgpack" };
        let url = format!("ws://{address}/?v=6&key={KEY}&format={format}");
        let (mut socket, _) = client_async_with_config(url, stream, Some(config())).await.unwrap();
        // CONNECTED.
        socket.next().await.unwrap().unwrap();
        socket
    }

    /// The stream of an attached connection.
    async fn subscribe(&self, address: SocketAddr) -> TcpStream {
        let mut socket = self.connect(address).await;
        let attach = Attach { channel: "prices".into(), ..Attach::default() };
        socket.send(self.encode(&ClientFrame::Attach(attach))).await.unwrap();
        // ATTACHED.
        socket.next().await.unwrap().unwrap();
        socket.into_inner()
    }

    /// An event stream, read up to the id that it begins with.
    async fn read_events(&self, address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /sse?channel=prices&key={KEY} HTTP/1.1\r\nhost: bench\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|it| it == b"id: ") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        stream
    }

    /// Publishes everything, a few at a time.
    async fn publish(&self, publisher: &mut Socket, frame_of: impl Fn(Bytes) -> Bytes) {
        let (mut sent, mut acknowledged) = (0, 0);
        let data = "x".repeat(PAYLOAD);
        while acknowledged < self.messages {
            while sent < self.messages && sent - acknowledged < IN_FLIGHT {
                let publish = ClientFrame::Message(Publish {
                    channel: "prices".into(),
                    msg_serial: sent as u64,
                    items: [Message::new("tick", data.clone())].into(),
                    params: Default::default(),
                });
                let frame = frame_of(self.encode(&publish).into_data());
                publisher.feed(self.message(frame)).await.unwrap();
                sent += 1;
            }
            publisher.flush().await.unwrap();
            acknowledged += self.acknowledged(&publisher.next().await.unwrap().unwrap());
        }
    }

    /// The number of publishes that a frame acknowledges. The bare server sends one byte for each.
    fn acknowledged(&self, message: &WsMessage) -> usize {
        let data = message.clone().into_data();
        if data.len() == 1 {
            return 1;
        }
        match codec::decode_server_frame(self.format, &data, &Limits::default()).unwrap() {
            ServerFrame::Ack(ack) => ack.count as usize,
            _ => 0,
        }
    }

    fn encode(&self, frame: &ClientFrame) -> WsMessage {
        let mut bytes = Vec::new();
        codec::encode_client_frame(self.format, frame, &mut bytes);
        self.message(bytes.into())
    }

    fn message(&self, bytes: Bytes) -> WsMessage {
        match self.format {
            Format::Json => WsMessage::Text(bytes.try_into().unwrap()),
            Format::MsgPack => WsMessage::Binary(bytes),
        }
    }
}

/// Reads until `frames` long frames have arrived. Returns the length of the last.
async fn listen(mut stream: TcpStream, frames: usize) -> usize {
    let mut buffer = vec![0; 16 * 1024];
    let (mut filled, mut seen, mut last) = (0, 0, 0);
    while seen < frames {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert_ne!(read, 0, "the server closed after {seen} of {frames} frames");
        filled += read;
        let mut start = 0;
        while let Some((header, length)) = frame_at(&buffer[start..filled])
            && start + header + length <= filled
        {
            start += header + length;
            if length > SHORT {
                (seen, last) = (seen + 1, length);
            }
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
    last
}

/// Reads until so many messages have arrived. Returns 0: the length of an event is not compared.
async fn listen_to_events(mut stream: TcpStream, messages: usize) -> usize {
    const MARK: &[u8] = b"\nevent: message\n";
    let mut buffer = Vec::with_capacity(16 * 1024);
    let mut seen = 0;
    while seen < messages {
        assert_ne!(stream.read_buf(&mut buffer).await.unwrap(), 0);
        let mut start = 0;
        while let Some(at) = find(&buffer[start..], MARK) {
            start += at + MARK.len();
            seen += 1;
        }
        // A mark may be cut in two.
        let rest = start.max(buffer.len().saturating_sub(MARK.len() - 1));
        buffer.drain(..rest);
    }
    0
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        from += text[from..].iter().position(|byte| *byte == mark[0])?;
        if text[from..].starts_with(mark) {
            return Some(from);
        }
        from += 1;
    }
}

/// The length of an unmasked frame's header and of its payload.
fn frame_at(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])))),
        127 => panic!("frames here are short"),
        length => Some((2, usize::from(*length))),
    }
}

/// A server in a separate process.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(role: &str) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg(role).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    /// The resident memory of the process in bytes, or 0 if the system has no such file.
    fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kibibytes.unwrap_or(0) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server has no data to lose, and may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve_capably() {
    runtime(2).block_on(async {
        let server = Server::builder().key(KEY).start().await.unwrap();
        println!("{}", server.local_addr());
        std::future::pending::<()>().await;
    });
}

/// Forwards the frames of the publisher, all that have arrived in one batch. The clients need an answer, but not its
/// content: the server sends one byte on connecting, on subscribing, and for each published frame.
fn serve_bare() {
    runtime(2).block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let queues = Queues::default();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve_one(stream, Arc::clone(&queues)));
        }
    });
}

type Batch = Arc<[WsMessage]>;
type Queues = Arc<Mutex<Vec<mpsc::Sender<Batch>>>>;

async fn serve_one(stream: TcpStream, queues: Queues) {
    let mut socket = accept_async_with_config(stream, Some(config())).await.unwrap();
    let answer = WsMessage::Binary(Bytes::from_static(b"!"));
    socket.send(answer.clone()).await.unwrap();
    let (queue, mut queued) = mpsc::channel::<Batch>(QUEUE);
    loop {
        tokio::select! {
            received = socket.next() => {
                let Some(Ok(first)) = received else { break };
                if first.len() < SHORT {
                    queues.lock().unwrap_or_else(PoisonError::into_inner).push(queue.clone());
                    socket.send(answer.clone()).await.unwrap();
                    continue;
                }
                let mut batch = vec![first];
                while let Some(Some(Ok(next))) = socket.next().now_or_never() {
                    batch.push(next);
                }
                for _ in &batch {
                    socket.feed(answer.clone()).await.unwrap();
                }
                let batch = Batch::from(batch);
                // Copy the list, so that no lock is held while a subscriber is awaited.
                let everyone = queues.lock().unwrap_or_else(PoisonError::into_inner).clone();
                for queue in &everyone {
                    // A closed subscriber is ignored.
                    let _ = queue.send(Arc::clone(&batch)).await;
                }
                socket.flush().await.unwrap();
            }
            Some(batch) = queued.recv() => {
                let mut next = Some(batch);
                while let Some(batch) = next {
                    for frame in batch.iter() {
                        if socket.feed(frame.clone()).await.is_err() {
                            return;
                        }
                    }
                    next = queued.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The settings that the server uses for its WebSockets.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4 * 1024).write_buffer_size(64 * 1024)
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}
