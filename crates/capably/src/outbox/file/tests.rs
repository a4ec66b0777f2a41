//! Files that are whole, torn, damaged, or full of removed entries.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;

use super::*;

mod damage;
mod failures;

/// A model of a store: the payload, the time of sending and the refusal of each entry.
type Model = BTreeMap<u64, (Bytes, Option<i64>, Option<Bytes>)>;

fn entry(seq: u64, payload: &[u8]) -> OutboxEntry {
    let payload = Bytes::copy_from_slice(payload);
    OutboxEntry { seq, accepted_at: seq as i64 * 10, sent_at: None, payload }
}

fn accept(seq: u64, payload: &[u8]) -> OutboxChange {
    OutboxChange::Accept(entry(seq, payload))
}

/// What a store has, by reading it.
fn contents(store: &mut FileOutbox) -> Model {
    let waiting = store.read(0, usize::MAX, usize::MAX).unwrap().into_iter();
    let waiting = waiting.map(|entry| (entry.seq, (entry.payload, entry.sent_at, None)));
    let refused = store.refused().unwrap().into_iter();
    let refused =
        refused.map(|(entry, reason)| (entry.seq, (entry.payload, entry.sent_at, Some(reason))));
    waiting.chain(refused).collect()
}

fn apply(model: &mut Model, changes: &[OutboxChange]) {
    for change in changes {
        match change {
            OutboxChange::Accept(entry) => {
                model.insert(entry.seq, (entry.payload.clone(), entry.sent_at, None));
            }
            OutboxChange::Sent { through, at } => {
                for (_, sent_at, refused) in model.range_mut(..=through).map(|(_, entry)| entry) {
                    if refused.is_none() {
                        sent_at.get_or_insert(*at);
                    }
                }
            }
            OutboxChange::Remove(seq) => drop(model.remove(seq)),
            OutboxChange::Refuse { seq, reason } => {
                model.get_mut(seq).unwrap().2 = Some(reason.clone());
            }
        }
    }
}

/// A random group of changes.
fn group(random: &mut fastrand::Rng, model: &Model, next: &mut u64) -> Vec<OutboxChange> {
    let mut left: Vec<u64> = model.keys().copied().collect();
    let mut waiting: Vec<u64> =
        model.iter().filter(|(_, entry)| entry.2.is_none()).map(|(seq, _)| *seq).collect();
    (0..random.usize(1..6))
        .map(|_| match random.u8(0..10) {
            0..=1 if !left.is_empty() => {
                let seq = left.swap_remove(random.usize(..left.len()));
                waiting.retain(|other| *other != seq);
                OutboxChange::Remove(seq)
            }
            2 if !waiting.is_empty() => {
                let seq = waiting.swap_remove(random.usize(..waiting.len()));
                left.retain(|other| *other != seq);
                OutboxChange::Refuse { seq, reason: Bytes::from(format!("reason {seq}")) }
            }
            3 if *next > 1 => OutboxChange::Sent { through: *next - 1, at: *next as i64 },
            _ => {
                let payload: Vec<u8> = (0..random.usize(0..300)).map(|_| random.u8(..)).collect();
                *next += 1;
                accept(*next - 1, &payload)
            }
        })
        .collect()
}

fn log_of(directory: &Path) -> PathBuf {
    directory.join("outbox.log")
}

/// Groups of changes, what the store has after each, and the file's length then.
fn history(directory: &Path, random: &mut fastrand::Rng, groups: usize) -> Vec<(u64, Model)> {
    let mut store = FileOutbox::open(directory).unwrap();
    let (mut model, mut next) = (Model::new(), 1);
    let length = || fs::metadata(log_of(directory)).unwrap().len();
    let mut history = vec![(length(), Model::new())];
    for _ in 0..groups {
        let changes = group(random, &model, &mut next);
        store.write(&changes).unwrap();
        apply(&mut model, &changes);
        history.push((length(), model.clone()));
    }
    assert_eq!(contents(&mut store), model);
    assert_eq!(store.next_seq(), next);
    history
}

