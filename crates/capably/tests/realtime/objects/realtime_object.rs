//! The objects of a channel: getting, publishing, syncing, states and modes (RTO).

use std::time::SystemTime;

use capably::realtime::ChannelState;
use futures_util::FutureExt;

use super::*;
use crate::{
    in_both_formats,
    support::{advance, error, seen},
};

/// A change that has been published and waits.
async fn pending(
    world: &World,
    change: capably::realtime::objects::ObjectWrite,
) -> tokio::task::JoinHandle<Result<(), Error>> {
    let change = tokio::spawn(change.into_future());
    while world.published().is_empty() {
        tokio::task::yield_now().await;
    }
    world.settle().await;
    assert!(!change.is_finished());
    change
}

in_both_formats! {
    // UTS: objects/unit/RTO23/get-returns-path-object-0
    // UTS: objects/unit/RTO23/get-implicit-attach-0
    // UTS: objects/unit/RTO23d/get-resolves-immediately-synced-0
    async fn getting_attaches_and_returns_the_root(format) {
        let world = World::new(format, |_| {}).await;
        assert_eq!(world.channel.state(), ChannelState::Initialized);
        let root = world.channel.objects().get().await.unwrap();
        assert!(root.path().is_empty());
        assert_eq!(world.channel.state(), ChannelState::Attached);
        let again = world.channel.objects().get().await.unwrap();
        assert!(again.path().is_empty());
        assert_eq!(string(&again.get("name")).as_deref(), Some("Alice"));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO23c/get-waits-for-synced-0
    // UTS: objects/unit/RTO17/sync-state-events-0
    async fn getting_waits_for_the_sync(format) {
        let world = World::new(format, |script| script.sync = false).await;
        let objects = world.channel.objects();
        let mut states = objects.sync_changes();
        let get = tokio::spawn(objects.get());
        assert_eq!(states.next().await, Some(SyncState::Syncing));
        world.settle().await;
        assert!(!get.is_finished());
        world.send(sync("sync1:", standard_pool())).await;
        assert!(get.await.unwrap().unwrap().path().is_empty());
        assert_eq!(states.next().await, Some(SyncState::Synced));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO23e/get-reattaches-detached-0
    // UTS: objects/unit/RTO25b/access-throws-detached-0
    // UTS: objects/unit/RTO26b/write-throws-detached-0
    async fn a_detached_channel_is_attached_by_getting_only(format) {
        let (world, root) = World::synced(format).await;
        world.channel.detach().await.unwrap();
        assert_eq!(world.channel.state(), ChannelState::Detached);
        assert_eq!(refusal(root.keys()), (90001, Some(400)));
        assert_eq!(refusal(root.subscribe().await), (90001, Some(400)));
        assert_eq!(refusal(root.set("name", "Bob").await), (90001, Some(400)));
        // Whether the call is allowed is checked before its path.
        let nothing = root.get("nonexistent").set("name", "Bob");
        assert_eq!(refusal(nothing.await), (90001, Some(400)));
        let root = world.channel.objects().get().await.unwrap();
        assert_eq!(world.channel.state(), ChannelState::Attached);
        assert_eq!(root.size().unwrap(), Some(7));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO23e/get-rejects-failed-0
    // UTS: objects/unit/RTO25b/access-throws-failed-0
    // UTS: objects/unit/RTO26b/write-throws-failed-0
    async fn a_failed_channel_has_no_objects_to_use(format) {
        let (world, root) = World::synced(format).await;
        world.send(error(Some("test"), 90000, 400)).await;
        assert_eq!(world.channel.state(), ChannelState::Failed);
        assert_eq!(refusal(world.channel.objects().get().await), (90001, Some(400)));
        assert_eq!(refusal(root.keys()), (90001, Some(400)));
        assert_eq!(refusal(root.set("name", "Bob").await), (90001, Some(400)));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO23a/get-requires-subscribe-mode-0
    // UTS: objects/unit/RTO2/mode-enforcement-0
    // UTS: objects/unit/RTO25a/access-requires-subscribe-mode-0
    // UTS: objects/unit/RTO26a/write-requires-publish-mode-0
    async fn calls_need_their_mode(format) {
        let only_publish = [ChannelMode::ObjectPublish];
        let world = World::new(format, |script| script.modes = only_publish.into()).await;
        let get = world.channel.objects().get().await.unwrap_err();
        assert_eq!((get.code().0, get.status()), (40024, Some(400)));
        let granted = vec![ChannelMode::ObjectPublish];
        let (world, root) = World::synced(format).await;
        world.send(attached("sync2:", &granted)).await;
        let refused = root.keys().unwrap_err();
        assert_eq!((refused.code().0, refused.status()), (40024, Some(400)));
        assert!(refused.remediation().unwrap().contains("mode"));
        assert_eq!(refusal(world.channel.objects().get().await), (40024, Some(400)));
        let granted = vec![ChannelMode::ObjectSubscribe];
        let (_world, root) = World::synced_with(format, |script| script.granted = granted).await;
        assert_eq!(refusal(root.set("name", "Bob").await), (40024, Some(400)));
        assert_eq!(root.size().unwrap(), Some(7));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO26c/write-throws-echo-disabled-0
    async fn changes_need_the_echo(format) {
        let (world, root) = World::synced_with(format, |script| script.echo = false).await;
        assert_eq!(refusal(root.set("name", "Bob").await), (40000, Some(400)));
        assert!(world.published().is_empty());
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO15/publish-sends-object-pm-0
    // UTS: objects/unit/RTO20/publish-and-apply-local-0
    // UTS: objects/unit/RTO20/echo-dedup-0
    // UTS: objects/unit/RTO20/subscription-fires-on-ack-apply-0
    async fn a_change_is_applied_when_it_is_acknowledged(format) {
        let (world, root) = World::synced(format).await;
        let score = root.get("score");
        let mut changes = score.subscribe().await.unwrap();
        score.increment(10).await.unwrap();
        assert_eq!(number(&score), Some(110.0));
        assert!(changes.next().now_or_never().flatten().is_some());
        let echo = counter_inc("counter:score@1000", 10.0, ack_serial(0, 0), SITE);
        world.operate([echo]).await;
        assert_eq!(number(&score), Some(110.0));
        assert!(changes.next().now_or_never().is_none());
        let [publish] = &world.published()[..] else { panic!("one frame") };
        assert_eq!((&*publish.channel, publish.items.len()), ("test", 1));
        let operation = publish.items[0].operation.as_deref().unwrap();
        assert_eq!(operation.action, Some(Action::CounterInc));
        assert_eq!(operation.object_id.as_deref(), Some("counter:score@1000"));
        assert_eq!(operation.counter_inc, Some(CounterInc { number: Some(10.0) }));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO20c/missing-site-code-0
    // UTS: objects/unit/RTO20d1/null-serial-skipped-0
    async fn a_change_that_cannot_be_applied_waits_for_its_echo(format) {
        let (world, root) = World::synced_with(format, |script| script.site = None).await;
        root.get("score").increment(10).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(100.0));
        let echo = counter_inc("counter:score@1000", 10.0, ack_serial(0, 0), SITE);
        world.operate([echo]).await;
        assert_eq!(number(&root.get("score")), Some(110.0));
        let none: fn(u64, usize) -> Option<Vec<Option<Str>>> = |_, count| Some(vec![None; count]);
        let (_world, root) = World::synced_with(format, |script| script.ack = none).await;
        root.get("score").increment(10).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(100.0));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO20e/waits-for-synced-0
    async fn a_change_waits_for_the_sync_under_way(format) {
        let (world, root) = World::synced(format).await;
        world.send(attached("sync2:cursor", &[])).await;
        let change = pending(&world, root.get("score").increment(10)).await;
        assert_eq!(number(&root.get("score")), Some(100.0));
        world.send(sync("sync2:", standard_pool())).await;
        change.await.unwrap().unwrap();
        assert_eq!(number(&root.get("score")), Some(110.0));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO20e1/fails-on-channel-detached-0
    // UTS: objects/unit/RTO20e1/fails-on-channel-failed-0
    async fn a_change_that_waits_for_a_sync_ends_with_the_channel(format) {
        for fails in [false, true] {
            let (world, root) = World::synced(format).await;
            world.send(attached("sync2:cursor", &[])).await;
            let change = pending(&world, root.get("score").increment(10)).await;
            if fails {
                world.send(error(Some("test"), 90000, 400)).await;
            } else {
                world.channel.detach().await.unwrap();
            }
            let ended = change.await.unwrap().unwrap_err();
            assert_eq!((ended.code().0, ended.status()), (92008, Some(400)));
            assert_eq!(ended.cause().map(|cause| cause.code.0), fails.then_some(90000));
        }
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO20f/ack-no-site-timeserials-update-0
    async fn an_acknowledgement_does_not_outdate_other_operations_of_the_site(format) {
        let (world, root) = World::synced(format).await;
        root.get("score").increment(10).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(110.0));
        world.operate([counter_inc("counter:score@1000", 10.0, "t:0:9", SITE)]).await;
        assert_eq!(number(&root.get("score")), Some(120.0));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO20/ack-after-echo-no-double-apply-0
    async fn an_acknowledgement_after_the_echo_changes_nothing(format) {
        let (world, root) = World::synced_with(format, |script| script.ack = |_, _| None).await;
        let change = pending(&world, root.get("score").increment(10)).await;
        let echo = counter_inc("counter:score@1000", 10.0, ack_serial(0, 0), SITE);
        world.operate([echo]).await;
        world.send(ack(0, vec![Some(ack_serial(0, 0))])).await;
        change.await.unwrap().unwrap();
        assert_eq!(number(&root.get("score")), Some(110.0));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO5c9-RTO20/ack-serials-cleared-on-resync-0
    async fn a_sync_forgets_which_echoes_are_to_come(format) {
        let (world, root) = World::synced(format).await;
        root.get("score").increment(10).await.unwrap();
        assert_eq!(number(&root.get("score")), Some(110.0));
        world.send(attached("sync2:cursor", &[])).await;
        world.send(sync("sync2:", standard_pool())).await;
        assert_eq!(number(&root.get("score")), Some(100.0));
        let echo = counter_inc("counter:score@1000", 10.0, ack_serial(0, 0), SITE);
        world.operate([echo]).await;
        assert_eq!(number(&root.get("score")), Some(110.0));
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO17-RTO18/sync-event-sequences-0
    // UTS: objects/unit/RTO18d/duplicate-listener-0
    // UTS: objects/unit/RTO19/off-deregisters-0
    // Spec: RTO18a, RTO18a1, RTO18a2, RTO18c, RTO18e, RTO18f, RTO18f1, RTO18f2
    async fn every_sync_has_its_events(format) {
        let world = World::new(format, |_| {}).await;
        let objects = world.channel.objects();
        let (mut states, mut again) = (objects.sync_changes(), objects.sync_changes());
        drop(objects.sync_changes());
        let both = [SyncState::Syncing, SyncState::Synced];
        world.channel.attach().await.unwrap();
        world.settle().await;
        assert_eq!(seen(&mut states), both, "the first attach");
        world.send(ServerFrame::Detached { channel: "test".into(), error: None }).await;
        world.settle().await;
        assert_eq!(seen(&mut states), both, "attached again after DETACHED");
        world.send(attached("sync3:cursor", &[])).await;
        world.send(sync("sync3:", standard_pool())).await;
        assert_eq!(seen(&mut states), both, "another ATTACHED");
        world.send(attached_with("test", |attached| attached.flags = Flags::NONE)).await;
        assert_eq!(seen(&mut states), both, "ATTACHED without HAS_OBJECTS");
        assert_eq!(seen(&mut again).len(), 8, "two listeners have the same events");
    }
}

in_both_formats! {
    // UTS: objects/unit/RTO10/gc-tombstoned-objects-0
    // UTS: objects/unit/RTO10b1/gc-grace-period-source-0
    // UTS: objects/unit/RTO10c1b1/gc-root-never-removed-0
    // Spec: RTO10b3
    async fn deleted_objects_are_forgotten_and_the_root_is_not(format) {
        for (grace_period, is_forgotten) in [(Some(5_000), true), (None, false)] {
            let (world, root) =
                World::synced_with(format, |script| script.grace_period = grace_period).await;
            let score = root.get("score").instance().unwrap().unwrap();
            // The pause of the test stops the timers, and not the wall clock: the deletion lies in the past.
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
            let deleted = ObjectMessage {
                serial_timestamp: Some(i64::try_from(now).unwrap() - 6_000),
                ..object_delete("counter:score@1000", "99", "site1")
            };
            world.operate([deleted]).await;
            assert_eq!(number(&root.get("score")), None);
            let kept = Some(ObjectValue::Number(0.0));
            assert_eq!(score.value().unwrap(), kept);
            world.operate([object_delete("root", remote_serial(0), "remote")]).await;
            assert_eq!(string(&root.get("name")).as_deref(), Some("Alice"));
            advance(300_000).await;
            world.settle().await;
            assert_eq!(score.value().unwrap(), if is_forgotten { None } else { kept });
            assert_eq!(number(&root.get("score")), None);
            let set = map_set("root", "name", text("Bob"), remote_serial(1), "remote");
            world.operate([set]).await;
            assert_eq!(string(&root.get("name")).as_deref(), Some("Bob"));
        }
    }
}

in_both_formats! {
    // Spec: RTO10b, RTO10b2
    async fn the_grace_period_is_that_of_the_last_connected(format) {
        for updated in [false, true] {
            let (world, root) = World::synced(format).await;
            if updated {
                let connected = |connected: &mut Connected| {
                    let details = connected.details.as_mut().unwrap();
                    details.site_code = Some(SITE.into());
                    details.objects_gc_grace_period = Some(5_000);
                    details.max_idle_interval = Some(u64::from(u32::MAX));
                };
                world.send(connected_frame_with("conn-1", "key-1", connected)).await;
            }
            let score = root.get("score").instance().unwrap().unwrap();
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
            let deleted = ObjectMessage {
                serial_timestamp: Some(i64::try_from(now).unwrap() - 6_000),
                ..object_delete("counter:score@1000", "99", "site1")
            };
            world.operate([deleted]).await;
            advance(300_000).await;
            world.settle().await;
            assert_eq!(score.value().unwrap().is_none(), updated);
        }
    }
}

in_both_formats! {
    // Spec: RTLO6b1
    async fn a_deletion_that_is_dated_by_the_local_clock_is_logged(format) {
        let log = crate::http::log::Log::new(tracing::Level::DEBUG);
        let _guard = tracing::subscriber::set_default(log.clone());
        let (world, root) = World::synced(format).await;
        let dated = |at| ObjectMessage {
            serial_timestamp: at,
            ..map_remove("root", "name", remote_serial(0), "remote")
        };
        let said = || log.said().iter().filter(|said| said.message.contains("local clock")).count();
        world.operate([dated(Some(1_700_000_000_000))]).await;
        assert_eq!((string(&root.get("name")), said()), (None, 0));
        let undated = object_delete("counter:score@1000", "01", "remote");
        world.operate([undated]).await;
        assert_eq!((number(&root.get("score")), said()), (None, 1));
    }
}
