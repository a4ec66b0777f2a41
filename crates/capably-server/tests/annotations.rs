//! Annotations and their summaries over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;

use capably_protocol::{
    Annotation, AnnotationAction, ClientFrame, Format, Limits, Message, MessageAction, ServerFrame,
    codec,
    frame::{Attach, Publish},
};
use capably_server::{
    Server,
    engine::{Engine, Memory},
};
use serde_json::{Value, json};

use support::*;

const CHANNEL: &str = "mutable:a";

async fn mutable_app(server: &Server) -> String {
    let spec = json!({
        "keys": [{}],
        "namespaces": [{"id": "mutable", "mutableMessages": true}],
    });
    app(server, &spec).await.remove(0)
}

/// Publishes a message, and returns its serial and the path of its annotations.
async fn message(server: &Server, key: &str, format: Format) -> (String, String) {
    let target = format!("/channels/{CHANNEL}/messages");
    let body = json!({"name": "annotatable", "data": "content"});
    let (_, published) = ask(server, key, format, "POST", &target, &body).await;
    let serial = published["serials"][0].as_str().unwrap().to_owned();
    let path = format!("{target}/{}/annotations", serial.replace('@', "%40"));
    (serial, path)
}

// Spec: RSAN1c, RSAN1c6, RSAN2a, RSAN3b, RSAN3c
#[tokio::test]
async fn annotations_are_published_and_read_in_pages() {
    let server = server().await;
    let key = mutable_app(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let (serial, path) = message(&server, &key, format).await;
        let ask = async |method: &str, target: &str, body: Value| {
            ask(&server, &key, format, method, target, &body).await
        };
        for body in [
            json!([{"action": 0, "type": "com.ably.reactions", "name": "like"}]),
            json!([
                {"action": 0, "type": "v:multiple.v1", "name": "👍", "count": 3, "clientId": "ada",
                 "messageSerial": serial},
                {"action": 0, "type": "v:multiple.v1", "name": "👍", "data": {"why": "fun"}},
            ]),
            json!([{"action": 1, "type": "com.ably.reactions", "name": "like"}]),
        ] {
            let (answer, published) = ask("POST", &path, body.clone()).await;
            assert_eq!(answer.status, 201, "{body}");
            let serials = published["serials"].as_array().unwrap();
            assert_eq!(serials.len(), body.as_array().unwrap().len());
        }

        let (answer, page) = ask("GET", &format!("{path}?limit=3"), Value::Null).await;
        assert_eq!(answer.status, 200);
        let page = page.as_array().unwrap();
        let seen: Vec<_> = page
            .iter()
            .map(|it| (it["type"].as_str().unwrap(), it["name"].as_str().unwrap()))
            .collect();
        let (like, thumb) = (("com.ably.reactions", "like"), ("v:multiple.v1", "👍"));
        assert_eq!(seen, [like, thumb, thumb]);
        assert!(page.iter().all(|it| it["messageSerial"] == serial.as_str()));
        assert!(page.iter().all(|it| it["action"] == 0 && it["timestamp"].as_i64() > Some(0)));
        assert!(page.iter().all(|it| it["id"].is_string()));
        assert_eq!((&page[1]["count"], &page[1]["clientId"]), (&json!(3), &json!("ada")));
        assert_eq!(page[2]["data"], r#"{"why":"fun"}"#);
        assert_eq!(page[2]["encoding"], "json");
        let serials: Vec<_> = page.iter().map(|it| it["serial"].as_str().unwrap()).collect();
        assert!(serials[0] > serial.as_str() && serials.is_sorted_by(|a, b| a < b));

        let next = answer.link("next").unwrap();
        let next = next.strip_prefix("./annotations?").unwrap();
        let (answer, last) = ask("GET", &format!("{path}?{next}"), Value::Null).await;
        assert_eq!((&last[0]["action"], last.as_array().unwrap().len()), (&json!(1), 1));
        assert_eq!(answer.link("next"), None);
        assert_eq!(answer.link("first").unwrap(), "./annotations?limit=3");

        let summary = json!({"v:multiple.v1": {"👍": {
            "total": 4, "clientIds": {"ada": 3},
            "totalUnidentified": 1, "totalClientIds": 1, "clipped": false,
        }}});
        let (_, read) = ask("GET", path.strip_suffix("/annotations").unwrap(), Value::Null).await;
        assert_eq!(read["annotations"]["summary"], summary);
        let target = format!("/channels/{CHANNEL}/messages?limit=1");
        let (_, history) = ask("GET", &target, Value::Null).await;
        assert_eq!(history[0]["annotations"]["summary"], summary);
    }
}

#[tokio::test]
async fn a_request_annotates_for_its_client_id() {
    let server = server().await;
    let key = mutable_app(&server).await;
    let (_, path) = message(&server, &key, Format::Json).await;
    let body = br#"[{"action":0,"type":"r:flag.v1"}]"#;
    let headers =
        [basic(&key), "Content-Type: application/json".into(), "X-Ably-ClientId: YWRh".into()];
    let answer = Http::connect(&server).await.request("POST", &path, &headers, body).await;
    assert_eq!(answer.status, 201);
    let (_, read) = ask(&server, &key, Format::Json, "GET", &path, &Value::Null).await;
    assert_eq!(read[0]["clientId"], "ada");
}

#[tokio::test]
async fn binary_payloads_stay_binary() {
    let server = server().await;
    let key = mutable_app(&server).await;
    let annotation = Annotation {
        action: Some(AnnotationAction::Create),
        annotation_type: Some("x".into()),
        data: vec![0, 255].into(),
        ..Annotation::default()
    };
    for format in [Format::Json, Format::MsgPack] {
        let (_, path) = message(&server, &key, format).await;
        let body = codec::encode_items(format, std::slice::from_ref(&annotation));
        let media_type = format.content_type();
        let headers =
            [basic(&key), format!("Content-Type: {media_type}"), format!("Accept: {media_type}")];
        let mut http = Http::connect(&server).await;
        assert_eq!(http.request("POST", &path, &headers, &body).await.status, 201);
        let answer = http.request("GET", &path, &headers, b"").await;
        let read: Vec<Annotation> =
            codec::decode_items(format, &answer.body.into(), &Limits::default()).unwrap();
        match format {
            Format::Json => {
                assert_eq!(read[0].data, "AP8=".into());
                assert_eq!(read[0].encoding.as_deref(), Some("base64"));
            }
            Format::MsgPack => {
                assert_eq!(read[0].data, vec![0, 255].into());
                assert_eq!(read[0].encoding, None);
            }
        }
    }
}

// Spec: RTAN1c, RTAN2a, RTAN4b
#[tokio::test]
async fn annotations_are_published_and_received_over_websockets() {
    let server = server().await;
    let key = mutable_app(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let query = format!("key={key}&clientId=ada");
        let mut client = Client::open(&server, format, &query).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        let modes = "publish,subscribe,annotation_publish,annotation_subscribe";
        let params = [("modes".to_owned(), modes.to_owned())].into();
        let attach = Attach { channel: CHANNEL.into(), params, ..Attach::default() };
        assert_eq!(client.attach_with(attach).await.params["modes"], modes);
        client.publish(CHANNEL, 0, vec![Message::new("m", "a")]).await;
        client.message().await;
        let serial = serials(&client.ack().await).remove(0);

        for (msg_serial, action, total) in
            [(1, AnnotationAction::Create, 1), (2, AnnotationAction::Delete, 0)]
        {
            let annotation = Annotation {
                action: Some(action),
                message_serial: Some(serial.as_str().into()),
                annotation_type: Some("r:flag.v1".into()),
                ..Annotation::default()
            };
            let frame = ClientFrame::Annotation(Publish {
                channel: CHANNEL.into(),
                msg_serial,
                items: Arc::from([annotation]),
                params: Default::default(),
            });
            client.send(&frame).await;
            let ServerFrame::Annotation(delivery) = client.next().await else { panic!() };
            let item = &delivery.items[0];
            assert_eq!((item.action, item.client_id.as_deref()), (Some(action), Some("ada")));
            assert_eq!(item.message_serial.as_deref(), Some(&*serial));
            // An engine commits the summary after the annotation, so that either may be the first.
            let (summary, ack) = match client.next().await {
                ServerFrame::Message(summary) => (summary, client.ack().await),
                ServerFrame::Ack(ack) => (client.message().await, ack),
                other => panic!("{other:?}"),
            };
            let summary = &summary.items[0];
            assert_eq!(summary.action, Some(MessageAction::Summary));
            assert_eq!(summary.serial.as_deref(), Some(&*serial));
            assert_eq!(summary.name.as_deref(), Some("m"));
            assert_eq!(summary.summary()["r:flag.v1"]["total"], total);
            assert_eq!(ack.msg_serial, msg_serial);
            assert_eq!(serials(&ack), [item.serial.as_deref().unwrap()]);
        }
    }
}

// Spec: RSAN1c
#[tokio::test]
async fn invalid_requests_are_refused() {
    let server = server().await;
    let key = mutable_app(&server).await;
    let annotation = json!({"action": 0, "type": "x", "name": "n"});
    for format in [Format::Json, Format::MsgPack] {
        let (serial, path) = message(&server, &key, format).await;
        let missing = path.replace(":000/", ":001/");
        let target = "/channels/a/messages";
        let (_, other) = ask(&server, &key, format, "POST", target, &json!({})).await;
        let immutable = format!("{target}/{}/annotations", other["serials"][0].as_str().unwrap());
        for (method, path, body, expected) in [
            ("POST", &path, annotation.clone(), (400, 40000)),
            ("POST", &path, json!([]), (400, 40000)),
            ("POST", &path, json!([{"type": "x", "messageSerial": serial}]), (400, 40000)),
            ("POST", &path, json!([{"action": 0}]), (400, 40003)),
            ("POST", &path, json!([{"action": 0, "type": "x:flag.v1"}]), (400, 40012)),
            ("POST", &missing, json!([annotation]), (404, 40400)),
            ("POST", &immutable, json!([annotation]), (400, 93002)),
            ("POST", &format!("{path}?_forceNack=true"), json!([annotation]), (400, 40099)),
            ("GET", &missing, Value::Null, (404, 40400)),
            ("GET", &format!("{path}?limit=x"), Value::Null, (400, 40003)),
        ] {
            let asked = ask(&server, &key, format, method, path, &body).await;
            assert_eq!(refusal(&asked), expected, "{method} {path} {body}");
        }
    }
}

// Spec: TM7c1, TM7d1
#[tokio::test]
async fn summaries_list_clients_in_order_of_arrival() {
    let engine = Arc::new(Memory::new());
    let server =
        Server::builder().engine(Arc::clone(&engine) as Arc<dyn Engine>).start().await.unwrap();
    let key = mutable_app(&server).await;
    let mut expected = Vec::new();
    for format in [Format::Json, Format::MsgPack] {
        let (_, path) = message(&server, &key, format).await;
        let mut subscriber = Client::open(&server, format, &format!("key={key}")).await;
        subscriber.next().await;
        subscriber.attach(CHANNEL).await;
        let mut live = Value::Null;
        for (action, client, name) in [
            (0, "zoe", Some("n")),
            (0, "ada", Some("n")),
            (0, "max", Some("n")),
            (0, "zoe", Some("n")),
            (0, "eve", Some("n")),
            // Documented examples remove a `unique` annotation without a name.
            (1, "ada", None),
            (0, "ada", Some("n")),
            (1, "eve", None),
        ] {
            let mut body = json!([
                {"action": action, "type": "r:unique.v1", "clientId": client},
                {"action": action, "type": "r:flag.v1", "clientId": client},
                {"action": action, "type": "r:distinct.v1", "clientId": client, "name": "n"},
            ]);
            if let Some(name) = name {
                body[0]["name"] = json!(name);
            }
            let asked = ask(&server, &key, format, "POST", &path, &body).await;
            assert_eq!(asked.0.status, 201, "{body}");
            live = json!(subscriber.message().await.items[0].summary());
        }
        let list = json!({"total": 3, "clientIds": ["zoe", "max", "ada"]});
        let summary =
            json!({"r:unique.v1": {"n": list}, "r:flag.v1": list, "r:distinct.v1": {"n": list}});
        assert_eq!(live, summary, "{format:?}");
        expected.push((format, path, summary));
    }
    server.shutdown().await;
    // The stored annotation is returned unchanged.
    engine.reopen();
    let server = Server::builder().engine(engine).start().await.unwrap();
    for (format, path, summary) in expected {
        let message = path.strip_suffix("/annotations").unwrap();
        let (_, read) = ask(&server, &key, format, "GET", message, &Value::Null).await;
        assert_eq!(read["annotations"]["summary"], summary);
        let target = format!("/channels/{CHANNEL}/messages");
        let (_, history) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        let summaries = history.as_array().unwrap().iter().map(|it| &it["annotations"]["summary"]);
        assert!(summaries.clone().all(|seen| *seen == summary) && summaries.count() == 2);
    }
}

#[tokio::test]
async fn an_annotation_without_its_required_name_is_refused() {
    let server = server().await;
    let key = mutable_app(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let (_, path) = message(&server, &key, format).await;
        for (action, kind) in
            [(0, "unique"), (0, "distinct"), (1, "distinct"), (0, "multiple"), (1, "multiple")]
        {
            let kind_name = format!("r:{kind}.v1");
            let body = json!([{"action": action, "type": kind_name, "clientId": "ada"}]);
            let asked = ask(&server, &key, format, "POST", &path, &body).await;
            assert_eq!(refusal(&asked), (400, 40003), "{body}");
        }
    }
}
