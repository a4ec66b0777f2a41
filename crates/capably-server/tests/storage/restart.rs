//! A server stops, and another one continues with its data.

use capably_protocol::{
    ClientFrame, Flags, Format, Message, PresenceAction, PresenceMessage, ServerFrame,
    frame::{Attach, Publish},
};
use capably_server::Server;
use serde_json::{Value, json};

use super::{
    Place, spec,
    support::{Client, Event, Http, app, ask, basic, serials},
};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// The data of an app that a restart must not change.
async fn everything(server: &Server, key: &str, format: Format, serial: &str) -> Vec<Value> {
    let message = format!("/channels/mutable:a/messages/{}", serial.replace('@', "%40"));
    let mut found = Vec::new();
    for target in [
        "/channels/plain/messages?direction=forwards",
        "/channels/persisted:b/messages",
        "/channels/mutable:a/messages",
        &message,
        &format!("{message}/versions"),
        &format!("{message}/annotations"),
        "/channels/persisted:members/presence",
        "/channels/persisted:members/presence/history",
        "/channels/plain/presence/history",
        "/channels/plain/object",
        "/channels/plain/object?compact=false",
    ] {
        let (answer, value) = ask(server, key, format, "GET", target, &Value::Null).await;
        assert_eq!(answer.status, 200, "{target}");
        assert!(value.as_array().is_none_or(|list| !list.is_empty()), "{target}: {value}");
        found.push(match value {
            // A `Value` cannot contain the bytes of this answer.
            Value::Null => json!(answer.body),
            value => value,
        });
    }
    found
}

/// Publishes messages, changes, annotations and members. Returns the serial of a changed and annotated message.
async fn fill(server: &Server, key: &str, format: Format) -> String {
    let ask = async |method: &str, target: &str, body: Value| {
        let (answer, value) = ask(server, key, format, method, target, &body).await;
        assert!(answer.status < 300, "{method} {target}: {}", answer.status);
        value
    };
    let (mut client, _) = connect(server, key, format, "clientId=ada").await;
    client.attach("plain").await;
    let mut binary = Message::new("b", vec![0u8, 255, 1]);
    binary.extras = Some(json!({"headers": {"n": 1}}).as_object().unwrap().clone());
    client.publish("plain", 0, vec![Message::new("m", "one"), binary]).await;
    assert!(matches!(client.next().await, ServerFrame::Message(_)));
    client.ack().await;
    let member = PresenceMessage { action: Some(PresenceAction::Enter), ..Default::default() };
    client
        .send(&ClientFrame::Presence(Publish {
            channel: "plain".into(),
            msg_serial: 1,
            items: vec![PresenceMessage { data: "here".into(), ..member }].into(),
            params: Default::default(),
        }))
        .await;
    assert!(matches!(client.next().await, ServerFrame::Presence(_)));
    client.ack().await;

    let poll = json!([
        {"path": "poll", "mapCreate": {"entries": {"open": {"data": {"boolean": true}}}}},
        {"path": "poll.votes", "counterCreate": {"count": 2.5}},
        {"path": "poll", "mapRemove": {"key": "open"}},
    ]);
    ask("POST", "/channels/plain/object", poll).await;
    ask("POST", "/channels/persisted:b/messages", json!([{"data": {"a": [1, null]}}])).await;
    let message = json!({"name": "m", "data": "first"});
    let published = ask("POST", "/channels/mutable:a/messages", message).await;
    let serial = published["serials"][0].as_str().unwrap().to_owned();
    let path = format!("/channels/mutable:a/messages/{}", serial.replace('@', "%40"));
    ask("PATCH", &path, json!({"action": 5, "data": " second", "id": "once"})).await;
    ask("PATCH", &path, json!({"action": 1, "name": "n", "version": {"description": "why"}})).await;
    for (client, name) in [("ada", "like"), ("bob", "like"), ("ada", "dislike")] {
        let annotation =
            json!([{"action": 0, "type": "r:distinct.v1", "name": name, "clientId": client}]);
        ask("POST", &format!("{path}/annotations"), annotation).await;
    }
    ask("POST", "/channels/mutable:a/messages", json!({"data": "gone"})).await;
    serial
}

