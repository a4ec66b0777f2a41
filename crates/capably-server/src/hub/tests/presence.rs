//! Presence members that enter and leave, in virtual time.

use capably_protocol::{
    PresenceAction::{self, Enter, Leave, Present, Update},
    PresenceMessage,
};
use serde_json::json;

use super::*;
use crate::hub::{MembersQuery, Occupancy};

/// A presence event: action, client, data.
type PresenceEvent = (PresenceAction, String, String);

fn event(action: PresenceAction, client: &str, data: &str) -> PresenceEvent {
    (action, client.into(), data.into())
}

fn event_of(item: &PresenceMessage) -> PresenceEvent {
    let data = item.data.as_str().unwrap_or_default();
    event(item.action.unwrap(), item.client_id.as_deref().unwrap_or_default(), data)
}

fn message(action: PresenceAction, client: &str, data: &str) -> PresenceMessage {
    PresenceMessage {
        action: Some(action),
        client_id: (!client.is_empty()).then(|| client.into()),
        data: if data.is_empty() { Data::None } else { data.into() },
        ..PresenceMessage::default()
    }
}

fn presence_frame(channel: &str, msg_serial: u64, items: Vec<PresenceMessage>) -> ClientFrame {
    ClientFrame::Presence(Publish {
        channel: channel.into(),
        msg_serial,
        items: items.into(),
        params: Default::default(),
    })
}

/// The presence events, sync pages and acknowledgements that a transport received.
#[derive(Debug, Default)]
struct Received {
    items: Vec<PresenceMessage>,
    pages: Vec<(String, Vec<PresenceMessage>)>,
    acks: u64,
}

impl Received {
    fn events(&self) -> Vec<PresenceEvent> {
        self.items.iter().map(event_of).collect()
    }

    /// The clients of the members in the sync.
    fn present(&self) -> Vec<String> {
        let members = self.pages.iter().flat_map(|(_, items)| items);
        members
            .map(|item| {
                assert_eq!(item.action, Some(Present));
                item.client_id.as_deref().unwrap().to_owned()
            })
            .collect()
    }
}

impl Bench {
    fn connect_named(&mut self, client: &str, resume: Option<&str>) -> (TransportId, Connected) {
        let identity = Identity::of_key(&self.key, Some(client.into())).unwrap();
        self.connect_as(identity, resume, true)
    }

    fn send_presence(&mut self, transport: TransportId, msg_serial: u64, item: PresenceMessage) {
        self.send(transport, vec![presence_frame("a", msg_serial, vec![item])]);
    }

