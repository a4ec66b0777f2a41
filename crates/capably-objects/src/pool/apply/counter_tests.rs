use capably_protocol::{
    ObjectMessage,
    object::{CounterCreateWithObjectId, ObjectOperation, ObjectOperationAction as Action},
};

use super::*;
use crate::test_pool::*;

const ID: &str = "counter:abc@1000";

// Spec: RTLC1, RTLC2, RTLC3, RTLC4, RTLC4a, RTLC4b, RTLC9, RTLC9a, RTLC9a2, RTLC9c, RTLC9f, RTLC9g, RTLC5, RTLC5c, RTLC7, RTLC7d, RTLC7d5, RTLC7d5a, RTLC7d5b, RTLC11, RTLC11b, RTLC11b1, RTO6b3, RTO9a2a1, RTLC7a, RTLC7f1, RTLC9a3, RTLC11a, RTLO1, RTLO2, RTLO4, RTO9b, RTO9b1
#[test]
fn increments_add_up() {
    let mut pool = ObjectsPool::new();
    assert!(pool.object(ID).is_none());
    for (serial, amount, value) in [("01", 5.0, 5.0), ("02", -7.5, -2.5), ("03", 0.0, -2.5)] {
        let update = apply(&mut pool, &counter_inc(ID, amount, serial));
        let change = Change::Counter(amount);
        assert_eq!(update, Ok(Some(Update { object_id: ID.into(), change, tombstone: false })));
        assert_eq!(count(&pool, ID), value);
    }
}

// Spec: RTLC9h
#[test]
fn an_increment_without_a_number_changes_nothing() {
    let mut pool = ObjectsPool::new();
    assert_eq!(apply(&mut pool, &counter_inc(ID, None, "01")), Ok(None));
    assert_eq!(count(&pool, ID), 0.0);
    assert_eq!(apply(&mut pool, &counter_inc(ID, 1.0, "01")), Err(Ignored::NotNewer));
}

// Spec: RTLC8, RTLC8a, RTLC8c, RTLC8e, RTLC16, RTLC16a, RTLC16b, RTLC16c, RTLC7d1, RTLC7d1a, RTLC7d1b, RTLC8a1, RTLC8a2, RTLC8d, RTLO3c, RTLO3c1
#[test]
fn a_create_adds_its_count_once() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_inc(ID, 10.0, "05"));
    let created = change(&mut pool, &from_site("b", counter_create(ID, Some(42.0), "01")));
    assert_eq!(created, Some(Change::Counter(42.0)));
    assert_eq!(count(&pool, ID), 52.0);
}

// Spec: RTLC8b
#[test]
fn a_second_create_changes_nothing() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_create(ID, Some(1.0), "01"));
    assert_eq!(apply(&mut pool, &counter_create(ID, Some(1.0), "02")), Ok(None));
    assert_eq!(count(&pool, ID), 1.0);
}

// Spec: RTLC16d
#[test]
fn a_create_without_a_count_changes_nothing_but_counts() {
    let mut pool = ObjectsPool::new();
    assert_eq!(apply(&mut pool, &counter_create(ID, None, "01")), Ok(None));
    assert_eq!(apply(&mut pool, &counter_create(ID, Some(9.0), "02")), Ok(None));
    assert_eq!(count(&pool, ID), 0.0);
}

// Spec: RTLC16
#[test]
fn a_create_of_this_client_is_applied_from_its_source() {
    let mut pool = ObjectsPool::new();
    let create = |source| {
        let with_id = CounterCreateWithObjectId { source, ..CounterCreateWithObjectId::default() };
        operation(Action::CounterCreate, ID, "01", |operation| {
            operation.counter_create_with_object_id = Some(with_id);
        })
    };
    let create_3 = create(Some(CounterCreate { count: Some(3.0) }));
    assert_eq!(pool.apply(&create_3, Source::Local, NOW).map(|update| update.is_some()), Ok(true));
    assert_eq!(count(&pool, ID), 3.0);
    assert_eq!(pool.apply(&create(None), Source::Local, NOW), Err(Ignored::NoPayload));
}

// Spec: RTLC7b, RTLO4a, RTLO4a1, RTLO4a2, RTLO4a4, RTLO4a6, RTLC7g, RTLO4a1a
#[test]
fn an_operation_must_be_newer_than_the_last_of_its_site() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_inc(ID, 1.0, "05"));
    for serial in ["05", "04", "0"] {
        assert_eq!(apply(&mut pool, &counter_inc(ID, 1.0, serial)), Err(Ignored::NotNewer));
    }
    change(&mut pool, &from_site("other", counter_inc(ID, 1.0, "01")));
    change(&mut pool, &counter_inc(ID, 1.0, "050"));
    assert_eq!(count(&pool, ID), 3.0);
}

// Spec: RTLO4a5, RTLO3b, RTLO3b1
#[test]
fn a_site_with_an_empty_serial_has_seen_nothing() {
    let state = edit(counter_state(ID, 1.0), |state| {
        state.site_timeserials = [("remote".into(), "".into())].into();
    });
    let mut pool = ObjectsPool::from_states([state], NOW);
    change(&mut pool, &counter_inc(ID, 1.0, "0"));
    assert_eq!(count(&pool, ID), 2.0);
}

