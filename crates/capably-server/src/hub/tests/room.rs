//! Limits on the channels, connections, requests and memory of an app.

use super::{limits::app_with, *};
use crate::hub::Limits;

impl Bench {
    fn try_publish(&mut self, channel: &str, message: Message) -> Result<Str, (u16, u32)> {
        let identity = self.identity();
        let (now, outputs) = (self.now, &mut self.outputs);
        let published = self.app.publish(&identity, &channel.into(), vec![message], now, outputs);
        let published = published.map_err(|error| (error.status_code, error.code.0))?;
        Ok(published.published().serials[0].clone())
    }

    fn publish_bytes(&mut self, channel: &str, bytes: usize) -> Str {
        self.try_publish(channel, Message::new("m", "x".repeat(bytes))).unwrap()
    }

    /// Attaches, and returns the status and the code of a refusal.
    fn try_attach(&mut self, transport: TransportId, channel: &str) -> Result<(), (u16, u32)> {
        let attach = Attach { channel: channel.into(), ..Attach::default() };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        match self.frames(transport).into_iter().next() {
            Some(ServerFrame::Attached(_)) => Ok(()),
            Some(ServerFrame::Error(frame)) => {
                assert_eq!(frame.channel.as_deref(), Some(channel));
                let error = frame.error.unwrap();
                Err((error.status_code, error.code.0))
            }
            other => panic!("{other:?}"),
        }
    }

    fn detach(&mut self, transport: TransportId, channel: &str) {
        self.send(transport, vec![ClientFrame::Detach { channel: channel.into() }]);
        self.frames(transport);
    }

    fn count(&self) -> usize {
        self.app.channels.names().count()
    }
}

#[test]
fn the_channel_limit_applies_to_attaches_and_publishes() {
    let mut bench = app_with(Limits { max_channels: Some(2), ..Limits::default() });
    let (transport, _) = bench.connect(None);
    assert_eq!(bench.try_attach(transport, "a"), Ok(()));
    bench.publish_bytes("b", 1);
    for _ in 0..2 {
        assert_eq!(bench.try_attach(transport, "c"), Err((401, 40114)));
        assert_eq!(bench.try_attach(transport, "[?rewind=1]c"), Err((401, 40114)));
        assert_eq!(bench.try_publish("c", Message::new("m", "x")), Err((401, 40114)));
    }
    bench.publish(transport, "c", 0, "x");
    assert_eq!(nack_code(bench.frames(transport)), (0, 40114));
    // Existing channels can be used as before.
    assert_eq!(bench.try_attach(transport, "[?rewind=1]b"), Ok(()));
    bench.publish_bytes("a", 1);
    bench.publish(transport, "a", 1, "x");
    assert_eq!(bench.acks(transport)[0].msg_serial, 1);
    assert!(bench.history("c").is_empty());
    let ephemeral = Message {
        extras: serde_json::json!({"ephemeral": true}).as_object().cloned(),
        ..Message::new("m", "x")
    };
    assert!(bench.try_publish("c", ephemeral).is_ok(), "an ephemeral message needs no channel");
    assert_eq!(bench.count(), 2);
}

#[test]
fn an_empty_unused_channel_is_removed_for_a_new_one() {
    let mut bench = app_with(Limits { max_channels: Some(2), ..Limits::default() });
    let (transport, _) = bench.connect(None);
    assert_eq!(bench.try_attach(transport, "a"), Ok(()));
    assert_eq!(bench.try_attach(transport, "b"), Ok(()));
    assert_eq!(bench.try_attach(transport, "c"), Err((401, 40114)));
    bench.detach(transport, "b");
    // The hub looks for unused channels only from time to time.
    assert_eq!(bench.try_attach(transport, "c"), Err((401, 40114)));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.try_attach(transport, "c"), Ok(()));
    // Messages expire after their retention.
    bench.detach(transport, "c");
    bench.publish_bytes("c", 1);
    bench.advance(Duration::from_secs(150));
    assert_eq!(bench.try_attach(transport, "d"), Err((401, 40114)));
    bench.advance(Duration::from_secs(2));
    assert_eq!(bench.try_attach(transport, "d"), Ok(()));
    assert!(bench.app.channels.get("c").is_none());
}

