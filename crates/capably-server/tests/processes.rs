//! The disk engine in separate processes, which are killed at random or run out of space.
//!
//! This test has no harness, because the same program is also the process that is killed.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Condvar, Mutex, mpsc},
    time::Duration,
};

use bytes::Bytes;
use capably_server::engine::{
    Append, Appended, ChannelId, Completion, Direction, Disk, Engine, EngineError, Entry, Kind,
    Position, Range,
};

const CHANNELS: usize = 5;

const IN_FLIGHT: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "append", directory, first] => append_forever(directory, first.parse().unwrap()),
        [_, "fill", directory] => fill(directory),
        _ => {
            a_killed_engine_keeps_each_completed_append_once_and_in_order();
            println!("a_killed_engine_keeps_each_completed_append_once_and_in_order ... ok");
            #[cfg(target_os = "linux")]
            {
                an_engine_on_a_full_disk_refuses_until_space_is_free();
                println!("an_engine_on_a_full_disk_refuses_until_space_is_free ... ok");
            }
        }
    }
}

fn a_killed_engine_keeps_each_completed_append_once_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    // The completed appends by channel: the number in the payload, and the position.
    let mut completed = vec![Vec::new(); CHANNELS];
    let mut next = 0;
    for round in 0..8 {
        let kill_at = if round == 0 { 1 } else { fastrand::usize(1..3000) };
        let (mut child, output) = start(Command::new(program()).args([
            "append",
            path.to_str().unwrap(),
            &next.to_string(),
        ]));
        let mut count = 0;
        for line in output.lines() {
            // The last line may be cut off.
            let line = line.unwrap();
            let Some(line) = line.strip_suffix('.') else { break };
            let (number, position) = line.split_once(' ').unwrap();
            let (number, position): (usize, u64) =
                (number.parse().unwrap(), position.parse().unwrap());
            completed[number % CHANNELS].push((number, position));
            next = next.max(number + 1);
            count += 1;
            if count == kill_at {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(count >= kill_at, "round {round}: {count} of {kill_at}");
        // The child may have appended more than it has printed. The next numbers must be new.
        next += 2 * IN_FLIGHT;
        check(&path, &completed);
    }
}

/// Checks that each completed append is stored at its position, and that all entries are in order and unique.
fn check(path: &Path, completed: &[Vec<(usize, u64)>]) {
    let engine = Disk::open(path).unwrap();
    for (index, completed) in completed.iter().enumerate() {
        let found = read(&engine, index);
        assert!(found.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{index}: not in order");
        let mut rest = found.iter();
        for entry in completed {
            assert!(rest.any(|found| found == entry), "{index}: {entry:?} is lost");
        }
    }
}

fn read(engine: &Disk, index: usize) -> Vec<(usize, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let range = Range {
        after: Position(0),
        until: Position(u64::MAX),
        kind: None,
        direction: Direction::Forwards,
        limit: usize::MAX,
        max_bytes: usize::MAX,
    };
    let entries: Vec<Entry> = runtime.block_on(engine.read(&channel(index), range)).unwrap();
    let number = |entry: &Entry| {
        let digits = entry.payload.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(*digit - b'0'))
    };
    entries.iter().map(|entry| (number(entry), entry.position.0)).collect()
}

/// Appends numbers from `first` on, and prints each with its position on completion.
fn append_forever(directory: &str, first: usize) {
    let engine = Disk::open(directory).unwrap();
    let waiting = Arc::new((Mutex::new(0), Condvar::new()));
    for number in first.. {
        let (count, freed) = &*waiting;
        *freed.wait_while(count.lock().unwrap(), |count| *count >= IN_FLIGHT).unwrap() += 1;
        let waiting = Arc::clone(&waiting);
        let done: Completion = Box::new(move |results| {
            let position = results[0].as_ref().unwrap().position.0;
            let mut output = std::io::stdout().lock();
            if output.write_all(format!("{number} {position}.\n").as_bytes()).is_err() {
                std::process::exit(0);
            }
            *waiting.0.lock().unwrap() -= 1;
            waiting.1.notify_one();
        });
        // Sizes of a few bytes up to more than a page.
        let payload = format!("{number}{}", "x".repeat(fastrand::usize(..100).pow(2) / 5));
        engine.append(vec![entry(number % CHANNELS, payload)], done);
    }
}

/// The limit for the size of files is the journal's first size: it cannot grow, and the store cannot rotate it in time.
#[cfg(target_os = "linux")]
fn an_engine_on_a_full_disk_refuses_until_space_is_free() {
    const LIMIT: u64 = 64 * 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    // A write beyond the limit also sends a signal that would end the process.
    let script = r#"trap "" XFSZ; exec prlimit --fsize="$1":unlimited "$2" fill "$3""#;
    let (mut child, output) = start(
        Command::new("sh")
            .args(["-c", script, "sh", &LIMIT.to_string(), program().to_str().unwrap()])
            .arg(&path)
            .stdin(Stdio::piped()),
    );
    let mut lines = output.lines().map(|line| line.unwrap());
    let refused = lines.next().unwrap();
    assert!(refused.starts_with("refused: there is no room for more data: "), "{refused}");
    let pid = child.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(raised.unwrap().success());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let last = lines.next().unwrap();
    let count = last.strip_prefix("completed ").unwrap().parse().unwrap();
    assert!(child.wait().unwrap().success());
    let engine = Disk::open(&path).unwrap();
    let numbers: Vec<_> = read(&engine, 0).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, (0..count).collect::<Vec<usize>>());
}

/// Appends until the engine refuses, prints the refusal, and appends again after the next line of input.
fn fill(directory: &str) {
    let engine = Disk::open(directory).unwrap();
    let append = |number: usize| {
        let (sender, results) = mpsc::channel();
        let done: Completion = Box::new(move |results| sender.send(results).unwrap());
        engine.append(vec![entry(0, format!("{number}{}", "x".repeat(1_000_000)))], done);
        results.recv().unwrap().remove(0)
    };
    let mut number = 0;
    let error = loop {
        match append(number) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(error.is_certain());
    println!("refused: {error}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    // The refused number is certainly not stored, so it is used again. The engine retries after a second.
    let mut completed: Result<Appended, EngineError> = append(number);
    while completed.is_err() {
        std::thread::yield_now();
        completed = append(number);
    }
    for number in number + 1..number + 30 {
        append(number).unwrap();
    }
    println!("completed {}", number + 30);
}

fn channel(index: usize) -> ChannelId {
    ChannelId { app: "app-id".into(), name: index.to_string().into() }
}

fn entry(index: usize, payload: String) -> Append {
    Append {
        channel: channel(index),
        id: Some(payload.chars().take_while(char::is_ascii_digit).collect::<String>().into()),
        kind: Kind::Messages,
        threads: Vec::new(),
        time: 0,
        keep: Duration::from_secs(3600),
        payload: Bytes::from(payload),
    }
}

fn program() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

fn start(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}
