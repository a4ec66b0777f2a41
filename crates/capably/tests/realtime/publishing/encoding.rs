//! Payloads on their way to the service and back (RSL4, RSL5, RSL6).

use capably::{CipherParams, Data, Message, realtime::RealtimeChannelOptions};
use capably_protocol::{Format, ServerFrame, frame::Delivery};
use serde_json::json;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // Spec: RTL6a
    async fn each_kind_of_payload_has_its_form_on_the_wire(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let binary = || Data::from(&b"abc"[..]);
        for data in [Data::from("text"), binary(), json!({"a": 1}).into(), json!([1]).into()] {
            drop(channel.publish("n", data).submit().await.unwrap());
        }
        let mut forms = Vec::new();
        for _ in 0..4 {
            let publish = peer.publish().await;
            let message = publish.items[0].clone();
            forms.push((message.data, message.encoding.map(|encoding| encoding.to_string())));
        }
        let bytes = match format {
            Format::Json => ("YWJj".into(), Some("base64".to_owned())),
            Format::MsgPack => (binary(), None),
        };
        assert_eq!(
            forms,
            [
                ("text".into(), None),
                bytes,
                (r#"{"a":1}"#.into(), Some("json".to_owned())),
                ("[1]".into(), Some("json".to_owned())),
            ]
        );
    }
}

in_both_formats! {
    // Spec: RTL6a1
    async fn realtime_publishes_have_no_idempotent_ids(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.idempotent_rest_publishing(true)).await;
        let channel = client.channels().get("ch");
        let messages = [Message::new("one", "1"), Message { id: Some("own".into()), ..Message::new("two", "2") }];
        drop(channel.publish_messages(messages).submit().await.unwrap());
        let publish = peer.publish().await;
        let ids: Vec<_> = publish.items.iter().map(|message| message.id.as_deref()).collect();
        assert_eq!(ids, [None, Some("own")]);
        assert!(publish.params.is_empty());
    }
}

in_both_formats! {
    async fn encrypted_payloads_are_plain_at_both_ends(format) {
        let (client, _service, mut peer) = connected(format).await;
        let cipher = CipherParams::from_key(&[7; 32]).unwrap();
        let options = RealtimeChannelOptions::new().cipher(cipher);
        let channel = client.channels().get_with("ch", options);
        attach(&channel, &mut peer).await;
        let mut messages = channel.subscribe().await.unwrap();
        let payloads = [
            (Data::from("a secret"), "utf-8/cipher+aes-256-cbc"),
            (Data::from(&b"a secret"[..]), "cipher+aes-256-cbc"),
            (json!({"a": "secret"}).into(), "json/utf-8/cipher+aes-256-cbc"),
            (Data::from("a secret"), "utf-8/cipher+aes-256-cbc"),
        ];
        let mut seen: Vec<Data> = Vec::new();
        for (data, encoding) in payloads {
            drop(channel.publish("n", data.clone()).submit().await.unwrap());
            let publish = peer.publish().await;
            let message = publish.items[0].clone();
            let expected = match format {
                Format::Json => format!("{encoding}/base64"),
                Format::MsgPack => encoding.to_owned(),
            };
            assert_eq!(message.encoding.as_deref(), Some(&*expected));
            let wire = format!("{:?}", message.data);
            assert!(!wire.contains("secret"), "{wire}");
            // Each payload has its own initialization vector.
            assert!(!seen.contains(&message.data));
            seen.push(message.data.clone());
            peer.send(ServerFrame::Message(Delivery::new("ch", vec![message])));
            let back = messages.next().await.unwrap();
            assert_eq!((back.data, back.encoding), (data, None));
        }
    }
}

in_both_formats! {
    async fn an_absent_payload_is_not_encrypted(format) {
        let (client, _service, mut peer) = connected(format).await;
        let cipher = CipherParams::from_key(&[7; 16]).unwrap();
        let options = RealtimeChannelOptions::new().cipher(cipher);
        let channel = client.channels().get_with("ch", options);
        drop(channel.publish("n", ()).submit().await.unwrap());
        let publish = peer.publish().await;
        assert_eq!((&publish.items[0].data, &publish.items[0].encoding), (&Data::None, &None));
    }
}
