//! `internal_live_map.md`, without the references between objects.

use capably_protocol::object::{MapCreate, ObjectOperation, ObjectOperationAction as Action};

use super::*;
use crate::ValueRef;

const MAP: &str = "map:test@1000";

/// The root, with these entries. It has seen no serial of the site of the test's operations.
fn root<const N: usize>(list: [(&str, ObjectsMapEntry); N]) -> Subject {
    Subject::with([object_state("root", [], |state| state.map = map_of(list))])
}

/// The root with this serial of its last clear.
fn cleared<const N: usize>(serial: &str, list: [(&str, ObjectsMapEntry); N]) -> Subject {
    Subject::with([object_state("root", [], |state| {
        state.map =
            map_of(list).map(|map| ObjectsMap { clear_timeserial: Some(serial.into()), ..map });
    })])
}

/// The map of which the create operation with these entries was merged.
fn created(state: &mut ObjectState, initial: MapCreate) {
    state.create_op = Some(ObjectOperation {
        action: Some(Action::MapCreate),
        object_id: state.object_id.clone(),
        map_create: Some(initial),
        ..ObjectOperation::default()
    });
}

fn set(key: &str, value: ObjectData, serial: &str) -> ObjectMessage {
    site1(map_set("root", key, value, serial))
}

fn remove(key: &str, serial: &str) -> ObjectMessage {
    at(1_700_000_000_000, site1(map_remove("root", key, serial)))
}

fn alice(serial: &str) -> ObjectsMapEntry {
    entry(string("Alice"), serial)
}

// UTS: objects/unit/RTLM4/zero-value-0
#[test]
fn a_new_map_is_empty() {
    let map = Subject::new("root");
    let state = map.state();
    assert_eq!(state.map.map(|map| map.entries.len()), Some(0));
    assert_eq!((map.cleared(), map.tombstoned_at()), (None, None));
    assert!(!map.is_created());
    assert!(state.site_timeserials.is_empty());
}

// UTS: objects/unit/RTLM7/map-set-new-entry-0
#[test]
fn a_set_makes_an_entry() {
    let mut map = Subject::new("root");
    assert_eq!(map.apply(&set("name", string("Alice"), "01")), map.changed(keys(["+name"])));
    assert_eq!(map.entry("name"), Some(alice("01")));
}

// UTS: objects/unit/RTLM7/map-set-update-entry-0
// UTS: objects/unit/RTLM9d/missing-entry-serial-allows-0
#[test]
fn a_set_with_a_later_serial_changes_an_entry() {
    for (before, serial) in [("01", "02"), ("", "01")] {
        let mut map = root([("name", alice(before))]);
        assert_eq!(map.apply(&set("name", string("Bob"), serial)), map.changed(keys(["+name"])));
        assert_eq!(map.entry("name"), Some(entry(string("Bob"), serial)));
    }
}

// UTS: objects/unit/RTLM9/lww-reject-stale-0
// UTS: objects/unit/RTLM9/lww-reject-equal-0
#[test]
fn a_set_that_is_not_later_changes_nothing() {
    for serial in ["03", "05"] {
        let mut map = root([("name", alice("05"))]);
        assert_eq!(map.apply(&set("name", string("Bob"), serial)), NOOP);
        assert_eq!(map.entry("name"), Some(alice("05")));
    }
}

// UTS: objects/unit/RTLM9b/both-empty-reject-0
#[test]
fn a_set_without_a_serial_is_refused() {
    let mut map = root([("name", alice(""))]);
    assert_eq!(map.apply(&set("name", string("Bob"), "")), Err(Ignored::InvalidSerial));
    assert_eq!(map.entry("name").and_then(|entry| entry.data), Some(string("Alice")));
}

// UTS: objects/unit/RTLM7h/map-set-clear-timeserial-floor-0
#[test]
fn a_set_before_the_last_clear_changes_nothing() {
    let mut map = cleared("05", []);
    assert_eq!(map.apply(&set("name", string("Alice"), "03")), NOOP);
    assert_eq!(map.entry("name"), None);
}

// UTS: objects/unit/RTLM7/map-set-revives-tombstoned-0
#[test]
fn a_set_makes_a_removed_entry_again() {
    let mut map = root([("name", removed("01", Some(1_700_000_000_000)))]);
    assert_eq!(map.apply(&set("name", string("Alice"), "02")), map.changed(keys(["+name"])));
    assert_eq!(map.entry("name"), Some(alice("02")));
}

