//! Bad input of clients, in both formats: each is refused with its code or tolerated, and replicas agree after it.

use std::sync::Arc;

use capably_objects::{
    LiveCounter, LiveMap, ObjectId, ObjectType, Path, clear, increment, remove, set,
};
use capably_protocol::{
    ChannelMode, ClientFrame, Format, ObjectMessage, ServerFrame, Str, codec,
    frame::{Attach, Params, Publish},
    object::{
        CounterCreateWithObjectId, MapSet, ObjectData, ObjectOperation,
        ObjectOperationAction as Action,
    },
};
use capably_server::Server;
use serde_json::{Value, json};

use super::{
    FORMATS,
    sharer::{Sharer, ids},
    support::{Client, app, ask, refusal, server},
};

/// The other format.
fn other(format: Format) -> Format {
    match format {
        Format::Json => Format::MsgPack,
        Format::MsgPack => Format::Json,
    }
}

/// Two clients of a channel, of which the first sends bad input.
struct Pair<'a> {
    server: &'a Server,
    bad: Sharer,
    good: Sharer,
    channel: &'static str,
}

impl<'a> Pair<'a> {
    async fn join(server: &'a Server, format: Format, name: &str) -> Self {
        let channel: &'static str = format!("{name}-{}", format.name()).leak();
        let bad = Sharer::join(server, format, channel).await;
        let good = Sharer::join(server, other(format), channel).await;
        Self { server, bad, good, channel }
    }

    /// The server refuses the operations with this code.
    async fn refused(&mut self, items: Vec<ObjectMessage>, code: u32) {
        let text = format!("{items:?}");
        let sent = self.bad.send(items).await;
        match self.bad.client.next().await {
            ServerFrame::Nack(nack) => {
                assert_eq!((nack.msg_serial, nack.error.unwrap().code.0), (sent, code), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    /// The server accepts the operations.
    async fn accepted(&mut self, items: Vec<ObjectMessage>) {
        self.bad.send(items).await;
        let delivery = self.bad.receive().await;
        self.bad.client.ack().await;
        assert_eq!(self.good.receive().await.items, delivery.items);
    }

    /// The replicas have this value: those of both clients, and of one that comes later.
    async fn agree(mut self, expected: Value) {
        self.accepted(set("root", "last", "word", &mut ids()).unwrap()).await;
        let mut expected = expected;
        expected["last"] = "word".into();
        assert_eq!(self.bad.value(), expected);
        assert_eq!(self.good.value(), expected);
        let late = Sharer::join(self.server, self.bad.client.format, self.channel).await;
        assert_eq!(late.value(), expected);
    }
}

fn message(operation: ObjectOperation) -> ObjectMessage {
    ObjectMessage { operation: Some(Box::new(operation)), ..ObjectMessage::default() }
}

fn refer(map: &str, key: &str, to: &str) -> ObjectMessage {
    message(ObjectOperation {
        action: Some(Action::MapSet),
        object_id: Some(map.into()),
        map_set: Some(MapSet { key: key.into(), value: ObjectData::reference(to) }),
        ..ObjectOperation::default()
    })
}

fn object_id(messages: &[ObjectMessage]) -> Str {
    messages[0].operation.as_ref().unwrap().object_id.clone().unwrap()
}

// Spec: RTO6
#[tokio::test]
async fn operations_on_unknown_ids_make_the_same_object_everywhere() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "unknown").await;
        let made = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
        let counter = object_id(&made);
        pair.accepted(vec![increment(&counter, 5.0).unwrap()]).await;
        let absent = object_id(&set("root", "m", LiveMap::new(), &mut ids()).unwrap());
        pair.accepted(vec![refer("root", "m", &absent), remove(&absent, "never set")]).await;
        // The create comes late.
        pair.accepted(made).await;
        for id in ["counter:x", "map:not-an-id", "list:x@1", "x", "map:@5"] {
            pair.refused(vec![remove(id, "k")], 92000).await;
        }
        pair.refused(vec![remove("", "k")], 92006).await;
        // By REST an operation on an unknown object is refused.
        let body = json!({"objectId": "counter:oVzQZC3Ah6N5mCYO7V6lQyZX3DsWeUSEDTJi1EhyFeg@5", "counterInc": {"number": 1}});
        let target = format!("/channels/{}/object", pair.channel);
        let answer = ask(&server, server.key(), format, "POST", &target, &body).await;
        assert_eq!(refusal(&answer), (404, 92004));
        pair.agree(json!({"c": 6, "m": {}})).await;
    }
}

#[tokio::test]
async fn operations_of_the_wrong_type_are_refused() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "types").await;
        let made = set("root", "c", LiveCounter::new(1.0), &mut ids()).unwrap();
        let counter = object_id(&made);
        pair.accepted(made).await;
        pair.refused(vec![clear(&counter)], 92000).await;
        pair.refused(vec![remove(&counter, "k")], 92000).await;
        pair.refused(set(&counter, "k", "v", &mut ids()).unwrap(), 92000).await;
        pair.refused(vec![increment("root", 1.0).unwrap()], 92000).await;
        // One bad operation refuses the frame.
        let mixed = vec![increment(&counter, 1.0).unwrap(), increment("root", 1.0).unwrap()];
        pair.refused(mixed, 92000).await;
        pair.agree(json!({"c": 1})).await;
    }
}

