//! Expiry of messages, in virtual time.

use super::*;

#[test]
fn messages_expire_after_two_minutes() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.publish(transport, "a", 0, "old");
    bench.advance(Duration::from_secs(120));
    bench.publish(transport, "b", 1, "new");
    assert_eq!(bench.history("a").len(), 1);
    bench.advance(Duration::from_secs(31));
    assert_eq!(bench.history("a"), []);
    let [message] = &bench.history("b")[..] else { panic!("one message") };
    let id = bench.app_connection_id(transport);
    assert_eq!(message.id.as_deref(), Some(format!("{id}:1:0").as_str()));
    assert_eq!(message.connection_id.as_deref(), Some(id.as_str()));
    assert_eq!(message.timestamp, Some(1_726_585_978_590 + 120_000));
    assert_eq!(message.data, Data::from("new"));

    // The channel is empty and still knows the serials from which a client can resume.
    let last = Str::from("01726585978590-001@local");
    bench.advance(Duration::from_secs(100));
    let attached = bench.attach(transport, "a", Some(&last));
    assert!(attached.flags.contains(Flags::RESUMED), "nothing was published after it");
    let before = Str::from("01726585978590-000@local");
    assert_eq!(bench.attach(transport, "a", Some(&before)).error.unwrap().code.0, 90003);

    // After the channel is removed, no client can resume from its earlier serials.
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    for _ in 0..3 {
        bench.advance(Duration::from_secs(160));
    }
    assert_eq!(bench.app.next_timeout(), None);
    let (transport, _) = bench.connect(None);
    assert_eq!(bench.attach(transport, "a", Some(&last)).error.unwrap().code.0, 90003);
}

impl Bench {
    fn app_connection_id(&mut self, transport: TransportId) -> String {
        self.send(transport, vec![publish("probe", 1000, vec![Message::new("m", "x")])]);
        self.outputs.clear();
        self.history("probe").pop().unwrap().connection_id.unwrap().to_string()
    }
}

#[test]
fn the_channel_named_as_a_persisted_namespace_is_persisted() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    for (serial, channel) in ["persisted", "persisted:a", "persistedly"].into_iter().enumerate() {
        bench.publish(transport, channel, serial as u64, "x");
    }
    bench.advance(Duration::from_secs(48 * 3600));
    for (channel, kept) in [("persisted", 1), ("persisted:a", 1), ("persistedly", 0)] {
        assert_eq!(bench.history(channel).len(), kept, "{channel}");
    }
}
