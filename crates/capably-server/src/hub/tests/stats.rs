//! Statistics, in virtual time.

use std::collections::BTreeMap;

use bytes::Bytes;
use capably_protocol::{Stats, StatsInterval, StatsUnit};
use serde_json::json;

use super::*;
use crate::hub::{RequestKind, StatsQuery, stored_stats::Elsewhere};

fn fixture(id: &str, count: f64, peak: f64) -> Stats {
    serde_json::from_value(json!({
        "intervalId": id,
        "inbound": {"realtime": {"messages": {"count": count, "data": 10.0 * count}}},
        "connections": {"tls": {"peak": peak, "opened": 1}},
    }))
    .unwrap()
}

impl Bench {
    fn post_fixtures(&mut self, fixtures: &[(&str, f64, f64)]) {
        let identity = self.identity();
        let fixtures = fixtures.iter().map(|(id, count, peak)| fixture(id, *count, *peak));
        let posted = self.app.check_posted(&identity, fixtures.collect()).unwrap();
        self.app.add_posted(posted);
    }

    fn stats(&self, unit: StatsUnit, start: Option<&str>, end: Option<&str>) -> Vec<Stats> {
        let start = start.map(|id| StatsInterval::parse(id).unwrap().start());
        let end = end.map(|id| StatsInterval::parse(id).unwrap().end() - 1);
        let page = PageQuery { start, end, ..all(Direction::Forwards) };
        let query = StatsQuery { page, unit };
        self.app.stats(&self.identity(), &query, &Elsewhere::default(), self.now).unwrap().items
    }
}

const COUNT: &str = "messages.all.messages.count";

fn digest(intervals: &[Stats]) -> Vec<(&str, f64, f64)> {
    intervals
        .iter()
        .map(|it| (&*it.interval_id, it.entry(COUNT), it.entry("connections.all.peak")))
        .collect()
}

// Spec: RSC6b1, RSC6b4
#[test]
fn minutes_add_up_to_longer_intervals() {
    let mut bench = Bench::new();
    bench.post_fixtures(&[
        ("2024-02-03:15:03", 1.0, 5.0),
        ("2024-02-03:15:04", 2.0, 7.0),
        ("2024-02-03:15:05", 4.0, 6.0),
        ("2024-02-03:16:00", 8.0, 1.0),
        ("2024-02-04:00:00", 16.0, 2.0),
        ("2024-03-01:00:00", 32.0, 3.0),
    ]);
    for (unit, start, end, expected) in [
        (
            StatsUnit::Minute,
            Some("2024-02-03:15:04"),
            Some("2024-02-03:15:05"),
            &[("2024-02-03:15:04", 2.0, 7.0), ("2024-02-03:15:05", 4.0, 6.0)][..],
        ),
        (
            StatsUnit::Minute,
            Some("2024-02-03:16"),
            Some("2024-02"),
            &[("2024-02-03:16:00", 8.0, 1.0), ("2024-02-04:00:00", 16.0, 2.0)],
        ),
        (
            StatsUnit::Hour,
            Some("2024-02-03:15:59"),
            Some("2024-02-03:15:59"),
            &[("2024-02-03:15", 7.0, 7.0)],
        ),
        (
            StatsUnit::Day,
            None,
            Some("2024-02-29"),
            &[("2024-02-03", 15.0, 7.0), ("2024-02-04", 16.0, 2.0)],
        ),
        (
            StatsUnit::Month,
            Some("2024-02-15"),
            None,
            &[("2024-02", 31.0, 7.0), ("2024-03", 32.0, 3.0)],
        ),
        (StatsUnit::Minute, Some("2024-05"), None, &[]),
        (StatsUnit::Minute, None, Some("2024-01"), &[]),
    ] {
        assert_eq!(digest(&bench.stats(unit, start, end)), expected);
    }
    let month = &bench.stats(StatsUnit::Month, None, None)[0];
    assert_eq!(month.unit, Some(StatsUnit::Month));
    assert_eq!(month.app_id.as_deref(), Some(APP));
    assert_eq!(month.in_progress, None);
    assert!(month.schema.is_some());
    assert_eq!(month.entry("connections.all.opened"), 5.0);
    assert_eq!(month.entry("messages.inbound.realtime.all.data"), 310.0);

    // A second fixture of the same interval replaces the first.
    bench.post_fixtures(&[("2024-02-03:15:03", 100.0, 5.0)]);
    assert_eq!(bench.stats(StatsUnit::Minute, None, None)[0].entry(COUNT), 100.0);
}

