//! A storage that fails while the server runs.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex},
};

use capably_protocol::{
    ClientFrame, Flags, Format, Message, PresenceAction, PresenceMessage, ServerFrame,
    frame::{Attach, Publish},
};
use capably_server::{
    Server,
    storage::{Change, Memory, Storage, StorageError},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};

use super::{
    spec,
    support::{Client, Event, Http, PATIENCE, app, ask, basic, serials},
};

/// A storage in memory that does what it is told to.
#[derive(Debug, Default)]
struct Unreliable {
    memory: Memory,
    /// What becomes of the next commits; those after them succeed.
    script: Mutex<VecDeque<Fate>>,
    /// Set while nothing is committed.
    held: Mutex<bool>,
    changed: Condvar,
    /// How many commits have begun.
    begun: watch::Sender<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fail,
    Panic,
}

impl Unreliable {
    fn next(&self, fate: Fate) {
        self.script.lock().unwrap().push_back(fate);
    }

    fn hold(&self, hold: bool) {
        *self.held.lock().unwrap() = hold;
        self.changed.notify_all();
    }

    fn commits(&self) -> usize {
        *self.begun.borrow()
    }

    /// Waits until so many commits have begun.
    async fn commit_begins(&self, count: usize) {
        timeout(PATIENCE, self.begun.subscribe().wait_for(|begun| *begun >= count))
            .await
            .expect("nothing is stored")
            .unwrap();
    }
}

impl Storage for Unreliable {
    fn load(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), StorageError> {
        self.memory.load(each)
    }

