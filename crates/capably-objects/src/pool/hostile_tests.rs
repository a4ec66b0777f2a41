//! No message breaks a pool, whatever is in it.

use std::collections::BTreeMap;

use capably_protocol::{
    ObjectMessage,
    object::{
        CounterCreate, CounterInc, MapClear, MapCreate, MapRemove, MapSet, ObjectOperation,
        ObjectOperationAction as Action, ObjectState, ObjectValue, ObjectsCounter, ObjectsMap,
        ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use proptest::{option, prelude::*};

use super::*;
use crate::{Objects, Path, PublishId, Source, SubscriptionId};

/// Ids of objects, some of them senseless.
const IDS: [&str; 9] =
    ["root", "map:a@1", "map:b@1", "map:c@1", "counter:a@1", "counter:b@1", "list:x@1", "map:", ""];

fn text() -> BoxedStrategy<Str> {
    prop_oneof!["[a-c.]{0,2}", Just("\u{0}".to_owned()), "[xy]{40}"].prop_map(Str::from).boxed()
}

fn id() -> BoxedStrategy<Str> {
    (0..IDS.len()).prop_map(|at| IDS[at].into()).boxed()
}

fn any_number() -> BoxedStrategy<f64> {
    prop_oneof![any::<f64>(), Just(f64::MAX), Just(f64::NAN), Just(f64::NEG_INFINITY), Just(1.0)]
        .boxed()
}

fn data() -> BoxedStrategy<ObjectData> {
    let value = prop_oneof![
        any::<bool>().prop_map(ObjectValue::Boolean),
        any_number().prop_map(ObjectValue::Number),
        text().prop_map(ObjectValue::String),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(|bytes| ObjectValue::Bytes(bytes.into())),
        Just(ObjectValue::Json(serde_json::json!({ "a": [null] }))),
        Just(ObjectValue::Json(serde_json::Value::Null)),
    ];
    let reference = id().prop_map(ObjectData::reference);
    let any = (option::of(id()), option::of(value), option::of(text()))
        .prop_map(|(object_id, value, encoding)| ObjectData { object_id, value, encoding });
    prop_oneof![3 => reference, 2 => any].boxed()
}

fn entries() -> BoxedStrategy<BTreeMap<Str, ObjectsMapEntry>> {
    let entry = (
        option::of(any::<bool>()),
        option::of(text()),
        option::of(any::<i64>()),
        option::of(data()),
    );
    let entry = entry.prop_map(|(tombstone, timeserial, serial_timestamp, data)| ObjectsMapEntry {
        tombstone,
        timeserial,
        serial_timestamp,
        data,
    });
    prop::collection::btree_map(text(), entry, 0..4).boxed()
}

fn map_create() -> BoxedStrategy<MapCreate> {
    let semantics = option::of((0..3_u32).prop_map(ObjectsMapSemantics::from_number));
    (semantics, entries()).prop_map(|(semantics, entries)| MapCreate { semantics, entries }).boxed()
}

/// An operation with the payload of its action, of another one, or none.
fn any_operation() -> BoxedStrategy<ObjectOperation> {
    let action = option::weighted(0.95, (0..9_u32).prop_map(Action::from_number));
    let maps = (
        option::of(map_create()),
        option::weighted(0.8, (text(), data()).prop_map(|(key, value)| MapSet { key, value })),
        option::weighted(0.8, text().prop_map(|key| MapRemove { key })),
    );
    let counters = (
        option::of(option::of(any_number()).prop_map(|count| CounterCreate { count })),
        option::of(option::of(any_number()).prop_map(|number| CounterInc { number })),
    );
    let fields = (action, option::weighted(0.95, id()), maps, counters);
    fields
        .prop_map(
            |(
                action,
                object_id,
                (map_create, map_set, map_remove),
                (counter_create, counter_inc),
            )| {
                ObjectOperation {
                    action,
                    object_id,
                    map_create,
                    map_set,
                    map_remove,
                    counter_create,
                    counter_inc,
                    map_clear: Some(MapClear {}),
                    ..ObjectOperation::default()
                }
            },
        )
        .boxed()
}

fn any_state() -> BoxedStrategy<ObjectState> {
    let map = (
        option::of((0..3_u32).prop_map(ObjectsMapSemantics::from_number)),
        entries(),
        option::of(text()),
    );
    let map = map.prop_map(|(semantics, entries, clear_timeserial)| ObjectsMap {
        semantics,
        entries,
        clear_timeserial,
    });
    let counter = option::of(any_number()).prop_map(|count| ObjectsCounter { count });
    let sites = prop::collection::btree_map(text(), text(), 0..3);
    let fields = (
        option::weighted(0.9, id()),
        sites,
        option::of(any::<bool>()),
        option::of(any_operation()),
        option::of(map),
        option::of(counter),
    );
    fields
        .prop_map(|(object_id, site_timeserials, tombstone, create_op, map, counter)| ObjectState {
            object_id,
            site_timeserials,
            tombstone,
            create_op,
            map,
            counter,
        })
        .boxed()
}

fn any_message() -> BoxedStrategy<ObjectMessage> {
    let content = (option::weighted(0.95, any_operation()), option::weighted(0.9, any_state()));
    let serials =
        (option::weighted(0.95, text()), option::weighted(0.95, text()), option::of(any::<i64>()));
    (content, serials)
        .prop_map(|((operation, object), (serial, site_code, serial_timestamp))| ObjectMessage {
            operation: operation.map(Box::new),
            object: object.map(Box::new),
            serial,
            site_code,
            serial_timestamp,
            ..ObjectMessage::default()
        })
        .boxed()
}

#[derive(Clone, Debug)]
enum Input {
    Attached(bool),
    Sync(Option<Str>, Vec<ObjectMessage>),
    Objects(Vec<ObjectMessage>),
    Ack(Vec<ObjectMessage>, Vec<Option<Str>>),
    Collect(Millis, Millis),
    Left,
    SubscribeObject(Str),
}

fn input() -> BoxedStrategy<Input> {
    let messages = || prop::collection::vec(any_message(), 0..6);
    let serial = prop_oneof![Just("s:"), Just("s:1"), Just("t:2"), Just("t:"), Just(""), Just(":")];
    prop_oneof![
        1 => any::<bool>().prop_map(Input::Attached),
        4 => (option::of(serial.prop_map(Str::from)), messages()).prop_map(|(serial, states)| Input::Sync(serial, states)),
        6 => messages().prop_map(Input::Objects),
        2 => (messages(), prop::collection::vec(option::of(text()), 0..6)).prop_map(|(messages, serials)| Input::Ack(messages, serials)),
        1 => (any::<i64>(), any::<i64>()).prop_map(|(now, grace)| Input::Collect(now, grace)),
        1 => Just(Input::Left),
        1 => id().prop_map(Input::SubscribeObject),
    ].boxed()
}

impl ObjectsPool {
    /// Fails if the references and the nodes do not agree.
    fn check(&self) {
        let mut references = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let place = Place(at as u32);
            assert_eq!(node.id.is_empty(), self.free.contains(&place), "node {at}");
            if node.id.is_empty() {
                assert!(node.object.is_none() && node.parents.is_empty(), "node {at} is removed");
                continue;
            }
            assert_eq!(self.place(&node.id), Some(place));
            assert!(node.object.is_some() || !node.parents.is_empty(), "nothing needs node {at}");
            for (key, entry) in self.map(place).iter().flat_map(|map| map.entries.iter()) {
                references
                    .extend(entry.data.reference().map(|child| (child, (place, key.clone()))));
            }
        }
        assert_eq!(self.places.len(), self.nodes.len() - self.free.len());
        let parents = self.nodes.iter().enumerate();
        let mut recorded: Vec<_> = parents
            .flat_map(|(at, node)| {
                node.parents.iter().map(move |(parent, ())| (Place(at as u32), parent.clone()))
            })
            .collect();
        references.sort();
        recorded.sort();
        assert_eq!(references, recorded);
        assert!(self.root().id() == "root" && self.tombstoned_at("root").is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_message_breaks_the_objects(inputs in prop::collection::vec(input(), 0..12)) {
        let mut objects = Objects::new("test");
        let mut out = Vec::new();
        objects.subscribe_path(SubscriptionId(0), Path::root(), None).expect("a depth");
        for (at, input) in inputs.into_iter().enumerate() {
            match input {
                Input::Attached(has_objects) => objects.attached(has_objects, 0, &mut out),
                Input::Sync(serial, states) => objects.sync_frame(serial.as_deref(), states, 0, &mut out),
                Input::Objects(messages) => objects.object_frame(messages, 0, &mut out),
                Input::Ack(messages, serials) => {
                    objects.acknowledged(PublishId(0), messages, &serials, Some(&"own".into()), 0, &mut out);
                }
                Input::Collect(now, grace) => objects.collect(now, grace),
                Input::Left => objects.channel_left("detached", None, &mut out),
                Input::SubscribeObject(id) => {
                    let _ = objects.subscribe_object(SubscriptionId(at as u64 + 1), &id);
                }
            }
            let pool = objects.pool();
            pool.check();
            for id in IDS {
                pool.paths(id);
                pool.object(id).map(|object| object.compact_json());
            }
        }
        out.clear();
        // A pool is made again from its states. States keep the text of numbers only, so that NaN is compared as text.
        let pool = objects.pool();
        let again = ObjectsPool::from_states(pool.states(), 0);
        again.check();
        let text = |pool: &ObjectsPool| {
            let mut states: Vec<String> = pool.states().map(|state| format!("{state:?}")).collect();
            states.sort();
            states
        };
        prop_assert_eq!(text(&again), text(pool));
    }

    #[test]
    fn a_local_operation_breaks_nothing_either(messages in prop::collection::vec((any_message(), any::<bool>()), 0..60)) {
        let mut pool = ObjectsPool::new();
        for (message, local) in messages {
            let source = if local { Source::Local } else { Source::Channel };
            let _ = pool.apply(&message, source, 0);
            pool.check();
        }
    }
}
