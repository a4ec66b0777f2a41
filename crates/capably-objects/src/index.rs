//! The places of objects by id. A hash table that has no copy of the ids: the nodes have them.

use std::hash::{BuildHasher, RandomState};

use capably_protocol::Str;

use crate::{ROOT, entry::Place};

/// Finds the place of an id. The ids themselves are with their owner, who passes a function that reads them.
///
/// A `HashMap` from ids would have a second `Str` for each object, and an allocation that both share: an id has about 60
/// bytes, which a `Str` does not store in place.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlaceIndex {
    /// A power of two of slots, at most three quarters of them full. A place is in the first free slot from that of its
    /// hash.
    slots: Vec<Option<Slot>>,
    len: usize,
    /// Keyed anew for each pool, so that nobody can make ids that collide.
    hasher: RandomState,
}

/// A place, and the hash of its id.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    place: Place,
}

impl PlaceIndex {
    /// With the root alone.
    pub(crate) fn of_root() -> Self {
        let mut index = Self::default();
        let root = Str::from(ROOT);
        index.find_or_insert(ROOT, Place::ROOT, |_| &root);
        index
    }

    /// The number of places.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The place of an id.
    pub(crate) fn find<'a>(&self, id: &str, id_of: impl Fn(Place) -> &'a Str) -> Option<Place> {
        let at = self.position(self.hash(id), id, id_of)?;
        self.slots[at].map(|slot| slot.place)
    }

    /// The place of an id. An id that has none gets this one, and none is returned.
    pub(crate) fn find_or_insert<'a>(
        &mut self,
        id: &str,
        new: Place,
        id_of: impl Fn(Place) -> &'a Str,
    ) -> Option<Place> {
        let hash = self.hash(id);
        if let Some(at) = self.position(hash, id, id_of) {
            return self.slots[at].map(|slot| slot.place);
        }
        self.reserve(1);
        self.len += 1;
        self.place_in_slot(Slot { hash, place: new });
        None
    }

    /// Removes the place of an id.
    pub(crate) fn remove<'a>(&mut self, id: &str, id_of: impl Fn(Place) -> &'a Str) {
        let Some(mut free) = self.position(self.hash(id), id, id_of) else { return };
        self.len -= 1;
        // The slots behind move up, so that a search does not end at the free one.
        let mut at = free;
        loop {
            at = self.next(at);
            let Some(slot) = self.slots[at] else { break };
            let first = self.first(slot.hash);
            // Cyclic distances: the slot may move if its search passes the free one.
            if self.distance(first, at) >= self.distance(free, at) {
                self.slots[free] = Some(slot);
                free = at;
            }
        }
        self.slots[free] = None;
    }

    /// Makes room for so many more places.
    pub(crate) fn reserve(&mut self, more: usize) {
        let needed = (self.len + more).saturating_mul(4).div_ceil(3).next_power_of_two().max(4);
        if needed > self.slots.len() {
            let old = std::mem::replace(&mut self.slots, vec![None; needed]);
            old.into_iter().flatten().for_each(|slot| self.place_in_slot(slot));
        }
    }

    fn place_in_slot(&mut self, slot: Slot) {
        let mut at = self.first(slot.hash);
        while self.slots[at].is_some() {
            at = self.next(at);
        }
        self.slots[at] = Some(slot);
    }

    fn position<'a>(&self, hash: u32, id: &str, id_of: impl Fn(Place) -> &'a Str) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.first(hash);
        loop {
            let slot = self.slots[at]?;
            if slot.hash == hash && id_of(slot.place).as_str() == id {
                return Some(at);
            }
            at = self.next(at);
        }
    }

    fn hash(&self, id: &str) -> u32 {
        self.hasher.hash_one(id) as u32
    }

    fn first(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// How many slots after `from` the slot `to` is.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_map_would(steps in prop::collection::vec((any::<bool>(), 0..60_u32), 0..300)) {
            let ids: Vec<Str> = (0..60).map(|at| format!("map:{at}@1").into()).collect();
            let id_of = |place: Place| &ids[place.index()];
            let mut index = PlaceIndex::default();
            let mut model = BTreeMap::new();
            for (insert, at) in steps {
                let id = &ids[at as usize];
                if !insert {
                    index.remove(id, id_of);
                    model.remove(&at);
                } else {
                    let known = model.insert(at, ()).map(|()| Place(at));
                    prop_assert_eq!(index.find_or_insert(id, Place(at), id_of), known);
                }
                prop_assert_eq!(index.len(), model.len());
                for (at, id) in ids.iter().enumerate() {
                    let expected = model.get(&(at as u32)).map(|()| Place(at as u32));
                    prop_assert_eq!(index.find(id, id_of), expected);
                }
            }
        }
    }
}
