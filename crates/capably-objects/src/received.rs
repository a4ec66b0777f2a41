//! The check of a client's operation by the service, and the form in which the service delivers it.

use capably_protocol::{
    ErrorCode, ErrorInfo,
    object::{
        MapCreate, ObjectData, ObjectOperation, ObjectOperationAction as Action, ObjectValue,
        ObjectsMapEntry, ObjectsMapSemantics,
    },
};
use serde::de::DeserializeOwned;

use crate::{ObjectId, ObjectType, ROOT};

/// Checks an operation that a client published (OOP3). Returns it as it is delivered: a create that came with an object id
/// has its initial value instead of the text and nonce, and fields of other actions are gone.
///
/// The check needs no pool. Whether the object exists, and whether the client may send the action, is for the caller.
///
/// ```
/// use capably_objects::{check_received, increment};
///
/// let message = increment("counter:a@1", 2.0)?;
/// let operation = message.operation.expect("an operation");
/// assert_eq!(check_received(*operation.clone())?, *operation);
/// # Ok::<(), capably_protocol::ErrorInfo>(())
/// ```
///
/// # Errors
/// * Code 92000 if the action is unknown or its field is missing, if the object id is missing, is of another type than
///   the action needs, or was not made from the initial value and nonce.
/// * Code 40003 if a number is not finite.
/// * Code 40013 if a value is of no kind that is known.
pub fn check_received(operation: ObjectOperation) -> Result<ObjectOperation, ErrorInfo> {
    let Some(action) = operation.action else { return Err(refused("the operation has no action")) };
    let id = operation.object_id.filter(|id| !id.is_empty());
    let Some(id) = id else { return Err(refused("the operation has no object id")) };
    let Some(object_type) = ObjectType::of(&id) else {
        return Err(refused("the object id begins with neither `map:` nor `counter:`"));
    };
    let needed = match action {
        Action::MapCreate | Action::MapSet | Action::MapRemove | Action::MapClear => {
            ObjectType::Map
        }
        Action::CounterCreate | Action::CounterInc => ObjectType::Counter,
        _ => object_type,
    };
    if needed != object_type {
        return Err(refused(&format!(
            "the operation needs the id of a {needed}, and this is a {object_type}"
        )));
    }
    let mut checked = ObjectOperation { action: Some(action), ..ObjectOperation::default() };
    match action {
        Action::MapSet => {
            let set = operation.map_set.ok_or_else(|| no_field("mapSet"))?;
            check_data(&set.value)?;
            checked.map_set = Some(set);
        }
        Action::MapRemove => {
            checked.map_remove = Some(operation.map_remove.ok_or_else(|| no_field("mapRemove"))?);
        }
        Action::CounterInc => {
            let inc = operation.counter_inc.ok_or_else(|| no_field("counterInc"))?;
            check_number(inc.number.ok_or_else(|| no_field("counterInc.number"))?)?;
            checked.counter_inc = Some(inc);
        }
        // Their fields are empty, and some clients leave them out.
        Action::MapClear => checked.map_clear = Some(operation.map_clear.unwrap_or_default()),
        Action::ObjectDelete => {
            checked.object_delete = Some(operation.object_delete.unwrap_or_default());
        }
        Action::MapCreate if id == ROOT => return Err(refused("the root exists in every channel")),
        Action::MapCreate => {
            let create = match operation.map_create_with_object_id {
                Some(create) => initial_value(&id, &create.initial_value, &create.nonce)?,
                None => operation.map_create.ok_or_else(|| no_field("mapCreateWithObjectId"))?,
            };
            checked.map_create = Some(checked_map(create)?);
        }
        Action::CounterCreate => {
            let create = match operation.counter_create_with_object_id {
                Some(create) => initial_value(&id, &create.initial_value, &create.nonce)?,
                None => {
                    operation.counter_create.ok_or_else(|| no_field("counterCreateWithObjectId"))?
                }
            };
            check_number(create.count.unwrap_or_default())?;
            checked.counter_create = Some(create);
        }
        _ => return Err(refused("the action of the operation is unknown")), // OOP2a
    }
    checked.object_id = Some(id);
    Ok(checked)
}

