use serde_json::json;

use super::*;
use crate::{
    ObjectsPool, Source,
    test_pool::{NOW, json_of},
};

/// Ids from the bytes 1, 2, 3 …
fn ids() -> NewIds<impl FnMut() -> [u8; 16]> {
    let mut last = 0_u128;
    NewIds::new(NOW, move || {
        last += 1;
        last.to_be_bytes()
    })
}

fn operations(messages: Vec<ObjectMessage>) -> Vec<ObjectOperation> {
    messages.into_iter().map(|message| *message.operation.expect("an operation")).collect()
}

fn code<T: std::fmt::Debug>(result: Result<T, ErrorInfo>) -> (u32, u16) {
    let error = result.expect_err("refused");
    (error.code.0, error.status_code)
}

// Spec: RTLM20, RTLM20a, RTLM20a1, RTLM20a3, RTLM20e, RTLM20e1, RTLM20e2, RTLM20e3, RTLM20e6, RTLM20e7, RTLM20e7b, RTLM20e7c, RTLM20e7d, RTLM20e7e, RTLM20e7f, RTLM20h2
#[test]
fn a_leaf_is_set_by_one_message() {
    let json = json!({ "k": [1, null] });
    for (value, data) in [
        (LiveValue::from(true), ObjectValue::Boolean(true)),
        ("text".into(), ObjectValue::String("text".into())),
        (1.5.into(), ObjectValue::Number(1.5)),
        (7_u32.into(), ObjectValue::Number(7.0)),
        (vec![1, 2].into(), ObjectValue::Bytes(vec![1, 2].into())),
        (json.clone().into(), ObjectValue::Json(json)),
        (json!([1]).into(), ObjectValue::Json(json!([1]))),
        (json!("text").into(), ObjectValue::String("text".into())),
        (json!(3).into(), ObjectValue::Number(3.0)),
        (json!(false).into(), ObjectValue::Boolean(false)),
    ] {
        let messages = set("map:a@1", "key", value, &mut ids()).expect("a value");
        let expected = ObjectOperation {
            action: Some(Action::MapSet),
            object_id: Some("map:a@1".into()),
            map_set: Some(MapSet { key: "key".into(), value: data.into() }),
            ..ObjectOperation::default()
        };
        assert_eq!(operations(messages), [expected]);
    }
}

// Spec: RTLMV4c, RTLMV3c, RTLCV3c, RTLCV4a, RTLC12e1, RTLM20e1
#[test]
fn values_that_cannot_be_stored_are_refused() {
    let nested =
        |value: LiveValue| LiveMap::new().with("deep", LiveMap::from_iter([("key", value)]));
    for (value, expected) in [
        (LiveValue::from(f64::NAN), (40013, 400)),
        (f64::INFINITY.into(), (40013, 400)),
        (Value::Null.into(), (40013, 400)),
        (ObjectValue::Json(json!("text")).into(), (40013, 400)),
        (LiveCounter::new(f64::NAN).into(), (40003, 400)),
        (LiveCounter::new(f64::NEG_INFINITY).into(), (40003, 400)),
    ] {
        assert_eq!(code(set("root", "key", value.clone(), &mut ids())), expected, "{value:?}");
        assert_eq!(
            code(set("root", "key", nested(value.clone()), &mut ids())),
            expected,
            "{value:?}"
        );
    }
    for amount in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(code(increment("counter:a@1", amount)), (40003, 400));
    }
}

// Spec: RTLM21, RTLM21a, RTLM21a1, RTLM21e, RTLM21e2, RTLM21e3, RTLM21e5, RTLC12, RTLC12a, RTLC12a1, RTLC12e, RTLC12e2, RTLC12e3, RTLC12e5, RTLC13, RTLC13b, RTLC13a, RTLC13a1
#[test]
fn removes_clears_and_increments_are_one_message() {
    let inc = increment("counter:a@1", -2.5).expect("a number");
    let of = |action, id: &str| ObjectOperation {
        action: Some(action),
        object_id: Some(id.into()),
        ..ObjectOperation::default()
    };
    assert_eq!(
        operations(vec![remove("map:a@1", "key"), clear("map:a@1"), inc]),
        [
            ObjectOperation {
                map_remove: Some(MapRemove { key: "key".into() }),
                ..of(Action::MapRemove, "map:a@1")
            },
            ObjectOperation { map_clear: Some(MapClear {}), ..of(Action::MapClear, "map:a@1") },
            ObjectOperation {
                counter_inc: Some(CounterInc { number: Some(-2.5) }),
                ..of(Action::CounterInc, "counter:a@1")
            },
        ]
    );
}

