//! Object messages on the wire, in both formats.

#![allow(missing_docs)]

use capably_protocol::{
    Format, Limits, ObjectMessage,
    codec::{self, encode_item},
    object::{ObjectData, ObjectOperationAction, ObjectValue},
};
use serde_json::{Value, json};

/// The message with this JSON form. It must have the same form again, and survive MessagePack.
fn read(wire: &Value) -> ObjectMessage {
    let item = |format, bytes: &[u8]| -> ObjectMessage {
        let items = codec::decode_items(format, &bytes.to_vec().into(), &Limits::default())
            .expect("a message");
        items.into_iter().next().expect("one message")
    };
    let message = item(Format::Json, wire.to_string().as_bytes());
    let text = encode_item(Format::Json, &message);
    assert_eq!(serde_json::from_slice::<Value>(&text).expect("JSON"), *wire);
    assert_eq!(item(Format::MsgPack, &encode_item(Format::MsgPack, &message)), message);
    message
}

fn operation(operation: Value) -> capably_protocol::object::ObjectOperation {
    *read(&json!({ "operation": operation })).operation.expect("an operation")
}

// Spec: OM1, OM2, OM2a, OM2b, OM2c, OM2d, OM2e, OM2f, OM2h, OM2i, OM2j, OM4, OM5
#[test]
fn a_message_has_every_field() {
    let message = read(&json!({
        "id": "c:0:0", "clientId": "me", "connectionId": "c", "extras": { "a": 1 }, "timestamp": 1,
        "operation": { "action": 5, "objectId": "map:a@1", "objectDelete": {} },
        "serial": "01", "serialTimestamp": 2, "siteCode": "eu",
    }));
    assert_eq!((message.id.as_deref(), message.client_id.as_deref()), (Some("c:0:0"), Some("me")));
    assert_eq!((message.timestamp, message.serial_timestamp), (Some(1), Some(2)));
    assert_eq!((message.serial.as_deref(), message.site_code.as_deref()), (Some("01"), Some("eu")));
    assert_eq!(message.connection_id.as_deref(), Some("c"));
    assert!(message.extras.is_some() && message.operation.is_some() && message.object.is_none());
}

// Spec: OM2a, OM2c, OM2e
#[test]
fn a_message_inherits_from_its_frame() {
    let mut message =
        ObjectMessage { connection_id: Some("own".into()), ..ObjectMessage::default() };
    message.inherit(Some(&"c:5".into()), 2, Some(&"c".into()), Some(9));
    assert_eq!(message.id.as_deref(), Some("c:5:2"));
    assert_eq!((message.connection_id.as_deref(), message.timestamp), (Some("own"), Some(9)));
}

// Spec: OOP1, OOP2, OOP3, OOP3a, OOP3b, OOP3k, OOP3l, OOP3n, OOP3o, OOP3r, MST1, MST2, MST2a, MST2b, MRM1, MRM2, MRM2a, CIN1, CIN2, CIN2a, ODE1, ODE2, MCL1, MCL2
#[test]
fn an_operation_has_the_field_of_its_action() {
    let set = operation(json!({
        "action": 1, "objectId": "root", "mapSet": { "key": "k", "value": { "string": "v" } },
    }));
    assert_eq!(set.action, Some(ObjectOperationAction::MapSet));
    let set = set.map_set.expect("a payload");
    assert_eq!((&*set.key, set.value.value), ("k", Some(ObjectValue::String("v".into()))));
    let remove = operation(json!({ "action": 2, "objectId": "root", "mapRemove": { "key": "k" } }));
    assert_eq!(remove.map_remove.map(|remove| remove.key).as_deref(), Some("k"));
    let inc = operation(json!({ "action": 4, "objectId": "c", "counterInc": { "number": -1.5 } }));
    assert_eq!(inc.counter_inc.and_then(|inc| inc.number), Some(-1.5));
    let delete = operation(json!({ "action": 5, "objectId": "c", "objectDelete": {} }));
    assert!(delete.object_delete.is_some() && delete.map_clear.is_none());
    let clear = operation(json!({ "action": 6, "objectId": "root", "mapClear": {} }));
    assert!(clear.map_clear.is_some() && clear.object_delete.is_none());
}

// Spec: OOP3j, OOP3m, OOP3p, OOP3q, MCR1, MCR2, MCR2a, MCR2b, CCR1, CCR2, CCR2a, MCRO1, MCRO2, MCRO2a, MCRO2b, CCRO1, CCRO2, CCRO2a, CCRO2b
#[test]
fn a_create_has_its_initial_value_or_its_text() {
    let map = operation(json!({
        "action": 0, "objectId": "map:a@1",
        "mapCreate": { "semantics": 0, "entries": { "k": { "data": { "number": 1 } } } },
    }));
    let map = map.map_create.expect("a payload");
    assert_eq!(map.entries["k"].data, Some(ObjectValue::Number(1.0).into()));
    let counter =
        operation(json!({ "action": 3, "objectId": "c", "counterCreate": { "count": 7 } }));
    assert_eq!(counter.counter_create.and_then(|create| create.count), Some(7.0));
    let with_id = json!({ "initialValue": "{}", "nonce": "0123456789abcdef" });
    let map = operation(json!({ "action": 0, "objectId": "m", "mapCreateWithObjectId": with_id }));
    let map = map.map_create_with_object_id.expect("a payload");
    assert_eq!((&*map.initial_value, &*map.nonce, map.source), ("{}", "0123456789abcdef", None));
    let counter =
        operation(json!({ "action": 3, "objectId": "c", "counterCreateWithObjectId": with_id }));
    let counter = counter.counter_create_with_object_id.expect("a payload");
    assert_eq!((&*counter.initial_value, &*counter.nonce), ("{}", "0123456789abcdef"));
    assert_eq!(counter.source, None);
}

// Spec: OM2g, OST1, OST2, OST2a, OST2b, OST2c, OST2d, OST2e, OST2f, OMP1, OMP2, OMP3, OMP3a, OMP3b, OMP3c, OME1, OME2, OME2a, OME2b, OME2c, OME2d, OCN1, OCN2, OCN2a
#[test]
fn a_state_has_every_field() {
    let state = read(&json!({ "object": {
        "objectId": "map:a@1", "siteTimeserials": { "eu": "01", "us": "02" }, "tombstone": false,
        "createOp": { "action": 0, "objectId": "map:a@1", "mapCreate": { "semantics": 0, "entries": {} } },
        "map": {
            "semantics": 0, "clearTimeserial": "00",
            "entries": {
                "gone": { "tombstone": true, "timeserial": "01", "serialTimestamp": 5 },
                "here": { "timeserial": "02", "data": { "objectId": "counter:b@1" } },
            },
        },
        "counter": { "count": 2.5 },
    } }));
    let state = state.object.expect("a state");
    assert_eq!(state.object_id.as_deref(), Some("map:a@1"));
    assert_eq!(state.site_timeserials["us"], "02");
    assert_eq!(state.tombstone, Some(false));
    assert!(state.create_op.is_some_and(|create| create.map_create.is_some()));
    assert_eq!(state.counter.and_then(|counter| counter.count), Some(2.5));
    let map = state.map.expect("a map");
    assert_eq!(map.clear_timeserial.as_deref(), Some("00"));
    assert_eq!(map.entries["gone"].serial_timestamp, Some(5));
    assert_eq!(map.entries["here"].data, Some(ObjectData::reference("counter:b@1")));
}
