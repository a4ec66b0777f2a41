//! `internal_live_counter.md`

use capably_protocol::object::{
    CounterCreate, MapSet, ObjectOperation, ObjectOperationAction as Action, ObjectsCounter,
};

use super::*;

const ID: &str = "counter:abc@1000";

/// A counter with this value, which has seen these serials. Its create operation was not merged.
fn counter<const N: usize>(count: f64, sites: [(&str, &str); N]) -> Subject {
    Subject::with([counter_state(sites, Some(count))])
}

fn counter_state<const N: usize>(sites: [(&str, &str); N], count: Option<f64>) -> ObjectMessage {
    object_state(ID, sites, |state| state.counter = Some(ObjectsCounter { count }))
}

fn with_create(state: ObjectMessage, count: f64) -> ObjectMessage {
    edit(state, |state| {
        state.create_op = Some(ObjectOperation {
            action: Some(Action::CounterCreate),
            object_id: state.object_id.clone(),
            counter_create: Some(CounterCreate { count: Some(count) }),
            ..ObjectOperation::default()
        });
    })
}

/// A deleted counter.
fn deleted_counter() -> Subject {
    let deleted = edit(counter_state([], None), |state| state.tombstone = Some(true));
    Subject::with([at(1_700_000_000_000, deleted)])
}

fn inc(number: f64, serial: &str) -> ObjectMessage {
    site1(counter_inc(ID, number, serial))
}

// UTS: objects/unit/RTLC4/zero-value-0
#[test]
fn a_new_counter_is_zero() {
    let counter = Subject::new(ID);
    assert_eq!(counter.count(), 0.0);
    let state = counter.state();
    assert_eq!(state.object_id.as_deref(), Some(ID));
    assert_eq!((state.tombstone, counter.tombstoned_at()), (None, None));
    assert!(!counter.is_created());
    assert!(state.site_timeserials.is_empty());
}

// UTS: objects/unit/RTLO3/live-object-init-properties-0
#[test]
fn a_new_object_has_seen_nothing() {
    let counter = Subject::new("counter:test@2000");
    let state = counter.state();
    assert_eq!(state.object_id.as_deref(), Some("counter:test@2000"));
    assert!(state.site_timeserials.is_empty());
    assert!(!counter.is_created());
    assert_eq!((state.tombstone, counter.tombstoned_at()), (None, None));
}

// UTS: objects/unit/RTLC9/counter-inc-basic-0
// UTS: objects/unit/RTLC7g/apply-returns-true-0
#[test]
fn an_increment_adds_its_number() {
    let mut counter = Subject::new(ID);
    assert_eq!(counter.apply(&inc(5.0, "01")), counter.changed(Change::Counter(5.0)));
    assert_eq!(counter.count(), 5.0);
}

// UTS: objects/unit/RTLC9/counter-inc-negative-0
#[test]
fn a_negative_increment_subtracts() {
    let mut counter = counter(10.0, [("site1", "00")]);
    assert_eq!(counter.apply(&inc(-3.0, "01")), counter.changed(Change::Counter(-3.0)));
    assert_eq!(counter.count(), 7.0);
}

// UTS: objects/unit/RTLC9/counter-inc-missing-number-0
#[test]
fn an_increment_without_a_number_changes_nothing() {
    let mut counter = counter(10.0, []);
    assert_eq!(counter.apply(&site1(counter_inc(ID, None, "01"))), NOOP);
    assert_eq!(counter.count(), 10.0);
}

// UTS: objects/unit/RTLC9/counter-inc-accumulate-0
#[test]
fn increments_accumulate() {
    let mut counter = Subject::new(ID);
    for message in
        [inc(10.0, "01"), inc(20.0, "02"), from_site("site2", counter_inc(ID, -5.0, "01"))]
    {
        assert!(counter.apply(&message).is_ok());
    }
    assert_eq!(counter.count(), 25.0);
}

// UTS: objects/unit/RTLC8/counter-create-merge-0
#[test]
fn a_create_adds_its_count() {
    let mut counter = Subject::new(ID);
    let create = site1(counter_create(ID, Some(42.0), "01"));
    assert_eq!(counter.apply(&create), counter.changed(Change::Counter(42.0)));
    assert_eq!(counter.count(), 42.0);
    assert!(counter.is_created());
}

