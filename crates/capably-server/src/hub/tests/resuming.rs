//! Resuming connections, in virtual time.

use super::*;

#[test]
fn a_resume_delivers_exactly_the_missed_messages() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect(None);
    let (first, connected) = bench.connect(None);
    bench.attach(first, "a", None);
    for number in 0..5 {
        bench.publish(publisher, "a", number, &number.to_string());
    }
    let (texts, serial) = bench.texts(first);
    assert_eq!(texts, numbers(0..5));

    // Messages published between the loss of the transport and the new ATTACH.
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
    bench.publish(publisher, "a", 5, "5");
    bench.advance(TTL - Duration::from_millis(1));
    let (second, resumed) = bench.connect(Some(&key(&connected)));
    assert_eq!(resumed.connection_id, connected.connection_id);
    assert_eq!(resumed.error, None);
    assert_ne!(key(&resumed), key(&connected));
    bench.publish(publisher, "a", 6, "6");
    assert_eq!(bench.texts(second).0, numbers(0..0), "nothing before the ATTACH");

    let attached = bench.attach(second, "a", serial.as_ref());
    assert!(attached.flags.contains(Flags::RESUMED | Flags::HAS_BACKLOG));
    assert_eq!(attached.error, None);
    assert_eq!(attached.channel_serial, serial);
    bench.publish(publisher, "a", 7, "7");
    assert_eq!(bench.texts(second).0, numbers(5..8));
    assert_eq!(bench.texts(first).0, numbers(0..0));
}

#[test]
fn a_resume_without_missed_messages_keeps_continuity() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    let serial = bench.attach(first, "a", None).channel_serial;
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
    let (second, _) = bench.connect(Some(&key(&connected)));
    let attached = bench.attach(second, "a", serial.as_ref());
    assert!(attached.flags.contains(Flags::RESUMED));
    assert!(!attached.flags.contains(Flags::HAS_BACKLOG));
    assert_eq!(bench.texts(second).0, numbers(0..0));
}

#[test]
fn a_resume_sets_echo_again() {
    let mut bench = Bench::new();
    let (mut transport, connected) = bench.connect_with(None, false);
    for (serial, echo) in [true, false, true].into_iter().enumerate() {
        let (next, resumed) = bench.connect_with(Some(&key(&connected)), echo);
        assert_eq!(resumed.connection_id, connected.connection_id);
        bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
        bench.attach(next, "a", None);
        bench.publish(next, "a", serial as u64, "own");
        let expected: &[&str] = if echo { &["own"] } else { &[] };
        assert_eq!(bench.texts(next).0, expected, "resume {serial}");
        transport = next;
    }
}

#[test]
fn a_resume_replaces_an_open_transport() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    bench.attach(first, "a", None);
    let (second, resumed) = bench.connect(Some(&key(&connected)));
    assert_eq!(resumed.connection_id, connected.connection_id);
    assert!(matches!(bench.outputs[..], [Output::Close(closed)] if closed == first));
    bench.outputs.clear();

    // The server ignores late frames of the old transport, and its end.
    bench.publish(first, "a", 0, "stale");
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
    assert_eq!(bench.history("a"), []);
    bench.attach(second, "a", None);
    bench.publish(second, "a", 0, "fresh");
    assert_eq!(bench.texts(second).0, ["fresh"]);

    // The key before the last still works: CONNECTED may have been lost with its transport.
    let (_, again) = bench.connect(Some(&key(&connected)));
    assert_eq!(again.connection_id, connected.connection_id);
}

#[test]
fn connection_state_expires() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
    assert_eq!(bench.app.next_timeout(), Some(bench.now.steady + TTL));
    // The connection has expired even if the timer has not run yet.
    bench.now.steady += TTL;
    let (_, late) = bench.connect(Some(&key(&connected)));
    assert_ne!(late.connection_id, connected.connection_id);
    let error = late.error.unwrap();
    assert_eq!((error.code.0, error.status_code), (80018, 400));

    bench.advance(Duration::ZERO);
    assert_eq!(bench.app.next_timeout(), None);
}

#[test]
fn an_unknown_connection_key_creates_a_new_connection() {
    let mut bench = Bench::new();
    let (_, connected) = bench.connect(None);
    let key = key(&connected);
    let forged = [
        "".to_owned(),
        "garbage".to_owned(),
        "x!y-1".to_owned(),
        format!("{key}0"),
        key.replace("-1", "-2"),
        key.replace("-1", "-0"),
        key.replace("-1", ""),
    ];
    for forged in forged {
        let (_, other) = bench.connect(Some(&forged));
        assert_ne!(other.connection_id, connected.connection_id, "{forged}");
        assert_eq!(other.error.map(|error| error.code.0), Some(80018), "{forged}");
    }
}

