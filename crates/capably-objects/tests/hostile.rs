//! Input that no honest service sends: very deep trees, cycles, syncs that break off, serials that are missing or of the
//! future, ids that do not hash. Nothing panics, nothing takes for ever, and replicas still agree.

use std::collections::BTreeMap;

use capably_objects::{
    Ignored, Objects, ObjectsEvent, ObjectsPool, Path, PublishId, Source, SubscriptionId,
    SyncState, check_received, increment,
};
use capably_protocol::{
    ObjectMessage, Str,
    object::{
        CounterCreate, CounterCreateWithObjectId, CounterInc, MapClear, MapSet, ObjectData,
        ObjectDelete, ObjectOperation, ObjectOperationAction as Action, ObjectState, ObjectValue,
        ObjectsCounter, ObjectsMap, ObjectsMapEntry,
    },
};

const NOW: i64 = 1_700_000_000_000;
const DEPTH: usize = 1_000;
const SUBSCRIPTION: SubscriptionId = SubscriptionId(1);

fn operation(
    action: Action,
    id: &str,
    site: &str,
    serial: &str,
    fill: impl FnOnce(&mut ObjectOperation),
) -> ObjectMessage {
    let mut operation = ObjectOperation {
        action: Some(action),
        object_id: Some(id.into()),
        ..ObjectOperation::default()
    };
    fill(&mut operation);
    ObjectMessage {
        operation: Some(Box::new(operation)),
        serial: Some(serial.into()),
        site_code: Some(site.into()),
        ..ObjectMessage::default()
    }
}

fn set(map: &str, key: &str, value: ObjectData, site: &str, serial: &str) -> ObjectMessage {
    operation(Action::MapSet, map, site, serial, |operation| {
        operation.map_set = Some(MapSet { key: key.into(), value });
    })
}

fn clear(map: &str, serial: &str) -> ObjectMessage {
    operation(Action::MapClear, map, "clears", serial, |operation| {
        operation.map_clear = Some(MapClear {});
    })
}

fn delete(id: &str, serial: &str) -> ObjectMessage {
    operation(Action::ObjectDelete, id, "deletes", serial, |operation| {
        operation.object_delete = Some(ObjectDelete {});
    })
}

fn inc(id: &str, site: &str, serial: &str) -> ObjectMessage {
    operation(Action::CounterInc, id, site, serial, |operation| {
        operation.counter_inc = Some(CounterInc { number: Some(1.0) });
    })
}

fn number(value: f64) -> ObjectData {
    ObjectValue::Number(value).into()
}

fn map_state(id: &str, entries: &[(&str, ObjectData)]) -> ObjectMessage {
    let entry = |data: &ObjectData| ObjectsMapEntry {
        data: Some(data.clone()),
        timeserial: Some("0".into()),
        ..ObjectsMapEntry::default()
    };
    let entries = entries.iter().map(|(key, data)| ((*key).into(), entry(data))).collect();
    let state = ObjectState {
        object_id: Some(id.into()),
        map: Some(ObjectsMap { entries, ..ObjectsMap::default() }),
        ..ObjectState::default()
    };
    ObjectMessage { object: Some(Box::new(state)), ..ObjectMessage::default() }
}

/// A client in sync with an empty tree, with a subscription to all of it.
fn client() -> Objects {
    let mut objects = Objects::new("test");
    objects.attached(false, NOW, &mut Vec::new());
    objects.subscribe_path(SUBSCRIPTION, Path::root(), None).expect("a depth");
    objects
}

/// The lengths of the paths that a message reports.
fn reported(objects: &mut Objects, message: ObjectMessage) -> Vec<usize> {
    let mut events = Vec::new();
    objects.object_frame([message], NOW, &mut events);
    let paths = events.into_iter().map(|event| match event {
        ObjectsEvent::PathChanged { path, .. } => path.len(),
        other => panic!("not a path: {other:?}"),
    });
    paths.collect()
}

/// The states of all objects, as text and in order.
fn states(pool: &ObjectsPool) -> Vec<String> {
    let mut states: Vec<_> = pool.states().map(|state| format!("{state:?}")).collect();
    states.sort();
    states
}

