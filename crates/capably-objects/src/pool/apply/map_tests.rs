use capably_protocol::object::{MapCreateWithObjectId, ObjectsMapEntry};
use serde_json::json;

use super::*;
use crate::{Path, ValueRef, test_pool::*};

const ID: &str = "map:abc@1000";

/// A map that has `key` from the serial `05`.
fn with_key() -> ObjectsPool {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_set(ID, "key", string("old"), "05"));
    pool
}

fn key(pool: &ObjectsPool) -> Option<String> {
    match pool.object(ID)?.as_map()?.get("key")? {
        ValueRef::String(text) => Some(text.to_string()),
        other => panic!("not a string: {other:?}"),
    }
}

// Spec: RTLM1, RTLM2, RTLM3, RTLM4, RTLM4a, RTLM4b, RTLM4c, RTLM4d, RTLM25, RTLM7, RTLM7b, RTLM7b4, RTLM7b2, RTLM7f, RTLM7d, RTLM7e, RTLM15, RTLM15d, RTLM15d6, RTLM15d6a, RTLM15d6b, RTLM18, RTLM18b, RTO6b2, RTLM15g, RTLM7d2, RTLM7d3, RTLM7d4, RTLM15a, RTLM15f1, RTLM18a
#[test]
fn a_set_adds_a_key() {
    let mut pool = ObjectsPool::new();
    let update = apply(&mut pool, &map_set(ID, "key", string("value"), "01"));
    let expected = Update { object_id: ID.into(), change: keys(["+key"]), tombstone: false };
    assert_eq!(update, Ok(Some(expected)));
    assert_eq!(json_of(&pool, ID), json!({ "key": "value" }));
}

// Spec: RTLM7a, RTLM7a2, RTLM7a2e, RTLM7a2b, RTLM7a1, RTLM9, RTLM9a, RTLM9e
#[test]
fn a_set_replaces_a_value_only_with_a_later_serial() {
    for (serial, value) in [("06", "new"), ("050", "new"), ("05", "old"), ("04", "old")] {
        let mut pool = with_key();
        let update = change(&mut pool, &from_site("b", map_set(ID, "key", string("new"), serial)));
        assert_eq!(update, (value == "new").then(|| keys(["+key"])), "{serial}");
        assert_eq!(key(&pool).as_deref(), Some(value), "{serial}");
    }
}

// Spec: RTLM8, RTLM8a, RTLM8a2, RTLM8a2a, RTLM8a2b, RTLM8a2c, RTLM8a2d, RTLM8a1, RTLM8e, RTLM8c, RTLM8d, RTLM15d7, RTLM15d7a, RTLM15d7b, RTLM8c2, RTLM8c4, RTLM8c5
#[test]
fn a_remove_needs_a_later_serial_too() {
    for (serial, removed) in [("06", true), ("05", false), ("04", false)] {
        let mut pool = with_key();
        let update = change(&mut pool, &from_site("b", map_remove(ID, "key", serial)));
        assert_eq!(update, removed.then(|| keys(["-key"])), "{serial}");
        assert_eq!(key(&pool).is_none(), removed, "{serial}");
    }
}

// Spec: RTLM8b, RTLM8b1, RTLM8b2, RTLM8b3, RTLM7a2c, RTLM7a2d, RTLM7b3, RTLM3a1, RTLM8c3
#[test]
fn a_removed_key_is_kept_until_a_later_set() {
    let mut pool = ObjectsPool::new();
    let remove = ObjectMessage { serial_timestamp: Some(77), ..map_remove(ID, "key", "05") };
    assert_eq!(change(&mut pool, &remove), Some(keys(["-key"])));
    let entry = |pool: &ObjectsPool| {
        let map = pool.state(ID).and_then(|message| message.object).and_then(|state| state.map);
        map.expect("a map").entries["key"].clone()
    };
    assert_eq!(entry(&pool), removed("05", Some(77)));
    assert_eq!(change(&mut pool, &from_site("b", map_set(ID, "key", string("no"), "04"))), None);
    assert_eq!(key(&pool), None);
    change(&mut pool, &map_set(ID, "key", string("yes"), "06"));
    assert_eq!(key(&pool).as_deref(), Some("yes"));
    assert_eq!(entry(&pool).tombstone, None);
    change(&mut pool, &map_remove(ID, "key", "07"));
    assert_eq!(entry(&pool), removed("07", Some(NOW)), "without a time, it is now");
}

