//! Rewinding over messages that were changed or annotated, in virtual time.

use capably_protocol::{Annotation, AnnotationAction, MessageAction};
use serde_json::json;

use super::*;

const CHANNEL: &str = "mutable:a";

fn changed(serial: &str, action: MessageAction, text: &str) -> Message {
    Message {
        serial: Some(serial.into()),
        action: Some(action),
        data: text.into(),
        ..Message::default()
    }
}

/// A message in short form.
fn of(message: &Message) -> (MessageAction, &str) {
    (message.action.unwrap(), message.data.as_str().unwrap())
}

impl Bench {
    /// Publishes these texts in one frame over REST, and returns their serials.
    fn create_all(&mut self, texts: &[&str]) -> Vec<Str> {
        let identity = self.identity();
        let messages = texts.iter().map(|text| Message::new("m", *text)).collect();
        let channel = Str::from(CHANNEL);
        let published =
            self.app.publish(&identity, &channel, messages, self.now, &mut self.outputs);
        published.unwrap().published().serials
    }

    fn apply_change(&mut self, message: Message) {
        let identity = self.identity();
        let channel = Str::from(CHANNEL);
        self.app.change(&identity, &channel, message, self.now, &mut self.outputs).unwrap();
    }

    fn annotate_message(&mut self, serial: &str) {
        let identity = self.identity();
        let annotation = Annotation {
            action: Some(AnnotationAction::Create),
            annotation_type: Some("v:total.v1".into()),
            ..Annotation::default()
        };
        self.app
            .annotate(
                &identity,
                &CHANNEL.into(),
                serial,
                vec![annotation],
                self.now,
                &mut self.outputs,
            )
            .unwrap();
    }

    /// Attaches with these parameters, and returns the frames after ATTACHED.
    fn attach_with(&mut self, transport: TransportId, params: &[(&str, &str)]) -> Vec<ServerFrame> {
        let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let attach =
            Attach { channel: CHANNEL.into(), params: params.collect(), ..Attach::default() };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        let mut frames = self.frames(transport);
        let ServerFrame::Attached(attached) = frames.remove(0) else { panic!("not ATTACHED") };
        assert_eq!(attached.flags.contains(Flags::HAS_BACKLOG), !frames.is_empty());
        frames
    }

    fn rewind(&mut self, by: &str) -> Vec<Delivery<Message>> {
        let (transport, _) = self.connect(None);
        deliveries(self.attach_with(transport, &[("rewind", by)]))
    }
}

fn deliveries(frames: Vec<ServerFrame>) -> Vec<Delivery<Message>> {
    let delivery = |frame| match frame {
        ServerFrame::Message(delivery) => delivery,
        other => panic!("not a MESSAGE: {other:?}"),
    };
    frames.into_iter().map(delivery).collect()
}

fn items(deliveries: &[Delivery<Message>]) -> Vec<(MessageAction, &str)> {
    deliveries.iter().flat_map(|delivery| &delivery.items).map(of).collect()
}

#[test]
fn a_rewind_delivers_each_message_once_in_its_latest_version() {
    use MessageAction::{Append, Create, Delete, Update};
    let mut bench = Bench::new();
    let serials = bench.create_all(&["a", "b", "c"]);
    bench.advance(Duration::from_secs(20));
    let last = bench.create_all(&["d"]).remove(0);
    let created = bench.now.wall;
    bench.advance(Duration::from_secs(20));
    bench.apply_change(changed(&serials[0], Update, "A"));
    bench.apply_change(changed(&serials[0], Append, "+"));
    bench.apply_change(changed(&serials[2], Delete, "gone"));
    bench.apply_change(changed(&last, Append, "+"));
    bench.apply_change(changed(&last, Append, "+"));

    let all = bench.rewind("100");
    let first = [(Update, "A+"), (Create, "b"), (Delete, "gone")];
    assert_eq!(items(&all), [&first[..], &[(Update, "d++")]].concat());
    // A rewind counts no changes, and ignores their times.
    let one = bench.rewind("1");
    assert_eq!(items(&one), [(Update, "d++")]);
    assert_eq!(bench.rewind("25s"), one);
    assert_eq!(bench.rewind("15s"), []);

    // History returns the same messages.
    let [delivery] = &one[..] else { panic!("{one:?}") };
    let mut message = delivery.items[0].clone();
    assert_eq!((message.timestamp, message.serial.as_ref()), (Some(created), Some(&last)));
    assert_eq!(message.name.as_deref(), Some("m"));
    message.inherit(delivery.id.as_ref(), 0, delivery.connection_id.as_ref(), delivery.timestamp);
    assert_eq!(Some(&message), bench.history(CHANNEL).last());
    assert!(message.version.unwrap().serial > message.serial);
}