// UTS: objects/unit/RTLM8/map-remove-existing-0
// UTS: objects/unit/RTLM8/map-remove-primitive-no-parent-refs-0
#[test]
fn a_remove_leaves_a_mark() {
    let mut map = root([("name", alice("01"))]);
    assert_eq!(map.apply(&remove("name", "02")), map.changed(keys(["-name"])));
    assert_eq!(map.entry("name"), Some(removed("02", Some(1_700_000_000_000))));
    assert_eq!(map.objects.pool().len(), 1);
}

// UTS: objects/unit/RTLM8/map-remove-nonexistent-0
#[test]
fn a_remove_of_an_unknown_key_leaves_a_mark() {
    let mut map = Subject::new("root");
    assert_eq!(map.apply(&remove("ghost", "01")), map.changed(keys(["-ghost"])));
    assert_eq!(map.entry("ghost"), Some(removed("01", Some(1_700_000_000_000))));
}

// UTS: objects/unit/RTLM8g/map-remove-clear-timeserial-floor-0
#[test]
fn a_remove_before_the_last_clear_changes_nothing() {
    // The entry is older than the clear, and than the remove: only the clear can refuse the remove.
    for serial in ["04", "02"] {
        let mut map = cleared("05", [("name", alice(serial))]);
        assert_eq!(map.apply(&remove("name", "03")), NOOP);
        assert_eq!(map.entry("name"), Some(alice(serial)));
    }
}

// UTS: objects/unit/RTLM24/map-clear-basic-0
#[test]
fn a_clear_removes_older_entries() {
    let mut map = root([
        ("old", entry(string("old"), "02")),
        ("new", entry(string("new"), "06")),
        ("same", entry(string("same"), "04")),
    ]);
    assert_eq!(map.apply(&site1(map_clear("root", "04"))), map.changed(keys(["-old"])));
    assert_eq!(map.cleared().as_deref(), Some("04"));
    assert_eq!(map.entry("old"), None);
    assert!(map.entry("same").is_some() && map.entry("new").is_some());
}

// UTS: objects/unit/RTLM24c/map-clear-stale-0
#[test]
fn a_clear_before_the_last_one_changes_nothing() {
    let mut map = cleared("10", []);
    assert_eq!(map.apply(&site1(map_clear("root", "05"))), NOOP);
    assert_eq!(map.cleared().as_deref(), Some("10"));
}

// UTS: objects/unit/RTLM24/map-clear-preserves-newer-0
#[test]
fn a_clear_removes_entries_without_a_serial() {
    let no_serial = ObjectsMapEntry { timeserial: None, ..entry(string("c"), "") };
    let mut map = root([
        ("before", entry(string("a"), "03")),
        ("after", entry(string("b"), "07")),
        ("no_ts", no_serial),
    ]);
    let update = map.apply(&site1(map_clear("root", "05")));
    assert_eq!(update, map.changed(keys(["-before", "-no_ts"])));
    assert_eq!((map.entry("before"), map.entry("no_ts")), (None, None));
    assert_eq!(map.entry("after"), Some(entry(string("b"), "07")));
}

// UTS: objects/unit/RTLM16/map-create-merge-0
#[test]
fn a_create_merges_its_entries() {
    let mut map = Subject::new(MAP);
    let initial =
        create([("name", alice("01")), ("removed_key", removed("01", Some(1_700_000_000_000)))]);
    let update = map.apply(&site1(map_create(MAP, initial, "02")));
    assert_eq!(update, map.changed(keys(["+name", "-removed_key"])));
    assert_eq!(map.entry("name"), Some(alice("01")));
    assert_eq!(map.entry("removed_key"), Some(removed("01", Some(1_700_000_000_000))));
    assert!(map.is_created());
}

// UTS: objects/unit/RTLM16b/map-create-already-merged-0
#[test]
fn a_second_create_changes_nothing() {
    let mut map = Subject::with([object_state(MAP, [("site1", "00")], |state| {
        state.map = map_of([]);
        created(state, MapCreate::default());
    })]);
    let initial = create([("name", entry(string("Bob"), "01"))]);
    assert_eq!(map.apply(&site1(map_create(MAP, initial, "01"))), NOOP);
    assert_eq!(map.entry("name"), None);
}

// UTS: objects/unit/RTLM15c/channel-source-updates-serials-0
#[test]
fn an_operation_of_the_channel_leaves_its_serial() {
    let mut map = Subject::new("root");
    assert!(map.apply(&set("x", number(1.0), "01")).is_ok());
    assert_eq!(map.site("site1").as_deref(), Some("01"));
}