    fn received(&mut self, transport: TransportId) -> Received {
        let mut received = Received::default();
        for frame in self.frames(transport) {
            match frame {
                ServerFrame::Presence(delivery) => {
                    for (index, mut item) in delivery.items.into_iter().enumerate() {
                        let connection = delivery.connection_id.as_ref();
                        item.inherit(delivery.id.as_ref(), index, connection, delivery.timestamp);
                        received.items.push(item);
                    }
                }
                ServerFrame::Sync(delivery) => {
                    received
                        .pages
                        .push((delivery.channel_serial.unwrap().to_string(), delivery.items));
                }
                ServerFrame::Ack(ack) => received.acks += ack.count,
                ServerFrame::Attached(_)
                | ServerFrame::Detached { .. }
                | ServerFrame::Message(_)
                | ServerFrame::Closed => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
        received
    }

    fn drop_transport(&mut self, transport: TransportId) {
        self.app.transport_closed(transport, self.now, &mut self.outputs);
    }

    fn members(&self) -> Vec<String> {
        let query =
            MembersQuery { page: all(Direction::Forwards), client_id: None, connection_id: None };
        let page = self.app.members(&self.identity(), "a", &query).unwrap();
        page.items.iter().map(|item| item.client_id.as_deref().unwrap().to_owned()).collect()
    }

    fn occupancy(&self) -> Occupancy {
        self.app.occupancy(&self.identity(), "a").unwrap()
    }
}

/// Two connections of these clients, attached to `a`.
fn two(bench: &mut Bench) -> ((TransportId, Connected), TransportId) {
    let ada = bench.connect_named("ada", None);
    let (bob, _) = bench.connect_named("bob", None);
    bench.attach(ada.0, "a", None);
    bench.attach(bob, "a", None);
    (ada, bob)
}

// Spec: RTP8c, RTP9b, RTP10a, RTP10d, RTP8e
#[test]
fn members_enter_update_and_leave() {
    let mut bench = Bench::new();
    let ((ada, connected), bob) = two(&mut bench);
    let id = connected.connection_id.unwrap();
    // An update of a member that is not present enters it.
    bench.send_presence(ada, 0, message(Update, "", "one"));
    bench.send_presence(ada, 1, message(Update, "", "two"));
    bench.send_presence(ada, 2, message(Enter, "ada", "three"));
    assert_eq!(bench.members(), ["ada"]);
    assert_eq!(bench.occupancy().presence_members, 1);
    bench.send_presence(ada, 3, message(Leave, "", ""));
    // A leave of a member that is not present is accepted.
    bench.send_presence(ada, 4, message(Leave, "", ""));
    let expected = [
        event(Enter, "ada", "one"),
        event(Update, "ada", "two"),
        event(Enter, "ada", "three"),
        event(Leave, "ada", "three"),
    ];
    for transport in [ada, bob] {
        let received = bench.received(transport);
        assert_eq!(received.events(), expected);
        for (serial, event) in received.items.iter().enumerate() {
            assert_eq!(event.id.as_deref(), Some(&*format!("{id}:{serial}:0")));
            assert_eq!(event.connection_id.as_ref(), Some(&id));
            assert_eq!(event.timestamp, Some(bench.now.wall));
        }
        assert_eq!(received.acks, if transport == ada { 5 } else { 0 });
    }
    assert_eq!(bench.members(), [""; 0]);
    bench.send_presence(ada, 5, message(Enter, "", "four"));
    bench.send_presence(ada, 6, message(Leave, "", "bye"));
    assert_eq!(bench.received(bob).events()[1], event(Leave, "ada", "bye"));
}

// Spec: RTP14a, RTP15a
#[test]
fn one_frame_may_contain_several_members() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect_with(None, false);
    let (bob, _) = bench.connect_named("bob", None);
    bench.attach(one, "a", None);
    bench.attach(bob, "a", None);
    let items = vec![message(Enter, "x", "1"), message(Enter, "y", "2"), message(Leave, "x", "")];
    bench.send(one, vec![presence_frame("a", 0, items)]);
    let expected = [event(Enter, "x", "1"), event(Enter, "y", "2"), event(Leave, "x", "1")];
    // A connection without echo receives its own presence, too.
    for transport in [one, bob] {
        let received = bench.received(transport);
        assert_eq!(received.events(), expected);
        let ids: Vec<_> = received.items.iter().map(|event| event.id.clone().unwrap()).collect();
        assert!(ids[0].ends_with(":0:0") && ids[1].ends_with(":0:1") && ids[2].ends_with(":0:2"));
    }
    assert_eq!(bench.members(), ["y"]);
}

#[test]
fn a_frame_with_an_invalid_member_is_refused_entirely() {
    let mut bench = Bench::with_capability(json!({ "a": ["*"], "b": ["subscribe"], "c": ["*"] }));
    let (ada, _) = bench.connect_named("ada", None);
    let (anyone, _) = bench.connect(None);
    for transport in [ada, anyone] {
        for channel in ["a", "b"] {
            bench.attach(transport, channel, None);
        }
    }
    let modes = [ChannelMode::Publish, ChannelMode::Subscribe].into_iter().collect();
    let attach = Attach { channel: "c".into(), flags: modes, ..Attach::default() };
    bench.send(ada, vec![ClientFrame::Attach(attach)]);
    bench.outputs.clear();
    let good = || message(Enter, "", "");
    let enter = |client| message(Enter, client, "");
    let huge = "x".repeat(1001);
    let cases = [
        (ada, "b", vec![good()], 40160),
        (ada, "c", vec![good()], 40165),
        (ada, "", vec![good()], 40010),
        (anyone, "c", vec![enter("x")], 91001),
        (anyone, "a", vec![enter("x"), good()], 91000),
        (ada, "a", vec![good(), enter("bob")], 40012),
        (ada, "a", vec![good(), enter("*")], 40012),
        (ada, "a", vec![good(), message(Present, "", "")], 40000),
        (ada, "a", vec![good(), message(PresenceAction::Unknown(9), "", "")], 40000),
        (ada, "a", vec![PresenceMessage::default()], 40000),
        (ada, "a", vec![], 40000),
        (ada, "a", vec![good(), message(Update, "", &huge)], 40009),
        (ada, "a", vec![good(); 1001], 40034),
        // So many may be in a frame, but these are too large.
        (ada, "a", vec![good(); 1000], 40009),
    ];
    for (serial, (transport, channel, items, code)) in (0..).zip(cases) {
        bench.send(transport, vec![presence_frame(channel, serial, items)]);
        assert_eq!(nack_code(bench.frames(transport)), (serial, code));
    }
    let broken = PresenceMessage { encoding: Some("base64".into()), ..message(Enter, "", "%") };
    bench.send_presence(ada, 50, broken);
    assert_eq!(nack_code(bench.frames(ada)), (50, 40013));
    assert_eq!(bench.members(), [""; 0]);
}

#[test]
fn a_member_may_be_as_large_as_a_message() {
    let mut bench = Bench::new();
    let (ada, _) = bench.connect_named("ada", None);
    bench.attach(ada, "a", None);
    let room = bench.app.settings.max_message_size - message(Enter, "ada", "").size();
    bench.send_presence(ada, 0, message(Enter, "", &"x".repeat(room)));
    assert_eq!(bench.received(ada).acks, 1);
    bench.send_presence(ada, 1, message(Update, "", &"x".repeat(room + 1)));
    assert_eq!(nack_code(bench.frames(ada)), (1, 40009));
}

#[test]
fn the_server_sets_the_time_of_an_event_and_the_client_may_set_its_id() {
    let mut bench = Bench::new();
    let (ada, connected) = bench.connect_named("ada", None);
    bench.attach(ada, "a", None);
    let connection = connected.connection_id.expect("a connection has an id");
    let id = Str::from(format!("{connection}:5:0"));
    let item = PresenceMessage {
        id: Some(id.clone()),
        timestamp: Some(1),
        connection_id: Some("another".into()),
        ..message(Enter, "", "")
    };
    bench.send_presence(ada, 5, item);
    let received = bench.received(ada);
    assert_eq!(received.acks, 1);
    let [entered] = &received.items[..] else { panic!("{received:?}") };
    assert_eq!(entered.id, Some(id));
    assert_eq!(entered.timestamp, Some(bench.now.wall));
    assert_eq!(entered.connection_id, Some(connection));
}

// Spec: RTP1, RTP18b
#[test]
fn an_attach_is_followed_by_a_presence_sync() {
    let mut bench = Bench::new();
    let (one, _) = bench.connect(None);
    bench.attach(one, "a", None);
    let names: Vec<String> = (0..250).map(|number| format!("user-{number:03}")).collect();
    for (serial, name) in (0..).zip(&names) {
        bench.send_presence(one, serial, message(Enter, name, name));
    }
    // The channel has no room for another member. Present members may still be updated.
    bench.received(one);
    bench.send_presence(one, 250, message(Enter, "one-too-many", ""));
    assert_eq!(nack_code(bench.frames(one)), (250, 91003));
    bench.send_presence(one, 251, message(Update, &names[0], "changed"));
    assert_eq!(bench.received(one).acks, 1);

    let (other, _) = bench.connect(None);
    let attached = bench.attach(other, "a", None);
    assert!(attached.flags.contains(Flags::HAS_PRESENCE));
    assert!(!attached.flags.contains(Flags::HAS_BACKLOG));
    let received = bench.received(other);
    assert_eq!(received.present(), names);
    let (serials, sizes): (Vec<_>, Vec<_>) =
        received.pages.iter().map(|(serial, items)| (serial.as_str(), items.len())).unzip();
    assert_eq!(
        (&serials[..], &sizes[..]),
        (&["sync1:1", "sync1:2", "sync1:"][..], &[100, 100, 50][..])
    );
    let first = &received.pages[0].1[0];
    assert_eq!(event_of(first), event(Present, "user-000", "changed"));
    assert!(first.id.as_deref().unwrap().ends_with(":251:0"));
    assert_eq!(received.events(), []);

    // Without members, no sync follows.
    let attached = bench.attach(other, "empty", None);
    assert!(!attached.flags.contains(Flags::HAS_PRESENCE));
    assert_eq!(bench.received(other).pages, []);
    // A client that asks for a sync gets one, of its own each time.
    for serial in ["sync2:", "sync3:"] {
        bench.send(other, vec![ClientFrame::Sync { channel: "empty".into() }]);
        assert_eq!(bench.received(other).pages, [(serial.to_owned(), vec![])]);
    }
}

// Spec: RTP17a
#[test]
fn without_the_subscribe_mode_a_client_receives_only_its_own_members() {
    let mut bench = Bench::new();
    let (ada, _) = bench.connect_named("ada", None);
    let modes: Flags = [ChannelMode::Presence].into_iter().collect();
    let attach = Attach { channel: "a".into(), flags: modes, ..Attach::default() };
    bench.send(ada, vec![ClientFrame::Attach(attach.clone())]);
    let (bob, _) = bench.connect_named("bob", None);
    bench.attach(bob, "a", None);
    bench.send_presence(bob, 0, message(Enter, "", ""));
    bench.send_presence(ada, 0, message(Enter, "", ""));
    assert_eq!(bench.received(ada).events(), [event(Enter, "ada", "")]);
    assert_eq!(bench.received(bob).events().len(), 2);
    // After another attach, the client receives the same members.
    bench.send(ada, vec![ClientFrame::Attach(attach)]);
    assert_eq!(bench.received(ada).present(), ["ada"]);
}

// Spec: RTP2b1
#[test]
fn members_leave_when_their_connection_expires() {
    let mut bench = Bench::new();
    let ((ada, connected), bob) = two(&mut bench);
    let id = connected.connection_id.clone().unwrap();
    bench.send_presence(ada, 0, message(Enter, "", "here"));
    bench.drop_transport(ada);
    bench.advance(Duration::from_millis(14_999));
    assert_eq!(bench.received(bob).events(), [event(Enter, "ada", "here")]);
    // A client that resumes in time keeps its members.
    let (ada, connected) = bench.connect_named("ada", Some(&key(&connected)));
    bench.attach(ada, "a", None);
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.received(bob).events(), []);
    assert_eq!(bench.members(), ["ada"]);

