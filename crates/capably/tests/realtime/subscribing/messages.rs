//! The messages that each subscription receives.

use capably::realtime::ChannelState;
use capably_protocol::{ClientFrame, Message, ServerFrame, frame::Delivery};
use futures_util::StreamExt;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL7a/subscribe-all-messages-0
    async fn without_a_name_a_subscription_receives_every_message(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        peer.send(messages("ch", &["event1"]));
        peer.send(messages("ch", &["event2"]));
        let nameless = Message { data: "data3".into(), ..Message::default() };
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![nameless])));
        for name in [Some("event1"), Some("event2"), None] {
            let message = subscription.next().await.unwrap();
            assert_eq!(message.name.as_deref(), name);
            assert_eq!(message.data.as_str(), Some(name.unwrap_or("data3")));
        }
        quiet(&client, &mut peer).await;
        expect_no_message(&mut subscription);
        assert!(subscription.end_reason().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7a/multiple-messages-per-protocol-1
    async fn a_frame_may_contain_several_messages(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        peer.send(messages("ch", &["batch1", "batch2", "batch3"]));
        peer.send(messages("ch", &[]));
        for name in ["batch1", "batch2", "batch3"] {
            assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some(name));
        }
        quiet(&client, &mut peer).await;
        expect_no_message(&mut subscription);
    }
}

in_both_formats! {
    async fn order_is_kept_over_many_frames(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let subscription = subscribed(&channel).await;
        for frame in 0..700 {
            let names: Vec<_> = (0..frame % 4).map(|item| format!("{frame}.{item}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            peer.send(messages("ch", &names));
        }
        let expected: Vec<_> = (0..700)
            .flat_map(|frame| (0..frame % 4).map(move |item| format!("{frame}.{item}")))
            .collect();
        // The subscription is also a `Stream`.
        let received: Vec<_> = subscription
            .take(expected.len())
            .map(|message| message.name.unwrap().to_string())
            .collect()
            .await;
        assert_eq!(received, expected);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7b/name-filtered-subscribe-0
    async fn with_a_name_a_subscription_receives_only_its_messages(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = channel.subscribe().name("target").await.unwrap();
        peer.send(messages("ch", &["other"]));
        peer.send(messages("ch", &["target"]));
        let nameless = Message { data: "nobody's".into(), ..Message::default() };
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![nameless])));
        let message = subscription.next().await.unwrap();
        assert_eq!((message.name.as_deref(), message.data.as_str()), (Some("target"), Some("target")));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut subscription);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7b/multiple-name-subscriptions-1
    async fn each_subscription_receives_its_selected_messages(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut alpha = channel.subscribe().name("alpha").await.unwrap();
        let mut beta = channel.subscribe().name("beta").await.unwrap();
        let mut two = channel.subscribe().name("beta").name("gamma").await.unwrap();
        let mut all = [subscribed(&channel).await, subscribed(&channel).await];
        peer.send(messages("ch", &["alpha", "beta", "alpha", "gamma"]));
        quiet(&client, &mut peer).await;
        let [one, other] = &mut all;
        let expected: [(_, &[&str]); 5] = [
            (&mut alpha, &["alpha", "alpha"]),
            (&mut beta, &["beta"]),
            (&mut two, &["beta", "gamma"]),
            (one, &["alpha", "beta", "alpha", "gamma"]),
            (other, &["alpha", "beta", "alpha", "gamma"]),
        ];
        for (subscription, names) in expected {
            for name in names {
                assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some(*name));
            }
            expect_no_message(subscription);
        }
    }
}

