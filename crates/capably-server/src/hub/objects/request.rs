//! Operations of REST requests, on an object or on everything at a path.

use std::borrow::Cow;

use capably_objects::{ObjectId, ObjectType, ObjectsPool, Source, ValueRef};
use capably_protocol::{
    ErrorInfo, JsonObject, Millis, ObjectMessage, Str,
    object::{
        CounterCreate, CounterCreateWithObjectId, CounterInc, MapClear, MapCreate,
        MapCreateWithObjectId, MapRemove, MapSet, ObjectData, ObjectDelete, ObjectOperation,
        ObjectOperationAction as Action,
    },
};
use serde::Deserialize;

use super::path::{Pattern, Segment, object};
use crate::hub::{error, log::position::MAX_ITEMS};

/// An operation of a request. Its payload says what it does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RestOperation {
    /// Chosen by the publisher, so that the operation is applied once.
    pub(crate) id: Option<Str>,
    client_id: Option<Str>,
    extras: Option<JsonObject>,
    object_id: Option<Str>,
    path: Option<String>,
    map_create: Option<MapCreate>,
    map_set: Option<MapSet>,
    map_remove: Option<MapRemove>,
    map_clear: Option<MapClear>,
    counter_create: Option<CounterCreate>,
    counter_inc: Option<CounterInc>,
    object_delete: Option<ObjectDelete>,
    map_create_with_object_id: Option<MapCreateWithObjectId>,
    counter_create_with_object_id: Option<CounterCreateWithObjectId>,
}

/// The messages of a request.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) messages: Vec<ObjectMessage>,
    /// The objects that the answer names: new ones, and those that change.
    pub(crate) object_ids: Vec<Str>,
}

/// New ids of objects.
pub(crate) struct NewObjects<'a> {
    /// A random text for each.
    pub(crate) nonce: &'a mut dyn FnMut() -> Result<Str, ErrorInfo>,
    /// In ms since the epoch.
    pub(crate) now: Millis,
}

impl NewObjects<'_> {
    fn id(&mut self, object_type: ObjectType, initial_value: &str) -> Result<Str, ErrorInfo> {
        let nonce = (self.nonce)()?;
        Ok(Str::from(&ObjectId::generate(object_type, initial_value, &nonce, self.now)))
    }
}

/// The messages of operations, each of which finds the objects that those before it have made.
///
/// # Errors
/// 92000 for not exactly one payload, 92004 for an unknown object, 92005 for a path without a value, 92006 without an object
/// and a path, 92007 for a value that the operation does not fit, 40034 for too many values.
pub(crate) fn resolve(
    operations: Vec<RestOperation>,
    pool: &ObjectsPool,
    new: &mut NewObjects<'_>,
) -> Result<Resolved, ErrorInfo> {
    let mut pool = Cow::Borrowed(pool);
    let mut resolved = Resolved::default();
    let mut rest = operations.into_iter();
    while let Some(operation) = rest.next() {
        let start = resolved.messages.len();
        operation.resolve(&pool, new, &mut resolved)?;
        if resolved.messages.len() > MAX_ITEMS {
            return Err(error::too_many_messages(MAX_ITEMS));
        }
        if rest.len() > 0 {
            let made = resolved.messages.iter().enumerate().skip(start);
            made.for_each(|(index, message)| preview(pool.to_mut(), index, message, new.now));
        }
    }
    Ok(resolved)
}

/// Applies a message to a copy of the objects, before it is committed.
fn preview(pool: &mut ObjectsPool, index: usize, message: &ObjectMessage, now: Millis) {
    // Later than any serial, as those begin with a digit.
    let serial = Some(format!("~{index:03}").into());
    let message = ObjectMessage { serial, site_code: Some("~".into()), ..message.clone() };
    let _ = pool.apply(&message, Source::Channel, now);
}

impl RestOperation {
    fn resolve(
        self,
        pool: &ObjectsPool,
        new: &mut NewObjects<'_>,
        to: &mut Resolved,
    ) -> Result<(), ErrorInfo> {
        let Self { client_id, extras, object_id, path, .. } = self.clone();
        let operation = self.payload()?;
        let mut push = |operation: ObjectOperation, id: &Str| {
            let operation =
                Some(Box::new(ObjectOperation { object_id: Some(id.clone()), ..operation }));
            let (client_id, extras) = (client_id.clone(), extras.clone());
            to.messages.push(ObjectMessage { client_id, extras, operation, ..Default::default() });
        };
        if !matches!(operation.action, Some(Action::MapCreate | Action::CounterCreate)) {
            for id in targets(pool, object_id.as_deref(), path.as_deref(), &operation)? {
                push(operation.clone(), &id);
                to.object_ids.push(id);
            }
            return Ok(());
        }
        let is_plain = operation.map_create.is_some() || operation.counter_create.is_some();
        if !is_plain && object_id.is_none() {
            return Err(error::no_object_reference());
        }
        if is_plain && object_id.is_some() && path.is_none() {
            return Err(error::bad_operation(
                "the id of a new object is made from its initial value",
            ));
        }
        // The object of a plain create is where the path begins.
        let start = object_id.as_deref().filter(|_| is_plain);
        let places = match path {
            Some(path) => new_places(pool, start, &path)?.into_iter().map(Some).collect(),
            None => vec![None],
        };
        for place in places {
            let id = match &object_id {
                Some(id) if !is_plain => id.clone(),
                Some(_) | None => initial_id(&operation, new)?,
            };
            push(operation.clone(), &id);
            to.object_ids.push(id.clone());
            if let Some((map, key)) = place {
                let value = ObjectData::reference(id);
                let operation = ObjectOperation {
                    action: Some(Action::MapSet),
                    map_set: Some(MapSet { key, value }),
                    ..ObjectOperation::default()
                };
                push(operation, &map);
            }
        }
        Ok(())
    }

