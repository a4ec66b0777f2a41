//! Servers that are nodes of a cluster: what their clients see of brokers that are full, and which nodes are refused.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use capably_protocol::{Format, Message, ServerFrame};
use capably_server::{
    Server,
    engine::{Bucket, Engine, JetStream, JetStreamBuilder},
};
use serde_json::{Value, json};

use crate::{
    brokers::{Brokers, Version},
    clients::{Client, ask, refusal},
    support::{builder, request},
};

const KEY: &str = "app-id.key:secret";

/// A server with an engine.
async fn serve(engine: JetStreamBuilder) -> Server {
    let engine = Arc::new(engine.open().await.unwrap());
    Server::builder().key(KEY).engine(engine).start().await.unwrap()
}

/// A client that publishes to a channel, and remembers what became of it.
struct Publisher {
    client: Client,
    next: u64,
    acknowledged: BTreeSet<u64>,
}

impl Publisher {
    async fn connect(server: &Server) -> Self {
        let (client, _) = Client::connect(server, Format::MsgPack).await;
        Self { client, next: 0, acknowledged: BTreeSet::new() }
    }

    /// Publishes a message with its number as the name. Returns the code and the text of the refusal, if there is one.
    async fn publish(&mut self, size: usize) -> Option<(u32, String)> {
        let number = self.next;
        self.next += 1;
        let message = Message::new(number.to_string(), "x".repeat(size));
        self.client.publish("c", number, vec![message]).await;
        match self.client.next().await {
            ServerFrame::Ack(_) => {
                self.acknowledged.insert(number);
                None
            }
            ServerFrame::Nack(nack) => {
                let error = nack.error.unwrap();
                Some((error.code.0, error.message.to_string()))
            }
            other => panic!("expected ACK or NACK, got {other:?}"),
        }
    }

    /// Publishes until a refusal.
    async fn publish_until_refused(&mut self, size: usize) -> (u32, String) {
        for _ in 0..100 {
            if let Some(refused) = self.publish(size).await {
                return refused;
            }
        }
        panic!("the broker has room for all")
    }
}

/// The numbers of the messages in the history.
async fn history(server: &Server) -> BTreeSet<u64> {
    let target = "/channels/c/messages?limit=1000";
    let (answer, page) = ask(server, KEY, Format::Json, "GET", target, &Value::Null).await;
    assert_eq!(answer.status, 200);
    let names = page.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    names.map(|name| name.parse().unwrap()).collect()
}

