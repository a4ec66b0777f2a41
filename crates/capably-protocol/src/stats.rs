//! Statistics of an app (TS).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use crate::{JsonObject, Millis, Str, lenient, push::named};

/// What an app did in one interval (TS1).
///
/// Services have sent statistics in two shapes: nested, and as [`entries`](Self::entries) with dotted
/// names. Both are read, the nested one by the names that its numbers have in the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// The start of the interval, as the service writes it: `2024-01-31:23:59` for a minute, shorter for
    /// longer ones (TS12a).
    pub interval_id: Str,
    /// How long the interval is (TS12c).
    pub unit: Option<StatsUnit>,
    /// The last part that is counted, in an interval that is not over (TS12q).
    pub in_progress: Option<Str>,
    /// The numbers, by name, such as `messages.all.all.count` (TS12r). What is 0 is left out.
    pub entries: BTreeMap<String, f64>,
    /// Where the names are described (TS12s).
    pub schema: Option<Str>,
    /// The app (TS12t).
    pub app_id: Option<Str>,
}

impl Stats {
    /// The number of this name, such as `connections.all.peak`; 0 when it is left out.
    pub fn entry(&self, name: &str) -> f64 {
        self.entries.get(name).copied().unwrap_or_default()
    }

    /// The start of the interval, in ms since the epoch; `None` when its id is not one (TS12p).
    ///
    /// ```
    /// # use capably_protocol::Stats;
    /// let stats = Stats { interval_id: "2024-01-01:13".into(), ..Stats::default() };
    /// assert_eq!(stats.interval_time(), Some(1_704_114_000_000));
    /// ```
    pub fn interval_time(&self) -> Option<Millis> {
        interval_time(&self.interval_id)
    }
}

/// Reads `yyyy-mm`, `yyyy-mm-dd`, `yyyy-mm-dd:hh` or `yyyy-mm-dd:hh:mm`.
fn interval_time(id: &str) -> Option<Millis> {
    let (date, time) = id.split_once(':').unwrap_or((id, ""));
    let mut date = date.split('-');
    let year = number(date.next()?, 4, 1970..=9999)?;
    let month = number(date.next()?, 2, 1..=12)?;
    let day = date.next().map_or(Some(1), |day| number(day, 2, 1..=days_in(year, month)))?;
    let mut time = time.split(':').filter(|part| !part.is_empty());
    let hour = time.next().map_or(Some(0), |hour| number(hour, 2, 0..=23))?;
    let minute = time.next().map_or(Some(0), |minute| number(minute, 2, 0..=59))?;
    if date.next().is_some() || time.next().is_some() {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60_000)
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

named! {
    /// How long an interval is (TS12c).
    StatsUnit {
        /// A minute.
        Minute = "minute",
        /// An hour.
        Hour = "hour",
        /// A day.
        Day = "day",
        /// A month.
        Month = "month",
    }
}

impl<'de> Deserialize<'de> for Stats {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Some(object) = lenient::optional_object(d)? else {
            return Err(D::Error::custom("expected statistics"));
        };
        let text = |name| object.get(name).and_then(Value::as_str).map(Str::from);
        let mut stats = Self {
            interval_id: text("intervalId").unwrap_or_default(),
            unit: text("unit").map(|unit| StatsUnit::from(&*unit)),
            in_progress: text("inProgress"),
            entries: BTreeMap::new(),
            schema: text("schema"),
            app_id: text("appId"),
        };
        match object.get("entries") {
            Some(Value::Object(entries)) => flatten("", entries, &mut stats.entries),
            Some(_) | None => flatten_nested(&object, &mut stats.entries),
        }
        Ok(stats)
    }
}

impl Serialize for Stats {
    /// Writes the shape with entries.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            interval_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            unit: Option<&'a StatsUnit>,
            #[serde(skip_serializing_if = "Option::is_none")]
            in_progress: Option<&'a str>,
            entries: &'a BTreeMap<String, f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            schema: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            app_id: Option<&'a str>,
        }

        let body = Body {
            interval_id: &self.interval_id,
            unit: self.unit.as_ref(),
            in_progress: self.in_progress.as_deref(),
            entries: &self.entries,
            schema: self.schema.as_deref(),
            app_id: self.app_id.as_deref(),
        };
        body.serialize(s)
    }
}

/// The numbers of the nested shape, by the names that they have in the other.
fn flatten_nested(object: &JsonObject, entries: &mut BTreeMap<String, f64>) {
    for (name, value) in object {
        let Value::Object(numbers) = value else { continue };
        let name = match name.as_str() {
            "all" | "inbound" | "outbound" | "persisted" => format!("messages.{name}"),
            "apiRequests" => "apiRequests.other".to_owned(),
            "tokenRequests" => "apiRequests.tokenRequests".to_owned(),
            other => other.to_owned(),
        };
        flatten(&name, numbers, entries);
    }
}

fn flatten(prefix: &str, object: &JsonObject, entries: &mut BTreeMap<String, f64>) {
    for (name, value) in object {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Object(inner) => flatten(&name, inner, entries),
            Value::Number(number) => {
                if let Some(number) = number.as_f64() {
                    entries.insert(name, number);
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
            ("2024-01-01:24", None),
            ("2024-01-01:00:00:00", None),
            ("2024", None),
            ("", None),
            ("+024-01", None),
        ] {
            assert_eq!(interval_time(id), expected, "{id}");
        }
    }

    #[test]
    fn both_shapes_have_the_same_names() {
        let nested: Stats = serde_json::from_value(json!({
            "intervalId": "2024-01-01:00:00",
            "unit": "minute",
            "inbound": {"realtime": {"messages": {"count": 50, "data": 5000}}},
            "connections": {"tls": {"peak": 20, "mean": 1.5}},
            "channels": {"peak": 50},
            "apiRequests": {"succeeded": 50},
            "tokenRequests": {"failed": 20},
        }))
        .unwrap();
        assert_eq!(
            nested.entries,
            BTreeMap::from(
                [
                    ("apiRequests.other.succeeded", 50.0),
                    ("apiRequests.tokenRequests.failed", 20.0),
                    ("channels.peak", 50.0),
                    ("connections.tls.mean", 1.5),
                    ("connections.tls.peak", 20.0),
                    ("messages.inbound.realtime.messages.count", 50.0),
                    ("messages.inbound.realtime.messages.data", 5000.0),
                ]
                .map(|(name, number)| (name.to_owned(), number))
            )
        );
        let text = serde_json::to_value(&nested).unwrap();
        assert_eq!(text["entries"]["channels.peak"], 50.0);
        assert_eq!(serde_json::from_value::<Stats>(text).unwrap(), nested);
        assert_eq!((nested.entry("channels.peak"), nested.entry("none")), (50.0, 0.0));
    }
}
