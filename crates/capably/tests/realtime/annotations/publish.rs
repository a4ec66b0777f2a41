//! Annotating messages (RTAN1, RTAN2), and reading their annotations (RTAN3).

use std::sync::Arc;

use capably::{
    Annotation, AnnotationAction, CipherParams, Message,
    realtime::{ChannelState, RealtimeChannelOptions},
};
use capably_protocol::{ServerFrame, encoding, frame::Nack};
use serde_json::{Value, json};

use super::*;
use crate::{http::scripted_http::*, in_both_formats};

in_both_formats! {
    // UTS: realtime/unit/RTL26/annotations-attribute-type-0
    // UTS: realtime/unit/RTAN1a/publish-sends-annotation-0
    // UTS: realtime/unit/RTAN2a/delete-sends-annotation-0
    // Spec: RTAN1, RTAN1c, RTAN2
    async fn annotations_are_created_and_deleted(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let received = Message { serial: Some("msg-serial-1".into()), ..Message::default() };
        for (action, msg_serial) in [(AnnotationAction::Create, 0), (AnnotationAction::Delete, 1)] {
            let annotations: capably::realtime::Annotations = channel.annotations();
            let call = async {
                match action {
                    AnnotationAction::Create => annotations.publish("msg-serial-1", like()).await,
                    _ => annotations.delete(&received, like()).await,
                }
            };
            let service = async {
                let publish = annotated(&mut peer).await;
                peer.send(bare_ack(publish.msg_serial));
                publish
            };
            let (result, publish) = tokio::join!(call, service);
            result.unwrap();
            assert_eq!((&*publish.channel, publish.msg_serial), ("ch", msg_serial));
            let [item] = &publish.items[..] else { panic!("{publish:?}") };
            let expected = Annotation {
                action: Some(action),
                message_serial: Some("msg-serial-1".into()),
                id: item.id.clone(),
                ..like()
            };
            assert_eq!(*item, expected);
        }
    }
}

