//! History of realtime channels, between clients.

use capably::{Message, realtime::RealtimeChannelOptions, rest::Direction};

use crate::{app::in_both_formats, support::within};

fn names(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.name.as_deref().unwrap()).collect()
}

// UTS: realtime/integration/RTL10d/history-cross-client-0
// Spec: RTL10, RTL10a, RTL10c
in_both_formats! {
    async fn history_has_the_messages_of_another_client(app) {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let name = "history-RTL10d";
        let (published, read) = (publisher.channels().get(name), subscriber.channels().get(name));
        published.attach().await.unwrap();
        read.attach().await.unwrap();
        for n in 1..=3 {
            published.publish(format!("event{n}"), format!("data{n}")).await.unwrap();
        }
        let page = read.history().await.unwrap();
        assert_eq!(names(page.items()), ["event3", "event2", "event1"]);
        for (message, data) in page.items().iter().zip(["data3", "data2", "data1"]) {
            assert_eq!(message.data.as_str(), Some(data));
        }
        let page = read.history().direction(Direction::Forwards).limit(2).await.unwrap();
        assert_eq!(names(page.items()), ["event1", "event2"]);
        assert!(page.has_next());
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// Spec: RTL10b, RTL15c
in_both_formats! {
    async fn history_until_attach_and_a_subscription_have_every_message(app) {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let name = "history-RTL10b";
        let (published, read) = (publisher.channels().get(name), subscriber.channels().get(name));
        for name in ["1", "2"] {
            published.publish(name, "").await.unwrap();
        }
        let mut messages = read.subscribe().await.unwrap();
        for name in ["3", "4"] {
            published.publish(name, "").await.unwrap();
        }
        for name in ["3", "4"] {
            assert_eq!(within(messages.next()).await.unwrap().name.as_deref(), Some(name));
        }
        let page = read.history_until_attach().direction(Direction::Forwards).await.unwrap();
        assert_eq!(names(page.items()), ["1", "2"]);
        assert_eq!(names(read.history().await.unwrap().items()), ["4", "3", "2", "1"]);
        // A later attachment ends history later.
        read.detach().await.unwrap();
        published.publish("5", "").await.unwrap();
        read.attach().await.unwrap();
        let page = read.history_until_attach().direction(Direction::Forwards).await.unwrap();
        assert_eq!(names(page.items()), ["1", "2", "3", "4", "5"]);
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// Spec: RTL16a
in_both_formats! {
    async fn new_options_lose_and_repeat_no_message(app) {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let name = "options-RTL16a";
        let (published, read) = (publisher.channels().get(name), subscriber.channels().get(name));
        let mut messages = read.subscribe().await.unwrap();
        let publish = async {
            for n in 0..20 {
                published.publish(n.to_string(), "").await.unwrap();
            }
        };
        let set = async {
            for n in 1..=3 {
                let options = RealtimeChannelOptions::new().param("rewind", n);
                read.set_options(options).await.unwrap();
                assert_eq!(read.params()["rewind"], n.to_string());
            }
        };
        tokio::join!(publish, set);
        for n in 0..20 {
            let message = within(messages.next()).await.unwrap();
            assert_eq!(message.name.as_deref(), Some(&*n.to_string()));
        }
        tokio::join!(publisher.close(), subscriber.close());
    }
}
