//! Health, metrics and draining.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/engine.rs"]
mod engine;
mod support;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use capably_protocol::{ClientFrame, Format, Message, ServerFrame, frame::Attach};
use capably_server::{Server, ServerError};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{client_async, tungstenite::Error as WsError};

use engine::Scripted;
use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

async fn get(address: SocketAddr, target: &str) -> Answer {
    Http::connect_to(address).await.request("GET", target, &[], b"").await
}

/// The metrics by their names with labels.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics").await;
        assert_eq!(answer.status, 200);
        let kind = answer.header("content-type");
        assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = String::from_utf8(answer.body).unwrap();
        let values = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.strip_prefix("capably_").unwrap().to_owned(), value.parse().unwrap())
        });
        Self(values.collect())
    }

    /// Scrapes the metrics until the condition is true.
    async fn until(server: &Server, holds: impl Fn(&Self) -> bool) -> Self {
        let wait = async {
            loop {
                let scrape = Self::of(server.local_addr()).await;
                if holds(&scrape) {
                    return scrape;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the metrics never became so")
    }

    fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The values of a name that are not zero, by their label.
    fn by_label(&self, name: &str) -> Vec<(String, f64)> {
        let of_name = self.0.iter().filter_map(|(known, value)| {
            let label = known.strip_prefix(name)?.strip_prefix('{')?.strip_suffix("\"}")?;
            Some((label.split_once("=\"")?.1.to_owned(), *value))
        });
        of_name.filter(|(_, value)| *value != 0.0).collect()
    }
}

/// A server that does not disconnect a client that reads nothing.
async fn patient(max_queue: usize) -> Server {
    let builder = Server::builder().max_queue(max_queue);
    builder.max_idle_interval(Duration::from_secs(3600)).start().await.unwrap()
}

fn one(label: &str, value: f64) -> Vec<(String, f64)> {
    vec![(label.to_owned(), value)]
}

#[tokio::test]
async fn health_requests_need_no_credentials_and_are_not_counted() {
    let server = server().await;
    let mut http = Http::connect(&server).await;
    for (path, status) in [("/health/live", "live"), ("/health/ready", "ready")] {
        let answer = http.request("GET", path, &[], b"").await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "status": status })));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        // Requests with the key of an app are not counted, either.
        let answer = http.request("HEAD", path, &[basic(server.key())], b"").await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(http.request("POST", path, &[], b"").await.error(), (404, 40400));
    }
    assert_eq!(http.request("GET", "/health", &[], b"").await.error(), (404, 40400));
    let statistics = request(&server, "GET", "/stats", &Value::Null).await;
    assert_eq!(statistics.json(), json!([]));
    let scrape = Scrape::of(server.local_addr()).await;
    // Three refused REST requests, and the request for statistics.
    assert_eq!(scrape.by_label("requests_total"), [("2xx".into(), 1.0), ("4xx".into(), 3.0)]);
}

#[tokio::test]
async fn messages_and_bytes_are_counted_exactly() {
    const PUBLISHES: u64 = 40;
    const SUBSCRIBERS: usize = 3;
    for format in FORMATS {
        let server = server().await;
        let mut subscribers = Vec::new();
        let mut sent = 0;
        for _ in 0..SUBSCRIBERS {
            let (mut client, _) = Client::connect(&server, format).await;
            let attach = ClientFrame::Attach(Attach { channel: "a".into(), ..Attach::default() });
            sent += client.encode(&attach).len();
            client.attach("a").await;
            subscribers.push(client);
        }
        let before = Scrape::of(server.local_addr()).await;
        assert_eq!(before.get("connections"), 3.0);
        assert_eq!(before.get("connections_opened_total"), 3.0);
        assert_eq!((before.get("channels"), before.get("apps")), (1.0, 1.0));
        assert_eq!(before.get("messages_received_total{interface=\"realtime\"}"), 0.0);
        assert_eq!(before.get("received_bytes_total{interface=\"realtime\"}"), sent as f64);

        let (mut publisher, _) = Client::connect(&server, format).await;
        for msg_serial in 0..PUBLISHES {
            // Two messages in one frame count as two.
            let messages = vec![Message::new("n", "one"), Message::new("n", "two")];
            let frame = publish("a", msg_serial, messages);
            sent += publisher.encode(&frame).len();
            publisher.send(&frame).await;
        }
        let mut acknowledged = 0;
        while acknowledged < PUBLISHES {
            acknowledged += publisher.ack().await.count;
        }
        for subscriber in &mut subscribers {
            for _ in 0..PUBLISHES {
                subscriber.message().await;
            }
        }
        let after = Scrape::of(server.local_addr()).await;
        assert_eq!(after.get("messages_received_total{interface=\"realtime\"}"), 80.0);
        assert_eq!(after.get("messages_sent_total{interface=\"realtime\"}"), 240.0);
        assert_eq!(after.get("received_bytes_total{interface=\"realtime\"}"), sent as f64);
        assert_eq!(after.get("connections"), 4.0);
        assert_eq!(after.get("queue_bytes"), 0.0);
        assert_eq!(after.by_label("refused_total"), []);
    }
}

