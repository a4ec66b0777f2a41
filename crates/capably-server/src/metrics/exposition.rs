//! The metrics as text, in the format that Prometheus reads. `docs/operating.md` lists all of them.

use std::{fmt, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{
    Counter, Ending, Metrics, Refused, StatusClass, Traffic,
    histogram::{Distribution, Histogram},
};

/// The type of the text.
pub(crate) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

/// Values that go up and down. They are read with the metrics, and cost nothing until then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) ready: bool,
    pub(crate) connections: u64,
    pub(crate) apps: u64,
    pub(crate) channels: u64,
    /// The bytes that wait to be sent to clients.
    pub(crate) queue_bytes: u64,
}

impl Metrics {
    /// All metrics as text of the type [`CONTENT_TYPE`].
    ///
    /// # Errors
    /// An error of the encoder, which writes to memory: there is none to expect.
    pub(crate) fn encode(&self, gauges: Gauges) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("capably");
        registry.register_collector(Box::new(self.snapshot(gauges)));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn snapshot(&self, gauges: Gauges) -> Snapshot {
        let realtime = |part: fn(&Traffic) -> &Counter| {
            self.realtime.iter().map(|traffic| part(traffic).get()).sum()
        };
        let by_interface = |part: fn(&Traffic) -> &Counter| {
            vec![("realtime", realtime(part)), ("rest", part(&self.rest).get())]
        };
        let bytes = Some(Unit::Bytes);
        let counters = vec![
            Family {
                name: "connections_opened",
                help: "Realtime clients that have connected, or resumed a connection",
                unit: None,
                label: None,
                values: vec![("", self.opened.get())],
            },
            Family {
                name: "connections_closed",
                help: "Realtime clients that are not connected any more, by reason",
                unit: None,
                label: Some("reason"),
                values: values(Ending::ALL, Ending::label, &self.closed),
            },
            Family {
                name: "messages_received",
                help: "Messages, presence messages and annotations that clients have published, accepted or refused",
                unit: None,
                label: Some("interface"),
                values: by_interface(|traffic| &traffic.messages_received),
            },
            Family {
                name: "messages_sent",
                help: "Messages, presence messages and annotations that subscribers were sent",
                unit: None,
                label: Some("interface"),
                values: vec![("realtime", realtime(|traffic| &traffic.messages_sent))],
            },
            Family {
                name: "received",
                help: "Payload of WebSocket messages, and bodies of REST requests",
                unit: bytes.clone(),
                label: Some("interface"),
                values: by_interface(|traffic| &traffic.bytes_received),
            },
            Family {
                name: "sent",
                help: "Payload of WebSocket messages, and bodies of REST responses",
                unit: bytes.clone(),
                label: Some("interface"),
                values: by_interface(|traffic| &traffic.bytes_sent),
            },
            Family {
                name: "refused",
                help: "Frames, connections and requests that were refused with an error, by reason",
                unit: None,
                label: Some("reason"),
                values: values(Refused::ALL, Refused::label, &self.refused),
            },
            Family {
                name: "requests",
                help: "REST requests, by the class of the response's status",
                unit: None,
                label: Some("status"),
                values: values(StatusClass::ALL, StatusClass::label, &self.requests),
            },
        ];
        let gauge = |name, help, unit, value| Family {
            name,
            help,
            unit,
            label: None,
            values: vec![("", value)],
        };
        let gauges = vec![
            gauge(
                "ready",
                "1 while the server is ready for new clients",
                None,
                u64::from(gauges.ready),
            ),
            gauge("connections", "Realtime clients that are connected", None, gauges.connections),
            gauge("apps", "Apps", None, gauges.apps),
            gauge("channels", "Channels in memory", None, gauges.channels),
            gauge("queue", "Bytes that wait to be sent to clients", bytes, gauges.queue_bytes),
        ];
        Snapshot {
            counters,
            gauges,
            times: vec![
                Times::new(
                    "request_duration",
                    "Time from the head of a REST request to its response",
                    &self.request_time,
                ),
                Times::new(
                    "commit_duration",
                    "Time that the engine took to commit entries",
                    &self.commit_time,
                ),
            ],
            lag: self.lag(),
        }
    }
}

/// The value of each label.
fn values<L: Copy, const N: usize>(
    all: [L; N],
    label: fn(L) -> &'static str,
    counters: &[Counter; N],
) -> Vec<(&'static str, u64)> {
    all.into_iter().map(label).zip(counters.iter().map(Counter::get)).collect()
}

/// All values at the time of a scrape.
#[derive(Debug)]
struct Snapshot {
    counters: Vec<Family>,
    gauges: Vec<Family>,
    times: Vec<Times>,
    lag: Option<Duration>,
}

/// The values of one name, one for each value of its label.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    label: Option<&'static str>,
    values: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
struct Times {
    name: &'static str,
    help: &'static str,
    distribution: Distribution,
}

impl Times {
    fn new(name: &'static str, help: &'static str, histogram: &Histogram) -> Self {
        Self { name, help, distribution: histogram.read() }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        encoder
            .encode_descriptor("build", "The version of the server", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        for family in &self.gauges {
            family.encode(&mut encoder, MetricType::Gauge)?;
        }
        for family in &self.counters {
            family.encode(&mut encoder, MetricType::Counter)?;
        }
        for Times { name, help, distribution: Distribution { sum, count, buckets } } in &self.times
        {
            encoder
                .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
                .encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)?;
        }
        if let Some(lag) = self.lag {
            let help = "How far this node is behind the newest entry of the engine";
            encoder
                .encode_descriptor("lag", help, Some(&Unit::Seconds), MetricType::Gauge)?
                .encode_gauge(&lag.as_secs_f64())?;
        }
        Ok(())
    }
}

impl Family {
    fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
    ) -> Result<(), fmt::Error> {
        let mut metric =
            encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)?;
        for (label, value) in &self.values {
            match (kind, self.label) {
                (MetricType::Counter, None) => {
                    metric.encode_counter::<NoLabelSet, _, f64>(value, None)?
                }
                (MetricType::Counter, Some(name)) => {
                    metric
                        .encode_family(&[(name, *label)])?
                        .encode_counter::<NoLabelSet, _, f64>(value, None)?
                }
                _ => metric.encode_gauge(value)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_exposed_after_the_first_report_of_the_engine() {
        let metrics = Metrics::default();
        assert!(!metrics.encode(Gauges::default()).unwrap().contains("lag"));
        metrics.set_lag(Duration::from_millis(1500));
        let text = metrics.encode(Gauges::default()).unwrap();
        assert!(text.contains("\ncapably_lag_seconds 1.5\n"), "{text}");
        metrics.set_lag(Duration::MAX);
        assert!(metrics.lag().is_some());
    }

    #[test]
    fn commits_are_exposed_as_a_histogram() {
        let metrics = Metrics::default();
        metrics.committed(Duration::from_millis(2));
        metrics.committed(Duration::from_millis(40));
        let text = metrics.encode(Gauges::default()).unwrap();
        for line in [
            "capably_commit_duration_seconds_bucket{le=\"0.001\"} 0",
            "capably_commit_duration_seconds_bucket{le=\"0.0025\"} 1",
            "capably_commit_duration_seconds_bucket{le=\"0.05\"} 2",
            "capably_commit_duration_seconds_bucket{le=\"+Inf\"} 2",
            "capably_commit_duration_seconds_sum 0.042",
            "capably_commit_duration_seconds_count 2",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }
}
