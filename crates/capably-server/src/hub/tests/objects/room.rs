//! The limits of a channel's objects.

use super::*;
use crate::hub::{Limits, app::AppSpec};

/// An app with these limits.
fn limited(objects: usize, bytes: usize) -> Bench {
    let mut bench = Bench::new();
    let limits =
        Limits { max_objects: Some(objects), max_objects_bytes: Some(bytes), ..Limits::default() };
    let spec = AppSpec { limits, ..spec(&bench.key) };
    bench.app = App::new(Arc::clone(&bench.app.settings), spec, bench.now);
    bench
}

/// Publishes operations. Returns the code with which they are refused.
fn send(bench: &mut Bench, transport: TransportId, items: Vec<ObjectMessage>) -> Option<u32> {
    let msg_serial = bench.transports * 1000 + bench.now.steady.subsec_nanos() as u64;
    bench.now.steady += Duration::from_nanos(1);
    bench.send(transport, vec![operations("a", msg_serial, items)]);
    match &bench.frames(transport)[..] {
        [ServerFrame::Ack(_)] => None,
        [ServerFrame::Nack(nack)] => Some(nack.error.as_ref().unwrap().code.0),
        other => panic!("{other:?}"),
    }
}

fn delete(id: &str) -> ObjectMessage {
    message(ObjectOperation {
        object_delete: Some(ObjectDelete {}),
        ..operation(Action::ObjectDelete, id)
    })
}

#[test]
fn a_channel_has_a_limit_of_objects() {
    let mut bench = limited(3, usize::MAX);
    let (transport, _) = bench.connect(None);
    let mut ids = ids();
    let mut make = |key: &str| set("root", key, LiveCounter::new(1.0), &mut ids).unwrap();
    let first = make("a");
    let counter = first[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    assert_eq!(send(&mut bench, transport, first), None);
    // All or none: of two objects one would fit after the next.
    assert_eq!(send(&mut bench, transport, make("b")), None);
    let two = [make("c"), make("d")].concat();
    assert_eq!(send(&mut bench, transport, two), Some(92001));
    assert_eq!(value(bench.replica("a").pool()), json!({"a": 1, "b": 1}));
    assert_eq!(send(&mut bench, transport, make("c")), None);
    assert_eq!(send(&mut bench, transport, make("d")), Some(92001));
    // An operation on an object that does not exist makes it, and so does a reference.
    let absent = make("x")[0].operation.as_ref().unwrap().object_id.clone().unwrap();
    assert_eq!(send(&mut bench, transport, vec![increment(&absent, 1.0).unwrap()]), Some(92001));
    let refer = MapSet { key: "x".into(), value: ObjectData::reference(absent) };
    let refer = ObjectOperation { map_set: Some(refer), ..operation(Action::MapSet, "root") };
    assert_eq!(send(&mut bench, transport, vec![message(refer)]), Some(92001));
    // The others go on, and another channel has its own limit.
    assert_eq!(send(&mut bench, transport, vec![increment(&counter, 1.0).unwrap()]), None);
    assert_eq!(send(&mut bench, transport, vec![set_text("root", "text", "x")]), None);
    let other = vec![operations("b", u64::MAX - 1, make("a"))];
    bench.send(transport, other);
    assert!(matches!(bench.frames(transport)[..], [ServerFrame::Ack(_)]));
    // A deleted object counts until it is collected.
    let (transport, _) = bench.connect(None);
    assert_eq!(send(&mut bench, transport, vec![delete(&counter)]), None);
    assert_eq!(send(&mut bench, transport, make("d")), Some(92001));
    bench.advance(Duration::from_secs(24 * 3600));
    let (transport, _) = bench.connect(None);
    assert_eq!(send(&mut bench, transport, make("d")), None);
    assert_eq!(value(bench.replica("a").pool())["d"], 1);
}

#[test]
fn a_channel_has_a_limit_of_bytes() {
    let mut bench = limited(usize::MAX, 4200);
    let (transport, _) = bench.connect(None);
    let text = "x".repeat(800);
    for key in ["a", "b", "c", "d"] {
        assert_eq!(send(&mut bench, transport, vec![set_text("root", key, &text)]), None, "{key}");
    }
    let before = value(bench.replica("a").pool());
    assert_eq!(send(&mut bench, transport, vec![set_text("root", "e", &text)]), Some(92001));
    let map = set("root", "e", LiveMap::new().with("k", text.as_str()), &mut ids()).unwrap();
    assert_eq!(send(&mut bench, transport, map), Some(92001));
    assert_eq!(value(bench.replica("a").pool()), before);
    // A key that was never set is remembered all the same.
    let remove_all: Vec<_> = (0..10).map(|key| remove("root", format!("absent{key}"))).collect();
    assert_eq!(send(&mut bench, transport, remove_all), Some(92001));
    // Removing makes room. The server notices it within 10 s.
    assert_eq!(send(&mut bench, transport, vec![remove("root", "a")]), None);
    bench.advance(Duration::from_secs(10));
    assert_eq!(send(&mut bench, transport, vec![set_text("root", "e", &text)]), None);
    // Values that replace each other count once.
    for number in 0..50 {
        let text = format!("{number}{}", &text[10..]);
        bench.advance(Duration::from_secs(10));
        assert_eq!(send(&mut bench, transport, vec![set_text("root", "e", &text)]), None);
    }
}
