//! The cost of applying operations and states, and the memory of a pool.
//!
//! The bars: 2,000,000 increments and 1,000,000 sets a second with 1,000 keys, a sync of 10,000 objects in 30 ms, 400 bytes
//! for an entry of a map in a tree of 100,000.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{collections::BTreeMap, fs, hint::black_box, time::Duration};

use capably_objects::{ObjectId, ObjectType, Objects, ObjectsPool, Source, SubscriptionId};
use capably_protocol::{
    ObjectMessage, Str,
    object::{
        CounterCreate, CounterInc, MapCreate, MapSet, ObjectData, ObjectOperation,
        ObjectOperationAction as Action, ObjectState, ObjectValue, ObjectsCounter, ObjectsMap,
        ObjectsMapEntry,
    },
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const KEYS: usize = 1000;

/// A serial as the service makes them: 45 bytes, so that a `Str` does not store it in place.
fn serial(at: usize) -> Str {
    format!("{:014}-000@e1da4NR6wBvHvS40131893:000", 1_700_000_000_000 + at).into()
}

fn id(object_type: ObjectType, at: usize) -> Str {
    Str::from(&ObjectId::generate(object_type, "{}", &at.to_string(), 1_700_000_000_000))
}

fn message(
    action: Action,
    id: Str,
    at: usize,
    fill: impl FnOnce(&mut ObjectOperation),
) -> ObjectMessage {
    let mut operation =
        ObjectOperation { action: Some(action), object_id: Some(id), ..Default::default() };
    fill(&mut operation);
    ObjectMessage {
        operation: Some(Box::new(operation)),
        serial: Some(serial(at)),
        site_code: Some("e1da4NR6".into()),
        ..ObjectMessage::default()
    }
}

fn text(at: usize) -> ObjectData {
    ObjectValue::String(format!("value {at}").into()).into()
}

fn entry(data: ObjectData, at: usize) -> ObjectsMapEntry {
    ObjectsMapEntry { data: Some(data), timeserial: Some(serial(at)), ..ObjectsMapEntry::default() }
}

fn state(id: Str, fill: impl FnOnce(&mut ObjectState)) -> ObjectMessage {
    let mut state = ObjectState {
        object_id: Some(id),
        site_timeserials: BTreeMap::from([("e1da4NR6".into(), serial(0))]),
        ..ObjectState::default()
    };
    fill(&mut state);
    ObjectMessage { object: Some(Box::new(state)), ..ObjectMessage::default() }
}

fn map_state(id: Str, entries: BTreeMap<Str, ObjectsMapEntry>) -> ObjectMessage {
    state(id.clone(), |state| {
        state.map = Some(ObjectsMap { entries, ..ObjectsMap::default() });
        state.create_op = Some(ObjectOperation {
            action: Some(Action::MapCreate),
            object_id: Some(id),
            map_create: Some(MapCreate::default()),
            ..ObjectOperation::default()
        });
    })
}

fn counter_state(id: Str) -> ObjectMessage {
    state(id.clone(), |state| {
        state.counter = Some(ObjectsCounter { count: Some(1.0) });
        state.create_op = Some(ObjectOperation {
            action: Some(Action::CounterCreate),
            object_id: Some(id),
            counter_create: Some(CounterCreate { count: Some(2.0) }),
            ..ObjectOperation::default()
        });
    })
}

/// A tree of so many objects below the root: maps with nine entries, and a counter as each tenth.
fn tree(objects: usize) -> Vec<ObjectMessage> {
    let (mut states, mut root) = (Vec::new(), BTreeMap::new());
    for at in 0..objects / 2 {
        let (map, counter) = (id(ObjectType::Map, at), id(ObjectType::Counter, at));
        root.insert(format!("item-{at}").into(), entry(ObjectData::reference(&map), at));
        let mut entries: BTreeMap<Str, ObjectsMapEntry> =
            (0..9).map(|key| (format!("field-{key}").into(), entry(text(key), at))).collect();
        entries.insert("votes".into(), entry(ObjectData::reference(&counter), at));
        states.push(map_state(map, entries));
        states.push(counter_state(counter));
    }
    states.push(map_state("root".into(), root));
    states
}

fn operations(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(KEYS as u64)).measurement_time(Duration::from_secs(3));
    let root = (0..KEYS).map(|at| {
        (format!("key-{at}").into(), entry(ObjectData::reference(id(ObjectType::Counter, at)), at))
    });
    let counters = (0..KEYS).map(|at| counter_state(id(ObjectType::Counter, at)));
    let states: Vec<_> = counters.chain([map_state("root".into(), root.collect())]).collect();
    let increments: Vec<_> = (0..KEYS).map(|at| id(ObjectType::Counter, at)).collect();

    // Serials must grow, so that messages are made anew for each round; only applying is measured.
    let mut round = 0;
    let mut inc = || -> Vec<ObjectMessage> {
        round += KEYS;
        let inc = CounterInc { number: Some(1.0) };
        let one = |(at, id): (usize, &Str)| {
            message(Action::CounterInc, id.clone(), round + at, |op| op.counter_inc = Some(inc))
        };
        increments.iter().enumerate().map(one).collect()
    };
    let mut pool = ObjectsPool::from_states(states.iter().cloned(), 0);
    group.bench_function("increments", |b| {
        b.iter_batched_ref(
            &mut inc,
            |messages| {
                for message in messages {
                    black_box(pool.apply(message, Source::Channel, 0)).unwrap();
                }
            },
            BatchSize::LargeInput,
        );
    });
    let mut objects = Objects::new("bench");
    let mut out = Vec::new();
    objects.sync_frame(None, states.iter().cloned(), 0, &mut out);
    objects.subscribe_path(SubscriptionId(1), "key-7".parse().unwrap(), None).unwrap();
    group.bench_function("increments, by a client with a subscription", |b| {
        b.iter_batched(
            &mut inc,
            |messages| {
                out.clear();
                objects.object_frame(messages, 0, &mut out);
            },
            BatchSize::LargeInput,
        );
    });
    let mut round = 0;
    let mut set = || -> Vec<ObjectMessage> {
        round += KEYS;
        (0..KEYS)
            .map(|at| {
                message(Action::MapSet, "root".into(), round + at, |op| {
                    op.map_set = Some(MapSet { key: format!("key-{at}").into(), value: text(at) });
                })
            })
            .collect()
    };
    let mut pool = ObjectsPool::new();
    group.bench_function("sets", |b| {
        b.iter_batched_ref(
            &mut set,
            |messages| {
                for message in messages {
                    black_box(pool.apply(message, Source::Channel, 0)).unwrap();
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn sync(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync of 10,000 objects");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    let states = tree(10_000);
    let mut out = Vec::new();
    group.bench_function("into an empty pool", |b| {
        b.iter_batched(
            || (Objects::new("bench"), states.clone()),
            |(mut objects, states)| {
                objects.sync_frame(Some("s:"), states, 0, &mut out);
                objects
            },
            BatchSize::PerIteration,
        );
    });
    let mut objects = Objects::new("bench");
    objects.sync_frame(Some("s:"), states.clone(), 0, &mut out);
    group.bench_function("over the same objects", |b| {
        b.iter_batched(
            || states.clone(),
            |states| {
                objects.sync_frame(Some("s:"), states, 0, &mut out);
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("states out", |b| b.iter(|| objects.pool().states().count()));
    group.bench_function("compact", |b| {
        b.iter(|| objects.pool().resolve(&"".parse().unwrap()).map(|root| root.compact()))
    });
    group.finish();
}

/// The resident memory of this process, in bytes; none if the system does not tell.
fn resident() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<usize>().ok().map(|pages| pages * 4096)
}

/// Prints the memory of pools, made from messages that are dropped one by one. No frame is pinned.
fn memory(_: &mut Criterion) {
    let flat = (0..100_000).map(|at| {
        message(Action::MapSet, "root".into(), at, |op| {
            op.map_set = Some(MapSet { key: format!("key-{at}").into(), value: text(at) });
        })
    });
    measure("a map of 100,000 entries", 100_000, flat);
    let fields = (0..10_000).flat_map(|at| {
        let map = id(ObjectType::Map, at);
        let refer = message(Action::MapSet, "root".into(), at * 10, |op| {
            op.map_set = Some(MapSet {
                key: format!("item-{at}").into(),
                value: ObjectData::reference(&map),
            });
        });
        let set = move |key: usize| {
            message(Action::MapSet, map.clone(), at * 10 + key, |op| {
                op.map_set = Some(MapSet { key: format!("field-{key}").into(), value: text(key) });
            })
        };
        std::iter::once(refer).chain((1..10).map(set))
    });
    measure("10,000 maps of 9 entries, each in an entry", 100_000, fields);
    let counters = (0..100_000).flat_map(|at| {
        let counter = id(ObjectType::Counter, at);
        let refer = message(Action::MapSet, "root".into(), at, |op| {
            op.map_set = Some(MapSet {
                key: format!("key-{at}").into(),
                value: ObjectData::reference(&counter),
            });
        });
        [
            refer,
            message(Action::CounterInc, counter, at, |op| {
                op.counter_inc = Some(CounterInc { number: Some(1.0) })
            }),
        ]
    });
    measure("100,000 counters, each in an entry", 100_000, counters);
}

fn measure(what: &str, entries: usize, messages: impl Iterator<Item = ObjectMessage>) {
    let Some(before) = resident() else { return };
    let mut pool = ObjectsPool::new();
    for message in messages {
        pool.apply(&message, Source::Channel, 0).unwrap();
    }
    let after = resident().unwrap_or_default();
    println!("memory: {what}: {} bytes an entry", after.saturating_sub(before) / entries);
    // The memory of this pool must not be used again for the next.
    std::mem::forget(pool);
}

criterion_group!(benches, memory, operations, sync);
criterion_main!(benches);
