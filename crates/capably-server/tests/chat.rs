//! The REST interface of chat.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{Data, Format, Limits, MessageAction, codec};
use capably_server::Server;
use serde_json::{Value, json};

use support::{Answer, Client, Http, app, basic, server};

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

/// A caller of the interface.
struct Caller<'a> {
    server: &'a Server,
    key: String,
    client_id: Option<&'a str>,
    format: Format,
}

impl<'a> Caller<'a> {
    fn new(server: &'a Server, format: Format, client_id: &'a str) -> Self {
        Self { server, key: server.key().to_owned(), client_id: Some(client_id), format }
    }

    async fn ask(&self, method: &str, target: &str, body: &Value) -> (Answer, Value) {
        let body = match body {
            Value::Null => Vec::new(),
            body => codec::encode_body(self.format, body).unwrap(),
        };
        let media_type = self.format.content_type();
        let mut headers = vec![
            basic(&self.key),
            format!("Content-Type: {media_type}"),
            format!("Accept: {media_type}"),
        ];
        let id = self.client_id.map(|id| format!("X-Ably-ClientId: {}", STANDARD.encode(id)));
        headers.extend(id);
        let target = format!("/chat/v4/rooms/{target}");
        let answer =
            Http::connect(self.server).await.request(method, &target, &headers, &body).await;
        assert_eq!(answer.header("content-type"), Some(media_type), "{method} {target}");
        let value = codec::decode_body(self.format, &answer.body, &Limits::default()).unwrap();
        (answer, value)
    }

    /// As `ask`, for a request that succeeds with this status.
    async fn get(&self, status: u16, method: &str, target: &str, body: &Value) -> Value {
        let (answer, value) = self.ask(method, target, body).await;
        assert_eq!(answer.status, status, "{method} {target}: {value}");
        value
    }

    async fn refused(&self, method: &str, target: &str, body: &Value) -> (u16, u64) {
        let (answer, value) = self.ask(method, target, body).await;
        let code = value["error"]["code"].as_u64();
        (answer.status, code.unwrap_or_else(|| panic!("{method} {target}: {value}")))
    }
}

fn path(room: &str, message: &Value, rest: &str) -> String {
    let serial = message["serial"].as_str().unwrap().replace('@', "%40");
    format!("{room}/messages/{serial}{rest}")
}

#[tokio::test]
async fn a_message_is_sent_read_and_delivered() {
    for format in FORMATS {
        let server = server().await;
        let caller = Caller::new(&server, format, "ada");
        let (mut subscriber, _) = Client::connect(&server, format).await;
        subscriber.attach("tea::$chat").await;
        let body =
            json!({"text": "Hello", "metadata": {"a": {"b": 1}}, "headers": {"c": "d", "e": 2}});
        let sent = caller.get(201, "POST", "tea/messages", &body).await;
        assert_eq!((&sent["text"], &sent["clientId"]), (&json!("Hello"), &json!("ada")));
        assert_eq!((&sent["metadata"], &sent["headers"]), (&body["metadata"], &body["headers"]));
        assert_eq!((&sent["action"], &sent["reactions"]), (&json!("message.create"), &json!({})));
        assert_eq!(
            sent["version"],
            json!({"serial": sent["serial"], "timestamp": sent["timestamp"]})
        );
        assert_eq!(caller.get(200, "GET", &path("tea", &sent, ""), &Value::Null).await, sent);
        assert_eq!(caller.get(200, "GET", "tea/messages", &Value::Null).await, json!([sent]));
        let delivery = subscriber.message().await;
        let message = &delivery.items[0];
        assert_eq!(message.name.as_deref(), Some("chat.message"));
        assert_eq!(message.serial.as_deref(), sent["serial"].as_str());
        let Data::Text(data) = &message.data else { panic!("{message:?}") };
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data, json!({"text": "Hello", "metadata": {"a": {"b": 1}}}));
        assert_eq!(message.extras.as_ref().unwrap()["headers"], body["headers"]);
        // A room without messages, and a name with every kind of character.
        assert_eq!(caller.get(200, "GET", "empty/messages", &Value::Null).await, json!([]));
        let odd = caller.get(201, "POST", "a%2Fb%20%C3%A9/messages", &json!({"text": ""})).await;
        assert_eq!(
            caller.get(200, "GET", "a%2Fb%20%C3%A9/messages", &Value::Null).await,
            json!([odd])
        );
    }
}

