//! Directories in which not everything is as it should be.

use std::{fs, path::Path};

use capably_protocol::{Format, Message};
use capably_server::{
    Server, ServerError,
    storage::{Change, Disk, Memory, Storage, StorageError},
};
use serde_json::Value;

use super::{
    Place,
    support::{Client, ask},
};

const FILE: &str = "capably.redb";

const PAGE: usize = 4096;

async fn start(directory: &Path) -> Result<Server, StorageError> {
    match Server::builder().data(directory).start().await {
        Ok(server) => Ok(server),
        Err(ServerError::Storage(error)) => Err(error),
        Err(other) => panic!("{other}"),
    }
}

async fn names(server: &Server) -> Vec<String> {
    let target = "/channels/c/messages?direction=forwards&limit=1000";
    let (_, history) =
        ask(server, server.key(), Format::MsgPack, "GET", target, &Value::Null).await;
    let name = |message: &Value| message["name"].as_str().unwrap().to_owned();
    history.as_array().unwrap().iter().map(name).collect()
}

#[tokio::test]
async fn a_directory_is_of_one_server_at_a_time() {
    let place = Place::directory();
    let server = place.start().await;
    let error = start(place.path()).await.unwrap_err();
    assert!(matches!(&error, StorageError::Locked(path) if path == place.path()), "{error:?}");
    let path = place.path().display();
    assert_eq!(error.to_string(), format!("another server uses the data directory {path}"));
    server.shutdown().await;
    start(place.path()).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn what_is_no_data_is_left_alone() {
    for content in [&b"not a database, but something dear to somebody"[..], &[0; 100_000], b"x"] {
        let place = Place::directory();
        let file = place.path().join(FILE);
        fs::write(&file, content).unwrap();
        let error = start(place.path()).await.unwrap_err();
        assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
        assert!(error.to_string().contains(FILE), "{error}");
        assert_eq!(fs::read(&file).unwrap(), content);
    }
    let place = Place::directory();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let error = start(&file).await.unwrap_err();
    assert!(matches!(error, StorageError::Io { .. }), "{error:?}");
    let start_of = format!("cannot create the data directory {}: ", file.display());
    assert!(error.to_string().starts_with(&start_of), "{error}");
}

#[tokio::test]
async fn another_version_is_refused() {
    let put = |key: &str, value: &str| Change::Put { key: key.into(), value: value.into() };
    for (changes, expected) in [
        (
            vec![put("version", "2"), put("future", "x")],
            "the stored data is of another version: it is 2, and this server reads 1",
        ),
        (
            vec![put("version", "1"), put("future", "x")],
            "the stored data is damaged: nobody can read the entry future",
        ),
        (
            vec![put("somebody's", "x")],
            "the stored data is damaged: it does not say of which version it is",
        ),
        (
            vec![put("version", "1"), put("Aabcdef\0", "{}")],
            "the stored data is damaged: nobody can read the entry Aabcdef\\x00",
        ),
        (
            vec![put("version", "1"), put("Aabcdef\x01", "short")],
            "the stored data is damaged: nobody can read the entry Aabcdef\\x01",
        ),
        (
            vec![put("version", "1"), put("Aabcdef\x03\0\0\0\x01c\x01positions!", "frame")],
            "the stored data is damaged: nobody can read the entry \
             Aabcdef\\x03\\x00\\x00\\x00\\x01c\\x01positions!",
        ),
    ] {
        let place = Place::directory();
        Disk::open(place.path()).unwrap().commit(&changes).unwrap();
        assert_eq!(start(place.path()).await.unwrap_err().to_string(), expected);
        let memory = Memory::new();
        memory.commit(&changes).unwrap();
        let started = Server::builder().storage(std::sync::Arc::new(memory)).start().await;
        assert_eq!(started.unwrap_err().to_string(), expected);
    }
}

/// The file as a crash leaves it after 60 messages were acknowledged one by one, which pages of it the last
/// of them has changed, and their names.
async fn crashed() -> (Vec<u8>, Vec<usize>, Vec<String>) {
    let place = Place::directory();
    let read = || fs::read(place.path().join(FILE)).unwrap();
    let mut before = Vec::new();
    let server = place.start().await;
    let (mut client, _) = Client::connect(&server, Format::MsgPack).await;
    let mut acknowledged = Vec::new();
    for msg_serial in 0..60 {
        let name = format!("message {msg_serial}");
        // What the file is while the server runs is what a crash makes of it.
        before = read();
        client.publish("c", msg_serial, vec![Message::new(name.as_str(), "x".repeat(500))]).await;
        client.ack().await;
        acknowledged.push(name);
    }
    let file = read();
    server.shutdown().await;
    let pages = file.chunks(PAGE).zip(before.chunks(PAGE)).enumerate();
    let changed = pages.filter(|(_, (now, before))| now != before).map(|(page, _)| page * PAGE);
    (file.clone(), changed.collect(), acknowledged)
}

/// Starts a server on a damaged file: it fails with a clear error, or has everything.
async fn survives(file: &[u8], acknowledged: &[String], how: &str) -> bool {
    let place = Place::directory();
    fs::write(place.path().join(FILE), file).unwrap();
    match start(place.path()).await {
        Ok(server) => {
            assert_eq!(names(&server).await, acknowledged, "{how}");
            server.shutdown().await;
            true
        }
        Err(error) => {
            assert!(
                matches!(error, StorageError::Corrupt(_) | StorageError::Version(_)),
                "{how}: {error:?}"
            );
            false
        }
    }
}

#[tokio::test]
async fn a_crash_leaves_everything() {
    let (file, _, acknowledged) = crashed().await;
    assert!(survives(&file, &acknowledged, "as it was").await);
}

#[tokio::test]
async fn a_torn_file_loses_nothing_in_silence() {
    let (file, last, acknowledged) = crashed().await;
    let length = file.len();
    for cut in [1, 100, 512, 4096, 4097, 8192, 3 * 4096, 10 * 4096, length / 2, length - 100] {
        survives(&file[..length - cut], &acknowledged, &format!("{cut} cut off")).await;
    }
    // Damage to the last thing that was acknowledged is not taken for one that was not.
    assert!(last.len() > 2 && last[0] == 0, "{last:?}");
    for page in &last[1..] {
        let mut damaged = file.clone();
        damaged[*page..page + PAGE].fill(0);
        survives(&damaged, &acknowledged, &format!("page {page} is gone")).await;
    }
    let mut refused = 0;
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..36 {
        let mut damaged = file.clone();
        let page = random.usize(..length / PAGE) * PAGE;
        match round % 3 {
            0 => damaged[page..page + PAGE].fill(0),
            1 => damaged[page + random.usize(..PAGE)] ^= 1 << random.u8(..8),
            _ => damaged[page..].fill(0xff),
        }
        let how = format!("round {round}, page {page}");
        refused += usize::from(!survives(&damaged, &acknowledged, &how).await);
    }
    assert!(refused > 0, "no damage was noticed");
}
