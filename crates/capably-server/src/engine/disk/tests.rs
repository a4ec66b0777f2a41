//! Tests that need the clock or a fault of the store.

use super::{retention::sweep, *};
use crate::engine::{Appended, Direction, Kind};

/// A fault that the store reports, or a panic, instead of the next commits.
#[derive(Default)]
pub(super) struct Fault(Mutex<Option<Struck>>);

#[derive(Clone)]
enum Struck {
    Error(EngineError),
    Panic,
}

impl Fault {
    pub(super) fn strike(&self) -> Result<(), EngineError> {
        let struck = self.0.lock().unwrap().clone();
        match struck {
            None => Ok(()),
            Some(Struck::Error(error)) => Err(error),
            Some(Struck::Panic) => panic!("a fault"),
        }
    }

    fn set(&self, fault: Option<Struck>) {
        *self.0.lock().unwrap() = fault;
    }
}

const MINUTE: Duration = Duration::from_secs(60);

struct Place {
    directory: tempfile::TempDir,
    offset: i64,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), offset: 0 }
    }

    /// Opens the engine at the time of this place.
    fn open(&self) -> Disk {
        let disk = Disk::open(self.directory.path()).unwrap();
        disk.shared.retention.offset.store(self.offset, Ordering::Relaxed);
        disk
    }

    fn pass(&mut self, disk: &Disk, time: Duration) {
        self.offset += time.as_millis() as i64;
        disk.shared.retention.offset.store(self.offset, Ordering::Relaxed);
    }
}

impl Disk {
    /// Sweeps at once.
    fn sweep(&self) {
        let mut cursor = cursor_after(self.shared.retention.swept.load(Ordering::Relaxed));
        let (shared, jobs) = (Arc::clone(&self.shared), self.jobs.clone());
        thread::spawn(move || shared.sweep(&jobs, &mut cursor).unwrap()).join().unwrap();
    }

    /// Rewrites all tables, and returns how many keys each keyspace has.
    fn rewrite(&self) -> [usize; 5] {
        let store = self.shared.store().unwrap();
        [&store.entries, &store.threads, &store.ids, &store.dues, &store.state].map(|keyspace| {
            keyspace.rotate_memtable_and_wait().unwrap();
            keyspace.major_compact().unwrap();
            keyspace.iter().count()
        })
    }
}

fn channel(name: &str) -> ChannelId {
    ChannelId { app: "app-id".into(), name: name.into() }
}

