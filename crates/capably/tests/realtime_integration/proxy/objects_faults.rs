//! Syncs of objects that faults interrupt or delay (RTO).

use capably::{
    Channel, ChannelMode,
    realtime::{
        ChannelState, RealtimeChannelOptions,
        objects::{LiveCounter, LiveMap, ObjectValue, PathObject},
    },
};
use capably_protocol::{
    Flags,
    frame::{Action, Attached, ErrorFrame},
};
use capably_server::faults::Rule;

use super::*;

fn channel(client: &Realtime, name: &str) -> Channel {
    let modes = [ChannelMode::ObjectSubscribe, ChannelMode::ObjectPublish];
    client.channels().get_with(name, RealtimeChannelOptions::new().modes(modes))
}

/// The objects of a channel, once they are in sync.
async fn root(channel: &Channel) -> PathObject {
    within(channel.objects().get()).await.unwrap()
}

fn text(text: &str) -> Option<ObjectValue> {
    Some(ObjectValue::String(text.into()))
}

/// Waits until a key of the root has this text.
async fn becomes(root: &PathObject, key: &str, expected: &str) {
    let mut changes = root.subscribe().await.unwrap();
    within(async {
        while root.get(key).value().unwrap() != text(expected) {
            changes.next().await.expect("the channel stays attached");
        }
    })
    .await;
}

// UTS: objects/proxy/RTO5a2-RTO17/sync-interrupted-reconnect-0
in_both_formats! {
    async fn a_sync_that_breaks_off_begins_again(scene) {
        let name = "objects-sync-interrupt";
        // More objects than one page of a sync has.
        let other = scene.connected(|options| options).await;
        let counters = (0..150).map(|at| (format!("c{at:03}"), LiveCounter::new(f64::from(at))));
        let set = root(&channel(&other, name)).await.set("counters", LiveMap::from_iter(counters));
        within(set.into_future()).await.unwrap();
        // The connection is cut before the first page arrives, and then after it.
        for page in [1, 2] {
            let sync = Rule::to_client().action(Action::ObjectSync).channel(name).param("clientId", "b");
            scene.faults.add(sync.nth(page).times(1).disconnect());
            let client = scene.client(|options| options.client_id("b"));
            let mut changes = client.connection().changes();
            let channel = channel(&client, name);
            client.connection().connect();
            let states = [ConnectionState::Connecting, ConnectionState::Connected];
            expect_states(&mut changes, &states).await;
            let attach = tokio::spawn(channel.attach());
            let states = [
                ConnectionState::Disconnected,
                ConnectionState::Connecting,
                ConnectionState::Connected,
            ];
            expect_states(&mut changes, &states).await;
            let root = root(&channel).await;
            assert_eq!(root.path().to_string(), "");
            assert_eq!(root.get("counters").size().unwrap(), Some(150));
            for (at, counter) in root.get("counters").values().unwrap().into_iter().enumerate() {
                let count = f64::from(u32::try_from(at).unwrap());
                assert_eq!(counter.value().unwrap(), Some(ObjectValue::Number(count)));
            }
            within(attach).await.unwrap().unwrap();
            client.close().await;
            scene.faults.clear();
        }
        other.close().await;
    }
}

// UTS: objects/proxy/RTO7-RTO8/mutations-buffered-during-resync-0
in_both_formats! {
    async fn a_change_during_an_outage_arrives(scene) {
        let name = "objects-buffer-resync";
        let client_a = scene.connected(|options| options.client_id("a")).await;
        let root_a = root(&channel(&client_a, name)).await;
        within(root_a.set("key1", "initial").into_future()).await.unwrap();
        let client_b = scene.connected(|options| options.client_id("b")).await;
        let channel_b = channel(&client_b, name);
        becomes(&root(&channel_b).await, "key1", "initial").await;
        let mut changes = client_b.connection().changes();
        let outage = scene.faults.add(Rule::opening().param("clientId", "b").refuse());
        scene.faults.connections().param("clientId", "b").disconnect();
        expect_states(&mut changes, &[ConnectionState::Disconnected]).await;
        within(root_a.set("key1", "updated_during_disconnect").into_future()).await.unwrap();
        scene.faults.remove(outage);
        client_b.connection().connect();
        within(client_b.connection().when(ConnectionState::Connected)).await.unwrap();
        becomes(&root(&channel_b).await, "key1", "updated_during_disconnect").await;
        tokio::join!(client_a.close(), client_b.close());
    }
}

