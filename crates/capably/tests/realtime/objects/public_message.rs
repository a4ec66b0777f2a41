//! The message of an operation, as subscribers see it (PAOM, PAOOP).

use std::sync::Arc;

use capably::realtime::objects::{OperationMessage, PathSubscription};

use super::*;
use crate::in_both_formats;

async fn message(changes: &mut PathSubscription) -> Arc<OperationMessage> {
    changes.next().await.unwrap().message.unwrap()
}

/// The operation has this payload only.
fn expect_only(
    message: &OperationMessage,
    id: &str,
    action: Action,
    fill: impl FnOnce(&mut ObjectOperation),
) {
    let mut expected = ObjectOperation {
        action: Some(action),
        object_id: Some(id.into()),
        ..ObjectOperation::default()
    };
    fill(&mut expected);
    assert_eq!(message.operation, expected);
}

in_both_formats! {
    // UTS: objects/unit/PAOM3/construction-all-fields-0
    // UTS: objects/unit/PAOM3/construction-optional-fields-missing-0
    // UTS: objects/unit/PAOM3/channel-from-channel-name-0
    async fn a_message_has_every_field_of_its_source(format) {
        let (world, root) = World::synced(format).await;
        let mut changes = root.subscribe().await.unwrap();
        let extras = json!({ "key": "value" }).as_object().cloned();
        let source = ObjectMessage {
            id: Some("msg-id-1".into()),
            client_id: Some("client-1".into()),
            connection_id: Some("conn-1".into()),
            timestamp: Some(1_700_000_000_000),
            serial_timestamp: Some(1_700_000_001_000),
            extras: extras.clone(),
            ..map_set("root", "name", text("Alice B."), remote_serial(0), "site1")
        };
        world.operate([source.clone()]).await;
        let public = message(&mut changes).await;
        assert_eq!(public.id, source.id);
        assert_eq!(public.client_id, source.client_id);
        assert_eq!(public.connection_id, source.connection_id);
        assert_eq!(public.timestamp, source.timestamp);
        assert_eq!(public.serial, source.serial);
        assert_eq!(public.serial_timestamp, source.serial_timestamp);
        assert_eq!(public.site_code, source.site_code);
        assert_eq!(public.extras, extras);
        assert_eq!(&*public.channel, "test");
        assert_eq!(Some(public.operation.clone()), source.operation.map(|operation| *operation));
        world.operate([counter_inc("counter:score@1000", 5.0, "01", "site2")]).await;
        let public = message(&mut changes).await;
        assert_eq!((&public.id, &public.client_id, &public.connection_id), (&None, &None, &None));
        assert_eq!((public.timestamp, public.serial_timestamp), (None, None));
        assert_eq!(public.extras, None);
        assert_eq!(&*public.channel, "test");
        assert_eq!(public.operation.action, Some(Action::CounterInc));
    }
}

in_both_formats! {
    // UTS: objects/unit/PAOOP3/map-set-copies-fields-0
    // UTS: objects/unit/PAOOP3/map-remove-copies-fields-0
    // UTS: objects/unit/PAOOP3/counter-inc-copies-fields-0
    // UTS: objects/unit/PAOOP3/object-delete-copies-fields-0
    // UTS: objects/unit/PAOOP3/map-clear-copies-fields-0
    // UTS: objects/unit/PAOOP3/create-payloads-omitted-0
    async fn an_operation_has_the_payload_of_its_action_only(format) {
        let (world, root) = World::synced(format).await;
        let mut changes = root.subscribe().await.unwrap();
        let at = |serial| remote_serial(serial);
        world.operate([map_set("root", "color", text("blue"), at(0), "remote")]).await;
        expect_only(&*message(&mut changes).await, "root", Action::MapSet, |operation| {
            operation.map_set = Some(MapSet { key: "color".into(), value: text("blue") });
        });
        world.operate([map_remove("root", "color", at(1), "remote")]).await;
        expect_only(&*message(&mut changes).await, "root", Action::MapRemove, |operation| {
            operation.map_remove = Some(MapRemove { key: "color".into() });
        });
        world.operate([counter_inc("counter:score@1000", 42.0, at(2), "remote")]).await;
        expect_only(&*message(&mut changes).await, "counter:score@1000", Action::CounterInc, |operation| {
            operation.counter_inc = Some(CounterInc { number: Some(42.0) });
        });
        world.operate([map_clear("map:prefs@1000", at(3), "remote")]).await;
        expect_only(&*message(&mut changes).await, "map:prefs@1000", Action::MapClear, |operation| {
            operation.map_clear = Some(MapClear {});
        });
        world.operate([object_delete("counter:score@1000", at(4), "remote")]).await;
        expect_only(&*message(&mut changes).await, "counter:score@1000", Action::ObjectDelete, |operation| {
            operation.object_delete = Some(ObjectDelete {});
        });
    }
}

in_both_formats! {
    // UTS: objects/unit/PAOOP3/map-create-direct-0
    // UTS: objects/unit/PAOOP3/only-relevant-field-per-action-0
    async fn a_create_has_its_initial_value(format) {
        let (world, root) = World::synced(format).await;
        let references = [("map", "map:new@2000"), ("counter", "counter:new@2000")];
        let sets = references.map(|(key, id)| {
            map_set("root", key, ObjectData::reference(id), remote_serial(key.len() as u64), "remote")
        });
        for set in sets {
            world.operate([set]).await;
        }
        let mut changes = root.subscribe().await.unwrap();
        let entry = ObjectsMapEntry { data: Some(text("val1")), ..ObjectsMapEntry::default() };
        let semantics = Some(ObjectsMapSemantics::Lww);
        let create = MapCreate { semantics, entries: [("key1".into(), entry)].into() };
        world.operate([operation(Action::MapCreate, "map:new@2000", "02", "site", |operation| {
            operation.map_create = Some(create.clone());
        })]).await;
        expect_only(&*message(&mut changes).await, "map:new@2000", Action::MapCreate, |operation| {
            operation.map_create = Some(create);
        });
        let create = CounterCreate { count: Some(50.0) };
        world.operate([operation(Action::CounterCreate, "counter:new@2000", "03", "site", |operation| {
            operation.counter_create = Some(create);
        })]).await;
        expect_only(&*message(&mut changes).await, "counter:new@2000", Action::CounterCreate, |operation| {
            operation.counter_create = Some(create);
        });
        assert_eq!(string(&root.at("map.key1")).as_deref(), Some("val1"));
        assert_eq!(number(&root.get("counter")), Some(50.0));
    }
}
