//! An engine in memory, which ends with the process.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    ops::{Bound, RangeInclusive},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::{
    Append, Appended, Bucket, ChannelId, Completion, Direction, Engine, EngineError, Entry, Fact,
    Pending, Position, Range, Thread,
};

/// How long an id is remembered, in ms.
const REMEMBERED: i64 = 120_000;

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
    last: Position,
    channels: HashMap<ChannelId, Channel>,
    facts: BTreeMap<(Bucket, String), (Bytes, Option<SystemTime>)>,
    /// The number of facts at which those past their time are dropped.
    crowded: usize,
    closed: bool,
}

#[derive(Default)]
struct Channel {
    entries: BTreeMap<Position, Stored>,
    threads: BTreeMap<(Thread, Position), ()>,
    ids: HashMap<Box<str>, Position>,
    /// The ids by their time, to forget them.
    remembered: VecDeque<(i64, Box<str>)>,
    floor: Position,
}

struct Stored {
    entry: Entry,
    threads: Vec<Thread>,
    expires: i64,
}

impl Memory {
    /// An empty engine.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> Result<MutexGuard<'_, State>, EngineError> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed { Err(EngineError::Closed) } else { Ok(state) }
    }

    fn with<'a, T: Send + 'a>(&self, work: impl FnOnce(&mut State) -> T) -> Pending<'a, T> {
        let result = self.state().map(|mut state| work(&mut state));
        Box::pin(std::future::ready(result))
    }
}

impl State {
    fn append(&mut self, append: Append) -> Appended {
        let Append { channel, id, kind, threads, time, keep, payload } = append;
        let wall = u64::try_from(now()).unwrap_or(0).saturating_mul(1000);
        let position = Position(wall.max(self.last.0 + 1));
        let channel = self.channels.entry(channel).or_default();
        if let Some(id) = id {
            channel.forget(time);
            if let Some(position) = channel.ids.get(&id) {
                return Appended { position: *position, repeated: true };
            }
            channel.remembered.push_back((time, id.clone()));
            channel.ids.insert(id, position);
        }
        self.last = position;
        channel.expire(now());
        channel.threads.extend(threads.iter().map(|thread| ((*thread, position), ())));
        let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
        let expires = now().saturating_add(keep);
        let entry = Entry { position, kind, thread: None, time, payload };
        channel.entries.insert(position, Stored { entry, threads, expires });
        Appended { position, repeated: false }
    }

    fn set_fact(&mut self, bucket: Bucket, key: String, value: Bytes) {
        if self.facts.len() >= self.crowded {
            self.facts.retain(|_, (_, expires)| is_current(*expires));
            // As many again may come first, so that a fact costs no more than a few looks.
            self.crowded = 2 * self.facts.len() + 1000;
        }
        self.facts.insert((bucket, key), (value, expiry(bucket)));
    }
}

impl Channel {
    /// Forgets ids that are old.
    fn forget(&mut self, now: i64) {
        while let Some((time, id)) = self.remembered.front()
            && now.saturating_sub(*time) > REMEMBERED
        {
            self.ids.remove(id);
            self.remembered.pop_front();
        }
    }

    /// Drops the oldest entries that are stored for long enough.
    fn expire(&mut self, now: i64) {
        while let Some(oldest) = self.entries.first_entry()
            && oldest.get().expires <= now
        {
            let (position, stored) = oldest.remove_entry();
            for thread in stored.threads {
                self.threads.remove(&(thread, position));
            }
            self.floor = position;
        }
    }
}

impl Engine for Memory {
    fn append(&self, entries: Vec<Append>, done: Completion) {
        let results = match self.state() {
            Ok(mut state) => entries.into_iter().map(|entry| Ok(state.append(entry))).collect(),
            Err(error) => entries.iter().map(|_| Err(error.clone())).collect(),
        };
        done(results);
    }

    fn read<'a>(&'a self, channel: &'a ChannelId, range: Range) -> Pending<'a, Vec<Entry>> {
        self.with(|state| {
            let Some(channel) = state.channels.get(channel) else { return Vec::new() };
            if range.after >= range.until {
                return Vec::new();
            }
            let bounds = (Bound::Excluded(range.after), Bound::Included(range.until));
            let entries = channel.entries.range(bounds).map(|(_, stored)| &stored.entry);
            match range.direction {
                Direction::Forwards => page(entries, &range),
                Direction::Backwards => page(entries.rev(), &range),
            }
        })
    }

