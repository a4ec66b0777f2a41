//! Objects over HTTP.

use capably_objects::{ObjectId, ObjectType};
use capably_protocol::{Format, codec};
use capably_server::Server;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    FORMATS,
    sharer::Sharer,
    support::{Answer, app, ask, refusal, request, server},
};

/// A channel and a format, for requests.
struct Channel<'a> {
    server: &'a Server,
    name: String,
    format: Format,
}

impl<'a> Channel<'a> {
    fn new(server: &'a Server, name: &str, format: Format) -> Self {
        Self { server, name: format!("{name}-{}", format.name()), format }
    }

    async fn ask(&self, method: &str, target: &str, body: &Value) -> (Answer, Value) {
        let target = format!("/channels/{}/{target}", self.name);
        ask(self.server, self.server.key(), self.format, method, &target, body).await
    }

    /// Publishes, and returns the objects of the answer.
    async fn publish(&self, body: Value) -> Vec<String> {
        let (answer, published) = self.ask("POST", "object", &body).await;
        assert_eq!(answer.status, 201, "{body}: {published}");
        assert_eq!(published["channel"], *self.name);
        assert!(published["messageId"].is_string());
        let ids = published["objectIds"].as_array().unwrap().iter();
        ids.map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    async fn refused(&self, body: Value) -> (u16, u64) {
        refusal(&self.ask("POST", "object", &body).await)
    }

    async fn get(&self, target: &str) -> Value {
        let (answer, value) = self.ask("GET", target, &Value::Null).await;
        assert_eq!(answer.status, 200, "{target}");
        value
    }
}

fn path_of(id: &str) -> String {
    format!("object/{}", id.replace('@', "%40").replace(':', "%3A"))
}

#[tokio::test]
async fn values_are_set_and_read_by_id_and_by_path() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "values", format);
        assert_eq!(channel.get("object").await, json!({}), "there is always the root");
        let leaves = [
            ("s", json!({"string": "text"}), json!("text")),
            ("n", json!({"number": 1.5}), json!(1.5)),
            ("whole", json!({"number": 42}), json!(42)),
            ("b", json!({"boolean": false}), json!(false)),
            ("j", json!({"json": "{\"a\":[1]}"}), json!("{\"a\":[1]}")),
        ];
        for (key, value, _) in &leaves {
            let ids = channel
                .publish(json!({"objectId": "root", "mapSet": {"key": key, "value": value}}))
                .await;
            assert_eq!(ids, ["root"]);
        }
        let counter = channel.publish(json!({"path": "c", "counterCreate": {}})).await;
        let map = channel
            .publish(json!({"path": "m", "mapCreate": {"semantics": 0, "entries": {
                "k": {"data": {"string": "v"}},
                "c": {"data": {"objectId": counter[0]}},
            }}}))
            .await;
        channel.publish(json!({"path": "m.c", "counterInc": {"number": 2.5}})).await;
        let mut compact = json!({"c": 2.5, "m": {"k": "v", "c": 2.5}});
        let full_counter = json!({"objectId": counter[0], "counter": {"data": {"number": 2.5}}});
        let full_map = json!({"objectId": map[0], "map": {"semantics": "LWW", "entries": {
            "k": {"data": {"string": "v"}}, "c": {"data": full_counter},
        }}});
        let mut entries = json!({"c": {"data": full_counter}, "m": {"data": full_map}});
        for (key, full, plain) in leaves {
            compact[key] = plain.clone();
            entries[key] = json!({"data": full});
            assert_eq!(channel.get(&format!("object?path={key}")).await, plain);
            let leaf = channel.get(&format!("object?path={key}&compact=false")).await;
            assert_eq!(leaf, full, "the data alone");
        }
        assert_eq!(channel.get("object").await, compact);
        assert_eq!(channel.get("object?compact=true").await, compact);
        let root = json!({"objectId": "root", "map": {"semantics": "LWW", "entries": entries}});
        assert_eq!(channel.get("object?compact=false").await, root);
        assert_eq!(channel.get("object/root?compact=false").await, root);
        assert_eq!(channel.get(&format!("{}?path=k", path_of(&map[0]))).await, "v");
        let by_id = channel.get(&format!("{}?compact=false", path_of(&counter[0]))).await;
        assert_eq!(by_id, full_counter);
        channel.publish(json!({"path": "m", "mapRemove": {"key": "k"}})).await;
        assert_eq!(channel.get("object?path=m").await, json!({"c": 2.5}));
        channel.publish(json!({"objectId": map[0], "mapClear": {}})).await;
        assert_eq!(channel.get("object?path=m").await, json!({}));
        let empty = channel.get("object?path=m&compact=false").await;
        assert_eq!(empty["map"]["entries"], json!({}));
        channel.publish(json!({"objectId": counter[0], "objectDelete": {}})).await;
        let target = path_of(&counter[0]);
        let gone = channel.ask("GET", &target, &Value::Null).await;
        assert_eq!(refusal(&gone), (404, 92004));
        assert_eq!(channel.get("object").await["c"], Value::Null);
    }
}

