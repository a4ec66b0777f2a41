//! Presence and channel status as REST reads them, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{
    ChannelMode, ClientFrame, Format, Limits, PresenceAction, PresenceMessage, ServerFrame, Str,
    codec,
    frame::{Attach, Publish},
};
use serde_json::{Value, json};

use support::*;

const CIPHERTEXT: &str = "HO4cYSP8LybPYBPZPHQOtuD53yrD3YV3NBoTEYBh4U0N1QXHbtkfsDfTspKeLQFt";
const CIPHER: &str = "json/utf-8/cipher+aes-128-cbc";

fn spec() -> Value {
    json!({
        "keys": [
            {},
            {"capability": r#"{"*":["subscribe"]}"#},
            {"capability": r#"{"fixtures":["presence"]}"#},
            {"capability": r#"{"fixtures":["publish","history"]}"#},
            {"capability": r#"{"fixtures":["channel-metadata"]}"#},
        ],
        "channels": [{"name": "fixtures", "presence": [
            {"clientId": "client_bool", "data": "true"},
            {"clientId": "client_json", "data": r#"{ "test": "text"}"#},
            {"clientId": "client_decoded", "data": r#"{"a":1}"#, "encoding": "json"},
            {"clientId": "client_encoded", "data": CIPHERTEXT, "encoding": format!("{CIPHER}/base64")},
        ]}],
    })
}

#[tokio::test]
async fn fixture_members_are_returned() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    for (target, action) in
        [("/channels/fixtures/presence", 1), ("/channels/fixtures/presence/history", 2)]
    {
        let (_, members) = ask(&server, &keys[0], Format::Json, "GET", target, &Value::Null).await;
        let members = members.as_array().unwrap();
        let ids: Vec<_> =
            members.iter().map(|member| member["clientId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["client_encoded", "client_decoded", "client_json", "client_bool"]);
        assert_eq!(members[0]["data"], CIPHERTEXT);
        assert_eq!(members[0]["encoding"], format!("{CIPHER}/base64"));
        assert_eq!(
            (&members[1]["data"], &members[1]["encoding"]),
            (&json!(r#"{"a":1}"#), &json!("json"))
        );
        assert_eq!(members[2]["data"], r#"{ "test": "text"}"#);
        assert_eq!(members[2].get("encoding"), None);
        for member in members {
            assert_eq!(member["action"], action);
            assert_eq!(member["connectionId"], members[0]["connectionId"]);
            assert!(member["id"].as_str().unwrap().starts_with("fixtures:0:"));
            assert!(member["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
        }

        let (answer, _) =
            ask(&server, &keys[0], Format::MsgPack, "GET", target, &Value::Null).await;
        let members: Vec<PresenceMessage> =
            codec::decode_items(Format::MsgPack, &answer.body.into(), &Limits::default()).unwrap();
        assert_eq!(members[0].encoding.as_deref(), Some(CIPHER));
        assert_eq!(members[0].data.as_bytes().unwrap().len(), 48);
    }
}

#[tokio::test]
async fn members_are_returned_in_pages_and_by_client() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    let mut target = "presence?limit=3&connectionId=fixtures".to_owned();
    for expected in [&["client_encoded", "client_decoded", "client_json"][..], &["client_bool"]] {
        let path = format!("/channels/fixtures/{target}");
        let (answer, page) = ask(&server, &keys[1], Format::Json, "GET", &path, &Value::Null).await;
        let ids: Vec<_> =
            page.as_array().unwrap().iter().map(|it| it["clientId"].as_str().unwrap()).collect();
        assert_eq!(ids, expected);
        let first = "./presence?connectionId=fixtures&limit=3";
        assert_eq!(answer.link("first").as_deref(), Some(first));
        match answer.link("next") {
            Some(next) => target = next.strip_prefix("./").unwrap().to_owned(),
            None => assert_eq!(expected, ["client_bool"]),
        }
    }
    for (query, count) in [
        ("presence?clientId=client_json", 1),
        ("presence?clientId=nobody", 0),
        ("presence?connectionId=nobody", 0),
        ("presence/history?direction=forwards&limit=2", 2),
        ("presence/history?end=1", 0),
        ("presence/history?start=1", 4),
    ] {
        let path = format!("/channels/fixtures/{query}");
        let (answer, page) = ask(&server, &keys[0], Format::Json, "GET", &path, &Value::Null).await;
        assert_eq!((answer.status, page.as_array().unwrap().len()), (200, count), "{query}");
    }
    let (_, none) =
        ask(&server, &keys[0], Format::Json, "GET", "/channels/a/presence", &Value::Null).await;
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn reading_presence_needs_a_capability() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    for (key, target, expected) in [
        (1, "presence", 200),
        (2, "presence", 200),
        (3, "presence", 401),
        (1, "presence/history", 401),
        (3, "presence/history", 200),
        (1, "", 401),
        (4, "", 200),
        (4, "presence", 401),
    ] {
        let path = format!("/channels/fixtures/{target}");
        let path = path.trim_end_matches('/');
        let asked = ask(&server, &keys[key], Format::MsgPack, "GET", path, &Value::Null).await;
        assert_eq!(asked.0.status, expected, "key {key} {path}");
        if expected == 401 {
            assert_eq!(refusal(&asked), (401, 40160));
        }
    }
    for (path, expected) in [
        ("/channels/fixtures/presence?limit=abc", (400, 40003)),
        ("/channels/%3Ahell/presence", (400, 40010)),
        ("/channels/%3Ahell/presence/history", (400, 40010)),
        ("/channels/%3Ahell", (400, 40010)),
    ] {
        let asked = ask(&server, &keys[0], Format::Json, "GET", path, &Value::Null).await;
        assert_eq!(refusal(&asked), expected, "{path}");
    }
}

#[tokio::test]
async fn the_channel_status_contains_its_occupancy() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    let metrics = async |channel: &str, format| {
        let path = format!("/channels/{channel}");
        let (answer, body) = ask(&server, &keys[0], format, "GET", &path, &Value::Null).await;
        assert_eq!(answer.status, 200);
        assert_eq!(body["channelId"], channel);
        assert_eq!(body["status"]["isActive"], true);
        body["status"]["occupancy"]["metrics"].clone()
    };
    let never = metrics("never", Format::Json).await;
    assert!(never.as_object().unwrap().values().all(|count| *count == 0));
    assert_eq!(never.as_object().unwrap().len(), 8);

    let query = format!("key={}", keys[0]);
    let mut all = Client::open(&server, Format::Json, &query).await;
    all.next().await;
    all.attach("fixtures").await;
    let mut publisher = Client::open(&server, Format::MsgPack, &query).await;
    publisher.next().await;
    let flags = ChannelMode::Publish.flag();
    publisher.attach_with(Attach { channel: "fixtures".into(), flags, ..Attach::default() }).await;
    for format in [Format::Json, Format::MsgPack] {
        let expected = json!({
            "connections": 2, "publishers": 2, "subscribers": 1,
            "presenceConnections": 1, "presenceMembers": 4, "presenceSubscribers": 1,
            "objectPublishers": 0, "objectSubscribers": 0,
        });
        assert_eq!(metrics("fixtures", format).await, expected);
    }
}

#[tokio::test]
async fn an_app_with_invalid_members_is_refused() {
    let server = server().await;
    for (channel, expected) in [
        (json!({}), (400, 40000)),
        (json!({"name": "a", "presence": 7}), (400, 40000)),
        (json!({"name": "a", "presence": [{"data": "x"}]}), (400, 40000)),
        (json!({"name": "a", "presence": [{"clientId": "*"}]}), (400, 40000)),
        (
            json!({"name": "a", "presence": [{"clientId": "c", "data": "%", "encoding": "base64"}]}),
            (400, 40013),
        ),
    ] {
        let spec = json!({"channels": [channel]});
        let asked = ask(&server, server.key(), Format::Json, "POST", "/apps", &spec).await;
        assert_eq!(refusal(&asked), expected, "{channel}");
    }
}

/// The next PRESENCE: its connection, and the action of its first member.
async fn presence(client: &mut Client) -> (Option<Str>, PresenceMessage) {
    match client.next().await {
        ServerFrame::Presence(delivery) => (delivery.connection_id, delivery.items[0].clone()),
        other => panic!("not a PRESENCE: {other:?}"),
    }
}

#[tokio::test]
async fn all_clients_receive_the_members_of_a_connection() {
    let server = server().await;
    let keys = app(&server, &spec()).await;
    for (own, others) in [(Format::Json, Format::MsgPack), (Format::MsgPack, Format::Json)] {
        let channel = format!("room-{}", own.name());
        let query = |more: &str| format!("key={}{more}", keys[0]);
        let mut watcher = Client::open(&server, others, &query("")).await;
        watcher.next().await;
        watcher.attach(&channel).await;
        let mut member =
            Client::open(&server, own, &query("&clientId=ada&remainPresentFor=0")).await;
        let ServerFrame::Connected(connected) = member.next().await else { panic!() };
        member.attach(&channel).await;

        let enter = PresenceMessage {
            action: Some(PresenceAction::Enter),
            data: vec![0, 200, 7].into(),
            ..PresenceMessage::default()
        };
        let frame = Publish {
            channel: channel.as_str().into(),
            msg_serial: 0,
            items: [enter].into(),
            params: Default::default(),
        };
        member.send(&ClientFrame::Presence(frame)).await;
        let (connection, entered) = presence(&mut watcher).await;
        assert_eq!(connection, connected.connection_id);
        assert_eq!(entered.action, Some(PresenceAction::Enter));
        assert_eq!(entered.client_id.as_deref(), Some("ada"));
        let mut data = (entered.data, entered.encoding);
        capably_protocol::encoding::strip_base64(&mut data.0, &mut data.1).unwrap();
        assert_eq!(data, (vec![0, 200, 7].into(), None));
        let id = connection.unwrap();
        assert_eq!(entered.id.as_deref(), Some(&*format!("{id}:0:0")));
        assert_eq!(presence(&mut member).await.1.id, entered.id);
        assert_eq!(member.ack().await.count, 1);

        let path = format!("/channels/{channel}/presence");
        let (_, members) = ask(&server, &keys[0], Format::Json, "GET", &path, &Value::Null).await;
        assert_eq!(members[0]["clientId"], "ada");
        assert_eq!(members[0]["action"], 1);

        // The connection is cut, and its client has asked that its members leave at once.
        drop(member);
        let (connection, left) = presence(&mut watcher).await;
        assert_eq!((connection, left.action), (Some(id.clone()), Some(PresenceAction::Leave)));
        assert!(!left.id.unwrap().starts_with(&*id));
        let path = format!("{path}/history");
        let (_, events) = ask(&server, &keys[0], Format::Json, "GET", &path, &Value::Null).await;
        let actions: Vec<_> =
            events.as_array().unwrap().iter().map(|event| event["action"].clone()).collect();
        assert_eq!(actions, [3, 2]);
    }
}
