//! Occupancy of channels, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, frame::Attach};
use serde_json::{Value, json};

use support::*;

#[tokio::test]
async fn a_client_receives_the_requested_occupancy() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("{format:?}");
        let (mut client, _) = Client::connect(&server, format).await;
        let (mut other, _) = Client::connect(&server, format).await;
        let params = [("occupancy".to_owned(), "metrics.subscribers".to_owned())];
        let attach = Attach {
            channel: channel.as_str().into(),
            params: params.clone().into(),
            ..Attach::default()
        };
        assert_eq!(client.attach_with(attach).await.params, params.into());
        for subscribers in [1, 2] {
            let told = client.message().await;
            assert_eq!(told.channel, *channel);
            let [message] = &told.items[..] else { panic!("{told:?}") };
            assert_eq!(message.name.as_deref(), Some("[meta]occupancy"));
            assert_eq!(message.encoding.as_deref(), Some("json"));
            let data: Value = serde_json::from_str(message.data.as_str().unwrap()).unwrap();
            assert_eq!(data, json!({"metrics": {"subscribers": subscribers}}));
            other.attach(&channel).await;
        }
        let target = format!("/channels/{channel}");
        let status = ask(&server, server.key(), format, "GET", &target, &Value::Null).await.1;
        assert_eq!(
            status["status"]["occupancy"]["metrics"],
            json!({
                "connections": 2,
                "publishers": 2,
                "subscribers": 2,
                "presenceConnections": 2,
                "presenceMembers": 0,
                "presenceSubscribers": 2,
                "objectPublishers": 0,
                "objectSubscribers": 0,
            })
        );
    }
}
