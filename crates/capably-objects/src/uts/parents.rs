//! `parent_references.md`. The references of these tests are entries of maps, which alone add and remove them.

use super::{
    references::{of, parents},
    *,
};

const CHILD: &str = "counter:child@1000";
const PARENT: &str = "map:parent@1000";

/// The operations of a test, each with the next serial.
struct Graph {
    objects: Objects,
    serial: usize,
}

impl Graph {
    fn new() -> Self {
        let mut objects = Objects::new("test");
        objects.attached(false, NOW, &mut Vec::new());
        Self { objects, serial: 0 }
    }

    fn receive(&mut self, make: impl FnOnce(&str) -> ObjectMessage) {
        self.serial += 1;
        let message = make(&format!("{:03}", self.serial));
        self.objects.object_frame([message], NOW, &mut Vec::new());
    }

    /// A map refers to an object at a key.
    fn refer(mut self, map: &str, key: &str, id: &str) -> Self {
        self.receive(|serial| map_set(map, key, ObjectData::reference(id), serial));
        self
    }

    /// A key of a map is removed.
    fn remove(mut self, map: &str, key: &str) -> Self {
        self.receive(|serial| map_remove(map, key, serial));
        self
    }

    fn parents(&self, id: &str) -> Vec<(String, String)> {
        parents(&self.objects, id)
    }

    fn paths(&self, id: &str) -> Vec<String> {
        paths(self.objects.pool(), id)
    }
}

/// Makes an object that nothing refers to.
fn lone(id: &str, message: ObjectMessage) -> Graph {
    let mut graph = Graph::new();
    graph.receive(|_| message);
    assert!(graph.objects.pool().object(id).is_some());
    graph
}

// UTS: objects/unit/RTLO3f2/init-empty-counter-0
// UTS: objects/unit/RTLO3f2/init-empty-map-0
#[test]
fn a_new_object_has_no_parents() {
    let counter = "counter:abc@1000";
    assert_eq!(lone(counter, counter_inc(counter, 0.0, "01")).parents(counter), []);
    let map = "map:abc@1000";
    assert_eq!(lone(map, map_set(map, "a", number(1.0), "01")).parents(map), []);
}

// UTS: objects/unit/RTLO4g2/first-reference-new-entry-0
// UTS: objects/unit/RTLO4g1/second-key-same-parent-0
#[test]
fn the_keys_of_a_parent_are_recorded() {
    let graph = Graph::new().refer(PARENT, "score", CHILD);
    assert_eq!(graph.parents(CHILD), of([(PARENT, "score")]));
    let graph = graph.refer(PARENT, "points", CHILD);
    assert_eq!(graph.parents(CHILD), of([(PARENT, "points"), (PARENT, "score")]));
}

// UTS: objects/unit/RTLO4g/different-parent-separate-entry-0
// UTS: objects/unit/RTLO4g/multiple-parents-multiple-keys-0
// Spec: RTLO3f1
#[test]
fn the_keys_of_each_parent_are_recorded() {
    let (a, b) = ("map:a@1000", "map:b@1000");
    let graph = Graph::new().refer(a, "x", CHILD).refer(b, "y", CHILD);
    assert_eq!(graph.parents(CHILD), of([(a, "x"), (b, "y")]));
    let graph = Graph::new().refer(a, "x", CHILD).refer(a, "y", CHILD);
    let graph = graph.refer(b, "p", CHILD).refer(b, "q", CHILD);
    assert_eq!(graph.parents(CHILD), of([(a, "x"), (a, "y"), (b, "p"), (b, "q")]));
}

// UTS: objects/unit/RTLO4h1/nonexistent-parent-noop-0
#[test]
fn a_parent_that_does_not_refer_to_an_object_cannot_end_a_reference() {
    let graph = lone(CHILD, counter_inc(CHILD, 0.0, "000")).remove(PARENT, "score");
    assert_eq!(graph.parents(CHILD), []);
    assert!(graph.objects.pool().object(CHILD).is_some());
}

// UTS: objects/unit/RTLO4h2/remove-key-leaves-others-0
// UTS: objects/unit/RTLO4h3/remove-last-key-removes-entry-0
// UTS: objects/unit/RTLO4h/remove-nonexistent-key-0
#[test]
fn a_removed_key_is_a_parent_no_longer() {
    let graph = Graph::new().refer(PARENT, "score", CHILD).refer(PARENT, "points", CHILD);
    let graph = graph.remove(PARENT, "score");
    assert_eq!(graph.parents(CHILD), of([(PARENT, "points")]));
    let graph = graph.remove(PARENT, "nonexistent");
    assert_eq!(graph.parents(CHILD), of([(PARENT, "points")]));
    assert_eq!(graph.remove(PARENT, "points").parents(CHILD), []);
}

// UTS: objects/unit/RTLO4f2/root-returns-empty-path-0
#[test]
fn the_root_has_the_empty_path() {
    assert_eq!(Graph::new().objects.pool().paths("root"), [crate::Path::root()]);
}

// UTS: objects/unit/RTLO4f/direct-child-single-path-0
#[test]
fn a_child_of_the_root_has_the_path_of_its_key() {
    let graph = Graph::new().refer("root", "score", "counter:score@1000");
    assert_eq!(graph.paths("counter:score@1000"), ["score"]);
}

