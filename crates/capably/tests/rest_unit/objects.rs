//! Objects over REST.

use capably::{
    ClientOptions, Error,
    http::{HttpErrorKind, HttpResponse},
    rest::objects::{
        LiveCounter, LiveMap, NewObject, ObjectValue, ObjectsMapSemantics, Path, RestObject,
        RestObjectValue,
    },
};
use capably_objects::ObjectId;
use capably_protocol::Format;
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, Request, ScriptedHttp, respond},
};

const NOW: i64 = 1_700_000_000_000;

/// Answers publishes, and requests for the time.
fn accepting() -> ScriptedHttp {
    ScriptedHttp::new(|request, _| {
        if request.url.contains("/time") {
            respond(200, json!([NOW]))
        } else {
            respond(201, json!({"messageId": "m", "channel": "a:b", "objectIds": ["root"]}))
        }
    })
}

fn plain() -> ClientOptions {
    ClientOptions::new(KEY).idempotent_rest_publishing(false)
}

/// The requests that publish.
fn publishes(http: &ScriptedHttp) -> Vec<Request> {
    http.requests().into_iter().filter(|request| request.method() == "POST").collect()
}

fn code(error: &Error) -> (u32, Option<u16>) {
    (error.code().0, error.status())
}

#[tokio::test]
async fn requests_have_the_object_the_path_and_the_form() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(200, json!({"objectId": "root"})));
        let objects = http.rest_with(options).channels().get("a:b").objects();
        let id = "counter:a_b-c@1";
        objects.get().await.unwrap();
        objects.get().full().await.unwrap();
        objects.at(r"x.y\.z.ä").get().await.unwrap();
        objects.at("x").get().read_as::<Value>().await.unwrap();
        objects.object(id).get().await.unwrap();
        objects.object(id).get().path("k").full().await.unwrap();
        objects.at(Path::from_iter(["*", "a.b"])).get().await.unwrap();
        let root = "/channels/a%3Ab/object";
        let of_id = "/channels/a%3Ab/object/counter%3Aa_b-c%401";
        let expected = [
            (root, None, None),
            (root, None, Some("false")),
            (root, Some(r"x.y\.z.ä"), None),
            (root, Some("x"), Some("false")),
            (of_id, None, None),
            (of_id, Some("k"), Some("false")),
            (root, Some(r"\*.a\.b"), None),
        ];
        let requests = http.requests();
        assert_eq!(requests.len(), expected.len());
        for (request, (path, param, compact)) in requests.iter().zip(expected) {
            assert_eq!((request.method(), request.path()), ("GET", path));
            assert_eq!(request.param("path").as_deref(), param);
            assert_eq!(request.param("compact").as_deref(), compact);
        }
    }
}

#[tokio::test]
async fn each_change_has_its_payload() {
    for options in both_formats() {
        let http = accepting();
        let rest = http.rest_with(options.idempotent_rest_publishing(false));
        let objects = rest.channels().get("a:b").objects();
        let (at, object) = (objects.at("p.q"), objects.object("map:x@1"));
        let map = LiveMap::new().with("n", 1).with("t", true).with("j", json!([1]));
        let existing = [("c", RestObjectValue::reference("counter:x@1"))];
        for (write, expected) in [
            (
                at.set("k", "v"),
                json!({"path": "p.q", "mapSet": {"key": "k", "value": {"string": "v"}}}),
            ),
            (
                object.set("k", 0.5),
                json!({"objectId": "map:x@1", "mapSet": {"key": "k", "value": {"number": 0.5}}}),
            ),
            (
                object.set("k", json!({"a": 1})),
                json!({"objectId": "map:x@1", "mapSet": {"key": "k", "value": {"json": "{\"a\":1}"}}}),
            ),
            (
                at.set("k", &object),
                json!({"path": "p.q", "mapSet": {"key": "k", "value": {"objectId": "map:x@1"}}}),
            ),
            (at.remove("k"), json!({"path": "p.q", "mapRemove": {"key": "k"}})),
            (object.remove("k"), json!({"objectId": "map:x@1", "mapRemove": {"key": "k"}})),
            (at.increment(2), json!({"path": "p.q", "counterInc": {"number": 2}})),
            (object.decrement(0.5), json!({"objectId": "map:x@1", "counterInc": {"number": -0.5}})),
            (
                at.create(LiveCounter::new(3.0)),
                json!({"path": "p.q", "counterCreate": {"count": 3}}),
            ),
            (objects.create(LiveCounter::default()), json!({"counterCreate": {"count": 0}})),
            (
                at.create(map),
                json!({"path": "p.q", "mapCreate": {"semantics": 0, "entries": {
                    "n": {"data": {"number": 1}}, "t": {"data": {"boolean": true}}, "j": {"data": {"json": "[1]"}},
                }}}),
            ),
            (
                objects.create(NewObject::map(existing)),
                json!({"mapCreate": {"semantics": 0, "entries": {
                    "c": {"data": {"objectId": "counter:x@1"}},
                }}}),
            ),
            (
                objects.at("").set("k", "v"),
                json!({"path": "", "mapSet": {"key": "k", "value": {"string": "v"}}}),
            ),
        ] {
            let before = http.requests().len();
            let published = write.await.unwrap();
            assert_eq!(published.message_id, "m");
            assert_eq!(published.channel, "a:b");
            assert_eq!(published.object_ids, ["root"]);
            let requests = http.requests();
            assert_eq!(requests.len(), before + 1, "the time is not asked for");
            let request = requests.last().unwrap();
            assert_eq!((request.method(), request.path()), ("POST", "/channels/a%3Ab/object"));
            assert_json(&request.body(), &json!([expected]));
        }
    }
}