#[tokio::test]
async fn an_update_replaces_every_field_and_a_deletion_empties_the_message() {
    for format in FORMATS {
        let server = server().await;
        let caller = Caller::new(&server, format, "ada");
        let (mut subscriber, _) = Client::connect(&server, format).await;
        subscriber.attach("tea::$chat").await;
        let body = json!({"text": "one", "metadata": {"a": 1}, "headers": {"b": "c"}});
        let sent = caller.get(201, "POST", "tea/messages", &body).await;
        let update = json!({
            "message": {"text": "two", "headers": {"x": "y"}},
            "description": "why", "metadata": {"k": "v"},
        });
        let updated = caller.get(200, "PUT", &path("tea", &sent, ""), &update).await;
        assert_eq!(
            (&updated["text"], &updated["action"]),
            (&json!("two"), &json!("message.update"))
        );
        assert_eq!((&updated["metadata"], &updated["headers"]), (&json!({}), &json!({"x": "y"})));
        assert_eq!(
            (&updated["serial"], &updated["timestamp"]),
            (&sent["serial"], &sent["timestamp"])
        );
        let version = &updated["version"];
        assert_eq!(
            (&version["clientId"], &version["description"], &version["metadata"]),
            (&json!("ada"), &json!("why"), &json!({"k": "v"}))
        );
        assert!(version["serial"].as_str() > sent["serial"].as_str());
        let delete = json!({"description": "gone"});
        let deleted = caller.get(200, "POST", &path("tea", &sent, "/delete"), &delete).await;
        assert_eq!((&deleted["text"], &deleted["action"]), (&json!(""), &json!("message.delete")));
        assert_eq!((&deleted["metadata"], &deleted["headers"]), (&json!({}), &json!({})));
        assert_eq!(deleted["version"]["description"], "gone");
        for (action, text) in [
            (MessageAction::Create, Some("one")),
            (MessageAction::Update, Some("two")),
            (MessageAction::Delete, None),
        ] {
            let delivery = subscriber.message().await;
            let Data::Text(data) = &delivery.items[0].data else { panic!("{delivery:?}") };
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!((delivery.items[0].action, data["text"].as_str()), (Some(action), text));
        }
        let versions = caller.get(200, "GET", &path("tea", &sent, "/versions"), &Value::Null).await;
        let texts: Vec<&str> =
            versions.as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["one", "two", ""]);
        // Without a body, and by the other method.
        let other = caller.get(201, "POST", "tea/messages", &json!({"text": "x"})).await;
        let removed = caller.get(200, "DELETE", &path("tea", &other, ""), &Value::Null).await;
        assert_eq!(removed["action"], "message.delete");
    }
}

