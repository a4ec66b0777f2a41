//! Replacing the objects by the states of a sync (RTO5c, RTLC6, RTLM6).

use std::{cmp::Ordering, mem};

use capably_protocol::{
    Millis, ObjectMessage, Str,
    object::{CounterCreate, MapCreate, ObjectState},
};

use super::{
    ObjectsPool,
    apply::{initial_count, initial_map, merge_counter},
};
use crate::{
    Change, KeyChange, ObjectType, Update,
    entry::{Entry, EntryData, Place},
    object::{CounterValue, Object, Value},
    sorted::SortedMap,
};

impl ObjectsPool {
    /// A pool with the objects of these states, as [`states`](Self::states) returns them. `now`, in ms since the epoch, dates
    /// deletions without a time.
    pub fn from_states(states: impl IntoIterator<Item = ObjectMessage>, now: Millis) -> Self {
        let mut pool = Self::new();
        pool.replace(states, now);
        pool
    }

    /// Replaces the objects by those of a complete sync (RTO5c1, RTO5c2): each is set to its state, and objects without a state
    /// are removed. The root stays.
    ///
    /// Returns the updates of the objects that existed before, in the order of the states (RTO5c7). The references between
    /// objects are those of the new states when it returns (RTO5c10).
    pub fn replace(
        &mut self,
        states: impl IntoIterator<Item = ObjectMessage>,
        now: Millis,
    ) -> Vec<Update> {
        let states = states.into_iter();
        let more = states.size_hint().0.saturating_sub(self.nodes.len());
        self.nodes.reserve(more);
        self.places.reserve(more);
        let mut updates = Vec::new();
        let mut received = vec![false; self.nodes.len()];
        for message in states {
            let Some(state) = message.object else { continue };
            let Some((place, existed)) = self.place_of_state(&state) else { continue };
            if received.len() <= place.index() {
                received.resize(place.index() + 1, false);
            }
            received[place.index()] = true;
            if let Some(change) =
                self.set_state(place, *state, message.serial_timestamp, now, existed)
            {
                let tombstone = self.get(place).is_some_and(Object::is_tombstone);
                let object_id = self.id(place).clone();
                updates.push(Update { object_id, change, tombstone }); // RTO5c1a2
            }
        }
        // RTO5c2, RTO5c2a
        received.resize(self.nodes.len(), false);
        for (at, _) in received.iter().enumerate().skip(1).filter(|(_, received)| !**received) {
            self.remove(Place(u32::try_from(at).unwrap_or(u32::MAX)));
        }
        updates
    }

    /// The object that a state is of, and whether it existed before. It is made if it did not (RTO5c1b1).
    fn place_of_state(&mut self, state: &ObjectState) -> Option<(Place, bool)> {
        let id = state.object_id.as_ref().filter(|id| !id.is_empty())?;
        let object_type = match (&state.map, &state.counter) {
            (Some(_), _) => ObjectType::Map,
            (None, Some(_)) => ObjectType::Counter,
            (None, None) => return None,
        };
        let place = self.intern(id);
        match self.get(place) {
            Some(object) if object.object_type() == object_type => return Some((place, true)),
            Some(_) if place == Place::ROOT => {
                tracing::warn!("the state of the root is not that of a map");
                return None;
            }
            // An id states the type, so that only a faulty service gives an object another one.
            Some(_) | None => {}
        }
        self.set_object(place, Some(Box::new(Object::empty(object_type))));
        Some((place, false))
    }

    /// Removes an object.
    fn remove(&mut self, place: Place) {
        self.set_object(place, None);
        self.release(place);
    }

    /// Puts another object, or none, in the place of one, whose references end.
    fn set_object(&mut self, place: Place, object: Option<Box<Object>>) {
        // The new object comes first: a node without an object is removed with its last reference, which may be its own.
        let old = mem::replace(&mut self.node_mut(place).object, object);
        if let Some(Value::Map(map)) = old.map(|old| old.value) {
            self.unlink_entries(place, map.entries.iter());
        }
    }