/// Numbers are equal if they have the same value: MessagePack has floats where JSON has integers.
#[track_caller]
fn assert_json(left: &Value, right: &Value) {
    fn floats(value: &Value) -> Value {
        match value {
            Value::Number(number) => json!(number.as_f64()),
            Value::Array(items) => items.iter().map(floats).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), floats(value))).collect()
            }
            other => other.clone(),
        }
    }
    assert_eq!(floats(left), floats(right));
}

#[tokio::test]
async fn bytes_are_base64_in_json_and_bytes_in_messagepack() {
    for (options, expected) in both_formats().into_iter().zip([
        &b"\x91\x82\xa4path\xa0\xa6mapSet\x82\xa3key\xa1k\xa5value\x81\xa5bytes\xc4\x02\x00\xff"[..],
        br#"[{"path":"","mapSet":{"key":"k","value":{"bytes":"AP8="}}}]"#,
    ]) {
        let http = accepting();
        let rest = http.rest_with(options.idempotent_rest_publishing(false));
        rest.channels().get("c").objects().at("").set("k", vec![0, 255]).await.unwrap();
        assert_eq!(&http.request().bytes()[..], expected);
    }
}

#[tokio::test]
async fn a_new_object_within_a_value_has_an_id_of_the_service_s_time() {
    for options in both_formats() {
        let http = accepting();
        let rest = http.rest_with(options.idempotent_rest_publishing(false));
        let objects = rest.channels().get("c").objects();
        let nested = LiveMap::new().with("deep", LiveMap::new().with("c", LiveCounter::new(1.0)));
        objects.at("").set("k", nested.clone()).await.unwrap();
        objects.at("k").create(nested).await.unwrap();
        let requests = http.requests();
        assert_eq!(requests.len(), 3, "the time is asked for once");
        assert_eq!(requests[0].path(), "/time");
        for request in publishes(&http) {
            let body = request.body();
            let operations = body.as_array().unwrap();
            let mut made = Vec::new();
            for operation in operations {
                let payload = operation
                    .get("counterCreateWithObjectId")
                    .or_else(|| operation.get("mapCreateWithObjectId"));
                let Some(payload) = payload else { continue };
                let id: ObjectId = operation["objectId"].as_str().unwrap().parse().unwrap();
                let text = |field: &str| payload[field].as_str().unwrap();
                id.verify(text("initialValue"), text("nonce")).unwrap();
                assert!((NOW..NOW + 60_000).contains(&id.timestamp), "{id}");
                made.push(operation["objectId"].clone());
            }
            // The last operation refers to the last object.
            let last = operations.last().unwrap();
            let entry = last["mapCreate"]["entries"]["deep"]["data"]["objectId"].clone();
            let set = last["mapSet"]["value"]["objectId"].clone();
            assert!(made.last() == Some(&entry) || made.last() == Some(&set), "{body}");
            assert_eq!(made.len() + 1, operations.len());
        }
    }
}