#[tokio::test]
async fn reactions_are_summed_up_and_shown_for_a_client() {
    for format in FORMATS {
        let server = server().await;
        let (ada, bob) = (Caller::new(&server, format, "ada"), Caller::new(&server, format, "bob"));
        let sent = ada.get(201, "POST", "tea/messages", &json!({"text": "x"})).await;
        let reactions = path("tea", &sent, "/reactions");
        for (caller, reaction) in [
            (&ada, json!({"type": "distinct", "name": "👍"})),
            (&bob, json!({"type": "distinct", "name": "👍"})),
            (&ada, json!({"type": "distinct", "name": "🚀"})),
            (&ada, json!({"type": "unique", "name": "❤️"})),
            (&ada, json!({"type": "multiple", "name": "👏", "count": 3})),
            (&bob, json!({"type": "multiple", "name": "👏"})),
        ] {
            let answer = caller.get(201, "POST", &reactions, &reaction).await;
            assert!(answer["serial"].is_string());
        }
        let name = "%F0%9F%9A%80";
        let undo = format!("{reactions}?type=distinct&name={name}");
        ada.get(200, "DELETE", &undo, &Value::Null).await;
        ada.get(200, "DELETE", &format!("{reactions}?type=unique"), &Value::Null).await;
        let message = ada.get(200, "GET", &path("tea", &sent, ""), &Value::Null).await;
        let found = &message["reactions"];
        assert_eq!(found["distinct"]["👍"]["total"], 2);
        assert_eq!(found["distinct"]["👍"]["clientIds"], json!(["ada", "bob"]));
        assert_eq!(found["distinct"].get("🚀"), None);
        assert_eq!(found.get("unique"), None);
        assert_eq!(found["multiple"]["👏"]["total"], 4);
        assert_eq!(found["multiple"]["👏"]["clientIds"], json!({"ada": 3, "bob": 1}));
        let of_client = path("tea", &sent, "/client-reactions");
        let own = bob.get(200, "GET", &of_client, &Value::Null).await;
        assert_eq!(own["distinct"]["👍"]["clientIds"], json!(["bob"]));
        assert_eq!(own["multiple"]["👏"]["total"], 1);
        let other = format!("{of_client}?forClientId=ada");
        let other = bob.get(200, "GET", &other, &Value::Null).await;
        assert_eq!(other["multiple"]["👏"]["clientIds"], json!({"ada": 3}));
        let none = format!("{of_client}?forClientId=cyd");
        assert_eq!(bob.get(200, "GET", &none, &Value::Null).await, json!({}));
    }
}

#[tokio::test]
async fn pages_of_messages_are_linked() {
    for format in FORMATS {
        let server = server().await;
        let caller = Caller::new(&server, format, "ada");
        for text in ["1", "2", "3"] {
            caller.get(201, "POST", "tea/messages", &json!({"text": text})).await;
        }
        let texts = |value: &Value| -> Vec<String> {
            let items = value.as_array().unwrap().iter();
            items.map(|item| item["text"].as_str().unwrap().to_owned()).collect()
        };
        let (answer, newest) = caller.ask("GET", "tea/messages?limit=2", &Value::Null).await;
        assert_eq!(texts(&newest), ["3", "2"]);
        let next = answer.link("next").unwrap();
        let next = format!("tea/{}", next.strip_prefix("./").unwrap());
        let (answer, oldest) = caller.ask("GET", &next, &Value::Null).await;
        assert_eq!((texts(&oldest), answer.link("next")), (vec!["1".to_owned()], None));
        let forwards = "tea/messages?direction=forwards";
        assert_eq!(texts(&caller.get(200, "GET", forwards, &Value::Null).await), ["1", "2", "3"]);
        let serial = newest[1]["serial"].as_str().unwrap().replace('@', "%40");
        let until = format!("tea/messages?fromSerial={serial}");
        assert_eq!(texts(&caller.get(200, "GET", &until, &Value::Null).await), ["2", "1"]);
    }
}

#[tokio::test]
async fn a_repeated_message_is_sent_once() {
    for format in FORMATS {
        let server = server().await;
        let caller = Caller::new(&server, format, "ada");
        let target = "tea/messages?idempotencyKey=a%2Fb%2Bc%3D";
        let first = caller.get(201, "POST", target, &json!({"text": "x"})).await;
        let again = caller.get(201, "POST", target, &json!({"text": "y"})).await;
        assert_eq!(first, again);
        assert_eq!(caller.get(200, "GET", "tea/messages", &Value::Null).await, json!([first]));
    }
}

