//! Messages that were published: reading and changing them (RTL28, RTL31, RTL32).

use std::sync::Arc;

use capably::{
    CipherParams, Error, Message, MessageAction, MessageOperation, MessageVersion, PublishResult,
    UpdateDeleteResult,
    realtime::{ChannelState, RealtimeChannelOptions},
};
use capably_protocol::{
    ClientFrame, ServerFrame,
    frame::{Ack, Delivery, Nack, Publish},
};
use serde_json::json;

use crate::{http::scripted_http::*, in_both_formats, support::*};

fn message(serial: &str, data: impl Into<capably::Data>) -> Message {
    Message { serial: Some(serial.into()), data: data.into(), ..Message::default() }
}

/// An ACK of one frame with these serials.
fn ack_with(msg_serial: u64, serials: &[Option<&str>]) -> ServerFrame {
    let serials = serials.iter().map(|serial| serial.map(Into::into)).collect();
    ServerFrame::Ack(Ack { msg_serial, count: 1, res: vec![PublishResult::new(serials)] })
}

/// Awaits the change, and accepts it. Returns the frame and the result.
async fn accepted(
    change: impl IntoFuture<Output = Result<UpdateDeleteResult, Error>>,
    peer: &mut Peer,
) -> (Publish<Message>, UpdateDeleteResult) {
    let service = async {
        let publish = peer.publish().await;
        peer.send(ack_with(publish.msg_serial, &[Some("version-serial-1")]));
        publish
    };
    let (result, publish) = tokio::join!(change.into_future(), service);
    (publish, result.unwrap())
}

