//! Refused publishes, and their errors (RTL6c4, RTL6g3, RSL1i, RTN7d, RTN7e).

use std::time::Duration;

use capably::{
    ClientOptions, Data, Message,
    realtime::{ChannelState, ConnectionState},
};
use capably_protocol::{ClientFrame, ServerFrame};
use serde_json::json;

use crate::{in_both_formats, support::*};

fn retrying_fast(options: ClientOptions) -> ClientOptions {
    options.disconnected_retry_timeout(Duration::from_secs(1))
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c4/fails-conn-suspended-0
    // UTS: realtime/unit/RTN7e/pending-fail-suspended-0
    async fn suspended_fails_publishes_pending_and_new(format) {
        let (client, mut service, mut peer) = connected_with(format, retrying_fast).await;
        let channel = client.channels().get("ch");
        let pending = channel.publish("pending", "data").submit().await.unwrap();
        peer.skip(1).await;
        drop(peer);
        let attempt = service.attempt().await;
        let queued = channel.publish("queued", "data").submit().await.unwrap();
        suspend(&client, &mut service, attempt.accept()).await;
        for receipt in [pending, queued] {
            let error = receipt.await.unwrap_err();
            assert_eq!(error.code().0, 80002);
            assert_eq!(error.cause().unwrap().code.0, 80000);
        }
        assert_eq!(code(channel.publish("fail", "data").await), 80002);
        // The failed publishes are not sent later.
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c4/fails-conn-closed-1
    // UTS: realtime/unit/RTN7e/pending-fail-closed-1
    // UTS: realtime/unit/RTN7e/multiple-pending-fail-3
    async fn closed_fails_publishes_pending_and_new(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut pending = Vec::new();
        for name in ["msg1", "msg2", "msg3"] {
            pending.push(channel.publish(name, "data").submit().await.unwrap());
        }
        peer.skip(3).await;
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            assert_eq!(code(channel.publish("closing", "data").await), 80017);
            // A publish that is acknowledged in time still succeeds.
            peer.send(ack(0, 1));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        let mut pending = pending.into_iter();
        assert_eq!(pending.next().unwrap().await.unwrap().serials, [Some("serial-0".into())]);
        for receipt in pending {
            assert_eq!(code(receipt.await), 80017);
        }
        assert_eq!(code(channel.publish("fail", "data").await), 80017);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c4/fails-conn-failed-2
    // UTS: realtime/unit/RTN7e/pending-fail-failed-2
    // UTS: realtime/unit/RTN7e/error-represents-reason-4
    async fn failed_fails_publishes_pending_and_new(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let pending = channel.publish("pending", "data").submit().await.unwrap();
        peer.skip(1).await;
        peer.send(error(None, 80019, 400));
        let error = pending.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (80019, Some(400)));
        assert_eq!(error.message(), "an error of the service");
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(client.connection().error_reason().unwrap().code().0, 80019);
        let other = client.channels().get("other");
        let error = other.publish("fail", "data").await.unwrap_err();
        assert_eq!(error.code().0, 80000);
        assert_eq!(error.cause().unwrap().code.0, 80019);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c4/fails-channel-suspended-3
    async fn a_suspended_channel_publishes_nothing(format) {
        let (client, _service, mut peer) = connected_with(format, |options| {
            options.realtime_request_timeout(Duration::from_millis(100))
        })
        .await;
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        assert_eq!(code(attach.await.unwrap()), 90007);
        assert_eq!(channel.state(), ChannelState::Suspended);
        let error = channel.publish("fail", "data").await.unwrap_err();
        assert_eq!(error.code().0, 90001);
        assert_eq!(error.cause().unwrap().code.0, 90007);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c4/fails-channel-failed-4
    async fn a_failed_channel_publishes_nothing(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        peer.send(error(Some("ch"), 40160, 401));
        channel.when(ChannelState::Failed).await.unwrap();
        let error = channel.publish("fail", "data").await.unwrap_err();
        assert_eq!(error.code().0, 90001);
        assert_eq!(error.cause().unwrap().code.0, 40160);
        // Other clients do.
        let _receipt = client.channels().get("other").publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["n".to_owned()]));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6c2/fails-no-queue-messages-3
    async fn without_queueing_a_publish_fails_at_once(format) {
        let (client, mut service) = client_with(format, |options| options.queue_messages(false));
        let channel = client.channels().get("ch");
        assert_eq!(code(channel.publish("fail", "initialized").await), 80009);
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(code(channel.publish("fail", "connecting").await), 80009);
        attempt.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(code(channel.publish("fail", "disconnected").await), 80003);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let receipt = channel.publish("works", "connected").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["works".to_owned()]));
        peer.send(ack(0, 1));
        receipt.await.unwrap();
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTN7d/fail-disconnected-no-queue-0
    async fn without_queueing_a_lost_transport_fails_pending_publishes(format) {
        let (client, mut service, mut peer) = connected_with(format, |options| {
            options.queue_messages(false)
        })
        .await;
        let channel = client.channels().get("ch");
        let pending = channel.publish("pending", "data").submit().await.unwrap();
        peer.skip(1).await;
        let mut peer = resume(&client, &mut service, peer).await;
        assert_eq!(code(pending.await), 80003);
        quiet(&client, &mut peer).await;
        // Serials continue: the connection was resumed.
        let _receipt = channel.publish("next", "data").submit().await.unwrap();
        assert_eq!(peer.message().await, (1, vec!["next".to_owned()]));
    }
}

in_both_formats! {
    async fn a_publish_may_be_exactly_as_large_as_the_limit(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        // Name and data count (TM6).
        let limit = 65_536;
        let fits = channel.publish("name", "x".repeat(limit - 4)).submit().await.unwrap();
        peer.skip(1).await;
        peer.send(ack(0, 1));
        fits.await.unwrap();
        let error = channel.publish("name", "x".repeat(limit - 3)).await.unwrap_err();
        assert_eq!(error.code().0, 40009);
        // The limit also applies to the sum over all messages of a frame.
        let half = || Message::new("name", "x".repeat(limit / 2));
        assert_eq!(code(channel.publish_messages([half(), half()]).await), 40009);
        quiet(&client, &mut peer).await;
        // The next serial is the next one that was sent.
        let _receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 1);
    }
}