#[test]
fn statistics_count_messages_requests_and_connections() {
    let mut bench = Bench::new();
    assert_eq!(bench.stats(StatsUnit::Minute, None, None), []);
    let (first, _) = bench.connect(None);
    let (second, connected) = bench.connect(None);
    for transport in [first, second] {
        bench.attach(transport, "a", None);
    }
    bench.publish(first, "a", 0, "four");
    bench.send(first, vec![publish("a", 0, vec![Message::new("m", "four")])]);
    let identity = bench.identity();
    let publish_rest = |bench: &mut Bench, channel: &str| {
        let messages = vec![Message::new("", "abc"), Message::new("", "de")];
        bench.app.publish(&identity, &channel.into(), messages, bench.now, &mut bench.outputs)
    };
    publish_rest(&mut bench, "a").unwrap();
    publish_rest(&mut bench, "").unwrap_err();
    bench.app.count_request(RequestKind::Other, true, bench.now);
    bench.app.count_request(RequestKind::Other, false, bench.now);
    bench.app.count_request(RequestKind::Token, true, bench.now);
    bench.app.transport_closed(second, bench.now, &mut bench.outputs);
    bench.connect(Some(&key(&connected)));

    let intervals = bench.stats(StatsUnit::Minute, None, None);
    let [minute] = &intervals[..] else { panic!("{intervals:?}") };
    let id = StatsInterval::at(bench.now.wall, &StatsUnit::Minute).unwrap().to_string();
    assert_eq!((&*minute.interval_id, minute.in_progress.as_deref()), (&*id, Some(&*id)));
    for (name, expected) in [
        ("messages.inbound.realtime.messages.count", 1.0),
        ("messages.inbound.realtime.messages.data", 5.0),
        ("messages.inbound.rest.messages.count", 2.0),
        ("messages.inbound.rest.messages.data", 5.0),
        ("messages.inbound.all.all.count", 3.0),
        // Each of the two subscribers receives three messages.
        ("messages.outbound.realtime.messages.count", 6.0),
        ("messages.outbound.realtime.messages.data", 20.0),
        ("messages.all.messages.count", 9.0),
        ("connections.all.peak", 2.0),
        ("connections.all.opened", 2.0),
        ("channels.peak", 1.0),
        ("channels.opened", 1.0),
        ("apiRequests.other.succeeded", 1.0),
        ("apiRequests.other.failed", 1.0),
        ("apiRequests.tokenRequests.succeeded", 1.0),
        ("apiRequests.all.succeeded", 2.0),
    ] {
        assert_eq!(minute.entry(name), expected, "{name}");
    }

    // A minute without events has no entry. In the next minute, open connections and channels count for the peak.
    bench.advance(Duration::from_secs(120));
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
    assert_eq!(bench.stats(StatsUnit::Minute, None, None).len(), 1);
    publish_rest(&mut bench, "a").unwrap();
    let intervals = bench.stats(StatsUnit::Minute, None, None);
    assert_eq!(intervals.len(), 2);
    assert_eq!(intervals[0].in_progress, None);
    assert_eq!(intervals[1].entry("connections.all.peak"), 2.0);
    assert_eq!(intervals[1].entry("connections.all.opened"), 0.0);
    bench.advance(Duration::from_secs(60));
    bench.connect(None);
    assert_eq!(bench.stats(StatsUnit::Minute, None, None).len(), 3, "a connection is something");
    let hours = bench.stats(StatsUnit::Hour, None, None);
    assert_eq!(hours[0].entry("messages.inbound.rest.messages.count"), 4.0);
    let now = StatsInterval::at(bench.now.wall, &StatsUnit::Minute).unwrap().to_string();
    assert_eq!(hours[0].in_progress.as_deref(), Some(&*now));
}

