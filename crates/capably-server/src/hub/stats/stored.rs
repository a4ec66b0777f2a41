//! Statistics as they are stored: a fact for each interval and node.
//!
//! A node stores what it has counted itself, so that nodes do not wait for each other. Their counts are added when
//! statistics are read.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use capably_protocol::{Millis, StatsInterval, StatsUnit};
use serde::{Deserialize, Serialize};

use super::{
    Entries, Stats, StatsQuery,
    counted::{Counted, Slot},
    tally::Tally,
};

/// The intervals that have changed since they were stored.
#[derive(Debug, Default)]
pub(super) struct Unstored {
    slots: BTreeSet<Slot>,
    /// A minute in `slots`: so that each event costs no more than a comparison.
    minute: Option<Millis>,
}

impl Unstored {
    pub(super) fn note(&mut self, slot: Slot) {
        self.slots.insert(slot);
    }

    pub(super) fn note_minute(&mut self, minute: Millis) {
        if self.minute != Some(minute) {
            self.minute = Some(minute);
            self.note(Slot::minute(minute));
        }
    }
}

/// Statistics that are stored, and not those of this node.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    /// What other nodes have counted.
    pub(super) counted: Counted,
    /// What clients have posted, to any node.
    pub(super) given: BTreeMap<Millis, Entries>,
}

impl Elsewhere {
    /// Adds what another node has stored for the interval with this id.
    ///
    /// # Errors
    /// The reason why it is not readable.
    pub(crate) fn add(&mut self, interval: &str, value: &[u8]) -> Result<(), String> {
        let (slot, tally) = read(interval, value)?;
        let sum = self.counted.entry(slot);
        *sum = sum.beside(tally);
        Ok(())
    }

    /// Adds what clients have posted for the interval with this id.
    ///
    /// # Errors
    /// The reason why it is not readable.
    pub(crate) fn add_posted(&mut self, interval: &str, value: &[u8]) -> Result<(), String> {
        let (start, entries) = read_posted(interval, value)?;
        self.given.insert(start, entries);
        Ok(())
    }
}

impl Stats {
    /// Statistics that an engine stores.
    pub(crate) fn stored() -> Self {
        Self { unstored: Some(Unstored::default()), ..Self::default() }
    }

    /// The counts that have changed since they were taken before, by the ids of their intervals. An interval without a
    /// value is in a longer one, or too old to be kept.
    pub(crate) fn take_unstored(&mut self) -> Vec<(String, Option<Bytes>)> {
        let Some(unstored) = &mut self.unstored else { return Vec::new() };
        let slots = std::mem::take(unstored).slots;
        let facts = slots.into_iter().filter_map(|slot| {
            let value = match self.counted.get(slot) {
                // Only connections and channels that were open before.
                Some(tally) if tally.is_empty() => return None,
                Some(tally) => Some(json(tally)),
                None => None,
            };
            Some((slot.id()?, value))
        });
        facts.collect()
    }

    /// The counts of these intervals were not stored: they are to be taken again.
    pub(crate) fn put_back<'a>(&mut self, intervals: impl Iterator<Item = &'a str>) {
        let Some(unstored) = &mut self.unstored else { return };
        intervals.filter_map(Slot::parse).for_each(|slot| unstored.note(slot));
    }

    /// Adds what this node has stored before it was started.
    ///
    /// # Errors
    /// The reason why it is not readable.
    pub(crate) fn restore(&mut self, interval: &str, value: &[u8]) -> Result<(), String> {
        let (slot, before) = read(interval, value)?;
        let tally = self.counted.entry(slot);
        *tally = before.and(*tally);
        Ok(())
    }

    /// Adds what clients have posted before the node was started.
    ///
    /// # Errors
    /// The reason why it is not readable.
    pub(crate) fn restore_posted(&mut self, interval: &str, value: &[u8]) -> Result<(), String> {
        let (start, entries) = read_posted(interval, value)?;
        self.given.insert(start, entries);
        Ok(())
    }
}

/// Posted metrics as they are stored: the id of the minute at which their interval starts, and the value.
pub(super) fn posted(start: Millis, entries: &Entries) -> Option<(String, Option<Bytes>)> {
    Some((Slot::minute(start).id()?, Some(json(entries))))
}

/// The texts between which the ids of all intervals are that a query needs: after the first, and up to the second.
///
/// The ids sort as texts, and that of a month is before those of its days.
pub(crate) fn bounds(query: &StatsQuery) -> (Option<String>, Option<String>) {
    let id = |time: Millis, unit: &StatsUnit| Some(StatsInterval::at(time, unit)?.to_string());
    let month = query.page.start.and_then(|start| id(start.max(0), &StatsUnit::Month));
    // The last interval is read to its end.
    let last = query.page.end.and_then(|end| StatsInterval::at(end, &query.unit));
    (month, last.and_then(|last| id(last.end() - 1, &StatsUnit::Minute)))
}

fn read(interval: &str, value: &[u8]) -> Result<(Slot, Tally), String> {
    let slot = Slot::parse(interval).ok_or("it has no interval")?;
    Ok((slot, from_json(value)?))
}

fn read_posted(interval: &str, value: &[u8]) -> Result<(Millis, Entries), String> {
    let interval = StatsInterval::parse(interval).ok_or("it has no interval")?;
    Ok((interval.start(), from_json(value)?))
}

fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

fn from_json<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|problem| problem.to_string())
}