#[tokio::test]
async fn an_id_is_generated_from_the_initial_value() {
    let http = accepting();
    let objects = http.rest_with(plain()).channels().get("c").objects();
    let counter = objects.generate_id(LiveCounter::new(4.0)).await.unwrap();
    let other = objects.generate_id(LiveCounter::new(4.0)).await.unwrap();
    assert_ne!(counter.object_id(), other.object_id(), "nonces are random");
    let map = [("c", RestObjectValue::from(&counter)), ("b", vec![0, 255].into())];
    let map = objects.generate_id(NewObject::map(map)).await.unwrap();
    assert_eq!(counter.initial_value(), r#"{"count":4}"#);
    let expected = format!(
        r#"{{"semantics":0,"entries":{{"b":{{"data":{{"bytes":"AP8="}}}},"c":{{"data":{{"objectId":"{}"}}}}}}}}"#,
        counter.object_id()
    );
    assert_eq!(*map.initial_value(), *expected);
    for generated in [&counter, &other, &map] {
        let id: ObjectId = generated.object_id().parse().unwrap();
        id.verify(generated.initial_value(), generated.nonce()).unwrap();
        assert!(generated.nonce().len() >= 16);
    }
    assert!(http.requests().iter().all(|request| request.path() == "/time"));
    let batch = [objects.create_with_id(counter.clone()), objects.create_with_id(map.clone())];
    objects.batch(batch).await.unwrap();
    let create = |object: &capably::rest::objects::GeneratedObject| json!({"initialValue": object.initial_value().as_str(), "nonce": object.nonce().as_str()});
    assert_eq!(
        publishes(&http)[0].body(),
        json!([
            {"objectId": counter.object_id().as_str(), "counterCreateWithObjectId": create(&counter)},
            {"objectId": map.object_id().as_str(), "mapCreateWithObjectId": create(&map)},
        ])
    );
}

#[tokio::test]
async fn a_repeated_request_has_the_same_ids() {
    let http = ScriptedHttp::sequence([
        Answer::Fail(HttpErrorKind::Interrupted),
        respond(201, json!({"objectIds": []})),
    ]);
    let objects = http.rest().channels().get("c").objects();
    let changes = [objects.at("n").increment(1), objects.at("m").increment(1)];
    objects.batch(changes).await.unwrap();
    let requests = http.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].bytes(), requests[1].bytes());
    let body = requests[0].body();
    let ids: Vec<_> = [0, 1].map(|at| body[at]["id"].as_str().unwrap().to_owned()).into();
    let base = ids[0].strip_suffix(":0").unwrap();
    assert_eq!((base.len(), ids[1].as_str()), (16, format!("{base}:1").as_str()));

    // Ids of the caller, and none.
    let http = accepting();
    let objects = http.rest().channels().get("c").objects();
    objects.at("n").increment(1).id("mine").await.unwrap();
    objects
        .batch([objects.at("n").increment(1), objects.at("n").increment(1)])
        .id("both")
        .await
        .unwrap();
    let objects = http.rest_with(plain()).channels().get("c").objects();
    objects.at("n").increment(1).await.unwrap();
    let bodies: Vec<_> = http.requests().iter().map(Request::body).collect();
    assert_eq!(bodies[0][0]["id"], "mine");
    assert_eq!((&bodies[1][0]["id"], &bodies[1][1]["id"]), (&json!("both:0"), &json!("both:1")));
    assert_eq!(bodies[2][0].get("id"), None);
}

#[tokio::test]
async fn a_change_that_cannot_be_made_is_refused_here() {
    let http = accepting();
    let small = ClientOptions::new(KEY).max_message_size(10);
    let rest = http.rest_with(small);
    let objects = rest.channels().get("c").objects();
    let root = objects.at("");
    let deep = |value: Value| LiveMap::new().with("c", LiveCounter::default()).with("k", value);
    for (write, expected) in [
        (root.increment(f64::NAN), 40003),
        (root.create(LiveCounter::new(f64::INFINITY)), 40003),
        (root.set("k", LiveCounter::new(f64::NAN)), 40003),
        (root.set("k", f64::INFINITY), 40013),
        (root.set("k", json!(null)), 40013),
        (root.set("k", deep(json!(null))), 40013),
        (root.create(deep(json!(null))), 40013),
        (objects.object("").increment(1), 40003),
        (root.set("k", RestObjectValue::reference("")), 40003),
        (root.set("key", "12345678"), 40009),
    ] {
        let text = format!("{write:?}");
        assert_eq!(code(&write.await.unwrap_err()), (expected, Some(400)), "{text}");
    }
    let error = objects.generate_id(deep(json!(null))).await.unwrap_err();
    assert_eq!(code(&error), (40013, Some(400)));
    let error = objects.object("").get().await.unwrap_err();
    assert_eq!(code(&error), (40003, Some(400)));
    let error = objects.batch([]).await.unwrap_err();
    assert_eq!(code(&error), (40030, Some(400)));
    let error = objects.batch([root.remove("k").id("own")]).await.unwrap_err();
    assert_eq!(code(&error), (40003, Some(400)));
    let other = rest.channels().get("other").objects();
    let error = objects.batch([other.at("").remove("k")]).await.unwrap_err();
    assert_eq!(code(&error), (40003, Some(400)));
    assert!(error.message().contains("`c`") && error.message().contains("`other`"), "{error}");
    assert!(http.requests().is_empty());
    root.set("key", "1234567").await.unwrap();
    // A map so deep that recursion would overflow the stack.
    let map = (0..10_000).fold(LiveMap::new(), |map, _| LiveMap::new().with("k", map));
    let _ = root.set("k", map).await.unwrap_err();
}