// Spec: RTO14
#[tokio::test]
async fn ids_that_do_not_hash_are_refused() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "hashes").await;
        let create = |id: &str, initial: &str, nonce: &str| {
            message(ObjectOperation {
                action: Some(Action::CounterCreate),
                object_id: Some(id.into()),
                counter_create_with_object_id: Some(CounterCreateWithObjectId {
                    initial_value: initial.into(),
                    nonce: nonce.into(),
                    source: None,
                }),
                ..ObjectOperation::default()
            })
        };
        let of =
            |initial: &str| ObjectId::generate(ObjectType::Counter, initial, "n", 5).to_string();
        let one = r#"{"count":1}"#;
        pair.refused(vec![create(&of(one), r#"{"count":2}"#, "n")], 92000).await;
        pair.refused(vec![create(&of(one), one, "another")], 92000).await;
        pair.refused(vec![create(&of(one), one, "")], 92000).await;
        for initial in ["", "1", "[", r#"{"count":"1"}"#, r#"{"count":1e999}"#] {
            pair.refused(vec![create(&of(initial), initial, "n")], 92000).await;
        }
        // The right one is accepted, and the second create of an object has no effect.
        pair.accepted(vec![create(&of(one), one, "n")]).await;
        pair.accepted(vec![create(&of(one), one, "n"), refer("root", "c", &of(one))]).await;
        pair.agree(json!({"c": 1})).await;
    }
}

// Spec: OM2h, OM2i, OM2j
#[tokio::test]
async fn serials_and_times_of_a_client_are_ignored() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "serials").await;
        let site = pair.bad.connected.details.clone().unwrap().site_code;
        for (text, serial) in [("future", Some("~~~")), ("empty", Some("")), ("missing", None)] {
            let mut items = set("root", "k", text, &mut ids()).unwrap();
            items[0].serial = serial.map(Str::from);
            items[0].site_code = serial.map(|_| "elsewhere".into());
            items[0].serial_timestamp = serial.map(|_| i64::MAX);
            pair.bad.send(items).await;
            let delivery = pair.bad.receive().await;
            pair.good.receive().await;
            pair.bad.client.ack().await;
            let item = &delivery.items[0];
            assert!(item.serial.as_deref().unwrap().starts_with(|it: char| it.is_ascii_digit()));
            assert_eq!((&item.site_code, item.serial_timestamp), (&site, delivery.timestamp));
        }
        pair.agree(json!({"k": "missing"})).await;
    }
}

// Spec: RTPO13, RTO5
#[tokio::test]
async fn cycles_are_tolerated() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "cycles").await;
        let made = set("root", "m", LiveMap::new(), &mut ids()).unwrap();
        let map = object_id(&made);
        pair.accepted(made).await;
        pair.accepted(vec![refer(&map, "up", "root"), refer(&map, "self", &map)]).await;
        let target = format!("/channels/{}/object?path=m.up.m.self.self", pair.channel);
        let (answer, _) = ask(&server, server.key(), format, "GET", &target, &Value::Null).await;
        assert_eq!(answer.status, 200);
        let (root, map) = (json!({"objectId": "root"}), json!({"objectId": map}));
        pair.agree(json!({"m": {"up": root, "self": map}})).await;
    }
}

