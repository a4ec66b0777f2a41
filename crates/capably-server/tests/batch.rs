//! Batch requests over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{BatchPresenceResult, BatchResult, Format, Limits, codec};
use serde_json::{Value, json};

use support::*;

fn spec() -> Value {
    json!({
        "keys": [{}, {"capability": r#"{"channel0":["publish"],"channel6":["*"]}"#}],
        "channels": [{"name": "channel6", "presence": [{"clientId": "me", "data": "/wA=", "encoding": "base64"}]}],
    })
}

#[tokio::test]
async fn a_batch_publishes_on_many_channels() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    for format in [Format::Json, Format::MsgPack] {
        let body = json!({"channels": ["channel0", "x", "channel6"], "messages": {"data": "one"}});
        let (answer, batch) = ask(&server, &keys[1], format, "POST", "/messages", &body).await;
        assert_eq!(answer.status, 201);
        assert_eq!((&batch["successCount"], &batch["failureCount"]), (&json!(2), &json!(1)));
        let channels: Vec<_> =
            batch["results"].as_array().unwrap().iter().map(|it| &it["channel"]).collect();
        assert_eq!(channels, ["channel0", "x", "channel6"]);
        let denied = &batch["results"][1]["error"];
        assert_eq!((&denied["code"], &denied["statusCode"]), (&json!(40160), &json!(401)));
        let serials = &batch["results"][0]["serials"];
        assert_eq!(serials.as_array().unwrap().len(), 1);

        let body = json!([
            {"channels": "channel0", "messages": [{"data": "two"}, {"data": "three"}]},
            {"channels": ["channel0"], "messages": [{"data": "four"}]},
        ]);
        let (_, batches) = ask(&server, &keys[0], format, "POST", "/messages", &body).await;
        let batches = batches.as_array().unwrap();
        assert_eq!(batches.len(), 2);
        assert!(batches.iter().all(|batch| batch["successCount"] == 1));
        let id = batches[1]["results"][0]["messageId"].as_str().unwrap();
        let target = "/channels/channel0/messages?direction=forwards";
        let (_, history) = ask(&server, &keys[0], format, "GET", target, &Value::Null).await;
        let history = history.as_array().unwrap();
        let texts: Vec<_> = history.iter().rev().take(4).map(|it| &it["data"]).collect();
        assert_eq!(texts, ["four", "three", "two", "one"]);
        assert_eq!(history.last().unwrap()["id"], format!("{id}:0"));
    }
}

#[tokio::test]
async fn a_batch_returns_the_members_of_many_channels() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    for format in [Format::Json, Format::MsgPack] {
        let target = "/presence?channels=never,channel6,channel0";
        let (answer, batch) = ask(&server, &keys[1], format, "GET", target, &Value::Null).await;
        assert_eq!(answer.status, 200);
        if format == Format::MsgPack {
            // A JSON value cannot contain bytes, and MessagePack does not encode them as text.
            let batch: BatchResult<BatchPresenceResult> =
                codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
            assert_eq!((batch.success_count, batch.failure_count), (1, 2));
            let member = &batch.results[1].as_ref().unwrap().presence[0];
            assert_eq!((&member.data, &member.encoding), (&vec![255, 0].into(), &None));
            assert_eq!(batch.results[2].as_ref().unwrap_err().error.code.0, 40160);
            continue;
        }
        assert_eq!((&batch["successCount"], &batch["failureCount"]), (&json!(1), &json!(2)));
        let [never, members, denied] = &batch["results"].as_array().unwrap()[..] else { panic!() };
        for (refused, channel) in [(never, "never"), (denied, "channel0")] {
            assert_eq!(refused["channel"], channel);
            assert_eq!(
                (&refused["error"]["code"], &refused["error"]["statusCode"]),
                (&json!(40160), &json!(401))
            );
        }
        let member = &members["presence"][0];
        assert_eq!((&member["clientId"], &member["action"]), (&json!("me"), &json!(1)));
        assert_eq!((&member["data"], &member["encoding"]), (&json!("/wA="), &json!("base64")));
    }
    for format in [Format::Json, Format::MsgPack] {
        let (_, empty) =
            ask(&server, &keys[0], format, "GET", "/presence?channels=never", &Value::Null).await;
        assert_eq!(empty["results"], json!([{"channel": "never", "presence": []}]));
    }
}

