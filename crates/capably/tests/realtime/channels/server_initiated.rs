//! Changes of channels that the service starts (RTL12, RTL13, RTL14).

use std::time::Duration;

use capably::{
    ClientOptions,
    realtime::{ChannelEvent, ChannelState, ConnectionState},
};
use capably_protocol::{ChannelMode, Flags};
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

fn impatient(options: ClientOptions) -> ClientOptions {
    options
        .realtime_request_timeout(Duration::from_millis(100))
        .channel_retry_timeout(Duration::from_millis(200))
}

in_both_formats! {
    // UTS: realtime/unit/RTL14/attached-to-failed-0
    // UTS: realtime/unit/RTL24/error-reason-channel-error-0
    async fn an_error_fails_an_attached_channel(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        assert!(channel.error_reason().is_none());
        let mut changes = channel.changes();
        peer.send(error(Some("ch"), 40160, 401));
        let change = changes.next().await.unwrap();
        assert_eq!((change.previous, change.current), (ChannelState::Attached, ChannelState::Failed));
        assert_eq!(change.reason.unwrap().code.0, 40160);
        assert_eq!(channel.state(), ChannelState::Failed);
        let reason = channel.error_reason().unwrap();
        assert_eq!((reason.code().0, reason.status()), (40160, Some(401)));
        assert_eq!(reason.message(), "an error of the service");
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL14/attaching-to-failed-1
    // UTS: realtime/unit/RTL2d/state-change-error-reason-1
    async fn an_error_fails_an_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes();
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        let error = attaching.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)));
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(channel.error_reason().unwrap().code().0, 40160);
        expect_states(&mut changes, &[ChannelState::Attaching]).await;
        let change = changes.next().await.unwrap();
        assert_eq!(change.current, ChannelState::Failed);
        let reason = change.reason.unwrap();
        assert_eq!((reason.code.0, &*reason.message), (40160, "an error of the service"));
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        // The failure is final: no retry follows.
        advance(20_000).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL14/pending-detach-error-2
    async fn an_error_fails_a_detach(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(error(Some("ch"), 90198, 500));
        assert_eq!(code(detaching.await.unwrap()), 90198);
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(channel.error_reason().unwrap().code().0, 90198);
        advance(11_000).await;
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL14/other-channels-unaffected-3
    async fn an_error_fails_no_other_channel(format) {
        let (client, _service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("two");
        attach(&two, &mut peer).await;
        peer.send(error(Some("ch"), 40160, 401));
        one.when(ChannelState::Failed).await.unwrap();
        assert_eq!(two.state(), ChannelState::Attached);
        assert!(two.error_reason().is_none());
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL14/cancels-pending-timers-4
    async fn an_error_ends_the_retries_of_a_suspended_channel(format) {
        let (client, _service, mut peer, channel) = with_channel_and(format, impatient).await;
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        channel.when(ChannelState::Suspended).await.unwrap();
        peer.send(error(Some("ch"), 40160, 401));
        channel.when(ChannelState::Failed).await.unwrap();
        advance(500).await;
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Failed);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL13a/attached-reattach-triggered-0
    async fn detached_while_attached_attaches_again_at_once(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        let now = Instant::now();
        peer.send(detached_because("ch", 90198));
        let attach = peer.attach("ch").await;
        assert!(now.elapsed() < Duration::from_millis(3));
        // The channel continues from its position.
        assert_eq!(attach.channel_serial.as_deref(), Some("ch-serial"));
        let change = changes.next().await.unwrap();
        assert_eq!(change.previous, ChannelState::Attached);
        assert_eq!(change.current, ChannelState::Attaching);
        assert_eq!(change.reason.unwrap().code.0, 90198);
        let change = changes.next().await.unwrap();
        assert_eq!((change.current, change.reason), (ChannelState::Attached, None));
        assert!(channel.error_reason().is_none());
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL13a/suspended-reattach-triggered-1
    async fn detached_while_suspended_attaches_again_at_once(format) {
        let (client, _service, mut peer, channel) = with_channel_and(format, |options| {
            options
                .realtime_request_timeout(Duration::from_millis(100))
                .channel_retry_timeout(Duration::from_secs(60))
        })
        .await;
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        channel.when(ChannelState::Suspended).await.unwrap();
        let now = Instant::now();
        peer.send(detached_because("ch", 90199));
        peer.attach("ch").await;
        channel.when(ChannelState::Attached).await.unwrap();
        assert!(now.elapsed() < Duration::from_millis(3));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL13b/failed-reattach-suspended-retry-0
    // UTS: realtime/unit/RTL13b/repeated-failure-cycle-2
    async fn a_failed_attach_is_retried_later(format) {
        let (client, _service, mut peer, channel) = with_channel_and(format, impatient).await;
        let mut changes = channel.changes();
        peer.send(detached_because("ch", 90198));
        for _ in 0..2 {
            peer.expect_attach("ch").await;
            expect_states(&mut changes, &[ChannelState::Attaching]).await;
            let change = changes.next().await.unwrap();
            assert_eq!(change.current, ChannelState::Suspended);
            assert_eq!(change.reason.unwrap().code.0, 90007);
        }
        peer.attach("ch").await;
        expect_states(&mut changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL13b/attaching-detached-to-suspended-1
    // UTS: realtime/unit/RTL24/error-reason-attach-failure-1
    // UTS: realtime/unit/RTL4c/error-cleared-on-attach-0
    // Spec: RTL13
    async fn detached_while_attaching_suspends_and_attaches_later(format) {
        let (client, _service, mut peer) = connected_with(format, |options| {
            options
                .realtime_request_timeout(Duration::from_millis(500))
                .channel_retry_timeout(Duration::from_millis(200))
        })
        .await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let mut changes = channel.changes();
        peer.send(detached_because("ch", 90198));
        let error = attaching.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (90198, Some(500)));
        let change = changes.next().await.unwrap();
        assert_eq!(change.previous, ChannelState::Attaching);
        assert_eq!(change.current, ChannelState::Suspended);
        assert_eq!(change.reason.unwrap().code.0, 90198);
        assert_eq!(channel.error_reason().unwrap().code().0, 90198);
        quiet(&client, &mut peer).await;
        let start = Instant::now();
        peer.attach("ch").await;
        assert!((158..=203).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        expect_states(&mut changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        assert!(channel.error_reason().is_none());
    }
}

in_both_formats! {
    async fn detached_without_a_reason_fails_an_attach_too(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(detached("ch"));
        assert_eq!(code(attaching.await.unwrap()), 90001);
        assert_eq!(channel.state(), ChannelState::Suspended);
        assert_eq!(channel.error_reason().unwrap().code().0, 90001);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL13c/retry-cancelled-disconnected-0
    async fn without_a_connection_a_suspended_channel_does_not_retry(format) {
        let (client, mut service, mut peer, channel) = with_channel_and(format, impatient).await;
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        channel.when(ChannelState::Suspended).await.unwrap();
        let mut changes = channel.changes();
        drop(peer);
        let attempt = service.attempt().await;
        advance(50).await;
        attempt.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        advance(500).await;
        tokio::task::yield_now().await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        expect_none(&mut changes);
        // Once connected, the channel attaches at once (RTL3d).
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        peer.attach("ch").await;
        expect_states(&mut changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL12/update-emits-with-error-0
    // UTS: realtime/unit/RTL2g/update-event-condition-change-0
    // UTS: realtime/unit/RTL2g/no-duplicate-state-events-1
    async fn another_attached_is_an_update(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        peer.send(attached_with("ch", |attached| attached.error = Some(info(50000, 500))));
        let change = changes.next().await.unwrap();
        assert_eq!(change.event, ChannelEvent::Update);
        assert_eq!(change.previous, ChannelState::Attached);
        assert_eq!(change.current, ChannelState::Attached);
        assert!(!change.resumed);
        assert_eq!(change.reason.unwrap().code.0, 50000);
        assert_eq!(channel.error_reason().unwrap().code().0, 50000);
        peer.send(attached("ch"));
        let change = changes.next().await.unwrap();
        assert_eq!((change.event, change.reason), (ChannelEvent::Update, None));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL12/no-error-null-reason-2
    async fn another_attached_without_an_error_is_an_update_without_a_reason(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        peer.send(attached("ch"));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        let change = changes.next().await.unwrap();
        assert_eq!(change.event, ChannelEvent::Update);
        assert!(!change.resumed);
        assert_eq!(change.reason, None);
        assert!(channel.error_reason().is_none());
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL12/resumed-no-update-1
    async fn another_attached_that_resumes_is_no_update(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        peer.send(attached_with("ch", |attached| {
            attached.flags = Flags::RESUMED | ChannelMode::Subscribe.flag();
            attached.params = [("rewind".to_owned(), "2".to_owned())].into();
        }));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        expect_none(&mut changes);
        // The granted params and modes still apply (RTL4k1, RTL4m).
        assert_eq!(channel.modes(), [ChannelMode::Subscribe]);
        assert_eq!(channel.params()["rewind"], "2");
    }
}
