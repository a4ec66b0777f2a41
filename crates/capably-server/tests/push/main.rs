//! Push over real sockets: administration, devices and deliveries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../support/mod.rs"]
mod support;

mod activities;
mod delivery;
mod devices;
mod subscriptions;

use capably_protocol::Format;
use capably_server::Server;
use serde_json::{Value, json};

use support::{app, ask, refusal, server};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];
const DEVICES: &str = "/push/deviceRegistrations";
const SUBSCRIPTIONS: &str = "/push/channelSubscriptions";

/// An app with a namespace for push and three keys: one with all rights, one that may administer push on some channels
/// and subscribe on more, and one that may only subscribe to messages.
async fn app_with_push(server: &Server) -> [String; 3] {
    let capability = json!({
        "pushenabled:*": ["publish", "subscribe", "push-subscribe"],
        "pushenabled:admin:*": ["publish", "subscribe", "push-admin"],
    });
    let spec = json!({
        "keys": [{}, {"capability": capability}, {"capability": {"*": ["subscribe"]}}],
        "namespaces": [{"id": "pushenabled", "pushEnabled": true}, {"id": "other"}],
    });
    app(server, &spec).await.try_into().unwrap()
}

/// A phone that is reached through a channel of an app.
fn phone(id: &str, client_id: &str, key: &str, channel: &str) -> Value {
    json!({
        "id": id, "clientId": client_id, "platform": "android", "formFactor": "phone",
        "push": {"recipient": {
            "transportType": "ablyChannel", "channel": channel, "ablyKey": key,
            "ablyUrl": "http://127.0.0.1",
        }},
    })
}

fn tablet(id: &str) -> Value {
    let recipient = json!({"transportType": "apns", "deviceToken": "t"});
    json!({"id": id, "platform": "ios", "formFactor": "tablet", "push": {"recipient": recipient}})
}

async fn save(server: &Server, key: &str, device: &Value) {
    let target = format!("{DEVICES}/{}", device["id"].as_str().unwrap());
    let (answer, _) = ask(server, key, Format::Json, "PUT", &target, device).await;
    assert_eq!(answer.status, 200);
}

async fn subscribe(server: &Server, key: &str, channel: &str, target: (&str, &str)) {
    let body = json!({"channel": channel, target.0: target.1});
    let (answer, saved) = ask(server, key, Format::Json, "POST", SUBSCRIPTIONS, &body).await;
    assert_eq!((answer.status, saved), (201, body));
}

/// The items of a list, as JSON.
async fn list(server: &Server, key: &str, target: &str) -> Value {
    let (answer, items) = ask(server, key, Format::Json, "GET", target, &Value::Null).await;
    assert_eq!(answer.status, 200, "{items}");
    items
}

async fn code(server: &Server, key: &str, method: &str, target: &str, body: &Value) -> (u16, u64) {
    refusal(&ask(server, key, Format::Json, method, target, body).await)
}

#[tokio::test]
async fn push_requests_need_push_capabilities() {
    let server = server().await;
    let [full, some, none] = app_with_push(&server).await;
    let title = json!({"recipient": {"clientId": "a"}, "notification": {"title": "t"}});
    let subscription = json!({"channel": "pushenabled:admin:a", "clientId": "ada"});
    for (method, target, body) in [
        ("POST", "/push/publish", &title),
        ("PUT", "/push/deviceRegistrations/d", &tablet("d")),
        ("PATCH", "/push/deviceRegistrations/d", &json!({})),
        ("GET", "/push/deviceRegistrations/d", &Value::Null),
        ("DELETE", "/push/deviceRegistrations/d", &Value::Null),
        ("POST", DEVICES, &tablet("d")),
        ("GET", DEVICES, &Value::Null),
        ("DELETE", "/push/deviceRegistrations?clientId=a", &Value::Null),
        ("POST", SUBSCRIPTIONS, &subscription),
        ("GET", SUBSCRIPTIONS, &Value::Null),
        ("DELETE", "/push/channelSubscriptions?clientId=ada", &Value::Null),
        ("GET", "/push/channels", &Value::Null),
    ] {
        let asked = code(&server, &none, method, target, body).await;
        assert_eq!(asked, (401, 40160), "{method} {target}");
        let (answer, _) = ask(&server, &some, Format::Json, method, target, body).await;
        assert!((200..300).contains(&answer.status), "{method} {target} {}", answer.status);
    }

    // The key lists and removes only subscriptions to its channels.
    subscribe(&server, &full, "pushenabled:admin:a", ("deviceId", "d")).await;
    subscribe(&server, &full, "pushenabled:b", ("deviceId", "d")).await;
    assert_eq!(list(&server, &some, "/push/channels").await, json!(["pushenabled:admin:a"]));
    let own = json!([{"channel": "pushenabled:admin:a", "deviceId": "d"}]);
    assert_eq!(list(&server, &some, &format!("{SUBSCRIPTIONS}?deviceId=d")).await, own);
    let target = format!("{SUBSCRIPTIONS}?deviceId=d");
    ask(&server, &some, Format::Json, "DELETE", &target, &Value::Null).await;
    let left = json!([{"channel": "pushenabled:b", "deviceId": "d"}]);
    assert_eq!(list(&server, &full, SUBSCRIPTIONS).await, left);
}

#[tokio::test]
async fn each_app_has_its_own_push_state() {
    let server = server().await;
    let [ours, ..] = app_with_push(&server).await;
    let [theirs, ..] = app_with_push(&server).await;
    save(&server, &ours, &tablet("d")).await;
    subscribe(&server, &ours, "pushenabled:a", ("deviceId", "d")).await;
    for target in [DEVICES, SUBSCRIPTIONS, "/push/channels"] {
        assert_eq!(list(&server, &theirs, target).await, json!([]));
    }
    let target = format!("/apps/{}", ours.split('.').next().unwrap());
    let (answer, _) = ask(&server, &ours, Format::Json, "DELETE", &target, &Value::Null).await;
    assert_eq!(answer.status, 204);
    assert_eq!(code(&server, &ours, "GET", DEVICES, &Value::Null).await, (404, 40400));
}
