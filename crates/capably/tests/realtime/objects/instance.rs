//! Objects by their identity (RTINS).

use capably::realtime::objects::{Change, Instance, KeyChange};
use futures_util::FutureExt;
use serde_json::json;

use super::*;
use crate::in_both_formats;

fn instance(object: &PathObject) -> Instance {
    object.instance().unwrap().unwrap()
}

in_both_formats! {
    // UTS: objects/unit/RTINS3/id-returns-objectid-0
    // UTS: objects/unit/RTINS4/value-counter-0
    // UTS: objects/unit/RTINS5/get-wraps-entry-0
    // UTS: objects/unit/RTINS6/entries-yields-instances-0
    // UTS: objects/unit/RTINS9/size-0
    // UTS: objects/unit/RTINS10/compact-0
    // Spec: RTINS7, RTINS8, RTINS11
    async fn instances_are_read(format) {
        let (_world, root) = World::synced(format).await;
        let (root_instance, score) = (instance(&root), instance(&root.get("score")));
        assert_eq!(score.id().map(Str::as_str), Some("counter:score@1000"));
        let profile = instance(&root.get("profile"));
        assert_eq!(profile.id().map(Str::as_str), Some("map:profile@1000"));
        assert_eq!(score.value().unwrap(), Some(ObjectValue::Number(100.0)));
        assert_eq!(root_instance.value().unwrap(), None);
        let alice = Some(ObjectValue::String("Alice".into()));
        let name = root_instance.get("name").unwrap().unwrap();
        assert_eq!(name.value().unwrap(), alice);
        let child = root_instance.get("score").unwrap().unwrap();
        assert_eq!(child.id().map(Str::as_str), Some("counter:score@1000"));
        assert!(root_instance.get("nonexistent").unwrap().is_none());
        assert!(score.get("anything").unwrap().is_none());
        let entries = root_instance.entries().unwrap();
        assert_eq!(entries.len(), 7);
        let (_, name) = entries.iter().find(|(key, _)| key == "name").unwrap();
        assert_eq!(name.value().unwrap(), alice);
        assert_eq!(root_instance.values().unwrap().len(), 7);
        assert_eq!(root_instance.keys().unwrap().len(), 7);
        assert!(score.entries().unwrap().is_empty() && score.keys().unwrap().is_empty());
        assert_eq!(root_instance.size().unwrap(), Some(7));
        assert_eq!(score.size().unwrap(), None);
        let whole = root_instance.compact().unwrap().unwrap().to_json();
        assert_eq!((&whole["name"], &whole["score"]), (&json!("Alice"), &json!(100)));
        assert_eq!(whole["profile"]["email"], "alice@example.com");
        assert_eq!(root_instance.compact_json().unwrap(), Some(whole));
        assert_eq!(name.compact_json().unwrap(), Some(json!("Alice")));
    }
}

