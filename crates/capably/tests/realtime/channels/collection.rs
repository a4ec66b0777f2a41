//! The collection of channels (RTS).

use capably::realtime::{ChannelState, RealtimeChannelOptions};
use capably_protocol::{ClientFrame, Flags};

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTS2/channel-exists-check-0
    // UTS: realtime/unit/RTS2/iterate-channels-1
    // UTS: realtime/unit/RTS3a/get-creates-new-channel-0
    // UTS: realtime/unit/RTL23/name-attribute-0
    // UTS: realtime/unit/RTL2b/initial-state-initialized-1
    // UTS: realtime/unit/RTS1/channels-collection-accessible-0
    // Spec: RTS3
    async fn channels_are_created_on_demand(format) {
        let (client, _service) = client(format);
        let channels = client.channels();
        assert!(!channels.exists("my-channel"));
        let channel = channels.get("my-channel");
        assert_eq!(channel.name(), "my-channel");
        assert_eq!(channel.state(), ChannelState::Initialized);
        assert!(channels.exists("my-channel"));
        assert!(!channels.exists("other"));
        assert_eq!(channels.get("namespace:channel-name").name(), "namespace:channel-name");
        channels.get("a third");
        let mut names: Vec<_> = channels.all().iter().map(|own| own.name().to_string()).collect();
        names.sort();
        assert_eq!(names, ["a third", "my-channel", "namespace:channel-name"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTS3a/get-returns-existing-channel-1
    async fn the_same_name_is_the_same_channel(format) {
        let (client, _service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("ch");
        assert_eq!(two.name(), "ch");
        assert_eq!(two.state(), ChannelState::Attached);
        let detaching = detaching(&two);
        peer.expect_detach("ch").await;
        assert_eq!(one.state(), ChannelState::Detaching);
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(client.channels().all().len(), 1);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTS4a/release-removes-channel-0
    // UTS: realtime/unit/RTS4a/release-nonexistent-noop-1
    async fn a_released_channel_is_gone(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        client.channels().release("ch");
        client.channels().release("never made");
        assert!(!client.channels().exists("ch"));
        assert!(!client.channels().exists("never made"));
        quiet(&client, &mut peer).await;
        // Handles of the released channel have no effect.
        assert_eq!(code(channel.attach().await), 90001);
        assert_eq!(code(channel.detach().await), 90001);
        assert_eq!(code(channel.publish("n", "d").await), 90001);
        assert_eq!(code(channel.subscribe().await), 90001);
        assert_eq!(code(channel.subscribe().attach(false).await), 90001);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTS4a/release-detaches-attached-2
    // Spec: RTS4
    async fn releasing_detaches(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        let mut subscription = subscribed(&channel).await;
        let mut changes = channel.changes();
        client.channels().release("ch");
        assert!(!client.channels().exists("ch"));
        peer.expect_detach("ch").await;
        assert_eq!(subscription.next().await, None);
        assert_eq!(subscription.end_reason().unwrap().code().0, 90001);
        // No call changes its state after that.
        assert_eq!(changes.next().await, None);
        peer.send(detached("ch"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn releasing_ends_requests_under_way(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        let detach = detaching(&channel);
        quiet(&client, &mut peer).await;
        client.channels().release("ch");
        peer.expect_detach("ch").await;
        assert_eq!(code(attach.await.unwrap()), 90001);
        assert_eq!(code(detach.await.unwrap()), 90001);
        // The deadline of the old attach and its late answer have no effect.
        peer.send(attached("ch"));
        peer.send(detached("ch"));
        advance(11_000).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTS3a/get-after-release-new-3
    async fn a_channel_created_after_a_release_is_a_new_channel(format) {
        let (client, _service, mut peer, old) = with_channel(format).await;
        client.channels().release("ch");
        let options = RealtimeChannelOptions::new().param("rewind", "1");
        let new = client.channels().get_with("ch", options);
        assert!(client.channels().exists("ch"));
        assert_eq!(new.name(), "ch");
        assert_eq!(new.state(), ChannelState::Initialized);
        assert_eq!(code(old.attach().await), 90001);
        // The answer to the old channel's DETACH is not an answer to the new one's ATTACH.
        let attaching = attaching(&new);
        peer.expect_detach("ch").await;
        match peer.receive().await {
            Some(ClientFrame::Attach(attach)) => {
                assert_eq!((attach.channel_serial, attach.flags), (None, Flags::NONE));
                assert_eq!(attach.params["rewind"], "1");
            }
            other => panic!("not an ATTACH: {other:?}"),
        }
        let mut changes = new.changes();
        peer.send(detached("ch"));
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        peer.send(attached("ch"));
        attaching.await.unwrap().unwrap();
        assert_eq!(new.state(), ChannelState::Attached);
        // After that, a DETACHED counts as sent by the service itself.
        peer.send(detached_because("ch", 90198));
        peer.attach("ch").await;
    }
}

in_both_formats! {
    async fn a_release_while_detaching_does_not_disturb_the_next_channel_either(format) {
        let (client, mut service, mut peer, old) = with_channel(format).await;
        let detach = detaching(&old);
        peer.expect_detach("ch").await;
        client.channels().release("ch");
        assert_eq!(code(detach.await.unwrap()), 90001);
        let new = client.channels().get("ch");
        let attach = attaching(&new);
        peer.expect_attach("ch").await;
        peer.send(detached("ch"));
        peer.send(attached("ch"));
        attach.await.unwrap().unwrap();
        // A new transport answers no request of the old one.
        client.channels().release("ch");
        peer.expect_detach("ch").await;
        let newest = client.channels().get("ch");
        let attach = attaching(&newest);
        peer.expect_attach("ch").await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        peer.send(detached_because("ch", 50000));
        assert_eq!(code(attach.await.unwrap()), 50000);
    }
}
