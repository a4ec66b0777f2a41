//! Applying an operation to the object that it names (RTO9, RTLC7, RTLM15). Client and server both use it.

use std::{fmt, mem};

use capably_protocol::{
    Millis, ObjectMessage, Str,
    object::{
        CounterCreate, MapCreate, ObjectData, ObjectOperation, ObjectOperationAction as Action,
    },
};

use super::ObjectsPool;
use crate::{
    Change, KeyChange, Update,
    entry::{Entry, EntryData, Place, reference_of},
    object::{CounterValue, Value},
};

/// Where an operation comes from (RTO22).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This client published it, and the service has acknowledged it (RTO22a).
    Local,
    /// It arrived on the channel (RTO22b).
    Channel,
}

/// The reason why an operation changed nothing and was not counted as applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// The message has no operation (RTO9a1).
    NoOperation,
    /// The action is unknown (RTO9a2b).
    UnknownAction,
    /// The operation has no object id, or one of an unknown type (RTO6b).
    UnknownType,
    /// The serial or the site code is missing (RTLO4a3).
    InvalidSerial,
    /// The object has already seen an operation of the site that is as new (RTLC7b, RTLM15b).
    NotNewer,
    /// The object is deleted (RTLC7e, RTLM15e).
    Tombstone,
    /// The object's type does not have this action (RTLC7d3, RTLM15d4).
    WrongType,
    /// The action's own field is missing.
    NoPayload,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoOperation => "the object message has no operation",
            Self::UnknownAction => "the action of the operation is unknown",
            Self::UnknownType => "the object id of the operation has no known type",
            Self::InvalidSerial => "the object message has no serial or no site code",
            Self::NotNewer => "the object has already seen an operation as new",
            Self::Tombstone => "the object is deleted",
            Self::WrongType => "the object's type does not support the action",
            Self::NoPayload => "the operation lacks the field of its action",
        })
    }
}

impl std::error::Error for Ignored {}

impl ObjectsPool {
    /// Applies an operation (RTO9a2). `now` dates a deletion whose message has no time, in ms since the epoch (RTLO6b).
    ///
    /// Returns what changed; nothing if the operation was applied and changed nothing, for example because a later
    /// operation set the same key.
    ///
    /// # Errors
    /// The operation was not applied, for this reason. The object may have recorded its serial all the same.
    pub fn apply(
        &mut self,
        message: &ObjectMessage,
        source: Source,
        now: Millis,
    ) -> Result<Option<Update>, Ignored> {
        let operation = message.operation.as_deref().ok_or(Ignored::NoOperation)?;
        let action = match operation.action {
            Some(Action::Unknown(_)) | None => return Err(Ignored::UnknownAction),
            Some(action) => action,
        };
        let id = operation.object_id.as_ref().ok_or(Ignored::UnknownType)?;
        let place = self.ensure(id).ok_or(Ignored::UnknownType)?; // RTO9a2a1
        let (Some(serial), Some(site)) = (present(&message.serial), present(&message.site_code))
        else {
            return Err(Ignored::InvalidSerial);
        };
        let serial = serial.as_str();
        let object = self.get_mut(place).ok_or(Ignored::UnknownType)?;
        if !object.is_newer(site, serial) {
            return Err(Ignored::NotNewer);
        }
        // An operation applied on its ACK leaves the serials alone: operations before it may still arrive (RTLC7c, RTLM15c).
        if source == Source::Channel {
            object.sites.set(site, serial);
        }
        if object.is_tombstone() {
            return Err(Ignored::Tombstone);
        }
        if action == Action::ObjectDelete {
            // RTLO5, RTLC7d4, RTLM15d5
            let at = Self::deleted_at(message.serial_timestamp, now);
            return Ok(self.tombstone(place, at).map(|change| Update {
                object_id: self.id(place).clone(),
                change,
                tombstone: true,
            }));
        }
        let change = match &mut object.value {
            Value::Counter(counter) => apply_to_counter(counter, action, operation)?,
            Value::Map(_) => {
                let time = (message.serial_timestamp, now);
                self.apply_to_map(place, action, operation, serial, time)?
            }
        };
        Ok(change.map(|change| Update {
            object_id: self.id(place).clone(),
            change,
            tombstone: false,
        }))
    }

