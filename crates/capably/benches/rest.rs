//! Latency of a publish over REST: a client publishes messages one after the other through the embedded server. In the
//! same run, the bare HTTP library sends the same requests over a separate connection.
//!
//! `cargo bench -p capably --bench rest [-- requests]`. The ratio is the result: the
//! client's latency relative to that of the library.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its figures, and fails by panicking"
)]

use std::time::{Duration, Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use capably::{ClientOptions, Data, Message, Rest};
use capably_protocol::{Format, codec};
use capably_server::Server;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

const ROUNDS: usize = 9;
const SIZE: usize = 300;
const CHANNEL: &str = "bench";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let requests = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let requests = requests.unwrap_or(1000);
    println!(
        "{requests} messages of {SIZE} bytes a round, one after the other; medians over {ROUNDS} \
         interleaved rounds"
    );
    // The server has a thread of its own, as it would elsewhere.
    let server_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = server_runtime.spawn(Server::builder().start()).await.unwrap().unwrap();
    for format in [Format::MsgPack, Format::Json] {
        let options = ClientOptions::new(server.key())
            .endpoint(server.endpoint())
            .port(server.port())
            .tls(false)
            .use_binary_protocol(format == Format::MsgPack);
        let ours = Rest::new(options).unwrap();
        let bare = Bare::new(&server, format);
        let mut latencies = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let of_ours = through_ours(&ours, requests).await;
            let of_bare = through_bare(&bare, round, requests).await;
            // The first round opens connections and warms caches.
            if round > 0 {
                latencies[0].push(of_ours);
                latencies[1].push(of_bare);
            }
        }
        let [ours, bare] = latencies.map(median);
        println!(
            "publish, {:<8} {:>6.1} µs   bare HTTP {:>6.1} µs   ratio {:.2}",
            name(format),
            ours.as_secs_f64() * 1e6,
            bare.as_secs_f64() * 1e6,
            ours.as_secs_f64() / bare.as_secs_f64()
        );
    }
    // A runtime must not be dropped in asynchronous code.
    server_runtime.shutdown_background();
}

/// The median latency of publishes.
async fn through_ours(rest: &Rest, requests: usize) -> Duration {
    let channel = rest.channels().get(CHANNEL);
    let mut latencies = Vec::with_capacity(requests);
    for _ in 0..requests {
        let start = Instant::now();
        channel.publish("event", payload()).await.unwrap();
        latencies.push(start.elapsed());
    }
    median(latencies)
}

/// The bare HTTP library, and the messages that it sends.
struct Bare {
    client: Client<HttpConnector, Full<Bytes>>,
    url: String,
    authorization: String,
    format: Format,
}

impl Bare {
    fn new(server: &Server, format: Format) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let authority = format!("{}:{}", server.endpoint(), server.port());
        Self {
            client: Client::builder(TokioExecutor::new()).build(tcp),
            url: format!("http://{authority}/channels/{CHANNEL}/messages"),
            authorization: format!("Basic {}", BASE64_STANDARD.encode(server.key())),
            format,
        }
    }
}

/// The median latency of the same requests, their bodies made beforehand.
async fn through_bare(bare: &Bare, round: usize, requests: usize) -> Duration {
    let bodies: Vec<Bytes> = (0..requests)
        .map(|n| {
            // As long as the ids of the SDK, and unique: a repeated id would cost the server less.
            let id = format!("{:_<8}{round:02}{n:06}:0", name(bare.format)).into();
            let message = Message { id: Some(id), ..Message::new("event", payload()) };
            codec::encode_messages(bare.format, &[message]).into()
        })
        .collect();
    let mut latencies = Vec::with_capacity(requests);
    for body in bodies {
        let start = Instant::now();
        let request = Request::post(&bare.url)
            .header("X-Ably-Version", "6")
            .header("Ably-Agent", "capably-rust/0.1.0 linux")
            .header("Accept", bare.format.content_type())
            .header("Content-Type", bare.format.content_type())
            .header("Authorization", &bare.authorization)
            .body(Full::new(body))
            .unwrap();
        let response = bare.client.request(request).await.unwrap();
        assert_eq!(response.status(), 201);
        response.into_body().collect().await.unwrap();
        latencies.push(start.elapsed());
    }
    median(latencies)
}

fn name(format: Format) -> &'static str {
    match format {
        Format::MsgPack => "msgpack",
        Format::Json => "json",
    }
}

fn payload() -> Data {
    Data::from("x".repeat(SIZE))
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}