// Spec: RTLCV1, RTLCV2, RTLCV2a, RTLCV3, RTLCV3a, RTLCV3a1, RTLCV3b, RTLCV4, RTLCV4b, RTLCV4b1, RTLCV4c, RTLCV4d, RTLCV4e, RTLCV4f, RTLCV4g, RTLCV4g1, RTLCV4g2, RTLCV4g3, RTLCV4g4, RTLCV4g5, RTLCV4h, RTLM20e7g, RTLM20e7g1, RTLM20e7g2, RTLM20h1, CCRO1, CCRO2, CCRO2a, CCRO2b
#[test]
fn a_counter_is_made_before_its_key_is_set() {
    for (counter, text, count) in [
        (LiveCounter::new(42.0), r#"{"count":42}"#, 42.0),
        (LiveCounter::default(), r#"{"count":0}"#, 0.0),
        (LiveCounter::new(0.5), r#"{"count":0.5}"#, 0.5),
    ] {
        let [create, set] = operations(set("root", "key", counter, &mut ids()).expect("a counter"))
            .try_into()
            .expect("two operations");
        let payload = create.counter_create_with_object_id.expect("a payload");
        assert_eq!(create.action, Some(Action::CounterCreate));
        assert_eq!(payload.initial_value, text);
        assert!(payload.nonce.len() >= 16);
        assert_eq!(payload.source, Some(CounterCreate { count: Some(count) }));
        let id: ObjectId = create.object_id.as_deref().expect("an id").parse().expect("an id");
        assert_eq!((id.object_type, id.timestamp), (ObjectType::Counter, NOW));
        assert_eq!(id.verify(&payload.initial_value, &payload.nonce), Ok(()));
        assert_eq!(set.map_set.and_then(|set| set.value.object_id), create.object_id);
    }
}

// Spec: RTLMV1, RTLMV2, RTLMV2a, RTLMV3, RTLMV3a, RTLMV3a1, RTLMV3b, RTLMV4, RTLMV4d, RTLMV4d1, RTLMV4d2, RTLMV4d3, RTLMV4d4, RTLMV4d5, RTLMV4d6, RTLMV4d7, RTLMV4e, RTLMV4e1, RTLMV4e2, RTLMV4f, RTLMV4f1, RTLMV4f2, RTLMV4g, RTLMV4h, RTLMV4i, RTLMV4j, RTLMV4j1, RTLMV4j2, RTLMV4j3, RTLMV4j4, RTLMV4j5, RTLMV4k, MCRO1, MCRO2, MCRO2a, MCRO2b
#[test]
fn a_tree_is_made_from_the_leaves_up() {
    let tree = LiveMap::new()
        .with("bytes", vec![1, 2, 3])
        .with("counter", LiveCounter::new(1.0))
        .with("json", json!({ "k": 1 }))
        .with("map", LiveMap::from_iter([("deep", LiveMap::new().with("flag", true))]))
        .with("number", 1.5)
        .with("text", "x");
    let messages = set("root", "tree", tree, &mut ids()).expect("a tree");
    let operations = operations(messages.clone());
    let kinds: Vec<_> = operations.iter().filter_map(|operation| operation.action).collect();
    let make = Action::MapCreate;
    assert_eq!(kinds, [Action::CounterCreate, make, make, make, Action::MapSet]);
    let payloads: Vec<_> = operations
        .iter()
        .filter_map(|operation| operation.map_create_with_object_id.clone())
        .collect();
    for (operation, payload) in operations[1..4].iter().zip(&payloads) {
        let id: ObjectId = operation.object_id.as_deref().expect("an id").parse().expect("an id");
        assert_eq!(id.object_type, ObjectType::Map);
        assert_eq!(id.verify(&payload.initial_value, &payload.nonce), Ok(()));
        let read: MapCreate = serde_json::from_str(&payload.initial_value).expect("JSON");
        assert_eq!(Some(read), payload.source);
    }
    assert_eq!(
        payloads[0].initial_value,
        r#"{"semantics":0,"entries":{"flag":{"data":{"boolean":true}}}}"#
    );
    let text: Value = serde_json::from_str(&payloads[2].initial_value).expect("JSON");
    assert_eq!(text["entries"]["bytes"], json!({ "data": { "bytes": "AQID" } }));
    assert_eq!(text["entries"]["json"], json!({ "data": { "json": r#"{"k":1}"# } }));
    assert_eq!(
        text["entries"]["counter"]["data"]["objectId"],
        json!(operations[0].object_id.as_deref())
    );

    let mut pool = ObjectsPool::new();
    for (at, message) in messages.into_iter().enumerate() {
        let (serial, site_code) = (Some(format!("0{at}").into()), Some("own".into()));
        let message = ObjectMessage { serial, site_code, ..message };
        pool.apply(&message, Source::Local, NOW).expect("applied");
    }
    let json = json!({
        "bytes": "AQID", "counter": 1, "json": { "k": 1 }, "map": { "deep": { "flag": true } }, "number": 1.5, "text": "x",
    });
    assert_eq!(json_of(&pool, "root"), json!({ "tree": json }));
}

// Spec: RTLMV4e2
#[test]
fn a_map_without_entries_is_made_too() {
    let messages = set("root", "empty", LiveMap::new(), &mut ids()).expect("a map");
    let create = operations(messages)[0].map_create_with_object_id.clone().expect("a payload");
    assert_eq!(create.initial_value, r#"{"semantics":0,"entries":{}}"#);
}

// Spec: RTLMV3d, RTLCV3d
#[test]
fn a_blueprint_can_be_used_again() {
    let map = LiveMap::new().with("a", 1);
    let other = map.clone().with("b", LiveCounter::default());
    assert_eq!((map.entries().len(), other.entries().len()), (1, 2));
    let mut ids = ids();
    let first = set("root", "x", map.clone(), &mut ids).expect("a map");
    let second = set("root", "y", map, &mut ids).expect("a map");
    let id = |messages: Vec<ObjectMessage>| operations(messages)[0].object_id.clone();
    assert_ne!(id(first), id(second));
}

#[test]
fn a_very_deep_tree_is_made_and_dropped() {
    let mut map = LiveMap::new();
    for _ in 0..20_000 {
        map = LiveMap::new().with("k", map);
    }
    let messages = set("root", "deep", map, &mut ids()).expect("a tree");
    assert_eq!(messages.len(), 20_002);
}
