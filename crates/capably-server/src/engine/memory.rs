//! An engine in memory, which ends with the process.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Append, Bucket, ChannelId, Completion, Engine, EngineError, Entry, Fact, Pending, Position,
    Range, Thread, log::Log,
};

/// An engine in memory, for tests in which one server ends and another continues with its data.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use capably_server::engine::{Bucket, Engine, Memory};
///
/// let engine = Memory::new();
/// engine.set_facts(Bucket::Apps, vec![("a".into(), Some("1".into()))]).await?;
/// assert_eq!(engine.fact(Bucket::Apps, "a").await?, Some("1".into()));
/// # Ok::<_, capably_server::engine::EngineError>(())
/// # }).unwrap();
/// ```
#[derive(Default)]
pub struct Memory(Mutex<State>);

#[derive(Default)]
struct State {
    log: Log,
    closed: bool,
}

impl Memory {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a closed engine again, with its data: the next server continues with it.
    pub fn reopen(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = false;
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(EngineError::Closed) } else { Ok(state) }
    }

    fn with<'a, T: Send + 'a>(&self, work: impl FnOnce(&mut Log) -> T) -> Pending<'a, T> {
        let result = self.state().map(|mut state| work(&mut state.log));
        Box::pin(std::future::ready(result))
    }
}

impl Engine for Memory {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        let results = match self.state() {
            Ok(mut state) => entries.into_iter().map(|entry| Ok(state.log.append(entry))).collect(),
            Err(error) => entries.iter().map(|_| Err(error.clone())).collect(),
        };
        done(results);
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.with(|log| log.read(channel, &range))
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        self.with(|log| log.threads(channel, &messages, after, limit))
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        self.with(|log| log.seek(channel, time))
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        self.with(|log| log.bounds(channel))
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        self.with(|log| log.fact(bucket, key))
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        self.with(|log| log.facts(bucket, prefix, after, limit))
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        self.with(|log| {
            for (key, value) in facts {
                log.set_fact(bucket, key, value);
            }
        })
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        self.with(|log| log.create_fact(bucket, key, value))
    }

    /// Closes the engine until [`reopen`](Self::reopen).
    fn close(&self) -> Pending<'_, ()> {
        let result = self.state().map(|mut state| state.closed = true);
        Box::pin(std::future::ready(result))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (channels, facts) = state.log.size();
        f.debug_struct("Memory").field("channels", &channels).field("facts", &facts).finish()
    }
}
