//! Updates, deletions and appends, in virtual time.

use capably_protocol::{ErrorInfo, MessageAction, MessageVersion};
use serde_json::json;

use super::*;

const CHANNEL: &str = "mutable:a";

fn changed(serial: &str, action: MessageAction, data: impl Into<Data>) -> Message {
    Message {
        serial: Some(serial.into()),
        action: Some(action),
        data: data.into(),
        ..Message::default()
    }
}

fn append(serial: &str, text: &str) -> Message {
    changed(serial, MessageAction::Append, text)
}

fn version(message: &Message) -> &MessageVersion {
    message.version.as_ref().unwrap()
}

impl Bench {
    /// Publishes one message over REST and returns its serial.
    fn create(&mut self, message: Message) -> Str {
        let identity = self.identity();
        let channel = Str::from(CHANNEL);
        let published = self
            .app
            .publish(&identity, &channel, vec![message], self.now, &mut self.outputs)
            .unwrap();
        published.published().serials[0].clone()
    }

    fn change(&mut self, message: Message) -> Result<Str, (u16, u32)> {
        let identity = self.identity();
        self.change_as(&identity, message)
    }

    fn change_as(&mut self, identity: &Identity, message: Message) -> Result<Str, (u16, u32)> {
        self.app
            .change(identity, &CHANNEL.into(), message, self.now, &mut self.outputs)
            .map(|changed| changed.published().serials.remove(0))
            .map_err(|error: ErrorInfo| (error.status_code, error.code.0))
    }

    fn versions(&mut self, serial: &str) -> Vec<Message> {
        let identity = self.identity();
        let query = all(Direction::Forwards);
        self.app.versions(&identity, CHANNEL, serial, &query, self.now).unwrap().items
    }

    fn latest(&mut self, serial: &str) -> Message {
        let identity = self.identity();
        self.app.message(&identity, CHANNEL, serial, self.now).unwrap()
    }

    /// Removes the messages delivered to a transport, and returns their actions and texts.
    fn delivered(&mut self, transport: TransportId) -> Vec<(MessageAction, String)> {
        let frames = self.frames(transport);
        frames
            .into_iter()
            .filter_map(|frame| match frame {
                ServerFrame::Message(delivery) => Some(delivery.items),
                _ => None,
            })
            .flatten()
            .map(|item| (item.action.unwrap(), item.data.as_str().unwrap().to_owned()))
            .collect()
    }
}

#[test]
fn a_change_makes_a_version_and_keeps_omitted_fields() {
    let mut bench = Bench::new();
    let extras = json!({"headers": {"k": 1}}).as_object().cloned();
    let serial = bench.create(Message {
        client_id: Some("author".into()),
        extras: extras.clone(),
        ..Message::new("first", "one")
    });
    let created = bench.latest(&serial);
    assert_eq!(version(&created).serial, Some(serial.clone()));

    let mut update = changed(&serial, MessageAction::Update, "two");
    update.version = Some(Box::new(MessageVersion {
        client_id: Some("editor".into()),
        description: Some("why".into()),
        metadata: Some([("k".to_owned(), "v".to_owned())].into()),
        ..MessageVersion::default()
    }));
    let second = bench.change(update).unwrap();
    let updated = bench.latest(&serial);
    assert_eq!(updated.action, Some(MessageAction::Update));
    assert_eq!((updated.name.as_deref(), updated.data.as_str()), (Some("first"), Some("two")));
    assert_eq!(updated.extras, extras);
    assert_eq!(updated.serial, Some(serial.clone()));
    assert_eq!(updated.timestamp, created.timestamp);
    assert_eq!(updated.client_id.as_deref(), Some("author"));
    assert_eq!(version(&updated).serial, Some(second.clone()));
    assert!(second > serial);
    assert_eq!(version(&updated).timestamp, created.timestamp.map(|time| time + 1));
    assert_eq!(version(&updated).client_id.as_deref(), Some("editor"));
    assert_eq!(version(&updated).description.as_deref(), Some("why"));
    assert_eq!(version(&updated).metadata.as_ref().unwrap()["k"], "v");

    let rename = Message {
        name: Some("renamed".into()),
        extras: Some(Default::default()),
        ..changed(&serial, MessageAction::Update, ())
    };
    bench.change(rename).unwrap();
    bench.advance(Duration::from_secs(1));
    bench.change(changed(&serial, MessageAction::Delete, ())).unwrap();
    let deleted = bench.latest(&serial);
    assert_eq!(deleted.action, Some(MessageAction::Delete));
    assert_eq!((deleted.name.as_deref(), deleted.data.as_str()), (Some("renamed"), Some("two")));
    assert_eq!(deleted.extras, Some(Default::default()));
    assert_eq!(version(&deleted).timestamp, Some(bench.now.wall));
    assert_eq!(version(&deleted).client_id, None);

    let versions = bench.versions(&serial);
    assert_eq!(versions[0], created);
    let serials: Vec<_> = versions.iter().map(|it| version(it).serial.clone().unwrap()).collect();
    assert_eq!(serials.len(), 4);
    assert!(serials.is_sorted_by(|a, b| a < b), "{serials:?}");
    assert!(versions.iter().all(|version| version.serial == Some(serial.clone())));

    // History contains the message once, at the position of its publish.
    let other = bench.create(Message::new("m", "other"));
    bench.change(changed(&serial, MessageAction::Update, "three")).unwrap();
    let history = bench.history(CHANNEL);
    let found: Vec<_> =
        history.iter().map(|it| (it.serial.clone().unwrap(), it.data.as_str().unwrap())).collect();
    assert_eq!(found, [(serial, "three"), (other, "other")]);
}

