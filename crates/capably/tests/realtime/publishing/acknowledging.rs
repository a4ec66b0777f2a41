//! Acknowledgements (RTN7).

use capably::{Message, PublishResult, realtime::Receipt};
use capably_protocol::{
    ServerFrame,
    frame::{Ack, Nack},
};

use crate::{in_both_formats, support::*};

/// Publishes this many messages, and awaits them at the service.
async fn submitted(channel: &capably::Channel, peer: &mut Peer, count: usize) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for _ in 0..count {
        receipts.push(channel.publish("n", "d").submit().await.unwrap());
    }
    peer.skip(count).await;
    receipts
}

async fn serial(receipt: Receipt) -> String {
    let serials = receipt.await.unwrap().serials;
    assert_eq!(serials.len(), 1);
    serials[0].as_deref().unwrap().to_owned()
}

in_both_formats! {
    // UTS: realtime/unit/RTL6j/publish-result-serials-0
    async fn a_publish_resolves_with_its_serial(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let service = async {
            let publish = peer.publish().await;
            assert_eq!(publish.msg_serial, 0);
            let res = vec![PublishResult::new(vec![Some("abc123".into())])];
            peer.send(ServerFrame::Ack(Ack { msg_serial: 0, count: 1, res }));
        };
        let publish = async { channel.publish("greeting", "hello").await };
        let (result, ()) = tokio::join!(publish, service);
        assert_eq!(result.unwrap().serials, [Some("abc123".into())]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6j/batch-publish-serials-1
    async fn messages_published_together_have_a_serial_each(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let messages = ["event1", "event2", "event3"].map(|name| Message::new(name, "data"));
        let receipt = channel.publish_messages(messages).submit().await.unwrap();
        assert_eq!(peer.publish().await.items.len(), 3);
        let serials = vec![Some("serial-1".into()), None, Some("serial-3".into())];
        let res = vec![PublishResult::new(serials.clone())];
        peer.send(ServerFrame::Ack(Ack { msg_serial: 0, count: 1, res }));
        assert_eq!(receipt.await.unwrap().serials, serials);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6j/incrementing-msg-serial-2
    async fn serials_count_up(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        for (number, name) in ["first", "second", "third"].iter().enumerate() {
            let service = async {
                let (msg_serial, names) = peer.message().await;
                assert_eq!((msg_serial, names), (number as u64, vec![(*name).to_owned()]));
                peer.send(ack(msg_serial, 1));
            };
            let publish = async { channel.publish(*name, "data").await };
            let (result, ()) = tokio::join!(publish, service);
            assert_eq!(result.unwrap().serials, [Some(format!("serial-{number}").into())]);
        }
    }
}

in_both_formats! {
    async fn serials_count_over_all_channels(format) {
        let (client, _service, mut peer) = connected(format).await;
        let one = client.channels().get("one").publish("a", "d").submit().await.unwrap();
        let two = client.channels().get("two").publish("b", "d").submit().await.unwrap();
        for (serial, channel) in ["one", "two"].iter().enumerate() {
            let publish = peer.publish().await;
            assert_eq!((publish.msg_serial, &&*publish.channel), (serial as u64, channel));
        }
        peer.send(ack(0, 2));
        assert_eq!(serial(one).await, "serial-0");
        assert_eq!(serial(two).await, "serial-1");
    }
}

in_both_formats! {
    async fn an_acknowledgement_may_cover_any_number_of_publishes(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let receipts = submitted(&channel, &mut peer, 40).await;
        let mut next = 0;
        for count in [1, 3, 1, 20, 2, 13] {
            peer.send(ack(next, count));
            next += count;
        }
        assert_eq!(next, 40);
        for (number, receipt) in receipts.into_iter().enumerate() {
            assert_eq!(serial(receipt).await, format!("serial-{number}"));
        }
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL6j/nack-results-error-3
    async fn a_refused_publish_fails_with_the_reason(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut receipts = submitted(&channel, &mut peer, 4).await.into_iter();
        peer.send(ack(0, 1));
        peer.send(ServerFrame::Nack(Nack { msg_serial: 1, count: 2, error: Some(info(40160, 401)) }));
        peer.send(ack(3, 1));
        assert_eq!(serial(receipts.next().unwrap()).await, "serial-0");
        for _ in 1..=2 {
            let error = receipts.next().unwrap().await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40160, Some(401)));
            assert_eq!(error.message(), "an error of the service");
        }
        assert_eq!(serial(receipts.next().unwrap()).await, "serial-3");
        // The next publish has the next serial.
        let _receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await.0, 4);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn a_refusal_without_a_reason_is_an_error_too(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let receipts = submitted(&channel, &mut peer, 1).await;
        peer.send(ServerFrame::Nack(Nack { msg_serial: 0, count: 1, error: None }));
        for receipt in receipts {
            assert_eq!(code(receipt.await), 50000);
        }
    }
}

in_both_formats! {
    async fn a_skipped_acknowledgement_fails_the_publish(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let mut receipts = submitted(&channel, &mut peer, 3).await.into_iter();
        peer.send(ack(2, 1));
        assert_eq!(code(receipts.next().unwrap().await), 80013);
        assert_eq!(code(receipts.next().unwrap().await), 80013);
        assert_eq!(serial(receipts.next().unwrap()).await, "serial-2");
    }
}
