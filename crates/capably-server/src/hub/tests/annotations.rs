//! Annotations and their summaries, in virtual time.

use capably_protocol::{Annotation, AnnotationAction, ErrorInfo, MessageAction};
use serde_json::{Value, json};

use super::*;

const CHANNEL: &str = "mutable:a";

fn annotation(kind: &str, name: &str) -> Annotation {
    Annotation {
        action: Some(AnnotationAction::Create),
        annotation_type: Some(kind.into()),
        name: Some(name.into()),
        ..Annotation::default()
    }
}

fn frame(msg_serial: u64, items: Vec<Annotation>) -> ClientFrame {
    ClientFrame::Annotation(Publish {
        channel: CHANNEL.into(),
        msg_serial,
        items: Arc::from(items),
        params: Default::default(),
    })
}

/// The frames sent to a transport, in short: the type of each, and its content.
fn digest(frames: Vec<ServerFrame>) -> Vec<(&'static str, String)> {
    let text = |text: &Option<Str>| text.as_deref().unwrap_or_default().to_owned();
    frames
        .into_iter()
        .flat_map(|frame| match frame {
            ServerFrame::Message(delivery) => delivery
                .items
                .iter()
                .map(|item| match item.action {
                    Some(MessageAction::Summary) => {
                        ("summary", serde_json::to_string(item.summary()).unwrap())
                    }
                    _ => ("message", text(&item.name)),
                })
                .collect(),
            ServerFrame::Annotation(delivery) => {
                delivery.items.iter().map(|item| ("annotation", text(&item.name))).collect()
            }
            ServerFrame::Ack(_) => vec![("ack", String::new())],
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

impl Bench {
    fn message(&mut self, name: &str) -> Str {
        let identity = self.identity();
        let message = Message::new(name, "data");
        self.app
            .publish(&identity, &CHANNEL.into(), vec![message], self.now, &mut self.outputs)
            .unwrap()
            .published()
            .serials[0]
            .clone()
    }

    fn named(&self, client: &str) -> Identity {
        Identity::of_key(&self.key, Some(client.into())).unwrap()
    }

    fn annotate(
        &mut self,
        identity: &Identity,
        serial: &str,
        annotations: Vec<Annotation>,
    ) -> Result<Vec<Str>, (u16, u32)> {
        self.app
            .annotate(identity, &CHANNEL.into(), serial, annotations, self.now, &mut self.outputs)
            .map(|published| published.published().serials)
            .map_err(|error: ErrorInfo| (error.status_code, error.code.0))
    }

    fn annotations(&mut self, serial: &str) -> Vec<Annotation> {
        let identity = self.identity();
        let query = all(Direction::Forwards);
        self.app.annotations(&identity, CHANNEL, serial, &query, self.now).unwrap().items
    }

    fn summary(&mut self, serial: &str) -> Value {
        let identity = self.identity();
        let message = self.app.message(&identity, CHANNEL, serial, self.now).unwrap();
        json!(message.summary())
    }

    fn attach_for(&mut self, transport: TransportId, modes: &str) -> Flags {
        self.attach_from(transport, modes, None)
    }

    fn attach_from(&mut self, transport: TransportId, modes: &str, serial: Option<&Str>) -> Flags {
        let attach = Attach {
            channel: CHANNEL.into(),
            channel_serial: serial.cloned(),
            params: [("modes".to_owned(), modes.to_owned())].into(),
            ..Attach::default()
        };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        let at = self
            .outputs
            .iter()
            .position(|output| matches!(output, Output::Frame(to, _) if *to == transport));
        match self.outputs.remove(at.unwrap()) {
            Output::Frame(_, ServerFrame::Attached(attached)) => attached.flags,
            other => panic!("expected ATTACHED, got {other:?}"),
        }
    }
}

#[test]
fn an_annotation_reaches_annotation_subscribers_and_its_summary_reaches_all() {
    let mut bench = Bench::new();
    let (single, _) = bench.connect(None);
    let (both, _) = bench.connect(None);
    let (plain, _) = bench.connect(None);
    bench.attach_for(single, "annotation_subscribe");
    bench.attach_for(both, "subscribe,annotation_subscribe");
    bench.attach(plain, CHANNEL, None);
    let serial = bench.message("m");
    let ada = bench.named("ada");
    let made = bench.annotate(&ada, &serial, vec![annotation("r:distinct.v1", "👍")]).unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0] > serial);

    let summary = r#"{"r:distinct.v1":{"👍":{"clientIds":["ada"],"total":1}}}"#.to_owned();
    let message = ("message", "m".to_owned());
    let one = ("annotation", "👍".to_owned());
    let frames = bench.frames(single);
    let ServerFrame::Annotation(delivery) = &frames[0] else { panic!("{frames:?}") };
    let mut item = delivery.items[0].clone();
    assert_eq!(item.serial.as_ref(), Some(&made[0]));
    assert_eq!(item.message_serial.as_ref(), Some(&serial));
    assert_eq!(item.client_id.as_deref(), Some("ada"));
    assert_eq!(delivery.timestamp, Some(bench.now.wall));
    item.inherit(delivery.id.as_ref(), 0, None, delivery.timestamp);
    assert_eq!(bench.annotations(&serial), [item]);
    let summarized = ("summary", summary);
    let expected = [message.clone(), one, summarized.clone()];
    assert_eq!(digest(frames), expected[1..2]);
    assert_eq!(digest(bench.frames(both)), expected);

    let frames = bench.frames(plain);
    let Some(ServerFrame::Message(delivery)) = frames.last() else { panic!("{frames:?}") };
    let item = &delivery.items[0];
    assert_eq!((item.serial.as_ref(), item.name.as_deref()), (Some(&serial), Some("m")));
    assert_eq!(item.version.as_ref().unwrap().serial.as_ref(), Some(&serial));
    assert_eq!(item.data, Data::None);
    assert!(delivery.channel_serial.as_deref() > Some(&made[0][..]));
    assert_eq!(delivery.connection_id, None);
    assert_eq!(digest(frames), [message, summarized]);
}

#[test]
fn history_returns_messages_with_their_summaries() {
    let mut bench = Bench::new();
    let serial = bench.message("m");
    assert_eq!(bench.summary(&serial), json!({}));
    let (ada, bob) = (bench.named("ada"), bench.named("bob"));
    for (identity, kind, name) in [
        (&ada, "r:unique.v1", "👍"),
        (&bob, "r:unique.v1", "👍"),
        (&bob, "r:unique.v1", "heart"),
        (&ada, "v:total.v1", ""),
        (&ada, "com.ably.reactions", "like"),
    ] {
        bench.annotate(identity, &serial, vec![annotation(kind, name)]).unwrap();
    }
    let expected = json!({
        "r:unique.v1": {
            "👍": {"total": 1, "clientIds": ["ada"]},
            "heart": {"total": 1, "clientIds": ["bob"]},
        },
        "v:total.v1": {"total": 1},
    });
    assert_eq!(bench.summary(&serial), expected);
    assert_eq!(json!(bench.history(CHANNEL)[0].summary()), expected);

    // A change of the message keeps its summary, and subscribers receive the change with it.
    let (transport, _) = bench.connect(None);
    bench.attach(transport, CHANNEL, None);
    let identity = bench.identity();
    let update = Message {
        serial: Some(serial.clone()),
        action: Some(MessageAction::Update),
        ..Message::new("new", "data")
    };
    bench.app.change(&identity, &CHANNEL.into(), update, bench.now, &mut bench.outputs).unwrap();
    let frames = bench.frames(transport);
    let ServerFrame::Message(delivery) = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(json!(delivery.items[0].summary()), expected);
    assert_eq!(bench.summary(&serial), expected);

    let removal =
        Annotation { action: Some(AnnotationAction::Delete), ..annotation("r:unique.v1", "👍") };
    bench.annotate(&ada, &serial, vec![removal]).unwrap();
    let left = json!({"heart": {"total": 1, "clientIds": ["bob"]}});
    assert_eq!(bench.summary(&serial)["r:unique.v1"], left);
    let frames = bench.frames(transport);
    let ServerFrame::Message(delivery) = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(delivery.items[0].name.as_deref(), Some("new"));
    let actions: Vec<_> =
        bench.annotations(&serial).iter().map(|it| it.action.unwrap().number()).collect();
    assert_eq!(actions, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn an_annotation_frame_is_acknowledged_once_after_its_echo() {
    let mut bench = Bench::new();
    let identity = bench.named("ada");
    let (transport, connected) = bench.connect_as(identity, None, true);
    bench.attach_for(transport, "subscribe,annotation_subscribe,annotation_publish");
    let serial = bench.message("m");
    bench.frames(transport);
    // A client cannot send a summary: only the service creates it.
    let on = |annotation: Annotation| Annotation {
        message_serial: Some(serial.clone()),
        connection_id: Some("other".into()),
        timestamp: Some(1),
        serial: Some("own".into()),
        ..annotation
    };
    let items = vec![on(annotation("r:distinct.v1", "a")), on(annotation("r:distinct.v1", "b"))];
    bench.send(transport, vec![frame(0, items.clone())]);
    let frames = bench.frames(transport);
    let ServerFrame::Annotation(delivery) = &frames[0] else { panic!("{frames:?}") };
    assert_eq!(delivery.connection_id, connected.connection_id);
    let id = format!("{}:0", connected.connection_id.as_deref().unwrap());
    assert_eq!(delivery.id.as_deref(), Some(&*id));
    let serials: Vec<_> = delivery.items.iter().map(|item| item.serial.clone()).collect();
    let Some(ServerFrame::Ack(ack)) = frames.last() else { panic!("{frames:?}") };
    assert_eq!((ack.msg_serial, ack.count), (0, 1));
    assert_eq!(ack.res[0].serials, serials);
    let kinds: Vec<_> = digest(frames).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["annotation", "annotation", "summary", "ack"]);
    let read = bench.annotations(&serial);
    assert_eq!(read[1].id.as_deref(), Some(&*format!("{id}:1")));
    assert_eq!(read[1].connection_id, connected.connection_id);
    assert_eq!(read[1].timestamp, Some(bench.now.wall));
    assert_eq!(read[1].serial, serials[1]);

    bench.send(transport, vec![frame(0, items.clone())]);
    assert_eq!(digest(bench.frames(transport)), [], "it has been acknowledged on this transport");
    let (transport, _) = bench.connect(Some(&key(&connected)));
    bench.send(transport, vec![frame(0, items)]);
    assert_eq!(digest(bench.frames(transport)), [("ack", String::new())]);
    assert_eq!(bench.annotations(&serial).len(), 2);
}

#[test]
fn without_echo_a_publisher_receives_the_summary_but_not_its_annotation() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect_with(None, false);
    bench.attach_for(transport, "subscribe,annotation_subscribe,annotation_publish");
    let serial = bench.message("m");
    bench.frames(transport);
    let own = Annotation { message_serial: Some(serial), ..annotation("v:total.v1", "") };
    bench.send(transport, vec![frame(0, vec![own])]);
    let kinds: Vec<_> = digest(bench.frames(transport)).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["summary", "ack"]);
}