    /// The operation without its object.
    ///
    /// # Errors
    /// Code 92000 for not exactly one payload.
    fn payload(self) -> Result<ObjectOperation, ErrorInfo> {
        let Self { map_create, map_set, map_remove, map_clear, .. } = self;
        let Self { counter_create, counter_inc, object_delete, .. } = self;
        let (map_with_id, counter_with_id) =
            (self.map_create_with_object_id, self.counter_create_with_object_id);
        let actions = [
            (map_create.is_some(), Action::MapCreate),
            (map_with_id.is_some(), Action::MapCreate),
            (map_set.is_some(), Action::MapSet),
            (map_remove.is_some(), Action::MapRemove),
            (map_clear.is_some(), Action::MapClear),
            (counter_create.is_some(), Action::CounterCreate),
            (counter_with_id.is_some(), Action::CounterCreate),
            (counter_inc.is_some(), Action::CounterInc),
            (object_delete.is_some(), Action::ObjectDelete),
        ];
        let mut actions = actions.into_iter().filter(|(is_given, _)| *is_given);
        let (Some((_, action)), None) = (actions.next(), actions.next()) else {
            return Err(error::bad_operation("an operation needs exactly one of its payloads"));
        };
        Ok(ObjectOperation {
            action: Some(action),
            object_id: None,
            map_create,
            map_set,
            map_remove,
            map_clear,
            counter_create,
            counter_inc,
            object_delete,
            map_create_with_object_id: map_with_id,
            counter_create_with_object_id: counter_with_id,
        })
    }
}

/// The objects that an operation changes.
fn targets(
    pool: &ObjectsPool,
    object_id: Option<&str>,
    path: Option<&str>,
    operation: &ObjectOperation,
) -> Result<Vec<Str>, ErrorInfo> {
    if object_id.is_none() && path.is_none() {
        return Err(error::no_object_reference());
    }
    let start = object(pool, object_id)?;
    let Some(text) = path else { return Ok(start.object_id().cloned().into_iter().collect()) };
    let path = Pattern::parse(text);
    let found = path.find(start)?;
    if found.is_empty() {
        return Err(error::nothing_at_path(text));
    }
    let fits = |value: &ValueRef<'_>| match operation.action {
        Some(Action::CounterInc) => matches!(value, ValueRef::Counter(_)),
        Some(Action::ObjectDelete) => value.object_id().is_some(),
        _ => matches!(value, ValueRef::Map(_)),
    };
    let fitting = found.into_iter().filter(fits);
    let ids: Vec<Str> = fitting.filter_map(|value| value.object_id().cloned()).collect();
    match (ids.is_empty(), path.has_wildcard()) {
        (false, _) => Ok(ids),
        (true, true) => Err(error::nothing_at_path(text)),
        (true, false) => Err(error::misfit_at_path(text)),
    }
}

/// The maps and the keys at which a new object is set.
fn new_places(
    pool: &ObjectsPool,
    start: Option<&str>,
    text: &str,
) -> Result<Vec<(Str, Str)>, ErrorInfo> {
    // The path of the object itself has no key.
    let path = Pattern::parse(text);
    let (parents, key) = path.split_last().ok_or_else(|| error::misfit_at_path(text))?;
    let found = parents.find(object(pool, start)?)?;
    let is_missing = found.is_empty() || parents.has_wildcard();
    let maps: Vec<_> = found.into_iter().filter_map(ValueRef::as_map).collect();
    let places: Vec<(Str, Str)> = match &key {
        Segment::Key(key) => maps.iter().map(|map| (map.id().clone(), key.clone())).collect(),
        Segment::Any => {
            let keys = maps.iter().flat_map(|map| map.keys().map(|key| (map.id(), key)));
            keys.map(|(map, key)| (map.clone(), key.clone())).collect()
        }
    };
    match places.is_empty() {
        false => Ok(places),
        true if is_missing || key == Segment::Any => Err(error::nothing_at_path(text)),
        true => Err(error::misfit_at_path(text)),
    }
}

/// The id of a new object with the initial value of a plain create.
fn initial_id(operation: &ObjectOperation, new: &mut NewObjects<'_>) -> Result<Str, ErrorInfo> {
    let text = |value: serde_json::Result<String>| {
        value.map_err(|problem| {
            error::bad_operation(format!("an initial value is invalid: {problem}"))
        })
    };
    match (&operation.map_create, &operation.counter_create) {
        (Some(create), _) => new.id(ObjectType::Map, &text(serde_json::to_string(create))?),
        (None, create) => new.id(ObjectType::Counter, &text(serde_json::to_string(create))?),
    }
}
