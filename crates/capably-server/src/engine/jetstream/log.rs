//! The stream of entries, and reading it.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

use super::{
    super::{ChannelId, Direction, EngineError, Entry, Position, Range, Thread},
    api::{Api, Get, Stored},
    names::{ChannelKey, Filter, Names},
    record::{self, Decoded},
    scan::Scan,
};

/// The width in sequences of the first window of a page read backwards.
const FIRST_WINDOW: u64 = 256;
/// How much wider each further window is.
const WIDER: u64 = 8;

/// The stream of entries.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) api: Api,
    pub(super) names: Names,
    pub(super) stream: String,
    /// The position before the first message of the stream: the time of its creation in ms since the epoch, times 1000.
    /// So a stream that replaces another continues above its positions.
    pub(super) base: u64,
}

impl Log {
    pub(super) fn position(&self, sequence: u64) -> Position {
        Position(self.base.saturating_add(sequence))
    }

    /// The sequence of a position; 0 for a position before this stream.
    pub(super) fn sequence(&self, position: Position) -> u64 {
        position.0.saturating_sub(self.base)
    }

    /// Reads an entry from a message of the stream. `None` if the message is not an entry.
    pub(super) fn decode(&self, stored: &Stored) -> Result<Option<Decoded>, EngineError> {
        let Some((_, kind)) = self.names.split(&stored.subject) else { return Ok(None) };
        record::decode(self.position(stored.sequence), kind, &stored.payload).map(Some)
    }

