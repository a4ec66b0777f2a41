//! Presence that is queued or refused (RTP16, RTL11).

use std::time::Duration;

use capably::realtime::{ChannelState, ConnectionState};

use super::*;
use crate::in_both_formats;

in_both_formats! {
    // UTS: realtime/unit/RTL11/queued-presence-fail-detached-0
    async fn presence_fails_on_a_detached_channel(format) {
        let (client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        // A channel that is detaching refuses it, too.
        assert_eq!(code(channel.presence().enter().await), 91001);
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(code(channel.presence().enter().data("queued-enter").await), 91001);
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Detached);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL11/queued-presence-fail-suspended-1
    async fn queued_presence_fails_when_the_channel_is_suspended(format) {
        let (client, mut service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let (entering, updating) =
            (entering(&channel, "queued-enter"), updating(&channel, "queued-update"));
        quiet(&client, &mut peer).await;
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        for failed in [entering, updating] {
            let error = failed.await.unwrap().unwrap_err();
            assert_eq!(error.code().0, 91001);
            assert_eq!(error.cause().unwrap().code.0, 80002);
        }
        assert_eq!(code(attaching.await.unwrap()), 80002);
        assert_eq!(code(channel.presence().enter().await), 91001);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL11/queued-presence-fail-failed-2
    async fn queued_presence_fails_when_the_channel_fails(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let entering = entering(&channel, "queued-enter");
        quiet(&client, &mut peer).await;
        peer.send(error(Some("ch"), 90001, 400));
        channel.when(ChannelState::Failed).await.unwrap();
        let error = entering.await.unwrap().unwrap_err();
        assert_eq!(error.code().0, 91001);
        assert_eq!(error.cause().unwrap().code.0, 90001);
        assert_eq!(code(attaching.await.unwrap()), 90001);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP16a/presence-sent-when-attached-0
    async fn presence_is_sent_at_once_on_an_attached_channel(format) {
        let (_client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let (result, _) = tokio::join!(channel.presence().enter().into_future(), accept(&mut peer));
        result.unwrap();
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP16b/presence-queued-when-attaching-0
    async fn presence_is_queued_on_an_attaching_channel(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let entering = entering(&channel, "");
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        assert_eq!(accept(&mut peer).await.action, Some(PresenceAction::Enter));
        entering.await.unwrap().unwrap();
        attaching.await.unwrap().unwrap();
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP16c/presence-errors-other-states-0
    // Spec: RTP16
    async fn presence_fails_in_any_other_state(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        // A channel that the service detaches while it attaches is suspended (RTL13b).
        peer.send(detached_because("ch", 90001));
        assert_eq!(code(attaching.await.unwrap()), 90001);
        assert_eq!(channel.state(), ChannelState::Suspended);
        let error = channel.presence().enter().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (91001, Some(400)));
        assert_eq!(error.cause().unwrap().code.0, 90001);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL3d2, RTP16a
    async fn presence_waits_for_the_connection_and_the_attachment(format) {
        let (client, mut service, peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        drop(peer);
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        let entering = entering(&channel, "");
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        peer.expect_attach("ch").await;
        quiet(&client, &mut peer).await;
        peer.send(attached("ch"));
        assert_eq!(accept(&mut peer).await.action, Some(PresenceAction::Enter));
        entering.await.unwrap().unwrap();
    }
}

in_both_formats! {
    // Spec: RTP16b, RTP16c
    async fn without_queueing_presence_fails_at_once(format) {
        let (client, mut service, mut peer) = connected_with(format, |options| {
            options.client_id("my-client").queue_messages(false)
        })
        .await;
        let channel = client.channels().get("ch");
        assert_eq!(code(channel.presence().enter().await), 91001);
        assert_eq!(channel.state(), ChannelState::Initialized);
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        assert_eq!(code(channel.presence().enter().await), 91001);
        peer.send(attached("ch"));
        first.await.unwrap().unwrap();
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(code(channel.presence().enter().await), 80009);
        drop(attempt);
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(code(channel.presence().enter().await), 80003);
    }
}

in_both_formats! {
    // Spec: RTP8d, RTL4b
    async fn presence_fails_with_the_error_of_the_attach(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let closing = async {
            peer.closed().await;
        };
        tokio::time::timeout(Duration::from_secs(60), async {
            tokio::join!(client.close(), closing)
        })
        .await
        .unwrap();
        let channel = client.channels().get("ch");
        assert_eq!(code(channel.presence().enter().await), 80017);
        assert_eq!(code(channel.presence().get().await), 80017);
        assert_eq!(channel.state(), ChannelState::Initialized);
    }
}

in_both_formats! {
    // Spec: RTN19a, RTN19a2
    async fn unacknowledged_presence_is_sent_again(format) {
        let (client, mut service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let entering = entering(&channel, "once");
        let first = said(&mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.attach("ch").await;
        assert_eq!(said(&mut peer).await, first);
        assert!(!entering.is_finished());
        peer.send(ack(first.msg_serial, 1));
        entering.await.unwrap().unwrap();
    }
}

in_both_formats! {
    // Spec: RTN7e
    async fn unacknowledged_presence_fails_with_the_connection(format) {
        let (_client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("my-client")).await;
        let entering = entering(&channel, "");
        said(&mut peer).await;
        peer.send(error(None, 50000, 500));
        assert_eq!(code(entering.await.unwrap()), 50000);
    }
}

in_both_formats! {
    async fn releasing_a_channel_ends_every_waiting_call(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("my-client")).await;
        let channel = client.channels().get("ch");
        let (entering, attach_first) = (entering(&channel, ""), asking(&channel));
        peer.expect_attach("ch").await;
        client.channels().release("ch");
        assert_eq!(code(entering.await.unwrap()), 90001);
        assert_eq!(code(attach_first.await.unwrap()), 90001);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with_presence());
        attaching.await.unwrap().unwrap();
        let wait_for_sync = asking(&channel);
        quiet(&client, &mut peer).await;
        client.channels().release("ch");
        assert_eq!(code(wait_for_sync.await.unwrap()), 90001);
        assert_eq!(code(channel.presence().update().await), 90001);
        assert_eq!(code(channel.presence().get().await), 90001);
    }
}
