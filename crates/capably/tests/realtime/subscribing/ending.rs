//! The events that a subscription outlasts, and those that end it.

use capably::{Subscription, realtime::ConnectionState};
use capably_protocol::{ClientFrame, ServerFrame};

use crate::{in_both_formats, support::*};

/// The subscription has ended, with this code; it stays so.
async fn expect_end(subscription: &mut Subscription, code: u32) {
    assert_eq!(subscription.next().await, None);
    assert_eq!(subscription.end_reason().unwrap().code().0, code);
    assert_eq!(subscription.next().await, None);
    assert_eq!(subscription.next_event().await, None);
}

in_both_formats! {
    async fn a_subscription_outlasts_drops_and_detaching(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut expect = async |peer: &mut Peer, name: &str| {
            peer.send(messages("ch", &[name]));
            assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some(name));
        };
        expect(&mut peer, "first").await;
        // A resumed connection, and a new one.
        let mut peer = resume(&client, &mut service, peer).await;
        peer.attach("ch").await;
        expect(&mut peer, "resumed").await;
        let mut peer = reconnect(&client, &mut service, peer, "connection-2").await;
        peer.attach("ch").await;
        expect(&mut peer, "connected anew").await;
        // Detaching and attaching.
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        attach(&channel, &mut peer).await;
        expect(&mut peer, "attached anew").await;
        // A suspended channel, and a suspended connection.
        peer.send(detached("ch"));
        peer.expect_attach("ch").await;
        peer.send(detached("ch"));
        peer.attach("ch").await;
        expect(&mut peer, "after suspension").await;
        suspend(&client, &mut service, peer).await;
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-3", "key-3"));
        peer.attach("ch").await;
        expect(&mut peer, "after a long time").await;
        assert!(subscription.end_reason().is_none());
    }
}

in_both_formats! {
    async fn closing_ends_a_subscription_after_its_queued_messages(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        peer.send(messages("ch", &["last words"]));
        quiet(&client, &mut peer).await;
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("last words"));
        expect_end(&mut subscription, 80017).await;
    }
}

in_both_formats! {
    async fn closing_is_the_reason_of_the_end_despite_earlier_errors(format) {
        let (client, mut service, peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        client.close().await;
        expect_end(&mut subscription, 80017).await;
    }
}

in_both_formats! {
    async fn a_failed_channel_ends_its_subscriptions(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let other = client.channels().get("other");
        attach(&other, &mut peer).await;
        let mut unharmed = subscribed(&other).await;
        peer.send(error(Some("ch"), 40160, 401));
        expect_end(&mut subscription, 90001).await;
        assert_eq!(subscription.end_reason().unwrap().cause().unwrap().code.0, 40160);
        peer.send(messages("other", &["on it goes"]));
        assert_eq!(unharmed.next().await.unwrap().name.as_deref(), Some("on it goes"));
        // A new subscription works once the channel is attached again.
        assert_eq!(code(channel.subscribe().await), 90001);
        attach(&channel, &mut peer).await;
        let mut another = subscribed(&channel).await;
        peer.send(messages("ch", &["again"]));
        assert_eq!(another.next().await.unwrap().name.as_deref(), Some("again"));
        expect_end(&mut subscription, 90001).await;
    }
}

in_both_formats! {
    async fn a_failed_connection_ends_subscriptions(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        let mut unattached =
            client.channels().get("other").subscribe().attach(false).await.unwrap();
        peer.send(error(None, 40101, 401));
        expect_end(&mut subscription, 90001).await;
        assert_eq!(subscription.end_reason().unwrap().cause().unwrap().code.0, 40101);
        expect_end(&mut unattached, 40101).await;
    }
}

in_both_formats! {
    async fn a_subscription_made_before_connecting_again_has_ended(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut old = subscribed(&channel).await;
        peer.send(error(None, 40101, 401));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        attach(&channel, &mut peer).await;
        let mut new = subscribed(&channel).await;
        peer.send(messages("ch", &["new"]));
        assert_eq!(new.next().await.unwrap().name.as_deref(), Some("new"));
        expect_end(&mut old, 90001).await;
    }
}

in_both_formats! {
    async fn an_attach_that_fails_gives_no_subscription(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let service = async {
            peer.expect_attach("ch").await;
            peer.send(error(Some("ch"), 40160, 401));
        };
        let subscribe = async { channel.subscribe().await };
        let (result, ()) = tokio::join!(subscribe, service);
        assert_eq!(code(result), 40160);
        // Without an answer too.
        let silent = client.channels().get("silent");
        let service = async { peer.expect_attach("silent").await };
        let subscribe = async { silent.subscribe().await };
        let (result, _) = tokio::join!(subscribe, service);
        assert_eq!(code(result), 90007);
        // On a suspended channel the subscription waits until the channel attaches by itself.
        let mut subscription = silent.subscribe().await.unwrap();
        peer.attach("silent").await;
        peer.send(messages("silent", &["at last"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("at last"));
    }
}
