//! Publishers that are killed at any moment, again and again: what they had accepted is in the history exactly once,
//! and in order.
//!
//! ```text
//! cargo test -p capably --test outbox_killing
//! CAPABLY_KILLS=200 CAPABLY_KILL_SEED=7 cargo test -p capably --test outbox_killing
//! ```
//!
//! Each round starts this program as a publisher with the same directory. It publishes to three channels with 64
//! publishes in flight, and prints each that was accepted. It gets SIGKILL after a random number of them; meanwhile the
//! server cuts its connection now and then. At the end, one more publisher sends what is left. Another run lets the
//! publisher's disk be full, and one opens the directory of a publisher that runs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::{
    collections::BTreeSet,
    future::IntoFuture,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use capably::{
    ClientOptions, Realtime, Rest,
    http::HttpMethod,
    outbox::{FileOutbox, OutboxPolicy, WhenFull},
};
use capably_server::{Server, faults::Faults};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

const CHANNELS: usize = 3;
const IN_FLIGHT: usize = 64;
/// Small, so that publishers do not run far ahead of the service.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("publish") => runtime.block_on(publish(&arguments)),
        // The test harness of cargo passes options, or nothing.
        _ => runtime.block_on(async {
            kill_publishers().await;
            fill_the_disk().await;
            open_twice().await;
        }),
    }
}

/// The publisher: `publish DIRECTORY PORT KEY FORMAT ROUND COUNT`. It ends when all is acknowledged.
async fn publish(arguments: &[String]) {
    let [_, _, directory, port, key, format, round, count] = arguments else {
        panic!("the arguments of a publisher")
    };
    let options = options(port.parse().unwrap(), key, format == "binary")
        .client_id("publisher")
        .disconnected_retry_timeout(std::time::Duration::from_millis(20))
        .outbox(FileOutbox::open(directory).unwrap())
        .outbox_policy(OutboxPolicy::new().max_bytes(MAX_BYTES).when_full(WhenFull::Wait));
    let client = Realtime::new(options).unwrap();
    let publishing = stream::iter(0..count.parse::<u64>().unwrap()).map(|number| {
        let channel = client.channels().get(format!("persisted:{}", number as usize % CHANNELS));
        let name = format!("{round}-{number}");
        let stored = channel.publish(name.as_str(), "x".repeat(200)).into_future();
        async move { stored.await.map(|_| name) }
    });
    // `buffered` polls them first in their order.
    let mut publishing = std::pin::pin!(publishing.buffered(IN_FLIGHT));
    while let Some(accepted) = publishing.next().await {
        match accepted {
            // One write for a line: a pipe has all of it or nothing.
            Ok(name) => std::io::stdout().write_all(format!("{name}\n").as_bytes()).unwrap(),
            Err(error) => {
                println!("refused {} {error}", error.code().0);
                break;
            }
        }
    }
    client.outbox().unwrap().flush().await.unwrap();
    client.outbox().unwrap().close().await;
}

