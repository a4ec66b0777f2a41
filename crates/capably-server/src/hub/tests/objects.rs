//! Objects, in virtual time: operations of clients, their delivery and their states.

mod room;
mod snapshots;
mod sync;

use capably_objects::{
    LiveCounter, LiveMap, NewIds, Objects, ObjectsPool, Path, increment, remove, set,
};
use capably_protocol::{
    ChannelMode, Flags, ObjectMessage,
    frame::{Delivery, Params},
    object::{
        CounterCreateWithObjectId, CounterInc, MapClear, MapCreateWithObjectId, MapRemove, MapSet,
        ObjectData, ObjectDelete, ObjectOperation, ObjectOperationAction as Action, ObjectValue,
    },
};
use serde_json::{Value, json};

use super::*;

const BOTH: [ChannelMode; 2] = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];

fn operations(channel: &str, msg_serial: u64, items: Vec<ObjectMessage>) -> ClientFrame {
    ClientFrame::Object(Publish {
        channel: channel.into(),
        msg_serial,
        items: Arc::from(items),
        params: Params::new(),
    })
}

fn message(operation: ObjectOperation) -> ObjectMessage {
    ObjectMessage { operation: Some(Box::new(operation)), ..ObjectMessage::default() }
}

/// An operation without its payload.
fn operation(action: Action, id: &str) -> ObjectOperation {
    ObjectOperation {
        action: Some(action),
        object_id: Some(id.into()),
        ..ObjectOperation::default()
    }
}

fn set_text(id: &str, key: &str, text: &str) -> ObjectMessage {
    let value = ObjectValue::String(text.into()).into();
    let map_set = Some(MapSet { key: key.into(), value });
    message(ObjectOperation { map_set, ..operation(Action::MapSet, id) })
}

fn ids() -> NewIds<impl FnMut() -> [u8; 16]> {
    let mut next = 0_u128;
    NewIds::new(1_726_585_978_590, move || {
        next += 1;
        next.to_be_bytes()
    })
}

fn value(pool: &ObjectsPool) -> Value {
    pool.resolve(&Path::root()).unwrap().compact_json()
}

impl Bench {
    /// Attaches with these modes. Returns the flags of the ATTACHED.
    fn attach_objects(
        &mut self,
        transport: TransportId,
        channel: &str,
        modes: &[ChannelMode],
    ) -> Flags {
        let attach = Attach {
            channel: channel.into(),
            flags: modes.iter().copied().collect(),
            ..Attach::default()
        };
        self.send(transport, vec![ClientFrame::Attach(attach)]);
        let at = self.outputs.iter().position(
            |it| matches!(it, Output::Frame(to, ServerFrame::Attached(_)) if *to == transport),
        );
        match self.outputs.remove(at.expect("no answer to the ATTACH")) {
            Output::Frame(_, ServerFrame::Attached(attached)) => attached.flags,
            other => panic!("expected ATTACHED, got {other:?}"),
        }
    }

    /// A token with this capability.
    fn token_for(&mut self, capability: Value) -> String {
        let request = self.signed(json!({
            "keyName": access::KEY_NAME,
            "timestamp": self.now.wall,
            "nonce": capability.to_string(),
            "capability": capability.to_string(),
        }));
        self.request(&request).unwrap().token.to_string()
    }

    /// The objects of a channel as a client that attaches has them.
    fn replica(&mut self, channel: &str) -> Objects {
        let (transport, _) = self.connect(None);
        self.attach_objects(transport, channel, &BOTH);
        let mut objects = Objects::new(channel);
        objects.attached(true, self.now.wall, &mut Vec::new());
        for frame in self.frames(transport) {
            feed(&mut objects, frame);
        }
        self.app.transport_closed(transport, self.now, &mut self.outputs);
        objects
    }
}

fn feed(objects: &mut Objects, frame: ServerFrame) {
    match frame {
        ServerFrame::ObjectSync(Delivery { channel_serial, items, .. }) => {
            objects.sync_frame(channel_serial.as_deref(), items, 0, &mut Vec::new());
        }
        ServerFrame::Object(Delivery { items, .. }) => {
            objects.object_frame(items, 0, &mut Vec::new());
        }
        other => panic!("unexpected {other:?}"),
    }
}

