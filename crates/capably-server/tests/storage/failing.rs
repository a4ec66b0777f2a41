//! An engine that fails or is slow while the server runs.

use std::{sync::Arc, time::Duration};

use capably_protocol::{ClientFrame, Format, Message, ServerFrame, frame::Attach};
use capably_server::Server;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    engine::{Fate, Scripted},
    spec,
    support::{Client, Event, Http, app, ask, serials},
};

async fn start(engine: &Arc<Scripted>) -> Server {
    Server::builder().engine(engine.reopen()).start().await.unwrap()
}

async fn history(server: &Server, key: &str, format: Format) -> Vec<Value> {
    let target = "/channels/c/messages?direction=forwards";
    let (answer, history) = ask(server, key, format, "GET", target, &Value::Null).await;
    assert_eq!(answer.status, 200);
    history.as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

#[tokio::test]
async fn an_uncommitted_publish_is_refused_and_not_delivered() {
    for format in [Format::Json, Format::MsgPack] {
        for fate in [Fate::Fail, Fate::Panic, Fate::Forget] {
            let engine = Arc::new(Scripted::default());
            let server = start(&engine).await;
            let (mut subscriber, _) = Client::connect(&server, format).await;
            subscriber.attach("c").await;
            let (mut publisher, _) = Client::connect(&server, format).await;
            publisher.publish("c", 0, vec![Message::new("m", "kept")]).await;
            publisher.ack().await;
            subscriber.message().await;

            engine.next(fate);
            publisher.publish("c", 1, vec![Message::new("m", "lost")]).await;
            let ServerFrame::Nack(nack) = publisher.next().await else { panic!("no NACK") };
            assert_eq!((nack.msg_serial, nack.count), (1, 1));
            let code = if fate == Fate::Fail { 50000 } else { 50003 };
            assert_eq!(nack.error.unwrap().code.0, code, "{fate:?}");
            assert_eq!(history(&server, server.key(), format).await, ["kept"]);

            // The publisher and the subscriber continue.
            publisher.publish("c", 2, vec![Message::new("m", "later")]).await;
            let serial = serials(&publisher.ack().await).remove(0);
            let later = subscriber.message().await;
            assert_eq!(later.items[0].serial.as_deref(), Some(&*serial));
            assert_eq!(history(&server, server.key(), format).await, ["kept", "later"]);
            server.shutdown().await;

            let server = start(&engine).await;
            assert_eq!(history(&server, server.key(), format).await, ["kept", "later"]);
            server.shutdown().await;
        }
    }
}

#[tokio::test]
async fn acknowledgements_follow_the_order_of_the_frames() {
    for format in [Format::Json, Format::MsgPack] {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let (mut publisher, connected) = Client::connect(&server, format).await;
        let before = engine.appends();
        engine.delay_commits(true);
        engine.next(Fate::Fail);
        publisher.publish("c", 0, vec![Message::new("m", "refused")]).await;
        engine.wait_for_appends(before + 1).await;
        publisher.publish("c", 1, vec![Message::new("m", "committed")]).await;
        // The hub refuses this frame at once.
        publisher.publish("c", 2, vec![]).await;
        engine.wait_for_appends(before + 2).await;
        engine.delay_commits(false);
        let mut answers = Vec::new();
        while answers.len() < 3 {
            match publisher.next().await {
                ServerFrame::Nack(nack) => answers.push((nack.msg_serial, false)),
                ServerFrame::Ack(ack) => answers.push((ack.msg_serial, true)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(answers, [(0, false), (1, true), (2, false)]);

        // A client that resumes and repeats its waiting frames is answered once, on its new transport.
        let before = engine.appends();
        engine.delay_commits(true);
        publisher.publish("c", 3, vec![Message::new("m", "repeated")]).await;
        engine.wait_for_appends(before + 1).await;
        let key = connected.details.unwrap().connection_key.unwrap();
        let query = format!("resume={key}");
        let (mut resumed, again) = Client::connect_with(&server, format, &query).await;
        assert_eq!(again.connection_id, connected.connection_id);
        resumed.publish("c", 3, vec![Message::new("m", "repeated")]).await;
        resumed.send(&ClientFrame::Heartbeat { id: Some("after".into()) }).await;
        assert!(matches!(resumed.next().await, ServerFrame::Heartbeat { .. }));
        engine.delay_commits(false);
        assert_eq!(resumed.ack().await.msg_serial, 3);
        assert_eq!(history(&server, server.key(), format).await, ["committed", "repeated"]);
        server.shutdown().await;
    }
}

fn attach() -> Attach {
    Attach { channel: "c".into(), ..Attach::default() }
}

#[tokio::test]
async fn a_rest_request_fails_when_the_engine_fails() {
    for format in [Format::Json, Format::MsgPack] {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let key = app(&server, &spec()).await.remove(0);
        let publish = async |data: &str| {
            let body = json!({"data": data});
            ask(&server, &key, format, "POST", "/channels/c/messages", &body).await
        };
        assert_eq!(publish("one").await.0.status, 201);
        engine.next(Fate::Fail);
        let (answer, body) = publish("two").await;
        assert_eq!((answer.status, &body["error"]["code"]), (500, &json!(50000)));
        assert_eq!(answer.header("x-ably-errorcode"), Some("50000"));
        assert_eq!(history(&server, &key, format).await, ["one"]);
        assert_eq!(publish("three").await.0.status, 201);
        assert_eq!(history(&server, &key, format).await, ["one", "three"]);

        // A change that is not stored has no effect.
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
            engine.next(Fate::Fail);
            let (answer, _) = ask(&server, &key, format, method, target, body).await;
            assert_eq!(answer.status, 500, "{method}");
        }
        let (_, after) = ask(&server, &key, format, "GET", &message, &Value::Null).await;
        assert_eq!(after, before);

        // An app that is not stored does not exist.
        engine.next(Fate::Fail);
        let body = serde_json::to_vec(&spec()).unwrap();
        let headers = ["Content-Type: application/json".to_owned()];
        let answer = Http::connect(&server).await.request("POST", "/apps", &headers, &body).await;
        assert_eq!(answer.error(), (500, 50000));
        server.shutdown().await;
    }
}

/// Has the server answer requests that wait for no commit. Meanwhile it does whatever else it can do.
async fn serve_others(server: &Server) {
    let mut http = Http::connect(server).await;
    for _ in 0..100 {
        assert_eq!(http.request("GET", "/time", &[], b"").await.status, 200);
    }
}

#[tokio::test]
async fn no_message_is_delivered_before_its_commit() {
    for format in [Format::Json, Format::MsgPack] {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let (mut subscriber, _) = Client::connect(&server, format).await;
        subscriber.attach("c").await;
        let (mut publisher, _) = Client::connect(&server, format).await;

        let before = engine.appends();
        engine.delay_commits(true);
        for msg_serial in 0..100 {
            publisher.publish("c", msg_serial, vec![Message::new("m", "x")]).await;
        }
        // Later requests are answered later, because their answers would reveal the uncommitted messages.
        publisher.send(&ClientFrame::Attach(attach())).await;
        engine.wait_for_appends(before + 1).await;
        // Readers receive only committed data.
        assert!(history(&server, server.key(), format).await.is_empty());
        let delivering = {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                let first = subscriber.message().await;
                (first, subscriber, engine.delays_commits())
            })
        };
        let acknowledging = {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                let first = publisher.ack().await;
                (first, publisher, engine.delays_commits())
            })
        };
        // A server that delivers too early would have done so during these requests. They do not depend on the commit.
        serve_others(&server).await;
        engine.delay_commits(false);

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
        assert_eq!(history(&server, server.key(), format).await.len(), 100);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn paused_publishers_continue_when_the_queue_has_room() {
    const FRAMES: u64 = 1000;
    let engine = Arc::new(Scripted::default());
    let server = start(&engine).await;
    let (mut publisher, _) = Client::connect(&server, Format::MsgPack).await;
    let before = engine.appends();
    engine.delay_commits(true);
    // Far more than the server accepts while nothing is committed.
    let payload = "x".repeat(60_000);
    let sending = tokio::spawn(async move {
        for msg_serial in 0..FRAMES {
            publisher.publish("c", msg_serial, vec![Message::new("m", payload.as_str())]).await;
        }
        publisher
    });
    engine.wait_for_appends(before + 1).await;
    serve_others(&server).await;
    engine.delay_commits(false);
    let mut publisher = sending.await.unwrap();
    let mut acknowledged = 0;
    while acknowledged < FRAMES {
        acknowledged += publisher.ack().await.count;
    }
    server.shutdown().await;
}

/// On their way to the engine, 1,000 messages without a payload take 250 KB, although their frame has a hundredth of that.
#[tokio::test]
async fn messages_without_a_payload_count_with_the_memory_that_they_take() {
    const FRAMES: u64 = 200;
    for format in [Format::Json, Format::MsgPack] {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let (mut publisher, _) = Client::connect(&server, format).await;
        let before = engine.appends();
        engine.delay_commits(true);
        let sending = tokio::spawn(async move {
            for msg_serial in 0..FRAMES {
                publisher.publish("c", msg_serial, vec![Message::default(); 1000]).await;
            }
            publisher
        });
        engine.wait_for_appends(before + 1).await;
        serve_others(&server).await;
        let delayed = engine.delayed();
        assert!(delayed < 50, "{delayed} frames wait for the engine");
        engine.delay_commits(false);
        let mut publisher = sending.await.unwrap();
        let mut acknowledged = 0;
        while acknowledged < FRAMES {
            acknowledged += publisher.ack().await.count;
        }
        server.shutdown().await;
    }
}

/// The server refuses these frames at once, so they have no bytes on their way to the engine, and its limit on such bytes does not
/// hold for them.
#[tokio::test]
async fn a_client_is_not_read_while_too_many_of_its_frames_wait_for_answers() {
    const FRAMES: u64 = 10_000;
    for format in [Format::Json, Format::MsgPack] {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let (mut publisher, _) = Client::connect(&server, format).await;
        let (mut other, _) = Client::connect(&server, format).await;
        let before = engine.appends();
        engine.delay_commits(true);
        let sending = tokio::spawn(async move {
            publisher.publish("c", 0, vec![Message::new("m", "x")]).await;
            for msg_serial in 1..FRAMES {
                publisher.publish("c", msg_serial, vec![]).await;
            }
            publisher.send(&ClientFrame::Heartbeat { id: Some("after".into()) }).await;
            publisher
        });
        engine.wait_for_appends(before + 1).await;
        for _ in 0..1000 {
            other.send(&ClientFrame::Heartbeat { id: Some("ping".into()) }).await;
            assert!(matches!(other.next().await, ServerFrame::Heartbeat { .. }));
        }
        engine.delay_commits(false);
        let mut publisher = sending.await.unwrap();
        assert_eq!(publisher.ack().await.msg_serial, 0);
        for msg_serial in 1..FRAMES {
            let ServerFrame::Nack(nack) = publisher.next().await else { panic!("no NACK") };
            assert_eq!((nack.msg_serial, nack.count), (msg_serial, 1));
        }
        assert!(matches!(publisher.next().await, ServerFrame::Heartbeat { .. }));
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_dropped_server_keeps_every_acknowledged_message() {
    let engine = Arc::new(Scripted::default());
    let server = start(&engine).await;
    let key = server.key().to_owned();
    let (mut publisher, _) = Client::connect(&server, Format::Json).await;
    publisher.publish("c", 0, vec![Message::new("m", "acknowledged")]).await;
    publisher.ack().await;
    let before = engine.appends();
    engine.delay_commits(true);
    publisher.publish("c", 1, vec![Message::new("m", "on its way")]).await;
    engine.wait_for_appends(before + 1).await;
    // A drop, in contrast to a shutdown, does not wait for commits.
    drop(server);
    while !matches!(publisher.event().await, Event::End) {}
    engine.delay_commits(false);

    let server = start(&engine).await;
    assert_eq!(server.key(), key);
    assert_eq!(history(&server, &key, Format::Json).await[0], "acknowledged");
    server.shutdown().await;
}

#[tokio::test]
async fn a_failing_engine_is_an_error_at_the_start() {
    let engine = Arc::new(Scripted::default());
    engine.next(Fate::Fail);
    let error = Server::builder().engine(engine).start().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot write: no storage space");
}

/// A client that waits longer gives up and attaches again, and two answers would replay everything twice.
#[tokio::test]
async fn attaches_that_wait_too_long_are_refused_together() {
    for format in [Format::Json, Format::MsgPack] {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let (mut client, _) = Client::connect(&server, format).await;
        engine.hold_loads(true);
        tokio::time::pause();
        let start = Instant::now();
        let attach = |channel: &str| {
            ClientFrame::Attach(Attach { channel: channel.into(), ..Attach::default() })
        };
        for channel in ["a", "b", "c"] {
            client.send(&attach(channel)).await;
        }
        for expected in ["a", "b", "c"] {
            let ServerFrame::Detached { channel, error } = client.next().await else {
                panic!("no DETACHED")
            };
            assert_eq!((&*channel, error.unwrap().code.0), (expected, 50003));
            let waited = start.elapsed().as_secs();
            assert!((7..9).contains(&waited), "{waited}");
        }
        // The next one waits again, and the engine answers in time.
        client.send(&attach("d")).await;
        tokio::time::advance(Duration::from_secs(6)).await;
        engine.hold_loads(false);
        let ServerFrame::Attached(attached) = client.next().await else { panic!("no ATTACHED") };
        assert_eq!(&*attached.channel, "d");
        for channel in ["a", "b", "c"] {
            client.attach(channel).await;
        }
        tokio::time::resume();
        server.shutdown().await;
    }
}
