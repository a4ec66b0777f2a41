//! Statistics over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, Limits, Message, ServerFrame, codec};
use capably_server::Server;
use serde_json::{Value, json};

use support::*;

/// The fixtures that client libraries post.
fn fixtures() -> Value {
    json!([
        {
            "intervalId": "2024-02-03:15:03",
            "inbound": {"realtime": {"messages": {"count": 50, "data": 5000}}},
            "outbound": {"realtime": {"messages": {"count": 20, "data": 2000}}},
        },
        {
            "intervalId": "2024-02-03:15:04",
            "inbound": {"realtime": {"messages": {"count": 60, "data": 6000}}},
            "outbound": {"realtime": {"messages": {"count": 10, "data": 1000}}},
        },
        {
            "intervalId": "2024-02-03:15:05",
            "inbound": {"realtime": {"messages": {"count": 70, "data": 7000}}},
            "outbound": {"realtime": {"messages": {"count": 40, "data": 4000}}},
            "persisted": {"presence": {"count": 20, "data": 2000}},
            "connections": {"tls": {"peak": 20, "opened": 10}},
            "channels": {"peak": 50, "opened": 30},
            "apiRequests": {"succeeded": 50, "failed": 10},
            "tokenRequests": {"succeeded": 60, "failed": 20},
        },
    ])
}

/// As [`ask`], with a version of the protocol.
async fn ask_as(
    server: &Server,
    key: &str,
    format: Format,
    version: &str,
    target: &str,
) -> (Answer, Value) {
    let headers = [
        basic(key),
        format!("Accept: {}", format.content_type()),
        format!("X-Ably-Version: {version}"),
    ];
    let answer = Http::connect(server).await.request("GET", target, &headers, b"").await;
    let value = codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
    (answer, value)
}

// Spec: RSC6, RSC6b1, RSC6b2, RSC6b4, TS12a, TS12c, TS12r, TS12s, TS12t
#[tokio::test]
async fn fixtures_are_returned_in_both_formats() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let key = app(&server, &json!({"keys": [{}]})).await.remove(0);
        let (answer, _) = ask(&server, &key, format, "POST", "/stats", &fixtures()).await;
        assert_eq!(answer.status, 201);
        let range = "start=2024-02-03:15:03&end=2024-02-03:15:05";

        let target = format!("/stats?{range}&unit=minute&direction=forwards");
        let (answer, minutes) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!(answer.status, 200);
        let ids: Vec<_> = minutes
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["intervalId"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["2024-02-03:15:03", "2024-02-03:15:04", "2024-02-03:15:05"]);
        let last = &minutes[2];
        assert_eq!((&last["unit"], &last["appId"]), (&json!("minute"), &json!(key[..6])));
        assert!(last["schema"].as_str().unwrap().contains("app-stats"));
        assert_eq!(last.get("inProgress"), None);
        for (name, expected) in [
            ("messages.inbound.all.messages.count", 70),
            ("messages.inbound.all.messages.data", 7000),
            ("messages.inbound.realtime.all.count", 70),
            ("messages.inbound.realtime.messages.count", 70),
            ("messages.outbound.realtime.all.count", 40),
            ("messages.all.messages.count", 110),
            ("messages.all.messages.data", 11_000),
            ("messages.persisted.all.count", 20),
            ("connections.all.peak", 20),
            ("connections.all.opened", 10),
            ("channels.peak", 50),
            ("channels.opened", 30),
            ("apiRequests.other.succeeded", 50),
            ("apiRequests.other.failed", 10),
            ("apiRequests.tokenRequests.succeeded", 60),
            ("apiRequests.tokenRequests.failed", 20),
        ] {
            assert_eq!(last["entries"][name], expected, "{name}");
        }

        // The newest come first by default. `by` is the older name of `unit`.
        let (_, newest) =
            ask(&server, &key, format, "GET", &format!("/stats?{range}&limit=1"), &Value::Null)
                .await;
        assert_eq!(newest[0]["intervalId"], "2024-02-03:15:05");
        let times = "start=1706972580000&end=1706972640000";
        let (_, minutes) =
            ask(&server, &key, format, "GET", &format!("/stats?{times}"), &Value::Null).await;
        assert_eq!(minutes.as_array().unwrap().len(), 2, "both times are meant");
        for (range, expected) in [
            ("start=-5&end=9223372036854775807", 3),
            ("start=9223372036854775807", 0),
            ("end=-5", 0),
        ] {
            let target = format!("/stats?{range}&direction=forwards&limit=3");
            let (_, found) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
            assert_eq!(found.as_array().unwrap().len(), expected, "{range}");
        }
        for unit in ["unit", "by"] {
            let target = format!("/stats?{times}&{unit}=hour");
            let (_, hours) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
            assert_eq!(hours.as_array().unwrap().len(), 1);
            assert_eq!(hours[0]["intervalId"], "2024-02-03:15");
            assert_eq!(hours[0]["entries"]["messages.inbound.all.messages.count"], 180);
        }

        let (_, nested) =
            ask_as(&server, &key, format, "2", &format!("/stats?{range}&unit=month")).await;
        let month = &nested[0];
        assert_eq!((&month["intervalId"], &month["unit"]), (&json!("2024-02"), &json!("month")));
        assert_eq!(month.get("entries"), None);
        assert_eq!(month["inbound"]["all"]["messages"], json!({"count": 180, "data": 18_000}));
        assert_eq!(month["outbound"]["realtime"]["all"]["count"], 70);
        assert_eq!(month["persisted"]["presence"]["data"], 2000);
        assert_eq!(month["connections"]["tls"]["peak"], 20);
        assert_eq!(month["apiRequests"]["failed"], 10);
        assert_eq!(month["tokenRequests"]["succeeded"], 60);
    }
}

