//! Listening to annotations (RTAN4, RTAN5).

use capably::{
    Annotation, AnnotationAction, ChannelMode, CipherParams, Data, Error, Overflow,
    realtime::{
        AnnotationSubscription, ChannelState, RealtimeChannelOptions, annotations::AnnotationEvent,
    },
};
use capably_protocol::{Flags, ServerFrame, encoding, frame::Delivery};
use futures_util::FutureExt;
use serde_json::json;
use tracing::Level;

use super::*;
use crate::{http::log::Log, in_both_formats};

const MODES: [ChannelMode; 3] =
    [ChannelMode::Publish, ChannelMode::AnnotationPublish, ChannelMode::AnnotationSubscribe];

/// An annotation of this type and name.
fn made(kind: &str, name: &str) -> Annotation {
    Annotation {
        action: Some(AnnotationAction::Create),
        annotation_type: Some(kind.into()),
        name: Some(name.into()),
        ..Annotation::default()
    }
}

/// A channel that is attached with these modes.
async fn attached_for(
    format: capably_protocol::Format,
    modes: &[ChannelMode],
) -> (capably::Realtime, Service, Peer, capably::Channel) {
    let (client, service, mut peer) = connected(format).await;
    let channel = client.channels().get("ch");
    let (result, ()) = tokio::join!(channel.attach(), async {
        peer.expect_attach("ch").await;
        grant(&mut peer, modes);
    });
    result.unwrap();
    (client, service, peer, channel)
}

/// The names of the annotations in the queue, without waiting.
fn take(annotations: &mut AnnotationSubscription) -> Vec<String> {
    std::iter::from_fn(|| annotations.next().now_or_never().flatten())
        .map(|annotation| annotation.name.unwrap().to_string())
        .collect()
}

fn refusal(result: Result<AnnotationSubscription, Error>) -> (u32, Option<u16>) {
    let error = result.unwrap_err();
    (error.code().0, error.status())
}

in_both_formats! {
    // UTS: realtime/unit/RTAN4a/subscribe-delivers-annotations-0
    // Spec: RTAN4, RTAN4b, TAN1, TAN2, TAN2a, TAN2b, TAN2b1, TAN2c, TAN2d, TAN2h, TAN2i, TAN2j, TAN2k
    async fn annotations_arrive(format) {
        let (client, _service, mut peer, channel) = attached_for(format, &MODES).await;
        let mut received = channel.annotations().subscribe().attach(false).await.unwrap();
        peer.send_fields(json!({
            "action": 21, "channel": "ch",
            "annotations": [
                {
                    "id": "ann-1", "action": 0, "type": "com.example.reaction", "name": "like",
                    "clientId": "user-1", "serial": "ann-serial-1",
                    "messageSerial": "msg-serial-1", "timestamp": 1_700_000_000_000_i64,
                },
                {
                    "id": "ann-2", "action": 1, "type": "com.example.reaction", "name": "heart",
                    "clientId": "user-2", "serial": "ann-serial-2",
                    "messageSerial": "msg-serial-1", "timestamp": 1_700_000_001_000_i64,
                },
            ],
        }));
        let first: Annotation = received.next().await.unwrap();
        assert_eq!(first.id.as_deref(), Some("ann-1"));
        assert_eq!(first.action, Some(AnnotationAction::Create));
        assert_eq!(first.annotation_type.as_deref(), Some("com.example.reaction"));
        assert_eq!(first.name.as_deref(), Some("like"));
        assert_eq!(first.client_id.as_deref(), Some("user-1"));
        assert_eq!(first.serial.as_deref(), Some("ann-serial-1"));
        assert_eq!(first.message_serial.as_deref(), Some("msg-serial-1"));
        assert_eq!(first.timestamp, Some(1_700_000_000_000));
        let second = received.next().await.unwrap();
        assert_eq!(second.action, Some(AnnotationAction::Delete));
        assert_eq!(second.name.as_deref(), Some("heart"));
        assert_eq!(second.client_id.as_deref(), Some("user-2"));
        quiet(&client, &mut peer).await;
        assert!(take(&mut received).is_empty());
    }
}

