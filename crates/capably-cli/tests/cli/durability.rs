//! A server that is killed at any moment loses nothing that it has acknowledged or delivered.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    process::Stdio,
};

use capably::{
    ClientOptions, Message, Realtime, Rest, Subscription,
    realtime::{ConnectionState, Receipt},
};
use capably_server::engine::Disk;
use futures_util::StreamExt;

use crate::support::{Server, run, stderr, succeeded};

/// The number of publishes in flight.
const IN_FLIGHT: usize = 512;

const CHANNEL: &str = "persisted";

fn options(server: &Server, binary: bool) -> ClientOptions {
    ClientOptions::new(server.key.as_str())
        .endpoint(server.endpoint.as_str())
        .port(u16::try_from(server.port).unwrap())
        .tls(false)
        .use_binary_protocol(binary)
}

fn start(directory: &Path, options: &[&str]) -> Server {
    let directory = directory.to_str().unwrap();
    Server::start_with(&[&["--data", directory], options].concat())
}

/// The names of the messages in history, each with its serial, in the order of history.
async fn history(server: &Server, binary: bool) -> Vec<(String, String)> {
    let rest = Rest::new(options(server, binary)).unwrap();
    // The messages of a full disk are 60 MB. As one page, a slow machine would not have them within the time of a request.
    let page = rest.channels().get(CHANNEL).history().limit(100).await.unwrap();
    let mut messages = std::pin::pin!(page.items_stream());
    let mut found = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        found.push((message.name.unwrap().to_string(), message.serial.unwrap().to_string()));
    }
    found.reverse();
    found
}

/// Publishes as fast as possible, and kills the server at acknowledgement number `kill_at`.
/// Returns the names and serials that were acknowledged.
async fn publish_until_killed(
    server: Server,
    round: u64,
    binary: bool,
    kill_at: usize,
) -> BTreeMap<String, String> {
    let client = Realtime::connect(options(&server, binary)).await.unwrap();
    let channel = client.channels().get(CHANNEL);
    let mut changes = client.connection().changes();
    let mut server = Some(server);
    let mut acknowledged = BTreeMap::new();
    let mut receipts = VecDeque::new();
    for number in 0.. {
        if receipts.len() == IN_FLIGHT {
            let (name, receipt): (String, Receipt) = receipts.pop_front().unwrap();
            let published = receipt.await.unwrap();
            acknowledged.insert(name, published.serials[0].as_ref().unwrap().to_string());
            if acknowledged.len() == kill_at {
                // The kill comes while publishes and acknowledgements are in flight.
                server.take().unwrap().kill();
                break;
            }
        }
        let name = format!("{round}-{number}");
        let receipt = channel.publish(name.as_str(), "x".repeat(200)).submit().await.unwrap();
        receipts.push_back((name, receipt));
    }
    // An acknowledgement sent before the kill may still arrive; the other publishes fail.
    while changes.next().await.unwrap().current == ConnectionState::Connected {}
    let rest = async {
        for (name, receipt) in receipts {
            if let Ok(published) = receipt.await {
                acknowledged.insert(name, published.serials[0].as_ref().unwrap().to_string());
            }
        }
    };
    tokio::join!(rest, client.close());
    acknowledged
}

/// Receives messages until the server is killed.
async fn receive(mut messages: Subscription) -> BTreeMap<String, String> {
    let mut delivered = BTreeMap::new();
    while let Some(message) = messages.next().await {
        let serial = message.serial.clone().unwrap().to_string();
        delivered.insert(message.name.clone().unwrap().to_string(), serial);
    }
    delivered
}

#[tokio::test]
async fn a_killed_server_keeps_each_acknowledged_or_delivered_message_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(20);
    let mut newest = String::new();
    for round in 0..8 {
        let binary = round % 2 == 0;
        let server = start(directory.path(), &[]);
        let subscriber = Realtime::connect(options(&server, binary)).await.unwrap();
        let messages = subscriber.channels().get(CHANNEL).subscribe().await.unwrap();
        let receiving = tokio::spawn(receive(messages));
        let kill_at = random.usize(1..3000);
        let acknowledged = publish_until_killed(server, round, binary, kill_at).await;
        assert!(acknowledged.len() >= kill_at);
        subscriber.close().await;
        let delivered = receiving.await.unwrap();
        assert!(acknowledged.values().all(|serial| *serial > newest), "round {round}");
        told.extend(acknowledged);
        told.extend(delivered);

        let server = start(directory.path(), &[]);
        let history = history(&server, binary).await;
        let names: BTreeSet<_> = history.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), history.len(), "round {round}: something is there twice");
        assert!(history.is_sorted_by(|(_, a), (_, b)| a < b), "round {round}");
        newest = history.last().unwrap().1.clone();
        let history: BTreeMap<_, _> = history.into_iter().collect();
        for (name, serial) in &told {
            assert_eq!(history.get(name), Some(serial), "round {round}: {name}");
        }
        assert_eq!(server.stop().status.code(), Some(0));
    }
}