// UTS: objects/unit/RTLM15e/tombstoned-reject-ops-0
#[test]
fn a_deleted_map_refuses_operations() {
    // Not the root, which cannot be deleted.
    let mut map = Subject::with([object_state(MAP, [], |state| {
        state.map = map_of([]);
        state.tombstone = Some(true);
    })]);
    let set = site1(map_set(MAP, "x", number(1.0), "01"));
    assert_eq!(map.apply(&set), Err(Ignored::Tombstone));
    assert_eq!(map.entry("x"), None);
}

// UTS: objects/unit/RTLM15d4/unsupported-action-0
#[test]
fn a_map_refuses_operations_of_counters() {
    let mut map = Subject::new("root");
    assert_eq!(map.apply(&site1(counter_inc("root", 5.0, "01"))), Err(Ignored::WrongType));
}

// UTS: objects/unit/RTLO5/object-delete-tombstones-map-0
#[test]
fn a_delete_empties_a_map() {
    let mut map = Subject::with([object_state(MAP, [("site1", "00")], |state| {
        state.map = map_of([("name", alice("01")), ("age", entry(number(30.0), "01"))]);
    })]);
    let delete = at(1_700_000_000_000, site1(object_delete(MAP, "01")));
    assert_eq!(map.apply(&delete), map.deleted(keys(["-age", "-name"])));
    assert_eq!(map.state().tombstone, Some(true));
    assert_eq!((map.entry("age"), map.entry("name")), (None, None));
}

// UTS: objects/unit/RTLO4e10/object-delete-root-noop-0
// UTS: objects/unit/RTLO4e10/replace-data-tombstone-root-noop-0
#[test]
fn the_root_cannot_be_deleted() {
    let state = || {
        object_state("root", [("site1", "00")], |state| {
            state.map = map_of([("name", alice("01"))]);
        })
    };
    let mut map = Subject::with([state()]);
    let delete = at(1_700_000_000_000, site1(object_delete("root", "01")));
    assert_eq!(map.apply(&delete), NOOP);
    assert_eq!((map.state().tombstone, map.entry("name")), (None, Some(alice("01"))));

    let mut map = Subject::with([state()]);
    let deleted = object_state("root", [("site1", "01")], |state| {
        state.map = map_of([]);
        state.tombstone = Some(true);
    });
    assert_eq!(map.replace(deleted), NOOP);
    assert_eq!((map.state().tombstone, map.entry("name")), (None, Some(alice("01"))));
}

/// A root with entries, one of which refers to a deleted counter.
fn with_dead_reference<const N: usize>(list: [(&str, ObjectsMapEntry); N]) -> Subject {
    let dead = object_state("counter:dead@1000", [], |state| {
        state.counter = Some(capably_protocol::object::ObjectsCounter::default());
        state.tombstone = Some(true);
    });
    Subject::with([object_state("root", [], |state| state.map = map_of(list)), dead])
}

// UTS: objects/unit/RTLM14/tombstone-check-objectid-ref-0
#[test]
fn an_entry_counts_as_removed_with_its_object() {
    let map = with_dead_reference([
        ("alive", entry(string("ok"), "01")),
        ("dead_entry", removed("01", None)),
        ("dead_ref", reference("counter:dead@1000", "01")),
    ]);
    let keys: Vec<_> = map.objects.pool().root().keys().cloned().collect();
    assert_eq!(keys, ["alive"]);
}

// UTS: objects/unit/RTLM14c/tombstoned-ref-yields-null-0
#[test]
fn a_reference_to_a_deleted_object_reads_as_nothing() {
    let map = with_dead_reference([("ref", reference("counter:dead@1000", "01"))]);
    assert_eq!(map.entry("ref"), Some(reference("counter:dead@1000", "01")));
    let root = map.objects.pool().root();
    assert_eq!(root.len(), 0);
    assert!(root.get("ref").is_none());
}

// UTS: objects/unit/RTLM6/replace-data-basic-0
#[test]
fn a_state_replaces_a_map() {
    let mut map = Subject::with([object_state("root", [], |state| {
        state.map = map_of([("old", entry(string("old"), "01"))]);
        created(state, MapCreate::default());
    })]);
    assert!(map.is_created());
    let update = map.replace(object_state("root", [("site2", "05")], |state| {
        state.map = map_of([("new", entry(string("new"), "04"))])
            .map(|map| ObjectsMap { clear_timeserial: Some("03".into()), ..map });
    }));
    assert_eq!(update, map.changed(keys(["+new", "-old"])));
    assert_eq!(map.state().site_timeserials, [("site2".into(), "05".into())].into());
    assert!(!map.is_created());
    assert_eq!(map.cleared().as_deref(), Some("03"));
    assert_eq!(map.entry("old"), None);
    assert_eq!(map.entry("new"), Some(entry(string("new"), "04")));
}

