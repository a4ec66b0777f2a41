//! The result as a table in Markdown.

use std::fmt;

use crate::peer::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    MessagesPerSecond,
    /// Seconds of the processor.
    CpuPerMessage,
    /// Seconds.
    Time,
    /// Bytes.
    Memory,
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::MessagesPerSecond => format!("{:.1} k/s", value / 1e3),
            Self::CpuPerMessage => format!("{:.2} µs", value * 1e6),
            Self::Time => format!("{:.2} ms", value * 1e3),
            Self::Memory if value < 1024.0 * 1024.0 => format!("{:.1} KiB", value / 1024.0),
            Self::Memory => format!("{:.1} MiB", value / 1024.0 / 1024.0),
        }
    }

    /// How many times better the first value is.
    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::MessagesPerSecond => ours / theirs,
            Self::CpuPerMessage | Self::Time | Self::Memory => theirs / ours,
        }
    }
}

#[derive(Debug)]
pub struct Table {
    peers: Vec<Peer>,
    rows: Vec<(String, Unit, Vec<f64>)>,
    limits: Vec<(String, f64)>,
}

impl Table {
    pub fn new(peers: &[Peer]) -> Self {
        Self { peers: peers.to_vec(), rows: Vec::new(), limits: Vec::new() }
    }

    /// Adds a row, with a value of each peer.
    pub fn add(&mut self, what: &str, unit: Unit, values: Vec<f64>) {
        self.rows.push((what.to_owned(), unit, values));
    }

    /// The messages a second that the service can do.
    pub fn limit(&mut self, what: &str, rate: f64) {
        self.limits.push((what.to_owned(), rate));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| figure |")?;
        self.peers.iter().try_for_each(|peer| write!(f, " {} |", peer.title()))?;
        write!(f, "\n|---|")?;
        self.peers.iter().try_for_each(|_| write!(f, "---|"))?;
        let ours = self.peers.iter().position(|peer| peer.is_ours());
        for (what, unit, values) in &self.rows {
            let what = match unit {
                Unit::CpuPerMessage => format!("{what}, processor time of a message"),
                Unit::MessagesPerSecond | Unit::Time | Unit::Memory => what.clone(),
            };
            write!(f, "\n| {what} |")?;
            for (at, value) in values.iter().enumerate() {
                match ours {
                    Some(ours) if ours != at => {
                        let ratio = unit.ratio(values[ours], *value);
                        write!(f, " {} (**{ratio:.1} ×**) |", unit.write(*value))?;
                    }
                    _ => write!(f, " {} |", unit.write(*value))?,
                }
            }
        }
        write!(f, "\n\nThe service alone, with a client that only counts frames:\n")?;
        for (what, rate) in &self.limits {
            write!(f, "\n- {what}: {}", Unit::MessagesPerSecond.write(*rate))?;
        }
        Ok(())
    }
}
