//! Attachments that receive deltas, in virtual time.

use capably_protocol::{MessageAction, PresenceAction, PresenceMessage, vcdiff};
use serde_json::json;

use super::*;
use crate::hub::Published;

const QUOTE: &str = r#"{"symbol":"ABC","bid":101.25,"ask":101.27}"#;
const NEXT_QUOTE: &str = r#"{"symbol":"ABC","bid":101.26,"ask":101.29}"#;

/// The form in which a message was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Full,
    Delta,
}

/// Applies deltas as clients do: only to the last message received.
#[derive(Default)]
struct Reader {
    last: Option<(Str, Vec<u8>)>,
}

impl Reader {
    /// The payload, the remaining encoding, and the form of the message.
    fn read(&mut self, mut message: Message) -> (Vec<u8>, Option<Str>, Form) {
        let bytes = match &message.data {
            Data::Text(text) => text.as_bytes().to_vec(),
            Data::Binary(bytes) => bytes.to_vec(),
            other => panic!("{other:?}"),
        };
        let steps = message.encoding.take().unwrap_or_default();
        let (payload, rest, form) = match steps.strip_suffix("vcdiff") {
            None => (bytes, steps, Form::Full),
            Some(rest) => {
                let (id, base) = self.last.as_ref().unwrap();
                let delta = message.delta().unwrap();
                assert_eq!((&delta.from, &*delta.format), (id, "vcdiff"));
                let payload = vcdiff::decode(&bytes, base, 1000).unwrap();
                assert!(bytes.len() < payload.len());
                (payload, rest.trim_end_matches('/').into(), Form::Delta)
            }
        };
        self.last = Some((message.id.unwrap(), payload.clone()));
        (payload, Some(rest).filter(|rest| !rest.is_empty()), form)
    }

    /// Reads every message in these frames.
    fn read_all(&mut self, frames: Vec<ServerFrame>) -> Vec<(Vec<u8>, Option<Str>, Form)> {
        let mut read = Vec::new();
        for frame in frames {
            let ServerFrame::Message(mut delivery) = frame else { continue };
            for (index, mut item) in delivery.items.drain(..).enumerate() {
                let (connection, timestamp) = (delivery.connection_id.as_ref(), delivery.timestamp);
                item.inherit(delivery.id.as_ref(), index, connection, timestamp);
                read.push(self.read(item));
            }
        }
        read
    }

    /// The texts in these frames, and the form of each message.
    fn texts(&mut self, frames: Vec<ServerFrame>) -> Vec<(String, Form)> {
        let text = |(payload, _, form)| (String::from_utf8(payload).unwrap(), form);
        self.read_all(frames).into_iter().map(text).collect()
    }
}

impl Bench {
    fn attach_deltas(
        &mut self,
        transport: TransportId,
        format: &str,
        serial: Option<&Str>,
    ) -> Attached {
        let attach = Attach {
            channel: "mutable:a".into(),
            channel_serial: serial.cloned(),
            params: [("delta".to_owned(), format.to_owned())].into_iter().collect(),
            ..Attach::default()
        };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        let attached = |output: &Output| match output {
            Output::Frame(to, ServerFrame::Attached(_)) => *to == transport,
            _ => false,
        };
        let at = self.outputs.iter().position(attached).expect("an answer to the ATTACH");
        match self.outputs.remove(at) {
            Output::Frame(_, ServerFrame::Attached(attached)) => *attached,
            other => panic!("{other:?}"),
        }
    }

    /// A connection that receives deltas.
    fn listener(&mut self) -> TransportId {
        let (transport, _) = self.connect(None);
        let attached = self.attach_deltas(transport, "vcdiff", None);
        assert_eq!(attached.params.get("delta").map(String::as_str), Some("vcdiff"));
        transport
    }

    /// Publishes messages in one frame over REST.
    fn post(&mut self, messages: impl Into<Vec<Message>>) -> Published {
        let identity = self.identity();
        let channel = Str::from("mutable:a");
        let messages = messages.into();
        let published =
            self.app.publish(&identity, &channel, messages, self.now, &mut self.outputs);
        published.unwrap().published()
    }
}

#[test]
fn the_first_message_is_full_and_the_others_are_deltas() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let (mut reader, mut sent) = (Reader::default(), Vec::new());
    for number in 0..6 {
        sent.push(format!("{QUOTE}{number}"));
        bench.post([Message::new("q", &*sent[number])]);
    }
    let read = reader.texts(bench.frames(listener));
    let form = [Form::Full].into_iter().chain([Form::Delta; 5]);
    assert_eq!(read, sent.into_iter().zip(form).collect::<Vec<_>>());
}

