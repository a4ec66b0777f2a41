//! Attachments: modes, rewinding and replays, in virtual time.

use super::*;

#[test]
fn a_long_replay_is_sent_in_steps_before_new_messages() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect(None);
    let (subscriber, _) = bench.connect(None);
    let serial = bench.attach(subscriber, "a", None).channel_serial;
    bench.send(subscriber, vec![ClientFrame::Detach { channel: "a".into() }]);
    bench.outputs.clear();
    for number in 0..3000 {
        bench.publish(publisher, "a", number, &number.to_string());
    }
    bench.outputs.clear();
    bench.attach(subscriber, "a", serial.as_ref());
    let queued = bench.outputs.len();
    assert!((100..1000).contains(&queued), "{queued} outputs in the first step");
    // A message published during the replay must arrive after it, once.
    bench.publish(publisher, "a", 3000, "3000");
    assert_eq!(bench.texts(subscriber).0, numbers(0..3001));
    bench.publish(publisher, "a", 3001, "3001");
    assert_eq!(bench.texts(subscriber).0, ["3001"]);
}

#[test]
fn a_replay_reports_a_gap_when_its_messages_expire() {
    let mut bench = Bench::with_retention(Retention {
        frames: 2000,
        bytes: 100_000_000,
        age: Duration::from_secs(150),
    });
    let (publisher, _) = bench.connect(None);
    let (subscriber, _) = bench.connect(None);
    let serial = bench.attach(subscriber, "a", None).channel_serial;
    bench.send(subscriber, vec![ClientFrame::Detach { channel: "a".into() }]);
    for number in 0..2000 {
        bench.publish(publisher, "a", number, &number.to_string());
    }
    bench.outputs.clear();
    assert!(bench.attach(subscriber, "a", serial.as_ref()).flags.contains(Flags::RESUMED));
    for number in 2000..4000 {
        bench.publish(publisher, "a", number, &number.to_string());
    }
    let mut texts = Vec::new();
    let mut losses = 0;
    for frame in bench.frames(subscriber) {
        match frame {
            ServerFrame::Message(Delivery { items, .. }) => {
                texts.extend(items.iter().map(|item| item.data.as_str().unwrap().to_owned()));
            }
            ServerFrame::Attached(attached) => {
                assert!(!attached.flags.contains(Flags::RESUMED));
                assert_eq!(attached.error.unwrap().code.0, 90003);
                losses += 1;
                assert!(texts.len() < 2000);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(losses, 1);
    assert_eq!(texts[texts.len() - 2000..], numbers(2000..4000));
}

#[test]
fn rewind_delivers_past_messages() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect(None);
    for number in 0..6 {
        bench.publish(publisher, "a", number, &number.to_string());
        bench.advance(Duration::from_secs(10));
    }
    let mut rewind = |value: &str| {
        let (transport, _) = bench.connect(None);
        let params = [("rewind".to_owned(), value.to_owned()), ("foo".into(), "bar".into())];
        let attach = Attach {
            channel: "a".into(),
            params: params.into_iter().collect(),
            ..Attach::default()
        };
        bench.send(transport, vec![ClientFrame::Attach(attach)]);
        let frames = bench.frames(transport);
        let Some((ServerFrame::Attached(attached), rest)) = frames.split_first() else {
            panic!("{frames:?}")
        };
        assert_eq!(attached.flags.contains(Flags::HAS_BACKLOG), !rest.is_empty());
        assert!(!attached.flags.contains(Flags::RESUMED));
        (attached.params.get("rewind").cloned(), attached.params.len(), rest.len())
    };
    assert_eq!(rewind("2"), (Some("2".into()), 1, 2));
    assert_eq!(rewind("25s"), (Some("25s".into()), 1, 2));
    assert_eq!(rewind("100"), (Some("100".into()), 1, 6));
    assert_eq!(rewind("1s"), (Some("1s".into()), 1, 0));
    assert_eq!(rewind("soon"), (None, 0, 0));
}

#[test]
fn rewind_by_time_includes_its_first_millisecond() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect(None);
    for (number, text) in ["before", "then", "after"].into_iter().enumerate() {
        bench.publish(publisher, "a", number as u64, text);
        bench.advance(Duration::from_millis(1));
    }
    // The message "then" is exactly two seconds old.
    bench.advance(Duration::from_millis(1998));
    let rewind = |bench: &mut Bench| {
        let (transport, _) = bench.connect(None);
        let params = [("rewind".to_owned(), "2s".to_owned())].into();
        let attach = Attach { channel: "a".into(), params, ..Attach::default() };
        bench.send(transport, vec![ClientFrame::Attach(attach)]);
        bench.texts(transport).0
    };
    assert_eq!(rewind(&mut bench), ["then", "after"]);
    bench.advance(Duration::from_millis(1));
    assert_eq!(rewind(&mut bench), ["after"]);
    bench.advance(Duration::from_millis(1));
    assert_eq!(rewind(&mut bench), numbers(0..0));
}

#[test]
fn modes_are_those_requested_and_allowed() {
    use ChannelMode::{AnnotationPublish, Presence, PresenceSubscribe, Publish, Subscribe};
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let attached = bench.attach(transport, "a", None);
    assert_eq!(
        attached.flags.modes(),
        [Presence, Publish, Subscribe, PresenceSubscribe, AnnotationPublish]
    );
    let by_param = Attach {
        channel: "a".into(),
        flags: Publish.flag(),
        params: [("modes".to_owned(), "SUBSCRIBE,presence".to_owned())].into_iter().collect(),
        ..Attach::default()
    };
    bench.send(transport, vec![ClientFrame::Attach(by_param)]);
    let Some(ServerFrame::Attached(attached)) = bench.frames(transport).pop() else { panic!() };
    assert_eq!(attached.flags.modes(), [Presence, Subscribe]);
    assert_eq!(attached.params["modes"], "presence,subscribe");

    bench.key = Arc::new(Key::new(
        "key",
        "secret",
        capability(serde_json::json!({"a": ["publish"], "b": ["history"]})),
    ));
    let (limited, _) = bench.connect(None);
    assert_eq!(bench.attach(limited, "a", None).flags.modes(), [Publish]);
    bench.publish(transport, "a", 0, "unheard");
    assert_eq!(bench.frames(limited), []);
    for (channel, code) in [("b", 40160), ("c", 40160), ("", 40010), ("[meta]a", 40021)] {
        let attach = Attach { channel: channel.into(), ..Attach::default() };
        bench.send(limited, vec![ClientFrame::Attach(attach)]);
        let frames = bench.frames(limited);
        let [ServerFrame::Error(frame)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(frame.channel.as_deref(), Some(channel));
        assert_eq!(frame.error.as_ref().unwrap().code.0, code);
    }
}
