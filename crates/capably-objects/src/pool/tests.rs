use serde_json::json;

use super::*;
use crate::{DEFAULT_GRACE_PERIOD, Ignored, ValueRef, test_pool::*};

impl ObjectsPool {
    /// The maps that refer to an object, each with its key, for tests.
    pub(crate) fn parents(&self, id: &str) -> Vec<(String, String)> {
        let place = self.place(id).expect("an object");
        let parents = self.node(place).parents.iter();
        parents.map(|((map, key), ())| (self.id(*map).to_string(), key.to_string())).collect()
    }
}

// Spec: RTO3, RTO3a, RTO3b, RTO3b1, RTLO3, RTLO3a, RTLO3a1
#[test]
fn a_pool_starts_with_an_empty_root() {
    let pool = ObjectsPool::default();
    assert_eq!((pool.len(), pool.is_empty()), (1, false));
    assert_eq!(pool.root().id(), "root");
    assert!(pool.root().is_empty());
}

// Spec: RTO4b1, RTO4b2, RTO4b2a
#[test]
fn a_cleared_pool_has_an_empty_root_only() {
    let mut pool = standard_pool();
    change(&mut pool, &map_remove("root", "age", "t:1"));
    let removed = ["-active", "-avatar", "-data", "-name", "-profile", "-score"];
    assert_eq!(pool.clear(), keys(removed));
    assert_eq!((pool.len(), json_of(&pool, "root")), (1, json!({})));
    assert!(pool.object("map:profile@1000").is_none());
    change(&mut pool, &map_set("root", "again", ObjectData::reference("map:profile@1000"), "t:2"));
    assert_eq!(json_of(&pool, "root"), json!({ "again": {} }));
}

// Spec: RTO10, RTO10b3, RTO10c, RTO10c1, RTO10c1a, RTLM19, RTLM19a, RTLM19a1
#[test]
fn removed_entries_are_kept_for_the_grace_period() {
    let mut pool = ObjectsPool::new();
    let remove = |key, serial, at| capably_protocol::ObjectMessage {
        serial_timestamp: Some(at),
        ..map_remove("root", key, serial)
    };
    change(&mut pool, &remove("a", "05", NOW));
    change(&mut pool, &remove("b", "06", NOW + 1));
    let stale = |key| from_site("other", map_set("root", key, number(1.0), "01"));
    pool.collect(NOW + DEFAULT_GRACE_PERIOD - 1, DEFAULT_GRACE_PERIOD);
    assert_eq!(change(&mut pool, &stale("a")), None, "the key's serial is still known");
    pool.collect(NOW + DEFAULT_GRACE_PERIOD, DEFAULT_GRACE_PERIOD);
    let stale = |key| {
        from_site("third", map_set("root", key, number(1.0), if key == "a" { "01" } else { "02" }))
    };
    assert_eq!(change(&mut pool, &stale("a")), Some(keys(["+a"])), "it is forgotten");
    assert_eq!(change(&mut pool, &stale("b")), None);
    assert_eq!(DEFAULT_GRACE_PERIOD, 24 * 60 * 60 * 1000);
}

// Spec: RTO10c1b, RTO10c1b1
#[test]
fn deleted_objects_are_kept_for_the_grace_period() {
    let mut pool = standard_pool();
    let score = "counter:score@1000";
    change(&mut pool, &object_delete(score, "t:1"));
    pool.collect(NOW + 999, 1000);
    assert_eq!(apply(&mut pool, &counter_inc(score, 1.0, "t:2")), Err(Ignored::Tombstone));
    pool.collect(NOW + 1000, 1000);
    assert!(pool.object(score).is_none());
    assert_eq!(pool.len(), 4);
    // The root's entry still refers to it: it is there again with the next operation.
    change(&mut pool, &counter_inc(score, 1.0, "t:2"));
    assert!(
        matches!(pool.root().get("score"), Some(ValueRef::Counter(counter)) if counter.value() == 1.0)
    );
    assert_eq!(paths(&pool, score), ["score"]);
    pool.collect(i64::MAX, 0);
    pool.collect(i64::MIN, i64::MAX);
    assert_eq!(pool.root().id(), "root");
}

#[test]
fn a_cleared_pool_has_no_places_and_parents_of_before() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_set("map:a@1", "up", ObjectData::reference("root"), "01"));
    change(&mut pool, &object_delete("map:b@1", "01"));
    pool.collect(NOW, 0);
    assert_eq!((pool.parents("root").len(), pool.free.len()), (1, 1));
    pool.clear();
    assert_eq!((pool.parents("root"), pool.free.len()), (vec![], 0));
    change(&mut pool, &map_set("root", "c", ObjectData::reference("map:c@1"), "02"));
    assert_eq!(json_of(&pool, "root"), json!({ "c": {} }));
}

#[test]
fn the_node_of_an_object_without_references_goes_with_it() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &object_delete("map:a@1", "01"));
    assert!(pool.place("map:a@1").is_some());
    pool.collect(NOW, 0);
    assert_eq!((pool.place("map:a@1"), pool.free.len()), (None, 1));
}

#[test]
fn the_node_of_a_forgotten_object_goes_with_the_last_reference() {
    let mut pool = standard_pool();
    let score = "counter:score@1000";
    change(&mut pool, &object_delete(score, "t:1"));
    pool.collect(NOW, 0);
    assert!(pool.place(score).is_some());
    change(&mut pool, &map_remove("root", "score", "t:2"));
    assert_eq!(pool.place(score), None);
    let place = pool.free[0];
    change(&mut pool, &map_set("root", "new", ObjectData::reference("map:new@1"), "t:3"));
    assert_eq!(pool.place("map:new@1"), Some(place), "its place is used again");
}

#[test]
fn stored_text_does_not_pin_the_frame_it_came_in() {
    let frame = bytes::Bytes::from(vec![b'k'; 1000]);
    let long = Str::from_slice_of(&frame, &frame[..100]).expect("UTF-8");
    let mut pool = ObjectsPool::new();
    let value = capably_protocol::object::ObjectValue::Bytes(frame.slice(..50));
    let mut message = map_set("root", &long, value, "01");
    if let Some(set) = message.operation.as_mut().and_then(|operation| operation.map_set.as_mut()) {
        set.key = long;
    }
    change(&mut pool, &message);
    drop(message);
    // The id of an object, and that of a reference.
    let ids = format!("map:{}map:{}", "a".repeat(96), "b".repeat(96));
    let ids = bytes::Bytes::from(ids.into_bytes());
    let id = |at: usize| Str::from_slice_of(&ids, &ids[at..at + 100]).expect("UTF-8");
    let mut message = map_set("", "key", ObjectData::reference(id(100)), "01");
    if let Some(operation) = &mut message.operation {
        operation.object_id = Some(id(0));
    }
    change(&mut pool, &message);
    drop(message);
    assert!(frame.is_unique() && ids.is_unique());
}
