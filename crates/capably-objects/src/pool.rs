//! The objects of a channel (RTO3), and which of them refer to which (RTLO3f).

use capably_protocol::{Millis, Str, object::ObjectData};

use crate::{
    Change, KeyChange, ObjectType, ROOT,
    entry::{Entry, EntryData, Place, reference_of},
    index::PlaceIndex,
    object::{CounterValue, MapValue, Object, Value},
    sorted::SortedMap,
};

mod apply;
mod collect;
mod paths;
mod replace;
mod states;

pub use apply::{Ignored, Source};
pub use collect::DEFAULT_GRACE_PERIOD;

/// The objects of a channel, by id. It always has the map `root` (RTO3).
///
/// [`apply`](Self::apply) changes the pool by an operation, [`replace`](Self::replace) by the states of a sync. Both
/// report what changed. [`root`](Self::root), [`resolve`](Self::resolve) and [`object`](Self::object) read it.
///
/// ```
/// use capably_objects::{ObjectsPool, Source, ValueRef};
/// use capably_protocol::{ObjectMessage, object::{MapSet, ObjectOperation, ObjectOperationAction, ObjectValue}};
///
/// let mut pool = ObjectsPool::new();
/// let operation = ObjectOperation {
///     action: Some(ObjectOperationAction::MapSet),
///     object_id: Some("root".into()),
///     map_set: Some(MapSet { key: "name".into(), value: ObjectValue::String("Ada".into()).into() }),
///     ..ObjectOperation::default()
/// };
/// let message = ObjectMessage {
///     operation: Some(Box::new(operation)),
///     serial: Some("01".into()),
///     site_code: Some("eu".into()),
///     ..ObjectMessage::default()
/// };
/// let now = 1_700_000_000_000;
/// let update = pool.apply(&message, Source::Channel, now)?.expect("the name changed");
/// assert_eq!(update.object_id, "root");
/// assert!(matches!(pool.root().get("name"), Some(ValueRef::String(name)) if name == "Ada"));
/// # Ok::<(), capably_objects::Ignored>(())
/// ```
///
/// # How it is stored
///
/// Each id has a node, which is an object or stands for one that entries refer to and that does not exist. Entries refer
/// to nodes by their place. A node without an object is removed with the last reference to it.
#[derive(Clone, Debug)]
pub struct ObjectsPool {
    nodes: Vec<Node>,
    /// The places of removed nodes.
    free: Vec<Place>,
    places: PlaceIndex,
}

/// An id that an object has, or that an entry refers to.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Empty if the node was removed.
    id: Str,
    object: Option<Box<Object>>,
    /// The maps that refer to this object, each with the key at which it does (RTLO3f).
    parents: SortedMap<(Place, Str), ()>,
}

impl Default for ObjectsPool {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectsPool {
    /// A pool with an empty root (RTO3b1).
    pub fn new() -> Self {
        let id = Str::from(ROOT);
        let object = Some(Box::new(Object::empty(ObjectType::Map)));
        let root = Node { id, object, parents: SortedMap::default() };
        Self { nodes: vec![root], free: Vec::new(), places: PlaceIndex::of_root() }
    }

    /// The number of objects, with deleted ones that are not collected yet.
    pub fn len(&self) -> usize {
        self.nodes.iter().filter(|node| node.object.is_some()).count()
    }

    /// Always false: there is the root.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Removes every object but the root, and the root's entries (RTO4b1, RTO4b2). Returns the keys that the root had
    /// (RTO4b2a).
    pub fn clear(&mut self) -> Change {
        self.nodes.truncate(1);
        self.free.clear();
        self.places = PlaceIndex::of_root();
        let mut removed = Vec::new();
        let Some(root) = self.nodes.first_mut() else { return Change::Map(removed) };
        root.parents = SortedMap::default();
        if let Some(map) = root.object.as_deref_mut().and_then(Object::map_mut) {
            removed = removed_keys(std::mem::take(&mut map.entries));
        }
        Change::Map(removed)
    }

    pub(crate) fn place(&self, id: &str) -> Option<Place> {
        self.places.find(id, |place| &self.node(place).id)
    }

    pub(crate) fn id(&self, place: Place) -> &Str {
        &self.node(place).id
    }

