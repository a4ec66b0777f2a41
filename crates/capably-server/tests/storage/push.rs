//! Push registrations and subscriptions: stored before they are acknowledged, and there again after a restart.

use std::sync::Arc;

use capably_protocol::Format;
use capably_server::{
    Server,
    engine::{Bucket, Engine, Memory},
};
use serde_json::{Value, json};

use super::{
    Place,
    engine::{Fate, Scripted},
    spec,
    support::{Answer, Client, Http, app, ask, basic, refusal},
};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];
const DEVICES: &str = "/push/deviceRegistrations";
const SUBSCRIPTIONS: &str = "/push/channelSubscriptions";
const BROADCASTS: &str = "/push/apnsBroadcastChannels";

/// A device that is reached through a channel of its app.
fn device(id: &str, key: &str) -> Value {
    json!({
        "id": id, "clientId": "ada", "platform": "android", "formFactor": "phone",
        "deviceSecret": "s3cr3t", "metadata": {"model": "x"},
        "push": {"recipient": {
            "transportType": "ablyChannel", "channel": "inbox", "ablyKey": key,
            "ablyUrl": "http://127.0.0.1",
        }},
    })
}

async fn list(server: &Server, key: &str, format: Format) -> Vec<Value> {
    let mut found = Vec::new();
    for target in [DEVICES, SUBSCRIPTIONS, "/push/channels"] {
        let (answer, items) = ask(server, key, format, "GET", target, &Value::Null).await;
        assert_eq!(answer.status, 200, "{target}");
        found.push(items);
    }
    found
}

async fn start(engine: &Arc<Scripted>) -> Server {
    Server::builder().engine(engine.reopen()).start().await.unwrap()
}

#[tokio::test]
async fn everything_of_push_is_there_after_a_restart() {
    for format in FORMATS {
        for place in Place::all() {
            let server = place.start().await;
            let key = app(&server, &spec()).await.remove(0);
            let ask = async |server: &Server, method: &str, target: &str, body: Value| {
                let (answer, value) = ask(server, &key, format, method, target, &body).await;
                assert!(answer.status < 300, "{method} {target}: {value}");
                value
            };
            let registered = ask(&server, "POST", DEVICES, device("a/phone", &key)).await;
            let token = registered["deviceIdentityToken"]["token"].as_str().unwrap().to_owned();
            let gone = format!("{DEVICES}/gone");
            ask(&server, "PUT", &gone, device("gone", &key)).await;
            for subscription in [
                json!({"channel": "pushenabled:a/b", "deviceId": "a/phone"}),
                json!({"channel": "pushenabled:a/b", "clientId": "bob"}),
                json!({"channel": "pushenabled:a", "clientId": "ada"}),
                json!({"channel": "pushenabled:a", "deviceId": "gone"}),
                json!({"channel": "pushenabled:left", "clientId": "cyd"}),
            ] {
                ask(&server, "POST", SUBSCRIPTIONS, subscription).await;
            }
            let changes = json!({"metadata": {"model": "y"}});
            ask(&server, "PATCH", &format!("{DEVICES}/a%2Fphone"), changes).await;
            ask(&server, "DELETE", &gone, Value::Null).await;
            ask(&server, "DELETE", &format!("{SUBSCRIPTIONS}?clientId=cyd"), Value::Null).await;
            let made = ask(&server, "POST", BROADCASTS, json!({"messageStoragePolicy": 1})).await;
            let apns = json!({"aps": {"event": "update"}});
            let step = |name: &str| format!("{BROADCASTS}/{}/{name}", made["id"].as_str().unwrap());
            let begin = json!({"apns": apns, "channels": ["pushenabled:a"]});
            ask(&server, "POST", &step("start"), begin).await;
            let before = list(&server, &key, format).await;
            assert_eq!(before[0].as_array().unwrap().len(), 1);
            assert_eq!(before[1].as_array().unwrap().len(), 3);
            server.shutdown().await;

            for _ in 0..2 {
                let server = place.start().await;
                assert_eq!(list(&server, &key, format).await, before);
                ask(&server, "POST", &step("broadcast"), json!({ "apns": apns })).await;
                // The device still proves itself with its secret, and with its token.
                let nobody = json!({"capability": {"*": ["subscribe"]}});
                let name = key.split(':').next().unwrap();
                let issued =
                    ask(&server, "POST", &format!("/keys/{name}/requestToken"), nobody).await;
                let bearer = base64_of(issued["token"].as_str().unwrap());
                for (proof, status) in [
                    ("X-Ably-DeviceSecret: s3cr3t".to_owned(), 200),
                    ("X-Ably-DeviceSecret: wrong".to_owned(), 400),
                    (format!("X-Ably-DeviceToken: {}", base64_of(&token)), 200),
                ] {
                    let headers = [format!("Authorization: Bearer {bearer}"), proof.clone()];
                    let target = format!("{DEVICES}/a%2Fphone");
                    let mut http = Http::connect(&server).await;
                    let answer = http.request("GET", &target, &headers, b"").await;
                    assert_eq!(answer.status, status, "{proof}");
                }
                server.shutdown().await;
            }

            // What is pushed reaches it.
            let server = place.start().await;
            let mut client = Client::open(&server, format, &format!("key={key}")).await;
            client.next().await;
            client.attach("inbox").await;
            let push = json!({"recipient": {"clientId": "ada"}, "notification": {"title": "t"}});
            ask(&server, "POST", "/push/publish", push).await;
            assert_eq!(client.message().await.items.len(), 1);
            server.shutdown().await;
        }
    }
}

