//! Throughput of the client: it receives a flood of frames, for one listener and for three, and publishes with many
//! messages in flight or with one. In the same run, a bare WebSocket pair, of the library that the peer uses, transfers
//! the same frames.
//!
//! `cargo bench -p capably --bench flood [-- [frames] [receive|publish|latency]]`. The ratios are the result: the share
//! of the library's speed that is left after frames are decoded, acknowledged and delivered. For one publish at a time,
//! the result is a latency.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use capably::{
    ClientOptions, Realtime,
    realtime::{Receipt, Subscription, SubscriptionEvent},
};
use capably_protocol::{
    ConnectionDetails, Format, Message, ServerFrame, codec,
    frame::{Ack, Attached, Connected, Delivery, Publish},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpListener, runtime::Builder};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config, client_async_with_config,
    tungstenite::{Message as WsMessage, protocol::WebSocketConfig},
};

const ROUNDS: usize = 5;
const FRAME_SIZE: usize = 300;
const IN_FLIGHT: usize = 1024;

type Socket = WebSocketStream<tokio::net::TcpStream>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let frames = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(500_000);
    let modes = ["receive", "publish", "latency"];
    let chosen = modes.into_iter().find(|mode| arguments.iter().any(|argument| argument == mode));
    let wants = |mode: &str| chosen.is_none_or(|chosen| chosen == mode);
    println!(
        "{frames} frames of {FRAME_SIZE} bytes a round, median of {ROUNDS} interleaved rounds"
    );
    if wants("receive") {
        for (what, format, listeners) in [
            ("receive and deliver", Format::MsgPack, 1),
            ("to three listeners", Format::MsgPack, 3),
            ("receive in JSON", Format::Json, 1),
        ] {
            let frame = delivery_frame(format);
            compare(
                what,
                || receive_flood(frames, format, &frame, listeners),
                || bare(frames, format, &frame, Side::Server),
            );
        }
    }
    if wants("publish") {
        let frame = publish_frame();
        compare(
            "publish, 1,024 in flight",
            || publish_flood(frames),
            || bare(frames, Format::MsgPack, &frame, Side::Client),
        );
    }
    if wants("latency") {
        let frame = publish_frame();
        let times = frames / 50;
        let rounds: Vec<(f64, f64)> =
            (0..ROUNDS).map(|_| (echo(times, &frame), publish_alone(times))).collect();
        let (bare, ours): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
        let (ours, bare) = (median(ours), median(bare));
        println!(
            "{:<28} {:>6.1} us    bare echo      {:>6.1} us    ratio {:.2}",
            "publish, one at a time, p50",
            ours * 1e6,
            bare * 1e6,
            ours / bare
        );
    }
}

fn compare(what: &str, ours: impl Fn() -> f64, bare: impl Fn() -> f64) {
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (bare(), ours())).collect();
    let (bare, ours): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
    report(what, median(ours), median(bare));
}