    fn commit(&self, changes: &[Change]) -> Result<(), StorageError> {
        self.begun.send_modify(|begun| *begun += 1);
        drop(self.changed.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
        let fate = self.script.lock().unwrap().pop_front();
        match fate {
            None => self.memory.commit(changes),
            Some(Fate::Panic) => panic!("as the test wants it"),
            Some(Fate::Fail) => Err(StorageError::Io {
                action: "write".into(),
                source: io::ErrorKind::StorageFull.into(),
            }),
        }
    }
}

async fn start(storage: &Arc<Unreliable>) -> Server {
    Server::builder().storage(Arc::clone(storage) as Arc<dyn Storage>).start().await.unwrap()
}

async fn history(server: &Server, key: &str, format: Format) -> Vec<Value> {
    let target = "/channels/c/messages?direction=forwards";
    let (answer, history) = ask(server, key, format, "GET", target, &Value::Null).await;
    assert_eq!(answer.status, 200);
    history.as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_forgotten() {
    for format in [Format::Json, Format::MsgPack] {
        for fate in [Fate::Fail, Fate::Panic] {
            let storage = Arc::new(Unreliable::default());
            let server = start(&storage).await;
            let (mut subscriber, connected) = Client::connect(&server, format).await;
            let attached = subscriber.attach("c").await;
            let (mut publisher, _) = Client::connect(&server, format).await;
            publisher.publish("c", 0, vec![Message::new("m", "kept")]).await;
            publisher.ack().await;
            let kept = subscriber.message().await;

            storage.next(fate);
            publisher.publish("c", 1, vec![Message::new("m", "lost")]).await;
            let ServerFrame::Nack(nack) = publisher.next().await else { panic!("no NACK") };
            assert_eq!((nack.msg_serial, nack.count), (1, 1));
            let error = nack.error.unwrap();
            assert_eq!((error.code.0, error.status_code), (50000, 500));
            // Nobody has seen it, and nobody will.
            assert_eq!(publisher.last_error().await, 50000);
            assert_eq!(subscriber.last_error().await, 50000);
            assert_eq!(history(&server, server.key(), format).await, ["kept"]);

            // Those who come back get a new connection, and miss nothing.
            let key = connected.details.unwrap().connection_key.unwrap();
            let (mut subscriber, connected) =
                Client::connect_with(&server, format, &format!("resume={key}")).await;
            assert_eq!(connected.error.unwrap().code.0, 80018);
            let attach = Attach { channel_serial: kept.channel_serial, ..attach() };
            assert!(subscriber.attach_with(attach).await.flags.contains(Flags::RESUMED));
            let (mut publisher, _) = Client::connect(&server, format).await;
            publisher.publish("c", 0, vec![Message::new("m", "later")]).await;
            let serial = serials(&publisher.ack().await).remove(0);
            assert!(serial.as_str() > &*attached.channel_serial.unwrap());
            let later = subscriber.message().await;
            assert_eq!(later.items[0].serial.as_deref(), Some(&*serial));
            assert_eq!(history(&server, server.key(), format).await, ["kept", "later"]);
            server.shutdown().await;

            let server = start(&storage).await;
            assert_eq!(history(&server, server.key(), format).await, ["kept", "later"]);
            server.shutdown().await;
        }
    }
}

fn attach() -> Attach {
    Attach { channel: "c".into(), ..Attach::default() }
}

#[tokio::test]
async fn a_request_over_rest_fails_with_its_storage() {
    for format in [Format::Json, Format::MsgPack] {
        let storage = Arc::new(Unreliable::default());
        let server = start(&storage).await;
        let key = app(&server, &spec()).await.remove(0);
        let publish = async |data: &str| {
            let body = json!({"data": data});
            ask(&server, &key, format, "POST", "/channels/c/messages", &body).await
        };
        assert_eq!(publish("one").await.0.status, 201);
        storage.next(Fate::Fail);
        let (answer, body) = publish("two").await;
        assert_eq!((answer.status, &body["error"]["code"]), (500, &json!(50000)));
        assert_eq!(answer.header("x-ably-errorcode"), Some("50000"));
        assert_eq!(history(&server, &key, format).await, ["one"]);
        assert_eq!(publish("three").await.0.status, 201);
        assert_eq!(history(&server, &key, format).await, ["one", "three"]);

        // A change that is not stored has not happened, either.
        let body = json!({"data": "original"});
        let target = "/channels/mutable:a/messages";
        let (_, published) = ask(&server, &key, format, "POST", target, &body).await;
        let serial = published["serials"][0].as_str().unwrap().replace('@', "%40");
        let message = format!("{target}/{serial}");
        let annotations = format!("{message}/annotations");
        let annotation = json!([{"action": 0, "type": "r:total.v1"}]);
        ask(&server, &key, format, "POST", &annotations, &annotation).await;
        let (_, before) = ask(&server, &key, format, "GET", &message, &Value::Null).await;
        assert_eq!(before["annotations"]["summary"]["r:total.v1"]["total"], 1);
        let change = json!({"action": 1, "data": "changed"});
        for (method, target, body) in
            [("PATCH", &message, &change), ("POST", &annotations, &annotation)]
        {
            storage.next(Fate::Fail);
            let (answer, _) = ask(&server, &key, format, method, target, body).await;
            assert_eq!(answer.status, 500, "{method}");
        }
        let (_, after) = ask(&server, &key, format, "GET", &message, &Value::Null).await;
        assert_eq!(after, before);

        // Nor is there an app that is not stored.
        storage.next(Fate::Fail);
        let body = serde_json::to_vec(&spec()).unwrap();
        let headers = ["Content-Type: application/json".to_owned()];
        let answer = Http::connect(&server).await.request("POST", "/apps", &headers, &body).await;
        assert_eq!(answer.error(), (500, 50000));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn nothing_is_told_before_it_is_stored_and_what_waits_is_stored_together() {
    for format in [Format::Json, Format::MsgPack] {
        let storage = Arc::new(Unreliable::default());
        let server = start(&storage).await;
        let (mut subscriber, _) = Client::connect(&server, format).await;
        subscriber.attach("c").await;
        let (mut publisher, _) = Client::connect(&server, format).await;

        let before = storage.commits();
        storage.hold(true);
        for msg_serial in 0..100 {
            publisher.publish("c", msg_serial, vec![Message::new("m", "x")]).await;
        }
        // What is asked for later is answered later: the answer would tell of the messages.
        publisher.send(&ClientFrame::Attach(attach())).await;
        storage.commit_begins(before + 1).await;
        let held = |storage: &Arc<Unreliable>| *storage.held.lock().unwrap();
        let reading = {
            let (storage, headers) = (Arc::clone(&storage), [basic(server.key())]);
            let mut http = Http::connect(&server).await;
            tokio::spawn(async move {
                let answer = http.request("GET", "/channels/c/messages", &headers, b"").await;
                (answer, held(&storage))
            })
        };
        let delivering = {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let first = subscriber.message().await;
                (first, subscriber, held(&storage))
            })
        };
        let acknowledging = {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move {
                let first = publisher.ack().await;
                (first, publisher, held(&storage))
            })
        };
        // Long enough for a server that tells too early; what has nothing to do with it is answered.
        let mut http = Http::connect(&server).await;
        for _ in 0..100 {
            assert_eq!(http.request("GET", "/time", &[], b"").await.status, 200);
        }
        storage.hold(false);

        let (ack, mut publisher, was_held) = acknowledging.await.unwrap();
        assert!(!was_held, "acknowledged before it was stored");
        let mut acknowledged = ack.count;
        while acknowledged < 100 {
            acknowledged += publisher.ack().await.count;
        }
        assert!(matches!(publisher.next().await, ServerFrame::Attached(_)));
        let (first, mut subscriber, was_held) = delivering.await.unwrap();
        assert!(!was_held, "delivered before it was stored");
        assert!(first.id.unwrap().ends_with(":0"));
        for msg_serial in 1..100 {
            let id = subscriber.message().await.id.unwrap();
            assert!(id.ends_with(&format!(":{msg_serial}")), "{id}");
        }
        let (answer, was_held) = reading.await.unwrap();
        assert!(!was_held, "read before it was stored");
        assert!(!answer.json().as_array().unwrap().is_empty());
        assert_eq!(history(&server, server.key(), format).await.len(), 100);
        // The one that was held, and those that came meanwhile; sockets may split them in a few.
        assert!(storage.commits() - before <= 10, "{} commits", storage.commits() - before);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn what_waits_behind_a_failure_fails_with_it() {
    for format in [Format::Json, Format::MsgPack] {
        let storage = Arc::new(Unreliable::default());
        let server = start(&storage).await;
        let key = server.key().to_owned();
        let (mut old, connected) = Client::connect_with(&server, format, "clientId=ada").await;
        old.attach("c").await;
        let enter = PresenceMessage { action: Some(PresenceAction::Enter), ..Default::default() };
        let enter = Publish {
            channel: "c".into(),
            msg_serial: 0,
            items: vec![enter].into(),
            params: Default::default(),
        };
        old.send(&ClientFrame::Presence(enter)).await;
        assert!(matches!(old.next().await, ServerFrame::Presence(_)));
        old.ack().await;
        let (mut publisher, _) = Client::connect(&server, format).await;

        let before = storage.commits();
        storage.hold(true);
        publisher.publish("c", 0, vec![Message::new("m", "one")]).await;
        storage.commit_begins(before + 1).await;
        // Behind it, there are another publish, and a client that comes back on another transport.
        publisher.publish("c", 1, vec![Message::new("m", "two")]).await;
        let resume = connected.details.unwrap().connection_key.unwrap();
        let query = format!("key={key}&clientId=ada&resume={resume}");
        let mut new = Client::open(&server, format, &query).await;
        let mut http = Http::connect(&server).await;
        for _ in 0..100 {
            assert_eq!(http.request("GET", "/time", &[], b"").await.status, 200);
        }
        assert_eq!(server.connections(), 3);
        storage.next(Fate::Fail);
        storage.hold(false);

        let mut refused = 0;
        let error = loop {
            match publisher.next().await {
                ServerFrame::Nack(nack) => refused += nack.count,
                ServerFrame::Disconnected { error } => break error.unwrap(),
                other => panic!("unexpected {other:?}"),
            }
        };
        assert_eq!((refused, error.code.0), (2, 50000));
        // Both transports of the other client end, the old one without having been told anything.
        assert!(matches!(old.event().await, Event::End));
        assert_eq!(new.last_error().await, 50000);
        let target = "/channels/c/presence";
        let (_, members) = ask(&server, &key, format, "GET", target, &Value::Null).await;
        assert_eq!(members, json!([]));
        assert!(history(&server, &key, format).await.is_empty());
        server.shutdown().await;

        let server = start(&storage).await;
        assert!(history(&server, &key, format).await.is_empty());
        server.shutdown().await;
    }
}

#[tokio::test]
async fn publishers_that_are_held_back_go_on_when_there_is_room() {
    const FRAMES: u64 = 1000;
    let storage = Arc::new(Unreliable::default());
    let server = start(&storage).await;
    let (mut publisher, _) = Client::connect(&server, Format::MsgPack).await;
    let before = storage.commits();
    storage.hold(true);
    // Far more than is taken in while nothing is stored.
    let payload = "x".repeat(60_000);
    let sending = tokio::spawn(async move {
        for msg_serial in 0..FRAMES {
            publisher.publish("c", msg_serial, vec![Message::new("m", payload.as_str())]).await;
        }
        publisher
    });
    storage.commit_begins(before + 1).await;
    let mut http = Http::connect(&server).await;
    for _ in 0..100 {
        assert_eq!(http.request("GET", "/time", &[], b"").await.status, 200);
    }
    storage.hold(false);
    let mut publisher = sending.await.unwrap();
    let mut acknowledged = 0;
    while acknowledged < FRAMES {
        acknowledged += publisher.ack().await.count;
    }
    server.shutdown().await;
}

#[tokio::test]
async fn an_end_in_the_middle_leaves_what_was_acknowledged() {
    let storage = Arc::new(Unreliable::default());
    let server = start(&storage).await;
    let key = server.key().to_owned();
    let (mut publisher, _) = Client::connect(&server, Format::Json).await;
    publisher.publish("c", 0, vec![Message::new("m", "acknowledged")]).await;
    publisher.ack().await;
    let before = storage.commits();
    storage.hold(true);
    publisher.publish("c", 1, vec![Message::new("m", "on its way")]).await;
    storage.commit_begins(before + 1).await;
    // Not shut down: nothing is waited for.
    drop(server);
    while !matches!(publisher.event().await, Event::End) {}
    storage.hold(false);

    let server = start(&storage).await;
    assert_eq!(server.key(), key);
    assert_eq!(history(&server, &key, Format::Json).await[0], "acknowledged");
    server.shutdown().await;
}

#[tokio::test]
async fn a_storage_that_fails_at_the_start_is_an_error() {
    for fate in [Fate::Fail, Fate::Panic] {
        let storage = Arc::new(Unreliable::default());
        storage.next(fate);
        let started = Server::builder().storage(storage as Arc<dyn Storage>).start().await;
        let error = started.unwrap_err();
        let expected = match fate {
            Fate::Fail => "cannot write: no storage space",
            Fate::Panic => "cannot read the storage: its thread has panicked",
        };
        assert_eq!(error.to_string(), expected);
    }
}
