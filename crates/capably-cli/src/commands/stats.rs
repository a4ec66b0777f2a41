//! `capably stats`.

use std::collections::BTreeSet;

use capably::{Stats as Interval, StatsUnit};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::{
    chart,
    failure::Failure,
    listing::{Amount, Period},
    output::{Output, notice},
    service::Service,
    style::Style,
    visible::visible,
};

/// Show the statistics of the app, as a chart of one number over time
#[derive(Debug, Args)]
#[command(after_help = "\
The chart has the oldest interval first. An interval without traffic is left out. With
--json, each interval is an object with all its numbers, the newest first.

Examples:
  capably stats
  capably stats --unit hour --start '1d ago' --all
  capably stats --metric connections.all.peak
  capably stats --unit day --limit 7 --json | jq .entries")]
pub(crate) struct Stats {
    /// Length of the intervals
    #[arg(long, value_enum, default_value_t = Unit::Minute)]
    unit: Unit,

    /// Number to chart, by its name
    #[arg(long, value_name = "NAME", default_value = "messages.all.all.count")]
    metric: String,

    /// Print one JSON object per line, for other programs
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    period: Period,

    #[command(flatten)]
    amount: Amount,

    #[command(flatten)]
    service: Service,
}

/// The length of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Unit {
    Minute,
    Hour,
    Day,
    Month,
}

impl Stats {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.period.check()?;
        let mut query = self.service.rest()?.stats().unit(match self.unit {
            Unit::Minute => StatsUnit::Minute,
            Unit::Hour => StatsUnit::Hour,
            Unit::Day => StatsUnit::Day,
            Unit::Month => StatsUnit::Month,
        });
        if let Some(start) = self.period.start {
            query = query.start(start);
        }
        if let Some(end) = self.period.end {
            query = query.end(end);
        }
        let mut output = Output::stdout();
        let mut intervals = Vec::new();
        let read = |page: &[Interval]| {
            if self.json {
                page.iter().try_for_each(|interval| output.json(json!(interval)))?;
                return output.flush();
            }
            intervals.extend_from_slice(page);
            Ok(())
        };
        self.amount.each_page(query, read).await?;
        if !self.json {
            self.chart(&intervals, &mut output)?;
        }
        output.flush()
    }

    fn chart(&self, intervals: &[Interval], output: &mut Output) -> Result<(), Failure> {
        if intervals.is_empty() {
            notice("There are no statistics of this time");
            return Ok(());
        }
        if intervals.iter().all(|interval| !interval.entries.contains_key(&self.metric)) {
            let names: BTreeSet<_> = intervals.iter().flat_map(|it| it.entries.keys()).collect();
            let names: Vec<_> = names.into_iter().map(|name| visible(name)).collect();
            notice(format_args!(
                "No interval has the number {}; there are: {}",
                self.metric,
                names.join(" ")
            ));
        }
        let style = Style::stdout();
        output.line(style.bold(&self.metric))?;
        let values = intervals.iter().rev();
        let values: Vec<(String, f64)> = values
            .map(|it| (visible(&it.interval_id).into_owned(), it.entry(&self.metric)))
            .collect();
        for row in chart::rows(&values, chart::width()) {
            let line =
                format!("{}  {}  {}", style.dim(row.label), row.number, style.accent(row.bar));
            output.line(line.trim_end())?;
        }
        Ok(())
    }
}