#[tokio::test]
async fn the_occupancy_of_a_room_is_that_of_its_channel() {
    for format in FORMATS {
        let server = server().await;
        let caller = Caller::new(&server, format, "ada");
        let nobody = json!({"connections": 0, "presenceMembers": 0});
        assert_eq!(caller.get(200, "GET", "tea/occupancy", &Value::Null).await, nobody);
        let (mut client, _) = Client::connect(&server, format).await;
        client.attach("tea::$chat").await;
        let one = json!({"connections": 1, "presenceMembers": 0});
        assert_eq!(caller.get(200, "GET", "tea/occupancy", &Value::Null).await, one);
    }
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    for format in FORMATS {
        let server = server().await;
        let caller = Caller::new(&server, format, "ada");
        let sent = caller.get(201, "POST", "tea/messages", &json!({"text": "x"})).await;
        let (one, reactions) = (path("tea", &sent, ""), path("tea", &sent, "/reactions"));
        for (method, target, body) in [
            ("POST", "tea/messages", json!({})),
            ("POST", "tea/messages", json!({"text": 5})),
            ("POST", "tea/messages", json!({"text": "x", "metadata": "y"})),
            ("POST", "tea/messages", json!({"text": "x", "headers": {"a": {}}})),
            ("PUT", &one, json!({"text": "x"})),
            ("PUT", &one, json!({"message": {}})),
            ("PUT", &one, json!({"message": {"text": "x"}, "metadata": "a"})),
            ("POST", &reactions, json!({"type": "many", "name": "x"})),
            ("POST", &reactions, json!({"name": "x"})),
            ("POST", &reactions, json!({"type": "distinct"})),
            ("POST", &reactions, json!({"type": "unique"})),
            ("POST", &reactions, json!({"type": "distinct", "name": "x", "count": 2})),
            ("POST", &reactions, json!({"type": "multiple", "name": "x", "count": 0})),
            (
                "POST",
                &reactions,
                json!({"type": "multiple", "name": "x", "count": 5_000_000_000_u64}),
            ),
        ] {
            assert_eq!(
                caller.refused(method, target, &body).await,
                (400, 40000),
                "{method} {body}"
            );
        }
        assert_eq!(
            caller.refused("DELETE", &format!("{reactions}?type=distinct"), &Value::Null).await,
            (400, 40000)
        );
        let unknown = "tea/messages/01726585978590-000%40local%3A000";
        for (method, body) in [
            ("GET", Value::Null),
            ("PUT", json!({"message": {"text": "x"}})),
            ("DELETE", Value::Null),
        ] {
            assert_eq!(caller.refused(method, unknown, &body).await, (404, 40400), "{method}");
        }
        assert_eq!(caller.refused("GET", "/messages", &Value::Null).await.0, 400);
        let anonymous = Caller { client_id: None, ..Caller::new(&server, format, "") };
        let body = json!({"text": "x"});
        assert_eq!(anonymous.refused("POST", "tea/messages", &body).await, (400, 40012));
    }
}

#[tokio::test]
async fn the_rights_are_those_of_the_channel() {
    for format in FORMATS {
        let server = server().await;
        let spec = json!({"keys": [
            {},
            {"capability": {"tea::$chat": ["publish"]}},
            {"capability": {"tea::$chat": ["publish", "history", "message-update-own"]}},
        ]});
        let keys = app(&server, &spec).await;
        let caller = |index: usize, client_id| Caller {
            key: keys[index].clone(),
            ..Caller::new(&server, format, client_id)
        };
        let ada = caller(0, "ada");
        let sent = ada.get(201, "POST", "tea/messages", &json!({"text": "x"})).await;
        // A publisher sees what it has sent, and no history.
        let publisher = caller(1, "bob");
        let own = publisher.get(201, "POST", "tea/messages", &json!({"text": "mine"})).await;
        assert_eq!(own["text"], "mine");
        let denied = (401, 40160);
        assert_eq!(publisher.refused("GET", "tea/messages", &Value::Null).await, denied);
        let update = json!({"message": {"text": "y"}});
        assert_eq!(publisher.refused("PUT", &path("tea", &own, ""), &update).await, denied);
        let reaction = json!({"type": "unique", "name": "x"});
        let reactions = path("tea", &sent, "/reactions");
        assert_eq!(publisher.refused("POST", &reactions, &reaction).await, denied);
        assert_eq!(publisher.refused("GET", "tea/occupancy", &Value::Null).await, denied);
        assert_eq!(
            publisher.refused("POST", "coffee/messages", &json!({"text": "x"})).await,
            denied
        );
        let owner = caller(2, "bob");
        owner.get(200, "PUT", &path("tea", &own, ""), &update).await;
        assert_eq!(owner.refused("PUT", &path("tea", &sent, ""), &update).await, denied);
    }
}
