//! Updates, deletions and appends over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, Message, MessageAction, ServerFrame};
use capably_server::Server;
use serde_json::{Value, json};

use support::*;

async fn mutable_app(server: &Server) -> String {
    let spec = json!({
        "keys": [{}],
        "namespaces": [{"id": "mutable", "mutableMessages": true}],
    });
    app(server, &spec).await.remove(0)
}

#[tokio::test]
async fn a_message_is_changed_and_its_versions_are_read() {
    let server = server().await;
    let key = mutable_app(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let ask = async |method: &str, target: &str, body: Value| {
            ask(&server, &key, format, method, target, &body).await
        };
        let (_, published) =
            ask("POST", "/channels/mutable:a/messages", json!({"name": "m", "data": "one"})).await;
        let serial = published["serials"][0].as_str().unwrap().to_owned();
        let path = format!("/channels/mutable:a/messages/{}", serial.replace('@', "%40"));
        let (_, created) = ask("GET", &path, Value::Null).await;
        assert_eq!((&created["data"], &created["action"]), (&json!("one"), &json!(0)));

        let operation = json!({"description": "why", "metadata": {"k": "v"}});
        for (action, data, version) in
            [(1, "two", operation), (5, "+", json!({})), (2, "x", json!({}))]
        {
            let body =
                json!({"serial": serial, "action": action, "data": data, "version": version});
            let (answer, changed) = ask("PATCH", &path, body).await;
            assert_eq!(answer.status, 200);
            assert!(changed["versionSerial"].as_str().unwrap() > serial.as_str());
        }
        let (_, versions) = ask("GET", &format!("{path}/versions?limit=3"), Value::Null).await;
        let seen: Vec<_> = versions
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["action"].as_u64().unwrap(), it["data"].as_str().unwrap()))
            .collect();
        assert_eq!(seen, [(0, "one"), (1, "two"), (1, "two+")]);
        assert_eq!(versions[1]["version"]["description"], "why");
        assert_eq!(versions[1]["version"]["metadata"], json!({"k": "v"}));
        assert_eq!(versions[0]["version"]["serial"], serial.as_str());

        let (answer, _) = ask("GET", &format!("{path}/versions?limit=3"), Value::Null).await;
        let next = answer.link("next").unwrap();
        let next = format!("{path}/{}", next.strip_prefix("./").unwrap());
        let (answer, last) = ask("GET", &next, Value::Null).await;
        assert_eq!((last[0]["action"].as_u64(), last.as_array().unwrap().len()), (Some(2), 1));
        assert_eq!(answer.link("next"), None);
        let newest = format!("{path}/versions?direction=backwards&limit=1");
        assert_eq!(ask("GET", &newest, Value::Null).await.1[0]["action"], 2);

        let (_, history) = ask("GET", "/channels/mutable:a/messages", Value::Null).await;
        assert_eq!((&history[0]["data"], &history[0]["action"]), (&json!("x"), &json!(2)));
    }
}

#[tokio::test]
async fn subscribers_receive_changes() {
    let server = server().await;
    let key = mutable_app(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        client.attach("mutable:b").await;
        client.publish("mutable:b", 0, vec![Message::new("m", "a")]).await;
        let created = client.message().await.items.remove(0);
        let serial = serials(&client.ack().await).remove(0);
        assert_eq!(created.serial.as_deref(), Some(&*serial));

        let change = Message {
            serial: Some(serial.as_str().into()),
            action: Some(MessageAction::Append),
            data: "b".into(),
            ..Message::default()
        };
        client.publish("mutable:b", 1, vec![change]).await;
        let appended = client.message().await.items.remove(0);
        assert_eq!(appended.action, Some(MessageAction::Append));
        assert_eq!((appended.data.as_str(), appended.name.as_deref()), (Some("b"), Some("m")));
        assert_eq!(appended.serial.as_deref(), Some(&*serial));
        let version = appended.version.unwrap().serial.unwrap();
        assert_eq!(serials(&client.ack().await), [&*version]);

        let path = format!("/channels/mutable:b/messages/{serial}");
        let body = json!({"action": 1, "data": "new"});
        ask(&server, &key, format, "PATCH", &path, &body).await;
        let updated = client.message().await.items.remove(0);
        assert_eq!(updated.action, Some(MessageAction::Update));
        assert_eq!(updated.data.as_str(), Some("new"));
        assert!(updated.version.unwrap().serial.unwrap() > version);
    }
}

#[tokio::test]
async fn invalid_changes_are_refused() {
    let server = server().await;
    let key = mutable_app(&server).await;
    let publish = async |channel: &str| {
        let target = format!("/channels/{channel}/messages");
        let (_, body) = ask(&server, &key, Format::Json, "POST", &target, &json!({})).await;
        format!("{target}/{}", body["serials"][0].as_str().unwrap())
    };
    let (mutable, other) = (publish("mutable:a").await, publish("a").await);
    let missing = "/channels/mutable:a/messages/01726585978590-001@local:007".to_owned();
    for (method, target, body, expected) in [
        ("PATCH", &other, json!({"action": 1}), (400, 93002)),
        ("PATCH", &mutable, json!({"action": 0}), (400, 40000)),
        ("PATCH", &mutable, json!({}), (400, 40000)),
        ("PATCH", &mutable, json!([]), (400, 40000)),
        ("PATCH", &mutable, json!({"action": 1, "serial": "x"}), (400, 40003)),
        ("PATCH", &missing, json!({"action": 1}), (404, 40400)),
        ("PATCH", &format!("{mutable}?_forceNack=true"), json!({"action": 1}), (400, 40099)),
        ("GET", &missing, Value::Null, (404, 40400)),
        ("GET", &format!("{missing}/versions"), Value::Null, (404, 40400)),
        ("GET", &format!("{mutable}/versions?limit=x"), Value::Null, (400, 40003)),
    ] {
        let asked = ask(&server, &key, Format::Json, method, target, &body).await;
        assert_eq!(refusal(&asked), expected, "{method} {target} {body}");
    }
}
