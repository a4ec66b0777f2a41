//! The hub in virtual time.

use std::{sync::Arc, time::Duration};

use capably_protocol::{
    ChannelMode, ClientFrame, Data, Flags, Message, PublishResult, ServerFrame, Str,
    frame::{Ack, Attach, Attached, Connected, Delivery, Publish},
};

mod access;
mod annotations;
mod changes;
mod push;
mod stats;

use super::{
    App, AppSpec, ConnectRequest, Direction, HistoryQuery, Namespace, Now, Output, PageQuery,
    Retention, Settings, TransportId,
    auth::{Identity, Key},
    capability::{self, Capability},
};

const APP: &str = "app-id";
const TTL: Duration = Duration::from_secs(120);

/// An app, its clock, and what it has put out.
struct Bench {
    app: App,
    now: Now,
    key: Arc<Key>,
    transports: u64,
    outputs: Vec<Output>,
}

fn namespace(id: &str) -> Namespace {
    Namespace { id: id.into(), persisted: false, mutable: false, push_enabled: false }
}

impl Bench {
    fn new() -> Self {
        Self::with_retention(Retention {
            frames: 10_000,
            bytes: 100_000_000,
            age: Duration::from_secs(150),
        })
    }

    fn with_retention(retention: Retention) -> Self {
        let settings = Settings {
            server_id: "test".into(),
            connection_state_ttl: TTL,
            max_idle_interval: Duration::from_secs(15),
            max_message_size: 1000,
            max_frame_size: 524_288,
            retention,
        };
        let now = Now { steady: Duration::from_secs(10), wall: 1_726_585_978_590 };
        let key = Arc::new(Key::new("key", "secret", Capability::all()));
        let spec = AppSpec {
            id: APP.into(),
            keys: vec![Arc::clone(&key)],
            namespaces: vec![
                Namespace { mutable: true, ..namespace("mutable") },
                Namespace { push_enabled: true, ..namespace("push") },
            ],
            ..AppSpec::default()
        };
        let app = App::new(Arc::new(settings), spec, now);
        Self { app, now, key, transports: 0, outputs: Vec::new() }
    }

    fn advance(&mut self, by: Duration) {
        self.now.steady += by;
        self.now.wall += by.as_millis() as i64;
        self.app.handle_timeout(self.now, &mut self.outputs);
    }

    fn identity(&self) -> Identity {
        Identity::of_key(&self.key, None).unwrap()
    }

    fn connect(&mut self, resume: Option<&str>) -> (TransportId, Connected) {
        self.connect_with(resume, true)
    }

    fn connect_with(&mut self, resume: Option<&str>, echo: bool) -> (TransportId, Connected) {
        self.connect_as(self.identity(), resume, echo)
    }

    fn connect_as(
        &mut self,
        identity: Identity,
        resume: Option<&str>,
        echo: bool,
    ) -> (TransportId, Connected) {
        self.transports += 1;
        let transport = TransportId(self.transports);
        let mut entropy = [0; 24];
        entropy[..8].copy_from_slice(&self.transports.to_le_bytes());
        let request = ConnectRequest { identity, echo, resume: resume.map(Str::from), entropy };
        self.app.connect(transport, request, self.now, &mut self.outputs);
        match self.frames(transport).pop() {
            Some(ServerFrame::Connected(connected)) => (transport, *connected),
            other => panic!("expected CONNECTED, got {other:?}"),
        }
    }

    fn send(&mut self, transport: TransportId, mut frames: Vec<ClientFrame>) {
        self.app.receive(transport, &mut frames, self.now, &mut self.outputs);
        assert!(frames.is_empty());
    }

    /// Takes the frames put out for one transport, replays gone on with.
    fn frames(&mut self, transport: TransportId) -> Vec<ServerFrame> {
        let mut frames = Vec::new();
        loop {
            let mut behind = false;
            self.outputs.retain(|output| match output {
                Output::Frame(to, frame) if *to == transport => {
                    frames.push(frame.clone());
                    false
                }
                Output::Broadcast(to, broadcast) if *to == transport => {
                    frames.push(broadcast.frame().clone());
                    false
                }
                Output::Behind(to) if *to == transport => {
                    behind = true;
                    false
                }
                _ => true,
            });
            if !behind {
                return frames;
            }
            self.app.fill(transport, self.now, &mut self.outputs);
        }
    }

    fn attach(&mut self, transport: TransportId, channel: &str, serial: Option<&Str>) -> Attached {
        let attach = Attach {
            channel: channel.into(),
            channel_serial: serial.cloned(),
            ..Attach::default()
        };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        let at = self
            .outputs
            .iter()
            .position(|output| matches!(output, Output::Frame(to, _) if *to == transport));
        match self.outputs.remove(at.expect("no answer to the ATTACH")) {
            Output::Frame(_, ServerFrame::Attached(attached)) => *attached,
            other => panic!("expected ATTACHED, got {other:?}"),
        }
    }

    fn publish(&mut self, transport: TransportId, channel: &str, serial: u64, text: &str) {
        self.send(transport, vec![publish(channel, serial, vec![Message::new("m", text)])]);
    }

