//! A log in memory: entries, ids and facts, for the engines that keep nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::{Bound, RangeInclusive},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Append, Appended, Bucket, ChannelId, Direction, Entry, Fact, Position, Range, Thread};

/// How long an id is remembered, in ms.
const REMEMBERED: i64 = 120_000;

/// The entries of channels, and facts. Its methods do what those of [`Engine`](super::Engine) promise, at once.
#[derive(Default)]
pub(super) struct Log {
    last: Position,
    channels: HashMap<ChannelId, Channel>,
    facts: BTreeMap<(Bucket, String), Stated>,
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

/// An entry with its index and its end.
struct Stored {
    entry: Entry,
    threads: Vec<Thread>,
    expires: i64,
}

/// The value of a fact, and when it expires. The time is that of tokio, which tests can pause and advance.
struct Stated {
    value: Bytes,
    expires: Option<Instant>,
}

impl Log {
    pub(super) fn append(&mut self, append: Append) -> Appended {
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

    pub(super) fn read(&self, channel: &ChannelId, range: &Range) -> Vec<Entry> {
        let Some(channel) = self.channels.get(channel) else { return Vec::new() };
        if range.after >= range.until {
            return Vec::new();
        }
        let bounds = (Bound::Excluded(range.after), Bound::Included(range.until));
        let entries = channel.entries.range(bounds).map(|(_, stored)| &stored.entry);
        match range.direction {
            Direction::Forwards => page(entries, range),
            Direction::Backwards => page(entries.rev(), range),
        }
    }

    pub(super) fn threads(
        &self,
        channel: &ChannelId,
        messages: &RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Vec<Entry> {
        let Some(channel) = self.channels.get(channel) else { return Vec::new() };
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
    }

    pub(super) fn seek(&self, channel: &ChannelId, time: i64) -> Position {
        let Some(channel) = self.channels.get(channel) else { return Position(0) };
        let mut before = channel.floor;
        for stored in channel.entries.values() {
            if stored.entry.time >= time {
                break;
            }
            before = stored.entry.position;
        }
        before
    }

    pub(super) fn bounds(&self, channel: &ChannelId) -> (Position, Position) {
        let Some(channel) = self.channels.get(channel) else { return Default::default() };
        let last = channel.entries.last_key_value().map_or(channel.floor, |(last, _)| *last);
        (channel.floor, last)
    }

    pub(super) fn fact(&self, bucket: Bucket, key: &str) -> Option<Bytes> {
        let stated = self.facts.get(&(bucket, key.to_owned()))?;
        stated.is_current().then(|| stated.value.clone())
    }

    pub(super) fn facts(
        &self,
        bucket: Bucket,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<Fact> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded((bucket, after.to_owned())),
            Some(_) | None => Bound::Included((bucket, prefix.to_owned())),
        };
        self.facts
            .range((start, Bound::Unbounded))
            .take_while(|((own, key), _)| *own == bucket && key.starts_with(prefix))
            .filter(|(_, stated)| stated.is_current())
            .map(|((_, key), stated)| Fact { key: key.clone(), value: stated.value.clone() })
            .take(limit)
            .collect()
    }

    pub(super) fn set_fact(&mut self, bucket: Bucket, key: String, value: Option<Bytes>) {
        match value {
            Some(value) => self.facts.insert((bucket, key), Stated::new(bucket, value)),
            None => self.facts.remove(&(bucket, key)),
        };
    }

    pub(super) fn create_fact(&mut self, bucket: Bucket, key: &str, value: Bytes) -> bool {
        let key = (bucket, key.to_owned());
        if self.facts.get(&key).is_some_and(Stated::is_current) {
            return false;
        }
        self.facts.insert(key, Stated::new(bucket, value));
        true
    }

    /// Removes the facts of a bucket that have expired. Returns their keys, and when the next fact expires.
    pub(super) fn expire_facts(&mut self, bucket: Bucket) -> (Vec<String>, Option<Instant>) {
        let of_bucket = self.facts.range((bucket, String::new())..);
        let of_bucket = of_bucket.take_while(|((own, _), _)| *own == bucket);
        let mut next: Option<Instant> = None;
        let mut expired = Vec::new();
        for ((_, key), stated) in of_bucket {
            if !stated.is_current() {
                expired.push(key.clone());
            } else if let Some(expires) = stated.expires {
                next = Some(next.map_or(expires, |next| next.min(expires)));
            }
        }
        for key in &expired {
            self.facts.remove(&(bucket, key.clone()));
        }
        (expired, next)
    }

    /// The number of channels and of facts.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.channels.len(), self.facts.len())
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

impl Stated {
    fn new(bucket: Bucket, value: Bytes) -> Self {
        Self { value, expires: bucket.ttl().map(|ttl| Instant::now() + ttl) }
    }

    fn is_current(&self) -> bool {
        self.expires.is_none_or(|expires| expires > Instant::now())
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

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
