//! Listening to members (RTP6, RTP7).

use capably::{
    Overflow,
    PresenceAction::{Enter, Leave, Present, Update},
    realtime::{ChannelState, PresenceSubscription, presence::PresenceEvent},
};
use futures_util::{FutureExt, StreamExt};

use super::*;
use crate::in_both_formats;

/// Alice enters, updates and leaves.
fn alice() -> [PresenceMessage; 3] {
    [
        did(Enter, "alice", "c1:0:0", ""),
        did(Update, "alice", "c1:1:0", "updated"),
        did(Leave, "alice", "c1:2:0", ""),
    ]
}

/// The next events have these actions, and there are no others.
async fn expect_actions(events: &mut PresenceSubscription, actions: &[PresenceAction]) {
    for action in actions {
        assert_eq!(events.next().await.unwrap().action, Some(*action));
    }
    expect_nothing(events);
}

fn expect_nothing(events: &mut PresenceSubscription) {
    if let Some(event) = events.next().now_or_never() {
        panic!("unexpected: {event:?}");
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP6a/subscribe-all-presence-events-0
    async fn without_an_action_a_subscription_receives_every_event(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let answer = async {
            peer.expect_attach("ch").await;
            peer.send(attached_with_presence());
        };
        let (events, ()) = tokio::join!(channel.presence().subscribe().into_future(), answer);
        let mut events = events.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        for event in alice() {
            peer.send(presence(vec![event]));
        }
        // During a sync, no leave is delivered (RTP2h2).
        for expected in &alice()[..2] {
            assert_eq!(events.next().await.as_ref(), Some(expected));
        }
        peer.send(sync("seq1:", vec![]));
        quiet(&client, &mut peer).await;
        expect_nothing(&mut events);
        for event in [did(Enter, "bob", "c2:0:0", ""), did(Leave, "bob", "c2:1:0", "")] {
            peer.send(presence(vec![event.clone()]));
            assert_eq!(events.next().await, Some(event));
        }
        assert_eq!(events.channel().name(), "ch");
        assert!(events.end_reason().is_none());
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP6b/subscribe-filtered-by-action-0
    // UTS: realtime/unit/RTP6b/subscribe-filtered-multiple-actions-1
    async fn with_actions_a_subscription_receives_only_those(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let subscribe = || channel.presence().subscribe();
        let mut enters = subscribe().action(Enter).await.unwrap();
        let mut leaves = subscribe().action(Leave).await.unwrap();
        let mut both = subscribe().action(Enter).action(Leave).await.unwrap();
        peer.send(presence(alice().to_vec()));
        quiet(&client, &mut peer).await;
        expect_actions(&mut enters, &[Enter]).await;
        expect_actions(&mut leaves, &[Leave]).await;
        expect_actions(&mut both, &[Enter, Leave]).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP6d/subscribe-implicitly-attaches-0
    async fn subscribing_attaches(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        assert_eq!(channel.state(), ChannelState::Initialized);
        let subscribe = channel.presence().subscribe();
        let (events, _) = tokio::join!(subscribe.into_future(), peer.attach("ch"));
        events.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP6e/subscribe-no-attach-option-0
    async fn subscribing_need_not_attach(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut events = channel.presence().subscribe().attach(false).await.unwrap();
        quiet(&client, &mut peer).await;
        assert_eq!(channel.state(), ChannelState::Initialized);
        attach(&channel, &mut peer).await;
        peer.send(presence(vec![did(Enter, "alice", "c1:0:0", "")]));
        assert_eq!(events.next().await.unwrap().action, Some(Enter));
    }
}

in_both_formats! {
    // Spec: RTP6d
    async fn a_listener_stays_when_the_attach_fails(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let mut first = channel.presence().subscribe().listen();
        peer.expect_attach("ch").await;
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(code(first.attached().await), 40160);
        // A listener of a failed channel gets the error, and may stay.
        assert_eq!(code(channel.presence().subscribe().await), 90001);
        let mut second = channel.presence().subscribe().listen();
        assert_eq!(code(second.attached().await), 90001);
        quiet(&client, &mut peer).await;
        expect_nothing(&mut first);
        attach(&channel, &mut peer).await;
        peer.send(presence(vec![did(Enter, "alice", "c1:0:0", "")]));
        expect_actions(&mut first, &[Enter]).await;
        expect_actions(&mut second, &[Enter]).await;
        // The result of the attach does not change; the next failure ends the listener.
        assert_eq!(code(first.attached().await), 40160);
        peer.send(error(Some("ch"), 40160, 401));
        assert_eq!(first.next().await, None);
        assert_eq!(first.end_reason().unwrap().code().0, 90001);
        // A release of the channel ends it, too.
        let mut third = channel.presence().subscribe().attach(false).listen();
        third.attached().await.unwrap();
        client.channels().release("ch");
        assert_eq!(third.next().await, None);
        let mut late = channel.presence().subscribe().attach(false).listen();
        assert_eq!(code(late.attached().await), 90001);
        assert_eq!(late.next().await, None);
        assert_eq!(late.end_reason().unwrap().code().0, 90001);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP7c/unsubscribe-all-listeners-0
    // UTS: realtime/unit/RTP7a/unsubscribe-specific-listener-0
    // UTS: realtime/unit/RTP7b/unsubscribe-for-specific-action-0
    // Spec: RTP7
    async fn dropping_a_subscription_unsubscribes(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let subscribe = || channel.presence().subscribe();
        let (mut one, mut other) = (subscribe().await.unwrap(), subscribe().await.unwrap());
        let enters = subscribe().action(Enter).await.unwrap();
        let mut leaves = subscribe().action(Leave).await.unwrap();
        peer.send(presence(vec![did(Enter, "bob", "c2:0:0", "")]));
        quiet(&client, &mut peer).await;
        expect_actions(&mut one, &[Enter]).await;
        expect_actions(&mut other, &[Enter]).await;
        drop((one, enters));
        peer.send(presence(alice().to_vec()));
        quiet(&client, &mut peer).await;
        expect_actions(&mut other, &[Enter, Update, Leave]).await;
        expect_actions(&mut leaves, &[Leave]).await;
        drop((other, leaves));
        peer.send(presence(vec![did(Leave, "bob", "c2:1:0", "")]));
        quiet(&client, &mut peer).await;
        assert_eq!(channel.presence().get().await.unwrap(), []);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP6/presence-events-update-map-0
    async fn an_enter_adds_a_member(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        peer.send(presence(vec![did(Enter, "alice", "c1:0:0", "hello")]));
        quiet(&client, &mut peer).await;
        let members = channel.presence().get().wait_for_sync(false).await.unwrap();
        assert_eq!(members, [did(Present, "alice", "c1:0:0", "hello")]);
        expect_actions(&mut events, &[Enter]).await;
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTP6/multiple-presence-in-single-message-1
    async fn a_frame_may_contain_several_members(format) {
        let (_client, _service, mut peer, channel) = with_channel(format).await;
        let events = channel.presence().subscribe().await.unwrap();
        let enters = ["alice", "bob", "carol"].map(|client| {
            did(Enter, client, &format!("{client}:0:0"), "")
        });
        peer.send(presence(enters.to_vec()));
        // The subscription is also a `Stream`.
        assert_eq!(events.take(3).collect::<Vec<_>>().await, enters);
    }
}

in_both_formats! {
    async fn a_slow_listener_receives_a_notice(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let subscribe = || channel.presence().subscribe().capacity(2);
        let mut dropping = subscribe().overflow(Overflow::DropOldest).await.unwrap();
        let mut ending = subscribe().overflow(Overflow::End).await.unwrap();
        peer.send(presence(alice().to_vec()));
        quiet(&client, &mut peer).await;
        assert_eq!(dropping.next_event().await, Some(PresenceEvent::Lagged(1)));
        expect_actions(&mut dropping, &[Update, Leave]).await;
        for action in [Enter, Update] {
            assert_eq!(ending.next().await.unwrap().action, Some(action));
        }
        assert_eq!(ending.next().await, None);
        assert!(ending.end_reason().is_some());
    }
}

in_both_formats! {
    async fn presence_beyond_a_full_queue_is_fetched_later(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut events = channel.presence().subscribe().capacity(1).await.unwrap();
        let placed = |number: usize| {
            let mut delivery = Delivery::new("ch", vec![alice()[number].clone()]);
            delivery.channel_serial = Some(format!("ch-serial@{number}").into());
            ServerFrame::Presence(delivery)
        };
        for number in 0..3 {
            peer.send(placed(number));
            quiet(&client, &mut peer).await;
        }
        expect_actions(&mut events, &[Enter]).await;
        assert_eq!(peer.expect_attach("ch").await.channel_serial.as_deref(), Some("ch-serial@0"));
        peer.send(attached_with("ch", |attached| {
            attached.channel_serial = Some("ch-serial@0".into());
            attached.flags = Flags::RESUMED;
        }));
        peer.send(placed(1));
        peer.send(placed(2));
        expect_actions(&mut events, &[Update, Leave]).await;
        quiet(&client, &mut peer).await;
        assert!(channel.presence().get().await.unwrap().is_empty());
    }
}

in_both_formats! {
    async fn a_subscription_ends_with_its_client(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut events = channel.presence().subscribe().await.unwrap();
        let closing = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), closing);
        assert_eq!(events.next().await, None);
        assert_eq!(events.end_reason().unwrap().code().0, 80017);
    }
}