#[tokio::test]
async fn the_sent_bytes_equal_the_received_bytes() {
    for format in FORMATS {
        let server = server().await;
        let mut client = Client::open(&server, format, &format!("key={}", server.key())).await;
        let mut received = client.raw().await.len();
        client.publish("a", 0, vec![Message::new("n", "d")]).await;
        received += client.raw().await.len();
        let scrape = Scrape::of(server.local_addr()).await;
        assert_eq!(scrape.get("sent_bytes_total{interface=\"realtime\"}"), received as f64);
    }
}

#[tokio::test]
async fn rest_counts_its_messages_bodies_and_responses() {
    let server = server().await;
    let (mut subscriber, _) = Client::connect(&server, Format::Json).await;
    subscriber.attach("a").await;
    let mut bodies = (0, 0);
    let mut ask = async |target: &str, body: Value, status: u16| {
        let answer = request(&server, "POST", target, &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        bodies.0 += serde_json::to_vec(&body).unwrap().len();
        bodies.1 += answer.body.len();
    };
    ask("/channels/a/messages", json!([{ "data": "1" }, { "data": "2" }]), 201).await;
    ask("/messages", json!({ "channels": ["a", "b"], "messages": { "data": "3" } }), 201).await;
    ask("/channels/a/messages", json!({ "data": "x".repeat(65_537) }), 400).await;
    ask("/nowhere", json!({}), 404).await;
    for _ in 0..2 {
        subscriber.message().await;
    }
    let scrape = Scrape::of(server.local_addr()).await;
    assert_eq!(scrape.get("messages_received_total{interface=\"rest\"}"), 5.0);
    assert_eq!(scrape.get("messages_sent_total{interface=\"realtime\"}"), 3.0);
    assert_eq!(scrape.get("received_bytes_total{interface=\"rest\"}"), bodies.0 as f64);
    assert_eq!(scrape.get("sent_bytes_total{interface=\"rest\"}"), bodies.1 as f64);
    assert_eq!(scrape.by_label("requests_total"), [("2xx".into(), 2.0), ("4xx".into(), 2.0)]);
    assert_eq!(scrape.get("request_duration_seconds_count"), 4.0);
    assert_eq!(scrape.by_label("refused_total"), [("invalid".into(), 1.0), ("limit".into(), 1.0)]);
}

#[tokio::test]
async fn refusals_are_counted_by_their_reason() {
    for format in FORMATS {
        let server = Server::builder()
            .max_inbound_rate(2)
            .max_channels(1)
            .max_app_connections(1)
            .start()
            .await
            .unwrap();
        let refused = async |reason: &str, count: f64| {
            let scrape = Scrape::of(server.local_addr()).await;
            assert_eq!(scrape.get(&format!("refused_total{{reason=\"{reason}\"}}")), count);
        };
        let (mut client, _) = Client::connect(&server, format).await;
        client.attach("a").await;
        client.publish("a", 0, vec![Message::new("n", "d"); 2]).await;
        client.message().await;
        client.ack().await;
        for msg_serial in 1..4 {
            client.publish("a", msg_serial, vec![Message::new("n", "d")]).await;
            let ServerFrame::Nack(nack) = client.next().await else { panic!() };
            assert_eq!(nack.error.unwrap().code.0, 42911);
        }
        refused("rate", 3.0).await;
        let attach = Attach { channel: "b".into(), ..Attach::default() };
        client.send(&ClientFrame::Attach(attach)).await;
        let ServerFrame::Error(error) = client.next().await else { panic!() };
        assert_eq!(error.error.unwrap().code.0, 40114);
        refused("limit", 1.0).await;
        // The limit of the app is one connection.
        let query = format!("key={}", server.key());
        assert_eq!(Client::open(&server, format, &query).await.last_error().await, 40111);
        refused("limit", 2.0).await;
        let mut nobody = Client::open(&server, format, "key=nobody.key:secret").await;
        assert_eq!(nobody.last_error().await, 40400);
        refused("invalid", 1.0).await;
        let wrong = format!("key={}x", server.key());
        assert_eq!(Client::open(&server, format, &wrong).await.last_error().await, 40101);
        refused("credentials", 1.0).await;
        let scrape = Scrape::of(server.local_addr()).await;
        // Refused clients do not count as connected.
        assert_eq!(scrape.get("connections_opened_total"), 1.0);
        assert_eq!(scrape.by_label("connections_closed_total"), []);
    }
}

#[tokio::test]
async fn ended_connections_are_counted_by_their_reason() {
    for format in FORMATS {
        let server = server().await;
        let ended = async |reason: &str, expected: &[(&str, f64)]| {
            let closed = format!("connections_closed_total{{reason=\"{reason}\"}}");
            let scrape = Scrape::until(&server, |scrape| scrape.get(&closed) > 0.0).await;
            let expected: Vec<_> =
                expected.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect();
            assert_eq!(scrape.by_label("connections_closed_total"), expected);
        };
        let (mut client, _) = Client::connect(&server, format).await;
        client.send(&ClientFrame::Close).await;
        assert!(matches!(client.next().await, ServerFrame::Closed));
        ended("closed", &[("closed", 1.0)]).await;
        let (client, _) = Client::connect(&server, format).await;
        drop(client);
        ended("lost", &[("closed", 1.0), ("lost", 1.0)]).await;
        let (mut client, _) = Client::connect(&server, format).await;
        client.send_raw(b"nonsense").await;
        assert_eq!(client.last_error().await, 80013);
        ended("failed", &[("closed", 1.0), ("failed", 1.0), ("lost", 1.0)]).await;
        let scrape = Scrape::until(&server, |scrape| scrape.get("connections") == 0.0).await;
        assert_eq!(scrape.get("connections_opened_total"), 3.0);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_appears_in_the_queue_and_then_as_slow() {
    let server = patient(200_000).await;
    let (mut slow, _) = Client::connect(&server, Format::Json).await;
    slow.attach("a").await;
    let (mut publisher, _) = Client::connect(&server, Format::Json).await;
    let mut msg_serial = 0;
    let mut publish = async || {
        let message = Message::new("n", "x".repeat(60_000));
        publisher.publish("a", msg_serial, vec![message]).await;
        publisher.ack().await;
        msg_serial += 1;
        Scrape::of(server.local_addr()).await.get("queue_bytes")
    };
    // The socket buffers some megabytes before the queue grows.
    let mut queued = 0.0;
    while queued < 100_000.0 {
        queued = publish().await;
    }
    assert!(queued <= 200_000.0, "{queued}");
    for _ in 0..3 {
        publish().await;
    }
    while !matches!(slow.event().await, Event::End) {}
    let slow = |scrape: &Scrape| scrape.by_label("connections_closed_total") == one("slow", 1.0);
    Scrape::until(&server, slow).await;
}

#[tokio::test]
async fn a_commit_to_the_storage_is_timed() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::builder().data(directory.path()).start().await.unwrap();
    let before = Scrape::of(server.local_addr()).await.get("commit_duration_seconds_count");
    let headers = [basic(server.key())];
    let target = "/channels/a/messages";
    let mut http = Http::connect(&server).await;
    assert_eq!(http.request("POST", target, &headers, b"{}").await.status, 201);
    let after = Scrape::of(server.local_addr()).await;
    assert!(after.get("commit_duration_seconds_count") > before);
    assert!(after.get("commit_duration_seconds_sum") > 0.0);
    server.shutdown().await;
}

#[tokio::test]
async fn metrics_are_public_on_loopback_and_elsewhere_need_their_own_address() {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let loopback = |port: u16| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let server = Server::builder().bind(everywhere).start().await.unwrap();
    assert_eq!(server.metrics_addr(), None);
    assert_eq!(get(loopback(server.port()), "/metrics").await.error(), (404, 40400));
    assert_eq!(get(loopback(server.port()), "/health/ready").await.status, 200);

    for bind in [everywhere, Ipv4Addr::LOCALHOST.into()] {
        let builder = Server::builder().bind(bind).metrics(loopback(0));
        let server = builder.start().await.unwrap();
        assert_eq!(get(loopback(server.port()), "/metrics").await.error(), (404, 40400));
        let metrics = server.metrics_addr().unwrap();
        let scrape = Scrape::of(metrics).await;
        assert_eq!(scrape.get("ready"), 1.0);
        assert_eq!(scrape.by_label("requests_total"), one("4xx", 1.0), "its own do not count");
        assert_eq!(get(metrics, "/health/live").await.status, 200);
        // This address serves nothing else, and not the API for clients.
        assert_eq!(get(metrics, "/time").await.error(), (404, 40400));
        assert_eq!(get(metrics, "/").await.error(), (404, 40400));
        let taken = Server::builder().metrics(metrics).start().await.unwrap_err();
        assert!(matches!(taken, ServerError::Bind { address, .. } if address == metrics));
        server.shutdown().await;
        tokio::net::TcpListener::bind(metrics).await.unwrap();
    }
}

#[tokio::test]
async fn the_documentation_lists_every_metric() {
    let server = server().await;
    let text = get(server.local_addr(), "/metrics").await.body;
    let text = String::from_utf8(text).unwrap();
    let exposed = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut exposed: Vec<_> = exposed.map(|line| line.split(' ').next().unwrap()).collect();
    // The metric appears after the first report of an engine with several nodes.
    exposed.push("capably_lag_seconds");
    exposed.sort_unstable();
    let documentation = include_str!("../../../docs/operating.md");
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `capably_"));
    let mut documented: Vec<_> =
        rows.map(|row| format!("capably_{}", row.split('`').next().unwrap())).collect();
    documented.sort_unstable();
    assert_eq!(documented, exposed);
}

#[tokio::test]
async fn a_drained_client_receives_its_acknowledgements_and_can_reconnect_elsewhere() {
    for format in FORMATS {
        let server = server().await;
        let (mut client, _) = Client::connect(&server, format).await;
        client.attach("a").await;
        for msg_serial in 0..20 {
            client.publish("a", msg_serial, vec![Message::new("n", "d")]).await;
        }
        // The server has read at least the first of the frames.
        client.message().await;
        let read = async {
            let (mut acknowledged, mut delivered) = (0, 1);
            loop {
                match client.next().await {
                    ServerFrame::Ack(ack) => acknowledged += ack.count,
                    ServerFrame::Message(_) => delivered += 1,
                    ServerFrame::Disconnected { error } => {
                        let error = error.unwrap();
                        assert_eq!((error.code.0, error.status_code), (80003, 503));
                        assert!(matches!(client.event().await, Event::End));
                        return (acknowledged, delivered);
                    }
                    other => panic!("{other:?}"),
                }
            }
        };
        let drained = tokio::time::timeout(PATIENCE, async {
            tokio::join!(server.drain(Duration::from_secs(3600)), read).1
        });
        let (acknowledged, delivered) = drained.await.expect("one client takes no hour");
        assert_eq!(acknowledged, delivered);
        tokio::net::TcpListener::bind(server.local_addr()).await.unwrap();
    }
}

#[tokio::test]
async fn a_drain_waits_for_uncommitted_publishes() {
    for format in FORMATS {
        let engine = Arc::new(Scripted::default());
        let server = Server::builder().engine(engine.reopen()).start().await.unwrap();
        let namespaces = json!([{ "id": "kept", "persisted": true }]);
        let keys = app(&server, &json!({ "keys": [{}], "namespaces": namespaces })).await;
        let query = format!("key={}", keys[0]);
        let mut client = Client::open(&server, format, &query).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        engine.delay_commits(true);
        client.publish("kept:a", 0, vec![Message::new("n", "d")]).await;
        let received = "messages_received_total{interface=\"realtime\"}";
        Scrape::until(&server, |scrape| scrape.get(received) == 1.0).await;
        let look = async {
            // The server starts to disconnect connected clients in the same step in which it refuses new ones.
            while get(server.local_addr(), "/").await.status != 503 {}
            engine.delay_commits(false);
            assert_eq!(client.ack().await.msg_serial, 0);
            assert_eq!(client.last_error().await, 80003);
        };
        let both = async { tokio::join!(server.drain(Duration::from_secs(3600)), look) };
        tokio::time::timeout(PATIENCE, both).await.expect("the drain ends with its last client");
    }
}

#[tokio::test]
async fn a_draining_server_is_not_ready_and_refuses_connections() {
    let server = patient(50_000_000).await;
    let address = server.local_addr();
    // This client reads nothing, so that the drain has to wait for it.
    let (mut stuck, _) = Client::connect(&server, Format::MsgPack).await;
    stuck.attach("a").await;
    let (mut publisher, _) = Client::connect(&server, Format::MsgPack).await;
    for msg_serial in 0..300 {
        publisher.publish("a", msg_serial, vec![Message::new("n", "x".repeat(60_000))]).await;
        publisher.ack().await;
    }
    let drain = server.drain(Duration::from_secs(3600));
    let look = async {
        while get(address, "/health/ready").await.status == 200 {}
        assert_eq!(get(address, "/health/ready").await.json(), json!({ "status": "draining" }));
        assert_eq!(get(address, "/health/live").await.status, 200);
        Scrape::until(&server, |scrape| scrape.get("connections") == 1.0).await;
        assert_eq!(Scrape::of(address).await.get("ready"), 0.0);

        let url = format!("ws://{address}/?key={}", server.key());
        let stream = TcpStream::connect(address).await.unwrap();
        let Err(WsError::Http(refusal)) = client_async(url, stream).await else { panic!() };
        assert_eq!(refusal.status().as_u16(), 503);
        assert_eq!(refusal.headers()["x-ably-errorcode"], "80003");
        assert_eq!(refusal.headers()["connection"], "close");
        // REST still works, and the connection has ended.
        let answer = request(&server, "GET", "/channels/a", &Value::Null).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), Some("close"));
        let scrape = Scrape::of(address).await;
        assert_eq!(scrape.by_label("refused_total"), one("server", 1.0));
        assert_eq!(scrape.by_label("connections_closed_total"), one("disconnected", 1.0));
        while !matches!(stuck.event().await, Event::End) {}
    };
    let both = async { tokio::join!(drain, look) };
    tokio::time::timeout(PATIENCE, both).await.expect("the drain ends with its last client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_that_connects_at_the_start_of_a_drain_is_refused_or_drained() {
    for round in 0..50 {
        let server = server().await;
        let url = format!("ws://{}/?key={}", server.local_addr(), server.key());
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (url, address) = (url.clone(), server.local_addr());
                tokio::spawn(async move {
                    // The server may also have stopped already.
                    let Ok(stream) = TcpStream::connect(address).await else { return };
                    let Ok((mut socket, _)) = client_async(url, stream).await else { return };
                    while let Some(Ok(_)) = socket.next().await {}
                })
            })
            .collect();
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let drained = tokio::time::timeout(PATIENCE, server.drain(Duration::from_secs(3600)));
        drained.await.expect("the drain waits for a client that it has forgotten");
        for client in clients {
            client.await.unwrap();
        }
    }
}

