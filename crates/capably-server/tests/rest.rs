//! REST over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Data, Format, Limits, Message, ServerFrame, codec};
use capably_server::Server;
use serde_json::{Value, json};

use support::*;

const MSGPACK: &str = "application/x-msgpack";

async fn get(server: &Server, target: &str) -> Answer {
    request(server, "GET", target, &Value::Null).await
}

async fn publish_texts(server: &Server, channel: &str, range: std::ops::Range<u32>) {
    for number in range {
        let body = json!({"name": "m", "data": number.to_string()});
        let answer = request(server, "POST", &format!("/channels/{channel}/messages"), &body).await;
        assert_eq!(answer.status, 201);
    }
}

/// The texts on a page.
fn texts(answer: &Answer) -> Vec<u32> {
    assert_eq!(answer.status, 200);
    let page = answer.json();
    page.as_array().unwrap().iter().map(|m| m["data"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn time_needs_no_credentials() {
    let server = server().await;
    let mut http = Http::connect(&server).await;
    let first = http.request("GET", "/time", &[], b"").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ably-errorcode"), None);
    let millis = first.json()[0].as_i64().unwrap();
    assert!(millis > 1_700_000_000_000);

    let head = http.request("HEAD", "/time", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));

    let accept = [format!("Accept: {MSGPACK},application/json")];
    let msgpack = http.request("GET", "/time?request_id=x", &accept, b"").await;
    assert_eq!(msgpack.header("content-type"), Some(MSGPACK));
    let times: Vec<i64> =
        codec::decode_body(Format::MsgPack, &msgpack.body, &Limits::default()).unwrap();
    assert!(times[0] >= millis);
}

#[tokio::test]
async fn published_messages_are_delivered_and_in_history() {
    let server = server().await;
    let (mut subscriber, _) = Client::connect(&server, Format::MsgPack).await;
    subscriber.attach("a").await;
    let body = json!([
        {"name": "text", "data": "x", "extras": {"headers": {"k": "v"}, "ref": null}},
        {"data": "/wA=", "encoding": "base64"},
        {"name": "json", "data": {"a": [1]}},
        {"name": "null", "data": null, "clientId": "someone"},
    ]);
    let answer = request(&server, "POST", "/channels/a/messages", &body).await;
    assert_eq!(answer.status, 201);
    let published = answer.json();
    assert_eq!(published["channel"], "a");
    let serials = published["serials"].as_array().unwrap();
    assert_eq!(serials.len(), 4);

    let delivery = subscriber.message().await;
    assert_eq!(delivery.connection_id, None);
    assert_eq!(delivery.id.as_deref(), published["messageId"].as_str());
    assert_eq!(delivery.items[1].data, Data::from(&[0xff, 0x00][..]));
    assert_eq!(delivery.items[2].data, Data::from(r#"{"a":[1]}"#));
    assert_eq!(delivery.items[2].encoding.as_deref(), Some("json"));
    assert_eq!(delivery.items[3].data, Data::None);
    assert_eq!(delivery.items[3].client_id.as_deref(), Some("someone"));

    let history = get(&server, "/channels/a/history?direction=forwards").await.json();
    for (index, message) in history.as_array().unwrap().iter().enumerate() {
        assert_eq!(message["serial"], serials[index]);
        assert_eq!(message["version"]["serial"], serials[index]);
        assert_eq!(message["action"], 0);
        assert_eq!(message["timestamp"].as_i64(), delivery.timestamp);
        let id = format!("{}:{index}", published["messageId"].as_str().unwrap());
        assert_eq!(message["id"], id.as_str());
    }
    assert_eq!(history[0]["extras"], json!({"headers": {"k": "v"}, "ref": null}));
    assert_eq!(history[1].get("name"), None);
    assert_eq!((&history[1]["data"], &history[1]["encoding"]), (&json!("/wA="), &json!("base64")));
    assert_eq!(history[3].get("data"), None);
    assert_eq!(history[3].get("encoding"), None);

    // The same in MessagePack, both ways.
    let message = Message { data: Data::from(&b"bytes"[..]), ..Message::default() };
    let headers =
        [basic(server.key()), format!("Content-Type: {MSGPACK}"), format!("Accept: {MSGPACK}")];
    let body = codec::encode_item(Format::MsgPack, &message);
    let mut http = Http::connect(&server).await;
    let answer = http.request("POST", "/channels/a/messages", &headers, &body).await;
    assert_eq!((answer.status, answer.header("content-type")), (201, Some(MSGPACK)));
    let page = http.request("GET", "/channels/a/messages?limit=1", &headers, b"").await;
    let page = codec::decode_messages(Format::MsgPack, &page.body.into(), &Limits::default());
    assert_eq!(page.unwrap()[0].data, Data::from(&b"bytes"[..]));
}

#[tokio::test]
async fn the_last_page_has_no_next_link() {
    let server = server().await;
    publish_texts(&server, "a", 0..4).await;
    for (direction, pages) in [("backwards", [[3, 2], [1, 0]]), ("forwards", [[0, 1], [2, 3]])] {
        let target = format!("/channels/a/messages?limit=2&direction={direction}&note=a%2Cb&key=x");
        let first = get(&server, &target).await;
        assert_eq!(texts(&first), pages[0]);
        let next = first.link("next").unwrap();
        assert!(next.starts_with("./messages?") && !next.contains("key="), "{next}");
        assert!(!next.contains(','), "{next}");
        let resolve = |link: String| format!("/channels/a/{}", link.strip_prefix("./").unwrap());
        // A publish between two requests does not move the boundary of the pages.
        let second = get(&server, &resolve(next)).await;
        assert_eq!(texts(&second), pages[1]);
        assert_eq!(second.link("next"), None);
        let current = get(&server, &resolve(second.link("current").unwrap())).await;
        assert_eq!(texts(&current), pages[1]);
        let again = get(&server, &resolve(second.link("first").unwrap())).await;
        assert_eq!(texts(&again), pages[0]);
    }
    let one_by_one = get(&server, "/channels/a/history?limit=3").await;
    assert_eq!(texts(&one_by_one), [3, 2, 1]);
    let next = one_by_one.link("next").unwrap();
    publish_texts(&server, "a", 4..6).await;
    let last = get(&server, &format!("/channels/a/{}", next.strip_prefix("./").unwrap())).await;
    assert_eq!(texts(&last), [0]);
    assert_eq!(last.link("next"), None);
    assert_eq!(texts(&get(&server, "/channels/never/history").await), [0; 0]);
}

#[tokio::test]
async fn a_page_may_end_within_a_publish() {
    let server = server().await;
    let batch: Vec<_> = (0..5).map(|number| json!({"data": number.to_string()})).collect();
    request(&server, "POST", "/channels/a/messages", &json!(batch)).await;
    let mut target = "/channels/a/history?limit=2".to_owned();
    for expected in [&[4, 3][..], &[2, 1], &[0]] {
        let page = get(&server, &target).await;
        assert_eq!(texts(&page), expected);
        match page.link("next") {
            Some(next) => target = format!("/channels/a/{}", next.strip_prefix("./").unwrap()),
            None => assert_eq!(expected, [0]),
        }
    }
}

#[tokio::test]
async fn history_is_limited_by_times_and_by_an_attachment() {
    let server = server().await;
    publish_texts(&server, "a", 0..2).await;
    let (mut client, _) = Client::connect(&server, Format::Json).await;
    let serial = client.attach("a").await.channel_serial.unwrap();
    publish_texts(&server, "a", 2..4).await;
    let encoded = serial.replace('@', "%40");
    for name in ["from_serial", "fromSerial"] {
        let target = format!("/channels/a/history?{name}={encoded}");
        assert_eq!(texts(&get(&server, &target).await), [1, 0]);
    }
    let all = get(&server, "/channels/a/history?direction=forwards").await.json();
    let times: Vec<_> =
        all.as_array().unwrap().iter().map(|m| m["timestamp"].as_i64().unwrap()).collect();
    let inclusive = format!("/channels/a/history?start={}&end={}", times[1], times[1]);
    assert!(texts(&get(&server, &inclusive).await).contains(&1));
    let before = format!("/channels/a/history?end={}", times[0] - 1);
    assert_eq!(texts(&get(&server, &before).await), [0; 0]);
    let after = format!("/channels/a/history?start={}", times[3] + 1);
    assert_eq!(texts(&get(&server, &after).await), [0; 0]);
}

#[tokio::test]
async fn invalid_queries_are_refused() {
    let server = server().await;
    for query in [
        "limit=abc",
        "limit=0",
        "limit=-1",
        "limit=1001",
        "direction=sideways",
        "start=x",
        "end=1.5",
        "start=2&end=1",
        "from_serial=nonsense",
        "cursor=nonsense",
    ] {
        publish_texts(&server, "a", 0..1).await;
        let answer = get(&server, &format!("/channels/a/history?{query}")).await;
        assert_eq!(answer.error(), (400, 40003), "{query}");
    }
}

#[tokio::test]
async fn invalid_credentials_are_refused() {
    let server = server().await;
    let (app, rest) = server.key().split_once('.').unwrap();
    let key_id = rest.split(':').next().unwrap();
    let mut http = Http::connect(&server).await;
    let cases = [
        (vec![], (401, 40101)),
        (vec![basic("this.is:wrong")], (401, 40101)),
        (vec![basic("api:key")], (401, 40101)),
        (vec![basic("js9de7r:08sdnuvfasd")], (401, 40101)),
        (vec![basic("wrong-key")], (401, 40101)),
        (vec![basic("invalid.key:secret")], (401, 40101)),
        (vec![basic("nonexistent.keyname:secret")], (401, 40101)),
        (vec![basic("abcdef.key:secret")], (404, 40400)),
        (vec![basic(&format!("{app}.nobody:secret"))], (401, 40400)),
        (vec![basic(&format!("{app}.{key_id}:wrong"))], (401, 40101)),
        (vec!["Authorization: Basic %%%".to_owned()], (401, 40101)),
        (vec!["Authorization: Bearer abc".to_owned()], (401, 40101)),
        (vec!["Authorization: Digest abc".to_owned()], (401, 40101)),
        (vec![basic(server.key()), "X-Ably-ClientId: %".to_owned()], (400, 40012)),
        (vec![basic(server.key()), "X-Ably-ClientId: Kg==".to_owned()], (400, 40012)),
    ];
    for (headers, expected) in cases {
        let answer = http.request("GET", "/channels/a/messages", &headers, b"").await;
        assert_eq!(answer.error(), expected, "{headers:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("wrong-key"));
    }
    let in_query = format!("/channels/a/messages?key={}", server.key());
    assert_eq!(http.request("GET", &in_query, &[], b"").await.status, 200);
    let token = http.request("GET", "/channels/a/messages?access_token=x", &[], b"").await;
    assert_eq!(token.error(), (401, 40101));
}

#[tokio::test]
async fn the_client_id_header_sets_the_client_id_of_messages() {
    let server = server().await;
    let mut http = Http::connect(&server).await;
    // "me"
    let headers = [basic(server.key()), "X-Ably-ClientId: bWU=".to_owned()];
    for (body, expected) in [
        (json!({"data": "x"}), None),
        (json!({"data": "x", "clientId": "me"}), None),
        (json!({"data": "x", "clientId": "you"}), Some((400, 40012))),
    ] {
        let body = serde_json::to_vec(&body).unwrap();
        let answer = http.request("POST", "/channels/a/messages", &headers, &body).await;
        match expected {
            Some(error) => assert_eq!(answer.error(), error),
            None => assert_eq!(answer.status, 201),
        }
    }
    let history = get(&server, "/channels/a/messages").await.json();
    let ids: Vec<_> = history.as_array().unwrap().iter().map(|m| m["clientId"].clone()).collect();
    assert_eq!(ids, ["me", "me"]);
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let server = builder().max_frame_size(100_000).start().await.unwrap();
    let key = basic(server.key());
    for (method, target, body, expected) in [
        ("GET", "/nowhere", "", (404, 40400)),
        ("GET", "/keys/a.b/requestToken", "", (404, 40400)),
        ("DELETE", "/time", "", (404, 40400)),
        ("GET", "/", "", (400, 40000)),
        ("GET", "/channels/%ff/messages", "", (400, 40000)),
        ("POST", "/channels/a/messages", "", (400, 40000)),
        ("POST", "/channels/a/messages", "nonsense", (400, 40000)),
        ("POST", "/channels/a/messages", "[]", (400, 40000)),
        ("POST", "/channels/a/messages", "7", (400, 40000)),
        ("POST", "/channels//messages", "{}", (400, 40010)),
        ("POST", "/channels/%3Ahell/messages", "{}", (400, 40010)),
        ("GET", "/channels/%0A/messages", "", (400, 40010)),
        ("POST", "/channels/a/messages?_forceNack=true", "{}", (400, 40099)),
        ("POST", "/channels/a/messages", r#"[{"id":"a"},{"id":"a"}]"#, (400, 40031)),
        ("POST", "/channels/a/messages", r#"{"connectionKey":"x!y-1"}"#, (400, 40006)),
        ("POST", "/channels/a/messages", r#"{"data":"%","encoding":"base64"}"#, (400, 40013)),
        ("POST", "/apps", "[]", (400, 40000)),
        ("POST", "/apps", r#"{"keys":7}"#, (400, 40000)),
        ("POST", "/apps", r#"{"keys":[{"capability":"x"}]}"#, (400, 40000)),
        ("POST", "/stats", r#"[{"intervalId":"x"}]"#, (400, 40000)),
    ] {
        let headers = [key.clone(), "Content-Type: application/json".to_owned()];
        let mut http = Http::connect(&server).await;
        let answer = http.request(method, target, &headers, body.as_bytes()).await;
        assert_eq!(answer.error(), expected, "{method} {target} {body}");
        assert_eq!(http.request("GET", "/time", &[], b"").await.status, 200, "keep-alive");
    }
    let message = |size: usize| json!({"data": "x".repeat(size)});
    let post = async |size| request(&server, "POST", "/channels/a/messages", &message(size)).await;
    assert_eq!(post(65_536).await.status, 201);
    assert_eq!(post(65_537).await.error(), (400, 40009));
    assert_eq!(post(100_000).await.error(), (413, 40009));

    let msgpack = [key, format!("Accept: {MSGPACK}")];
    let answer = Http::connect(&server).await.request("GET", "/nowhere", &msgpack, b"").await;
    assert_eq!(answer.header("content-type"), Some(MSGPACK));
    assert_eq!(answer.header("x-ably-errorcode"), Some("40400"));
    let body: Value =
        codec::decode_body(Format::MsgPack, &answer.body, &Limits::default()).unwrap();
    assert_eq!(body["error"]["code"], 40400);
}

#[tokio::test]
async fn error_headers_replace_characters_that_headers_cannot_contain() {
    let server = server().await;
    let body = json!([{"name": "m"}, "größe\n"]);
    let answer = request(&server, "POST", "/channels/a/messages", &body).await;
    assert_eq!(answer.status, 400);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("größe"), "{message}");
    assert_eq!(answer.header("x-ably-errorcode"), Some("40000"));
    let expected = message.replace(['ö', 'ß'], "?");
    assert_eq!(answer.header("x-ably-errormessage"), Some(&*expected));
}

#[tokio::test]
async fn any_channel_name_fits_into_a_path() {
    let server = server().await;
    let (mut subscriber, _) = Client::connect(&server, Format::Json).await;
    for (name, encoded) in [
        ("a/b?c#d:e%f", "a%2Fb%3Fc%23d%3Ae%25f"),
        ("ünï çødé 🚀", "%C3%BCn%C3%AF%20%C3%A7%C3%B8d%C3%A9%20%F0%9F%9A%80"),
        ("a+b&c=d", "a+b&c=d"),
        ("..", "%2E%2E"),
    ] {
        subscriber.attach(name).await;
        let target = format!("/channels/{encoded}/messages");
        let answer = request(&server, "POST", &target, &json!({"data": name})).await;
        assert_eq!(answer.json()["channel"], name);
        let delivery = subscriber.message().await;
        assert_eq!((&*delivery.channel, &delivery.items[0].data), (name, &Data::from(name)));
        assert_eq!(get(&server, &target).await.json()[0]["data"], name);
    }
}

#[tokio::test]
async fn a_message_id_is_published_once() {
    let server = server().await;
    let mut answers = Vec::new();
    for text in ["first", "second"] {
        let body = json!([{"id": "base:0", "data": text}, {"id": "base:1", "data": text}]);
        let answer = request(&server, "POST", "/channels/a/messages", &body).await;
        assert_eq!(answer.status, 201);
        answers.push(answer.json());
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0]["messageId"], "base");
    let history = get(&server, "/channels/a/messages").await.json();
    let history: Vec<_> =
        history.as_array().unwrap().iter().map(|m| (m["id"].clone(), m["data"].clone())).collect();
    assert_eq!(history, [(json!("base:1"), json!("first")), (json!("base:0"), json!("first"))]);
}

#[tokio::test]
async fn apps_are_created_and_deleted_and_isolated() {
    let server = server().await;
    let spec = json!({
        "keys": [
            {},
            {"capability": r#"{ "open:*":["publish","subscribe"], "log":["history"] }"#, "note": 7},
            {"capability": {"*": ["subscribe"]}, "revocableTokens": true},
        ],
        "namespaces": [{"id": "persisted", "persisted": true}, {"id": "mutable", "x": 1}],
        "channels": [{"name": "persisted:presence_fixtures"}],
        "limits": {"presence": {"maxMembers": 250}},
    });
    let body = serde_json::to_vec(&spec).unwrap();
    let json_body = ["Content-Type: application/json".to_owned()];
    let mut http = Http::connect(&server).await;
    let answer = http.request("POST", "/apps", &json_body, &body).await;
    assert_eq!(answer.status, 201);
    let app = answer.json();
    let app_id = app["appId"].as_str().unwrap();
    assert_eq!(app_id.len(), 6);
    assert_eq!(app["namespaces"], spec["namespaces"]);
    assert_eq!(app["channels"], spec["channels"]);
    assert_eq!(app["endpoint"], "127.0.0.1");
    assert_eq!(app["port"], server.port());
    assert_eq!(app["tls"], false);
    let keys = app["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    for key in keys {
        let name = key["keyName"].as_str().unwrap();
        let secret = key["keySecret"].as_str().unwrap();
        assert_eq!(name, format!("{app_id}.{}", key["id"].as_str().unwrap()));
        assert_eq!(key["keyStr"], format!("{name}:{secret}"));
        assert_eq!(key["value"], secret);
    }
    assert_eq!(keys[0]["capability"], r#"{"*":["*"]}"#);
    assert_eq!(keys[1]["capability"], spec["keys"][1]["capability"]);
    assert_eq!(keys[1]["note"], 7);
    assert_eq!(keys[2]["capability"], r#"{"*":["subscribe"]}"#);
    assert_eq!(keys[2]["revocableTokens"], true);

    // The capabilities of the keys.
    let auth = |index: usize| vec![basic(keys[index]["keyStr"].as_str().unwrap())];
    for (key, method, channel, expected) in [
        (0, "POST", "a", 201),
        (0, "GET", "a", 200),
        (1, "POST", "open:a", 201),
        (1, "POST", "a", 401),
        (1, "GET", "log", 200),
        (1, "GET", "open:a", 401),
        (2, "POST", "a", 401),
    ] {
        let target = format!("/channels/{channel}/messages");
        let answer = http.request(method, &target, &auth(key), b"{}").await;
        assert_eq!(answer.status, expected, "key {key} {method} {channel}");
        if expected == 401 {
            assert_eq!(answer.error(), (401, 40160));
        }
    }

    // Another app has none of its data, and refuses its keys.
    assert_eq!(get(&server, "/channels/a/messages").await.json(), json!([]));
    let key = keys[0]["keyStr"].as_str().unwrap();
    let mut client = Client::open(&server, Format::Json, &format!("key={key}")).await;
    let ServerFrame::Connected(theirs) = client.next().await else { panic!() };
    client.attach("a").await;
    let (mut neighbour, _) = Client::connect(&server, Format::Json).await;
    neighbour.publish("a", 0, vec![Message::new("m", "next door")]).await;
    neighbour.ack().await;
    client.publish("a", 0, vec![Message::new("m", "here")]).await;
    assert_eq!(client.message().await.items[0].data, Data::from("here"));
    client.ack().await;
    let resume = theirs.details.unwrap().connection_key.unwrap();
    let (_, strangers) =
        Client::connect_with(&server, Format::Json, &format!("resume={resume}")).await;
    assert_eq!(strangers.error.unwrap().code.0, 80018);

    // Deleting the app ends its connections.
    let target = format!("/apps/{app_id}");
    let other = basic(server.key());
    assert_eq!(http.request("DELETE", &target, &[], b"").await.error(), (401, 40101));
    assert_eq!(http.request("DELETE", &target, &[other], b"").await.error(), (401, 40101));
    assert_eq!(http.request("DELETE", &target, &auth(1), b"").await.error(), (401, 40160));
    for _ in 0..2 {
        assert_eq!(http.request("DELETE", &target, &auth(0), b"").await.status, 204);
    }
    assert_eq!(client.last_error().await, 40400);
    let gone = http.request("GET", "/channels/a/messages", &auth(0), b"").await;
    assert_eq!(gone.error(), (404, 40400));
}

#[tokio::test]
async fn an_app_can_be_requested_in_messagepack() {
    let server = server().await;
    let headers = [format!("Content-Type: {MSGPACK}"), format!("Accept: {MSGPACK}")];
    let body = codec::encode_body(Format::MsgPack, &json!({"keys": [{}]})).unwrap();
    let answer = Http::connect(&server).await.request("POST", "/apps", &headers, &body).await;
    assert_eq!(answer.status, 201);
    let app: Value = codec::decode_body(Format::MsgPack, &answer.body, &Limits::default()).unwrap();
    assert_eq!(app["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_empty_list_of_statistics_is_accepted() {
    let server = server().await;
    let headers = ["Content-Type: application/json".to_owned()];
    let answer = Http::connect(&server).await.request("POST", "/stats", &headers, b"[]").await;
    assert_eq!(answer.status, 201);
}
