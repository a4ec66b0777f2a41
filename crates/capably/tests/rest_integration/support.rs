//! The app of the tests, and helpers over REST.

use std::collections::HashSet;

use capably::{CipherParams, Message, Rest, realtime::RealtimeChannelOptions, rest::RestChannel};
use serde_json::Value;

pub(crate) use crate::app::{App, at, jwt, key_name, now, setup};

/// The channel whose members are created with the app.
pub(crate) const PRESENCE_FIXTURES: &str = "persisted:presence_fixtures";

/// The cipher of the encrypted member of [`PRESENCE_FIXTURES`].
pub(crate) fn fixture_cipher() -> CipherParams {
    CipherParams::from_base64(setup()["cipher"]["key"].as_str().unwrap()).unwrap()
}

/// Waits until the service's clock has moved on.
pub(crate) async fn next_millisecond(rest: &Rest) {
    let start = rest.time().await.unwrap();
    while rest.time().await.unwrap() == start {}
}

/// The names of messages.
pub(crate) fn names(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.name.as_deref().expect("a name")).collect()
}

/// Publishes `event-1` to `event-{count}`, one by one.
pub(crate) async fn publish_events(channel: &RestChannel, count: usize) {
    for n in 1..=count {
        channel.publish(format!("event-{n}"), n.to_string()).await.unwrap();
    }
}

/// Publishes a message, and returns its serial.
pub(crate) async fn published(channel: &RestChannel, name: &str, data: &str) -> String {
    let result = channel.publish(name, data).await.unwrap();
    result.serials[0].as_deref().expect("a serial").to_owned()
}

/// Checks that each published message has a serial of its own.
pub(crate) async fn expect_unique_serials(channel: &RestChannel) {
    let one = channel.publish("event1", "data1").await.unwrap();
    let messages = ["event2", "event3", "event4"].map(|name| Message::new(name, "data"));
    let three = channel.publish_messages(messages).await.unwrap();
    assert_eq!((one.serials.len(), three.serials.len()), (1, 3));
    let serials = one.serials.iter().chain(&three.serials);
    let serials: HashSet<_> = serials.map(|serial| serial.as_deref().unwrap()).collect();
    assert_eq!(serials.len(), 4);
    assert!(serials.iter().all(|serial| !serial.is_empty()));
}

/// The first `count` pushes to a channel, oldest first: those that have arrived and, as a push may follow the answer to
/// its request, those that arrive.
pub(crate) async fn pushed(app: &App, channel: &str, count: usize) -> Vec<Value> {
    let client = app.realtime().await;
    let rewound = RealtimeChannelOptions::new().param("rewind", 100);
    let channel = client.channels().get_with(channel, rewound);
    let mut messages = channel.subscribe().await.unwrap();
    let mut payloads = Vec::new();
    while payloads.len() < count {
        let message = messages.next().await.unwrap();
        assert_eq!(message.name.as_deref(), Some("__ably_push__"));
        payloads.push(serde_json::from_str(message.data.as_str().unwrap()).unwrap());
    }
    client.close().await;
    payloads
}
