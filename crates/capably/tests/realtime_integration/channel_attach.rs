//! Channels that attach and detach, and what a capability allows on them.

use capably::realtime::{ChannelState, ConnectionState};

use crate::{app::in_both_formats, support::within};

// UTS: realtime/integration/RTL4c/attach-succeeds-0
// Spec: RTL4c
in_both_formats! {
    async fn a_channel_attaches(app) {
        let client = app.realtime().await;
        let channel = client.channels().get("attach-RTL4c");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let mut changes = channel.changes();
        channel.attach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        assert!(channel.error_reason().is_none());
        for state in [ChannelState::Attaching, ChannelState::Attached] {
            assert_eq!(within(changes.next()).await.unwrap().current, state);
        }
        client.close().await;
    }
}

// UTS: realtime/integration/RTL5d/detach-succeeds-0
// Spec: RTL5d
in_both_formats! {
    async fn a_channel_detaches(app) {
        let client = app.realtime().await;
        let channel = client.channels().get("detach-RTL5d");
        channel.attach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        let mut changes = channel.changes();
        channel.detach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        for state in [ChannelState::Detaching, ChannelState::Detached] {
            assert_eq!(within(changes.next()).await.unwrap().current, state);
        }
        client.close().await;
    }
}

// UTS: realtime/integration/RTL14/insufficient-capability-failed-0
in_both_formats! {
    async fn a_client_without_the_publish_capability_cannot_publish(app) {
        let client = app.realtime_with(|options| options.key(app.key(3))).await;
        let channel = client.channels().get("publish-not-allowed");
        channel.attach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        let error = channel.publish("test", "data").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)));
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        client.close().await;
    }
}

// Spec: RTL14
in_both_formats! {
    async fn a_channel_that_a_key_does_not_cover_fails(app) {
        let client = app.realtime_with(|options| options.key(app.key(2))).await;
        let channel = client.channels().get("channel7");
        let error = channel.attach().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)));
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(channel.error_reason().unwrap().code().0, 40160);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        // The others are not affected.
        client.channels().get("channel2").attach().await.unwrap();
        client.close().await;
    }
}
