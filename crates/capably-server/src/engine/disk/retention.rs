//! Retention: which entries, ids and facts are expired, and how their space is reclaimed.
//!
//! An entry expires when it and all older entries of its channel are kept for long enough. The position of the last
//! expired entry is the floor of the channel. Readers skip what is not above the floor; the store drops it when it
//! rewrites its tables, through the filters below.
//!
//! With each entry the engine notes when its channel is due, so that a sweep only looks at channels that have something
//! to expire.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fjall::{
    Keyspace, LsmError,
    compaction::filter::{CompactionFilter, Context, Factory, ItemAccessor, Verdict},
};

use super::{
    keys::{
        ChannelKey, NEVER, Progress, due_key, entry_key, floor_key, is_fact, last_position,
        leading_channel, read_due_key, read_fact_value, read_header, read_position,
    },
    store::Store,
};
use crate::engine::Position;

/// How long an id is remembered, in ms. The files may hold it for longer.
const REMEMBERED: i64 = 150_000;

/// The most channels in one step of a sweep.
const CHANNELS: usize = 512;

/// The most entries in one step of a sweep.
const ENTRIES: usize = 20_000;

/// The least expired bytes for which tables are rewritten.
const WORTHWHILE: u64 = 64 * 1024 * 1024;

/// Keeps the state that the filters of the store need.
#[derive(Default)]
pub(super) struct Retention {
    /// Moves the clock, in tests.
    pub(super) offset: AtomicI64,
    /// The floors. `None` while the store is not open.
    state: Mutex<Option<Keyspace>>,
    /// Channels that are due up to this time are swept.
    pub(super) swept: AtomicI64,
    /// About how many bytes of expired entries are still in the files.
    pub(super) dead: AtomicU64,
    /// The start of the commit that is being made, or [`NEVER`]: its dues are later.
    pub(super) committing: AtomicI64,
    /// A sweep has gone up to this time, so dues have to be later even if the clock was set back.
    pub(super) horizon: AtomicI64,
    /// Whether background work has to end, because the store is to be closed.
    pub(super) halt: AtomicBool,
}

impl Retention {
    /// The time, in ms since the epoch.
    pub(super) fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = i64::try_from(since.as_millis()).unwrap_or(NEVER);
        now.saturating_add(self.offset.load(Ordering::Relaxed))
    }

    /// Starts to filter, for a store that was opened.
    pub(super) fn start(&self, store: &Store, progress: Progress) {
        self.swept.store(progress.swept, Ordering::Relaxed);
        self.dead.store(progress.dead, Ordering::Relaxed);
        self.committing.store(NEVER, Ordering::SeqCst);
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = Some(store.state.clone());
    }

    /// Ends all filtering, before the store is closed: the filters hold a part of the store.
    pub(super) fn stop(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Up to which time a sweep can go: no entry that is being committed makes a channel due before it.
    pub(super) fn advance(&self) -> i64 {
        let now = self.now();
        let until = now.min(self.committing.load(Ordering::SeqCst));
        self.horizon.fetch_max(until, Ordering::SeqCst);
        until
    }

    /// Whether an id that was committed at this position is remembered.
    pub(super) fn remembers(&self, position: Position) -> bool {
        self.now().saturating_sub(time_of(position)) <= REMEMBERED
    }

    /// The filter for a keyspace.
    pub(super) fn filter_of(self: &Arc<Self>, keyspace: &str) -> Option<Arc<dyn Factory>> {
        let subject = match keyspace {
            "entries" => Subject::Entries,
            "threads" => Subject::Threads,
            "ids" => Subject::Ids,
            "dues" => Subject::Dues,
            "state" => Subject::State,
            _ => return None,
        };
        Some(Arc::new(Filters { subject, retention: Arc::clone(self) }))
    }
}

/// The time of a position, in ms since the epoch.
fn time_of(position: Position) -> i64 {
    i64::try_from(position.0 / 1000).unwrap_or(NEVER)
}

/// When a channel is due because of an entry that expires at a time. Times are rounded up, so that many entries of a
/// channel share one due.
pub(super) fn due(expires: i64, keep: Duration) -> i64 {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(NEVER);
    let step = (keep / 8).clamp(5_000, 3_600_000);
    (expires / step).saturating_add(1).saturating_mul(step)
}

/// A step of a sweep, to be committed.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// The new floors.
    pub(super) floors: Vec<(ChannelKey, Position)>,
    /// Channels that are due up to this time are swept, in ms since the epoch.
    pub(super) until: i64,
    /// The size of the entries that have expired, in bytes.
    pub(super) dead: u64,
}

/// Where the next step of a sweep begins: after this due of this channel.
pub(super) type Cursor = (i64, ChannelKey);

/// The cursor after everything that is due up to a time.
pub(super) fn cursor_after(time: i64) -> Cursor {
    (time, [u8::MAX; 16])
}