// Spec: RTLM16, RTLM16a, RTLM16d, RTLM16e, RTLM16f, RTLM23, RTLM23a, RTLM23a1, RTLM23a2, RTLM23b, RTLM23c, RTLM15d1, RTLM15d1a, RTLM15d1b, RTLM9c, RTLM9d, RTLM16a1, RTLM16a2
#[test]
fn a_create_merges_its_entries() {
    let mut pool = with_key();
    let initial = create([
        ("key", ObjectsMapEntry { data: Some(string("no")), ..ObjectsMapEntry::default() }),
        ("late", entry(string("yes"), "09")),
        ("plain", ObjectsMapEntry { data: Some(number(1.0)), ..ObjectsMapEntry::default() }),
        ("gone", removed("09", Some(5))),
    ]);
    let update = change(&mut pool, &map_create(ID, initial.clone(), "06"));
    assert_eq!(update, Some(keys(["-gone", "+late", "+plain"])));
    assert_eq!(json_of(&pool, ID), json!({ "key": "old", "late": "yes", "plain": 1 }));
    // RTLM16b
    assert_eq!(change(&mut pool, &map_create(ID, initial, "07")), None);
    // RTLM9d: an entry without a serial gives way to any.
    assert_eq!(change(&mut pool, &map_remove(ID, "plain", "08")), Some(keys(["-plain"])));
}

// Spec: RTLM16b, RTLM9b
#[test]
fn entries_without_serials_are_equal_and_the_first_stays() {
    let mut pool = ObjectsPool::new();
    let plain = |text| ObjectsMapEntry { data: Some(string(text)), ..ObjectsMapEntry::default() };
    let state = edit(map_state(ID, [("key", plain("state"))]), |state| {
        state.create_op =
            map_create(ID, create([("key", plain("create"))]), "").operation.map(|create| *create);
    });
    pool.replace([state], NOW);
    assert_eq!(key(&pool).as_deref(), Some("state"));
    assert_eq!(change(&mut pool, &map_create(ID, create([("other", plain("x"))]), "01")), None);
}

// Spec: RTLM23
#[test]
fn a_create_of_this_client_is_applied_from_its_source() {
    let mut pool = ObjectsPool::new();
    let source = Some(create([("key", entry(string("own"), ""))]));
    let with_id = MapCreateWithObjectId { source, ..MapCreateWithObjectId::default() };
    let message = operation(Action::MapCreate, ID, "01", |operation| {
        operation.map_create_with_object_id = Some(with_id);
    });
    pool.apply(&message, Source::Local, NOW).expect("applied");
    assert_eq!(key(&pool).as_deref(), Some("own"));
}

// Spec: RTLM24, RTLM24a, RTLM24b, RTLM24d, RTLM24e, RTLM24e1, RTLM24e1a, RTLM24e1b, RTLM24f, RTLM15d8, RTLM15d8a, RTLM15d8b, RTLM24a1, RTLM24a2
#[test]
fn a_clear_removes_the_entries_that_are_older() {
    let mut pool = with_key();
    change(&mut pool, &map_set(ID, "same", number(1.0), "06"));
    change(&mut pool, &map_set(ID, "newer", number(2.0), "07"));
    change(&mut pool, &map_remove(ID, "removed", "08"));
    change(&mut pool, &map_create(ID, create([("plain", ObjectsMapEntry::default())]), "09"));
    let update = change(&mut pool, &from_site("b", map_clear(ID, "06")));
    assert_eq!(update, Some(keys(["-key", "-plain"])));
    assert_eq!(json_of(&pool, ID), json!({ "newer": 2, "same": 1 }));
}

