//! Channel names with a qualifier: parameters and filters.

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{PresenceAction, PresenceMessage};
use serde_json::{Value, json};

use super::*;

/// The name of the channel "a" with a filter.
fn filtered(expression: &str) -> String {
    format!("[filter={}]a", STANDARD.encode(expression))
}

fn message(name: &str, headers: Value, text: &str) -> Message {
    let extras = json!({ "headers": headers });
    Message { extras: extras.as_object().cloned(), ..Message::new(name, text) }
}

impl Bench {
    fn identity_with(&self, resources: Value) -> Identity {
        Identity { capability: Arc::new(capability(resources)), ..self.identity() }
    }

    fn connect_everywhere(&mut self) -> TransportId {
        self.connect_as(self.identity_with(json!({"[*]*": ["*"]})), None, true).0
    }

    /// The code with which an attach is refused, and the channel of the error.
    fn attach_error(&mut self, transport: TransportId, channel: &str) -> (Str, u32) {
        let attach = Attach { channel: channel.into(), ..Attach::default() };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        match &self.frames(transport)[..] {
            [ServerFrame::Error(error)] => {
                (error.channel.clone().unwrap(), error.error.as_ref().unwrap().code.0)
            }
            other => panic!("expected ERROR, got {other:?}"),
        }
    }

    /// The texts delivered to a transport, each with the channel of its frame.
    fn received_texts(&mut self, transport: TransportId) -> Vec<(String, String)> {
        let frames = self.frames(transport).into_iter();
        let deliveries = frames.filter_map(|frame| match frame {
            ServerFrame::Message(delivery) => Some(delivery),
            _ => None,
        });
        deliveries
            .flat_map(|delivery| {
                let channel = delivery.channel.to_string();
                delivery
                    .items
                    .into_iter()
                    .map(move |item| (channel.clone(), item.data.as_str().unwrap().to_owned()))
            })
            .collect()
    }
}

// Spec: RTS5a1
#[test]
fn a_filtered_channel_delivers_matching_messages_under_its_full_name() {
    let mut bench = Bench::new();
    let subscriber = bench.connect_everywhere();
    let (publisher, _) = bench.connect(None);
    let name = filtered("name == 'news' && headers.number == `26095`");
    let attached = bench.attach(subscriber, &name, None);
    assert_eq!(attached.channel, name);
    assert_eq!(attached.flags, Flags::from_iter([ChannelMode::Subscribe]));
    bench.attach(subscriber, "a", None);
    for (serial, (kind, headers)) in [
        ("news", json!({"number": 26095})),
        ("news", json!({"number": 1})),
        ("other", json!({"number": 26095})),
    ]
    .into_iter()
    .enumerate()
    {
        let text = serial.to_string();
        let messages = vec![message(kind, headers, &text)];
        bench.send(publisher, vec![publish("a", serial as u64, messages)]);
    }
    bench.publish(publisher, "a", 3, "no headers");
    let of = |channel: &str, texts: &[&str]| -> Vec<_> {
        texts.iter().map(|text| (channel.to_owned(), (*text).to_owned())).collect()
    };
    let mut expected = of("a", &["0"]);
    expected.extend(of(&name, &["0"]));
    expected.extend(of("a", &["1", "2", "no headers"]));
    assert_eq!(bench.received_texts(subscriber), expected);

    bench.send(subscriber, vec![ClientFrame::Detach { channel: name.as_str().into() }]);
    bench.frames(subscriber);
    bench.send(
        publisher,
        vec![publish("a", 4, vec![message("news", json!({"number": 26095}), "4")])],
    );
    assert_eq!(bench.received_texts(subscriber), of("a", &["4"]));
}

#[test]
fn a_filter_keeps_the_ids_of_the_remaining_messages_of_a_frame() {
    let mut bench = Bench::new();
    let subscriber = bench.connect_everywhere();
    let (publisher, connected) = bench.connect(None);
    bench.attach(subscriber, &filtered("headers.in"), None);
    let messages = [false, true, false, true];
    let messages = messages.map(|is_in| message("m", json!({ "in": is_in }), "x")).to_vec();
    bench.send(publisher, vec![publish("a", 0, messages)]);
    let frames = bench.frames(subscriber);
    let [ServerFrame::Message(delivery)] = &frames[..] else { panic!("{frames:?}") };
    let publisher_id = connected.connection_id.unwrap();
    let ids: Vec<_> = delivery.items.iter().map(|item| item.id.clone().unwrap()).collect();
    assert_eq!(ids, [format!("{publisher_id}:0:1"), format!("{publisher_id}:0:3")]);
    let serial = delivery.channel_serial.as_ref().unwrap();
    let serials: Vec<_> = delivery.items.iter().map(|item| item.serial.clone().unwrap()).collect();
    assert_eq!(serials, [format!("{serial}:001"), format!("{serial}:003")]);
    assert_eq!(delivery.connection_id, Some(publisher_id));
}

