//! Detaching (RTL5).

use std::time::Duration;

use capably::realtime::{ChannelEvent, ChannelState, ConnectionState};
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL5a/detach-initialized-noop-0
    async fn a_channel_never_attached_is_detached_already(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes();
        channel.detach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Initialized);
        expect_none(&mut changes);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5d/normal-detach-flow-0
    // UTS: realtime/unit/RTL5/detach-state-change-events-0
    // UTS: realtime/unit/RTL5a/detach-already-detached-noop-1
    // UTS: realtime/unit/RTL13a/detaching-not-server-initiated-2
    async fn detaching_sends_detach_and_waits_for_detached(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        assert_eq!(channel.state(), ChannelState::Detaching);
        quiet(&client, &mut peer).await;
        assert!(!detaching.is_finished());
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        for (previous, current) in [
            (ChannelState::Attached, ChannelState::Detaching),
            (ChannelState::Detaching, ChannelState::Detached),
        ] {
            let change = changes.next().await.unwrap();
            assert_eq!((change.previous, change.current), (previous, current));
            assert_eq!(change.event, ChannelEvent::State(current));
            assert_eq!(change.reason, None);
        }
        channel.detach().await.unwrap();
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4c/error-cleared-preserved-detach-1
    async fn detaching_leaves_no_error(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        peer.send(error(Some("ch"), 90002, 500));
        channel.when(ChannelState::Failed).await.unwrap();
        assert_eq!(channel.error_reason().unwrap().code().0, 90002);
        attach(&channel, &mut peer).await;
        assert!(channel.error_reason().is_none());
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        assert!(channel.error_reason().is_none());
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5b/detach-failed-errors-0
    async fn a_failed_channel_cannot_be_detached(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(attaching.await.unwrap()), 40160);
        let error = channel.detach().await.unwrap_err();
        assert_eq!(error.code().0, 90001);
        assert_eq!(error.cause().unwrap().code.0, 40160);
        assert_eq!(channel.state(), ChannelState::Failed);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5j/detach-suspended-to-detached-0
    async fn a_suspended_channel_is_detached_at_once_and_stays_so(format) {
        let (client, _service, mut peer) = connected_with(format, |options| {
            options.realtime_request_timeout(Duration::from_millis(100))
        })
        .await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        assert_eq!(code(attaching.await.unwrap()), 90007);
        assert_eq!(channel.state(), ChannelState::Suspended);
        channel.detach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        for _ in 0..4 {
            quiet(&client, &mut peer).await;
            advance(5_000).await;
        }
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Detached);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5l/detach-not-connected-immediate-0
    async fn a_channel_that_waits_for_the_connection_is_detached_at_once(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        channel.when(ChannelState::Attaching).await.unwrap();
        let start = Instant::now();
        channel.detach().await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(channel.state(), ChannelState::Detached);
        assert_eq!(code(attaching.await.unwrap()), 90001);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5l/detach-attached-when-disconnected-1
    async fn an_attached_channel_is_detached_at_once_while_disconnected(format) {
        let (client, mut service, peer, channel) = with_channel(format).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        channel.detach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Detached);
        // A new attachment starts without the old position (RTL15b2).
        let attach = async { assert_eq!(peer.attach("ch").await.channel_serial, None) };
        let (attached, ()) = tokio::join!(channel.attach(), attach);
        attached.unwrap();
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5f/timeout-returns-previous-state-0
    // Spec: RTL5e
    async fn a_detach_without_an_answer_leaves_the_channel_attached(format) {
        let (client, _service, mut peer, channel) = with_channel_and(format, |options| {
            options.realtime_request_timeout(Duration::from_millis(100))
        })
        .await;
        let mut subscription = subscribed(&channel).await;
        let start = Instant::now();
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        let error = detaching.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (90007, Some(408)));
        assert!(start.elapsed().abs_diff(Duration::from_millis(100)) < Duration::from_millis(3));
        assert_eq!(channel.state(), ChannelState::Attached);
        peer.send(messages("ch", &["still here"]));
        assert_eq!(subscription.next().await.unwrap().name.unwrap(), "still here");
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5k/attached-while-detaching-0
    async fn an_attached_while_detaching_is_answered_with_another_detach(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(attached("ch"));
        peer.expect_detach("ch").await;
        assert_eq!(channel.state(), ChannelState::Detaching);
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        expect_states(&mut changes, &[ChannelState::Detaching, ChannelState::Detached]).await;
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn repeated_attached_frames_do_not_prolong_a_detach(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let start = Instant::now();
        let detaching = detaching(&channel);
        for _ in 0..9 {
            peer.expect_detach("ch").await;
            advance(1_000).await;
            peer.send(attached("ch"));
        }
        peer.expect_detach("ch").await;
        assert_eq!(code(detaching.await.unwrap()), 90007);
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL5k/attached-while-detached-1
    async fn an_attached_while_detached_is_answered_with_detach(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let first = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        first.await.unwrap().unwrap();
        let mut changes = channel.changes();
        peer.send(attached("ch"));
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Detached);
        expect_states(&mut changes, &[ChannelState::Detaching, ChannelState::Detached]).await;
        expect_none(&mut changes);
        // Without an answer the channel is detached all the same.
        peer.send(attached("ch"));
        peer.expect_detach("ch").await;
        expect_states(&mut changes, &[ChannelState::Detaching]).await;
        advance(10_001).await;
        expect_states(&mut changes, &[ChannelState::Detached]).await;
    }
}

in_both_formats! {
    async fn a_late_attached_after_a_timeout_is_answered_with_detach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        assert_eq!(code(attaching.await.unwrap()), 90007);
        channel.detach().await.unwrap();
        peer.send(attached("ch"));
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Detached);
    }
}

in_both_formats! {
    async fn detaching_while_suspended_closed_or_failed_is_immediate(format) {
        let (client, mut service, peer, channel) = with_channel(format).await;
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        channel.detach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        client.close().await;
        channel.detach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
    }
}
