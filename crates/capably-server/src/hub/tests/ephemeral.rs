//! Ephemeral messages, in virtual time: the hub delivers and does not log them.

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{MessageAction, vcdiff};
use serde_json::{Value, json};

use super::*;

fn with_extras(text: &str, extras: Value) -> Message {
    Message { extras: extras.as_object().cloned(), ..Message::new("m", text) }
}

fn ephemeral(text: &str) -> Message {
    with_extras(text, json!({"ephemeral": true}))
}

impl Bench {
    fn attach_to(&mut self, transport: TransportId, channel: &str, params: &[(&str, &str)]) {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let attach =
            Attach { channel: channel.into(), params: params.collect(), ..Attach::default() };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
    }

    fn post_to(&mut self, channel: &str, messages: Vec<Message>) -> Result<(), (u16, u32)> {
        let identity = self.identity();
        let (now, outputs) = (self.now, &mut self.outputs);
        let published = self.app.publish(&identity, &channel.into(), messages, now, outputs);
        published.map(drop).map_err(|error| (error.status_code, error.code.0))
    }

    fn deliveries(&mut self, transport: TransportId) -> Vec<Delivery<Message>> {
        let frames = self.frames(transport).into_iter();
        frames
            .filter_map(|frame| match frame {
                ServerFrame::Message(delivery) => Some(delivery),
                _ => None,
            })
            .collect()
    }

