//! The smallest and largest values of every time, size and count of the server. Nothing panics or hangs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::Duration;

use capably_protocol::{Format, Message, ServerFrame, frame::Action};
use capably_server::{
    Builder, Server,
    faults::{Faults, Rule},
};
use futures_util::StreamExt;
use tokio::time::timeout;

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// The time limit of each step.
const LIMIT: Duration = Duration::from_secs(20);

/// An option's name, and how it is set.
type Setting<T> = (&'static str, fn(Builder, T) -> Builder);

/// Every option that is a time.
fn times() -> Vec<Setting<Duration>> {
    vec![
        ("connection_state_ttl", Builder::connection_state_ttl),
        ("max_idle_interval", Builder::max_idle_interval),
        ("presence_remain", Builder::presence_remain),
    ]
}

/// Every option that is a size or a count.
fn counts() -> Vec<Setting<usize>> {
    vec![
        ("max_message_size", Builder::max_message_size),
        ("max_frame_size", Builder::max_frame_size),
        ("resume_buffer frames", |builder, frames| builder.resume_buffer(frames, 1 << 20)),
        ("resume_buffer bytes", |builder, bytes| builder.resume_buffer(1 << 10, bytes)),
        ("max_queue", Builder::max_queue),
        ("max_presence_members", Builder::max_presence_members),
        ("max_inbound_rate", |builder, rate| {
            builder.max_inbound_rate(u32::try_from(rate).unwrap_or(u32::MAX))
        }),
        ("max_apps", Builder::max_apps),
        ("max_connections", Builder::max_connections),
        ("max_app_connections", Builder::max_app_connections),
        ("max_channels", Builder::max_channels),
        ("max_request_rate", |builder, rate| {
            builder.max_request_rate(u32::try_from(rate).unwrap_or(u32::MAX))
        }),
        ("max_log_bytes", Builder::max_log_bytes),
        ("max_objects", Builder::max_objects),
        ("max_objects_bytes", Builder::max_objects_bytes),
    ]
}

/// Publishes a message over a new connection to this server, and returns the answer.
async fn publish(server: &Server, format: Format) -> ServerFrame {
    let mut client = Client::open(server, format, &format!("key={}", server.key())).await;
    let connected = client.next().await;
    assert!(matches!(connected, ServerFrame::Connected(_)), "{connected:?}");
    client.publish("ch", 0, vec![Message::new("n", "d")]).await;
    client.next().await
}

// Spec: TO3l
#[tokio::test]
async fn the_largest_values_do_not_affect_a_client() {
    let mut servers: Vec<(&str, Builder)> = Vec::new();
    for (name, set) in times() {
        servers.push((name, set(builder(), Duration::MAX)));
    }
    for (name, set) in counts() {
        servers.push((name, set(builder(), usize::MAX)));
    }
    for (name, builder) in servers {
        let server = builder.start().await.unwrap();
        for format in FORMATS {
            let answer = timeout(LIMIT, publish(&server, format)).await.expect(name);
            assert!(matches!(answer, ServerFrame::Ack(_)), "{name}: {answer:?}");
        }
        timeout(LIMIT, server.shutdown()).await.expect(name);
    }
}

#[tokio::test]
async fn the_smallest_values_are_refused_at_the_start_or_work() {
    let mut servers: Vec<(String, Builder)> = Vec::new();
    for (name, set) in times() {
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(1)] {
            servers.push((format!("{name} {time:?}"), set(builder(), time)));
        }
    }
    for (name, set) in counts() {
        for count in [0, 1] {
            servers.push((format!("{name} {count}"), set(builder(), count)));
        }
    }
    let mut refused = Vec::new();
    for (name, builder) in servers {
        let Ok(server) = builder.start().await else {
            refused.push(name);
            continue;
        };
        for format in FORMATS {
            let query = format!("key={}", server.key());
            let mut client = Client::open(&server, format, &query).await;
            // CONNECTED, or the error.
            timeout(LIMIT, client.next()).await.expect(&name);
        }
        timeout(LIMIT, server.shutdown()).await.expect(&name);
    }
    assert_eq!(refused, ["max_idle_interval 0ns"]);
}

#[tokio::test]
async fn the_longest_delay_affects_only_its_frame() {
    for format in FORMATS {
        let faults = Faults::new();
        let server = builder().faults(&faults).start().await.unwrap();
        faults.add(Rule::after(Duration::MAX).disconnect());
        faults.add(Rule::to_client().action(Action::Ack).times(1).delay(Duration::MAX));
        let mut delayed = Client::open(&server, format, &format!("key={}", server.key())).await;
        let connected = delayed.next().await;
        assert!(matches!(connected, ServerFrame::Connected(_)), "{connected:?}");
        delayed.publish("ch", 0, vec![Message::new("n", "d")]).await;
        timeout(LIMIT, faults.wait_until(|log| log.entries().count() > 3)).await.unwrap();
        let answer = timeout(LIMIT, publish(&server, format)).await.unwrap();
        assert!(matches!(answer, ServerFrame::Ack(_)), "{answer:?}");
        timeout(LIMIT, server.shutdown()).await.unwrap();
    }
}

#[tokio::test]
async fn the_smallest_and_largest_counts_of_a_rule_are_applied() {
    for format in FORMATS {
        for (name, rule, applies) in [
            ("no first one", Rule::to_client().nth(0), false),
            ("the first", Rule::to_client().nth(1), true),
            ("none", Rule::to_client().nth(u64::MAX), false),
            ("never", Rule::to_client().times(0), false),
            ("once", Rule::to_client().times(1), true),
            ("always", Rule::to_client().times(u64::MAX), true),
        ] {
            let faults = Faults::new();
            let server = builder().faults(&faults).start().await.unwrap();
            faults.add(rule.action(Action::Ack).disconnect());
            let mut client = Client::open(&server, format, &format!("key={}", server.key())).await;
            let connected = client.next().await;
            assert!(matches!(connected, ServerFrame::Connected(_)), "{connected:?}");
            client.publish("ch", 0, vec![Message::new("n", "d")]).await;
            let acknowledged = timeout(LIMIT, client.socket.next()).await.expect(name);
            assert_eq!(acknowledged.is_some_and(|frame| frame.is_ok()), !applies, "{name}");
            timeout(LIMIT, server.shutdown()).await.expect(name);
        }
    }
}
