//! The checks of operations that clients publish.

use std::collections::BTreeMap;

use capably_objects::{ObjectId, ObjectType, ROOT};
use capably_protocol::{
    ErrorInfo, ObjectMessage, Str,
    object::{
        CounterCreate, CounterInc, MapClear, MapCreate, MapRemove, MapSet, ObjectData,
        ObjectDelete, ObjectOperation, ObjectOperationAction as Action, ObjectValue,
        ObjectsMapEntry, ObjectsMapSemantics,
    },
};

use super::ChannelObjects;
use crate::hub::{
    access::{claims, identity::Identity},
    error,
    log::position::MAX_ITEMS,
};

/// The form of creates that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creates {
    /// With an initial value as text, from which the id was made.
    WithObjectId,
    /// Plain, too: this server has made the id.
    Plain,
}

/// Checks every operation, stamps it, and rewrites a create with an object id to the plain create that it stands for.
/// Returns their size, too.
///
/// An operation on an object that does not exist is accepted: its create may be on its way, and every replica makes the
/// same object of it (RTO6).
///
/// # Errors
/// 92000 for an invalid operation, and for an increment that would make its counter infinite; 92006 for one without an
/// object id, 92002 for one on a deleted object; 40000 for no operation, 40034 for too many, 40012 for a client id, 40009
/// for the size.
pub(crate) fn check_operations(
    channel: &str,
    mut messages: Vec<ObjectMessage>,
    identity: &Identity,
    (objects, creates): (Option<&ChannelObjects>, Creates),
    max_message_size: usize,
) -> Result<(Vec<ObjectMessage>, usize), ErrorInfo> {
    if messages.is_empty() {
        return Err(error::bad_request("there is no operation to publish"));
    }
    if messages.len() > MAX_ITEMS {
        return Err(error::too_many_messages(MAX_ITEMS));
    }
    let claim = identity.user_claim(channel);
    let mut counters = CounterRange { objects, sums: BTreeMap::new() };
    let mut size = 0;
    for message in &mut messages {
        let ObjectMessage { id, client_id, extras, operation, .. } = std::mem::take(message);
        let operation = operation.ok_or_else(|| invalid("an object message needs an `operation`"));
        let operation = checked(*operation?, creates)?;
        let deleted = |id: &Str| objects.and_then(|it| it.pool().tombstoned_at(id)).is_some();
        if let Some(id) = operation.object_id.as_ref().filter(|id| deleted(id)) {
            return Err(error::deleted_object(id));
        }
        counters.require(&operation)?;
        // Only the server sets the other fields. A client must not forge them.
        message.id = id;
        message.client_id = identity.client_id_for(client_id)?;
        message.extras = extras;
        claims::stamp(&mut message.extras, claim);
        message.operation = Some(Box::new(operation));
        size += message.size();
    }
    if size > max_message_size {
        return Err(error::message_too_large(size, max_message_size));
    }
    Ok((messages, size))
}

/// Checks that counters stay finite: JSON has no infinite numbers, so clients would see different values.
///
/// Increments that are committed between the check and the commit may still add up to more. Then the counter is
/// infinite, and a client in JSON reads it as null.
struct CounterRange<'a> {
    objects: Option<&'a ChannelObjects>,
    /// The counters with the increments so far.
    sums: BTreeMap<Str, f64>,
}

impl CounterRange<'_> {
    fn require(&mut self, operation: &ObjectOperation) -> Result<(), ErrorInfo> {
        let amount = match (&operation.counter_inc, &operation.counter_create) {
            (Some(inc), _) => inc.number,
            (None, create) => create.as_ref().and_then(|create| create.count),
        };
        let (Some(amount), Some(id)) = (amount, &operation.object_id) else { return Ok(()) };
        let sum = self.sums.entry(id.clone()).or_insert_with(|| {
            let counter = self.objects.and_then(|it| it.pool().object(id)?.as_counter());
            counter.map_or(0.0, |counter| counter.value())
        });
        let after = *sum + amount;
        if sum.is_finite() && !after.is_finite() {
            return Err(invalid(format!(
                "the counter `{id}` is {sum:e}, and would be infinite with {amount:e} more"
            )));
        }
        *sum = after;
        Ok(())
    }
}

