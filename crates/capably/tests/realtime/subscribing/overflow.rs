//! Subscribers that do not keep up.

use std::time::Duration;

use capably::{
    Overflow, Subscription,
    realtime::{ConnectionState, SubscriptionEvent},
};
use capably_protocol::ClientFrame;
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn send(peer: &mut Peer, range: std::ops::Range<usize>) {
    for number in numbers(range) {
        peer.send(messages("ch", &[&number]));
    }
}

/// Takes what is there, without waiting.
fn take(subscription: &mut Subscription) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some(Some(message)) = subscription.next().now_or_never() {
        taken.push(message.name.unwrap().to_string());
    }
    taken
}

in_both_formats! {
    async fn drop_oldest_says_how_many_were_dropped(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel
            .subscribe()
            .capacity(10)
            .overflow(Overflow::DropOldest)
            .await
            .unwrap();
        let mut fast = subscribed(&channel).await;
        send(&mut peer, 0..10);
        quiet(&client, &mut peer).await;
        // Just full is not too full.
        assert_eq!(take(&mut slow), numbers(0..10));
        send(&mut peer, 10..35);
        quiet(&client, &mut peer).await;
        assert_eq!(slow.next_event().await, Some(SubscriptionEvent::Lagged(15)));
        assert_eq!(take(&mut slow), numbers(25..35));
        // The count starts anew.
        send(&mut peer, 35..46);
        quiet(&client, &mut peer).await;
        assert_eq!(slow.next_event().await, Some(SubscriptionEvent::Lagged(1)));
        match slow.next_event().await {
            Some(SubscriptionEvent::Message(message)) => {
                assert_eq!(message.name.as_deref(), Some("36"));
            }
            other => panic!("not a message: {other:?}"),
        }
        // `next` passes over what was dropped.
        send(&mut peer, 46..66);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), [numbers(37..46), numbers(56..66)].concat());
        assert_eq!(take(&mut fast), numbers(0..66));
        assert!(slow.end_reason().is_none());
    }
}

in_both_formats! {
    async fn one_that_drops_holds_up_nobody(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let subscribe = || channel.subscribe().capacity(2);
        let mut dropping = subscribe().overflow(Overflow::DropOldest).await.unwrap();
        let mut waiting = subscribe().await.unwrap();
        // Both are full; only one is waited for.
        send(&mut peer, 0..2);
        for number in numbers(0..2) {
            assert_eq!(waiting.next().await.unwrap().name.as_deref(), Some(&*number));
        }
        let before = Instant::now();
        send(&mut peer, 2..4);
        for number in numbers(2..4) {
            assert_eq!(waiting.next().await.unwrap().name.as_deref(), Some(&*number));
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut dropping), numbers(2..4));
        assert!(dropping.end_reason().is_none());
    }
}

in_both_formats! {
    async fn end_ends_after_what_is_queued(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow =
            channel.subscribe().capacity(10).overflow(Overflow::End).await.unwrap();
        let mut fast = subscribed(&channel).await;
        send(&mut peer, 0..10);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(0..10));
        send(&mut peer, 10..21);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(10..20));
        assert_eq!(slow.next().await, None);
        assert_eq!(slow.end_reason().unwrap().code().0, 90004);
        send(&mut peer, 21..30);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut fast), numbers(0..30));
        assert_eq!(slow.next().await, None);
    }
}

in_both_formats! {
    async fn wait_loses_nothing_and_reads_no_further(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(10).await.unwrap();
        send(&mut peer, 0..1_000);
        // Nothing is taken for a while, and then all.
        for _ in 0..9 {
            advance(1_000).await;
            tokio::task::yield_now().await;
        }
        for number in 0..1_000 {
            let message = slow.next().await.unwrap();
            assert_eq!(message.name.as_deref(), Some(&*number.to_string()));
        }
        quiet(&client, &mut peer).await;
        expect_no_message(&mut slow);
        assert!(slow.end_reason().is_none());
    }
}

in_both_formats! {
    async fn what_is_blocked_can_still_be_sent(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(1).await.unwrap();
        send(&mut peer, 0..3);
        // Only once the subscriber has no room.
        advance(1).await;
        tokio::task::yield_now().await;
        let receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["n".to_owned()]));
        peer.send(ack(0, 1));
        for number in 0..3 {
            assert_eq!(slow.next().await.unwrap().name.as_deref(), Some(&*number.to_string()));
        }
        assert_eq!(receipt.await.unwrap().serials, [Some("serial-0".into())]);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn one_that_takes_nothing_for_ten_seconds_ends_and_the_others_go_on(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut stuck = channel.subscribe().capacity(10).await.unwrap();
        let mut other = subscribed(&channel).await;
        let mut states = client.connection().changes();
        send(&mut peer, 0..10);
        let blocked = Instant::now();
        assert_eq!(other.next().await.unwrap().name.as_deref(), Some("0"));
        // Not looked at before there is room, or the stuck one is given up.
        send(&mut peer, 10..20);
        for number in 1..20 {
            assert_eq!(other.next().await.unwrap().name.as_deref(), Some(&*number.to_string()));
        }
        let waited = blocked.elapsed();
        assert!(waited.abs_diff(Duration::from_secs(10)) < Duration::from_millis(3), "{waited:?}");
        assert_eq!(take(&mut stuck), numbers(0..10));
        assert_eq!(stuck.next().await, None);
        assert_eq!(stuck.end_reason().unwrap().code().0, 90004);
        // The connection has not suffered.
        quiet(&client, &mut peer).await;
        expect_none(&mut states);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert!(service.is_quiet());
    }
}

in_both_formats! {
    async fn one_that_takes_now_and_then_does_not_end(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(1).await.unwrap();
        for number in 0..20 {
            send(&mut peer, number..number + 1);
            advance(9_000).await;
            tokio::task::yield_now().await;
            assert_eq!(slow.next().await.unwrap().name.as_deref(), Some(&*number.to_string()));
        }
        quiet(&client, &mut peer).await;
        assert!(slow.end_reason().is_none());
    }
}

in_both_formats! {
    async fn dropping_one_that_is_full_lets_the_connection_go_on(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let stuck = channel.subscribe().capacity(1).await.unwrap();
        let mut other = subscribed(&channel).await;
        send(&mut peer, 0..1);
        assert_eq!(other.next().await.unwrap().name.as_deref(), Some("0"));
        send(&mut peer, 1..2);
        advance(1_000).await;
        tokio::task::yield_now().await;
        expect_no_message(&mut other);
        let now = Instant::now();
        drop(stuck);
        assert_eq!(other.next().await.unwrap().name.as_deref(), Some("1"));
        assert_eq!(now.elapsed(), Duration::ZERO);
        quiet(&client, &mut peer).await;
    }
}

in_both_formats! {
    async fn a_full_subscription_does_not_hold_up_closing(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut stuck = channel.subscribe().capacity(1).await.unwrap();
        send(&mut peer, 0..2);
        advance(1).await;
        tokio::task::yield_now().await;
        let start = Instant::now();
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            // CLOSED cannot be read.
            peer.send(capably_protocol::ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert!(start.elapsed() <= Duration::from_millis(10_003), "{:?}", start.elapsed());
        assert_eq!(take(&mut stuck), numbers(0..2));
        assert_eq!(stuck.next().await, None);
    }
}
