//! Clients that send one byte a second.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use capably_protocol::{ClientFrame, Format, Message, ServerFrame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use support::*;

/// Sends one byte a second until the peer closes the connection.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        sleep(Duration::from_secs(1)).await;
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_request_head_sent_too_slowly_ends_its_connection() {
    let server = server().await;
    let mut slow = TcpStream::connect(server.local_addr()).await.unwrap();
    // The server accepts connections in order, so the slow one is accepted before this answer.
    request(&server, "GET", "/time", &serde_json::Value::Null).await;
    tokio::time::pause();
    let start = Instant::now();
    let (mut read, mut write) = slow.split();
    let head = format!("GET /?key={} HTTP/1.1\r\nhost: localhost\r\n", server.key());
    let dripping = async {
        for byte in head.as_bytes() {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        ended = read.read_to_end(&mut answer) => drop(ended),
        () = dripping => unreachable!(),
    }
    assert_eq!(String::from_utf8_lossy(&answer), "");
    let waited = start.elapsed().as_secs();
    assert!((59..=62).contains(&waited), "{waited}");
}

#[tokio::test]
async fn a_request_body_sent_too_slowly_times_out() {
    let server = server().await;
    let mut slow = Http::connect(&server).await;
    let head = format!(
        "POST /channels/a/messages HTTP/1.1\r\nhost: localhost\r\n{}\r\n\
         content-type: application/json\r\ncontent-length: 1000\r\n\r\n",
        basic(server.key()),
    );
    slow.stream.write_all(head.as_bytes()).await.unwrap();
    // The server has read the head before it answers this request.
    request(&server, "GET", "/time", &serde_json::Value::Null).await;
    tokio::time::pause();
    let start = Instant::now();
    let (mut read, mut write) = slow.stream.split();
    let dripping = async {
        loop {
            sleep(Duration::from_secs(1)).await;
            if write.write_all(b" ").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = vec![0; 4096];
    let length = tokio::select! {
        length = read.read(&mut answer) => length.unwrap(),
        () = dripping => unreachable!(),
    };
    let answer = String::from_utf8_lossy(&answer[..length]).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 408 "), "{answer}");
    assert!(answer.contains("x-ably-errorcode: 50003"), "{answer}");
    let waited = start.elapsed().as_secs();
    assert!((29..=32).contains(&waited), "{waited}");
}

#[tokio::test]
async fn a_slow_frame_delays_no_other_client_and_is_handled_when_complete() {
    for format in [Format::Json, Format::MsgPack] {
        let server = server().await;
        let (mut slow, _) = Client::connect(&server, format).await;
        let (mut other, _) = Client::connect(&server, format).await;
        slow.attach("a").await;
        other.attach("a").await;
        let frame = slow.encode(&publish("a", 0, vec![Message::new("slow", "d")])).into_data();
        // A complete WebSocket frame, masked with zeros.
        let mut bytes = vec![if format == Format::Json { 0x81 } else { 0x82 }];
        assert!(frame.len() < 126, "{}", frame.len());
        bytes.push(0x80 | u8::try_from(frame.len()).unwrap());
        bytes.extend([0; 4]);
        bytes.extend_from_slice(&frame);
        let (last, most) = bytes.split_last().unwrap();
        tokio::time::pause();
        drip(slow.socket.get_mut(), most).await;
        tokio::time::resume();
        other.publish("a", 0, vec![Message::new("quick", "d")]).await;
        let mut heard = Vec::new();
        while heard.len() < 2 {
            match other.next().await {
                ServerFrame::Message(delivery) => heard.push(delivery.items[0].name.clone()),
                ServerFrame::Ack(_) => {
                    slow.socket.get_mut().write_all(&[*last]).await.unwrap();
                }
                ServerFrame::Heartbeat { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(heard, [Some("quick".into()), Some("slow".into())]);
        other.send(&ClientFrame::Close).await;
    }
}
