//! Messages from one connection arrive on another, in either format.

use capably::{Channel, Data, Message, Realtime, realtime::Subscription};
use serde_json::json;

use crate::{
    app::{App, in_both_formats},
    support::within,
};

/// A publisher, and a subscriber on another connection that uses the same format.
struct Pair {
    publisher: Realtime,
    subscriber: Realtime,
    channel: Channel,
    received: Subscription,
}

impl Pair {
    async fn new(app: &App, name: &str) -> Self {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let received = subscriber.channels().get(name).subscribe().await.unwrap();
        let channel = publisher.channels().get(name);
        channel.attach().await.unwrap();
        Self { publisher, subscriber, channel, received }
    }

    /// The only message received since.
    async fn only(&mut self) -> Message {
        let message = within(self.received.next()).await.unwrap();
        self.channel.publish("the next one", ()).await.unwrap();
        let next = within(self.received.next()).await.unwrap();
        assert_eq!(next.name.as_deref(), Some("the next one"));
        message
    }

    async fn close(self) {
        tokio::join!(self.publisher.close(), self.subscriber.close());
    }
}

/// Expects that data arrives as it was published, in both formats.
async fn arrives(app: &App, name: &str, data: impl Into<Data>) {
    let data = data.into();
    let mut pair = Pair::new(app, "publish").await;
    let other = Realtime::connect(app.options_of_other_format().key(app.key(0))).await.unwrap();
    let mut others = other.channels().get("publish").subscribe().await.unwrap();
    pair.channel.publish(name, data.clone()).await.unwrap();
    for message in [pair.only().await, within(others.next()).await.unwrap()] {
        assert_eq!(message.name.as_deref(), Some(name));
        assert_eq!((message.data, message.encoding), (data.clone(), None));
    }
    other.close().await;
    pair.close().await;
}

// UTS: realtime/integration/RTL6/string-data-roundtrip-0
// Spec: RTL6, RSL4d2
in_both_formats! {
    async fn text_arrives(app) {
        arrives(&app, "string-event", "hello world").await;
    }
}

// UTS: realtime/integration/RTL6/json-data-roundtrip-1
// Spec: RTL6, RSL4d3
in_both_formats! {
    async fn json_arrives(app) {
        let data = json!({"key": "value", "nested": {"count": 42}, "list": [1, 2, 3]});
        arrives(&app, "json-event", data).await;
    }
}

// UTS: realtime/integration/RTL6/binary-data-roundtrip-2
// Spec: RTL6, RSL4d1, RSL6a
in_both_formats! {
    async fn bytes_arrive(app) {
        arrives(&app, "binary-event", vec![0, 1, 2, 255, 128, 64]).await;
    }
}

// UTS: realtime/integration/RTL6f/connectionid-matches-publisher-0
// Spec: RTL6f
in_both_formats! {
    async fn a_message_names_the_connection_of_its_publisher(app) {
        let mut pair = Pair::new(&app, "publish-connid").await;
        pair.channel.publish("connid-test", "data").await.unwrap();
        let message = pair.only().await;
        assert!(message.connection_id.is_some());
        assert_eq!(message.connection_id, pair.publisher.connection().id());
        assert_ne!(message.connection_id, pair.subscriber.connection().id());
        pair.close().await;
    }
}

// UTS: realtime/integration/RSL6a2/message-extras-roundtrip-0
// Spec: RSL6a2
in_both_formats! {
    async fn extras_arrive(app) {
        let mut pair = Pair::new(&app, "pushenabled:publish-extras").await;
        let extras = json!({"push": {"notification": {"title": "Testing"}}});
        let extras = extras.as_object().unwrap().clone();
        pair.channel.publish("extras-test", "payload").extras(extras.clone()).await.unwrap();
        assert_eq!(pair.only().await.extras, Some(extras));
        pair.close().await;
    }
}

in_both_formats! {
    // Spec: RSL1k1, RSL1k5
    async fn a_repeated_id_is_published_once(app) {
        let mut pair = Pair::new(&app, "idempotent").await;
        for data in ["first", "second"] {
            let messages = ["a", "b"].map(|name| Message::new(name, data));
            pair.channel.publish_messages(messages).id("x").await.unwrap();
            pair.channel.publish("c", data).id("y").await.unwrap();
        }
        pair.channel.publish("end", ()).await.unwrap();
        for (id, name) in [("x:0", "a"), ("x:1", "b"), ("y", "c")] {
            let message = within(pair.received.next()).await.unwrap();
            assert_eq!((message.id.as_deref(), message.name.as_deref()), (Some(id), Some(name)));
            assert_eq!(message.data.as_str(), Some("first"));
        }
        let end = within(pair.received.next()).await.unwrap();
        assert_eq!(end.name.as_deref(), Some("end"));
        pair.close().await;
    }
}