in_both_formats! {
    // Spec: RTINS1, RTINS1a, RTINS2, RTINS2a, RTINS4b, RTINS4c, RTINS4d, RTINS5a, RTINS5a1, RTINS5c, RTINS5d, RTINS6b, RTINS6c, RTINS7b, RTINS7c, RTINS8b, RTINS8c, RTINS9b, RTINS9c, RTINS10b, RTINS11b
    async fn instances_of_each_kind_are_read(format) {
        let (world, root) = World::synced(format).await;
        let whole = instance(&root);
        // A map.
        let keys = ["active", "age", "avatar", "data", "name", "profile", "score"];
        assert_eq!(whole.keys().unwrap(), keys);
        let entries = whole.entries().unwrap();
        assert_eq!(entries.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), keys);
        let json = |item: &Instance| item.compact_json().unwrap().unwrap();
        let all = root.compact_json().unwrap().unwrap();
        for (key, value) in &entries {
            assert_eq!(json(value), all[&**key], "{key}");
            assert_eq!(json(&whole.get(key).unwrap().unwrap()), all[&**key], "{key}");
        }
        let values: Vec<_> = whole.values().unwrap().iter().map(json).collect();
        assert_eq!(values, keys.map(|key| all[key].clone()));
        assert_eq!((whole.value().unwrap(), whole.size().unwrap()), (None, Some(7)));
        assert_eq!((json(&whole), whole.compact().unwrap().unwrap().to_json()), (all.clone(), all));
        // A counter, and leaves of each kind.
        let bytes = ObjectValue::Bytes(vec![1, 2, 3].into());
        let tags = ObjectValue::Json(json!({ "tags": ["a", "b"] }));
        for (key, value) in [
            ("score", ObjectValue::Number(100.0)), ("age", ObjectValue::Number(30.0)),
            ("name", ObjectValue::String("Alice".into())), ("active", ObjectValue::Boolean(true)),
            ("data", tags), ("avatar", bytes),
        ] {
            let item = instance(&root.get(key));
            assert_eq!(item.value().unwrap(), Some(value.clone()), "{key}");
            assert!(item.get("tags").unwrap().is_none(), "{key}");
            assert!(item.entries().unwrap().is_empty() && item.keys().unwrap().is_empty(), "{key}");
            assert!(item.values().unwrap().is_empty() && item.size().unwrap().is_none(), "{key}");
            assert_eq!(item.compact().unwrap().unwrap().value(), Some(&value), "{key}");
        }
        // An instance of an object follows it, and an instance of a leaf stays as it was.
        let (score, name) = (instance(&root.get("score")), instance(&root.get("name")));
        world.operate([
            counter_inc("counter:score@1000", 1.0, "01", "remote"),
            map_set("root", "score", text("other"), remote_serial(0), "remote"),
            map_set("root", "name", text("Bob"), remote_serial(1), "remote"),
        ]).await;
        assert_eq!(score.value().unwrap(), Some(ObjectValue::Number(101.0)));
        assert_eq!(name.value().unwrap(), Some(ObjectValue::String("Alice".into())));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTINS12/set-delegates-0
    // UTS: objects/unit/RTINS13/remove-delegates-0
    // UTS: objects/unit/RTINS14/increment-delegates-0
    // UTS: objects/unit/RTINS15/decrement-delegates-0
    // UTS: objects/unit/RTINS14a/increment-default-0
    // UTS: objects/unit/RTINS15a/decrement-default-0
    // UTS: objects/unit/RTINS12d/set-non-map-throws-0
    // UTS: objects/unit/RTINS14d/increment-non-counter-throws-0
    // Spec: RTINS12a, RTINS12a1, RTINS12a2, RTINS12c, RTINS13a, RTINS13a1, RTINS13c, RTINS13d, RTINS14a1, RTINS14c, RTINS15a1, RTINS15c, RTINS15d
    async fn instances_are_changed(format) {
        let (_world, root) = World::synced(format).await;
        let (root_instance, score) = (instance(&root), instance(&root.get("score")));
        root_instance.set("name", "Bob").await.unwrap();
        assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        root_instance.remove("name").await.unwrap();
        assert_eq!(string(&root.get("name")), None);
        score.increment(25).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(125.0));
        score.decrement(10).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(115.0));
        score.increment(1).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(116.0));
        score.decrement(1).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(115.0));
        let age = instance(&root.get("age"));
        for change in [
            score.set("key", "value"), score.remove("key"), score.clear(), root_instance.increment(5),
            root_instance.decrement(5), age.increment(1), age.set("key", 1),
        ] {
            let what = format!("{change:?}");
            assert_eq!(refusal(change.await), (92007, Some(400)), "{what}");
        }
    }
}

