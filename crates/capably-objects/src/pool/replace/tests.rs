use capably_protocol::object::{ObjectData, ObjectsCounter, ObjectsMap, ObjectsMapEntry};
use serde_json::json;

use super::*;
use crate::{Ignored, Source, test_pool::*};

const MAP: &str = "map:abc@1000";
const COUNTER: &str = "counter:abc@1000";

fn change_of(updates: Vec<Update>) -> Vec<(String, Change)> {
    updates.into_iter().map(|update| (update.object_id.to_string(), update.change)).collect()
}

// Spec: RTO5c1, RTO5c1b, RTO5c1b1, RTO5c1b1a, RTO5c1b1b, RTLC6d, RTLM6d, RTO5c10, RTO5c10b, RTO5c2a, OST1, OST2, OST2a, OST2d, OST2e, OST2f, OMP1, OMP3, OMP3b, OME1, OME2, OME2b, OME2c, OCN1, OCN2, OCN2a
#[test]
fn states_make_objects() {
    let pool = standard_pool();
    assert_eq!(
        json_of(&pool, "root"),
        json!({
            "active": true, "age": 30, "avatar": "AQID", "data": { "tags": ["a", "b"] }, "name": "Alice",
            "profile": {
                "email": "alice@example.com", "nested_counter": 5, "prefs": { "theme": "dark" },
            },
            "score": 100,
        })
    );
    assert_eq!(paths(&pool, "map:prefs@1000"), ["profile.prefs"]);
}

// Spec: RTO5c1a, RTO5c1a1, RTO5c1a2, RTO5c7, RTO5c10a, RTO5c2, RTLC6h, RTLM6h, RTLM22, RTLM22b, RTLM22b2, RTLM22b3, RTLM22a, RTLM22a1, RTLM22a2
#[test]
fn a_sync_replaces_objects_and_removes_the_others() {
    let mut pool = standard_pool();
    change(&mut pool, &map_remove("root", "age", "t:1"));
    let updates = pool.replace(
        [
            map_state(
                "root",
                [
                    ("name", entry(string("Bob"), "t:5")),
                    (
                        "active",
                        entry(capably_protocol::object::ObjectValue::Boolean(true).into(), "t:9"),
                    ),
                    ("score2", entry(ObjectData::reference("counter:score@1000"), "t:5")),
                    ("data", removed("t:5", None)),
                ],
            ),
            counter_state("counter:score@1000", 70.0),
            counter_state("counter:new@1", 1.0),
        ],
        NOW,
    );
    let root = keys(["-avatar", "-data", "+name", "-profile", "-score", "+score2"]);
    let score = Change::Counter(-30.0);
    assert_eq!(change_of(updates), [("root".into(), root), ("counter:score@1000".into(), score)]);
    assert_eq!(json_of(&pool, "root"), json!({ "active": true, "name": "Bob", "score2": 70 }));
    assert_eq!(paths(&pool, "counter:score@1000"), ["score2"]);
    assert_eq!((pool.len(), pool.nodes.len() - pool.free.len()), (3, 3));
}

// Spec: RTLC6, RTLC6a, RTLC6b, RTLC6c, RTLC6g
#[test]
fn a_counter_is_set_to_its_state() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_create(COUNTER, Some(5.0), "09"));
    let state = state(COUNTER, |state| state.counter = Some(ObjectsCounter { count: None }));
    assert_eq!(change_of(pool.replace([state], NOW)), [(COUNTER.into(), Change::Counter(-5.0))]);
    // Its own create is not merged any more, and its site's serial is forgotten.
    assert_eq!(
        change(&mut pool, &counter_create(COUNTER, Some(5.0), "01")),
        Some(Change::Counter(5.0))
    );
    let old = from_site("aaa", counter_inc(COUNTER, 1.0, "t:0"));
    assert_eq!(apply(&mut pool, &old), Err(Ignored::NotNewer));
}

// Spec: RTLM6, RTLM6a, RTLM6b, RTLM6c, RTLM6i, RTLM6g
#[test]
fn a_map_is_set_to_its_state() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &map_create(MAP, MapCreate::default(), "08"));
    change(&mut pool, &map_clear(MAP, "09"));
    let empty = state(MAP, |state| state.map = Some(ObjectsMap::default()));
    pool.replace([empty], NOW);
    // Neither the create nor the clear holds off operations any more.
    let create =
        create([("a", ObjectsMapEntry { data: Some(number(1.0)), ..ObjectsMapEntry::default() })]);
    assert_eq!(change(&mut pool, &map_create(MAP, create, "01")), Some(keys(["+a"])));
}

// Spec: RTLM6c1, RTLM3a, OME2a, OME2d
#[test]
fn removed_entries_of_a_state_have_their_time() {
    let mut pool = ObjectsPool::new();
    pool.replace(
        [map_state("root", [("dated", removed("1", Some(7))), ("undated", removed("1", None))])],
        NOW,
    );
    let state = pool.state("root").and_then(|message| message.object).expect("a state");
    let entries = state.map.expect("a map").entries;
    assert_eq!(entries["dated"].serial_timestamp, Some(7));
    assert_eq!(entries["undated"].serial_timestamp, Some(NOW));
    assert!(pool.root().is_empty());
}

// Spec: RTLM6i, OMP3c
#[test]
fn the_clear_of_a_state_hides_initial_entries() {
    let plain = ObjectsMapEntry { data: Some(number(1.0)), ..ObjectsMapEntry::default() };
    let state = edit(map_state("root", [("kept", entry(number(2.0), "01"))]), |state| {
        let create =
            map_create("root", create([("hidden", plain), ("late", entry(number(3.0), "06"))]), "");
        state.create_op = create.operation.map(|create| *create);
        state.map.as_mut().expect("a map").clear_timeserial = Some("05".into());
    });
    let pool = ObjectsPool::from_states([state], NOW);
    assert_eq!(json_of(&pool, "root"), json!({ "kept": 2, "late": 3 }));
}