    /// RTLM15d. `time` is that of the message's serial, if it has one, and the present.
    fn apply_to_map(
        &mut self,
        place: Place,
        action: Action,
        operation: &ObjectOperation,
        serial: &str,
        (serial_timestamp, now): (Option<Millis>, Millis),
    ) -> Result<Option<Change>, Ignored> {
        let changed = |key: &Str, change| Change::Map(vec![(key.unshared(), change)]);
        match action {
            // RTLM15d6
            Action::MapSet => {
                let set = operation.map_set.as_ref().ok_or(Ignored::NoPayload)?;
                let applied = self.set_key(place, &set.key, Some(&set.value), Some(serial));
                Ok(applied.then(|| changed(&set.key, KeyChange::Updated)))
            }
            // RTLM15d7
            Action::MapRemove => {
                let remove = operation.map_remove.as_ref().ok_or(Ignored::NoPayload)?;
                let at = Self::deleted_at(serial_timestamp, now);
                let applied = self.remove_key(place, &remove.key, Some(serial), at);
                Ok(applied.then(|| changed(&remove.key, KeyChange::Removed)))
            }
            // RTLM15d8
            Action::MapClear => Ok(self.clear_map(place, serial)),
            // RTLM15d1, RTLM16
            Action::MapCreate => {
                let create = initial_map(operation).ok_or(Ignored::NoPayload)?;
                if self.map(place).is_none_or(|map| map.created) {
                    return Ok(None); // RTLM16b
                }
                let now = serial_timestamp.unwrap_or(now);
                Ok(Some(Change::Map(self.merge_map(place, create, now))))
            }
            _ => Err(Ignored::WrongType), // RTLM15d4
        }
    }

    /// Sets a key of a map (RTLM7). Returns whether it was set.
    pub(super) fn set_key(
        &mut self,
        place: Place,
        key: &Str,
        data: Option<&ObjectData>,
        serial: Option<&str>,
    ) -> bool {
        let Some(id) = data.and_then(reference_of) else {
            let leaf = || data.cloned().map_or(EntryData::Empty, EntryData::leaf);
            return self.write(place, key, leaf, serial);
        };
        // An operation that comes too late must not make the object.
        if !self.map(place).is_some_and(|map| map.accepts(key, serial)) {
            return false;
        }
        // RTLM7g1. The type of the object is unknown if its id is broken. Then it does not exist.
        let child = self.ensure(id).unwrap_or_else(|| self.intern(id));
        self.write(place, key, || EntryData::Reference(child), serial);
        self.link(place, key, child); // RTLM7g2
        true
    }

    /// Removes a key of a map (RTLM8). `at` is the time of the removal, in ms since the epoch. Returns whether it was
    /// removed.
    pub(super) fn remove_key(
        &mut self,
        place: Place,
        key: &Str,
        serial: Option<&str>,
        at: Millis,
    ) -> bool {
        self.write(place, key, || EntryData::Removed(at), serial) // RTLM8a2, RTLM8b
    }

    /// Writes an entry if the serial allows it. The reference that it replaces ends. Returns whether it was written.
    fn write(
        &mut self,
        place: Place,
        key: &Str,
        data: impl FnOnce() -> EntryData,
        serial: Option<&str>,
    ) -> bool {
        let Some(map) = self.map_mut(place) else { return false };
        if !map.is_after_clear(serial) {
            return false; // RTLM7h, RTLM8g
        }
        let Some(entry) = map.entries.get_mut(key) else {
            // RTLM7b, RTLM8b
            let serial = serial.unwrap_or_default().into();
            map.entries.insert(key.unshared(), Entry { serial, data: data() });
            return true;
        };
        if !entry.is_before(serial) {
            return false; // RTLM7a1, RTLM8a1
        }
        // RTLM7a2, RTLM8a2
        entry.serial = serial.unwrap_or_default().into();
        let old = mem::replace(&mut entry.data, data()).reference();
        let new = entry.data.reference();
        if let Some(old) = old.filter(|old| Some(*old) != new) {
            self.unlink(place, key, old); // RTLM7a3, RTLM8a3
        }
        true
    }

