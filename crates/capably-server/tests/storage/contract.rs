//! What every storage must do.

use std::sync::Arc;

use capably_server::storage::{Change, Disk, Memory, Storage};

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn put(key: &str, value: &str) -> Change {
    Change::Put { key: key.into(), value: value.into() }
}

fn remove(from: &str, to: &str) -> Change {
    Change::Remove { from: from.into(), to: to.into() }
}

fn pairs(expected: &[(&str, &str)]) -> Pairs {
    expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn stored(storage: &dyn Storage) -> Pairs {
    let mut pairs = Pairs::new();
    storage.load(&mut |key, value| pairs.push((key.to_vec(), value.to_vec()))).unwrap();
    pairs
}

/// Checks a storage, opened anew between any two steps.
fn check(open: impl Fn() -> Arc<dyn Storage>) {
    assert_eq!(stored(&*open()), []);
    open().commit(&[]).unwrap();
    assert_eq!(stored(&*open()), []);

    // In the order of the keys, whatever the order of the changes.
    let changes = [put("b", "1"), put("a", "2"), put("c", "3"), put("", "4"), put("ab", "")];
    open().commit(&changes).unwrap();
    let expected = [("", "4"), ("a", "2"), ("ab", ""), ("b", "1"), ("c", "3")];
    assert_eq!(stored(&*open()), pairs(&expected));

    // In the order of the changes, where it matters.
    open().commit(&[put("b", "5"), put("b", "6"), remove("a", "b"), put("aa", "7")]).unwrap();
    assert_eq!(stored(&*open()), pairs(&[("", "4"), ("aa", "7"), ("b", "6"), ("c", "3")]));

    // Up to the second key, which stays; nothing when the first is not before it.
    open().commit(&[remove("c", "c"), remove("c", "b"), remove("x", "z")]).unwrap();
    open().commit(&[remove("", "b")]).unwrap();
    assert_eq!(stored(&*open()), pairs(&[("b", "6"), ("c", "3")]));

    // Any bytes, and many.
    let key = |number: u32| number.to_be_bytes().to_vec();
    let value = |number: u32| vec![number as u8; number as usize % 5000];
    let puts = (0..2000).map(|number| Change::Put { key: key(number), value: value(number) });
    open().commit(&puts.collect::<Vec<_>>()).unwrap();
    open().commit(&[Change::Remove { from: key(10), to: key(1990) }]).unwrap();
    let mut expected: Pairs =
        (0..10).chain(1990..2000).map(|number| (key(number), value(number))).collect();
    expected.extend(pairs(&[("b", "6"), ("c", "3")]));
    assert_eq!(stored(&*open()), expected);
}

#[test]
fn memory_keeps_what_it_is_given() {
    let memory: Arc<dyn Storage> = Arc::new(Memory::new());
    check(|| Arc::clone(&memory));
}

#[test]
fn a_disk_keeps_what_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("made/on/the/way");
    check(|| Arc::new(Disk::open(&place).unwrap()));
}

#[test]
fn what_is_removed_from_a_disk_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    let size = || std::fs::metadata(directory.path().join("capably.redb")).unwrap().len();
    let key = |round: u32, number: u32| [round.to_be_bytes(), number.to_be_bytes()].concat();
    let disk = Disk::open(directory.path()).unwrap();
    let mut sizes = Vec::new();
    for round in 0..12 {
        let value = vec![round as u8; 4000];
        let puts =
            (0..500).map(|number| Change::Put { key: key(round, number), value: value.clone() });
        disk.commit(&puts.collect::<Vec<_>>()).unwrap();
        if let Some(before) = round.checked_sub(1) {
            disk.commit(&[Change::Remove { from: key(before, 0), to: key(round, 0) }]).unwrap();
        }
        sizes.push(size());
    }
    // 2 MB at a time, and 24 MB in all.
    assert!(sizes.iter().all(|size| *size < 12_000_000), "{sizes:?}");
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", put("key", "sesame"), remove("from", "to"));
    assert_eq!(shown, r#"Put { key: "key", size: 6 } Remove { from: "from", to: "to" }"#);
    let memory = Memory::new();
    memory.commit(&[put("key", "sesame")]).unwrap();
    assert_eq!(format!("{memory:?}"), "Memory { pairs: 1 }");
}
