//! Listing channels over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, ServerFrame};
use serde_json::{Value, json};

use support::*;

#[tokio::test]
async fn channels_in_use_are_listed_in_pages() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({
            "keys": [{}],
            "channels": [{"name": "chat:members", "presence": [{"clientId": "me"}]}],
        });
        let key = app(&server, &spec).await.remove(0);
        let ask = async |target: &str| {
            let (answer, value) = ask(&server, &key, format, "GET", target, &Value::Null).await;
            assert_eq!(answer.status, 200, "{target}");
            (answer, value)
        };
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        for channel in ["chat:b", "other"] {
            client.attach(channel).await;
        }
        let target = "/channels/chat:a/messages";
        support::ask(&server, &key, format, "POST", target, &json!({"data": "x"})).await;

        let (_, all) = ask("/channels?by=id").await;
        assert_eq!(all, json!(["chat:a", "chat:b", "chat:members", "other"]));
        let (answer, page) = ask("/channels?prefix=chat:&limit=2").await;
        let names: Vec<_> = page.as_array().unwrap().iter().map(|it| &it["channelId"]).collect();
        assert_eq!(names, ["chat:a", "chat:b"]);
        let metrics = |details: &Value| details["status"]["occupancy"]["metrics"].clone();
        assert_eq!(metrics(&page[0])["subscribers"], 0);
        assert_eq!(metrics(&page[1])["subscribers"], 1);
        assert_eq!(page[1]["status"]["isActive"], true);
        let next = answer.link("next").unwrap();
        let (answer, page) = ask(next.strip_prefix('.').unwrap()).await;
        assert_eq!(page.as_array().unwrap().len(), 1);
        assert_eq!(metrics(&page[0])["presenceMembers"], 1);
        assert_eq!(answer.link("next"), None);
        assert_eq!(ask("/channels?prefix=nobody").await.1, json!([]));
    }
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let server = server().await;
    let spec = json!({"keys": [{"capability": r#"{"a":["*"],"*":["subscribe"]}"#}]});
    let limited = app(&server, &spec).await.remove(0);
    for format in [Format::Json, Format::MsgPack] {
        for (key, target, expected) in [
            (server.key(), "/channels?by=name", (400, 40003)),
            (server.key(), "/channels?limit=x", (400, 40003)),
            (&*limited, "/channels", (401, 40160)),
        ] {
            let asked = ask(&server, key, format, "GET", target, &Value::Null).await;
            assert_eq!(refusal(&asked), expected, "{target}");
        }
    }
}
