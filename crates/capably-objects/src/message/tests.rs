use capably_protocol::object::{
    CounterCreate, CounterCreateWithObjectId, CounterInc, MapClear, MapCreateWithObjectId,
    MapRemove, MapSet, ObjectDelete, ObjectOperationAction as Action, ObjectsMapSemantics,
};

use super::*;
use crate::test_pool::*;

// Spec: PAOM1, PAOM2, PAOM2a, PAOM2b, PAOM2c, PAOM2d, PAOM2e, PAOM2f, PAOM2g, PAOM2h, PAOM2i, PAOM2j, PAOM3, PAOM3a, PAOM3b, PAOM3c, PAOM3d, PAOOP1, PAOOP2, PAOOP3, PAOOP3a, PAOM3a1, PAOOP2a, PAOOP2b, PAOOP2d
#[test]
fn the_message_of_an_operation_is_shown_whole() {
    let source = ObjectMessage {
        id: Some("id".into()),
        client_id: Some("me".into()),
        connection_id: Some("connection".into()),
        timestamp: Some(1),
        serial_timestamp: Some(2),
        extras: serde_json::json!({ "a": 1 }).as_object().cloned(),
        ..map_set("root", "key", number(1.0), "01")
    };
    let message = OperationMessage::new(&"channel".into(), &source).expect("an operation");
    let operation = source.operation.clone().map(|operation| *operation).expect("an operation");
    assert_eq!(
        message,
        OperationMessage {
            id: source.id,
            client_id: source.client_id,
            connection_id: source.connection_id,
            timestamp: Some(1),
            channel: "channel".into(),
            operation,
            serial: source.serial,
            serial_timestamp: Some(2),
            site_code: source.site_code,
            extras: source.extras,
        }
    );
    assert_eq!(OperationMessage::new(&"channel".into(), &ObjectMessage::default()), None);
}

/// The operation of a message as it is shown.
fn shown(message: &ObjectMessage) -> ObjectOperation {
    OperationMessage::new(&"channel".into(), message).expect("an operation").operation
}

// UTS: objects/unit/PAOOP3/map-create-from-with-object-id-0
// Spec: PAOOP3b, PAOOP3b1, PAOOP3b2, PAOOP3b3, PAOOP2c
#[test]
fn a_map_is_shown_by_its_initial_entries() {
    let id = "map:derived@3000";
    let initial = create([("x", entry(number(10.0), ""))]);
    let direct = map_create(id, initial.clone(), "01");
    let with_id = operation(Action::MapCreate, id, "01", |operation| {
        let source = Some(initial.clone());
        operation.map_create_with_object_id =
            Some(MapCreateWithObjectId { source, ..Default::default() });
    });
    let operation = shown(&with_id);
    assert_eq!(operation, shown(&direct));
    assert_eq!(
        (operation.action, operation.object_id.as_deref()),
        (Some(Action::MapCreate), Some(id))
    );
    assert_eq!(initial.semantics, Some(ObjectsMapSemantics::Lww));
    assert_eq!((operation.map_create, operation.counter_create), (Some(initial), None));
}

// UTS: objects/unit/PAOOP3/counter-create-from-with-object-id-0
// Spec: PAOOP3c, PAOOP3c1, PAOOP3c2, PAOOP3c3, PAOOP2f
#[test]
fn a_counter_is_shown_by_its_initial_count() {
    let id = "counter:derived@3000";
    let initial = CounterCreate { count: Some(100.0) };
    let direct = counter_create(id, Some(100.0), "01");
    let with_id = operation(Action::CounterCreate, id, "01", |operation| {
        operation.counter_create_with_object_id =
            Some(CounterCreateWithObjectId { source: Some(initial), ..Default::default() });
    });
    let operation = shown(&with_id);
    assert_eq!(operation, shown(&direct));
    assert_eq!(
        (operation.action, operation.object_id.as_deref()),
        (Some(Action::CounterCreate), Some(id))
    );
    assert_eq!((operation.counter_create, operation.map_create), (Some(initial), None));
}

// Spec: PAOOP2d, PAOOP2e, PAOOP2g, PAOOP2h, PAOOP2i, PAOOP3a
#[test]
fn the_field_of_each_action_is_shown() {
    let set = shown(&map_set("root", "key", number(1.0), "01"));
    assert_eq!(set.map_set, Some(MapSet { key: "key".into(), value: number(1.0) }));
    let remove = shown(&map_remove("root", "key", "01"));
    assert_eq!(remove.map_remove, Some(MapRemove { key: "key".into() }));
    let inc = shown(&counter_inc("counter:a@1", 5.0, "01"));
    assert_eq!(inc.counter_inc, Some(CounterInc { number: Some(5.0) }));
    assert_eq!(shown(&object_delete("map:a@1", "01")).object_delete, Some(ObjectDelete {}));
    assert_eq!(shown(&map_clear("root", "01")).map_clear, Some(MapClear {}));
}
