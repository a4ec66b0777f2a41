//! Reading entries and facts. These functions wait for the disk.

use std::ops::RangeInclusive;

use super::{
    keys::{
        ChannelKey, after_prefix, channel_key, entry_key, fact_key, last_position, read_entry,
        read_fact_key, read_fact_value, read_header, read_thread_key, thread_key,
    },
    store::Store,
};
use crate::engine::{Bucket, ChannelId, Direction, Entry, Fact, Position, Range, Thread};

/// A failed read, or data of the store that the engine has not written like that.
pub(super) enum ReadError {
    Store(fjall::Error),
    Unreadable(&'static str),
}

impl From<fjall::Error> for ReadError {
    fn from(error: fjall::Error) -> Self {
        Self::Store(error)
    }
}

type Result<T> = std::result::Result<T, ReadError>;

const ENTRY: ReadError = ReadError::Unreadable("an entry");

pub(super) fn page(store: &Store, channel: &ChannelId, range: Range) -> Result<Vec<Entry>> {
    let channel = channel_key(channel);
    let mut floor = store.floor(&channel)?;
    loop {
        let mut found = page_after(store, &channel, range, range.after.max(floor))?;
        // Entries may have expired meanwhile. Then the store may have dropped any of them, not only the oldest.
        let before = std::mem::replace(&mut floor, store.floor(&channel)?);
        found.retain(|entry| entry.position > floor);
        if !found.is_empty() || floor <= before {
            return Ok(found);
        }
    }
}

fn page_after(
    store: &Store,
    channel: &ChannelKey,
    range: Range,
    after: Position,
) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    if after >= range.until {
        return Ok(found);
    }
    let first = entry_key(channel, Position(after.0 + 1));
    let mut entries = store.entries.range(first..=entry_key(channel, range.until));
    let mut bytes = 0;
    while found.len() < range.limit {
        let next = match range.direction {
            Direction::Forwards => entries.next(),
            Direction::Backwards => entries.next_back(),
        };
        let Some(guard) = next else { break };
        let (key, value) = guard.into_inner()?;
        let header = read_header(&value).ok_or(ENTRY)?;
        if range.kind.is_some_and(|kind| kind != header.kind) {
            continue;
        }
        let position = last_position(&key).ok_or(ENTRY)?;
        let entry = read_entry(position, None, &value).ok_or(ENTRY)?;
        bytes += entry.payload.len();
        if bytes > range.max_bytes && !found.is_empty() {
            break;
        }
        found.push(entry);
    }
    Ok(found)
}

pub(super) fn threads(
    store: &Store,
    channel: &ChannelId,
    messages: &RangeInclusive<Thread>,
    after: Option<(Thread, Position)>,
    limit: usize,
) -> Result<Vec<Entry>> {
    let channel = channel_key(channel);
    let mut found = Vec::new();
    let first = thread_key(&channel, *messages.start(), Position(0));
    let last = thread_key(&channel, *messages.end(), Position(u64::MAX));
    if first > last {
        return Ok(found);
    }
    let after = after.map(|(thread, position)| thread_key(&channel, thread, position));
    let start = after.map_or(first, |after| after.max(first));
    if start > last {
        return Ok(found);
    }
    for guard in store.threads.range(start..=last) {
        if found.len() >= limit {
            break;
        }
        let key = guard.key()?;
        if after.is_some_and(|after| *key <= after[..]) {
            continue;
        }
        let (thread, position) = read_thread_key(&key).ok_or(ENTRY)?;
        // The entry may be gone while the store still has its key.
        if let Some(value) = store.entries.get(entry_key(&channel, position))? {
            found.push(read_entry(position, Some(thread), &value).ok_or(ENTRY)?);
        }
    }
    let floor = store.floor(&channel)?;
    found.retain(|entry| entry.position > floor);
    Ok(found)
}