// UTS: objects/unit/RTLM6c1/replace-data-tombstoned-entries-0
#[test]
fn a_removed_entry_of_a_state_has_its_time() {
    let mut map = Subject::new("root");
    let dead = removed("01", Some(1_700_000_050_000));
    let state =
        object_state("root", [("site1", "01")], |state| state.map = map_of([("dead", dead)]));
    assert!(map.replace(state).is_ok());
    let entry = map.entry("dead").expect("an entry");
    assert_eq!(entry.serial_timestamp, Some(1_700_000_050_000));
}

// UTS: objects/unit/RTLM6d/replace-data-with-create-op-0
#[test]
fn a_state_merges_its_initial_entries() {
    let mut map = Subject::new(MAP);
    let update = map.replace(object_state(MAP, [("site1", "01")], |state| {
        state.map = map_of([("from_sync", entry(string("synced"), "01"))]);
        created(state, create([("from_create", entry(string("created"), "00"))]));
    }));
    assert_eq!(update, map.changed(keys(["+from_create", "+from_sync"])));
    assert_eq!(map.entry("from_sync"), Some(entry(string("synced"), "01")));
    assert_eq!(map.entry("from_create"), Some(entry(string("created"), "00")));
    assert!(map.is_created());
}

// UTS: objects/unit/RTLM6f/replace-data-tombstone-flag-0
#[test]
fn a_state_deletes_a_map() {
    let state = object_state(MAP, [], |state| state.map = map_of([("name", alice("01"))]));
    let mut map = Subject::with([state]);
    let update = map.replace(object_state(MAP, [("site1", "01")], |state| {
        state.map = map_of([]);
        state.tombstone = Some(true);
    }));
    assert_eq!(update, map.deleted(keys(["-name"])));
    assert_eq!((map.state().tombstone, map.entry("name")), (Some(true), None));
}

// UTS: objects/unit/RTLM6i/replace-data-resets-clear-timeserial-0
#[test]
fn a_state_without_a_clear_forgets_it() {
    let mut map = cleared("05", [("x", entry(number(1.0), "03"))]);
    let y = entry(number(2.0), "01");
    let state = object_state("root", [("site1", "01")], |state| state.map = map_of([("y", y)]));
    assert_eq!(map.replace(state), map.changed(keys(["-x", "+y"])));
    assert_eq!(map.cleared(), None);
    assert!(map.entry("y").is_some());
}

// UTS: objects/unit/RTLM19/gc-tombstoned-entries-0
#[test]
fn removed_entries_are_collected_after_the_grace_period() {
    let (grace_period, now) = (86_400_000, 1_700_100_000_000);
    let mut map = root([
        ("recent_dead", removed("01", Some(now - 1000))),
        ("old_dead", removed("01", Some(now - grace_period - 1))),
        ("alive", entry(string("ok"), "01")),
    ]);
    map.objects.collect(now, grace_period);
    assert!(map.entry("recent_dead").is_some() && map.entry("alive").is_some());
    assert_eq!(map.entry("old_dead"), None);
}

// UTS: objects/unit/RTLM22/diff-calculation-0
#[test]
fn a_state_changes_the_keys_whose_values_differ() {
    let mut map = root([
        ("removed", entry(string("gone"), "01")),
        ("changed", entry(string("old"), "01")),
        ("unchanged", entry(string("same"), "01")),
        ("was_dead", removed("01", None)),
    ]);
    let update = map.replace(object_state("root", [], |state| {
        state.map = map_of([
            ("added", entry(string("new"), "02")),
            ("changed", entry(string("new_val"), "02")),
            ("unchanged", entry(string("same"), "01")),
            ("now_dead", removed("02", None)),
        ]);
    }));
    assert_eq!(update, map.changed(keys(["+added", "+changed", "-removed"])));
}

// UTS: objects/unit/RTLM7g/map-set-objectid-creates-zero-value-0
#[test]
fn a_reference_makes_its_object() {
    let mut map = Subject::new("root");
    let id = "counter:new@2000";
    assert!(map.apply(&set("score", ObjectData::reference(id), "01")).is_ok());
    let Some(ValueRef::Counter(counter)) = map.objects.pool().object(id) else {
        panic!("the counter was not made");
    };
    assert_eq!(counter.value(), 0.0);
}
