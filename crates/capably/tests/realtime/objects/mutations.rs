//! Changing objects by their path (RTPO15 to RTPO18), in batches, and with new objects.

use capably::realtime::objects::{LiveCounter, LiveMap};

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // UTS: objects/unit/RTPO15/set-delegates-to-map-0
    // UTS: objects/unit/RTPO15/set-nested-path-0
    // UTS: objects/unit/RTPO16/remove-delegates-to-map-0
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
    // Spec: RTLC12e1, RTLMV4c
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
            (nothing.increment(5), (92005, Some(400))),
            (score.increment(f64::NAN), (40003, Some(400))),
            (root.set("k", f64::INFINITY), (40013, Some(400))),
            (root.set("k", LiveCounter::new(f64::NAN)), (40003, Some(400))),
        ] {
            let what = format!("{change:?}");
            assert_eq!(refusal(change.await), expected, "{what}");
        }
        assert!(world.published().is_empty());
    }
}

in_both_formats! {
    // Spec: RTLM20h1, RTLMV4, RTLCV4, RTO14, RTO16, RTO15e
    async fn new_objects_are_made_in_the_frame_that_sets_them(format) {
        let (world, root) = World::synced(format).await;
        let votes = LiveMap::new().with("tea", LiveCounter::new(2.0)).with("open", true);
        root.set("votes", votes).await.unwrap();
        assert_eq!(number(&root.at("votes.tea")), Some(2.0));
        assert_eq!(root.at("votes.open").value().unwrap(), Some(ObjectValue::Boolean(true)));
        let frames = world.published();
        assert_eq!(frames.len(), 1);
        let operations = world.operations();
        let actions: Vec<_> = operations.iter().map(|sent| sent.action.unwrap()).collect();
        assert_eq!(actions, [Action::CounterCreate, Action::MapCreate, Action::MapSet]);
        // The ids have the service's time, and differ.
        let ids: Vec<_> =
            operations[..2].iter().map(|sent| sent.object_id.as_deref().unwrap()).collect();
        assert!(ids.iter().all(|id| id.ends_with("@1700000000000")), "{ids:?}");
        assert!(ids[0].starts_with("counter:") && ids[1].starts_with("map:"));
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