// UTS: objects/unit/RTLC8/counter-create-already-merged-0
#[test]
fn a_second_create_changes_nothing() {
    let state = with_create(counter_state([("site1", "00")], Some(0.0)), 42.0);
    let mut counter = Subject::with([state]);
    assert!(counter.is_created());
    assert_eq!(counter.apply(&site1(counter_create(ID, Some(99.0), "01"))), NOOP);
    assert_eq!(counter.count(), 42.0);
}

// UTS: objects/unit/RTLC16/counter-create-no-count-0
#[test]
fn a_create_without_a_count_is_merged() {
    let mut counter = Subject::new(ID);
    assert_eq!(counter.apply(&site1(counter_create(ID, None, "01"))), NOOP);
    assert_eq!(counter.count(), 0.0);
    assert!(counter.is_created());
}

// UTS: objects/unit/RTLC8/create-then-inc-0
#[test]
fn an_increment_adds_to_the_initial_count() {
    let mut counter = Subject::new(ID);
    assert!(counter.apply(&site1(counter_create(ID, Some(100.0), "01"))).is_ok());
    assert!(counter.apply(&inc(25.0, "02")).is_ok());
    assert_eq!(counter.count(), 125.0);
    assert!(counter.is_created());
}

// UTS: objects/unit/RTLO4a/apply-empty-site-serial-0
#[test]
fn the_first_operation_of_a_site_is_applied() {
    let mut counter = Subject::new(ID);
    assert!(counter.apply(&inc(5.0, "01")).is_ok());
    assert_eq!(counter.count(), 5.0);
}

// UTS: objects/unit/RTLO4a/reject-stale-serial-0
// UTS: objects/unit/RTLO4a/reject-equal-serial-0
#[test]
fn an_operation_that_is_not_newer_is_refused() {
    for serial in ["03", "05"] {
        let mut counter = counter(10.0, [("site1", "05")]);
        assert_eq!(counter.apply(&inc(99.0, serial)), Err(Ignored::NotNewer));
        assert_eq!(counter.count(), 10.0);
    }
}

// UTS: objects/unit/RTLO4a/warn-invalid-serial-0
#[test]
fn an_operation_without_a_serial_or_site_is_refused() {
    let mut counter = Subject::new(ID);
    assert_eq!(counter.apply(&inc(5.0, "")), Err(Ignored::InvalidSerial));
    let no_site = from_site("", counter_inc(ID, 5.0, "01"));
    assert_eq!(counter.apply(&no_site), Err(Ignored::InvalidSerial));
    assert_eq!(counter.count(), 0.0);
}

// UTS: objects/unit/RTLC7c/channel-source-updates-serials-0
#[test]
fn an_operation_of_the_channel_leaves_its_serial() {
    let mut counter = Subject::new(ID);
    assert!(counter.apply(&inc(5.0, "01")).is_ok());
    assert_eq!(counter.site("site1").as_deref(), Some("01"));
}

// UTS: objects/unit/RTLC7c/local-source-no-serial-update-0
#[test]
fn an_operation_that_is_applied_on_its_ack_leaves_no_serial() {
    let mut pool = Subject::new(ID).objects.pool().clone();
    assert!(pool.apply(&inc(5.0, "01"), Source::Local, NOW).is_ok());
    let state = pool.state(ID).and_then(|message| message.object).expect("a state");
    assert!(state.site_timeserials.is_empty());
    assert_eq!(count(&pool, ID), 5.0);
}

// UTS: objects/unit/RTLO5/object-delete-tombstones-0
#[test]
fn a_delete_sets_a_counter_to_zero() {
    let mut counter = counter(42.0, [("site1", "00")]);
    let delete = at(1_700_000_000_000, site1(object_delete(ID, "01")));
    assert_eq!(counter.apply(&delete), counter.deleted(Change::Counter(-42.0)));
    assert_eq!(counter.state().tombstone, Some(true));
    assert_eq!((counter.count(), counter.tombstoned_at()), (0.0, Some(1_700_000_000_000)));
}

