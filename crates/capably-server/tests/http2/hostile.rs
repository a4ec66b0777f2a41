//! Clients that misuse HTTP/2 harm only themselves.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{client::*, support::*};

/// The identifier of the setting that is the window of each stream.
const INITIAL_WINDOW_SIZE: u16 = 4;

#[tokio::test]
async fn a_connection_without_requests_is_ended_after_a_minute() {
    let server = server().await;
    let start = Instant::now();
    // The first sends no request, the second half of one. None answers the ping of a graceful end.
    let mut silent = Raw::connect(&server, &[]).await;
    let mut half = Raw::connect(&server, &[]).await;
    half.send(HEADERS, END_STREAM, 1, &head("/time")).await.unwrap();
    let mut served = Raw::connect(&server, &[]).await;
    served.get(1, "/time").await;
    served.frame_of(DATA).await;
    for raw in [&mut silent, &mut half] {
        raw.frame_of(SETTINGS).await;
    }
    tokio::time::pause();
    for raw in [&mut silent, &mut half, &mut served] {
        assert_eq!(raw.frame_of(GOAWAY).await.code(), 0);
        while raw.frame().await.is_some() {}
    }
    let elapsed = start.elapsed().as_secs();
    assert!((60..90).contains(&elapsed), "{elapsed}");
}

#[tokio::test]
async fn half_a_preface_is_ended_after_a_minute() {
    let server = server().await;
    let start = Instant::now();
    let mut half = Http::connect(&server).await;
    half.stream.write_all(&PREFACE[..10]).await.unwrap();
    let mut other = Http2::connect(&server).await;
    assert_eq!(other.get("/time").await.status, 200);
    tokio::time::pause();
    let mut rest = Vec::new();
    half.stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"");
    let elapsed = start.elapsed().as_secs();
    assert!((60..90).contains(&elapsed), "{elapsed}");
    tokio::time::resume();
    other = Http2::connect(&server).await;
    assert_eq!(other.get("/time").await.status, 200);
}

#[tokio::test]
async fn a_response_that_the_client_does_not_read_is_reset_and_others_are_not() {
    let server = builder().max_idle_interval(Duration::from_secs(160)).start().await.unwrap();
    let body = json!({"data": "x".repeat(60_000)});
    for _ in 0..3 {
        assert_eq!(request(&server, "POST", "/channels/a/messages", &body).await.status, 201);
    }
    let start = Instant::now();
    let mut raw = Raw::connect(&server, &[(INITIAL_WINDOW_SIZE, 1_000)]).await;
    let history = format!("/channels/a/messages?key={}", server.key());
    raw.get(1, &history).await;
    let first = raw.frame_of(DATA).await;
    assert_eq!((first.stream, first.payload.len()), (1, 1_000));
    // An event stream is silent for longer, which is no stall.
    raw.get(3, &format!("/sse?channels=b&key={}", server.key())).await;
    raw.frame_that(|frame| frame.kind == DATA && frame.stream == 3).await;
    tokio::time::pause();
    let reset = raw.frame_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (1, CANCEL));
    let elapsed = start.elapsed().as_secs();
    assert!((30..60).contains(&elapsed), "{elapsed}");
    let keepalive = raw.frame_that(|frame| frame.stream == 3).await;
    assert_eq!(keepalive.kind, DATA);
    assert!(start.elapsed().as_secs() >= 80, "{:?}", start.elapsed());
    tokio::time::resume();
    raw.get(5, "/time").await;
    let answered = raw.frame_that(|frame| frame.kind == DATA && frame.stream == 5).await;
    assert!(answered.payload.starts_with(b"["));
}

#[tokio::test]
async fn resets_without_end_end_the_connection() {
    let server = server().await;
    let mut raw = Raw::connect(&server, &[]).await;
    let mut flood = Vec::new();
    for request in 0..10_000 {
        let stream = 2 * request + 1;
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("/time")));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    let other = Http2::connect(&server).await;
    let flooding = async {
        // The server may end the connection before it has read everything.
        let _ = raw.write(&flood).await;
        raw.frame_of(GOAWAY).await.code()
    };
    let (code, answer) = tokio::join!(timeout(PATIENCE, flooding), other.get("/time"));
    assert_eq!(code.unwrap(), ENHANCE_YOUR_CALM);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let server = server().await;
    let mut raw = Raw::connect(&server, &[]).await;
    raw.send(HEADERS, END_STREAM, 1, &head("/time")).await.unwrap();
    let mut block = Vec::new();
    field(&mut block, "x-more", &"x".repeat(10_000));
    let flooding = async { while raw.send(CONTINUATION, 0, 1, &block).await.is_ok() {} };
    timeout(PATIENCE, flooding).await.expect("the server ends the connection");
    assert_eq!(Http2::connect(&server).await.get("/time").await.status, 200);
}

#[tokio::test]
async fn more_requests_than_allowed_are_refused() {
    let server = server().await;
    let mut raw = Raw::connect(&server, &[]).await;
    let stream = format!("/sse?channels=a&key={}", server.key());
    for request in 0..101 {
        raw.get(2 * request + 1, &stream).await;
    }
    // REFUSED_STREAM: the client may send it again.
    let reset = raw.frame_of(RST_STREAM).await;
    assert_eq!((reset.stream, reset.code()), (201, 7));
    let hundred_read = async {
        while server.connections() != 100 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, hundred_read).await.expect("the others are served");
    drop(raw);
    let none_reads = async {
        while server.connections() != 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, none_reads).await.expect("they end with their connection");
    let settled = timeout(Duration::from_secs(2), server.shutdown()).await;
    settled.expect("nothing is left to wait for");
}

#[tokio::test]
async fn nonsense_after_the_preface_ends_the_connection() {
    let server = server().await;
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], &frame(DATA, 0, 1, b"x")] {
        let mut raw = Raw::connect(&server, &[]).await;
        raw.write(nonsense).await.unwrap();
        let ended = async { while raw.frame().await.is_some() {} };
        timeout(PATIENCE, ended).await.expect("the server ends the connection");
    }
    let mut raw = Raw::connect(&server, &[]).await;
    raw.send(PING, 0, 0, b"12345678").await.unwrap();
    let pong = raw.frame_of(PING).await;
    assert_eq!((pong.flags, &pong.payload[..]), (END_STREAM, &b"12345678"[..]));
}