    pub(crate) fn get(&self, place: Place) -> Option<&Object> {
        self.node(place).object.as_deref()
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Object> {
        self.node_mut(place).object.as_deref_mut()
    }

    fn map(&self, place: Place) -> Option<&MapValue> {
        self.get(place).and_then(Object::map)
    }

    fn map_mut(&mut self, place: Place) -> Option<&mut MapValue> {
        self.get_mut(place).and_then(Object::map_mut)
    }

    /// The node at a place. Places come from this pool, and a node is removed only with the last reference to it.
    fn node(&self, place: Place) -> &Node {
        &self.nodes[place.index()]
    }

    fn node_mut(&mut self, place: Place) -> &mut Node {
        &mut self.nodes[place.index()]
    }

    /// The place of an id, which gets a node without an object if it is not known.
    fn intern(&mut self, id: &Str) -> Place {
        let Self { nodes, free, places } = self;
        // 2^32 nodes would need 500 GB.
        let next = || Place(u32::try_from(nodes.len()).unwrap_or(u32::MAX));
        let new = free.last().copied().unwrap_or_else(next);
        if let Some(place) = places.find_or_insert(id, new, |place| &nodes[place.index()].id) {
            return place;
        }
        let node = Node { id: id.unshared(), ..Node::default() };
        match free.pop() {
            Some(place) => nodes[place.index()] = node,
            None => nodes.push(node),
        }
        new
    }

    /// The place of an object, which is made if it does not exist (RTO6). None if its id has no known type.
    fn ensure(&mut self, id: &Str) -> Option<Place> {
        if let Some(place) = self.place(id)
            && self.get(place).is_some()
        {
            return Some(place);
        }
        // RTO6b2, RTO6b3
        let object_type = ObjectType::of(id)?;
        let place = self.intern(id);
        self.node_mut(place).object = Some(Box::new(Object::empty(object_type)));
        Some(place)
    }

    /// Records that a map refers to an object (RTLO4g).
    fn link(&mut self, parent: Place, key: &Str, child: Place) {
        self.node_mut(child).parents.insert((parent, key.unshared()), ());
    }

    /// Records that a map does not refer to an object any more (RTLO4h).
    fn unlink(&mut self, parent: Place, key: &Str, child: Place) {
        self.node_mut(child).parents.remove(&(parent, key.clone()));
        self.release(child);
    }

    /// Removes a node that has neither an object nor a reference to it.
    fn release(&mut self, place: Place) {
        let Self { nodes, free, places } = self;
        let node = &nodes[place.index()];
        // A removed node has no id. An object that refers to itself is released twice.
        if node.object.is_none() && node.parents.is_empty() && !node.id.is_empty() {
            places.remove(&node.id, |place| &nodes[place.index()].id);
            nodes[place.index()] = Node::default();
            free.push(place);
        }
    }

    /// Removes the references of entries that a map no longer has.
    fn unlink_entries<'a>(
        &mut self,
        parent: Place,
        entries: impl IntoIterator<Item = (&'a Str, &'a Entry)>,
    ) {
        for (key, entry) in entries {
            if let Some(child) = entry.data.reference() {
                self.unlink(parent, key, child);
            }
        }
    }

    /// The stored form of data. The object that it refers to gets a node, but is not made.
    fn stored(&mut self, data: Option<ObjectData>) -> EntryData {
        match data {
            None => EntryData::Empty,
            Some(data) => match reference_of(&data) {
                Some(id) => EntryData::Reference(self.intern(id)),
                None => EntryData::leaf(data),
            },
        }
    }

    /// The time at which an object or entry was deleted, from the serial's time, in ms since the epoch (RTLO6).
    fn deleted_at(serial_timestamp: Option<Millis>, now: Millis) -> Millis {
        serial_timestamp.unwrap_or_else(|| {
            tracing::debug!("a deletion has no time; it is dated by the local clock"); // RTLO6b1
            now
        })
    }

    /// Deletes an object: its value becomes that of a new one (RTLO4e). Returns what changed; nothing for the root, which
    /// cannot be deleted.
    fn tombstone(&mut self, place: Place, at: Millis) -> Option<Change> {
        if place == Place::ROOT {
            tracing::warn!("the service tried to delete the root of the channel's objects"); // RTLO4e10
            return None;
        }
        let object = self.get_mut(place)?;
        object.tombstoned_at = Some(at); // RTLO4e2, RTLO4e3
        let entries = match &mut object.value {
            // RTLO4e4, RTLO4e5, RTLC14
            Value::Counter(counter) => {
                let CounterValue { data, .. } = std::mem::take(counter);
                return Some(Change::Counter(0.0 - data));
            }
            Value::Map(map) => std::mem::take(&mut **map).entries,
        };
        self.unlink_entries(place, entries.iter()); // RTLO4e9
        Some(Change::Map(removed_keys(entries)))
    }
}

/// The keys of entries that had a value, as removed (RTLM22b1).
fn removed_keys(entries: SortedMap<Str, Entry>) -> Vec<(Str, KeyChange)> {
    let entries = entries.into_iter().filter(|(_, entry)| !entry.data.is_removed());
    entries.map(|(key, _)| (key, KeyChange::Removed)).collect()
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
