//! The fields of received messages (RSL6, TM2).

use capably::{CipherParams, Data, Message, MessageAction, realtime::RealtimeChannelOptions};
use capably_protocol::{ServerFrame, encoding, frame::Delivery};
use serde_json::json;

use crate::{in_both_formats, support::*};

fn encoded(data: impl Into<Data>, encoding: &str) -> Message {
    Message { encoding: Some(encoding.into()), ..Message::new("n", data) }
}

in_both_formats! {
    async fn each_type_of_payload_keeps_its_type(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let binary = |bytes: &'static [u8]| Data::from(bytes);
        let cases = [
            (Message::new("n", "täxt"), Data::from("täxt")),
            (Message::new("n", ""), Data::from("")),
            (Message::new("n", binary(b"valid utf-8")), binary(b"valid utf-8")),
            (Message::new("n", binary(b"\xff\x00\xfe")), binary(b"\xff\x00\xfe")),
            (Message::new("n", binary(b"")), binary(b"")),
            (encoded("YWJj", "base64"), binary(b"abc")),
            (encoded(r#"{"a":[1,2.5,null]}"#, "json"), json!({"a": [1, 2.5, null]}).into()),
            (encoded("[1]", "json"), json!([1]).into()),
            (encoded("eyJhIjoxfQ==", "json/utf-8/base64"), json!({"a": 1}).into()),
            (encoded("w6Q=", "utf-8/base64"), Data::from("ä")),
            (Message::new("n", ()), Data::None),
        ];
        for (message, expected) in cases {
            let what = format!("{message:?}");
            peer.send(ServerFrame::Message(Delivery::new("ch", vec![message])));
            let received = subscription.next().await.unwrap();
            assert_eq!((received.data, received.encoding), (expected, None), "{what}");
        }
    }
}

in_both_formats! {
    async fn undecodable_payloads_are_delivered_partly_decoded(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let binary = |bytes: &'static [u8]| Data::from(bytes);
        let cases = [
            // Each encoding fails at its outermost step, except the last ones.
            (encoded("not base64!", "base64"), "not base64!".into(), "base64"),
            (encoded("{broken", "json"), "{broken".into(), "json"),
            (encoded("x", "rot13"), "x".into(), "rot13"),
            (encoded("YWJj", "json/base64"), binary(b"abc"), "json"),
            (
                encoded("YWJj", "json/utf-8/cipher+aes-128-cbc/base64"),
                binary(b"abc"),
                "json/utf-8/cipher+aes-128-cbc",
            ),
            (encoded("/w==", "json/utf-8/base64"), binary(b"\xff"), "json/utf-8"),
        ];
        for (message, data, rest) in cases {
            peer.send(ServerFrame::Message(Delivery::new("ch", vec![message])));
            let received = subscription.next().await.unwrap();
            assert_eq!((received.data, received.encoding.as_deref()), (data, Some(rest)));
        }
        // The other messages of the frame are not affected.
        let frame = Delivery::new("ch", vec![encoded("x", "rot13"), Message::new("next", "fine")]);
        peer.send(ServerFrame::Message(frame));
        assert_eq!(subscription.next().await.unwrap().encoding.as_deref(), Some("rot13"));
        assert_eq!(subscription.next().await.unwrap().data.as_str(), Some("fine"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn a_payload_of_another_key_stays_encrypted(format) {
        let (client, _service, mut peer) = connected(format).await;
        let own = CipherParams::from_key(&[1; 32]).unwrap();
        let channel =
            client.channels().get_with("ch", RealtimeChannelOptions::new().cipher(own.clone()));
        attach(&channel, &mut peer).await;
        let mut subscription = subscribed(&channel).await;
        let mut encrypted = |cipher: &CipherParams| {
            let mut message = Message::new("n", "a secret");
            let cipher = Some((cipher, [3; 16]));
            encoding::encode(&mut message.data, &mut message.encoding, cipher).unwrap();
            peer.send(ServerFrame::Message(Delivery::new("ch", vec![message])));
        };
        // The encoding names another key length, so decryption is not tried.
        encrypted(&CipherParams::from_key(&[2; 16]).unwrap());
        encrypted(&own);
        let received = subscription.next().await.unwrap();
        assert_eq!(received.encoding.as_deref(), Some("utf-8/cipher+aes-128-cbc"));
        assert!(matches!(received.data, Data::Binary(bytes) if bytes.len() == 32));
        let received = subscription.next().await.unwrap();
        assert_eq!((received.data.as_str(), received.encoding), (Some("a secret"), None));
        // Plain payloads on an encrypted channel arrive as they are.
        peer.send(messages("ch", &["plain"]));
        assert_eq!(subscription.next().await.unwrap().data.as_str(), Some("plain"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/TM2a/id-from-protocol-message-0
    // UTS: realtime/unit/TM2c/connectionid-from-protocol-0
    // UTS: realtime/unit/TM2f/timestamp-from-protocol-0
    // UTS: realtime/unit/TM2a/all-fields-populated-together-3
    async fn a_message_inherits_absent_fields_from_its_frame(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let names = ["first", "second", "third"];
        peer.send(ServerFrame::Message(Delivery {
            id: Some("abc123:5".into()),
            connection_id: Some("abc123".into()),
            timestamp: Some(1_700_000_000_000),
            ..Delivery::new("ch", names.map(|name| Message::new(name, "data")).to_vec())
        }));
        for (index, name) in names.iter().enumerate() {
            let message = subscription.next().await.unwrap();
            assert_eq!(message.name.as_deref(), Some(*name));
            assert_eq!(message.data.as_str(), Some("data"));
            assert_eq!(message.id.as_deref(), Some(&*format!("abc123:5:{index}")));
            assert_eq!(message.connection_id.as_deref(), Some("abc123"));
            assert_eq!(message.timestamp, Some(1_700_000_000_000));
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/TM2a/existing-id-not-overwritten-1
    // UTS: realtime/unit/TM2c/existing-connectionid-kept-1
    // UTS: realtime/unit/TM2f/existing-timestamp-kept-1
    async fn a_message_keeps_its_own_fields(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let message = Message {
            id: Some("my-custom-id".into()),
            connection_id: Some("msg-conn".into()),
            timestamp: Some(1_600_000_000_000),
            ..Message::new("msg", "hello")
        };
        peer.send(ServerFrame::Message(Delivery {
            id: Some("proto-id:0".into()),
            connection_id: Some("proto-conn".into()),
            timestamp: Some(1_700_000_000_000),
            ..Delivery::new("ch", vec![message])
        }));
        let message = subscription.next().await.unwrap();
        assert_eq!(message.id.as_deref(), Some("my-custom-id"));
        assert_eq!(message.connection_id.as_deref(), Some("msg-conn"));
        assert_eq!(message.timestamp, Some(1_600_000_000_000));
    }
}

in_both_formats! {
    // UTS: realtime/unit/TM2a/no-id-without-protocol-id-2
    async fn messages_of_a_frame_without_an_id_have_none(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        peer.send(ServerFrame::Message(Delivery {
            connection_id: Some("abc123".into()),
            ..Delivery::new("ch", vec![Message::new("msg", "hello")])
        }));
        let message = subscription.next().await.unwrap();
        assert_eq!((message.id, message.timestamp), (None, None));
        assert_eq!(message.connection_id.as_deref(), Some("abc123"));
    }
}

in_both_formats! {
    async fn a_version_inherits_absent_fields_from_its_message(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let extras = json!({"headers": {"a": 1}, "ref": {"type": "t"}});
        let message = Message {
            serial: Some("serial-1".into()),
            action: Some(MessageAction::Update),
            client_id: Some("me".into()),
            extras: extras.as_object().cloned(),
            ..Message::new("msg", "hello")
        };
        peer.send(ServerFrame::Message(Delivery {
            timestamp: Some(7),
            ..Delivery::new("ch", vec![message])
        }));
        let message = subscription.next().await.unwrap();
        let version = message.version();
        assert_eq!(version.serial.as_deref(), Some("serial-1"));
        assert_eq!(version.timestamp, Some(7));
        assert_eq!(message.action, Some(MessageAction::Update));
        assert_eq!(message.client_id.as_deref(), Some("me"));
        assert_eq!(message.extras.as_ref(), extras.as_object());
        assert!(message.summary().is_empty());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7f/no-echo-messages-0
    async fn the_service_filters_echoes(format) {
        let (client, mut service) = client_with(format, |options| options.echo_messages(false));
        client.connection().connect();
        assert_eq!(service.attempt().await.param("echo").as_deref(), Some("false"));
    }
}