    fn threads<'a>(
        &'a self,
        channel: &'a ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Pending<'a, Vec<Entry>> {
        self.with(|state| {
            let Some(channel) = state.channels.get(channel) else { return Vec::new() };
            let first = (*messages.start(), Position(0));
            let start = match after {
                Some(after) if after >= first => Bound::Excluded(after),
                Some(_) | None => Bound::Included(first),
            };
            let end = (*messages.end(), Position(u64::MAX));
            if matches!(start, Bound::Excluded(start) if start >= end) || first > end {
                return Vec::new();
            }
            let found = channel.threads.range((start, Bound::Included(end)));
            let entries = found.filter_map(|((thread, position), ())| {
                let entry = channel.entries.get(position)?.entry.clone();
                Some(Entry { thread: Some(*thread), ..entry })
            });
            entries.take(limit).collect()
        })
    }

    fn seek<'a>(&'a self, channel: &'a ChannelId, time: i64) -> Pending<'a, Position> {
        self.with(|state| {
            let Some(channel) = state.channels.get(channel) else { return Position(0) };
            let mut before = channel.floor;
            for stored in channel.entries.values() {
                if stored.entry.time >= time {
                    break;
                }
                before = stored.entry.position;
            }
            before
        })
    }

    fn bounds<'a>(&'a self, channel: &'a ChannelId) -> Pending<'a, (Position, Position)> {
        self.with(|state| {
            let Some(channel) = state.channels.get(channel) else { return Default::default() };
            let last = channel.entries.last_key_value().map_or(channel.floor, |(last, _)| *last);
            (channel.floor, last)
        })
    }

    fn fact<'a>(&'a self, bucket: Bucket, key: &'a str) -> Pending<'a, Option<Bytes>> {
        self.with(|state| {
            let (value, expires) = state.facts.get(&(bucket, key.to_owned()))?;
            is_current(*expires).then(|| value.clone())
        })
    }

    fn facts<'a>(
        &'a self,
        bucket: Bucket,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> Pending<'a, Vec<Fact>> {
        self.with(|state| {
            let start = match after {
                Some(after) if after >= prefix => Bound::Excluded((bucket, after.to_owned())),
                Some(_) | None => Bound::Included((bucket, prefix.to_owned())),
            };
            state
                .facts
                .range((start, Bound::Unbounded))
                .take_while(|((own, key), _)| *own == bucket && key.starts_with(prefix))
                .filter(|(_, (_, expires))| is_current(*expires))
                .map(|((_, key), (value, _))| Fact { key: key.clone(), value: value.clone() })
                .take(limit)
                .collect()
        })
    }

    fn set_facts<'a>(
        &'a self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Pending<'a, ()> {
        self.with(|state| {
            for (key, value) in facts {
                match value {
                    Some(value) => state.set_fact(bucket, key, value),
                    None => {
                        state.facts.remove(&(bucket, key));
                    }
                }
            }
        })
    }

    fn create_fact<'a>(&'a self, bucket: Bucket, key: &'a str, value: Bytes) -> Pending<'a, bool> {
        self.with(|state| {
            let key = (bucket, key.to_owned());
            if state.facts.get(&key).is_some_and(|(_, expires)| is_current(*expires)) {
                return false;
            }
            state.set_fact(bucket, key.1, value);
            true
        })
    }

    /// Closes the engine until [`reopen`](Self::reopen).
    fn close(&self) -> Pending<'_, ()> {
        self.with(|state| state.closed = true)
    }
}

impl Memory {
    /// Opens a closed engine again, with its data: the next server continues with it.
    pub fn reopen(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = false;
    }
}

fn page<'a>(entries: impl Iterator<Item = &'a Entry>, range: &Range) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for entry in entries.filter(|entry| range.kind.is_none_or(|kind| entry.kind == kind)) {
        bytes += entry.payload.len();
        if found.len() >= range.limit || (bytes > range.max_bytes && !found.is_empty()) {
            break;
        }
        found.push(entry.clone());
    }
    found
}

fn is_current(expires: Option<SystemTime>) -> bool {
    expires.is_none_or(|expires| expires > SystemTime::now())
}

fn expiry(bucket: Bucket) -> Option<SystemTime> {
    SystemTime::now().checked_add(bucket.ttl()?)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Memory")
            .field("channels", &state.channels.len())
            .field("facts", &state.facts.len())
            .finish()
    }
}
