use capably_protocol::object::ObjectData;

use super::*;
use crate::test_pool::*;

/// A pool with these references: map, key, object.
fn graph(references: &[(&str, &str, &str)]) -> ObjectsPool {
    let mut pool = ObjectsPool::new();
    for (at, (map, key, object)) in references.iter().enumerate() {
        let set = map_set(map, key, ObjectData::reference(*object), &format!("{at:06}"));
        change(&mut pool, &set);
    }
    pool
}

// Spec: RTLO4f, RTLO4f1, RTLO4f2, RTLO4f3, RTLO4f4
#[test]
fn every_way_without_a_detour_is_a_path() {
    let pool = standard_pool();
    assert_eq!(paths(&pool, "root"), [""]);
    assert_eq!(paths(&pool, "counter:nested@1000"), ["profile.nested_counter"]);
    assert_eq!(paths(&pool, "map:unknown@1"), [""; 0]);
    let pool = graph(&[
        ("root", "left", "map:l@1"),
        ("root", "right", "map:r@1"),
        ("map:l@1", "mid", "map:m@1"),
        ("map:m@1", "target", "counter:t@1"),
        ("map:r@1", "target", "counter:t@1"),
        ("map:r@1", "too", "counter:t@1"),
        ("map:orphan@1", "target", "counter:t@1"),
    ]);
    assert_eq!(paths(&pool, "counter:t@1"), ["left.mid.target", "right.target", "right.too"]);
    assert_eq!(paths(&pool, "map:orphan@1"), [""; 0]);
}

// Spec: RTLO4f2
#[test]
fn cycles_add_no_paths() {
    let pool = graph(&[
        ("root", "a", "map:a@1"),
        ("map:a@1", "b", "map:b@1"),
        ("map:b@1", "a", "map:a@1"),
        ("map:b@1", "self", "map:b@1"),
        ("map:b@1", "root", "root"),
    ]);
    assert_eq!(paths(&pool, "map:a@1"), ["a"]);
    assert_eq!(paths(&pool, "map:b@1"), ["a.b"]);
    assert_eq!(paths(&pool, "root"), [""]);
}

#[test]
fn a_graph_with_too_many_paths_is_given_up() {
    // Each of 24 maps refers to all others: the paths are more than 24 factorial.
    let maps: Vec<String> = (0..24).map(|at| format!("map:{at}@1")).collect();
    let mut references: Vec<_> = maps.iter().map(|to| ("root", to.as_str(), to.as_str())).collect();
    for from in &maps {
        references.extend(
            maps.iter()
                .filter(|to| *to != from)
                .map(|to| (from.as_str(), to.as_str(), to.as_str())),
        );
    }
    let pool = graph(&references);
    let paths = pool.paths(&maps[23]);
    let keys: usize = paths.iter().map(Path::len).sum();
    assert!(keys > MOST_WORK / 4 && keys < MOST_WORK + 25, "{keys}");
}

#[test]
fn a_very_deep_object_has_its_path() {
    let maps: Vec<String> = (0..10_000).map(|at| format!("map:{at}@1")).collect();
    let mut references = vec![("root", "k", maps[0].as_str())];
    references.extend(maps.windows(2).map(|pair| (pair[0].as_str(), "k", pair[1].as_str())));
    let pool = graph(&references);
    let paths = pool.paths(&maps[9_999]);
    assert_eq!(paths.iter().map(Path::len).collect::<Vec<_>>(), [10_000]);
    assert!(pool.resolve(&paths[0]).is_some());
}

#[test]
fn many_long_paths_are_given_up_too() {
    let depth = 1_000;
    let maps: Vec<String> = (0..depth).map(|at| format!("map:{at}@1")).collect();
    let keys: Vec<String> = (0..depth).map(|at| format!("k{at}")).collect();
    let mut references: Vec<_> =
        keys.iter().map(|key| ("root", key.as_str(), maps[0].as_str())).collect();
    references.extend(maps.windows(2).map(|pair| (pair[0].as_str(), "k", pair[1].as_str())));
    let paths = graph(&references).paths(&maps[depth - 1]);
    assert!(paths.iter().all(|path| path.len() == depth));
    assert!((MOST_WORK / depth / 2..=MOST_WORK / depth).contains(&paths.len()), "{}", paths.len());
}
