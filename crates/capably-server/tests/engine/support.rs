//! Helpers for the tests of engines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use capably_server::engine::{
    Append, Appended, ChannelId, Direction, Engine, EngineError, Entry, Kind, Position, Range,
};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn channel(name: &str) -> ChannelId {
    ChannelId { app: "app-id".into(), name: name.into() }
}

pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

pub(crate) fn entry(name: &str, payload: &str) -> Append {
    Append {
        channel: channel(name),
        id: None,
        kind: Kind::Messages,
        threads: Vec::new(),
        time: now(),
        keep: HOUR,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

/// Appends entries and waits for the results.
pub(crate) async fn append(
    engine: &dyn Engine,
    entries: Vec<Append>,
) -> Vec<Result<Appended, EngineError>> {
    let (done, results) = tokio::sync::oneshot::channel();
    engine.append(entries, Box::new(move |appended| drop(done.send(appended))));
    results.await.unwrap()
}

pub(crate) async fn appended(engine: &dyn Engine, entries: Vec<Append>) -> Vec<Position> {
    let results = append(engine, entries).await;
    results.into_iter().map(|result| result.unwrap().position).collect()
}

pub(crate) fn everything() -> Range {
    Range {
        after: Position(0),
        until: Position(u64::MAX),
        kind: None,
        direction: Direction::Forwards,
        limit: 1000,
        max_bytes: 1_000_000,
    }
}

pub(crate) fn texts(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| std::str::from_utf8(&entry.payload).unwrap()).collect()
}
