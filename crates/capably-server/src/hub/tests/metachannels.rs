//! Metachannels, in virtual time.

use capably_protocol::{ErrorCode, ErrorInfo};
use serde_json::{Value, json};

use super::*;
use crate::hub::Observed;

const CHANNELS: &str = "[meta]channel.lifecycle";
const CONNECTIONS: &str = "[meta]connection.lifecycle";
const STATS: &str = "[meta]stats:minute";

impl Bench {
    /// A client that may do everything everywhere, metachannels included.
    fn observer(&mut self) -> TransportId {
        let everything = Arc::new(capability(json!({"[*]*": ["*"]})));
        let identity = Identity { capability: everything, ..self.identity() };
        self.connect_as(identity, None, true).0
    }

    fn publish_for_stats(&mut self) {
        let (client, _) = self.connect(None);
        self.attach(client, "a", None);
        self.publish(client, "a", 0, "x");
    }

    /// The events that a transport receives, with their names.
    fn events_on(&mut self, transport: TransportId) -> Vec<(String, Value)> {
        self.app.take_events(self.now, &mut self.outputs);
        let frames = self.frames(transport).into_iter();
        let deliveries = frames.filter_map(|frame| match frame {
            ServerFrame::Message(delivery) => Some(delivery),
            _ => None,
        });
        let events = deliveries.flat_map(|delivery| delivery.items).map(|message| {
            assert_eq!(message.encoding.as_deref(), Some("json"));
            let data = serde_json::from_str(message.data.as_str().unwrap()).unwrap();
            (message.name.unwrap_or_default().to_string(), data)
        });
        events.collect()
    }

    /// The names of channels and their counts of connections in the events that a transport receives.
    fn lifecycle(&mut self, transport: TransportId) -> Vec<String> {
        let events = self.events_on(transport).into_iter().map(|(name, data)| {
            assert_eq!(data["channelId"], data["name"]);
            let status = &data["status"];
            assert_eq!(status["isActive"], name != "channel.closed");
            let connections = &status["occupancy"]["metrics"]["connections"];
            format!("{name} {} {connections}", data["channelId"].as_str().unwrap())
        });
        events.collect()
    }
}

#[test]
fn a_subscriber_receives_the_lifecycle_and_the_occupancy_of_channels() {
    let mut bench = Bench::new();
    let observer = bench.observer();
    let attached = bench.attach(observer, CHANNELS, None);
    assert_eq!(attached.flags.modes(), [ChannelMode::Subscribe]);
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    assert_eq!(bench.lifecycle(observer), ["channel.opened a 1", "channel.occupancy a 1"]);
    // Nothing is said of metachannels.
    bench.attach(observer, CONNECTIONS, None);
    assert_eq!(bench.lifecycle(observer), Vec::<String>::new());
    bench.send(client, vec![ClientFrame::Detach { channel: "a".into() }]);
    assert_eq!(bench.lifecycle(observer), ["channel.occupancy a 0"]);
    for _ in 0..10 {
        bench.advance(Duration::from_secs(60));
    }
    assert_eq!(bench.lifecycle(observer), ["channel.closed a 0"]);
}

#[test]
fn nothing_is_published_on_a_metachannel_without_subscribers() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    assert!(!bench.app.is_observed());
    assert!(!bench.app.has_channel(CHANNELS));
    let observer = bench.observer();
    bench.attach(observer, CHANNELS, None);
    assert!(bench.app.is_observed());
    assert_eq!(bench.lifecycle(observer), Vec::<String>::new(), "what was before is not told");
    bench.send(observer, vec![ClientFrame::Detach { channel: CHANNELS.into() }]);
    assert!(!bench.app.is_observed());
    bench.advance(Duration::from_secs(60));
}