#[tokio::test]
async fn the_full_form_has_ids_and_types() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!({"objectId": "root", "map": {"semantics": "LWW", "entries": {
                "s": {"data": {"string": "text"}},
                "n": {"data": {"number": 7}},
                "t": {"data": {"boolean": true}},
                "by": {"data": {"bytes": "AP8="}},
                "j": {"data": {"json": "{\"a\":[1]}"}},
                "old": {"data": {"string": "[1]", "encoding": "json"}},
                "c": {"data": {"objectId": "counter:x@1", "counter": {"data": {"number": 2.5}}}},
                "zero": {"data": {"objectId": "counter:z@1", "counter": {}}},
                "m": {"data": {"objectId": "map:x@1", "map": {"semantics": "OTHER"}}},
                "cut": {"data": {"objectId": "root"}},
                "set": {"data": {"objectId": "set:x@1", "set": {"of": ["a", {"b": 1}]}}},
                "date": {"data": {"date": "2026-11-29"}},
            }}}),
        ));
        let get = http.rest_with(options).channels().get("c").objects().get();
        let root = get.clone().full().await.unwrap();
        assert_eq!(root.object_id().map(|id| &**id), Some("root"));
        assert_eq!(root.value(), None);
        for (key, expected) in [
            ("s", ObjectValue::String("text".into())),
            ("n", ObjectValue::Number(7.0)),
            ("t", ObjectValue::Boolean(true)),
            ("by", ObjectValue::Bytes(vec![0, 255].into())),
            ("j", ObjectValue::Json(json!({"a": [1]}))),
            ("old", ObjectValue::Json(json!([1]))),
        ] {
            assert_eq!(root.get(key), Some(&RestObject::Leaf(expected)), "{key}");
            assert_eq!(root.get(key).unwrap().object_id(), None);
        }
        let counter = root.get("c").unwrap();
        assert_eq!(counter.object_id().map(|id| &**id), Some("counter:x@1"));
        assert_eq!(counter.value(), Some(ObjectValue::Number(2.5)));
        assert_eq!(root.get("zero").unwrap().value(), Some(ObjectValue::Number(0.0)));
        let Some(RestObject::Map(map)) = root.get("m") else { panic!("{root:?}") };
        assert!(map.entries.is_empty() && map.semantics != ObjectsMapSemantics::Lww);
        assert_eq!(root.get("cut"), Some(&RestObject::Reference("root".into())));
        assert_eq!(root.get("set"), Some(&RestObject::Reference("set:x@1".into())));
        assert_eq!(root.get("date"), Some(&RestObject::Unknown));
        assert_eq!((root.at("j.a"), root.get("nothing")), (None, None));
        let json = json!({
            "s": "text", "n": 7, "t": true, "by": "AP8=", "j": {"a": [1]}, "old": [1], "c": 2.5, "zero": 0,
            "m": {}, "cut": {"objectId": "root"}, "set": {"objectId": "set:x@1"}, "date": null,
        });
        assert_eq!(root.compact_json(), json);
    }
}