    bench.drop_transport(ada);
    bench.advance(Duration::from_secs(15));
    let received = bench.received(bob);
    assert_eq!(received.events(), [event(Leave, "ada", "here")]);
    let leave = &received.items[0];
    assert_eq!(leave.connection_id.as_ref(), Some(&id));
    assert!(!leave.id.as_deref().unwrap().starts_with(&*id));
    assert_eq!(leave.timestamp, Some(bench.now.wall));
    assert_eq!(bench.members(), [""; 0]);

    // A client that resumes later, on the same connection, restores its member by repeating the frame.
    let (ada, _) = bench.connect_named("ada", Some(&key(&connected)));
    bench.attach(ada, "a", None);
    let again =
        PresenceMessage { id: Some(format!("{id}:0:0").into()), ..message(Enter, "ada", "here") };
    bench.send_presence(ada, 1, again.clone());
    let received = bench.received(bob);
    assert_eq!(received.events(), [event(Enter, "ada", "here")]);
    assert_eq!(received.items[0].id, again.id);
    // Another repetition sends no event.
    bench.send_presence(ada, 2, again.clone());
    assert_eq!(bench.received(bob).events(), []);
    assert_eq!(bench.members(), ["ada"]);
    // A repeated enter does not restore a member that its client has left.
    bench.send_presence(ada, 3, message(Leave, "", ""));
    bench.send_presence(ada, 4, again);
    assert_eq!(bench.received(bob).events(), [event(Leave, "ada", "here")]);
    assert_eq!(bench.received(ada).acks, 4);
    assert_eq!(bench.members(), [""; 0]);
}