fn report(what: &str, rate: f64, bare: f64) {
    println!(
        "{what:<28} {:>6.0} k/s   bare WebSocket {:>6.0} k/s   ratio {:.2}",
        rate / 1e3,
        bare / 1e3,
        rate / bare
    );
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// A message as the service delivers it.
fn delivery_frame(format: Format) -> Bytes {
    let mut message = Message::new("tick", "");
    message.serial = Some("01726585978590-001@abcdefghij:001".into());
    let mut frame = Delivery::new("prices", vec![message]);
    frame.id = Some("AbCdEfGhIj:12345".into());
    frame.connection_id = Some("AbCdEfGhIj".into());
    frame.channel_serial = Some("01726585978590-001@abcdefghij".into());
    frame.timestamp = Some(1_726_585_978_590);
    padded(|data| {
        frame.items[0].data = data.into();
        let mut bytes = Vec::new();
        codec::encode_server_frame(format, &ServerFrame::Message(frame.clone()), &mut bytes);
        bytes
    })
}

/// A message as the client publishes it.
fn publish_frame() -> Bytes {
    padded(|data| {
        let frame = capably_protocol::ClientFrame::Message(Publish {
            channel: "prices".into(),
            msg_serial: 1 << 20,
            items: [Message::new("tick", data)].into(),
            params: Default::default(),
        });
        let mut bytes = Vec::new();
        codec::encode_client_frame(Format::MsgPack, &frame, &mut bytes);
        bytes
    })
}

/// Chooses the payload such that the frame has its size.
fn padded(mut encode: impl FnMut(String) -> Vec<u8>) -> Bytes {
    (0..FRAME_SIZE)
        .map(|size| encode("x".repeat(size)))
        .find(|bytes| bytes.len() == FRAME_SIZE)
        .expect("some payload fits")
        .into()
}

fn payload_of(frame: &Bytes) -> usize {
    frame.iter().filter(|byte| **byte == b'x').count()
}

fn packet(format: Format, frame: &Bytes) -> WsMessage {
    match format {
        Format::Json => WsMessage::Text(frame.clone().try_into().unwrap()),
        Format::MsgPack => WsMessage::Binary(frame.clone()),
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(64 * 1024).write_buffer_size(64 * 1024)
}

/// Which side of a bare pair sends.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Server,
    Client,
}

/// Frames through a bare pair of sockets, one thread a side.
fn bare(frames: usize, format: Format, frame: &Bytes, sender: Side) -> f64 {
    let (address, listener) = listener();
    let flood = frame.clone();
    let peer = peer(move || {
        runtime().block_on(async move {
            let socket = accept(listener).await;
            if sender == Side::Server {
                send_all(socket, frames, &packet(format, &flood)).await;
            } else {
                receive_all(socket, frames).await;
            }
        });
    });
    let start = runtime().block_on(async {
        let socket = dial(address).await;
        let start = Instant::now();
        if sender == Side::Server {
            receive_all(socket, frames).await;
        } else {
            send_all(socket, frames, &packet(format, frame)).await;
        }
        start
    });
    peer.join().unwrap();
    frames as f64 / start.elapsed().as_secs_f64()
}

async fn dial(address: SocketAddr) -> Socket {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("ws://{address}/");
    client_async_with_config(url, stream, Some(config())).await.unwrap().0
}

async fn send_all(mut socket: Socket, frames: usize, packet: &WsMessage) {
    for _ in 0..frames {
        socket.feed(packet.clone()).await.unwrap();
    }
    socket.flush().await.unwrap();
    // The other side closes when it has everything.
    while let Some(Ok(_)) = socket.next().await {}
}

async fn receive_all(mut socket: Socket, frames: usize) {
    for _ in 0..frames {
        socket.next().await.unwrap().unwrap();
    }
}

/// The round trip of a frame through a bare pair, in seconds: the median.
fn echo(times: usize, frame: &Bytes) -> f64 {
    let (address, listener) = listener();
    let peer = peer(move || {
        runtime().block_on(async move {
            let mut socket = accept(listener).await;
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        });
    });
    let elapsed = runtime().block_on(async {
        let mut socket = dial(address).await;
        let mut elapsed = Vec::with_capacity(times);
        for _ in 0..times {
            let start = Instant::now();
            socket.send(WsMessage::Binary(frame.clone())).await.unwrap();
            socket.next().await.unwrap().unwrap();
            elapsed.push(start.elapsed().as_secs_f64());
        }
        elapsed
    });
    peer.join().unwrap();
    median(elapsed)
}

/// A flood delivered to subscribers, each of which awaits every message.
fn receive_flood(frames: usize, format: Format, frame: &Bytes, listeners: usize) -> f64 {
    let (address, listener) = listener();
    let flood = packet(format, frame);
    let peer = peer(move || {
        runtime().block_on(async move {
            let mut socket = serve(listener, format).await;
            while let Some(Ok(message)) = socket.next().await {
                // ATTACH.
                if message.is_binary() || message.is_text() {
                    break;
                }
            }
            send(&mut socket, format, &ServerFrame::Attached(Box::new(attached()))).await;
            // A batch on its way to the first listener would not reach the others.
            while let Some(Ok(message)) = socket.next().await {
                if message.is_binary() || message.is_text() {
                    break;
                }
            }
            send_all(socket, frames, &flood).await;
        });
    });
    let elapsed = runtime().block_on(async {
        let client = connect(address, format).await;
        let channel = client.channels().get("prices");
        let mut subscriptions = Vec::new();
        for _ in 0..listeners {
            subscriptions.push(channel.subscribe().await.unwrap());
        }
        // Any frame starts the flood.
        drop(channel.publish("go", "").submit().await.unwrap());
        let start = Instant::now();
        let expected = frames * payload_of(frame);
        let tasks: Vec<_> = subscriptions
            .into_iter()
            .map(|messages| tokio::spawn(receive(messages, frames)))
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), expected);
        }
        start.elapsed()
    });
    peer.join().unwrap();
    frames as f64 / elapsed.as_secs_f64()
}

/// Receives this many messages. Returns the bytes of their payloads.
async fn receive(mut messages: Subscription, frames: usize) -> usize {
    let mut bytes = 0;
    for _ in 0..frames {
        let message = match messages.next_event().await {
            Some(SubscriptionEvent::Message(message)) => message,
            // All frames have the same serial, so the client cannot fetch missing ones.
            other => panic!("not a message: {other:?}"),
        };
        bytes += message.data.as_str().map_or(0, str::len);
    }
    bytes
}