    /// The texts of the messages in history.
    fn stored(&mut self, channel: &str) -> Vec<String> {
        let texts = self.history(channel).into_iter();
        texts.map(|message| message.data.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn an_ephemeral_message_is_delivered_without_a_position_in_the_log() {
    let mut bench = Bench::new();
    let (listener, _) = bench.connect(None);
    bench.attach(listener, "a", None);
    let (publisher, _) = bench.connect(None);
    bench.send(publisher, vec![publish("a", 0, vec![ephemeral("x"), ephemeral("y")])]);
    let [ack] = &bench.acks(publisher)[..] else { panic!("one ACK") };
    let [delivery] = &bench.deliveries(listener)[..] else { panic!("one MESSAGE") };
    assert_eq!(delivery.channel_serial, None);
    assert!(delivery.id.is_some() && delivery.timestamp.is_some());
    let [first, second] = &delivery.items[..] else { panic!("two messages") };
    assert_eq!((first.data.as_str(), second.data.as_str()), (Some("x"), Some("y")));
    assert_eq!(first.action, Some(MessageAction::Create));
    assert_eq!(first.extras.as_ref().unwrap()["ephemeral"], true);
    assert_eq!(ack.res[0].serials, [first.serial.clone(), second.serial.clone()]);
    assert_eq!(bench.stored("a"), [""; 0]);
    // No message has this serial.
    let identity = bench.identity();
    let serial = first.serial.clone().unwrap();
    let found = bench.app.message(&identity, "a", &serial, bench.now);
    assert_eq!(found.unwrap_err().code.0, 40400);
}

#[test]
fn the_parameter_of_a_publish_makes_all_its_messages_ephemeral() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach(transport, "a", None);
    for (serial, value, expected) in
        [(0, "true", Some(true)), (1, "false", Some(false)), (2, "1", None), (3, "", None)]
    {
        let mut frame = publish("a", serial, vec![Message::new("m", value); 2]);
        let ClientFrame::Message(publish) = &mut frame else { unreachable!() };
        publish.params.insert("ephemeral".to_owned(), value.to_owned());
        bench.send(transport, vec![frame]);
        match expected {
            None => assert_eq!(nack_code(bench.frames(transport)), (serial, 40003), "{value}"),
            Some(expected) => {
                let [delivery] = &bench.deliveries(transport)[..] else { panic!("{value}") };
                assert_eq!(delivery.channel_serial.is_none(), expected, "{value}");
                let flags = delivery.items.iter().map(|item| {
                    item.extras.as_ref().is_some_and(|extras| extras["ephemeral"] == true)
                });
                assert!(flags.clone().all(|flag| flag == expected), "{value}");
            }
        }
    }
    assert_eq!(bench.stored("a"), ["false", "false"]);
}

#[test]
fn no_replay_returns_an_ephemeral_message() {
    let mut bench = Bench::new();
    let (listener, connected) = bench.connect(None);
    let start = bench.attach(listener, "a", None).channel_serial.unwrap();
    for number in 0..3 {
        bench.post_to("a", vec![Message::new("m", format!("kept {number}"))]).unwrap();
        bench.post_to("a", vec![ephemeral("gone")]).unwrap();
    }
    let (live, last) = {
        let deliveries = bench.deliveries(listener);
        let last = deliveries.iter().rev().find_map(|it| it.channel_serial.clone());
        (deliveries.len(), last.unwrap())
    };
    assert_eq!(live, 6);
    let kept = ["kept 0", "kept 1", "kept 2"];
    assert_eq!(bench.stored("a"), kept);

    // A rewind by number and by time, a resume, an attach from a serial, and one through a filter.
    for (channel, params) in
        [("a", ("rewind", "3")), ("a", ("rewind", "2m")), ("[?rewind=3]a", ("echo", "true"))]
    {
        let (other, _) = bench.connect(None);
        bench.attach_to(other, channel, &[params]);
        assert_eq!(bench.texts(other).0, kept, "{channel} {params:?}");
    }
    bench.app.transport_closed(listener, bench.now, &mut bench.outputs);
    bench.post_to("a", vec![ephemeral("gone")]).unwrap();
    bench.post_to("a", vec![Message::new("m", "missed")]).unwrap();
    let (resumed, _) = bench.connect(Some(&key(&connected)));
    let attached = bench.attach(resumed, "a", Some(&last));
    assert!(attached.flags.contains(Flags::RESUMED));
    assert_eq!(bench.texts(resumed).0, ["missed"]);
    let (other, _) = bench.connect(None);
    let attached = bench.attach(other, "a", Some(&start));
    assert!(attached.flags.contains(Flags::RESUMED));
    assert_eq!(bench.texts(other).0, ["kept 0", "kept 1", "kept 2", "missed"]);
    // The position of the channel is unchanged.
    let (other, _) = bench.connect(None);
    bench.post_to("a", vec![ephemeral("gone")]).unwrap();
    let before = bench.history("a").pop().unwrap().serial.unwrap();
    let attached = bench.attach(other, "a", None).channel_serial.unwrap();
    assert!(before.starts_with(&*attached), "{attached} {before}");
}

#[test]
fn an_ephemeral_message_creates_no_channel() {
    let mut bench = Bench::new();
    bench.post_to("nobody", vec![ephemeral("x")]).unwrap();
    assert!(bench.app.channels.get("nobody").is_none());
}

#[test]
fn ephemeral_messages_are_not_counted_as_stored() {
    let mut bench = Bench::new();
    bench.app.channels.persisted = Default::default();
    bench.post_to("persisted:a", vec![ephemeral("x")]).unwrap();
    assert_eq!(bench.app.channels.persisted, Default::default());
}

#[test]
fn ephemeral_messages_are_delivered_during_a_replay() {
    let mut bench = Bench::new();
    for _ in 0..400 {
        bench.post_to("a", vec![Message::new("m", "x".repeat(900))]).unwrap();
    }
    let (listener, _) = bench.connect(None);
    bench.attach_to(listener, "a", &[("rewind", "400")]);
    let is_behind = |output: &Output| matches!(output, Output::Behind(to) if *to == listener);
    assert!(bench.outputs.iter().any(is_behind), "a replay goes on");
    bench.post_to("a", vec![ephemeral("now")]).unwrap();
    bench.post_to("a", vec![Message::new("m", "later")]).unwrap();
    let deliveries = bench.deliveries(listener);
    let texts: Vec<_> = deliveries.iter().map(|it| it.items[0].data.as_str().unwrap()).collect();
    assert_eq!(texts.len(), 402);
    let place = |text: &str| texts.iter().position(|it| *it == text).unwrap();
    assert!(place("now") < 400);
    assert_eq!(place("later"), 401);
}

#[test]
fn filters_and_deltas_apply_to_ephemeral_messages() {
    let mut bench = Bench::new();
    let everything =
        Identity { capability: Arc::new(capability(json!({"[*]*": ["*"]}))), ..bench.identity() };
    let (filtered, _) = bench.connect_as(everything, None, true);
    let name = format!("[filter={}]a", STANDARD.encode(r#"headers.k == `"v"`"#));
    bench.attach(filtered, &name, None);
    let (deltas, _) = bench.connect(None);
    bench.attach_to(deltas, "a", &[("delta", "vcdiff")]);
    bench.frames(deltas);
    let payload = "a payload that is long enough for a delta to be worth it, number ";
    let text = |number: u32| format!("{payload}{number}");
    for number in 0..4 {
        let headers = if number == 1 { json!({"k": "v"}) } else { json!({}) };
        let extras = json!({"ephemeral": number % 2 == 1, "headers": headers});
        bench.post_to("a", vec![with_extras(&text(number), extras)]).unwrap();
    }
    let [seen] = &bench.deliveries(filtered)[..] else { panic!("one MESSAGE") };
    assert_eq!((&*seen.channel, &seen.channel_serial), (&*name, &None));
    assert_eq!(seen.items[0].data.as_str(), Some(&*text(1)));

    // The base of each delta is the message before it, ephemeral or not.
    let mut before: Option<(Str, Vec<u8>)> = None;
    let deliveries = bench.deliveries(deltas);
    assert_eq!(deliveries.len(), 4);
    for (number, delivery) in (0..).zip(&deliveries) {
        let item = &delivery.items[0];
        let decoded = match &before {
            None => item.data.as_str().unwrap().as_bytes().to_vec(),
            Some((id, base)) => {
                let delta = item.delta().unwrap();
                assert_eq!(delta.from, *id);
                vcdiff::decode(item.data.as_bytes().unwrap(), base, 1000).unwrap()
            }
        };
        assert_eq!(decoded, text(number).as_bytes());
        assert_eq!(delivery.channel_serial.is_none(), number % 2 == 1);
        before = Some((format!("{}:0", delivery.id.as_ref().unwrap()).into(), decoded));
    }
}

#[test]
fn invalid_extras_are_refused() {
    let mut bench = Bench::new();
    let kept = || Message::new("m", "kept");
    let explicit = || with_extras("kept", json!({"ephemeral": false}));
    for (messages, expected) in [
        (vec![ephemeral("x"), kept()], Err((400, 40000))),
        (vec![kept(), ephemeral("x")], Err((400, 40000))),
        (vec![ephemeral("x"), ephemeral("x"), explicit()], Err((400, 40000))),
        (vec![with_extras("x", json!({"ephemeral": "true"}))], Err((400, 40032))),
        (vec![with_extras("x", json!({"ephemeral": 1}))], Err((400, 40032))),
        (vec![kept(), with_extras("x", json!({"ephemeral": {}}))], Err((400, 40032))),
        (vec![kept(), explicit(), with_extras("kept", json!({"ephemeral": null}))], Ok(())),
    ] {
        assert_eq!(bench.post_to("a", messages.clone()), expected, "{messages:?}");
    }
    assert_eq!(bench.stored("a"), ["kept"; 3]);

    // A change would log the message.
    bench.post_to("mutable:a", vec![kept()]).unwrap();
    let serial = bench.history("mutable:a").pop().unwrap().serial;
    for action in [MessageAction::Update, MessageAction::Delete, MessageAction::Append] {
        let change = Message { serial: serial.clone(), action: Some(action), ..ephemeral("x") };
        assert_eq!(bench.post_to("mutable:a", vec![change]), Err((400, 40000)), "{action:?}");
    }
    assert_eq!(bench.stored("mutable:a"), ["kept"]);
}

#[test]
fn privileged_extras_need_their_capability() {
    let mut bench = Bench::new();
    let privileged = || with_extras("x", json!({"privileged": {"a": 1}}));
    for (resources, expected) in [
        (json!({"*": ["publish", "message-update-any"]}), Err((401, 40160))),
        (json!({"*": ["publish"], "b": ["privileged-headers"]}), Err((401, 40160))),
        (json!({"*": ["publish", "privileged-headers", "message-update-any"]}), Ok(())),
        (json!({"*": ["*"]}), Ok(())),
    ] {
        let may = capability(resources.clone());
        let identity = Identity { capability: Arc::new(may), ..bench.identity() };
        let (now, outputs) = (bench.now, &mut bench.outputs);
        let app = &mut bench.app;
        let mut post = |message| {
            let published =
                app.publish(&identity, &"mutable:a".into(), vec![message], now, outputs);
            published
                .map(|published| published.published().serials)
                .map_err(|error| (error.status_code, error.code.0))
        };
        assert_eq!(post(privileged()).map(drop), expected, "{resources}");
        let plain = with_extras("x", json!({"privileged": null}));
        let serial = post(plain).unwrap().pop();
        let change = Message { serial, action: Some(MessageAction::Update), ..privileged() };
        assert_eq!(post(change).map(drop), expected, "{resources}");

        // Over a connection, too.
        let (transport, _) = bench.connect_as(identity, None, true);
        bench.send(transport, vec![publish("a", 0, vec![Message::new("m", "x"), privileged()])]);
        match expected {
            Ok(()) => assert_eq!(bench.acks(transport).len(), 1, "{resources}"),
            Err((_, code)) => {
                assert_eq!(nack_code(bench.frames(transport)), (0, code), "{resources}");
            }
        }
    }
}