in_both_formats! {
    // UTS: realtime/unit/RTL32b/update-message-action-0
    // UTS: realtime/unit/RTL32b/delete-message-action-1
    // UTS: realtime/unit/RTL32b/append-message-action-2
    // Spec: RTL32, RTL32b1
    async fn a_change_is_a_message_with_its_own_action(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let update = Message { name: Some("updated".into()), ..message("msg-serial-1", "new-data") };
        let why = MessageOperation {
            description: Some("appended content".into()),
            ..MessageOperation::default()
        };
        let append = message("msg-serial-1", "appended-data");
        let (updated, _) = accepted(channel.update_message(update.clone()), &mut peer).await;
        let (deleted, _) =
            accepted(channel.delete_message(message("msg-serial-1", ())), &mut peer).await;
        let (appended, _) =
            accepted(channel.append_message(append.clone()).operation(why), &mut peer).await;
        let version = MessageVersion {
            description: Some("appended content".into()),
            ..MessageVersion::default()
        };
        let expected = [
            Message { action: Some(MessageAction::Update), ..update },
            Message { action: Some(MessageAction::Delete), ..message("msg-serial-1", ()) },
            Message {
                action: Some(MessageAction::Append),
                version: Some(version.into()),
                ..append
            },
        ];
        for ((publish, expected), msg_serial) in
            [updated, deleted, appended].into_iter().zip(expected).zip(0..)
        {
            assert_eq!((&*publish.channel, publish.msg_serial), ("ch", msg_serial));
            assert_eq!(publish.items[..], [expected]);
            assert!(publish.params.is_empty());
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL32b/update-message-action-0
    async fn the_action_is_a_number_on_the_wire(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let changes = [
            (channel.update_message(message("s", "x")), 1),
            (channel.delete_message(message("s", "x")), 2),
            (channel.append_message(message("s", "x")), 5),
        ];
        for (change, number) in changes {
            let _receipt = change.submit().await.unwrap();
            let fields = peer.receive_fields().await;
            assert_eq!(fields["action"], 15);
            let item = json!({ "action": number, "serial": "s", "data": "x" });
            assert_eq!(fields["messages"], json!([item]));
            assert_eq!(fields.get("params"), None);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL32b2/version-from-operation-0
    async fn an_operation_has_client_description_and_metadata(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let operation = MessageOperation {
            client_id: Some("editor".into()),
            description: Some("edited content".into()),
            metadata: Some([("reason".to_owned(), "typo".to_owned())].into()),
        };
        let change = channel.update_message(message("msg-serial-1", "v2")).operation(operation);
        let (publish, _) = accepted(change, &mut peer).await;
        let version = publish.items[0].version.as_ref().unwrap();
        assert_eq!(version.client_id.as_deref(), Some("editor"));
        assert_eq!(version.description.as_deref(), Some("edited content"));
        assert_eq!(version.metadata.as_ref().unwrap()["reason"], "typo");
        assert_eq!((&version.serial, version.timestamp), (&None, None));

        // Without an operation the version is empty, also for a received message.
        let change = channel.update_message(message("msg-serial-2", "v2"));
        assert_eq!(accepted(change, &mut peer).await.0.items[0].version, None);
        let version = MessageVersion { serial: Some("v1".into()), ..MessageVersion::default() };
        let received = Message { version: Some(version.into()), ..message("msg-serial-2", "v2") };
        let change = channel.update_message(received);
        assert_eq!(accepted(change, &mut peer).await.0.items[0].version, None);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL32d/ack-returns-result-0
    // Spec: UDR1, UDR2a
    async fn a_change_resolves_with_the_serial_of_its_version(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let serial = "01770000000000-000@abcdef:000";
        for (serials, expected) in [
            (&[Some(serial)][..], Some(serial)),
            (&[Some(serial), Some("another")], Some(serial)),
            // A later change overtook it.
            (&[None], None),
            (&[], None),
        ] {
            let receipt = channel.update_message(message("s", "v2")).submit().await.unwrap();
            let publish = peer.publish().await;
            peer.send(ack_with(publish.msg_serial, serials));
            let result: UpdateDeleteResult = receipt.await.unwrap();
            assert_eq!(result.version_serial.as_deref(), expected);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL32d/nack-returns-error-1
    async fn a_change_that_is_refused_fails(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let receipt = channel.update_message(message("msg-serial-1", "updated")).submit().await.unwrap();
        let msg_serial = peer.publish().await.msg_serial;
        let error = Some(info(40160, 401));
        peer.send(ServerFrame::Nack(Nack { msg_serial, count: 1, error }));
        let error = receipt.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL32e/params-in-protocol-message-0
    async fn parameters_are_sent_with_the_frame(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let change = channel.update_message(message("msg-serial-1", "v2"));
        let change = change.param("key1", "value1").param("key2", "value2").param("number", 42);
        let (publish, _) = accepted(change, &mut peer).await;
        let expected = [("key1", "value1"), ("key2", "value2"), ("number", "42")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(publish.params, expected.into());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL32a/serial-validation-required-0
    async fn a_change_needs_a_serial(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let nameless = Message { data: "v2".into(), ..Message::default() };
        for change in [
            channel.update_message(message("", "v2")),
            channel.delete_message(nameless.clone()),
            channel.append_message(nameless),
        ] {
            let error = change.await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40003, Some(400)));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL32b, RTL6a
    async fn the_payload_of_a_change_is_encoded_like_a_publish(format) {
        let (client, _service, mut peer) = connected(format).await;
        let cipher = CipherParams::from_key(&[1; 32]).unwrap();
        let options = RealtimeChannelOptions::new().cipher(cipher);
        for (channel, encoding) in [
            (client.channels().get("plain"), "json"),
            (client.channels().get_with("secret", options), "json/utf-8/cipher+aes-256-cbc"),
        ] {
            attach(&channel, &mut peer).await;
            let change = channel.update_message(message("s", json!({ "a": 1 })));
            let (publish, _) = accepted(change, &mut peer).await;
            let sent = publish.items[0].encoding.as_deref().unwrap();
            let added = sent.strip_prefix(encoding).unwrap();
            assert!(matches!(added, "" | "/base64"), "{sent}");
            // A subscriber receives it unchanged.
            let mut messages = subscribed(&channel).await;
            let delivery = Delivery::new(
                channel.name().clone(),
                publish.items.to_vec(),
            );
            peer.send(ServerFrame::Message(delivery));
            let received = messages.next().await.unwrap();
            assert_eq!(received.data.as_json(), Some(&json!({ "a": 1 })));
            assert_eq!(received.action, Some(MessageAction::Update));
        }
        let channel = client.channels().get("plain");
        assert_eq!(code(channel.update_message(message("s", json!(5))).await), 40013);
    }
}

in_both_formats! {
    // Spec: RTL32b
    async fn a_client_with_the_right_changes_messages_of_others(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.client_id("editor")).await;
        let channel = client.channels().get("ch");
        attach(&channel, &mut peer).await;
        // A received message is sent unchanged. Unlike a publish, it may have the client id of another client.
        let received = Message {
            id: Some("base:0".into()),
            client_id: Some("author".into()),
            connection_id: Some("elsewhere".into()),
            timestamp: Some(1000),
            ..message("s", "new")
        };
        let (publish, _) = accepted(channel.delete_message(received.clone()), &mut peer).await;
        let expected = Message { action: Some(MessageAction::Delete), ..received.clone() };
        assert_eq!(publish.items[..], [expected]);
        assert_eq!(code(channel.publish_message(received).await), 40012);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL32, RTL6c4, RTL6c2, RTN19a
    async fn changes_have_the_state_conditions_of_a_publish(format) {
        let (client, mut service) = client_with(format, |options| options.max_message_size(10));
        let channel = client.channels().get("ch");
        let large = channel.update_message(message("s", "12345678901"));
        assert_eq!(code(large.await), 40009);
        // The change is queued, sent, sent again after a drop, and acknowledged.
        let queued = channel.append_message(message("s", "queued")).submit().await.unwrap();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        let first = peer.publish().await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.publish().await, first);
        peer.send(ack(0, 1));
        assert_eq!(queued.await.unwrap().version_serial.as_deref(), Some("serial-0"));
        // A failed channel refuses it.
        let (attached, ()) = tokio::join!(channel.attach(), async {
            peer.expect_attach("ch").await;
            peer.send(error(Some("ch"), 40160, 401));
        });
        attached.unwrap_err();
        assert_eq!(channel.state(), ChannelState::Failed);
        for change in [
            channel.update_message(message("s", "x")),
            channel.delete_message(message("s", "x")),
            channel.append_message(message("s", "x")),
        ] {
            let error = change.await.unwrap_err();
            assert_eq!((error.code().0, error.cause().unwrap().code.0), (90001, 40160));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL32d
    async fn changes_in_flight_keep_their_order_and_results(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut receipts = Vec::new();
        for token in ["a", "b", "c"] {
            receipts.push(channel.append_message(message("s", token)).submit().await.unwrap());
        }
        for (msg_serial, token) in (0..).zip(["a", "b", "c"]) {
            let publish = peer.publish().await;
            assert_eq!(publish.msg_serial, msg_serial);
            assert_eq!(publish.items[0].data.as_str(), Some(token));
        }
        peer.send(ack(0, 3));
        for (receipt, expected) in receipts.into_iter().zip(["serial-0", "serial-1", "serial-2"]) {
            assert_eq!(receipt.await.unwrap().version_serial.as_deref(), Some(expected));
        }
    }
}

in_both_formats! {
    // Spec: TM2j, TM2r, TM2s, TM2s1, TM2s2, TM2s3, TM2s4, TM2s5, TM2u, TM8a, TM5
    async fn changes_and_summaries_arrive(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = subscribed(&channel).await;
        let version = json!({
            "serial": "v1", "timestamp": 2000, "clientId": "editor", "description": "why",
            "metadata": { "k": "v" },
        });
        let summary = json!({ "r:distinct.v1": { "like": { "total": 1, "clientIds": ["ada"] } } });
        peer.send_fields(json!({
            "action": 15, "channel": "ch", "id": "frame", "timestamp": 1000,
            "messages": [
                { "action": 0, "serial": "s", "name": "n", "data": "a" },
                { "action": 1, "serial": "s", "name": "n", "data": "b", "version": version },
                { "action": 5, "serial": "s", "data": "c", "version": { "serial": "v2" } },
                { "action": 4, "serial": "s", "annotations": { "summary": summary } },
                { "action": 2, "serial": "s", "version": { "timestamp": 3000 } },
                { "action": 3, "name": "meta" },
                { "action": 99 },
            ],
        }));
        let mut received = Vec::new();
        for _ in 0..7 {
            received.push(messages.next().await.unwrap());
        }
        use MessageAction::{Append, Create, Delete, Meta, Summary, Unknown, Update};
        let actions: Vec<_> = received.iter().map(|message| message.action.unwrap()).collect();
        assert_eq!(actions, [Create, Update, Append, Summary, Delete, Meta, Unknown(99)]);
        let versions: Vec<_> = received
            .iter()
            .map(|message| (message.version().serial, message.version().timestamp))
            .collect();
        let of = |serial: &str, timestamp| (Some(serial.into()), Some(timestamp));
        assert_eq!(
            versions[..5],
            [of("s", 1000), of("v1", 2000), of("v2", 1000), of("s", 1000), of("s", 3000)]
        );
        let version = received[1].version();
        assert_eq!(version.client_id.as_deref(), Some("editor"));
        assert_eq!(version.description.as_deref(), Some("why"));
        assert_eq!(version.metadata.unwrap()["k"], "v");
        assert_eq!(received[3].serial.as_deref(), Some("s"));
        assert_eq!(json!(received[3].summary()), summary);
        for other in [0, 1, 2, 4] {
            assert!(received[other].summary().is_empty());
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL28/identical-to-rest-0
    async fn a_message_is_read_over_rest(format) {
        let body = json!({
            "id": "msg-id-1", "name": "test-event", "data": "{\"a\":1}", "encoding": "json",
            "serial": "serial/xyz", "clientId": "client-1", "timestamp": 1_700_000_000_000_i64,
            "action": 1, "version": { "serial": "version-serial-1" },
        });
        let missing = json!({ "error": { "code": 40400, "statusCode": 404, "message": "none" } });
        let http =
            ScriptedHttp::sequence([respond(200, body.clone()), respond(200, body), respond(404, missing)]);
        let client = Arc::new(http.clone());
        let (client, _service, _peer) =
            connected_with(format, |options| options.http_client(client)).await;
        let channel = client.channels().get("a/ch?");
        let message = channel.get_message("serial/xyz").await.unwrap();
        assert_eq!(message.id.as_deref(), Some("msg-id-1"));
        assert_eq!(message.name.as_deref(), Some("test-event"));
        assert_eq!(message.data.as_json(), Some(&json!({ "a": 1 })));
        assert_eq!((message.encoding.as_ref(), message.timestamp), (None, Some(1_700_000_000_000)));
        assert_eq!(message.serial.as_deref(), Some("serial/xyz"));
        assert_eq!(message.client_id.as_deref(), Some("client-1"));
        assert_eq!(message.action, Some(MessageAction::Update));
        assert_eq!(message.version().serial.as_deref(), Some("version-serial-1"));
        channel.get_message(&message).await.unwrap();
        assert_eq!(code(channel.get_message("other").await), 40400);
        assert_eq!(code(channel.get_message("").await), 40003);
        assert_eq!(code(channel.get_message(&Message::default()).await), 40003);
        let requests = http.requests();
        let asked: Vec<_> =
            requests.iter().map(|request| (request.method(), request.path())).collect();
        let path = "/channels/a%2Fch%3F/messages/serial%2Fxyz";
        let other = "/channels/a%2Fch%3F/messages/other";
        assert_eq!(asked, [("GET", path), ("GET", path), ("GET", other)]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL31/identical-to-rest-0
    async fn versions_are_read_over_rest(format) {
        let body = json!([
            {
                "name": "evt", "data": "updated-data", "serial": "msg-serial-1", "action": 1,
                "version": { "serial": "vs2", "description": "edit" },
            },
            {
                "name": "evt", "data": "original-data", "serial": "msg-serial-1", "action": 0,
                "version": { "serial": "vs1" },
            },
        ]);
        let http = ScriptedHttp::always(respond(200, body));
        let client = Arc::new(http.clone());
        let (client, _service, _peer) =
            connected_with(format, |options| options.http_client(client)).await;
        let channel = client.channels().get("ch");
        let page = channel
            .message_versions("msg-serial-1")
            .param("direction", "backwards")
            .limit(10)
            .await
            .unwrap();
        let [latest, first] = page.items() else { panic!("{page:?}") };
        assert_eq!(latest.data.as_str(), Some("updated-data"));
        assert_eq!(latest.action, Some(MessageAction::Update));
        assert_eq!(latest.version().description.as_deref(), Some("edit"));
        assert_eq!(first.data.as_str(), Some("original-data"));
        assert_eq!(first.action, Some(MessageAction::Create));
        channel.message_versions(first).await.unwrap();
        assert_eq!(code(channel.message_versions("").await), 40003);
        let requests = http.requests();
        assert_eq!(requests.len(), 2);
        for request in &requests {
            assert_eq!(request.method(), "GET");
            assert_eq!(request.path(), "/channels/ch/messages/msg-serial-1/versions");
        }
        assert_eq!(requests[0].param("direction").as_deref(), Some("backwards"));
        assert_eq!(requests[0].param("limit").as_deref(), Some("10"));
    }
}

in_both_formats! {
    async fn a_closed_client_cannot_change_messages(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let service = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service);
        assert_eq!(code(channel.update_message(message("s", "x")).await), 80017);
    }
}
