//! A store of the application, and stores that fail.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use capably::{
    Error, ErrorCode, Realtime, Result,
    outbox::{MemoryOutbox, Outbox, OutboxChange, OutboxEntry, OutboxUsage},
};

use crate::scene::{end, in_both_formats, outbox};

/// A store that cannot be written while its flag is set, and whose writes with some numbers find a full disk.
#[derive(Debug)]
struct Failing {
    store: MemoryOutbox,
    fails: Arc<AtomicBool>,
    full: Range<usize>,
    writes: usize,
}

impl Failing {
    fn new(store: MemoryOutbox, fails: &Arc<AtomicBool>) -> Self {
        Self { store, fails: Arc::clone(fails), full: 0..0, writes: 0 }
    }
}

impl Outbox for Failing {
    fn usage(&self) -> OutboxUsage {
        self.store.usage()
    }

    fn next_seq(&self) -> u64 {
        self.store.next_seq()
    }

    fn write(&mut self, changes: &[OutboxChange]) -> Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorCode::INTERNAL_ERROR, 0, "the store of the test fails"));
        }
        self.writes += 1;
        if self.full.contains(&(self.writes - 1)) {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(
                Error::new(ErrorCode::INTERNAL_ERROR, 0, "the disk is full").with_source(full)
            );
        }
        self.store.write(changes)
    }

    fn read(&mut self, above: u64, entries: usize, bytes: usize) -> Result<Vec<OutboxEntry>> {
        self.store.read(above, entries, bytes)
    }

    fn refused(&mut self) -> Result<Vec<(OutboxEntry, Bytes)>> {
        self.store.refused()
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}

in_both_formats! {
    async fn a_store_that_fails_refuses_publishes_and_goes_on_when_it_works_again(scene) {
        use capably_protocol::frame::Action;
        use capably_server::faults::Rule;
        use std::time::Duration;

        let fails = Arc::new(AtomicBool::new(false));
        let store = Failing::new(scene.store.clone(), &fails);
        let client = Realtime::connect(scene.plain_options().outbox(store)).await.unwrap();
        let channel = client.channels().get("orders");
        // The acknowledgement arrives while the store fails.
        scene.faults.add(Rule::to_client().action(Action::Ack).times(1).delay(Duration::from_millis(50)));
        let receipt = channel.publish("stored", ()).submit().await.unwrap();
        fails.store(true, Ordering::SeqCst);
        let error = channel.publish("refused", ()).await.unwrap_err();
        assert_eq!((error.code().0, error.message()), (50000, "the store of the test fails"));
        receipt.await.unwrap();
        assert_eq!(channel.publish("refused", ()).await.unwrap_err().code().0, 50000);
        assert_eq!(outbox(&client).metrics().waiting, 1, "the acknowledgement is not stored yet");

        fails.store(false, Ordering::SeqCst);
        outbox(&client).flush().await.unwrap();
        channel.publish("again", ()).await.unwrap();
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["stored", "again"]);
        assert_eq!(outbox(&client).metrics().accepted, 2);
        end(client).await;
    }
}

in_both_formats! {
    async fn a_disk_that_is_full_at_any_write_loses_and_repeats_nothing(scene) {
        for first in 0..8 {
            let name = format!("orders-{first}");
            let store = Failing { full: first..first + 2, ..Failing::new(MemoryOutbox::new(), &Arc::default()) };
            let client = Realtime::connect(scene.plain_options().outbox(store)).await.unwrap();
            let channel = client.channels().get(&*name);
            let mut accepted = Vec::new();
            for number in 0..6 {
                match channel.publish(number.to_string(), ()).await {
                    Ok(_) => accepted.push(number.to_string()),
                    Err(error) => assert_eq!((error.code().0, error.message()), (50000, "the disk is full")),
                }
            }
            outbox(&client).flush().await.unwrap();
            assert!(accepted.len() >= 4, "two writes failed");
            assert_eq!(scene.names(&name).await, accepted, "write {first}");
            assert_eq!(outbox(&client).metrics().waiting, 0);
            end(client).await;
        }
    }
}

in_both_formats! {
    async fn publishes_of_a_store_that_fails_to_mark_them_are_sent_later(scene) {
        let fails = Arc::new(AtomicBool::new(false));
        let store = Failing::new(scene.store.clone(), &fails);
        let client = Realtime::new(scene.plain_options().outbox(store).auto_connect(false)).unwrap();
        client.channels().get("orders").publish("kept", ()).await.unwrap();
        fails.store(true, Ordering::SeqCst);
        client.connection().connect();
        client.connection().when(capably::realtime::ConnectionState::Connected).await.unwrap();
        // The demand of the sender has failed once this is done.
        assert!(outbox(&client).refused().await.unwrap().is_empty());
        assert_eq!(outbox(&client).metrics().sent, 0, "what is not marked is not sent");
        fails.store(false, Ordering::SeqCst);
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["kept"]);
    }
}

in_both_formats! {
    async fn an_entry_that_is_not_readable_is_refused_and_the_others_go_on(scene) {
        let payload = Bytes::from_static(b"\xffof another version");
        let entry = OutboxEntry { seq: 1, accepted_at: 0, sent_at: None, payload };
        scene.store.clone().write(&[OutboxChange::Accept(entry)]).unwrap();
        let client = scene.client().await;
        client.channels().get("orders").publish("readable", ()).await.unwrap();
        outbox(&client).flush().await.unwrap();
        assert_eq!(scene.names("orders").await, ["readable"]);
        let refused = outbox(&client).refused().await.unwrap();
        assert_eq!((refused.len(), refused[0].seq, refused[0].error.code().0), (1, 1, 40013));
    }
}