// Spec: RSC6a, RSC6b3
#[tokio::test]
async fn statistics_are_returned_in_pages() {
    let server = server().await;
    let key = app(&server, &json!({"keys": [{}]})).await.remove(0);
    let fixtures: Vec<_> = (0..120)
        .map(|minute| {
            json!({
                "intervalId": format!("2023-02-03:{:02}:{:02}", 10 + minute / 60, minute % 60),
                "channels": {"opened": minute},
            })
        })
        .collect();
    let range = "start=2023-02&end=2023-02";
    for format in [Format::Json, Format::MsgPack] {
        ask(&server, &key, format, "POST", "/stats", &json!(fixtures)).await;
        let target = format!("/stats?{range}");
        let (answer, page) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!(page.as_array().unwrap().len(), 100);
        assert_eq!(page[0]["entries"]["channels.opened"], 119);
        let next = answer.link("next").unwrap();
        let next = format!("/{}", next.strip_prefix("./").unwrap());
        assert!(next.starts_with("/stats?start=2023-02&"), "{next}");
        let (answer, rest) = ask(&server, &key, format, "GET", &next, &Value::Null).await;
        assert_eq!(rest.as_array().unwrap().len(), 20);
        assert_eq!(rest[19]["entries"]["channels.opened"], 0);
        assert_eq!(answer.link("next"), None);
        let first = answer.link("first").unwrap();
        let first = format!("/{}", first.strip_prefix("./").unwrap());
        let (_, again) = ask(&server, &key, format, "GET", &first, &Value::Null).await;
        assert_eq!(again, page);
    }
}

// Spec: TS12q
#[tokio::test]
async fn app_activity_is_counted_at_once() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let key = app(&server, &json!({"keys": [{}]})).await.remove(0);
        let (_, none) = ask(&server, &key, format, "GET", "/stats", &Value::Null).await;
        assert_eq!(none, json!([]));
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        client.publish("a", 0, vec![Message::new("m", "data")]).await;
        client.ack().await;
        let name = key.split(':').next().unwrap();
        let target = format!("/keys/{name}/requestToken");
        let body = json!({"keyName": name});
        ask(&server, &key, format, "POST", &target, &body).await;
        ask(&server, &key, format, "GET", "/nowhere", &Value::Null).await;
        ask(&server, &key, format, "GET", "/push/channels", &Value::Null).await;

        let (_, hours) = ask(&server, &key, format, "GET", "/stats?unit=month", &Value::Null).await;
        let [month] = &hours.as_array().unwrap()[..] else { panic!("{hours}") };
        assert_eq!(month["inProgress"].as_str().unwrap().len(), "2024-02-03:15:03".len());
        for (name, expected) in [
            ("messages.inbound.realtime.messages.count", 1),
            ("connections.all.opened", 1),
            ("channels.opened", 1),
            ("apiRequests.tokenRequests.succeeded", 1),
            ("apiRequests.other.succeeded", 1),
            ("apiRequests.other.failed", 1),
            ("apiRequests.push.succeeded", 1),
            ("apiRequests.all.succeeded", 3),
        ] {
            assert_eq!(month["entries"][name], expected, "{name}");
        }
    }
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let server = server().await;
    let spec = json!({"keys": [{}, {"capability": r#"{"*":["subscribe"]}"#}]});
    let keys = app(&server, &spec).await;
    for format in [Format::Json, Format::MsgPack] {
        for (key, method, target, body, expected) in [
            (0, "GET", "/stats?unit=week", Value::Null, (400, 40003)),
            (0, "GET", "/stats?start=x", Value::Null, (400, 40003)),
            (0, "GET", "/stats?limit=1001", Value::Null, (400, 40003)),
            (0, "GET", "/stats?start=2024-02-02&end=2024-02-01", Value::Null, (400, 40003)),
            (0, "POST", "/stats", json!([{}]), (400, 40000)),
            (0, "POST", "/stats", json!("text"), (400, 40000)),
            (0, "POST", "/stats", json!([[]]), (400, 40000)),
            (1, "GET", "/stats", Value::Null, (401, 40160)),
            (1, "POST", "/stats", fixtures(), (401, 40160)),
        ] {
            let asked = ask(&server, &keys[key], format, method, target, &body).await;
            assert_eq!(refusal(&asked), expected, "{method} {target} {body}");
        }
    }
    let headers = ["Content-Type: application/json".to_owned()];
    let mut http = Http::connect(&server).await;
    assert_eq!(http.request("POST", "/stats", &headers, b"[]").await.status, 201);
    assert_eq!(http.request("POST", "/stats", &headers, b"[{}]").await.error(), (401, 40101));
    assert_eq!(http.request("GET", "/stats", &headers, b"").await.error(), (401, 40101));
}
