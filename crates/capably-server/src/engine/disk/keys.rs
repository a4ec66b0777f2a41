//! How entries and facts are written as keys and values of the store.
//!
//! | keyspace | key | value |
//! |---|---|---|
//! | `entries` | channel, position | kind, time, end of keeping, payload |
//! | `threads` | channel, thread, position | |
//! | `ids` | channel and id | position |
//! | `dues` | time, channel | |
//! | `state` | `f`, bucket, key of a fact | end of its life, value |
//! | `state` | `c`, channel | position of the last expired entry |
//! | `state` | `p` | progress |
//!
//! Numbers are big-endian, so that keys are in the order of their numbers.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::engine::{Bucket, ChannelId, Entry, Kind, Position, Thread};

/// A channel in keys: the first half of the SHA-256 of its name. So a key has the same length whatever the name, and
/// the engine needs no table of the channels.
pub(super) type ChannelKey = [u8; 16];

/// The time that never comes, in ms since the epoch.
pub(super) const NEVER: i64 = i64::MAX;

/// The length of the part of an entry's value before the payload.
const HEADER: usize = 17;

const FACT: u8 = b'f';
const FLOOR: u8 = b'c';

/// The key of the [`Progress`] in `state`.
pub(super) const PROGRESS: &[u8] = b"p";

/// The longest key that the store accepts, in bytes.
const LONGEST_KEY: usize = u16::MAX as usize;

pub(super) fn channel_key(channel: &ChannelId) -> ChannelKey {
    // 0xff is not in UTF-8, so two channels never give the same bytes.
    half_hash(&[channel.app.as_bytes(), &[0xff], channel.name.as_bytes()])
}

pub(super) fn id_key(channel: &ChannelKey, id: &str) -> [u8; 16] {
    half_hash(&[channel, id.as_bytes()])
}

fn half_hash(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hash.finalize()[..16]);
    half
}

pub(super) fn entry_key(channel: &ChannelKey, position: Position) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(channel);
    key[16..].copy_from_slice(&position.0.to_be_bytes());
    key
}

pub(super) fn thread_key(channel: &ChannelKey, thread: Thread, position: Position) -> [u8; 34] {
    let mut key = [0; 34];
    key[..16].copy_from_slice(channel);
    key[16..24].copy_from_slice(&thread.position.0.to_be_bytes());
    key[24..26].copy_from_slice(&thread.index.to_be_bytes());
    key[26..].copy_from_slice(&position.0.to_be_bytes());
    key
}

/// The thread and the position in a key of `threads`.
pub(super) fn read_thread_key(key: &[u8]) -> Option<(Thread, Position)> {
    let position = Position(number(key.get(16..24)?)?);
    let index = u16::from_be_bytes(key.get(24..26)?.try_into().ok()?);
    Some((Thread { position, index }, last_position(key)?))
}

/// The channel at the start of a key of `entries` or `threads`.
pub(super) fn leading_channel(key: &[u8]) -> Option<ChannelKey> {
    key.get(..16)?.try_into().ok()
}

/// The position at the end of a key of `entries` or `threads`.
pub(super) fn last_position(key: &[u8]) -> Option<Position> {
    Some(Position(number(key.get(key.len().checked_sub(8)?..)?)?))
}

pub(super) fn due_key(due: i64, channel: &ChannelKey) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&due.to_be_bytes());
    key[8..].copy_from_slice(channel);
    key
}

/// The time and the channel in a key of `dues`.
pub(super) fn read_due_key(key: &[u8]) -> Option<(i64, ChannelKey)> {
    let due = i64::from_be_bytes(key.get(..8)?.try_into().ok()?);
    Some((due, key.get(8..24)?.try_into().ok()?))
}

pub(super) fn floor_key(channel: &ChannelKey) -> [u8; 17] {
    let mut key = [FLOOR; 17];
    key[1..].copy_from_slice(channel);
    key
}

/// The key of a fact, if the store accepts a key of that length.
pub(super) fn fact_key(bucket: Bucket, key: &str) -> Option<Vec<u8>> {
    let full = [&[FACT, bucket as u8], key.as_bytes()].concat();
    (full.len() <= LONGEST_KEY).then_some(full)
}

/// The key that follows all keys of facts that begin with a prefix.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    // A prefix begins with `FACT`, so there is a byte that can be increased.
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// Whether a key of `state` is that of a fact.
pub(super) fn is_fact(key: &[u8]) -> bool {
    key.first() == Some(&FACT)
}

/// The key of a fact as the caller knows it.
pub(super) fn read_fact_key(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(2..)?).ok()
}

pub(super) fn fact_value(expires: i64, value: &[u8]) -> Vec<u8> {
    [&expires.to_be_bytes(), value].concat()
}

/// The end of the life of a fact, in ms since the epoch, and its value.
pub(super) fn read_fact_value(value: &[u8]) -> Option<(i64, &[u8])> {
    let (expires, value) = value.split_first_chunk()?;
    Some((i64::from_be_bytes(*expires), value))
}

pub(super) fn entry_value(kind: Kind, time: i64, expires: i64, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + payload.len());
    value.push(kind as u8);
    value.extend(time.to_be_bytes());
    value.extend(expires.to_be_bytes());
    value.extend(payload);
    value
}

/// The fields of an entry's value that are needed to choose entries.
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) time: i64,
    /// The end of keeping, in ms since the epoch.
    pub(super) expires: i64,
}

pub(super) fn read_header(value: &[u8]) -> Option<Header> {
    let (kind, rest) = value.split_first()?;
    let (time, rest) = rest.split_first_chunk()?;
    let (expires, _) = rest.split_first_chunk()?;
    let kind = match kind {
        0 => Kind::Messages,
        1 => Kind::Change,
        2 => Kind::Annotations,
        3 => Kind::Presence,
        4 => Kind::Objects,
        _ => return None,
    };
    let (time, expires) = (i64::from_be_bytes(*time), i64::from_be_bytes(*expires));
    Some(Header { kind, time, expires })
}

pub(super) fn read_entry(
    position: Position,
    thread: Option<Thread>,
    value: &[u8],
) -> Option<Entry> {
    let Header { kind, time, .. } = read_header(value)?;
    let payload = Bytes::copy_from_slice(value.get(HEADER..)?);
    Some(Entry { position, kind, thread, time, payload })
}

pub(super) fn read_position(value: &[u8]) -> Option<Position> {
    number(value).map(Position)
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// How far the engine has come. Each commit writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The number of commits.
    pub(super) commits: u64,
    /// The last position.
    pub(super) last: u64,
    /// Channels that are due up to this time are swept, in ms since the epoch.
    pub(super) swept: i64,
    /// About how many bytes of expired entries are still in the files.
    pub(super) dead: u64,
}

impl Progress {
    pub(super) fn write(self) -> [u8; 32] {
        let mut value = [0; 32];
        value[..8].copy_from_slice(&self.commits.to_be_bytes());
        value[8..16].copy_from_slice(&self.last.to_be_bytes());
        value[16..24].copy_from_slice(&self.swept.to_be_bytes());
        value[24..].copy_from_slice(&self.dead.to_be_bytes());
        value
    }

    pub(super) fn read(value: &[u8]) -> Option<Self> {
        Some(Self {
            commits: number(value.get(..8)?)?,
            last: number(value.get(8..16)?)?,
            swept: i64::from_be_bytes(value.get(16..24)?.try_into().ok()?),
            dead: number(value.get(24..32)?)?,
        })
    }
}
