//! The recovery after a delta that cannot be applied.

use capably::{ErrorCode, realtime::ChannelState};
use capably_protocol::ClientFrame;
use tracing::Level;

use super::*;
use crate::http::log::Log;

in_both_formats! {
    // UTS: realtime/unit/RTL20/mismatched-id-triggers-recovery-0
    // Spec: RTL20, RTL18, RTL18c
    async fn a_delta_from_another_message_is_not_applied(format) {
        let decoder = Mock::default();
        let (client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, decoder.clone()).await;
        peer.send(frame("msg-1:0", Some("serial-1"), [full("msg-1:0", "base payload")]));
        assert_eq!(next(&mut messages).await, ["base payload".into()]);
        let mut changes = channel.changes();
        let new = mock("base payload", "new payload");
        peer.send(frame("msg-2:0", None, [delta("msg-2:0", "msg-999:0", "utf-8/vcdiff", new)]));
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("serial-1"));
        let change = changes.next().await.unwrap();
        assert_eq!(change.current, ChannelState::Attaching);
        assert_eq!(change.reason.unwrap().code, ErrorCode(40018));
        quiet(&client, &mut peer).await;
        assert_eq!(decoder.calls().len(), 0);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL18/decode-failure-recovery-0
    // Spec: RTL18, RTL18a, RTL18b, RTL18c
    async fn a_recovery_attaches_from_the_last_position(format) {
        let (client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Mock::failing(usize::MAX)).await;
        let log = Log::new(Level::ERROR);
        let _guard = tracing::subscriber::set_default(log.clone());
        peer.send(frame("msg-1:0", Some("serial-100"), [full("msg-1:0", "base payload")]));
        assert_eq!(next(&mut messages).await, ["base payload".into()]);
        let mut changes = channel.changes();
        let bad = b"fake-delta-payload".to_vec();
        let bad = delta("msg-2:0", "msg-1:0", "vcdiff", bad);
        peer.send(frame("msg-2:0", Some("serial-200"), [bad]));
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("serial-100"));
        assert_eq!(channel.state(), ChannelState::Attaching);
        let change = changes.next().await.unwrap();
        assert_eq!(change.current, ChannelState::Attaching);
        assert_eq!(change.reason.unwrap().code, ErrorCode(40018));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut messages);
        let said = log.said();
        let [said] = &said[..] else { panic!("{said:?}") };
        assert_eq!((said.level, &*said.message), (Some(Level::ERROR), "a delta could not be applied"));
        assert_eq!((&*said.context["channel"], &*said.context["code"]), ("\"ch\"", "40018"));
        assert!(said.context["error"].contains("simulated decode failure"), "{said:?}");
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL18c/recovery-completes-on-attached-0
    // Spec: RTL18c
    async fn after_a_recovery_messages_are_delivered(format) {
        let (_client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Mock::failing(1)).await;
        peer.send(frame("msg-1:0", Some("serial-1"), [full("msg-1:0", "original base")]));
        assert_eq!(next(&mut messages).await, ["original base".into()]);
        let bad = delta("msg-2:0", "msg-1:0", "vcdiff", b"bad-delta".to_vec());
        peer.send(frame("msg-2:0", Some("serial-2"), [bad]));
        peer.attach("ch").await;
        channel.when(ChannelState::Attached).await.unwrap();
        assert!(channel.error_reason().is_none());
        peer.send(frame("msg-3:0", Some("serial-3"), [full("msg-3:0", "fresh after recovery")]));
        assert_eq!(next(&mut messages).await, ["fresh after recovery".into()]);
        assert_eq!(channel.state(), ChannelState::Attached);
        // After that, deltas are applied again.
        let more = mock("fresh after recovery", "and more");
        peer.send(frame("msg-4:0", Some("serial-4"), [delta("msg-4:0", "msg-3:0", "utf-8/vcdiff", more)]));
        assert_eq!(next(&mut messages).await, ["and more".into()]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL18/single-recovery-at-time-1
    // Spec: RTL18
    async fn there_is_one_recovery_at_a_time(format) {
        let (client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Mock::failing(usize::MAX)).await;
        peer.send(frame("msg-1:0", Some("serial-1"), [full("msg-1:0", "base")]));
        assert_eq!(next(&mut messages).await, ["base".into()]);
        let bad = delta("msg-2:0", "msg-1:0", "vcdiff", b"bad-delta-1".to_vec());
        peer.send(frame("msg-2:0", None, [bad]));
        peer.expect_attach("ch").await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        let bad = delta("msg-3:0", "msg-2:0", "vcdiff", b"bad-delta-2".to_vec());
        peer.send(frame("msg-3:0", None, [bad]));
        // The client sends only the ping.
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attaching);
    }
}

