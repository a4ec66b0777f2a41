//! Slow subscribers.

use std::time::Duration;

use capably::{
    Channel, Message, Overflow, Realtime, Str, Subscription,
    realtime::{RealtimeChannelOptions, SubscriptionEvent},
};
use capably_protocol::{ClientFrame, Flags, ServerFrame, frame::Delivery};
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

/// Receives the queued messages, without waiting.
fn take(subscription: &mut Subscription) -> Vec<String> {
    let mut taken = Vec::new();
    while let Some(Some(message)) = subscription.next().now_or_never() {
        taken.push(message.name.unwrap().to_string());
    }
    taken
}

in_both_formats! {
    async fn drop_oldest_reports_the_number_of_dropped_messages(format) {
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
        // A queue that is exactly full drops nothing.
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
        // `next` skips the notice of dropped messages.
        send(&mut peer, 46..66);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), [numbers(37..46), numbers(56..66)].concat());
        assert_eq!(take(&mut fast), numbers(0..66));
        assert!(slow.end_reason().is_none());
    }
}

in_both_formats! {
    async fn a_dropping_subscription_delays_no_other(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let subscribe = || channel.subscribe().capacity(2);
        let mut dropping = subscribe().overflow(Overflow::DropOldest).await.unwrap();
        let mut waiting = subscribe().await.unwrap();
        // Both queues are full; the client waits for only one.
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
    async fn end_ends_after_the_queued_messages(format) {
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

/// Sends numbered messages, each in a frame of its own with a channel serial.
fn send_placed(peer: &mut Peer, range: std::ops::Range<usize>) {
    for number in range {
        let items = vec![Message::new(number.to_string(), "d")];
        let mut delivery = Delivery::new("ch", items);
        delivery.channel_serial = Some(serial(number));
        peer.send(ServerFrame::Message(delivery));
    }
}

fn serial(number: usize) -> Str {
    format!("ch-serial@{number:05}").into()
}

/// The client requests the messages after this one, and the service continues from there.
async fn continue_after(peer: &mut Peer, number: usize) {
    let attach = peer.expect_attach("ch").await;
    assert_eq!(attach.channel_serial, Some(serial(number)));
    peer.send(attached_with("ch", |attached| {
        attached.channel_serial = Some(serial(number));
        attached.flags = Flags::RESUMED;
    }));
}

in_both_formats! {
    async fn messages_beyond_a_full_queue_are_fetched_later(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(10).await.unwrap();
        let mut fast = subscribed(&channel).await;
        let mut states = channel.changes();
        send_placed(&mut peer, 0..10);
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 10..30);
        quiet(&client, &mut peer).await;
        // No other subscription waits for the slow one.
        assert_eq!(take(&mut fast), numbers(0..30));
        assert_eq!(take(&mut slow), numbers(0..10));
        continue_after(&mut peer, 9).await;
        send_placed(&mut peer, 10..31);
        quiet(&client, &mut peer).await;
        // The replay filled the queue, so new messages had no room either.
        assert_eq!(take(&mut slow), numbers(10..30));
        assert_eq!(take(&mut fast), numbers(30..31));
        continue_after(&mut peer, 29).await;
        send_placed(&mut peer, 30..31);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(30..31));
        send_placed(&mut peer, 31..35);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(31..35));
        assert_eq!(take(&mut fast), numbers(31..35));
        expect_none(&mut states);
        assert!(slow.end_reason().is_none());
    }
}

in_both_formats! {
    async fn a_replay_stops_at_a_full_queue_and_another_follows(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(10).capacity_bytes(4_000).await.unwrap();
        let mut fast = subscribed(&channel).await;
        send_placed(&mut peer, 0..10);
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 10..60);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut fast), numbers(0..60));
        assert_eq!(take(&mut slow), numbers(0..10));
        let mut taken = 10;
        while taken < 60 {
            continue_after(&mut peer, taken - 1).await;
            let some = (taken + 20).min(60);
            send_placed(&mut peer, taken..some);
            if some < 60 {
                // The queue has no room for all of these, so the client stops the replay. Replayed messages that arrive
                // before the answer are ignored.
                let attach = peer.expect_attach("ch").await;
                assert_eq!(attach.channel_serial, Some(serial(59)));
                send_placed(&mut peer, some..some + 1);
                peer.send(attached_with("ch", |attached| {
                    attached.channel_serial = Some(serial(59));
                    attached.flags = Flags::RESUMED;
                }));
            }
            quiet(&client, &mut peer).await;
            let more = take(&mut slow);
            assert_eq!(more, numbers(taken..taken + more.len()));
            assert!(more.len() > 5 && more.len() < 20, "{more:?}");
            taken += more.len();
        }
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 60..61);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(60..61));
        assert_eq!(take(&mut fast), numbers(60..61));
    }
}

