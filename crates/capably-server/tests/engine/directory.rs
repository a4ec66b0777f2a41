//! The disk engine with damaged, foreign and incomplete directories.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use capably_server::engine::{Bucket, Disk, Engine, EngineError, Range};

use super::contract::{appended, channel, entry, everything, texts};

/// The directory after a crash, with entries `0`, `1`, … of channel `c` committed one by one.
async fn crashed(count: usize) -> tempfile::TempDir {
    let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = Disk::open(original.path()).unwrap();
    for number in 0..count {
        appended(&engine, vec![entry("c", &number.to_string())]).await;
    }
    duplicate(original.path(), copy.path());
    copy
}

/// A closed directory with entries `0`, `1`, … of channel `c`.
async fn closed(count: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let engine = Disk::open(directory.path()).unwrap();
    let batch = (0..count).map(|number| entry("c", &number.to_string())).collect();
    appended(&engine, batch).await;
    engine.close().await.unwrap();
    directory
}

fn duplicate(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        if file.path().is_dir() {
            duplicate(&file.path(), &target);
        } else {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

fn journal(directory: &Path) -> PathBuf {
    directory.join("log/0.jnl")
}

/// The content of a journal without the space that is allocated in advance.
fn content(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    bytes
}

async fn read(engine: &Disk) -> Vec<String> {
    let entries = engine.read(&channel("c"), Range { limit: 100_000, ..everything() }).await;
    texts(&entries.unwrap()).into_iter().map(str::to_owned).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_directory_can_be_opened_once_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let engine = Disk::open(&path).unwrap();
    let error = Disk::open(&path).unwrap_err();
    assert!(matches!(&error, EngineError::Locked(locked) if *locked == path), "{error:?}");
    let expected = format!("another server uses the data directory {}", path.display());
    assert_eq!(error.to_string(), expected);
    // A closed engine frees the directory, even while its handle exists.
    engine.close().await.unwrap();
    let second = Disk::open(&path).unwrap();
    drop(engine);
    assert!(matches!(Disk::open(&path), Err(EngineError::Locked(_))));
    drop(second);
    Disk::open(&path).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn the_directory_is_private_to_its_user() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new/data");
    let _engine = Disk::open(&path).unwrap();
    for created in [path.parent().unwrap(), &path, &path.join("log")] {
        let mode = fs::metadata(created).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", created.display());
    }
}

#[tokio::test]
async fn data_of_an_older_server_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capably.redb");
    fs::write(&file, "anything").unwrap();
    let error = Disk::open(directory.path()).unwrap_err();
    assert!(matches!(error, EngineError::Version(_)), "{error:?}");
    let expected = format!(
        "the stored data is of another version: {} is in the format of older servers, which this server cannot read; \
         to move its messages, start the older server with it and this one with another directory and the same key, \
         read the history of each channel from the older one (`GET /channels/<name>/messages?direction=forwards`) and \
         publish it to this one (`POST /channels/<name>/messages`)",
        file.display()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(fs::read(&file).unwrap(), b"anything");
    assert!(!directory.path().join("log").exists());
}

#[tokio::test]
async fn data_of_another_version_is_refused() {
    let directory = closed(3).await;
    let log = directory.path().join("log");
    let original = fs::read(log.join("capably")).unwrap();
    fs::write(log.join("capably"), "capably log 2\n").unwrap();
    let error = Disk::open(directory.path()).unwrap_err();
    let expected = format!(
        "the stored data is of another version: {} has version 2, and this server reads version 1",
        log.display()
    );
    assert_eq!(error.to_string(), expected);
    fs::write(log.join("capably"), original).unwrap();
    // The version of the underlying store.
    let original = fs::read(log.join("version")).unwrap();
    fs::write(log.join("version"), [&original[..original.len() - 1], &[9]].concat()).unwrap();
    let error = Disk::open(directory.path()).unwrap_err();
    assert!(matches!(error, EngineError::Version(_) | EngineError::Corrupt(_)), "{error:?}");
    fs::write(log.join("version"), original).unwrap();
    assert_eq!(read(&Disk::open(directory.path()).unwrap()).await, numbers(3));
}

#[tokio::test]
async fn a_directory_of_another_program_is_refused_and_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    fs::create_dir(&log).unwrap();
    fs::write(log.join("messages.txt"), "dear to somebody").unwrap();
    let error = Disk::open(directory.path()).unwrap_err();
    assert!(matches!(error, EngineError::Corrupt(_)), "{error:?}");
    assert!(error.to_string().contains("may be of another program"), "{error}");
    assert_eq!(fs::read_dir(&log).unwrap().count(), 1);

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Disk::open(&file).unwrap_err();
    assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
    let start = format!("cannot create the data directory {}: ", file.display());
    assert!(error.to_string().starts_with(&start), "{error}");
}

/// `/proc` refuses new files, even those of root.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_directory_is_refused() {
    let error = Disk::open("/proc/capably").unwrap_err();
    assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
    assert!(
        error.to_string().starts_with("cannot create the data directory /proc/capably: "),
        "{error}"
    );
    let error = Disk::open("/proc").unwrap_err();
    assert!(matches!(error, EngineError::Io { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot open /proc/capably.lock: "), "{error}");
}

#[tokio::test]
async fn an_unfinished_creation_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("log.new/keyspaces/0")).unwrap();
    fs::write(directory.path().join("log.new/0.jnl"), "half").unwrap();
    let engine = Disk::open(directory.path()).unwrap();
    appended(&engine, vec![entry("c", "0")]).await;
    assert!(!directory.path().join("log.new").exists());
}

#[tokio::test]
async fn a_missing_part_is_reported() {
    let image = closed(3).await;
    for name in ["capably", "version", "keyspaces/1", "keyspaces/0", "keyspaces/1/current"] {
        let directory = tempfile::tempdir().unwrap();
        duplicate(image.path(), directory.path());
        let path = directory.path().join("log").join(name);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        let error = Disk::open(directory.path()).map(|_| name).unwrap_err();
        assert!(matches!(error, EngineError::Corrupt(_)), "{name}: {error:?}");
    }
}

/// A journal that ends at any byte has the commits before that byte, and the engine continues after them.
#[tokio::test]
async fn a_commit_cut_off_by_a_crash_is_dropped() {
    const COUNT: usize = 12;
    let image = crashed(COUNT).await;
    let whole = content(&journal(image.path()));
    let mut last = 0;
    for end in (whole.len() * 3 / 4..=whole.len()).step_by(7).chain([whole.len()]) {
        let directory = tempfile::tempdir().unwrap();
        duplicate(image.path(), directory.path());
        // The rest may be zeros, or missing.
        let mut bytes = whole[..end].to_vec();
        if end % 2 == 0 {
            bytes.resize(whole.len() + 1000, 0);
        }
        fs::write(journal(directory.path()), bytes).unwrap();
        let engine = Disk::open(directory.path()).unwrap();
        let found = read(&engine).await;
        assert_eq!(found, numbers(found.len()));
        assert!(found.len() >= last);
        last = found.len();
        appended(&engine, vec![entry("c", &last.to_string())]).await;
        drop(engine);
        let engine = Disk::open(directory.path()).unwrap();
        assert_eq!(read(&engine).await, numbers(last + 1));
    }
    assert_eq!(last, COUNT);
}

/// The last commit may be lost with a damaged byte: a crash looks the same. No other is lost without an error.
#[tokio::test]
async fn damage_to_a_journal_is_reported() {
    const COUNT: usize = 12;
    let image = crashed(COUNT).await;
    let whole = content(&journal(image.path()));
    let (mut refused, mut cut) = (0, 0);
    for at in (0..whole.len()).step_by(11) {
        let directory = tempfile::tempdir().unwrap();
        duplicate(image.path(), directory.path());
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(journal(directory.path()), bytes).unwrap();
        match Disk::open(directory.path()) {
            Ok(engine) => {
                assert!(at > whole.len() * 3 / 4, "byte {at} of {}", whole.len());
                // The batch number of the store is not part of the content.
                let found = read(&engine).await;
                assert!(found == numbers(COUNT - 1) || found == numbers(COUNT), "{found:?}");
                cut += 1;
            }
            Err(EngineError::Corrupt(reason)) => {
                assert!(reason.contains("0.jnl at byte "), "{reason}");
                // The data is unchanged, so that it can be repaired by other means.
                assert_eq!(content(&journal(directory.path())).len(), whole.len());
                refused += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > 3 * cut && cut > 0, "{refused} refused, {cut} cut");
}

/// After an orderly close, a shorter journal is always damage: no crash explains it.
#[tokio::test]
async fn a_journal_shortened_after_closing_is_reported() {
    let image = closed(20).await;
    let whole = content(&journal(image.path()));
    for end in [0, whole.len() / 2, whole.len() - 1] {
        let directory = tempfile::tempdir().unwrap();
        duplicate(image.path(), directory.path());
        fs::write(journal(directory.path()), &whole[..end]).unwrap();
        let error = Disk::open(directory.path()).unwrap_err();
        assert!(matches!(error, EngineError::Corrupt(_)), "{error:?}");
        assert!(error.to_string().contains("was closed at"), "{error}");
    }
    assert_eq!(read(&Disk::open(image.path()).unwrap()).await, numbers(20));
}

/// The engine reports damage to tables when it opens or reads them, and never returns wrong data.
#[tokio::test]
async fn damage_to_a_table_is_reported() {
    const COUNT: usize = 400;
    let image = tempfile::tempdir().unwrap();
    let engine = Disk::open(image.path()).unwrap();
    let large = "x".repeat(100_000);
    for first in (0..COUNT).step_by(COUNT / 2) {
        let numbers = first..first + COUNT / 2;
        let batch = numbers.map(|number| entry("c", &format!("{number}{large}")));
        appended(&engine, batch.collect()).await;
    }
    // The store writes tables in the background.
    let table = loop {
        let files = fs::read_dir(image.path().join("log/keyspaces/1/tables")).unwrap();
        match files.map(|file| file.unwrap()).find(|file| file.metadata().unwrap().len() > 0) {
            Some(file) => break file.file_name(),
            None => tokio::task::yield_now().await,
        }
    };
    drop(engine);
    let mut noticed = 0;
    for step in 0..8 {
        let directory = tempfile::tempdir().unwrap();
        duplicate(image.path(), directory.path());
        let table = directory.path().join("log/keyspaces/1/tables").join(&table);
        let mut bytes = fs::read(&table).unwrap();
        match step {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes.clear(),
            step => {
                let at = bytes.len() * (step - 1) / 7;
                bytes[at.min(at + 40)] ^= 0x10;
            }
        }
        fs::write(&table, bytes).unwrap();
        let engine = match Disk::open(directory.path()) {
            Ok(engine) => engine,
            Err(EngineError::Corrupt(_)) => {
                noticed += 1;
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        let range = Range { limit: COUNT, max_bytes: usize::MAX, ..everything() };
        match engine.read(&channel("c"), range).await {
            Ok(entries) => {
                assert_eq!(entries.len(), COUNT);
                for (number, entry) in entries.iter().enumerate() {
                    assert!(*entry.payload == *format!("{number}{large}").as_bytes());
                }
            }
            Err(EngineError::Corrupt(_)) => noticed += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(noticed >= 6, "{noticed}");
}

#[tokio::test]
async fn keys_of_any_length_are_stored_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Disk::open(directory.path()).unwrap();
    let long = "k".repeat(65_533);
    engine.set_facts(Bucket::Apps, vec![(long.clone(), Some("v".into()))]).await.unwrap();
    assert_eq!(engine.fact(Bucket::Apps, &long).await.unwrap(), Some("v".into()));
    let longer = "k".repeat(65_534);
    let error = engine.create_fact(Bucket::Apps, &longer, "v".into()).await.unwrap_err();
    assert!(matches!(error, EngineError::Other(_)), "{error:?}");
    assert_eq!(engine.fact(Bucket::Apps, &longer).await.unwrap(), None);
    // A channel and an id may have any length.
    let mut append_long = entry(&longer, "1");
    append_long.id = Some(longer.clone().into());
    appended(&engine, vec![append_long]).await;
    let found = engine.read(&channel(&longer), everything()).await.unwrap();
    assert_eq!(texts(&found), ["1"]);
}

/// Everything that was appended before the last handle is dropped is committed, and its completion is called.
#[tokio::test]
async fn dropping_the_engine_waits_for_its_appends() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Arc::new(Disk::open(directory.path()).unwrap());
    let (sender, results) = std::sync::mpsc::channel();
    for number in 0..500 {
        let sender = sender.clone();
        // The completions own the engine: the last one may drop it on the engine's own thread.
        let held = Arc::clone(&engine);
        let done = move |results: Vec<Result<_, EngineError>>| {
            sender.send((number, results.into_iter().all(|result| result.is_ok()))).unwrap();
            drop(held);
        };
        engine.append(vec![entry("c", &number.to_string())], Box::new(done));
    }
    drop((engine, sender));
    let results: Vec<_> = results.iter().collect();
    assert_eq!(results, (0..500).map(|number| (number, true)).collect::<Vec<_>>());
    let engine = loop {
        match Disk::open(directory.path()) {
            Ok(engine) => break engine,
            // The thread of the engine is about to end.
            Err(EngineError::Locked(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(read(&engine).await, numbers(500));
    assert_eq!(
        io::ErrorKind::NotFound,
        fs::metadata(directory.path().join("log/closed")).unwrap_err().kind()
    );
}
