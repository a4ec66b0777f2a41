//! HTTP/2: by ALPN over TLS, and with prior knowledge without it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod client;
mod hostile;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use bytes::Bytes;
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame,
    codec::{self, FrameBatch, split_frames},
    frame::Attach,
};
use capably_server::{
    Server, Tls,
    faults::{Faults, Rule},
};
use futures_util::{StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::client_async;

use client::*;
use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

fn authorization(server: &Server) -> String {
    basic(server.key()).split_once(": ").unwrap().1.to_owned()
}

/// Sends one request with the server's key, with body and answer in a format.
async fn ask(
    server: &Server,
    http: &Http2,
    format: Format,
    (method, target): (&str, &str),
    body: &Value,
) -> (Answer, Value) {
    let body = if body.is_null() { Vec::new() } else { codec::encode_body(format, body).unwrap() };
    let authorization = authorization(server);
    let media_type = format.content_type();
    let headers = [
        ("authorization", &*authorization),
        ("content-type", media_type),
        ("accept", media_type),
        ("x-ably-version", "6"),
    ];
    let answer = http.request(method, target, &headers, &body).await;
    assert_eq!(answer.header("content-type"), Some(media_type), "{answer:?}");
    let value = codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
    (answer, value)
}

async fn publishes_and_reads(server: &Server, http: &Http2, name: &str) {
    for format in FORMATS {
        let messages = format!("/channels/{name}-{}/messages", format.name());
        let published = json!({"name": "n", "data": "x".repeat(60_000)});
        let (answer, value) = ask(server, http, format, ("POST", &messages), &published).await;
        assert_eq!(answer.status, 201);
        assert_eq!(value["serials"].as_array().unwrap().len(), 1);
        let (answer, value) = ask(server, http, format, ("GET", &messages), &Value::Null).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
        assert_eq!(value[0]["data"], published["data"]);
        let (answer, value) = ask(server, http, format, ("GET", "/nothing"), &Value::Null).await;
        assert_eq!(answer.status, 404);
        assert_eq!(value["error"]["code"], 40400);
        assert_eq!(answer.header("x-ably-errorcode"), Some("40400"));
    }
}

#[tokio::test]
async fn rest_works_with_prior_knowledge_and_http_1_beside_it() {
    let server = server().await;
    let http = Http2::connect(&server).await;
    let mut old = Http::connect(&server).await;
    publishes_and_reads(&server, &http, "a").await;
    assert_eq!(old.request("GET", "/time", &[], b"").await.status, 200);
    assert_eq!(http.get("/time").await.status, 200);
    assert_eq!(old.request("GET", "/time", &[], b"").await.status, 200);
}

#[tokio::test]
async fn a_client_gets_the_protocol_that_it_offers_over_tls() {
    let tls = Tls::self_signed(["localhost"]).unwrap();
    let server = builder().tls(&tls).start().await.unwrap();
    let stream = client::tls(&server, &tls, &["h2"]).await;
    assert_eq!(protocol(&stream), Some("h2"));
    publishes_and_reads(&server, &Http2::over(stream).await, "a").await;
    let stream = client::tls(&server, &tls, &["http/1.1", "h2"]).await;
    assert_eq!(protocol(&stream), Some("h2"), "the server prefers it");
    // Libraries for WebSockets offer HTTP/1.1 or nothing.
    for offered in [&["http/1.1"][..], &[]] {
        let stream = client::tls(&server, &tls, offered).await;
        assert_eq!(protocol(&stream), offered.first().copied());
        let url = format!("ws://localhost/?v=6&key={}", server.key());
        let (mut socket, _) = client_async(url, stream).await.unwrap();
        let first = timeout(PATIENCE, socket.next()).await.unwrap();
        assert!(first.unwrap().unwrap().into_text().unwrap().starts_with("{\"action\":4,"));
    }
}

#[tokio::test]
async fn many_requests_at_once_share_a_connection() {
    let server = server().await;
    let http = Http2::connect(&server).await;
    let authorization = authorization(&server);
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    // More than may be open at once: the others wait for their turn.
    let publishes = (0..250).map(|number| {
        let body = json!({"name": format!("{number}"), "data": "x".repeat(2_000)}).to_string();
        let (http, headers) = (&http, &headers);
        async move { http.request("POST", "/channels/a/messages", headers, body.as_bytes()).await }
    });
    for answer in join_all(publishes).await {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let history = http.request("GET", "/channels/a/messages?limit=1000", &headers, b"").await;
    let history = history.json();
    let mut numbers: Vec<u32> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["name"].as_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, Vec::from_iter(0..250));
}

#[tokio::test]
async fn an_event_stream_shares_its_connection_and_ends_when_the_client_resets_it() {
    let server = server().await;
    let http = Http2::connect(&server).await;
    let target = format!("/sse?channels=a&v=3&key={}", server.key());
    let mut events = Pieces::of(http.send("GET", &target, &[], b"").await.unwrap());
    events.until("id: ").await;
    let mut other = Pieces::of(http.send("GET", &target, &[], b"").await.unwrap());
    other.until("id: ").await;
    publishes_and_reads(&server, &http, "b").await;
    let authorization = authorization(&server);
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let body = json!({ "name": "one" }).to_string();
    let answer = http.request("POST", "/channels/a/messages", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 201);
    for stream in [&mut events, &mut other] {
        stream.until("\"name\":\"one\"").await;
    }
    assert_eq!(server.connections(), 2);
    drop(other);
    let one_is_left = async {
        while server.connections() != 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, one_is_left).await.expect("the server notices the reset");
    // The server's end is the stream's end.
    let (shut, ()) = tokio::join!(timeout(PATIENCE, server.shutdown()), async {
        while events.piece().await.is_some() {}
    });
    shut.unwrap();
    http.end().await;
}

#[tokio::test]
async fn comet_works() {
    let server = server().await;
    for format in FORMATS {
        let http = Http2::connect(&server).await;
        let channel = format!("chat-{}", format.name());
        let auth = format!("key={}&v=6&format={}", server.key(), format.name());
        let decode = |piece: &Bytes| {
            let frames = split_frames(format, piece).unwrap();
            let decode =
                |bytes| codec::decode_server_frame(format, bytes, &Limits::default()).unwrap();
            frames.iter().map(decode).collect::<Vec<_>>()
        };
        let response = http.send("GET", &format!("/comet/connect?{auth}"), &[], b"").await;
        let mut stream = Pieces::of(response.unwrap());
        let connected = match &decode(&stream.piece().await.unwrap())[..] {
            [ServerFrame::Connected(connected)] => connected.clone(),
            other => panic!("{other:?}"),
        };
        let key = connected.details.as_ref().unwrap().connection_key.clone().unwrap();
        let mut batch = FrameBatch::new(format);
        let attach = Attach { channel: (&*channel).into(), ..Attach::default() };
        for frame in [
            ClientFrame::Attach(attach),
            publish(&channel, 0, vec![Message::new("n", "over HTTP/2")]),
        ] {
            batch.push_with(|out| codec::encode_client_frame(format, &frame, out));
        }
        let headers = [("content-type", format.content_type())];
        let target = format!("/comet/{key}/send?{auth}");
        let answer = http.request("POST", &target, &headers, &batch.take()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let (mut acknowledged, mut received) = (false, false);
        while !(acknowledged && received) {
            for frame in decode(&stream.piece().await.unwrap()) {
                match frame {
                    ServerFrame::Ack(ack) => acknowledged = ack.msg_serial == 0,
                    ServerFrame::Message(delivery) => {
                        assert_eq!(delivery.items[0].data.as_str(), Some("over HTTP/2"));
                        received = true;
                    }
                    ServerFrame::Attached(_) | ServerFrame::Heartbeat { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_needs_http_1() {
    let server = server().await;
    let http = Http2::connect(&server).await;
    let headers =
        [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")];
    let answer = http.request("GET", &format!("/?key={}", server.key()), &headers, b"").await;
    assert_eq!(answer.error(), (400, 40000));
    let error = answer.json()["error"]["message"].clone();
    assert_eq!(error, "a WebSocket needs HTTP/1.1: this connection is HTTP/2");
}

#[tokio::test]
async fn a_response_to_head_has_a_length_and_no_body() {
    let server = server().await;
    let http = Http2::connect(&server).await;
    let answer = http.request("HEAD", "/health/live", &[], b"").await;
    let mut old = Http::connect(&server).await;
    let expected = old.request("HEAD", "/health/live", &[], b"").await;
    assert_eq!(answer.status, expected.status);
    assert_eq!(answer.header("content-length"), expected.header("content-length"));
    assert_eq!(answer.body, b"");
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_and_ends_nothing_else() {
    let server = builder().max_message_size(1_000).start().await.unwrap();
    let http = Http2::connect(&server).await;
    let target = format!("/sse?channels=a&key={}", server.key());
    let mut events = Pieces::of(http.send("GET", &target, &[], b"").await.unwrap());
    events.until("id: ").await;
    let authorization = authorization(&server);
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    let body = json!({"data": "x".repeat(1_000_000)}).to_string();
    let answer = http.request("POST", "/channels/a/messages", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.header("connection"), None);
    let mut old = Http::connect(&server).await;
    let lines = [basic(server.key()), "Content-Type: application/json".to_owned()];
    let same = old.request("POST", "/channels/a/messages", &lines, body.as_bytes()).await;
    assert_eq!((answer.error(), answer.body), (same.error(), same.body));
    // The stream goes on, and a new connection has the next request.
    let other = Http2::connect(&server).await;
    let body = json!({"data": "small"}).to_string();
    let answer = other.request("POST", "/channels/a/messages", &headers, body.as_bytes()).await;
    assert_eq!(answer.status, 201);
    events.until("small").await;
    drop(events);
    http.end().await;
    let large = "x".repeat(70_000);
    let answer = other.request("GET", "/time", &[("x-large", &large)], b"").await;
    assert_eq!(answer.status, 431);
    assert_eq!(other.get("/time").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_as_those_of_http_1() {
    let count = async |with: &Server, is_new: bool| {
        for target in ["/time", "/nothing", "/channels/a"] {
            match is_new {
                true => Http2::connect(with).await.get(target).await,
                false => Http::connect(with).await.request("GET", target, &[], b"").await,
            };
        }
        let answer = Http::connect(with).await.request("GET", "/metrics", &[], b"").await;
        let text = String::from_utf8(answer.body).unwrap();
        // Times differ, and so do sizes of what is measured beside the requests.
        let counts = [
            "capably_requests_total",
            "capably_request_duration_seconds_count",
            "capably_refused_total",
        ];
        let lines = text.lines().filter(|line| counts.iter().any(|name| line.starts_with(name)));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let (old, new) = (server().await, server().await);
    let (old, new) = (count(&old, false).await, count(&new, true).await);
    assert!(old.iter().any(|line| line.ends_with(" 2")), "{old:?}");
    assert_eq!(old, new);
}

#[tokio::test]
async fn the_console_checks_the_authority() {
    let server = builder().console(true).start().await.unwrap();
    let tcp = TcpStream::connect(server.local_addr()).await.unwrap();
    let http = Http2::over(tcp).await;
    assert_eq!(http.get("/console/").await.status, 200);
    let mut raw = Raw::connect(&server, &[]).await;
    let mut foreign = vec![0x82, 0x86];
    field(&mut foreign, ":authority", "rebound.example");
    field(&mut foreign, ":path", "/console/");
    // What the client says beside it does not count.
    field(&mut foreign, "host", "localhost");
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &foreign).await.unwrap();
    let answer = raw.frame_of(HEADERS).await;
    // A literal `:status`, by its index in the static table, with three digits in Huffman codes: 403.
    assert_eq!(&answer.payload[..5], [0x48, 0x83, 0x68, 0x0c, 0xff], "{answer:?}");
}

#[tokio::test]
async fn a_drain_sends_clients_elsewhere_and_answers_their_requests() {
    let server = builder().drain_notice(Duration::from_millis(1)).start().await.unwrap();
    let http = Http2::connect(&server).await;
    let target = format!("/sse?channels=a&key={}", server.key());
    let mut events = Pieces::of(http.send("GET", &target, &[], b"").await.unwrap());
    events.until("id: ").await;
    let idle = Http2::connect(&server).await;
    assert_eq!(idle.get("/time").await.status, 200);
    let watch = async {
        // The response that tells of it is whole, and the connection takes no other request.
        loop {
            match idle.send("GET", "/health/ready", &[], b"").await {
                Ok(answer) if answer.status() == 200 => {}
                Ok(_) | Err(_) => break,
            }
        }
        let busy = Http2::connect(&server).await;
        let answer = busy.get("/time").await;
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        busy.end().await;
        while events.piece().await.is_some() {}
    };
    let drained = async { tokio::join!(server.drain(Duration::from_secs(5)), watch) };
    timeout(PATIENCE, drained).await.expect("the drain ends");
    http.end().await;
}

#[tokio::test]
async fn faults_reach_clients_of_http_2() {
    let faults = Faults::new();
    let server = Server::builder().faults(&faults).start().await.unwrap();
    let http = Http2::connect(&server).await;
    publishes_and_reads(&server, &http, "a").await;
    faults.add(Rule::request().path_contains("/time").times(1).drop_request());
    assert!(http.send("GET", "/time", &[], b"").await.is_err());
    http.end().await;
    let http = Http2::connect(&server).await;
    assert_eq!(http.get("/time").await.status, 200);
}
