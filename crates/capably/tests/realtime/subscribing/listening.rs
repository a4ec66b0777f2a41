//! Listening that does not depend on the attach, and unsubscribing (RTL7g, RTL8).

use capably::realtime::{ChannelState, RealtimeChannelOptions};
use capably_protocol::{ChannelMode, Message, ServerFrame, frame::Delivery};

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: realtime/unit/RTL7g/listener-registered-attach-fails-2
    // Spec: RTL7g, RTL4d
    async fn a_listener_outlasts_the_failure_of_its_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut messages = channel.subscribe().listen();
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(messages.attached().await), 40160);
        assert_eq!(channel.state(), ChannelState::Failed);
        assert!(messages.end_reason().is_none());
        expect_no_message(&mut messages);
        // The channel is attached after all.
        attach(&channel, &mut peer).await;
        let after = Message::new("test", "after-reattach");
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![after])));
        assert_eq!(messages.next().await.unwrap().data.as_str(), Some("after-reattach"));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut messages);
        // The result of the attach does not change.
        assert_eq!(code(messages.attached().await), 40160);
        // After that, it behaves like any subscription.
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(messages.next().await, None);
        assert_eq!(messages.end_reason().unwrap().code().0, 90001);
    }
}

in_both_formats! {
    // Spec: RTL7g, RTL7h
    async fn listening_attaches_without_waiting(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut one = channel.subscribe().listen();
        let mut other = channel.subscribe().name("2").listen();
        let mut idle = channel.subscribe().attach(false).listen();
        peer.expect_attach("ch").await;
        idle.attached().await.unwrap();
        // An abandoned wait does not end the listener.
        tokio::select! {
            biased;
            _ = one.attached() => panic!("ATTACHED has not come"),
            () = tokio::task::yield_now() => {}
        }
        peer.send(attached("ch"));
        peer.send(messages("ch", &["1", "2"]));
        one.attached().await.unwrap();
        one.attached().await.unwrap();
        for name in ["1", "2"] {
            assert_eq!(one.next().await.unwrap().name.as_deref(), Some(name));
            assert_eq!(idle.next().await.unwrap().name.as_deref(), Some(name));
        }
        // The result of the attach need not be awaited.
        assert_eq!(other.next().await.unwrap().name.as_deref(), Some("2"));
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // Spec: RTL7g
    async fn listening_to_a_failed_channel_waits_for_the_next_attach(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        peer.send(error(Some("ch"), 40160, 401));
        channel.when(ChannelState::Failed).await.unwrap();
        let mut subscription = channel.subscribe().listen();
        assert_eq!(code(subscription.attached().await), 90001);
        quiet(&client, &mut peer).await;
        attach(&channel, &mut peer).await;
        peer.send(messages("ch", &["at last"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("at last"));
    }
}

in_both_formats! {
    // Spec: RTL7i1
    async fn in_strict_mode_the_listener_stays_despite_the_missing_mode(format) {
        let (client, _service, mut peer) =
            connected_with(format, |options| options.strict_mode(true)).await;
        let channel = client.channels().get("ch");
        let mut subscription = channel.subscribe().listen();
        peer.expect_attach("ch").await;
        peer.send(attached_with("ch", |own| own.flags = ChannelMode::Publish.flag()));
        assert_eq!(code(subscription.attached().await), 90009);
        assert!(subscription.end_reason().is_none());
        peer.send(messages("ch", &["nevertheless"]));
        assert_eq!(subscription.next().await.unwrap().name.as_deref(), Some("nevertheless"));
    }
}

in_both_formats! {
    async fn a_listener_without_a_channel_or_a_client_ends(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        client.channels().release("ch");
        let mut subscription = channel.subscribe().listen();
        assert_eq!(code(subscription.attached().await), 90001);
        assert_eq!(subscription.next().await, None);
        assert_eq!(subscription.end_reason().unwrap().code().0, 90001);
        // A release while the attach is under way.
        let channel = client.channels().get("ch");
        let mut subscription = channel.subscribe().listen();
        peer.expect_attach("ch").await;
        client.channels().release("ch");
        assert_eq!(code(subscription.attached().await), 90001);
        assert_eq!(subscription.next().await, None);
        assert_eq!(subscription.end_reason().unwrap().code().0, 90001);
        // The failure of the connection while the attach is under way.
        let channel = client.channels().get("other");
        let mut subscription = channel.subscribe().listen();
        peer.expect_detach("ch").await;
        peer.expect_attach("other").await;
        peer.send(error(None, 40101, 401));
        assert_eq!(code(subscription.attached().await), 40101);
        assert_eq!(subscription.next().await, None);
        assert_eq!(subscription.end_reason().unwrap().code().0, 40101);
    }
}

// Spec: RTL7g
#[test]
fn a_listener_after_the_end_of_the_runtime_ends() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let (client, _service) = first.block_on(async { client(capably_protocol::Format::Json) });
    drop(first);
    let listen = async {
        let mut subscription = client.channels().get("ch").subscribe().listen();
        assert_eq!(code(subscription.attached().await), 80017);
        assert_eq!(subscription.next().await, None);
        assert_eq!(subscription.end_reason().unwrap().code().0, 80017);
    };
    let listen = async { tokio::time::timeout(crate::PATIENCE, listen).await };
    runtime().block_on(listen).expect("what it waits for never comes");
}

in_both_formats! {
    // Spec: TB4, RTL7h
    async fn the_channel_options_decide_whether_listening_attaches(format) {
        let (client, _service, mut peer) = connected(format).await;
        let options = || RealtimeChannelOptions::new().attach_on_subscribe(false);
        let channel = client.channels().get_with("ch", options());
        let _messages = channel.subscribe().await.unwrap();
        let _events = channel.presence().subscribe().await.unwrap();
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        // The subscriber may override it.
        let attaching = async { channel.subscribe().attach(true).await.unwrap() };
        let (_subscription, _) = tokio::join!(attaching, peer.attach("ch"));
        assert_eq!(channel.state(), ChannelState::Attached);
        let other = client.channels().get_with("other", options());
        other.set_options(RealtimeChannelOptions::new()).await.unwrap();
        let attaching = async { other.presence().subscribe().await.unwrap() };
        let (_events, _) = tokio::join!(attaching, peer.attach("other"));
    }
}

in_both_formats! {
    // A listener is a stream, so unsubscribing it from one name of two is dropping one stream of two.
    // UTS: realtime/unit/RTL8b/unsubscribe-named-listener-0
    async fn dropping_one_subscription_leaves_the_other_name(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut alpha = channel.subscribe().name("alpha").await.unwrap();
        let mut beta = channel.subscribe().name("beta").await.unwrap();
        peer.send(messages("ch", &["alpha", "beta"]));
        assert_eq!(alpha.next().await.unwrap().name.as_deref(), Some("alpha"));
        assert_eq!(beta.next().await.unwrap().name.as_deref(), Some("beta"));
        drop(alpha);
        let second = |name: &str, data: &str| Message::new(name, data);
        let items = vec![second("alpha", "a2"), second("beta", "b2")];
        peer.send(ServerFrame::Message(Delivery::new("ch", items)));
        let message = beta.next().await.unwrap();
        assert_eq!((message.name.as_deref(), message.data.as_str()), (Some("beta"), Some("b2")));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut beta);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL8c/unsubscribe-all-listeners-0
    // Spec: RTL8
    async fn dropping_all_subscriptions_leaves_no_subscriber(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        // A listener that takes nothing would hold up the connection.
        let mut all = channel.subscribe().capacity(2).await.unwrap();
        let mut named = channel.subscribe().name("specific").capacity(2).await.unwrap();
        peer.send(messages("ch", &["specific"]));
        assert_eq!(all.next().await.unwrap().name.as_deref(), Some("specific"));
        assert_eq!(named.next().await.unwrap().name.as_deref(), Some("specific"));
        drop((all, named));
        peer.send(messages("ch", &["specific", "other", "specific"]));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Attached);
        // A later subscription receives later messages.
        let mut late = subscribed(&channel).await;
        peer.send(messages("ch", &["fourth"]));
        assert_eq!(late.next().await.unwrap().name.as_deref(), Some("fourth"));
        expect_no_message(&mut late);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL8a/unsubscribe-noop-not-subscribed-1
    async fn a_call_dropped_before_its_await_subscribes_nothing(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut active = subscribed(&channel).await;
        // Dropped before it was awaited.
        drop(channel.subscribe().name("test"));
        let still = Message::new("test", "still-works");
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![still])));
        assert_eq!(active.next().await.unwrap().data.as_str(), Some("still-works"));
        quiet(&client, &mut peer).await;
        expect_no_message(&mut active);
    }
}
