//! The client id of messages, and the answer to each publish.

use std::collections::BTreeSet;

use capably::{
    Message, Realtime, TokenParams,
    realtime::{ChannelState, ConnectionState},
};

use crate::{
    app::{App, in_both_formats},
    support::within,
};

fn from(client_id: &str, name: &str) -> Message {
    Message { client_id: Some(client_id.into()), ..Message::new(name, "data") }
}

/// A client without a client id, whose callback returns tokens of this client. It is not connected.
fn identified_by_token(app: &App, client_id: &'static str) -> Realtime {
    let rest = app.rest();
    let options = app.options().auto_connect(false).auth_callback(move |_| {
        let rest = rest.clone();
        async move {
            let params = TokenParams::new().client_id(client_id);
            rest.auth().request_token().params(params).await
        }
    });
    Realtime::new(options).unwrap()
}

// Spec: RTL6e, RTL6e1
in_both_formats! {
    async fn with_a_key_a_message_may_have_any_client_id(app) {
        let (publisher, subscriber) = tokio::join!(app.realtime(), app.realtime());
        let mut received = subscriber.channels().get("identity").subscribe().await.unwrap();
        let channel = publisher.channels().get("identity");
        channel.publish_message(from("ada", "named")).await.unwrap();
        channel.publish("unnamed", "data").await.unwrap();
        for (name, client_id) in [("named", Some("ada")), ("unnamed", None)] {
            let message = within(received.next()).await.unwrap();
            assert_eq!((message.name.as_deref(), message.client_id.as_deref()), (Some(name), client_id));
        }
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// Spec: RTL6g, RTL6g1, RTL6g1b, RTL6g2, RTL6g3
in_both_formats! {
    async fn a_client_publishes_as_itself_with_and_without_its_id(app) {
        let key = app.key(0);
        let publisher = app.realtime_with(|options| options.key(key).client_id("ada")).await;
        let subscriber = app.realtime().await;
        let mut received = subscriber.channels().get("identity").subscribe().await.unwrap();
        let channel = publisher.channels().get("identity");
        channel.attach().await.unwrap();
        channel.publish("unsaid", "data").await.unwrap();
        channel.publish_message(from("ada", "said")).await.unwrap();
        let error = channel.publish_message(from("bob", "another")).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)));
        // The refused publish has no effect, and the client continues.
        assert_eq!(publisher.connection().state(), ConnectionState::Connected);
        assert_eq!(channel.state(), ChannelState::Attached);
        channel.publish("still", "data").await.unwrap();
        for name in ["unsaid", "said", "still"] {
            let message = within(received.next()).await.unwrap();
            assert_eq!(message.name.as_deref(), Some(name));
            assert_eq!(message.client_id.as_deref(), Some("ada"), "{name}");
        }
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// Spec: RTL6g4
in_both_formats! {
    async fn a_message_queued_before_the_token_may_have_the_client_id(app) {
        let subscriber = app.realtime().await;
        let mut received = subscriber.channels().get("identity").subscribe().await.unwrap();
        let publisher = identified_by_token(&app, "ada");
        assert_eq!(publisher.client_id(), None);
        let channel = publisher.channels().get("identity");
        let own = channel.publish_message(from("ada", "own")).submit().await.unwrap();
        let another = channel.publish_message(from("bob", "another")).submit().await.unwrap();
        publisher.connection().connect();
        within(own).await.unwrap();
        // The service refuses the message.
        let error = within(another).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)));
        assert_eq!(publisher.connection().state(), ConnectionState::Connected);
        assert_eq!(publisher.client_id().as_deref(), Some("ada"));
        channel.publish("still", "data").await.unwrap();
        for name in ["own", "still"] {
            let message = within(received.next()).await.unwrap();
            assert_eq!(message.name.as_deref(), Some(name));
            assert_eq!(message.client_id.as_deref(), Some("ada"));
        }
        tokio::join!(publisher.close(), subscriber.close());
    }
}

// Spec: RTL6b
in_both_formats! {
    async fn many_publishes_on_a_few_connections_are_all_acknowledged(app) {
        const EACH: usize = 500;
        let clients = tokio::join!(app.realtime(), app.realtime(), app.realtime());
        let clients = [clients.0, clients.1, clients.2];
        let mut receipts = Vec::new();
        for publish in 0..EACH {
            for (place, client) in clients.iter().enumerate() {
                let channel = client.channels().get(format!("many-{}", publish % 2));
                receipts.push(channel.publish(place.to_string(), "data").submit().await.unwrap());
            }
        }
        let mut serials = BTreeSet::new();
        for receipt in receipts {
            let result = within(receipt).await.unwrap();
            assert_eq!(result.serials.len(), 1);
            serials.insert(result.serials[0].clone().unwrap());
        }
        // Each message has a serial of its own.
        assert_eq!(serials.len(), EACH * clients.len());
        for client in clients {
            client.close().await;
        }
    }
}