// Spec: RTN19a
#[test]
fn a_repeated_enter_restores_an_expired_member() {
    let mut bench = Bench::new();
    let ((ada, connected), bob) = two(&mut bench);
    // The acknowledgements are lost, and the connection is down until the members expire.
    for (serial, item) in
        (0..).zip([message(Leave, "", ""), message(Enter, "", "one"), message(Update, "", "two")])
    {
        bench.send_presence(ada, serial, item);
    }
    bench.drop_transport(ada);
    bench.advance(Duration::from_secs(30));
    bench.received(bob);
    let (ada, connected) = bench.connect_named("ada", Some(&key(&connected)));
    bench.attach(ada, "a", None);
    for (serial, item) in
        (0..).zip([message(Leave, "", ""), message(Enter, "", "one"), message(Update, "", "two")])
    {
        bench.send_presence(ada, serial, item);
    }
    assert_eq!(bench.received(ada).acks, 3);
    let received = bench.received(bob);
    assert_eq!(received.events(), [event(Enter, "ada", "two")]);
    assert!(received.items[0].id.as_deref().unwrap().ends_with(":2:0"));

    // Repeated frames restore no member after a leave, and none from a refused frame.
    bench.send_presence(ada, 3, message(Leave, "", ""));
    bench.send_presence(ada, 4, message(Present, "", ""));
    bench.drop_transport(ada);
    bench.advance(Duration::from_secs(30));
    let (ada, _) = bench.connect_named("ada", Some(&key(&connected)));
    bench.attach(ada, "a", None);
    bench.frames(ada);
    bench.send_presence(ada, 2, message(Update, "", "two"));
    bench.send_presence(ada, 3, message(Leave, "", ""));
    assert_eq!(bench.received(ada).acks, 2);
    bench.send_presence(ada, 4, message(Enter, "", ""));
    assert_eq!(nack_code(bench.frames(ada)), (4, 40000));
    assert_eq!(bench.received(bob).events(), [event(Leave, "ada", "two")]);
}

