//! Faults of one channel (RTL).

use capably::{
    Channel,
    realtime::{ChannelEvent, ChannelState, ChannelStateChange},
};
use capably_protocol::{
    ClientFrame,
    frame::{Action, Attached, ErrorFrame},
};
use capably_server::faults::{Event, Fate, Rule};

use super::*;

async fn expect_channel(changes: &mut Changes<ChannelStateChange>, states: &[ChannelState]) {
    for state in states {
        let change = within(changes.next()).await.expect("the client lives");
        assert_eq!(change.current, *state, "{change:?}");
    }
}

/// A client, and a channel of this name that is attached.
async fn attached(scene: &Scene, name: &str) -> (Realtime, Channel) {
    let client = scene.connected(|options| options).await;
    let channel = client.channels().get(name);
    within(channel.attach()).await.unwrap();
    (client, channel)
}

/// The number of ATTACH frames that the client has sent for a channel.
fn attaches(scene: &Scene, name: &str) -> usize {
    let log = scene.log();
    let frames = log.client_frames(Action::Attach).into_iter();
    frames.filter(|frame| frame.channel().is_some_and(|channel| **channel == *name)).count()
}

fn not_permitted(channel: &str) -> ServerFrame {
    ServerFrame::Error(ErrorFrame {
        channel: Some(channel.into()),
        error: Some(error(40160, 403, "Not permitted")),
    })
}

// UTS: realtime/proxy/RTL4f/attach-timeout-suppressed-0
// Spec: RTL4f
in_both_formats! {
    async fn an_attach_without_answer_suspends_the_channel(scene) {
        let name = "test-RTL4f";
        scene.faults.add(Rule::to_server().action(Action::Attach).channel(name).suppress());
        let limit = Duration::from_secs(1);
        let client = scene.connected(|options| options.realtime_request_timeout(limit)).await;
        let channel = client.channels().get(name);
        let mut changes = channel.changes();
        let error = within(channel.attach()).await.unwrap_err();
        assert_eq!(error.code().0, 90007);
        expect_channel(&mut changes, &[ChannelState::Attaching, ChannelState::Suspended]).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        let log = scene.log();
        let fates: Vec<_> = log
            .entries()
            .filter_map(|entry| match &entry.event {
                Event::ToServer { frame: ClientFrame::Attach(_), fate } => Some(*fate),
                _ => None,
            })
            .collect();
        assert_eq!(fates, [Fate::Suppressed]);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTL14/error-on-attach-0
// Spec: RTL14
in_both_formats! {
    async fn an_attach_that_is_refused_fails_the_channel(scene) {
        let name = "test-RTL14-error-on-attach";
        let attached = Rule::to_client().action(Action::Attached).channel(name).times(1);
        scene.faults.add(attached.replace(not_permitted(name)));
        let client = scene.connected(|options| options).await;
        let channel = client.channels().get(name);
        let mut changes = channel.changes();
        let error = within(channel.attach()).await.unwrap_err();
        assert_eq!(error.code().0, 40160);
        expect_channel(&mut changes, &[ChannelState::Attaching, ChannelState::Failed]).await;
        let reason = channel.error_reason().unwrap();
        assert_eq!((reason.code().0, reason.status()), (40160, Some(403)));
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTL5f/detach-timeout-suppressed-0
// Spec: RTL5f
in_both_formats! {
    async fn a_detach_without_answer_leaves_the_channel_attached(scene) {
        let name = "test-RTL5f";
        let limit = Duration::from_secs(1);
        let client = scene.connected(|options| options.realtime_request_timeout(limit)).await;
        let channel = client.channels().get(name);
        within(channel.attach()).await.unwrap();
        let mut changes = channel.changes();
        scene.faults.add_first(Rule::to_server().action(Action::Detach).channel(name).suppress());
        let error = within(channel.detach()).await.unwrap_err();
        assert_eq!(error.code().0, 90007);
        expect_channel(&mut changes, &[ChannelState::Detaching, ChannelState::Attached]).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTL13a/unsolicited-detach-reattach-0
// Spec: RTL13a
in_both_formats! {
    async fn a_channel_that_the_service_detaches_is_attached_again(scene) {
        let name = "test-RTL13a";
        let (client, channel) = attached(&scene, name).await;
        let mut changes = channel.changes();
        let reason = error(90198, 500, "Channel detached by server");
        let detached = ServerFrame::Detached { channel: name.into(), error: Some(reason.clone()) };
        scene.faults.connections().inject_to_client(detached);
        let change = within(changes.next()).await.unwrap();
        assert_eq!((change.current, change.reason), (ChannelState::Attaching, Some(reason)));
        expect_channel(&mut changes, &[ChannelState::Attached]).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(attaches(&scene, name), 2);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTL14/channel-error-goes-failed-1
// Spec: RTL14
in_both_formats! {
    async fn an_error_of_a_channel_fails_it(scene) {
        let name = "test-RTL14";
        let (client, channel) = attached(&scene, name).await;
        let mut changes = channel.changes();
        scene.faults.connections().inject_to_client(not_permitted(name));
        let change = within(changes.next()).await.unwrap();
        let states = (change.previous, change.current);
        assert_eq!(states, (ChannelState::Attached, ChannelState::Failed));
        let reason = channel.error_reason().unwrap();
        assert_eq!((reason.code().0, reason.status()), (40160, Some(403)));
        assert_eq!(reason.message(), "Not permitted");
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        // The channel has no other change.
        client.close().await;
        drop((client, channel));
        assert!(within(changes.next()).await.is_none());
    }
}

// UTS: realtime/proxy/RTL12/attached-non-resumed-update-0
// Spec: RTL12, RTL2g
in_both_formats! {
    async fn a_loss_of_continuity_is_an_update(scene) {
        let name = "test-RTL12";
        let (client, channel) = attached(&scene, name).await;
        let mut changes = channel.changes();
        let reason = error(91001, 500, "Continuity lost");
        let attached =
            Attached { channel: name.into(), error: Some(reason.clone()), ..Attached::default() };
        scene.faults.connections().inject_to_client(ServerFrame::Attached(Box::new(attached)));
        let change = within(changes.next()).await.unwrap();
        assert_eq!(change.event, ChannelEvent::Update);
        let states = (change.previous, change.current);
        assert_eq!(states, (ChannelState::Attached, ChannelState::Attached));
        assert!(!change.resumed);
        assert_eq!(change.reason, Some(reason));
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        // No other event was emitted: the next event belongs to the next change.
        within(channel.detach()).await.unwrap();
        expect_channel(&mut changes, &[ChannelState::Detaching, ChannelState::Detached]).await;
        client.close().await;
    }
}

// UTS: realtime/proxy/RTL3d/channels-reattach-on-reconnect-0
// Spec: RTL3d
in_both_formats! {
    async fn channels_are_attached_again_on_a_new_connection(scene) {
        let names = ["test-RTL3d-a", "test-RTL3d-b"];
        let client = scene.connected(|options| options).await;
        let channels = names.map(|name| client.channels().get(name));
        for channel in &channels {
            within(channel.attach()).await.unwrap();
        }
        let mut changes = client.connection().changes();
        let mut channel_changes = channels.each_ref().map(|channel| channel.changes());
        scene.faults.connections().close(1000);
        let states = [
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Connected,
        ];
        expect_states(&mut changes, &states).await;
        for changes in &mut channel_changes {
            expect_channel(changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        }
        for (channel, name) in channels.iter().zip(names) {
            assert_eq!(channel.state(), ChannelState::Attached);
            assert_eq!(attaches(&scene, name), 2);
        }
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}