// Spec: RTLC6e, RTLC6e1, RTLM6e, RTLM6e1, RTLC6f, RTLC6f2, RTLM6f, RTLM6f2, OST2c
#[test]
fn a_deleted_object_stays_deleted() {
    for (id, live) in [
        (COUNTER, counter_state(COUNTER, 5.0)),
        (MAP, map_state(MAP, [("a", entry(number(1.0), "1"))])),
    ] {
        let mut pool = ObjectsPool::from_states([live.clone()], NOW);
        let mut dead = edit(live.clone(), |state| state.tombstone = Some(true));
        dead.serial_timestamp = Some(99);
        let updates = pool.replace([dead.clone()], NOW);
        assert_eq!(updates.len(), 1);
        assert!(updates[0].tombstone);
        assert_ne!(updates[0].change, keys([]));
        assert_eq!(pool.tombstoned_at(id), Some(99));
        assert_eq!(
            pool.replace([live], NOW),
            [],
            "a later state of a deleted object changes nothing"
        );
        assert_eq!(pool.replace([dead], NOW), []);
        assert_eq!(pool.tombstoned_at(id), Some(99));
    }
}

// Spec: RTO5c1b, RTO5c7
#[test]
fn a_new_object_that_is_deleted_is_no_change() {
    let mut pool = ObjectsPool::new();
    let dead = edit(counter_state(COUNTER, 5.0), |state| state.tombstone = Some(true));
    assert_eq!(pool.replace([dead], NOW), []);
    assert_eq!(pool.tombstoned_at(COUNTER), Some(NOW));
}

// Spec: RTLC16b
#[test]
fn a_create_operation_without_its_field_is_merged() {
    let state = edit(counter_state(COUNTER, 5.0), |state| {
        state.counter = Some(ObjectsCounter { count: Some(3.0) });
        if let Some(create) = &mut state.create_op {
            create.counter_create = None;
        }
    });
    let mut pool = ObjectsPool::from_states([state], NOW);
    assert_eq!(count(&pool, COUNTER), 3.0);
    assert_eq!(apply(&mut pool, &counter_create(COUNTER, Some(5.0), "01")), Ok(None));
}

#[test]
fn a_negative_zero_is_a_zero_at_every_replica() {
    let state = edit(counter_state(COUNTER, 0.0), |state| {
        state.counter = Some(ObjectsCounter { count: Some(-0.0) });
    });
    let pool = ObjectsPool::from_states([state], NOW);
    let again = ObjectsPool::from_states(pool.states(), NOW);
    for pool in [&pool, &again] {
        assert!(count(pool, COUNTER).is_sign_positive());
    }
}

// Spec: RTLO4e10
#[test]
fn a_state_cannot_delete_the_root_or_change_its_type() {
    let mut pool = standard_pool();
    let dead = edit(map_state("root", []), |state| state.tombstone = Some(true));
    assert_eq!(pool.replace([dead], NOW), []);
    assert_eq!(pool.tombstoned_at("root"), None);
    assert!(pool.root().get("name").is_some());
    assert_eq!(pool.replace([counter_state("root", 1.0)], NOW), []);
    assert!(pool.root().get("name").is_some());
}

#[test]
fn an_object_whose_state_is_of_another_type_becomes_a_new_object() {
    let mut pool = standard_pool();
    let profile = "map:profile@1000";
    let mut states = standard_states();
    states[2] = counter_state(profile, 3.0);
    let updates = pool.replace(states, NOW);
    assert!(updates.iter().all(|update| update.object_id != profile));
    assert_eq!(count(&pool, profile), 3.0);
    assert_eq!(paths(&pool, "map:prefs@1000"), [""; 0]);
}

#[test]
fn states_without_an_object_are_skipped() {
    let mut pool = ObjectsPool::new();
    let none = state("map:x@1", |_| {});
    let no_id = edit(map_state("map:x@1", []), |state| state.object_id = None);
    assert_eq!(pool.replace([none, no_id, ObjectMessage::default()], NOW), []);
    assert_eq!(pool.len(), 1);
}

#[test]
fn a_reference_to_an_object_that_was_not_received_reads_as_nothing() {
    let mut pool = standard_pool();
    pool.replace(standard_states().into_iter().take(1), NOW);
    assert!(pool.root().get("score").is_none());
    assert_eq!(json_of(&pool, "root").get("profile"), None);
    pool.apply(&counter_inc("counter:score@1000", 3.0, "t:1"), Source::Channel, NOW)
        .expect("applied");
    assert_eq!(json_of(&pool, "root")["score"], json!(3));
}

#[test]
fn an_object_that_refers_to_itself_is_removed_once() {
    let this = "map:self@1";
    let myself = || entry(ObjectData::reference(this), "t:0");
    let mut pool = ObjectsPool::from_states([map_state(this, [("me", myself())])], NOW);
    pool.replace([], NOW);
    assert_eq!((pool.nodes.len(), pool.free.len()), (2, 1));
    change(&mut pool, &map_set("map:a@1", "k", number(1.0), "1"));
    change(&mut pool, &map_set("map:b@1", "k", number(2.0), "1"));
    assert_eq!(json_of(&pool, "map:a@1"), json!({ "k": 1 }));
    // The same when it becomes an object of another type.
    let mut pool = ObjectsPool::from_states([map_state(this, [("me", myself())])], NOW);
    pool.replace([counter_state(this, 5.0)], NOW);
    assert_eq!(count(&pool, this), 5.0);
    assert_eq!(pool.free.len(), 0);
}