#[test]
fn annotations_and_changes_count_as_messages() {
    let mut bench = Bench::new();
    let identity = bench.identity();
    let channel = Str::from("mutable:a");
    let published = bench
        .app
        .publish(&identity, &channel, vec![Message::new("m", "ab")], bench.now, &mut bench.outputs)
        .unwrap()
        .published();
    let append = Message {
        serial: Some(published.serials[0].clone()),
        action: Some(capably_protocol::MessageAction::Append),
        ..Message { data: "c".into(), ..Message::default() }
    };
    bench.app.change(&identity, &channel, append, bench.now, &mut bench.outputs).unwrap();
    let annotation = capably_protocol::Annotation {
        action: Some(capably_protocol::AnnotationAction::Create),
        annotation_type: Some("x".into()),
        name: Some("name".into()),
        ..Default::default()
    };
    bench
        .app
        .annotate(
            &identity,
            &channel,
            &published.serials[0],
            vec![annotation],
            bench.now,
            &mut bench.outputs,
        )
        .unwrap();
    let minute = &bench.stats(StatsUnit::Minute, None, None)[0];
    assert_eq!(minute.entry("messages.inbound.rest.messages.count"), 3.0);
    assert_eq!(minute.entry("messages.inbound.rest.messages.data"), 8.0);
}

#[test]
fn statistics_need_a_capability_for_the_whole_app() {
    let bench = Bench::new();
    let query = StatsQuery { page: all(Direction::Forwards), unit: StatsUnit::Minute };
    for (value, allowed) in [
        (json!({"*": ["statistics"]}), true),
        (json!({"[*]*": ["*"]}), true),
        (json!({"*": ["publish", "subscribe"]}), false),
        (json!({"a": ["*"]}), false),
    ] {
        let key = Key::new("limited", "s", capability(value.clone()));
        let identity = Identity::of_key(&key, None).unwrap();
        let read = bench
            .app
            .stats(&identity, &query, &Elsewhere::default(), bench.now)
            .map(|page| page.items.len());
        let written = bench.app.check_posted(&identity, vec![fixture("2024-02-03", 1.0, 1.0)]);
        let codes = [read.err(), written.err()].map(|error| error.map(|error| error.code.0));
        assert_eq!(codes, [(!allowed).then_some(40160); 2], "{value}");
    }
    let identity = bench.identity();
    let wrong = bench.app.check_posted(&identity, vec![fixture("yesterday", 1.0, 1.0)]);
    assert_eq!(wrong.unwrap_err().code.0, 40000);
}

#[test]
fn persisted_messages_are_counted() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach(transport, "persisted:a", None);
    let member = capably_protocol::PresenceMessage {
        action: Some(capably_protocol::PresenceAction::Enter),
        client_id: Some("me".into()),
        data: Data::from("here"),
        ..Default::default()
    };
    let enter = Publish {
        channel: "persisted:a".into(),
        msg_serial: 0,
        items: Arc::from(vec![member]),
        params: Default::default(),
    };
    bench.send(transport, vec![ClientFrame::Presence(enter)]);
    bench.send(transport, vec![publish("persisted:a", 1, vec![Message::new("m", "12345"); 3])]);
    bench.publish(transport, "a", 2, "not persisted");
    let stats = bench.stats(StatsUnit::Minute, None, None);
    let entry = |name: &str| stats[0].entry(&format!("messages.persisted.{name}"));
    assert_eq!((entry("messages.count"), entry("messages.data")), (3.0, 18.0));
    assert_eq!((entry("presence.count"), entry("presence.data")), (1.0, 6.0));
    assert_eq!((entry("all.count"), entry("all.data")), (4.0, 24.0));
}