fn base64_of(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

#[tokio::test]
async fn a_change_that_is_not_stored_has_not_happened() {
    for format in FORMATS {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let key = app(&server, &spec()).await.remove(0);
        let subscription = json!({"channel": "pushenabled:a", "deviceId": "d"});
        for (method, target, body) in [
            ("PUT", format!("{DEVICES}/d"), device("d", &key)),
            ("POST", SUBSCRIPTIONS.to_owned(), subscription),
        ] {
            assert!(ask(&server, &key, format, method, &target, &body).await.0.status < 300);
        }
        let (_, made) =
            ask(&server, &key, format, "POST", BROADCASTS, &json!({"messageStoragePolicy": 0}))
                .await;
        let begin = format!("{BROADCASTS}/{}/start", made["id"].as_str().unwrap());
        let begun = json!({"apns": {"aps": {"event": "update"}}, "deviceId": "d"});
        let before = list(&server, &key, format).await;
        let mut changed = device("d", &key);
        changed["metadata"] = json!({"model": "changed"});
        let other = json!({"channel": "pushenabled:b", "clientId": "ada"});
        for (method, target, body) in [
            ("PUT", format!("{DEVICES}/d"), &changed),
            ("PATCH", format!("{DEVICES}/d"), &json!({"metadata": {}})),
            ("POST", DEVICES.to_owned(), &device("e", &key)),
            ("POST", SUBSCRIPTIONS.to_owned(), &other),
            ("DELETE", format!("{SUBSCRIPTIONS}?deviceId=d"), &Value::Null),
            ("DELETE", format!("{DEVICES}/d"), &Value::Null),
            ("DELETE", format!("{DEVICES}?clientId=ada"), &Value::Null),
            ("POST", BROADCASTS.to_owned(), &json!({"messageStoragePolicy": 0})),
            ("POST", begin.clone(), &begun),
        ] {
            engine.next(Fate::Fail);
            let asked = ask(&server, &key, format, method, &target, body).await;
            assert_eq!(refusal(&asked), (500, 50000), "{method} {target}");
            assert_eq!(list(&server, &key, format).await, before, "{method} {target}");
        }
        let update = begin.replace("/start", "/broadcast");
        let asked = ask(&server, &key, format, "POST", &update, &begun).await;
        assert_eq!(refusal(&asked), (400, 40000), "it has not been started");
        server.shutdown().await;
        let server = start(&engine).await;
        assert_eq!(list(&server, &key, format).await, before);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn a_change_is_seen_when_it_is_stored_and_a_client_that_goes_away_does_not_undo_it() {
    let engine = Arc::new(Scripted::default());
    let server = start(&engine).await;
    let key = app(&server, &spec()).await.remove(0);
    let before = engine.facts();
    engine.hold_facts(true);
    let (waiting, body) = (basic(&key), serde_json::to_vec(&device("d", &key)).unwrap());
    let mut http = Http::connect(&server).await;
    let asking = tokio::spawn(async move {
        let headers = [waiting, "Content-Type: application/json".to_owned()];
        http.request("PUT", &format!("{DEVICES}/d"), &headers, &body).await
    });
    engine.facts_begin(before + 1).await;
    assert_eq!(list(&server, &key, Format::Json).await[0], json!([]));
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    // The server reads that the client has gone away before it answers this.
    for _ in 0..20 {
        assert_eq!(list(&server, &key, Format::Json).await[0], json!([]));
    }
    engine.hold_facts(false);
    // The turn after that of the change.
    let target = format!("{SUBSCRIPTIONS}?clientId=nobody");
    let (answer, _) = ask(&server, &key, Format::Json, "DELETE", &target, &Value::Null).await;
    assert_eq!(answer.status, 204);
    assert_eq!(list(&server, &key, Format::Json).await[0][0]["id"], "d");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_end_in_memory_as_in_the_engine() {
    for _ in 0..10 {
        let engine = Arc::new(Scripted::default());
        let server = start(&engine).await;
        let key = app(&server, &spec()).await.remove(0);
        let changes = (0..30).map(|number| {
            let (server, key) = (&server, &key);
            async move {
                let mut body = device("d", key);
                body["metadata"] = json!({ "number": number });
                let method = if number % 7 == 3 { "DELETE" } else { "PUT" };
                let target = format!("{DEVICES}/d");
                ask(server, key, Format::Json, method, &target, &body).await.0.status
            }
        });
        for status in futures_util::future::join_all(changes).await {
            assert!(status < 300, "{status}");
        }
        let before = list(&server, &key, Format::Json).await;
        server.shutdown().await;
        let server = start(&engine).await;
        assert_eq!(list(&server, &key, Format::Json).await, before);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_app() {
    let memory = Arc::new(Memory::new());
    let server = Server::builder().engine(Arc::clone(&memory) as Arc<dyn Engine>);
    let server = server.start().await.unwrap();
    let key = app(&server, &spec()).await.remove(0);
    let other = app(&server, &spec()).await.remove(0);
    for key in [&key, &other] {
        for number in 0..3 {
            let target = format!("{DEVICES}/{number}");
            let body = device(&number.to_string(), key);
            ask(&server, key, Format::Json, "PUT", &target, &body).await;
        }
    }
    let (id, _) = key.split_once('.').unwrap();
    let headers = [basic(&key)];
    let target = format!("/apps/{id}");
    let answer: Answer =
        Http::connect(&server).await.request("DELETE", &target, &headers, b"").await;
    assert_eq!(answer.status, 204);
    let left = memory.facts(Bucket::Push, "", None, 100).await.unwrap();
    let (other, _) = other.split_once('.').unwrap();
    assert_eq!(left.len(), 3);
    assert!(left.iter().all(|fact| fact.key.starts_with(&format!("{other}/"))));
    server.shutdown().await;
}

#[tokio::test]
async fn a_registration_that_is_not_readable_does_not_stop_the_others() {
    let memory = Arc::new(Memory::new());
    let start = async || {
        let server = Server::builder().engine(Arc::clone(&memory) as Arc<dyn Engine>);
        server.start().await.unwrap()
    };
    let server = start().await;
    let key = app(&server, &spec()).await.remove(0);
    ask(&server, &key, Format::Json, "PUT", &format!("{DEVICES}/b"), &device("b", &key)).await;
    let before = list(&server, &key, Format::Json).await;
    server.shutdown().await;
    memory.reopen();
    let (id, _) = key.split_once('.').unwrap();
    let facts = ["device/a", "device/c", "unknown/d"];
    let facts = facts.map(|it| (format!("{id}/{it}"), Some("{}".into()))).into();
    memory.set_facts(Bucket::Push, facts).await.unwrap();
    memory
        .set_facts(Bucket::Push, vec![("gone/device/e".into(), Some("{}".into()))])
        .await
        .unwrap();
    let server = start().await;
    assert_eq!(list(&server, &key, Format::Json).await, before);
    server.shutdown().await;
}
