//! Places in the tree (RTPO).

use capably::realtime::objects::Path;
use serde_json::json;

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // UTS: objects/unit/RTPO4/path-string-representation-0
    // UTS: objects/unit/RTPO4b/path-escapes-dots-0
    // UTS: objects/unit/RTPO5/get-appends-key-0
    // UTS: objects/unit/RTPO6/at-parses-path-0
    // UTS: objects/unit/RTPO6/at-escaped-dots-0
    // Spec: RTPO1, RTPO2, RTPO2a, RTPO5a, RTPO5a1, RTPO6a, RTPO6a1
    async fn paths_are_keys_from_the_root(format) {
        let (_world, root) = World::synced(format).await;
        assert_eq!(root.path().to_string(), "");
        assert_eq!(root.get("profile").path().to_string(), "profile");
        let child = root.get("profile");
        let grandchild = child.get("email");
        assert_eq!(grandchild.path().to_string(), "profile.email");
        assert_ne!(child.path(), root.path());
        assert_eq!(root.get("a.b").get("c").path().to_string(), r"a\.b.c");
        let email = root.at("profile.email");
        assert_eq!(email.path(), grandchild.path());
        assert_eq!(string(&email).as_deref(), Some("alice@example.com"));
        assert_eq!(root.at(r"a\.b.c").path(), &Path::from_iter(["a.b", "c"]));
        assert_eq!(root.at(r"a\.b.c").path().to_string(), r"a\.b.c");
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO7/value-counter-0
    // UTS: objects/unit/RTLC5/value-returns-data-0
    // UTS: objects/unit/RTLM5/get-string-value-0
    // UTS: objects/unit/RTLM5/get-nonexistent-key-0
    // UTS: objects/unit/RTLM5/get-objectid-reference-0
    // UTS: objects/unit/RTPO7/value-primitive-0
    // UTS: objects/unit/RTPO7/value-bytes-0
    // UTS: objects/unit/RTPO7d/value-livemap-null-0
    // UTS: objects/unit/RTPO7e/value-unresolvable-null-0
    // UTS: objects/unit/RTPO3/path-resolution-walk-0
    // UTS: objects/unit/RTPO3a1/intermediate-not-map-0
    // UTS: objects/unit/RTPO3c1/read-null-on-failure-0
    // Spec: RTPO2b, RTPO7b, RTPO7f, RTPO8e, RTPO12d, RTPO13f
    async fn values_are_leaves_and_numbers_of_counters(format) {
        let (_world, root) = World::synced(format).await;
        assert_eq!(number(&root.get("score")), Some(100.0));
        assert_eq!(string(&root.get("name")).as_deref(), Some("Alice"));
        assert_eq!(number(&root.get("age")), Some(30.0));
        assert_eq!(root.get("active").value().unwrap(), Some(ObjectValue::Boolean(true)));
        let avatar = Some(ObjectValue::Bytes(vec![1, 2, 3].into()));
        assert_eq!(root.get("avatar").value().unwrap(), avatar);
        assert_eq!(root.get("profile").value().unwrap(), None);
        assert_eq!(root.get("nonexistent").get("deep").value().unwrap(), None);
        assert_eq!(root.value().unwrap(), None);
        assert_eq!(string(&root.get("profile").get("prefs").get("theme")).as_deref(), Some("dark"));
        assert_eq!(root.get("score").get("something").value().unwrap(), None);
        let whole = root.get("profile").compact().unwrap().unwrap();
        assert_eq!(whole.to_json()["prefs"], json!({ "theme": "dark" }));
        assert_eq!(string(&root.get("profile").get("email")).as_deref(), Some("alice@example.com"));
        let nothing = root.get("nonexistent");
        assert_eq!(nothing.value().unwrap(), None);
        assert!(nothing.instance().unwrap().is_none());
        assert_eq!(nothing.size().unwrap(), None);
        assert!(nothing.entries().unwrap().is_empty() && nothing.keys().unwrap().is_empty());
        assert!(nothing.values().unwrap().is_empty());
        assert!(nothing.compact().unwrap().is_none());
        assert_eq!(nothing.compact_json().unwrap(), None);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO8/instance-live-object-0
    // UTS: objects/unit/RTPO8f/instance-primitive-wrapped-0
    // Spec: RTPO8b, RTPO8c
    async fn instances_are_of_objects_and_leaves(format) {
        let (_world, root) = World::synced(format).await;
        let instance = |key: &str| root.get(key).instance().unwrap().unwrap();
        assert_eq!(instance("score").id().map(Str::as_str), Some("counter:score@1000"));
        assert_eq!(instance("profile").id().map(Str::as_str), Some("map:profile@1000"));
        assert_eq!(instance("name").id(), None);
        assert_eq!(instance("name").value().unwrap(), Some(ObjectValue::String("Alice".into())));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO9/entries-yields-pairs-0
    // UTS: objects/unit/RTLM10/size-non-tombstoned-0
    // UTS: objects/unit/RTLM11/entries-yields-pairs-0
    // UTS: objects/unit/RTLM12/keys-0
    // UTS: objects/unit/RTPO9d/entries-non-map-empty-0
    // UTS: objects/unit/RTPO10/keys-returns-array-0
    // UTS: objects/unit/RTPO10d/keys-non-map-empty-0
    // UTS: objects/unit/RTPO11/values-returns-array-0
    // UTS: objects/unit/RTPO11d/values-non-map-empty-0
    // UTS: objects/unit/RTPO12/size-count-0
    // UTS: objects/unit/RTPO12c/size-non-map-null-0
    // Spec: RTPO9b, RTPO9c, RTPO10b, RTPO10c, RTPO11b, RTPO11c, RTPO12b, RTPO12d
    async fn maps_have_keys_and_other_values_have_none(format) {
        let (_world, root) = World::synced(format).await;
        let keys = ["active", "age", "avatar", "data", "name", "profile", "score"];
        assert_eq!(root.keys().unwrap(), keys);
        let entries = root.entries().unwrap();
        let entries: Vec<_> = entries.iter().map(|(key, at)| (&**key, at.path().to_string())).collect();
        assert_eq!(entries, keys.map(|key| (key, key.to_owned())));
        let values: Vec<_> = root.values().unwrap().iter().map(|at| at.path().to_string()).collect();
        assert_eq!(values, keys);
        assert_eq!(root.size().unwrap(), Some(7));
        assert_eq!(root.get("profile").size().unwrap(), Some(3));
        let score = root.get("score");
        assert!(score.entries().unwrap().is_empty());
        assert!(score.keys().unwrap().is_empty());
        assert!(score.values().unwrap().is_empty());
        assert_eq!(score.size().unwrap(), None);
        assert_eq!(root.get("name").size().unwrap(), None);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO13/compact-recursive-0
    // UTS: objects/unit/RTPO13c/compact-counter-0
    // UTS: objects/unit/RTPO14/compact-json-bytes-0
    // Spec: RTPO13b
    async fn a_tree_is_read_whole(format) {
        let (_world, root) = World::synced(format).await;
        let whole = root.compact().unwrap().unwrap();
        let value = |key: &str| whole.get(key).unwrap().value().cloned().unwrap();
        assert_eq!(value("name"), ObjectValue::String("Alice".into()));
        assert_eq!(value("age"), ObjectValue::Number(30.0));
        assert_eq!(value("active"), ObjectValue::Boolean(true));
        assert_eq!(value("score"), ObjectValue::Number(100.0));
        assert_eq!(value("data"), ObjectValue::Json(json!({ "tags": ["a", "b"] })));
        assert_eq!(value("avatar"), ObjectValue::Bytes(vec![1, 2, 3].into()));
        let score = root.get("score").compact().unwrap().unwrap();
        assert_eq!(score.value(), Some(&ObjectValue::Number(100.0)));
        let expected = json!({
            "name": "Alice", "age": 30, "active": true, "score": 100,
            "data": { "tags": ["a", "b"] }, "avatar": "AQID",
            "profile": {
                "email": "alice@example.com", "nested_counter": 5, "prefs": { "theme": "dark" },
            },
        });
        assert_eq!(root.compact_json().unwrap(), Some(expected));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO13c5/compact-cycle-detection-0
    // UTS: objects/unit/RTPO14/compact-json-0
    async fn a_cycle_is_read_once(format) {
        let (world, root) = World::synced(format).await;
        let back = ObjectData::reference("map:profile@1000");
        world.operate([map_set("map:prefs@1000", "back_ref", back, "99", "remote")]).await;
        let profile = root.get("profile");
        let whole = profile.compact().unwrap().unwrap();
        let back = whole.get("prefs").and_then(|prefs| prefs.get("back_ref")).unwrap();
        assert!(back.is_same(&whole));
        let json = profile.compact_json().unwrap().unwrap();
        assert_eq!(json["prefs"]["back_ref"], json!({ "objectId": "map:profile@1000" }));
    }
}
