//! Frames with an unreadable part: the rest is delivered, each missing item is reported as a gap, and the client stays
//! connected.

use capably::{
    Annotation, ChannelMode, Message, PresenceMessage,
    realtime::{
        ChannelEvent, ChannelState, ConnectionState, SubscriptionEvent,
        annotations::AnnotationEvent, presence::PresenceEvent,
    },
};
use capably_protocol::{Flags, Format, ServerFrame, codec};
use serde_json::{Value, json};

use crate::{in_both_formats, support::*};

/// Extras with this many levels of nesting.
fn nested(levels: usize) -> Value {
    (1..levels).fold(json!({}), |inner, _| json!({ "a": inner }))
}

/// Items that are unreadable as any type.
fn unreadable() -> Vec<Value> {
    vec![
        json!(null),
        json!(5),
        json!("item"),
        json!([]),
        json!({ "id": 5 }),
        json!({ "id": ["a"] }),
        json!({ "clientId": {} }),
        json!({ "timestamp": "noon" }),
        json!({ "timestamp": u64::MAX }),
        json!({ "timestamp": 1e300 }),
        json!({ "action": "create" }),
        json!({ "extras": [1] }),
        json!({ "extras": nested(62) }),
        json!({ "extras": nested(500) }),
        json!({ "novel": nested(100) }),
    ]
}

/// Sends a frame with this action and these items.
fn send_items(peer: &mut Peer, action: u32, field: &str, serial: &str, items: Value) {
    peer.send_fields(json!({
        "action": action, "channel": "ch", "id": format!("id-{serial}"), "channelSerial": serial,
        "timestamp": 1, "connectionId": "other", field: items,
    }));
}