#[test]
fn years_of_statistics_are_merged_without_loss_in_little_memory() {
    let mut bench = Bench::new();
    let hour = Duration::from_secs(3600);
    let begin = bench.now.wall;
    // One request every hour for nine years.
    let hours = 9 * 365 * 24;
    for _ in 0..hours {
        bench.app.count_request(RequestKind::Other, true, bench.now);
        bench.now.steady += hour;
        bench.now.wall += hour.as_millis() as i64;
    }
    let lengths = bench.app.stats.counted.lengths();
    assert_eq!(lengths[..3], [7 * 24 * 60, 62 * 24, 731]);
    assert!(lengths[3] <= 120, "{lengths:?}");
    let sum = |unit: StatsUnit| -> f64 {
        let page = PageQuery { limit: 100_000, ..all(Direction::Forwards) };
        let query = StatsQuery { page, unit };
        let found = bench
            .app
            .stats(&bench.identity(), &query, &Elsewhere::default(), bench.now)
            .unwrap()
            .items;
        found.iter().map(|it| it.entry("apiRequests.other.succeeded")).sum()
    };
    assert_eq!(sum(StatsUnit::Month), f64::from(hours));
    let first = bench.stats(StatsUnit::Month, None, None)[0].interval_id.clone();
    assert_eq!(*first, *StatsInterval::at(begin, &StatsUnit::Month).unwrap().to_string());
    // A day that is stored partly as hours and partly as minutes is complete.
    let day = bench.stats(StatsUnit::Day, None, None);
    let full = day[1..day.len() - 1].iter().map(|it| it.entry("apiRequests.other.succeeded"));
    assert!(full.skip(1).all(|count| (count - 24.0).abs() < 0.5));
}

impl Bench {
    fn with_stored_stats() -> Self {
        let mut bench = Self::new();
        bench.app.stats = crate::hub::stats::Stats::stored();
        bench
    }

    /// Moves what this node stores to `there`.
    fn store_stats(&mut self, there: &mut BTreeMap<String, Bytes>) {
        for (interval, value) in self.app.take_stats() {
            match value {
                Some(value) => drop(there.insert(interval, value)),
                None => drop(there.remove(&interval)),
            }
        }
    }

    fn count_requests(&mut self, count: usize) {
        for _ in 0..count {
            self.app.count_request(RequestKind::Other, true, self.now);
        }
    }

    fn requests(&self, unit: StatsUnit, elsewhere: &Elsewhere) -> Vec<f64> {
        let page = PageQuery { limit: 100_000, ..all(Direction::Forwards) };
        let query = StatsQuery { page, unit };
        let found = self.app.stats(&self.identity(), &query, elsewhere, self.now).unwrap().items;
        found.iter().map(|it| it.entry("apiRequests.other.succeeded")).collect()
    }
}

#[test]
fn a_node_that_starts_again_adds_to_what_it_has_stored() {
    let mut stored = BTreeMap::new();
    let mut bench = Bench::with_stored_stats();
    bench.count_requests(2);
    bench.store_stats(&mut stored);
    bench.store_stats(&mut stored);
    bench.count_requests(1);
    bench.advance(Duration::from_secs(60));
    bench.count_requests(4);
    bench.store_stats(&mut stored);
    assert_eq!(stored.len(), 2);
    let now = bench.now;

    let mut again = Bench::with_stored_stats();
    again.now = now;
    // It may count before it knows what is stored.
    again.count_requests(8);
    for (interval, value) in &stored {
        again.app.restore_stats(interval, value).unwrap();
    }
    assert_eq!(again.requests(StatsUnit::Minute, &Elsewhere::default()), [3.0, 12.0]);
    again.store_stats(&mut stored);
    assert_eq!(stored.len(), 2);

    // What could not be stored is stored the next time.
    again.count_requests(16);
    let lost = again.app.take_stats();
    assert_eq!(lost.len(), 1);
    again.app.put_back_stats(lost.iter().map(|(interval, _)| &**interval));
    again.store_stats(&mut stored);
    let mut other = Elsewhere::default();
    for (interval, value) in &stored {
        other.add(interval, value).unwrap();
    }
    let reader = Bench::with_stored_stats();
    assert_eq!(reader.requests(StatsUnit::Minute, &other), [3.0, 28.0]);
    assert_eq!(reader.requests(StatsUnit::Month, &other), [31.0]);
}