// Spec: RTLM24c
#[test]
fn a_clear_before_another_clear_changes_nothing() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_clear(ID, "05"));
    assert_eq!(change(&mut pool, &from_site("b", map_clear(ID, "04"))), None);
    assert_eq!(change(&mut pool, &from_site("b", map_clear(ID, "05"))), Some(keys([])));
    assert_eq!(change(&mut pool, &from_site("c", map_set(ID, "a", number(1.0), "05"))), None);
}

// Spec: RTLM7h, RTLM8g
#[test]
fn a_clear_holds_off_operations_that_are_not_later() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_clear(ID, "05"));
    for serial in ["04", "05"] {
        let site = format!("site {serial}");
        assert_eq!(
            change(&mut pool, &from_site(&site, map_set(ID, "a", number(1.0), serial))),
            None
        );
        let remove = from_site(&format!("{site} too"), map_remove(ID, "a", serial));
        assert_eq!(change(&mut pool, &remove), None);
    }
    let create =
        create([("plain", ObjectsMapEntry::default()), ("late", entry(number(3.0), "06"))]);
    assert_eq!(
        change(&mut pool, &from_site("c", map_create(ID, create, "01"))),
        Some(keys(["+late"]))
    );
    assert_eq!(change(&mut pool, &map_remove(ID, "late", "07")), Some(keys(["-late"])));
}

// Spec: RTLM15b, RTLM15c, RTLM15f, RTLM15f2
#[test]
fn an_operation_must_be_newer_than_the_last_of_its_site() {
    let mut pool = with_key();
    assert_eq!(apply(&mut pool, &map_set(ID, "other", number(1.0), "05")), Err(Ignored::NotNewer));
    pool.apply(&map_set(ID, "other", number(1.0), "09"), Source::Local, NOW).expect("applied");
    change(&mut pool, &map_set(ID, "third", number(1.0), "06"));
    assert_eq!(json_of(&pool, ID), json!({ "key": "old", "other": 1, "third": 1 }));
}

// Spec: RTLM15e, RTLM15d5, RTLM15d5c, RTLM15d5b, RTLM15d4, RTLM22b1, RTLM5e, RTLO4e7
#[test]
fn a_deleted_map_is_empty_and_stays_so() {
    let mut pool = with_key();
    change(&mut pool, &map_remove(ID, "gone", "06"));
    let update = Update { object_id: ID.into(), change: keys(["-key"]), tombstone: true };
    assert_eq!(apply(&mut pool, &object_delete(ID, "07")), Ok(Some(update)));
    assert_eq!(apply(&mut pool, &map_set(ID, "a", number(1.0), "08")), Err(Ignored::Tombstone));
    assert_eq!(json_of(&pool, ID), json!({}));
    assert_eq!(key(&pool), None);
}

// Spec: RTLO4e10, RTO3b
#[test]
fn the_root_cannot_be_deleted() {
    let mut pool = standard_pool();
    assert_eq!(apply(&mut pool, &object_delete("root", "t:1")), Ok(None));
    assert_eq!(pool.tombstoned_at("root"), None);
    assert!(pool.root().get("name").is_some());
}

// Spec: RTLM7g, RTLM7g1, RTLM7g2, RTO6, RTO6a, RTLO4g, RTLO4g1, RTLO4g2, RTLO3f, RTLO3f2
#[test]
fn a_reference_makes_the_object() {
    let mut pool = ObjectsPool::new();
    let counter = "counter:new@1";
    change(&mut pool, &map_set("root", "a", ObjectData::reference(counter), "01"));
    change(&mut pool, &map_set("root", "b", ObjectData::reference(counter), "02"));
    assert_eq!(count(&pool, counter), 0.0);
    assert_eq!(paths(&pool, counter), ["a", "b"]);
    change(&mut pool, &counter_inc(counter, 2.0, "03"));
    change(&mut pool, &map_set("root", "c", ObjectData::reference(counter), "04"));
    assert_eq!(count(&pool, counter), 2.0, "an object that exists is not made again");
}

