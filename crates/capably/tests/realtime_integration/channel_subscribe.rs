//! The messages that a subscription delivers.

use capably::realtime::Subscription;

use crate::{app::in_both_formats, support::within};

/// The names and data of the next messages.
async fn next<const N: usize>(messages: &mut Subscription) -> [[String; 2]; N] {
    let mut next = [const { [String::new(), String::new()] }; N];
    for place in &mut next {
        let message = within(messages.next()).await.unwrap();
        *place = [message.name.unwrap().to_string(), message.data.as_str().unwrap().to_owned()];
    }
    next
}

// UTS: realtime/integration/RTL7a/subscribe-all-messages-0
// Spec: RTL7a
in_both_formats! {
    async fn without_a_name_a_subscription_receives_every_message(app) {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let name = "subscribe-all";
        let mut received = subscriber.channels().get(name).subscribe().await.unwrap();
        let channel = publisher.channels().get(name);
        channel.attach().await.unwrap();
        let sent = [["event-a", "data-a"], ["event-b", "data-b"], ["event-c", "data-c"]];
        for [name, data] in sent {
            channel.publish(name, data).await.unwrap();
        }
        assert_eq!(next(&mut received).await, sent);
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// UTS: realtime/integration/RTL7b/subscribe-filtered-by-name-0
// Spec: RTL7b
in_both_formats! {
    async fn with_a_name_a_subscription_receives_only_its_messages(app) {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let name = "subscribe-filtered";
        let subscribed = subscriber.channels().get(name);
        let mut targets = subscribed.subscribe().name("target").await.unwrap();
        let mut all = subscribed.subscribe().await.unwrap();
        let channel = publisher.channels().get(name);
        channel.attach().await.unwrap();
        let sent =
            [["other", "ignored"], ["target", "wanted-1"], ["other", "ignored"], ["target", "wanted-2"]];
        for [name, data] in sent {
            channel.publish(name, data).await.unwrap();
        }
        assert_eq!(next(&mut all).await, sent);
        assert_eq!(next(&mut targets).await, [["target", "wanted-1"], ["target", "wanted-2"]]);
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// UTS: realtime/integration/RTL7/bidirectional-message-flow-0
// Spec: RTL7
in_both_formats! {
    async fn two_clients_receive_each_others_messages_and_their_own(app) {
        let key = app.key(0);
        let connect = |client_id: &'static str| {
            app.realtime_with(move |options| options.key(key).client_id(client_id))
        };
        let (a, b) = tokio::join!(connect("client-a"), connect("client-b"));
        let [channel_a, channel_b] = [&a, &b].map(|client| client.channels().get("subscribe-bidir"));
        let mut heard_by_a = channel_a.subscribe().await.unwrap();
        let mut heard_by_b = channel_b.subscribe().await.unwrap();
        channel_a.publish("from-a", "hello from a").await.unwrap();
        channel_b.publish("from-b", "hello from b").await.unwrap();
        let sent = [["from-a", "hello from a"], ["from-b", "hello from b"]];
        assert_eq!(next(&mut heard_by_a).await, sent);
        assert_eq!(next(&mut heard_by_b).await, sent);
        tokio::join!(a.close(), b.close());
    }
}
