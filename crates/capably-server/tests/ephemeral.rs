//! Ephemeral messages and privileged extras over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{ClientFrame, Format, Message, ServerFrame, frame::Attach};
use serde_json::{Value, json};

use support::*;

const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

fn ephemeral(text: &str) -> Message {
    let extras = json!({"ephemeral": true}).as_object().cloned();
    Message { extras, ..Message::new("m", text) }
}

#[tokio::test]
async fn ephemeral_messages_are_delivered_and_not_stored() {
    let server = server().await;
    for format in FORMATS {
        let channel = format!("c-{}", format.name());
        let target = format!("/channels/{channel}/messages");
        let (mut listener, _) = Client::connect(&server, format).await;
        listener.attach(&channel).await;
        let ask = async |target: &str, body: Value| {
            ask(&server, server.key(), format, "POST", target, &body).await
        };
        let body = json!({"data": "by extras", "extras": {"ephemeral": true}});
        assert_eq!(ask(&target, body).await.0.status, 201);
        let body = json!([{"data": "by parameter"}, {"data": "too"}]);
        assert_eq!(ask(&format!("{target}?ephemeral=true"), body).await.0.status, 201);
        let batch = json!({"channels": [channel], "messages": [{"data": "in a batch"}]});
        assert_eq!(ask("/messages?ephemeral=true", batch).await.0.status, 201);
        let (mut publisher, _) = Client::connect(&server, format).await;
        publisher.publish(&channel, 0, vec![ephemeral("over a connection")]).await;
        publisher.ack().await;
        let mut frame = publish(&channel, 1, vec![Message::new("m", "with params")]);
        let ClientFrame::Message(inner) = &mut frame else { unreachable!() };
        inner.params.insert("ephemeral".into(), "true".into());
        publisher.send(&frame).await;
        publisher.ack().await;
        assert_eq!(ask(&target, json!({"data": "kept"})).await.0.status, 201);

        let mut texts = Vec::new();
        while texts.last().is_none_or(|(text, _)| text != "kept") {
            let delivery = listener.message().await;
            let has_place = delivery.channel_serial.is_some();
            texts.extend(delivery.items.iter().map(|item| {
                let extras = item.extras.as_ref();
                let says_so = extras.is_some_and(|extras| extras["ephemeral"] == true);
                assert_eq!(says_so, !has_place);
                (item.data.as_str().unwrap().to_owned(), has_place)
            }));
        }
        let expected =
            ["by extras", "by parameter", "too", "in a batch", "over a connection", "with params"];
        let expected = expected.map(|text| (text.to_owned(), false));
        assert_eq!(texts, [&expected[..], &[("kept".to_owned(), true)]].concat());

        let (_, history) =
            support::ask(&server, server.key(), format, "GET", &target, &Value::Null).await;
        let history: Vec<_> = history.as_array().unwrap().iter().map(|it| &it["data"]).collect();
        assert_eq!(history, ["kept"]);
        let (mut late, _) = Client::connect(&server, format).await;
        let params = [("rewind".to_owned(), "10".to_owned())].into_iter().collect();
        late.attach_with(Attach { channel: channel.as_str().into(), params, ..Attach::default() })
            .await;
        assert_eq!(late.message().await.items[0].data.as_str(), Some("kept"));
    }
}

#[tokio::test]
async fn invalid_publishes_are_refused() {
    let server = server().await;
    let spec = json!({"keys": [{}, {"capability": {"*": ["publish", "subscribe"]}}]});
    let keys = app(&server, &spec).await;
    let (full, plain) = (&keys[0], &keys[1]);
    for format in FORMATS {
        let privileged = json!({"data": "x", "extras": {"privileged": {"a": 1}}});
        let mixed = json!([{"data": "x"}, {"data": "x", "extras": {"ephemeral": true}}]);
        for (key, query, body, expected) in [
            (full, "", &mixed, Some((400, 40000))),
            (full, "?ephemeral=yes", &json!({"data": "x"}), Some((400, 40003))),
            (full, "", &json!({"extras": {"ephemeral": "true"}}), Some((400, 40032))),
            (plain, "", &privileged, Some((401, 40160))),
            (plain, "?ephemeral=true", &privileged, Some((401, 40160))),
            (full, "", &privileged, None),
            (full, "?ephemeral=true", &mixed, None),
        ] {
            let target = format!("/channels/a/messages{query}");
            let asked = ask(&server, key, format, "POST", &target, body).await;
            match expected {
                Some(expected) => assert_eq!(refusal(&asked), expected, "{body}"),
                None => assert_eq!(asked.0.status, 201, "{body}"),
            }
        }
        let (answer, refused) =
            ask(&server, full, format, "POST", "/channels/a/messages", &mixed).await;
        assert_eq!(answer.status, 400);
        assert_eq!(
            refused["error"]["message"],
            "ephemeral messages cannot be published together with messages that are not ephemeral"
        );
        let mut client = Client::open(&server, format, &format!("key={plain}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        let extras = json!({"privileged": true}).as_object().cloned();
        for (serial, messages, code) in [
            (0, vec![Message { extras, ..Message::new("m", "x") }], 40160),
            (1, vec![ephemeral("x"), Message::new("m", "x")], 40000),
        ] {
            client.publish("a", serial, messages).await;
            match client.next().await {
                ServerFrame::Nack(nack) => assert_eq!(nack.error.unwrap().code.0, code),
                other => panic!("expected NACK, got {other:?}"),
            }
        }
    }
}
