//! Random operations on the objects of a channel.

use capably_objects::{
    LiveCounter, LiveMap, LiveValue, NewIds, ROOT, clear, increment, remove, set,
};
use capably_protocol::{
    Millis, ObjectMessage, Str,
    object::{MapSet, ObjectData, ObjectDelete, ObjectOperation, ObjectOperationAction as Action},
};
use fastrand::Rng;

/// The most objects that clients know at a time. Few, so that operations meet.
const OBJECTS: usize = 24;

/// The keys of all maps.
const KEYS: [&str; 6] = ["a", "b", "c", "d.e", "*", "\u{1f9ed}"];

/// The objects of which clients know, though some may not exist yet, or may be deleted.
#[derive(Debug)]
pub(super) struct Known(Vec<Str>);

impl Default for Known {
    fn default() -> Self {
        Self(vec![Str::from_static(ROOT)])
    }
}

impl Known {
    /// Forgets an object. Nobody operates on one that was deleted a grace period ago.
    pub(super) fn forget(&mut self, id: &str) {
        self.0.retain(|known| &**known != id);
    }

    fn any(&self, rng: &mut Rng) -> Str {
        rng.choice(&self.0).cloned().unwrap_or_else(|| Str::from_static(ROOT))
    }

    /// Frames of random operations: one, or two of which the second has the creates of the first.
    pub(super) fn frames(&mut self, rng: &mut Rng, now: Millis) -> Vec<Vec<ObjectMessage>> {
        let mut frame = Vec::new();
        for _ in 0..rng.usize(1..4) {
            let id = self.any(rng);
            if id.starts_with("counter:") {
                match rng.u8(..40) {
                    0 => frame.push(delete(&id)),
                    _ => {
                        // Sums of quarters are exact, so that their order does not matter.
                        let amount = f64::from(rng.i32(-400..400)) / 4.0;
                        frame.push(increment(&id, amount).expect("a finite number"));
                    }
                }
                continue;
            }
            let key = *rng.choice(&KEYS).expect("there are keys");
            match rng.u8(..40) {
                0 if &*id != ROOT => frame.push(delete(&id)),
                1 | 2 => frame.push(clear(&id)),
                3..8 => frame.push(remove(&id, key)),
                8..12 => frame.push(refer(&id, key, self.any(rng))),
                12..16 if self.0.len() < OBJECTS => {
                    let value = match rng.u8(..3) {
                        0 => LiveValue::from(LiveCounter::new(2.5)),
                        1 => LiveMap::new()
                            .with("a", "initial")
                            .with("b", LiveCounter::default())
                            .into(),
                        _ => LiveMap::new().with("c", LiveMap::new().with("a", 7)).into(),
                    };
                    let mut ids = NewIds::new(now, || rng.u128(..).to_be_bytes());
                    let made = set(&id, key, value, &mut ids).expect("values that can be stored");
                    let creates = made.iter().filter_map(|it| it.operation.as_deref());
                    let is_create = |it: &&ObjectOperation| {
                        matches!(it.action, Some(Action::MapCreate | Action::CounterCreate))
                    };
                    self.0.extend(creates.filter(is_create).filter_map(|it| it.object_id.clone()));
                    frame.extend(made);
                }
                _ => frame.extend(
                    set(&id, key, leaf(rng), &mut NewIds::new(now, || [0; 16])).expect("a leaf"),
                ),
            }
        }
        let is_create = |message: &ObjectMessage| {
            let action = message.operation.as_ref().and_then(|it| it.action);
            matches!(action, Some(Action::MapCreate | Action::CounterCreate))
        };
        if rng.u8(..4) == 0 && frame.iter().any(is_create) {
            // Operations on objects come before their creates.
            let (creates, others) = frame.into_iter().partition(is_create);
            return vec![others, creates];
        }
        vec![frame]
    }
}

fn leaf(rng: &mut Rng) -> LiveValue {
    match rng.u8(..5) {
        0 => rng.bool().into(),
        1 => f64::from(rng.i32(..)).into(),
        2 => vec![rng.u8(..); 5].into(),
        3 => serde_json::json!({ "json": [rng.u8(..), null] }).into(),
        _ => format!("text {}", rng.u16(..)).into(),
    }
}

fn message(operation: ObjectOperation) -> ObjectMessage {
    ObjectMessage { operation: Some(Box::new(operation)), ..ObjectMessage::default() }
}

fn refer(id: &Str, key: &str, to: Str) -> ObjectMessage {
    message(ObjectOperation {
        action: Some(Action::MapSet),
        object_id: Some(id.clone()),
        map_set: Some(MapSet { key: key.into(), value: ObjectData::reference(to) }),
        ..ObjectOperation::default()
    })
}

fn delete(id: &Str) -> ObjectMessage {
    message(ObjectOperation {
        action: Some(Action::ObjectDelete),
        object_id: Some(id.clone()),
        object_delete: Some(ObjectDelete {}),
        ..ObjectOperation::default()
    })
}