#[tokio::test]
async fn paths_with_dots_and_escapes_name_keys_and_never_others() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "paths").await;
        for key in ["a.b", r"c\", "", "*", "\u{0}\u{1f9ed}"] {
            pair.accepted(set("root", key, key, &mut ids()).unwrap()).await;
        }
        let get = async |path: &str| {
            let target = format!("/channels/{}/object?path={path}", pair.channel);
            ask(&server, server.key(), format, "GET", &target, &Value::Null).await
        };
        let found = get(r"a%5C.b").await;
        assert_eq!((found.0.status, found.1), (200, json!("a.b")));
        for path in ["a.b", "a", "a..b", ".a", "b.", "..", "a%5C.b.c"] {
            assert_eq!(refusal(&get(path).await), (404, 92005), "{path}");
        }
        let expected = json!({
            "a.b": "a.b", r"c\": r"c\", "": "", "*": "*", "\u{0}\u{1f9ed}": "\u{0}\u{1f9ed}",
        });
        pair.agree(expected).await;
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_refused() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "values").await;
        let set = |value: Value| json!({"action": 1, "objectId": "root", "mapSet": {"key": "k", "value": value}});
        for (operation, code) in [
            (set(json!({"number": "1"})), 40000),
            (set(json!({"boolean": 1})), 40000),
            (set(json!({"string": {}})), 40000),
            (set(json!({"objectId": 5})), 40000),
            (set(json!("text")), 40000),
            (set(json!({})), 92000),
            (set(json!({"objectId": "x"})), 92000),
            (json!({"action": "1", "objectId": "root", "mapSet": {}}), 40000),
            (json!({"action": 4, "objectId": "root", "counterInc": {"number": "1"}}), 40000),
            (json!({"action": 1, "objectId": "root", "mapSet": []}), 40000),
            (json!({"action": 99, "objectId": "root"}), 92000),
        ] {
            let state = json!([{"operation": operation}]);
            let msg_serial = pair.bad.skip_serial();
            let frame = json!({
                "action": 19, "channel": pair.channel, "msgSerial": msg_serial, "state": state,
            });
            let bytes = codec::encode_body(format, &frame).unwrap();
            pair.bad.client.send_raw(&bytes).await;
            match pair.bad.client.next().await {
                ServerFrame::Nack(nack) => {
                    let refused = (nack.msg_serial, nack.error.unwrap().code.0);
                    assert_eq!(refused, (msg_serial, code), "{state}");
                }
                other => panic!("{state}: {other:?}"),
            }
        }
        pair.agree(json!({})).await;
    }
}

#[tokio::test]
async fn a_tree_a_thousand_maps_deep_is_shared() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "deep").await;
        let mut parent = Str::from("root");
        for _ in 0..20 {
            let mut items = Vec::new();
            for _ in 0..50 {
                let made = set(&parent, "k", LiveMap::new(), &mut ids()).unwrap();
                parent = object_id(&made);
                items.extend(made);
            }
            pair.accepted(items).await;
        }
        let path = Path::from_iter(std::iter::repeat_n("k", 1000));
        let late = Sharer::join(&server, format, pair.channel).await;
        for replica in [&pair.bad, &pair.good, &late] {
            let deepest = replica.objects.pool().resolve(&path).unwrap();
            assert_eq!(deepest.object_id(), Some(&parent));
        }
    }
}

