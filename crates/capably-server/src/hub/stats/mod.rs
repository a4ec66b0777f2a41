//! Statistics of an app, by minute, hour, day and month (RSC6, TS).

pub(super) mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use capably_protocol::{ErrorInfo, Millis, StatsInterval, StatsUnit, Str};

use super::{
    Now, Page, PageQuery,
    access::{capability::Operation, identity::Identity},
    error,
    stats::tally::Tally,
};

/// Metrics by name, such as `messages.inbound.realtime.messages.count`.
type Entries = BTreeMap<String, f64>;

/// The statistics of an interval, as they are returned.
pub(crate) type Interval = capably_protocol::Stats;

/// Selects statistics (RSC6b).
#[derive(Clone, Debug)]
pub(crate) struct StatsQuery {
    pub(crate) page: PageQuery,
    pub(crate) unit: StatsUnit,
}

/// The schema that describes the metrics (TS12s).
const SCHEMA: &str = "https://schemas.ably.com/json/app-stats-0.0.5.json";

/// The most intervals of each unit: minutes of a week, hours of two months, days of two years, months of ten years.
/// Older intervals are added to one of the next longer unit. Older months are dropped.
const MAX_INTERVALS: [usize; 4] = [7 * 24 * 60, 62 * 24, 731, 120];

static UNITS: [StatsUnit; 4] =
    [StatsUnit::Minute, StatsUnit::Hour, StatsUnit::Day, StatsUnit::Month];

/// The most minutes that a client can post.
const MAX_GIVEN: usize = 7 * 24 * 60;

/// The statistics of an app.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// The counts of each of [`UNITS`], by the start of the interval. Each event is counted in one unit only. The last
    /// minute is in progress.
    pub(crate) counted: [BTreeMap<Millis, Tally>; MAX_INTERVALS.len()],
    /// The metrics that clients posted, with totals.
    given: BTreeMap<Millis, Entries>,
}

impl Stats {
    /// The minute in progress.
    pub(crate) fn current(&mut self, now: Now) -> &mut Tally {
        let minute =
            StatsInterval::at(now.wall, &StatsUnit::Minute).map_or(0, StatsInterval::start);
        let minutes = &mut self.counted[0];
        if !minutes.contains_key(&minute) {
            let last = minutes.last_entry().map(|last| last.get().next_minute());
            minutes.insert(minute, last.unwrap_or_default());
            self.roll_up();
        }
        self.counted[0].entry(minute).or_default()
    }

    /// Adds the oldest intervals to longer ones.
    fn roll_up(&mut self) {
        for (shorter, max) in MAX_INTERVALS.into_iter().enumerate() {
            while self.counted[shorter].len() > max {
                let Some((start, tally)) = self.counted[shorter].pop_first() else { break };
                let longer = shorter + 1;
                if tally.is_empty() || longer == UNITS.len() {
                    continue;
                }
                let start =
                    StatsInterval::at(start, &UNITS[longer]).map_or(0, StatsInterval::start);
                let sum = self.counted[longer].entry(start).or_default();
                *sum = sum.and(tally);
            }
        }
    }

    /// The counts of intervals of this unit and of shorter ones.
    fn counted(&self, unit: &StatsUnit) -> impl Iterator<Item = &BTreeMap<Millis, Tally>> {
        let longest = UNITS.iter().position(|known| known == unit).unwrap_or_default();
        self.counted[..=longest].iter()
    }

    /// The intervals of this unit that start between the times and have metrics.
    fn intervals(
        &self,
        unit: &StatsUnit,
        start: Option<Millis>,
        end: Option<Millis>,
    ) -> BTreeSet<StatsInterval> {
        let first = match start.map(|start| StatsInterval::at(start.max(0), unit)) {
            None => Bound::Unbounded,
            Some(Some(first)) => Bound::Included(first.start()),
            // The time is too far in the future for an interval.
            Some(None) => return BTreeSet::new(),
        };
        let range = (first, Bound::Unbounded);
        let counted = self.counted(unit).flat_map(|counted| counted.range(range));
        let minutes = counted.filter(|(_, tally)| !tally.is_empty()).map(|(start, _)| start);
        let minutes = minutes.chain(self.given.range(range).map(|(minute, _)| minute));
        minutes
            .filter_map(|minute| StatsInterval::at(*minute, unit))
            .filter(|interval| end.is_none_or(|end| interval.start() <= end))
            .collect()
    }

