//! Sending and resending of publishes.

use std::future::IntoFuture;

use capably::{
    Channel, Data, Message, Realtime,
    realtime::{ChannelState, ConnectionState, Receipt},
};
use capably_protocol::{ClientFrame, ServerFrame};
use futures_util::future::join_all;
use serde_json::json;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL6i1/publish-name-and-data-0
    // UTS: realtime/unit/RTL6c1/publish-when-attached-0
    // Spec: RTL6h
    async fn a_publish_is_one_frame_with_one_message(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let _receipt = channel.publish("greeting", "hello").submit().await.unwrap();
        let publish = peer.publish().await;
        assert_eq!((&*publish.channel, publish.msg_serial), ("ch", 0));
        assert!(publish.params.is_empty());
        assert_eq!(publish.items[..], [Message::new("greeting", "hello")]);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6i1/publish-message-object-1
    // Spec: RTL6i
    async fn a_message_can_be_published_as_it_is(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let message = Message::new("custom", json!({"key": "value"}));
        let _receipt = channel.publish_messages([message]).submit().await.unwrap();
        let publish = peer.publish().await;
        assert_eq!(publish.items.len(), 1);
        assert_eq!(publish.items[0].name.as_deref(), Some("custom"));
        assert_eq!(publish.items[0].encoding.as_deref(), Some("json"));
        let text = publish.items[0].data.as_str().unwrap();
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(value, json!({"key": "value"}));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6i2/publish-message-array-0
    async fn messages_published_together_share_a_frame(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let messages = ["event1", "event2", "event3"].map(|name| Message::new(name, "data"));
        let _receipt = channel.publish_messages(messages).submit().await.unwrap();
        let names = ["event1", "event2", "event3"].map(str::to_owned);
        assert_eq!(peer.message().await, (0, names.to_vec()));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6i3/null-fields-json-0
    // UTS: realtime/unit/RTL6i3/null-fields-msgpack-1
    async fn absent_fields_are_not_sent(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let nameless = Message { data: "payload".into(), ..Message::default() };
        let receipts = [
            channel.publish("click", ()).submit().await.unwrap(),
            channel.publish_messages([nameless]).submit().await.unwrap(),
            channel.publish_messages([Message::default()]).submit().await.unwrap(),
        ];
        for (serial, message) in
            [json!({"name": "click"}), json!({"data": "payload"}), json!({})].iter().enumerate()
        {
            let frame = peer.receive_fields().await;
            assert_eq!(frame["messages"][0], *message);
            assert_eq!(
                frame,
                json!({"action": 15, "channel": "ch", "msgSerial": serial, "messages": [message]}),
            );
        }
        drop(receipts);
    }
}

in_both_formats! {
    // Spec: RTL6k
    async fn setters_and_parameters_reach_the_wire(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let extras = json!({"headers": {"a": 1}, "push": {"b": [true, null]}});
        let _receipt = channel
            .publish_messages([Message::new("one", "1"), Message::new("two", "2")])
            .id("unique")
            .client_id("me")
            .extras(extras.clone())
            .param("quickAck", true)
            .param("n", 7)
            .submit()
            .await
            .unwrap();
        let publish = peer.publish().await;
        let params: Vec<_> = publish.params.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(params, [("n", "7"), ("quickAck", "true")]);
        for (message, (name, id)) in
            publish.items.iter().zip([("one", "unique:0"), ("two", "unique:1")])
        {
            assert_eq!(message.name.as_deref(), Some(name));
            assert_eq!(message.id.as_deref(), Some(id));
            assert_eq!(message.client_id.as_deref(), Some("me"));
            assert_eq!(message.extras.as_ref(), extras.as_object());
        }
        assert_eq!(publish.items.len(), 2);

        // A single message keeps its id, and needs no name.
        let _receipt = channel.publish_data("three").id("unique").submit().await.unwrap();
        let publish = peer.publish().await;
        let [message] = &publish.items[..] else { panic!("{publish:?}") };
        assert_eq!((message.id.as_deref(), &message.name), (Some("unique"), &None));
        assert_eq!(message.data.as_str(), Some("three"));
    }
}

in_both_formats! {
    // Spec: RSL6a2
    async fn extras_that_are_no_object_fail_the_publish(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        for (extras, kind) in [
            (json!([1]), "an array"),
            (json!("a"), "a string"),
            (json!(1), "a number"),
            (json!(true), "a boolean"),
            (json!(null), "null"),
        ] {
            let expected = format!("extras must be a JSON object, not {kind}");
            let error = channel.publish("n", "d").extras(extras.clone()).await.unwrap_err();
            assert_eq!((error.code().0, error.message()), (40003, &*expected));
            let presence = channel.presence().enter_client("c").extras(extras);
            let error = presence.await.unwrap_err();
            assert_eq!((error.code().0, error.message()), (40003, &*expected));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c1/publish-when-initialized-2
    // UTS: realtime/unit/RTL6c5/no-implicit-attach-0
    // Spec: RTL6c
    async fn publishing_needs_no_attachment_and_makes_none(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let receipt = channel.publish("no-attach", "test").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["no-attach".to_owned()]));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        peer.send(ack(0, 1));
        assert_eq!(receipt.await.unwrap().serials, [Some("serial-0".into())]);
        assert_eq!(channel.state(), ChannelState::Initialized);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c1/publish-when-attaching-1
    async fn publishing_waits_for_no_state_of_the_channel(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        let _one = channel.publish("while-attaching", "data").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["while-attaching".to_owned()]));
        peer.send(attached("ch"));
        attach.await.unwrap().unwrap();
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        let two = channel.publish("while-detaching", "data").submit().await.unwrap();
        assert_eq!(peer.message().await, (1, vec!["while-detaching".to_owned()]));
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        let three = channel.publish("while-detached", "data").submit().await.unwrap();
        assert_eq!(peer.message().await, (2, vec!["while-detached".to_owned()]));
        // The state of a channel does not affect publishes in flight (RTL11a).
        peer.send(ack(1, 2));
        assert_eq!(two.await.unwrap().serials, [Some("serial-1".into())]);
        assert_eq!(three.await.unwrap().serials, [Some("serial-2".into())]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c2/queued-when-initialized-2
    // UTS: realtime/unit/RTL6c2/queued-when-connecting-0
    // UTS: realtime/unit/RTL6c2/queued-messages-order-4
    async fn publishes_wait_for_the_first_connection(format) {
        let (client, mut service) = client(format);
        let channel = client.channels().get("ch");
        let mut receipts = vec![channel.publish("pre-connect", "0").submit().await.unwrap()];
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(client.connection().state(), ConnectionState::Connecting);
        for name in ["first", "second", "third"] {
            receipts.push(channel.publish(name, "data").submit().await.unwrap());
        }
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        for (serial, name) in ["pre-connect", "first", "second", "third"].iter().enumerate() {
            assert_eq!(peer.message().await, (serial as u64, vec![(*name).to_owned()]));
        }
        peer.send(ack(0, 4));
        for (serial, receipt) in receipts.into_iter().enumerate() {
            assert_eq!(receipt.await.unwrap().serials, [Some(format!("serial-{serial}").into())]);
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c2/queued-when-disconnected-1
    // UTS: realtime/unit/RTN7d/survive-disconnected-queue-1
    // UTS: realtime/unit/RTN19a/resent-on-new-transport-0
    async fn unacknowledged_publishes_are_sent_before_queued_ones(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let sent = channel.publish("resend-me", "data").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["resend-me".to_owned()]));
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let queued = channel.publish("during-disconnect", "queued").submit().await.unwrap();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        // Neither waits for the channel to be attached again (RTL3d).
        peer.expect_attach("ch").await;
        assert_eq!(peer.message().await, (0, vec!["resend-me".to_owned()]));
        assert_eq!(peer.message().await, (1, vec!["during-disconnect".to_owned()]));
        peer.send(ack(0, 2));
        assert_eq!(sent.await.unwrap().serials, [Some("serial-0".into())]);
        assert_eq!(queued.await.unwrap().serials, [Some("serial-1".into())]);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn publishes_sent_again_are_complete(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let extras = json!({"headers": {"a": 1}});
        let messages = [
            Message::new("text", "täxt"),
            Message::new("binary", &b"valid utf-8"[..]),
            Message::new("bytes", vec![0xff, 0, 0xfe]),
            Message::new("json", json!({"a": [1, 2.5, null]})),
            Message { data: Data::None, ..Message::default() },
        ];
        let receipt = channel
            .publish_messages(messages)
            .id("unique")
            .client_id("me")
            .extras(extras.as_object().unwrap().clone())
            .param("p", "v")
            .submit()
            .await
            .unwrap();
        let first = peer.publish().await;
        assert_eq!(first.items.len(), 5);
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.publish().await, first);
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        let third = peer.publish().await;
        assert_eq!(third, first);
        assert_eq!(third.params["p"], "v");
        for (index, message) in third.items.iter().enumerate() {
            assert_eq!(message.id, Some(format!("unique:{index}").into()));
            assert_eq!(message.client_id.as_deref(), Some("me"));
            assert_eq!(message.extras.as_ref(), extras.as_object());
        }
        peer.send(ack(0, 1));
        assert_eq!(receipt.await.unwrap().serials, [Some("serial-0".into())]);
        let mut peer = resume(&client, &mut service, peer).await;
        quiet(&client, &mut peer).await;
    }
}

/// Publishes `msg0` to `msg2`. The service acknowledges the first.
async fn three_of_which_one_is_acknowledged(
    client: &Realtime,
    channel: &Channel,
    peer: &mut Peer,
) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for name in ["msg0", "msg1", "msg2"] {
        receipts.push(channel.publish(name, "data").submit().await.unwrap());
    }
    peer.skip(3).await;
    peer.send(ack(0, 1));
    quiet(client, peer).await;
    receipts
}

in_both_formats! {
    // UTS: realtime/unit/RTN19a2/same-serial-on-resume-0
    async fn a_resumed_connection_keeps_serials(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut receipts = three_of_which_one_is_acknowledged(&client, &channel, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.message().await, (1, vec!["msg1".to_owned()]));
        assert_eq!(peer.message().await, (2, vec!["msg2".to_owned()]));
        receipts.push(channel.publish("msg3", "data").submit().await.unwrap());
        assert_eq!(peer.message().await, (3, vec!["msg3".to_owned()]));
        peer.send(ack(1, 3));
        for (serial, receipt) in receipts.into_iter().enumerate() {
            assert_eq!(receipt.await.unwrap().serials, [Some(format!("serial-{serial}").into())]);
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTN19a2/new-serial-failed-resume-1
    async fn a_new_connection_counts_from_zero(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut receipts = three_of_which_one_is_acknowledged(&client, &channel, &mut peer).await;
        drop(peer);
        let mut peer = service.accept().await;
        peer.send(connected_frame_with("connection-new", "key-new", |connected| {
            connected.error = Some(info(80018, 400));
        }));
        assert_eq!(peer.message().await, (0, vec!["msg1".to_owned()]));
        assert_eq!(peer.message().await, (1, vec!["msg2".to_owned()]));
        receipts.push(channel.publish("msg3", "data").submit().await.unwrap());
        assert_eq!(peer.message().await, (2, vec!["msg3".to_owned()]));
        peer.send(ack(0, 3));
        let mut serials = Vec::new();
        for receipt in receipts {
            serials.extend(receipt.await.unwrap().serials.into_iter().map(Option::unwrap));
        }
        assert_eq!(serials, ["serial-0", "serial-0", "serial-1", "serial-2"]);
    }
}

in_both_formats! {
    async fn connecting_after_closing_counts_from_zero(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let lost = channel.publish("one", "data").submit().await.unwrap();
        peer.skip(1).await;
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(code(lost.await), 80017);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let two = channel.publish("two", "data").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["two".to_owned()]));
        peer.send(ack(0, 1));
        assert_eq!(two.await.unwrap().serials, [Some("serial-0".into())]);
    }
}

in_both_formats! {
    async fn dropping_a_receipt_does_not_stop_the_publish(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        drop(channel.publish("one", "data").submit().await.unwrap());
        assert_eq!(peer.message().await, (0, vec!["one".to_owned()]));
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(peer.message().await, (0, vec!["one".to_owned()]));
        peer.send(ack(0, 1));
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn publishes_that_are_awaited_together_keep_their_order(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        // More operations than tokio lets a task do before it yields.
        const MANY: u64 = 500;
        let publishes = (0..MANY).map(|number| channel.publish(number.to_string(), "d").into_future());
        let publishes = tokio::spawn(join_all(publishes));
        for number in 0..MANY {
            assert_eq!(peer.message().await, (number, vec![number.to_string()]));
        }
        peer.send(ack(0, MANY));
        for (number, published) in publishes.await.unwrap().into_iter().enumerate() {
            assert_eq!(published.unwrap().serials, [Some(format!("serial-{number}").into())]);
        }
    }
}