/// An answer names the object of each operation, also of one that sets what the operation before it has made.
#[tokio::test]
async fn an_answer_names_the_object_of_every_operation() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "named", format);
        let made = channel.publish(json!({"counterCreate": {"count": 1}})).await;
        let set =
            json!({"objectId": "root", "mapSet": {"key": "k", "value": {"objectId": made[0]}}});
        let inc = json!({"objectId": made[0], "counterInc": {"number": 1}});
        assert_eq!(channel.publish(json!([inc, set])).await, [&*made[0], "root"]);
    }
}

#[tokio::test]
async fn bytes_are_base64_in_json_and_bytes_in_messagepack() {
    #[derive(Deserialize)]
    struct Whole {
        b: Vec<u8>,
    }
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "bytes", format);
        let bytes = json!({"bytes": "AQID"});
        channel.publish(json!({"objectId": "root", "mapSet": {"key": "b", "value": bytes}})).await;
        let (answer, value) = channel.ask("GET", "object", &Value::Null).await;
        let (_, full) = channel.ask("GET", "object?path=b&compact=false", &Value::Null).await;
        match format {
            Format::Json => assert_eq!((value, full), (json!({"b": "AQID"}), bytes)),
            Format::MsgPack => {
                // A map of one key, whose value is of the type `bin 8`.
                assert_eq!(answer.body, [0x81, 0xa1, b'b', 0xc4, 3, 1, 2, 3]);
                let limits = Default::default();
                let whole: Whole = codec::decode_body(format, &answer.body, &limits).unwrap();
                assert_eq!(whole.b, [1, 2, 3]);
            }
        }
    }
}

#[tokio::test]
async fn paths_have_escapes_and_wildcards() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "paths", format);
        let map = |path: &str| json!({"path": path, "mapCreate": {}});
        channel
            .publish(json!([
                map("p"),
                map("p.one"),
                map("p.two"),
                map(r"p.dot\.ted"),
                map(r"p.\*"),
                {"path": "p.n", "counterCreate": {"count": 1}},
                {"path": "p.m", "counterCreate": {"count": 2}},
                {"path": "p", "mapSet": {"key": "leaf", "value": {"string": "text"}}},
            ]))
            .await;
        let set = |path: &str, text: &str| json!({"path": path, "mapSet": {"key": "k", "value": {"string": text}}});
        let ids = channel.publish(set("p.*", "all")).await;
        assert_eq!(ids.len(), 4, "the maps, and neither the counters nor the leaf");
        channel.publish(set(r"p.dot\.ted", "dotted")).await;
        channel.publish(set(r"p.\*", "star")).await;
        assert_eq!(
            channel.publish(json!({"path": "p.*", "counterInc": {"number": 10}})).await.len(),
            2
        );
        let created =
            channel.publish(json!({"path": "p.*.new", "counterCreate": {"count": 7}})).await;
        assert_eq!(created.len(), 4);
        assert_eq!(
            channel.get("object?path=p").await,
            json!({
                "one": {"k": "all", "new": 7},
                "two": {"k": "all", "new": 7},
                "dot.ted": {"k": "dotted", "new": 7},
                "*": {"k": "star", "new": 7},
                "n": 11, "m": 12, "leaf": "text",
            })
        );
        assert_eq!(channel.get(r"object?path=p.dot%5C.ted.k").await, "dotted");
        // An object at two keys is changed once.
        let counter = channel
            .publish(json!([map("t"), {"path": "t.x", "counterCreate": {}}]))
            .await
            .remove(1);
        let same = json!({"key": "y", "value": {"objectId": counter}});
        channel.publish(json!({"path": "t", "mapSet": same})).await;
        channel.publish(json!({"path": "t.*", "counterInc": {"number": 1}})).await;
        assert_eq!(channel.get("object?path=t").await, json!({"x": 1, "y": 1}));
    }
}