#[tokio::test]
async fn messages_sent_again_after_a_kill_are_published_once() {
    const MESSAGES: usize = 2000;
    for binary in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let server = start(directory.path(), &[]);
        let client = Realtime::connect(options(&server, binary)).await.unwrap();
        let channel = client.channels().get(CHANNEL);
        let port = server.port.to_string();
        let mut server = Some(server);
        let mut receipts = VecDeque::new();
        let mut random = fastrand::Rng::with_seed(u64::from(binary));
        let mut kill_at = random.usize(1..500);
        for number in 0..MESSAGES {
            let name = format!("message {number}");
            // The server recognises a repeated message by its id, also after a restart.
            let message = Message { id: Some(name.as_str().into()), ..Message::new(name, "x") };
            receipts.push_back(channel.publish_message(message).submit().await.unwrap());
            if receipts.len() == IN_FLIGHT {
                receipts.pop_front().unwrap().await.unwrap();
            }
            if number == kill_at {
                server.take().unwrap().kill();
                server = Some(start(directory.path(), &["--port", &port]));
                kill_at += random.usize(300..700);
            }
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        let server = server.unwrap();
        let names: Vec<_> =
            history(&server, binary).await.into_iter().map(|(name, _)| name).collect();
        let expected: Vec<_> = (0..MESSAGES).map(|number| format!("message {number}")).collect();
        assert_eq!(names, expected);
        client.close().await;
        assert_eq!(server.stop().status.code(), Some(0));
    }
}

/// A server whose files are limited to 64 MiB, like on a full disk. The engine reserves as much for its first journal.
#[cfg(unix)]
fn start_on_a_small_disk(directory: &Path) -> Server {
    let mut command = std::process::Command::new("sh");
    let script = r#"trap '' XFSZ; ulimit -f 131072; exec "$0" "$@""#;
    let directory = directory.to_str().unwrap();
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_capably")])
        .args(["serve", "--json", "--port", "0", "--data", directory])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Server::start_as(command)
}

#[cfg(unix)]
#[tokio::test]
async fn a_full_disk_refuses_publishes() {
    for binary in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let server = start_on_a_small_disk(directory.path());
        let client = Realtime::connect(options(&server, binary)).await.unwrap();
        let channel = client.channels().get(CHANNEL);
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for number in 0..2000 {
            let name = format!("message {number}");
            match channel.publish(name.as_str(), "x".repeat(60_000)).await {
                Ok(_) => acknowledged.push(name),
                Err(error) => {
                    assert_eq!(error.code().0, 50000);
                    refused += 1;
                }
            }
            // The server continues, and has every acknowledged message.
            if refused == 3 {
                break;
            }
        }
        assert!(acknowledged.len() > 10 && refused == 3, "{} taken", acknowledged.len());
        let names = |history: Vec<(String, String)>| -> Vec<String> {
            history.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(history(&server, binary).await), acknowledged);
        client.close().await;
        assert_eq!(server.stop().status.code(), Some(0));

        // With free space, the server continues from its data.
        let server = start(directory.path(), &[]);
        assert_eq!(names(history(&server, binary).await), acknowledged);
        let client = Realtime::connect(options(&server, binary)).await.unwrap();
        client.channels().get(CHANNEL).publish("room", "x".repeat(10_000)).await.unwrap();
        acknowledged.push("room".to_owned());
        assert_eq!(names(history(&server, binary).await), acknowledged);
        client.close().await;
        assert_eq!(server.stop().status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_restarted_server_continues_with_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let server = start(&path, &[]);
    let key = server.key.clone();
    succeeded(server.run(["publish", CHANNEL, "greeting", "hello"]));

    let output = run(["serve", "--port", "0", "--data", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "error: another server uses the data directory {}\n  remedy: stop the other server, or choose another \
         directory\n",
        path.display()
    );
    assert_eq!(stderr(&output), expected);
    assert_eq!(server.stop().status.code(), Some(0));

    let server = start(&path, &[]);
    assert_eq!(server.key, key);
    assert_eq!(history(&server, true).await[0].0, "greeting");
    assert_eq!(server.stop().status.code(), Some(0));

    // Only this user may read the data.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("capably.lock")), 0o600);
    }
    drop(Disk::open(&path).unwrap());
}

#[test]
fn damaged_data_is_an_error_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &[]);
    succeeded(server.run(["publish", CHANNEL, "greeting", "hello"]));
    assert_eq!(server.stop().status.code(), Some(0));
    let file = directory.path().join("log/capably");
    for content in [&b"something else"[..], b"capably"] {
        std::fs::write(&file, content).unwrap();
        let output = run(["serve", "--port", "0", "--data", directory.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.starts_with("error: the stored data is damaged: "), "{said}");
        let remedy =
            "\n  remedy: restore the directory from a backup, or choose another directory\n";
        assert!(said.ends_with(remedy) && said.lines().count() == 2, "{said}");
    }
}
