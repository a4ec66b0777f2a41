//! The effects of connection states on channels (RTL3), and resuming channels (RTL4c1, RTL15b, RTN19b).

use std::time::Duration;

use capably::realtime::{ChannelState, ConnectionState};
use capably_protocol::{
    Annotation, ClientFrame, Flags, Message, PresenceMessage, ServerFrame, frame::Delivery,
};

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL3e/disconnected-attached-noop-0
    // UTS: realtime/unit/RTL3e/disconnected-attaching-noop-1
    async fn disconnected_changes_no_channel(format) {
        let (client, mut service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("two");
        let attaching = attaching(&two);
        peer.expect_attach("two").await;
        let (mut changes_of_one, mut changes_of_two) = (one.changes(), two.changes());
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        // The deadline of the attach has no effect either.
        advance(11_000).await;
        tokio::task::yield_now().await;
        assert_eq!(client.connection().state(), ConnectionState::Disconnected);
        assert_eq!(one.state(), ChannelState::Attached);
        assert_eq!(two.state(), ChannelState::Attaching);
        expect_none(&mut changes_of_one);
        expect_none(&mut changes_of_two);
        assert!(!attaching.is_finished());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3a/failed-attached-to-failed-0
    // UTS: realtime/unit/RTL3a/failed-attaching-to-failed-1
    // Spec: RTL3
    async fn failed_fails_channels_that_are_attached_or_attaching(format) {
        let (client, _service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("two");
        let attaching = attaching(&two);
        peer.expect_attach("two").await;
        let (mut changes_of_one, mut changes_of_two) = (one.changes(), two.changes());
        peer.send(error(None, 40198, 403));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(code(attaching.await.unwrap()), 40198);
        for (channel, changes, previous) in [
            (&one, &mut changes_of_one, ChannelState::Attached),
            (&two, &mut changes_of_two, ChannelState::Attaching),
        ] {
            assert_eq!(channel.state(), ChannelState::Failed);
            assert_eq!(channel.error_reason().unwrap().code().0, 40198);
            let change = changes.next().await.unwrap();
            assert_eq!((change.previous, change.current), (previous, ChannelState::Failed));
            assert_eq!(change.reason.unwrap().code.0, 40198);
            expect_none(changes);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3a/other-states-unaffected-2
    async fn failed_leaves_other_channels_alone(format) {
        let (client, _service, mut peer, detached_one) = with_channel(format).await;
        let initialized = client.channels().get("initialized");
        let detaching = detaching(&detached_one);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        let mut changes = [initialized.changes(), detached_one.changes()];
        peer.send(error(None, 40198, 403));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(initialized.state(), ChannelState::Initialized);
        assert_eq!(detached_one.state(), ChannelState::Detached);
        for changes in &mut changes {
            expect_none(changes);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3b/closed-attached-to-detached-0
    // UTS: realtime/unit/RTL3b/closed-attaching-to-detached-1
    async fn closed_detaches_channels(format) {
        let (client, _service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("two");
        let attaching = attaching(&two);
        peer.expect_attach("two").await;
        let (mut changes_of_one, mut changes_of_two) = (one.changes(), two.changes());
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(code(attaching.await.unwrap()), 80017);
        for (channel, changes, previous) in [
            (&one, &mut changes_of_one, ChannelState::Attached),
            (&two, &mut changes_of_two, ChannelState::Attaching),
        ] {
            assert_eq!(channel.state(), ChannelState::Detached);
            let change = changes.next().await.unwrap();
            assert_eq!((change.previous, change.current), (previous, ChannelState::Detached));
            expect_none(changes);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3c/suspended-attached-to-suspended-0
    // UTS: realtime/unit/RTL3c/suspended-attaching-to-suspended-1
    async fn suspended_suspends_channels(format) {
        let (client, mut service, mut peer, one) = with_channel_and(format, |options| {
            options.disconnected_retry_timeout(Duration::from_secs(1))
        })
        .await;
        let (two, three) = (client.channels().get("two"), client.channels().get("three"));
        attach(&three, &mut peer).await;
        let attaching = attaching(&two);
        peer.expect_attach("two").await;
        let detaching = detaching(&three);
        peer.expect_detach("three").await;
        let (mut changes_of_one, mut changes_of_two) = (one.changes(), two.changes());
        suspend(&client, &mut service, peer).await;
        assert_eq!(code(attaching.await.unwrap()), 80002);
        // Without a connection, no answer to DETACH is needed (RTL5l).
        detaching.await.unwrap().unwrap();
        assert_eq!(three.state(), ChannelState::Detached);
        for (channel, changes, previous) in [
            (&one, &mut changes_of_one, ChannelState::Attached),
            (&two, &mut changes_of_two, ChannelState::Attaching),
        ] {
            assert_eq!(channel.state(), ChannelState::Suspended);
            let change = changes.next().await.unwrap();
            assert_eq!((change.previous, change.current), (previous, ChannelState::Suspended));
            assert_eq!(change.reason.unwrap().code.0, 80002);
            expect_none(changes);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3d/reattach-attached-with-serial-0
    async fn connected_attaches_channels_again_from_their_positions(format) {
        let (client, mut service, mut peer) = connected_with(format, |options| {
            options.disconnected_retry_timeout(Duration::from_millis(100))
        })
        .await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |attached| {
            attached.channel_serial = Some("serial-001".into());
        }));
        attaching.await.unwrap().unwrap();
        let mut changes = channel.changes();
        drop(peer);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("serial-001"));
        // Channels change before the connection emits CONNECTED (RTL3d1).
        assert_eq!(channel.state(), ChannelState::Attaching);
        peer.send(attached_with("ch", |attached| attached.flags = Flags::RESUMED));
        expect_states(&mut changes, &[ChannelState::Attaching]).await;
        let change = changes.next().await.unwrap();
        assert_eq!(change.current, ChannelState::Attached);
        assert!(change.resumed);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3d/reattach-suspended-channels-1
    async fn connected_attaches_suspended_channels_again(format) {
        let (client, mut service, peer, channel) = with_channel_and(format, |options| {
            options
                .disconnected_retry_timeout(Duration::from_secs(1))
                .suspended_retry_timeout(Duration::from_secs(2))
        })
        .await;
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        let mut changes = channel.changes();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        // A suspended channel keeps its position (RTL15b2).
        let attach = peer.attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("ch-serial"));
        expect_states(&mut changes, &[ChannelState::Attaching, ChannelState::Attached]).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3d/init-detached-not-reattached-2
    async fn connected_leaves_other_channels_alone(format) {
        let (client, mut service, mut peer, detached_one) = with_channel(format).await;
        let initialized = client.channels().get("initialized");
        let failed = client.channels().get("failed");
        let detaching = detaching(&detached_one);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        let attaching = attaching(&failed);
        peer.expect_attach("failed").await;
        peer.send(error(Some("failed"), 40160, 401));
        assert_eq!(code(attaching.await.unwrap()), 40160);
        let mut changes = [initialized.changes(), detached_one.changes(), failed.changes()];
        let mut peer = resume(&client, &mut service, peer).await;
        quiet(&client, &mut peer).await;
        for changes in &mut changes {
            expect_none(changes);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL3d/multiple-channels-reattached-3
    async fn connected_attaches_every_channel_again(format) {
        let (client, mut service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("two");
        attach(&two, &mut peer).await;
        // The same holds when the resume fails.
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        peer.attach("two").await;
        quiet(&client, &mut peer).await;
        assert_eq!(one.state(), ChannelState::Attached);
        assert_eq!(two.state(), ChannelState::Attached);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTN19b/attach-resent-on-reconnect-0
    async fn an_attach_under_way_is_sent_again(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        let mut changes = channel.changes();
        let mut peer = resume(&client, &mut service, peer).await;
        peer.attach("ch").await;
        attaching.await.unwrap().unwrap();
        expect_states(&mut changes, &[ChannelState::Attached]).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTN19b/detach-resent-on-reconnect-1
    async fn a_detach_under_way_is_sent_again(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        // The time limit starts when the request is sent again.
        advance(9_000).await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_detach("ch").await;
        advance(9_000).await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn an_attach_sent_again_has_its_full_time(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        advance(9_000).await;
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        advance(9_000).await;
        peer.send(attached("ch"));
        attaching.await.unwrap().unwrap();
    }
}

in_both_formats! {
    async fn every_frame_with_a_position_moves_it(format) {
        let (client, mut service, mut peer, _channel) = with_channel(format).await;
        fn at<T>(serial: Option<&'static str>, items: Vec<T>) -> Delivery<T> {
            Delivery { channel_serial: serial.map(Into::into), ..Delivery::new("ch", items) }
        }
        let message = || vec![Message::new("n", "d")];
        let frames = [
            (ServerFrame::Message(at(Some("serial-2"), message())), "serial-2"),
            // A frame without a serial does not move the position.
            (ServerFrame::Message(at(None, message())), "serial-2"),
            (ServerFrame::Presence(at(Some("serial-3"), vec![PresenceMessage::default()])), "serial-3"),
            (ServerFrame::Annotation(at(Some("serial-4"), vec![Annotation::default()])), "serial-4"),
            (ServerFrame::Object(at(Some("serial-5"), vec![])), "serial-5"),
            // The serials of a sync are its own cursors (RTL15b).
            (ServerFrame::Sync(at(Some("sync:1"), vec![])), "serial-5"),
            (ServerFrame::ObjectSync(at(Some("sync:2"), vec![])), "serial-5"),
            (
                attached_with("ch", |attached| {
                    attached.channel_serial = Some("serial-6".into());
                    attached.flags = Flags::RESUMED;
                }),
                "serial-6",
            ),
            (attached_with("ch", |attached| attached.channel_serial = None), "serial-6"),
        ];
        for (frame, expected) in frames {
            let what = format!("{frame:?}");
            peer.send(frame);
            quiet(&client, &mut peer).await;
            peer = resume(&client, &mut service, peer).await;
            let attach = peer.expect_attach("ch").await;
            assert_eq!(attach.channel_serial.as_deref(), Some(expected), "{what}");
            peer.send(attached_with("ch", |attached| attached.channel_serial = None));
            quiet(&client, &mut peer).await;
        }
    }
}

in_both_formats! {
    async fn a_position_is_forgotten_with_the_attachment(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let detaching = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detaching.await.unwrap().unwrap();
        // A late frame does not restore the position.
        let mut late = Delivery::new("ch", vec![Message::new("late", "d")]);
        late.channel_serial = Some("late".into());
        peer.send(ServerFrame::Message(late));
        quiet(&client, &mut peer).await;
        let first = attaching(&channel);
        assert_eq!(peer.attach("ch").await.channel_serial, None);
        first.await.unwrap().unwrap();
        peer.send(error(Some("ch"), 40160, 401));
        channel.when(ChannelState::Failed).await.unwrap();
        let second = attaching(&channel);
        assert_eq!(peer.attach("ch").await.channel_serial, None);
        second.await.unwrap().unwrap();
    }
}

in_both_formats! {
    async fn connecting_after_the_end_resets_channels(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        peer.send(error(None, 80019, 400));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(channel.state(), ChannelState::Failed);
        client.connection().connect();
        let mut peer = service.accept().await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        assert!(channel.error_reason().is_none());
        peer.send(connected_frame("connection-2", "key-2"));
        quiet(&client, &mut peer).await;
        let attaching = attaching(&channel);
        assert_eq!(peer.attach("ch").await.channel_serial, None);
        attaching.await.unwrap().unwrap();
    }
}
