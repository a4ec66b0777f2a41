//! Starting with brokers that are away, refuse, or have other data.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use capably_server::engine::{Append, Engine, EngineError, JetStream, JetStreamBuilder};
use serde_json::json;

use crate::{
    brokers::{Brokers, Version, free_ports},
    contract::{append, appended, channel, entry, everything, texts},
    proxy::Proxy,
    support::{builder, open, request},
};

const SHORT: Duration = Duration::from_secs(2);

async fn refused(builder: JetStreamBuilder) -> EngineError {
    builder.open().await.map(drop).unwrap_err()
}

/// The engine gives up when its time is over, and names the address.
async fn check_gives_up(address: String) {
    let start = Instant::now();
    let error = refused(JetStream::builder([address.clone()]).open_timeout(SHORT)).await;
    assert!(start.elapsed() < 2 * SHORT, "{:?}", start.elapsed());
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(address.trim_start_matches("nats://")), "{text}");
    assert!(text.contains("check"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away() {
    let port = free_ports(1)[0];
    let address = format!("nats://user:s3cret@127.0.0.1:{port}");
    let error = refused(JetStream::builder([address]).open_timeout(SHORT)).await;
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("nats-server"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_do_not_answer() {
    // It accepts connections, as the system does that for it, and is silent.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    check_gives_up(format!("nats://{}", silent.local_addr().unwrap())).await;

    let brokers = Brokers::jetstream(Version::Newest, 1);
    let proxy = Proxy::start(&brokers).await;
    drop(open(&brokers).await);
    // It answers each request in time, but all together take too long.
    proxy.delay(Duration::from_millis(150));
    check_gives_up(proxy.address.clone()).await;
    proxy.delay(Duration::ZERO);
    drop(JetStream::builder([proxy.address.clone()]).open().await.unwrap());
    brokers.pause(0);
    check_gives_up(brokers.addresses().remove(0)).await;
    brokers.resume(0);
    drop(open(&brokers).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials() {
    let brokers = Brokers::start(Version::Newest, 1, &["-js", "--user", "u", "--pass", "right"]);
    drop(builder(&brokers).user_and_password("u", "right").open().await.unwrap());
    for builder in [builder(&brokers), builder(&brokers).user_and_password("u", "s3cret")] {
        let error = refused(builder).await.to_string();
        assert!(error.contains("refuse the credentials") && !error.contains("s3cret"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_is_off() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::start(version, 1, &[]);
        let error = refused(builder(&brokers).open_timeout(SHORT)).await.to_string();
        assert!(error.contains("JetStream is off") && error.contains("-js"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_brokers() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let error = refused(builder(&brokers).replicas(3).open_timeout(SHORT)).await.to_string();
    assert!(error.contains("fewer replicas"), "{error}");
    drop(open(&brokers).await);
    let error = refused(builder(&brokers).replicas(3)).await.to_string();
    assert!(error.contains("has 1 replicas, not 3"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_another_version() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    for (prefix, description, part) in [
        ("new", "capably log; version 2; created 1", "has version 2, this server knows 1"),
        ("alien", "mine", "not made by this server"),
    ] {
        let (name, subjects) = (format!("{prefix}_log"), [format!("{prefix}.log.>")]);
        let config = json!({ "name": name, "description": description, "subjects": subjects });
        request(&brokers, &format!("STREAM.CREATE.{name}"), &config).await;
        let error = refused(builder(&brokers).prefix(prefix)).await;
        assert!(matches!(error, EngineError::Version(_)), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let config = json!({
        "name": "old_nodes",
        "description": "capably facts; version 0",
        "subjects": ["old.fact.nodes.>"],
    });
    request(&brokers, "STREAM.CREATE.old_nodes", &config).await;
    let error = refused(builder(&brokers).prefix("old")).await.to_string();
    assert!(error.contains("has version 0, this server knows 1"), "{error}");
    assert!(error.contains("another prefix"), "{error}");
}

/// Somebody has changed a stream so that it would not keep its promises.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_foreign_settings() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::jetstream(version, 1);
        drop(open(&brokers).await);
        for (stream, field, value) in [
            ("capably_log", "duplicate_window", json!(1_000_000_000)),
            ("capably_log", "max_age", json!(200_000_000_000_u64)),
            ("capably_log", "discard", json!("old")),
            ("capably_log", "subjects", json!(["capably.log.>", "more"])),
            ("capably_log", "no_ack", json!(true)),
            ("capably_apps", "max_age", json!(200_000_000_000_u64)),
            ("capably_push", "max_msgs_per_subject", json!(5)),
        ] {
            let info = request(&brokers, &format!("STREAM.INFO.{stream}"), &json!({})).await;
            let before = &info["config"];
            let mut changed = before.clone();
            changed[field] = value;
            let update = async |config| {
                let operation = format!("STREAM.UPDATE.{stream}");
                let answer = request(&brokers, &operation, config).await;
                assert!(answer["error"].is_null(), "{version:?} {field}: {answer}");
            };
            update(&changed).await;
            let error = refused(builder(&brokers)).await;
            assert!(matches!(error, EngineError::Version(_)), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(stream) && text.contains(field), "{text}");
            assert!(text.contains("undo that change"), "{text}");
            update(before).await;
            drop(open(&brokers).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_version() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let engine = open(&brokers).await;
    appended(&engine, vec![entry("c", "1")]).await;
    let stored = request(&brokers, "STREAM.MSG.GET.capably_log", &json!({ "seq": 1 })).await;
    let subject = stored["message"]["subject"].as_str().unwrap().to_owned();
    let payload = STANDARD.decode(stored["message"]["data"].as_str().unwrap()).unwrap();
    let newer = [&[9], &payload[1..]].concat();
    brokers.client().await.request(subject, newer.into()).await.unwrap();
    let error = engine.read(&channel("c"), everything()).await.unwrap_err();
    assert!(matches!(error, EngineError::Version(_)), "{error:?}");
    assert!(error.to_string().contains("form 9"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_too_large() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let engine = open(&brokers).await;
    let batch = vec![entry("c", "1"), entry("c", &"x".repeat(2_000_000)), entry("c", "2")];
    let results = append(&engine, batch).await;
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("max_payload"), "{error}");
    assert_eq!(texts(&engine.read(&channel("c"), everything()).await.unwrap()), ["1", "2"]);
}

/// The stream stores entries for as long as the longest asks for; with a new broker, others go earlier.
#[tokio::test(flavor = "multi_thread")]
async fn entries_are_stored_as_long_as_they_ask() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let engine = open(&brokers).await;
    let days = |days: u64| Duration::from_secs(days * 24 * 3600);
    let with_keep = |keep, payload: &str| Append { keep, ..entry("c", payload) };
    let batch = vec![
        with_keep(Duration::ZERO, "short"),
        with_keep(days(3), "long"),
        with_keep(days(1), "medium"),
    ];
    let positions = appended(&engine, batch).await;
    let stream = request(&brokers, "STREAM.INFO.capably_log", &json!({})).await;
    assert_eq!(stream["config"]["max_age"], json!(days(3).as_nanos() as u64));
    let mut turns = tokio::time::interval(Duration::from_millis(100));
    let left = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            turns.tick().await;
            let left = engine.read(&channel("c"), everything()).await.unwrap();
            if left.len() < 3 {
                return left;
            }
        }
    });
    let left = left.await.expect("the short entry is removed");
    assert_eq!(texts(&left), ["long", "medium"]);
    let (floor, last) = engine.bounds(&channel("c")).await.unwrap();
    assert!(floor >= positions[0] && floor < positions[1]);
    assert_eq!(last, positions[2]);
}
