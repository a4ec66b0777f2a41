//! Limits of apps, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{ClientFrame, Format, Message, ServerFrame, frame::Attach};
use capably_server::Server;
use serde_json::{Value, json};

use support::*;

#[tokio::test]
async fn an_app_is_created_with_limits() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({
            "keys": [{}],
            "limits": {"messages": {"maxSize": 100}, "connections": {"maxInboundRate": 3}, "other": 1},
        });
        let key = app(&server, &spec).await.remove(0);
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        let ServerFrame::Connected(connected) = client.next().await else { panic!("CONNECTED") };
        let details = connected.details.unwrap();
        assert_eq!((details.max_message_size, details.max_inbound_rate), (Some(100), Some(3)));
        client.publish("a", 0, vec![Message::new("m", "x"); 3]).await;
        assert_eq!(client.ack().await.msg_serial, 0);
        client.publish("a", 1, vec![Message::new("m", "x"); 4]).await;
        match client.next().await {
            ServerFrame::Nack(nack) => {
                let error = nack.error.unwrap();
                assert_eq!((error.code.0, error.status_code), (42911, 429));
            }
            other => panic!("expected NACK, got {other:?}"),
        }
        let target = "/channels/a/messages";
        let body = json!({"data": "x".repeat(101)});
        let refused = ask(&server, &key, format, "POST", target, &body).await;
        assert_eq!(refusal(&refused), (400, 40009));
        let (answer, _) = ask(&server, &key, format, "POST", target, &json!({"data": "x"})).await;
        assert_eq!(answer.status, 201);
    }
    for limits in [
        json!({"presence": {"maxMembers": -1}}),
        json!({"messages": {"maxSize": "1"}}),
        json!({"connections": {"maxInboundRate": 1e10}}),
        json!({"connections": {"max": -1}}),
        json!({"channels": {"max": "many"}}),
        json!({"requests": {"maxRate": 0.5}}),
        json!({"messages": {"maxLogBytes": []}}),
    ] {
        let answer = request(&server, "POST", "/apps", &json!({ "limits": limits })).await;
        assert_eq!((answer.status, answer.error()), (400, (400, 40000)), "{limits}");
    }
}

#[tokio::test]
async fn a_request_with_too_many_items_is_refused() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        for (target, item) in [
            ("/channels/a/messages", json!({})),
            ("/channels/a/messages/serial/annotations", json!({"type": "likes:total.v1"})),
        ] {
            let body = json!(vec![item; 1001]);
            let refused = ask(&server, server.key(), format, "POST", target, &body).await;
            assert_eq!(refusal(&refused), (400, 40034), "{target}");
        }
        let target = "/channels/a/messages";
        let body = json!(vec![json!({}); 1000]);
        let (answer, _) = ask(&server, server.key(), format, "POST", target, &body).await;
        assert_eq!(answer.status, 201);
    }
}

#[tokio::test]
async fn connected_contains_the_publish_rate() {
    for (server, expected) in [
        (builder().start().await.unwrap(), 250),
        (builder().max_inbound_rate(7).start().await.unwrap(), 7),
    ] {
        for format in [Format::Json, Format::MsgPack] {
            let (_, connected) = Client::connect(&server, format).await;
            assert_eq!(connected.details.unwrap().max_inbound_rate, Some(expected));
        }
    }
}

#[tokio::test]
async fn a_client_requests_a_presence_sync() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({
            "keys": [{}],
            "channels": [{"name": "a", "presence": [{"clientId": "me"}]}],
        });
        let key = app(&server, &spec).await.remove(0);
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        client.attach("a").await;
        for _ in 0..2 {
            match client.next().await {
                ServerFrame::Sync(sync) => {
                    assert_eq!(sync.items.len(), 1);
                    assert_eq!(sync.items[0].client_id.as_deref(), Some("me"));
                    assert!(sync.channel_serial.unwrap().ends_with(':'));
                }
                other => panic!("expected SYNC, got {other:?}"),
            }
            client.send(&ClientFrame::Sync { channel: "a".into() }).await;
        }
    }
}

/// Connects. Returns the client, or the error with which it is asked to retry.
async fn connect(server: &Server, format: Format, key: &str) -> Result<Client, (u16, u32, String)> {
    let mut client = Client::open(server, format, &format!("key={key}")).await;
    match client.next().await {
        ServerFrame::Connected(_) => Ok(client),
        ServerFrame::Disconnected { error } => {
            assert!(matches!(client.event().await, Event::End));
            let error = error.unwrap();
            Err((error.status_code, error.code.0, error.message.to_string()))
        }
        other => panic!("expected CONNECTED or DISCONNECTED, got {other:?}"),
    }
}

/// Waits until the server has this number of connections.
async fn wait_for_connections(server: &Server, count: usize) {
    while server.connections() != count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn connection_limits_apply_to_an_app_and_to_the_server() {
    let server = builder().max_connections(3).max_app_connections(5).start().await.unwrap();
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({"keys": [{}], "limits": {"connections": {"max": 2}}});
        let key = app(&server, &spec).await.remove(0);
        let first = connect(&server, format, &key).await.ok().unwrap();
        let _second = connect(&server, format, &key).await.ok().unwrap();
        let (status, code, message) = connect(&server, format, &key).await.err().unwrap();
        assert_eq!((status, code), (401, 40111));
        assert!(message.contains("`connections.max` of 2"), "{message}");
        wait_for_connections(&server, 2).await;

        // The limit does not apply to another app, until the server is full.
        let _third = connect(&server, format, server.key()).await.ok().unwrap();
        let (status, code, message) = connect(&server, format, server.key()).await.err().unwrap();
        assert_eq!((status, code), (503, 50004));
        assert!(message.contains("`max_connections` of 3"), "{message}");
        drop(first);
        wait_for_connections(&server, 2).await;
        let fourth = connect(&server, format, &key).await;
        assert!(fourth.is_ok());
        drop((fourth, _second, _third));
        wait_for_connections(&server, 0).await;
    }
}