in_both_formats! {
    // Spec: CD2c
    async fn connected_sets_the_size_limit(format) {
        let (client, mut service) = client_with(format, |options| options.max_message_size(20));
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let channel = client.channels().get("ch");
        assert_eq!(code(channel.publish("n", "x".repeat(20)).await), 40009);
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            connected.details.as_mut().unwrap().max_message_size = Some(100);
        }));
        quiet(&client, &mut peer).await;
        let _receipt = channel.publish("n", "x".repeat(99)).submit().await.unwrap();
        peer.skip(1).await;
        assert_eq!(code(channel.publish("n", "x".repeat(100)).await), 40009);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL6g, RTL6g1, RTL6g1a, RTL6g2, RTL6g3
    async fn a_client_cannot_publish_as_another(format) {
        let (client, _service, mut peer) = connected_with(format, |options| {
            options.client_id("me")
        })
        .await;
        let channel = client.channels().get("ch");
        assert_eq!(code(channel.publish("n", "d").client_id("you").await), 40012);
        let both = [
            Message { client_id: Some("me".into()), ..Message::new("n", "d") },
            Message { client_id: Some("you".into()), ..Message::new("n", "d") },
        ];
        assert_eq!(code(channel.publish_messages(both).await), 40012);
        quiet(&client, &mut peer).await;
        // The own client id may be present or absent; the service fills in an absent one (RTL6g1).
        let _said = channel.publish("n", "d").client_id("me").submit().await.unwrap();
        assert_eq!(peer.publish().await.items[0].client_id.as_deref(), Some("me"));
        let _unsaid = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.publish().await.items[0].client_id, None);
    }
}

in_both_formats! {
    async fn connected_sets_the_client_id_of_publishes(format) {
        for (identity, refused) in [("me", true), ("*", false)] {
            let (client, mut service) = client(format);
            client.connection().connect();
            let mut peer = service.accept().await;
            peer.send(connected_frame_with("connection-1", "key-1", |connected| {
                connected.details.as_mut().unwrap().client_id = Some(identity.into());
            }));
            client.connection().when(ConnectionState::Connected).await.unwrap();
            let channel = client.channels().get("ch");
            let publish = channel.publish("n", "d").client_id("you");
            if refused {
                assert_eq!(code(publish.await), 40012);
                quiet(&client, &mut peer).await;
            } else {
                let _receipt = publish.submit().await.unwrap();
                assert_eq!(peer.publish().await.items[0].client_id.as_deref(), Some("you"));
            }
        }
    }
}

in_both_formats! {
    async fn an_invalid_message_is_refused_at_once(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let nothing: Vec<Message> = Vec::new();
        assert_eq!(code(channel.publish_messages(nothing).submit().await), 40030);
        for value in [json!(42), json!(true), json!("text"), json!(null)] {
            let publish = channel.publish("n", Data::Json(value));
            assert_eq!(code(publish.submit().await), 40013);
        }
        quiet(&client, &mut peer).await;
    }
}