#[test]
fn a_resume_delivers_the_missed_annotations() {
    let mut bench = Bench::new();
    let (transport, connected) = bench.connect(None);
    bench.attach_for(transport, "annotation_subscribe");
    let serial = bench.message("m");
    let (other, _) = bench.connect(None);
    bench.attach(other, CHANNEL, None);
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    let identity = bench.identity();
    bench.annotate(&identity, &serial, vec![annotation("v:total.v1", "one")]).unwrap();
    let (back, _) = bench.connect(Some(&key(&connected)));
    let flags = bench.attach_from(back, "annotation_subscribe", Some(&serial));
    assert!(flags.contains(Flags::RESUMED) && flags.contains(Flags::HAS_BACKLOG));
    assert_eq!(digest(bench.frames(back)), [("annotation", "one".into())]);
}

#[test]
fn a_new_token_starts_and_stops_annotations_at_once() {
    let mut bench = Bench::new();
    let serial = bench.message("m");
    let publisher = bench.identity();
    let token = |bench: &mut Bench, operations: Value| {
        bench.request(&json!({"capability": {"*": operations}})).unwrap().token
    };
    let first = token(&mut bench, json!(["subscribe", "annotation-subscribe"]));
    let identity = bench.authenticate(&first, None).unwrap();
    let (transport, _) = bench.connect_as(identity, None, true);
    bench.attach_for(transport, "publish,subscribe,annotation_subscribe");
    for (operations, seen) in [
        (json!(["subscribe"]), false),
        (json!(["annotation-subscribe"]), true),
        (json!(["publish"]), false),
        (json!(["annotation-subscribe", "subscribe"]), true),
    ] {
        let next = token(&mut bench, operations.clone());
        bench.auth(transport, &next);
        bench.annotate(&publisher, &serial, vec![annotation("x", "n")]).unwrap();
        let expected = if seen { vec![("annotation", "n".to_owned())] } else { vec![] };
        assert_eq!(digest(bench.frames(transport)), expected, "{operations}");
    }
}