#[test]
fn members_stay_only_on_channels_that_a_resumed_client_attaches() {
    let mut bench = Bench::new();
    let ((ada, connected), bob) = two(&mut bench);
    bench.attach(ada, "other", None);
    bench.send_presence(ada, 0, message(Enter, "", "a"));
    bench.send(ada, vec![presence_frame("other", 1, vec![message(Enter, "", "other")])]);
    bench.received(bob);
    bench.drop_transport(ada);
    bench.advance(Duration::from_secs(10));
    let (ada, _) = bench.connect_named("ada", Some(&key(&connected)));
    bench.attach(ada, "other", None);
    bench.advance(Duration::from_millis(14_999));
    assert_eq!(bench.received(bob).events(), []);
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.received(bob).events(), [event(Leave, "ada", "a")]);
    bench.advance(Duration::from_secs(300));
    let (late, _) = bench.connect(None);
    bench.attach(late, "other", None);
    assert_eq!(bench.received(late).present(), ["ada"]);
}

#[test]
fn a_client_chooses_how_long_its_members_stay() {
    for (remain, stays) in [(0, 0), (40_000, 40_000), (1_000_000, TTL.as_millis() as u64)] {
        let mut bench = Bench::new();
        let (bob, _) = bench.connect_named("bob", None);
        bench.attach(bob, "a", None);
        let request = ConnectRequest {
            identity: Identity::of_key(&bench.key, Some("ada".into())).unwrap(),
            echo: true,
            max_idle_interval: Duration::from_secs(15),
            remain: Some(Duration::from_millis(remain)),
            resume: None,
            entropy: [7; 9],
        };
        let ada = TransportId(99);
        bench.app.connect(ada, request, bench.now, &mut bench.outputs);
        bench.outputs.clear();
        bench.attach(ada, "a", None);
        bench.send_presence(ada, 0, message(Enter, "", ""));
        bench.drop_transport(ada);
        assert!(
            bench.app.next_timeout().unwrap() <= bench.now.steady + Duration::from_millis(stays)
        );
        if let Some(before) = stays.checked_sub(1) {
            bench.advance(Duration::from_millis(before));
            assert_eq!(bench.received(bob).events(), [event(Enter, "ada", "")], "{remain}");
            bench.advance(Duration::from_millis(1));
            assert_eq!(bench.received(bob).events(), [event(Leave, "ada", "")], "{remain}");
        } else {
            bench.advance(Duration::ZERO);
            assert_eq!(
                bench.received(bob).events(),
                [event(Enter, "ada", ""), event(Leave, "ada", "")]
            );
        }
    }
}

