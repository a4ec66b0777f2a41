//! Frames that are well-formed, but unexpected or without a meaning.

use std::time::Duration;

use capably::realtime::{ChannelEvent, ChannelState, ConnectionState};
use capably_protocol::{
    Annotation, PresenceMessage, ServerFrame,
    frame::{Ack, Connected, Delivery, ErrorFrame, Nack},
};
use serde_json::json;
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

in_both_formats! {
    async fn unknown_actions_and_fields_are_tolerated(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut states = client.connection().changes();
        let mut changes = channel.changes();
        for action in [3, 5, 7, 10, 12, 18, 23, 24, 99, 4_000_000_000_u32] {
            peer.send_fields(json!({"action": action}));
            peer.send_fields(json!({"action": action, "channel": "ch", "messages": [{}]}));
        }
        peer.send_fields(json!({
            "action": 15, "channel": "ch", "novel": {"a": [1, null]}, "flags": 1_u64 << 40,
            "messages": [{
                "name": "n", "data": "d", "action": 77, "future": [[]], "extras": {"new": {"a": 1}},
                "annotations": {"summary": {"t": 1}, "other": 2},
            }],
        }));
        let message = subscription.next().await.unwrap();
        assert_eq!((message.name.as_deref(), message.data.as_str()), (Some("n"), Some("d")));
        assert_eq!(message.action, Some(capably::MessageAction::Unknown(77)));
        assert_eq!(message.extras.unwrap()["new"], json!({"a": 1}));
        peer.send_fields(json!({
            "action": 11, "channel": "ch", "flags": (1_u64 << 40) | 4, "params": {}, "extra": true,
        }));
        peer.send_fields(json!({"action": 0, "id": null, "timestamp": 1, "extra": []}));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut subscription);
        expect_none(&mut states);
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn frames_for_unknown_channels_are_ignored(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        let mut states = client.connection().changes();
        for name in ["nobody", "", "CH"] {
            peer.send(attached(name));
            peer.send(detached_because(name, 90198));
            peer.send(messages(name, &["n"]));
            peer.send(error(Some(name), 40160, 401));
            peer.send(ServerFrame::Presence(Delivery::new(name, vec![PresenceMessage::default()])));
        }
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        expect_none(&mut states);
        assert!(!client.channels().exists("nobody"));
    }
}

