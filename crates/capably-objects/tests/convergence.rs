//! Replicas agree: operations of several sites are delivered in different orders, with duplicates, clears, deletions and
//! syncs in between. A reference model of a few dozen lines knows the outcome.

use std::collections::{BTreeMap, BTreeSet};

use capably_objects::{Objects, ObjectsPool, PublishId, Source, ValueRef};
use capably_protocol::{
    ObjectMessage, Str,
    object::{
        CounterCreate, CounterInc, MapClear, MapCreate, MapRemove, MapSet, ObjectData,
        ObjectDelete, ObjectOperation, ObjectOperationAction as Action, ObjectValue,
        ObjectsMapEntry,
    },
};
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;
const SITES: [&str; 3] = ["a", "b", "c"];
const MAPS: [&str; 3] = ["root", "map:one@1", "map:two@1"];
const COUNTERS: [&str; 2] = ["counter:one@1", "counter:two@1"];
const KEYS: [&str; 4] = ["w", "x", "y", "z"];

/// An operation before it has a serial. Numbers are taken from the lists above.
#[derive(Clone, Debug)]
enum Step {
    Set(usize, usize, u8),
    Refer(usize, usize, usize),
    Remove(usize, usize),
    Clear(usize),
    CreateMap(usize, usize, u8),
    CreateCounter(usize, i8),
    Inc(usize, i8),
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (map, key, counter) = (0..MAPS.len(), 0..KEYS.len(), 0..COUNTERS.len());
    prop_oneof![
        6 => (map.clone(), key.clone(), any::<u8>()).prop_map(|(m, k, v)| Step::Set(m, k, v)),
        3 => (map.clone(), key.clone(), 0..5_usize).prop_map(|(m, k, o)| Step::Refer(m, k, o)),
        3 => (map.clone(), key.clone()).prop_map(|(m, k)| Step::Remove(m, k)),
        1 => map.clone().prop_map(Step::Clear),
        1 => (map, key, any::<u8>()).prop_map(|(m, k, v)| Step::CreateMap(m, k, v)),
        1 => (counter.clone(), any::<i8>()).prop_map(|(c, v)| Step::CreateCounter(c, v)),
        6 => (counter, any::<i8>()).prop_map(|(c, v)| Step::Inc(c, v)),
        1 => (0..5_usize).prop_map(Step::Delete),
    ]
}

/// The object with this number: a map or a counter.
fn object(at: usize) -> &'static str {
    MAPS.iter().chain(&COUNTERS).nth(at).expect("a number of an object")
}

fn number(value: u8) -> ObjectData {
    ObjectValue::Number(value.into()).into()
}

/// The message of a step, as the service sends it.
fn message(step: &Step, site: &str, serial: &str) -> ObjectMessage {
    let mut op = ObjectOperation::default();
    let (action, id) = match *step {
        Step::Set(map, key, value) => {
            op.map_set = Some(MapSet { key: KEYS[key].into(), value: number(value) });
            (Action::MapSet, MAPS[map])
        }
        Step::Refer(map, key, to) => {
            let value = ObjectData::reference(object(to));
            op.map_set = Some(MapSet { key: KEYS[key].into(), value });
            (Action::MapSet, MAPS[map])
        }
        Step::Remove(map, key) => {
            op.map_remove = Some(MapRemove { key: KEYS[key].into() });
            (Action::MapRemove, MAPS[map])
        }
        Step::Clear(map) => {
            op.map_clear = Some(MapClear {});
            (Action::MapClear, MAPS[map])
        }
        Step::CreateMap(map, key, value) => {
            // An entry of a client has no serial; services may add that of the operation.
            let entry = ObjectsMapEntry {
                data: Some(number(value)),
                timeserial: (value % 2 == 1).then(|| serial.into()),
                ..ObjectsMapEntry::default()
            };
            let entries = BTreeMap::from([(KEYS[key].into(), entry)]);
            op.map_create = Some(MapCreate { entries, ..MapCreate::default() });
            (Action::MapCreate, MAPS[map])
        }
        Step::CreateCounter(counter, count) => {
            op.counter_create = Some(CounterCreate { count: Some(count.into()) });
            (Action::CounterCreate, COUNTERS[counter])
        }
        Step::Inc(counter, number) => {
            op.counter_inc = Some(CounterInc { number: Some(number.into()) });
            (Action::CounterInc, COUNTERS[counter])
        }
        Step::Delete(at) => {
            op.object_delete = Some(ObjectDelete {});
            (Action::ObjectDelete, object(at))
        }
    };
    op.action = Some(action);
    op.object_id = Some(id.into());
    ObjectMessage {
        operation: Some(Box::new(op)),
        serial: Some(serial.into()),
        site_code: Some(site.into()),
        serial_timestamp: Some(NOW),
        ..ObjectMessage::default()
    }
}

