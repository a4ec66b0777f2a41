use capably_protocol::object::{
    CounterCreate, CounterCreateWithObjectId, MapCreateWithObjectId,
    ObjectOperationAction as Action,
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

// Spec: PAOOP3b, PAOOP3b1, PAOOP3b2, PAOOP3b3, PAOOP3c, PAOOP3c1, PAOOP3c2, PAOOP3c3, PAOOP2c, PAOOP2f
#[test]
fn a_create_is_shown_by_its_initial_value() {
    let shown = |message: &ObjectMessage| {
        OperationMessage::new(&"channel".into(), message).expect("an operation").operation
    };
    let initial = create([("a", entry(number(1.0), ""))]);
    let direct = map_create("map:a@1", initial.clone(), "01");
    let with_id = operation(Action::MapCreate, "map:a@1", "01", |operation| {
        let source = Some(initial);
        operation.map_create_with_object_id =
            Some(MapCreateWithObjectId { source, ..Default::default() });
    });
    assert_eq!(shown(&with_id), shown(&direct));
    assert!(shown(&direct).map_create.is_some() && shown(&direct).counter_create.is_none());
    let direct = counter_create("counter:a@1", Some(2.0), "01");
    let with_id = operation(Action::CounterCreate, "counter:a@1", "01", |operation| {
        let source = Some(CounterCreate { count: Some(2.0) });
        operation.counter_create_with_object_id =
            Some(CounterCreateWithObjectId { source, ..Default::default() });
    });
    assert_eq!(shown(&with_id), shown(&direct));
    assert!(shown(&direct).counter_create.is_some() && shown(&direct).map_create.is_none());
}