#[test]
fn members_leave_at_once_on_close_failure_or_detach() {
    let detach = || vec![ClientFrame::Detach { channel: "a".into() }];
    let refused = || {
        let name = Attach {
            channel: "a".into(),
            flags: ChannelMode::ObjectPublish.flag(),
            ..Attach::default()
        };
        vec![ClientFrame::Attach(name)]
    };
    for way in 0..4 {
        let mut bench =
            Bench::with_capability(json!({ "*": ["presence", "subscribe", "history"] }));
        let ((ada, _), bob) = two(&mut bench);
        bench.send_presence(ada, 0, message(Enter, "", "here"));
        bench.send(ada, vec![presence_frame("b", 1, vec![message(Enter, "", "")])]);
        match way {
            0 => bench.send(ada, vec![ClientFrame::Close]),
            1 => bench.app.fail(
                ada,
                capably_protocol::ErrorInfo::new(80013.into(), 400, "odd"),
                bench.now,
                &mut bench.outputs,
            ),
            2 => bench.send(ada, detach()),
            _ => bench.send(ada, refused()),
        }
        let received = bench.received(bob);
        assert_eq!(
            received.events(),
            [event(Enter, "ada", "here"), event(Leave, "ada", "here")],
            "{way}"
        );
        assert_eq!(bench.members(), [""; 0]);
        bench.advance(Duration::from_secs(300));
        assert_eq!(bench.received(bob).events(), []);
    }
}

// Spec: RTN15c6
#[test]
fn a_resume_delivers_the_missed_presence() {
    let mut bench = Bench::new();
    let ((ada, connected), bob) = two(&mut bench);
    bench.send_presence(bob, 0, message(Enter, "", "1"));
    let serial = bench
        .frames(ada)
        .into_iter()
        .find_map(|frame| match frame {
            ServerFrame::Presence(delivery) => delivery.channel_serial,
            _ => None,
        })
        .unwrap();
    bench.drop_transport(ada);
    bench.send_presence(bob, 1, message(Update, "", "2"));
    bench.publish(bob, "a", 2, "text");
    bench.send_presence(bob, 3, message(Leave, "", ""));
    let (ada, _) = bench.connect_named("ada", Some(&key(&connected)));
    let attached = bench.attach(ada, "a", Some(&serial));
    assert!(attached.flags.contains(Flags::RESUMED) && attached.flags.contains(Flags::HAS_BACKLOG));
    assert!(!attached.flags.contains(Flags::HAS_PRESENCE));
    let received: Vec<_> = bench
        .frames(ada)
        .into_iter()
        .map(|frame| match frame {
            ServerFrame::Presence(delivery) => event_of(&delivery.items[0]).0,
            ServerFrame::Message(_) => Present,
            other => panic!("unexpected: {other:?}"),
        })
        .collect();
    assert_eq!(received, [Update, Present, Leave]);

    // A repeated frame has no effect. It is not acknowledged again, because the transport is the same.
    bench.send_presence(bob, 4, message(Enter, "", "5"));
    bench.send_presence(bob, 4, message(Enter, "", "5"));
    bench.send_presence(bob, 5, message(Present, "", ""));
    bench.send_presence(bob, 5, message(Present, "", ""));
    let frames = bench.frames(bob);
    let answers = frames.iter().filter_map(|frame| match frame {
        ServerFrame::Ack(ack) => Some((true, ack.msg_serial, ack.count)),
        ServerFrame::Nack(nack) => Some((false, nack.msg_serial, nack.count)),
        _ => None,
    });
    let acks = (0..5).map(|serial| (true, serial, 1));
    assert_eq!(answers.collect::<Vec<_>>(), acks.chain([(false, 5, 1)]).collect::<Vec<_>>());
    assert_eq!(bench.received(ada).events(), [event(Enter, "bob", "5")]);
}

