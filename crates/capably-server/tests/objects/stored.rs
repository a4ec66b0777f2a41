//! Objects that outlast their clients, their entries, their server and their node.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use capably_objects::{LiveCounter, Path, increment, set};
use capably_protocol::Format;
use capably_server::{
    Server,
    engine::{
        Append, Bucket, ChannelId, Completion, Engine, Entry, Fact, Memory, Mesh, Pending,
        Position, Range, Thread,
    },
};
use serde_json::json;

use super::{
    FORMATS,
    sharer::{Sharer, ids},
};

const KEY: &str = "app-id.key:secret";

/// An engine in memory whose entries a test can let expire.
#[derive(Debug, Default)]
struct Expiring {
    memory: Memory,
    floor: AtomicU64,
}

impl Expiring {
    /// Lets all entries of the channel expire.
    async fn expire(&self, channel: &str) {
        let channel = ChannelId { app: "app-id".into(), name: channel.into() };
        let (_, last) = self.memory.bounds(&channel).await.unwrap();
        self.floor.store(last.0, Ordering::SeqCst);
    }

    fn floor(&self) -> Position {
        Position(self.floor.load(Ordering::SeqCst))
    }
}

impl Engine for Expiring {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        self.memory.append(entries, done);
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.memory.read(channel, Range { after: range.after.max(self.floor()), ..range })
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        self.memory.threads(channel, messages, after, limit)
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        self.memory.seek(channel, time)
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        Box::pin(async move {
            let (floor, last) = self.memory.bounds(channel).await?;
            Ok((floor.max(self.floor()), last))
        })
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        self.memory.fact(bucket, key)
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        self.memory.facts(bucket, prefix, after, limit)
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        self.memory.set_facts(bucket, facts)
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        self.memory.create_fact(bucket, key, value)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.memory.close()
    }
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
    let changed = async {
        loop {
            let found = snapshots(engine).await;
            if found != before {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::support::PATIENCE, changed).await.expect("no snapshot")
}

async fn edit(client: &mut Sharer, key: &str, value: impl Into<capably_objects::LiveValue>) {
    client.send(set("root", key, value, &mut ids()).unwrap()).await;
    client.receive().await;
    client.client.ack().await;
}

#[tokio::test]
async fn objects_outlast_their_entries_and_the_server() {
    for format in FORMATS {
        let engine = Arc::new(Expiring::default());
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
        engine.expire("c").await;
        // An entry after the snapshot.
        let votes = client.objects.pool().resolve(&Path::parse("votes")).unwrap();
        let votes = votes.object_id().unwrap().clone();
        client.send(vec![increment(votes, 5.0).unwrap()]).await;
        client.receive().await;
        client.client.ack().await;
        let expected = client.value();
        assert_eq!(expected["votes"], 6);
        drop(client);
        server.shutdown().await;
        engine.memory.reopen();
        let server = start(Arc::clone(&engine) as Arc<dyn Engine>).await;
        let client = Sharer::join(&server, format, "c").await;
        assert!(client.value() == expected, "{:?}", client.objects.pool());
        // The server that has loaded the later entry writes it to the next snapshot, as the server before may not have.
        pass(Duration::from_secs(61)).await;
        let second = new_snapshot(&*engine, &first).await;
        engine.expire("c").await;
        drop(client);
        server.shutdown().await;
        engine.memory.reopen();
        let server = start(Arc::clone(&engine) as Arc<dyn Engine>).await;
        let mut client = Sharer::join(&server, format, "c").await;
        assert!(client.value() == expected);
        // Snapshots before the last two are removed.
        edit(&mut client, "more", "text").await;
        pass(Duration::from_secs(61)).await;
        let third = new_snapshot(&*engine, &second).await;
        assert!(third.len() <= second.len(), "{} parts", third.len());
    }
}

#[tokio::test]
async fn objects_outlast_their_channel_in_memory() {
    let engine = Arc::new(Expiring::default());
    let server = start(Arc::clone(&engine) as Arc<dyn Engine>).await;
    let mut client = Sharer::join(&server, Format::MsgPack, "c").await;
    edit(&mut client, "k", "v").await;
    drop(client);
    pass(Duration::from_secs(61)).await;
    new_snapshot(&*engine, &[]).await;
    engine.expire("c").await;
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