/// The initial value, if the object id was made from it (RTO14b).
fn initial_value<T: DeserializeOwned>(id: &str, text: &str, nonce: &str) -> Result<T, ErrorInfo> {
    id.parse::<ObjectId>()?.verify(text, nonce)?;
    serde_json::from_str(text)
        .map_err(|error| refused(&format!("the initial value is not valid: {error}")))
}

/// The initial value of a map with the values of its entries only: serials are the service's, and one of the future would
/// win over every later operation.
fn checked_map(create: MapCreate) -> Result<MapCreate, ErrorInfo> {
    // OMP2a
    if create.semantics.is_some_and(|semantics| semantics != ObjectsMapSemantics::Lww) {
        return Err(refused("the semantics of the map are unknown; use 0 for `LWW`"));
    }
    let entries = create.entries.into_iter().filter(|(_, entry)| entry.tombstone != Some(true));
    let entries = entries.map(|(key, entry)| {
        entry.data.as_ref().map_or(Ok(()), check_data)?;
        Ok((key, ObjectsMapEntry { data: entry.data, ..ObjectsMapEntry::default() }))
    });
    let entries = entries.collect::<Result<_, ErrorInfo>>()?;
    Ok(MapCreate { semantics: create.semantics, entries })
}

fn check_data(data: &ObjectData) -> Result<(), ErrorInfo> {
    match (&data.object_id, &data.value) {
        (_, Some(ObjectValue::Number(number))) => check_number(*number),
        (_, Some(_)) => Ok(()),
        (Some(id), None) if ObjectType::of(id).is_some() => Ok(()),
        (Some(_), None) => Err(refused("a value refers to an object whose id has no known type")),
        (None, None) => {
            let message = "a value is of no known kind; use one of `string`, `number`, `boolean`, `bytes`, `json`, `objectId`";
            Err(ErrorInfo::new(ErrorCode::INVALID_DATA_OR_ENCODING, 400, message))
        }
    }
}

fn check_number(number: f64) -> Result<(), ErrorInfo> {
    if number.is_finite() { Ok(()) } else { Err(crate::errors::not_finite("a number", number)) }
}

fn no_field(name: &str) -> ErrorInfo {
    refused(&format!("the operation lacks the field `{name}` of its action"))
}

fn refused(why: &str) -> ErrorInfo {
    ErrorInfo::new(ErrorCode::INVALID_OBJECT_MESSAGE, 400, why)
}

#[cfg(test)]
mod tests {
    use capably_protocol::{
        ObjectMessage,
        object::{CounterCreate, MapCreateWithObjectId},
    };

    use super::*;
    use crate::{
        LiveCounter, LiveMap, NewIds, OperationMessage, clear, increment, remove, set, test_pool::*,
    };

    fn operation_of(message: ObjectMessage) -> ObjectOperation {
        *message.operation.expect("an operation")
    }

    fn code(message: ObjectMessage) -> u32 {
        check_received(operation_of(message)).expect_err("refused").code.0
    }

    #[test]
    fn what_this_crate_makes_is_accepted_and_creates_get_their_value() {
        let tree = LiveMap::new()
            .with("votes", LiveCounter::new(2.0))
            .with("text", "x")
            .with("map", LiveMap::new());
        let mut messages =
            set("root", "tree", tree, &mut NewIds::new(NOW, || [5; 16])).expect("a tree");
        messages.extend([
            remove("root", "x"),
            clear("root"),
            increment("counter:a@1", 1.0).expect("a number"),
        ]);
        messages.push(object_delete("map:a@1", ""));
        for message in messages {
            let shown =
                OperationMessage::new(&"c".into(), &message).expect("an operation").operation;
            assert_eq!(check_received(operation_of(message)), Ok(shown));
        }
    }