in_both_formats! {
    async fn acknowledgements_of_nothing_are_ignored(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let nack = |msg_serial, count| {
            ServerFrame::Nack(Nack { msg_serial, count, error: Some(info(50000, 500)) })
        };
        // The acknowledged publish was never sent.
        peer.send(ack(0, 1));
        peer.send(nack(7, 3));
        peer.send(ServerFrame::Ack(Ack { msg_serial: 9, count: u64::from(u32::MAX), res: vec![] }));
        quiet(&client, &mut peer).await;
        let first = channel.publish("n", "d").submit().await.unwrap();
        peer.skip(1).await;
        peer.send(ack(5, 1));
        quiet(&client, &mut peer).await;
        peer.send(ack(0, 1));
        assert_eq!(first.await.unwrap().serials, [Some("serial-0".into())]);
        // The acknowledged publish is settled already.
        let second = channel.publish("n", "d").submit().await.unwrap();
        peer.skip(1).await;
        peer.send(ack(0, 1));
        peer.send(nack(0, 1));
        // The acknowledgement repeats one publish and covers a new one.
        peer.send(ack(0, 2));
        assert_eq!(second.await.unwrap().serials, [Some("serial-1".into())]);
        // The acknowledgement covers more than the pending publishes.
        let third = channel.publish("n", "d").submit().await.unwrap();
        peer.skip(1).await;
        peer.send(ack(2, 100));
        assert_eq!(third.await.unwrap().serials, [Some("serial-2".into())]);
        let fourth = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 3);
        peer.send(nack(3, 1_000));
        assert_eq!(code(fourth.await), 50000);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

in_both_formats! {
    async fn an_ack_without_results_is_a_success(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut receipts = Vec::new();
        for _ in 0..3 {
            receipts.push(channel.publish("n", "d").submit().await.unwrap());
        }
        peer.skip(3).await;
        peer.send_fields(json!({"action": 1, "msgSerial": 0, "count": 1}));
        peer.send_fields(json!({"action": 1, "msgSerial": 1, "count": 2, "res": [{}]}));
        for receipt in receipts {
            assert_eq!(receipt.await.unwrap().serials, []);
        }
    }
}

in_both_formats! {
    async fn connected_without_its_required_fields_fails_the_attempt(format) {
        let (client, mut service) = client(format);
        let mut states = client.connection().changes();
        client.connection().connect();
        let whole = match connected_frame("connection-1", "key-1") {
            ServerFrame::Connected(connected) => *connected,
            other => panic!("{other:?}"),
        };
        let without_id = Connected { connection_id: None, ..whole.clone() };
        let without_details = Connected { details: None, ..whole.clone() };
        let mut without_key = whole;
        without_key.details.as_mut().unwrap().connection_key = None;
        for frame in [without_id, without_details, without_key] {
            let mut peer = service.accept().await;
            assert_eq!(states.next().await.unwrap().current, ConnectionState::Connecting);
            peer.send(ServerFrame::Connected(Box::new(frame)));
            let change = states.next().await.unwrap();
            assert_eq!(change.current, ConnectionState::Disconnected);
            assert_eq!(change.reason.unwrap().code.0, 80013);
            assert!(change.retry_in.unwrap() >= Duration::from_secs(12));
            assert_eq!((client.connection().id(), client.connection().key()), (None, None));
            peer.closed().await;
        }
        service.accept().await.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

in_both_formats! {
    async fn an_error_without_a_reason_is_an_error(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        peer.send(ServerFrame::Error(ErrorFrame { channel: Some("ch".into()), error: None }));
        channel.when(ChannelState::Failed).await.unwrap();
        assert_eq!(channel.error_reason().unwrap().code().0, 90000);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        peer.send(ServerFrame::Error(ErrorFrame { channel: None, error: None }));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(client.connection().error_reason().unwrap().code().0, 80000);
    }
}

in_both_formats! {
    async fn an_error_without_a_code_gets_one(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let why = json!({ "message": "the service's words" });
        let pending = channel.publish("n", "d").submit().await.unwrap();
        peer.skip(1).await;
        peer.send_fields(json!({ "action": 2, "msgSerial": 0, "count": 1, "error": why }));
        let error = pending.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (50000, Some(500)));
        assert!(error.message().contains("the service's words"), "{error}");
        peer.send_fields(json!({ "action": 9, "channel": "ch", "error": why }));
        channel.when(ChannelState::Failed).await.unwrap();
        assert_eq!(channel.error_reason().unwrap().code().0, 90000);
        let mut states = client.connection().changes();
        peer.send_fields(json!({ "action": 6, "error": { "statusCode": 503 } }));
        let reason = states.next().await.unwrap().reason.unwrap();
        assert_eq!((reason.code.0, reason.status_code), (80003, 503));
        let mut peer = service.accept().await;
        peer.send_fields(json!({ "action": 9, "error": why }));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        let error = client.connection().error_reason().unwrap();
        assert_eq!((error.code().0, error.status()), (80000, Some(400)));
        assert!(error.message().contains("the service's words"), "{error}");
    }
}

in_both_formats! {
    async fn disconnected_without_a_reason_is_a_lost_transport(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let mut states = client.connection().changes();
        let now = Instant::now();
        peer.send(ServerFrame::Disconnected { error: None });
        let change = states.next().await.unwrap();
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.reason.unwrap().code.0, 80003);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        assert!(now.elapsed() < Duration::from_millis(3));
        peer.closed().await;
    }
}

in_both_formats! {
    async fn closed_without_a_close_is_a_lost_transport(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let mut states = client.connection().changes();
        peer.send(ServerFrame::Closed);
        let change = states.next().await.unwrap();
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.reason.unwrap().code.0, 80003);
        assert_eq!(service.attempt().await.param("resume").as_deref(), Some("key-1"));
        peer.closed().await;
    }
}

