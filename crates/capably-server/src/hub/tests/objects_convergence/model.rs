//! The reference: the objects after the operations of a log, in their order. One site orders all operations, so for each key
//! of a map the last operation of the log wins.

use std::collections::BTreeMap;

use capably_objects::{ObjectsPool, ROOT};
use capably_protocol::{
    ObjectMessage, Str,
    object::{ObjectData, ObjectOperationAction as Action},
};

/// An object of the reference.
#[derive(Clone, Debug)]
enum Object {
    /// The values by key, none for a removed key.
    Map {
        entries: BTreeMap<Str, Option<ObjectData>>,
        created: bool,
        cleared: bool,
    },
    Counter {
        count: f64,
        created: bool,
    },
    Deleted,
}

/// The objects of a channel.
#[derive(Debug)]
pub(super) struct Model(BTreeMap<Str, Object>);

/// The value of an object as everybody must see it: a map without its removed keys, or a counter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    Map(BTreeMap<Str, ObjectData>),
    Counter(f64),
}

fn new(id: &str) -> Object {
    match id.starts_with("counter:") {
        true => Object::Counter { count: 0.0, created: false },
        false => Object::Map { entries: BTreeMap::new(), created: false, cleared: false },
    }
}

impl Default for Model {
    fn default() -> Self {
        Self(BTreeMap::from([(Str::from_static(ROOT), new(ROOT))]))
    }
}

impl Model {
    pub(super) fn apply(&mut self, message: &ObjectMessage) {
        let operation = message.operation.as_deref().expect("an operation");
        let id = operation.object_id.clone().expect("an object id");
        let mut referred = Vec::new();
        let object = self.0.entry(id.clone()).or_insert_with(|| new(&id));
        match (object, operation.action.expect("an action")) {
            (Object::Deleted, _) => {}
            (object, Action::ObjectDelete) => *object = Object::Deleted,
            (Object::Map { entries, .. }, Action::MapSet) => {
                let set = operation.map_set.as_ref().expect("a payload");
                referred.extend(set.value.object_id.clone());
                entries.insert(set.key.clone(), Some(set.value.clone()));
            }
            (Object::Map { entries, .. }, Action::MapRemove) => {
                let remove = operation.map_remove.as_ref().expect("a payload");
                entries.insert(remove.key.clone(), None);
            }
            (Object::Map { entries, cleared, .. }, Action::MapClear) => {
                entries.clear();
                *cleared = true;
            }
            (Object::Map { entries, created: created @ false, cleared }, Action::MapCreate) => {
                *created = true;
                // Initial values are older than every operation on the map.
                let create = operation.map_create.as_ref().expect("a payload").entries.iter();
                for (key, entry) in create
                    .filter(|(key, _)| !*cleared && !entries.contains_key(*key))
                    .collect::<Vec<_>>()
                {
                    let data = entry.data.clone().expect("a value");
                    referred.extend(data.object_id.clone());
                    entries.insert(key.clone(), Some(data));
                }
            }
            (Object::Counter { count, .. }, Action::CounterInc) => {
                *count += operation.counter_inc.as_ref().and_then(|inc| inc.number).expect("one");
            }
            (Object::Counter { count, created: created @ false }, Action::CounterCreate) => {
                *created = true;
                *count += operation.counter_create.as_ref().and_then(|it| it.count).expect("one");
            }
            (Object::Map { .. } | Object::Counter { .. }, _) => {}
        }
        for id in referred {
            self.0.entry(id.clone()).or_insert_with(|| new(&id));
        }
    }

    /// The objects that are not deleted.
    pub(super) fn seen(&self) -> BTreeMap<Str, Seen> {
        let seen = self.0.iter().filter_map(|(id, object)| {
            let seen = match object {
                Object::Map { entries, .. } => {
                    let present =
                        |(key, data): (&Str, &Option<_>)| Some((key.clone(), data.clone()?));
                    Seen::Map(entries.iter().filter_map(present).collect())
                }
                Object::Counter { count, .. } => Seen::Counter(*count),
                Object::Deleted => return None,
            };
            Some((id.clone(), seen))
        });
        seen.collect()
    }

    pub(super) fn is_deleted(&self, id: &str) -> bool {
        matches!(self.0.get(id), Some(Object::Deleted))
    }
}

/// The objects of a pool that are not deleted.
pub(super) fn seen(pool: &ObjectsPool) -> BTreeMap<Str, Seen> {
    let objects = pool.states().filter_map(|message| {
        let state = *message.object.expect("a state");
        if state.tombstone == Some(true) {
            return None;
        }
        let create = state.create_op;
        let seen = match (state.map, state.counter) {
            (Some(map), None) => {
                let initial = create.and_then(|it| it.map_create).map(|it| it.entries);
                let entries = initial.unwrap_or_default().into_iter().chain(map.entries);
                Seen::Map(entries.filter_map(|(key, entry)| Some((key, entry.data?))).collect())
            }
            (None, Some(counter)) => {
                let initial = create.and_then(|it| it.counter_create?.count).unwrap_or_default();
                Seen::Counter(counter.count.unwrap_or_default() + initial)
            }
            other => panic!("{other:?}"),
        };
        Some((state.object_id.expect("an id"), seen))
    });
    objects.collect()
}