#[tokio::test]
async fn a_chosen_id_is_applied_once_and_answered_the_same() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "ids", format);
        let create = json!({"id": "once", "path": "c", "counterCreate": {"count": 1}});
        let first = channel.publish(create.clone()).await;
        assert_eq!(channel.publish(create).await, first);
        let increment = json!([
            {"id": "twice:0", "path": "c", "counterInc": {"number": 1}},
            {"id": "twice:1", "path": "c", "counterInc": {"number": 1}},
        ]);
        assert_eq!(channel.publish(increment.clone()).await, [&*first[0], &*first[0]]);
        assert_eq!(channel.publish(increment).await, [&*first[0], &*first[0]]);
        assert_eq!(channel.get("object").await, json!({"c": 3}));
        let unordered = json!([
            {"id": "a", "path": "c", "counterInc": {"number": 1}},
            {"id": "a", "path": "c", "counterInc": {"number": 1}},
        ]);
        assert_eq!(channel.refused(unordered).await, (400, 40031));
    }
}

#[tokio::test]
async fn objects_with_chosen_ids_are_checked() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "chosen", format);
        let initial = r#"{"semantics":0,"entries":{"name":{"data":{"string":"Ada"}}}}"#;
        let id =
            ObjectId::generate(ObjectType::Map, initial, "nonce", 1_700_000_000_000).to_string();
        let create = |nonce: &str| {
            json!({
                "objectId": id, "mapCreateWithObjectId": {"initialValue": initial, "nonce": nonce},
            })
        };
        assert_eq!(channel.refused(create("other")).await, (400, 92000));
        assert_eq!(channel.publish(create("nonce")).await, [&*id]);
        let (status, ids) = channel
            .ask(
                "POST",
                "objects",
                &json!({
                    "objectId": "root", "mapSet": {"key": "m", "value": {"objectId": id}},
                }),
            )
            .await;
        assert_eq!((status.status, &ids["objectIds"]), (201, &json!(["root"])));
        assert_eq!(channel.get("object").await, json!({"m": {"name": "Ada"}}));
        let standalone = channel.publish(json!({"mapCreate": {"entries": {}}})).await;
        let view = channel.get(&format!("{}?compact=false", path_of(&standalone[0]))).await;
        assert_eq!(view["objectId"], *standalone[0]);
    }
}

#[tokio::test]
async fn cycles_and_deep_trees_are_shown_up_to_their_ids() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "cycles", format);
        let map = channel.publish(json!({"path": "m", "mapCreate": {}})).await.remove(0);
        let set = |key: &str, id: &str| json!({"objectId": map, "mapSet": {"key": key, "value": {"objectId": id}}});
        channel.publish(set("self", &map)).await;
        channel.publish(set("up", "root")).await;
        let compact = channel.get("object").await;
        let root = json!({"objectId": "root"});
        assert_eq!(compact, json!({"m": {"self": {"objectId": map}, "up": root}}));
        assert_eq!(
            channel.get("object?path=m.self.self.up.m.up").await,
            json!({"m": {"self": {"objectId": map}, "up": root}})
        );
        // Every map refers to the next by two keys: shown at each, that would be 2^40 maps.
        let deep = Channel::new(&server, "deep", format);
        let mut parent = "root".to_owned();
        for _ in 0..150 {
            let id = deep.publish(json!({"mapCreate": {}})).await.remove(0);
            for key in ["a", "b"] {
                let value = json!({"objectId": id});
                deep.publish(json!({"objectId": parent, "mapSet": {"key": key, "value": value}}))
                    .await;
            }
            parent = id;
        }
        for form in ["true", "false"] {
            let target = format!("/channels/{}/object?compact={form}", deep.name);
            let answer = request(&server, "GET", &target, &Value::Null).await;
            assert_eq!(answer.status, 200);
            assert!(answer.body.len() < 100_000_000);
        }
    }
}

