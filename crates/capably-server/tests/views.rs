//! Channel names with a qualifier, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{Flags, Format, Message, ServerFrame, frame::Attach};
use serde_json::{Value, json};

use support::*;

fn message(name: &str, headers: Value, text: &str) -> Message {
    let extras = json!({ "headers": headers });
    Message { extras: extras.as_object().cloned(), ..Message::new(name, text) }
}

// Spec: RTS5a1, RTS5a2
#[tokio::test]
async fn a_filtered_channel_delivers_matching_messages() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({"keys": [{"capability": r#"{"[*]*":["*"]}"#}]});
        let key = app(&server, &spec).await.remove(0);
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        let expression = "name == `\"filtered\"` && headers.number == `26095`";
        let name = format!("[filter={}?rewind=1]a/b?", STANDARD.encode(expression));
        let messages = vec![
            message("filtered", json!({"number": 26095}), "first"),
            message("filtered", json!({"number": 26096}), "second"),
        ];
        client.publish("a/b?", 0, messages).await;
        assert_eq!(client.ack().await.msg_serial, 0);
        let attached = client.attach(&name).await;
        assert_eq!(attached.channel, name);
        assert!(attached.flags.contains(Flags::HAS_BACKLOG));
        assert_eq!(attached.params, [("rewind".to_owned(), "1".to_owned())].into());
        let rewound = client.message().await;
        assert_eq!((&*rewound.channel, rewound.items.len()), (&*name, 1));
        assert_eq!(rewound.items[0].data.as_str(), Some("first"));
        for (serial, (kind, number)) in
            [("other", 26095), ("filtered", 1), ("filtered", 26095)].into_iter().enumerate()
        {
            let messages = vec![message(kind, json!({ "number": number }), kind)];
            client.publish("a/b?", 1 + serial as u64, messages).await;
            if serial < 2 {
                assert_eq!(client.ack().await.msg_serial, 1 + serial as u64);
            }
        }
        let seen = client.message().await;
        assert_eq!((&*seen.channel, seen.items.len()), (&*name, 1));
        assert_eq!(seen.items[0].extras.as_ref().unwrap()["headers"]["number"], 26095);

        let path = name.replace('[', "%5B").replace(']', "%5D").replace('?', "%3F");
        let path = path.replace('=', "%3D").replace("a/b", "a%2Fb");
        let target = format!("/channels/{path}/messages?direction=forwards");
        let (answer, history) = ask(&server, &key, format, "GET", &target, &Value::Null).await;
        assert_eq!(answer.status, 200);
        let texts: Vec<_> = history.as_array().unwrap().iter().map(|it| &it["data"]).collect();
        assert_eq!(texts, ["first", "filtered"]);
        let posted = ask(&server, &key, format, "POST", &target, &json!({"data": "x"})).await;
        assert_eq!(refusal(&posted), (400, 40000));
    }
}

#[tokio::test]
async fn an_invalid_filter_is_an_error_of_its_channel() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let (mut client, _) = Client::connect(&server, format).await;
        for name in ["[filter=!]a", "[filter=KA==]a", "[other]a"] {
            let attach = Attach { channel: name.into(), ..Attach::default() };
            client.send(&capably_protocol::ClientFrame::Attach(attach)).await;
            match client.next().await {
                ServerFrame::Error(error) => {
                    assert_eq!(error.channel.as_deref(), Some(name));
                    assert_eq!(error.error.unwrap().code.0, 40010);
                }
                other => panic!("expected ERROR, got {other:?}"),
            }
        }
        client.attach("a").await;
    }
}

#[tokio::test]
async fn rest_ignores_parameters_in_a_channel_name() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let key = app(&server, &json!({"keys": [{}]})).await.remove(0);
        let target = "/channels/%5B%3Frewind=1%5Da/messages";
        let (answer, _) = ask(&server, &key, format, "POST", target, &json!({"data": "x"})).await;
        assert_eq!(answer.status, 201);
        for target in [target, "/channels/a/messages"] {
            let (_, history) = ask(&server, &key, format, "GET", target, &Value::Null).await;
            assert_eq!(history[0]["data"], "x", "{target}");
        }
    }
}