#[test]
fn rules_of_webhooks_and_subscribers_observe_the_same_events() {
    let mut bench = Bench::new();
    let observer = bench.observer();
    bench.attach(observer, CHANNELS, None);
    let all = Observed { messages: true, presence: true, lifecycle: true, occupancy: true };
    bench.app.observe(all);
    let (client, _) = bench.connect(None);
    bench.attach(client, "a", None);
    let events = bench.app.take_events(bench.now, &mut bench.outputs);
    let channels: Vec<_> = events.iter().map(|event| &*event.channel).collect();
    assert_eq!(channels, ["a", "a"]);
    assert_eq!(bench.lifecycle(observer).len(), 2);
    // The events of the metachannel are no events for webhooks.
    assert!(bench.app.take_events(bench.now, &mut bench.outputs).is_empty());
    bench.app.observe(Observed::default());
    bench.attach(client, "b", None);
    assert_eq!(bench.lifecycle(observer), ["channel.opened b 1", "channel.occupancy b 1"]);
}

#[test]
fn a_subscriber_receives_the_lifecycle_of_connections() {
    let mut bench = Bench::new();
    let observer = bench.observer();
    bench.attach(observer, CONNECTIONS, None);
    let named = Identity::of_key(&bench.key, Some("ada".into())).unwrap();
    let (first, connected) = bench.connect_as(named, None, true);
    let id = connected.connection_id.clone().unwrap();
    let of_first = json!({"connectionId": id, "clientId": "ada"});
    assert_eq!(bench.events_on(observer), [("connection.opened".to_owned(), of_first.clone())]);
    // A resume is neither.
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
    let named = Identity::of_key(&bench.key, Some("ada".into())).unwrap();
    let (first, _) = bench.connect_as(named, Some(&key(&connected)), true);
    assert_eq!(bench.events_on(observer), []);
    bench.send(first, vec![ClientFrame::Close]);
    assert_eq!(bench.events_on(observer), [("connection.closed".to_owned(), of_first)]);
    let (second, connected) = bench.connect(None);
    bench.app.transport_closed(second, bench.now, &mut bench.outputs);
    assert_eq!(bench.events_on(observer).len(), 1);
    bench.advance(TTL);
    let id = connected.connection_id.unwrap();
    let closed = ("connection.closed".to_owned(), json!({"connectionId": id}));
    assert_eq!(bench.events_on(observer), [closed]);
}

#[test]
fn a_subscriber_receives_the_statistics_of_each_minute() {
    let mut bench = Bench::new();
    // The clock of the bench is 1.41 s before the end of a minute.
    bench.publish_for_stats();
    let observer = bench.observer();
    bench.attach(observer, STATS, None);
    assert_eq!(bench.events_on(observer), [], "there is no minute before this one");
    let end = bench.now.steady + Duration::from_millis(1410);
    assert_eq!(bench.app.next_timeout(), Some(end));
    bench.advance(Duration::from_millis(1410));
    let [(name, data)] = &bench.events_on(observer)[..] else { panic!("one event") };
    assert_eq!(
        (&**name, &data["intervalId"], &data["unit"]),
        ("update", &json!("2024-09-17:15:12"), &json!("minute"))
    );
    assert_eq!(data["entries"]["messages.inbound.realtime.messages.count"], 1.0);
    assert_eq!(data["entries"]["connections.all.opened"], 2.0);
    // A quiet minute has the open connections.
    bench.advance(Duration::from_secs(60));
    let [(_, data)] = &bench.events_on(observer)[..] else { panic!("one event") };
    assert_eq!(data["intervalId"], "2024-09-17:15:13");
    assert_eq!(data["entries"]["connections.all.peak"], 2.0);
    // The newest is in the log for those who come later.
    let late = bench.observer();
    let attach = Attach {
        channel: STATS.into(),
        params: [("rewind".to_owned(), "1".to_owned())].into(),
        ..Attach::default()
    };
    bench.send(late, vec![ClientFrame::Attach(attach)]);
    let [(_, data)] = &bench.events_on(late)[..] else { panic!("one event") };
    assert_eq!(data["intervalId"], "2024-09-17:15:13");
}