in_both_formats! {
    // Spec: RTAN4b, TAN2e, TAN2f, TAN2f1, TAN2g, TAN2l, TAN3
    async fn payloads_are_decoded_and_fields_of_the_frame_are_inherited(format) {
        let (client, _service, mut peer) = connected(format).await;
        let cipher = CipherParams::from_key(&[1; 32]).unwrap();
        let options = RealtimeChannelOptions::new().cipher(cipher.clone());
        let channel = client.channels().get_with("ch", options);
        let (received, ()) = tokio::join!(channel.annotations().subscribe().into_future(), async {
            peer.expect_attach("ch").await;
            grant(&mut peer, &MODES);
        });
        let mut received = received.unwrap();
        let with = |data: Data, encoding: Option<&str>| Annotation {
            data,
            encoding: encoding.map(Into::into),
            count: Some(7),
            extras: json!({ "k": 1 }).as_object().cloned(),
            ..made("t", "n")
        };
        let mut secret = with("a secret".into(), None);
        encoding::encode(&mut secret.data, &mut secret.encoding, Some((&cipher, [3; 16]))).unwrap();
        let mut delivery = Delivery::new(
            "ch",
            vec![
                with(r#"{"a":1}"#.into(), Some("json")),
                with(vec![0, 255].into(), None),
                secret,
                with("x".into(), Some("rot13")),
                Annotation {
                    id: Some("own".into()),
                    connection_id: Some("own".into()),
                    timestamp: Some(1),
                    ..with("text".into(), None)
                },
            ],
        );
        delivery.id = Some("frame".into());
        delivery.connection_id = Some("elsewhere".into());
        delivery.timestamp = Some(1000);
        delivery.channel_serial = Some("reached".into());
        peer.send(ServerFrame::Annotation(delivery));
        let expected: [(Data, Option<&str>); 4] = [
            (json!({ "a": 1 }).into(), None),
            (vec![0, 255].into(), None),
            ("a secret".into(), None),
            ("x".into(), Some("rot13")),
        ];
        for (index, (data, encoding)) in expected.into_iter().enumerate() {
            let annotation = received.next().await.unwrap();
            assert_eq!((annotation.data, annotation.encoding.as_deref()), (data, encoding));
            assert_eq!(annotation.id.as_deref(), Some(&*format!("frame:{index}")));
            assert_eq!(annotation.connection_id.as_deref(), Some("elsewhere"));
            assert_eq!((annotation.timestamp, annotation.count), (Some(1000), Some(7)));
            assert_eq!(annotation.extras.unwrap()["k"], 1);
        }
        let own = received.next().await.unwrap();
        assert_eq!((own.id.as_deref(), own.connection_id.as_deref()), (Some("own"), Some("own")));
        assert_eq!((own.timestamp, own.data.as_str()), (Some(1), Some("text")));
    }
}

in_both_formats! {
    // Spec: RTL15b, RTL17, RTAN4b
    async fn annotations_move_the_position_and_arrive_only_while_attached(format) {
        let (client, mut service, mut peer, channel) = attached_for(format, &MODES).await;
        let mut received = channel.annotations().subscribe().await.unwrap();
        let mut delivery = Delivery::new("ch", vec![made("t", "one")]);
        delivery.channel_serial = Some("reached".into());
        peer.send(ServerFrame::Annotation(delivery));
        assert_eq!(received.next().await.unwrap().name.as_deref(), Some("one"));
        let mut peer = resume(&client, &mut service, peer).await;
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial.as_deref(), Some("reached"));
        // The channel is attaching.
        peer.send(annotations(vec![made("t", "too early")]));
        grant(&mut peer, &MODES);
        peer.send(annotations(vec![made("t", "two")]));
        peer.send(ServerFrame::Annotation(Delivery::new("unknown", vec![made("t", "astray")])));
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut received), ["two"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN4c/subscribe-type-filter-0
    // Spec: RTAN4a, RTAN4c
    async fn a_listener_may_select_types(format) {
        let (client, _service, mut peer, channel) = attached_for(format, &MODES).await;
        let annotations_of = channel.annotations();
        let subscribe = || annotations_of.subscribe().attach(false);
        let (reaction, comment) = ("com.example.reaction", "com.example.comment");
        let mut reactions = subscribe().annotation_type(reaction).await.unwrap();
        let mut both =
            subscribe().annotation_type(reaction).annotation_type(comment).await.unwrap();
        let mut prefix = subscribe().annotation_type("com.example").await.unwrap();
        let mut all = subscribe().await.unwrap();
        peer.send(annotations(vec![
            made(reaction, "like"),
            made(comment, "text"),
            made(reaction, "heart"),
            made("com.example.reaction:flag.v1", "other"),
            Annotation { annotation_type: None, ..made("", "untyped") },
        ]));
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut reactions), ["like", "heart"]);
        assert_eq!(take(&mut both), ["like", "text", "heart"]);
        assert!(take(&mut prefix).is_empty());
        assert_eq!(take(&mut all), ["like", "text", "heart", "other", "untyped"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN4d/subscribe-implicit-attach-0
    async fn subscribing_attaches(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let (received, ()) = tokio::join!(channel.annotations().subscribe().into_future(), async {
            peer.expect_attach("ch").await;
            // No annotation is missed in between.
            grant(&mut peer, &MODES);
            peer.send(annotations(vec![made("t", "first")]));
        });
        assert_eq!(channel.state(), ChannelState::Attached);
        assert_eq!(received.unwrap().next().await.unwrap().name.as_deref(), Some("first"));
        let _another = channel.annotations().subscribe().await.unwrap();
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTAN4d
    async fn subscribing_needs_a_channel_that_can_attach(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let denied = client.channels().get("denied");
        let (result, ()) = tokio::join!(denied.annotations().subscribe().into_future(), async {
            peer.expect_attach("denied").await;
            peer.send(error(Some("denied"), 40160, 401));
        });
        assert_eq!(code(result), 40160);
        assert_eq!(code(denied.annotations().subscribe().await), 90001);
        let channel = client.channels().get("ch");
        attach(&channel, &mut peer).await;
        let mut waiting = channel.annotations().subscribe().attach(false).await.unwrap();
        // A suspended channel attaches by itself.
        suspend(&client, &mut service, peer).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        let mut suspended = channel.annotations().subscribe().await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        peer.expect_attach("ch").await;
        grant(&mut peer, &MODES);
        peer.send(annotations(vec![made("t", "back")]));
        assert_eq!(suspended.next().await.unwrap().name.as_deref(), Some("back"));
        client.channels().release("ch");
        assert_eq!(waiting.next().await.unwrap().name.as_deref(), Some("back"));
        assert_eq!(waiting.next().await, None);
        assert_eq!(waiting.end_reason().unwrap().code().0, 90001);
        assert_eq!(code(channel.annotations().subscribe().attach(false).await), 90001);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN4e/subscribe-warns-no-mode-0
    async fn a_missing_mode_is_logged_as_a_warning(format) {
        let log = Log::new(Level::WARN);
        let _guard = tracing::subscriber::set_default(log.clone());
        let (client, _service, mut peer, channel) =
            attached_for(format, &[ChannelMode::Publish]).await;
        let annotations_of = channel.annotations();
        let mut received = annotations_of.subscribe().attach(false).await.unwrap();
        let said = log.said();
        let [said] = &said[..] else { panic!("{said:?}") };
        assert_eq!(said.level, Some(Level::WARN));
        assert!(said.message.contains("ANNOTATION_SUBSCRIBE"), "{}", said.message);
        assert_eq!((&*said.context["channel"], &*said.context["code"]), ("\"ch\"", "93001"));
        // One warning per attachment is enough, and the granted modes decide.
        let _second = annotations_of.subscribe().await.unwrap();
        assert_eq!(log.said().len(), 1);
        grant(&mut peer, &[ChannelMode::Subscribe]);
        quiet(&client, &mut peer).await;
        let _third = annotations_of.subscribe().await.unwrap();
        assert_eq!(log.said().len(), 2);
        grant(&mut peer, &MODES);
        peer.send(annotations(vec![made("t", "at last")]));
        assert_eq!(received.next().await.unwrap().name.as_deref(), Some("at last"));
        let _fourth = annotations_of.subscribe().await.unwrap();
        // The other warnings report the gaps of attachments without RESUMED.
        let mut said = log.said();
        said.retain(|said| !said.message.contains("may have missed"));
        assert_eq!(said.len(), 2);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN4e1/no-warn-unattached-0
    async fn modes_are_not_checked_before_the_channel_is_attached(format) {
        let log = Log::new(Level::WARN);
        let _guard = tracing::subscriber::set_default(log.clone());
        let (client, _service, mut peer) =
            connected_with(format, |options| options.strict_mode(true)).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let _received = channel.annotations().subscribe().attach(false).await.unwrap();
        quiet(&client, &mut peer).await;
        assert!(log.said().is_empty());
    }
}

in_both_formats! {
    // Spec: TO3r, RTAN4e
    async fn strict_mode_fails_a_subscription_without_the_mode(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.strict_mode(true)).await;
        let channel = client.channels().get("ch");
        let (result, ()) = tokio::join!(channel.annotations().subscribe().into_future(), async {
            peer.expect_attach("ch").await;
            grant(&mut peer, &[ChannelMode::Subscribe, ChannelMode::AnnotationPublish]);
        });
        assert_eq!(refusal(result), (93001, Some(400)));
        assert_eq!(channel.state(), ChannelState::Attached);
        let again = channel.annotations().subscribe().attach(false).await;
        assert_eq!(refusal(again), (93001, Some(400)));
        let _messages = channel.subscribe().await.unwrap();
        grant(&mut peer, &[ChannelMode::AnnotationSubscribe]);
        quiet(&client, &mut peer).await;
        let mut received = channel.annotations().subscribe().await.unwrap();
        peer.send(annotations(vec![made("t", "at last")]));
        assert_eq!(received.next().await.unwrap().name.as_deref(), Some("at last"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN5a/unsubscribe-removes-listeners-0
    // UTS: realtime/unit/RTAN5a/unsubscribe-type-filter-1
    // Spec: RTAN5
    async fn a_dropped_subscription_receives_nothing(format) {
        let (client, _service, mut peer, channel) = attached_for(format, &MODES).await;
        let (reaction, comment) = ("com.example.reaction", "com.example.comment");
        let annotations_of = channel.annotations();
        // A listener that waits for room delays the others; a dropped listener does not.
        let mut first = annotations_of.subscribe().capacity(1).await.unwrap();
        let reactions =
            annotations_of.subscribe().annotation_type(reaction).capacity(1).await.unwrap();
        let mut comments = annotations_of.subscribe().annotation_type(comment).await.unwrap();
        peer.send(annotations(vec![made(reaction, "like")]));
        assert_eq!(first.next().await.unwrap().name.as_deref(), Some("like"));
        drop((first, reactions));
        for text in ["text", "more", "and more"] {
            peer.send(annotations(vec![made(reaction, "heart"), made(comment, text)]));
        }
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut comments), ["text", "more", "and more"]);
        // The channel stays attached, and messages are not affected.
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}

in_both_formats! {
    async fn a_slow_listener_follows_its_overflow_policy(format) {
        let (client, _service, mut peer, channel) = attached_for(format, &MODES).await;
        let annotations_of = channel.annotations();
        let subscribe = || annotations_of.subscribe().capacity(2);
        let mut oldest = subscribe().overflow(Overflow::DropOldest).await.unwrap();
        let mut ends = subscribe().overflow(Overflow::End).await.unwrap();
        for name in ["a", "b", "c", "d", "e"] {
            peer.send(annotations(vec![made("t", name)]));
            quiet(&client, &mut peer).await;
        }
        assert_eq!(oldest.next_event().await, Some(AnnotationEvent::Lagged(3)));
        let next = oldest.next_event().await;
        assert_eq!(next, Some(AnnotationEvent::Annotation(made("t", "d"))));
        assert_eq!(take(&mut oldest), ["e"]);
        assert_eq!(take(&mut ends), ["a", "b"]);
        assert_eq!(ends.next().await, None);
        assert_eq!(ends.end_reason().unwrap().code(), capably::ErrorCode::CHANNEL_BACKLOG_TOO_LARGE);

        let mut waits = subscribe().await.unwrap();
        for name in ["a", "b", "c"] {
            peer.send(annotations(vec![made("t", name)]));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(waits.next().await.unwrap().name.unwrap().to_string());
        }
        assert_eq!(seen, ["a", "b", "c"]);
        // Annotations beyond a full queue are fetched later, and no other listener waits.
        let placed = |number: u8, name| {
            let mut delivery = Delivery::new("ch", vec![made("t", name)]);
            delivery.channel_serial = Some(format!("ch-serial@{number}").into());
            ServerFrame::Annotation(delivery)
        };
        for (number, name) in [(1, "d"), (2, "e"), (3, "f")] {
            peer.send(placed(number, name));
            quiet(&client, &mut peer).await;
        }
        assert_eq!(take(&mut waits), ["d", "e"]);
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("ch-serial@2"));
        peer.send(attached_with("ch", |attached| {
            attached.channel_serial = Some("ch-serial@2".into());
            attached.flags = MODES.iter().copied().collect::<Flags>() | Flags::RESUMED;
        }));
        peer.send(placed(3, "f"));
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut waits), ["f"]);
        assert!(waits.end_reason().is_none());
        assert_eq!(take(&mut oldest), ["e", "f"]);
    }
}

in_both_formats! {
    // Spec: RTAN4d, RTAN4e
    async fn a_listener_outlasts_only_the_failure_of_its_own_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut listener = channel.annotations().subscribe().listen();
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(listener.attached().await), 40160);
        assert!(listener.end_reason().is_none());
        let attaching = attaching(&channel);
        peer.expect_attach("ch").await;
        grant(&mut peer, &MODES);
        attaching.await.unwrap().unwrap();
        peer.send(annotations(vec![made("t", "after")]));
        assert_eq!(listener.next().await.unwrap().name.as_deref(), Some("after"));
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(listener.next().await, None);
        assert_eq!(listener.end_reason().unwrap().code().0, 90001);
        // A listener of a released channel ends at once.
        client.channels().release("ch");
        let mut late = channel.annotations().subscribe().listen();
        assert_eq!(code(late.attached().await), 90001);
        assert_eq!(late.next().await, None);
        assert_eq!(late.end_reason().unwrap().code().0, 90001);
    }
}
