//! Devices: requests of administrators, and requests of the devices themselves.

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::Format;
use capably_server::Server;
use serde_json::{Value, json};

use crate::{
    DEVICES, FORMATS, SUBSCRIPTIONS, app_with_push, code, list, phone, save,
    support::{Answer, Http, ask, basic, refusal, server},
    tablet,
};

#[tokio::test]
async fn a_device_is_saved_read_changed_and_removed() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    for format in FORMATS {
        let target = format!("{DEVICES}/a%2Fdevice");
        let recipient = json!({"transportType": "fcm", "registrationToken": "first"});
        let mut device = json!({
            "id": "a/device", "clientId": "ada", "platform": "android", "formFactor": "watch",
            "metadata": {"model": "x"}, "deviceSecret": "s3cr3t",
            "push": {"recipient": recipient, "state": "FAILED"},
        });
        let (answer, saved) = ask(&server, &key, format, "PUT", &target, &device).await;
        assert_eq!(answer.status, 200);
        device["push"]["state"] = json!("ACTIVE");
        let (answer, read) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!((answer.status, &read), (200, &device));
        device.as_object_mut().unwrap().remove("deviceSecret");
        assert_eq!(saved, device);
        assert_eq!(list(&server, &key, DEVICES).await, json!([device]));

        let other = json!({
            "platform": "android", "formFactor": "watch", "push": {"recipient": recipient},
        });
        let (_, saved) = ask(&server, &key, format, "PUT", &target, &other).await;
        assert_eq!(saved.get("clientId"), None);
        assert_eq!(saved["metadata"], json!({}));
        assert_eq!(saved["id"], "a/device");

        let recipient = json!({"transportType": "fcm", "registrationToken": "second"});
        let changes = json!({"push": {"recipient": recipient}, "metadata": {"a": "b"}});
        let (answer, changed) = ask(&server, &key, format, "PATCH", &target, &changes).await;
        assert_eq!(answer.status, 200);
        assert_eq!(changed.get("deviceSecret"), None);
        // An update without a secret keeps the stored one.
        let (_, read) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!(read["deviceSecret"], "s3cr3t");
        assert_eq!(changed["push"], json!({"recipient": recipient, "state": "ACTIVE"}));
        assert_eq!(
            (&changed["metadata"]["a"], &changed["formFactor"]),
            (&"b".into(), &"watch".into())
        );

        for _ in 0..2 {
            let (answer, _) = ask(&server, &key, format, "DELETE", &target, &Value::Null).await;
            assert_eq!((answer.status, answer.body.len()), (204, 0));
        }
        for (method, body) in [("GET", Value::Null), ("PATCH", changes)] {
            let asked = ask(&server, &key, format, method, &target, &body).await;
            assert_eq!(refusal(&asked), (404, 40400), "{method}");
        }
    }
}

#[tokio::test]
async fn invalid_devices_are_refused() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    let with = |name: &str, value: Value| {
        let mut device = tablet("d");
        device[name] = value;
        device
    };
    let apns = json!({"transportType": "apns"});
    for (device, expected) in [
        (with("platform", json!("amiga")), (400, 40000)),
        (with("platform", Value::Null), (400, 40000)),
        (with("formFactor", json!("fridge")), (400, 40000)),
        (with("formFactor", Value::Null), (400, 40000)),
        (with("push", json!({})), (400, 40000)),
        (with("push", json!({"recipient": {}})), (400, 40000)),
        (with("push", json!({"recipient": "apns"})), (400, 40000)),
        (with("push", json!({"recipient": {"transportType": "pigeon"}})), (400, 40000)),
        (with("push", json!({"recipient": {"transportType": "ablyChannel"}})), (400, 40000)),
        (with("deviceSecret", json!(5)), (400, 40000)),
        (with("metadata", json!("text")), (400, 40000)),
        (with("clientId", json!("*")), (400, 40012)),
        (with("clientId", json!("")), (400, 40012)),
        (with("id", json!("another")), (400, 40003)),
        (json!([]), (400, 40000)),
    ] {
        let target = format!("{DEVICES}/d");
        assert_eq!(code(&server, &key, "PUT", &target, &device).await, expected, "{device}");
    }
    for device in [with("id", json!("")), json!({"push": {"recipient": apns}})] {
        assert_eq!(code(&server, &key, "POST", DEVICES, &device).await, (400, 40000), "{device}");
    }
    assert_eq!(list(&server, &key, DEVICES).await, json!([]));
}