fn entry(name: &str, payload: &str, keep: Duration) -> Append {
    Append {
        channel: channel(name),
        id: None,
        kind: Kind::Messages,
        threads: Vec::new(),
        time: 1,
        keep,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

async fn append(disk: &Disk, entries: Vec<Append>) -> Vec<Result<Appended, EngineError>> {
    let (done, results) = oneshot::channel();
    disk.append(entries, Box::new(move |appended| drop(done.send(appended))));
    results.await.unwrap()
}

async fn appended(disk: &Disk, entries: Vec<Append>) -> Vec<Position> {
    let results = append(disk, entries).await;
    results.into_iter().map(|result| result.unwrap().position).collect()
}

const EVERYTHING: Range = Range {
    after: Position(0),
    until: Position(u64::MAX),
    kind: None,
    direction: Direction::Forwards,
    limit: 1_000_000,
    max_bytes: 1_000_000_000,
};

async fn texts(disk: &Disk, name: &str) -> Vec<String> {
    let entries = disk.read(&channel(name), EVERYTHING).await.unwrap();
    entries.iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn entries_expire_and_their_space_is_reclaimed() {
    let mut place = Place::new();
    let disk = place.open();
    let created = appended(&disk, vec![entry("a", "1", MINUTE), entry("b", "2", MINUTE)]).await;
    let thread = Thread { position: created[0], index: 0 };
    let change = Append { threads: vec![thread], ..entry("a", "3", MINUTE) };
    let last = appended(&disk, vec![change, entry("long", "4", 60 * MINUTE)]).await;
    disk.sweep();
    assert_eq!(texts(&disk, "a").await, ["1", "3"]);
    assert_eq!(disk.bounds(&channel("a")).await.unwrap(), (Position(0), last[0]));

    place.pass(&disk, 2 * MINUTE);
    disk.sweep();
    assert!(texts(&disk, "a").await.is_empty());
    assert_eq!(disk.bounds(&channel("a")).await.unwrap(), (last[0], last[0]));
    assert_eq!(disk.seek(&channel("a"), 0).await.unwrap(), last[0]);
    assert!(disk.threads(&channel("a"), thread..=thread, None, 10).await.unwrap().is_empty());
    assert_eq!(disk.bounds(&channel("b")).await.unwrap(), (created[1], created[1]));
    assert_eq!(texts(&disk, "long").await, ["4"]);
    drop(disk);

    let disk = place.open();
    assert!(texts(&disk, "a").await.is_empty());
    assert_eq!(disk.bounds(&channel("a")).await.unwrap(), (last[0], last[0]));
    let [entries, threads, _, dues, state] = disk.rewrite();
    // `entries` and `dues` have one key of `long` each. `state` has the progress and two floors.
    assert_eq!([entries, threads, dues, state], [1, 0, 1, 3]);
    assert_eq!(texts(&disk, "long").await, ["4"]);
    let new = appended(&disk, vec![entry("a", "5", MINUTE)]).await;
    assert_eq!(texts(&disk, "a").await, ["5"]);
    assert_eq!(disk.bounds(&channel("a")).await.unwrap(), (last[0], new[0]));
}

#[tokio::test]
async fn an_older_entry_with_a_longer_retention_keeps_newer_entries() {
    let mut place = Place::new();
    let disk = place.open();
    let batch = vec![
        entry("a", "1", MINUTE),
        entry("a", "2", 10 * MINUTE),
        entry("a", "3", MINUTE),
        entry("a", "4", Duration::MAX),
        entry("a", "5", Duration::ZERO),
    ];
    let positions = appended(&disk, batch).await;
    for (minutes, expected) in
        [(2, vec!["2", "3", "4", "5"]), (10, vec!["4", "5"]), (1_000_000, vec!["4", "5"])]
    {
        place.pass(&disk, minutes * MINUTE);
        disk.sweep();
        assert_eq!(texts(&disk, "a").await, expected);
        disk.rewrite();
        assert_eq!(texts(&disk, "a").await, expected);
        let floor = positions[4 - expected.len()];
        assert_eq!(disk.bounds(&channel("a")).await.unwrap(), (floor, positions[4]));
    }
}

/// A sweep goes through many channels and long channels in steps.
#[tokio::test]
async fn a_sweep_removes_every_expired_entry() {
    let mut place = Place::new();
    let disk = place.open();
    let many = (0..1500).map(|number| entry(&format!("many:{number}"), "1", MINUTE));
    appended(&disk, many.collect()).await;
    let long = (0..45_000).map(|number| entry("long", &number.to_string(), MINUTE));
    let positions = appended(&disk, long.collect()).await;
    place.pass(&disk, 2 * MINUTE);
    appended(&disk, vec![entry("long", "new", MINUTE)]).await;
    disk.sweep();
    assert_eq!(texts(&disk, "long").await, ["new"]);
    assert_eq!(disk.bounds(&channel("long")).await.unwrap().0, positions[44_999]);
    assert_eq!(disk.rewrite()[0], 1);
    // A second sweep finds no channel that is due.
    let store = disk.shared.store().unwrap();
    let mut cursor = cursor_after(disk.shared.retention.swept.load(Ordering::Relaxed));
    let until = disk.shared.retention.now();
    assert!(sweep(&store, &mut cursor, until, until).unwrap().is_none());
}

/// A channel is not forgotten when the clock is set back after a sweep.
#[tokio::test]
async fn entries_expire_after_the_clock_was_set_back() {
    let mut place = Place::new();
    let disk = place.open();
    place.pass(&disk, 600 * MINUTE);
    disk.sweep();
    place.offset = 0;
    place.pass(&disk, Duration::ZERO);
    appended(&disk, vec![entry("a", "1", MINUTE)]).await;
    place.pass(&disk, 601 * MINUTE);
    disk.sweep();
    assert!(texts(&disk, "a").await.is_empty());
}

#[tokio::test]
async fn message_ids_expire_after_two_minutes() {
    let mut place = Place::new();
    let disk = place.open();
    let with_id = || Append { id: Some("id".into()), ..entry("a", "1", 60 * MINUTE) };
    let first = append(&disk, vec![with_id()]).await.remove(0).unwrap();
    place.pass(&disk, 2 * MINUTE);
    disk.rewrite();
    drop(disk);
    let disk = place.open();
    let again = append(&disk, vec![with_id()]).await.remove(0).unwrap();
    assert_eq!(again, Appended { repeated: true, ..first });
    place.pass(&disk, 2 * MINUTE);
    assert_eq!(disk.rewrite()[2], 0);
    let new = append(&disk, vec![with_id()]).await.remove(0).unwrap();
    assert!(!new.repeated && new.position > first.position);
}

#[tokio::test]
async fn facts_expire_after_the_retention_of_their_bucket() {
    let mut place = Place::new();
    let disk = place.open();
    let value = || Bytes::from_static(b"v");
    assert!(disk.create_fact(Bucket::Nonces, "n", value()).await.unwrap());
    disk.set_facts(Bucket::Apps, vec![("a".into(), Some(value()))]).await.unwrap();
    place.pass(&disk, 4 * MINUTE);
    assert!(!disk.create_fact(Bucket::Nonces, "n", value()).await.unwrap());
    place.pass(&disk, 2 * MINUTE);
    assert_eq!(disk.fact(Bucket::Nonces, "n").await.unwrap(), None);
    assert!(disk.facts(Bucket::Nonces, "", None, 10).await.unwrap().is_empty());
    // Two keys remain: the progress and the app's fact.
    assert_eq!(disk.rewrite()[4], 2);
    assert!(disk.create_fact(Bucket::Nonces, "n", value()).await.unwrap());
    drop(disk);
    let disk = place.open();
    assert!(!disk.create_fact(Bucket::Nonces, "n", value()).await.unwrap());
    assert_eq!(disk.fact(Bucket::Apps, "a").await.unwrap(), Some(value()));
}

#[tokio::test]
async fn facts_in_one_batch_see_each_other() {
    let place = Place::new();
    let disk = place.open();
    let value = || Bytes::from_static(b"v");
    // All four are queued before the first completes, so that one commit contains them.
    let first = disk.create_fact(Bucket::Apps, "a", value());
    let second = disk.create_fact(Bucket::Apps, "a", value());
    let removed = disk.set_facts(Bucket::Apps, vec![("a".into(), None)]);
    let third = disk.create_fact(Bucket::Apps, "a", value());
    let all = futures_util::future::join4(first, second, removed, third).await;
    assert_eq!((all.0.unwrap(), all.1.unwrap(), all.3.unwrap()), (true, false, true));
}

/// The engine refuses entries while it cannot commit, and commits again afterwards. Refused entries are not stored.
#[tokio::test]
async fn the_engine_commits_again_after_a_fault() {
    let faults = [
        Struck::Error(EngineError::Full("no room".into())),
        Struck::Error(EngineError::Unavailable("away".into())),
        Struck::Panic,
    ];
    for fault in faults {
        let place = Place::new();
        let disk = place.open();
        let first = appended(&disk, vec![entry("a", "1", MINUTE)]).await;
        disk.shared.fault.set(Some(fault.clone()));
        for _ in 0..3 {
            let batch = vec![entry("a", "x", MINUTE), entry("a", "y", MINUTE)];
            for result in append(&disk, batch).await {
                match (&fault, result.unwrap_err()) {
                    (Struck::Error(EngineError::Full(_)), error @ EngineError::Full(_)) => {
                        assert!(error.is_certain());
                    }
                    (Struck::Error(_), EngineError::Unavailable(_))
                    | (Struck::Panic, EngineError::Corrupt(_)) => {}
                    (_, error) => panic!("{error:?}"),
                }
            }
            // Reads work in the meantime.
            assert_eq!(texts(&disk, "a").await, ["1"]);
        }
        let refused = disk.set_facts(Bucket::Apps, vec![("a".into(), None)]).await;
        assert!(refused.is_err());
        disk.shared.fault.set(None);
        let second = loop {
            match append(&disk, vec![entry("a", "2", MINUTE)]).await.remove(0) {
                Ok(appended) => break appended.position,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert!(second > first[0]);
        assert_eq!(texts(&disk, "a").await, ["1", "2"]);
        drop(disk);
        assert_eq!(texts(&place.open(), "a").await, ["1", "2"]);
    }
}

/// While the store cannot be opened again, reads fail as well.
#[tokio::test]
async fn the_engine_commits_again_after_a_failed_reopening() {
    let place = Place::new();
    let disk = place.open();
    appended(&disk, vec![entry("a", "1", MINUTE)]).await;
    let (log, aside) = (disk.shared.directory.log(), place.directory.path().join("aside"));
    let store = disk.shared.store().unwrap();
    disk.shared.fault.set(Some(Struck::Error(EngineError::Full("no room".into()))));
    // The store is open twice, so it cannot be opened a third time.
    let error = append(&disk, vec![entry("a", "x", MINUTE)]).await.remove(0).unwrap_err();
    assert!(!error.is_certain(), "{error:?}");
    assert!(disk.read(&channel("a"), EVERYTHING).await.is_err());
    assert!(!aside.exists() && log.exists());
    drop(store);
    disk.shared.fault.set(None);
    while append(&disk, vec![entry("a", "2", MINUTE)]).await[0].is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(texts(&disk, "a").await, ["1", "2"]);
}

#[tokio::test]
async fn seek_finds_the_first_entry_at_or_after_a_time() {
    let place = Place::new();
    let disk = place.open();
    let now = disk.shared.retention.now();
    // The current time, times far from the positions, and several entries with the same time.
    for start in [now, 1_000, now + 1_000_000_000] {
        let name = start.to_string();
        let batch = (0..300)
            .map(|number| Append { time: start + number / 3 * 10, ..entry(&name, "1", MINUTE) });
        let positions = appended(&disk, batch.collect()).await;
        let before = |index: usize| {
            if index == 0 { Position(0) } else { positions[index - 1] }
        };
        for number in 0..100 {
            let time = start + number as i64 * 10;
            let seek = async |time| disk.seek(&channel(&name), time).await.unwrap();
            assert_eq!(seek(time).await, before(number * 3));
            assert_eq!(seek(time - 1).await, before(number * 3));
            assert_eq!(seek(time + 1).await, before(number * 3 + 3));
        }
        assert_eq!(disk.seek(&channel(&name), i64::MAX).await.unwrap(), positions[299]);
        assert_eq!(disk.seek(&channel(&name), i64::MIN).await.unwrap(), Position(0));
    }
}