    /// Sets an object to its state (RTLC6, RTLM6). Returns what changed; nothing for an object that is new.
    fn set_state(
        &mut self,
        place: Place,
        state: ObjectState,
        serial_timestamp: Option<Millis>,
        now: Millis,
        existed: bool,
    ) -> Option<Change> {
        let object = self.get_mut(place)?;
        // RTLC6a, RTLM6a
        let sites = state.site_timeserials.iter();
        object.sites = sites.map(|(site, serial)| (site.as_str(), serial.as_str())).collect();
        if object.is_tombstone() {
            return None; // RTLC6e, RTLM6e
        }
        if state.tombstone == Some(true) {
            // RTLC6f, RTLM6f
            let change = self.tombstone(place, Self::deleted_at(serial_timestamp, now));
            return change.filter(|_| existed);
        }
        if let Value::Counter(counter) = &mut object.value {
            let previous = counter.data; // RTLC6g
            let count = state.counter.and_then(|counter| counter.count).unwrap_or_default();
            // A negative zero becomes a zero, as by any operation: replicas agree to the last bit.
            let count = count + 0.0;
            *counter = CounterValue { data: count, initial: None }; // RTLC6b, RTLC6c
            if let Some(create) = &state.create_op {
                // RTLC6d
                let create = initial_count(create).copied();
                merge_counter(counter, &create.unwrap_or(CounterCreate { count: None }));
            }
            let amount = counter.data - previous; // RTLC6h, RTLC14b
            return existed.then_some(Change::Counter(amount));
        }
        let changed = self.set_map_state(place, state, now, existed);
        existed.then_some(Change::Map(changed))
    }

    /// RTLM6g to RTLM6h
    fn set_map_state(
        &mut self,
        place: Place,
        state: ObjectState,
        now: Millis,
        existed: bool,
    ) -> Vec<(Str, KeyChange)> {
        let state_map = state.map.unwrap_or_default();
        let entries: SortedMap<Str, Entry> = (state_map.entries.into_iter())
            .map(|(key, entry)| {
                // RTLM6c, RTLM6c1
                let data = if entry.tombstone == Some(true) {
                    EntryData::Removed(Self::deleted_at(entry.serial_timestamp, now))
                } else {
                    self.stored(entry.data)
                };
                let serial = entry.timeserial.as_deref().unwrap_or_default().into();
                if let Some(child) = data.reference() {
                    self.link(place, &key, child); // RTO5c10b
                }
                (key.into_unshared(), Entry { serial, data })
            })
            .collect();
        let Some(map) = self.map_mut(place) else { return Vec::new() };
        let previous = mem::replace(&mut map.entries, entries); // RTLM6g
        map.created = false; // RTLM6b
        map.cleared = state_map.clear_timeserial.as_deref().map(Box::from); // RTLM6i
        if let Some(create) = &state.create_op {
            // RTLM6d
            match initial_map(create) {
                Some(create) => drop(self.merge_map(place, create, now)),
                None => drop(self.merge_map(place, &MapCreate::default(), now)),
            }
        }
        if !existed {
            return Vec::new();
        }
        let Some(map) = self.map(place) else { return Vec::new() };
        let changed = diff(&previous, &map.entries); // RTLM6h
        // A reference that is in both stays, with the one record that it has.
        let lost: Vec<(&Str, Place)> = (previous.iter())
            .filter_map(|(key, entry)| Some((key, entry.data.reference()?)))
            .filter(|(key, child)| {
                let current = map.entries.get(*key);
                current.and_then(|entry| entry.data.reference()) != Some(*child)
            })
            .collect();
        for (key, child) in lost {
            self.unlink(place, key, child);
        }
        changed
    }
}

/// The keys whose values differ, in order (RTLM22).
fn diff(previous: &SortedMap<Str, Entry>, new: &SortedMap<Str, Entry>) -> Vec<(Str, KeyChange)> {
    let mut changed = Vec::new();
    let present = |(_, entry): &(&Str, &Entry)| !entry.data.is_removed(); // RTLM22b
    let (mut previous, mut new) = (previous.iter().filter(present), new.iter().filter(present));
    let (mut old_entry, mut new_entry) = (previous.next(), new.next());
    loop {
        let order = match (&old_entry, &new_entry) {
            (Some((old_key, _)), Some((new_key, _))) => old_key.cmp(new_key),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changed,
        };
        match (order, old_entry, new_entry) {
            (Ordering::Less, Some((key, _)), _) => {
                changed.push((key.clone(), KeyChange::Removed)); // RTLM22b1
                old_entry = previous.next();
            }
            (Ordering::Greater, _, Some((key, _))) => {
                changed.push((key.clone(), KeyChange::Updated)); // RTLM22b2
                new_entry = new.next();
            }
            (_, old, new_one) => {
                // RTLM22b3
                if let (Some((key, old)), Some((_, new))) = (old, new_one)
                    && old.data != new.data
                {
                    changed.push((key.clone(), KeyChange::Updated));
                }
                old_entry = previous.next();
                new_entry = new.next();
            }
        }
    }
}

#[cfg(test)]
mod tests;