#[test]
fn a_filter_needs_a_capability_with_its_qualifier() {
    let mut bench = Bench::new();
    let name = filtered("name");
    for (resource, expected) in [
        ("*", false),
        ("a", false),
        ("[*]*", true),
        ("[*]a", true),
        (&*name, true),
        ("[*]b", false),
    ] {
        let identity = bench.identity_with(json!({ resource: ["subscribe", "publish"] }));
        let (transport, _) = bench.connect_as(identity, None, true);
        if expected {
            bench.attach(transport, &name, None);
        } else {
            assert_eq!(
                bench.attach_error(transport, &name),
                (name.as_str().into(), 40160),
                "{resource}"
            );
        }
    }
    // A capability matches the channel name without its parameters.
    let identity = bench.identity_with(json!({"a": ["subscribe"]}));
    let (transport, _) = bench.connect_as(identity, None, true);
    let attached = bench.attach(transport, "[?rewind=1]a", None);
    assert_eq!(
        attached.flags,
        Flags::from_iter([ChannelMode::Subscribe, ChannelMode::PresenceSubscribe])
    );
}

#[test]
fn an_invalid_filter_fails_the_channel_and_not_the_connection() {
    let mut bench = Bench::new();
    let transport = bench.connect_everywhere();
    for name in
        ["[filter=%%]a", &filtered("name ="), &filtered(&"(".repeat(1000)), "[filter=bmFtZQ==]"]
    {
        assert_eq!(bench.attach_error(transport, name), (name.into(), 40010), "{name}");
    }
    assert_eq!(bench.attach_error(transport, "[meta]unknown").1, 40021);
    bench.attach(transport, &filtered("name"), None);
}

#[test]
fn a_filtered_channel_refuses_publishes_and_presence() {
    let mut bench = Bench::new();
    let transport = bench.connect_everywhere();
    let (limited, _) = bench.connect(None);
    let name = filtered("name");
    bench.publish(transport, &name, 0, "not attached");
    assert_eq!(nack_code(bench.frames(transport)), (0, 40000));
    bench.attach(transport, &name, None);
    bench.publish(transport, &name, 1, "without the mode");
    assert_eq!(nack_code(bench.frames(transport)), (1, 40165));
    bench.publish(limited, &name, 0, "no capability");
    assert_eq!(nack_code(bench.frames(limited)), (0, 40000));
    let member = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some("me".into()),
        ..PresenceMessage::default()
    };
    let enter = Publish {
        channel: name.as_str().into(),
        msg_serial: 2,
        items: Arc::from(vec![member]),
        params: Default::default(),
    };
    bench.send(transport, vec![ClientFrame::Presence(enter)]);
    assert_eq!(nack_code(bench.frames(transport)), (2, 40000));
    let identity = bench.identity_with(json!({"[*]*": ["*"]}));
    let messages = vec![Message::new("m", "x")];
    let (now, name) = (bench.now, name.as_str().into());
    let refused = bench.app.publish(&identity, &name, messages, now, &mut bench.outputs);
    assert_eq!(refused.unwrap_err().code.0, 40000);
}

#[test]
fn resume_and_rewind_of_a_filtered_channel_apply_its_filter() {
    let mut bench = Bench::new();
    let subscriber = bench.connect_everywhere();
    let (publisher, _) = bench.connect(None);
    let name = filtered("headers.in");
    let serial = bench.attach(subscriber, &name, None).channel_serial;
    bench.send(subscriber, vec![ClientFrame::Detach { channel: name.as_str().into() }]);
    bench.frames(subscriber);
    for number in 0..10_u64 {
        let one = message("m", json!({ "in": number % 3 == 0 }), &number.to_string());
        bench.send(publisher, vec![publish("a", number, vec![one])]);
    }
    let flags = bench.attach(subscriber, &name, serial.as_ref()).flags;
    assert!(flags.contains(Flags::RESUMED) && flags.contains(Flags::HAS_BACKLOG));
    assert_eq!(bench.texts(subscriber).0, ["0", "3", "6", "9"]);

    let rewound = name.replace(']', "?rewind=2]");
    let attached = bench.attach(subscriber, &rewound, None);
    assert_eq!(attached.params["rewind"], "2");
    assert!(attached.flags.contains(Flags::HAS_BACKLOG));
    assert_eq!(bench.texts(subscriber).0, ["6", "9"]);
    // If the filter matches no message, there is no backlog.
    let empty = bench.attach(subscriber, &filtered("name == 'x'").replace(']', "?rewind=5]"), None);
    assert!(!empty.flags.contains(Flags::HAS_BACKLOG));
    assert_eq!(bench.texts(subscriber).0, [""; 0]);
}

