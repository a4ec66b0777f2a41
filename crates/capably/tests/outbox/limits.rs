//! The size of an outbox, and who may use it.

use std::{
    future::IntoFuture,
    sync::{Arc, RwLock},
};

use bytes::Bytes;
use capably::{
    ClientOptions, Realtime, Rest, Result,
    outbox::{
        MemoryOutbox, Outbox, OutboxChange, OutboxEntry, OutboxPolicy, OutboxUsage, WhenFull,
    },
};
use futures_util::FutureExt;

use crate::scene::{end, in_both_formats, outbox};

/// A store whose writes wait until the test lets them go on.
#[derive(Debug)]
struct SlowStore {
    store: MemoryOutbox,
    disk: Arc<RwLock<()>>,
}

impl Outbox for SlowStore {
    fn usage(&self) -> OutboxUsage {
        self.store.usage()
    }

    fn next_seq(&self) -> u64 {
        self.store.next_seq()
    }

    fn write(&mut self, changes: &[OutboxChange]) -> Result<()> {
        let _disk = self.disk.read().unwrap();
        self.store.write(changes)
    }

    fn read(&mut self, above: u64, entries: usize, bytes: usize) -> Result<Vec<OutboxEntry>> {
        self.store.read(above, entries, bytes)
    }

    fn refused(&mut self) -> Result<Vec<(OutboxEntry, Bytes)>> {
        self.store.refused()
    }

    fn sync(&mut self) -> Result<()> {
        self.store.sync()
    }
}

in_both_formats! {
    async fn publishes_that_wait_for_a_slow_disk_count_as_stored_ones(scene) {
        let payload = "x".repeat(400);
        for when_full in [WhenFull::Refuse, WhenFull::Wait] {
            let disk = Arc::new(RwLock::new(()));
            let store = SlowStore { store: MemoryOutbox::new(), disk: Arc::clone(&disk) };
            let policy = OutboxPolicy::new().max_bytes(1000).when_full(when_full);
            let options = scene.plain_options().outbox(store).outbox_policy(policy);
            let client = Realtime::new(options.auto_connect(false)).unwrap();
            let channel = client.channels().get("orders");
            let publish = |name: &str| channel.publish(name, payload.as_str()).into_future();
            let stuck = disk.write().unwrap();
            let (mut a, mut b, mut c, mut d) = (publish("a"), publish("b"), publish("c"), publish("d"));
            assert!((&mut a).now_or_never().is_none());
            assert!((&mut b).now_or_never().is_none());
            let (third, fourth) = ((&mut c).now_or_never(), (&mut d).now_or_never());
            if when_full == WhenFull::Refuse {
                // At once, and the memory has two.
                for refused in [third, fourth] {
                    assert_eq!(refused.unwrap().unwrap_err().code().0, 50004);
                }
                drop(stuck);
                a.await.unwrap();
                b.await.unwrap();
                assert_eq!(outbox(&client).metrics().accepted, 2);
            } else {
                assert!(third.is_none() && fourth.is_none());
                drop(stuck);
                a.await.unwrap();
                b.await.unwrap();
                // The first that waits is given up, and the next gets its room.
                drop(c);
                client.connection().connect();
                d.await.unwrap();
                outbox(&client).flush().await.unwrap();
                assert_eq!(outbox(&client).metrics().accepted, 3);
            }
            end(client).await;
        }
        assert_eq!(scene.names("orders").await, ["a", "b", "d"]);
    }
}

in_both_formats! {
    async fn a_publish_that_stops_waiting_lets_a_smaller_one_in(scene) {
        let policy = OutboxPolicy::new().max_bytes(1000).when_full(WhenFull::Wait);
        let options = scene.options().auto_connect(false).outbox_policy(policy);
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get("orders");
        channel.publish("first", "x".repeat(400)).await.unwrap();
        let mut large = channel.publish("large", "x".repeat(700)).into_future();
        let mut small = channel.publish("small", "x".repeat(100)).into_future();
        assert!((&mut large).now_or_never().is_none());
        assert!((&mut small).now_or_never().is_none(), "it does not overtake");
        drop(large);
        // Nothing else happens in the outbox.
        small.await.unwrap();
        let waiting = channel.publish("waits", "x".repeat(700)).into_future();
        let (result, ()) = tokio::join!(waiting, outbox(&client).close());
        assert_eq!(result.unwrap_err().code().0, 80017, "closing ends the wait");
    }
}

in_both_formats! {
    async fn a_full_outbox_refuses_or_waits_in_order(scene) {
        let policy = OutboxPolicy::new().max_bytes(1000);
        let options = scene.options().auto_connect(false).outbox_policy(policy.clone());
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get("orders");
        let payload = "x".repeat(400);
        for name in ["a", "b"] {
            channel.publish(name, payload.as_str()).await.unwrap();
        }
        let full = channel.publish("c", payload.as_str()).await.unwrap_err();
        assert_eq!((full.code().0, full.is_retryable()), (50004, true));
        assert_eq!(outbox(&client).metrics().waiting, 2);
        outbox(&client).close().await;

        let options = scene.options().auto_connect(false).outbox_policy(policy.when_full(WhenFull::Wait));
        let client = Realtime::new(options).unwrap();
        let channel = client.channels().get("orders");
        let mut first = channel.publish("c", payload.as_str()).into_future();
        let mut given_up = channel.publish("given up", payload.as_str()).into_future();
        let mut second = channel.publish("d", payload.as_str()).into_future();
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut given_up).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        // Nothing is accepted while there is no room: a later job was done by then.
        assert!(outbox(&client).refused().await.unwrap().is_empty());
        assert!((&mut first).now_or_never().is_none());
        drop(given_up);
        let too_large = channel.publish("e", "x".repeat(2000)).await.unwrap_err();
        assert_eq!(too_large.code().0, 50004, "it would wait for ever");

        client.connection().connect();
        first.await.unwrap();
        second.await.unwrap();
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn one_realtime_client_uses_an_outbox() {
    let options = ClientOptions::new("app.key:secret").auto_connect(false);
    let error = Rest::new(options.clone().outbox(MemoryOutbox::new())).unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.message().contains("REST"), "{error}");

    let with_outbox = options.clone().outbox(MemoryOutbox::new());
    let client = Realtime::new(with_outbox.clone()).unwrap();
    let error = Realtime::new(with_outbox).unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.message().contains("another client"), "{error}");
    assert!(client.outbox().is_some());

    let policy_alone = options.clone().outbox_policy(OutboxPolicy::new());
    assert_eq!(Realtime::new(policy_alone).unwrap_err().code().0, 40000);
    assert!(Realtime::new(options).unwrap().outbox().is_none());
}