#[test]
fn the_counts_of_several_nodes_are_added() {
    let mut stored = BTreeMap::new();
    let (mut here, mut there) = (Bench::with_stored_stats(), Bench::with_stored_stats());
    for _ in 0..2 {
        there.connect(None);
    }
    for _ in 0..3 {
        here.connect(None);
    }
    here.count_requests(1);
    there.count_requests(2);
    let minute = Duration::from_secs(60);
    here.advance(minute);
    there.advance(2 * minute);
    here.count_requests(4);
    there.count_requests(8);
    here.now = there.now;
    there.store_stats(&mut stored);
    let mut elsewhere = Elsewhere::default();
    for (interval, value) in &stored {
        elsewhere.add(interval, value).unwrap();
    }
    assert_eq!(here.requests(StatsUnit::Minute, &elsewhere), [3.0, 4.0, 8.0]);
    assert_eq!(here.requests(StatsUnit::Minute, &Elsewhere::default()), [1.0, 4.0]);
    let query = StatsQuery { page: all(Direction::Forwards), unit: StatsUnit::Minute };
    let page = here.app.stats(&here.identity(), &query, &elsewhere, here.now).unwrap();
    assert_eq!(page.items[0].entry("connections.all.peak"), 5.0);
    assert_eq!(page.items[0].entry("connections.all.opened"), 5.0);
    for wrong in [("yesterday", "{}"), ("2024-02-03", "1"), ("2024-02-03", "x")] {
        assert!(elsewhere.add(wrong.0, wrong.1.as_bytes()).is_err(), "{wrong:?}");
        assert!(here.app.restore_stats(wrong.0, wrong.1.as_bytes()).is_err(), "{wrong:?}");
    }
}

#[test]
fn years_of_statistics_are_stored_in_as_few_facts_as_there_are_intervals() {
    let mut stored = BTreeMap::new();
    let mut bench = Bench::with_stored_stats();
    let hour = Duration::from_secs(3600);
    let hours: u32 = 5 * 365 * 24;
    for count in 0..hours {
        bench.count_requests(1);
        bench.now.steady += hour;
        bench.now.wall += hour.as_millis() as i64;
        if count % 100 == 0 {
            bench.store_stats(&mut stored);
        }
    }
    bench.store_stats(&mut stored);
    assert_eq!(stored.len(), bench.app.stats.counted.lengths().iter().sum::<usize>());
    let mut again = Bench::with_stored_stats();
    again.now = bench.now;
    for (interval, value) in &stored {
        again.app.restore_stats(interval, value).unwrap();
    }
    for unit in [StatsUnit::Minute, StatsUnit::Day, StatsUnit::Month] {
        let none = Elsewhere::default();
        assert_eq!(again.requests(unit.clone(), &none), bench.requests(unit, &none));
    }
    assert_eq!(
        again.requests(StatsUnit::Month, &Elsewhere::default()).iter().sum::<f64>(),
        f64::from(hours)
    );
    // Without an engine, nothing waits to be stored.
    let mut alone = Bench::new();
    alone.count_requests(1);
    assert!(alone.app.take_stats().is_empty());
}