fn delivered(frames: Vec<ServerFrame>) -> Vec<Delivery<ObjectMessage>> {
    let objects = frames.into_iter().filter_map(|frame| match frame {
        ServerFrame::Object(delivery) => Some(delivery),
        _ => None,
    });
    objects.collect()
}

// Spec: RTL4l, RTO4, RTO4a
#[test]
fn only_a_client_that_asks_for_objects_gets_a_sync() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let attached = bench.attach(transport, "a", None);
    assert!(!attached.flags.contains(Flags::HAS_OBJECTS));
    assert!(BOTH.iter().all(|mode| !attached.flags.contains(mode.flag())), "never by default");
    assert_eq!(bench.frames(transport), []);
    let flags = bench.attach_objects(transport, "a", &BOTH);
    assert_eq!(flags.modes(), BOTH);
    assert!(flags.contains(Flags::HAS_OBJECTS));
    let frames = bench.frames(transport);
    let [ServerFrame::ObjectSync(sync)] = &frames[..] else { panic!("{frames:?}") };
    assert!(sync.channel_serial.as_deref().unwrap().ends_with(':'));
    assert_eq!(sync.items.len(), 1);
    let flags = bench.attach_objects(transport, "a", &[ChannelMode::ObjectPublish]);
    assert!(!flags.contains(Flags::HAS_OBJECTS));
    assert_eq!(bench.frames(transport), []);
}

// Spec: RTO15, RTO20c, OM2h, OM2i, OM2j
#[test]
fn operations_reach_every_subscriber_and_their_publisher() {
    let mut bench = Bench::new();
    let (publisher, connected) = bench.connect_with(None, false);
    let (subscriber, _) = bench.connect(None);
    let (other, _) = bench.connect(None);
    bench.attach_objects(publisher, "a", &BOTH);
    bench.attach_objects(subscriber, "a", &BOTH[..1]);
    bench.attach(other, "a", None);
    bench.frames(publisher);
    bench.frames(subscriber);
    let poll = LiveMap::new().with("yes", LiveCounter::new(3.0)).with("open", true);
    let items = set("root", "poll", poll, &mut ids()).unwrap();
    let count = items.len();
    assert_eq!(count, 3);
    bench.send(publisher, vec![operations("a", 0, items.clone())]);
    let frames = bench.frames(publisher);
    let [ServerFrame::Object(own), ServerFrame::Ack(ack)] = &frames[..] else {
        panic!("the client wants no echo, and waits for its operations all the same: {frames:?}")
    };
    assert_eq!(delivered(bench.frames(subscriber)), std::slice::from_ref(own));
    assert_eq!(bench.frames(other), []);
    let serials: Vec<_> = own.items.iter().map(|item| item.serial.clone()).collect();
    assert_eq!(ack.res, [PublishResult::new(serials.clone())]);
    assert!(serials.is_sorted() && serials.iter().all(Option::is_some));
    assert_eq!(own.connection_id, connected.connection_id);
    assert_eq!(own.timestamp, Some(bench.now.wall));
    let details = connected.details.unwrap();
    assert_eq!(details.objects_gc_grace_period, Some(86_400_000));
    let serial = own.channel_serial.clone().unwrap();
    for item in &own.items {
        assert_eq!(item.site_code, details.site_code);
        assert_eq!(item.serial_timestamp, Some(bench.now.wall));
        let operation = item.operation.as_ref().unwrap();
        assert!(operation.map_create_with_object_id.is_none());
        assert!(operation.counter_create_with_object_id.is_none());
    }
    let creates = own.items.iter().filter(|item| {
        let operation = item.operation.as_ref().unwrap();
        operation.map_create.is_some() || operation.counter_create.is_some()
    });
    assert_eq!(creates.count(), 2);
    // A later frame of the site sorts after every serial of an earlier one, and no serial begins another.
    bench.send(publisher, vec![operations("a", 1, vec![set_text("root", "k", "v")])]);
    let next = delivered(bench.frames(publisher)).remove(0);
    let next_serial = next.items[0].serial.as_deref().unwrap();
    assert!(next.channel_serial.unwrap() > serial);
    for serial in serials.iter().flatten() {
        assert!(*format!("{serial}a") < *next_serial && !next_serial.starts_with(&**serial));
    }
    assert_eq!(
        value(bench.replica("a").pool()),
        json!({"poll": {"yes": 3, "open": true}, "k": "v"})
    );
}