#[tokio::test]
async fn clients_can_connect_during_the_notice_of_a_drain() {
    let notice = Duration::from_secs(30);
    let server = Server::builder().drain_notice(notice).start().await.unwrap();
    let drain = server.drain(Duration::from_secs(5));
    let look = async {
        while get(server.local_addr(), "/health/ready").await.status == 200 {}
        let (mut client, _) = Client::connect(&server, Format::Json).await;
        client.publish("a", 0, vec![Message::new("n", "d")]).await;
        client.ack().await;
        tokio::time::pause();
        tokio::time::advance(notice).await;
        tokio::time::resume();
        assert_eq!(client.last_error().await, 80003);
    };
    let both = async { tokio::join!(drain, look) };
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("the drain ends");
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let server = patient(50_000_000).await;
    let (mut stuck, _) = Client::connect(&server, Format::Json).await;
    stuck.attach("a").await;
    let (mut publisher, _) = Client::connect(&server, Format::Json).await;
    for msg_serial in 0..300 {
        publisher.publish("a", msg_serial, vec![Message::new("n", "x".repeat(60_000))]).await;
        publisher.ack().await;
    }
    tokio::time::pause();
    let started = tokio::time::Instant::now();
    server.drain(Duration::from_secs(20)).await;
    let took = started.elapsed().as_secs();
    // Twenty seconds for the drain, and three for the shutdown.
    assert!((20..=24).contains(&took), "{took}");
    tokio::net::TcpListener::bind(server.local_addr()).await.unwrap();
}

#[tokio::test]
async fn a_server_with_a_cancelled_drain_can_be_stopped() {
    let server = Server::builder().drain_notice(Duration::from_secs(3600)).start().await.unwrap();
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let drain = server.drain(Duration::from_secs(3600));
    let ready = async { while get(server.local_addr(), "/health/ready").await.status == 200 {} };
    tokio::select! {
        () = drain => panic!("the notice takes an hour"),
        () = ready => {}
    }
    let (_, code) = tokio::join!(server.shutdown(), client.last_error());
    assert_eq!(code, 80003);
}
