//! Unknown fields and actions are tolerated (RTF1, RSF1).

use capably::realtime::{ChannelState, ConnectionState};
use capably_protocol::ServerFrame;
use serde_json::json;

use crate::{in_both_formats, support::*, tokens::*};

// UTS: realtime/unit/RTF1/unrecognised-attributes-ignored-0
in_both_formats! {
    async fn unknown_fields_of_a_frame_are_ignored(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send_fields(json!({
            "action": 15,
            "channel": "ch",
            "messages": [{ "name": "test-event", "data": "hello", "serial": "msg-serial-1" }],
            "unknownField1": "some-future-value",
            "unknownField2": 42,
            "unknownNestedObject": { "nestedKey": "nestedValue" },
            "unknownArray": [1, 2, 3],
        }));
        let message = messages.next().await.unwrap();
        assert_eq!(message.name.as_deref(), Some("test-event"));
        assert_eq!(message.data.as_str(), Some("hello"));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut messages);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}

// UTS: realtime/unit/RTF1/unknown-action-handled-1
in_both_formats! {
    async fn unknown_actions_are_ignored(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        peer.send_fields(json!({
            "action": 254, "channel": "ch", "unknownPayload": "future-feature-data"
        }));
        peer.send(ServerFrame::Heartbeat { id: None });
        quiet(&client, &mut peer).await;
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
    }
}

// UTS: realtime/unit/RSF1/message-unrecognised-attrs-0
in_both_formats! {
    async fn unknown_fields_of_a_message_are_ignored(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        peer.send_fields(json!({
            "action": 15,
            "channel": "ch",
            "messages": [
                {
                    "name": "event-1",
                    "data": "payload-1",
                    "serial": "serial-1",
                    "futureField": "future-value",
                    "futureNumber": 99,
                    "futureObject": { "nested": true },
                },
                {
                    "name": "event-2",
                    "data": "payload-2",
                    "serial": "serial-2",
                    "anotherUnknownField": [1, 2, 3],
                },
            ],
        }));
        for number in [1, 2] {
            let message = messages.next().await.unwrap();
            assert_eq!(message.name, Some(format!("event-{number}").into()));
            assert_eq!(message.data.as_str(), Some(&*format!("payload-{number}")));
        }
        quiet(&client, &mut peer).await;
        expect_no_message(&mut messages);
        assert_eq!(channel.state(), ChannelState::Attached);
    }
}
