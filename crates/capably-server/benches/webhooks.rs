//! Measures webhooks: the events a second that one healthy endpoint accepts in batches, and the memory of a server whose endpoint
//! never answers.
//!
//! `cargo bench -p capably-server --bench webhooks [-- [messages]]`. Server, publisher and endpoint share the process. The
//! endpoint reads every body and counts the messages in it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use capably_protocol::{ClientFrame, Format, Limits, Message, ServerFrame, codec, frame::Publish};
use capably_server::{
    Server,
    webhooks::{RequestMode, Rule, Source},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_tungstenite::{client_async, tungstenite::Message as WsMessage};

const ROUNDS: usize = 3;
/// Unacknowledged publishes.
const IN_FLIGHT: usize = 256;
const PAYLOAD: usize = 200;
/// The rounds with the endpoint that never answers publish this many times as many messages as the others.
const FLOOD: usize = 4;

fn main() {
    let messages = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(50_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        println!("{messages} messages of {PAYLOAD} bytes, {ROUNDS} rounds");
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            rates.push(healthy(messages).await);
        }
        rates.sort_by(f64::total_cmp);
        println!("median {:.0} events/s to one endpoint in batches", rates[ROUNDS / 2]);
        dead(messages * FLOOD).await;
    });
}

/// The events a second of an endpoint that accepts them.
async fn healthy(messages: usize) -> f64 {
    let (count, arrived) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let address = endpoint(Arc::clone(&count), Arc::clone(&arrived)).await;
    let rule = Rule::new(Source::Message, format!("http://{address}/")).id("healthy");
    // All events may wait: the rate is that of the endpoint, and none is lost when publishing is faster.
    let builder = Server::builder().webhook_queue(messages, usize::MAX);
    let rules = [rule.request_mode(RequestMode::Batch)];
    let server = builder.webhook_rules(rules).start().await.unwrap();
    let start = Instant::now();
    flood(&server, messages).await;
    while count.load(Ordering::Acquire) < messages {
        arrived.notified().await;
    }
    let rate = messages as f64 / start.elapsed().as_secs_f64();
    server.shutdown().await;
    rate
}

/// The memory of the events that wait for an endpoint which accepts connections and never answers.
async fn dead(messages: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let rule = Rule::new(Source::Message, format!("http://{address}/")).id("dead");
    let rules = [rule.request_mode(RequestMode::Batch)];
    // The log of the channel is small, so that it does not count.
    let builder = Server::builder().resume_buffer(100, 1024 * 1024).webhook_rules(rules);
    let server = builder.start().await.unwrap();
    let mut before = resident();
    for part in 1..=FLOOD {
        flood(&server, messages / FLOOD).await;
        let now = resident();
        let grown = (now - before) / (1024.0 * 1024.0);
        println!("dead endpoint: {} events, {grown:+.1} MiB", messages / FLOOD * part);
        before = now;
    }
    server.shutdown().await;
}

/// The resident memory of the process, in bytes; 0 on other systems than Linux.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4096.0
}

/// Publishes messages over one connection, some of them at a time.
async fn flood(server: &Server, messages: usize) {
    let stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let url = format!("ws://{}/?v=6&format=msgpack&key={}", server.local_addr(), server.key());
    let (mut socket, _) = client_async(url, stream).await.unwrap();
    let data = "x".repeat(PAYLOAD);
    let (mut sent, mut acknowledged) = (0, 0);
    while acknowledged < messages {
        while sent < messages && sent - acknowledged < IN_FLIGHT {
            let frame = ClientFrame::Message(Publish {
                channel: "bench".into(),
                msg_serial: sent as u64,
                items: vec![Message::new("n", data.clone())].into(),
                params: Default::default(),
            });
            let mut bytes = Vec::new();
            codec::encode_client_frame(Format::MsgPack, &frame, &mut bytes);
            socket.feed(WsMessage::binary(bytes)).await.unwrap();
            sent += 1;
        }
        socket.flush().await.unwrap();
        let WsMessage::Binary(bytes) = socket.next().await.unwrap().unwrap() else { continue };
        let frame = codec::decode_server_frame(Format::MsgPack, &bytes, &Limits::default());
        if let Ok(ServerFrame::Ack(ack)) = frame {
            acknowledged = usize::try_from(ack.msg_serial).unwrap() + ack.count as usize;
        }
    }
}

/// An endpoint that counts the messages that it receives.
async fn endpoint(count: Arc<AtomicUsize>, arrived: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (count, arrived) = (Arc::clone(&count), Arc::clone(&arrived));
            tokio::spawn(async move {
                let mut buffer = Vec::new();
                while let Some(body) = read(&mut socket, &mut buffer).await {
                    let found = body.windows(11).filter(|it| it == b"\"webhookId\"").count();
                    count.fetch_add(found, Ordering::Release);
                    arrived.notify_one();
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    socket.write_all(answer).await.unwrap();
                }
            });
        }
    });
    address
}

async fn read(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse::<usize>();
    let length = length.ok()?;
    while buffer.len() < end + length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some(body)
}