#[test]
fn a_store_has_what_was_written_after_it_is_opened_again() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..50 {
        let directory = tempfile::tempdir().unwrap();
        let history = history(directory.path(), &mut random, 30);
        let mut store = FileOutbox::open(directory.path()).unwrap();
        let (_, model) = history.last().unwrap();
        assert_eq!(&contents(&mut store), model);
        let waiting = model.values().filter(|entry| entry.2.is_none());
        let bytes: usize = waiting.clone().map(|entry| entry.0.len()).sum();
        let usage = store.usage();
        assert_eq!((usage.entries, usage.bytes), (waiting.count() as u64, bytes as u64));
    }
}

#[test]
fn a_file_cut_anywhere_has_all_that_was_complete_there() {
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..100 {
        let directory = tempfile::tempdir().unwrap();
        let history = history(directory.path(), &mut random, 12);
        let log = log_of(directory.path());
        let bytes = fs::read(&log).unwrap();
        let cut = random.usize(history[0].0 as usize..=bytes.len());
        fs::write(&log, &bytes[..cut]).unwrap();
        // The last group whose end the file has is there, and perhaps records of the next one.
        let complete = history.iter().rposition(|(length, _)| *length <= cut as u64).unwrap();
        let mut store = FileOutbox::open(directory.path()).unwrap();
        let found = contents(&mut store);
        if cut as u64 == history[complete].0 {
            assert_eq!(found, history[complete].1);
        }
        let next = &history.get(complete + 1).unwrap_or(&history[complete]).1;
        let before = history[complete].1.keys().filter(|seq| next.contains_key(seq));
        for seq in before {
            assert_eq!(found.get(seq).map(|entry| &entry.0), Some(&next[seq].0), "cut at {cut}");
        }
        // It can be written on.
        let seq = store.next_seq();
        store.write(&[accept(seq, b"more")]).unwrap();
        drop(store);
        let mut store = FileOutbox::open(directory.path()).unwrap();
        assert_eq!(contents(&mut store)[&seq].0, &b"more"[..]);
    }
}

#[test]
fn a_last_write_of_which_only_some_blocks_arrived_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileOutbox::open(directory.path()).unwrap();
    store.write(&[accept(1, b"accepted")]).unwrap();
    let before = fs::metadata(log_of(directory.path())).unwrap().len() as usize;
    store.write(&[accept(2, &[7; 5000]), accept(3, b"whole")]).unwrap();
    let mut bytes = fs::read(log_of(directory.path())).unwrap();
    drop(store);
    bytes[before..before + 4096].fill(0);
    fs::write(log_of(directory.path()), &bytes).unwrap();
    let mut store = FileOutbox::open(directory.path()).unwrap();
    assert_eq!(contents(&mut store).keys().collect::<Vec<_>>(), [&1]);
}

#[test]
fn damage_before_the_last_write_is_reported_and_repaired() {
    let mut random = fastrand::Rng::with_seed(3);
    for round in 0..200 {
        let directory = tempfile::tempdir().unwrap();
        let mut store = FileOutbox::open(directory.path()).unwrap();
        let mut offsets = Vec::new();
        for seq in 1..=20 {
            offsets.push(fs::metadata(log_of(directory.path())).unwrap().len() as usize);
            store.write(&[accept(seq, format!("payload {seq}").as_bytes())]).unwrap();
        }
        drop(store);
        let log = log_of(directory.path());
        let mut bytes = fs::read(&log).unwrap();
        let broken = random.usize(0..20);
        let end = offsets.get(broken + 1).copied().unwrap_or(offsets[broken] + 20);
        bytes[random.usize(offsets[broken]..end)] ^= 1 << random.u8(..8);
        fs::write(&log, &bytes).unwrap();

        let error = FileOutbox::open(directory.path()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
        // The records after it are the other entries, and the one that the store writes when it is closed.
        let (at, after) = (offsets[broken], 20 - broken);
        let expected = format!(
            "is damaged at byte {at}: {broken} publishes before it and {after} records after it are readable"
        );
        assert!(error.message().ends_with(&expected), "round {round}: {error}");
        assert!(error.remediation().unwrap().contains("FileOutbox::repair"));
        assert_eq!(fs::read(&log).unwrap(), bytes, "nothing is changed");

        assert_eq!(FileOutbox::repair(directory.path()).unwrap(), OutboxRepair { kept: 19 });
        let mut store = FileOutbox::open(directory.path()).unwrap();
        let kept: Vec<u64> = contents(&mut store).into_keys().collect();
        let expected: Vec<u64> = (1..=20).filter(|seq| *seq != broken as u64 + 1).collect();
        assert_eq!(kept, expected);
        assert_eq!(store.next_seq(), 21 - u64::from(broken == 19));
        let aside = fs::read_dir(directory.path()).unwrap().filter_map(Result::ok);
        let aside = aside.filter(|file| file.file_name().to_string_lossy().contains("damaged"));
        assert_eq!(aside.map(|file| fs::read(file.path()).unwrap()).collect::<Vec<_>>(), [bytes]);
    }
}

#[test]
fn records_in_another_order_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileOutbox::open(directory.path()).unwrap();
    let mut offsets = Vec::new();
    for seq in 1..=3 {
        offsets.push(fs::metadata(log_of(directory.path())).unwrap().len() as usize);
        store.write(&[accept(seq, b"same length")]).unwrap();
    }
    drop(store);
    let log = log_of(directory.path());
    let bytes = fs::read(&log).unwrap();
    let [first, second, third] = offsets[..] else { panic!("three records") };
    let swapped =
        [&bytes[..first], &bytes[second..third], &bytes[first..second], &bytes[third..]].concat();
    fs::write(&log, swapped).unwrap();
    let error = FileOutbox::open(directory.path()).unwrap_err();
    assert!(error.message().contains("0 publishes before it and 2 records"), "{error}");
}