    #[test]
    fn a_create_with_an_id_that_does_not_hash_is_refused() {
        let made = || {
            set("root", "k", LiveMap::new(), &mut NewIds::new(NOW, || [5; 16]))
                .expect("a map")
                .swap_remove(0)
        };
        let changed = |change: fn(&mut ObjectOperation, &mut MapCreateWithObjectId)| {
            let mut operation = operation_of(made());
            let mut create = operation.map_create_with_object_id.take().expect("a payload");
            change(&mut operation, &mut create);
            operation.map_create_with_object_id = Some(create);
            check_received(operation)
        };
        assert!(changed(|_, _| {}).is_ok());
        for result in [
            changed(|_, create| create.nonce = "another".into()),
            changed(|_, create| create.initial_value = r#"{"entries":{}}"#.into()),
            changed(|operation, _| operation.object_id = Some("map:abc@1".into())),
            changed(|operation, create| {
                create.initial_value = "not JSON".into();
                let id = ObjectId::generate(ObjectType::Map, "not JSON", &create.nonce, 1);
                operation.object_id = Some((&id).into());
            }),
        ] {
            assert_eq!(result.expect_err("refused").code.0, 92000);
        }
    }

    #[test]
    fn operations_without_sense_are_refused() {
        let plain = |action, id: &str| operation(action, id, "", |_| {});
        for message in [
            plain(Action::Unknown(99), "root"),
            plain(Action::MapSet, "root"),
            plain(Action::MapRemove, "root"),
            plain(Action::MapCreate, "map:a@1"),
            plain(Action::CounterCreate, "counter:a@1"),
            plain(Action::CounterInc, "counter:a@1"),
            counter_inc("counter:a@1", None, ""),
            counter_inc("map:a@1", 1.0, ""),
            counter_inc("list:a@1", 1.0, ""),
            counter_inc("", 1.0, ""),
            map_remove("counter:a@1", "k", ""),
            map_create("root", MapCreate::default(), ""),
            map_create(
                "map:a@1",
                MapCreate {
                    semantics: Some(ObjectsMapSemantics::Unknown(3)),
                    ..MapCreate::default()
                },
                "",
            ),
            map_set("root", "k", ObjectData::reference("list:a@1"), ""),
        ] {
            assert_eq!(code(message.clone()), 92000, "{message:?}");
        }
        assert_eq!(check_received(ObjectOperation::default()).expect_err("refused").code.0, 92000);
        assert_eq!(code(map_set("root", "k", ObjectData::default(), "")), 40013);
        let nothing =
            ObjectsMapEntry { data: Some(ObjectData::default()), ..ObjectsMapEntry::default() };
        assert_eq!(code(map_create("map:a@1", create([("k", nothing)]), "")), 40013);
        assert_eq!(code(map_set("root", "k", number(f64::NAN), "")), 40003);
        assert_eq!(code(counter_inc("counter:a@1", f64::INFINITY, "")), 40003);
        assert_eq!(code(counter_create("counter:a@1", Some(f64::NAN), "")), 40003);
    }

    #[test]
    fn a_client_cannot_choose_the_serials_of_entries() {
        let plain = ObjectsMapEntry { data: Some(number(1.0)), ..ObjectsMapEntry::default() };
        let future = create([("k", entry(number(1.0), "zzz")), ("gone", removed("zzz", Some(9)))]);
        let checked = check_received(operation_of(map_create("map:a@1", future, "")));
        assert_eq!(checked.expect("accepted").map_create, Some(create([("k", plain)])));
    }

    #[test]
    fn fields_of_other_actions_are_dropped() {
        let mut operation = operation_of(counter_inc("counter:a@1", 1.0, ""));
        operation.counter_create = Some(CounterCreate { count: Some(1e9) });
        let expected = operation_of(counter_inc("counter:a@1", 1.0, ""));
        assert_eq!(check_received(operation), Ok(expected));
    }
}