    /// A scan of a channel's entries in these sequences, both included.
    fn scan(&self, channel: &ChannelKey, filter: Filter, from: u64, until: u64) -> Scan<'_> {
        let subjects = self.names.entries(channel, filter);
        Scan::new(&self.api, &self.stream, subjects, from, until)
    }

    /// The sequence of the newest message in the stream.
    pub(super) async fn last(&self) -> Result<u64, EngineError> {
        Ok(self.api.newest(&self.stream).await?)
    }

    pub(super) async fn read(
        &self,
        channel: &ChannelId,
        range: Range,
    ) -> Result<Vec<Entry>, EngineError> {
        let channel = ChannelKey::new(channel);
        let filter = range.kind.map_or(Filter::All, Filter::Kind);
        let after = self.sequence(range.after);
        let until = self.sequence(range.until);
        if range.limit == 0 || range.after >= range.until {
            return Ok(Vec::new());
        }
        match range.direction {
            Direction::Forwards => {
                let mut page = Page::new(&range);
                let mut scan =
                    self.scan(&channel, filter, after.saturating_add(1), until).wanted(range.limit);
                while !page.is_full()
                    && let Some(stored) = scan.next().await?
                {
                    if let Some(decoded) = self.decode(&stored)?
                        && !page.push(decoded.entry)
                    {
                        break;
                    }
                }
                Ok(page.entries)
            }
            Direction::Backwards => {
                self.read_backwards(&channel, filter, after, until, &range).await
            }
        }
    }

    /// Reads a page backwards. A stream can only be read forwards, so windows that grow are read from the end until the
    /// page is full.
    async fn read_backwards(
        &self,
        channel: &ChannelKey,
        filter: Filter,
        after: u64,
        until: u64,
        range: &Range,
    ) -> Result<Vec<Entry>, EngineError> {
        let mut page = Page::new(range);
        let subjects = self.names.entries(channel, filter);
        let Some(last) = self.api.get(&self.stream, Get::Last(&subjects)).await? else {
            return Ok(page.entries);
        };
        let mut end = last.sequence.min(until);
        // The oldest window begins where the channel does, not at the start of a long stream.
        let Some(first) =
            self.api.get(&self.stream, Get::Next(&subjects, after.saturating_add(1))).await?
        else {
            return Ok(page.entries);
        };
        let limit = u64::try_from(range.limit).unwrap_or(u64::MAX);
        let mut width = FIRST_WINDOW.max(limit.saturating_mul(2));
        while !page.is_full() && end >= first.sequence {
            let start = end.saturating_sub(width - 1).max(first.sequence);
            let mut scan = Scan::new(&self.api, &self.stream, subjects.clone(), start, end);
            let mut newest = VecDeque::new();
            while let Some(stored) = scan.next().await? {
                let Some(decoded) = self.decode(&stored)? else { continue };
                if newest.len() == range.limit - page.entries.len() {
                    newest.pop_front();
                }
                newest.push_back(decoded.entry);
            }
            if !newest.into_iter().rev().all(|entry| page.push(entry)) {
                break;
            }
            end = start.saturating_sub(1);
            width = width.saturating_mul(WIDER);
        }
        Ok(page.entries)
    }

    pub(super) async fn threads(
        &self,
        channel: &ChannelId,
        messages: RangeInclusive<Thread>,
        after: Option<(Thread, Position)>,
        limit: usize,
    ) -> Result<Vec<Entry>, EngineError> {
        let channel = ChannelKey::new(channel);
        let subjects = self.names.entries(&channel, Filter::Threads);
        if limit == 0 || messages.is_empty() {
            return Ok(Vec::new());
        }
        let Some(last) = self.api.get(&self.stream, Get::Last(&subjects)).await? else {
            return Ok(Vec::new());
        };
        // An entry comes after the message that it belongs to.
        let from = self.sequence(messages.start().position).saturating_add(1);
        let mut scan = Scan::new(&self.api, &self.stream, subjects, from, last.sequence);
        let mut found = BTreeMap::new();
        while let Some(stored) = scan.next().await? {
            let Some(Decoded { entry, threads }) = self.decode(&stored)? else { continue };
            for thread in threads {
                let place = (thread, entry.position);
                if messages.contains(&thread) && after.is_none_or(|after| place > after) {
                    found.insert(place, Entry { thread: Some(thread), ..entry.clone() });
                    if found.len() > limit {
                        found.pop_last();
                    }
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// The time of the first entry from a sequence on, and its sequence.
    async fn time_from(
        &self,
        subjects: &str,
        from: u64,
    ) -> Result<Option<(u64, i64)>, EngineError> {
        let stored = self.api.get(&self.stream, Get::Next(subjects, from)).await?;
        self.time_of(stored)
    }

    fn time_of(&self, stored: Option<Stored>) -> Result<Option<(u64, i64)>, EngineError> {
        let Some(stored) = stored else { return Ok(None) };
        let decoded = self.decode(&stored)?;
        Ok(decoded.map(|decoded| (stored.sequence, decoded.entry.time)))
    }

    pub(super) async fn seek(
        &self,
        channel: &ChannelId,
        time: i64,
    ) -> Result<Position, EngineError> {
        let subjects = self.names.entries(&ChannelKey::new(channel), Filter::All);
        let mut found = self.time_from(&subjects, 1).await?;
        let mut end = 0;
        if found.is_none() {
            // The end is read before the second look: an entry that is committed meanwhile is after it, or is found.
            end = self.last().await?;
            found = self.time_from(&subjects, 1).await?;
        }
        let Some((first, first_time)) = found else { return Ok(self.position(end)) };
        if first_time >= time {
            return Ok(self.position(first - 1));
        }
        let last = self.api.get(&self.stream, Get::Last(&subjects)).await?;
        let Some((mut upper, last_time)) = self.time_of(last)? else {
            return Ok(self.position(first));
        };
        if last_time < time {
            return Ok(self.position(upper));
        }
        // The entry at `lower` is before the time; all entries from `upper` on are not.
        let mut lower = first;
        while lower + 1 < upper {
            let middle = lower + (upper - lower) / 2;
            match self.time_from(&subjects, middle).await? {
                Some((sequence, found)) if found < time => lower = sequence,
                Some(_) | None => upper = middle,
            }
        }
        Ok(self.position(lower))
    }

    pub(super) async fn bounds(
        &self,
        channel: &ChannelId,
    ) -> Result<(Position, Position), EngineError> {
        let subjects = self.names.entries(&ChannelKey::new(channel), Filter::All);
        let get = |get| self.api.get(&self.stream, get);
        // The end of the stream is read first: entries that are committed meanwhile are after it.
        let end = self.last().await?;
        let (first, last) = tokio::join!(get(Get::Next(&subjects, 1)), get(Get::Last(&subjects)));
        Ok(match (first?, last?) {
            (Some(first), Some(last)) => {
                (self.position(first.sequence - 1), self.position(last.sequence))
            }
            (None, _) | (_, None) => (self.position(end), self.position(end)),
        })
    }
}

/// A page that is being filled.
struct Page {
    entries: Vec<Entry>,
    limit: usize,
    bytes: usize,
    max_bytes: usize,
}

impl Page {
    fn new(range: &Range) -> Self {
        Self { entries: Vec::new(), limit: range.limit, bytes: 0, max_bytes: range.max_bytes }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit
            || (self.bytes > self.max_bytes && !self.entries.is_empty())
    }

    /// Adds an entry, unless the page has no room for it. The first entry always fits.
    fn push(&mut self, entry: Entry) -> bool {
        self.bytes = self.bytes.saturating_add(entry.payload.len());
        let fits = self.entries.len() < self.limit
            && (self.bytes <= self.max_bytes || self.entries.is_empty());
        if fits {
            self.entries.push(entry);
        }
        fits
    }
}
