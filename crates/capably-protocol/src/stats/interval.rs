//! The intervals that statistics are of.

use std::fmt;

use super::StatsUnit;
use crate::Millis;

/// A minute, an hour, a day or a month of UTC, in the years from 1970 to 9999.
///
/// It displays as its id. The form of the id depends on the length of the interval (TS12a).
///
/// ```
/// use capably_protocol::{StatsInterval, StatsUnit};
///
/// let hour = StatsInterval::parse("2024-01-01:13").unwrap();
/// assert_eq!(hour.start(), 1_704_114_000_000);
/// assert_eq!(hour.end(), 1_704_117_600_000);
/// let day = StatsInterval::at(hour.start(), &StatsUnit::Day).unwrap();
/// assert_eq!(day.to_string(), "2024-01-01");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatsInterval {
    start: Millis,
    length: Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Length {
    Minute,
    Hour,
    Day,
    Month,
}

const MINUTE: Millis = 60_000;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;

impl StatsInterval {
    /// Reads an id: `yyyy-mm`, `yyyy-mm-dd`, `yyyy-mm-dd:hh` or `yyyy-mm-dd:hh:mm`.
    pub fn parse(id: &str) -> Option<Self> {
        let (date, time) = id.split_once(':').map_or((id, None), |(date, time)| (date, Some(time)));
        let mut date = date.split('-');
        let year = number(date.next()?, 4, 1970..=9999)?;
        let month = number(date.next()?, 2, 1..=12)?;
        let first = days_before(year, month);
        let Some(day) = date.next() else {
            return time.is_none().then_some(Self { start: first * DAY, length: Length::Month });
        };
        let day = (first + number(day, 2, 1..=days_in(year, month))? - 1) * DAY;
        if date.next().is_some() {
            return None;
        }
        let Some(time) = time else { return Some(Self { start: day, length: Length::Day }) };
        let (hour, minute) =
            time.split_once(':').map_or((time, None), |(hour, minute)| (hour, Some(minute)));
        let hour = day + number(hour, 2, 0..=23)? * HOUR;
        let Some(minute) = minute else { return Some(Self { start: hour, length: Length::Hour }) };
        let start = hour + number(minute, 2, 0..=59)? * MINUTE;
        Some(Self { start, length: Length::Minute })
    }

    /// The interval that contains a time, in ms since the epoch. `None` for a time outside the years from 1970 to 9999,
    /// and for an unknown unit.
    pub fn at(time: Millis, unit: &StatsUnit) -> Option<Self> {
        if !(0..days_before(10_000, 1) * DAY).contains(&time) {
            return None;
        }
        let (start, length) = match unit {
            StatsUnit::Minute => (time - time % MINUTE, Length::Minute),
            StatsUnit::Hour => (time - time % HOUR, Length::Hour),
            StatsUnit::Day => (time - time % DAY, Length::Day),
            StatsUnit::Month => {
                let (year, month, _) = date(time / DAY);
                (days_before(year, month) * DAY, Length::Month)
            }
            StatsUnit::Unknown(_) => return None,
        };
        Some(Self { start, length })
    }

    /// When it starts, in ms since the epoch (TS12p).
    pub fn start(self) -> Millis {
        self.start
    }

    /// When it is over and the next one starts, in ms since the epoch.
    pub fn end(self) -> Millis {
        self.start
            + match self.length {
                Length::Minute => MINUTE,
                Length::Hour => HOUR,
                Length::Day => DAY,
                Length::Month => {
                    let (year, month, _) = date(self.start / DAY);
                    days_in(year, month) * DAY
                }
            }
    }

    /// How long it is (TS12c).
    pub fn unit(self) -> StatsUnit {
        match self.length {
            Length::Minute => StatsUnit::Minute,
            Length::Hour => StatsUnit::Hour,
            Length::Day => StatsUnit::Day,
            Length::Month => StatsUnit::Month,
        }
    }
}