#[test]
fn a_client_needs_the_mode_and_the_right() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH[..1]);
    bench.frames(transport);
    bench.send(transport, vec![operations("a", 0, vec![set_text("root", "k", "v")])]);
    assert_eq!(nack_code(bench.frames(transport)), (0, 40165));
    // Without an attachment there is no mode to ask for.
    bench.send(transport, vec![operations("b", 1, vec![set_text("root", "k", "v")])]);
    assert_eq!(bench.acks(transport).len(), 1);
    assert_eq!(value(bench.replica("b").pool()), json!({"k": "v"}));
    let weak = capability(json!({"a": ["object-subscribe"], "b": ["subscribe"]}));
    let key = Arc::new(Key::new("weak", "secret", weak));
    let identity = Identity::of_key(&key, None).unwrap();
    let (transport, _) = bench.connect_as(identity, None, true);
    let flags = bench.attach_objects(transport, "a", &BOTH);
    assert_eq!(flags.modes(), [ChannelMode::ObjectSubscribe]);
    bench.frames(transport);
    for (msg_serial, channel) in [(0, "a"), (1, "b")] {
        let frame = operations(channel, msg_serial, vec![set_text("root", "k", "v")]);
        bench.send(transport, vec![frame]);
        assert_eq!(nack_code(bench.frames(transport)), (msg_serial, 40160));
    }
}

