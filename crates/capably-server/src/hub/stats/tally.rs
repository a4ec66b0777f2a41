//! The counts of one minute.

use std::collections::BTreeMap;

use capably_protocol::ServerFrame;
use serde::{Deserialize, Serialize};

use crate::hub::{
    Output,
    log::volume::{Traffic, Volume},
};

/// The counts of a minute. Counts that are zero are not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Tally {
    #[serde(skip_serializing_if = "is_default")]
    inbound_realtime: Traffic,
    #[serde(skip_serializing_if = "is_default")]
    inbound_rest: Traffic,
    #[serde(skip_serializing_if = "is_default")]
    outbound_realtime: Traffic,
    #[serde(skip_serializing_if = "is_default")]
    persisted: Traffic,
    #[serde(skip_serializing_if = "is_default")]
    connections: Open,
    #[serde(skip_serializing_if = "is_default")]
    channels: Open,
    #[serde(skip_serializing_if = "is_default")]
    requests: Requests,
    #[serde(skip_serializing_if = "is_default")]
    token_requests: Requests,
    #[serde(skip_serializing_if = "is_default")]
    push_requests: Requests,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The interface of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Realtime,
    Rest,
}

/// The type of a REST request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Token,
    Push,
    Other,
}

/// Connections or channels that are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Open {
    /// The current number. A server that starts has none.
    #[serde(skip)]
    now: u64,
    /// The highest number at a time.
    peak: u64,
    /// The number of those opened.
    opened: u64,
}

impl Open {
    fn set(&mut self, now: usize, opened: usize) {
        self.now = now as u64;
        self.peak = self.peak.max(self.now);
        self.opened += opened as u64;
    }

    fn add(&mut self, later: Self) {
        self.now = later.now;
        self.peak = self.peak.max(later.peak);
        self.opened += later.opened;
    }

