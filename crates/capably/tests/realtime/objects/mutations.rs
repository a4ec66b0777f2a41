//! Changing objects by their path (RTPO15 to RTPO18), in batches, and with new objects.

use capably::realtime::objects::{LiveCounter, LiveMap};
use serde_json::json;

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // UTS: objects/unit/RTPO15/set-delegates-to-map-0
    // UTS: objects/unit/RTPO15/set-nested-path-0
    // UTS: objects/unit/RTPO16/remove-delegates-to-map-0
    // Spec: RTPO15a, RTPO15a1, RTPO15a2, RTPO16a, RTPO16a1
    async fn keys_are_set_and_removed(format) {
        let (world, root) = World::synced(format).await;
        root.set("name", "Bob").await.unwrap();
        assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        let email = root.get("profile").get("email");
        root.get("profile").set("email", "bob@example.com").await.unwrap();
        assert_eq!(string(&email).as_deref(), Some("bob@example.com"));
        root.remove("name").await.unwrap();
        assert_eq!(string(&root.get("name")), None);
        root.get("profile").clear().await.unwrap();
        assert_eq!(root.get("profile").size().unwrap(), Some(0));
        let actions = [Action::MapSet, Action::MapSet, Action::MapRemove, Action::MapClear];
        let sent: Vec<_> = world.operations().iter().map(|sent| sent.action.unwrap()).collect();
        assert_eq!(sent, actions);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO17/increment-delegates-to-counter-0
    // UTS: objects/unit/RTPO17/increment-default-amount-0
    // UTS: objects/unit/RTPO18/decrement-delegates-to-counter-0
    // UTS: objects/unit/RTPO18/decrement-default-amount-0
    // Spec: RTPO17a, RTPO17a1, RTPO18a, RTPO18a1
    async fn counters_are_incremented_and_decremented(format) {
        let (_world, root) = World::synced(format).await;
        let score = root.get("score");
        score.increment(25).await.unwrap();
        assert_eq!(number(&score), Some(125.0));
        // Rust has no default arguments: the default amount is written out.
        score.increment(1).await.unwrap();
        assert_eq!(number(&score), Some(126.0));
        score.decrement(10).await.unwrap();
        assert_eq!(number(&score), Some(116.0));
        score.decrement(1).await.unwrap();
        assert_eq!(number(&score), Some(115.0));
        score.increment(0.5).await.unwrap();
        assert_eq!(number(&score), Some(115.5));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO15d/set-non-map-throws-0
    // UTS: objects/unit/RTPO16d/remove-non-map-throws-0
    // UTS: objects/unit/RTPO17d/increment-non-counter-throws-0
    // UTS: objects/unit/RTPO18d/decrement-non-counter-throws-0
    // UTS: objects/unit/RTPO3c2/set-unresolvable-throws-0
    // UTS: objects/unit/RTPO3c2/increment-unresolvable-throws-0
    // Spec: RTPO15c, RTPO16c, RTPO17c, RTPO18c, RTLC12e1, RTLMV4c, OD4a
    async fn a_change_that_cannot_be_made_is_refused(format) {
        let (world, root) = World::synced(format).await;
        let score = root.get("score");
        let nothing = root.get("nonexistent");
        for (change, expected) in [
            (score.set("key", "value"), (92007, Some(400))),
            (score.remove("key"), (92007, Some(400))),
            (score.clear(), (92007, Some(400))),
            (root.increment(5), (92007, Some(400))),
            (root.decrement(5), (92007, Some(400))),
            (root.get("name").increment(5), (92007, Some(400))),
            (nothing.get("deep").set("key", "value"), (92005, Some(400))),
            (nothing.set("key", LiveCounter::default()), (92005, Some(400))),
            (nothing.remove("key"), (92005, Some(400))),
            (nothing.increment(5), (92005, Some(400))),
            (nothing.decrement(5), (92005, Some(400))),
            (score.increment(f64::NAN), (40003, Some(400))),
            (root.set("k", f64::INFINITY), (40013, Some(400))),
            (root.set("k", serde_json::Value::Null), (40013, Some(400))),
            (root.set("k", LiveCounter::new(f64::NAN)), (40003, Some(400))),
        ] {
            let what = format!("{change:?}");
            assert_eq!(refusal(change.await), expected, "{what}");
        }
        assert!(world.published().is_empty());
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLC12/increment-sends-counter-inc-0
    // UTS: objects/unit/RTLC12/increment-applies-locally-0
    // UTS: objects/unit/RTLC13/decrement-negates-0
    // UTS: objects/unit/RTLM20/set-sends-map-set-0
    // UTS: objects/unit/RTLM20/set-applies-locally-0
    // UTS: objects/unit/RTLM20/set-value-types-0
    // UTS: objects/unit/RTLM20/set-bytes-value-0
    // UTS: objects/unit/RTLM21/remove-sends-map-remove-0
    // Spec: RTO15a, RTO15a1, RTO15c, RTO15e1, RTO15e2, RTO15e3, RTO15f, RTLC12g, RTLM20h, RTLM21g, OD4b
    async fn operations_are_sent_as_specified(format) {
        let (world, root) = World::synced(format).await;
        let score = root.get("score");
        score.increment(50).await.unwrap();
        assert_eq!(number(&score), Some(150.0));
        score.decrement(15).await.unwrap();
        assert_eq!(number(&score), Some(135.0));
        root.set("name", "Bob").await.unwrap();
        assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        root.set("num_key", 42).await.unwrap();
        root.set("bool_key", false).await.unwrap();
        root.set("json_key", json!({ "nested": true })).await.unwrap();
        root.set("binary_data", vec![1, 2, 3]).await.unwrap();
        root.remove("name").await.unwrap();
        // The service has received OBJECT frames, and decoded them.
        for publish in world.published() {
            assert_eq!((&*publish.channel, publish.items.len()), ("test", 1));
        }
        let sent = world.operations();
        for (operation, amount) in sent.iter().zip([50.0, -15.0]) {
            assert_eq!(operation.action, Some(Action::CounterInc));
            assert_eq!(operation.object_id.as_deref(), Some("counter:score@1000"));
            assert_eq!(operation.counter_inc, Some(CounterInc { number: Some(amount) }));
        }
        let sets = [
            ("name", ObjectValue::String("Bob".into())),
            ("num_key", ObjectValue::Number(42.0)),
            ("bool_key", ObjectValue::Boolean(false)),
            ("json_key", ObjectValue::Json(json!({ "nested": true }))),
            ("binary_data", ObjectValue::Bytes(vec![1, 2, 3].into())),
        ];
        for (operation, (key, value)) in sent[2..7].iter().zip(sets) {
            assert_eq!(operation.action, Some(Action::MapSet));
            assert_eq!(operation.object_id.as_deref(), Some("root"));
            let set = MapSet { key: key.into(), value: value.into() };
            assert_eq!(set.value.encoding, None);
            assert_eq!(operation.map_set, Some(set));
        }
        assert_eq!(sent[7].action, Some(Action::MapRemove));
        assert_eq!(sent[7].object_id.as_deref(), Some("root"));
        assert_eq!(sent[7].map_remove, Some(MapRemove { key: "name".into() }));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLC12e1/increment-invalid-amounts-table-0
    async fn amounts_are_finite(format) {
        let (world, root) = World::synced(format).await;
        // Rust's types refuse the amounts that are no numbers.
        for amount in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(refusal(root.get("score").increment(amount).await), (40003, Some(400)));
        }
        assert!(world.published().is_empty());
    }
}

in_both_formats! {
    // UTS: objects/unit/RTLM20h1/set-nested-value-types-0
    // UTS: objects/unit/RTLM20e7g/set-counter-value-type-0
    // UTS: objects/unit/RTLM20e7g/set-map-value-type-0
    // UTS: objects/unit/RTLCV4/evaluate-generates-message-0
    // UTS: objects/unit/RTLMV4/evaluate-generates-message-0
    // Spec: RTO14, RTO16, RTO15e
    async fn new_objects_are_made_in_the_frame_that_sets_them(format) {
        let (world, root) = World::synced(format).await;
        let stats = LiveMap::new().with("count", LiveCounter::new(2.0)).with("label", "test");
        root.set("stats", stats).await.unwrap();
        root.set("new_counter", LiveCounter::new(50.0)).await.unwrap();
        root.set("nested_map", LiveMap::new().with("key1", "value1")).await.unwrap();
        assert_eq!(number(&root.at("stats.count")), Some(2.0));
        assert_eq!(string(&root.at("stats.label")).as_deref(), Some("test"));
        assert_eq!(number(&root.get("new_counter")), Some(50.0));
        assert_eq!(string(&root.at("nested_map.key1")).as_deref(), Some("value1"));
        let frames: Vec<_> = world.published().iter().map(|publish| publish.items.len()).collect();
        assert_eq!(frames, [3, 2, 2]);
        let sent = world.operations();
        let actions: Vec<_> = sent.iter().map(|sent| sent.action.unwrap()).collect();
        let expected = [
            Action::CounterCreate, Action::MapCreate, Action::MapSet, Action::CounterCreate,
            Action::MapSet, Action::MapCreate, Action::MapSet,
        ];
        assert_eq!(actions, expected);
        for at in [2, 4, 6] {
            let (create, set) = (&sent[at - 1], sent[at].map_set.as_ref().unwrap());
            assert_eq!(set.value.object_id, create.object_id);
        }
        for create in [&sent[0], &sent[1], &sent[3], &sent[5]] {
            // The ids have the service's time, which has gone on since the client asked for it.
            let id = create.object_id.as_deref().unwrap();
            let time: i64 = id.split_once('@').unwrap().1.parse().unwrap();
            assert!((1_700_000_000_000..1_700_000_600_000).contains(&time), "{id}");
            let is_map = create.action == Some(Action::MapCreate);
            assert!(id.starts_with(if is_map { "map:" } else { "counter:" }), "{id}");
            let map = create.map_create_with_object_id.as_ref();
            let counter = create.counter_create_with_object_id.as_ref();
            assert_eq!((map.is_some(), counter.is_some()), (is_map, !is_map));
            let nonce = map.map(|map| &map.nonce).or(counter.map(|counter| &counter.nonce));
            assert!(nonce.unwrap().len() >= 16);
        }
    }
}

in_both_formats! {
    // Spec: RTO16a
    async fn the_services_time_is_asked_for_once(format) {
        let (world, root) = World::synced(format).await;
        // Nothing that exists needs the time, and nothing that cannot be made.
        root.set("name", "Bob").await.unwrap();
        assert_eq!(refusal(root.set("k", LiveCounter::new(f64::NAN)).await), (40003, Some(400)));
        assert!(world.http.requests().is_empty());
        for count in [1.0, 2.0, 3.0] {
            root.set("counter", LiveCounter::new(count)).await.unwrap();
        }
        let paths: Vec<_> = world.http.requests().iter().map(|request| request.path().to_owned()).collect();
        assert_eq!(paths, ["/time"]);
    }
}

in_both_formats! {
    // Spec: RTO15, RTO20
    async fn a_batch_is_one_frame(format) {
        let (world, root) = World::synced(format).await;
        let objects = world.channel.objects();
        let changes = [root.set("name", "Bob"), root.get("score").increment(1), root.remove("age")];
        objects.batch(changes).await.unwrap();
        assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        assert_eq!(number(&root.get("score")), Some(101.0));
        assert_eq!(number(&root.get("age")), None);
        let frames: Vec<_> = world.published().iter().map(|publish| publish.items.len()).collect();
        assert_eq!(frames, [3]);
        // One change that cannot be made stops the batch.
        let changes = [root.set("name", "Eve"), root.increment(1)];
        assert_eq!(refusal(objects.batch(changes).await), (92007, Some(400)));
        objects.batch([]).await.unwrap();
        assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        assert_eq!(world.published().len(), 1);
    }
}

in_both_formats! {
    // Spec: RTLM20h1
    async fn a_batch_uses_the_objects_that_it_makes(format) {
        let (world, root) = World::synced(format).await;
        let objects = world.channel.objects();
        let poll = root.get("poll");
        let changes = [
            root.set("poll", LiveMap::new().with("tea", LiveCounter::new(2.0))),
            poll.get("tea").increment(3),
            poll.set("more", LiveMap::new().with("coffee", LiveCounter::default())),
            root.at("poll.more.coffee").decrement(1),
            root.instance().unwrap().unwrap().set("name", "Bob"),
        ];
        objects.batch(changes).await.unwrap();
        let expected = json!({ "tea": 5, "more": { "coffee": -1 } });
        assert_eq!(poll.compact_json().unwrap(), Some(expected));
        assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        let frames: Vec<_> = world.published().iter().map(|publish| publish.items.len()).collect();
        assert_eq!(frames, [3 + 1 + 3 + 1 + 1]);
        // What an earlier change removes or replaces cannot be used.
        for changes in [
            [root.remove("poll"), root.at("poll.tea").increment(1)],
            [root.clear(), root.at("poll.tea").increment(1)],
        ] {
            assert_eq!(refusal(objects.batch(changes).await), (92005, Some(400)));
        }
        let changes = [root.set("poll", 1), poll.set("tea", 1)];
        assert_eq!(refusal(objects.batch(changes).await), (92007, Some(400)));
        assert_eq!(world.published().len(), 1);
    }
}

in_both_formats! {
    async fn a_batch_is_of_one_channel(format) {
        let (world, root) = World::synced(format).await;
        let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
        let options = RealtimeChannelOptions::new().modes(modes);
        let other = world.client.channels().get_with("other", options);
        let batch = other.objects().batch([root.set("name", "Bob")]);
        assert_eq!(refusal(batch.await), (40000, Some(400)));
        assert!(world.published().is_empty());
    }
}