// UTS: objects/unit/RTLC7e/tombstoned-reject-ops-0
#[test]
fn a_deleted_counter_refuses_operations() {
    let mut counter = deleted_counter();
    assert_eq!(counter.apply(&inc(5.0, "01")), Err(Ignored::Tombstone));
    assert_eq!(counter.count(), 0.0);
}

// UTS: objects/unit/RTLO6/tombstoned-at-from-serial-timestamp-0
// UTS: objects/unit/RTLO6/tombstoned-at-local-clock-0
#[test]
fn a_deletion_has_the_time_of_its_serial_or_the_present_one() {
    let delete = || site1(object_delete(ID, "01"));
    for (message, time) in [(at(1_700_000_050_000, delete()), 1_700_000_050_000), (delete(), NOW)] {
        let mut counter = Subject::new(ID);
        assert!(counter.apply(&message).is_ok());
        assert_eq!(counter.tombstoned_at(), Some(time));
    }
}

// UTS: objects/unit/RTLC7d3/unsupported-action-0
#[test]
fn a_counter_refuses_operations_of_maps() {
    let mut counter = Subject::new(ID);
    let set = site1(operation(Action::MapSet, ID, "01", |operation| {
        operation.map_set = Some(MapSet { key: "x".into(), value: string("y") });
    }));
    assert_eq!(counter.apply(&set), Err(Ignored::WrongType));
    assert_eq!(counter.count(), 0.0);
}

// UTS: objects/unit/RTLC6/replace-data-basic-0
#[test]
fn a_state_replaces_a_counter() {
    let mut counter =
        Subject::with([with_create(counter_state([("site1", "00")], Some(0.0)), 10.0)]);
    let update = counter.replace(counter_state([("site2", "05")], Some(50.0)));
    assert_eq!(update, counter.changed(Change::Counter(40.0)));
    assert_eq!(counter.count(), 50.0);
    assert_eq!(counter.state().site_timeserials, [("site2".into(), "05".into())].into());
    assert!(!counter.is_created());
}

// UTS: objects/unit/RTLC6/replace-data-with-create-op-0
#[test]
fn a_state_adds_its_initial_count() {
    let mut counter = Subject::new(ID);
    let state = with_create(counter_state([("site1", "01")], Some(100.0)), 50.0);
    assert_eq!(counter.replace(state), counter.changed(Change::Counter(150.0)));
    assert_eq!(counter.count(), 150.0);
    assert!(counter.is_created());
}

// UTS: objects/unit/RTLC6e/replace-data-tombstoned-noop-0
#[test]
fn a_state_does_not_revive_a_deleted_counter() {
    let mut counter = deleted_counter();
    assert_eq!(counter.replace(counter_state([("site1", "01")], Some(999.0))), NOOP);
    assert_eq!(counter.count(), 0.0);
}

// UTS: objects/unit/RTLC6f/replace-data-tombstone-flag-0
#[test]
fn a_state_deletes_a_counter() {
    let mut counter = counter(30.0, []);
    let state = edit(counter_state([("site1", "01")], Some(0.0)), |state| {
        state.tombstone = Some(true);
    });
    assert_eq!(counter.replace(state), counter.deleted(Change::Counter(-30.0)));
    assert_eq!((counter.state().tombstone, counter.count()), (Some(true), 0.0));
}

// UTS: objects/unit/RTLC6/replace-data-missing-count-0
#[test]
fn a_state_without_a_count_is_zero() {
    let mut counter = counter(42.0, []);
    let update = counter.replace(counter_state([("site1", "01")], None));
    assert_eq!(update, counter.changed(Change::Counter(-42.0)));
    assert_eq!(counter.count(), 0.0);
}

// UTS: objects/unit/RTLC14/diff-calculation-0
#[test]
fn a_state_changes_a_counter_by_the_difference() {
    let mut counter = counter(20.0, []);
    let update = counter.replace(counter_state([("site1", "01")], Some(75.0)));
    assert_eq!(update, counter.changed(Change::Counter(55.0)));
}