async fn connect(
    server: &Server,
    key: &str,
    format: Format,
    query: &str,
) -> (Client, capably_protocol::frame::Connected) {
    let mut client = Client::open(server, format, &format!("key={key}&{query}")).await;
    match client.next().await {
        ServerFrame::Connected(connected) => (client, *connected),
        other => panic!("expected CONNECTED, got {other:?}"),
    }
}

#[tokio::test]
async fn a_restart_preserves_all_state() {
    for format in FORMATS {
        for place in Place::all() {
            let server = place.start().await;
            let first_key = server.key().to_owned();
            let keys = app(&server, &spec()).await;
            let serial = fill(&server, &keys[0], format).await;
            let before = everything(&server, &keys[0], format, &serial).await;
            server.shutdown().await;

            // The server restarts twice, because it must also keep the loaded data.
            for _ in 0..2 {
                let server = place.start().await;
                assert_eq!(server.key(), first_key);
                assert_eq!(everything(&server, &keys[0], format, &serial).await, before);
                server.shutdown().await;
            }
        }
    }
}

#[tokio::test]
async fn publishing_continues_after_a_restart() {
    for format in FORMATS {
        for place in Place::all() {
            let server = place.start().await;
            let keys = app(&server, &spec()).await;
            let serial = fill(&server, &keys[0], format).await;
            server.shutdown().await;

            let server = place.start().await;
            let ask = async |method: &str, target: &str, body: Value| {
                ask(&server, &keys[0], format, method, target, &body).await
            };
            // A message with the id of an earlier one is not published again.
            let once = json!({"id": "once", "action": 5, "data": " third"});
            let path = format!("/channels/mutable:a/messages/{}", serial.replace('@', "%40"));
            ask("PATCH", &path, once).await;
            let (_, message) = ask("GET", &path, Value::Null).await;
            assert_eq!(message["data"], "first second");
            let summary = &message["annotations"]["summary"]["r:distinct.v1"];
            assert_eq!(summary["like"], json!({"total": 2, "clientIds": ["ada", "bob"]}));

            // New messages follow the stored ones.
            let (_, published) = ask("PATCH", &path, json!({"action": 5, "data": "!"})).await;
            let newest = published["versionSerial"].as_str().unwrap();
            let (_, versions) = ask("GET", &format!("{path}/versions"), Value::Null).await;
            let versions: Vec<_> = versions
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["version"]["serial"].as_str().unwrap())
                .collect();
            assert_eq!(versions.len(), 4);
            assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
            assert_eq!(versions[3], newest);
            let annotation = json!([
                {"action": 0, "type": "r:distinct.v1", "name": "like", "clientId": "cyd"},
            ]);
            ask("POST", &format!("{path}/annotations"), annotation).await;
            let (_, message) = ask("GET", &path, Value::Null).await;
            let summary = &message["annotations"]["summary"]["r:distinct.v1"];
            assert_eq!(summary["like"]["clientIds"], json!(["ada", "bob", "cyd"]));
            assert_eq!(message["data"], "first second!");
            server.shutdown().await;
        }
    }
}

