//! Tests of Ably's Universal Test Specification for the objects as plain data. Where the specification tests an object on
//! its own, the object is here in a channel's [`Objects`], with a subscription to it.

use capably_protocol::{
    Millis, ObjectMessage, Str,
    object::{ObjectData, ObjectState, ObjectsMap, ObjectsMapEntry},
};

use crate::{
    Change, Ignored, Objects, ObjectsEvent, OperationMessage, Source, Update, test_pool::*,
};

mod counter;
mod ids;
mod map;
mod parents;
mod pool;
mod references;

/// The subscription to the object of a test.
const SUBSCRIPTION: crate::SubscriptionId = crate::SubscriptionId(1);

/// The outcome of an operation: it changed something, changed nothing, or was not applied.
type Applied = Result<Option<Update>, Ignored>;

/// An operation that was applied, or a state, that changed nothing.
const NOOP: Applied = Ok(None);

/// The object of a test, with a subscription to it.
struct Subject {
    objects: Objects,
    id: Str,
}

impl Subject {
    /// An object without any operation. An entry of the root makes it, if it is not the root.
    fn new(id: &str) -> Self {
        let mut objects = Objects::new("test");
        objects.attached(false, NOW, &mut Vec::new());
        if id != "root" {
            let set =
                from_site("setup", map_set("root", "subject", ObjectData::reference(id), "00"));
            objects.object_frame([set], NOW, &mut Vec::new());
        }
        Self::of(objects, id)
    }

    /// The object of the first of these states.
    fn with<const N: usize>(states: [ObjectMessage; N]) -> Self {
        let id =
            states[0].object.as_ref().and_then(|state| state.object_id.clone()).expect("an id");
        let mut objects = Objects::new("test");
        objects.sync_frame(Some("setup:"), states, NOW, &mut Vec::new());
        Self::of(objects, &id)
    }

    fn of(mut objects: Objects, id: &str) -> Self {
        objects.subscribe_object(SUBSCRIPTION, &id.into()).expect("the object exists");
        Self { objects, id: id.into() }
    }

    /// Receives an operation of the channel. If it changes the object, the subscriber gets the change with the message.
    fn apply(&mut self, message: &ObjectMessage) -> Applied {
        let applied = self.objects.pool().clone().apply(message, Source::Channel, NOW);
        let mut events = Vec::new();
        self.objects.object_frame([message.clone()], NOW, &mut events);
        let expected = applied.as_ref().ok().and_then(Option::clone);
        assert_eq!(
            changes(events),
            expected.map(|update| { (update, OperationMessage::new(&"test".into(), message)) })
        );
        applied
    }

    /// Receives the state of the object in a sync. The subscriber gets the change, without an operation.
    fn replace(&mut self, state: ObjectMessage) -> Applied {
        let mut events = Vec::new();
        self.objects.sync_frame(Some("replace:"), [state], NOW, &mut events);
        Ok(changes(events).map(|(update, message)| {
            assert_eq!(message, None);
            update
        }))
    }

    /// The outcome of an operation that changed the object in this way.
    fn changed(&self, change: Change) -> Applied {
        Ok(Some(Update { object_id: self.id.clone(), change, tombstone: false }))
    }

    /// The outcome of an operation that deleted the object, and changed it in this way.
    fn deleted(&self, change: Change) -> Applied {
        Ok(Some(Update { object_id: self.id.clone(), change, tombstone: true }))
    }

    fn count(&self) -> f64 {
        count(self.objects.pool(), &self.id)
    }

    fn state(&self) -> ObjectState {
        let message = self.objects.pool().state(&self.id).expect("the object exists");
        *message.object.expect("the message of a state")
    }

    fn tombstoned_at(&self) -> Option<Millis> {
        self.objects.pool().tombstoned_at(&self.id)
    }

    /// Whether the create operation was merged.
    fn is_created(&self) -> bool {
        self.state().create_op.is_some()
    }

    fn site(&self, site: &str) -> Option<Str> {
        self.state().site_timeserials.remove(site)
    }

    /// The entry of a key, also of a removed one.
    fn entry(&self, key: &str) -> Option<ObjectsMapEntry> {
        let mut state = self.state();
        let initial = state.create_op.as_mut().and_then(|create| create.map_create.as_mut());
        let initial = initial.and_then(|create| create.entries.remove(key));
        state.map.expect("a map").entries.remove(key).or(initial)
    }

    fn cleared(&self) -> Option<Str> {
        self.state().map.expect("a map").clear_timeserial
    }
}

/// The only change among events.
fn changes(events: Vec<ObjectsEvent>) -> Option<(Update, Option<OperationMessage>)> {
    let mut changes = events.into_iter().filter_map(|event| match event {
        ObjectsEvent::ObjectChanged { subscription: SUBSCRIPTION, update, message } => {
            Some(((*update).clone(), message.map(|message| (*message).clone())))
        }
        _ => None,
    });
    let change = changes.next();
    assert_eq!(changes.next(), None, "one message changes an object once");
    change
}

/// The same message, with the time of its serial.
fn at(time: Millis, message: ObjectMessage) -> ObjectMessage {
    ObjectMessage { serial_timestamp: Some(time), ..message }
}

/// The same message from the site `site1`.
fn site1(message: ObjectMessage) -> ObjectMessage {
    from_site("site1", message)
}

/// The state of an object that has seen these serials.
fn object_state<const N: usize>(
    id: &str,
    sites: [(&str, &str); N],
    fill: impl FnOnce(&mut ObjectState),
) -> ObjectMessage {
    state(id, |state| {
        state.site_timeserials =
            sites.into_iter().map(|(site, serial)| (site.into(), serial.into())).collect();
        fill(state);
    })
}

/// The value of a map's state with these entries.
fn map_of<const N: usize>(list: [(&str, ObjectsMapEntry); N]) -> Option<ObjectsMap> {
    Some(ObjectsMap { entries: entries(list), ..ObjectsMap::default() })
}

/// The entry of a reference.
fn reference(id: &str, serial: &str) -> ObjectsMapEntry {
    entry(ObjectData::reference(id), serial)
}
