//! Objects that outlast their clients, their entries, their server and their node.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use capably_objects::{LiveCounter, Path, increment, set};
use capably_protocol::Format;
use capably_server::{
    Server,
    engine::{Bucket, ChannelId, Engine, Fact, Mesh},
};
use serde_json::json;

use super::{
    FORMATS,
    engine::{Fate, Scripted},
    gated::Gated,
    sharer::{Sharer, ids},
    support::{Http, basic},
};

const KEY: &str = "app-id.key:secret";

async fn expire(engine: &Scripted) {
    engine.expire(&ChannelId { app: "app-id".into(), name: "c".into() }).await;
}

async fn start(engine: Arc<dyn Engine>) -> Server {
    Server::builder().key(KEY).engine(engine).start().await.unwrap()
}

/// Waits for a while, without waiting for real.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

async fn snapshots(engine: &dyn Engine) -> Vec<Fact> {
    engine.facts(Bucket::Snapshots, "app-id/objects", None, 1000).await.unwrap()
}

/// Waits until the snapshots are others than those before.
async fn new_snapshot(engine: &dyn Engine, before: &[Fact]) -> Vec<Fact> {
    snapshots_that(engine, |found| found != before).await
}

/// Waits for snapshots of which this is true.
async fn snapshots_that(engine: &dyn Engine, is_true: impl Fn(&[Fact]) -> bool) -> Vec<Fact> {
    let found = async {
        loop {
            let found = snapshots(engine).await;
            if is_true(&found) {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::support::PATIENCE, found).await.expect("no such snapshot")
}

async fn edit(client: &mut Sharer, key: &str, value: impl Into<capably_objects::LiveValue>) {
    client.send(set("root", key, value, &mut ids()).unwrap()).await;
    client.receive().await;
    client.client.ack().await;
}

#[tokio::test]
async fn objects_outlast_their_entries_and_the_server() {
    for format in FORMATS {
        let engine = Arc::new(Scripted::default());
        let server = start(Arc::clone(&engine) as Arc<dyn Engine>).await;
        let mut client = Sharer::join(&server, format, "c").await;
        // More than one part of a snapshot.
        for number in 0..12 {
            edit(&mut client, &format!("k{number}"), "x".repeat(50_000)).await;
        }
        edit(&mut client, "votes", LiveCounter::new(1.0)).await;
        assert_eq!(snapshots(&*engine).await, []);
        pass(Duration::from_secs(61)).await;
        let first = new_snapshot(&*engine, &[]).await;
        assert!(first.len() >= 3, "{} parts", first.len());
        expire(&engine).await;
        // An entry after the snapshot.
        let votes = client.objects.pool().resolve(&Path::parse("votes")).unwrap();
        let votes = votes.object_id().unwrap().clone();
        client.send(vec![increment(votes, 5.0).unwrap()]).await;
        client.receive().await;
        client.client.ack().await;
        let expected = client.value();
        assert_eq!(expected["votes"], 6);
        drop(client);
        // Dropped, it writes no snapshot. The server that loads the later entry does.
        drop(server);
        let server = start(engine.reopen()).await;
        let client = Sharer::join(&server, format, "c").await;
        assert!(client.value() == expected, "{:?}", client.objects.pool());
        pass(Duration::from_secs(61)).await;
        let second = new_snapshot(&*engine, &first).await;
        expire(&engine).await;
        drop(client);
        server.shutdown().await;
        let server = start(engine.reopen()).await;
        let mut client = Sharer::join(&server, format, "c").await;
        assert!(client.value() == expected);
        // Snapshots before the last two are removed.
        edit(&mut client, "more", "text").await;
        pass(Duration::from_secs(61)).await;
        new_snapshot(&*engine, &second).await;
        snapshots_that(&*engine, |parts| parts.len() <= second.len()).await;
    }
}

#[tokio::test]
async fn a_server_that_ends_writes_its_objects() {
    let engine = Arc::new(Scripted::default());
    let server = start(engine.reopen()).await;
    let mut client = Sharer::join(&server, Format::Json, "c").await;
    edit(&mut client, "k", "v").await;
    drop(client);
    assert_eq!(snapshots(&*engine).await, []);
    server.shutdown().await;
    // It is down for days.
    let reopened = engine.reopen();
    expire(&engine).await;
    let server = start(reopened).await;
    let client = Sharer::join(&server, Format::MsgPack, "c").await;
    assert_eq!(client.value(), json!({"k": "v"}));
}

#[tokio::test]
async fn a_snapshot_of_a_newer_server_is_not_replaced() {
    let engine = Arc::new(Scripted::default());
    let newer = ("app-id/objects/c".to_owned(), Some(Bytes::from_static(b"\xff newer")));
    engine.set_facts(Bucket::Snapshots, vec![newer.clone()]).await.unwrap();
    let server = start(engine.reopen()).await;
    let mut client = Sharer::join(&server, Format::Json, "c").await;
    edit(&mut client, "k", "v").await;
    server.shutdown().await;
    engine.reopen();
    let stored = engine.fact(Bucket::Snapshots, &newer.0).await.unwrap();
    assert_eq!(stored, newer.1);
}

#[tokio::test]
async fn no_objects_are_left_of_a_deleted_app() {
    let engine = Arc::new(Scripted::default());
    let server = start(engine.reopen()).await;
    let mut client = Sharer::join(&server, Format::Json, "c").await;
    edit(&mut client, "k", "v").await;
    pass(Duration::from_secs(61)).await;
    new_snapshot(&*engine, &[]).await;
    let headers = [basic(KEY)];
    let answer =
        Http::connect(&server).await.request("DELETE", "/apps/app-id", &headers, b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(snapshots(&*engine).await, []);
}

/// Lets all tasks run until they wait for something.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_ends_waits_for_a_snapshot_that_is_being_written() {
    let engine = Arc::new(Scripted::default());
    let gate = Gated::new(engine.reopen());
    let server = start(Arc::clone(&gate) as Arc<dyn Engine>).await;
    let mut client = Sharer::join(&server, Format::Json, "c").await;
    edit(&mut client, "k", "v").await;
    drop(client);
    pass(Duration::from_secs(61)).await;
    gate.arrived(1).await;
    let ending = tokio::spawn(async move { server.shutdown().await });
    settle().await;
    assert!(!ending.is_finished());
    gate.open();
    ending.await.unwrap();
    let reopened = engine.reopen();
    assert_eq!(snapshots(&*engine).await.len(), 1);
    expire(&engine).await;
    let server = start(reopened).await;
    let client = Sharer::join(&server, Format::MsgPack, "c").await;
    assert_eq!(client.value(), json!({"k": "v"}));
}

#[tokio::test]
async fn a_server_ends_though_its_objects_cannot_be_stored() {
    let engine = Arc::new(Scripted::default());
    let server = start(engine.reopen()).await;
    let mut client = Sharer::join(&server, Format::Json, "c").await;
    edit(&mut client, "k", "v").await;
    drop(client);
    for _ in 0..20 {
        engine.next(Fate::Fail);
    }
    pass(Duration::from_secs(61)).await;
    settle().await;
    server.shutdown().await;
    engine.reopen();
    assert_eq!(snapshots(&*engine).await, [], "it tries once, and not until it succeeds");
}

#[tokio::test]
async fn no_objects_are_left_of_an_app_that_is_deleted_while_they_are_written() {
    let engine = Arc::new(Scripted::default());
    let gate = Gated::new(Arc::clone(&engine) as Arc<dyn Engine>);
    let server = start(Arc::clone(&gate) as Arc<dyn Engine>).await;
    let mut client = Sharer::join(&server, Format::Json, "c").await;
    edit(&mut client, "k", "v").await;
    pass(Duration::from_secs(61)).await;
    gate.arrived(1).await;
    let mut http = Http::connect(&server).await;
    let deleting =
        tokio::spawn(
            async move { http.request("DELETE", "/apps/app-id", &[basic(KEY)], b"").await },
        );
    settle().await;
    assert!(!deleting.is_finished());
    gate.open();
    assert_eq!(deleting.await.unwrap().status, 204);
    settle().await;
    assert_eq!(snapshots(&*engine).await, []);
}

#[tokio::test]
async fn a_node_leaves_no_objects_of_an_app_that_another_node_deletes() {
    let mesh = Mesh::new();
    let nodes = [mesh.node(), mesh.node()];
    let gate = Gated::new(Arc::clone(&nodes[0]) as Arc<dyn Engine>);
    let first = start(Arc::clone(&gate) as Arc<dyn Engine>).await;
    let second = start(Arc::clone(&nodes[1]) as Arc<dyn Engine>).await;
    let mut client = Sharer::join(&first, Format::MsgPack, "c").await;
    edit(&mut client, "k", "v").await;
    pass(Duration::from_secs(61)).await;
    gate.arrived(1).await;
    let headers = [basic(KEY)];
    let answer =
        Http::connect(&second).await.request("DELETE", "/apps/app-id", &headers, b"").await;
    assert_eq!(answer.status, 204);
    gate.open();
    settle().await;
    assert_eq!(snapshots(&*nodes[1]).await, []);
}

#[tokio::test]
async fn objects_outlast_their_channel_in_memory() {
    let engine = Arc::new(Scripted::default());
    let server = start(Arc::clone(&engine) as Arc<dyn Engine>).await;
    let mut client = Sharer::join(&server, Format::MsgPack, "c").await;
    edit(&mut client, "k", "v").await;
    drop(client);
    pass(Duration::from_secs(61)).await;
    new_snapshot(&*engine, &[]).await;
    expire(&engine).await;
    // Unused channels leave the memory within a few minutes.
    for _ in 0..10 {
        pass(Duration::from_secs(60)).await;
        tokio::task::yield_now().await;
    }
    let client = Sharer::join(&server, Format::Json, "c").await;
    assert_eq!(client.value(), json!({"k": "v"}));
}

#[tokio::test]
async fn clients_of_several_nodes_edit_one_tree() {
    let mesh = Mesh::new();
    let nodes = [mesh.node(), mesh.node(), mesh.node()];
    let first = start(Arc::clone(&nodes[0]) as Arc<dyn Engine>).await;
    let second = start(Arc::clone(&nodes[1]) as Arc<dyn Engine>).await;
    let mut ada = Sharer::join(&first, Format::Json, "c").await;
    let mut bo = Sharer::join(&second, Format::MsgPack, "c").await;
    ada.send(set("root", "votes", LiveCounter::new(1.0), &mut ids()).unwrap()).await;
    let delivery = ada.receive().await;
    ada.client.ack().await;
    assert_eq!(bo.receive().await, delivery);
    let votes = delivery.items[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    for _ in 0..10 {
        bo.send(vec![increment(&votes, 1.0).unwrap()]).await;
        bo.receive().await;
        bo.client.ack().await;
        ada.receive().await;
    }
    assert_eq!((ada.value(), bo.value()), (json!({"votes": 11}), json!({"votes": 11})));
    // The node of the newest entry is to write the snapshot, and is gone before. Another one writes it.
    edit(&mut bo, "last", "words").await;
    ada.receive().await;
    drop(bo);
    second.shutdown().await;
    pass(Duration::from_secs(61)).await;
    new_snapshot(&*nodes[0], &[]).await;
    let third = start(Arc::clone(&nodes[2]) as Arc<dyn Engine>).await;
    let late = Sharer::join(&third, Format::MsgPack, "c").await;
    assert_eq!(late.value(), json!({"votes": 11, "last": "words"}));
    assert_eq!(late.value(), ada.value());
}