#[test]
fn an_annotation_id_is_published_once_per_message() {
    let mut bench = Bench::new();
    let (first, second) = (bench.message("first"), bench.message("second"));
    let identity = bench.identity();
    let once = Annotation { id: Some("once:0".into()), ..annotation("v:total.v1", "x") };
    let made = bench.annotate(&identity, &first, vec![once.clone()]).unwrap();
    assert_eq!(bench.annotate(&identity, &first, vec![once.clone()]).unwrap(), made);
    assert_eq!(bench.summary(&first)["v:total.v1"]["total"], 1);
    assert_ne!(bench.annotate(&identity, &second, vec![once]).unwrap(), made);
    let ids = |first: &str, second: &str| {
        let of = |id: &str| Annotation { id: Some(id.into()), ..annotation("x", "y") };
        vec![of(first), of(second)]
    };
    assert_eq!(bench.annotate(&identity, &first, ids("b:0", "b:0")), Err((400, 40031)));
    bench.annotate(&identity, &first, ids("b:0", "b:1")).unwrap();
    assert_eq!(bench.annotations(&first)[2].id.as_deref(), Some("b:1"));
}

#[test]
fn invalid_annotations_are_refused() {
    let mut bench = Bench::new();
    let serial = bench.message("m");
    let identity = bench.identity();
    let mut refusal = |serial: &str, annotation: Annotation| {
        bench.annotate(&identity, serial, vec![annotation]).unwrap_err()
    };
    let plain = || annotation("x", "n");
    let unknown = format!("{}1", &serial[..serial.len() - 1]);
    for (serial, annotation, expected) in [
        (&*serial, Annotation { action: None, ..plain() }, (400, 40000)),
        (
            &*serial,
            Annotation { action: Some(AnnotationAction::Unknown(2)), ..plain() },
            (400, 40000),
        ),
        (&*serial, Annotation { annotation_type: None, ..plain() }, (400, 40003)),
        (&*serial, annotation("", "n"), (400, 40003)),
        (&*serial, Annotation { message_serial: Some("x".into()), ..plain() }, (400, 40003)),
        (&*serial, Annotation { name: None, ..annotation("x:multiple.v1", "") }, (400, 40003)),
        (&*serial, annotation("x:flag.v1", ""), (400, 40012)),
        (&*serial, annotation("x:distinct.v1", "n"), (400, 40012)),
        (&*serial, annotation("x:unique.v1", "n"), (400, 40012)),
        (&*serial, Annotation { client_id: Some("*".into()), ..plain() }, (400, 40012)),
        (&*serial, Annotation { id: Some("".into()), ..plain() }, (400, 40031)),
        (&*serial, Annotation { data: "x".repeat(1001).into(), ..plain() }, (400, 40009)),
        (&*serial, annotation("x:multiple.v1", &"n".repeat(801)), (400, 40009)),
        (&*unknown, plain(), (404, 40400)),
        ("nonsense", plain(), (404, 40400)),
    ] {
        assert_eq!(refusal(serial, annotation.clone()), expected, "{serial} {annotation:?}");
    }
    assert_eq!(bench.annotate(&identity, &serial, vec![]), Err((400, 40000)));
    assert_eq!(bench.annotate(&identity, &serial, vec![plain(); 1001]), Err((400, 40034)));
    assert_eq!(bench.annotations(&serial), []);

    let channel = Str::from("immutable");
    let elsewhere = bench.app.annotate(
        &identity,
        &channel,
        &serial,
        vec![plain()],
        bench.now,
        &mut bench.outputs,
    );
    assert_eq!(elsewhere.unwrap_err().code.0, 93002);
    let capability = capability(json!({"*": ["publish", "subscribe"]}));
    let limited = Identity::of_key(&Key::new("limited", "s", capability), None).unwrap();
    assert_eq!(bench.annotate(&limited, &serial, vec![plain()]), Err((401, 40160)));
    let query = all(Direction::Forwards);
    let read = bench.app.annotations(&limited, CHANNEL, &serial, &query, bench.now);
    assert_eq!(read.unwrap_err().code.0, 40160);

    bench.advance(Duration::from_secs(151));
    assert_eq!(bench.annotate(&identity, &serial, vec![plain()]), Err((404, 40400)));
}