    /// Takes the texts delivered to a transport, and the last channel serial.
    fn texts(&mut self, transport: TransportId) -> (Vec<String>, Option<Str>) {
        let mut texts = Vec::new();
        let mut serial = None;
        for frame in self.frames(transport) {
            if let ServerFrame::Message(delivery) = frame {
                assert!(serial < delivery.channel_serial, "channel serials grow");
                texts.extend(
                    delivery.items.iter().map(|item| item.data.as_str().unwrap().to_owned()),
                );
                serial = delivery.channel_serial;
            }
        }
        (texts, serial)
    }

    fn acks(&mut self, transport: TransportId) -> Vec<Ack> {
        let frames = self.frames(transport);
        frames
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Ack(ack) => Some(ack),
                _ => None,
            })
            .collect()
    }

    fn history(&mut self, channel: &str) -> Vec<Message> {
        let query = HistoryQuery { page: all(Direction::Forwards), from_serial: None };
        let identity = self.identity();
        self.app.history(&identity, channel, &query, self.now).unwrap().items
    }
}

fn capability(value: serde_json::Value) -> Capability {
    capability::read(&value).unwrap().0
}

fn all(direction: Direction) -> PageQuery {
    PageQuery { direction, limit: 1000, start: None, end: None, cursor: None }
}

fn publish(channel: &str, msg_serial: u64, messages: Vec<Message>) -> ClientFrame {
    ClientFrame::Message(Publish {
        channel: channel.into(),
        msg_serial,
        items: Arc::from(messages),
        params: Default::default(),
    })
}

fn key(connected: &Connected) -> Str {
    connected.details.as_ref().unwrap().connection_key.clone().unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn nack_code(frames: Vec<ServerFrame>) -> (u64, u32) {
    match &frames[..] {
        [ServerFrame::Nack(nack)] => (nack.msg_serial, nack.error.as_ref().unwrap().code.0),
        other => panic!("expected one NACK, got {other:?}"),
    }
}

#[test]
fn a_resume_gets_exactly_what_was_missed() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect(None);
    let (first, connected) = bench.connect(None);
    bench.attach(first, "a", None);
    for number in 0..5 {
        bench.publish(publisher, "a", number, &number.to_string());
    }
    let (texts, serial) = bench.texts(first);
    assert_eq!(texts, numbers(0..5));

    // What is published between the loss of the transport and the new ATTACH.
    bench.app.transport_closed(first, bench.now);
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
fn a_resume_with_nothing_missed_says_so() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    let serial = bench.attach(first, "a", None).channel_serial;
    bench.app.transport_closed(first, bench.now);
    let (second, _) = bench.connect(Some(&key(&connected)));
    let attached = bench.attach(second, "a", serial.as_ref());
    assert!(attached.flags.contains(Flags::RESUMED));
    assert!(!attached.flags.contains(Flags::HAS_BACKLOG));
    assert_eq!(bench.texts(second).0, numbers(0..0));
}

#[test]
fn a_resume_replaces_a_transport_that_still_lives() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    bench.attach(first, "a", None);
    let (second, resumed) = bench.connect(Some(&key(&connected)));
    assert_eq!(resumed.connection_id, connected.connection_id);
    assert!(matches!(bench.outputs[..], [Output::Close(closed)] if closed == first));
    bench.outputs.clear();

    // What the old transport still has to say counts for nothing, its end least of all.
    bench.publish(first, "a", 0, "stale");
    bench.app.transport_closed(first, bench.now);
    assert_eq!(bench.history("a"), []);
    bench.attach(second, "a", None);
    bench.publish(second, "a", 0, "fresh");
    assert_eq!(bench.texts(second).0, ["fresh"]);

    // The key before the last still works: CONNECTED may have been lost with its transport.
    let (_, again) = bench.connect(Some(&key(&connected)));
    assert_eq!(again.connection_id, connected.connection_id);
}

#[test]
fn state_is_dropped_after_its_time() {
    let mut bench = Bench::new();
    let (first, connected) = bench.connect(None);
    bench.app.transport_closed(first, bench.now);
    assert_eq!(bench.app.next_timeout(), Some(bench.now.steady + TTL));
    // Even before the timer has run.
    bench.now.steady += TTL;
    let (_, late) = bench.connect(Some(&key(&connected)));
    assert_ne!(late.connection_id, connected.connection_id);
    let error = late.error.unwrap();
    assert_eq!((error.code.0, error.status_code), (80018, 400));

    bench.advance(Duration::ZERO);
    assert_eq!(bench.app.next_timeout(), None);
}

