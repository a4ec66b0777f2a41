//! Fills the disk engine with messages of 100 bytes, and reads pages of 100 from the far end of its channels.
//!
//! `cargo bench -p capably-server --features disk --bench disk -- --messages 10000000 --channels 100000 --directory data`
//!
//! The directory is created, and stays if it was named. Filling is skipped if it has data. `--ids` gives each message an
//! id, as the server does. `--cold` empties the system's cache of the files before reading; it needs `dd`.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use capably_server::engine::{
    Append, Appended, ChannelId, Direction, Disk, Engine, EngineError, Kind, Position, Range,
};

const IN_FLIGHT: usize = 1024;

const PAGES: usize = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    let number = |name: &str, default| option(name).map_or(default, |text| text.parse().unwrap());
    let messages = number("--messages", 200_000);
    let channels = number("--channels", 1000);
    let keep = Duration::from_secs(number("--keep", 72 * 3600) as u64);
    let temporary = tempfile::tempdir().unwrap();
    let directory = option("--directory").map_or(temporary.path().join("data"), Into::into);

    if !directory.join("log").exists() {
        fill(&directory, messages, channels, keep, flag("--ids"));
    }
    println!("size on disk: {} MiB", size(&directory) >> 20);
    if flag("--cold") {
        forget(&directory);
    }
    let start = Instant::now();
    let engine = Disk::open(&directory).unwrap();
    println!("open: {:.1?}, {}", start.elapsed(), memory());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(read(&engine, channels));
    println!("after reading: {}", memory());
}

fn channel(number: usize) -> ChannelId {
    ChannelId { app: "app-id".into(), name: format!("channel:{number}").into() }
}

fn fill(directory: &Path, messages: usize, channels: usize, keep: Duration, ids: bool) {
    let engine = Disk::open(directory).unwrap();
    let names: Vec<_> = (0..channels).map(channel).collect();
    let waiting = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let payload = Bytes::from(vec![b'x'; 100]);
    let start = Instant::now();
    let mut step = start;
    for number in 0..messages {
        let (count, freed) = &*waiting;
        let mut count = freed.wait_while(count.lock().unwrap(), |it| *it >= IN_FLIGHT).unwrap();
        *count += 1;
        drop(count);
        let entry = Append {
            channel: names[fastrand::usize(..channels)].clone(),
            id: ids.then(|| format!("connection:{number}:0").into()),
            kind: Kind::Messages,
            threads: Vec::new(),
            time: 1_700_000_000_000 + number as i64,
            keep,
            payload: payload.clone(),
        };
        let waiting = Arc::clone(&waiting);
        let done = move |results: Vec<Result<Appended, EngineError>>| {
            assert!(results.iter().all(Result::is_ok));
            *waiting.0.lock().unwrap() -= 1;
            waiting.1.notify_one();
        };
        engine.append(vec![entry], Box::new(done));
        if (number + 1) % (messages / 10).max(1) == 0 {
            let rate = (messages / 10) as f64 / step.elapsed().as_secs_f64();
            println!("{} appended, {rate:.0}/s, {}", number + 1, memory());
            step = Instant::now();
        }
    }
    let (count, freed) = &*waiting;
    drop(freed.wait_while(count.lock().unwrap(), |it| *it > 0).unwrap());
    println!("append: {:.0}/s", messages as f64 / start.elapsed().as_secs_f64());
    let start = Instant::now();
    drop(engine);
    println!("close: {:.1?}", start.elapsed());
}

async fn read(engine: &Disk, channels: usize) {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..PAGES {
        let channel = channel(fastrand::usize(..channels));
        let range = Range {
            after: Position(0),
            until: Position(u64::MAX),
            kind: None,
            direction: Direction::Forwards,
            limit: 100,
            max_bytes: 1_000_000,
        };
        let start = Instant::now();
        found += engine.read(&channel, range).await.unwrap().len();
        times.push(start.elapsed());
    }
    println!("page from the far end: {}, {} entries each", percentiles(&mut times), found / PAGES);
    let mut times = Vec::new();
    for _ in 0..PAGES {
        let channel = channel(fastrand::usize(..channels));
        let start = Instant::now();
        engine.seek(&channel, 1_700_000_000_000 + fastrand::i64(..10_000_000)).await.unwrap();
        times.push(start.elapsed());
    }
    println!("seek: {}", percentiles(&mut times));
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    format!("p50 {:.2?}, p99 {:.2?}, most {:.2?}", at(50), at(99), at(100))
}

/// The resident memory of this process, and its maximum so far.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) >> 10
    };
    format!("{} MiB resident, {} MiB at most", field("VmRSS:"), field("VmHWM:"))
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn size(directory: &Path) -> u64 {
    files(directory).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

fn forget(directory: &Path) {
    for path in files(directory) {
        let input = format!("if={}", path.display());
        let mut drop = Command::new("dd");
        drop.args([&input, "iflag=nocache", "count=0", "status=none"]);
        assert!(drop.status().unwrap().success());
    }
}