// UTS: objects/unit/RTLO4f/deep-nesting-0
#[test]
fn a_deep_object_has_the_keys_on_its_way() {
    let (profile, prefs) = ("map:profile@1000", "map:prefs@1000");
    let graph = Graph::new().refer("root", "profile", profile).refer(profile, "prefs", prefs);
    let graph = graph.refer(prefs, "theme_counter", "counter:theme@1000");
    assert_eq!(graph.paths("counter:theme@1000"), ["profile.prefs.theme_counter"]);
}

// UTS: objects/unit/RTLO4f/diamond-graph-0
#[test]
fn an_object_has_a_path_by_each_parent() {
    let (a, b, leaf) = ("map:a@1000", "map:b@1000", "counter:leaf@1000");
    let graph = Graph::new().refer("root", "a", a).refer("root", "b", b);
    let graph = graph.refer(a, "x", leaf).refer(b, "y", leaf);
    assert_eq!(graph.paths(leaf), ["a.x", "b.y"]);
}

// UTS: objects/unit/RTLO4f/single-parent-multiple-keys-0
#[test]
fn an_object_has_a_path_by_each_key() {
    let graph = Graph::new().refer("root", "primary", CHILD).refer("root", "alias", CHILD);
    assert_eq!(graph.paths(CHILD), ["alias", "primary"]);
}

// UTS: objects/unit/RTLO4f/orphan-returns-empty-0
#[test]
fn an_object_without_parents_has_no_path() {
    let orphan = "counter:orphan@1000";
    assert!(lone(orphan, counter_inc(orphan, 0.0, "01")).paths(orphan).is_empty());
}

// UTS: objects/unit/RTLO4f/cycle-suppression-0
#[test]
fn a_cycle_adds_no_path() {
    let (a, b) = ("map:a@1000", "map:b@1000");
    let graph = Graph::new().refer("root", "a", a).refer(a, "b", b).refer(b, "a", a);
    assert_eq!((graph.paths(b), graph.paths(a)), (vec!["a.b".into()], vec!["a".into()]));
}

// UTS: objects/unit/RTLO4f/complex-diamond-deep-0
#[test]
fn paths_of_different_lengths_meet() {
    let (l, r, m, target) = ("map:l@1000", "map:r@1000", "map:m@1000", "counter:t@1000");
    let graph = Graph::new().refer("root", "left", l).refer("root", "right", r).refer(l, "mid", m);
    let graph = graph.refer(m, "target", target).refer(r, "target", target);
    assert_eq!(graph.paths(target), ["left.mid.target", "right.target"]);
}

/// Objects after syncs of these states.
fn synced<const N: usize>(syncs: [Vec<ObjectMessage>; N]) -> Objects {
    let mut objects = Objects::new("test");
    for (at, states) in syncs.into_iter().enumerate() {
        objects.attached(true, NOW, &mut Vec::new());
        objects.sync_frame(Some(&format!("sync{at}:")), states, NOW, &mut Vec::new());
        assert_eq!(objects.state(), crate::SyncState::Synced);
    }
    objects
}

// UTS: objects/unit/RTO5c10/rebuild-from-sync-0
#[test]
fn a_sync_records_the_parents() {
    let (score, profile, nested) =
        ("counter:score@1000", "map:profile@1000", "counter:nested@1000");
    let objects = synced([vec![
        map_state(
            "root",
            [("score", reference(score, "t:0")), ("profile", reference(profile, "t:0"))],
        ),
        counter_state(score, 100.0),
        map_state(profile, [("nested", reference(nested, "t:0"))]),
        counter_state(nested, 5.0),
    ]]);
    assert_eq!(parents(&objects, score), of([("root", "score")]));
    assert_eq!(parents(&objects, profile), of([("root", "profile")]));
    assert_eq!(parents(&objects, nested), of([(profile, "nested")]));
    assert_eq!(parents(&objects, "root"), []);
    assert_eq!(paths(objects.pool(), score), ["score"]);
    assert_eq!(paths(objects.pool(), nested), ["profile.nested"]);
}

// UTS: objects/unit/RTO5c10a/rebuild-clears-stale-refs-0
#[test]
fn another_sync_replaces_the_parents() {
    let id = "counter:abc@1000";
    let first =
        || vec![map_state("root", [("score", reference(id, "t:0"))]), counter_state(id, 10.0)];
    let second =
        vec![map_state("root", [("points", reference(id, "t:1"))]), counter_state(id, 20.0)];
    assert_eq!(parents(&synced([first()]), id), of([("root", "score")]));
    let objects = synced([first(), second]);
    assert_eq!(parents(&objects, id), of([("root", "points")]));
    assert_eq!(paths(objects.pool(), id), ["points"]);
}

// UTS: objects/unit/RTO5c10/unreferenced-empty-refs-0
#[test]
fn an_object_of_a_sync_may_have_no_parents() {
    let orphan = "counter:orphan@1000";
    let objects = synced([vec![
        map_state("root", [("name", entry(string("Alice"), "t:0"))]),
        counter_state(orphan, 42.0),
    ]]);
    assert_eq!(count(objects.pool(), orphan), 42.0);
    assert_eq!(parents(&objects, orphan), []);
    assert!(paths(objects.pool(), orphan).is_empty());
}
