//! Syncs: the frames with the states of a channel's objects (RTO5).

use std::{collections::BTreeMap, sync::Arc};

use capably_objects::ObjectsPool;
use capably_protocol::{
    ObjectMessage, Str,
    frame::Delivery,
    object::{ObjectOperation, ObjectState, ObjectsMapEntry},
};

use crate::hub::log::{Entry, broadcast::Broadcast, position::Position};

/// The most states in a frame.
const PAGE: usize = 100;

/// About the most bytes in a frame. It stays far below the largest frame that clients accept.
const PAGE_BYTES: usize = 64 * 1024;

/// The approximate size of a state or an entry without its keys and values: names of fields, and a serial.
pub(super) const OVERHEAD: usize = 120;

/// The pages of a sync: the states of all objects after an entry. All clients that attach before the objects change share
/// them, and their encodings.
#[derive(Debug)]
pub(crate) struct SyncPages {
    pages: Vec<Arc<Broadcast>>,
}

impl SyncPages {
    /// The states of all objects for the name under which clients attached. `id` differs from that of other states.
    pub(crate) fn new(pool: &ObjectsPool, name: &Str, id: &str, since: Position) -> Self {
        let pages = pages(pool.states(), PAGE, PAGE_BYTES);
        let last = pages.len();
        let pages = pages.into_iter().zip(1..).map(|(states, number)| {
            let cursor = if number < last { number.to_string() } else { String::new() };
            let states_of = states.iter().filter_map(|message| message.object.as_deref());
            let size = states_of.map(state_size).sum();
            let mut delivery = Delivery::new(name.clone(), states);
            delivery.channel_serial = Some(format!("{id}:{cursor}").into());
            Broadcast::new(Entry::objects_page(since, size, delivery))
        });
        Self { pages: pages.collect() }
    }

    /// The page at this index; none after the last.
    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Broadcast>> {
        self.pages.get(index)
    }
}

/// States in pages of so many states, and of about so many bytes. The state of a map that is larger is split.
pub(super) fn pages(
    states: impl Iterator<Item = ObjectMessage>,
    max_count: usize,
    max_bytes: usize,
) -> Vec<Vec<ObjectMessage>> {
    let mut pages: Vec<Vec<ObjectMessage>> = Vec::new();
    let mut room = 0;
    for message in states.flat_map(|state| parts(state, max_bytes)) {
        let size = message.object.as_deref().map_or(0, state_size);
        match pages.last_mut().filter(|page| page.len() < max_count && size <= room) {
            Some(page) => page.push(message),
            None => {
                room = max_bytes;
                pages.push(vec![message]);
            }
        }
        room = room.saturating_sub(size);
    }
    pages
}

/// The state of an object in parts of at most about so many bytes. Only that of a map is ever larger: clients merge the entries of
/// its parts (RTO5f2).
fn parts(mut message: ObjectMessage, max_bytes: usize) -> Vec<ObjectMessage> {
    let Some(state) = message.object.as_deref_mut() else { return Vec::new() };
    let Some(map) = state.map.as_mut().filter(|map| entries_size(&map.entries) > max_bytes) else {
        return vec![message];
    };
    let entries = std::mem::take(&mut map.entries);
    let rest = ObjectMessage {
        object: Some(Box::new(ObjectState { create_op: None, ..state.clone() })),
        ..message.clone()
    };
    let mut parts = vec![message];
    let mut room = 0;
    for (key, entry) in entries {
        let size = entry_size(&key, &entry);
        if size > room {
            room = max_bytes;
            parts.push(rest.clone());
        }
        room = room.saturating_sub(size);
        let part =
            parts.last_mut().and_then(|it| it.object.as_mut()).and_then(|it| it.map.as_mut());
        if let Some(part) = part {
            part.entries.insert(key, entry);
        }
    }
    parts
}