#[test]
fn a_summary_is_no_larger_than_a_message_may_be() {
    let mut bench = Bench::new();
    let serial = bench.message("m");
    let mut refused = 0;
    for number in 0..50 {
        let identity = bench.named(&format!("a-client-of-some-length-{number:03}"));
        bench.annotate(&identity, &serial, vec![annotation("r:flag.v1", "")]).unwrap();
        let name = format!("name-{number}");
        match bench.annotate(&identity, &serial, vec![annotation("r:multiple.v1", &name)]) {
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, (400, 40009));
                refused += 1;
            }
        }
    }
    assert!(refused > 40, "{refused}");
    let summary = bench.summary(&serial);
    assert_eq!(summary["r:flag.v1"]["total"], 50);
    assert_eq!(summary["r:flag.v1"]["clipped"], true);
    assert!(summary.to_string().len() <= 1000, "{summary}");
    // A name that the summary already contains needs no room.
    let identity = bench.identity();
    bench.annotate(&identity, &serial, vec![annotation("r:multiple.v1", "name-0")]).unwrap();
}

#[test]
fn an_annotation_frame_needs_the_mode_and_the_capability() {
    let mut bench = Bench::new();
    let serial = bench.message("m");
    let own = || vec![Annotation { message_serial: Some(serial.clone()), ..annotation("x", "n") }];
    let (transport, _) = bench.connect(None);
    // Without an attachment, the capability decides.
    bench.send(transport, vec![frame(0, own())]);
    assert_eq!(digest(bench.frames(transport)), [("ack", String::new())]);
    bench.attach_for(transport, "subscribe");
    bench.send(transport, vec![frame(1, own())]);
    assert_eq!(nack_code(bench.frames(transport)), (1, 40165));

    let capability = capability(json!({"*": ["subscribe"]}));
    let limited = Identity::of_key(&Key::new("limited", "s", capability), None).unwrap();
    let (transport, _) = bench.connect_as(limited, None, true);
    bench.attach(transport, CHANNEL, None);
    bench.send(transport, vec![frame(0, own())]);
    assert_eq!(nack_code(bench.frames(transport)), (0, 40160));
    bench.send(transport, vec![frame(1, vec![annotation("x", "n")])]);
    assert_eq!(nack_code(bench.frames(transport)), (1, 40160));
    let (transport, _) = bench.connect(None);
    bench.send(transport, vec![frame(0, vec![annotation("x", "n")])]);
    assert_eq!(nack_code(bench.frames(transport)), (0, 40003));
}

#[test]
fn a_client_can_force_a_nack() {
    let mut bench = Bench::new();
    let serial = bench.message("m");
    let (transport, _) = bench.connect(None);
    for (msg_serial, value, refused) in [(0, "true", true), (1, "false", false)] {
        let annotation =
            Annotation { message_serial: Some(serial.clone()), ..annotation("x", "n") };
        bench.send(
            transport,
            vec![ClientFrame::Annotation(Publish {
                channel: CHANNEL.into(),
                msg_serial,
                items: Arc::from([annotation]),
                params: [("_forceNack".to_owned(), value.to_owned())].into(),
            })],
        );
        let frames = bench.frames(transport);
        if refused {
            assert_eq!(nack_code(frames), (0, 40099));
        } else {
            assert_eq!(digest(frames), [("ack", String::new())]);
        }
        assert_eq!(bench.annotations(&serial).len(), usize::from(!refused));
    }
}