#[tokio::test]
async fn devices_are_listed_in_pages_and_removed_by_filter() {
    let server = server().await;
    let [key, ..] = app_with_push(&server).await;
    for id in ["d3", "d1", "d2"] {
        save(&server, &key, &phone(id, "ada", &key, "c")).await;
    }
    save(&server, &key, &phone("d4", "bob", &key, "c")).await;
    save(&server, &key, &tablet("d5")).await;
    let ids = |items: &Value| -> Vec<String> {
        let items = items.as_array().unwrap().iter();
        items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("", vec!["d1", "d2", "d3", "d4", "d5"]),
        ("?limit=5000", vec!["d1", "d2", "d3", "d4", "d5"]),
        ("?direction=backwards&limit=2", vec!["d5", "d4"]),
        ("?clientId=ada", vec!["d1", "d2", "d3"]),
        ("?deviceId=d4", vec!["d4"]),
        ("?deviceId=d4&clientId=ada", vec![]),
        ("?deviceId=nobody", vec![]),
    ] {
        let items = list(&server, &key, &format!("{DEVICES}{query}")).await;
        assert_eq!(ids(&items), expected, "{query}");
    }
    for format in FORMATS {
        let (mut target, mut pages) = (format!("{DEVICES}?clientId=ada&limit=2"), Vec::new());
        loop {
            let (answer, items) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
            pages.push(ids(&items));
            let first = answer.link("first").unwrap();
            assert_eq!(first, "./deviceRegistrations?clientId=ada&limit=2");
            match answer.link("next") {
                Some(next) => target = next.replacen('.', "/push", 1),
                None => break,
            }
        }
        assert_eq!(pages, [vec!["d1", "d2"], vec!["d3"]]);
    }
    let target = format!("{DEVICES}?limit=5000");
    let (answer, _) = ask(&server, &key, Format::Json, "GET", &target, &Value::Null).await;
    assert_eq!(answer.link("first").unwrap(), "./deviceRegistrations?limit=1000");
    for query in ["?limit=0", "?limit=abc"] {
        let target = format!("{DEVICES}{query}");
        assert_eq!(code(&server, &key, "GET", &target, &Value::Null).await, (400, 40003));
    }

    assert_eq!(code(&server, &key, "DELETE", DEVICES, &Value::Null).await, (400, 40003));
    for query in ["?clientId=ada", "?deviceId=d5", "?clientId=nobody"] {
        let target = format!("{DEVICES}{query}");
        let (answer, _) = ask(&server, &key, Format::Json, "DELETE", &target, &Value::Null).await;
        assert_eq!(answer.status, 204);
    }
    assert_eq!(ids(&list(&server, &key, DEVICES).await), ["d4"]);
}

/// Sends a request of a device with its authenticating header, and with a key unless that is empty.
async fn ask_as(
    server: &Server,
    key: &str,
    proof: &str,
    (method, target): (&str, &str),
    body: &Value,
) -> Answer {
    let mut headers = vec![proof.to_owned(), "Content-Type: application/json".to_owned()];
    if !key.is_empty() {
        headers.push(basic(key));
    }
    let body = serde_json::to_vec(body).unwrap();
    Http::connect(server).await.request(method, target, &headers, &body).await
}

/// Registers a device with a secret, and returns its token.
async fn activate(server: &Server, key: &str, id: &str) -> Value {
    let mut device = tablet(id);
    device["deviceSecret"] = json!(format!("secret of {id}"));
    let (answer, mut registered) = ask(server, key, Format::Json, "POST", DEVICES, &device).await;
    assert_eq!(answer.status, 201);
    let token = registered.as_object_mut().unwrap().remove("deviceIdentityToken").unwrap();
    device.as_object_mut().unwrap().remove("deviceSecret");
    device["metadata"] = json!({});
    device["push"]["state"] = json!("ACTIVE");
    assert_eq!(registered, device);
    token
}

