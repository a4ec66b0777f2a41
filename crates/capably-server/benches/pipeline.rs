//! Measures publishes that do not wait for each other, from their publisher through the server to a subscriber. Each
//! channel has one publisher and one subscriber, with a connection each.
//!
//! `cargo bench -p capably-server --bench pipeline [-- [messages] [channels] [threads] [json|msgpack] [apps]]`. The
//! server runs in a separate process, with so many threads. The clients write frames that are encoded before the clock
//! starts, and count what they read. Besides the rate, the bench prints the time of the processor that the server has
//! spent for a message (Linux). With `apps`, each channel is in an app of its own.

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
    time::Instant,
};

use bytes::BytesMut;
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame, codec,
    frame::{Attach, Publish},
    websocket::{Decoder, Event, Kind, Sender, write_message},
};
use capably_server::Server;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::Barrier,
    task::JoinSet,
};
use tokio_tungstenite::{client_async_with_config, tungstenite::protocol::WebSocketConfig};

const ROUNDS: usize = 5;
/// Unacknowledged publishes of a publisher.
const IN_FLIGHT: usize = 1024;
const PAYLOAD: usize = 300;
/// The most bytes of a frame that a client reads.
const MAX_FRAME: usize = 1024 * 1024;
const KEY: &str = "pipes1.keyId:keySecret";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is = |word: &str| arguments.iter().any(|argument| argument == word);
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    if is("serve") {
        return serve(numbers.next().unwrap());
    }
    let load = Load {
        messages: numbers.next().unwrap_or(100_000),
        channels: numbers.next().unwrap_or(1),
        threads: numbers.next().unwrap_or(2),
        format: if is("json") { Format::Json } else { Format::MsgPack },
        apps: is("apps"),
    };
    println!("{load:?}, {PAYLOAD} bytes, {IN_FLIGHT} in flight, {ROUNDS} rounds");
    let mut rounds: Vec<_> = (0..ROUNDS).map(|_| load.run()).collect();
    rounds.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let rate = rounds[ROUNDS / 2].rate;
    rounds.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    let cpu = rounds[ROUNDS / 2].cpu;
    println!(
        "median {:.0} k messages/s, {cpu:.2} µs of the server's processor for each",
        rate / 1e3
    );
}

#[derive(Clone, Copy, Debug)]
struct Load {
    /// The messages of each channel.
    messages: usize,
    channels: usize,
    threads: usize,
    format: Format,
    apps: bool,
}

struct Figures {
    /// Messages a second.
    rate: f64,
    /// Microseconds that the server was running for each message.
    cpu: f64,
}

impl Load {
    fn run(self) -> Figures {
        let server = Process::start(self.threads);
        runtime(2).block_on(async {
            let ready = Arc::new(Barrier::new(2 * self.channels + 1));
            let mut clients = JoinSet::new();
            for number in 0..self.channels {
                let key = if self.apps { new_app(server.address).await } else { KEY.into() };
                let channel = format!("prices:{number}");
                let publisher = Client::connect(server.address, &key, self.format).await;
                let mut subscriber = Client::connect(server.address, &key, self.format).await;
                subscriber.attach(&channel).await;
                let frames = self.frames(&channel);
                let (start, begin) = (Arc::clone(&ready), Arc::clone(&ready));
                clients.spawn(async move {
                    start.wait().await;
                    publisher.publish(&frames).await;
                });
                clients.spawn(async move {
                    begin.wait().await;
                    subscriber.receive(self.messages).await;
                });
            }
            ready.wait().await;
            let (start, before) = (Instant::now(), server.cpu());
            while let Some(done) = clients.join_next().await {
                done.unwrap();
            }
            let all = (self.messages * self.channels) as f64;
            let cpu = (server.cpu() - before) / all;
            Figures { rate: all / start.elapsed().as_secs_f64(), cpu }
        })
    }

    /// The frames of a publisher, as they are written.
    fn frames(self, channel: &str) -> Vec<Vec<u8>> {
        let data = "x".repeat(PAYLOAD);
        let frame = |msg_serial| {
            encode(
                self.format,
                &ClientFrame::Message(Publish {
                    channel: channel.into(),
                    msg_serial,
                    items: [Message::new("tick", data.clone())].into(),
                    params: Default::default(),
                }),
            )
        };
        (0..self.messages as u64).map(frame).collect()
    }
}

struct Client {
    stream: TcpStream,
    format: Format,
    decoder: Decoder,
    unread: BytesMut,
}