/// Looks at some of the channels that are due up to a time. `None` if there are no more.
pub(super) fn sweep(
    store: &Store,
    cursor: &mut Cursor,
    until: i64,
    now: i64,
) -> fjall::Result<Option<Swept>> {
    let from = due_key(cursor.0, &cursor.1);
    let to = due_key(until, &[u8::MAX; 16]);
    if from >= to {
        return Ok(None);
    }
    let mut swept = Swept { until: cursor.0, ..Swept::default() };
    let mut seen = HashSet::new();
    let mut budget = ENTRIES;
    let mut is_complete = true;
    for guard in store.dues.range(from..=to) {
        let key = guard.key()?;
        let Some(next) = read_due_key(&key).filter(|next| *next > *cursor) else { continue };
        if seen.len() >= CHANNELS {
            is_complete = false;
            break;
        }
        if seen.insert(next.1) {
            let (floor, dead) = expire(store, &next.1, now, &mut budget)?;
            swept.floors.extend(floor.map(|floor| (next.1, floor)));
            swept.dead += dead;
            if budget == 0 {
                // The next step continues with this channel.
                is_complete = false;
                break;
            }
        }
        *cursor = next;
    }
    if is_complete {
        *cursor = cursor_after(until);
        swept.until = until;
    } else {
        swept.until = swept.until.max(cursor.0 - 1);
    }
    Ok((!seen.is_empty()).then_some(swept))
}

/// The new floor of a channel, if any, and the size of the entries up to it that have expired.
fn expire(
    store: &Store,
    channel: &ChannelKey,
    now: i64,
    budget: &mut usize,
) -> fjall::Result<(Option<Position>, u64)> {
    let (mut floor, mut dead) = (None, 0);
    let from = entry_key(channel, Position(store.floor(channel)?.0.saturating_add(1)));
    for guard in store.entries.range(from..=entry_key(channel, Position(u64::MAX))) {
        let (key, value) = guard.into_inner()?;
        if read_header(&value).is_none_or(|header| header.expires > now) || *budget == 0 {
            break;
        }
        *budget -= 1;
        dead += (key.len() + value.len()) as u64;
        floor = last_position(&key);
    }
    Ok((floor, dead))
}

/// Rewrites the tables of entries if most of their content has expired.
pub(super) fn reclaim(store: &Store, retention: &Retention) -> fjall::Result<()> {
    let dead = retention.dead.load(Ordering::Relaxed);
    if dead < WORTHWHILE || dead < store.entries.disk_space() / 2 {
        return Ok(());
    }
    store.entries.major_compact()?;
    store.threads.major_compact()?;
    retention.dead.store(0, Ordering::Relaxed);
    Ok(())
}

#[derive(Clone, Copy)]
enum Subject {
    Entries,
    Threads,
    Ids,
    Dues,
    State,
}

struct Filters {
    subject: Subject,
    retention: Arc<Retention>,
}

impl Factory for Filters {
    fn name(&self) -> &str {
        "capably"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let retention = Arc::clone(&self.retention);
        let state = retention.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = retention.now();
        Box::new(Filter { subject: self.subject, retention, state, now, floor: None })
    }
}

struct Filter {
    subject: Subject,
    retention: Arc<Retention>,
    state: Option<Keyspace>,
    now: i64,
    /// The channel of the item before, and its floor.
    floor: Option<(ChannelKey, Position)>,
}

impl Filter {
    /// Whether a key of an entry or a thread is not above the floor of its channel.
    fn is_below_floor(&mut self, key: &[u8]) -> fjall::Result<bool> {
        let (Some(channel), Some(position)) = (leading_channel(key), last_position(key)) else {
            return Ok(false);
        };
        let floor = match (self.floor, &self.state) {
            (Some((same, floor)), _) if same == channel => floor,
            (_, None) => return Ok(false),
            (_, Some(state)) => {
                let value = state.get(floor_key(&channel))?;
                let floor = value.and_then(|value| read_position(&value)).unwrap_or_default();
                self.floor = Some((channel, floor));
                floor
            }
        };
        Ok(position <= floor)
    }
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> Result<Verdict, LsmError> {
        // An error ends the compaction, which can otherwise take minutes.
        if self.retention.halt.load(Ordering::Relaxed) {
            return Err(LsmError::Io(io::Error::other("the store is to be closed")));
        }
        let key = item.key();
        let is_expired = match self.subject {
            Subject::Entries | Subject::Threads => {
                self.is_below_floor(key).map_err(|error| LsmError::Io(io::Error::other(error)))?
            }
            Subject::Ids => read_position(&item.value()?)
                .is_some_and(|at| self.now.saturating_sub(time_of(at)) > REMEMBERED + 30_000),
            Subject::Dues => read_due_key(key)
                .is_some_and(|(due, _)| due <= self.retention.swept.load(Ordering::Relaxed)),
            Subject::State if is_fact(key) => {
                let is_expired =
                    read_fact_value(&item.value()?).is_some_and(|(expires, _)| expires <= self.now);
                // A fact may have been set before, so a tombstone has to hide its older values.
                return Ok(if is_expired { Verdict::Remove } else { Verdict::Keep });
            }
            Subject::State => false,
        };
        if !is_expired {
            return Ok(Verdict::Keep);
        }
        if matches!(self.subject, Subject::Entries) {
            let size = (key.len() + item.value()?.len()) as u64;
            let less = |dead: u64| Some(dead.saturating_sub(size));
            let _ = self.retention.dead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        // No older value can appear: a key is written once, or its older values have expired as well.
        Ok(Verdict::Destroy)
    }
}