    /// The metrics of an interval.
    fn entries(&self, interval: StatsInterval) -> Entries {
        let minutes = interval.start()..interval.end();
        let unit = interval.unit();
        let counted = self.counted(&unit).flat_map(|counted| counted.range(minutes.clone()));
        let counted = counted.map(|(_, tally)| tally);
        let counted = counted.filter(|tally| !tally.is_empty());
        let mut sums = Sums::default();
        if let Some(tally) = counted.copied().reduce(Tally::and) {
            sums.add(&with_totals(tally.entries()));
        }
        for (_, entries) in self.given.range(minutes) {
            sums.add(entries);
        }
        sums.into_entries()
    }
}

/// The combined metrics of several minutes.
#[derive(Default)]
struct Sums(BTreeMap<String, Sum>);

struct Sum {
    value: f64,
    minutes: f64,
}

impl Sums {
    fn add(&mut self, entries: &Entries) {
        for (name, value) in entries {
            let combine = match metric(name) {
                "peak" => f64::max,
                "min" => f64::min,
                _ => |sum: f64, value: f64| sum + value,
            };
            let add = |sum: &mut Sum| {
                *sum = Sum { value: combine(sum.value, *value), minutes: sum.minutes + 1.0 };
            };
            let first = Sum { value: *value, minutes: 1.0 };
            self.0.entry(name.clone()).and_modify(add).or_insert(first);
        }
    }

    fn into_entries(self) -> Entries {
        let entries = self.0.into_iter().map(|(name, sum)| {
            let is_mean = metric(&name) == "mean";
            (name, if is_mean { sum.value / sum.minutes } else { sum.value })
        });
        entries.collect()
    }
}

