//! Brokers that are slow, or stop for a while.

use std::time::Duration;

use bytes::Bytes;
use capably_server::engine::{Bucket, Engine, EngineError, Event, JetStream, Position};

use crate::{
    brokers::{Brokers, Version},
    contract::{append, appended, channel, entry, everything, texts},
    proxy::Proxy,
    support::{Node, PATIENCE, builder},
};

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// An answer takes 1.4 s: longer than the pause between two fences of a recovery.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_broker_commits() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let proxy = Proxy::start(&brokers).await;
    let node = JetStream::builder([proxy.address.clone()]).append_timeout(PATIENCE);
    let node = Node::open(node.open_timeout(PATIENCE)).await;
    node.follow(&channel("c"), Position(0)).await.unwrap();
    proxy.delay(Duration::from_millis(700));
    let entries = |range| numbers(range).iter().map(|text| entry("c", text)).collect::<Vec<_>>();
    appended(&*node, entries(0..100)).await;
    // The connection is lost with entries under way, so that the engine has to find out what was committed.
    let (result, ()) = tokio::join!(appended(&*node, entries(100..200)), async {
        proxy.cut();
        proxy.restore();
    });
    node.set_facts(Bucket::Apps, vec![("k".into(), Some(Bytes::new()))]).await.unwrap();
    let stored = node.read(&channel("c"), everything()).await.unwrap();
    assert_eq!(texts(&stored), numbers(0..200));
    assert_eq!(texts(&node.committed("c", result[99]).await), numbers(0..200));
}

/// A broker that is silent for a while is noticed, though its connections stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stops_for_a_while() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::jetstream(version, 1);
        let node = Node::open(builder(&brokers).append_timeout(Duration::from_secs(3))).await;
        node.follow(&channel("c"), Position(0)).await.unwrap();
        appended(&*node, vec![entry("c", "1")]).await;
        brokers.pause(0);
        let (appended_meanwhile, set, read) = tokio::join!(
            append(&*node, vec![entry("c", "2")]),
            node.set_facts(Bucket::Apps, vec![("k".into(), Some(Bytes::new()))]),
            async { node.read(&channel("c"), everything()).await }
        );
        for error in
            [appended_meanwhile[0].clone().unwrap_err(), set.unwrap_err(), read.unwrap_err()]
        {
            assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
            assert!(error.to_string().contains("check that most brokers run"), "{error}");
        }
        node.expect(|event| matches!(event, Event::Lost).then_some(())).await;
        brokers.resume(0);
        node.expect(|event| matches!(event, Event::Regained).then_some(())).await;
        let last = appended(&*node, vec![entry("c", "3")]).await[0];
        // It is unknown whether the refused entry is committed; if so, it is so once and in its place.
        let stored = node.read(&channel("c"), everything()).await.unwrap();
        assert!([&["1", "3"][..], &["1", "2", "3"]].contains(&&*texts(&stored)), "{stored:?}");
        assert_eq!(node.committed("c", last).await, stored);
    }
}
