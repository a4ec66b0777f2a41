//! The pages of a sync (RTO5a, RTO5f).

use capably_protocol::{ObjectMessage, Str};

use crate::{entry::Place, index::PlaceIndex};

/// The states that arrived during a sync: the SyncObjectsPool.
#[derive(Debug, Default)]
pub(crate) struct SyncPages {
    /// The sequence id of the sync under way.
    sequence: Option<Str>,
    /// One message per object, in the order of arrival.
    messages: Vec<ObjectMessage>,
    /// The places of the messages by the ids of their objects.
    places: PlaceIndex,
}

impl SyncPages {
    /// A page begins. The first page of another sequence replaces the sync under way (RTO5a2). Returns whether the page is the
    /// last.
    pub(crate) fn begin_page(&mut self, channel_serial: Option<&str>) -> bool {
        // RTO5a1. A sync without a serial is in one page (RTO5a5).
        let (sequence, cursor) = match channel_serial.and_then(|serial| serial.split_once(':')) {
            Some((sequence, cursor)) => (Some(sequence), cursor),
            None => (None, ""),
        };
        // A sync without a serial ends with its page, and leaves nothing behind.
        if self.sequence.as_deref() != sequence {
            *self = Self { sequence: sequence.map(Str::from), ..Self::default() }; // RTO5a2a
        }
        cursor.is_empty() // RTO5a4
    }

    /// Stores the state of an object, or merges a further part of it (RTO5f).
    pub(crate) fn add(&mut self, mut message: ObjectMessage) {
        let Some(state) = message.object.as_deref_mut() else { return }; // RTO5d
        let Some(id) = &state.object_id else {
            tracing::warn!("the state of an object has no object id");
            return;
        };
        if state.map.is_none() && state.counter.is_none() {
            tracing::warn!(object = %id, "the state of an object is of an unsupported type"); // RTO5f3
            return;
        }
        let new = Place(u32::try_from(self.messages.len()).unwrap_or(u32::MAX));
        let existing = self.places.find_or_insert(id, new, |place| id_of(&self.messages, place));
        let Some(existing) = existing.and_then(|place| self.messages.get_mut(place.index())) else {
            // RTO5f1
            self.messages.push(message);
            return;
        };
        // RTO5f2: the service splits a large map.
        let Some(map) = &mut state.map else {
            tracing::error!(object = %id, "the state of a counter came in parts"); // RTO5f2b
            return;
        };
        if state.tombstone == Some(true) {
            *existing = message; // RTO5f2a1
        } else if let Some(whole) = existing.object.as_mut().and_then(|state| state.map.as_mut()) {
            whole.entries.append(&mut map.entries); // RTO5f2a2
        } else {
            tracing::error!(object = %id, "the parts of an object's state are of two types");
        }
    }

    /// Ends the sync (RTO5c3, RTO5c4). Returns its states.
    pub(crate) fn take(&mut self) -> Vec<ObjectMessage> {
        std::mem::take(self).messages
    }
}

/// The object that a stored message is of.
fn id_of(messages: &[ObjectMessage], place: Place) -> &Str {
    static NONE: Str = Str::new();
    let state = messages.get(place.index()).and_then(|message| message.object.as_deref());
    state.and_then(|state| state.object_id.as_ref()).unwrap_or(&NONE)
}