in_both_formats! {
    async fn a_replay_brings_256_messages_to_a_queue_of_few(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(10).await.unwrap();
        send_placed(&mut peer, 0..10);
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 10..400);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(0..10));
        continue_after(&mut peer, 9).await;
        send_placed(&mut peer, 10..399);
        // The queue has room for 256 of them, and the client goes on with what is new.
        continue_after(&mut peer, 399).await;
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(10..266));
        continue_after(&mut peer, 265).await;
        send_placed(&mut peer, 266..400);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(266..400));
    }
}

in_both_formats! {
    async fn messages_that_the_service_no_longer_has_are_a_gap(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(10).await.unwrap();
        let mut fast = subscribed(&channel).await;
        send_placed(&mut peer, 0..10);
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 10..30);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(0..10));
        assert_eq!(peer.expect_attach("ch").await.channel_serial, Some(serial(9)));
        peer.send(attached_with("ch", |attached| {
            attached.channel_serial = Some(serial(29));
            attached.error = Some(info(90003, 404));
        }));
        // Other subscriptions lose no message.
        continue_after(&mut peer, 29).await;
        send_placed(&mut peer, 30..31);
        quiet(&client, &mut peer).await;
        match slow.next_event().await {
            Some(SubscriptionEvent::Gap(gap)) => {
                assert_eq!(gap.after, Some(serial(9)));
                assert_eq!(gap.reason.unwrap().code.0, 90003);
            }
            other => panic!("not a gap: {other:?}"),
        }
        assert_eq!(take(&mut slow), numbers(30..31));
        assert_eq!(take(&mut fast), numbers(0..31));
    }
}

in_both_formats! {
    async fn a_full_queue_delays_no_acknowledgement(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(1).await.unwrap();
        for number in 0..3 {
            send_placed(&mut peer, number..number + 1);
            quiet(&client, &mut peer).await;
        }
        let receipt = channel.publish("n", "d").submit().await.unwrap();
        assert_eq!(peer.message().await, (0, vec!["n".to_owned()]));
        peer.send(ack(0, 1));
        assert_eq!(receipt.await.unwrap().serials, [Some("serial-0".into())]);
        assert_eq!(take(&mut slow), numbers(0..1));
        continue_after(&mut peer, 0).await;
        send_placed(&mut peer, 1..3);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(1..3));
    }
}

in_both_formats! {
    async fn an_idle_subscription_delays_no_other(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut stuck = channel.subscribe().capacity(10).await.unwrap();
        let mut other = subscribed(&channel).await;
        let mut states = client.connection().changes();
        let begun = Instant::now();
        for number in 0..100 {
            send_placed(&mut peer, number..number + 1);
            assert_eq!(other.next().await.unwrap().name.as_deref(), Some(&*number.to_string()));
        }
        // The client waited for the full queue once.
        assert_eq!(begun.elapsed(), Duration::from_millis(5));
        for _ in 0..720 {
            advance(10_000).await;
            peer.send(ServerFrame::Heartbeat { id: None });
            quiet(&client, &mut peer).await;
        }
        expect_none(&mut states);
        assert!(service.is_quiet());
        assert_eq!(take(&mut stuck), numbers(0..10));
        continue_after(&mut peer, 9).await;
        send_placed(&mut peer, 10..100);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut stuck), numbers(10..100));
        assert!(stuck.end_reason().is_none());
    }
}

in_both_formats! {
    async fn dropping_a_subscription_that_is_behind_starts_no_replay(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let stuck = channel.subscribe().capacity(1).await.unwrap();
        let mut other = subscribed(&channel).await;
        send_placed(&mut peer, 0..1);
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 1..2);
        quiet(&client, &mut peer).await;
        drop(stuck);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut other), numbers(0..2));
    }
}

in_both_formats! {
    async fn closing_reports_the_gap_of_a_subscription_that_is_behind(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut stuck = channel.subscribe().capacity(1).await.unwrap();
        send_placed(&mut peer, 0..1);
        quiet(&client, &mut peer).await;
        send_placed(&mut peer, 1..2);
        quiet(&client, &mut peer).await;
        let start = Instant::now();
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(take_event(&mut stuck), Some("0".to_owned()));
        match stuck.next_event().await {
            Some(SubscriptionEvent::Gap(gap)) => assert_eq!(gap.after, Some(serial(0))),
            other => panic!("not a gap: {other:?}"),
        }
        assert_eq!(stuck.next_event().await, None);
        assert_eq!(stuck.end_reason().unwrap().code().0, 80017);
    }
}