/// The operation with the payload of its action alone.
fn checked(operation: ObjectOperation, creates: Creates) -> Result<ObjectOperation, ErrorInfo> {
    let action = operation.action.ok_or_else(|| invalid("an operation needs an `action`"))?;
    let id = operation.object_id.as_ref().filter(|id| !id.is_empty());
    let id = id.ok_or_else(error::no_object_reference)?;
    let object_type = type_of(id)?;
    let mut clean = ObjectOperation {
        action: Some(action),
        object_id: Some(Str::from(&**id)),
        ..ObjectOperation::default()
    };
    match (action, object_type) {
        (Action::MapCreate, ObjectType::Map) => {
            if let (Creates::Plain, Some(create)) = (creates, operation.map_create) {
                clean.map_create = Some(checked_map(create)?);
                return Ok(clean);
            }
            let create = operation.map_create_with_object_id;
            let create = create.ok_or_else(|| missing("mapCreateWithObjectId"))?;
            verify(id, &create.initial_value, &create.nonce)?;
            clean.map_create = Some(checked_map(initial_value(&create.initial_value)?)?);
        }
        (Action::MapSet, ObjectType::Map) => {
            let MapSet { key, value } = operation.map_set.ok_or_else(|| missing("mapSet"))?;
            clean.map_set = Some(MapSet { key, value: checked_data(value)? });
        }
        (Action::MapRemove, ObjectType::Map) => {
            let remove: MapRemove = operation.map_remove.ok_or_else(|| missing("mapRemove"))?;
            clean.map_remove = Some(remove);
        }
        (Action::MapClear, ObjectType::Map) => clean.map_clear = Some(MapClear {}),
        (Action::CounterCreate, ObjectType::Counter) => {
            if let (Creates::Plain, Some(create)) = (creates, operation.counter_create) {
                clean.counter_create = Some(checked_counter(create)?);
                return Ok(clean);
            }
            let create = operation.counter_create_with_object_id;
            let create = create.ok_or_else(|| missing("counterCreateWithObjectId"))?;
            verify(id, &create.initial_value, &create.nonce)?;
            clean.counter_create = Some(checked_counter(initial_value(&create.initial_value)?)?);
        }
        (Action::CounterInc, ObjectType::Counter) => {
            let inc = operation.counter_inc.and_then(|inc| inc.number);
            let number = finite(inc.ok_or_else(|| missing("counterInc"))?)?;
            clean.counter_inc = Some(CounterInc { number: Some(number) });
        }
        (Action::ObjectDelete, _) if *id == ROOT => {
            return Err(invalid("the root cannot be deleted"));
        }
        (Action::ObjectDelete, _) => clean.object_delete = Some(ObjectDelete {}),
        (Action::Unknown(number), _) => {
            return Err(invalid(format!("the action {number} of the operation is unknown")));
        }
        (_, object_type) => {
            return Err(invalid(format!(
                "the action of the operation does not fit a {object_type}"
            )));
        }
    }
    Ok(clean)
}

/// The type of the object, whose id is `root` or complete.
fn type_of(id: &str) -> Result<ObjectType, ErrorInfo> {
    match id {
        ROOT => Ok(ObjectType::Map),
        id => Ok(id.parse::<ObjectId>()?.object_type),
    }
}

/// Checks that the id of a new object was made from its initial value: nobody can choose the id of another object (RTO14).
fn verify(id: &str, initial_value: &str, nonce: &str) -> Result<(), ErrorInfo> {
    if id == ROOT {
        return Err(invalid("the root exists, and is not created"));
    }
    if nonce.is_empty() {
        return Err(missing("nonce"));
    }
    Ok(id.parse::<ObjectId>()?.verify(initial_value, nonce)?)
}

fn initial_value<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ErrorInfo> {
    serde_json::from_str(text).map_err(|problem| {
        invalid(format!("the `initialValue` of an object is invalid: {problem}"))
    })
}

/// The initial value of a map, without what only the server sets.
fn checked_map(create: MapCreate) -> Result<MapCreate, ErrorInfo> {
    let MapCreate { semantics, entries } = create;
    if !matches!(semantics, None | Some(ObjectsMapSemantics::Lww)) {
        return Err(invalid("the `semantics` of a map are unknown; use 0"));
    }
    let entries = entries.into_iter().map(|(key, entry)| {
        let data = entry.data.ok_or_else(|| missing("data"))?;
        let data = Some(checked_data(data)?);
        Ok((key, ObjectsMapEntry { data, ..ObjectsMapEntry::default() }))
    });
    let entries = entries.collect::<Result<BTreeMap<_, _>, ErrorInfo>>()?;
    Ok(MapCreate { semantics: Some(ObjectsMapSemantics::Lww), entries })
}

/// The initial value of a counter; 0 if none is given.
fn checked_counter(create: CounterCreate) -> Result<CounterCreate, ErrorInfo> {
    Ok(CounterCreate { count: Some(finite(create.count.unwrap_or_default())?) })
}

/// A leaf, or a reference to an object with a complete id. The object need not exist yet.
fn checked_data(data: ObjectData) -> Result<ObjectData, ErrorInfo> {
    let ObjectData { object_id, value, encoding } = data;
    if let Some(value) = value {
        if let ObjectValue::Number(number) = value {
            finite(number)?;
        }
        return Ok(ObjectData { object_id: None, value: Some(value), encoding });
    }
    let id = object_id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| {
        invalid(
            "a value needs one of `string`, `number`, `boolean`, `bytes`, `json` and `objectId`",
        )
    })?;
    type_of(&id)?;
    Ok(ObjectData::reference(id))
}

fn finite(number: f64) -> Result<f64, ErrorInfo> {
    if number.is_finite() { Ok(number) } else { Err(invalid("a number must be finite")) }
}

fn missing(field: &str) -> ErrorInfo {
    invalid(format!("an operation needs the field `{field}`"))
}

fn invalid(message: impl Into<Str>) -> ErrorInfo {
    error::bad_operation(message)
}