    /// Removes the entries that are older than a serial (RTLM24). Returns the keys; nothing if a later clear was applied.
    fn clear_map(&mut self, place: Place, serial: &str) -> Option<Change> {
        let map = self.map_mut(place)?;
        if map.cleared.as_deref().is_some_and(|cleared| cleared > serial) {
            return None; // RTLM24c
        }
        map.cleared = Some(serial.into()); // RTLM24d
        let mut removed = Vec::new();
        let newer = |entry: &Entry| entry.serial.as_bytes() >= serial.as_bytes();
        map.entries.extract(|_, entry| newer(entry), |key, entry| removed.push((key, entry)));
        self.unlink_entries(place, removed.iter().map(|(key, entry)| (key, entry))); // RTLM24e1c
        // Removed entries are not kept: the clear's serial decides about operations on their keys (RTLM24e1a).
        Some(Change::Map(removed.into_iter().map(|(key, _)| (key, KeyChange::Removed)).collect()))
    }

    /// Merges the initial value of a map (RTLM23). Returns the keys that changed.
    pub(super) fn merge_map(
        &mut self,
        place: Place,
        create: &MapCreate,
        now: Millis,
    ) -> Vec<(Str, KeyChange)> {
        let mut changed = Vec::new();
        for (key, entry) in &create.entries {
            let serial = entry.timeserial.as_deref();
            let change = if entry.tombstone == Some(true) {
                // RTLM23a2
                let at = Self::deleted_at(entry.serial_timestamp, now);
                self.remove_key(place, key, serial, at).then_some(KeyChange::Removed)
            } else {
                // RTLM23a1
                self.set_key(place, key, entry.data.as_ref(), serial).then_some(KeyChange::Updated)
            };
            changed.extend(change.map(|change| (key.unshared(), change))); // RTLM23c
        }
        if let Some(map) = self.map_mut(place) {
            map.created = true; // RTLM23b
        }
        changed
    }
}

/// A text that is neither missing nor empty (RTLO4a3).
fn present(text: &Option<Str>) -> Option<&Str> {
    text.as_ref().filter(|text| !text.is_empty())
}

/// RTLC7d
fn apply_to_counter(
    counter: &mut CounterValue,
    action: Action,
    operation: &ObjectOperation,
) -> Result<Option<Change>, Ignored> {
    match action {
        // RTLC7d5, RTLC9
        Action::CounterInc => {
            let inc = operation.counter_inc.as_ref().ok_or(Ignored::NoPayload)?;
            let Some(number) = inc.number else { return Ok(None) }; // RTLC9h
            counter.data += number;
            Ok(Some(Change::Counter(number)))
        }
        // RTLC7d1, RTLC8
        Action::CounterCreate => {
            let create = initial_count(operation).ok_or(Ignored::NoPayload)?;
            Ok(merge_counter(counter, create).map(Change::Counter))
        }
        _ => Err(Ignored::WrongType), // RTLC7d3
    }
}

/// Merges the initial value of a counter (RTLC16). Returns the amount; none if there is none or it was merged before.
pub(super) fn merge_counter(counter: &mut CounterValue, create: &CounterCreate) -> Option<f64> {
    if counter.initial.is_some() {
        return None; // RTLC8b
    }
    counter.initial = Some(create.count.unwrap_or_default()); // RTLC16b
    let count = create.count?;
    counter.data += count; // RTLC16a
    Some(count)
}

/// The initial value of a map; of an operation of this client, the one from which it was made (RTLM23, RTLMV4j5).
pub(super) fn initial_map(operation: &ObjectOperation) -> Option<&MapCreate> {
    let own = || operation.map_create_with_object_id.as_ref()?.source.as_ref();
    operation.map_create.as_ref().or_else(own)
}

/// The initial value of a counter; of an operation of this client, the one from which it was made (RTLC16, RTLCV4g5).
pub(super) fn initial_count(operation: &ObjectOperation) -> Option<&CounterCreate> {
    let own = || operation.counter_create_with_object_id.as_ref()?.source.as_ref();
    operation.counter_create.as_ref().or_else(own)
}

#[cfg(test)]
mod counter_tests;
#[cfg(test)]
mod map_tests;
