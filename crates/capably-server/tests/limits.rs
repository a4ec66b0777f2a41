//! Limits of apps, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{ClientFrame, Format, Message, ServerFrame};
use capably_server::Server;
use serde_json::json;

use support::*;

#[tokio::test]
async fn an_app_is_made_with_limits() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({
            "keys": [{}],
            "limits": {"messages": {"maxSize": 100}, "connections": {"maxInboundRate": 3}, "other": 1},
        });
        let key = app(&server, &spec).await.remove(0);
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        let ServerFrame::Connected(connected) = client.next().await else { panic!("CONNECTED") };
        let details = connected.details.unwrap();
        assert_eq!((details.max_message_size, details.max_inbound_rate), (Some(100), Some(3)));
        client.publish("a", 0, vec![Message::new("m", "x"); 3]).await;
        assert_eq!(client.ack().await.msg_serial, 0);
        client.publish("a", 1, vec![Message::new("m", "x"); 4]).await;
        match client.next().await {
            ServerFrame::Nack(nack) => {
                let error = nack.error.unwrap();
                assert_eq!((error.code.0, error.status_code), (42911, 429));
            }
            other => panic!("expected NACK, got {other:?}"),
        }
        let target = "/channels/a/messages";
        let body = json!({"data": "x".repeat(101)});
        let refused = ask(&server, &key, format, "POST", target, &body).await;
        assert_eq!(refusal(&refused), (400, 40009));
        let (answer, _) = ask(&server, &key, format, "POST", target, &json!({"data": "x"})).await;
        assert_eq!(answer.status, 201);
    }
    for limits in [
        json!({"presence": {"maxMembers": -1}}),
        json!({"messages": {"maxSize": "1"}}),
        json!({"connections": {"maxInboundRate": 1e10}}),
    ] {
        let answer = request(&server, "POST", "/apps", &json!({ "limits": limits })).await;
        assert_eq!((answer.status, answer.error()), (400, (400, 40000)), "{limits}");
    }
}

#[tokio::test]
async fn a_server_tells_how_fast_a_client_may_publish() {
    for (server, expected) in [
        (Server::builder().start().await.unwrap(), 250),
        (Server::builder().max_inbound_rate(7).start().await.unwrap(), 7),
    ] {
        for format in [Format::Json, Format::MsgPack] {
            let (_, connected) = Client::connect(&server, format).await;
            assert_eq!(connected.details.unwrap().max_inbound_rate, Some(expected));
        }
    }
}

#[tokio::test]
async fn a_client_asks_again_who_is_present() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let spec = json!({
            "keys": [{}],
            "channels": [{"name": "a", "presence": [{"clientId": "me"}]}],
        });
        let key = app(&server, &spec).await.remove(0);
        let mut client = Client::open(&server, format, &format!("key={key}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        client.attach("a").await;
        for _ in 0..2 {
            match client.next().await {
                ServerFrame::Sync(sync) => {
                    assert_eq!(sync.items.len(), 1);
                    assert_eq!(sync.items[0].client_id.as_deref(), Some("me"));
                    assert!(sync.channel_serial.unwrap().ends_with(':'));
                }
                other => panic!("expected SYNC, got {other:?}"),
            }
            client.send(&ClientFrame::Sync { channel: "a".into() }).await;
        }
    }
}