#[test]
fn every_payload_type_is_sent_as_a_delta() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let encoded = |data: Data, encoding: &str| Message {
        data,
        encoding: Some(encoding.into()),
        extras: json!({ "headers": { "a": "b" } }).as_object().cloned(),
        ..Message::default()
    };
    bench.post([Message::new("q", QUOTE)]);
    bench.post([encoded(NEXT_QUOTE.into(), "json")]);
    bench.post([Message::new("q", QUOTE.as_bytes())]);
    bench.post([encoded(NEXT_QUOTE.as_bytes().into(), "utf-8/cipher+aes-128-cbc")]);
    bench.post([encoded(QUOTE.as_bytes().into(), "foo")]);
    let frames = bench.frames(listener);
    let item = |index: usize| match &frames[index] {
        ServerFrame::Message(delivery) => &delivery.items[0],
        other => panic!("{other:?}"),
    };
    let steps: Vec<_> = (0..5).map(|index| item(index).encoding.as_deref()).collect();
    let expected = [
        None,
        Some("json/utf-8/vcdiff"),
        Some("vcdiff"),
        Some("utf-8/cipher+aes-128-cbc/vcdiff"),
        Some("foo/vcdiff"),
    ];
    assert_eq!(steps, expected);
    assert_eq!(item(1).extras.as_ref().unwrap()["headers"], json!({ "a": "b" }));
    let payloads: Vec<_> =
        Reader::default().read_all(frames).into_iter().map(|(payload, ..)| payload).collect();
    assert_eq!(payloads, [QUOTE, NEXT_QUOTE, QUOTE, NEXT_QUOTE, QUOTE].map(str::as_bytes));
    // History has the message as it was published, without deltas.
    let history = bench.history("mutable:a");
    assert_eq!(history[1].data, NEXT_QUOTE.into());
    assert!(history[1].delta().is_none());
}

#[test]
fn a_delta_is_sent_only_if_it_is_smaller() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let mut reader = Reader::default();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..5 {
        let payload: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(500).collect();
        bench.post([Message::new("r", payload.clone())]);
        assert_eq!(reader.read_all(bench.frames(listener)), [(payload, None, Form::Full)]);
    }
    // The next message is still a delta of this one.
    bench.post([Message::new("s", "short")]);
    bench.post([Message::new("q", QUOTE)]);
    bench.post([Message::new("q", NEXT_QUOTE)]);
    let expected = [("short", Form::Full), (QUOTE, Form::Full), (NEXT_QUOTE, Form::Delta)];
    let expected = expected.map(|(text, form)| (text.to_owned(), form));
    assert_eq!(reader.texts(bench.frames(listener)), expected);
}

#[test]
fn messages_of_one_frame_are_deltas_of_each_other() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let mut reader = Reader::default();
    let texts = |bench: &mut Bench, reader: &mut Reader| reader.texts(bench.frames(listener));
    let both = || [Message::new("q", QUOTE), Message::new("q", NEXT_QUOTE)];
    bench.post(both());
    // All messages of the first frame are full.
    let expected = [(QUOTE, Form::Full), (NEXT_QUOTE, Form::Full)];
    assert_eq!(texts(&mut bench, &mut reader), expected.map(|(text, own)| (text.to_owned(), own)));
    bench.post(both());
    let expected = [(QUOTE, Form::Delta), (NEXT_QUOTE, Form::Delta)];
    assert_eq!(texts(&mut bench, &mut reader), expected.map(|(text, own)| (text.to_owned(), own)));
}

#[test]
fn a_message_without_data_is_not_a_delta_base() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    bench.post([Message::new("q", QUOTE)]);
    bench.post([Message::new("q", ())]);
    bench.post([Message::new("q", NEXT_QUOTE)]);
    for frame in bench.frames(listener) {
        let ServerFrame::Message(delivery) = frame else { panic!("{frame:?}") };
        assert!(delivery.items[0].delta().is_none());
    }
}

#[test]
fn presence_between_messages_does_not_change_the_delta_base() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let member = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some("ada".into()),
        ..PresenceMessage::default()
    };
    bench.post([Message::new("q", QUOTE)]);
    let entering = Publish {
        channel: "mutable:a".into(),
        msg_serial: 0,
        items: Arc::from([member]),
        params: Default::default(),
    };
    bench.send(listener, vec![ClientFrame::Presence(entering)]);
    bench.post([Message::new("q", NEXT_QUOTE)]);
    let frames = bench.frames(listener);
    let kinds: Vec<_> =
        frames.iter().map(|frame| matches!(frame, ServerFrame::Presence(_))).collect();
    assert_eq!(kinds, [false, true, false, false], "{frames:?}");
    let form: Vec<_> = Reader::default().texts(frames).into_iter().map(|(_, own)| own).collect();
    assert_eq!(form, [Form::Full, Form::Delta]);
}