// Spec: RTO6, RTO9a2b, RTO14, RTLM15d4, RTLC7d3
#[test]
fn invalid_operations_are_refused_whole() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    bench.frames(transport);
    let created = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
    let counter = created[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    let foreign = counter.replace("counter:", "map:");
    let reference = |id: &str| {
        let map_set = Some(MapSet { key: "k".into(), value: ObjectData::reference(id) });
        message(ObjectOperation { map_set, ..operation(Action::MapSet, "root") })
    };
    let increment_by = |id: &str, number| {
        let counter_inc = Some(CounterInc { number });
        message(ObjectOperation { counter_inc, ..operation(Action::CounterInc, id) })
    };
    let create_map = |id: &str, initial: &str, nonce: &str| {
        let create = MapCreateWithObjectId {
            initial_value: initial.into(),
            nonce: nonce.into(),
            source: None,
        };
        message(ObjectOperation {
            map_create_with_object_id: Some(create),
            ..operation(Action::MapCreate, id)
        })
    };
    let hashed = |initial: &str| {
        let kind = capably_objects::ObjectType::Map;
        let id = capably_objects::ObjectId::generate(kind, initial, "n", 5).to_string();
        create_map(&id, initial, "n")
    };
    let forged = {
        let mut forged = created[0].clone();
        let create = CounterCreateWithObjectId {
            initial_value: r#"{"count":1000000}"#.into(),
            nonce: "other".into(),
            source: None,
        };
        forged.operation.as_mut().unwrap().counter_create_with_object_id = Some(create);
        forged
    };
    let deep = format!(r#"{{"entries":{{"k":{{"data":{{"json":"{}"}}}}}}}}"#, "[".repeat(1000));
    let refused = [
        (vec![], 40000),
        (vec![ObjectMessage::default()], 92000),
        (vec![message(ObjectOperation::default())], 92000),
        (
            vec![message(ObjectOperation { action: Some(Action::MapClear), ..Default::default() })],
            92006,
        ),
        (vec![message(operation(Action::MapClear, ""))], 92006),
        (vec![message(operation(Action::Unknown(99), "root"))], 92000),
        (vec![message(operation(Action::MapClear, "map:short@1"))], 92000),
        (vec![message(operation(Action::MapClear, "list:x@1"))], 92000),
        (vec![message(operation(Action::ObjectDelete, "root"))], 92000),
        // The payload is missing, or not that of the action.
        (vec![message(operation(Action::MapSet, "root"))], 92000),
        (vec![message(operation(Action::MapRemove, "root"))], 92000),
        (vec![message(operation(Action::CounterInc, &counter))], 92000),
        (vec![message(operation(Action::MapCreate, &foreign))], 92000),
        (vec![increment_by(&counter, None)], 92000),
        // The type of the object does not have the action.
        (vec![set_text(&counter, "k", "v")], 92000),
        (vec![increment_by("root", Some(1.0))], 92000),
        (vec![message(operation(Action::MapClear, &counter))], 92000),
        // Values that no client can read.
        (vec![increment_by(&counter, Some(f64::NAN))], 92000),
        (vec![reference("")], 92000),
        (vec![reference("map:not-an-id")], 92000),
        // Ids that do not hash, and initial values that are none.
        (vec![forged], 92000),
        (vec![create_map("root", "{}", "n")], 92000),
        (vec![hashed("")], 92000),
        (vec![hashed("[1")], 92000),
        (vec![hashed(r#"{"semantics":7}"#)], 92000),
        (vec![hashed(r#"{"entries":{"k":{}}}"#)], 92000),
        (vec![hashed(r#"{"entries":{"k":{"data":{"objectId":"x"}}}}"#)], 92000),
        (vec![hashed(&deep)], 92000),
        (vec![set_text("root", "k", &"x".repeat(70_000))], 40009),
        (vec![set_text("root", "k", "v"); 1001], 40034),
        // One bad operation refuses the frame.
        (vec![set_text("root", "k", "v"), message(operation(Action::MapSet, "root"))], 92000),
    ];
    for (msg_serial, (items, code)) in (0..).zip(refused) {
        bench.send(transport, vec![operations("a", msg_serial, items.clone())]);
        assert_eq!(nack_code(bench.frames(transport)), (msg_serial, code), "{:?}", items.first());
    }
    assert_eq!(value(bench.replica("a").pool()), json!({}));
}

// Spec: RTO6, RTLM7g1, RTLM5d2f1, RTO8
#[test]
fn what_the_specification_tolerates_is_accepted() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    bench.frames(transport);
    let mut msg_serial = 0;
    let mut send = |bench: &mut Bench, items: Vec<ObjectMessage>| {
        bench.send(transport, vec![operations("a", msg_serial, items)]);
        msg_serial += 1;
        let frames = bench.frames(transport);
        assert!(matches!(frames.last(), Some(ServerFrame::Ack(_))), "{frames:?}");
    };
    let mut ids = ids();
    // A counter before its create, and a reference to a map that never comes.
    let mut created = set("root", "c", LiveCounter::new(1.0), &mut ids).unwrap();
    let counter = created[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    send(&mut bench, vec![increment(&counter, 5.0).unwrap()]);
    send(&mut bench, std::mem::take(&mut created));
    let absent = set("root", "x", LiveMap::new(), &mut ids).unwrap();
    send(&mut bench, vec![absent[1].clone()]);
    // A cycle: the root refers to itself.
    let itself = Some(MapSet { key: "self".into(), value: ObjectData::reference("root") });
    send(
        &mut bench,
        vec![message(ObjectOperation { map_set: itself, ..operation(Action::MapSet, "root") })],
    );
    // A client cannot choose the serial, the site or the time.
    let forged = ObjectMessage {
        serial: Some("~".into()),
        site_code: Some("elsewhere".into()),
        serial_timestamp: Some(i64::MAX),
        timestamp: Some(i64::MAX),
        connection_id: Some("somebody".into()),
        ..set_text("root", "k", "1")
    };
    send(&mut bench, vec![forged]);
    send(&mut bench, vec![set_text("root", "k", "2"), set_text("root", "gone", "1")]);
    send(&mut bench, vec![remove("root", "gone")]);
    let replica = bench.replica("a");
    let root = replica.pool().root();
    assert_eq!(root.get("c").unwrap().as_counter().unwrap().value(), 6.0);
    assert!(root.get("gone").is_none());
    assert_eq!(root.get("x").unwrap().as_map().unwrap().len(), 0);
    assert_eq!(root.get("self").unwrap().object_id().unwrap(), "root");
    let Some(capably_objects::ValueRef::String(text)) = root.get("k") else { panic!("{root:?}") };
    assert_eq!(text, "2");
    // A deleted object takes no more operations.
    let delete = ObjectOperation {
        object_delete: Some(ObjectDelete {}),
        ..operation(Action::ObjectDelete, &counter)
    };
    send(&mut bench, vec![message(delete)]);
    assert!(bench.replica("a").pool().root().get("c").is_none());
    bench.send(
        transport,
        vec![operations("a", msg_serial, vec![increment(&counter, 1.0).unwrap()])],
    );
    assert_eq!(nack_code(bench.frames(transport)), (msg_serial, 92002));
    msg_serial += 1;
    let clear =
        ObjectOperation { map_clear: Some(MapClear {}), ..operation(Action::MapClear, "root") };
    bench.send(transport, vec![operations("a", msg_serial, vec![message(clear)])]);
    assert_eq!(value(bench.replica("a").pool()), json!({}));
}

#[test]
fn a_tree_a_thousand_maps_deep_is_kept_and_sent() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let mut ids = ids();
    let mut parent = Str::from("root");
    for msg_serial in 0..1000 {
        let items = set(&parent, "k", LiveMap::new(), &mut ids).unwrap();
        parent = items[0].operation.as_ref().unwrap().object_id.clone().unwrap();
        bench.send(transport, vec![operations("a", msg_serial, items)]);
    }
    let replica = bench.replica("a");
    let path = Path::from_iter(std::iter::repeat_n("k", 1000));
    assert_eq!(replica.pool().resolve(&path).unwrap().object_id(), Some(&parent));
}

// Spec: RTN19a2, RTO20
#[test]
fn a_frame_that_is_sent_again_is_acknowledged_again_and_applied_once() {
    let mut bench = Bench::new();
    let (transport, connected) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    bench.frames(transport);
    let created = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
    let counter = created[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    let frames =
        [operations("a", 0, created), operations("a", 1, vec![increment(&counter, 1.0).unwrap()])];
    bench.send(transport, frames.to_vec());
    let first = bench.acks(transport);
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    let (transport, _) = bench.connect(Some(&key(&connected)));
    bench.send(transport, frames.to_vec());
    let again = bench.frames(transport);
    assert_eq!(again, first.into_iter().map(ServerFrame::Ack).collect::<Vec<_>>());
    assert_eq!(value(bench.replica("a").pool()), json!({"c": 2}));
}

// Spec: RTO5, RTO7a
#[test]
fn a_client_that_comes_back_gets_a_sync_and_no_old_operations() {
    let mut bench = Bench::new();
    let (transport, connected) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    bench.frames(transport);
    let (other, _) = bench.connect(None);
    bench.send(other, vec![operations("a", 0, vec![set_text("root", "k", "1")])]);
    let serial = delivered(bench.frames(transport)).remove(0).channel_serial;
    bench.app.transport_closed(transport, bench.now, &mut bench.outputs);
    bench.send(other, vec![operations("a", 1, vec![set_text("root", "k", "2")])]);
    bench.publish(other, "a", 2, "missed");
    let (transport, _) = bench.connect(Some(&key(&connected)));
    let modes = [&BOTH[..], &[ChannelMode::Subscribe]].concat();
    let attach = Attach {
        channel: "a".into(),
        channel_serial: serial,
        flags: modes.into_iter().collect(),
        ..Attach::default()
    };
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    let frames = bench.frames(transport);
    let [
        ServerFrame::Attached(attached),
        ServerFrame::ObjectSync(sync),
        ServerFrame::Message(missed),
    ] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert!(attached.flags.contains(Flags::RESUMED) && attached.flags.contains(Flags::HAS_OBJECTS));
    assert_eq!(missed.items.len(), 1);
    let mut objects = Objects::new("a");
    objects.attached(true, 0, &mut Vec::new());
    feed(&mut objects, ServerFrame::ObjectSync(sync.clone()));
    assert_eq!(value(objects.pool()), json!({"k": "2"}));
}

#[test]
fn a_large_sync_is_sent_in_steps_while_operations_go_on() {
    let mut bench = Bench::new();
    let (writer, _) = bench.connect(None);
    for msg_serial in 0..1000 {
        let text = "x".repeat(900);
        let item = set_text("root", &format!("k{msg_serial}"), &text);
        bench.send(writer, vec![operations("a", msg_serial, vec![item])]);
    }
    assert_eq!(bench.acks(writer).len(), 1000);
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    let mut objects = Objects::new("a");
    objects.attached(true, 0, &mut Vec::new());
    let mut steps = 0;
    let mut msg_serial = 1000;
    loop {
        let mut behind = false;
        for output in std::mem::take(&mut bench.outputs) {
            match output {
                Output::Frame(to, frame) if to == transport => feed(&mut objects, frame),
                Output::Broadcast(to, it) if to == transport => {
                    feed(&mut objects, it.frame().clone());
                }
                Output::Behind(to) if to == transport => behind = true,
                _ => {}
            }
        }
        if !behind {
            break;
        }
        steps += 1;
        // An entry that was sent already changes while the sync is under way, and one that is not sent yet.
        let items = vec![set_text("root", "k0", "new"), set_text("root", "k999", "new")];
        bench.send(writer, vec![operations("a", msg_serial, items)]);
        msg_serial += 1;
        bench.app.fill(transport, bench.now, &mut bench.outputs);
    }
    assert!(steps >= 3, "{steps} steps, {} keys", objects.pool().root().len());
    assert_eq!(value(objects.pool()), value(bench.replica("a").pool()));
}

// Spec: RTO10
#[test]
fn deleted_objects_go_with_the_first_entry_after_the_grace_period() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    let created = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
    let counter = created[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    let delete = message(ObjectOperation {
        object_delete: Some(ObjectDelete {}),
        ..operation(Action::ObjectDelete, &counter)
    });
    let gone = MapRemove { key: "gone".into() };
    let gone =
        message(ObjectOperation { map_remove: Some(gone), ..operation(Action::MapRemove, "root") });
    bench.send(transport, vec![operations("a", 0, created)]);
    bench.send(transport, vec![operations("a", 1, vec![delete, gone])]);
    let states = |bench: &mut Bench| {
        let replica = bench.replica("a");
        replica.pool().states().count()
            + replica.pool().state("root").unwrap().object.unwrap().map.unwrap().entries.len()
    };
    // The root and the counter; the keys `c` and `gone`.
    assert_eq!(states(&mut bench), 4);
    bench.advance(Duration::from_secs(24 * 3600 - 1));
    let (transport, _) = bench.connect(None);
    bench.send(transport, vec![operations("a", 0, vec![set_text("root", "k", "v")])]);
    assert_eq!(states(&mut bench), 5);
    bench.advance(Duration::from_secs(61));
    bench.send(transport, vec![operations("a", 1, vec![set_text("root", "k", "v")])]);
    // The root with the key `c`, which refers to nothing, and the key `k`.
    assert_eq!(states(&mut bench), 3);
}

#[test]
fn deleted_objects_of_an_idle_channel_are_collected() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.attach_objects(transport, "a", &BOTH);
    let created = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
    let counter = created[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    let delete = message(ObjectOperation {
        object_delete: Some(ObjectDelete {}),
        ..operation(Action::ObjectDelete, &counter)
    });
    bench.send(transport, vec![operations("a", 0, created)]);
    bench.send(transport, vec![operations("a", 1, vec![set_text("root", "gone", "1"), delete])]);
    bench.advance(Duration::from_secs(3600));
    bench.send(transport, vec![operations("a", 2, vec![remove("root", "gone")])]);
    bench.frames(transport);
    let left = |bench: &Bench| {
        let pool = bench.app.channels.get("a").unwrap().objects().unwrap().pool();
        let root = pool.state("root").unwrap().object.unwrap().map.unwrap();
        (pool.states().count(), root.entries.len())
    };
    // Nothing is due before the last deletion is.
    bench.advance(Duration::from_secs(24 * 3600 - 1));
    assert_eq!(left(&bench), (2, 2));
    bench.advance(Duration::from_secs(1));
    assert_eq!(left(&bench), (1, 1));
    // Clients collect by themselves: they are sent nothing, and a sync has nothing that is gone.
    assert_eq!(bench.frames(transport), []);
    assert_eq!(bench.replica("a").pool().states().count(), 1);
    // Nothing is planned any more.
    assert_eq!(
        bench.app.channels.next_collection(),
        Some(bench.now.steady + Duration::from_secs(60))
    );
    bench.advance(Duration::from_secs(60));
    assert_eq!(bench.app.channels.next_collection(), None);
}

#[test]
fn objects_outlive_their_clients_and_their_entries() {
    let mut bench = Bench::new();
    let (transport, _) = bench.connect(None);
    bench.send(transport, vec![operations("a", 0, vec![set_text("root", "k", "v")])]);
    bench.send(transport, vec![ClientFrame::Close]);
    for _ in 0..100 {
        bench.advance(Duration::from_secs(3600));
    }
    assert_eq!(value(bench.replica("a").pool()), json!({"k": "v"}));
}

#[test]
fn a_new_right_brings_a_sync() {
    let mut bench = Bench::new();
    let weak = bench.token_for(json!({"a": ["subscribe"]}));
    let identity = bench.authenticate(&weak, None).unwrap();
    let (transport, _) = bench.connect_as(identity, None, true);
    let modes = [ChannelMode::Subscribe, ChannelMode::ObjectSubscribe];
    assert_eq!(bench.attach_objects(transport, "a", &modes).modes(), modes[..1]);
    let (writer, _) = bench.connect(None);
    bench.send(writer, vec![operations("a", 0, vec![set_text("root", "k", "1")])]);
    assert_eq!(bench.frames(transport), []);
    let token = bench.token_for(json!({"a": ["subscribe", "object-subscribe"]}));
    let frames = bench.auth(transport, &token);
    bench.send(writer, vec![operations("a", 1, vec![set_text("root", "l", "2")])]);
    let mut objects = Objects::new("a");
    let frames = frames.into_iter().chain(bench.frames(transport));
    frames
        .filter(|it| !matches!(it, ServerFrame::Connected(_)))
        .for_each(|it| feed(&mut objects, it));
    assert_eq!(value(objects.pool()), json!({"k": "1", "l": "2"}));
}

// Spec: RTO4
#[test]
fn a_gap_in_a_replay_brings_a_new_sync() {
    let age = Duration::from_secs(3600);
    let mut bench = Bench::with_retention(Retention { frames: 300, bytes: usize::MAX, age });
    let (writer, _) = bench.connect(None);
    let (transport, _) = bench.connect(None);
    let start = bench.attach(transport, "a", None).channel_serial;
    let text = "x".repeat(900);
    for msg_serial in 0..250 {
        bench.publish(writer, "a", msg_serial, &text);
    }
    let modes = [ChannelMode::Subscribe, ChannelMode::ObjectSubscribe];
    let attach = Attach {
        channel: "a".into(),
        channel_serial: start,
        flags: modes.into_iter().collect(),
        ..Attach::default()
    };
    bench.send(transport, vec![ClientFrame::Attach(attach)]);
    for msg_serial in 250..600 {
        bench.publish(writer, "a", msg_serial, &text);
    }
    bench.send(writer, vec![operations("a", 600, vec![set_text("root", "k", "v")])]);
    let mut objects = Objects::new("a");
    let mut gaps = 0;
    for frame in bench.frames(transport) {
        match frame {
            ServerFrame::Attached(attached) => {
                assert!(attached.flags.contains(Flags::HAS_OBJECTS));
                objects.attached(true, 0, &mut Vec::new());
                gaps += usize::from(attached.error.is_some());
            }
            frame @ (ServerFrame::ObjectSync(_) | ServerFrame::Object(_)) => {
                feed(&mut objects, frame);
            }
            _ => {}
        }
    }
    assert_eq!(gaps, 1);
    assert_eq!(objects.state(), capably_objects::SyncState::Synced);
    assert_eq!(value(objects.pool()), json!({"k": "v"}));
}
