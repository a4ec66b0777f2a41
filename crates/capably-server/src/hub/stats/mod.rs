//! Statistics of an app, by minute, hour, day and month (RSC6, TS).

mod counted;
pub(crate) mod stored;
pub(super) mod tally;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Millis, StatsInterval, StatsUnit, Str};

use self::{
    counted::{Counted, Slot},
    stored::{Elsewhere, Unstored},
    tally::Tally,
};
use super::{
    Now, Page, PageQuery,
    access::{capability::Operation, identity::Identity},
    error,
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

/// The most minutes that a client can post.
const MAX_GIVEN: usize = 7 * 24 * 60;

/// The statistics of an app.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// What this node has counted.
    pub(crate) counted: Counted,
    /// The metrics that clients posted, with totals.
    given: BTreeMap<Millis, Entries>,
    /// What is to be stored. `None` without an engine.
    unstored: Option<Unstored>,
}

impl Stats {
    /// The minute in progress.
    pub(crate) fn current(&mut self, now: Now) -> &mut Tally {
        let minute =
            StatsInterval::at(now.wall, &StatsUnit::Minute).map_or(0, StatsInterval::start);
        let slot = Slot::minute(minute);
        let Self { counted, unstored, .. } = self;
        if !counted.has(slot) {
            let last = counted.last_minute().map(|(_, last)| last.next_minute());
            *counted.entry(slot) = last.unwrap_or_default();
            counted.roll_up(|slot| {
                if let Some(unstored) = unstored {
                    unstored.note(slot);
                }
            });
        }
        if let Some(unstored) = unstored {
            unstored.note_minute(minute);
        }
        counted.entry(slot)
    }

    /// The statistics with those from elsewhere.
    fn view<'a>(&'a self, elsewhere: &Elsewhere) -> View<'a> {
        let mut view =
            View { counted: Cow::Borrowed(&self.counted), given: Cow::Borrowed(&self.given) };
        if !elsewhere.counted.is_empty() {
            view.counted.to_mut().add(&elsewhere.counted);
        }
        if !elsewhere.given.is_empty() {
            view.given.to_mut().extend(elsewhere.given.clone());
        }
        view
    }
}

/// The minute that ended last, and the time until the one in progress ends.
pub(crate) fn last_minute(now: Now) -> Option<(StatsInterval, Duration)> {
    let minute = StatsInterval::at(now.wall, &StatsUnit::Minute)?;
    let last = StatsInterval::at(minute.start() - 1, &StatsUnit::Minute)?;
    let left = u64::try_from(minute.end() - now.wall).unwrap_or_default();
    Some((last, Duration::from_millis(left)))
}

/// Statistics that are being read.
struct View<'a> {
    counted: Cow<'a, Counted>,
    given: Cow<'a, BTreeMap<Millis, Entries>>,
}

impl View<'_> {
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
        let minutes = self.counted.range(unit, range).map(|(start, _)| start);
        let minutes = minutes.chain(self.given.range(range).map(|(minute, _)| *minute));
        minutes
            .filter_map(|minute| StatsInterval::at(minute, unit))
            .filter(|interval| end.is_none_or(|end| interval.start() <= end))
            .collect()
    }

    /// The metrics of an interval.
    fn entries(&self, interval: StatsInterval) -> Entries {
        let range = (Bound::Included(interval.start()), Bound::Excluded(interval.end()));
        let unit = interval.unit();
        let counted = self.counted.range(&unit, range).map(|(_, tally)| *tally);
        let mut sums = Sums::default();
        if let Some(tally) = counted.reduce(Tally::and) {
            sums.add(&with_totals(tally.entries()));
        }
        for (_, entries) in self.given.range(range) {
            sums.add(entries);
        }
        sums.into_entries()
    }
}

/// The interval as it is returned. `minute` is the one in progress, if the interval is not over.
fn interval_of(
    interval: StatsInterval,
    entries: Entries,
    app_id: &Str,
    minute: Option<StatsInterval>,
) -> Interval {
    Interval {
        interval_id: interval.to_string().into(),
        unit: Some(interval.unit()),
        in_progress: minute.map(|minute| minute.to_string().into()),
        entries,
        schema: Some(Str::from_static(SCHEMA)),
        app_id: Some(app_id.clone()),
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
    /// Checks statistics that a client posts. Returns them by the start of their interval.
    ///
    /// # Errors
    /// Code 40160 for the capability, 40000 for an invalid interval id or too many intervals.
    pub(crate) fn check_posted(
        &self,
        identity: &Identity,
        intervals: Vec<Interval>,
    ) -> Result<Posted, ErrorInfo> {
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
        Ok(Posted(given))
    }

    /// Replaces the posted statistics of intervals.
    pub(crate) fn add_posted(&mut self, posted: Posted) {
        self.given.extend(posted.0);
    }

    /// What this node has counted in a minute that is over, and what clients have posted for it. A minute in which nothing has
    /// happened has the open connections and channels. `None` if there is nothing at all.
    pub(crate) fn of_minute(&self, minute: StatsInterval, app_id: &Str) -> Option<Interval> {
        let mut sums = Sums::default();
        if let Some(tally) = self.counted.get(Slot::minute(minute.start())) {
            sums.add(&with_totals(tally.entries()));
        }
        if let Some(given) = self.given.get(&minute.start()) {
            sums.add(given);
        }
        let entries = sums.into_entries();
        (!entries.is_empty()).then(|| interval_of(minute, entries, app_id, None))
    }

    /// A page of the statistics, with those from elsewhere.
    ///
    /// # Errors
    /// Code 40160 for the capability.
    pub(crate) fn page(
        &self,
        identity: &Identity,
        app_id: &Str,
        query: &StatsQuery,
        elsewhere: &Elsewhere,
        now: Now,
    ) -> Result<Page<Interval>, ErrorInfo> {
        require(identity)?;
        let view = self.view(elsewhere);
        let minute = StatsInterval::at(now.wall, &StatsUnit::Minute);
        let intervals = view.intervals(&query.unit, query.page.start, query.page.end);
        let keyed = intervals.into_iter().map(|it| (Str::from(it.to_string()), it));
        let page = query.page.page(keyed);
        let read = |interval: StatsInterval| {
            let is_over = interval.end() <= now.wall;
            let minute = minute.filter(|_| !is_over);
            interval_of(interval, view.entries(interval), app_id, minute)
        };
        Ok(Page { items: page.items.into_iter().map(read).collect(), next: page.next })
    }
}

/// Statistics that a client has posted, and that are checked.
#[derive(Debug)]
pub(crate) struct Posted(BTreeMap<Millis, Entries>);

impl Posted {
    /// The ids of the minutes at which the intervals start, and the values to store.
    pub(crate) fn facts(&self) -> Vec<(String, Option<Bytes>)> {
        self.0.iter().filter_map(|(start, entries)| stored::posted(*start, entries)).collect()
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
