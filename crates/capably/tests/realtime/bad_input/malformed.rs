//! Bytes that are no frames.

use std::time::Duration;

use capably::realtime::{ConnectionState, SubscriptionEvent};
use capably_protocol::{Format, ServerFrame, codec};
use serde_json::json;
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

/// Bytes that are no whole value of this format.
fn broken(format: Format) -> Vec<Vec<u8>> {
    let mut garbage = vec![Vec::new(), b"garbage".to_vec(), vec![0xff; 40], vec![0; 40]];
    let mut whole = Vec::new();
    codec::encode_server_frame(format, &messages("ch", &["one", "two"]), &mut whole);
    // A frame without its end, or with more than its end.
    for length in [1, whole.len() / 2, whole.len() - 1] {
        garbage.push(whole[..length].to_vec());
    }
    garbage.push([&*whole, &*whole].concat());
    garbage
}

/// Bytes that are no frame of a service in this format.
fn garbage(format: Format) -> Vec<Vec<u8>> {
    let mut garbage = broken(format);
    // Values of the wrong type, and missing required values.
    for fields in [
        json!(null),
        json!(15),
        json!("frame"),
        json!([]),
        json!({}),
        json!({"action": "message"}),
        json!({"action": 15, "channel": "ch", "messages": "none"}),
        json!({"action": 15, "messages": []}),
        json!({"action": 11}),
        json!({"action": 13}),
    ] {
        garbage.push(codec::encode_body(format, &fields).unwrap());
    }
    garbage
}

in_both_formats! {
    async fn a_malformed_frame_ends_only_the_transport(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut states = client.connection().changes();
        let pending = channel.publish("pending", "d").submit().await.unwrap();
        peer.skip(1).await;
        for (round, bytes) in broken(format).into_iter().enumerate() {
            let (id, key) = (format!("connection-{}", round + 2), format!("key-{}", round + 2));
            // Frames before the malformed one count, and those after it do not.
            peer.send(messages("ch", &["before"]));
            peer.send_raw(bytes.clone());
            peer.send(messages("ch", &["after"]));
            assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("before"));
            let change = states.next().await.unwrap();
            let now = Instant::now();
            assert_eq!(change.current, ConnectionState::Disconnected, "{bytes:?}");
            let reason = change.reason.unwrap();
            assert_eq!((reason.code.0, reason.status_code), (80013, 400), "{bytes:?}");
            // The client waits before the next attempt.
            let promised = change.retry_in.unwrap();
            assert!((12.0..=15.0).contains(&promised.as_secs_f64()), "{promised:?}");
            peer.closed().await;
            let attempt = service.attempt().await;
            assert!(now.elapsed().abs_diff(promised) < Duration::from_millis(3));
            assert_eq!(*attempt.param("resume").unwrap(), *format!("key-{}", round + 1));
            peer = attempt.accept();
            // A new connection, so that the fault may happen again.
            peer.send(connected_frame(&id, &key));
            for state in [ConnectionState::Connecting, ConnectionState::Connected] {
                assert_eq!(states.next().await.unwrap().current, state);
            }
            assert!(client.connection().error_reason().is_none());
            peer.attach("ch").await;
            assert_eq!(peer.message().await, (0, vec!["pending".to_owned()]));
            expect_no_message(&mut subscription);
        }
        peer.send(ack(0, 1));
        assert_eq!(pending.await.unwrap().serials, [Some("serial-0".into())]);
    }
}

in_both_formats! {
    async fn an_attempt_with_a_malformed_first_frame_is_retried_later(format) {
        for bytes in garbage(format) {
            let (client, mut service) = client(format);
            let mut states = client.connection().changes();
            client.connection().connect();
            let mut peer = service.accept().await;
            peer.send_raw(bytes);
            assert_eq!(states.next().await.unwrap().current, ConnectionState::Connecting);
            let change = states.next().await.unwrap();
            assert_eq!(change.current, ConnectionState::Disconnected);
            assert_eq!(change.reason.unwrap().code.0, 80013);
            assert!(change.retry_in.unwrap() >= Duration::from_secs(12));
            peer.closed().await;
            service.accept().await.send(connected_frame("connection-1", "key-1"));
            client.connection().when(ConnectionState::Connected).await.unwrap();
        }
    }
}

in_both_formats! {
    async fn nesting_has_a_limit(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut states = client.connection().changes();
        let nested = |levels| {
            let mut value = json!({});
            for _ in 0..levels {
                value = json!({ "a": value });
            }
            json!({"action": 15, "channel": "ch", "messages": [{"name": "n", "extras": value}]})
        };
        peer.send_fields(nested(20));
        assert!(subscription.next().await.unwrap().extras.is_some());
        peer.send_fields(nested(100));
        let event = subscription.next_event().await.unwrap();
        assert!(matches!(event, SubscriptionEvent::Gap(_)), "{event:?}");
        quiet(&client, &mut peer).await;
        expect_none(&mut states);
    }
}

in_both_formats! {
    async fn a_frame_may_have_the_other_format(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let other = match format {
            Format::Json => Format::MsgPack,
            Format::MsgPack => Format::Json,
        };
        // Text frames are JSON, binary frames are MessagePack.
        peer.send_in(other, messages("ch", &["other"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("other"));
        peer.send_in(other, ServerFrame::Heartbeat { id: None });
        // The client still sends the agreed format.
        quiet(&client, &mut peer).await;
    }
}
