//! Delivering pushes to devices and channels.

use std::slice::from_ref;

use capably_protocol::{ErrorInfo, Format, Message, ServerFrame};
use capably_server::Server;
use serde_json::{Value, json};

use crate::{
    DEVICES, FORMATS, app_with_push, code, list, phone, save, subscribe,
    support::{Client, ask, server},
};

/// The payloads pushed to a channel, oldest first, from its history.
async fn received_pushes(server: &Server, key: &str, channel: &str) -> Vec<Value> {
    let target = format!("/channels/{channel}/messages?direction=forwards");
    let messages = list(server, key, &target).await;
    let messages = messages.as_array().unwrap();
    assert!(messages.iter().all(|message| message["name"] == "__ably_push__"), "{messages:?}");
    let data = messages.iter().map(|message| message["data"].as_str().unwrap());
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test]
async fn a_push_arrives_at_its_channel() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    let [elsewhere, ..] = app_with_push(&server).await;
    let payload = json!({"notification": {"title": "t", "body": "ü"}, "data": {"a": "b"}});
    for (at, format) in FORMATS.into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{at}");
        let (client, other) = (name("client"), name("other"));
        save(&server, &key, &phone(&name("d1"), &client, &key, &name("c1"))).await;
        save(&server, &key, &phone(&name("d2"), &client, &elsewhere, &name("c2"))).await;
        save(&server, &key, &phone(&name("d3"), &other, &key, &name("c3"))).await;
        let push = async |recipient: Value| {
            let mut body = payload.clone();
            body["recipient"] = recipient;
            body["apns"] = json!({"aps": {}});
            let (answer, _) = ask(&server, &key, format, "POST", "/push/publish", &body).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0));
        };
        push(json!({"clientId": client})).await;
        assert_eq!(received_pushes(&server, &key, &name("c1")).await, from_ref(&payload));
        assert_eq!(received_pushes(&server, &elsewhere, &name("c2")).await, from_ref(&payload));
        assert!(received_pushes(&server, &key, &name("c3")).await.is_empty());
        push(json!({"deviceId": name("d3")})).await;
        assert_eq!(received_pushes(&server, &key, &name("c3")).await, from_ref(&payload));
        let address = json!({
            "transportType": "ablyChannel", "channel": name("c4"), "ablyKey": key,
            "ablyUrl": "http://127.0.0.1",
        });
        push(address).await;
        assert_eq!(received_pushes(&server, &key, &name("c4")).await, from_ref(&payload));
        // No recipient exists, or this server cannot reach it.
        push(json!({"clientId": "nobody"})).await;
        push(json!({"deviceId": "nobody"})).await;
        let apns = json!({"transportType": "apns", "channel": name("c5"), "ablyKey": key});
        push(apns).await;
        assert!(received_pushes(&server, &key, &name("c5")).await.is_empty());
    }
}

#[tokio::test]
async fn invalid_pushes_are_refused() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    let title = json!({"title": "t"});
    let client = json!({"clientId": "ada"});
    for body in [
        json!({"recipient": {}, "notification": title}),
        json!({"notification": title}),
        json!({"recipient": "ada", "notification": title}),
        json!({"recipient": {"clientId": 5}, "notification": title}),
        json!({"recipient": {"transportType": "pigeon"}, "notification": title}),
        json!({"recipient": {"transportType": "ablyChannel"}, "notification": title}),
        json!({"recipient": client}),
        json!({"recipient": client, "xxx": 5}),
        json!({"recipient": client, "notification": "t"}),
        json!({"recipient": client, "data": 5}),
        json!([]),
    ] {
        let asked = code(&server, &key, "POST", "/push/publish", &body).await;
        assert_eq!(asked, (400, 40000), "{body}");
    }
}

#[tokio::test]
async fn a_failed_push_is_recorded_on_its_device() {
    let server = server().await;
    let [key, _, none] = app_with_push(&server).await;
    let (device, body) =
        (format!("{DEVICES}/d"), json!({"recipient": {"deviceId": "d"}, "data": {"a": "b"}}));
    let nobodys = "abcdef.key:secret";
    for (address, failure) in [
        (nobodys, Some((404, 40400))),
        (none.as_str(), Some((401, 40160))),
        ("no key", Some((401, 40101))),
        (key.as_str(), None),
    ] {
        save(&server, &key, &phone("d", "ada", address, "c")).await;
        ask(&server, &key, Format::Json, "POST", "/push/publish", &body).await;
        let push = list(&server, &key, &device).await["push"].clone();
        let state = if failure.is_some() { "FAILING" } else { "ACTIVE" };
        assert_eq!(push["state"], state);
        let error: Option<ErrorInfo> = serde_json::from_value(push["errorReason"].clone()).unwrap();
        let found = error.map(|error| (error.status_code, error.code.0));
        assert_eq!(found, failure);
    }
}

#[tokio::test]
async fn a_message_is_pushed_to_the_subscriptions_of_its_channel() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    for (at, format) in FORMATS.into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{at}");
        let channel = format!("pushenabled:news-{at}");
        for device in ["d1", "d2", "d3"] {
            let client = if device == "d3" { "bob" } else { "ada" };
            save(&server, &key, &phone(&name(device), &name(client), &key, &name(device))).await;
        }
        // The first device is subscribed twice. The third one is not subscribed to this channel.
        subscribe(&server, &key, &channel, ("deviceId", &name("d1"))).await;
        subscribe(&server, &key, &channel, ("clientId", &name("ada"))).await;
        subscribe(&server, &key, &format!("{channel}x"), ("deviceId", &name("d3"))).await;

        let push = |number: u32| json!({"notification": {"title": number.to_string()}});
        let publish = async |channel: &str, body: Value| {
            let target = format!("/channels/{channel}/messages");
            let (answer, _) = ask(&server, &key, format, "POST", &target, &body).await;
            assert_eq!(answer.status, 201);
        };
        for _ in 0..2 {
            publish(&channel, json!({"id": "once", "extras": {"push": push(1)}})).await;
        }
        publish(&channel, json!([{"extras": {"push": push(2)}}, {"data": "no push"}])).await;
        publish(&channel, json!({"extras": {"push": "nonsense"}})).await;
        publish(&channel, json!({"extras": {"push": {}}})).await;
        publish(&name("other:d1"), json!({"extras": {"push": push(9)}})).await;
        publish("pushenabled:nobody", json!({"extras": {"push": push(9)}})).await;

        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        let extras = json!({"push": push(3)}).as_object().cloned();
        let message = Message { extras, ..Message::default() };
        client.publish(&channel, 0, vec![message]).await;
        client.ack().await;
        for device in ["d1", "d2"] {
            let expected = [push(1), push(2), push(3)];
            assert_eq!(received_pushes(&server, &key, &name(device)).await, expected, "{device}");
        }
        assert!(received_pushes(&server, &key, &name("d3")).await.is_empty());
    }
}