#[test]
fn a_file_of_another_kind_is_left_alone() {
    for (content, expected) in [
        (&b"not an outbox, but longer than a header of one"[..], "is damaged at byte 0"),
        (&b""[..], "is damaged at byte 0"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(log_of(directory.path()), content).unwrap();
        let error = FileOutbox::open(directory.path()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
        assert!(error.message().contains(expected), "{error}");
        assert_eq!(fs::read(log_of(directory.path())).unwrap(), content);
    }
}

#[test]
fn a_log_of_removed_entries_is_written_anew_and_keeps_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = FileOutbox::open(directory.path()).unwrap();
    store.write(&[accept(1, b"old"), accept(2, b"refused")]).unwrap();
    store.write(&[OutboxChange::Sent { through: 1, at: 77 }]).unwrap();
    let reason = Bytes::from_static(b"why");
    store.write(&[OutboxChange::Refuse { seq: 2, reason: reason.clone() }]).unwrap();
    let mut longest = 0;
    for seq in 3..400 {
        store.write(&[accept(seq, &[9; 100_000])]).unwrap();
        store.write(&[OutboxChange::Remove(seq)]).unwrap();
        longest = longest.max(fs::metadata(log_of(directory.path())).unwrap().len());
    }
    assert!(longest < 9 * 1024 * 1024, "{longest}");
    let expected = Model::from([
        (1, (Bytes::from_static(b"old"), Some(77), None)),
        (2, (Bytes::from_static(b"refused"), None, Some(reason))),
    ]);
    assert_eq!(contents(&mut store), expected);
    drop(store);
    let mut store = FileOutbox::open(directory.path()).unwrap();
    assert_eq!(contents(&mut store), expected);
    assert_eq!(store.next_seq(), 400);
}

#[test]
fn a_directory_has_one_user() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileOutbox::open(directory.path()).unwrap();
    let error = FileOutbox::open(directory.path()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
    assert!(error.message().contains("is in use by another client or process"), "{error}");
    assert_eq!(FileOutbox::repair(directory.path()).unwrap_err().code(), ErrorCode::BAD_REQUEST);
    drop(store);
    assert!(FileOutbox::open(directory.path()).is_ok());
}

#[test]
fn a_place_that_is_no_directory_is_refused_with_the_system_s_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = FileOutbox::open(file.join("outbox")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INTERNAL_ERROR);
    let source = std::error::Error::source(&error).unwrap();
    assert!(source.is::<io::Error>());
}

#[cfg(unix)]
#[test]
fn only_the_user_can_read_the_log() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let _store = FileOutbox::open(directory.path()).unwrap();
    let mode = fs::metadata(log_of(directory.path())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
