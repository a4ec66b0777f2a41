//! Subscriptions to paths (RTPO19, RTO24).

use capably::realtime::objects::{Change, KeyChange, PathSubscription};
use futures_util::FutureExt;

use super::*;
use crate::in_both_formats;

/// The paths of the changes in the queue.
fn paths(changes: &mut PathSubscription) -> Vec<String> {
    let next = || changes.next().now_or_never().flatten();
    std::iter::from_fn(next).map(|change| change.object.path().to_string()).collect()
}

in_both_formats! {
    // UTS: objects/unit/RTO24a/single-register-instance-0
    // UTS: objects/unit/RTO24c1/coverage-prefix-depth-0
    // Spec: RTPO19c1, RTPO19c1a, RTPO19e1
    async fn a_subscription_covers_paths_to_its_depth(format) {
        let (world, root) = World::synced(format).await;
        let mut all = root.subscribe().await.unwrap();
        let mut score = root.get("score").subscribe().await.unwrap();
        let mut one = root.subscribe().depth(1).await.unwrap();
        let mut two = root.subscribe().depth(2).await.unwrap();
        let depth = refusal(root.subscribe().depth(0).await);
        assert_eq!(depth, (40003, Some(400)));
        world.operate([counter_inc("counter:score@1000", 7.0, "99", "remote")]).await;
        assert_eq!(paths(&mut all), ["score"]);
        assert_eq!(paths(&mut score), ["score"]);
        assert!(paths(&mut one).is_empty());
        assert_eq!(paths(&mut two), ["score"]);
        let set = map_set("map:prefs@1000", "theme", text("light"), remote_serial(0), "remote");
        world.operate([set]).await;
        assert_eq!(paths(&mut all), ["profile.prefs"]);
        assert!(paths(&mut score).is_empty() && paths(&mut two).is_empty());
        world.operate([map_set("root", "name", text("Bob"), remote_serial(0), "remote")]).await;
        assert_eq!(paths(&mut one), [""]);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO19/subscribe-receives-events-0
    // UTS: objects/unit/RTPO19d/subscribe-returns-subscription-0
    // UTS: objects/unit/RTPO19e1/event-path-object-correct-0
    // UTS: objects/unit/RTPO19g/subscribe-no-side-effects-0
    // Spec: RTPO19a, RTPO19a1, RTPO19a2
    async fn a_subscription_has_the_changes_of_its_path(format) {
        let (world, root) = World::synced(format).await;
        let before = world.channel.state();
        let mut score = root.get("score").subscribe().await.unwrap();
        let dropped = root.get("score").subscribe().await.unwrap();
        assert_eq!(world.channel.state(), before);
        drop(dropped);
        world.operate([counter_inc("counter:score@1000", 7.0, "99", "remote")]).await;
        let change = score.next().await.unwrap();
        assert!(score.next().now_or_never().is_none());
        assert_eq!(change.object.path().to_string(), "score");
        assert_eq!(number(&change.object), Some(107.0));
        let message = change.message.unwrap();
        assert_eq!(message.serial.as_deref(), Some("99"));
        assert_eq!(message.site_code.as_deref(), Some("remote"));
        assert_eq!(message.operation.action, Some(Action::CounterInc));
        assert_eq!(&*message.channel, "test");
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO19b/subscribe-precondition-detached-0
    // UTS: objects/unit/RTPO19c1a/subscribe-non-positive-depth-throws-0
    async fn subscribing_has_preconditions(format) {
        let (world, root) = World::synced(format).await;
        // A negative depth cannot be written in Rust.
        assert_eq!(refusal(root.subscribe().depth(0).await), (40003, Some(400)));
        world.channel.detach().await.unwrap();
        assert_eq!(refusal(root.subscribe().await), (90001, Some(400)));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO19c1/subscribe-depth-1-self-only-0
    // UTS: objects/unit/RTPO19c1/subscribe-depth-2-children-0
    // UTS: objects/unit/RTPO19c1/subscribe-unlimited-depth-0
    async fn the_depth_counts_levels_from_the_path(format) {
        let (world, root) = World::synced(format).await;
        let mut one = root.subscribe().depth(1).await.unwrap();
        let mut two = root.subscribe().depth(2).await.unwrap();
        let mut all = root.subscribe().await.unwrap();
        world.operate([map_set("root", "name", text("Bob"), remote_serial(0), "remote")]).await;
        world.operate([counter_inc("counter:score@1000", 7.0, "100", "remote")]).await;
        world.operate([counter_inc("counter:nested@1000", 1.0, "101", "remote")]).await;
        let set = map_set("map:prefs@1000", "theme", text("light"), remote_serial(1), "remote");
        world.operate([set]).await;
        assert_eq!(paths(&mut one), [""]);
        assert_eq!(paths(&mut two), ["", "score"]);
        assert_eq!(paths(&mut all), ["", "score", "profile.nested_counter", "profile.prefs"]);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO24c1/depth-filtering-formula-0
    // UTS: objects/unit/RTO24c1/prefix-mismatch-0
    // UTS: objects/unit/RTPO19/child-events-bubble-0
    async fn a_subscription_below_the_root_covers_its_part_of_the_tree(format) {
        let (world, root) = World::synced(format).await;
        let deep = ObjectData::reference("counter:deep@3000");
        world.operate([map_set("map:prefs@1000", "deep", deep, "50", "remote")]).await;
        let mut two = root.get("profile").subscribe().depth(2).await.unwrap();
        let mut all = root.get("profile").subscribe().await.unwrap();
        let email = text("bob@example.com");
        let set = map_set("map:profile@1000", "email", email, remote_serial(0), "remote");
        world.operate([set]).await;
        world.operate([counter_inc("counter:nested@1000", 3.0, "100", "remote")]).await;
        world.operate([counter_inc("counter:deep@3000", 1.0, "101", "remote")]).await;
        world.operate([counter_inc("counter:score@1000", 7.0, "102", "remote")]).await;
        world.operate([map_set("root", "name", text("Bob"), remote_serial(0), "remote")]).await;
        assert_eq!(paths(&mut two), ["profile", "profile.nested_counter"]);
        let all = paths(&mut all);
        assert_eq!(all, ["profile", "profile.nested_counter", "profile.prefs.deep"]);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO19f/subscribe-follows-path-0
    // UTS: objects/unit/RTPO19/subscribe-primitive-path-0
    // UTS: objects/unit/RTPO19/map-clear-triggers-child-events-0
    // UTS: objects/unit/RTO24b2a/candidate-paths-map-keys-0
    // UTS: objects/unit/RTO24b2b/fires-once-per-dispatch-0
    async fn a_subscription_follows_its_path(format) {
        let (world, root) = World::synced(format).await;
        let mut score = root.get("score").subscribe().await.unwrap();
        let mut name = root.get("name").subscribe().await.unwrap();
        let mut all = root.subscribe().await.unwrap();
        let other = ObjectData::reference("counter:new@2000");
        world.operate([map_set("root", "score", other, remote_serial(0), "remote")]).await;
        assert_eq!(paths(&mut score), ["score"]);
        assert_eq!(paths(&mut all), [""]);
        world.operate([counter_inc("counter:new@2000", 10.0, "100", "remote")]).await;
        world.operate([counter_inc("counter:score@1000", 10.0, "101", "remote")]).await;
        assert_eq!(paths(&mut score), ["score"]);
        assert_eq!(paths(&mut all), ["score"]);
        world.operate([map_set("root", "name", text("Bob"), remote_serial(1), "remote")]).await;
        assert_eq!(paths(&mut name), ["name"]);
        assert_eq!(paths(&mut all), [""]);
        world.operate([map_clear("root", remote_serial(3), "remote")]).await;
        assert_eq!(paths(&mut all), [""]);
        assert_eq!(paths(&mut name), ["name"]);
        assert_eq!(root.size().unwrap(), Some(0));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO24b1/multi-path-dispatch-0
    // UTS: objects/unit/RTPO19e2/event-message-delivery-0
    async fn an_object_with_two_paths_changes_at_both(format) {
        let (world, root) = World::synced(format).await;
        let alias = ObjectData::reference("counter:score@1000");
        world.operate([map_set("root", "alias", alias, "98", "remote")]).await;
        let mut score = root.get("score").subscribe().await.unwrap();
        let mut alias = root.get("alias").subscribe().await.unwrap();
        world.operate([counter_inc("counter:score@1000", 42.0, "serial-1", "site-a")]).await;
        let change = score.next().await.unwrap();
        assert_eq!(change.object.path().to_string(), "score");
        assert_eq!(change.update.change, Change::Counter(42.0));
        let message = change.message.unwrap();
        assert_eq!(&*message.channel, "test");
        assert_eq!(message.serial.as_deref(), Some("serial-1"));
        assert_eq!(message.site_code.as_deref(), Some("site-a"));
        let operation = &message.operation;
        assert_eq!(operation.action, Some(Action::CounterInc));
        assert_eq!(operation.object_id.as_deref(), Some("counter:score@1000"));
        assert_eq!(operation.counter_inc, Some(CounterInc { number: Some(42.0) }));
        assert!(score.next().now_or_never().is_none());
        assert_eq!(paths(&mut alias), ["alias"]);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTPO19e2/event-message-omitted-no-operation-0
    async fn a_change_by_a_sync_has_no_operation(format) {
        let (world, root) = World::synced(format).await;
        let mut changes = root.subscribe().await.unwrap();
        // The root is left out, and stays (RTO5c2a).
        let mut state = counter_state("counter:score@1000", 200.0);
        let object = state.object.as_mut().unwrap();
        object.site_timeserials = [("aaa".into(), "t:1".into())].into();
        world.send(sync("sync2:", vec![state])).await;
        let mut places = Vec::new();
        while let Some(change) = changes.next().now_or_never().flatten() {
            assert!(change.message.is_none());
            places.push(change.object.path().to_string());
        }
        assert!(places.contains(&"score".to_owned()), "{places:?}");
        assert_eq!(number(&root.get("score")), Some(200.0));
    }
}

in_both_formats! {
    // Spec: RTPO19e2, PAOM2, RTO4b2a
    async fn a_change_has_its_operation_unless_a_sync_brought_it(format) {
        let (world, root) = World::synced(format).await;
        let mut changes = root.get("name").subscribe().await.unwrap();
        let set = ObjectMessage {
            client_id: Some("ada".into()),
            ..map_set("root", "name", text("Bob"), remote_serial(0), "remote")
        };
        world.operate([set]).await;
        let change = changes.next().await.unwrap();
        assert_eq!(change.update.change, Change::Map(vec![("name".into(), KeyChange::Updated)]));
        let message = change.message.unwrap();
        assert_eq!(message.client_id.as_deref(), Some("ada"));
        assert_eq!(message.serial.as_deref(), Some("t:1"));
        assert_eq!(message.site_code.as_deref(), Some("remote"));
        assert_eq!(string(&change.object).as_deref(), Some("Bob"));
        world.operate([map_remove("root", "name", remote_serial(1), "remote")]).await;
        let change = changes.next().await.unwrap();
        assert_eq!(change.update.change, Change::Map(vec![("name".into(), KeyChange::Removed)]));
        world.send(sync("sync2:", standard_pool())).await;
        let change = changes.next().await.unwrap();
        assert!(change.message.is_none());
        assert_eq!(string(&change.object).as_deref(), Some("Alice"));
        world.operate([map_clear("root", remote_serial(2), "remote")]).await;
        assert!(changes.next().await.is_some());
    }
}

in_both_formats! {
    async fn a_slow_subscriber_misses_the_oldest_changes(format) {
        let (world, root) = World::synced(format).await;
        let mut changes = root.get("score").subscribe().capacity(2).await.unwrap();
        for serial in ["91", "92", "93"] {
            world.operate([counter_inc("counter:score@1000", 1.0, serial, "remote")]).await;
        }
        let change = changes.next().await.unwrap();
        assert_eq!(change.message.unwrap().serial.as_deref(), Some("92"));
        assert!(changes.next().await.is_some());
        assert!(changes.next().now_or_never().is_none());
        assert_eq!(number(&root.get("score")), Some(103.0));
    }
}

in_both_formats! {
    async fn a_subscription_outlasts_a_detach_and_ends_with_the_channel(format) {
        let (world, root) = World::synced(format).await;
        let mut changes = root.subscribe().await.unwrap();
        let mut states = world.channel.objects().sync_changes();
        world.channel.detach().await.unwrap();
        world.channel.attach().await.unwrap();
        world.settle().await;
        // A sync reports every object that it updates, also those that are as before (RTO5c7).
        assert!(!paths(&mut changes).is_empty());
        world.operate([counter_inc("counter:score@1000", 1.0, "91", "remote")]).await;
        assert_eq!(paths(&mut changes), ["score"]);
        world.client.channels().release("test");
        assert!(changes.next().await.is_none());
        assert_eq!(changes.end_reason().map(|reason| reason.code().0), Some(90001));
        assert_eq!(states.next().await, Some(SyncState::Syncing));
        assert_eq!(states.next().await, Some(SyncState::Synced));
        assert_eq!(states.next().await, None);
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO24b2c/listener-exception-caught-0
    async fn a_listener_that_panics_does_not_stop_the_others(format) {
        let (world, root) = World::synced(format).await;
        let mut first = root.subscribe().await.unwrap();
        let mut second = root.subscribe().await.unwrap();
        let listener = tokio::spawn(async move {
            first.next().await.unwrap();
            panic!("boom");
        });
        let set = |name, at| map_set("root", "name", text(name), remote_serial(at), "remote");
        world.operate([set("Bob", 0)]).await;
        assert!(listener.await.unwrap_err().is_panic());
        assert_eq!(paths(&mut second), [""]);
        world.operate([set("Eve", 1)]).await;
        assert_eq!(paths(&mut second), [""]);
    }
}