#[tokio::test]
async fn errors_of_paths_name_the_path() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "paths", format);
        channel.publish(json!({"path": "c", "counterCreate": {}})).await;
        let set = json!({"mapSet": {"key": "k", "value": {"string": "v"}}, "path": "c"});
        for (method, target, body, expected) in [
            ("GET", "object?path=c.x", Value::Null, "there is no object at the path `c.x`"),
            ("POST", "object", set, "the operation does not fit the value at the path `c`"),
        ] {
            let (_, answer) = channel.ask(method, target, &body).await;
            assert_eq!(answer["error"]["message"], expected);
        }
    }
}

#[tokio::test]
async fn a_counter_is_not_made_infinite() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "extremes", format);
        let increment = |amount: f64| json!({"path": "c", "counterInc": {"number": amount}});
        channel.publish(json!({"path": "c", "counterCreate": {"count": 1e308}})).await;
        let (answer, body) = channel.ask("POST", "object", &increment(1e308)).await;
        assert_eq!(answer.status, 400);
        assert_eq!(body["error"]["code"], 92000);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.ends_with("is 1e308, and would be infinite with 1e308 more"), "{message}");
        // Each alone would fit.
        let both = json!([increment(7e307), increment(7e307)]);
        assert_eq!(channel.refused(both).await, (400, 92000));
        assert_eq!(channel.get("object").await, json!({"c": 1e308}), "none of them counts");
        channel.publish(increment(-1e308)).await;
        channel.publish(increment(1e307)).await;
        assert_eq!(channel.get("object").await, json!({"c": 1e307}));
    }
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let server = server().await;
    for format in FORMATS {
        let channel = Channel::new(&server, "refusals", format);
        channel
            .publish(json!([
                {"path": "c", "counterCreate": {"count": 1}},
                {"path": "m", "mapCreate": {}},
                {"path": "", "mapSet": {"key": "leaf", "value": {"string": "text"}}},
            ]))
            .await;
        let before = channel.get("object?compact=false").await;
        let inc = json!({"number": 1});
        for (body, expected) in [
            (json!([]), (400, 40000)),
            (json!({}), (400, 92000)),
            (json!({"path": "c", "counterInc": inc, "mapRemove": {"key": "k"}}), (400, 92000)),
            (json!({"counterInc": inc}), (400, 92006)),
            (json!({"objectId": "nothing", "counterInc": inc}), (404, 92004)),
            (json!({"objectId": "counter:nothing@1", "counterInc": inc}), (404, 92004)),
            (json!({"objectId": "root", "counterInc": inc}), (400, 92000)),
            (json!({"path": "nothing", "counterInc": inc}), (404, 92005)),
            (json!({"path": "c.deeper", "counterInc": inc}), (404, 92005)),
            (json!({"path": "nothing.*", "counterInc": inc}), (404, 92005)),
            (json!({"path": "m", "counterInc": inc}), (400, 92007)),
            (json!({"path": "leaf", "counterInc": inc}), (400, 92007)),
            (json!({"path": "c", "mapSet": {"key": "k", "value": {"string": "v"}}}), (400, 92007)),
            (json!({"path": "", "counterCreate": {}}), (400, 92007)),
            (json!({"path": "c.k", "counterCreate": {}}), (400, 92007)),
            (json!({"path": "nothing.k", "counterCreate": {}}), (404, 92005)),
            (json!({"path": "c", "counterInc": {}}), (400, 92000)),
            (json!({"path": "m", "mapSet": {"key": "k", "value": {}}}), (400, 92000)),
            (
                json!({"path": "m", "mapSet": {"key": "k", "value": {"objectId": "x"}}}),
                (400, 92000),
            ),
            (json!({"path": "m", "mapSet": {"key": "k", "value": {"json": "{"}}}), (400, 40000)),
            (json!({"path": "n", "mapCreate": {"entries": {"k": {}}}}), (400, 92000)),
            (json!({"objectId": "root", "objectDelete": {}}), (400, 92000)),
            (json!({"objectId": "root", "mapCreate": {}}), (400, 92000)),
            // All or none.
            (
                json!([{"path": "c", "counterInc": inc}, {"path": "x", "counterInc": inc}]),
                (404, 92005),
            ),
        ] {
            assert_eq!(channel.refused(body.clone()).await, expected, "{body}");
        }
        for (target, expected) in [
            ("object/nothing", (404, 92004)),
            ("object?path=nothing", (404, 92005)),
            ("object?path=c.x", (404, 92005)),
            ("object?compact=x", (400, 40003)),
            ("object?path=*", (400, 40003)),
        ] {
            let asked = channel.ask("GET", target, &Value::Null).await;
            assert_eq!(refusal(&asked), expected, "{target}");
        }
        let forced =
            channel.ask("POST", "object?_forceNack=true", &json!({"counterCreate": {}})).await;
        assert_eq!(refusal(&forced), (400, 40099));
        assert_eq!(channel.get("object?compact=false").await, before);
    }
    let spec = json!({"keys": [
        {"capability": "{\"a\":[\"object-subscribe\"],\"b\":[\"object-publish\"],\"c\":[\"*\"]}"},
    ]});
    let key = app(&server, &spec).await.remove(0);
    let create = json!({"counterCreate": {}});
    for (method, channel, status) in [
        ("GET", "a", 200),
        ("POST", "a", 401),
        ("GET", "b", 401),
        ("POST", "b", 201),
        ("GET", "c", 200),
        ("POST", "c", 201),
        ("GET", "d", 401),
    ] {
        let body = if method == "GET" { &Value::Null } else { &create };
        let target = format!("/channels/{channel}/object");
        let asked = ask(&server, &key, Format::Json, method, &target, body).await;
        assert_eq!(asked.0.status, status, "{method} {channel}");
        assert!(status != 401 || refusal(&asked) == (401, 40160));
    }
}

