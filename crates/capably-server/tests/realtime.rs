//! The realtime protocol over real sockets.

mod support;

use bytes::Bytes;
use capably_protocol::{
    ChannelMode, ClientFrame, Data, Flags, Format, Message, MessageAction, ServerFrame,
    frame::Attach,
};
use serde_json::json;

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

#[tokio::test]
async fn a_message_reaches_every_subscriber_in_its_own_format() {
    let server = server().await;
    for (from, to) in FORMATS.into_iter().flat_map(|from| FORMATS.map(|to| (from, to))) {
        let (mut publisher, connected) = Client::connect(&server, from).await;
        let (mut subscriber, _) = Client::connect(&server, to).await;
        let channel = format!("ünï:{from:?}→{to:?} 🚀");
        let attached = subscriber.attach(&channel).await;
        assert_eq!(attached.channel, channel);

        // What the client sends, and what the service makes of it for a subscriber in MessagePack.
        let payloads = [
            (Data::from("text"), Some("plain")),
            (Data::from(&b"valid UTF-8"[..]), None),
            (Data::from(&[0xff, 0x00, 0xfe][..]), None),
            (Data::from(&b""[..]), None),
            (Data::from(r#"{"a":[1,"ü"]}"#), Some("json")),
            (Data::None, None),
        ];
        for (msg_serial, (data, encoding)) in payloads.iter().enumerate() {
            let message = Message {
                name: Some("event".into()),
                data: data.clone(),
                encoding: encoding.map(Into::into),
                extras: Some(json!({"headers": {"a": 1}}).as_object().unwrap().clone()),
                ..Message::default()
            };
            let msg_serial = msg_serial as u64;
            publisher.publish(&channel, msg_serial, vec![message]).await;
            let ack = publisher.ack().await;
            assert_eq!((ack.msg_serial, ack.count), (msg_serial, 1));

            let delivery = subscriber.message().await;
            let id = connected.connection_id.as_ref().unwrap();
            assert_eq!(delivery.channel, channel);
            assert_eq!(delivery.id.unwrap(), format!("{id}:{msg_serial}"));
            assert_eq!(delivery.connection_id.as_ref(), Some(id));
            assert!(delivery.timestamp.is_some());
            let [message] = &delivery.items[..] else { panic!("{:?}", delivery.items) };
            assert_eq!(message.name.as_deref(), Some("event"));
            assert_eq!(message.action, Some(MessageAction::Create));
            assert_eq!(serials(&ack), [message.serial.as_deref().unwrap()]);
            let version = message.version.as_ref().unwrap();
            assert_eq!(version.serial, message.serial);
            assert_eq!(version.timestamp, delivery.timestamp);
            assert_eq!(message.extras.as_ref().unwrap()["headers"], json!({"a": 1}));

            let mut received = (message.data.clone(), message.encoding.clone());
            capably_protocol::encoding::strip_base64(&mut received.0, &mut received.1).unwrap();
            assert_eq!(received, (data.clone(), encoding.map(Into::into)), "{from:?} → {to:?}");
            let in_base64 = message.encoding.as_deref() == Some("base64");
            let binary = matches!(data, Data::Binary(_));
            assert_eq!(in_base64 && to == Format::Json, binary && to == Format::Json);
        }
    }
}