#[test]
fn connections_beyond_the_limit_are_asked_to_retry() {
    let mut bench = app_with(Limits { max_connections: Some(2), ..Limits::default() });
    let (first, _) = bench.connect(None);
    let (_, connected) = bench.connect(None);
    let refused = |bench: &mut Bench, resume: Option<Str>| {
        let transport = TransportId(1000);
        let request = ConnectRequest {
            identity: bench.identity(),
            echo: true,
            remain: None,
            max_idle_interval: Duration::from_secs(15),
            resume,
            entropy: [9; 9],
        };
        bench.app.connect(transport, request, bench.now, &mut bench.outputs);
        let closed = bench.outputs.iter().any(|it| matches!(it, Output::Close(TransportId(1000))));
        match &bench.frames(transport)[..] {
            [ServerFrame::Disconnected { error: Some(error) }] => {
                assert!(closed);
                assert!(error.message.contains("`connections.max` of 2"), "{}", error.message);
                (error.status_code, error.code.0)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&mut bench, None), (401, 40111));
    assert_eq!(refused(&mut bench, Some("unknown!key-1".into())), (401, 40111));
    // A resumed connection needs no second place.
    let (second, resumed) = bench.connect(Some(&key(&connected)));
    assert_eq!(resumed.connection_id, connected.connection_id);
    assert_eq!(refused(&mut bench, None), (401, 40111));
    bench.app.transport_closed(second, bench.now, &mut bench.outputs);
    let (third, _) = bench.connect(None);
    // A client whose place is taken waits, and resumes when a place is free.
    assert_eq!(refused(&mut bench, Some(key(&resumed))), (401, 40111));
    bench.send(third, vec![ClientFrame::Close]);
    let (_, again) = bench.connect(Some(&key(&resumed)));
    assert_eq!(again.connection_id, connected.connection_id);
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);
}

#[test]
fn requests_beyond_the_rate_are_refused() {
    let mut bench = app_with(Limits { max_request_rate: Some(10), ..Limits::default() });
    let now = bench.now;
    for _ in 0..10 {
        assert_eq!(bench.app.admit_request(now), Ok(()));
    }
    let refused = bench.app.admit_request(now).unwrap_err();
    assert_eq!((refused.status_code, refused.code.0), (429, 42918));
    assert!(refused.message.contains("`requests.maxRate` of 10 a second"), "{}", refused.message);
    bench.advance(Duration::from_millis(100));
    assert_eq!(bench.app.admit_request(bench.now), Ok(()));
    assert!(bench.app.admit_request(bench.now).is_err());
    let mut free = Bench::new();
    assert!((0..10_000).all(|_| free.app.admit_request(free.now).is_ok()));
}

#[test]
fn limits_of_an_app_are_capped_by_its_server() {
    let of_server = Settings {
        max_channels: Some(5),
        max_connections: None,
        max_request_rate: Some(7),
        max_log_bytes: 1000,
        ..(*Bench::new().app.settings).clone()
    };
    let of_server = Arc::new(of_server);
    let limits = |settings: &Settings| {
        (
            settings.max_channels,
            settings.max_connections,
            settings.max_request_rate,
            settings.max_log_bytes,
        )
    };
    let own = |own: usize| Limits {
        max_channels: Some(own),
        max_connections: Some(own),
        max_request_rate: Some(own as u32),
        max_log_bytes: Some(own * 100),
        ..Limits::default()
    };
    let apply = |own: Limits| limits(&own.apply(Arc::clone(&of_server)));
    assert_eq!(apply(Limits::default()), (Some(5), None, Some(7), 1000));
    assert_eq!(apply(own(3)), (Some(3), Some(3), Some(3), 300));
    assert_eq!(apply(own(50)), (Some(5), Some(50), Some(7), 1000));
}

const ROOM: usize = 100_000;

fn with_small_memory() -> Bench {
    app_with(Limits { max_log_bytes: Some(ROOM), ..Limits::default() })
}

#[test]
fn memory_pressure_drops_the_oldest_messages_of_the_least_recently_used_channel() {
    let mut bench = with_small_memory();
    // Each message counts for its size plus 500 bytes, and each channel for 1,024 bytes.
    for channel in ["a", "b", "c"] {
        for _ in 0..20 {
            bench.publish_bytes(channel, 900);
        }
    }
    assert_eq!(bench.history("a").len(), 20);
    let (transport, _) = bench.connect(None);
    // An attachment counts as a use of the channel.
    assert_eq!(bench.try_attach(transport, "a"), Ok(()));
    for _ in 0..20 {
        bench.publish_bytes("d", 900);
    }
    let left = ["a", "b", "c", "d"].map(|channel| bench.history(channel).len());
    assert_eq!((left[0], left[2], left[3]), (20, 20, 20), "{left:?}");
    assert!((1..20).contains(&left[1]), "{left:?}");
    // The channel keeps only its newest messages, and is removed in the end.
    let first = bench.history("b")[0].serial.clone().unwrap();
    for _ in 0..12 {
        bench.publish_bytes("d", 900);
    }
    assert!(bench.history("b").first().is_none_or(|message| message.serial > Some(first)));
    for _ in 0..20 {
        bench.publish_bytes("d", 900);
    }
    assert!(bench.app.channels.get("b").is_none());
    assert_eq!(bench.history("b").len(), 0);
    assert!(bench.app.channels.get("a").is_some(), "it is attached");
}