// Spec: RTLM7a3, RTLM7a3a, RTLM7a3b, RTLM8a3, RTLM8a3a, RTLM8a3b, RTLM24e1c, RTLM24e1c1, RTLM24e1c2, RTLO4e9, RTLO4e9a, RTLO4e9b, RTLO4h, RTLO4h2, RTLO4h3, RTLO4h1
#[test]
fn a_reference_ends_with_its_entry() {
    let (score, profile) = ("counter:score@1000", "map:profile@1000");
    let twice = || {
        let mut pool = standard_pool();
        change(&mut pool, &map_set(profile, "score", ObjectData::reference(score), "t:1"));
        assert_eq!(paths(&pool, score), ["profile.score", "score"]);
        pool
    };
    for (end, left) in [
        (map_set("root", "score", number(1.0), "t:2"), "profile.score"),
        (map_set("root", "score", ObjectData::reference("map:x@1"), "t:2"), "profile.score"),
        (map_remove("root", "score", "t:2"), "profile.score"),
        (map_clear(profile, "t:2"), "score"),
        (object_delete(profile, "t:2"), "score"),
    ] {
        let mut pool = twice();
        change(&mut pool, &end);
        assert_eq!(paths(&pool, score), [left], "{end:?}");
    }
    let mut pool = twice();
    change(&mut pool, &map_set("root", "score", ObjectData::reference(score), "t:2"));
    assert_eq!(paths(&pool, score), ["profile.score", "score"], "a key set to the same object");
    // RTLO4h1: a key without a reference has none to end.
    change(&mut pool, &map_remove("root", "name", "t:3"));
    assert_eq!(paths(&pool, score), ["profile.score", "score"]);
}

#[test]
fn a_reference_to_an_object_of_unknown_type_reads_as_nothing() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_set("root", "a", ObjectData::reference("list:x@1"), "01"));
    assert!(pool.root().get("a").is_none());
    assert_eq!(pool.resolve(&Path::parse("a.b")).map(|_| ()), None);
    change(&mut pool, &map_remove("root", "a", "02"));
    assert_eq!(pool.nodes.len() - pool.free.len(), 1, "its node is removed with the reference");
}

// Spec: RTLM5d2b, RTLM5d2c, RTLM5d2d, RTLM5d2e, RTLM5d2f
#[test]
fn a_leaf_beside_a_reference_comes_first() {
    let mut pool = ObjectsPool::new();
    let both = ObjectData { object_id: Some("map:x@1".into()), ..number(1.0) };
    change(&mut pool, &map_set("root", "a", both, "01"));
    assert_eq!(json_of(&pool, "root"), json!({ "a": 1 }));
    assert!(pool.object("map:x@1").is_none());
}

#[test]
fn a_reference_of_unknown_type_is_stored_however_often_it_is_set() {
    let mut pool = ObjectsPool::new();
    for serial in ["01", "02"] {
        change(&mut pool, &map_set("root", "a", ObjectData::reference("list:x@1"), serial));
        let state = pool.state("root").and_then(|message| message.object).expect("a state");
        let entry = &state.map.expect("a map").entries["a"];
        assert_eq!(entry.data, Some(ObjectData::reference("list:x@1")));
        assert_eq!(pool.nodes.len() - pool.free.len(), 2);
    }
}

// Spec: RTLM23a2
#[test]
fn removed_entries_of_a_create_have_a_time() {
    let mut pool = ObjectsPool::new();
    let create = create([("dated", removed("01", Some(5))), ("undated", removed("01", None))]);
    let create = map_create(ID, create, "01");
    change(&mut pool, &ObjectMessage { serial_timestamp: Some(77), ..create });
    let state = pool.state(ID).and_then(|message| message.object).expect("a state");
    let entries = state.map.expect("a map").entries;
    assert_eq!(entries["dated"].serial_timestamp, Some(5));
    assert_eq!(entries["undated"].serial_timestamp, Some(77));
}

#[test]
fn an_empty_reference_is_no_reference() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_set("root", "a", ObjectData::reference(""), "01"));
    assert!(pool.root().get("a").is_none());
    assert_eq!(pool.nodes.len(), 1);
}