#[test]
fn the_first_subscriber_receives_the_statistics_of_the_last_minute_at_once() {
    let mut bench = Bench::new();
    bench.publish_for_stats();
    bench.advance(Duration::from_secs(2));
    let observer = bench.observer();
    for events in [1, 0] {
        bench.attach(observer, STATS, None);
        let received = bench.events_on(observer);
        assert_eq!(received.len(), events, "once: {received:?}");
        bench.send(observer, vec![ClientFrame::Detach { channel: STATS.into() }]);
        bench.frames(observer);
    }
    bench.advance(Duration::from_secs(120));
    assert_eq!(bench.events_on(observer), []);
}

#[test]
fn failures_are_logged() {
    let mut bench = Bench::new();
    let observer = bench.observer();
    bench.attach(observer, "[meta]log", None);
    bench.attach(observer, "[meta]log:push", None);
    let problem = ErrorInfo::new(ErrorCode(70002), 502, "refused");
    let error = json!({"code": 70002, "statusCode": 502, "message": "refused"});
    bench.app.webhook_failed("rule", 3, &problem, bench.now, &mut bench.outputs);
    let logged =
        json!({"tag": "reactor.generic.http", "ruleId": "rule", "events": 3, "error": error});
    assert_eq!(bench.events_on(observer), [(String::new(), logged)]);
    let device = Str::from("device");
    bench.app.pushed(Some(&device), Err(problem), bench.now, &mut bench.outputs);
    bench.app.pushed(Some(&device), Ok(()), bench.now, &mut bench.outputs);
    let logged = json!({"deviceId": "device", "error": error});
    assert_eq!(bench.events_on(observer), [(String::new(), logged)]);
}

#[test]
fn clients_can_only_receive_events_and_read_their_history() {
    let mut bench = Bench::new();
    let observer = bench.observer();
    bench.attach(observer, CHANNELS, None);
    bench.attach(observer, "a", None);
    assert_eq!(bench.events_on(observer).len(), 2);
    for (serial, channel) in [(0, CHANNELS), (1, "[meta?rewind=1]log")] {
        bench.send(observer, vec![publish(channel, serial, vec![Message::new("m", "x")])]);
        assert_eq!(nack_code(bench.frames(observer)).1, 40160, "{channel}");
    }
    let query = HistoryQuery { page: all(Direction::Forwards), from_serial: None };
    let everything = Arc::new(capability(json!({"[meta]*": ["history", "channel-metadata"]})));
    let reader = Identity { capability: everything, ..bench.identity() };
    let page = bench.app.history(&reader, CHANNELS, &query, bench.now).unwrap();
    let names: Vec<_> = page.items.iter().map(|it| it.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["channel.opened", "channel.occupancy"]);
    let refused = bench.app.occupancy(&reader, CHANNELS).unwrap_err();
    assert_eq!(refused.code.0, 40160);
    let listed = bench.app.channels(&bench.identity(), "", &all(Direction::Forwards)).unwrap();
    assert_eq!(listed.items.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_capability_must_name_the_qualifier() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(None);
    for (channel, code) in [(CHANNELS, 40160), ("[meta]unknown", 40021)] {
        let attach = Attach { channel: channel.into(), ..Attach::default() };
        bench.send(client, vec![ClientFrame::Attach(attach)]);
        let frames = bench.frames(client);
        let [ServerFrame::Error(frame)] = &frames[..] else { panic!("{frames:?}") };
        let error = frame.error.as_ref().unwrap();
        assert_eq!(error.code.0, code, "{channel}");
        assert!(error.message.contains("[meta]"), "{}", error.message);
    }
    let meta = Arc::new(capability(json!({"[meta]*": ["subscribe"]})));
    let identity = Identity { capability: meta, ..bench.identity() };
    let (client, _) = bench.connect_as(identity, None, true);
    bench.attach(client, CHANNELS, None);
}
