//! An engine that holds up snapshots before they are written.

use std::sync::Arc;

use bytes::Bytes;
use capably_server::engine::{
    Announcement, Append, Bucket, ChannelId, Completion, Engine, Entry, Fact, Listener, Pending,
    Position, Range, Thread,
};
use tokio::sync::watch;

use super::engine::forward;

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
    forward!(engine: append read threads seek bounds fact facts create_fact close);

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