#[test]
fn an_append_extends_the_latest_version() {
    let mut bench = Bench::new();
    let serial = bench.create(Message::new("m", "a"));
    bench.change(append(&serial, "b")).unwrap();
    bench.change(append(&serial, "c")).unwrap();
    let latest = bench.latest(&serial);
    assert_eq!((latest.action, latest.data.as_str()), (Some(MessageAction::Update), Some("abc")));
    let texts: Vec<_> =
        bench.versions(&serial).iter().map(|it| it.data.as_str().unwrap().to_owned()).collect();
    assert_eq!(texts, ["a", "ab", "abc"]);

    let binary = bench.create(Message::new("m", vec![0, 1]));
    bench.change(changed(&binary, MessageAction::Append, vec![2])).unwrap();
    assert_eq!(bench.latest(&binary).data, Data::from(vec![0, 1, 2]));
    assert_eq!(bench.change(append(&binary, "x")), Err((400, 40000)));
    let other_encoding =
        Message { encoding: Some("foo".into()), ..changed(&serial, MessageAction::Append, "x") };
    assert_eq!(bench.change(other_encoding), Err((400, 40000)));
    let empty = bench.create(Message::default());
    bench.change(append(&empty, "x")).unwrap();
    assert_eq!(bench.latest(&empty).data.as_str(), Some("x"));
    let too_long = "x".repeat(999);
    assert_eq!(bench.change(append(&serial, &too_long)), Err((400, 40009)));
}

#[test]
fn a_subscriber_with_the_message_receives_only_the_appended_text() {
    use MessageAction::{Append, Create, Update};
    let mut bench = Bench::new();
    let (early, _) = bench.connect(None);
    bench.attach(early, CHANNEL, None);
    let serial = bench.create(Message::new("m", "a"));
    let (late, _) = bench.connect(None);
    bench.attach(late, CHANNEL, None);
    bench.change(append(&serial, "b")).unwrap();
    assert_eq!(bench.delivered(early), [(Create, "a".into()), (Append, "b".into())]);
    assert_eq!(bench.delivered(late), [(Update, "ab".into())]);
    bench.change(append(&serial, "c")).unwrap();
    for transport in [early, late] {
        assert_eq!(bench.delivered(transport), [(Append, "c".into())]);
    }

    // A rewind delivers the whole message. Later appends deliver the appended text.
    let (rewound, _) = bench.connect(None);
    let attach = Attach {
        channel: CHANNEL.into(),
        params: [("rewind".to_owned(), "1".to_owned())].into_iter().collect(),
        ..Attach::default()
    };
    bench.send(rewound, vec![ClientFrame::Attach(attach)]);
    assert_eq!(bench.delivered(rewound), [(Update, "abc".into())]);
    bench.change(append(&serial, "d")).unwrap();
    assert_eq!(bench.delivered(rewound), [(Append, "d".into())]);

    // Every subscriber receives an update as a whole message.
    bench.delivered(early);
    bench.change(changed(&serial, Update, "new")).unwrap();
    assert_eq!(bench.delivered(early), [(Update, "new".into())]);
}

#[test]
fn a_change_frame_is_acknowledged_with_the_version() {
    let mut bench = Bench::new();
    let (mut transport, connected) = bench.connect(None);
    bench.attach(transport, CHANNEL, None);
    bench.send(transport, vec![publish(CHANNEL, 0, vec![Message::new("m", "a")])]);
    let serial = bench.acks(transport)[0].res[0].serials[0].clone().unwrap();
    let frame = publish(CHANNEL, 1, vec![append(&serial, "b")]);
    for sent in [1, 0] {
        bench.send(transport, vec![frame.clone()]);
        let frames = bench.frames(transport);
        assert_eq!(frames.len(), sent + 1, "the second time it is only acknowledged");
        let Some(ServerFrame::Ack(ack)) = frames.last() else { panic!("{frames:?}") };
        let latest = bench.latest(&serial);
        assert_eq!(ack.res[0].serials, [version(&latest).serial.clone()]);
        assert_eq!(latest.data.as_str(), Some("ab"));
        if let ServerFrame::Message(delivery) = &frames[0] {
            assert_eq!(delivery.connection_id, connected.connection_id);
            assert_eq!(delivery.items[0].serial, Some(serial.clone()));
            assert_eq!(delivery.items[0].name.as_deref(), Some("m"));
            assert_eq!(delivery.items[0].version, latest.version);
        }
        (transport, _) = bench.connect(Some(&key(&connected)));
    }
    let together = vec![append(&serial, "c"), Message::new("m", "x")];
    bench.send(transport, vec![publish(CHANNEL, 2, together)]);
    assert_eq!(nack_code(bench.frames(transport)), (2, 40000));

    // A resume delivers the whole message.
    let (back, resumed) = bench.connect(Some(&key(&connected)));
    assert_eq!(resumed.error, None);
    bench.attach(back, CHANNEL, Some(&serial));
    assert_eq!(bench.delivered(back), [(MessageAction::Update, "ab".into())]);
}