/// The values that an application can read: those of maps that are not deleted, by map and key, and of counters.
type Seen = (BTreeMap<(String, String), String>, BTreeMap<String, f64>);

/// The outcome of operations, from first principles: it looks at all of them at once.
fn model(steps: &[(Step, String)]) -> Seen {
    let deleted: BTreeSet<&str> = (steps.iter())
        .filter_map(|(step, _)| match step {
            Step::Delete(at) if *at != 0 => Some(object(*at)),
            _ => None,
        })
        .collect();
    let (mut last, mut cleared) = (BTreeMap::new(), BTreeMap::new());
    let mut counters: BTreeMap<String, f64> = BTreeMap::new();
    for (step, serial) in steps {
        let mut serial = serial.as_str();
        let written = match *step {
            Step::Set(map, key, value) => Some((map, key, Some(value.to_string()))),
            Step::CreateMap(map, key, value) => {
                serial = if value % 2 == 1 { serial } else { "" };
                Some((map, key, Some(value.to_string())))
            }
            Step::Refer(map, key, to) => Some((map, key, Some(object(to).to_owned()))),
            Step::Remove(map, key) => Some((map, key, None)),
            Step::Clear(map) => {
                let newest = cleared.entry(map).or_insert(serial);
                *newest = (*newest).max(serial);
                None
            }
            Step::CreateCounter(counter, number) | Step::Inc(counter, number) => {
                *counters.entry(COUNTERS[counter].into()).or_default() += f64::from(number);
                None
            }
            Step::Delete(_) => None,
        };
        if let Some((map, key, value)) = written {
            let newest = last.entry((map, key)).or_insert_with(|| (serial, value.clone()));
            if serial >= newest.0 {
                *newest = (serial, value);
            }
        }
    }
    let live = |value: &String| !deleted.contains(value.as_str());
    let maps = last.into_iter().filter_map(|((map, key), (serial, value))| {
        let hidden = cleared.get(&map).is_some_and(|cleared| serial <= *cleared);
        let value = value.filter(|value| !hidden && live(value))?;
        (!deleted.contains(MAPS[map])).then(|| ((MAPS[map].into(), KEYS[key].into()), value))
    });
    let maps = maps.collect();
    counters.retain(|id, _| !deleted.contains(id.as_str()));
    (maps, counters)
}

/// The values that an application can read from a pool.
fn seen(pool: &ObjectsPool) -> Seen {
    let mut maps = BTreeMap::new();
    for id in MAPS {
        let Some(map) = pool.object(id).and_then(|object| object.as_map()) else { continue };
        for (key, value) in map.entries() {
            let text = match value {
                Some(ValueRef::Number(number)) => number.to_string(),
                Some(value) => value.object_id().expect("an object").to_string(),
                None => panic!("{id} {key} has no value"),
            };
            maps.insert((id.to_owned(), key.to_string()), text);
        }
    }
    let counter = |id: &&str| {
        let counter = pool.object(id)?.as_counter()?;
        // A counter without operations is 0 as one that does not exist, and a deleted one is gone.
        let live = pool.tombstoned_at(id).is_none();
        (live && counter.value() != 0.0).then(|| ((*id).to_owned(), counter.value()))
    };
    (maps, COUNTERS.iter().filter_map(counter).collect())
}

/// The steps of a run with serials and sites. A site's serials grow. An object is created once, as its id is the hash of
/// its content.
fn with_serials(steps: Vec<(usize, Step)>) -> Vec<(usize, Step, String)> {
    let mut created = BTreeSet::new();
    let mut list = Vec::new();
    for (at, (site, step)) in steps.into_iter().enumerate() {
        let id = match step {
            Step::CreateMap(map, ..) => Some(MAPS[map]),
            Step::CreateCounter(counter, _) => Some(COUNTERS[counter]),
            _ => None,
        };
        if id.is_none_or(|id| created.insert(id)) {
            // The sites' clocks differ, so that the order of serials is not that of the steps.
            let serial = format!("{:04}@{}", at + 10 * site, SITES[site]);
            list.push((site, step, serial));
        }
    }
    list
}

