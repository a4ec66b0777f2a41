//! Occupancy of channels, for clients that request it.

use capably_protocol::{MessageAction, PresenceAction, PresenceMessage};
use serde_json::{Value, json};

use super::*;

fn with_params(channel: &str, params: &[(&str, &str)]) -> Attach {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Attach { channel: channel.into(), params: params.collect(), ..Attach::default() }
}

impl Bench {
    fn watch(&mut self, transport: TransportId, channel: &str, wanted: &str) {
        let attach = with_params(channel, &[("occupancy", wanted)]);
        self.send(transport, vec![ClientFrame::Attach(attach)]);
    }

    /// The counts sent to a transport, each with the channel of its frame.
    fn counts(&mut self, transport: TransportId) -> Vec<(String, Value)> {
        let mut counts = Vec::new();
        for frame in self.frames(transport) {
            let ServerFrame::Message(delivery) = frame else { continue };
            let [message] = &delivery.items[..] else { panic!("one message") };
            assert_eq!(message.name.as_deref(), Some("[meta]occupancy"));
            assert_eq!(message.action, Some(MessageAction::Meta));
            assert_eq!(message.encoding.as_deref(), Some("json"));
            assert_eq!((delivery.channel_serial, delivery.connection_id), (None, None));
            let data: Value = serde_json::from_str(message.data.as_str().unwrap()).unwrap();
            counts.push((delivery.channel.to_string(), data["metrics"].clone()));
        }
        counts
    }

    fn only(&mut self, transport: TransportId) -> Vec<Value> {
        self.counts(transport).into_iter().map(|(_, counts)| counts).collect()
    }
}

fn all_of(uses: u32, members: u32) -> Value {
    json!({
        "connections": uses,
        "publishers": uses,
        "subscribers": uses,
        "presenceConnections": uses,
        "presenceMembers": members,
        "presenceSubscribers": uses,
        "objectPublishers": 0,
        "objectSubscribers": 0,
    })
}

fn enter(channel: &str, msg_serial: u64, action: PresenceAction) -> ClientFrame {
    let member = PresenceMessage {
        action: Some(action),
        client_id: Some("me".into()),
        ..PresenceMessage::default()
    };
    ClientFrame::Presence(Publish {
        channel: channel.into(),
        msg_serial,
        items: Arc::from(vec![member]),
        params: Default::default(),
    })
}

const GATHERING: Duration = Duration::from_secs(1);

#[test]
fn occupancy_is_sent_after_an_attach_and_after_each_change() {
    let mut bench = Bench::new();
    let (watcher, _) = bench.connect(None);
    let (other, _) = bench.connect(None);
    let (third, _) = bench.connect(None);
    bench.watch(watcher, "a", "metrics");
    assert_eq!(bench.counts(watcher), [("a".to_owned(), all_of(1, 0))]);
    // Changes of the counts are collected for a second.
    bench.attach(other, "a", None);
    bench.attach(third, "a", None);
    bench.attach(third, "b", None);
    assert_eq!(bench.only(watcher), [] as [Value; 0]);
    let due = bench.app.next_timeout().unwrap();
    assert_eq!(due, bench.now.steady + GATHERING);
    bench.advance(GATHERING);
    assert_eq!(bench.only(watcher), [all_of(3, 0)]);
    // The first member is sent at once, and its update is not sent.
    bench.send(other, vec![enter("a", 0, PresenceAction::Enter)]);
    assert_eq!(bench.only(watcher), [all_of(3, 1)]);
    bench.send(other, vec![enter("a", 1, PresenceAction::Update)]);
    bench.send(third, vec![ClientFrame::Close]);
    assert_eq!(bench.only(watcher), [] as [Value; 0]);
    bench.app.transport_closed(other, bench.now, &mut bench.outputs);
    bench.advance(GATHERING);
    assert_eq!(bench.only(watcher), [all_of(1, 1)]);
    bench.advance(Duration::from_secs(15));
    assert_eq!(bench.only(watcher), [all_of(1, 0)]);
    bench.advance(Duration::from_secs(120));
    assert_eq!(bench.only(watcher), [] as [Value; 0]);
    // Only the connection that requested occupancy received it.
    assert_eq!(bench.only(other), [] as [Value; 0]);
    // Occupancy is not in the history of the channel.
    assert_eq!(bench.history("a"), []);
}