/// Replies that are not objects, whatever their form.
#[tokio::test]
async fn a_reply_of_another_form_is_an_error() {
    let full = [
        json!(null),
        json!(7),
        json!("text"),
        json!({"objectId": 7}),
        json!({"objectId": "root", "map": 5}),
        json!({"objectId": "root", "map": []}),
        json!({"objectId": "root", "map": {"entries": []}}),
        json!({"objectId": "root", "map": {"entries": {"k": 1}}}),
        json!({"objectId": "root", "map": {"entries": {"k": {}}}}),
        json!({"objectId": "root", "map": {"entries": {"k": {"data": {"number": "1"}}}}}),
        json!({"objectId": "root", "map": {"entries": {"k": {"data": {"json": "{"}}}}}),
        json!({"objectId": "root", "map": {"entries": {"k": {"data": {"bytes": "*"}}}}}),
        json!({"objectId": "c", "counter": 5}),
        json!({"objectId": "c", "counter": {"data": {"number": "5"}}}),
        json!({"map": {"entries": {}}}),
        json!({"counter": {}}),
    ];
    for options in both_formats() {
        for body in &full {
            let http = ScriptedHttp::always(respond(200, body.clone()));
            let objects = http.rest_with(options.clone()).channels().get("c").objects();
            let error = objects.get().full().await.unwrap_err();
            assert_eq!(code(&error), (40013, Some(400)), "{body}");
            // The compact form may be any value.
            assert_eq!(objects.get().await.unwrap(), *body);
        }
        for body in [json!(null), json!({"objectIds": "root"}), json!({"objectIds": [1]})] {
            let http = ScriptedHttp::always(respond(201, body.clone()));
            let objects = http.rest_with(options.clone()).channels().get("c").objects();
            let error = objects.at("n").increment(1).await.unwrap_err();
            assert_eq!(code(&error), (40013, Some(400)), "{body}");
        }
    }
}

#[tokio::test]
async fn a_reply_that_is_broken_too_deep_or_too_large_is_an_error() {
    let deep = |levels: usize| {
        let start = r#"{"objectId":"m","map":{"entries":{"k":{"data":"#;
        format!("{}{{\"number\":1}}{}", start.repeat(levels), "}}}}".repeat(levels))
    };
    let bodies: [(Vec<u8>, Option<&str>); 6] = [
        (b"".into(), None),
        (b"{".into(), None),
        (b"{\"objectId\":".into(), None),
        (deep(100).into(), Some("read a part of the objects, by its path or id")),
        ("[".repeat(1_000_000).into(), Some("read a part of the objects, by its path or id")),
        (b"\xff\xfe".into(), None),
    ];
    let get = |body: Vec<u8>, format: Format| {
        let response =
            HttpResponse::new(200, body).with_header("Content-Type", format.content_type());
        let http = ScriptedHttp::always(Answer::Raw(response));
        http.rest().channels().get("c").objects().get()
    };
    for (body, remedy) in bodies {
        let text = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let error = get(body.clone(), Format::Json).full().await.unwrap_err();
        assert_eq!(code(&error), (40013, Some(400)), "{text}");
        assert_eq!(error.remediation(), remedy.or(error.remediation()), "{text}");
        let error = get(body, Format::Json).await.unwrap_err();
        assert_eq!(code(&error), (40013, Some(400)), "{text}");
    }
    // Each of these is an array in an array.
    let arrays = vec![0x91; 1_000_000];
    assert_eq!(code(&get(arrays, Format::MsgPack).full().await.unwrap_err()), (40013, Some(400)));
    let large = vec![b' '; 17 * 1024 * 1024];
    assert_eq!(code(&get(large, Format::Json).await.unwrap_err()), (40013, Some(400)));
    // 28 maps within each other are read.
    let read = get(deep(28).into(), Format::Json).full().await.unwrap();
    assert_eq!(
        read.at(&vec!["k"; 28].join(".")),
        Some(&RestObject::Leaf(ObjectValue::Number(1.0)))
    );
}

#[tokio::test]
async fn the_reason_of_the_service_is_the_error() {
    for options in both_formats() {
        let reason = json!({"error": {"code": 92005, "statusCode": 404, "message": "nothing"}});
        let http = ScriptedHttp::always(respond(404, reason));
        let objects = http.rest_with(options).channels().get("c").objects();
        let errors = [
            objects.at("x").get().await.unwrap_err(),
            objects.at("x").get().full().await.unwrap_err(),
            objects.at("x").get().read_as::<Value>().await.unwrap_err(),
            objects.at("x").increment(1).await.unwrap_err(),
        ];
        assert_eq!(errors.map(|error| code(&error)), [(92005, Some(404)); 4]);
    }
}
