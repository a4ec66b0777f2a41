//! Blueprints of new objects (RTLCV, RTLMV), as they are sent.

use capably::realtime::objects::{LiveCounter, LiveMap, LiveValue};
use serde_json::{Value, json};

use super::*;
use crate::in_both_formats;

/// The initial value in a create.
fn initial_value(create: &ObjectOperation) -> Value {
    let map = create.map_create_with_object_id.as_ref().map(|map| &map.initial_value);
    let counter = create.counter_create_with_object_id.as_ref();
    let text = map.or(counter.map(|counter| &counter.initial_value)).unwrap();
    serde_json::from_str(text).unwrap()
}

in_both_formats! {
    // UTS: objects/unit/RTLCV3/create-with-count-0
    // UTS: objects/unit/RTLCV3/create-default-zero-0
    // UTS: objects/unit/RTLCV3c/no-validation-at-create-0
    // UTS: objects/unit/RTLCV4a/evaluate-validates-count-0
    // UTS: objects/unit/RTLCV4/evaluate-zero-count-0
    // UTS: objects/unit/RTLCV4g5/retains-local-counter-create-0
    async fn counters_start_at_their_count(format) {
        assert_eq!(LiveCounter::new(42.0).count(), 42.0);
        assert_eq!(LiveCounter::default().count(), 0.0);
        let (world, root) = World::synced(format).await;
        let not_a_number = LiveCounter::new(f64::NAN);
        assert_eq!(refusal(root.set("counter", not_a_number).await), (40003, Some(400)));
        for count in [42.0, 0.0] {
            root.set("counter", LiveCounter::new(count)).await.unwrap();
            // The count is applied here, without an echo.
            assert_eq!(number(&root.get("counter")), Some(count));
        }
        let sent = world.operations();
        assert_eq!(initial_value(&sent[0]), json!({ "count": 42 }));
        assert_eq!(initial_value(&sent[2]), json!({ "count": 0 }));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLMV3/create-with-entries-0
    // UTS: objects/unit/RTLMV3/create-no-entries-0
    // UTS: objects/unit/RTLMV4e2/empty-entries-0
    // UTS: objects/unit/RTLMV4d/entry-value-types-0
    // UTS: objects/unit/RTLMV4d/map-set-all-types-table-0
    // UTS: objects/unit/RTLMV4j5/retains-local-map-create-0
    async fn maps_start_with_their_entries(format) {
        let map = LiveMap::new().with("name", "Alice").with("age", 30);
        assert_eq!(map.entries()["name"], LiveValue::from("Alice"));
        assert_eq!(map.entries()["age"], LiveValue::from(30));
        assert!(LiveMap::new().entries().is_empty());
        let (world, root) = World::synced(format).await;
        root.set("empty", LiveMap::new()).await.unwrap();
        assert_eq!(root.get("empty").size().unwrap(), Some(0));
        let values: [(&str, LiveValue, Value, Value); 10] = [
            ("text", "hello".into(), json!({ "string": "hello" }), json!("hello")),
            ("whole", 42.into(), json!({ "number": 42 }), json!(42)),
            ("fraction", 3.25.into(), json!({ "number": 3.25 }), json!(3.25)),
            ("zero", 0.into(), json!({ "number": 0 }), json!(0)),
            ("negative", (-1).into(), json!({ "number": -1 }), json!(-1)),
            ("yes", true.into(), json!({ "boolean": true }), json!(true)),
            ("no", false.into(), json!({ "boolean": false }), json!(false)),
            (
                "array",
                json!([1, "a", null]).into(),
                json!({ "json": r#"[1,"a",null]"# }),
                json!([1, "a", null]),
            ),
            ("object", json!({ "k": "v" }).into(), json!({ "json": r#"{"k":"v"}"# }), json!({ "k": "v" })),
            ("bytes", vec![1, 2, 3].into(), json!({ "bytes": "AQID" }), json!("AQID")),
        ];
        let entries = values.iter().map(|(key, value, ..)| (*key, value.clone()));
        root.set("all", LiveMap::from_iter(entries)).await.unwrap();
        let sent = world.operations();
        assert_eq!(initial_value(&sent[0]), json!({ "semantics": 0, "entries": {} }));
        let initial = initial_value(&sent[2]);
        let applied = root.get("all").compact_json().unwrap().unwrap();
        for (key, _, data, read) in values {
            assert_eq!(initial["entries"][key], json!({ "data": data }), "{key}");
            assert_eq!(applied[key], read, "{key}");
        }
        assert_eq!(initial["semantics"], 0);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLMV4d1/nested-value-types-0
    // UTS: objects/unit/RTLMV4c/evaluate-validates-values-0
    async fn nested_objects_are_made_before_the_maps_that_contain_them(format) {
        let (world, root) = World::synced(format).await;
        let child = LiveMap::new().with("nested_count", LiveCounter::new(10.0));
        root.set("outer", LiveMap::new().with("child", child)).await.unwrap();
        assert_eq!(number(&root.at("outer.child.nested_count")), Some(10.0));
        let sent = world.operations();
        let actions: Vec<_> = sent.iter().map(|sent| sent.action.unwrap()).collect();
        let create = Action::MapCreate;
        assert_eq!(actions, [Action::CounterCreate, create, create, Action::MapSet]);
        let id = |at: usize| sent[at].object_id.as_deref().unwrap();
        let inner = initial_value(&sent[1]);
        assert_eq!(inner["entries"]["nested_count"]["data"]["objectId"], id(0));
        let outer = initial_value(&sent[2]);
        assert_eq!(outer["entries"]["child"]["data"]["objectId"], id(1));
        // JSON null is no value of a map.
        let null = LiveMap::new().with("null", Value::Null);
        assert_eq!(refusal(root.set("outer", null).await), (40013, Some(400)));
        assert_eq!(world.published().len(), 1);
    }
}
