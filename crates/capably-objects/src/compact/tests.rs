use capably_protocol::object::ObjectData;
use serde_json::json;

use super::*;
use crate::{ObjectsPool, test_pool::*};

fn compact(pool: &ObjectsPool, id: &str) -> Compact {
    pool.object(id).expect("an object").compact()
}

// Spec: RTPO13, RTPO13c, RTPO13c1, RTPO13c2, RTPO13c3, RTPO13c4, RTPO13d, RTPO13e, RTPO14b1
#[test]
fn a_map_has_all_that_is_below_it() {
    let mut pool = standard_pool();
    change(&mut pool, &map_remove("root", "name", "t:1"));
    let root = compact(&pool, "root");
    assert!(root.get("name").is_none());
    let avatar = root.get("avatar").expect("bytes");
    assert_eq!(avatar.value(), Some(&ObjectValue::Bytes(vec![1, 2, 3].into())));
    assert_eq!(avatar.to_json(), json!("AQID"));
    let theme =
        root.get("profile").and_then(|map| map.get("prefs")).and_then(|map| map.get("theme"));
    assert_eq!(theme.expect("a theme").to_json(), json!("dark"));
    let keys: Vec<String> = root.entries().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["active", "age", "avatar", "data", "profile", "score"]);
    assert_eq!(root.object_id().map(Str::as_str), Some("root"));
    let score = compact(&pool, "counter:score@1000");
    assert_eq!((score.value(), score.is_map()), (Some(&ObjectValue::Number(100.0)), false));
    assert_eq!((score.object_id(), score.entries().count()), (None, 0));
}

// Spec: RTPO13c5, RTPO14, RTPO14b, RTPO14b2
#[test]
fn a_cycle_stays_one() {
    let mut pool = standard_pool();
    let profile = ObjectData::reference("map:profile@1000");
    change(&mut pool, &map_set("map:prefs@1000", "back_ref", profile, "t:1"));
    let profile = compact(&pool, "map:profile@1000");
    let prefs = profile.get("prefs").expect("a map");
    assert!(prefs.get("back_ref").is_some_and(|back| back.is_same(&profile)));
    assert!(!prefs.is_same(&profile));
    assert!(!compact(&pool, "map:profile@1000").is_same(&profile));
    let back_ref = json!({ "objectId": "map:profile@1000" });
    assert_eq!(
        profile.to_json(),
        json!({ "email": "alice@example.com", "nested_counter": 5, "prefs": { "back_ref": back_ref, "theme": "dark" } })
    );
    assert_eq!(format!("{prefs:?}"), format!("{:?}", prefs.to_json()));
}

#[test]
fn a_map_with_two_parents_is_written_once() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_set("map:m@1", "n", number(1.5), "01"));
    change(&mut pool, &map_set("root", "a", ObjectData::reference("map:m@1"), "02"));
    change(&mut pool, &map_set("root", "b", ObjectData::reference("map:m@1"), "03"));
    let root = compact(&pool, "root");
    assert_eq!(root.to_json(), json!({ "a": { "n": 1.5 }, "b": { "objectId": "map:m@1" } }));
    assert!(root.get("a").expect("a map").is_same(&root.get("b").expect("a map")));
}

#[test]
fn a_tree_of_any_depth_is_written() {
    for depth in [1000, 3000] {
        let mut pool = ObjectsPool::new();
        let mut parent = "root".to_owned();
        for level in 0..depth {
            let child = format!("map:{level}@1");
            change(&mut pool, &map_set(&parent, "k", ObjectData::reference(&child), "01"));
            parent = child;
        }
        let compact = compact(&pool, "root");
        let (mut levels, mut json) = (0, &compact.to_json());
        while let Some(below) = json.get("k") {
            (levels, json) = (levels + 1, below);
        }
        assert_eq!(levels, depth.min(DEEPEST_JSON));
        let last =
            if depth > DEEPEST_JSON { json!({ "objectId": "map:1023@1" }) } else { json!({}) };
        assert_eq!(*json, last);
        drop(compact);
    }
}

#[test]
fn numbers_are_written_as_json_has_them() {
    for (number, json) in [
        (0.0, "0"),
        (-0.0, "0"),
        (30.0, "30"),
        (1.5, "1.5"),
        (-9_007_199_254_740_991.0, "-9007199254740991"),
        (1e300, "1e+300"),
        (f64::INFINITY, "null"),
        (f64::NAN, "null"),
    ] {
        assert_eq!(number_json(number).to_string(), json);
    }
}