in_both_formats! {
    // Spec: RTAN1a, RTAN1c, TAN2b, TAN2b1, TAN2e, TAN2k, TAN2l
    async fn every_given_field_is_sent(format) {
        let (_client, _service, mut peer) =
            connected_with(format, |options| options.idempotent_rest_publishing(false)).await;
        let channel = _client.channels().get("ch");
        attach(&channel, &mut peer).await;
        let annotation = Annotation {
            client_id: Some("ada".into()),
            count: Some(3),
            data: "why".into(),
            extras: json!({ "k": [1] }).as_object().cloned(),
            ..like()
        };
        let (result, fields) = tokio::join!(channel.annotations().delete("s", annotation), async {
            let fields = peer.receive_fields().await;
            peer.send(bare_ack(0));
            fields
        });
        result.unwrap();
        let item = json!({
            "action": 1, "messageSerial": "s", "type": "com.example.reaction", "name": "like",
            "clientId": "ada", "count": 3, "data": "why", "extras": { "k": [1] },
        });
        let expected =
            json!({ "action": 21, "channel": "ch", "msgSerial": 0, "annotations": [item] });
        assert_eq!(fields, expected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN1a/validates-type-required-1
    async fn an_annotation_needs_a_type_and_a_message(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let untyped = Annotation { annotation_type: None, ..like() };
        let empty = Annotation { annotation_type: Some("".into()), ..like() };
        let annotations = channel.annotations();
        let errors = [
            annotations.publish("msg-serial-1", untyped.clone()).await,
            annotations.publish("msg-serial-1", empty).await,
            annotations.delete("msg-serial-1", untyped).await,
            annotations.publish("", like()).await,
            annotations.delete(&Message::default(), like()).await,
        ];
        for error in errors {
            let error = error.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40003, Some(400)));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN1a/encodes-data-json-2
    // Spec: TAN2f1
    async fn the_payload_is_encoded_and_encrypted_with_a_cipher(format) {
        let (client, _service, mut peer) = connected(format).await;
        let cipher = CipherParams::from_key(&[1; 32]).unwrap();
        let secret = RealtimeChannelOptions::new().cipher(cipher.clone());
        for channel in [client.channels().get("plain"), client.channels().get_with("secret", secret)] {
            attach(&channel, &mut peer).await;
            let data = json!({ "key": "value", "nested": { "a": 1 } });
            let annotation = Annotation { data: data.clone().into(), ..like() };
            let (result, publish) = tokio::join!(channel.annotations().publish("s", annotation), async {
                let publish = annotated(&mut peer).await;
                peer.send(bare_ack(publish.msg_serial));
                publish
            });
            result.unwrap();
            let mut item = publish.items[0].clone();
            encoding::strip_base64(&mut item.data, &mut item.encoding).unwrap();
            if *channel.name() == *"secret" {
                let steps = "json/utf-8/cipher+aes-256-cbc";
                assert_eq!(item.encoding.as_deref(), Some(steps));
                let mut opened = item.clone();
                encoding::decode(&mut opened.data, &mut opened.encoding, Some(&cipher)).unwrap();
                assert_eq!((opened.data, opened.encoding), (data.into(), None));
                continue;
            }
            assert_eq!(item.encoding.as_deref(), Some("json"));
            let text = item.data.as_str().expect("the data is text");
            assert_eq!(serde_json::from_str::<Value>(text).unwrap(), data);
        }
        let number = Annotation { data: json!(5).into(), ..like() };
        let annotations = client.channels().get("plain");
        assert_eq!(code(annotations.annotations().publish("s", number).await), 40013);
    }
}

in_both_formats! {
    // Spec: RTAN1a
    async fn an_annotation_gets_an_idempotent_id(format) {
        for enabled in [true, false] {
            let (client, _service, mut peer) =
                connected_with(format, |options| options.idempotent_rest_publishing(enabled)).await;
            let channel = client.channels().get("ch");
            let own = Annotation { id: Some("own".into()), ..like() };
            let mut ids = Vec::new();
            for annotation in [like(), like(), own] {
                let (result, id) =
                    tokio::join!(channel.annotations().publish("s", annotation), async {
                        let publish = annotated(&mut peer).await;
                        peer.send(bare_ack(publish.msg_serial));
                        publish.items[0].id.clone()
                    });
                result.unwrap();
                ids.push(id);
            }
            assert_eq!(ids.pop().flatten().as_deref(), Some("own"));
            if enabled {
                for id in &ids {
                    let (base, index) = id.as_deref().unwrap().split_once(':').unwrap();
                    assert_eq!((base.len(), index), (16, "0"));
                }
                assert_ne!(ids[0], ids[1]);
            } else {
                assert_eq!(ids, [None, None]);
            }
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN1b/publish-channel-state-0
    // Spec: RTAN1b, RSAN1a4
    async fn annotations_have_the_state_conditions_of_a_publish(format) {
        let (client, mut service) = client_with(format, |options| options.max_message_size(10));
        let channel = client.channels().get("ch");
        let annotations = channel.annotations();
        let large = Annotation { data: "1234567".into(), ..like() };
        assert_eq!(code(annotations.publish("s", large).await), 40009);
        // The annotation is queued, sent, sent again after a drop with the same id, and acknowledged.
        let queued = {
            let channel = channel.clone();
            tokio::spawn(async move {
                let fits = Annotation { data: "123456".into(), ..like() };
                channel.annotations().publish("s", fits).await
            })
        };
        tokio::task::yield_now().await;
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        let first = annotated(&mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(annotated(&mut peer).await, first);
        peer.send(bare_ack(0));
        queued.await.unwrap().unwrap();
        // A failed channel refuses it.
        let (attached, ()) = tokio::join!(channel.attach(), async {
            peer.expect_attach("ch").await;
            peer.send(error(Some("ch"), 40160, 401));
        });
        attached.unwrap_err();
        assert_eq!(channel.state(), ChannelState::Failed);
        for result in [
            annotations.publish("msg-serial-1", like()).await,
            annotations.delete("msg-serial-1", like()).await,
        ] {
            let error = result.unwrap_err();
            assert_eq!((error.code().0, error.cause().unwrap().code.0), (90001, 40160));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTAN1b
    async fn annotations_fail_in_states_that_refuse_publishes(format) {
        let (client, mut service, peer, channel) =
            with_channel_and(format, |options| options.queue_messages(false)).await;
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(code(channel.annotations().publish("s", like()).await), 80009);
        suspend(&client, &mut service, attempt.accept()).await;
        assert_eq!(channel.state(), ChannelState::Suspended);
        assert_eq!(code(channel.annotations().delete("s", like()).await), 90001);
        let never = client.channels().get("never attached");
        assert_eq!(code(never.annotations().publish("s", like()).await), 80002);
        client.close().await;
        assert_eq!(code(never.annotations().publish("s", like()).await), 80017);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTAN1d/publish-ack-nack-0
    async fn an_annotation_resolves_with_the_answer_of_the_service(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let annotations = channel.annotations();
        let calls = async {
            tokio::join!(
                annotations.publish("msg-serial-1", like()),
                annotations.publish("msg-serial-1", like()),
                annotations.delete("msg-serial-1", like()),
            )
        };
        let (results, ()) = tokio::join!(calls, async {
            for _ in 0..3 {
                annotated(&mut peer).await;
            }
            peer.send(bare_ack(0));
            let error = Some(info(40160, 401));
            peer.send(ServerFrame::Nack(Nack { msg_serial: 1, count: 1, error }));
            peer.send(ack(2, 1));
        });
        results.0.unwrap();
        let error = results.1.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)));
        results.2.unwrap();
    }
}

in_both_formats! {
    // Spec: RTAN3, RTAN3a
    async fn annotations_are_read_over_rest(format) {
        let items = json!([
            {
                "id": "ann-1", "action": 0, "type": "com.example.reaction", "name": "like",
                "clientId": "user-1", "count": 1, "data": "[1]", "encoding": "json",
                "serial": "ann-serial-1", "messageSerial": "msg-serial-1",
                "timestamp": 1_700_000_000_000_i64, "extras": { "custom": "metadata" },
            },
            { "id": "ann-2", "action": 1, "name": "heart", "clientId": "user-2" },
        ]);
        let http = ScriptedHttp::always(respond(200, items));
        let script = Arc::new(http.clone());
        let (client, _service, _peer) =
            connected_with(format, |options| options.http_client(script)).await;
        let channel = client.channels().get("a:b");
        let page = channel.annotations().get("msg-serial-1").limit(50).await.unwrap();
        let request = http.request();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.path(), "/channels/a%3Ab/messages/msg-serial-1/annotations");
        assert_eq!(request.param("limit").as_deref(), Some("50"));
        let [first, second] = page.items() else { panic!("{page:?}") };
        assert_eq!(first.id.as_deref(), Some("ann-1"));
        assert_eq!(first.action, Some(AnnotationAction::Create));
        assert_eq!(first.data.as_json(), Some(&json!([1])));
        assert_eq!(first.extras.as_ref().unwrap()["custom"], "metadata");
        assert_eq!(second.name.as_deref(), Some("heart"));
        assert_eq!(second.action, Some(AnnotationAction::Delete));
        assert_eq!(code(channel.annotations().get("").await), 40003);
        assert_eq!(http.requests().len(), 1);
    }
}