#[tokio::test]
async fn the_channel_limit_applies_to_an_app() {
    let server = builder().max_channels(3).start().await.unwrap();
    for format in [Format::Json, Format::MsgPack] {
        for (limits, max) in [
            (json!({}), 3),
            (json!({"channels": {"max": 2}}), 2),
            // The limit of the operator applies.
            (json!({"channels": {"max": 100}}), 3),
        ] {
            let key = app(&server, &json!({"keys": [{}], "limits": limits})).await.remove(0);
            let mut client = connect(&server, format, &key).await.ok().unwrap();
            for number in 0..max {
                client.attach(&format!("c{number}")).await;
            }
            client
                .send(&ClientFrame::Attach(Attach { channel: "d".into(), ..Attach::default() }))
                .await;
            match client.next().await {
                ServerFrame::Error(frame) => {
                    assert_eq!(frame.channel.as_deref(), Some("d"));
                    let error = frame.error.unwrap();
                    assert_eq!((error.status_code, error.code.0), (401, 40114));
                    let limit = format!("`channels.max` of {max}");
                    assert!(error.message.contains(&limit), "{}", error.message);
                }
                other => panic!("expected ERROR, got {other:?}"),
            }
            client.publish("d", 0, vec![Message::new("m", "x")]).await;
            match client.next().await {
                ServerFrame::Nack(nack) => assert_eq!(nack.error.unwrap().code.0, 40114),
                other => panic!("expected NACK, got {other:?}"),
            }
            let publish = async |channel: &str| {
                let target = format!("/channels/{channel}/messages");
                ask(&server, &key, format, "POST", &target, &json!({"data": "x"})).await
            };
            assert_eq!(refusal(&publish("d").await), (401, 40114));
            assert_eq!(publish("c0").await.0.status, 201);
            // The connection and its channels are unchanged.
            assert_eq!(client.message().await.items[0].data.as_str(), Some("x"));
        }
    }
}

#[tokio::test]
async fn the_request_rate_applies_to_an_app() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({"keys": [{}], "limits": {"requests": {"maxRate": 5}}});
        let key = app(&server, &spec).await.remove(0);
        let name = key.split(':').next().unwrap().to_owned();
        let token_target = format!("/keys/{name}/requestToken");
        let requests = [
            ("GET", "/channels/a/messages", Value::Null, 200),
            ("POST", "/channels/a/messages", json!({"data": "x"}), 201),
            ("GET", "/stats", Value::Null, 200),
            ("GET", "/push/channels", Value::Null, 200),
            ("POST", &token_target, json!({}), 201),
        ];
        // Requests with a wrong key do not count.
        for _ in 0..20 {
            let wrong = format!("{key}x");
            let asked = ask(&server, &wrong, format, "GET", "/stats", &Value::Null).await;
            assert_eq!(refusal(&asked), (401, 40101));
        }
        for (method, target, body, status) in &requests {
            let (answer, _) = ask(&server, &key, format, method, target, body).await;
            assert_eq!(answer.status, *status, "{method} {target}");
        }
        // The requests of one second may come at once. One more is permitted within a fifth of a second.
        let mut asked = ask(&server, &key, format, "GET", "/stats", &Value::Null).await;
        for _ in 0..50 {
            if asked.0.status != 200 {
                break;
            }
            asked = ask(&server, &key, format, "GET", "/stats", &Value::Null).await;
        }
        assert_eq!(refusal(&asked), (429, 42918));
        let message = asked.1["error"]["message"].as_str().unwrap();
        assert!(message.contains("`requests.maxRate` of 5 a second"), "{message}");
        // The rate applies neither to connections nor to other apps.
        assert!(connect(&server, format, &key).await.is_ok());
        let (answer, _) = ask(&server, server.key(), format, "GET", "/stats", &Value::Null).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn messages_beyond_the_memory_limit_are_lost_to_late_subscribers() {
    // The server has no engine, because that would still have the messages.
    let server = Server::builder().max_log_bytes(100_000).start().await.unwrap();
    for format in [Format::Json, Format::MsgPack] {
        let key = app(&server, &json!({"keys": [{}]})).await.remove(0);
        let mut client = connect(&server, format, &key).await.ok().unwrap();
        let start = client.attach("old").await.channel_serial.unwrap();
        client.publish("old", 0, vec![Message::new("m", "x")]).await;
        client.message().await;
        client.ack().await;
        client.send(&ClientFrame::Detach { channel: "old".into() }).await;
        assert!(matches!(client.next().await, ServerFrame::Detached { .. }));
        for serial in 1..11 {
            client.publish("new", serial, vec![Message::new("m", "x".repeat(20_000))]).await;
            client.ack().await;
        }
        let count = async |channel: &str| {
            let target = format!("/channels/{channel}/messages");
            let (_, found) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
            found.as_array().unwrap().len()
        };
        assert_eq!((count("old").await, count("new").await), (0, 4));
        let serial = Some(start);
        let attach = Attach { channel: "old".into(), channel_serial: serial, ..Attach::default() };
        let attached = client.attach_with(attach).await;
        assert_eq!(attached.error.unwrap().code.0, 90003);
        // The client continues from the current end of the channel.
        client.publish("old", 11, vec![Message::new("m", "again")]).await;
        assert_eq!(client.message().await.items[0].data.as_str(), Some("again"));
    }
}
