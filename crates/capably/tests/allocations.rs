//! How many allocations a message costs in a client, counted on the client's thread: its peer has another.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, thread};

use allocation_counter::measure;
use bytes::Bytes;
use capably::{ClientOptions, PublishResult, Realtime, realtime::Receipt};
use capably_protocol::{
    ConnectionDetails, Format, Message, ServerFrame, codec,
    frame::{Ack, Attached, Connected, Delivery},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpListener, runtime::Builder};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message as WsMessage};

type Socket = WebSocketStream<tokio::net::TcpStream>;

/// Messages before the count begins: buffers and queues have their sizes then.
const WARM_UP: usize = 4_096;
const COUNTED: usize = 16_384;
const PAYLOAD: usize = 200;

/// How many publishes the peer acknowledges with one frame, as a busy service does.
const ACKNOWLEDGED: usize = 128;

/// The allocations of each message that is received, from the socket to the program.
fn received(format: Format) -> f64 {
    let (address, peer) = peer(format, |mut socket, format| async move {
        // ATTACH.
        next_frame(&mut socket).await;
        let attached = Attached { channel: "ch".into(), ..Attached::default() };
        send(&mut socket, format, &ServerFrame::Attached(Box::new(attached))).await;
        let mut message = Message::new("tick", "x".repeat(PAYLOAD));
        message.serial = Some("01726585978590-001@abcdefghij:001".into());
        let mut delivery = Delivery::new("ch", vec![message]);
        delivery.id = Some("AbCdEfGhIj:12345".into());
        delivery.connection_id = Some("AbCdEfGhIj".into());
        delivery.channel_serial = Some("01726585978590-001@abcdefghij".into());
        delivery.timestamp = Some(1_726_585_978_590);
        let frame = encoded(format, &ServerFrame::Message(delivery));
        for _ in 0..WARM_UP + COUNTED {
            socket.feed(frame.clone()).await.unwrap();
        }
        socket.flush().await.unwrap();
        while next_frame(&mut socket).await.is_some() {}
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(connect(address, format));
    let channel = client.channels().get("ch");
    let mut messages = runtime.block_on(channel.subscribe().into_future()).unwrap();
    let mut receive = |count: usize| {
        runtime.block_on(async {
            for _ in 0..count {
                let message = messages.next().await.unwrap();
                assert_eq!(message.data.as_str().map(str::len), Some(PAYLOAD));
            }
        });
    };
    receive(WARM_UP);
    let counted = measure(|| receive(COUNTED)).count_total;
    drop((messages, channel, client, runtime));
    peer.join().unwrap();
    counted as f64 / COUNTED as f64
}

/// The allocations of each message that is published, from the program to the socket and back to its receipt.
fn published(format: Format) -> f64 {
    let (address, peer) = peer(format, |mut socket, format| async move {
        let mut serial = 0;
        while serial < (WARM_UP + COUNTED) as u64 {
            for _ in 0..ACKNOWLEDGED {
                next_frame(&mut socket).await;
            }
            let result = PublishResult::new(vec![Some("01726585978590-001@abcdefghij:001".into())]);
            let (count, res) = (ACKNOWLEDGED as u64, vec![result; ACKNOWLEDGED]);
            send(&mut socket, format, &ServerFrame::Ack(Ack { msg_serial: serial, count, res }))
                .await;
            serial += count;
        }
        while next_frame(&mut socket).await.is_some() {}
    });
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(connect(address, format));
    let channel = client.channels().get("ch");
    let data = capably::Data::from("x".repeat(PAYLOAD));
    let mut receipts: Vec<Receipt> = Vec::with_capacity(ACKNOWLEDGED);
    let mut publish = |count: usize| {
        runtime.block_on(async {
            for _ in 0..count / ACKNOWLEDGED {
                for _ in 0..ACKNOWLEDGED {
                    receipts.push(channel.publish("tick", data.clone()).submit().await.unwrap());
                }
                for receipt in receipts.drain(..) {
                    assert_eq!(receipt.await.unwrap().serials.len(), 1);
                }
            }
        });
    };
    publish(WARM_UP);
    let counted = measure(|| publish(COUNTED)).count_total;
    drop((channel, client, runtime));
    peer.join().unwrap();
    counted as f64 / COUNTED as f64
}

#[test]
fn a_message_received_costs_at_most_one_allocation_in_msgpack() {
    let allocations = received(Format::MsgPack);
    assert!(allocations <= 1.0, "{allocations:.2} allocations for each message");
}

#[test]
fn a_message_received_costs_at_most_two_allocations_in_json() {
    let allocations = received(Format::Json);
    assert!(allocations <= 2.0, "{allocations:.2} allocations for each message");
}

/// One for the serials in the result; a frame of acknowledgements costs a few more. The memory of the message is that of
/// an acknowledged one.
#[test]
fn a_message_published_costs_hardly_more_than_one_allocation_in_msgpack() {
    let allocations = published(Format::MsgPack);
    assert!(allocations <= 1.1, "{allocations:.2} allocations for each message");
}

/// As in MessagePack.
#[test]
fn a_message_published_costs_hardly_more_than_one_allocation_in_json() {
    let allocations = published(Format::Json);
    assert!(allocations <= 1.1, "{allocations:.2} allocations for each message");
}

/// A peer with a thread of its own, for one client. `serve` begins after CONNECTED.
fn peer<F: Future<Output = ()>>(
    format: Format,
    serve: impl FnOnce(Socket, Format) -> F + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (stream, _) = TcpListener::from_std(listener).unwrap().accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            let connected = Connected {
                connection_id: Some("AbCdEfGhIj".into()),
                details: Some(ConnectionDetails {
                    connection_key: Some("AbCdEfGhIj!key".into()),
                    ..ConnectionDetails::default()
                }),
                error: None,
            };
            send(&mut socket, format, &ServerFrame::Connected(Box::new(connected))).await;
            serve(socket, format).await;
        });
    });
    (address, thread)
}

async fn connect(address: SocketAddr, format: Format) -> Realtime {
    let options = ClientOptions::new("appId.keyId:keySecret")
        .endpoint(address.ip().to_string())
        .port(address.port())
        .tls(false)
        .use_binary_protocol(format == Format::MsgPack);
    Realtime::connect(options).await.unwrap()
}

async fn next_frame(socket: &mut Socket) -> Option<WsMessage> {
    loop {
        match socket.next().await? {
            Ok(message @ (WsMessage::Text(_) | WsMessage::Binary(_))) => return Some(message),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

async fn send(socket: &mut Socket, format: Format, frame: &ServerFrame) {
    socket.send(encoded(format, frame)).await.unwrap();
}

fn encoded(format: Format, frame: &ServerFrame) -> WsMessage {
    let mut bytes = Vec::new();
    codec::encode_server_frame(format, frame, &mut bytes);
    let bytes = Bytes::from(bytes);
    match format {
        Format::Json => WsMessage::Text(bytes.try_into().unwrap()),
        Format::MsgPack => WsMessage::Binary(bytes),
    }
}
