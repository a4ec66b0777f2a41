//! The window of unacknowledged publishes: 64 MiB of memory, counted in KiB.

use std::pin::pin;

use capably::Message;
use futures_util::FutureExt;

use crate::{in_both_formats, support::*};

/// The number of publishes of at most one KiB that fill the window.
const WINDOW: usize = 65_536;

in_both_formats! {
    async fn a_full_window_makes_publishers_wait(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        for _ in 0..WINDOW {
            drop(channel.publish("n", "d").submit().await.unwrap());
        }
        peer.skip(WINDOW).await;
        let mut first = pin!(channel.publish("first", "d").submit());
        assert!(first.as_mut().now_or_never().is_none());
        // A larger publish takes more room; the longest wait is served first.
        let mut second = pin!(channel.publish("second", "d".repeat(1_500)).submit());
        assert!(second.as_mut().now_or_never().is_none());
        quiet(&client, &mut peer).await;
        assert!(first.as_mut().now_or_never().is_none());
        peer.send(ack(0, 2));
        let first = first.await.unwrap();
        assert_eq!(peer.message().await, (WINDOW as u64, vec!["first".to_owned()]));
        quiet(&client, &mut peer).await;
        assert!(second.as_mut().now_or_never().is_none());
        peer.send(ack(2, 1));
        let second = second.await.unwrap();
        assert_eq!(peer.message().await, (WINDOW as u64 + 1, vec!["second".to_owned()]));
        peer.send(ack(3, WINDOW as u64 - 1));
        assert_eq!(first.await.unwrap().serials, [Some(format!("serial-{WINDOW}").into())]);
        assert_eq!(second.await.unwrap().serials, [Some(format!("serial-{}", WINDOW + 1).into())]);
    }
}

in_both_formats! {
    async fn messages_without_a_payload_take_room(format) {
        let (client, _service, _peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let publish = || channel.publish_messages(vec![Message::default(); 1000]).submit();
        // The structures of a message take some hundred bytes.
        let submitted = (0..500).take_while(|_| publish().now_or_never().is_some()).count();
        assert!((50..500).contains(&submitted), "{submitted}");
    }
}

in_both_formats! {
    async fn failed_publishes_free_the_window(format) {
        let (client, _service) = client(format);
        let channel = client.channels().get("ch");
        for _ in 0..WINDOW {
            drop(channel.publish("n", "d").submit().await.unwrap());
        }
        let mut waiting = pin!(channel.publish("n", "d").submit());
        assert!(waiting.as_mut().now_or_never().is_none());
        client.close().await;
        assert_eq!(code(waiting.await.unwrap().await), 80017);
        // A refused publish frees its room.
        for _ in 0..WINDOW + 1 {
            assert_eq!(code(channel.publish("n", "d").await), 80017);
        }
    }
}

in_both_formats! {
    async fn an_abandoned_wait_takes_no_room(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        for _ in 0..WINDOW {
            drop(channel.publish("n", "d").submit().await.unwrap());
        }
        peer.skip(WINDOW).await;
        assert!(channel.publish("given up", "d").submit().now_or_never().is_none());
        peer.send(ack(0, 1));
        let last = channel.publish("last", "d").submit().await.unwrap();
        assert_eq!(peer.message().await, (WINDOW as u64, vec!["last".to_owned()]));
        peer.send(ack(1, WINDOW as u64));
        last.await.unwrap();
    }
}
