//! Statistics of an app (TS).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use serde_json::Value;

use crate::{JsonObject, Millis, Str, lenient, push::named};

mod interval;

pub use interval::StatsInterval;

/// The statistics of an app in one interval (TS1).
///
/// Services have sent statistics in two shapes: nested, and as [`entries`](Self::entries) with dotted names. The reader
/// accepts both, and gives the numbers of the nested shape their dotted names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", default)]
pub struct Stats {
    /// The start of the interval, as the service writes it: `2024-01-31:23:59` for a minute, shorter for
    /// longer ones (TS12a).
    pub interval_id: Str,
    /// How long the interval is (TS12c).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<StatsUnit>,
    /// The last part that is counted, in an interval that is not over (TS12q).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<Str>,
    /// The numbers, by name, such as `messages.all.all.count` (TS12r). Zeros are left out.
    #[serde(skip_deserializing, serialize_with = "serialize_entries")]
    pub entries: BTreeMap<String, f64>,
    /// Where the names are described (TS12s).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Str>,
    /// The app (TS12t).
    #[serde(skip_serializing_if = "Option::is_none")]
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
        StatsInterval::parse(&self.interval_id).map(StatsInterval::start)
    }
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

// `remote` makes serde derive inherent functions `deserialize` and `serialize` for the fields. The traits call them.
impl<'de> Deserialize<'de> for Stats {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let Some(mut object) = lenient::optional_object(d)? else {
            return Err(D::Error::custom("expected statistics"));
        };
        let mut entries = BTreeMap::new();
        match object.get("entries") {
            Some(Value::Object(numbers)) => flatten("", numbers, &mut entries),
            Some(_) | None => flatten_nested(&object, &mut entries),
        }
        // Every other field is text. Another type counts as absent: the numbers must stay readable.
        object.retain(|_, value| value.is_string());
        let stats = Self::deserialize(Value::Object(object)).map_err(D::Error::custom)?;
        Ok(Self { entries, ..stats })
    }
}

impl Serialize for Stats {
    /// Writes the shape with entries.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, s)
    }
}

fn serialize_entries<S: Serializer>(
    entries: &BTreeMap<String, f64>,
    s: S,
) -> Result<S::Ok, S::Error> {
    s.collect_map(entries.iter().map(|(name, number)| (name, Entry(*number))))
}

/// A number as others expect it: most are counts, so a whole one has no fraction.
struct Entry(f64);

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        // Beyond 2^53 not every integer is a float.
        if self.0.fract() == 0.0 && self.0.abs() <= 2f64.powi(53) {
            s.serialize_i64(self.0 as i64)
        } else {
            s.serialize_f64(self.0)
        }
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
        assert_eq!(text["entries"]["channels.peak"], json!(50));
        assert_eq!(text["entries"]["connections.tls.mean"], json!(1.5));
        assert_eq!(serde_json::from_value::<Stats>(text).unwrap(), nested);
        assert_eq!((nested.entry("channels.peak"), nested.entry("none")), (50.0, 0.0));
    }
}
