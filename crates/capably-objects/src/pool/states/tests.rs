use capably_protocol::object::ObjectData;

use super::*;
use crate::test_pool::*;

fn states(pool: &ObjectsPool) -> Vec<ObjectMessage> {
    let mut states: Vec<_> = pool.states().collect();
    states[1..]
        .sort_by_key(|message| message.object.as_ref().and_then(|state| state.object_id.clone()));
    states
}

fn state_of(pool: &ObjectsPool, id: &str) -> ObjectState {
    *pool.state(id).and_then(|message| message.object).expect("a state")
}

// Spec: OST2b
#[test]
fn a_pool_is_made_again_from_its_states() {
    let mut pool = standard_pool();
    let sets = [
        map_set("root", "back", ObjectData::reference("root"), "t:1"),
        map_remove("root", "name", "t:2"),
        counter_inc("counter:score@1000", 0.1, "t:3"),
        from_site("other", counter_inc("counter:score@1000", 0.2, "x")),
        map_clear("map:prefs@1000", "t:4"),
        object_delete("counter:nested@1000", "t:5"),
        map_set("map:new@1", "lost", ObjectData::reference("list:x@1"), "t:6"),
        map_create("map:late@1", create([("plain", entry(number(1.0), ""))]), "t:7"),
    ];
    for set in &sets {
        change(&mut pool, set);
    }
    assert_eq!(
        pool.states().next().and_then(|root| root.object?.object_id).as_deref(),
        Some("root")
    );
    let again = ObjectsPool::from_states(pool.states(), 0);
    assert_eq!(states(&again), states(&pool));
    assert_eq!(json_of(&again, "root"), json_of(&pool, "root"));
    assert_eq!(again.tombstoned_at("counter:nested@1000"), Some(NOW));
}

#[test]
fn initial_values_are_in_the_create_operation_only() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_create("counter:a@1", Some(10.0), "1"));
    change(&mut pool, &counter_inc("counter:a@1", 5.0, "2"));
    let counter = state_of(&pool, "counter:a@1");
    assert_eq!(counter.counter.and_then(|counter| counter.count), Some(5.0));
    assert_eq!(counter.create_op.and_then(|op| op.counter_create?.count), Some(10.0));
    change(
        &mut pool,
        &map_create(
            "map:a@1",
            create([("a", entry(number(1.0), "")), ("b", entry(number(2.0), ""))]),
            "1",
        ),
    );
    change(&mut pool, &map_set("map:a@1", "b", number(3.0), "2"));
    let map = state_of(&pool, "map:a@1");
    let keys = |entries: &BTreeMap<Str, ObjectsMapEntry>| {
        entries.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(map.map.map(|map| keys(&map.entries)), Some(vec!["b".into()]));
    assert_eq!(
        map.create_op.and_then(|op| op.map_create).map(|create| keys(&create.entries)),
        Some(vec!["a".into()])
    );
    assert_eq!(state_of(&pool, "root").create_op, None);
}

#[test]
fn a_count_that_cannot_be_split_exactly_is_not_split() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_create("counter:a@1", Some(1e16), "1"));
    change(&mut pool, &counter_inc("counter:a@1", -1e16, "2"));
    change(&mut pool, &counter_inc("counter:a@1", 0.1, "3"));
    let again = ObjectsPool::from_states(pool.states(), 0);
    assert_eq!(count(&again, "counter:a@1"), 0.1);
    assert_eq!(change(&mut pool, &counter_create("counter:a@1", Some(7.0), "4")), None);
    let mut again = again;
    assert_eq!(change(&mut again, &counter_create("counter:a@1", Some(7.0), "4")), None);
}