/// A subscriber has got these messages, each once.
async fn check_received(subscriber: &mut Client, expected: &BTreeSet<u64>) {
    let mut received = Vec::new();
    for _ in 0..expected.len() {
        let delivery = subscriber.message().await;
        received.push(delivery.items[0].name.as_ref().unwrap().parse::<u64>().unwrap());
    }
    assert_eq!(received, expected.iter().copied().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_to_a_full_stream_are_refused_until_there_is_room() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::jetstream(version, 1);
        let server = serve(builder(&brokers).max_bytes(50_000)).await;
        let (mut subscriber, _) = Client::connect(&server, Format::Json).await;
        subscriber.attach("c").await;
        let mut publisher = Publisher::connect(&server).await;
        let (code, text) = publisher.publish_until_refused(8_000).await;
        assert_eq!((code, &*text), (50000, "the storage of the server is full"));
        assert!(publisher.acknowledged.len() > 2);
        let body = json!({"name": "rest", "data": "x".repeat(8_000)});
        let target = "/channels/c/messages";
        let asked = ask(&server, KEY, Format::Json, "POST", target, &body).await;
        assert_eq!(refusal(&asked), (500, 50000));
        assert_eq!(history(&server).await, publisher.acknowledged);

        let info = request(&brokers, "STREAM.INFO.capably_log", &json!({})).await;
        let mut config = info["config"].clone();
        config["max_bytes"] = json!(1_000_000);
        let updated = request(&brokers, "STREAM.UPDATE.capably_log", &config).await;
        assert!(updated["error"].is_null(), "{updated}");
        for _ in 0..3 {
            assert_eq!(publisher.publish(8_000).await, None);
        }
        assert_eq!(history(&server).await, publisher.acknowledged);
        check_received(&mut subscriber, &publisher.acknowledged).await;
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_to_a_full_broker_are_refused_until_there_is_room() {
    let limit = |size: &str| {
        format!(
            "jetstream {{ max_file_store: {size} }}
             accounts {{ A {{ jetstream: enabled, users: [{{ user: u, password: p }}] }} }}"
        )
    };
    let mut brokers = Brokers::configured(Version::Newest, &limit("120K"));
    let addresses = brokers.addresses().into_iter().map(|it| it.replace("://", "://u:p@"));
    let server = serve(JetStream::builder(addresses)).await;
    let mut publisher = Publisher::connect(&server).await;
    let (code, _) = publisher.publish_until_refused(8_000).await;
    assert_eq!(code, 50000);
    let mut refused = BTreeSet::from([publisher.next - 1]);
    // Refused again and again, and never acknowledged.
    for _ in 0..3 {
        assert!(publisher.publish(8_000).await.is_some());
        refused.insert(publisher.next - 1);
    }
    assert_eq!(history(&server).await, publisher.acknowledged);

    brokers.configure(&limit("10M"));
    brokers.end(0);
    brokers.run(0);
    // The node connects again by itself. A publish that it cannot commit within ten seconds is refused.
    while publisher.publish(8_000).await.is_some() {
        refused.insert(publisher.next - 1);
        assert!(refused.len() < 20, "the node does not work again");
    }
    let stored = history(&server).await;
    assert!(stored.is_superset(&publisher.acknowledged));
    assert!(stored.difference(&publisher.acknowledged).all(|number| refused.contains(number)));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_is_refused() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let start = async |secret: Option<&str>| {
        let engine = Arc::new(builder(&brokers).open().await.unwrap());
        let server = Server::builder().key(KEY).engine(engine);
        match secret {
            Some(secret) => server.cluster_secret(secret),
            None => server,
        }
        .start()
        .await
    };
    let first = start(Some("s3cret-one")).await.unwrap();
    for other in [Some("s3cret-two"), None] {
        let error = start(other).await.map(drop).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("start") && text.contains("with the same one"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
    // The others go on.
    let second = start(Some("s3cret-one")).await.unwrap();
    let (mut client, _) = Client::connect(&second, Format::Json).await;
    client.attach("c").await;
    let mut publisher = Publisher::connect(&first).await;
    assert_eq!(publisher.publish(10).await, None);
    check_received(&mut client, &publisher.acknowledged).await;
}

/// The lease of a node has the time by its clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_an_hour_off_is_refused() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let engine = Arc::new(builder(&brokers).open().await.unwrap());
    let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let hour = i64::try_from(Duration::from_secs(3600).as_millis()).unwrap();
    let start = || {
        let engine = Arc::clone(&engine) as Arc<dyn Engine>;
        Server::builder().key(KEY).engine(engine).start()
    };
    let other = async |time: i64| {
        let lease = json!({"time": time, "version": "0"}).to_string();
        let lease = ("0000000000000007".to_owned(), Some(lease.into()));
        engine.set_facts(Bucket::Nodes, vec![lease]).await.unwrap();
    };
    for (time, difference) in [(now - hour, "by 360"), (now + hour, "by -3")] {
        other(time).await;
        let error = start().await.map(drop).unwrap_err().to_string();
        assert!(error.contains("the clock of this machine differs"), "{error}");
        assert!(error.contains(difference) && error.contains("NTP"), "{error}");
        assert!(error.contains("0000000000000007"), "{error}");
    }
    other(now).await;
    start().await.unwrap();
}
