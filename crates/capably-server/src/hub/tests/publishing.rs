//! Publishing: accepting, refusing and acknowledging frames, in virtual time.

use super::*;

#[test]
fn a_repeated_frame_is_acknowledged_again_and_published_once() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect(None);
    bench.attach(subscriber, "a", None);
    let (first, connected) = bench.connect(None);
    let batch = |range: std::ops::Range<u64>| -> Vec<_> {
        range.map(|n| publish("a", n, vec![Message::new("m", n.to_string())])).collect()
    };
    bench.send(first, batch(0..10));
    let [lost] = &bench.acks(first)[..] else { panic!("one ACK for one batch") };
    assert_eq!((lost.msg_serial, lost.count, lost.res.len()), (0, 10, 10));
    let lost = lost.clone();
    bench.app.transport_closed(first, bench.now, &mut bench.outputs);

    let (second, _) = bench.connect(Some(&key(&connected)));
    bench.send(second, batch(3..12));
    let [ack] = &bench.acks(second)[..] else { panic!("one ACK for one batch") };
    assert_eq!((ack.msg_serial, ack.count), (3, 9));
    assert_eq!(ack.res[..7], lost.res[3..]);
    assert_eq!(bench.texts(subscriber).0, numbers(0..12));
}

#[test]
fn acknowledgements_keep_the_order_of_the_frames() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let good = |serial| publish("a", serial, vec![Message::new("m", "x")]);
    let bad = |serial| publish(":bad", serial, vec![Message::new("m", "x")]);
    bench.send(transport, vec![good(0), good(1), bad(2), good(3)]);
    let frames = bench.frames(transport);
    let [ServerFrame::Ack(before), ServerFrame::Nack(nack), ServerFrame::Ack(after)] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!((before.msg_serial, before.count), (0, 2));
    assert_eq!((nack.msg_serial, nack.count), (2, 1));
    assert_eq!(nack.error.as_ref().unwrap().code.0, 40010);
    assert_eq!((after.msg_serial, after.count), (3, 1));
}

#[test]
fn a_frame_is_acknowledged_once_on_each_transport() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect(None);
    bench.attach(subscriber, "a", None);
    let (mut transport, mut connected) = bench.connect(None);
    let good = |serial| publish("a", serial, vec![Message::new("m", format!("{serial}"))]);
    let bad = |serial| publish(":bad", serial, vec![Message::new("m", "x")]);
    for round in 0..3 {
        // The id occurs twice in one batch, and once more in another.
        bench.send(transport, vec![good(0), good(0), bad(1), bad(1), good(2), bad(1), good(0)]);
        bench.send(transport, vec![good(0), bad(1), good(2)]);
        let frames = bench.frames(transport);
        let [ServerFrame::Ack(first), ServerFrame::Nack(nack), ServerFrame::Ack(last)] =
            &frames[..]
        else {
            panic!("round {round}: {frames:?}")
        };
        assert_eq!((first.msg_serial, first.count, first.res.len()), (0, 1, 1));
        assert_eq!((nack.msg_serial, nack.count), (1, 1));
        assert_eq!(nack.error.as_ref().unwrap().code.0, 40010);
        assert_eq!((last.msg_serial, last.count, last.res.len()), (2, 1, 1));
        bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
        (transport, connected) = bench.connect(Some(&key(&connected)));
    }
    assert_eq!(bench.texts(subscriber).0, ["0", "2"]);
    // New frames continue after the repeated ones.
    bench.publish(transport, "a", 3, "3");
    let [ack] = &bench.acks(transport)[..] else { panic!("one ACK") };
    assert_eq!((ack.msg_serial, ack.count), (3, 1));
}

#[test]
fn a_new_transport_acknowledges_repeated_frames_while_the_old_one_is_open() {
    let mut bench = Bench::new();
    let (old, connected) = bench.connect(None);
    bench.publish(old, "a", 0, "0");
    let [lost] = &bench.acks(old)[..] else { panic!("one ACK") };
    let (new, _) = bench.connect(Some(&key(&connected)));
    bench.publish(new, "a", 0, "0");
    bench.publish(old, "a", 0, "0");
    bench.publish(new, "a", 0, "0");
    assert_eq!(bench.acks(new), std::slice::from_ref(lost));
    assert_eq!(bench.acks(old), []);
    assert_eq!(bench.history("a").len(), 1);
}

