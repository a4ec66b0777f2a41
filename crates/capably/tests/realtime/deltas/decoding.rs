//! The base of a delta, and its result.

use capably::{CipherParams, plugin::Vcdiff, realtime::RealtimeChannelOptions};
use capably_protocol::{encoding, vcdiff};

use super::*;

in_both_formats! {
    // UTS: realtime/unit/RTL21/ascending-index-order-0
    // Spec: RTL21
    async fn messages_of_a_frame_are_decoded_in_order(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        let second = mock("first message", "second message");
        let third = mock("second message", "third message");
        peer.send(frame("serial:0", None, [
            full("serial:0", "first message"),
            delta("serial:1", "serial:0", "utf-8/vcdiff", second),
            delta("serial:2", "serial:1", "utf-8/vcdiff", third),
        ]));
        let received = next(&mut messages).await;
        assert_eq!(received, ["first message", "second message", "third message"].map(Data::from));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL19b/stores-base-payload-0
    // Spec: RTL19, RTL19b
    async fn a_message_in_full_is_the_base_of_the_next(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        peer.send(frame("msg-1:0", None, [full("msg-1:0", "base payload")]));
        assert_eq!(next(&mut messages).await, ["base payload".into()]);
        let update = mock("base payload", "updated payload");
        peer.send(frame("msg-2:0", None, [delta("msg-2:0", "msg-1:0", "utf-8/vcdiff", update)]));
        assert_eq!(next(&mut messages).await, ["updated payload".into()]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL19b/json-wire-form-base-1
    // Spec: RTL19b
    async fn the_base_of_json_is_its_text(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        let json = r#"{"foo":"bar","count":1}"#;
        let first = Message { encoding: Some("json".into()), ..full("msg-1:0", json) };
        peer.send(frame("msg-1:0", None, [first]));
        assert_eq!(next(&mut messages).await, [json!({ "foo": "bar", "count": 1 }).into()]);
        let new_json = r#"{"foo":"baz","count":2}"#;
        let second = delta("msg-2:0", "msg-1:0", "utf-8/vcdiff", mock(json, new_json));
        peer.send(frame("msg-2:0", None, [second]));
        assert_eq!(next(&mut messages).await, [new_json.into()]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL19a/base64-decoded-before-store-0
    // Spec: RTL19a
    async fn the_base_is_without_base64(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        let first = Message { encoding: Some("base64".into()), ..full("msg-1:0", "SGVsbG8=") };
        peer.send(frame("msg-1:0", None, [first]));
        assert_eq!(next(&mut messages).await, [b"Hello".as_slice().into()]);
        let delta = delta("msg-2:0", "msg-1:0", "vcdiff", mock("Hello", "World"));
        peer.send(frame("msg-2:0", None, [delta]));
        assert_eq!(next(&mut messages).await, [b"World".as_slice().into()]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL19c/delta-result-becomes-base-0
    // Spec: RTL19c
    async fn the_result_of_a_delta_is_the_base_of_the_next(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        peer.send(frame("msg-1:0", None, [full("msg-1:0", "value-A")]));
        assert_eq!(next(&mut messages).await, ["value-A".into()]);
        let b = mock("value-A", "value-B");
        peer.send(frame("msg-2:0", None, [delta("msg-2:0", "msg-1:0", "utf-8/vcdiff", b)]));
        assert_eq!(next(&mut messages).await, ["value-B".into()]);
        let c = mock("value-B", "value-C");
        peer.send(frame("msg-3:0", None, [delta("msg-3:0", "msg-2:0", "utf-8/vcdiff", c)]));
        assert_eq!(next(&mut messages).await, ["value-C".into()]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL20/last-id-updated-on-decode-1
    // Spec: RTL20
    async fn the_last_message_of_a_frame_is_the_base(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        let items = [full("serial:0", "first"), full("serial:1", "second")];
        peer.send(frame("serial:0", None, items));
        assert_eq!(next(&mut messages).await, ["first", "second"].map(Data::from));
        let third = mock("second", "third");
        peer.send(frame("msg-2:0", None, [delta("msg-2:0", "serial:1", "utf-8/vcdiff", third)]));
        assert_eq!(next(&mut messages).await, ["third".into()]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/PC3/vcdiff-plugin-decodes-0
    // Spec: PC1, PC2, PC3, PC3a, PT1, PT2, PT2a, VD1, VD2, VD2a, TO3o
    async fn the_decoder_gets_delta_and_base_as_bytes(format) {
        let decoder = Mock::default();
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, decoder.clone()).await;
        peer.send(frame("msg-1:0", None, [full("msg-1:0", "hello world")]));
        assert_eq!(next(&mut messages).await, ["hello world".into()]);
        let second = mock("hello world", "goodbye world");
        let message = delta("msg-2:0", "msg-1:0", "utf-8/vcdiff", second.clone());
        peer.send(frame("msg-2:0", None, [message]));
        let message = messages.next().await.unwrap();
        assert_eq!(decoder.calls(), [[second, b"hello world".to_vec()]]);
        assert_eq!((message.data.as_str(), message.encoding.as_deref()), (Some("goodbye world"), None));
        assert_eq!(message.delta().unwrap().from, "msg-1:0");
    }
}

in_both_formats! {
    // Spec: RTL20, TM2a
    async fn inherited_ids_identify_the_base(format) {
        let (_client, _service, mut peer, _channel, mut messages) =
            subscribed_with(format, Mock::default()).await;
        let without_id = |message: Message| Message { id: None, ..message };
        peer.send(frame("conn:7", None, [full("", "one"), full("", "two")].map(without_id)));
        let three = delta("", "conn:7:1", "utf-8/vcdiff", mock("two", "three"));
        peer.send(frame("conn:8", None, [without_id(three)]));
        let four = delta("", "conn:8:0", "utf-8/vcdiff", mock("three", "four"));
        peer.send(frame("conn:9", None, [without_id(four)]));
        let received = next(&mut messages).await;
        assert_eq!(received, ["one", "two", "three", "four"].map(Data::from));
    }
}

in_both_formats! {
    // Spec: RSL6a, RTL7d
    async fn deltas_of_every_kind_of_payload_are_applied(format) {
        let cipher = CipherParams::from_key(&[7; 16]).unwrap();
        let (client, _service, mut peer) =
            connected_with(format, |options| options.plugin(Plugin::vcdiff(Vcdiff))).await;
        let options = RealtimeChannelOptions::new().cipher(cipher.clone());
        let channel = client.channels().get_with("ch", options);
        attach(&channel, &mut peer).await;
        let mut messages = subscribed(&channel).await;
        let sent: [Data; 6] = [
            "some text".into(),
            "some other text".into(),
            json!({ "some": "other text" }).into(),
            json!(["some", { "other": "text" }]).into(),
            b"\xff some other text \x00".as_slice().into(),
            "some text".into(),
        ];
        let mut base: Option<Vec<u8>> = None;
        for (index, data) in sent.iter().enumerate() {
            // Every other message is encrypted.
            let cipher = (index % 2 == 1).then_some((&cipher, [index as u8; 16]));
            let (mut data, mut steps) = (data.clone(), None);
            encoding::encode(&mut data, &mut steps, cipher).unwrap();
            let (bytes, is_text) = match &data {
                Data::Text(text) => (text.as_bytes().to_vec(), true),
                Data::Binary(bytes) => (bytes.to_vec(), false),
                other => panic!("{other:?}"),
            };
            let id = format!("msg:{index}");
            let message = match &base {
                None => Message { encoding: steps, ..full(&id, data) },
                Some(base) => {
                    let vcdiff = if is_text { Some("utf-8/vcdiff") } else { Some("vcdiff") };
                    let steps: Vec<_> = steps.as_deref().into_iter().chain(vcdiff).collect();
                    let from = format!("msg:{}", index - 1);
                    delta(&id, &from, &steps.join("/"), vcdiff::encode(base, &bytes))
                }
            };
            peer.send(frame(&id, None, [message]));
            base = Some(bytes);
        }
        assert_eq!(next(&mut messages).await, sent);
    }
}