in_both_formats! {
    async fn a_subscription_receives_only_its_channel(format) {
        let (client, _service, mut peer, one) = with_channel(format).await;
        let two = client.channels().get("two");
        attach(&two, &mut peer).await;
        let (mut first, mut second) = (subscribed(&one).await, subscribed(&two).await);
        peer.send(messages("two", &["for two"]));
        peer.send(messages("ch", &["for one"]));
        assert_eq!(first.next().await.unwrap().name.as_deref(), Some("for one"));
        assert_eq!(second.next().await.unwrap().name.as_deref(), Some("for two"));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut first);
        expect_no_message(&mut second);
        assert_eq!(first.channel().name(), "ch");
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7g/implicit-attach-initialized-0
    async fn subscribing_attaches_and_misses_nothing(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let service = async {
            peer.expect_attach("ch").await;
            // All frames are queued before the client reads the first.
            peer.send(attached("ch"));
            peer.send(messages("ch", &["1", "2"]));
            peer.send(messages("ch", &["3"]));
        };
        let subscribe = async { channel.subscribe().await.unwrap() };
        let (mut subscription, ()) = tokio::join!(subscribe, service);
        assert_eq!(channel.state(), ChannelState::Attached);
        for name in ["1", "2", "3"] {
            assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some(name));
        }
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7g/implicit-attach-detached-1
    async fn subscribing_attaches_a_detached_channel(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        let service = async { peer.attach("ch").await };
        let subscribe = async { channel.subscribe().await.unwrap() };
        let (_subscription, _) = tokio::join!(subscribe, service);
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn subscribing_while_detaching_attaches_again(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        let service = async {
            peer.send(messages("ch", &["too early"]));
            peer.send(detached("ch"));
            peer.attach("ch").await;
            peer.send(messages("ch", &["in time"]));
        };
        let subscribe = async { channel.subscribe().await.unwrap() };
        let (mut subscription, ()) = tokio::join!(subscribe, service);
        detach.await.unwrap().unwrap();
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("in time"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7g/no-attach-when-attached-3
    async fn subscribing_to_an_attached_channel_sends_nothing(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let _subscription = channel.subscribe().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7g/no-attach-when-attaching-4
    async fn subscribing_while_attaching_sends_nothing_more(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        let subscribe = {
            let channel = channel.clone();
            tokio::spawn(async move { channel.subscribe().await })
        };
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        assert!(!subscribe.is_finished());
        peer.send(attached("ch"));
        attach.await.unwrap().unwrap();
        subscribe.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL7h/no-attach-on-subscribe-0
    // Spec: TB4
    async fn subscribing_need_not_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut subscription = channel.subscribe().attach(false).await.unwrap();
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        // The subscription receives messages once the channel is attached.
        let attach = attaching(&channel);
        peer.attach("ch").await;
        peer.send(messages("ch", &["at last"]));
        attach.await.unwrap().unwrap();
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("at last"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL17/no-delivery-when-not-attached-0
    async fn only_an_attached_channel_delivers(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut subscription = channel.subscribe().attach(false).await.unwrap();
        peer.send(messages("ch", &["initialized"]));
        let attach = attaching(&channel);
        peer.expect_attach("ch").await;
        peer.send(messages("ch", &["attaching"]));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attaching);
        expect_no_message(&mut subscription);
        peer.send(detached_because("ch", 50000));
        peer.send(messages("ch", &["suspended"]));
        assert_eq!(code(attach.await.unwrap()), 50000);
        let again = attaching(&channel);
        peer.attach("ch").await;
        again.await.unwrap().unwrap();
        let detach = detaching(&channel);
        peer.expect_detach("ch").await;
        peer.send(messages("ch", &["detaching"]));
        peer.send(detached("ch"));
        peer.send(messages("ch", &["detached"]));
        detach.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
        expect_no_message(&mut subscription);
        // It receives none after a drop until the channel is attached again.
        let last = attaching(&channel);
        peer.attach("ch").await;
        last.await.unwrap().unwrap();
        let mut peer = resume(&client, &mut service, peer).await;
        peer.expect_attach("ch").await;
        peer.send(messages("ch", &["attaching again"]));
        peer.send(attached("ch"));
        peer.send(messages("ch", &["attached"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("attached"));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL8a/unsubscribe-specific-listener-0
    async fn dropping_a_subscription_ends_it_and_no_other(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let (mut one, mut other) = (subscribed(&channel).await, subscribed(&channel).await);
        peer.send(messages("ch", &["msg1"]));
        assert_eq!(one.next().await.unwrap().name.as_deref(), Some("msg1"));
        assert_eq!(other.next().await.unwrap().name.as_deref(), Some("msg1"));
        drop(one);
        peer.send(messages("ch", &["msg2"]));
        assert_eq!(other.next().await.unwrap().name.as_deref(), Some("msg2"));
        // Unsubscribing does not detach.
        drop(other);
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        peer.send(messages("ch", &["to nobody"]));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn an_abandoned_subscribe_leaves_no_subscriber(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let subscribe = {
            let channel = channel.clone();
            // A subscription that is never read would delay the connection.
            tokio::spawn(async move { channel.subscribe().capacity(1).await })
        };
        peer.expect_attach("ch").await;
        subscribe.abort();
        assert!(subscribe.await.unwrap_err().is_cancelled());
        peer.send(attached("ch"));
        channel.when(ChannelState::Attached).await.unwrap();
        for _ in 0..10 {
            peer.send(messages("ch", &["1", "2", "3"]));
            quiet(&client, &mut peer).await;
        }
    }
}

in_both_formats! {
    async fn a_subscription_is_a_handle_to_the_client(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut subscription = subscribed(&channel).await;
        drop((client, channel));
        peer.send(messages("ch", &["still here"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("still here"));
        drop(subscription);
        assert_eq!(peer.receive().await, Some(ClientFrame::Close));
    }
}
