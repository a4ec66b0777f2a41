//! The position of a channel in its stream of messages (RTL15).

use std::time::Duration;

use capably::realtime::{ChannelProperties, ChannelState};
use capably_protocol::{
    Annotation, Flags, Message, ObjectMessage, PresenceMessage, ServerFrame, frame::Delivery,
};
use serde_json::json;

use crate::{in_both_formats, support::*};

/// A channel that was attached at this serial.
macro_rules! attached_at {
    ($client:expr, $peer:expr, $serial:literal) => {{
        let channel = $client.channels().get("ch");
        let attaching = attaching(&channel);
        $peer.expect_attach("ch").await;
        $peer.send(at($serial, Flags::NONE));
        attaching.await.unwrap().unwrap();
        channel
    }};
}

/// An ATTACHED at this serial.
fn at(serial: &str, flags: Flags) -> ServerFrame {
    attached_with("ch", |attached| {
        attached.channel_serial = Some(serial.into());
        attached.flags = flags;
    })
}

fn delivery<T>(serial: Option<&str>, items: Vec<T>) -> Delivery<T> {
    Delivery { channel_serial: serial.map(Into::into), ..Delivery::new("ch", items) }
}

fn both(properties: &ChannelProperties) -> [Option<&str>; 2] {
    [properties.attach_serial.as_deref(), properties.channel_serial.as_deref()]
}

in_both_formats! {
    // UTS: realtime/unit/RTL15c/attach-serial-from-attached-0
    // UTS: realtime/unit/RTL15b/channel-serial-from-attached-0
    // UTS: realtime/unit/RTL15b1/serial-cleared-detached-0
    // Spec: RTL15, RTL15b2, CP1, CP2, CP2a, CP2b
    async fn attaching_sets_both_serials_and_detaching_clears_one(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(both(&channel.properties().await), [None, None]);
        let channel = attached_at!(client, peer, "serial-001");
        assert_eq!(both(&channel.properties().await), [Some("serial-001"); 2]);
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        assert_eq!(channel.state(), ChannelState::Detached);
        assert_eq!(both(&channel.properties().await), [Some("serial-001"), None]);
        attached_at!(client, peer, "serial-002");
        assert_eq!(both(&channel.properties().await), [Some("serial-002"); 2]);
        // After the failure, the channel has no position.
        client.channels().release("ch");
        assert_eq!(both(&channel.properties().await), [None, None]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL15c/attach-serial-server-reattach-1
    // UTS: realtime/unit/RTL15c/attach-serial-not-updated-resumed-2
    async fn the_attachment_moves_only_when_continuity_is_lost(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = attached_at!(client, peer, "initial-serial");
        peer.send(at("updated-serial", Flags::NONE));
        quiet(&client, &mut peer).await;
        assert_eq!(both(&channel.properties().await), [Some("updated-serial"); 2]);
        peer.send(at("resumed-serial", Flags::RESUMED));
        quiet(&client, &mut peer).await;
        let expected = [Some("updated-serial"), Some("resumed-serial")];
        assert_eq!(both(&channel.properties().await), expected);
        // An attach on a resumed connection does not move it either.
        let mut peer = resume(&client, &mut service, peer).await;
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("resumed-serial"));
        peer.send(at("later-serial", Flags::RESUMED));
        channel.when(ChannelState::Attached).await.unwrap();
        let expected = [Some("updated-serial"), Some("later-serial")];
        assert_eq!(both(&channel.properties().await), expected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL15b/channel-serial-from-messages-1
    // UTS: realtime/unit/RTL15b/serial-not-updated-empty-2
    async fn received_frames_move_the_position(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = attached_at!(client, peer, "serial-001");
        let message = || vec![Message::new("event", "data")];
        let frames = [
            (ServerFrame::Message(delivery(Some("serial-002"), message())), "serial-002"),
            (ServerFrame::Presence(delivery(Some("serial-003"), Vec::<PresenceMessage>::new())), "serial-003"),
            (ServerFrame::Annotation(delivery(Some("serial-004"), Vec::<Annotation>::new())), "serial-004"),
            (ServerFrame::Object(delivery(Some("serial-005"), Vec::<ObjectMessage>::new())), "serial-005"),
            // A frame without a serial does not move the position.
            (ServerFrame::Message(delivery(None, message())), "serial-005"),
            // The serial of a sync is its own cursor.
            (ServerFrame::Sync(delivery(Some("sync:"), Vec::new())), "serial-005"),
        ];
        for (frame, serial) in frames {
            peer.send(frame);
            quiet(&client, &mut peer).await;
            let expected = [Some("serial-001"), Some(serial)];
            assert_eq!(both(&channel.properties().await), expected);
        }
        // A frame of another channel does not move this one.
        let other = Delivery { channel_serial: Some("other".into()), ..Delivery::new("other", message()) };
        peer.send(ServerFrame::Message(other));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.properties().await.channel_serial.as_deref(), Some("serial-005"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL15b/serial-not-updated-irrelevant-3
    async fn a_detached_with_a_serial_does_not_move_it(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = attached_at!(client, peer, "serial-001");
        peer.send_fields(json!({
            "action": 13, "channel": "ch", "channelSerial": "serial-should-not-apply",
            "error": { "code": 90198, "statusCode": 500, "message": "Detached" },
        }));
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("serial-001"));
        assert_eq!(channel.properties().await.channel_serial.as_deref(), Some("serial-001"));
        peer.send(at("serial-001", Flags::NONE));
        channel.when(ChannelState::Attached).await.unwrap();
        assert_eq!(channel.properties().await.channel_serial.as_deref(), Some("serial-001"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL15b1/serial-cleared-failed-2
    // Spec: RTL15b2
    async fn failing_clears_the_position(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = attached_at!(client, peer, "serial-001");
        assert_eq!(channel.properties().await.channel_serial.as_deref(), Some("serial-001"));
        peer.send(error(Some("ch"), 40160, 401));
        channel.when(ChannelState::Failed).await.unwrap();
        assert_eq!(channel.state(), ChannelState::Failed);
        assert_eq!(channel.properties().await.channel_serial, None);
    }
}

in_both_formats! {
    // Since version 6.1.0 of the specification a suspended channel keeps its position.
    // Spec: RTL15b2
    async fn suspending_keeps_the_position(format) {
        let (client, _service, mut peer) = connected_with(format, |options| {
            options.realtime_request_timeout(Duration::from_millis(100))
        })
        .await;
        let channel = attached_at!(client, peer, "serial-001");
        peer.send(detached_because("ch", 90198));
        peer.expect_attach("ch").await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        channel.when(ChannelState::Suspended).await.unwrap();
        assert_eq!(channel.properties().await.channel_serial.as_deref(), Some("serial-001"));
        // The channel continues from this position.
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("serial-001"));
    }
}