/// A slow listener during a replay: it has received messages 0 to 9, is behind by 10 to 29, and receives 10 to 14.
async fn in_a_replay(client: &Realtime, channel: &Channel, peer: &mut Peer) -> Subscription {
    let mut slow = channel.subscribe().capacity(10).await.unwrap();
    send_placed(peer, 0..10);
    quiet(client, peer).await;
    send_placed(peer, 10..30);
    quiet(client, peer).await;
    assert_eq!(take(&mut slow), numbers(0..10));
    continue_after(peer, 9).await;
    send_placed(peer, 10..15);
    quiet(client, peer).await;
    slow
}

in_both_formats! {
    async fn an_unreadable_replayed_frame_is_a_gap_only_for_the_slow_subscription(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut fast = subscribed(&channel).await;
        let mut slow = in_a_replay(&client, &channel, &mut peer).await;
        assert_eq!(take(&mut fast), numbers(0..30));
        let mut changes = channel.changes();
        peer.send_fields(serde_json::json!({
            "action": 15, "channel": "ch", "channelSerial": &*serial(15),
            "messages": [{ "name": "15" }, { "name": [] }, { "name": "after" }],
        }));
        send_placed(&mut peer, 16..30);
        quiet(&client, &mut peer).await;
        let mut names = Vec::new();
        while let Some(Some(event)) = slow.next_event().now_or_never() {
            match event {
                SubscriptionEvent::Message(message) => names.push(message.name.unwrap().to_string()),
                SubscriptionEvent::Gap(gap) => {
                    assert_eq!((gap.after, gap.until), (Some(serial(14)), Some(serial(15))));
                    assert_eq!(gap.reason.unwrap().code.0, 40013);
                    names.push("gap".to_owned());
                }
                other => panic!("{other:?}"),
            }
        }
        let between = ["gap".to_owned(), "after".to_owned()];
        assert_eq!(names, [&numbers(10..16)[..], &between, &numbers(16..30)].concat());
        assert_eq!(fast.next_event().now_or_never(), None);
        expect_none(&mut changes);
    }
}

in_both_formats! {
    async fn closing_during_a_replay_reports_the_gap(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = in_a_replay(&client, &channel, &mut peer).await;
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        for number in 10..15 {
            assert_eq!(take_event(&mut slow), Some(number.to_string()));
        }
        match slow.next_event().await {
            Some(SubscriptionEvent::Gap(gap)) => assert_eq!(gap.after, Some(serial(14))),
            other => panic!("not a gap: {other:?}"),
        }
        assert_eq!(slow.next_event().await, None);
        assert_eq!(slow.end_reason().unwrap().code().0, 80017);
    }
}

in_both_formats! {
    async fn options_set_during_a_replay_wait_for_its_end(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = in_a_replay(&client, &channel, &mut peer).await;
        let options = RealtimeChannelOptions::new().param("novel", "1");
        let set = tokio::spawn(channel.set_options(options));
        // First the replay ends, then the channel is attached with the new options.
        continue_after(&mut peer, 29).await;
        let attach = peer.expect_attach("ch").await;
        assert_eq!(attach.channel_serial, Some(serial(29)));
        assert_eq!(attach.params.get("novel").map(String::as_str), Some("1"));
        peer.send(attached_with("ch", |attached| {
            attached.channel_serial = Some(serial(29));
            attached.flags = Flags::RESUMED;
        }));
        set.await.unwrap().unwrap();
        // The listener receives the rest in another replay.
        continue_after(&mut peer, 14).await;
        send_placed(&mut peer, 15..30);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(10..30));
    }
}

/// The name of the queued message.
fn take_event(subscription: &mut Subscription) -> Option<String> {
    let event = subscription.next_event().now_or_never().flatten()?;
    Some(event.into_message()?.name?.to_string())
}

