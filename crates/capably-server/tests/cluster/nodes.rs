//! Several engines with the same brokers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use capably_server::engine::{Announcement, Append, Bucket, Engine, Event, JetStream, Position};
use tokio::sync::Semaphore;

use crate::{
    brokers::{Brokers, Version},
    contract::{append, appended, channel, entry, everything, texts},
    proxy::Proxy,
    support::{Node, PATIENCE, builder},
};

async fn two(brokers: &Brokers) -> [Node; 2] {
    [Node::open(builder(brokers)).await, Node::open(builder(brokers)).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn all_nodes_see_one_order() {
    for version in [Version::Newest, Version::Oldest] {
        let brokers = Brokers::jetstream(version, 1);
        let nodes = two(&brokers).await;
        let before = appended(&*nodes[0], vec![entry("c", "0"), entry("c", "1")]).await;
        // One begins at the start, the other after the first entry.
        nodes[0].follow(&channel("c"), Position(0)).await.unwrap();
        nodes[1].follow(&channel("c"), before[0]).await.unwrap();
        let batch = |node: usize| {
            let entries = (0..300).map(move |number| entry("c", &format!("{node}:{number}")));
            entries.chain([entry("other", "not followed")]).collect()
        };
        let (first, second) =
            tokio::join!(appended(&*nodes[0], batch(0)), appended(&*nodes[1], batch(1)));
        assert!(first.is_sorted() && second.is_sorted());
        let last = nodes[0].bounds(&channel("c")).await.unwrap().1;
        let seen = [nodes[0].committed("c", last).await, nodes[1].committed("c", last).await];
        let stored = nodes[0].read(&channel("c"), everything()).await.unwrap();
        assert_eq!(stored.len(), 602);
        assert_eq!(texts(&seen[0]), texts(&stored));
        assert_eq!(texts(&seen[1]), texts(&stored[1..]));
        assert!(seen[0].is_sorted_by(|a, b| a.position < b.position));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_and_begins_again() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let [node, other] = two(&brokers).await;
    node.follow(&channel("c"), Position(0)).await.unwrap();
    let first = appended(&*other, vec![entry("c", "1")]).await[0];
    assert_eq!(texts(&node.committed("c", first).await), ["1"]);
    node.unfollow(&channel("c"));
    appended(&*other, vec![entry("c", "2")]).await;
    node.follow(&channel("c"), first).await.unwrap();
    let last = appended(&*other, vec![entry("c", "3")]).await[0];
    assert_eq!(texts(&node.committed("c", last).await), ["2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_committed_once_for_all_nodes() {
    let brokers = Brokers::jetstream(Version::Oldest, 1);
    let nodes = two(&brokers).await;
    let with_id = |payload| vec![Append { id: Some("same".into()), ..entry("c", payload) }];
    let (first, second) =
        tokio::join!(append(&*nodes[0], with_id("1")), append(&*nodes[1], with_id("2")));
    let (first, second) = (first[0].clone().unwrap(), second[0].clone().unwrap());
    assert_eq!(first.position, second.position);
    assert_ne!(first.repeated, second.repeated);
    let stored = nodes[0].read(&channel("c"), everything()).await.unwrap();
    assert_eq!(texts(&stored), [if first.repeated { "2" } else { "1" }]);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_are_shared_and_watched() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let nodes = two(&brokers).await;
    let changed = async |node: &Node, key: &str| {
        let change = node.expect(|event| match event {
            Event::FactChanged(bucket, found, value) if found == key => {
                Some((*bucket, value.clone()))
            }
            _ => None,
        });
        change.await
    };
    let value = Some(Bytes::from_static(b"v"));
    for bucket in [Bucket::Apps, Bucket::Revocations, Bucket::Push] {
        nodes[0].set_facts(bucket, vec![("k/ü".into(), value.clone())]).await.unwrap();
        assert_eq!(nodes[1].fact(bucket, "k/ü").await.unwrap(), value);
        for node in &nodes {
            assert_eq!(changed(node, "k/ü").await, (bucket, value.clone()));
        }
        nodes[1].set_facts(bucket, vec![("k/ü".into(), None)]).await.unwrap();
        for node in &nodes {
            assert_eq!(changed(node, "k/ü").await, (bucket, None));
        }
        assert!(nodes[0].facts(bucket, "", None, 10).await.unwrap().is_empty());
    }
    // Of two nodes that create the same fact, one does.
    for round in 0..20 {
        let key = format!("nonce {round}");
        let create = |node: usize| nodes[node].create_fact(Bucket::Apps, &key, Bytes::new());
        let (first, second) = tokio::join!(create(0), create(1));
        assert_ne!(first.unwrap(), second.unwrap());
    }
}

/// All nodes learn of the end of a lease when its time is over: also those that start shortly before.
async fn check_leases(version: Version) {
    let brokers = Brokers::jetstream(version, 1);
    let [node, other] = two(&brokers).await;
    let value = Some(Bytes::from_static(b"here"));
    let leases = vec![("ends".to_owned(), value.clone()), ("stays".to_owned(), value.clone())];
    node.set_facts(Bucket::Nodes, leases).await.unwrap();
    let start = Instant::now();
    let renewals = Semaphore::new(0);
    let renewed = async {
        let mut turns = tokio::time::interval(Duration::from_secs(3));
        loop {
            turns.tick().await;
            let lease = vec![("stays".to_owned(), value.clone())];
            node.set_facts(Bucket::Nodes, lease).await.unwrap();
            renewals.add_permits(1);
        }
    };
    let ended = async |node: &Node| {
        let key = node.expect(|event| match event {
            Event::FactChanged(Bucket::Nodes, key, None) => Some(key.clone()),
            _ => None,
        });
        assert_eq!(key.await, "ends");
        let after = start.elapsed();
        assert_eq!(node.fact(Bucket::Nodes, "ends").await.unwrap(), None);
        assert_eq!(node.fact(Bucket::Nodes, "stays").await.unwrap(), value);
        // Two seconds more than the promise, because other tests keep the machine busy.
        let ttl = Bucket::Nodes.ttl().unwrap();
        let range = ttl - Duration::from_millis(100)..ttl + Duration::from_secs(3);
        assert!(range.contains(&after), "{version:?}: ended after {after:?}");
    };
    let late = async {
        drop(renewals.acquire_many(3).await.unwrap());
        ended(&Node::open(builder(&brokers)).await).await;
    };
    tokio::select! {
        () = renewed => {}
        _ = async { tokio::join!(ended(&node), ended(&other), late) } => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_unless_it_is_renewed() {
    tokio::join!(check_leases(Version::Newest), check_leases(Version::Oldest));
}

fn announcement(payload: &'static str) -> Announcement {
    Announcement { node: "n".into(), payload: Bytes::from_static(payload.as_bytes()) }
}

/// The next announcement that a node receives.
async fn announced(node: &Node) -> Bytes {
    let payload = node.expect(|event| match event {
        Event::Announced(announcement) => Some(announcement.payload.clone()),
        _ => None,
    });
    payload.await
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_reach_the_others() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let nodes = two(&brokers).await;
    nodes[0].announce(announcement("of 0"));
    assert_eq!(announced(&nodes[1]).await, "of 0");
    nodes[1].announce(announcement("of 1"));
    // The first that node 0 hears is not its own.
    assert_eq!(announced(&nodes[0]).await, "of 1");
}

/// A node that is open receives announcements, however slow its way to the broker is.
#[tokio::test(flavor = "multi_thread")]
async fn announcements_reach_a_node_that_has_just_opened() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let proxy = Proxy::start(&brokers).await;
    proxy.delay(Duration::from_millis(100));
    let other = Node::open(builder(&brokers)).await;
    let node = Node::open(JetStream::builder([proxy.address.clone()]).open_timeout(PATIENCE)).await;
    other.announce(announcement("early"));
    // Without the early one, the node would hear this one first.
    appended(&*node, vec![entry("c", "1")]).await;
    other.announce(announcement("late"));
    assert_eq!(announced(&node).await, "early");
}

/// A channel that catches up slower than others write collects no more than its share of the memory, and misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_catches_up_while_many_entries_are_committed() {
    let brokers = Brokers::jetstream(Version::Newest, 1);
    let [node, other] = two(&brokers).await;
    let small = |from: usize| (from..from + 500).map(|it| entry("c", &it.to_string())).collect();
    for from in [0, 500, 1000, 1500] {
        appended(&*other, small(from)).await;
    }
    let large = "x".repeat(50_000);
    let engine = other.engine();
    let writer = tokio::spawn(async move {
        let mut last = Position(0);
        // Several times as much as a channel collects.
        for _ in 0..20 {
            let batch = (0..5).map(|_| entry("c", &large)).collect();
            last = *appended(&*engine, batch).await.last().unwrap();
        }
        last
    });
    node.follow(&channel("c"), Position(0)).await.unwrap();
    let last = writer.await.unwrap();
    let seen = node.committed("c", last).await;
    assert_eq!(seen.len(), 2100);
    assert!(seen.is_sorted_by(|a, b| a.position < b.position));
}