/// The approximate size of a state, in bytes.
pub(super) fn state_size(state: &ObjectState) -> usize {
    let map = state.map.as_ref().map_or(0, |map| entries_size(&map.entries));
    let initial = state.create_op.as_ref().map_or(0, |create: &ObjectOperation| {
        create.map_create.as_ref().map_or(0, |create| entries_size(&create.entries))
    });
    OVERHEAD * (1 + state.site_timeserials.len()) + map + initial
}

fn entries_size(entries: &BTreeMap<Str, ObjectsMapEntry>) -> usize {
    entries.iter().map(|(key, entry)| entry_size(key, entry)).sum()
}

fn entry_size(key: &str, entry: &ObjectsMapEntry) -> usize {
    OVERHEAD + key.len() + entry.data.as_ref().map_or(0, capably_protocol::object::ObjectData::size)
}

#[cfg(test)]
mod tests {
    use capably_objects::Source;
    use capably_protocol::ServerFrame;
    use capably_protocol::object::{MapSet, ObjectOperationAction, ObjectValue};

    use super::*;

    /// A pool whose root has `count` entries of `size` bytes each.
    fn pool(count: usize, size: usize) -> ObjectsPool {
        let mut pool = ObjectsPool::new();
        for number in 0..count {
            let value = ObjectValue::String("x".repeat(size).into()).into();
            let operation = ObjectOperation {
                action: Some(ObjectOperationAction::MapSet),
                object_id: Some("root".into()),
                map_set: Some(MapSet { key: format!("k{number:05}").into(), value }),
                ..ObjectOperation::default()
            };
            let message = ObjectMessage {
                operation: Some(Box::new(operation)),
                serial: Some(format!("{number:05}").into()),
                site_code: Some("s".into()),
                ..ObjectMessage::default()
            };
            pool.apply(&message, Source::Channel, 0).unwrap();
        }
        pool
    }

    fn synced(pool: &ObjectsPool, id: &str) -> SyncPages {
        SyncPages::new(pool, &"c".into(), id, Position(7))
    }

    fn items(sync: &SyncPages) -> Vec<(Str, Vec<ObjectMessage>)> {
        let deliveries = sync.pages.iter().map(|page| match page.frame() {
            ServerFrame::ObjectSync(it) => (it.channel_serial.clone().unwrap(), it.items.clone()),
            other => panic!("{other:?}"),
        });
        deliveries.collect()
    }

    // Spec: RTO5a1, RTO5a4
    #[test]
    fn a_small_pool_takes_one_page_that_ends_the_sync() {
        let frames = items(&synced(&ObjectsPool::new(), "7"));
        let [(serial, page)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(*serial, "7:");
        assert_eq!(page.len(), 1);
        assert_eq!(page[0].object.as_ref().unwrap().object_id.as_deref(), Some("root"));
    }

    // Spec: RTO5f2
    #[test]
    fn a_large_map_is_split_and_every_client_puts_it_together() {
        let pool = pool(3000, 100);
        let frames = synced(&pool, "1");
        assert!(frames.pages.iter().all(|page| page.size() <= PAGE_BYTES + OVERHEAD * 4));
        let pages = items(&frames);
        assert!(pages.len() > 5, "{} pages", pages.len());
        let serials: Vec<_> = pages.iter().map(|(serial, _)| serial.to_string()).collect();
        assert_eq!((&*serials[0], &*serials[1]), ("1:1", "1:2"));
        assert_eq!(serials.last().map(String::as_str), Some("1:"));
        let mut client = capably_objects::Objects::new("c");
        let mut events = Vec::new();
        client.attached(true, 0, &mut events);
        for (serial, page) in pages {
            client.sync_frame(Some(&serial), page, 0, &mut events);
        }
        assert_eq!(client.pool().root().len(), 3000);
        let states = |pool: &ObjectsPool| pool.states().collect::<Vec<_>>();
        assert_eq!(states(client.pool()), states(&pool));
    }
}