in_both_formats! {
    // UTS: realtime/unit/PC3/no-plugin-fails-1
    // Spec: PC3
    async fn without_a_decoder_the_channel_fails(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        let extras = json!({ "delta": { "from": "msg-0:0", "format": "vcdiff" } });
        let message = Message {
            encoding: Some("vcdiff".into()),
            extras: extras.as_object().cloned(),
            ..full("msg-1:0", "some-delta-data")
        };
        peer.send(frame("msg-1:0", None, [message]));
        channel.when(ChannelState::Failed).await.unwrap();
        let error = channel.error_reason().unwrap();
        assert_eq!(error.code(), ErrorCode(40019));
        let remedy = error.remediation().unwrap();
        assert!(remedy.contains("plugin(Plugin::vcdiff(Vcdiff))"), "{remedy}");
        expect_states(&mut changes, &[ChannelState::Failed]).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: PC3, RTL21
    async fn messages_before_the_delta_are_delivered(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        let second = delta("c:1:1", "c:1:0", "utf-8/vcdiff", mock("one", "two"));
        peer.send(frame("c:1", None, [full("c:1:0", "one"), second, full("c:1:2", "three")]));
        assert_eq!(next(&mut messages).await, ["one".into()]);
        assert!(messages.next().await.is_none());
        let reason = messages.end_reason().unwrap();
        assert_eq!((reason.code(), reason.cause().unwrap().code), (ErrorCode(90001), ErrorCode(40019)));
    }
}

in_both_formats! {
    // Spec: RTL18b, RTL18c
    async fn a_repeated_frame_is_not_delivered_twice(format) {
        let (client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::failing(1)).await;
        peer.send(frame("c:1", Some("s1"), [full("c:1:0", "zero")]));
        assert_eq!(next(&mut messages).await, ["zero".into()]);
        let second = delta("c:2:1", "c:2:0", "utf-8/vcdiff", mock("one", "two"));
        let frame = frame("c:2", Some("s2"), [full("c:2:0", "one"), second]);
        peer.send(frame.clone());
        assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some("s1"));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut messages);
        peer.send(frame);
        assert_eq!(next(&mut messages).await, ["one", "two"].map(Data::from));
    }
}

in_both_formats! {
    // Spec: RTL18c, RTL17
    async fn frames_received_during_a_recovery_do_not_move_the_position(format) {
        let (client, mut service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::failing(1)).await;
        peer.send(frame("c:1", Some("s1"), [full("c:1:0", "one")]));
        assert_eq!(next(&mut messages).await, ["one".into()]);
        let bad = delta("c:2:0", "c:1:0", "utf-8/vcdiff", mock("one", "two"));
        peer.send(frame("c:2", Some("s2"), [bad]));
        peer.expect_attach("ch").await;
        peer.send(frame("c:3", Some("s3"), [full("c:3:0", "three")]));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some("s1"));
        peer.send(frame("c:2", Some("s2"), [full("c:2:0", "two")]));
        assert_eq!(next(&mut messages).await, ["two".into()]);
        // After that, frames move the position again.
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some("s2"));
    }
}

in_both_formats! {
    // Spec: RTL18c
    async fn an_unanswered_recovery_is_retried_from_the_same_position(format) {
        let (_client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Mock::failing(1)).await;
        peer.send(frame("c:1", Some("s1"), [full("c:1:0", "one")]));
        assert_eq!(next(&mut messages).await, ["one".into()]);
        let bad = delta("c:2:0", "c:1:0", "utf-8/vcdiff", mock("one", "two"));
        peer.send(frame("c:2", Some("s2"), [bad]));
        peer.expect_attach("ch").await;
        channel.when(ChannelState::Suspended).await.unwrap();
        assert_eq!(channel.error_reason().unwrap().code(), ErrorCode(90007));
        peer.send(frame("c:3", Some("s3"), [full("c:3:0", "three")]));
        let attach = peer.attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("s1"));
    }
}

in_both_formats! {
    // Spec: RTL18, RTL13b
    async fn repeated_recoveries_are_delayed(format) {
        let (client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Mock::failing(3)).await;
        let bad = |index: u8| {
            let delta = delta("c:2:0", "c:1:0", "utf-8/vcdiff", mock("one", "two"));
            frame("c:2", Some(&format!("s2-{index}")), [delta])
        };
        peer.send(frame("c:1", Some("s1"), [full("c:1:0", "one")]));
        assert_eq!(next(&mut messages).await, ["one".into()]);
        peer.send(bad(0));
        peer.attach("ch").await;
        channel.when(ChannelState::Attached).await.unwrap();
        for attempt in 1..3 {
            let mut changes = channel.changes();
            peer.send(bad(attempt));
            let change = changes.next().await.unwrap();
            assert_eq!(change.current, ChannelState::Suspended);
            assert_eq!(change.reason.unwrap().code, ErrorCode(40018));
            quiet(&client, &mut peer).await;
            let suspended = tokio::time::Instant::now();
            peer.attach("ch").await;
            let waited = suspended.elapsed().as_secs_f64();
            assert!((12.0..=15.0).contains(&waited), "{waited}");
            channel.when(ChannelState::Attached).await.unwrap();
        }
        // A decoded message resets the delay: the next failure starts a recovery at once.
        peer.send(bad(3));
        assert_eq!(next(&mut messages).await, ["two".into()]);
        let stale = delta("c:3:0", "c:1:0", "utf-8/vcdiff", mock("one", "three"));
        peer.send(frame("c:3", Some("s3"), [stale]));
        let asked = tokio::time::Instant::now();
        assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some("s2-3"));
        assert_eq!(asked.elapsed().as_millis(), 0);
    }
}

in_both_formats! {
    async fn a_detach_resets_the_recovery(format) {
        let (_client, _service, mut peer, channel, mut messages) =
            subscribed_with(format, Mock::failing(1)).await;
        peer.send(frame("c:1", Some("s1"), [full("c:1:0", "one")]));
        assert_eq!(next(&mut messages).await, ["one".into()]);
        let bad = delta("c:2:0", "c:1:0", "utf-8/vcdiff", mock("one", "two"));
        peer.send(frame("c:2", Some("s2"), [bad]));
        peer.expect_attach("ch").await;
        let detach = detaching(&channel);
        peer.send(attached("ch"));
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        let attach = attaching(&channel);
        assert_eq!(peer.attach("ch").await.channel_serial, None);
        attach.await.unwrap().unwrap();
        // Messages from before the detach are no base.
        let stale = delta("c:2:0", "c:1:0", "utf-8/vcdiff", mock("one", "two"));
        peer.send(frame("c:2", Some("s2"), [stale]));
        let frame = peer.receive().await;
        assert!(matches!(frame, Some(ClientFrame::Attach(_))), "{frame:?}");
    }
}