/// Publishes, each acknowledged, at most [`IN_FLIGHT`] at a time.
fn publish_flood(frames: usize) -> f64 {
    let (address, listener) = listener();
    let peer = acknowledging(listener, frames);
    let data = "x".repeat(payload_of(&publish_frame()));
    let elapsed = runtime().block_on(async {
        let client = connect(address, Format::MsgPack).await;
        let channel = client.channels().get("prices");
        let data = capably::Data::from(data);
        let start = Instant::now();
        let mut in_flight = std::collections::VecDeque::<Receipt>::with_capacity(IN_FLIGHT);
        for _ in 0..frames {
            if in_flight.len() == IN_FLIGHT
                && let Some(receipt) = in_flight.pop_front()
            {
                receipt.await.unwrap();
            }
            let receipt = channel.publish("tick", data.clone()).submit().await.unwrap();
            in_flight.push_back(receipt);
        }
        for receipt in in_flight {
            receipt.await.unwrap();
        }
        start.elapsed()
    });
    peer.join().unwrap();
    frames as f64 / elapsed.as_secs_f64()
}

/// Publishes, each after the acknowledgement of the one before. Returns the median of their times, in seconds.
fn publish_alone(times: usize) -> f64 {
    let (address, listener) = listener();
    let peer = acknowledging(listener, times);
    let data = capably::Data::from("x".repeat(payload_of(&publish_frame())));
    let elapsed = runtime().block_on(async {
        let client = connect(address, Format::MsgPack).await;
        let channel = client.channels().get("prices");
        let mut elapsed = Vec::with_capacity(times);
        for _ in 0..times {
            let start = Instant::now();
            channel.publish("tick", data.clone()).await.unwrap();
            elapsed.push(start.elapsed().as_secs_f64());
        }
        elapsed
    });
    peer.join().unwrap();
    median(elapsed)
}

/// A peer that acknowledges this many frames.
fn acknowledging(listener: std::net::TcpListener, frames: usize) -> thread::JoinHandle<()> {
    peer(move || {
        runtime().block_on(async move {
            let mut socket = serve(listener, Format::MsgPack).await;
            let mut acknowledged = 0;
            while acknowledged < frames {
                let mut ack: Option<Ack> = None;
                // What has arrived is acknowledged in one frame, at once.
                while let Some(message) = if ack.is_none() {
                    socket.next().await
                } else {
                    futures_util::FutureExt::now_or_never(socket.next()).flatten()
                } {
                    let WsMessage::Binary(bytes) = message.unwrap() else { continue };
                    let peek = codec::peek(Format::MsgPack, &bytes).unwrap();
                    let serial = peek.msg_serial.unwrap();
                    let ack = ack.get_or_insert(Ack { msg_serial: serial, count: 0, res: vec![] });
                    ack.count += 1;
                    ack.res.push(capably::PublishResult::new(vec![Some(
                        "01726585978590-001@abcdefghij:001".into(),
                    )]));
                }
                let Some(ack) = ack else { break };
                acknowledged += ack.count as usize;
                send(&mut socket, Format::MsgPack, &ServerFrame::Ack(ack)).await;
            }
            while let Some(Ok(_)) = socket.next().await {}
        });
    })
}

/// The other side, on a thread of its own.
fn peer(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().name("peer".to_owned()).spawn(run).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn listener() -> (SocketAddr, std::net::TcpListener) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    (listener.local_addr().unwrap(), listener)
}

async fn accept(listener: std::net::TcpListener) -> Socket {
    let (stream, _) = TcpListener::from_std(listener).unwrap().accept().await.unwrap();
    stream.set_nodelay(true).unwrap();
    accept_async_with_config(stream, Some(config())).await.unwrap()
}

/// Accepts a client and sends CONNECTED.
async fn serve(listener: std::net::TcpListener, format: Format) -> Socket {
    let mut socket = accept(listener).await;
    let connected = Connected {
        connection_id: Some("AbCdEfGhIj".into()),
        details: Some(ConnectionDetails {
            connection_key: Some("AbCdEfGhIj!key".into()),
            ..ConnectionDetails::default()
        }),
        error: None,
    };
    send(&mut socket, format, &ServerFrame::Connected(Box::new(connected))).await;
    socket
}

fn attached() -> Attached {
    Attached { channel: "prices".into(), ..Attached::default() }
}

async fn send(socket: &mut Socket, format: Format, frame: &ServerFrame) {
    let mut bytes = Vec::new();
    codec::encode_server_frame(format, frame, &mut bytes);
    socket.send(packet(format, &bytes.into())).await.unwrap();
}

async fn connect(address: SocketAddr, format: Format) -> Realtime {
    let options = ClientOptions::new("appId.keyId:keySecret")
        .endpoint(address.ip().to_string())
        .port(address.port())
        .tls(false)
        .use_binary_protocol(format == Format::MsgPack)
        .realtime_request_timeout(Duration::from_secs(10));
    Realtime::connect(options).await.unwrap()
}