#[tokio::test]
async fn keys_tokens_and_revocations_survive_a_restart() {
    for format in FORMATS {
        for place in Place::all() {
            let server = place.start().await;
            let keys = app(&server, &spec()).await;
            let token = async |server: &Server, key: &str, client: &str| {
                let name = key.split(':').next().unwrap();
                let target = format!("/keys/{name}/requestToken");
                let body = json!({"keyName": name, "clientId": client, "ttl": 3_600_000});
                let (answer, token) = ask(server, key, format, "POST", &target, &body).await;
                assert_eq!(answer.status, 201);
                token["token"].as_str().unwrap().to_owned()
            };
            let good = token(&server, &keys[0], "ada").await;
            let (revoked, other) =
                (token(&server, &keys[2], "bob").await, token(&server, &keys[2], "cyd").await);
            let name = keys[2].split(':').next().unwrap();
            let body = json!({"targets": ["clientId:bob"]});
            let target = format!("/keys/{name}/revokeTokens");
            assert_eq!(ask(&server, &keys[2], format, "POST", &target, &body).await.0.status, 201);
            server.shutdown().await;

            let server = place.start().await;
            for (token, expected) in [(good, None), (other, None), (revoked, Some(40141))] {
                let headers = [format!("Authorization: Bearer {token}")];
                let mut http = Http::connect(&server).await;
                let answer = http.request("GET", "/channels/plain/messages", &headers, b"").await;
                match expected {
                    None => assert_eq!(answer.status, 200),
                    Some(code) => assert_eq!(answer.error(), (401, code)),
                }
            }
            // The capabilities of the keys are unchanged.
            let body = json!({"data": "x"});
            for (channel, status) in [("only", 201), ("other", 401)] {
                let target = format!("/channels/{channel}/messages");
                let (answer, _) = ask(&server, &keys[1], format, "POST", &target, &body).await;
                assert_eq!(answer.status, status, "{channel}");
            }
            let wrong = format!("{}x", keys[0]);
            let mut http = Http::connect(&server).await;
            let answer = http.request("GET", "/channels", &[basic(&wrong)], b"").await;
            assert_eq!(answer.error(), (401, 40101));

            // A deleted app stays deleted.
            let id = keys[0].split('.').next().unwrap();
            let target = format!("/apps/{id}");
            let (answer, _) = ask(&server, &keys[0], format, "DELETE", &target, &Value::Null).await;
            assert_eq!(answer.status, 204);
            server.shutdown().await;
            let server = place.start().await;
            let mut http = Http::connect(&server).await;
            let answer = http.request("GET", "/channels", &[basic(&keys[0])], b"").await;
            assert_eq!(answer.error(), (404, 40400));
            server.shutdown().await;
        }
    }
}