/// A chain of maps below the root, each in the one before it at the key `k`.
fn chain(depth: usize) -> Vec<String> {
    (0..depth).map(|level| format!("map:{level}@1")).collect()
}

/// The operations that make the chain.
fn chained(maps: &[String]) -> Vec<ObjectMessage> {
    let parents = std::iter::once("root").chain(maps.iter().map(String::as_str));
    let links = parents.zip(maps).enumerate();
    links
        .map(|(at, (map, child))| {
            set(map, "k", ObjectData::reference(child.as_str()), "s", &format!("{at:06}"))
        })
        .collect()
}

#[test]
fn a_tree_a_thousand_deep_is_an_ordinary_one() {
    let maps = chain(DEPTH);
    let mut objects = client();
    objects.object_frame(chained(&maps), NOW, &mut Vec::new());
    let deepest = Path::from_iter(maps.iter().map(|_| "k"));
    let last = &maps[DEPTH - 1];
    assert_eq!(objects.pool().paths(last), std::slice::from_ref(&deepest));
    assert!(objects.pool().resolve(&deepest).is_some());
    // A change at the bottom reaches the subscribers of every level above, to their depth.
    let subscribers = [(1, None), (500, Some(501)), (500, Some(500)), (DEPTH, Some(1))];
    for (serial, (at, levels)) in subscribers.into_iter().enumerate() {
        let path = deepest.keys()[..at].iter().cloned().collect();
        let id = SubscriptionId(10 + at as u64);
        objects.subscribe_path(id, path, levels).expect("a depth");
        let change = set(last, "n", number(1.0), "s", &format!("1{serial}"));
        let mut events = Vec::new();
        objects.object_frame([change], NOW, &mut events);
        assert_eq!(events.len(), if levels == Some(500) { 1 } else { 2 }, "{at} {levels:?}");
        objects.unsubscribe(id);
    }
    assert_eq!(reported(&mut objects, set(last, "n", number(2.0), "s", "2")), [DEPTH]);
    // Read whole, and stored.
    let whole = objects.pool().resolve(&Path::root()).expect("the root").compact();
    let (mut value, mut levels) = (whole.clone(), 0);
    while let Some(below) = value.get("k") {
        (value, levels) = (below, levels + 1);
    }
    assert_eq!((levels, value.get("n").is_some()), (DEPTH, true));
    assert_eq!(format!("{whole:?}"), format!("{:?}", whole.to_json()));
    let again = ObjectsPool::from_states(objects.pool().states(), NOW);
    assert_eq!(states(&again), states(objects.pool()));
    drop((whole, value, again));
    // Cut in the middle: what is below is no longer in the tree.
    assert_eq!(reported(&mut objects, clear(&maps[DEPTH / 2], "9")), [DEPTH / 2 + 1]);
    assert!(reported(&mut objects, set(last, "n", number(3.0), "s", "3")).is_empty());
    assert_eq!(reported(&mut objects, delete(&maps[0], "9")), [1]);
    objects.collect(i64::MAX, 0);
    objects.attached(false, NOW, &mut Vec::new());
    assert_eq!(objects.pool().len(), 1);
}