#[test]
fn history_of_a_filtered_channel_applies_its_filter() {
    let mut bench = Bench::new();
    let (publisher, _) = bench.connect(None);
    for number in 0..10_u64 {
        let one = message("m", json!({ "in": number % 3 == 0 }), &number.to_string());
        bench.send(publisher, vec![publish("a", number, vec![one])]);
    }
    let identity = bench.identity_with(json!({"[*]*": ["history"]}));
    let name = filtered("headers.in");
    let mut page = all(Direction::Forwards);
    page.limit = 3;
    let mut query = HistoryQuery { page, from_serial: None };
    let first = bench.app.history(&identity, &name, &query, bench.now).unwrap();
    let texts = |page: &crate::hub::Page<Message>| -> Vec<_> {
        page.items.iter().map(|it| it.data.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&first), ["0", "3", "6"]);
    query.page.cursor = first.next;
    let last = bench.app.history(&identity, &name, &query, bench.now).unwrap();
    assert_eq!((texts(&last), last.next), (vec!["9".to_owned()], None));
    query.page.cursor = None;
    let limited = bench.identity();
    let denied = bench.app.history(&limited, &name, &query, bench.now);
    assert_eq!(denied.unwrap_err().code.0, 40160);
    let plain = bench.app.history(&limited, "[?rewind=1]a", &query, bench.now).unwrap();
    assert_eq!(texts(&plain), ["0", "1", "2"]);
}

#[test]
fn a_filtered_channel_delivers_an_append_as_a_whole_message() {
    let mut bench = Bench::new();
    let subscriber = bench.connect_everywhere();
    let (publisher, _) = bench.connect(None);
    let name = filtered("headers.in").replace("]a", "]mutable:a");
    bench.attach(subscriber, &name, None);
    bench.send(
        publisher,
        vec![publish("mutable:a", 0, vec![message("m", json!({"in": false}), "a")])],
    );
    let serial = bench.acks(publisher)[0].res[0].serials[0].clone();
    let append = Message {
        action: Some(capably_protocol::MessageAction::Append),
        serial,
        ..message("m", json!({"in": true}), "b")
    };
    bench.send(publisher, vec![publish("mutable:a", 1, vec![append])]);
    let frames = bench.frames(subscriber);
    let [ServerFrame::Message(delivery)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(delivery.items[0].action, Some(capably_protocol::MessageAction::Update));
    assert_eq!(delivery.items[0].data.as_str(), Some("ab"));
}

// Spec: RTS5a2
#[test]
fn parameters_in_a_channel_name_apply_to_the_attachment() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    for number in 0..3 {
        bench.publish(transport, "a", number, &number.to_string());
    }
    bench.frames(transport);
    let name = "[?rewind=2&modes=subscribe,publish&x=y]a";
    let attached = bench.attach(transport, name, None);
    assert_eq!((&*attached.channel, attached.params.len()), (name, 2));
    assert_eq!(attached.params["rewind"], "2");
    assert_eq!(attached.params["modes"], "publish,subscribe");
    let of = |text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(bench.received_texts(transport), [of("1"), of("2")]);
    // A publish under this name reaches the channel.
    bench.publish(transport, name, 3, "3");
    assert_eq!(bench.received_texts(transport), [of("3")]);
    assert_eq!(bench.history("a").len(), 4);
    // Parameters of the ATTACH override those in the name.
    let params = [("rewind".to_owned(), "1".to_owned())].into();
    let attach = Attach { channel: name.into(), params, ..Attach::default() };
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    assert_eq!(bench.received_texts(transport), [of("3")]);
}

#[test]
fn members_stay_until_the_last_name_of_their_channel_is_detached() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let (watcher, _) = bench.connect(None);
    bench.attach(watcher, "a", None);
    let name = "[?x=y]a";
    bench.attach(transport, name, None);
    bench.attach(transport, "a", None);
    let member = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some("me".into()),
        ..PresenceMessage::default()
    };
    let enter = Publish {
        channel: name.into(),
        msg_serial: 0,
        items: Arc::from(vec![member]),
        params: Default::default(),
    };
    bench.send(transport, vec![ClientFrame::Presence(enter)]);
    let told = |frames: Vec<ServerFrame>| -> Vec<_> {
        let told = frames.into_iter().filter_map(|frame| match frame {
            ServerFrame::Presence(it) => Some((it.channel.to_string(), it.items[0].action)),
            _ => None,
        });
        told.collect()
    };
    let (entered, left) = (Some(PresenceAction::Enter), Some(PresenceAction::Leave));
    assert_eq!(told(bench.frames(watcher)), [("a".to_owned(), entered)]);
    assert_eq!(
        told(bench.frames(transport)),
        [("a".to_owned(), entered), (name.to_owned(), entered)]
    );
    let attached = bench.attach(watcher, "[?z=y]a", None);
    assert!(attached.flags.contains(Flags::HAS_PRESENCE));
    let sync = bench.frames(watcher);
    let [ServerFrame::Sync(sync)] = &sync[..] else { panic!("{sync:?}") };
    assert_eq!((&*sync.channel, sync.items.len()), ("[?z=y]a", 1));

    bench.send(transport, vec![ClientFrame::Detach { channel: "a".into() }]);
    assert_eq!(told(bench.frames(watcher)), []);
    bench.send(transport, vec![ClientFrame::Detach { channel: name.into() }]);
    assert_eq!(told(bench.frames(watcher)), [("a".to_owned(), left), ("[?z=y]a".to_owned(), left)]);
}