// Spec: RTN15c7
#[tokio::test]
async fn after_a_restart_a_client_has_a_new_connection_and_its_channels_continue() {
    for format in FORMATS {
        for place in Place::all() {
            let server = place.start().await;
            let (mut client, connected) = Client::connect(&server, format).await;
            let attached = client.attach("c").await;
            client.publish("c", 0, vec![Message::new("seen", "1")]).await;
            let seen = client.message().await.channel_serial.unwrap();
            client.ack().await;
            let (mut publisher, _) = Client::connect(&server, format).await;
            publisher.publish("c", 0, vec![Message::new("missed", "2")]).await;
            let missed = serials(&publisher.ack().await).remove(0);
            // The test reads and ignores the message, as if it had not arrived.
            client.message().await;
            server.shutdown().await;

            let server = place.start().await;
            let key = connected.details.unwrap().connection_key.unwrap();
            let (mut client, again) =
                Client::connect_with(&server, format, &format!("resume={key}")).await;
            assert_ne!(again.connection_id, connected.connection_id);
            let error = again.error.unwrap();
            assert_eq!((error.code.0, error.status_code), (80018, 400));

            let attach = |serial| Attach {
                channel: "c".into(),
                channel_serial: Some(serial),
                ..Attach::default()
            };
            let resumed = client.attach_with(attach(seen)).await;
            assert!(resumed.flags.contains(Flags::RESUMED));
            let replayed = client.message().await;
            assert_eq!(replayed.items[0].serial.as_deref(), Some(&*missed));
            assert_eq!(replayed.items[0].name.as_deref(), Some("missed"));

            // A new message has a larger serial.
            client.publish("c", 0, vec![Message::new("new", "3")]).await;
            let new = client.message().await;
            assert!(new.items[0].serial.as_deref().unwrap() > missed.as_str());
            client.ack().await;

            // A serial from before the first publish stays valid after the restart, too.
            let resumed = client.attach_with(attach(attached.channel_serial.unwrap())).await;
            assert!(resumed.flags.contains(Flags::RESUMED));
            for name in ["seen", "missed", "new"] {
                assert_eq!(client.message().await.items[0].name.as_deref(), Some(name));
            }
            server.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_restart_removes_live_members() {
    let place = Place::directory();
    let server = place.start().await;
    let (mut client, _) = Client::connect_with(&server, Format::Json, "clientId=ada").await;
    client.attach("room").await;
    client
        .send(&ClientFrame::Presence(Publish {
            channel: "room".into(),
            msg_serial: 0,
            items: vec![PresenceMessage {
                action: Some(PresenceAction::Enter),
                ..Default::default()
            }]
            .into(),
            params: Default::default(),
        }))
        .await;
    assert!(matches!(client.next().await, ServerFrame::Presence(_)));
    client.ack().await;
    server.shutdown().await;
    while !matches!(client.event().await, Event::End) {}

    let server = place.start().await;
    let target = "/channels/room/presence";
    let (_, members) = ask(&server, server.key(), Format::Json, "GET", target, &Value::Null).await;
    assert_eq!(members, json!([]));
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    assert!(!client.attach("room").await.flags.contains(Flags::HAS_PRESENCE));
    server.shutdown().await;
}

#[tokio::test]
async fn a_given_key_is_added_to_the_stored_keys() {
    let place = Place::directory();
    let start =
        async |key: &str| Server::builder().data(place.path()).key(key).start().await.unwrap();
    let publish = async |server: &Server, key: &str| {
        let body = json!({"data": "x"});
        ask(server, key, Format::Json, "POST", "/channels/c/messages", &body).await.0.status
    };
    let server = start("first1.one:secret").await;
    assert_eq!(publish(&server, "first1.one:secret").await, 201);
    server.shutdown().await;

    let server = start("first1.two:secret").await;
    assert_eq!(server.key(), "first1.two:secret");
    assert_eq!(publish(&server, "first1.one:secret").await, 201);
    assert_eq!(publish(&server, "first1.two:secret").await, 201);
    server.shutdown().await;

    // Without a given key, the server uses the latest one. A given key replaces the stored secret.
    let server = start("first1.one:other").await;
    assert_eq!(publish(&server, "first1.one:secret").await, 401);
    server.shutdown().await;
    let server = place.start().await;
    assert_eq!(server.key(), "first1.one:other");
    let (_, history) =
        ask(&server, server.key(), Format::Json, "GET", "/channels/c/messages", &Value::Null).await;
    assert_eq!(history.as_array().unwrap().len(), 3);
    server.shutdown().await;
}

#[tokio::test]
async fn a_client_gets_more_than_the_server_has_loaded() {
    for format in FORMATS {
        let place = Place::Memory(Default::default());
        let server = place.start().await;
        let key = server.key().to_owned();
        let (mut client, _) = connect(&server, &key, format, "echo=false").await;
        let begin = client.attach("c").await.channel_serial;
        // More than are loaded with the channel, and than are read at once.
        const COUNT: u64 = 1700;
        for serial in 0..COUNT {
            client.publish("c", serial, vec![Message::new("m", serial.to_string())]).await;
        }
        let mut acknowledged = 0;
        while acknowledged < COUNT {
            acknowledged += client.ack().await.count;
        }
        server.shutdown().await;

        let server = place.start().await;
        let (mut client, _) = connect(&server, &key, format, "").await;
        let attach = Attach { channel: "c".into(), channel_serial: begin, ..Attach::default() };
        let attached = client.attach_with(attach).await;
        assert!(attached.error.is_none() && attached.flags.contains(Flags::RESUMED));
        for serial in 0..COUNT {
            assert_eq!(client.message().await.items[0].data, serial.to_string().as_str().into());
        }
        server.shutdown().await;
    }
}