    fn next_minute(self) -> Self {
        Self { now: self.now, peak: self.now, opened: 0 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Requests {
    succeeded: u64,
    failed: u64,
}

impl Requests {
    fn add(&mut self, more: Self) {
        self.succeeded += more.succeeded;
        self.failed += more.failed;
    }
}

impl Tally {
    /// Counts accepted messages and annotations.
    pub(crate) fn published(&mut self, way: Way, volume: Volume) {
        match way {
            Way::Realtime => self.inbound_realtime.messages.add(volume),
            Way::Rest => self.inbound_rest.messages.add(volume),
        }
    }

    /// Counts accepted operations on objects.
    pub(crate) fn operations(&mut self, way: Way, volume: Volume) {
        match way {
            Way::Realtime => self.inbound_realtime.objects.add(volume),
            Way::Rest => self.inbound_rest.objects.add(volume),
        }
    }

    /// Counts accepted presence events.
    pub(crate) fn presence(&mut self, volume: Volume) {
        self.inbound_realtime.presence.add(volume);
    }

    /// Counts entries that are persisted for longer than usual.
    pub(crate) fn persisted(&mut self, traffic: Traffic) {
        self.persisted.add(traffic);
    }

    /// Counts the frames that are sent to subscribers.
    pub(crate) fn sent(&mut self, outputs: &[Output]) {
        for output in outputs {
            let Output::Broadcast(_, broadcast) = output else { continue };
            let traffic = &mut self.outbound_realtime;
            match broadcast.frame() {
                ServerFrame::Presence(_) => traffic.presence.add(broadcast.volume()),
                ServerFrame::Object(_) => traffic.objects.add(broadcast.volume()),
                ServerFrame::ObjectSync(_) => {}
                _ => traffic.messages.add(broadcast.volume()),
            }
        }
    }

    /// Takes note of how many connections there are, and how many of them are new.
    pub(crate) fn connections(&mut self, now: usize, opened: usize) {
        self.connections.set(now, opened);
    }

    /// Takes note of how many channels there are, and how many of them are new.
    pub(crate) fn channels(&mut self, now: usize, opened: usize) {
        self.channels.set(now, opened);
    }

    pub(crate) fn request(&mut self, kind: RequestKind, succeeded: bool) {
        let requests = match kind {
            RequestKind::Token => &mut self.token_requests,
            RequestKind::Push => &mut self.push_requests,
            RequestKind::Other => &mut self.requests,
        };
        if succeeded {
            requests.succeeded += 1;
        } else {
            requests.failed += 1;
        }
    }

    /// The counts at the start of the next minute.
    pub(crate) fn next_minute(&self) -> Self {
        Self {
            connections: self.connections.next_minute(),
            channels: self.channels.next_minute(),
            ..Self::default()
        }
    }

    /// The combined counts of two intervals.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.inbound_realtime.add(other.inbound_realtime);
        self.inbound_rest.add(other.inbound_rest);
        self.outbound_realtime.add(other.outbound_realtime);
        self.persisted.add(other.persisted);
        self.connections.add(other.connections);
        self.channels.add(other.channels);
        self.requests.add(other.requests);
        self.token_requests.add(other.token_requests);
        self.push_requests.add(other.push_requests);
        self
    }

    /// The counts of two nodes in one interval. The peaks of both are taken to be at the same time.
    pub(crate) fn beside(self, other: Self) -> Self {
        let mut sum = self.and(other);
        sum.connections.peak = self.connections.peak + other.connections.peak;
        sum.channels.peak = self.channels.peak + other.channels.peak;
        sum
    }

    /// Whether nothing happened. Connections and channels that were open before do not count.
    pub(crate) fn is_empty(&self) -> bool {
        let quiet = |open: &Open| open.opened == 0;
        let counts = Self { connections: Open::default(), channels: Open::default(), ..*self };
        quiet(&self.connections) && quiet(&self.channels) && counts == Self::default()
    }

    /// The counts by their names in statistics, without zeros.
    pub(crate) fn entries(&self) -> BTreeMap<String, f64> {
        let mut entries = BTreeMap::new();
        let mut add = |name: String, value: u64| {
            if value > 0 {
                entries.insert(name, value as f64);
            }
        };
        for (way, traffic) in [
            ("inbound.realtime", &self.inbound_realtime),
            ("inbound.rest", &self.inbound_rest),
            ("outbound.realtime", &self.outbound_realtime),
            ("persisted", &self.persisted),
        ] {
            for (kind, volume) in [
                ("messages", traffic.messages),
                ("presence", traffic.presence),
                ("objects", traffic.objects),
            ] {
                add(format!("messages.{way}.{kind}.count"), volume.count);
                add(format!("messages.{way}.{kind}.data"), volume.data);
            }
        }
        for (name, open) in [("connections.all", &self.connections), ("channels", &self.channels)] {
            add(format!("{name}.peak"), open.peak);
            add(format!("{name}.opened"), open.opened);
        }
        for (kind, requests) in [
            ("tokenRequests", &self.token_requests),
            ("push", &self.push_requests),
            ("other", &self.requests),
        ] {
            add(format!("apiRequests.{kind}.succeeded"), requests.succeeded);
            add(format!("apiRequests.{kind}.failed"), requests.failed);
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_minutes_have_the_sum_of_counts_and_the_higher_peak() {
        let mut minute = Tally::default();
        let volume = Volume { count: 2, data: 30 };
        for way in [Way::Realtime, Way::Rest] {
            minute.published(way, volume);
        }
        for traffic in
            [&mut minute.inbound_realtime, &mut minute.outbound_realtime, &mut minute.persisted]
        {
            *traffic = Traffic { messages: volume, presence: volume, objects: volume };
        }
        minute.connections(7, 3);
        minute.channels(5, 1);
        for kind in [RequestKind::Token, RequestKind::Push, RequestKind::Other] {
            minute.request(kind, true);
            minute.request(kind, false);
        }
        let text = serde_json::to_vec(&minute).unwrap();
        let stored: Tally = serde_json::from_slice(&text).unwrap();
        assert_eq!(stored.entries(), minute.entries());
        assert_eq!((stored.connections.now, stored.channels.now), (0, 0));
        assert_eq!(serde_json::to_value(Tally::default()).unwrap(), serde_json::json!({}));
        let once = minute.entries();
        let twice = minute.and(minute).entries();
        assert_eq!(once.len(), 2 * 10 + 2 * 2 + 2 * 3);
        assert_eq!(twice.len(), once.len());
        for (name, value) in &once {
            let factor = if name.ends_with("peak") { 1.0 } else { 2.0 };
            assert_eq!(twice[name], factor * value, "{name}");
        }
        let mut quieter = Tally::default();
        quieter.connections(4, 0);
        assert_eq!(minute.and(quieter).entries()["connections.all.peak"], 7.0);
        assert_eq!(quieter.and(minute).entries()["connections.all.peak"], 7.0);
        assert_eq!(minute.beside(quieter).entries()["connections.all.peak"], 11.0);
        assert_eq!(minute.beside(minute).entries()["channels.peak"], 10.0);
        assert_eq!(minute.beside(minute).entries()["channels.opened"], 2.0);
    }
}