pub(super) fn bounds(store: &Store, channel: &ChannelId) -> Result<(Position, Position)> {
    let channel = channel_key(channel);
    let last = newest(store, &channel)?;
    // In this order: the floor may rise, and is never above the newest entry that was found before.
    let floor = store.floor(&channel)?;
    Ok((floor, last.map_or(floor, |last| last.max(floor))))
}

fn newest(store: &Store, channel: &ChannelKey) -> Result<Option<Position>> {
    let all = entry_key(channel, Position(0))..=entry_key(channel, Position(u64::MAX));
    let newest = store.entries.range(all).next_back();
    let key = newest.map(|guard| guard.key()).transpose()?;
    key.map(|key| last_position(&key).ok_or(ENTRY)).transpose()
}

/// The position before the first entry at `time` or later. The times of entries grow with their positions, so this is a
/// binary search. It starts near the position that the time suggests.
pub(super) fn seek(store: &Store, channel: &ChannelId, time: i64) -> Result<Position> {
    let channel = channel_key(channel);
    let floor = store.floor(&channel)?;
    let Some(newest) = newest(store, &channel)?.filter(|newest| *newest > floor) else {
        return Ok(floor);
    };
    // The position of the first entry after a position, if it is before `time`.
    let earlier = |after: u64| -> Result<Option<u64>> {
        let first = entry_key(&channel, Position(after.saturating_add(1)));
        let last = entry_key(&channel, Position(u64::MAX));
        let Some(guard) = store.entries.range(first..=last).next() else { return Ok(None) };
        let (key, value) = guard.into_inner()?;
        let entry = read_header(&value).ok_or(ENTRY)?;
        let position = last_position(&key).ok_or(ENTRY)?;
        Ok((entry.time < time).then_some(position.0))
    };
    let Some(mut low) = earlier(floor.0)? else { return Ok(floor) };
    let mut high = newest.0;
    let guess = u64::try_from(time).unwrap_or(0).saturating_mul(1000);
    let mut step = 1_000_000;
    let mut probe = guess.clamp(low, high);
    // Below `low` all entries are earlier; after `high` none is.
    while low < high {
        match earlier(probe)? {
            Some(position) => {
                low = position;
                probe = probe.saturating_add(step);
            }
            None => {
                high = probe;
                probe = probe.saturating_sub(step);
            }
        }
        step *= 8;
        if probe <= low || probe >= high {
            break;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        match earlier(middle)? {
            Some(position) => low = position,
            None => high = middle,
        }
    }
    Ok(Position(low))
}

pub(super) fn fact(
    store: &Store,
    bucket: Bucket,
    key: &str,
    now: i64,
) -> Result<Option<bytes::Bytes>> {
    let Some(key) = fact_key(bucket, key) else { return Ok(None) };
    let Some(value) = store.state.get(key)? else { return Ok(None) };
    let (expires, value) = read_fact_value(&value).ok_or(ReadError::Unreadable("a fact"))?;
    Ok((expires > now).then(|| bytes::Bytes::copy_from_slice(value)))
}

pub(super) fn facts(
    store: &Store,
    bucket: Bucket,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
    now: i64,
) -> Result<Vec<Fact>> {
    let unreadable = || ReadError::Unreadable("a fact");
    let mut found = Vec::new();
    let Some(first) = fact_key(bucket, prefix) else { return Ok(found) };
    let end = after_prefix(&first);
    let after = after.and_then(|after| fact_key(bucket, after));
    let start = after.clone().map_or(first.clone(), |after| after.max(first));
    if start >= end {
        return Ok(found);
    }
    for guard in store.state.range(start..end) {
        if found.len() >= limit {
            break;
        }
        let (key, value) = guard.into_inner()?;
        if after.as_ref().is_some_and(|after| key[..] <= after[..]) {
            continue;
        }
        let (expires, value) = read_fact_value(&value).ok_or_else(unreadable)?;
        if expires > now {
            let key = read_fact_key(&key).ok_or_else(unreadable)?.to_owned();
            found.push(Fact { key, value: bytes::Bytes::copy_from_slice(value) });
        }
    }
    Ok(found)
}