#[test]
fn occupancy_changes_that_cancel_out_are_not_sent() {
    let mut bench = Bench::new();
    let (watcher, _) = bench.connect(None);
    let (other, _) = bench.connect(None);
    bench.watch(watcher, "a", "metrics");
    bench.frames(watcher);
    bench.attach(other, "a", None);
    bench.send(other, vec![ClientFrame::Detach { channel: "a".into() }]);
    bench.advance(GATHERING);
    assert_eq!(bench.only(watcher), [] as [Value; 0]);
}

#[test]
fn a_client_can_request_one_occupancy_metric() {
    let mut bench = Bench::new();
    let (watcher, _) = bench.connect(None);
    let (other, _) = bench.connect(None);
    bench.watch(watcher, "[?occupancy=metrics.presenceMembers]a", "metrics.presenceMembers");
    let name = "[?occupancy=metrics.presenceMembers]a".to_owned();
    assert_eq!(bench.counts(watcher), [(name, json!({"presenceMembers": 0}))]);
    bench.attach(other, "a", None);
    bench.advance(GATHERING);
    assert_eq!(bench.only(watcher), [] as [Value; 0]);
    bench.send(other, vec![enter("a", 0, PresenceAction::Enter)]);
    assert_eq!(bench.only(watcher), [json!({"presenceMembers": 1})]);
}

#[test]
fn only_a_valid_occupancy_parameter_is_echoed() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    for (wanted, echoed) in [("metrics", true), ("metrics.publishers", true), ("metrics.x", false)]
    {
        bench.watch(transport, "a", wanted);
        let frames = bench.frames(transport);
        let ServerFrame::Attached(attached) = &frames[0] else { panic!("{frames:?}") };
        let expected = echoed.then(|| wanted.to_owned());
        assert_eq!(attached.params.get("occupancy").cloned(), expected);
        assert_eq!(frames.len(), 1 + usize::from(echoed));
    }
}

#[test]
fn an_attachment_that_may_not_subscribe_receives_no_occupancy() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let attach = with_params("a", &[("occupancy", "metrics"), ("modes", "presence")]);
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    assert_eq!(bench.only(transport), [] as [Value; 0]);
}

#[test]
fn an_attach_without_the_parameter_stops_occupancy() {
    let mut bench = Bench::new();
    let (watcher, _) = bench.connect(None);
    let (other, _) = bench.connect(None);
    bench.watch(watcher, "a", "metrics");
    bench.frames(watcher);
    bench.attach(watcher, "a", None);
    bench.attach(other, "a", None);
    bench.send(other, vec![enter("a", 0, PresenceAction::Enter)]);
    bench.advance(GATHERING);
    assert_eq!(bench.only(watcher), [] as [Value; 0]);
    assert_eq!(bench.app.channels.get("a").unwrap().watchers, 0);
}

#[test]
fn only_unused_channels_are_removed() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    for number in 0..1000 {
        let channel = number.to_string();
        bench.attach(transport, &channel, None);
        bench.publish(transport, &channel, number, "x");
        bench.send(transport, vec![ClientFrame::Detach { channel: channel.as_str().into() }]);
        bench.outputs.clear();
    }
    // This client is attached, but receives no messages.
    let attach = with_params("publisher", &[("modes", "publish")]);
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    bench.attach(transport, "[?x=y]view", None);
    bench.outputs.clear();
    assert_eq!(bench.app.channels.names().count(), 1002);
    for _ in 0..8 {
        bench.advance(Duration::from_secs(60));
    }
    let mut names: Vec<_> = bench.app.channels.names().map(|name| name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["publisher", "view"]);
    let identity = bench.identity();
    assert_eq!(bench.app.occupancy(&identity, "publisher").unwrap().publishers, 1);
    bench.send(transport, vec![ClientFrame::Close]);
    for _ in 0..8 {
        bench.advance(Duration::from_secs(60));
    }
    assert_eq!(bench.app.channels.names().count(), 0);
    assert_eq!(bench.app.next_timeout(), None);
}
