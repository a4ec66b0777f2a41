//! The references between objects of `internal_live_map.md`.

use super::*;

const OLD: &str = "counter:old@1000";
const NEW: &str = "counter:new@2000";

/// The maps and keys that refer to an object.
pub(super) fn parents(objects: &Objects, id: &str) -> Vec<(String, String)> {
    let mut parents = objects.pool().parents(id);
    parents.sort();
    parents
}

/// The parents of an object, as it is expected.
pub(super) fn of<const N: usize>(parents: [(&str, &str); N]) -> Vec<(String, String)> {
    parents.into_iter().map(|(map, key)| (map.into(), key.into())).collect()
}

fn counter_of(id: &str) -> ObjectMessage {
    object_state(id, [], |state| {
        state.counter = Some(capably_protocol::object::ObjectsCounter::default());
    })
}

fn empty_map(id: &str) -> ObjectMessage {
    object_state(id, [], |state| state.map = map_of([]))
}

/// The root with these entries, before other objects.
fn root_of<const N: usize>(list: [(&str, ObjectsMapEntry); N]) -> ObjectMessage {
    object_state("root", [], |state| state.map = map_of(list))
}

// UTS: objects/unit/RTLM7a3/map-set-overwrite-objectid-parent-refs-0
// UTS: objects/unit/RTLM7a3/map-set-replace-objectid-both-refs-0
#[test]
fn another_object_takes_over_the_reference() {
    for (key, old, new, states) in [
        ("ref", OLD, NEW, [counter_of(OLD), counter_of(NEW)]),
        (
            "child",
            "map:old@1000",
            "map:new@2000",
            [empty_map("map:old@1000"), empty_map("map:new@2000")],
        ),
    ] {
        let [first, second] = states;
        let mut map = Subject::with([root_of([(key, reference(old, "01"))]), first, second]);
        assert_eq!(parents(&map.objects, old), of([("root", key)]));
        let update = map.apply(&site1(map_set("root", key, ObjectData::reference(new), "02")));
        assert_eq!(update, map.changed(keys([key])));
        assert_eq!(map.entry(key), Some(reference(new, "02")));
        assert_eq!(parents(&map.objects, old), []);
        assert_eq!(parents(&map.objects, new), of([("root", key)]));
    }
}

// UTS: objects/unit/RTLM7g2/map-set-new-entry-add-parent-ref-0
#[test]
fn a_new_entry_is_a_reference() {
    let mut map = Subject::with([root_of([]), counter_of("counter:child@1000")]);
    let child = ObjectData::reference("counter:child@1000");
    let update = map.apply(&site1(map_set("root", "score", child, "01")));
    assert_eq!(update, map.changed(keys(["+score"])));
    assert_eq!(map.entry("score"), Some(reference("counter:child@1000", "01")));
    assert_eq!(parents(&map.objects, "counter:child@1000"), of([("root", "score")]));
}

// UTS: objects/unit/RTLM7/map-set-primitive-no-parent-refs-0
#[test]
fn a_leaf_ends_the_reference() {
    let mut map = Subject::with([root_of([("ref", reference(OLD, "01"))]), counter_of(OLD)]);
    let update = map.apply(&site1(map_set("root", "ref", string("plain_value"), "02")));
    assert_eq!(update, map.changed(keys(["+ref"])));
    assert_eq!(map.entry("ref"), Some(entry(string("plain_value"), "02")));
    assert_eq!(parents(&map.objects, OLD), []);
}

// UTS: objects/unit/RTLM8a3/map-remove-objectid-parent-refs-0
#[test]
fn a_remove_ends_the_reference() {
    let child = "counter:child@1000";
    let mut map = Subject::with([root_of([("score", reference(child, "01"))]), counter_of(child)]);
    let update = map.apply(&at(1_700_000_000_000, site1(map_remove("root", "score", "02"))));
    assert_eq!(update, map.changed(keys(["-score"])));
    assert_eq!(map.entry("score"), Some(removed("02", Some(1_700_000_000_000))));
    assert_eq!(parents(&map.objects, child), []);
}

// UTS: objects/unit/RTLM24e1c/map-clear-parent-refs-0
#[test]
fn a_clear_ends_the_references() {
    let (a, b) = ("counter:a@1000", "counter:b@1000");
    let root = root_of([
        ("ref_a", reference(a, "02")),
        ("ref_b", reference(b, "02")),
        ("primitive", entry(string("hello"), "02")),
        ("newer", entry(string("kept"), "09")),
    ]);
    let mut map = Subject::with([root, counter_of(a), counter_of(b)]);
    let update = map.apply(&site1(map_clear("root", "05")));
    assert_eq!(update, map.changed(keys(["-primitive", "-ref_a", "-ref_b"])));
    for key in ["ref_a", "ref_b", "primitive"] {
        assert_eq!(map.entry(key), None);
    }
    assert!(map.entry("newer").is_some());
    assert_eq!((parents(&map.objects, a), parents(&map.objects, b)), (of([]), of([])));
}

// UTS: objects/unit/RTLO4e9/tombstone-map-parent-refs-0
#[test]
fn a_delete_ends_the_references() {
    let (id, counter, child) = ("map:test@1000", "counter:child@1000", "map:child@1000");
    let state = object_state(id, [("site1", "00")], |state| {
        state.map = map_of([
            ("counter_ref", reference(counter, "01")),
            ("map_ref", reference(child, "01")),
            ("name", entry(string("Alice"), "01")),
        ]);
    });
    let mut map = Subject::with([state, counter_of(counter), empty_map(child)]);
    assert_eq!(parents(&map.objects, child), of([(id, "map_ref")]));
    let update = map.apply(&at(1_700_000_000_000, site1(object_delete(id, "01"))));
    assert_eq!(update, map.deleted(keys(["-counter_ref", "-map_ref", "-name"])));
    assert_eq!(map.state().tombstone, Some(true));
    assert_eq!(map.state().map.map(|map| map.entries.len()), Some(0));
    assert_eq!((parents(&map.objects, counter), parents(&map.objects, child)), (of([]), of([])));
}