#[tokio::test]
async fn older_clients_receive_one_list_and_an_error_if_a_part_fails() {
    let server = server().await;
    let mut spec = spec();
    spec["channels"] = json!([]);
    let keys = app(&server, &spec).await;
    for format in [Format::Json, Format::MsgPack] {
        let ask_as = async |version: &str, method: &str, target: &str, body: Value| {
            let media_type = format.content_type();
            let headers = [
                basic(&keys[1]),
                format!("Content-Type: {media_type}"),
                format!("Accept: {media_type}"),
                format!("X-Ably-Version: {version}"),
            ];
            let body = codec::encode_body(format, &body).unwrap();
            let mut http = Http::connect(&server).await;
            let answer = http.request(method, target, &headers, &body).await;
            let value: Value =
                codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
            (answer, value)
        };
        for (version, is_flat) in [("1.2", true), ("2", true), ("3", false), ("6", false)] {
            let body = json!({"channels": ["channel0", "channel6"], "messages": {"data": "x"}});
            let (answer, published) = ask_as(version, "POST", "/messages", body).await;
            assert_eq!(answer.status, 201);
            assert_eq!(published.is_array(), is_flat, "{version}");
        }
        let body = json!([
            {"channels": ["channel0"], "messages": {"data": "x"}},
            {"channels": ["channel6"], "messages": {"data": "x"}},
        ]);
        let (_, published) = ask_as("2", "POST", "/messages", body).await;
        let published = published.as_array().unwrap();
        assert_eq!(published.len(), 2);
        for (outcome, channel) in published.iter().zip(["channel0", "channel6"]) {
            let outcome = outcome.as_object().unwrap();
            assert_eq!(outcome["channel"], channel);
            assert!(outcome["messageId"].is_string());
            assert_eq!(outcome.len(), 2, "{outcome:?}");
        }

        let body = json!({"channels": ["channel0", "x"], "messages": {"data": "x"}});
        let failed = ask_as("2", "POST", "/messages", body).await;
        assert_eq!(refusal(&failed), (400, 40020));
        assert_eq!(failed.0.header("x-ably-errorcode"), Some("40020"));
        assert_eq!(failed.1["batchResponse"][0]["channel"], "channel0");
        assert!(failed.1["batchResponse"][0]["messageId"].is_string());
        assert_eq!(failed.1["batchResponse"][1]["error"]["code"], 40160);

        let (answer, members) =
            ask_as("2", "GET", "/presence?channels=channel6", Value::Null).await;
        assert_eq!(answer.status, 200);
        assert_eq!(members, json!([{"channel": "channel6", "presence": []}]));
        let failed = ask_as("2", "GET", "/presence?channels=channel6,x", Value::Null).await;
        assert_eq!(refusal(&failed), (400, 40020));
    }
}

#[tokio::test]
async fn invalid_batches_are_refused() {
    let server = server().await;
    let many: Vec<String> = (0..101).map(|number| number.to_string()).collect();
    for (method, target, body) in [
        ("POST", "/messages", json!([])),
        ("POST", "/messages", json!({"channels": ["a"]})),
        ("POST", "/messages", json!({"channels": [], "messages": [{}]})),
        ("POST", "/messages", json!({"channels": many, "messages": [{}]})),
        ("GET", "/presence", Value::Null),
        ("GET", "/presence?channels=,", Value::Null),
    ] {
        let asked = ask(&server, server.key(), Format::Json, method, target, &body).await;
        assert_eq!(refusal(&asked), (400, 40000), "{method} {target} {body}");
    }
    let none = Http::connect(&server).await.request("POST", "/messages", &[], b"{}").await;
    assert_eq!(none.error(), (401, 40101));
}