in_both_formats! {
    async fn an_unreadable_message_leaves_the_other_messages(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut states = client.connection().changes();
        let mut changes = channel.changes();
        send_items(&mut peer, 15, "messages", "000", json!([{ "name": "before" }]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("before"));
        let mut last = "000".to_owned();
        for (index, bad) in unreadable().into_iter().enumerate() {
            let serial = format!("{:03}", index + 1);
            let items = json!([{ "name": "a" }, bad, bad, { "name": "b" }]);
            send_items(&mut peer, 15, "messages", &serial, items);
            for event in ["a", "gap", "b"] {
                match subscription.next_event().await.unwrap() {
                    SubscriptionEvent::Message(message) => {
                        assert_eq!(message.name.as_deref(), Some(event), "{bad}");
                        let place = if event == "a" { 0 } else { 3 };
                        assert_eq!(*message.id.unwrap(), *format!("id-{serial}:{place}"));
                    }
                    SubscriptionEvent::Gap(gap) => {
                        assert_eq!(event, "gap");
                        assert_eq!(gap.after.as_deref(), Some(&*last));
                        assert_eq!(gap.until.as_deref(), Some(&*serial));
                        let reason = gap.reason.unwrap();
                        assert_eq!((reason.code.0, reason.status_code), (40013, 400));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let change = changes.next().await.unwrap();
            assert_eq!((change.event, change.resumed), (ChannelEvent::Update, false));
            assert_eq!(change.reason.unwrap().code.0, 40013);
            last = serial;
        }
        assert_eq!(channel.error_reason().unwrap().code().0, 40013);
        assert_eq!(channel.properties().await.channel_serial.as_deref(), Some(&*last));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        expect_none(&mut states);
        expect_none(&mut changes);
        assert!(service.is_quiet());
        // The client continues after the unreadable frame.
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.attach("ch").await.channel_serial.as_deref(), Some(&*last));
    }
}

in_both_formats! {
    async fn a_frame_without_readable_items_is_a_gap(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        for items in [json!("none"), json!({}), json!([null]), json!(vec![json!({}); 65_537])] {
            send_items(&mut peer, 15, "messages", "7", items);
            match subscription.next_event().await.unwrap() {
                SubscriptionEvent::Gap(gap) => assert_eq!(gap.until.as_deref(), Some("7")),
                other => panic!("{other:?}"),
            }
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn an_unreadable_member_leaves_the_other_members(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut members = channel.presence().subscribe().await.unwrap();
        for (index, bad) in unreadable().into_iter().enumerate() {
            let member = |name: &str| json!({ "action": 2, "clientId": format!("{name}-{index}") });
            let items = json!([member("a"), bad, member("b")]);
            send_items(&mut peer, 14, "presence", "7", items);
            for name in ["a", "b"] {
                match members.next_event().await.unwrap() {
                    PresenceEvent::Message(PresenceMessage { client_id, .. }) => {
                        assert_eq!(*client_id.unwrap(), *format!("{name}-{index}"), "{bad}");
                    }
                    other => panic!("{other:?}"),
                }
            }
            match members.next_event().await.unwrap() {
                PresenceEvent::Gap(gap) => assert_eq!(gap.reason.unwrap().code.0, 40013),
                other => panic!("{other:?}"),
            }
        }
        quiet(&client, &mut peer).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

in_both_formats! {
    async fn an_unreadable_annotation_leaves_the_other_annotations(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        peer.send(attached_with("ch", |attached| {
            let modes: Flags = [ChannelMode::AnnotationSubscribe].into_iter().collect();
            attached.flags = modes | Flags::RESUMED;
        }));
        let mut annotations = channel.annotations().subscribe().await.unwrap();
        for (index, bad) in unreadable().into_iter().enumerate() {
            let item = |name: &str| json!({ "action": 0, "name": format!("{name}-{index}") });
            send_items(&mut peer, 21, "annotations", "7", json!([item("a"), bad, item("b")]));
            for event in ["a", "gap", "b"] {
                match annotations.next_event().await.unwrap() {
                    AnnotationEvent::Annotation(Annotation { name, .. }) => {
                        assert_eq!(*name.unwrap(), *format!("{event}-{index}"), "{bad}");
                    }
                    AnnotationEvent::Gap(gap) => {
                        assert_eq!(event, "gap");
                        assert_eq!(gap.reason.unwrap().code.0, 40013);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn well_formed_frames_without_a_meaning_are_ignored(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut states = client.connection().changes();
        let mut changes = channel.changes();
        for fields in [
            json!(null),
            json!(15),
            json!("frame"),
            json!([]),
            json!({}),
            json!({ "action": "message" }),
            json!({ "action": 11 }),
            json!({ "action": 13, "channel": 5 }),
            json!({ "action": 9, "channel": [], "error": { "code": 40160, "statusCode": 401 } }),
            json!({ "action": 0, "id": 7 }),
        ] {
            peer.send_fields(fields);
        }
        peer.send(messages("ch", &["after"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("after"));
        quiet(&client, &mut peer).await;
        expect_none(&mut states);
        expect_none(&mut changes);
        assert!(service.is_quiet());
    }
}

in_both_formats! {
    async fn a_delivery_without_a_readable_channel_is_a_gap_in_every_channel(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        for channel in [json!(null), json!(5)] {
            peer.send_fields(json!({ "action": 15, "channel": channel, "messages": [{}] }));
            match subscription.next_event().await.unwrap() {
                SubscriptionEvent::Gap(gap) => {
                    assert_eq!((gap.reason.unwrap().code.0, gap.until), (40013, None));
                }
                other => panic!("{other:?}"),
            }
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn an_ack_with_unreadable_results_counts(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut receipts = Vec::new();
        for _ in 0..2 {
            receipts.push(channel.publish("n", "d").submit().await.unwrap());
        }
        peer.skip(2).await;
        peer.send_fields(json!({
            "action": 1, "msgSerial": 0, "count": 2, "res": [5, { "serials": ["b"] }],
        }));
        let mut serials = Vec::new();
        for receipt in receipts {
            serials.push(receipt.await.unwrap().serials);
        }
        assert_eq!(serials, [vec![], vec![Some("b".into())]]);
    }
}

/// Bytes that are no whole value.
fn broken(format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_server_frame(format, &messages("ch", &["lost"]), &mut bytes);
    bytes.truncate(bytes.len() - 1);
    bytes
}

in_both_formats! {
    async fn a_frame_ends_at_most_one_transport(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut states = client.connection().changes();
        // The service sends it after each resume.
        peer.send_raw(broken(format));
        assert_eq!(states.next().await.unwrap().reason.unwrap().code.0, 80013);
        peer.closed().await;
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |attached| attached.flags = Flags::RESUMED));
        for _ in 0..5 {
            peer.send_raw(broken(format));
            peer.send(messages("ch", &["after"]));
            match subscription.next_event().await.unwrap() {
                SubscriptionEvent::Gap(gap) => assert_eq!(gap.reason.unwrap().code.0, 80013),
                other => panic!("{other:?}"),
            }
            assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("after"));
        }
        quiet(&client, &mut peer).await;
        assert!(service.is_quiet());
        for state in [ConnectionState::Connecting, ConnectionState::Connected] {
            assert_eq!(states.next().await.unwrap().current, state);
        }
        expect_none(&mut states);
    }
}

in_both_formats! {
    async fn a_publish_too_deep_to_be_read_back_is_refused(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let message = |levels| {
            let extras = nested(levels).as_object().cloned();
            Message { extras, ..Message::new("deep", "d") }
        };
        let refused = channel.publish_message(message(58)).await;
        assert_eq!(code(refused), 40013);
        quiet(&client, &mut peer).await;
        let deepest = channel.publish_message(message(57)).submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["deep".to_owned()]));
        peer.send(ack(0, 1));
        deepest.await.unwrap();
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

in_both_formats! {
    async fn a_frame_above_the_limit_is_a_gap(format) {
        let (client, mut service, mut peer, channel) = {
            let (client, service, peer) =
                connected_with(format, |options| options.max_frame_size(1_000)).await;
            let channel = client.channels().get("ch");
            (client, service, peer, channel)
        };
        attach(&channel, &mut peer).await;
        let mut subscription = subscribed(&channel).await;
        let large = json!([{ "name": "a" }, { "data": "x".repeat(40_000) }]);
        send_items(&mut peer, 15, "messages", "7", large);
        peer.send(messages("ch", &["after"]));
        match subscription.next_event().await.unwrap() {
            SubscriptionEvent::Gap(gap) => assert_eq!(gap.until.as_deref(), Some("7")),
            other => panic!("{other:?}"),
        }
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("after"));
        peer.send(ServerFrame::Heartbeat { id: None });
        quiet(&client, &mut peer).await;
        assert!(service.is_quiet());
    }
}