impl fmt::Display for StatsInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.start / DAY);
        let (hour, minute) = (self.start % DAY / HOUR, self.start % HOUR / MINUTE);
        write!(f, "{year:04}-{month:02}")?;
        if self.length < Length::Month {
            write!(f, "-{day:02}")?;
        }
        if self.length < Length::Day {
            write!(f, ":{hour:02}")?;
        }
        if self.length < Length::Hour {
            write!(f, ":{minute:02}")?;
        }
        Ok(())
    }
}

fn number(text: &str, digits: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    let whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| whole && range.contains(number))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let to_year = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    to_year + (1..month).map(|earlier| days_in(year, earlier)).sum::<i64>()
}

/// The year, month and day of a day counted from 1970.
fn date(days: i64) -> (i64, i64, i64) {
    // 146,097 days are 400 years; the estimate is at most one year off.
    let estimate = 1970 + days * 400 / 146_097;
    let year = if days_before(estimate + 1, 1) <= days {
        estimate + 1
    } else if days_before(estimate, 1) > days {
        estimate - 1
    } else {
        estimate
    };
    let month = (2..=12).rev().find(|month| days_before(year, *month) <= days).unwrap_or(1);
    (year, month, days - days_before(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec: TS12p
    #[test]
    fn intervals_start_when_their_ids_say() {
        for (id, expected) in [
            ("1970-01", Some(0)),
            ("2024-01-01:00:00", Some(1_704_067_200_000)),
            ("2024-03-01", Some(1_709_251_200_000)),
            ("2000-02-29:23:59", Some(951_868_740_000)),
            ("2100-03-01", Some(4_107_542_400_000)),
            ("2023-02-29", None),
            ("2024-13", None),
            ("2024-1-1", None),
            ("2024-01:00", None),
            ("2024-01-01-01", None),
            ("2024-01-01:", None),
            ("2024-01-01:24", None),
            ("2024-01-01:00:60", None),
            ("2024-01-01:00:00:00", None),
            ("2024", None),
            ("", None),
            ("+024-01", None),
        ] {
            let interval = StatsInterval::parse(id);
            assert_eq!(interval.map(StatsInterval::start), expected, "{id}");
            if let Some(interval) = interval {
                assert_eq!(interval.to_string(), id);
                assert_eq!(StatsInterval::at(interval.start(), &interval.unit()), Some(interval));
                assert_eq!(StatsInterval::at(interval.end() - 1, &interval.unit()), Some(interval));
                let next = StatsInterval::at(interval.end(), &interval.unit()).unwrap();
                assert_eq!(next.start(), interval.end());
            }
        }
    }

    #[test]
    fn every_day_has_its_date() {
        for (first, last, expected) in
            [("1970-01-01", "2101-01-01", 47_847), ("9999-01-01", "9999-12-31", 364)]
        {
            let mut day = StatsInterval::parse(first).unwrap();
            let mut month = StatsInterval::at(day.start(), &StatsUnit::Month).unwrap();
            let mut days = 0;
            while day.to_string() != last {
                assert_eq!(StatsInterval::parse(&day.to_string()), Some(day));
                assert_eq!(StatsInterval::at(day.start(), &StatsUnit::Month), Some(month));
                if day.end() == month.end() {
                    month = StatsInterval::at(day.end(), &StatsUnit::Month).unwrap();
                }
                day = StatsInterval::at(day.end(), &StatsUnit::Day).unwrap();
                days += 1;
            }
            assert_eq!(days, expected);
        }
        let last = StatsInterval::parse("9999-12-31").unwrap();
        assert_eq!(StatsInterval::at(last.end(), &StatsUnit::Day), None);
    }

    #[test]
    fn times_and_units_without_an_interval() {
        assert_eq!(StatsInterval::at(-1, &StatsUnit::Day), None);
        assert_eq!(StatsInterval::at(Millis::MAX, &StatsUnit::Day), None);
        assert_eq!(StatsInterval::at(0, &StatsUnit::Unknown("week".into())), None);
    }
}