/// The last part of a name. It decides how minutes are combined.
fn metric(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The metrics with their totals over directions, interfaces and types of messages.
fn with_totals(entries: Entries) -> Entries {
    let mut totals = Entries::new();
    for (name, value) in &entries {
        let names = match name.split('.').collect::<Vec<_>>()[..] {
            ["messages", direction @ ("inbound" | "outbound"), way, kind, metric]
                if way != "all" && kind != "all" =>
            {
                vec![
                    format!("messages.{direction}.{way}.all.{metric}"),
                    format!("messages.{direction}.all.{kind}.{metric}"),
                    format!("messages.{direction}.all.all.{metric}"),
                    format!("messages.all.{kind}.{metric}"),
                    format!("messages.all.all.{metric}"),
                ]
            }
            ["messages", "persisted", kind, metric] if kind != "all" => {
                vec![format!("messages.persisted.all.{metric}")]
            }
            [group @ ("connections" | "apiRequests"), kind, metric] if kind != "all" => {
                vec![format!("{group}.all.{metric}")]
            }
            _ => continue,
        };
        for name in names {
            *totals.entry(name).or_default() += value;
        }
    }
    // A total that was posted replaces the calculated one.
    totals.extend(entries);
    totals
}

impl Stats {
    /// Replaces the posted statistics of intervals.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for an invalid interval id or too many intervals.
    pub(crate) fn post(
        &mut self,
        identity: &Identity,
        intervals: Vec<Interval>,
    ) -> Result<(), ErrorInfo> {
        require(identity)?;
        let mut given = BTreeMap::new();
        for interval in intervals {
            let start = interval.interval_time();
            let start =
                start.ok_or_else(|| error::bad_request("`intervalId` is not an interval's"))?;
            given.insert(start, with_totals(interval.entries));
        }
        let new = given.keys().filter(|start| !self.given.contains_key(start)).count();
        if self.given.len() + new > MAX_GIVEN {
            return Err(error::bad_request("there are more intervals than the server stores"));
        }
        self.given.extend(given);
        Ok(())
    }

    /// A page of the statistics.
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn page(
        &self,
        identity: &Identity,
        app_id: &Str,
        query: &StatsQuery,
        now: Now,
    ) -> Result<Page<Interval>, ErrorInfo> {
        require(identity)?;
        let minute = StatsInterval::at(now.wall, &StatsUnit::Minute);
        let intervals = self.intervals(&query.unit, query.page.start, query.page.end);
        let keyed = intervals.into_iter().map(|it| (Str::from(it.to_string()), it));
        let page = query.page.page(keyed);
        let read = |interval: StatsInterval| {
            let is_over = interval.end() <= now.wall;
            Interval {
                interval_id: interval.to_string().into(),
                unit: Some(interval.unit()),
                in_progress: minute.filter(|_| !is_over).map(|minute| minute.to_string().into()),
                entries: self.entries(interval),
                schema: Some(Str::from_static(SCHEMA)),
                app_id: Some(app_id.clone()),
            }
        };
        Ok(Page { items: page.items.into_iter().map(read).collect(), next: page.next })
    }
}

/// Statistics cover the whole app, so that the capability must cover it, too.
fn require(identity: &Identity) -> Result<(), ErrorInfo> {
    identity.require("*", Operation::Statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: &[(&str, f64)]) -> Entries {
        entries.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn missing_totals_are_computed_from_their_parts() {
        let known = [
            ("messages.inbound.realtime.messages.count", 1.0),
            ("messages.inbound.realtime.presence.count", 2.0),
            ("messages.inbound.rest.messages.count", 4.0),
            ("messages.outbound.realtime.messages.count", 8.0),
            ("messages.outbound.realtime.messages.data", 100.0),
            ("messages.persisted.presence.data", 7.0),
            ("connections.tls.peak", 3.0),
            ("channels.peak", 5.0),
            ("apiRequests.other.failed", 6.0),
            ("apiRequests.tokenRequests.failed", 7.0),
        ];
        let mut expected = entries(&known);
        expected.extend(entries(&[
            ("messages.inbound.realtime.all.count", 3.0),
            ("messages.inbound.rest.all.count", 4.0),
            ("messages.inbound.all.messages.count", 5.0),
            ("messages.inbound.all.presence.count", 2.0),
            ("messages.inbound.all.all.count", 7.0),
            ("messages.outbound.realtime.all.count", 8.0),
            ("messages.outbound.realtime.all.data", 100.0),
            ("messages.outbound.all.messages.count", 8.0),
            ("messages.outbound.all.messages.data", 100.0),
            ("messages.outbound.all.all.count", 8.0),
            ("messages.outbound.all.all.data", 100.0),
            ("messages.all.messages.count", 13.0),
            ("messages.all.messages.data", 100.0),
            ("messages.all.presence.count", 2.0),
            ("messages.all.all.count", 15.0),
            ("messages.all.all.data", 100.0),
            ("messages.persisted.all.data", 7.0),
            ("connections.all.peak", 3.0),
            ("apiRequests.all.failed", 13.0),
        ]));
        assert_eq!(with_totals(entries(&known)), expected);
        let given = entries(&[("connections.tls.opened", 3.0), ("connections.all.opened", 4.0)]);
        assert_eq!(with_totals(given.clone()), given);
    }

    #[test]
    fn minutes_are_merged_by_the_metric_of_each_entry() {
        let mut sums = Sums::default();
        for (count, peak, min, mean) in [(1.0, 5.0, 2.0, 3.0), (2.0, 4.0, 3.0, 5.0)] {
            let minute = [("a.count", count), ("a.peak", peak), ("a.min", min), ("a.mean", mean)];
            sums.add(&entries(&minute));
        }
        let expected = [("a.count", 3.0), ("a.peak", 5.0), ("a.min", 2.0), ("a.mean", 4.0)];
        assert_eq!(sums.into_entries(), entries(&expected));
    }
}