#[tokio::test]
async fn a_request_reaches_clients_as_operations() {
    let server = server().await;
    for format in FORMATS {
        let name: &'static str = if format == Format::Json { "live-json" } else { "live-msgpack" };
        let channel = Channel { server: &server, name: name.to_owned(), format };
        let mut client = Sharer::join(&server, format, name).await;
        let ids = channel.publish(json!({"path": "c", "counterCreate": {"count": 3}})).await;
        let delivery = client.receive().await;
        assert_eq!((delivery.items.len(), delivery.connection_id), (2, None));
        let created = delivery.items[0].operation.as_ref().unwrap();
        assert_eq!(created.object_id.as_deref(), Some(&*ids[0]));
        assert_eq!(client.value(), json!({"c": 3}));
        // Both are counted: two operations from the request, and two to the client.
        let (_, status) = ask(
            &server,
            server.key(),
            Format::Json,
            "GET",
            &format!("/channels/{name}"),
            &Value::Null,
        )
        .await;
        let metrics = &status["status"]["occupancy"]["metrics"];
        assert_eq!(
            (&metrics["objectPublishers"], &metrics["objectSubscribers"]),
            (&json!(1), &json!(1))
        );
    }
    let (_, stats) = ask(&server, server.key(), Format::Json, "GET", "/stats", &Value::Null).await;
    let entries = &stats[0]["entries"];
    assert_eq!(entries["messages.inbound.rest.objects.count"], 4, "{entries}");
    assert_eq!(entries["messages.outbound.realtime.objects.count"], 4, "{entries}");
    assert_eq!(entries["messages.inbound.rest.messages.count"], Value::Null);
}
