//! A small log with each of its bits changed, and cut at each of its lengths.

use std::collections::BTreeSet;

use super::{
    super::{
        record::HEADER,
        scan::{Contents, ScanError, salvage, scan},
    },
    *,
};

/// A log with records of every kind, and the entries that it has.
struct Journal {
    bytes: Bytes,
    /// The length of the file after each write, and the entries that it had then.
    writes: Vec<(usize, BTreeSet<u64>)>,
}

impl Journal {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = FileOutbox::open(directory.path()).unwrap();
        let log = log_of(directory.path());
        let mut writes = vec![(fs::read(&log).unwrap().len(), BTreeSet::new())];
        let reason = Bytes::from_static(b"why");
        for changes in [
            vec![accept(1, b"acknowledged"), accept(2, b"refused"), accept(3, b"waits")],
            vec![OutboxChange::Sent { through: 2, at: 5 }],
            vec![OutboxChange::Remove(1), OutboxChange::Refuse { seq: 2, reason }],
            vec![accept(4, b""), accept(5, b"the last one")],
        ] {
            store.write(&changes).unwrap();
            let entries = contents(&mut store).into_keys().collect();
            writes.push((fs::read(&log).unwrap().len(), entries));
        }
        drop(store);
        Self { bytes: fs::read(log).unwrap().into(), writes }
    }

    fn entries(&self) -> &BTreeSet<u64> {
        &self.writes.last().unwrap().1
    }
}

fn entries_of(contents: &Contents) -> BTreeSet<u64> {
    contents.index.above(0).chain(contents.index.refused()).map(|(seq, _)| seq).collect()
}

#[test]
fn a_changed_bit_of_a_closed_log_is_reported_or_harmless() {
    let journal = Journal::new();
    let closing_mark = journal.writes.last().unwrap().0;
    for at in 0..journal.bytes.len() {
        for bit in 0..8 {
            let mut bytes = journal.bytes.to_vec();
            bytes[at] ^= 1 << bit;
            let bytes = Bytes::from(bytes);
            match scan(&bytes) {
                Ok(scanned) => {
                    assert!(at >= closing_mark, "byte {at} is of a record that counts");
                    assert_eq!(&entries_of(&scanned.contents), journal.entries());
                }
                Err(ScanError::Damaged(damage)) => {
                    assert!(damage.offset <= at as u64);
                    let (_, kept) = salvage(&bytes).unwrap();
                    let kept = entries_of(&kept);
                    let lost = journal.entries().difference(&kept).count();
                    assert!(lost <= usize::from(at >= HEADER), "byte {at} lost {lost} entries");
                }
                Err(ScanError::Version(version)) => panic!("version {version} at byte {at}"),
            }
        }
    }
}

#[test]
fn a_log_that_is_cut_at_any_length_has_the_writes_before() {
    let journal = Journal::new();
    for length in 0..=journal.bytes.len() {
        let bytes = journal.bytes.slice(..length);
        if length < HEADER {
            assert!(matches!(scan(&bytes), Err(ScanError::Damaged(_))), "cut at {length}");
            continue;
        }
        let empty = (HEADER, BTreeSet::new());
        let complete = journal.writes.iter().rfind(|(end, _)| *end <= length);
        let (_, complete) = complete.unwrap_or(&empty);
        let found = entries_of(&scan(&bytes).unwrap().contents);
        // The next write may have removed an entry, or be there in part.
        let acknowledged = BTreeSet::from([1]);
        let lost: BTreeSet<_> = complete.difference(&found).copied().collect();
        assert!(lost.is_subset(&acknowledged), "cut at {length}: {lost:?}");
    }
}

#[test]
fn damage_to_the_last_write_of_a_killed_process_is_reported_once_it_was_idle() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileOutbox::open(directory.path()).unwrap();
    store.write(&[accept(1, b"the last one")]).unwrap();
    // The client calls it a second after its last write.
    store.sync().unwrap();
    let mut bytes = fs::read(log_of(directory.path())).unwrap();
    let place = bytes.windows(4).position(|window| window == b"last").unwrap();
    bytes[place] ^= 1;
    let other = tempfile::tempdir().unwrap();
    fs::write(log_of(other.path()), bytes).unwrap();
    let error = FileOutbox::open(other.path()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
    assert!(error.message().contains("0 publishes before it and 1 records after it"), "{error}");
}

#[test]
fn a_log_of_a_newer_version_is_not_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = Journal::new().bytes.to_vec();
    bytes[8] = 2;
    let crc = record::crc32(&[&bytes[..28]]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    fs::write(log_of(directory.path()), &bytes).unwrap();
    for error in [
        FileOutbox::open(directory.path()).unwrap_err(),
        FileOutbox::repair(directory.path()).unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
        assert!(error.message().contains("has version 2 of the format"), "{error}");
    }
    assert_eq!(fs::read(log_of(directory.path())).unwrap(), bytes);
}
