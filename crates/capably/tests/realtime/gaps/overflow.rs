//! Gaps in queues that are full.

use capably::Overflow;
use capably_protocol::Format;

use super::*;
use crate::in_both_formats;

/// The events of a subscription with this capacity, when all frames arrive before it reads any.
async fn said_of(format: Format, capacity: usize, frames: Vec<ServerFrame>) -> Vec<String> {
    let (client, _service, mut peer, channel) = with_channel(format).await;
    let subscribe = channel.subscribe().capacity(capacity).overflow(Overflow::DropOldest);
    let mut messages = subscribe.await.unwrap();
    for frame in frames {
        peer.send(frame);
        // Each frame is a separate batch.
        quiet(&client, &mut peer).await;
    }
    said(&mut messages)
}

in_both_formats! {
    async fn a_gap_keeps_its_place_when_messages_before_it_are_dropped(format) {
        let frames = vec![message(1, "a"), message(2, "b"), anew(5), message(6, "c"), message(7, "d")];
        assert_eq!(said_of(format, 3, frames).await, ["dropped 1", "b", "gap 002..005 - -", "c", "d"]);
    }
}

in_both_formats! {
    async fn a_gap_is_not_dropped_with_the_messages_around_it(format) {
        let frames = vec![message(1, "a"), anew(5), message(6, "b"), message(7, "c"), message(8, "d")];
        assert_eq!(said_of(format, 2, frames).await, ["dropped 2", "gap 001..005 - -", "c", "d"]);
    }
}

in_both_formats! {
    async fn gaps_without_messages_between_them_are_joined(format) {
        let frames = vec![
            message(1, "a"),
            anew_because(3, 90003),
            message(4, "b"),
            anew(6),
            anew(7),
            message(8, "c"),
            message(9, "d"),
            anew(11),
        ];
        assert_eq!(
            said_of(format, 1, frames).await,
            ["dropped 3", "gap 001..007 90003 -", "d", "gap 009..011 - -"]
        );
    }
}

in_both_formats! {
    async fn part_of_a_batch_is_dropped_behind_a_gap(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let subscribe = channel.subscribe().capacity(2).overflow(Overflow::DropOldest);
        let mut messages = subscribe.await.unwrap();
        peer.send(message(1, "a"));
        peer.send(anew(5));
        for position in 6..9 {
            peer.send(message(position, &position.to_string()));
        }
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["dropped 2", "gap 001..005 - -", "7", "8"]);
    }
}

in_both_formats! {
    async fn a_gap_does_not_count_as_a_message(format) {
        for overflow in [Overflow::Replay, Overflow::End] {
            let (client, _service, mut peer, channel) = with_channel(format).await;
            let mut messages = channel.subscribe().capacity(2).overflow(overflow).await.unwrap();
            peer.send(message(1, "a"));
            for position in 2..10 {
                peer.send(anew(position));
            }
            quiet(&client, &mut peer).await;
            peer.send(message(11, "b"));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(said(&mut messages), ["a", "gap 001..009 - -", "b"]);
            assert!(messages.end_reason().is_none());
        }
    }
}

in_both_formats! {
    async fn a_full_queue_that_ends_delivers_its_gaps_first(format) {
        let (client, _service, mut peer, channel) = with_channel(format).await;
        let mut messages = channel.subscribe().capacity(1).overflow(Overflow::End).await.unwrap();
        peer.send(message(1, "a"));
        peer.send(anew(5));
        peer.send(message(6, "b"));
        quiet(&client, &mut peer).await;
        assert_eq!(said(&mut messages), ["a", "gap 001..005 - -"]);
        assert_eq!(messages.next_event().await, None);
        assert_eq!(messages.end_reason().unwrap().code().0, 90004);
    }
}