#[test]
fn invalid_changes_are_refused() {
    let mut bench = Bench::new();
    let serial = bench.create(Message::new("m", "a"));
    let update = |serial: &str| changed(serial, MessageAction::Update, "x");
    assert_eq!(bench.change(Message { serial: None, ..update("") }), Err((400, 40003)));
    assert_eq!(bench.change(update("nonsense")), Err((404, 40400)));
    let channel_serial = serial.split(':').next().unwrap();
    assert_eq!(bench.change(update(channel_serial)), Err((404, 40400)));
    assert_eq!(bench.change(update(&serial.replace(":000", ":001"))), Err((404, 40400)));
    let not_a_change = changed(&serial, MessageAction::Create, "x");
    assert_eq!(bench.change(not_a_change), Err((400, 40000)));
    let second = bench.change(update(&serial)).unwrap();
    assert_eq!(bench.change(update(&second)), Err((404, 40400)), "a version is not a message");
    let identity = bench.identity();
    let elsewhere =
        bench.app.change(&identity, &"a".into(), update(&serial), bench.now, &mut bench.outputs);
    assert_eq!(elsewhere.unwrap_err().code.0, 93002);
    bench.advance(Duration::from_secs(151));
    assert_eq!(bench.change(update(&serial)), Err((404, 40400)));
    assert!(bench.app.channels.get(CHANNEL).unwrap().changes.is_empty());
}

#[test]
fn a_change_with_a_repeated_id_is_made_once() {
    let mut bench = Bench::new();
    let serial = bench.create(Message::new("m", "a"));
    let change = Message { id: Some("once".into()), ..append(&serial, "b") };
    let first = bench.change(change.clone()).unwrap();
    assert_eq!(bench.change(change).unwrap(), first);
    assert_eq!(bench.latest(&serial).data.as_str(), Some("ab"));
}

#[test]
fn a_received_message_with_an_id_can_be_changed() {
    let mut bench = Bench::new();
    let id = Some(Str::from("base:0"));
    let serial = bench.create(Message { id: id.clone(), ..Message::new("m", "a") });
    let received = bench.latest(&serial);
    assert_eq!(received.id, id);
    let update = Message { action: Some(MessageAction::Update), data: "b".into(), ..received };
    let second = bench.change(update.clone()).unwrap();
    assert_eq!(bench.latest(&serial).data.as_str(), Some("b"));
    assert!(bench.change(update).unwrap() > second, "the id says nothing of the change");
    // A repeated publish with this id still creates no other message.
    assert_eq!(bench.create(Message { id, ..Message::new("m", "a") }), serial);
    assert_eq!(bench.versions(&serial).len(), 3);
}

#[test]
fn a_capability_may_allow_changes_of_own_messages_only() {
    for (operation, client, action, ok) in [
        ("message-update-any", Some("other"), MessageAction::Update, true),
        ("message-update-any", None, MessageAction::Append, true),
        ("message-update-any", None, MessageAction::Delete, false),
        ("message-update-own", Some("author"), MessageAction::Update, true),
        ("message-update-own", Some("author"), MessageAction::Append, true),
        ("message-update-own", Some("other"), MessageAction::Update, false),
        ("message-update-own", None, MessageAction::Update, false),
        ("message-update-own", Some("author"), MessageAction::Delete, false),
        ("message-delete-own", Some("author"), MessageAction::Delete, true),
        ("message-delete-own", Some("other"), MessageAction::Delete, false),
        ("message-delete-any", Some("other"), MessageAction::Delete, true),
        ("publish", Some("author"), MessageAction::Update, false),
    ] {
        let mut bench = Bench::new();
        let serial =
            bench.create(Message { client_id: Some("author".into()), ..Message::new("m", "a") });
        let capability = capability(json!({"mutable:*": [operation]}));
        let key = Key::new("limited", "secret", capability);
        let identity = Identity::of_key(&key, client.map(Str::from)).unwrap();
        let result = bench.change_as(&identity, changed(&serial, action, "x"));
        assert_eq!(result.map(drop).err(), (!ok).then_some((401, 40160)), "{operation} {client:?}");
        if ok {
            let by = version(&bench.latest(&serial)).client_id.clone();
            assert_eq!(by.as_deref(), client);
        }
    }
}
