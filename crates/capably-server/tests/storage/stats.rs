//! Statistics: counted in memory, stored about once a minute and at the end, and added over nodes.

use std::{sync::Arc, time::Duration};

use capably_protocol::Format;
use capably_server::{
    Server,
    engine::{Bucket, Engine, Memory},
};
use serde_json::{Value, json};

use super::{
    Place,
    engine::{Fate, Scripted},
    spec,
    support::{Http, app, ask, basic, refusal},
};

const PUBLISHED: &str = "messages.inbound.rest.messages.count";

async fn publish(server: &Server, key: &str, format: Format, count: usize) {
    for _ in 0..count {
        let body = json!({"data": "12345"});
        let asked = ask(server, key, format, "POST", "/channels/c/messages", &body).await;
        assert_eq!(asked.0.status, 201);
    }
}

/// The sum of a metric over everything that is read.
async fn sum(server: &Server, key: &str, format: Format, query: &str, metric: &str) -> f64 {
    let target = format!("/stats?limit=1000&{query}");
    let (answer, stats) = ask(server, key, format, "GET", &target, &Value::Null).await;
    assert_eq!(answer.status, 200, "{stats}");
    let stats = stats.as_array().unwrap();
    stats.iter().filter_map(|interval| interval["entries"][metric].as_f64()).sum()
}

async fn start(memory: &Arc<Memory>) -> Server {
    memory.reopen();
    Server::builder().engine(Arc::clone(memory) as Arc<dyn Engine>).start().await.unwrap()
}

#[tokio::test]
async fn counts_go_on_after_a_restart() {
    for format in [Format::Json, Format::MsgPack] {
        for place in Place::all() {
            let server = place.start().await;
            let key = app(&server, &spec()).await.remove(0);
            publish(&server, &key, format, 3).await;
            let past = json!([{
                "intervalId": "2024-02-03:15:04",
                "inbound": {"rest": {"messages": {"count": 100, "data": 7}}},
            }]);
            assert_eq!(ask(&server, &key, format, "POST", "/stats", &past).await.0.status, 201);
            server.shutdown().await;

            let mut total = 103.0;
            for count in [2, 5] {
                let server = place.start().await;
                assert_eq!(sum(&server, &key, format, "", PUBLISHED).await, total);
                publish(&server, &key, format, count).await;
                total += count as f64;
                for unit in ["minute", "hour", "day", "month"] {
                    let query = format!("unit={unit}");
                    assert_eq!(
                        sum(&server, &key, format, &query, PUBLISHED).await,
                        total,
                        "{unit}"
                    );
                }
                server.shutdown().await;
            }
        }
    }
}

#[tokio::test]
async fn what_other_nodes_have_stored_is_added() {
    let format = Format::Json;
    let memory = Arc::new(Memory::new());
    let server = start(&memory).await;
    let key = app(&server, &spec()).await.remove(0);
    publish(&server, &key, format, 3).await;
    let (id, _) = key.split_once('.').unwrap();
    let fact = |interval: &str, node: &str, count: u64| {
        let value = json!({"inboundRest": {"messages": {"count": count, "data": count}}});
        (format!("{id}/{interval}/{node}"), Some(value.to_string().into()))
    };
    let posted = |interval: &str, count: u64| {
        let value = json!({ PUBLISHED: count });
        (format!("{id}/{interval}/"), Some(value.to_string().into()))
    };
    let facts = vec![
        fact("2024-01", "b", 1000),
        fact("2024-02-03", "b", 100),
        fact("2024-02-03:15:04", "b", 10),
        fact("2024-02-03:15:04", "c", 20),
        posted("2024-02-03:15:05", 4),
        // Its own are in memory, and what is not readable is left out.
        fact("2024-02-03:15:04", "local", 9999),
        (format!("{id}/2024-02-03:15:04/d"), Some("x".into())),
        (format!("{id}/yesterday/b"), Some("{}".into())),
    ];
    memory.set_facts(Bucket::Stats, facts).await.unwrap();
    for (query, expected) in [
        ("", 37.0),
        ("unit=day", 137.0),
        ("unit=month", 1137.0),
        ("unit=minute&start=2024-02-03:15:04&end=2024-02-03:15:04", 30.0),
        ("unit=day&start=2024-02-03:15:04&end=2024-02-03:15:04", 130.0 + 4.0),
        ("unit=month&start=2024-02-03:15:04", 137.0),
        ("unit=minute&end=2024-02", 34.0),
    ] {
        assert_eq!(sum(&server, &key, format, query, PUBLISHED).await, expected, "{query}");
    }
    server.shutdown().await;
}

#[tokio::test]
async fn statistics_are_stored_once_a_minute() {
    let memory = Arc::new(Memory::new());
    let server = start(&memory).await;
    let key = app(&server, &spec()).await.remove(0);
    publish(&server, &key, Format::Json, 3).await;
    let stored = async || memory.facts(Bucket::Stats, "", None, 10).await.unwrap();
    assert!(stored().await.is_empty());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    while stored().await.is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    // Killed: nothing more is stored.
    drop(server);
    let server = start(&memory).await;
    assert_eq!(sum(&server, &key, Format::Json, "", PUBLISHED).await, 3.0);
    server.shutdown().await;
}

#[tokio::test]
async fn posted_statistics_are_refused_when_they_are_not_stored() {
    let engine = Arc::new(Scripted::default());
    let server = Server::builder().engine(engine.reopen()).start().await.unwrap();
    let past = json!([{
        "intervalId": "2024-02-03:15:04",
        "inbound": {"rest": {"messages": {"count": 100, "data": 7}}},
    }]);
    for format in [Format::Json, Format::MsgPack] {
        engine.next(Fate::Fail);
        let asked = ask(&server, server.key(), format, "POST", "/stats", &past).await;
        assert_eq!(refusal(&asked), (500, 50000));
        assert_eq!(sum(&server, server.key(), format, "", PUBLISHED).await, 0.0);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn no_statistics_are_left_of_a_deleted_app() {
    let memory = Arc::new(Memory::new());
    let server = start(&memory).await;
    let key = app(&server, &spec()).await.remove(0);
    publish(&server, &key, Format::Json, 1).await;
    server.shutdown().await;
    let server = start(&memory).await;
    publish(&server, &key, Format::Json, 1).await;
    let (id, _) = key.split_once('.').unwrap();
    let own = format!("{id}/");
    assert_eq!(memory.facts(Bucket::Stats, &own, None, 10).await.unwrap().len().min(1), 1);
    let target = format!("/apps/{id}");
    let answer = Http::connect(&server).await.request("DELETE", &target, &[basic(&key)], b"").await;
    assert_eq!(answer.status, 204);
    server.shutdown().await;
    memory.reopen();
    assert!(memory.facts(Bucket::Stats, &own, None, 10).await.unwrap().is_empty());
}