#[test]
fn invalid_publishes_are_refused() {
    let mut bench = Bench::new();
    bench.key = Arc::new(Key::new(
        "key",
        "secret",
        capability(serde_json::json!({"a": ["publish", "subscribe"], "b": ["subscribe"]})),
    ));
    let (transport, _) = bench.connect(None);
    let subscribe_only =
        Attach { channel: "a".into(), flags: ChannelMode::Subscribe.flag(), ..Attach::default() };
    let message = || Message::new("m", "x");
    let with_id = |id: &str| Message { id: Some(id.into()), ..message() };
    let cases = [
        (vec![], 40000),
        (vec![Message::new("m", "x".repeat(1000))], 40009),
        (vec![with_id("a:0"), with_id("a:2")], 40031),
        (vec![with_id("a"), with_id("a")], 40031),
        (vec![with_id("a:0"), message()], 40031),
        (vec![with_id("")], 40031),
        (vec![message(); 1001], 40034),
        (vec![Message { encoding: Some("base64".into()), ..Message::new("m", "%") }], 40013),
        (vec![Message { client_id: Some("*".into()), ..message() }], 40012),
        (
            vec![Message { action: Some(capably_protocol::MessageAction::Update), ..message() }],
            93002,
        ),
    ];
    let mut serial = 0;
    for (messages, code) in cases {
        bench.send(transport, vec![publish("a", serial, messages)]);
        assert_eq!(nack_code(bench.frames(transport)), (serial, code));
        serial += 1;
    }
    bench.publish(transport, "b", serial, "x");
    assert_eq!(nack_code(bench.frames(transport)), (serial, 40160));
    bench.send(transport, vec![ClientFrame::Attach(subscribe_only)]);
    bench.frames(transport);
    bench.publish(transport, "a", serial + 1, "x");
    assert_eq!(nack_code(bench.frames(transport)), (serial + 1, 40165));
}

#[test]
fn client_ids_are_stamped_and_checked() {
    let mut bench = Bench::new();
    let message = |client_id: Option<&str>| Message {
        client_id: client_id.map(Str::from),
        ..Message::new("m", "x")
    };
    let channel = Str::from("a");
    let identified = Identity::of_key(&bench.key, Some("me".into())).unwrap();
    for (identity, claimed, expected) in [
        (bench.identity(), None, Ok(None)),
        (bench.identity(), Some("anyone"), Ok(Some("anyone"))),
        (identified.clone(), None, Ok(Some("me"))),
        (identified.clone(), Some("me"), Ok(Some("me"))),
        (identified, Some("you"), Err(40012)),
    ] {
        let result = bench.app.publish(
            &identity,
            &channel,
            vec![message(claimed)],
            bench.now,
            &mut bench.outputs,
        );
        let stamped = bench.history("a").pop().and_then(|message| message.client_id);
        let outcome = result.as_ref().map(|_| stamped.as_deref()).map_err(|error| error.code.0);
        assert_eq!(outcome, expected);
    }
}

#[test]
fn a_message_id_is_published_once() {
    let mut bench = Bench::new();
    let (subscriber, _) = bench.connect(None);
    bench.attach(subscriber, "a", None);
    let identity = bench.identity();
    let publish = |bench: &mut Bench, id: &str, text: &str| {
        let message = Message { id: Some(id.into()), ..Message::new("m", text) };
        bench
            .app
            .publish(&identity, &"a".into(), vec![message], bench.now, &mut bench.outputs)
            .unwrap()
            .published()
    };
    let first = publish(&mut bench, "x:0", "first");
    assert_eq!(first.message_id, "x");
    assert_eq!(publish(&mut bench, "x:0", "second"), first);
    assert_ne!(publish(&mut bench, "y:0", "third"), first);
    assert_eq!(bench.texts(subscriber).0, ["first", "third"]);
    let ids: Vec<_> = bench.history("a").into_iter().filter_map(|message| message.id).collect();
    assert_eq!(ids, ["x:0", "y:0"]);
}

#[test]
fn without_echo_a_publisher_does_not_receive_its_own_messages() {
    let mut bench = Bench::new();
    let (quiet, connected) = bench.connect_with(None, false);
    let (loud, _) = bench.connect(None);
    bench.attach(quiet, "a", None);
    bench.attach(loud, "a", None);
    bench.publish(quiet, "a", 0, "quiet");
    bench.publish(loud, "a", 0, "loud");
    assert_eq!(bench.texts(loud).0, ["quiet", "loud"]);
    let (texts, serial) = bench.texts(quiet);
    assert_eq!(texts, ["loud"]);

    // A replay does not contain its own messages, and they cause no backlog.
    bench.publish(quiet, "a", 1, "quiet again");
    let (again, _) = bench.connect_with(Some(&key(&connected)), false);
    let attached = bench.attach(again, "a", serial.as_ref());
    assert!(attached.flags.contains(Flags::RESUMED));
    assert!(!attached.flags.contains(Flags::HAS_BACKLOG));
    let quiet = again;
    bench.publish(quiet, "a", 2, "quiet once more");
    bench.publish(loud, "a", 1, "loud again");
    let (second, _) = bench.connect_with(Some(&key(&connected)), false);
    bench.attach(second, "a", serial.as_ref());
    assert_eq!(bench.texts(second).0, ["loud again"]);
}