#[test]
fn a_rewind_delivers_no_presence() {
    let mut bench = Bench::new();
    let ((ada, _), bob) = two(&mut bench);
    bench.send_presence(ada, 0, message(Enter, "", ""));
    bench.publish(ada, "a", 1, "text");
    bench.send_presence(ada, 2, message(Leave, "", ""));
    bench.frames(bob);
    let params = [("rewind".to_owned(), "1".to_owned())].into();
    let attach = Attach { channel: "a".into(), params, ..Attach::default() };
    let (late, _) = bench.connect(None);
    bench.send(late, vec![ClientFrame::Attach(attach)]);
    let kinds: Vec<_> = bench
        .frames(late)
        .iter()
        .map(|frame| matches!(frame, ServerFrame::Presence(_) | ServerFrame::Sync(_)))
        .collect();
    assert_eq!(kinds, [false, false]);
    // Message history contains no presence events.
    assert_eq!(bench.history("a").len(), 1);
}

#[test]
fn rest_returns_live_members_and_fixture_members() {
    let mut bench = Bench::new();
    let fixture =
        PresenceMessage { client_id: Some("fixture".into()), ..PresenceMessage::default() };
    let spec = AppSpec {
        id: APP.into(),
        keys: vec![Arc::clone(&bench.key)],
        members: vec![("a".into(), vec![fixture])],
        ..AppSpec::default()
    };
    bench.app = App::new(Arc::clone(&bench.app.settings), spec, bench.now);
    let ((ada, connected), _) = two(&mut bench);
    bench.advance(Duration::from_millis(5));
    bench.send_presence(ada, 0, message(Enter, "", "1"));
    bench.send_presence(ada, 1, message(Update, "", "2"));
    assert_eq!(bench.members(), ["fixture", "ada"]);
    let query = |client: Option<&str>, connection: Option<Str>| MembersQuery {
        page: all(Direction::Backwards),
        client_id: client.map(Str::from),
        connection_id: connection,
    };
    let read = |bench: &Bench, query| {
        let page = bench.app.members(&bench.identity(), "a", &query).unwrap();
        page.items.iter().map(event_of).collect::<Vec<_>>()
    };
    let both = [event(Present, "ada", "2"), event(Present, "fixture", "")];
    assert_eq!(read(&bench, query(None, None)), both);
    assert_eq!(read(&bench, query(Some("ada"), None)), both[..1]);
    assert_eq!(read(&bench, query(None, connected.connection_id)), both[..1]);
    bench.send_presence(ada, 2, message(Leave, "", ""));
    assert_eq!(read(&bench, query(None, None)), both[1..]);

    let history = |bench: &Bench, query: &PageQuery| {
        let page = bench.app.presence_history(&bench.identity(), "a", query).unwrap();
        page.items.iter().map(event_of).collect::<Vec<_>>()
    };
    let events = [
        event(Enter, "fixture", ""),
        event(Enter, "ada", "1"),
        event(Update, "ada", "2"),
        event(Leave, "ada", "2"),
    ];
    assert_eq!(history(&bench, &all(Direction::Forwards)), events);
    let start = PageQuery { start: Some(bench.now.wall), ..all(Direction::Forwards) };
    assert_eq!(history(&bench, &start), events[1..]);
    let first = PageQuery { limit: 3, ..all(Direction::Backwards) };
    let page = bench.app.presence_history(&bench.identity(), "a", &first).unwrap();
    let second = PageQuery { cursor: page.next, ..first };
    assert_eq!(history(&bench, &second), events[..1]);
    assert_eq!(bench.occupancy().presence_members, 1);
}

// Spec: RTP2b1
#[test]
fn a_member_does_not_leave_before_it_entered_when_the_clock_goes_back() {
    let mut bench = Bench::new();
    let ((ada, _), bob) = two(&mut bench);
    bench.send_presence(ada, 0, message(Enter, "", "one"));
    bench.now.wall -= 60_000;
    bench.send(ada, vec![ClientFrame::Detach { channel: "a".into() }]);
    let items = bench.received(bob).items;
    let times: Vec<_> = items.iter().map(|item| (item.action, item.timestamp)).collect();
    let [(Some(Enter), entered), (Some(Leave), left)] = times[..] else { panic!("{times:?}") };
    assert!(left >= entered, "{times:?}");
}