// Spec: RTL18
#[test]
fn a_resume_reports_dropped_messages_as_lost() {
    let mut bench = with_small_memory();
    let (transport, _) = bench.connect(None);
    let start = bench.attach(transport, "a", None).channel_serial.unwrap();
    bench.publish_bytes("a", 900);
    let seen = bench.texts(transport).1.unwrap();
    bench.detach(transport, "a");
    for _ in 0..100 {
        bench.publish_bytes("b", 900);
    }
    for (channel, serial) in [("a", &start), ("b", &start), ("b", &seen), ("c", &start)] {
        let (transport, _) = bench.connect(None);
        let attached = bench.attach(transport, channel, Some(serial));
        assert_eq!(attached.error.unwrap().code.0, 90003, "{channel}");
        assert!(!attached.flags.contains(Flags::RESUMED));
    }
    // A client without missed messages resumes, even on an empty channel.
    let (transport, _) = bench.connect(None);
    let attached = bench.attach(transport, "a", Some(&seen));
    assert_eq!(attached.error, None);
    let newest = bench.history("b").pop().unwrap().serial.unwrap();
    let (transport, _) = bench.connect(None);
    let newest = Str::from(newest.rsplit_once(':').unwrap().0);
    let attached = bench.attach(transport, "b", Some(&newest));
    assert_eq!(attached.error, None);
    assert!(attached.flags.contains(Flags::RESUMED));
    bench.publish_bytes("b", 1);
    assert_eq!(bench.texts(transport).0, ["x"]);
}

#[test]
fn a_replay_reports_a_gap_when_its_messages_are_dropped() {
    let mut bench = app_with(Limits { max_log_bytes: Some(1_000_000), ..Limits::default() });
    let (transport, _) = bench.connect(None);
    let start = bench.attach(transport, "a", None).channel_serial.unwrap();
    bench.detach(transport, "a");
    for _ in 0..400 {
        bench.publish_bytes("a", 900);
    }
    let attach = Attach { channel: "a".into(), channel_serial: Some(start), ..Attach::default() };
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    assert!(bench.outputs.iter().any(|output| matches!(output, Output::Behind(_))));
    for _ in 0..2000 {
        bench.publish_bytes("b", 900);
    }
    let frames = bench.frames(transport);
    let lost = frames.iter().filter_map(|frame| match frame {
        ServerFrame::Attached(attached) => attached.error.as_ref(),
        _ => None,
    });
    assert_eq!(lost.map(|error| error.code.0).collect::<Vec<_>>(), [90003]);
    bench.publish_bytes("a", 1);
    assert_eq!(bench.texts(transport).0, ["x"]);
}

#[test]
fn many_channels_stay_within_the_memory_limit() {
    let mut bench = with_small_memory();
    for number in 0..10_000 {
        bench.publish_bytes(&format!("c{number}"), 1);
        assert!(bench.app.channels.held() <= ROOM, "{number}");
        assert_eq!(bench.history(&format!("c{number}")).len(), 1, "the newest is there");
    }
    assert!(bench.count() < 100);
    // Presence, changes, annotations and attached channels use memory, too.
    let (transport, _) = bench.connect(None);
    for number in 0..500 {
        assert_eq!(bench.try_attach(transport, &format!("d{number}")), Ok(()));
    }
    bench.publish_bytes("e", 1);
    assert_eq!(bench.count(), 501, "what is attached stays, and nothing else");
    bench.publish_bytes("e", 900);
    for _ in 0..100 {
        bench.publish_bytes("f", 900);
    }
    assert!(bench.history("f").len() <= 10, "{}", bench.history("f").len());
    // Publishing works again when they are gone.
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    bench.advance(Duration::from_secs(61));
    bench.publish_bytes("g", 900);
    assert!(bench.app.channels.held() <= ROOM);
}

#[test]
fn logs_count_exactly_the_bytes_they_store() {
    let mut bench = Bench::new();
    for number in 0..50 {
        bench.publish_bytes(&format!("c{}", number % 5), 100);
    }
    let held = bench.app.channels.held();
    assert_eq!(held, 50 * (2 * 250 + 1 + 100) + 5 * 1024);
    bench.advance(Duration::from_secs(151));
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.app.channels.held(), 5 * 1024);
    for _ in 0..4 {
        bench.advance(Duration::from_secs(61));
    }
    assert_eq!((bench.app.channels.held(), bench.count()), (0, 0));
}