in_both_formats! {
    async fn two_subscriptions_behind_at_different_positions_receive_each_message_once(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut early = channel.subscribe().capacity(2).await.unwrap();
        let mut late = channel.subscribe().capacity(5).await.unwrap();
        for number in 0..10 {
            send_placed(&mut peer, number..number + 1);
            quiet(&client, &mut peer).await;
        }
        assert_eq!(take(&mut early), numbers(0..2));
        assert_eq!(take(&mut late), numbers(0..5));
        continue_after(&mut peer, 1).await;
        send_placed(&mut peer, 2..11);
        quiet(&client, &mut peer).await;
        // The new message came with the replay and is live.
        assert_eq!(take(&mut early), numbers(2..10));
        assert_eq!(take(&mut late), numbers(5..10));
    }
}

in_both_formats! {
    async fn a_replay_for_another_leaves_no_hole(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut small = channel.subscribe().capacity(2).await.unwrap();
        let mut large = channel.subscribe().capacity(5).await.unwrap();
        for number in 0..10 {
            send_placed(&mut peer, number..number + 1);
            quiet(&client, &mut peer).await;
        }
        // Only the large queue is read: the replay begins after the missing messages of the small one.
        assert_eq!(take(&mut large), numbers(0..5));
        continue_after(&mut peer, 4).await;
        send_placed(&mut peer, 5..10);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut large), numbers(5..10));
        assert_eq!(take(&mut small), numbers(0..2));
        continue_after(&mut peer, 1).await;
        send_placed(&mut peer, 2..10);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut small), numbers(2..10));
    }
}

in_both_formats! {
    async fn a_message_without_a_serial_beyond_a_full_queue_is_a_gap_in_its_place(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity_bytes(0).await.unwrap();
        for number in 0..2 {
            send_placed(&mut peer, number..number + 1);
            quiet(&client, &mut peer).await;
        }
        // The service does not repeat this message.
        send(&mut peer, 7..8);
        quiet(&client, &mut peer).await;
        assert_eq!(take_event(&mut slow), Some("0".to_owned()));
        continue_after(&mut peer, 0).await;
        send_placed(&mut peer, 1..2);
        quiet(&client, &mut peer).await;
        assert_eq!(take_event(&mut slow), Some("1".to_owned()));
        match slow.next_event().await {
            Some(SubscriptionEvent::Gap(gap)) => {
                assert_eq!((gap.after, gap.until), (Some(serial(1)), Some(serial(1))));
                assert_eq!(gap.reason.unwrap().code.0, 90004);
            }
            other => panic!("not a gap: {other:?}"),
        }
    }
}

in_both_formats! {
    async fn detaching_waits_for_the_end_of_a_replay(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(1).await.unwrap();
        for number in 0..3 {
            send_placed(&mut peer, number..number + 1);
            quiet(&client, &mut peer).await;
        }
        assert_eq!(take(&mut slow), numbers(0..1));
        continue_after(&mut peer, 0).await;
        quiet(&client, &mut peer).await;
        let detach = detaching(&channel);
        continue_after(&mut peer, 2).await;
        peer.expect_detach("ch").await;
        peer.send(detached("ch"));
        detach.await.unwrap().unwrap();
        let attach = attaching(&channel);
        assert_eq!(peer.expect_attach("ch").await.channel_serial, None);
        peer.send(attached_with("ch", |attached| attached.channel_serial = Some(serial(9))));
        attach.await.unwrap().unwrap();
        match slow.next_event().await {
            Some(SubscriptionEvent::Gap(gap)) => {
                assert_eq!((gap.after, gap.until), (Some(serial(0)), Some(serial(9))));
            }
            other => panic!("not a gap: {other:?}"),
        }
    }
}

in_both_formats! {
    async fn a_drop_during_a_replay_loses_no_message(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut slow = channel.subscribe().capacity(1).await.unwrap();
        let mut fast = subscribed(&channel).await;
        for number in 0..4 {
            send_placed(&mut peer, number..number + 1);
            quiet(&client, &mut peer).await;
        }
        assert_eq!(take(&mut slow), numbers(0..1));
        continue_after(&mut peer, 0).await;
        send_placed(&mut peer, 1..2);
        quiet(&client, &mut peer).await;
        let mut peer = resume(&client, &mut service, peer).await;
        // The channel continues from its position, and attaches once more for the slow subscription.
        continue_after(&mut peer, 3).await;
        assert_eq!(take(&mut slow), numbers(1..2));
        continue_after(&mut peer, 1).await;
        send_placed(&mut peer, 2..5);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(2..4));
        assert_eq!(take(&mut fast), numbers(0..5));
        continue_after(&mut peer, 3).await;
        send_placed(&mut peer, 4..5);
        quiet(&client, &mut peer).await;
        assert_eq!(take(&mut slow), numbers(4..5));
    }
}