in_both_formats! {
    // UTS: objects/unit/RTINS16/subscribe-receives-events-0
    // UTS: objects/unit/RTINS16e2/subscription-event-message-0
    // UTS: objects/unit/RTINS16h/subscribe-no-side-effects-0
    // Spec: RTINS16a, RTINS16a1, RTINS16e, RTINS16e1
    async fn a_subscription_has_the_changes_of_its_object(format) {
        let (world, root) = World::synced(format).await;
        let before = world.channel.state();
        let mut score = instance(&root.get("score")).subscribe().await.unwrap();
        let mut whole = instance(&root).subscribe().await.unwrap();
        assert_eq!(world.channel.state(), before);
        world.operate([counter_inc("counter:score@1000", 7.0, "99", "remote")]).await;
        let change = score.next().await.unwrap();
        assert_eq!(change.object.id().map(Str::as_str), Some("counter:score@1000"));
        assert!(score.next().now_or_never().is_none() && whole.next().now_or_never().is_none());
        world.operate([map_set("root", "name", text("Bob"), remote_serial(0), "remote")]).await;
        let change = whole.next().await.unwrap();
        assert_eq!(change.object.id().map(Str::as_str), Some("root"));
        let message = change.message.unwrap();
        assert_eq!(&*message.channel, "test");
        assert_eq!(message.operation.action, Some(Action::MapSet));
        assert_eq!(message.operation.object_id.as_deref(), Some("root"));
        assert_eq!(message.operation.map_set.as_ref().map(|set| &*set.key), Some("name"));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTINS16c/subscribe-primitive-throws-0
    // UTS: objects/unit/RTINS16f/subscribe-returns-subscription-0
    // UTS: objects/unit/RTINS16g/subscription-follows-identity-0
    // Spec: RTLO4b4c3c
    async fn a_subscription_follows_its_object_until_it_is_deleted(format) {
        let (world, root) = World::synced(format).await;
        let name = instance(&root).get("name").unwrap().unwrap();
        assert_eq!(refusal(name.subscribe().await), (92007, Some(400)));
        let score = instance(&root.get("score"));
        let dropped = score.subscribe().listen().unwrap();
        drop(dropped);
        let mut changes = score.subscribe().await.unwrap();
        let other = ObjectData::reference("counter:new@2000");
        world.operate([map_set("root", "score", other, remote_serial(0), "remote")]).await;
        world.operate([counter_inc("counter:score@1000", 10.0, "100", "remote")]).await;
        let change = changes.next().await.unwrap();
        assert_eq!(change.object.id().map(Str::as_str), Some("counter:score@1000"));
        assert_eq!(change.object.value().unwrap(), Some(ObjectValue::Number(110.0)));
        world.operate([object_delete("counter:score@1000", "101", "remote")]).await;
        assert!(changes.next().await.is_some());
        assert!(changes.next().await.is_none());
        assert_eq!(changes.end_reason().map(|reason| reason.code().0), Some(92004));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLO4b/subscribe-receives-updates-0
    // UTS: objects/unit/RTLO4b/subscribe-map-update-0
    // UTS: objects/unit/RTLO4b6/subscribe-no-side-effects-0
    // UTS: objects/unit/RTLO4b7/subscribe-returns-subscription-0
    // UTS: objects/unit/RTLO4b7/subscription-unsubscribe-stops-delivery-0
    // UTS: objects/unit/RTLO4b4d/update-has-object-message-0
    // UTS: objects/unit/RTLO4b4e/tombstone-flag-false-0
    // UTS: objects/unit/RTLC11/counter-update-on-inc-0
    async fn updates_have_their_message(format) {
        let (world, root) = World::synced(format).await;
        let before = world.channel.state();
        let mut score = instance(&root.get("score")).subscribe().await.unwrap();
        let mut whole = instance(&root).subscribe().await.unwrap();
        assert_eq!(world.channel.state(), before);
        world.operate([counter_inc("counter:score@1000", 7.0, "99", "remote")]).await;
        let change = score.next().await.unwrap();
        assert!(score.next().now_or_never().is_none());
        assert_eq!(change.update.change, Change::Counter(7.0));
        assert!(!change.update.tombstone);
        let message = change.message.unwrap();
        assert_eq!(message.serial.as_deref(), Some("99"));
        assert_eq!(message.site_code.as_deref(), Some("remote"));
        assert_eq!(message.operation.action, Some(Action::CounterInc));
        assert_eq!(message.operation.object_id.as_deref(), Some("counter:score@1000"));
        assert_eq!(message.operation.counter_inc, Some(CounterInc { number: Some(7.0) }));
        world.operate([map_set("root", "name", text("Bob"), remote_serial(0), "remote")]).await;
        let change = whole.next().await.unwrap();
        assert_eq!(change.update.change, Change::Map(vec![("name".into(), KeyChange::Updated)]));
        assert!(whole.next().now_or_never().is_none());
        // Dropping a subscription ends it.
        drop(score);
        let mut control = instance(&root.get("score")).subscribe().await.unwrap();
        world.operate([counter_inc("counter:score@1000", 10.0, "a0", "remote")]).await;
        assert!(control.next().await.is_some());
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLO4b4c1/noop-no-trigger-0
    async fn an_operation_without_effect_is_no_change(format) {
        let (world, root) = World::synced(format).await;
        let mut score = instance(&root.get("score")).subscribe().await.unwrap();
        world.operate([counter_inc("counter:score@1000", 5.0, "01", "remote")]).await;
        let nothing = operation(Action::CounterInc, "counter:score@1000", "02", "remote", |inc| {
            inc.counter_inc = Some(CounterInc { number: None });
        });
        world.operate([nothing]).await;
        world.operate([counter_inc("counter:score@1000", 3.0, "03", "remote")]).await;
        let next = || score.next().now_or_never().flatten();
        let serials: Vec<_> =
            std::iter::from_fn(next).map(|change| change.message.unwrap().serial.clone()).collect();
        assert_eq!(serials, [Some("01".into()), Some("03".into())]);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLO4b4c3c/tombstone-deregisters-listeners-0
    // UTS: objects/unit/RTLO4b4e/tombstone-flag-true-0
    async fn a_deletion_is_the_last_change(format) {
        let (world, root) = World::synced(format).await;
        let score = instance(&root.get("score"));
        let mut both = [score.subscribe().await.unwrap(), score.subscribe().await.unwrap()];
        world.operate([object_delete("counter:score@1000", "50", "remote")]).await;
        let mut control = instance(&root.get("profile")).subscribe().await.unwrap();
        world.operate([counter_inc("counter:score@1000", 3.0, "51", "remote")]).await;
        let probe = map_set("map:profile@1000", "quiescence_probe", text("x"), "52", "remote");
        world.operate([probe]).await;
        assert!(control.next().await.is_some());
        for changes in &mut both {
            let change = changes.next().await.unwrap();
            assert!(change.update.tombstone);
            let message = change.message.unwrap();
            assert_eq!(message.operation.action, Some(Action::ObjectDelete));
            assert!(changes.next().await.is_none());
        }
    }
}