#[test]
fn a_closed_connection_cannot_be_resumed() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    bench.attach(first, "a", None);
    bench.send(first, vec![ClientFrame::Close, publish("a", 0, vec![Message::new("m", "late")])]);
    assert_eq!(bench.frames(first), [ServerFrame::Closed]);
    assert!(matches!(bench.outputs[..], [Output::Close(closed)] if closed == first));
    assert_eq!(bench.history("a"), []);
    let (_, other) = bench.connect(Some(&key(&connected)));
    assert_ne!(other.connection_id, connected.connection_id);
}

#[test]
fn an_unusable_channel_serial_breaks_continuity() {
    let mut bench = Bench::with_retention(Retention {
        frames: 3,
        bytes: 1_000_000,
        age: Duration::from_secs(150),
    });
    let (publisher, _) = bench.connect(None);
    let (subscriber, _) = bench.connect(None);
    let early = bench.attach(subscriber, "a", None).channel_serial.unwrap();
    for number in 0..4 {
        bench.publish(publisher, "a", number, &number.to_string());
    }
    let newest = bench.texts(subscriber).1.unwrap();
    let future = Str::from(newest.replace("017265", "917265"));
    for serial in
        [early, future, "garbage".into(), "".into(), newest.replace("local", "mars").into()]
    {
        let attached = bench.attach(subscriber, "a", Some(&serial));
        assert!(!attached.flags.contains(Flags::RESUMED), "{serial}");
        assert_eq!(attached.error.map(|error| error.code.0), Some(90003), "{serial}");
        assert_eq!(attached.channel_serial.as_ref(), Some(&newest));
        assert_eq!(bench.texts(subscriber).0, numbers(0..0));
    }
}

/// A client that loses its transport repeatedly, with all frames in flight.
struct Wanderer {
    transport: TransportId,
    key: Str,
    /// Frames that the service has sent and the client has not yet read.
    arriving: std::collections::VecDeque<ServerFrame>,
}

impl Wanderer {
    fn new(bench: &mut Bench) -> Self {
        let (transport, connected) = bench.connect(None);
        Self { transport, key: key(&connected), arriving: Default::default() }
    }

    fn collect(&mut self, bench: &mut Bench) {
        self.arriving.extend(bench.frames(self.transport));
    }

    fn reconnect(&mut self, bench: &mut Bench, told_of_loss: bool, sees_connected: bool) {
        if told_of_loss {
            bench.app.transport_closed(self.transport, bench.now, &mut bench.outputs);
        }
        self.arriving.clear();
        let (transport, connected) = bench.connect(Some(&self.key));
        assert_eq!(connected.error, None);
        self.transport = transport;
        if sees_connected {
            self.key = key(&connected);
        }
    }
}

#[test]
fn repeated_transport_failures_lose_and_duplicate_no_message() {
    const COUNT: u64 = 300;
    for seed in 1..=100 {
        let mut state: u64 = seed;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut bench = Bench::new();
        let mut publisher = Wanderer::new(&mut bench);
        let mut subscriber = Wanderer::new(&mut bench);
        let mut serial = bench.attach(subscriber.transport, "a", None).channel_serial;
        let (mut sent, mut acknowledged) = (0, 0);
        let mut acknowledgements = Vec::new();
        let mut received = Vec::new();
        while acknowledged < COUNT || (received.len() as u64) < COUNT {
            match random(10) {
                0..4 => {
                    let end = COUNT.min(sent + random(8));
                    let frames = (sent..end)
                        .map(|n| publish("a", n, vec![Message::new("m", n.to_string())]))
                        .collect();
                    bench.send(publisher.transport, frames);
                    sent = end;
                }
                4..6 => publisher.collect(&mut bench),
                6..8 => subscriber.collect(&mut bench),
                8 => {
                    publisher.reconnect(&mut bench, random(2) == 0, random(2) == 0);
                    sent = acknowledged;
                }
                _ => {
                    subscriber.reconnect(&mut bench, random(2) == 0, random(2) == 0);
                    let attached = bench.attach(subscriber.transport, "a", serial.as_ref());
                    assert!(attached.flags.contains(Flags::RESUMED));
                    assert_eq!(attached.channel_serial, serial);
                }
            }
            for _ in 0..random(10) {
                match publisher.arriving.pop_front() {
                    Some(ServerFrame::Ack(ack)) => {
                        assert_eq!(ack.msg_serial, acknowledged, "seed {seed}");
                        acknowledged += ack.count;
                        acknowledgements.extend(ack.res.into_iter().flat_map(|res| res.serials));
                    }
                    Some(other) => panic!("{other:?}"),
                    None => {}
                }
                if let Some(ServerFrame::Message(delivery)) = subscriber.arriving.pop_front() {
                    let [item] = &delivery.items[..] else { panic!("one message a frame") };
                    received.push((item.data.as_str().unwrap().to_owned(), item.serial.clone()));
                    serial = delivery.channel_serial;
                }
            }
            bench.advance(Duration::from_millis(random(3)));
        }
        let (texts, serials): (Vec<_>, Vec<_>) = received.into_iter().unzip();
        assert_eq!(texts, numbers(0..COUNT), "seed {seed}");
        assert_eq!(serials, acknowledgements, "seed {seed}");
    }
}
