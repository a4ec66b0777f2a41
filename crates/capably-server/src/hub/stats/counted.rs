//! Counts by interval. The older ones are added up to longer intervals.

use std::{collections::BTreeMap, ops::Bound};

use capably_protocol::{Millis, StatsInterval, StatsUnit};

use super::tally::Tally;

/// The most intervals of each unit: minutes of a week, hours of two months, days of two years, months of ten years.
/// Older intervals are added to one of the next longer unit. Older months are dropped.
const MAX_INTERVALS: [usize; UNITS.len()] = [7 * 24 * 60, 62 * 24, 731, 120];

static UNITS: [StatsUnit; 4] =
    [StatsUnit::Minute, StatsUnit::Hour, StatsUnit::Day, StatsUnit::Month];

/// The counts of each of [`UNITS`], by the start of the interval. Each event is counted in one unit only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted([BTreeMap<Millis, Tally>; UNITS.len()]);

/// An interval of one of the units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    /// The index of its unit.
    unit: usize,
    start: Millis,
}

impl Slot {
    pub(super) fn minute(start: Millis) -> Self {
        Self { unit: 0, start }
    }

    /// The slot with this id of an interval.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let interval = StatsInterval::parse(id)?;
        let unit = UNITS.iter().position(|unit| *unit == interval.unit())?;
        Some(Self { unit, start: interval.start() })
    }

    /// The id of the interval.
    pub(super) fn id(self) -> Option<String> {
        let interval = StatsInterval::at(self.start, UNITS.get(self.unit)?)?;
        Some(interval.to_string())
    }
}

impl Counted {
    /// The last minute, which is in progress.
    pub(super) fn last_minute(&self) -> Option<(Millis, &Tally)> {
        self.0[0].last_key_value().map(|(start, tally)| (*start, tally))
    }

    pub(super) fn has(&self, slot: Slot) -> bool {
        self.0[slot.unit].contains_key(&slot.start)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Tally> {
        self.0[slot.unit].get(&slot.start)
    }

    pub(super) fn entry(&mut self, slot: Slot) -> &mut Tally {
        self.0[slot.unit].entry(slot.start).or_default()
    }

    /// Adds the oldest intervals to longer ones, and calls `changed` for each that changes.
    pub(super) fn roll_up(&mut self, mut changed: impl FnMut(Slot)) {
        for (unit, max) in MAX_INTERVALS.into_iter().enumerate() {
            while self.0[unit].len() > max {
                let Some((start, tally)) = self.0[unit].pop_first() else { break };
                changed(Slot { unit, start });
                let longer = unit + 1;
                if tally.is_empty() || longer == UNITS.len() {
                    continue;
                }
                let start =
                    StatsInterval::at(start, &UNITS[longer]).map_or(0, StatsInterval::start);
                let slot = Slot { unit: longer, start };
                let sum = self.entry(slot);
                *sum = sum.and(tally);
                changed(slot);
            }
        }
    }

    /// The counts of intervals of this unit and of shorter ones that start in the range.
    pub(super) fn range(
        &self,
        unit: &StatsUnit,
        range: (Bound<Millis>, Bound<Millis>),
    ) -> impl Iterator<Item = (Millis, &Tally)> {
        let longest = UNITS.iter().position(|known| known == unit).unwrap_or_default();
        let counted = self.0[..=longest].iter().flat_map(move |counted| counted.range(range));
        counted.map(|(start, tally)| (*start, tally)).filter(|(_, tally)| !tally.is_empty())
    }

    /// Adds what another node has counted.
    pub(super) fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            for (start, tally) in other {
                own.entry(*start).and_modify(|own| *own = own.beside(*tally)).or_insert(*tally);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeMap::is_empty)
    }

    #[cfg(test)]
    pub(crate) fn lengths(&self) -> [usize; UNITS.len()] {
        self.0.each_ref().map(BTreeMap::len)
    }
}