/// An order of delivery that keeps the order of each site: which site is next.
fn interleave(list: &[(usize, Step, String)], choices: &[usize]) -> Vec<usize> {
    let mut queues: Vec<Vec<usize>> = vec![Vec::new(); SITES.len()];
    for (at, (site, ..)) in list.iter().enumerate().rev() {
        queues[*site].push(at);
    }
    let mut order = Vec::new();
    for choice in choices.iter().cycle().take(list.len() * SITES.len() + SITES.len()) {
        order.extend(queues[choice % SITES.len()].pop());
    }
    queues.into_iter().for_each(|queue| order.extend(queue.into_iter().rev()));
    order
}

fn nonzero(mut seen: Seen) -> Seen {
    seen.1.retain(|_, value| *value != 0.0);
    seen
}

proptest! {
    #[test]
    fn replicas_and_the_model_agree(
        steps in prop::collection::vec((0..SITES.len(), step()), 1..60),
        choices in prop::collection::vec(0..SITES.len(), 1..40),
        sync_at in 0..60_usize,
        own in 0..SITES.len(),
    ) {
        let list = with_serials(steps);
        let messages: Vec<ObjectMessage> =
            list.iter().map(|(site, step, serial)| message(step, SITES[*site], serial)).collect();
        let steps: Vec<_> = list.iter().map(|(_, step, serial)| (step.clone(), serial.clone())).collect();
        let expected = nonzero(model(&steps));

        // The service applies the operations in the order of the list.
        let mut service = ObjectsPool::new();
        let mut snapshot = (0, ObjectsPool::new());
        for (at, message) in messages.iter().enumerate() {
            let _ = service.apply(message, Source::Channel, NOW);
            if at + 1 == sync_at.min(messages.len()) {
                snapshot = (at + 1, service.clone());
            }
        }
        prop_assert_eq!(seen(&service), expected.clone());
        // Its snapshot makes the same pool.
        prop_assert_eq!(seen(&ObjectsPool::from_states(service.states(), NOW)), expected.clone());

        // A pool gets each operation twice, in another order.
        let order = interleave(&list, &choices);
        let mut pool = ObjectsPool::new();
        for at in &order {
            for _ in 0..2 {
                let _ = pool.apply(&messages[*at], Source::Channel, NOW);
            }
        }
        prop_assert_eq!(seen(&pool), expected.clone());

        // A client applies operations of its own site on their ACK. In the middle it is attached again: the pages of a
        // snapshot arrive between operations that it includes and those that it does not.
        let mut client = Objects::new("test");
        let mut events = Vec::new();
        client.attached(false, NOW, &mut events);
        let middle = choices.len() % order.len();
        // The ACK of an operation arrives some operations before its echo.
        let ahead = choices[0] * 2;
        let mut acked = 0;
        for (count, at) in order.iter().enumerate() {
            while acked < order.len().min(count + ahead + 1) {
                let (site, _, serial) = &list[order[acked]];
                if *site == own {
                    let sent = ObjectMessage { serial: None, site_code: None, ..messages[order[acked]].clone() };
                    let (serials, site) = ([Some(Str::from(serial))], Str::from(SITES[own]));
                    client.acknowledged(PublishId(0), vec![sent], &serials, Some(&site), NOW, &mut events);
                }
                acked += 1;
            }
            if count == middle {
                client.attached(true, NOW, &mut events);
                // The service sends what is not in the snapshot.
                let (first, rest): (Vec<_>, Vec<_>) = snapshot.1.states().enumerate().partition(|(at, _)| at % 2 == 0);
                let page = |states: Vec<(usize, ObjectMessage)>| states.into_iter().map(|(_, state)| state);
                client.sync_frame(Some("s:1"), page(first), NOW, &mut events);
                client.object_frame(messages.iter().skip(snapshot.0).cloned(), NOW, &mut events);
                client.sync_frame(Some("s:"), page(rest), NOW, &mut events);
            }
            client.object_frame([messages[*at].clone()], NOW, &mut events);
        }
        prop_assert_eq!(seen(client.pool()), expected);
    }
}