#[test]
fn a_cycle_of_maps_is_walked_once() {
    let maps = chain(DEPTH);
    let last = maps[DEPTH - 1].as_str();
    let mut objects = client();
    objects.object_frame(chained(&maps), NOW, &mut Vec::new());
    // The ring closes below the root, at the root, and at the last map itself.
    for (key, to) in [("k", maps[0].as_str()), ("root", "root"), ("self", last)] {
        let close = set(last, key, ObjectData::reference(to), "s", &format!("1{key}"));
        assert_eq!(reported(&mut objects, close), [DEPTH]);
    }
    assert_eq!(objects.pool().paths(&maps[0]).len(), 1);
    assert_eq!(objects.pool().paths("root"), [Path::root()]);
    let around = Path::from_iter((0..3 * DEPTH + 1).map(|_| "k"));
    assert_eq!(
        objects.pool().resolve(&around).and_then(|map| map.object_id()),
        Some(&maps[0].as_str().into())
    );
    let root = objects.pool().resolve(&Path::root()).expect("the root");
    let whole = root.compact();
    assert!(whole.get("k").is_some_and(|first| first.object_id().is_some_and(|id| *id == maps[0])));
    assert!(root.compact_json().to_string().contains(r#""self":{"objectId""#));
    let again = ObjectsPool::from_states(objects.pool().states(), NOW);
    assert_eq!(states(&again), states(objects.pool()));
    // The ring goes, whoever ends it.
    let mut other = Objects::new("test");
    other.sync_frame(None, objects.pool().states(), NOW, &mut Vec::new());
    objects.object_frame([delete(&maps[0], "9")], NOW, &mut Vec::new());
    other.object_frame([delete(&maps[0], "9")], NOW, &mut Vec::new());
    assert_eq!(states(other.pool()), states(objects.pool()));
    assert!(objects.pool().paths(last).is_empty());
    objects.sync_frame(None, [map_state("root", &[])], NOW, &mut Vec::new());
    assert_eq!(objects.pool().len(), 1);
}

#[test]
fn a_sync_that_breaks_off_leaves_nothing_behind() {
    let (score, part) = ("counter:score@1", "counter:part@1");
    let counter = |id: &str, count| {
        let state = ObjectState {
            object_id: Some(id.into()),
            counter: Some(ObjectsCounter { count: Some(count) }),
            ..ObjectState::default()
        };
        ObjectMessage { object: Some(Box::new(state)), ..ObjectMessage::default() }
    };
    let root = || map_state("root", &[("score", ObjectData::reference(score))]);
    let mut reference = Objects::new("test");
    reference.sync_frame(Some("whole:"), [root(), counter(score, 5.0)], NOW, &mut Vec::new());

    for has_objects in [true, false] {
        let mut objects = client();
        let mut events = Vec::new();
        objects.attached(true, NOW, &mut events);
        objects.sync_frame(Some("first:more"), [root(), counter(part, 1.0)], NOW, &mut events);
        objects.object_frame([inc(score, "s", "1")], NOW, &mut events);
        let own = vec![increment(score, 1.0).expect("a number")];
        let (serials, site) = ([Some(Str::from("2"))], Str::from("own"));
        objects.acknowledged(PublishId(7), own, &serials, Some(&site), NOW, &mut events);
        events.clear();
        // The connection is gone. The publish that waits is not applied, and says so.
        objects.channel_left("suspended", None, &mut events);
        assert!(
            matches!(&events[..], [ObjectsEvent::NotApplied(PublishId(7), error)] if error.code.0 == 92008)
        );
        assert_eq!(objects.state(), SyncState::Syncing);
        assert!(objects.pool().root().is_empty(), "no part of a sync is visible");
        events.clear();
        objects.attached(has_objects, NOW, &mut events);
        if !has_objects {
            assert_eq!((objects.state(), objects.pool().len()), (SyncState::Synced, 1));
            continue;
        }
        objects.sync_frame(Some("second:1"), [root()], NOW, &mut events);
        objects.sync_frame(Some("second:"), [counter(score, 5.0)], NOW, &mut events);
        assert_eq!(objects.state(), SyncState::Synced);
        assert_eq!(states(objects.pool()), states(reference.pool()));
    }
}

/// Applies operations in this order and in the opposite one. The site of each is another, so that any order is allowed.
fn in_both_orders(messages: &[ObjectMessage]) -> ObjectsPool {
    let apply = |messages: Vec<&ObjectMessage>| {
        let mut pool = ObjectsPool::new();
        for message in messages {
            let _ = pool.apply(message, Source::Channel, NOW);
        }
        pool
    };
    let (pool, other) = (apply(messages.iter().collect()), apply(messages.iter().rev().collect()));
    assert_eq!(states(&pool), states(&other));
    pool
}

#[test]
fn serials_that_are_missing_or_of_the_future_mean_the_same_to_all() {
    // A serial of the future wins over all that comes later, and a clear of the future over all keys.
    let pool = in_both_orders(&[
        set("root", "k", number(1.0), "a", "zzzz"),
        set("root", "k", number(2.0), "b", "01"),
        set("root", "other", number(3.0), "c", "02"),
        inc("counter:c@1", "d", "zzzz"),
        inc("counter:c@1", "e", "01"),
    ]);
    let json = pool.resolve(&Path::root()).expect("the root").compact_json();
    assert_eq!(json, serde_json::json!({ "k": 1, "other": 3 }));
    let pool = in_both_orders(&[
        clear("root", "zzzz"),
        set("root", "k", number(2.0), "b", "01"),
        set("root", "k", number(2.0), "c", "zzzy"),
        set("root", "later", number(2.0), "d", "zzzzz"),
    ]);
    assert_eq!(pool.root().keys().map(Str::as_str).collect::<Vec<_>>(), ["later"]);
    // Without a serial or a site an operation is refused, and makes no difference.
    let mut pool = ObjectsPool::new();
    for (site, serial) in [("", "01"), ("a", ""), ("", "")] {
        let refused =
            pool.apply(&set("root", "k", number(1.0), site, serial), Source::Channel, NOW);
        assert_eq!(refused, Err(Ignored::InvalidSerial));
        let refused = pool.apply(&delete("root", serial), Source::Channel, NOW);
        assert!(refused == Err(Ignored::InvalidSerial) || refused == Ok(None));
    }
    assert!(pool.root().is_empty());
    // An entry of a state without a serial gives way to any operation.
    let mut state = map_state("root", &[("k", number(1.0))]);
    let entries = state.object.as_mut().and_then(|state| state.map.as_mut());
    entries.expect("a map").entries.values_mut().for_each(|entry| entry.timeserial = None);
    let mut pool = ObjectsPool::from_states([state], NOW);
    assert!(
        pool.apply(&set("root", "k", number(2.0), "a", "0"), Source::Channel, NOW)
            .is_ok_and(|update| update.is_some())
    );
    // Deletions of the far past and future neither overflow nor last for ever.
    for time in [i64::MIN, i64::MAX, 0] {
        let mut pool = ObjectsPool::new();
        let dated = ObjectMessage { serial_timestamp: Some(time), ..delete("map:a@1", "1") };
        pool.apply(&dated, Source::Channel, NOW).expect("applied");
        pool.collect(i64::MAX, i64::MAX);
        pool.collect(i64::MIN, i64::MAX);
        pool.collect(i64::MAX, 0);
        assert_eq!(pool.len(), 1, "{time}");
    }
}

#[test]
fn ids_that_do_not_hash_are_refused_by_a_server_and_opaque_to_a_client() {
    let create = |id: &str, nonce: &str| {
        operation(Action::CounterCreate, id, "a", "01", |operation| {
            operation.counter_create_with_object_id = Some(CounterCreateWithObjectId {
                initial_value: r#"{"count":1}"#.into(),
                nonce: nonce.into(),
                source: Some(CounterCreate { count: Some(1.0) }),
            });
        })
    };
    let good = capably_objects::ObjectId::generate(
        capably_objects::ObjectType::Counter,
        r#"{"count":1}"#,
        "nonce",
        NOW,
    )
    .to_string();
    let long = format!("counter:{}@1", "A".repeat(1_000_000));
    let check = |id: &str, nonce: &str| {
        let operation = create(id, nonce).operation.expect("an operation");
        check_received(*operation).map_err(|error| error.code.0).map(drop)
    };
    assert_eq!(check(&good, "nonce"), Ok(()));
    let bad = [
        "counter:",
        "counter:@",
        "counter:@1",
        "counter:%00@1",
        "counter:AAAA@1",
        "counter:é@1",
        &*long,
    ];
    for id in bad {
        assert_eq!(check(id, "nonce"), Err(92000), "{}", &id[..10.min(id.len())]);
    }
    assert_eq!(check(&good, "another"), Err(92000));
    // The service has decided: for a client only the type counts.
    let mut messages = Vec::new();
    for id in bad {
        messages.push(create(id, "nonce"));
        messages.push(set("root", id, ObjectData::reference(id), id, "02"));
    }
    messages.push(set("root", "unknown", ObjectData::reference("list:x@1"), "x", "02"));
    let pool = in_both_orders(&messages);
    let json = pool.resolve(&Path::root()).expect("the root").compact_json();
    let expected: BTreeMap<&str, f64> = bad.into_iter().map(|id| (id, 1.0)).collect();
    assert_eq!(json.as_object().map(serde_json::Map::len), Some(expected.len()));
    assert!(expected.keys().all(|id| json[*id] == 1), "each counter has its count");
}