#[tokio::test]
async fn a_device_registers_and_manages_itself() {
    let server = server().await;
    let [full, _, none] = app_with_push(&server).await;
    let capability = json!({"pushenabled:*": ["push-subscribe"]});
    let name = full.split(':').next().unwrap();
    let body = json!({"capability": capability.to_string()});
    let target = format!("/keys/{name}/requestToken");
    let (_, issued) = ask(&server, &full, Format::Json, "POST", &target, &body).await;
    let bearer = |token: &Value| {
        format!("Authorization: Bearer {}", STANDARD.encode(token.as_str().unwrap()))
    };
    let subscriber = bearer(&issued["token"]);
    let registered = ask_as(&server, "", &subscriber, ("POST", DEVICES), &tablet("d0")).await;
    assert_eq!(registered.status, 201);
    // The token of the device has the rights of the token with which it registered.
    let token = &registered.json()["deviceIdentityToken"];
    assert_eq!(token["capability"], r#"{"pushenabled:*":["push-subscribe"]}"#);

    let details = activate(&server, &full, "d1").await;
    assert_eq!(details["keyName"], name);
    assert_eq!(details["deviceId"], "d1");
    assert_eq!(details["capability"], r#"{"*":["push-subscribe"]}"#);
    assert!(
        details["expires"].as_i64().unwrap() - details["issued"].as_i64().unwrap() > 86_400_000
    );
    activate(&server, &full, "d2").await;
    let token = &details["token"];

    // The device authenticates with its token, in either form, or with its secret.
    let text = token.as_str().unwrap();
    let proofs = [
        format!("X-Ably-DeviceToken: {text}"),
        format!("X-Ably-DeviceToken: {}", STANDARD.encode(text)),
        format!("X-Ably-DeviceToken: {}", STANDARD.encode(details.to_string())),
        "X-Ably-DeviceSecret: secret of d1".to_owned(),
    ];
    let own = format!("{DEVICES}/d1");
    let other = format!("{DEVICES}/d2");
    for proof in &proofs {
        let answer = ask_as(&server, &none, proof, ("GET", &own), &Value::Null).await;
        assert_eq!((answer.status, &answer.json()["id"]), (200, &json!("d1")));
        let answer = ask_as(&server, &none, proof, ("GET", &other), &Value::Null).await;
        assert_eq!(answer.error(), (400, 40005));
        let answer = ask_as(&server, &none, proof, ("GET", DEVICES), &Value::Null).await;
        assert_eq!(answer.error(), (401, 40160));
    }
    for proof in ["X-Ably-DeviceToken: nonsense", "X-Ably-DeviceSecret: secret of d2"] {
        let answer = ask_as(&server, &none, proof, ("GET", &own), &Value::Null).await;
        assert_eq!(answer.error(), (400, 40005));
        // An administrator of push needs no credentials of the device.
        let answer = ask_as(&server, &full, proof, ("GET", &own), &Value::Null).await;
        assert_eq!(answer.status, 200);
    }

    // The token of the device suffices without other credentials.
    for proof in [&proofs[0], &bearer(token)] {
        let recipient = json!({"transportType": "apns", "deviceToken": "new"});
        let changes = json!({"push": {"recipient": recipient}});
        let answer = ask_as(&server, "", proof, ("PATCH", &own), &changes).await;
        assert_eq!((answer.status, &answer.json()["push"]["recipient"]), (200, &recipient));
        let claim = json!({"clientId": "somebody"});
        let answer = ask_as(&server, "", proof, ("PATCH", &own), &claim).await;
        assert_eq!(answer.error(), (400, 40012));

        let body = json!({"channel": "pushenabled:a", "deviceId": "d1"});
        let answer = ask_as(&server, "", proof, ("POST", SUBSCRIPTIONS), &body).await;
        assert_eq!((answer.status, answer.json()), (201, body));
        let theirs = json!({"channel": "pushenabled:a", "deviceId": "d2"});
        let answer = ask_as(&server, "", proof, ("POST", SUBSCRIPTIONS), &theirs).await;
        assert_eq!(answer.error(), (400, 40005));
        let client = json!({"channel": "pushenabled:a", "clientId": "ada"});
        let answer = ask_as(&server, "", proof, ("POST", SUBSCRIPTIONS), &client).await;
        assert_eq!(answer.error(), (400, 40012));
        let target = format!("{SUBSCRIPTIONS}?deviceId=d1");
        let answer = ask_as(&server, "", proof, ("DELETE", &target), &Value::Null).await;
        assert_eq!(answer.status, 204);
        assert_eq!(list(&server, &full, SUBSCRIPTIONS).await, json!([]));
    }
    let answer = ask_as(&server, "", "X-Ably-DeviceToken: nonsense", ("GET", &own), &Value::Null);
    assert_eq!(answer.await.error(), (401, 40101));

    // Another registration needs the secret.
    let mut device = tablet("d1");
    let answer = ask_as(&server, "", &subscriber, ("POST", DEVICES), &device).await;
    assert_eq!(answer.error(), (400, 40005));
    device["deviceSecret"] = json!("secret of d1");
    let answer = ask_as(&server, "", &subscriber, ("POST", DEVICES), &device).await;
    assert_eq!(answer.status, 201);

    let target = format!("{DEVICES}?deviceId=d1");
    let answer = ask_as(&server, "", &proofs[0], ("DELETE", &target), &Value::Null).await;
    assert_eq!(answer.status, 204);
    let answer = ask_as(&server, "", &proofs[0], ("DELETE", &target), &Value::Null).await;
    assert_eq!(answer.error(), (401, 40160));
    assert_eq!(code(&server, &full, "GET", &own, &Value::Null).await, (404, 40400));
}
