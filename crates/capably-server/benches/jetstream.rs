//! The JetStream engine beside bare publishing to the same stream, on three brokers of this machine:
//!
//! ```text
//! cargo bench -p capably-server --features cluster --bench jetstream
//! ```
//!
//! It prints the rates of pipelined appends, then the latency of single ones: from the publish to the acknowledgement for
//! bare publishing, and from the append on one node to the event on another for the engine. Both take turns.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, dead_code)]

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use capably_server::engine::{
    Append, ChannelId, Completion, Engine, Event, JetStream, Kind, Position,
};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

#[path = "../tests/cluster/brokers.rs"]
mod brokers;

const IN_FLIGHT: usize = 1024;
const ENTRIES: usize = 30_000;
const ROUNDS: usize = 5;
const SINGLE: usize = 2000;
const TURN: usize = 200;

#[tokio::main]
async fn main() {
    let brokers = brokers::Brokers::jetstream(brokers::Version::Newest, 3);
    let open = || {
        JetStream::builder(brokers.addresses()).replicas(3).open_timeout(Duration::from_secs(60))
    };
    let (node, other) = (open().open().await.unwrap(), open().open().await.unwrap());
    let bare = brokers.client().await;

    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (bare, engine) = (bare_rate(&bare).await, engine_rate(&node).await);
        ratios.push(engine / bare);
        println!("bare {bare:.0}/s, engine {engine:.0}/s, {:.2}", engine / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("pipelined: engine is {:.2} of bare", ratios[ROUNDS / 2]);

    let (sender, mut events) = mpsc::unbounded_channel();
    other.listen(Box::new(move |event| {
        if let Event::Committed(_, entry) = event {
            let _ = sender.send((entry.position, Instant::now()));
        }
    }));
    other.follow(&entry("latency").channel, Position(0)).await.unwrap();
    let (mut acknowledged, mut delivered) = (Vec::new(), Vec::new());
    for _ in 0..SINGLE / TURN {
        for _ in 0..TURN {
            let started = Instant::now();
            bare.request("capably.log.bare", payload()).await.unwrap();
            acknowledged.push(started.elapsed());
        }
        for _ in 0..TURN {
            let started = Instant::now();
            node.append(vec![entry("latency")], Box::new(drop));
            let (_, at) = events.recv().await.unwrap();
            delivered.push(at - started);
        }
    }
    for (title, times) in [("bare acknowledged", &mut acknowledged), ("delivered", &mut delivered)]
    {
        times.sort();
        println!("{title}: p50 {:?}, p99 {:?}", times[SINGLE / 2], times[SINGLE * 99 / 100]);
    }
    node.close().await.unwrap();
    other.close().await.unwrap();
}

/// Publishes with as many messages under way, and counts the acknowledgements.
async fn bare_rate(bare: &async_nats::Client) -> f64 {
    let started = Instant::now();
    let inbox = bare.new_inbox();
    let mut acknowledgements = bare.subscribe(inbox.clone()).await.unwrap();
    let mut waiting = 0;
    for _ in 0..ENTRIES {
        if waiting == IN_FLIGHT {
            acknowledgements.next().await.unwrap();
            waiting -= 1;
        }
        bare.publish_with_reply("capably.log.bare", inbox.clone(), payload()).await.unwrap();
        waiting += 1;
    }
    for _ in 0..waiting {
        acknowledgements.next().await.unwrap();
    }
    ENTRIES as f64 / started.elapsed().as_secs_f64()
}

async fn engine_rate(engine: &JetStream) -> f64 {
    let started = Instant::now();
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    for _ in 0..ENTRIES {
        let permit = Arc::clone(&room).acquire_owned().await.unwrap();
        let done: Completion = Box::new(move |results| {
            assert!(results[0].is_ok(), "{results:?}");
            drop(permit);
        });
        engine.append(vec![entry("rate")], done);
    }
    drop(room.acquire_many(IN_FLIGHT as u32).await.unwrap());
    ENTRIES as f64 / started.elapsed().as_secs_f64()
}

fn entry(channel: &str) -> Append {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Append {
        channel: ChannelId { app: "app".into(), name: channel.into() },
        id: None,
        kind: Kind::Messages,
        threads: Vec::new(),
        time: now.as_millis() as i64,
        keep: Duration::from_secs(120),
        payload: payload(),
    }
}

fn payload() -> Bytes {
    Bytes::from_static(&[b'x'; 300])
}
