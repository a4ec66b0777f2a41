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