#[test]
fn after_a_new_attach_the_first_message_is_full() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let mut serials = Vec::new();
    for _ in 0..5 {
        bench.post([Message::new("q", QUOTE)]);
    }
    for frame in bench.frames(listener) {
        let ServerFrame::Message(delivery) = frame else { panic!("{frame:?}") };
        serials.push(delivery.channel_serial);
    }
    let attached = bench.attach_deltas(listener, "vcdiff", serials[1].as_ref());
    assert!(attached.flags.contains(Flags::RESUMED));
    bench.post([Message::new("q", QUOTE)]);
    let form: Vec<_> =
        Reader::default().texts(bench.frames(listener)).into_iter().map(|(_, own)| own).collect();
    assert_eq!(form, [Form::Full, Form::Delta, Form::Delta, Form::Delta]);
}

#[test]
fn one_delta_is_encoded_for_all_its_receivers() {
    let mut bench = Bench::new();
    let [first, second] = [bench.listener(), bench.listener()];
    bench.post([Message::new("q", QUOTE)]);
    let late = bench.listener();
    let (plain, _) = bench.connect(None);
    bench.attach(plain, "mutable:a", None);
    bench.outputs.clear();
    bench.post([Message::new("q", NEXT_QUOTE)]);
    let broadcast = |transport| {
        let of = |output: &Output| match output {
            Output::Broadcast(to, broadcast) if *to == transport => Some(Arc::clone(broadcast)),
            _ => None,
        };
        bench.outputs.iter().find_map(of).unwrap()
    };
    assert!(Arc::ptr_eq(&broadcast(first), &broadcast(second)));
    assert!(Arc::ptr_eq(&broadcast(late), &broadcast(plain)));
    assert!(!Arc::ptr_eq(&broadcast(first), &broadcast(plain)));
    let form = |bench: &mut Bench, transport| Reader::default().texts(bench.frames(transport))[0].1;
    assert_eq!([late, plain].map(|transport| form(&mut bench, transport)), [Form::Full; 2]);
}

#[test]
fn the_delta_base_is_the_last_message_sent_to_the_attachment() {
    let mut bench = Bench::new();
    // This connection does not receive its own messages.
    let (quiet, _) = bench.connect_with(None, false);
    bench.attach_deltas(quiet, "vcdiff", None);
    let listener = bench.listener();
    let [mut of_quiet, mut of_listener] = [Reader::default(), Reader::default()];
    for number in 0..4 {
        bench.publish(quiet, "mutable:a", number, &format!("{QUOTE}{number}"));
        bench.post([Message::new("q", format!("{number}{QUOTE}"))]);
    }
    let theirs: Vec<_> = (0..4)
        .map(|number| {
            (format!("{number}{QUOTE}"), if number == 0 { Form::Full } else { Form::Delta })
        })
        .collect();
    assert_eq!(of_quiet.texts(bench.frames(quiet)), theirs);
    let all = of_listener.texts(bench.frames(listener));
    assert_eq!(all.len(), 8);
    assert_eq!(all.iter().filter(|(_, form)| *form == Form::Delta).count(), 7);
}

#[test]
fn message_changes_are_sent_as_deltas() {
    let mut bench = Bench::new();
    let listener = bench.listener();
    let serial = bench.post([Message::new("q", QUOTE)]).serials.remove(0);
    let change = |action, text: &str| Message {
        serial: Some(serial.clone()),
        action: Some(action),
        data: text.into(),
        ..Message::default()
    };
    let (identity, channel) = (bench.identity(), Str::from("mutable:a"));
    for message in [change(MessageAction::Update, NEXT_QUOTE), change(MessageAction::Append, "!")] {
        bench.app.change(&identity, &channel, message, bench.now, &mut bench.outputs).unwrap();
    }
    bench.post([Message::new("q", QUOTE)]);
    let expected =
        [(QUOTE, Form::Full), (NEXT_QUOTE, Form::Delta), ("!", Form::Full), (QUOTE, Form::Full)];
    let expected = expected.map(|(text, form)| (text.to_owned(), form));
    assert_eq!(Reader::default().texts(bench.frames(listener)), expected);
}

#[test]
fn an_unknown_delta_format_is_ignored() {
    let mut bench = Bench::new();
    let (listener, _) = bench.connect(None);
    assert!(bench.attach_deltas(listener, "bsdiff", None).params.is_empty());
    for text in [QUOTE, NEXT_QUOTE] {
        bench.post([Message::new("q", text)]);
    }
    let form: Vec<_> =
        Reader::default().texts(bench.frames(listener)).into_iter().map(|(_, own)| own).collect();
    assert_eq!(form, [Form::Full; 2]);
}
