//! A hundred thousand messages, pipelined through the embedded server, arrive exactly once and in order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/embedded.rs"]
mod embedded;

use embedded::{client, server};

const MESSAGES: usize = 100_000;
const SIZE: usize = 300;

async fn exactly_once_and_in_order(binary: bool) {
    let server = server().await;
    let publisher = client(&server, binary).await;
    let subscriber = client(&server, binary).await;
    let mut messages = subscriber.channels().get("flood").subscribe().await.unwrap();
    let publish = async {
        let channel = publisher.channels().get("flood");
        let mut receipts = Vec::with_capacity(MESSAGES);
        for number in 0..MESSAGES {
            let data = format!("{number:0>SIZE$}");
            receipts.push(channel.publish("n", data).submit().await.unwrap());
        }
        for receipt in receipts {
            assert_eq!(receipt.await.unwrap().serials.len(), 1);
        }
        channel.publish("end", "").await.unwrap();
    };
    let receive = async {
        for number in 0..MESSAGES {
            let message = messages.next().await.unwrap();
            let data = message.data.as_str().unwrap();
            assert_eq!(data.len(), SIZE);
            assert_eq!(data.parse(), Ok(number));
        }
        assert_eq!(messages.next().await.unwrap().name.as_deref(), Some("end"));
    };
    tokio::join!(publish, receive);
    subscriber.close().await;
    publisher.close().await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_json() {
    exactly_once_and_in_order(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_msgpack() {
    exactly_once_and_in_order(true).await;
}