// Spec: RTLO4a3
#[test]
fn serial_and_site_code_must_not_be_missing() {
    let mut pool = ObjectsPool::new();
    let inc = || counter_inc(ID, 1.0, "01");
    for message in [
        counter_inc(ID, 1.0, ""),
        from_site("", inc()),
        ObjectMessage { serial: None, ..inc() },
        ObjectMessage { site_code: None, ..inc() },
    ] {
        assert_eq!(apply(&mut pool, &message), Err(Ignored::InvalidSerial));
    }
    assert_eq!(count(&pool, ID), 0.0);
}

// Spec: RTLC7c, RTLC7f, RTLC7f2, RTO9b2, RTO22, RTO22a, RTO22b
#[test]
fn an_operation_applied_on_its_ack_leaves_the_serials_alone() {
    let mut pool = ObjectsPool::new();
    pool.apply(&counter_inc(ID, 1.0, "05"), Source::Local, NOW).expect("applied");
    change(&mut pool, &counter_inc(ID, 1.0, "04"));
    assert_eq!(count(&pool, ID), 2.0);
    assert_eq!(apply(&mut pool, &counter_inc(ID, 1.0, "04")), Err(Ignored::NotNewer));
}

// Spec: RTLO5, RTLO5b, RTLO5c, RTLO4e, RTLO4e2, RTLO4e3, RTLO4e4, RTLO4e5, RTLO4e6, RTLO4e8, RTLC7d4, RTLC7d4c, RTLC7d4b, RTLC14, RTLC14b, RTLO4b4e, RTLO3d, RTLO3e, RTLO6, RTLO6a, RTLO6b, RTLC14a, RTLC14a1, RTLC14a2, RTLO3d1, RTLO3e1, RTLO4e1, RTLO4e1a, RTLO5a, RTLO5a1
#[test]
fn a_delete_sets_the_counter_to_zero_for_good() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &counter_inc(ID, 5.0, "01"));
    assert_eq!(pool.tombstoned_at(ID), None);
    let delete = ObjectMessage { serial_timestamp: Some(77), ..object_delete(ID, "02") };
    let update = Update { object_id: ID.into(), change: Change::Counter(-5.0), tombstone: true };
    assert_eq!(apply(&mut pool, &delete), Ok(Some(update)));
    assert_eq!((count(&pool, ID), pool.tombstoned_at(ID)), (0.0, Some(77)));
    change(&mut pool, &object_delete("counter:other@1", "01"));
    assert_eq!(pool.tombstoned_at("counter:other@1"), Some(NOW), "without a time, it is now");
}

// Spec: RTLC7e
#[test]
fn a_deleted_counter_accepts_no_operation_but_records_its_serial() {
    let mut pool = ObjectsPool::new();
    change(&mut pool, &object_delete(ID, "01"));
    assert_eq!(apply(&mut pool, &counter_inc(ID, 5.0, "02")), Err(Ignored::Tombstone));
    assert_eq!(apply(&mut pool, &counter_inc(ID, 5.0, "02")), Err(Ignored::NotNewer));
    assert_eq!(count(&pool, ID), 0.0);
}

// Spec: RTLC7d3, RTO9a1, RTO9a2b
#[test]
fn operations_that_make_no_sense_are_ignored() {
    let mut pool = standard_pool();
    let before: Vec<_> =
        pool.states().map(|state| state.object.map(|state| (state.map, state.counter))).collect();
    let score = "counter:score@1000";
    let without_payload = |action| operation(action, score, "999", |_| {});
    let no_id = |id: Option<&str>| {
        let mut message = counter_inc(score, 1.0, "99");
        let object_id = id.map(Str::from);
        message.operation =
            message.operation.map(|inc| Box::new(ObjectOperation { object_id, ..*inc }));
        message
    };
    for (message, reason) in [
        (ObjectMessage::default(), Ignored::NoOperation),
        (operation(Action::Unknown(99), score, "99", |_| {}), Ignored::UnknownAction),
        (no_id(None), Ignored::UnknownType),
        (no_id(Some("")), Ignored::UnknownType),
        (no_id(Some("list:x@1")), Ignored::UnknownType),
        (map_set(score, "key", number(1.0), "991"), Ignored::WrongType),
        (map_clear(score, "992"), Ignored::WrongType),
        (counter_inc("root", 1.0, "993"), Ignored::WrongType),
        (counter_create("root", None, "994"), Ignored::WrongType),
        (without_payload(Action::CounterCreate), Ignored::NoPayload),
        (operation(Action::MapSet, "root", "995", |_| {}), Ignored::NoPayload),
        (operation(Action::MapRemove, "root", "996", |_| {}), Ignored::NoPayload),
        (operation(Action::MapCreate, "root", "997", |_| {}), Ignored::NoPayload),
    ] {
        assert_eq!(apply(&mut pool, &message), Err(reason), "{message:?}");
    }
    let after: Vec<_> =
        pool.states().map(|state| state.object.map(|state| (state.map, state.counter))).collect();
    assert_eq!(after, before);
}

#[test]
fn extreme_numbers_do_not_break_a_counter() {
    let mut pool = ObjectsPool::new();
    for (serial, amount) in [("1", f64::MAX), ("2", f64::MAX), ("3", f64::NEG_INFINITY), ("4", 1.0)]
    {
        change(&mut pool, &counter_inc(ID, amount, serial));
    }
    assert!(count(&pool, ID).is_nan());
    assert_eq!(json_of(&pool, ID), serde_json::Value::Null);
    assert_eq!(pool.states().count(), 2);
}