#[test]
fn unknown_keys_make_a_new_connection() {
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
fn closing_ends_the_connection_for_good() {
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
fn frames_sent_again_are_acknowledged_again_and_not_published_again() {
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
    bench.app.transport_closed(first, bench.now);

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
    // A refusal is repeated as well.
    bench.send(transport, vec![bad(2)]);
    assert_eq!(nack_code(bench.frames(transport)), (2, 40010));
}

#[test]
fn publishes_that_are_refused() {
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
fn a_message_id_counts_once() {
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
fn without_echo_only_ones_own_messages_are_left_out() {
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

    // Nor are they in a replay, nor do they make one.
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

#[test]
fn serials_that_lead_nowhere() {
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

#[test]
fn a_long_replay_comes_in_steps_and_what_is_new_after_it() {
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
    // Published while the replay goes on: it must come after it, once.
    bench.publish(publisher, "a", 3000, "3000");
    assert_eq!(bench.texts(subscriber).0, numbers(0..3001));
    bench.publish(publisher, "a", 3001, "3001");
    assert_eq!(bench.texts(subscriber).0, ["3001"]);
}

#[test]
fn a_replay_overtaken_by_the_retention_says_that_something_is_missing() {
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
fn rewind_begins_in_the_past() {
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
fn modes_are_what_was_asked_for_and_is_allowed() {
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

#[test]
fn history_is_kept_for_two_minutes_and_then_forgotten() {
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

    // Empty as it is, the channel knows what a client can go on from.
    let last = Str::from("01726585978590-001@local");
    bench.advance(Duration::from_secs(100));
    let attached = bench.attach(transport, "a", Some(&last));
    assert!(attached.flags.contains(Flags::RESUMED), "nothing was published after it");
    let before = Str::from("01726585978590-000@local");
    assert_eq!(bench.attach(transport, "a", Some(&before)).error.unwrap().code.0, 90003);

    // Once it is forgotten, it goes on from nothing older than what was forgotten with it.
    bench.app.transport_closed(transport, bench.now);
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
fn every_message_of_a_frame_has_its_serial() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach(transport, "a", None);
    bench.send(transport, vec![publish("a", 0, vec![Message::new("m", "x"); 3])]);
    let frames = bench.frames(transport);
    let [ServerFrame::Message(delivery), ServerFrame::Ack(ack)] = &frames[..] else {
        panic!("{frames:?}")
    };
    let channel_serial = delivery.channel_serial.as_deref().unwrap();
    let serials: Vec<_> =
        (0..3).map(|index| Some(Str::from(format!("{channel_serial}:00{index}")))).collect();
    let delivered: Vec<_> = delivery.items.iter().map(|item| item.serial.clone()).collect();
    assert_eq!(delivered, serials);
    assert_eq!(ack.res, [PublishResult::new(serials)]);
}

#[test]
fn what_is_not_supported_is_refused() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let presence = ClientFrame::Presence(Publish {
        channel: "a".into(),
        msg_serial: 0,
        items: Arc::from(vec![]),
        params: Default::default(),
    });
    bench.send(transport, vec![presence]);
    assert_eq!(nack_code(bench.frames(transport)), (0, 40021));
    bench.publish(transport, "a", 1, "after");
    assert_eq!(bench.acks(transport)[0].msg_serial, 1);
}

#[test]
fn rest_publishes_on_behalf_of_a_connection() {
    let mut bench = Bench::new();
    let (_, connected) = bench.connect(None);
    let identity = bench.identity();
    let message =
        |key: &str| Message { connection_key: Some(key.into()), ..Message::new("m", "x") };
    for (key, expected) in [(key(&connected), Ok(())), ("a!b-1".into(), Err(40006))] {
        let result = bench.app.publish(
            &identity,
            &"a".into(),
            vec![message(&key)],
            bench.now,
            &mut bench.outputs,
        );
        assert_eq!(result.map(drop).map_err(|error| error.code.0), expected);
    }
    let [message] = &bench.history("a")[..] else { panic!("one message") };
    assert_eq!(message.connection_id, connected.connection_id);
    assert_eq!(message.connection_key, None);
}

#[test]
fn an_app_that_has_ended_says_so_to_late_comers() {
    let mut bench = Bench::new();
    let (early, _) = bench.connect(None);
    let farewell = ServerFrame::Disconnected { error: None };
    bench.app.end(&farewell, &mut bench.outputs);
    let late = TransportId(99);
    let request =
        ConnectRequest { identity: bench.identity(), echo: true, resume: None, entropy: [0; 24] };
    bench.app.connect(late, request, bench.now, &mut bench.outputs);
    for transport in [early, late] {
        assert_eq!(bench.frames(transport), std::slice::from_ref(&farewell));
    }
    let closed: Vec<_> = bench
        .outputs
        .iter()
        .map(|output| match output {
            Output::Close(transport) => *transport,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(closed, [early, late]);
}

/// A client that loses its transport again and again, with whatever was on its way to it.
struct Wanderer {
    transport: TransportId,
    key: Str,
    /// Frames the service has sent and the client has not yet read.
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

    fn come_back(&mut self, bench: &mut Bench, told_of_loss: bool, sees_connected: bool) {
        if told_of_loss {
            bench.app.transport_closed(self.transport, bench.now);
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
fn nothing_is_lost_or_doubled_however_often_transports_break() {
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
                    publisher.come_back(&mut bench, random(2) == 0, random(2) == 0);
                    sent = acknowledged;
                }
                _ => {
                    subscriber.come_back(&mut bench, random(2) == 0, random(2) == 0);
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