async fn kill_publishers() {
    let kills = number("CAPABLY_KILLS").unwrap_or(10);
    let seed = number("CAPABLY_KILL_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("{kills} kills, CAPABLY_KILL_SEED={seed}");
    let begin = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let faults = Faults::new();
    let server = Server::builder().faults(&faults).resume_buffer(1_000_000, 1 << 30);
    let server = server.start().await.unwrap();
    let key = key_of_app(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let mut accepted = Vec::new();
    for round in 0..kills {
        let binary = if round % 2 == 0 { "binary" } else { "json" };
        let mut child = start((&server, &key), directory.path(), binary, round, u64::MAX, None);
        let (kill_at, cut_at) = (random.usize(1..3000), random.usize(1..3000));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let faults = faults.clone();
        // Reading blocks, and the server needs this thread's runtime.
        let reading = tokio::task::spawn_blocking(move || {
            let mut names = Vec::new();
            for line in lines {
                // The last line may be cut.
                let Ok(line) = line else { break };
                names.push(line);
                if names.len() == cut_at {
                    faults.connections().param("clientId", "publisher").disconnect();
                }
                if names.len() == kill_at {
                    child.kill().unwrap();
                }
            }
            assert!(names.len() >= kill_at, "the publisher ended by itself: {names:?}");
            child.wait().unwrap();
            names
        });
        accepted.extend(reading.await.unwrap());
    }
    finish((&server, &key), directory.path(), kills).await;
    let published = check((&server, &key), &accepted).await;
    println!(
        "{} accepted, {published} published, none lost, none twice, in {} s",
        accepted.len(),
        begin.elapsed().as_secs()
    );
}

/// A publisher whose file must not grow beyond 1 MiB: it refuses what it cannot store, and loses nothing else.
async fn fill_the_disk() {
    let server = Server::builder().start().await.unwrap();
    let key = key_of_app(&server).await;
    let directory = tempfile::tempdir().unwrap();
    // No connection, so that the file only grows.
    let child = start((&server, &key), directory.path(), "binary", 0, u64::MAX, Some(1024));
    let output = tokio::task::spawn_blocking(move || {
        let mut child = child;
        let mut accepted = Vec::new();
        let mut refused = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.starts_with("refused ") {
                refused = Some(line);
                child.kill().unwrap();
                break;
            }
            accepted.push(line);
        }
        child.wait().unwrap();
        (accepted, refused)
    });
    let (accepted, refused) = output.await.unwrap();
    let refused = refused.expect("a file has a limit");
    assert!(refused.starts_with("refused 50000 could not write the outbox"), "{refused}");
    assert!(refused.contains("free space on the disk"), "{refused}");
    finish((&server, &key), directory.path(), 1).await;
    check((&server, &key), &accepted).await;
    println!("{} accepted before the disk was full, none lost", accepted.len());
}

/// The directory of a publisher that runs, and then is killed.
async fn open_twice() {
    let server = Server::builder().start().await.unwrap();
    let key = key_of_app(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let mut child = start((&server, &key), directory.path(), "json", 0, u64::MAX, None);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = tokio::task::spawn_blocking(move || (lines.next().unwrap().unwrap(), lines));
    // The publisher needs somebody who reads.
    let (first, _lines) = first.await.unwrap();
    assert_eq!(first, "0-0");
    let error = FileOutbox::open(directory.path()).unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.message().contains("is in use by another client or process"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    FileOutbox::open(directory.path()).expect("the directory is free at once");
    println!("a directory has one process at a time");
}

/// Starts a publisher. With a limit, its files may have that many KiB, and its port is of no server.
fn start(
    (server, key): (&Server, &str),
    directory: &Path,
    format: &str,
    round: u64,
    count: u64,
    limit: Option<u64>,
) -> Child {
    let program = std::env::current_exe().unwrap();
    let port = if limit.is_some() { 1 } else { server.port() };
    let mut command = match limit {
        None => Command::new(program),
        Some(limit) => {
            let mut command = Command::new("bash");
            // A write beyond the limit then is an error and no signal.
            command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" \"$@\""));
            command.arg(program);
            command
        }
    };
    command
        .arg("publish")
        .arg(directory)
        .args([&port.to_string(), key, format, &round.to_string(), &count.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// One more publisher, which has nothing to publish itself.
async fn finish(service: (&Server, &str), directory: &Path, round: u64) {
    let mut last = start(service, directory, "binary", round, 0, None);
    let ended = tokio::task::spawn_blocking(move || last.wait().unwrap()).await.unwrap();
    assert!(ended.success());
}

/// Compares the histories with what was accepted. Returns the number of messages.
async fn check((server, key): (&Server, &str), accepted: &[String]) -> usize {
    let rest = Rest::new(options(server.port(), key, true)).unwrap();
    let mut total = 0;
    let mut found = BTreeSet::new();
    for channel in 0..CHANNELS {
        let page = rest
            .channels()
            .get(format!("persisted:{channel}"))
            .history()
            .limit(1000)
            .await
            .unwrap();
        let messages: Vec<_> = page.items_stream().try_collect().await.unwrap();
        let mut last = None;
        for message in messages.into_iter().rev() {
            let name = message.name.unwrap().to_string();
            let place = place(&name);
            assert!(found.insert(place), "{name} is twice in the history");
            assert!(Some(place) > last, "{name} comes after {last:?}");
            last = Some(place);
            total += 1;
        }
    }
    for name in accepted {
        assert!(found.contains(&place(name)), "{name} was accepted, and is lost");
    }
    total
}

/// The key of an app whose channels keep their history for longer than a run takes.
async fn key_of_app(server: &Server) -> String {
    let owner = Rest::new(options(server.port(), server.key(), true)).unwrap();
    let app = json!({ "keys": [{}], "namespaces": [{ "id": "persisted", "persisted": true }] });
    let made = owner.request(HttpMethod::Post, "/apps").body(app).await.unwrap();
    made.items()[0]["keys"][0]["keyStr"].as_str().unwrap().to_owned()
}

/// The round and the number of a name.
fn place(name: &str) -> (u64, u64) {
    let (round, number) = name.split_once('-').unwrap();
    (round.parse().unwrap(), number.parse().unwrap())
}

fn options(port: u16, key: &str, binary: bool) -> ClientOptions {
    ClientOptions::new(key).endpoint("127.0.0.1").port(port).tls(false).use_binary_protocol(binary)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