// UTS: objects/proxy/RTO17/server-detach-resync-0
in_both_formats! {
    async fn a_channel_that_the_service_detaches_syncs_again(scene) {
        let name = "objects-detach-resync";
        let client = scene.connected(|options| options).await;
        let channel = channel(&client, name);
        let first = root(&channel).await;
        within(first.set("before_detach", "hello").into_future()).await.unwrap();
        assert_eq!(first.get("before_detach").value().unwrap(), text("hello"));
        let mut changes = channel.changes();
        let detached = ServerFrame::Detached { channel: name.into(), error: None };
        scene.faults.connections().inject_to_client(detached);
        for state in [ChannelState::Attaching, ChannelState::Attached] {
            assert_eq!(within(changes.next()).await.unwrap().current, state);
        }
        becomes(&root(&channel).await, "before_detach", "hello").await;
        assert_eq!(scene.log().server_frames(Action::ObjectSync).len(), 2);
        client.close().await;
    }
}

// UTS: objects/proxy/RTO20e/publish-fails-on-channel-failed-0
// Spec: RTO20e1
in_both_formats! {
    async fn a_change_that_waits_for_a_sync_fails_with_the_channel(scene) {
        let name = "objects-publish-failed";
        let client = scene.connected(|options| options).await;
        let channel = channel(&client, name);
        let root = root(&channel).await;
        // The service has not sent this ATTACHED, so no sync follows.
        let attached = Attached { channel: name.into(), flags: Flags::HAS_OBJECTS, ..Attached::default() };
        scene.faults.connections().inject_to_client(ServerFrame::Attached(Box::new(attached)));
        let pending = tokio::spawn(root.set("key", "value").into_future());
        within(scene.faults.wait_until(|log| !log.server_frames(Action::Ack).is_empty())).await;
        // A round trip: the client has received what the service sent before it.
        within(client.connection().ping()).await.unwrap();
        assert!(!pending.is_finished());
        let refused = error(90000, 400, "injected error");
        let failed = ErrorFrame { channel: Some(name.into()), error: Some(refused) };
        scene.faults.connections().inject_to_client(ServerFrame::Error(failed));
        within(channel.when(ChannelState::Failed)).await.unwrap();
        let error = within(pending).await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (92008, Some(400)));
        assert_eq!(error.cause().map(|cause| cause.code.0), Some(90000));
        client.close().await;
    }
}

// UTS: objects/proxy/RTO5-RTO7/publish-during-sync-echo-after-0
in_both_formats! {
    async fn a_change_during_a_sync_is_applied_after_it(scene) {
        let name = "objects-publish-during-sync";
        let client_a = scene.connected(|options| options.client_id("a")).await;
        let root_a = root(&channel(&client_a, name)).await;
        within(root_a.set("existing", "before").into_future()).await.unwrap();
        let sync = Rule::to_client().action(Action::ObjectSync).channel(name);
        scene.faults.add(sync.times(1).delay(Duration::from_millis(200)));
        let client_b = scene.connected(|options| options.client_id("b")).await;
        let channel_b = channel(&client_b, name);
        let mut states = channel_b.objects().sync_changes();
        let attach = tokio::spawn(channel_b.attach());
        within(states.next()).await.unwrap();
        within(root_a.set("existing", "after").into_future()).await.unwrap();
        becomes(&root(&channel_b).await, "existing", "after").await;
        within(attach).await.unwrap().unwrap();
        tokio::join!(client_a.close(), client_b.close());
    }
}
