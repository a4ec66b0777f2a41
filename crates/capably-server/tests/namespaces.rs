//! The channels to which the rules of a namespace apply.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, Message, MessageAction, ServerFrame};
use serde_json::{Value, json};

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

fn encoded(channel: &str) -> String {
    channel.replace('[', "%5B").replace('?', "%3F").replace('=', "%3D").replace(']', "%5D")
}

#[tokio::test]
async fn mutable_messages_work_on_the_namespace_channel_and_below_it() {
    let server = server().await;
    let spec = json!({
        "keys": [{}],
        "namespaces": [{"id": "mutable", "mutableMessages": true}, {"id": "plain"}],
    });
    let key = app(&server, &spec).await.remove(0);
    for format in FORMATS {
        for (channel, changes) in [
            ("mutable", true),
            ("[?rewind=1]mutable", true),
            ("mutable:", true),
            ("mutable:a", true),
            ("[?rewind=1]mutable:a:b", true),
            ("mutable2", false),
            ("mutabl", false),
            ("Mutable", false),
            ("a:mutable", false),
            ("plain", false),
        ] {
            let ask = async |method: &str, target: &str, body: Value| {
                ask(&server, &key, format, method, target, &body).await
            };
            let target = format!("/channels/{}/messages", encoded(channel));
            let (_, published) = ask("POST", &target, json!({"data": "first"})).await;
            let serial = published["serials"][0].as_str().unwrap().to_owned();
            let path = format!("{target}/{}", serial.replace('@', "%40"));
            let annotation = json!([{"action": 0, "type": "r:total.v1"}]);
            let changed = ask("PATCH", &path, json!({"action": 1, "data": "second"})).await;
            let annotated = ask("POST", &format!("{path}/annotations"), annotation).await;
            if changes {
                assert_eq!((changed.0.status, annotated.0.status), (200, 201), "{channel}");
            } else {
                assert_eq!(refusal(&changed), (400, 93002), "{channel}");
                assert_eq!(refusal(&annotated), (400, 93002), "{channel}");
            }

            // Over a connection, too.
            let mut client = Client::open(&server, format, &format!("key={key}")).await;
            assert!(matches!(client.next().await, ServerFrame::Connected(_)));
            let update = Message {
                action: Some(MessageAction::Update),
                serial: Some(serial.into()),
                ..Message::new("m", "third")
            };
            client.publish(channel, 0, vec![update]).await;
            match client.next().await {
                ServerFrame::Ack(_) => assert!(changes, "{channel}"),
                ServerFrame::Nack(nack) => {
                    assert_eq!((changes, nack.error.unwrap().code.0), (false, 93002), "{channel}");
                }
                other => panic!("{channel}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn push_works_on_the_namespace_channel() {
    let server = server().await;
    let spec = json!({"keys": [{}], "namespaces": [{"id": "pushy", "pushEnabled": true}]});
    let key = app(&server, &spec).await.remove(0);
    for format in FORMATS {
        for (channel, status) in [("pushy", 201), ("pushy:a", 201), ("pushy2", 401)] {
            let body = json!({"channel": channel, "clientId": "ada"});
            let target = "/push/channelSubscriptions";
            let (answer, _) = ask(&server, &key, format, "POST", target, &body).await;
            assert_eq!(answer.status, status, "{channel}");
        }
    }
}
