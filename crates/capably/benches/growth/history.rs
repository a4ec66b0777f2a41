//! Messages of one channel in the disk engine: pages from both ends.

use std::{
    fs,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use capably_server::engine::{
    Append, Appended, ChannelId, Direction, Disk, Engine, EngineError, Kind, Position, Range,
};

use crate::{Loads, median, millis, process::runtime};

const IN_FLIGHT: usize = 1024;
const SAMPLES: usize = 201;
const KEEP: Duration = Duration::from_secs(72 * 3600);

pub(crate) fn history(loads: Loads) -> Vec<Vec<f64>> {
    let directory = tempfile::tempdir().unwrap();
    let engine = Disk::open(directory.path()).unwrap();
    let mut rows = Vec::new();
    let mut stored = 0;
    for load in loads.from(1_000, 10) {
        let start = Instant::now();
        append(&engine, load - stored);
        let rate = (load - stored) as f64 / start.elapsed().as_secs_f64();
        stored = load;
        let newest = page(&engine, Direction::Backwards);
        let oldest = page(&engine, Direction::Forwards);
        let disk = size(directory.path()) as f64 / load as f64;
        rows.push(vec![load as f64, newest, oldest, disk, rate]);
    }
    rows
}

fn channel() -> ChannelId {
    ChannelId { app: "app-id".into(), name: "prices".into() }
}

fn append(engine: &Disk, messages: usize) {
    let waiting = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let payload = Bytes::from(vec![b'x'; 100]);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let (count, freed) = &*waiting;
    for _ in 0..messages {
        *freed.wait_while(count.lock().unwrap(), |count| *count >= IN_FLIGHT).unwrap() += 1;
        let entry = Append {
            channel: channel(),
            id: None,
            kind: Kind::Messages,
            threads: Vec::new(),
            time: now,
            keep: KEEP,
            payload: payload.clone(),
        };
        let waiting = Arc::clone(&waiting);
        let done = move |results: Vec<Result<Appended, EngineError>>| {
            assert!(results.iter().all(Result::is_ok));
            *waiting.0.lock().unwrap() -= 1;
            waiting.1.notify_one();
        };
        engine.append(vec![entry], Box::new(done));
    }
    drop(freed.wait_while(count.lock().unwrap(), |count| *count > 0).unwrap());
}

/// The median of the times of a page, in milliseconds.
fn page(engine: &Disk, direction: Direction) -> f64 {
    let runtime = runtime();
    let mut times = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let range = Range {
            after: Position(0),
            until: Position(u64::MAX),
            kind: None,
            direction,
            limit: 100,
            max_bytes: 1_000_000,
        };
        let start = Instant::now();
        let entries = runtime.block_on(engine.read(&channel(), range)).unwrap();
        times.push(millis(start.elapsed()));
        assert_eq!(entries.len(), 100);
    }
    median(times)
}

/// The bytes of all files in a folder.
fn size(folder: &Path) -> u64 {
    let of = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { size(&path) } else { fs::metadata(path).unwrap().len() }
    };
    fs::read_dir(folder).unwrap().map(of).sum()
}