#[test]
fn a_rewind_delivers_annotations_as_summaries() {
    let mut bench = Bench::new();
    let first = bench.create_all(&["a"]).remove(0);
    bench.create_all(&["b"]);
    for _ in 0..3 {
        bench.annotate_message(&first);
    }
    let (transport, _) = bench.connect(None);
    let modes = ("modes", "subscribe,annotation_subscribe");
    let rewound = deliveries(bench.attach_with(transport, &[("rewind", "2"), modes]));
    assert_eq!(items(&rewound), [(MessageAction::Create, "a"), (MessageAction::Create, "b")]);
    assert_eq!(json!(rewound[0].items[0].summary()), json!({ "v:total.v1": { "total": 3 } }));
    assert_eq!(rewound[1].items[0].annotations, None);
    // After the rewind, changes are delivered as they are made.
    bench.annotate_message(&first);
    let frames = bench.frames(transport);
    assert!(matches!(
        &frames[..],
        [ServerFrame::Annotation(_), ServerFrame::Message(summary)]
            if summary.items[0].summary()["v:total.v1"]["total"] == 4
    ));
}

#[test]
fn a_resume_delivers_each_missed_version() {
    use MessageAction::{Append, Create, Update};
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let rewound = deliveries(bench.attach_with(transport, &[("rewind", "1")]));
    assert_eq!(rewound, []);
    let serial = bench.create_all(&["a"]).remove(0);
    let delivered = deliveries(bench.frames(transport));
    let reached = delivered[0].channel_serial.clone();
    bench.apply_change(changed(&serial, Append, "b"));
    bench.apply_change(changed(&serial, Append, "c"));
    let (other, _) = bench.connect(None);
    let attach = Attach {
        channel: CHANNEL.into(),
        channel_serial: reached,
        params: [("rewind".to_owned(), "1".to_owned())].into(),
        ..Attach::default()
    };
    bench.send(other, vec![ClientFrame::Attach(attach)]);
    let missed = deliveries(bench.frames(other).split_off(1));
    assert_eq!(items(&missed), [(Update, "ab"), (Update, "abc")]);
    assert_eq!(items(&delivered), [(Create, "a")]);
}

#[test]
fn a_change_during_a_rewind_is_sent_after_it() {
    use MessageAction::{Append, Create, Update};
    let mut bench = Bench::new();
    let serial = bench.create_all(&["a"]).remove(0);
    let long = "x".repeat(900);
    for _ in 0..300 {
        bench.create_all(&[&long]);
    }
    let last = bench.create_all(&["z"]).remove(0);
    bench.apply_change(changed(&last, Append, "+"));
    let (transport, _) = bench.connect(None);
    let attach = Attach {
        channel: CHANNEL.into(),
        params: [("rewind".to_owned(), "1000".to_owned())].into(),
        ..Attach::default()
    };
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    assert!(bench.outputs.len() < 300, "the rewind takes several steps");
    bench.apply_change(changed(&serial, Append, "b"));
    bench.apply_change(changed(&last, Append, "!"));
    let rewound = deliveries(bench.frames(transport).split_off(1));
    let rewound = items(&rewound);
    assert_eq!(rewound.len(), 304);
    assert_eq!(rewound[0], (Create, "a"));
    assert_eq!(rewound[301..], [(Update, "z+"), (Update, "ab"), (Update, "z+!")]);
    bench.apply_change(changed(&serial, Append, "c"));
    assert_eq!(items(&deliveries(bench.frames(transport))), [(Append, "c")]);
}

#[test]
fn the_append_mode_full_delivers_appends_as_whole_messages() {
    use MessageAction::{Append, Create, Update};
    let mut bench = Bench::new();
    let (whole, _) = bench.connect(None);
    let (other, _) = bench.connect(None);
    let params = [("appendMode", "full"), ("rewind", "soon")];
    for (transport, mode, echoed) in [(whole, "full", true), (other, "any", false)] {
        let attach = Attach {
            channel: CHANNEL.into(),
            params: [("appendMode".to_owned(), mode.to_owned())].into(),
            ..Attach::default()
        };
        bench.send(transport, vec![ClientFrame::Attach(attach)]);
        let frames = bench.frames(transport);
        let [ServerFrame::Attached(attached)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(attached.params.contains_key("appendMode"), echoed);
    }
    let serial = bench.create_all(&["a"]).remove(0);
    bench.apply_change(changed(&serial, Append, "b"));
    bench.apply_change(changed(&serial, Append, "c"));
    let whole_seen = deliveries(bench.frames(whole));
    assert_eq!(items(&whole_seen), [(Create, "a"), (Update, "ab"), (Update, "abc")]);
    let other_seen = deliveries(bench.frames(other));
    assert_eq!(items(&other_seen), [(Create, "a"), (Append, "b"), (Append, "c")]);
    assert_eq!(bench.attach_with(whole, &params), []);
}