impl Client {
    /// A client that has received CONNECTED.
    async fn connect(address: SocketAddr, key: &str, format: Format) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let word = if format == Format::Json { "json" } else { "msgpack" };
        let url = format!("ws://{address}/?v=6&key={key}&format={word}&echo=false");
        let config = WebSocketConfig::default();
        let (mut socket, _) = client_async_with_config(url, stream, Some(config)).await.unwrap();
        let frame = socket.next().await.unwrap().unwrap().into_data();
        let frame = codec::decode_server_frame(format, &frame, &Limits::default()).unwrap();
        assert!(matches!(frame, ServerFrame::Connected(_)), "not CONNECTED: {frame:?}");
        // The server sends nothing until the client does, so the socket has read nothing ahead.
        let (stream, unread) = (socket.into_inner(), BytesMut::new());
        Self { stream, format, decoder: Decoder::new(Sender::Server, MAX_FRAME), unread }
    }

    async fn attach(&mut self, channel: &str) {
        let attach = Attach { channel: channel.into(), ..Attach::default() };
        let frame = encode(self.format, &ClientFrame::Attach(attach));
        self.stream.write_all(&frame).await.unwrap();
        assert!(matches!(self.next().await, ServerFrame::Attached(_)));
    }

    async fn next(&mut self) -> ServerFrame {
        let limits = Limits::default();
        loop {
            match self.decoder.next(&mut self.unread).unwrap() {
                Some(Event::Message(_, bytes)) => {
                    return codec::decode_server_frame(self.format, &bytes, &limits).unwrap();
                }
                Some(_) => {}
                None => self.read().await,
            }
        }
    }

    async fn read(&mut self) {
        self.unread.reserve(64 * 1024);
        assert_ne!(self.stream.read_buf(&mut self.unread).await.unwrap(), 0);
    }

    /// Publishes all frames, and waits until they are acknowledged.
    async fn publish(mut self, frames: &[Vec<u8>]) {
        let (mut sent, mut acknowledged) = (0, 0);
        let mut batch = Vec::new();
        while acknowledged < frames.len() {
            let until = frames.len().min(acknowledged + IN_FLIGHT);
            batch.clear();
            frames[sent..until].iter().for_each(|frame| batch.extend_from_slice(frame));
            sent = until;
            self.stream.write_all(&batch).await.unwrap();
            match self.next().await {
                ServerFrame::Ack(ack) => acknowledged += ack.count as usize,
                ServerFrame::Heartbeat { .. } => {}
                other => panic!("not ACK: {other:?}"),
            }
        }
    }

    /// Counts messages.
    async fn receive(mut self, messages: usize) {
        let mut seen = 0;
        while seen < messages {
            match self.decoder.next(&mut self.unread).unwrap() {
                // Others are short: heartbeats.
                Some(Event::Message(_, bytes)) => seen += usize::from(bytes.len() > PAYLOAD),
                Some(_) => {}
                None => self.read().await,
            }
        }
    }
}

/// A frame as a client writes it.
fn encode(format: Format, frame: &ClientFrame) -> Vec<u8> {
    let kind = if format == Format::Json { Kind::Text } else { Kind::Binary };
    let mut payload = Vec::new();
    codec::encode_client_frame(format, frame, &mut payload);
    let mut out = Vec::new();
    write_message(kind, payload.len(), Some([1, 2, 3, 4]), &mut out, |out| out.extend(&payload));
    out
}

/// Creates an app. Returns its key.
async fn new_app(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (body, length) = ("{\"keys\":[{}]}", 13);
    let request = format!(
        "POST /apps HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let body: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["keys"][0]["keyStr"].as_str().unwrap().into()
}

/// A server in a separate process.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(threads: usize) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new(program);
        command.args(["serve", &threads.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { child, address }
    }

    /// The microseconds for which the threads of the process were running, or 0 if the system does not count them.
    fn cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let nanos = |path| {
            let text = std::fs::read_to_string(path).ok()?;
            text.split_whitespace().next()?.parse::<f64>().ok()
        };
        let tasks = tasks.into_iter().flatten().flatten();
        tasks.filter_map(|task| nanos(task.path().join("schedstat"))).sum::<f64>() / 1e3
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server has no data to lose, and may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(threads: usize) {
    runtime(threads).block_on(async {
        let server = Server::builder().key(KEY).start().await.unwrap();
        println!("{}", server.local_addr());
        std::future::pending::<()>().await;
    });
}

fn runtime(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}