in_both_formats! {
    async fn frames_of_features_that_are_not_used_do_no_harm(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut changes = channel.changes();
        peer.send(ServerFrame::Presence(Delivery::new("ch", vec![PresenceMessage::default()])));
        peer.send(ServerFrame::Sync(Delivery::new("ch", vec![PresenceMessage::default()])));
        peer.send(ServerFrame::Annotation(Delivery::new("ch", vec![Annotation::default()])));
        peer.send(ServerFrame::Object(Delivery::new("ch", vec![])));
        peer.send(ServerFrame::ObjectSync(Delivery::new("ch", vec![])));
        peer.send(ServerFrame::Auth);
        peer.send(ServerFrame::Heartbeat { id: None });
        peer.send(ServerFrame::Heartbeat { id: Some("unasked".into()) });
        // Presence with an unknown action.
        peer.send_fields(json!({"action": 14, "channel": "ch", "presence": [{"action": 42}]}));
        peer.send(messages("ch", &["fine"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("fine"));
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn an_attach_answered_twice_is_an_update(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes();
        let attach = attaching(&channel);
        peer.attach("ch").await;
        peer.send(attached("ch"));
        attach.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
        for event in [
            ChannelEvent::State(ChannelState::Attaching),
            ChannelEvent::State(ChannelState::Attached),
            ChannelEvent::Update,
        ] {
            assert_eq!(changes.next().await.unwrap().event, event);
        }
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn unsolicited_answers_leave_a_channel_as_it_is(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut changes = channel.changes();
        peer.send(attached("ch"));
        peer.send(detached("ch"));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        // A failed channel does not attach again by itself.
        peer.send(error(Some("ch"), 40160, 401));
        peer.send(attached("ch"));
        peer.send(detached("ch"));
        peer.send(messages("ch", &["n"]));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Failed);
        expect_states(&mut changes, &[ChannelState::Failed]).await;
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn frames_before_connected_do_no_harm(format) {
        let (client, mut service) = client(format);
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        client.connection().connect();
        let mut peer = service.accept().await;
        let receipt = channel.publish("n", "d").submit().await.unwrap();
        peer.send(ack(0, 1));
        peer.send(messages("ch", &["early"]));
        peer.send(ServerFrame::Heartbeat { id: None });
        peer.send(connected_frame("connection-1", "key-1"));
        peer.attach("ch").await;
        attach.await.unwrap().unwrap();
        // The early acknowledgement had no effect.
        assert_eq!(peer.message().await, (0, vec!["n".to_owned()]));
        quiet(&client, &mut peer).await;
        peer.send(ack(0, 1));
        assert_eq!(receipt.await.unwrap().serials, [Some("serial-0".into())]);
    }
}

in_both_formats! {
    async fn a_connection_closed_at_once_is_retried_later(format) {
        let (client, mut service) = client(format);
        let mut states = client.connection().changes();
        client.connection().connect();
        let mut waits = Vec::new();
        for _ in 0..3 {
            drop(service.accept().await);
            assert_eq!(states.next().await.unwrap().current, ConnectionState::Connecting);
            let change = states.next().await.unwrap();
            assert_eq!(change.current, ConnectionState::Disconnected);
            assert_eq!(change.reason.unwrap().code.0, 80003);
            waits.push(change.retry_in.unwrap().as_secs_f64() / 15.0);
        }
        for (wait, most) in waits.iter().zip([1.0, 4.0 / 3.0, 5.0 / 3.0]) {
            assert!((most * 0.8..=most).contains(wait), "{waits:?}");
        }
    }
}
