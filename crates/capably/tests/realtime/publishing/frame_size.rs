//! Frames above the limit of the service are not sent (CD2d).

use std::future::IntoFuture;

use capably::{Message, PublishResult, realtime::ConnectionState};
use capably_protocol::{ClientFrame, Format, codec};

use crate::{in_both_formats, support::*};

/// A CONNECTED that leaves the size of messages to the size of frames.
fn limited_to(bytes: u64) -> capably_protocol::ServerFrame {
    connected_frame_with("connection-1", "key-1", |connected| {
        let details = connected.details.as_mut().unwrap();
        details.max_message_size = Some(10_000_000);
        details.max_frame_size = Some(bytes);
    })
}

fn length(format: Format, frame: &ClientFrame) -> u64 {
    let mut encoded = Vec::new();
    codec::encode_client_frame(format, frame, &mut encoded);
    encoded.len() as u64
}

// Spec: CD2d, TO3l9
in_both_formats! {
    async fn a_publish_fits_in_a_frame_or_is_refused(format) {
        let limit = 2_000;
        let (client, _service, mut peer) = connected(format).await;
        peer.send(limited_to(limit));
        quiet(&client, &mut peer).await;
        let channel = client.channels().get("ch");
        let mut largest = 0;
        for size in 1_850..=2_000 {
            let receipt = channel.publish("n", "x".repeat(size)).submit().await.unwrap();
            tokio::select! {
                frame = peer.receive() => {
                    let length = length(format, &frame.unwrap());
                    assert!(length <= limit, "a frame of {length} bytes");
                    assert!(length > largest, "none larger was refused before");
                    largest = length;
                }
                refused = receipt.into_future() => {
                    let error = refused.unwrap_err();
                    assert_eq!((error.code().0, error.status()), (40009, Some(400)));
                    // A serial of twenty digits fits as well.
                    assert!(limit - largest <= 20, "{largest} bytes are fine, and no more?");
                }
            }
        }
        assert!(largest > 0);
        quiet(&client, &mut peer).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// Spec: CD2d
in_both_formats! {
    async fn the_size_limit_counts_the_fields_around_small_messages(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let small = Message { name: None, ..Message::new("", "x") };
        // Each is 12 bytes and a comma in JSON, and 8 bytes in MessagePack.
        for (count, fits) in [
            (40_000, true),
            (41_000, format == Format::MsgPack),
            (65_000, format == Format::MsgPack),
        ] {
            let publish = channel.publish_messages(vec![small.clone(); count]);
            if fits {
                let _receipt = publish.submit().await.unwrap();
                assert_eq!(peer.publish().await.items.len(), count);
            } else {
                assert_eq!(code(publish.await), 40009);
                quiet(&client, &mut peer).await;
            }
        }
    }
}

// Spec: CD2d
in_both_formats! {
    async fn the_size_limit_counts_json_escapes(format) {
        let (client, _service, mut peer) = connected(format).await;
        peer.send(limited_to(3_000));
        quiet(&client, &mut peer).await;
        let channel = client.channels().get("ch");
        let publish = channel.publish("n", "\u{1}".repeat(1_000));
        match format {
            Format::Json => assert_eq!(code(publish.await), 40009),
            Format::MsgPack => {
                let _receipt = publish.submit().await.unwrap();
                peer.skip(1).await;
            }
        }
        quiet(&client, &mut peer).await;
    }
}

// Spec: TO3l9
in_both_formats! {
    async fn before_connected_the_option_is_the_size_limit(format) {
        let (client, mut service) = client_with(format, |options| options.max_frame_size(1_000));
        let channel = client.channels().get("ch");
        assert_eq!(code(channel.publish("n", "x".repeat(1_000)).await), 40009);
        let queued = channel.publish("n", "x".repeat(900)).submit().await.unwrap();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        assert_eq!(peer.message().await.0, 0);
        peer.send(ack(0, 1));
        assert_eq!(queued.await.unwrap(), PublishResult::new(vec![Some("serial-0".into())]));
        assert_eq!(code(channel.publish("n", "x".repeat(1_000)).await), 40009);
        quiet(&client, &mut peer).await;
    }
}

// Spec: CD2d
in_both_formats! {
    async fn presence_has_the_same_size_limit(format) {
        let (client, _service, mut peer, channel) =
            with_channel_and(format, |options| options.client_id("ada")).await;
        peer.send(limited_to(1_000));
        quiet(&client, &mut peer).await;
        let enter = |size| channel.presence().enter().data("x".repeat(size)).into_future();
        assert_eq!(code(enter(1_000).await), 40009);
        quiet(&client, &mut peer).await;
        let (entered, ()) = tokio::join!(enter(900), async {
            peer.skip(1).await;
            peer.send(ack(0, 1));
        });
        entered.unwrap();
    }
}
