//! Attaching (RTL4).

use std::time::Duration;

use capably::realtime::{ChannelEvent, ChannelState, ConnectionState, RealtimeChannelOptions};
use capably_protocol::{ChannelMode, ClientFrame, Flags, ServerFrame};
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL4c/sends-attach-message-1
    // UTS: realtime/unit/RTL2a/state-change-events-emitted-0
    // UTS: realtime/unit/RTL2d/state-change-object-structure-0
    // UTS: realtime/unit/RTL2i/has-backlog-flag-false-1
    // Spec: RTL4
    async fn attaching_sends_attach_and_waits_for_attached(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let mut changes = channel.changes();
        let attaching = attaching(&channel);
        let attach = peer.expect_attach("ch").await;
        assert_eq!((attach.channel_serial, attach.flags), (None, Flags::NONE));
        assert!(attach.params.is_empty());
        assert_eq!(channel.state(), ChannelState::Attaching);
        let change = changes.next().await.unwrap();
        assert_eq!(change.previous, ChannelState::Initialized);
        assert_eq!(change.current, ChannelState::Attaching);
        assert_eq!(change.event, ChannelEvent::State(ChannelState::Attaching));
        assert_eq!(change.reason, None);
        quiet(&client, &mut peer).await;
        assert!(!attaching.is_finished());
        peer.send(attached("ch"));
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        let change = changes.next().await.unwrap();
        assert_eq!(change.previous, ChannelState::Attaching);
        assert_eq!(change.current, ChannelState::Attached);
        assert_eq!(change.event, ChannelEvent::State(ChannelState::Attached));
        assert_eq!((change.resumed, change.has_backlog, change.reason), (false, false, None));
        expect_none(&mut changes);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4a/already-attached-noop-0
    async fn attaching_again_does_nothing(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        channel.attach().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4g/attach-from-failed-0
    // UTS: realtime/unit/RTL4c/error-reason-cleared-attach-0
    // UTS: realtime/unit/RTL24/error-reason-populated-0
    async fn a_failed_channel_can_be_attached_again(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(first.await.unwrap()), 40160);
        assert_eq!(channel.state(), ChannelState::Failed);
        let reason = channel.error_reason().unwrap();
        assert_eq!((reason.code().0, reason.message()), (40160, "an error of the service"));
        let second = attaching(&channel);
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial, None);
        // The reason is forgotten when the attach starts (RTL4g).
        assert!(channel.error_reason().is_none());
        peer.send(attached("ch"));
        second.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        assert!(channel.error_reason().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4c/clears-error-reason-0
    async fn a_successful_attach_clears_the_error_of_a_suspended_channel(format) {
        let (client, mut service, peer, channel) = with_channel_and(format, |options| {
            options.suspended_retry_timeout(Duration::from_secs(2))
        })
        .await;
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        assert_eq!(channel.error_reason().unwrap().code().0, 80002);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        peer.attach("ch").await;
        channel.when(ChannelState::Attached).await.unwrap();
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert!(channel.error_reason().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4b/fails-connection-closed-0
    async fn attaching_fails_while_closing_and_closed(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let closing = client.close();
        tokio::pin!(closing);
        tokio::select! {
            biased;
            () = &mut closing => panic!("CLOSED has not come"),
            frame = peer.receive() => assert_eq!(frame, Some(ClientFrame::Close)),
        }
        assert_eq!(code(channel.attach().await), 80017);
        peer.send(ServerFrame::Closed);
        closing.await;
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert_eq!(code(channel.attach().await), 80017);
        assert_eq!(channel.state(), ChannelState::Initialized);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4b/fails-connection-failed-1
    async fn attaching_fails_on_a_failed_connection(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        peer.send(error(None, 80019, 400));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        let error = channel.attach().await.unwrap_err();
        assert_eq!(error.code().0, 80000);
        assert_eq!(error.cause().unwrap().code.0, 80019);
        assert_eq!(channel.state(), ChannelState::Initialized);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4b/fails-connection-suspended-2
    async fn attaching_fails_on_a_suspended_connection(format) {
        let (client, mut service) = client_with(format, |options| {
            options.channel_retry_timeout(Duration::from_millis(100))
        });
        let channel = client.channels().get("ch");
        client.connection().connect();
        let refused = service.attempt().await;
        let suspended = async {
            client.connection().when(ConnectionState::Suspended).await.unwrap();
        };
        refused.refuse();
        tokio::pin!(suspended);
        loop {
            tokio::select! {
                biased;
                () = &mut suspended => break,
                attempt = service.attempt() => attempt.refuse(),
            }
        }
        assert_eq!(code(channel.attach().await), 80002);
        assert_eq!(channel.state(), ChannelState::Initialized);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4i/queued-while-connecting-0
    // UTS: realtime/unit/RTL4i/completes-on-connected-1
    async fn attaching_waits_for_the_connection(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        channel.when(ChannelState::Attaching).await.unwrap();
        assert_eq!(client.connection().state(), ConnectionState::Connecting);
        let mut peer = service.accept().await;
        // The time limit of the attach starts with the connection.
        advance(9_000).await;
        peer.send(connected_frame("connection-1", "key-1"));
        peer.expect_attach("ch").await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        advance(9_000).await;
        peer.send(attached("ch"));
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}

in_both_formats! {
    async fn attaching_before_connecting_waits_for_the_connection(format) {
        let (client, mut service) = client(format);
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        channel.when(ChannelState::Attaching).await.unwrap();
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        peer.attach("ch").await;
        attaching.await.unwrap().unwrap();
    }
}

in_both_formats! {
    async fn attaching_while_disconnected_waits_for_the_next_connection(format) {
        let (client, mut service, peer) = connected(format).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        channel.when(ChannelState::Attaching).await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        peer.attach("ch").await;
        attaching.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4f/timeout-to-suspended-0
    async fn an_attach_without_an_answer_suspends_the_channel(format) {
        let (client, _service, mut peer) = connected_with(format, |options| {
            options.realtime_request_timeout(Duration::from_millis(100))
        })
        .await;
        let channel = client.channels().get("ch");
        let start = Instant::now();
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let error = attaching.await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (90007, Some(408)));
        assert_eq!(channel.state(), ChannelState::Suspended);
        assert_eq!(channel.error_reason().unwrap().code().0, 90007);
        assert!(start.elapsed().abs_diff(Duration::from_millis(100)) < Duration::from_millis(3));
    }
}

in_both_formats! {
    async fn a_suspended_channel_attaches_again_for_ever(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            // The limit of silence exceeds the length of this test.
            connected.details.as_mut().unwrap().max_idle_interval = Some(3_600_000);
        }));
        let channel = client.channels().get("ch");
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        let sent = Instant::now();
        assert_eq!(code(first.await.unwrap()), 90007);
        assert_eq!(sent.elapsed().as_secs(), 10);
        let mut changes = channel.changes();
        for retry in 1..=12_u32 {
            let suspended = Instant::now();
            peer.expect_attach("ch").await;
            let waited = suspended.elapsed().as_secs_f64() / 15.0;
            let backoff = ((f64::from(retry) + 2.0) / 3.0).min(2.0);
            assert!((backoff * 0.799..=backoff * 1.001).contains(&waited), "{retry}: {waited}");
            expect_states(&mut changes, &[ChannelState::Attaching]).await;
            let refused = retry % 2 == 0;
            if refused {
                peer.send(detached_because("ch", 50000));
            }
            let change = changes.next().await.unwrap();
            assert_eq!(change.current, ChannelState::Suspended);
            assert_eq!(change.reason.unwrap().code.0, if refused { 50000 } else { 90007 });
        }
        peer.attach("ch").await;
        expect_states(&mut changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        // A successful attach resets the backoff.
        peer.send(detached("ch"));
        peer.expect_attach("ch").await;
        peer.send(detached("ch"));
        channel.when(ChannelState::Suspended).await.unwrap();
        let suspended = Instant::now();
        peer.expect_attach("ch").await;
        let waited = suspended.elapsed().as_secs_f64() / 15.0;
        assert!((0.799..=1.001).contains(&waited), "{waited}");
    }
}

in_both_formats! {
    async fn a_suspended_channel_can_be_attached_at_once(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let first = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(detached_because("ch", 50000));
        assert_eq!(code(first.await.unwrap()), 50000);
        let now = Instant::now();
        attach(&channel, &mut peer).await;
        assert!(now.elapsed() < Duration::from_millis(3));
        // The scheduled retry is cancelled.
        advance(20_000).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL4k/includes-channel-params-0
    // UTS: realtime/unit/RTL4l/modes-encoded-as-flags-0
    // UTS: realtime/unit/RTL4m/modes-from-attached-0
    // Spec: RTS3b, TB2c, TB2d, RTL4k1
    async fn attach_requests_options_and_exposes_the_granted_ones(format) {
        let (client, _service, mut peer) = connected(format).await;
        let options = RealtimeChannelOptions::new()
            .param("rewind", 1)
            .param("delta", "vcdiff")
            .modes([ChannelMode::Publish, ChannelMode::Subscribe]);
        let channel = client.channels().get_with("ch", options);
        assert_eq!(channel.modes(), []);
        let attaching = attaching(&channel);
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.flags, Flags(131_072 | 262_144));
        let params: Vec<_> = attach.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(params, [("delta", "vcdiff"), ("rewind", "1")]);
        peer.send(attached_with("ch", |attached| {
            // A flag that is not a mode, and an unknown flag.
            attached.flags = Flags(393_216) | Flags::HAS_PRESENCE | Flags(1 << 40);
            attached.params = [("rewind".to_owned(), "1".to_owned())].into();
        }));
        attaching.await.unwrap().unwrap();
        assert_eq!(channel.modes(), [ChannelMode::Publish, ChannelMode::Subscribe]);
        let params = channel.params();
        assert_eq!(params.len(), 1);
        assert_eq!(params["rewind"], "1");
        // An ATTACHED without parameters clears them (RTL4k1).
        peer.send(attached_with("ch", |attached| attached.flags = ChannelMode::Presence.flag()));
        quiet(&client, &mut peer).await;
        assert!(channel.params().is_empty());
        assert_eq!(channel.modes(), [ChannelMode::Presence]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL2i/has-backlog-flag-true-0
    // UTS: realtime/unit/RTL2d/resumed-flag-propagated-2
    async fn a_state_change_has_the_flags_of_attached(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes();
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |attached| {
            attached.flags = Flags::RESUMED | Flags::HAS_BACKLOG;
        }));
        attaching.await.unwrap().unwrap();
        expect_states(&mut changes, &[ChannelState::Attaching]).await;
        let change = changes.next().await.unwrap();
        assert_eq!(change.event, ChannelEvent::State(ChannelState::Attached));
        assert!(change.resumed && change.has_backlog);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL25a/resolves-immediately-current-0
    // UTS: realtime/unit/RTL25a/past-state-does-not-resolve-1
    async fn a_state_can_be_waited_for(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        channel.when(ChannelState::Attached).await.unwrap();
        let waiting = {
            let channel = channel.clone();
            tokio::spawn(async move { channel.when(ChannelState::Attaching).await })
        };
        quiet(&client, &mut peer).await;
        advance(200).await;
        assert!(!waiting.is_finished());
        peer.send(detached("ch"));
        waiting.await.unwrap().unwrap();
    }
}
