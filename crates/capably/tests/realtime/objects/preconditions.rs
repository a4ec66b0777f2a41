//! What every call on objects checks before it does anything (RTO25, RTO26).

use std::future::IntoFuture;

use capably::{
    Result,
    realtime::objects::{Instance, LiveCounter, ObjectWrite},
};

use super::*;
use crate::in_both_formats;

/// Every call that reads, with its result.
fn reads(at: &PathObject, instance: &Instance) -> Vec<(&'static str, Result<()>)> {
    vec![
        ("PathObject::value", at.value().map(drop)), // RTPO7a
        ("PathObject::read_as", at.read_as::<f64>().map(drop)),
        ("PathObject::instance", at.instance().map(drop)), // RTPO8a
        ("PathObject::entries", at.entries().map(drop)),   // RTPO9a
        ("PathObject::keys", at.keys().map(drop)),         // RTPO10a
        ("PathObject::values", at.values().map(drop)),     // RTPO11a
        ("PathObject::size", at.size().map(drop)),         // RTPO12a
        ("PathObject::compact", at.compact().map(drop)),   // RTPO13a
        ("PathObject::compact_json", at.compact_json().map(drop)), // RTPO14a
        ("PathObject::subscribe", at.subscribe().listen().map(drop)), // RTPO19b
        ("Instance::value", instance.value().map(drop)),   // RTINS4a
        ("Instance::read_as", instance.read_as::<f64>().map(drop)),
        ("Instance::get", instance.get("name").map(drop)), // RTINS5b
        ("Instance::entries", instance.entries().map(drop)), // RTINS6a
        ("Instance::keys", instance.keys().map(drop)),     // RTINS7a
        ("Instance::values", instance.values().map(drop)), // RTINS8a
        ("Instance::size", instance.size().map(drop)),     // RTINS9a
        ("Instance::compact", instance.compact().map(drop)), // RTINS10a
        ("Instance::compact_json", instance.compact_json().map(drop)), // RTINS11a
        ("Instance::subscribe", instance.subscribe().listen().map(drop)), // RTINS16b
    ]
}

/// Every call that changes an object. The objects do not exist, or are of the wrong type: that is checked later.
fn writes(at: &PathObject, instance: &Instance) -> Vec<ObjectWrite> {
    let nothing = at.get("nothing");
    vec![
        nothing.set("key", LiveCounter::new(1.0)), // RTPO15b
        nothing.remove("key"),                     // RTPO16b
        nothing.clear(),
        nothing.increment(1),          // RTPO17b
        nothing.decrement(1),          // RTPO18b
        instance.set("key", f64::NAN), // RTINS12b
        instance.remove("key"),        // RTINS13b
        instance.clear(),
        instance.increment(f64::NAN), // RTINS14b
        instance.decrement(f64::NAN), // RTINS15b
    ]
}

async fn refuses_writes(
    world: &World,
    at: &PathObject,
    instance: &Instance,
    expected: (u32, Option<u16>),
) {
    for write in writes(at, instance) {
        let what = format!("{write:?}");
        assert_eq!(refusal(write.into_future().await), expected, "{what}");
    }
    let batch = world.channel.objects().batch(writes(at, instance));
    assert_eq!(refusal(batch.await), expected);
    assert!(world.published().is_empty());
}

fn refuses_reads(at: &PathObject, instance: &Instance, expected: (u32, Option<u16>)) {
    for (what, result) in reads(at, instance) {
        assert_eq!(refusal(result), expected, "{what}");
    }
}

in_both_formats! {
    // Spec: RTO2a, RTO2a1, RTO2a2, RTO25, RTO25a, RTPO7a, RTPO8a, RTPO9a, RTPO10a, RTPO11a, RTPO12a, RTPO13a, RTPO14a, RTPO19b, RTINS4a, RTINS5b, RTINS6a, RTINS7a, RTINS8a, RTINS9a, RTINS10a, RTINS11a, RTINS16b
    async fn reading_needs_the_mode_that_the_service_granted(format) {
        let (world, root) = World::synced(format).await;
        let (at, instance) = (root.clone(), root.instance().unwrap().unwrap());
        // RTO2a1
        world.send(attached("sync2:", &[ChannelMode::ObjectSubscribe])).await;
        assert_eq!(at.size().unwrap(), Some(7));
        assert_eq!(instance.size().unwrap(), Some(7));
        world.send(attached("sync3:", &[ChannelMode::ObjectPublish])).await;
        refuses_reads(&at, &instance, (40024, Some(400)));
    }
}

in_both_formats! {
    // Spec: RTO2b, RTO2b1, RTO2b2, RTO25a
    async fn a_client_that_does_not_know_the_granted_modes_needs_the_requested_one(format) {
        let modes = [ChannelMode::ObjectSubscribe];
        let (_world, root) = World::synced_with(format, |script| script.modes = modes.into()).await;
        assert_eq!(root.size().unwrap(), Some(7)); // RTO2b1
        assert_eq!(refusal(root.set("name", "Bob").await), (40024, Some(400)));
    }
}

in_both_formats! {
    // Spec: RTO25, RTO25b, RTO26, RTO26b, RTPO5d
    async fn a_detached_or_failed_channel_refuses_every_call(format) {
        for fails in [false, true] {
            let (world, root) = World::synced(format).await;
            let (at, instance) = (root.clone(), root.instance().unwrap().unwrap());
            if fails {
                world.send(support::error(Some("test"), 90000, 400)).await;
            } else {
                world.channel.detach().await.unwrap();
            }
            refuses_reads(&at, &instance, (90001, Some(400)));
            refuses_writes(&world, &at, &instance, (90001, Some(400))).await;
            // Navigation reads nothing.
            assert_eq!(root.get("a").at("b.c").path().to_string(), "a.b.c");
        }
    }
}

in_both_formats! {
    // Spec: RTO26, RTO26a, RTPO15b, RTPO16b, RTPO17b, RTPO18b, RTINS12b, RTINS13b, RTINS14b, RTINS15b
    async fn changing_needs_the_mode(format) {
        let granted = vec![ChannelMode::ObjectSubscribe];
        let (world, root) = World::synced_with(format, |script| script.granted = granted).await;
        let instance = root.instance().unwrap().unwrap();
        refuses_writes(&world, &root, &instance, (40024, Some(400))).await;
    }
}

in_both_formats! {
    // Spec: RTO26c
    async fn changing_needs_the_echo(format) {
        let (world, root) = World::synced_with(format, |script| script.echo = false).await;
        let instance = root.instance().unwrap().unwrap();
        refuses_writes(&world, &root, &instance, (40000, Some(400))).await;
    }
}