// Spec: RTO5
#[tokio::test]
async fn a_sync_that_breaks_off_begins_again() {
    let server = server().await;
    for format in FORMATS {
        let mut pair = Pair::join(&server, format, "breaks").await;
        for number in 0..10 {
            pair.accepted(
                set("root", format!("k{number}"), "x".repeat(40_000), &mut ids()).unwrap(),
            )
            .await;
        }
        let (mut client, connected) = Client::connect(&server, format).await;
        let modes = Params::from([("modes".to_owned(), "object_subscribe".to_owned())]);
        let attach = Attach { channel: pair.channel.into(), params: modes, ..Attach::default() };
        client.attach_with(attach.clone()).await;
        let ServerFrame::ObjectSync(page) = client.next().await else { panic!("no page") };
        assert!(!page.channel_serial.unwrap().ends_with(':'), "one page is not all");
        drop(client);
        pair.accepted(set("root", "k0", "new", &mut ids()).unwrap()).await;
        let key = connected.details.unwrap().connection_key.unwrap();
        let (mut client, _) = Client::connect_with(&server, format, &format!("resume={key}")).await;
        client.attach_with(attach).await;
        let mut objects = capably_objects::Objects::new(pair.channel);
        objects.attached(true, 0, &mut Vec::new());
        while objects.state() != capably_objects::SyncState::Synced {
            let ServerFrame::ObjectSync(page) = client.next().await else { panic!("no page") };
            let serial = page.channel_serial.as_deref();
            objects.sync_frame(serial, page.items, 0, &mut Vec::new());
        }
        let whole = objects.pool().resolve(&Path::root()).unwrap().compact_json();
        assert_eq!(whole, pair.good.value());
        // A client asks for a sync again and again, and reads none of it.
        for _ in 0..2000 {
            client.send(&ClientFrame::ObjectSync { channel: pair.channel.into() }).await;
        }
        let value = pair.good.value();
        pair.agree(value).await;
    }
}

// Spec: RTO2
#[tokio::test]
async fn a_client_without_the_mode_or_the_right_is_refused() {
    let server = server().await;
    for format in FORMATS {
        let spec = json!({"keys": [{}, {"capability": {"*": ["subscribe", "publish"]}}]});
        let keys = app(&server, &spec).await;
        for (key, code) in [(&keys[0], 40165), (&keys[1], 40160)] {
            let mut client = Client::open(&server, format, &format!("key={key}")).await;
            assert!(matches!(client.next().await, ServerFrame::Connected(_)));
            let attached = client.attach("c").await;
            assert!(!attached.flags.contains(ChannelMode::ObjectSubscribe.flag()));
            let items = set("root", "k", "v", &mut ids()).unwrap();
            let publish = Publish {
                channel: "c".into(),
                msg_serial: 0,
                items: Arc::from(items),
                params: Params::new(),
            };
            client.send(&ClientFrame::Object(publish)).await;
            let ServerFrame::Nack(nack) = client.next().await else { panic!("no NACK") };
            assert_eq!(nack.error.unwrap().code.0, code);
            client.send(&ClientFrame::ObjectSync { channel: "c".into() }).await;
            let ServerFrame::Error(frame) = client.next().await else { panic!("no ERROR") };
            assert_eq!(frame.channel.as_deref(), Some("c"));
            assert_eq!(frame.error.unwrap().code.0, code);
            // The connection stays, and nothing has changed.
            client.attach("c").await;
        }
        let target = "/channels/c/object";
        let (_, value) = ask(&server, &keys[0], format, "GET", target, &Value::Null).await;
        assert_eq!(value, json!({}));
        let answer = ask(&server, &keys[1], format, "GET", target, &Value::Null).await;
        assert_eq!(refusal(&answer), (401, 40160));
    }
}

#[tokio::test]
async fn an_app_may_have_fewer_objects_than_the_server_allows() {
    let server = server().await;
    for format in FORMATS {
        let spec = json!({"keys": [{}], "limits": {"objects": {"max": 2, "maxBytes": 2000}}});
        let key = app(&server, &spec).await.remove(0);
        let target = "/channels/c/object";
        let create = json!({"path": "a", "counterCreate": {"count": 1}});
        let mut made = create.clone();
        for path in ["a", "b"] {
            made["path"] = path.into();
            let (answer, _) = ask(&server, &key, format, "POST", target, &made).await;
            assert_eq!(answer.status, 201);
        }
        made["path"] = "c".into();
        let answer = ask(&server, &key, format, "POST", target, &made).await;
        assert_eq!(refusal(&answer), (400, 92001));
        let text = json!({"objectId": "root", "mapSet": {"key": "k", "value": {"string": "x".repeat(2000)}}});
        let answer = ask(&server, &key, format, "POST", target, &text).await;
        assert_eq!(refusal(&answer), (400, 92001));
        let (_, value) = ask(&server, &key, format, "GET", target, &Value::Null).await;
        assert_eq!(value, json!({"a": 1, "b": 1}));
    }
}
