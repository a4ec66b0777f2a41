//! An engine that holds up snapshots before they are written.

use std::{ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use capably_server::engine::{
    Announcement, Append, Bucket, ChannelId, Completion, Engine, Entry, Fact, Listener, Pending,
    Position, Range, Thread,
};
use tokio::sync::watch;

/// Another engine, behind a gate for snapshots.
#[derive(Debug)]
pub(crate) struct Gated {
    engine: Arc<dyn Engine>,
    is_open: watch::Sender<bool>,
    /// The number of snapshots that have come to the gate.
    waiting: watch::Sender<usize>,
}

impl Gated {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Arc<Self> {
        let (is_open, waiting) = (watch::Sender::new(false), watch::Sender::new(0));
        Arc::new(Self { engine, is_open, waiting })
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Waits until so many snapshots have come to the gate.
    pub(crate) async fn arrived(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let arrived = waiting.wait_for(|it| *it >= count);
        let arrived = tokio::time::timeout(super::support::PATIENCE, arrived).await;
        arrived.expect("no snapshot is written").expect("the engine is there");
    }
}

impl Engine for Gated {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        self.engine.append(entries, done);
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.engine.read(channel, range)
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        self.engine.threads(channel, messages, after, limit)
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        self.engine.seek(channel, time)
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        self.engine.bounds(channel)
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        self.engine.fact(bucket, key)
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        self.engine.facts(bucket, prefix, after, limit)
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        let is_snapshot = bucket == Bucket::Snapshots && facts.iter().any(|it| it.1.is_some());
        Box::pin(async move {
            if is_snapshot {
                self.waiting.send_modify(|it| *it += 1);
                let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
            }
            self.engine.set_facts(bucket, facts).await
        })
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        self.engine.create_fact(bucket, key, value)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.engine.close()
    }

    fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    fn listen(&self, listener: Listener) {
        self.engine.listen(listener);
    }

    fn follow<'a>(&'a self, channel: &'a ChannelId, after: Position) -> Pending<'a, ()> {
        self.engine.follow(channel, after)
    }

    fn unfollow(&self, channel: &ChannelId) {
        self.engine.unfollow(channel);
    }

    fn announce(&self, announcement: Announcement) {
        self.engine.announce(announcement);
    }
}
