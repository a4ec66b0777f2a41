//! Object messages (OM).

mod data;
mod operation;
mod state;

pub(crate) use data::DataFields;
pub use data::{ObjectData, ObjectValue};
pub use operation::{
    CounterCreate, CounterCreateWithObjectId, CounterInc, MapClear, MapCreate,
    MapCreateWithObjectId, MapRemove, MapSet, ObjectDelete, ObjectOperation, ObjectOperationAction,
};
pub use state::{ObjectState, ObjectsCounter, ObjectsMap, ObjectsMapEntry, ObjectsMapSemantics};

use crate::{JsonObject, Millis, Str, data::json_size, wire::wire};

wire! {
    /// An object message: an operation, or the state of an object in a sync (OM2).
    #[derive(Clone, Default, PartialEq)]
    pub struct ObjectMessage: Direct {
        /// Unique id (OM2a).
        pub id: Option<Str> = "id";
        /// The publisher's client id (OM2b).
        pub client_id: Option<Str> = "clientId";
        /// The publisher's connection (OM2c).
        pub connection_id: Option<Str> = "connectionId";
        /// Metadata (OM2d).
        pub extras: Option<JsonObject> = "extras";
        /// When it was published, in ms since the epoch (OM2e).
        pub timestamp: Option<Millis> = "timestamp";
        /// The operation on an object, in an OBJECT frame (OM2f).
        pub operation: Option<Box<ObjectOperation>> = "operation";
        /// The state of an object, in an OBJECT_SYNC frame (OM2g).
        pub object: Option<Box<ObjectState>> = "object";
        /// Identifies the message and orders it among those of its site (OM2h).
        pub serial: Option<Str> = "serial";
        /// When the serial was made, in ms since the epoch (OM2j).
        pub serial_timestamp: Option<Millis> = "serialTimestamp";
        /// The site that made the serial (OM2i).
        pub site_code: Option<Str> = "siteCode";
    }

    /// Completes a received message, item number `index` of its frame, from that frame (OM2a, OM2c, OM2e).
    fn inherit(id, connection_id, timestamp);
}

impl ObjectMessage {
    /// The size that counts against `maxMessageSize`, in bytes (OM3).
    pub fn size(&self) -> usize {
        self.client_id.as_ref().map_or(0, |id| id.len())
            + self.operation.as_ref().map_or(0, |operation| operation.size())
            + self.object.as_ref().map_or(0, |object| object.size())
            + self.extras.as_ref().map_or(0, json_size)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Spec: OM3, OM3a, OM3b, OM3c, OM3d, OM3e, OM3f, OOP4, OOP4g, OOP4h, OOP4h1, OOP4h2, OOP4h3, OOP4i, OOP4k, OOP4k3, OOP4l, OOP4f, OST3, OST3a, OST3b, OST3c, OST3d, OST3e, MCR3, MCR3a, MCR3a1, MCR3a2, MST3, MST3a, MST3b, MST3c, OMP4, OMP4a, OMP4a1, OMP4a2, OCN3, OCN3a, OME3, OME3a, OME3b, OME3c, OD3, OD3a, OD3b, OD3c, OD3d, OD3e, OD3f, OD3g, CIN3, CIN3a, CCR3, CCR3a, CCR3b, CIN3b, MRM3, MRM3a, MRM3b, OCN3b, OOP4j, OOP4k1, OOP4k2, MCR3b, MST3d, OMP4b
    #[test]
    fn sizes_count_what_the_specification_says() {
        let entry = |value: ObjectValue| ObjectsMapEntry {
            timeserial: Some("not counted".into()),
            data: Some(value.into()),
            ..ObjectsMapEntry::default()
        };
        let entries = [
            ("a".into(), entry(ObjectValue::Boolean(true))),
            ("bb".into(), entry(ObjectValue::Number(0.5))),
            ("c".into(), entry(ObjectValue::Bytes(vec![0; 5].into()))),
            ("d".into(), entry(ObjectValue::String("é".into()))),
            ("e".into(), entry(ObjectValue::Json(json!({ "x": [] })))),
            ("f".into(), ObjectsMapEntry::default()),
        ];
        let counted = 7 + 1 + 8 + 5 + 2 + 8;
        let create = MapCreate { entries: entries.into(), ..MapCreate::default() };
        let operation = |operation| ObjectMessage {
            operation: Some(Box::new(operation)),
            ..ObjectMessage::default()
        };
        let direct =
            operation(ObjectOperation { map_create: Some(create.clone()), ..Default::default() });
        assert_eq!(direct.size(), counted);
        let with_id = MapCreateWithObjectId {
            initial_value: "not counted".into(),
            source: Some(create.clone()),
            ..MapCreateWithObjectId::default()
        };
        let with_id = operation(ObjectOperation {
            map_create_with_object_id: Some(with_id),
            ..ObjectOperation::default()
        });
        assert_eq!(with_id.size(), counted);
        let set = MapSet { key: "key".into(), value: ObjectValue::Number(1.0).into() };
        let inc = CounterInc { number: Some(1.0) };
        let both = operation(ObjectOperation {
            map_set: Some(set),
            counter_inc: Some(inc),
            ..ObjectOperation::default()
        });
        assert_eq!(both.size(), 3 + 8 + 8);
        let remove = MapRemove { key: "keys".into() };
        let remove = ObjectOperation { map_remove: Some(remove), ..ObjectOperation::default() };
        assert_eq!(operation(remove).size(), 4);
        for (count, size) in [(Some(1.0), 8), (None, 0)] {
            let create = CounterCreate { count };
            let direct = ObjectOperation { counter_create: Some(create), ..Default::default() };
            assert_eq!(operation(direct).size(), size);
            let with_id = CounterCreateWithObjectId { source: Some(create), ..Default::default() };
            let with_id = ObjectOperation {
                counter_create_with_object_id: Some(with_id),
                ..ObjectOperation::default()
            };
            assert_eq!(operation(with_id).size(), size);
            let inc = Some(CounterInc { number: count });
            let inc = ObjectOperation { counter_inc: inc, ..ObjectOperation::default() };
            assert_eq!(operation(inc).size(), size);
            let state =
                ObjectState { counter: Some(ObjectsCounter { count }), ..Default::default() };
            assert_eq!(state.size(), size);
        }
        assert_eq!(ObjectState::default().size() + ObjectOperation::default().size(), 0);
        let state = ObjectState {
            create_op: direct.operation.map(|operation| *operation),
            map: Some(ObjectsMap { entries: create.entries, ..ObjectsMap::default() }),
            counter: Some(ObjectsCounter { count: Some(0.0) }),
            ..ObjectState::default()
        };
        let message = ObjectMessage {
            client_id: Some("me".into()),
            extras: json!({}).as_object().cloned(),
            object: Some(Box::new(state)),
            ..ObjectMessage::default()
        };
        assert_eq!(message.size(), 2 + 2 + counted + counted + 8);
    }

    // Spec: OOP2
    #[test]
    fn actions_have_the_numbers_of_the_specification() {
        let actions = [
            ObjectOperationAction::MapCreate,
            ObjectOperationAction::MapSet,
            ObjectOperationAction::MapRemove,
            ObjectOperationAction::CounterCreate,
            ObjectOperationAction::CounterInc,
            ObjectOperationAction::ObjectDelete,
            ObjectOperationAction::MapClear,
            ObjectOperationAction::Unknown(7),
        ];
        for (number, action) in (0..).zip(actions) {
            assert_eq!(
                (action.number(), ObjectOperationAction::from_number(number)),
                (number, action)
            );
        }
    }
}
