//! Messages that one connection changes and annotates, and another receives.

use capably::{
    Annotation, AnnotationAction, Channel, ChannelMode, CipherParams, Message, MessageAction,
    MessageOperation, Realtime, Subscription,
    realtime::{ChannelState, RealtimeChannelOptions},
};
use serde_json::json;

use crate::{
    app::{App, in_both_formats},
    support::within,
};

/// A client that changes messages, and a listener on another connection.
struct Pair {
    clients: [Realtime; 2],
    channel: Channel,
    received: Subscription,
    /// The channel of the listener.
    other: Channel,
}

impl Pair {
    async fn new(app: &App, name: &str) -> Self {
        Self::with(app, name, RealtimeChannelOptions::new, RealtimeChannelOptions::new).await
    }

    /// Both may annotate, or listen to annotations.
    async fn for_annotations(app: &App, name: &str) -> Self {
        use ChannelMode::{AnnotationPublish, AnnotationSubscribe, Publish, Subscribe};
        let modes = |modes: &[ChannelMode]| RealtimeChannelOptions::new().modes(modes.to_vec());
        let all = || modes(&[Publish, Subscribe, AnnotationPublish, AnnotationSubscribe]);
        Self::with(app, name, all, || modes(&[Subscribe, AnnotationSubscribe])).await
    }

    async fn with(
        app: &App,
        name: &str,
        own: impl FnOnce() -> RealtimeChannelOptions,
        others: impl FnOnce() -> RealtimeChannelOptions,
    ) -> Self {
        let (first, second) = tokio::join!(app.realtime(), app.realtime());
        let other = second.channels().get_with(name, others());
        let received = other.subscribe().await.unwrap();
        let channel = first.channels().get_with(name, own());
        channel.attach().await.unwrap();
        Self { clients: [first, second], channel, received, other }
    }

    /// Publishes a message, which arrives: its serial.
    async fn publish(&mut self, name: &str, data: &str) -> String {
        self.channel.publish(name, data).await.unwrap();
        let message = self.next().await;
        assert_eq!(message.action, Some(MessageAction::Create));
        assert_eq!((message.name.as_deref(), message.data.as_str()), (Some(name), Some(data)));
        let serial = message.serial.expect("the service gives serials").to_string();
        assert!(!serial.is_empty());
        serial
    }

    async fn next(&mut self) -> Message {
        within(self.received.next()).await.expect("the subscription goes on")
    }

    async fn close(self) {
        let [first, second] = self.clients;
        tokio::join!(first.close(), second.close());
    }
}

fn message(serial: &str, data: impl Into<capably::Data>) -> Message {
    Message { serial: Some(serial.into()), data: data.into(), ..Message::default() }
}

fn because(description: &str) -> MessageOperation {
    MessageOperation { description: Some(description.into()), ..MessageOperation::default() }
}

fn annotation(kind: &str, name: &str) -> Annotation {
    Annotation {
        annotation_type: Some(kind.into()),
        name: Some(name.into()),
        ..Annotation::default()
    }
}

// UTS: realtime/integration/RTL32/update-message-observed-0
in_both_formats! {
    async fn an_update_arrives(app) {
        let mut pair = Pair::new(&app, "mutable:rt-update").await;
        let serial = pair.publish("original", "v1").await;
        let update = Message { name: Some("updated".into()), ..message(&serial, "v2") };
        let result = pair.channel.update_message(update).operation(because("edited")).await.unwrap();
        let version = result.version_serial.expect("the service gives one");
        assert!(*version > *serial);
        let updated = pair.next().await;
        assert_eq!(updated.action, Some(MessageAction::Update));
        assert_eq!((updated.name.as_deref(), updated.data.as_str()), (Some("updated"), Some("v2")));
        assert_eq!(updated.serial.as_deref(), Some(&*serial));
        assert_eq!(updated.version().serial, Some(version));
        assert_eq!(updated.version().description.as_deref(), Some("edited"));
        pair.close().await;
    }
}

// UTS: realtime/integration/RTL32/delete-message-observed-1
in_both_formats! {
    async fn a_deletion_arrives(app) {
        let mut pair = Pair::new(&app, "mutable:rt-delete").await;
        let serial = pair.publish("to-delete", "ephemeral").await;
        let result = pair.channel.delete_message(message(&serial, ())).await.unwrap();
        assert!(*result.version_serial.expect("the service gives one") > *serial);
        let deleted = pair.next().await;
        assert_eq!(deleted.action, Some(MessageAction::Delete));
        assert_eq!(deleted.serial.as_deref(), Some(&*serial));
        pair.close().await;
    }
}

// UTS: realtime/integration/RTL32/append-message-observed-2
in_both_formats! {
    async fn an_append_arrives(app) {
        let mut pair = Pair::new(&app, "mutable:rt-append").await;
        let serial = pair.publish("appendable", "original").await;
        let append = message(&serial, "appended-data");
        let result = pair.channel.append_message(append).operation(because("thread reply")).await;
        assert!(*result.unwrap().version_serial.expect("the service gives one") > *serial);
        let appended = pair.next().await;
        assert_eq!(appended.action, Some(MessageAction::Append));
        assert_eq!(appended.data.as_str(), Some("appended-data"));
        assert_eq!(appended.serial.as_deref(), Some(&*serial));
        pair.close().await;
    }
}

// UTS: realtime/integration/RTL32/full-mutation-lifecycle-3
in_both_formats! {
    async fn the_life_of_a_message_arrives_in_order(app) {
        let mut pair = Pair::new(&app, "mutable:rt-lifecycle").await;
        let serial = pair.publish("lifecycle", "v1").await;
        let update = Message { name: Some("lifecycle".into()), ..message(&serial, "v2") };
        pair.channel.update_message(update).operation(because("edit 1")).await.unwrap();
        let append = message(&serial, "reply-data");
        pair.channel.append_message(append).operation(because("thread reply")).await.unwrap();
        pair.channel.delete_message(message(&serial, ())).await.unwrap();
        let updated = pair.next().await;
        assert_eq!(updated.action, Some(MessageAction::Update));
        assert_eq!((updated.name.as_deref(), updated.data.as_str()), (Some("lifecycle"), Some("v2")));
        let appended = pair.next().await;
        assert_eq!(appended.action, Some(MessageAction::Append));
        assert_eq!(appended.data.as_str(), Some("reply-data"));
        let deleted = pair.next().await;
        assert_eq!(deleted.action, Some(MessageAction::Delete));
        for message in [&updated, &appended, &deleted] {
            assert_eq!(message.serial.as_deref(), Some(&*serial));
        }
        // No message follows.
        pair.publish("the next one", "").await;
        pair.close().await;
    }
}

// UTS: realtime/integration/RTL28/get-message-and-versions-0
in_both_formats! {
    async fn a_message_and_its_versions_are_read(app) {
        let mut pair = Pair::new(&app, "mutable:rt-get-versions").await;
        let serial = pair.publish("versioned", "v1").await;
        let channel = pair.channel.clone();
        for (data, why) in [("v2", "first edit"), ("v3", "second edit")] {
            channel.update_message(message(&serial, data)).operation(because(why)).await.unwrap();
        }
        let latest = channel.get_message(serial.as_str()).await.unwrap();
        assert_eq!(latest.serial.as_deref(), Some(&*serial));
        assert_eq!(latest.data.as_str(), Some("v3"));
        assert_eq!(latest.action, Some(MessageAction::Update));
        let versions = channel.message_versions(&latest).await.unwrap();
        let seen: Vec<_> =
            versions.items().iter().map(|version| version.data.as_str().unwrap()).collect();
        assert_eq!(seen, ["v1", "v2", "v3"]);
        for version in versions.items() {
            assert_eq!(version.serial.as_deref(), Some(&*serial));
        }
        pair.close().await;
    }
}

// UTS: realtime/integration/RTAN1/annotation-publish-delete-0
in_both_formats! {
    async fn annotations_are_created_and_deleted(app) {
        let mut pair = Pair::for_annotations(&app, "mutable:rt-annotations").await;
        let mut annotations = pair.other.annotations().subscribe().await.unwrap();
        let serial = pair.publish("annotatable", "content").await;
        let like = || annotation("com.ably.reactions", "like");
        pair.channel.annotations().publish(&*serial, like()).await.unwrap();
        pair.channel.annotations().delete(&*serial, like()).await.unwrap();
        for action in [AnnotationAction::Create, AnnotationAction::Delete] {
            let seen = within(annotations.next()).await.unwrap();
            assert_eq!(seen.action, Some(action));
            assert_eq!(seen.annotation_type.as_deref(), Some("com.ably.reactions"));
            assert_eq!(seen.name.as_deref(), Some("like"));
            assert_eq!(seen.message_serial.as_deref(), Some(&*serial));
            assert_eq!(seen.connection_id, pair.clients[0].connection().id());
        }
        let read = pair.channel.annotations().get(&*serial).await.unwrap();
        assert_eq!(read.items().len(), 2);
        // A type without a method has no summary.
        pair.publish("the next one", "").await;
        pair.close().await;
    }
}

// UTS: realtime/integration/RTAN4c/annotation-type-filtering-0
in_both_formats! {
    async fn a_listener_receives_its_selected_types(app) {
        let mut pair = Pair::for_annotations(&app, "mutable:rt-ann-filter").await;
        let subscribe = || pair.other.annotations().subscribe();
        let mut filtered = subscribe().annotation_type("com.ably.reactions").await.unwrap();
        let mut all = subscribe().await.unwrap();
        let serial = pair.publish("multi-type", "content").await;
        let made = [
            ("com.ably.reactions", "like"),
            ("com.example.comments", "comment"),
            ("com.ably.reactions", "heart"),
        ];
        for (kind, name) in made {
            let annotations = pair.channel.annotations();
            annotations.publish(&*serial, annotation(kind, name)).await.unwrap();
        }
        for (kind, name) in made {
            let seen = within(all.next()).await.unwrap();
            assert_eq!(seen.annotation_type.as_deref(), Some(kind));
            assert_eq!(seen.name.as_deref(), Some(name));
            if kind == "com.ably.reactions" {
                assert_eq!(within(filtered.next()).await.unwrap(), seen);
            }
        }
        pair.close().await;
    }
}

// UTS: realtime/integration/RTAN4d/annotation-implicit-attach-0
in_both_formats! {
    async fn listening_attaches(app) {
        let client = app.realtime().await;
        let options = RealtimeChannelOptions::new().modes([ChannelMode::AnnotationSubscribe]);
        let channel = client.channels().get_with("mutable:rt-ann-implicit-attach", options);
        assert_eq!(channel.state(), ChannelState::Initialized);
        let _annotations = channel.annotations().subscribe().await.unwrap();
        assert_eq!(channel.state(), ChannelState::Attached);
        client.close().await;
    }
}

// Spec: RTL32, TM2u, TM8, TM8a, TM7b1
in_both_formats! {
    async fn every_subscriber_receives_the_summary(app) {
        let mut pair = Pair::new(&app, "mutable:rt-summary").await;
        let serial = pair.publish("note", "text").await;
        let client = app.realtime_with(|options| options.key(app.key(0)).client_id("ada")).await;
        let annotations = client.channels().get("mutable:rt-summary");
        let like = annotation("reaction:distinct.v1", "like");
        annotations.annotations().publish(&*serial, like).await.unwrap();
        let summary = pair.next().await;
        assert_eq!(summary.action, Some(MessageAction::Summary));
        assert_eq!(summary.serial.as_deref(), Some(&*serial));
        assert_eq!(summary.name.as_deref(), Some("note"));
        assert!(summary.data.is_none());
        let of = &summary.summary()["reaction:distinct.v1"];
        assert_eq!(*of, json!({ "like": { "total": 1, "clientIds": ["ada"] } }));
        // A later subscriber with `rewind` receives the summary with the message.
        let options = RealtimeChannelOptions::new().param("rewind", 1);
        let channel = client.channels();
        channel.release("mutable:rt-summary");
        let mut late = channel.get_with("mutable:rt-summary", options).subscribe().await.unwrap();
        let rewound = within(late.next()).await.unwrap();
        assert_eq!(rewound.data.as_str(), Some("text"));
        assert_eq!(rewound.summary(), summary.summary());
        client.close().await;
        pair.close().await;
    }
}

// Spec: RTL32b
in_both_formats! {
    async fn encrypted_messages_are_changed(app) {
        let cipher = CipherParams::from_key(&[7; 32]).unwrap();
        let options = || RealtimeChannelOptions::new().cipher(cipher.clone());
        let mut pair = Pair::with(&app, "mutable:rt-secret", options, options).await;
        let serial = pair.publish("secret", "v1").await;
        pair.channel.update_message(message(&serial, json!({ "v": 2 }))).await.unwrap();
        let updated = pair.next().await;
        assert_eq!(updated.data.as_json(), Some(&json!({ "v": 2 })));
        assert_eq!(updated.name.as_deref(), Some("secret"));
        let latest = pair.channel.get_message(&updated).await.unwrap();
        assert_eq!(latest.data, updated.data);
        pair.close().await;
    }
}

// Spec: RTL32d, RTAN1d
in_both_formats! {
    async fn a_refused_change_affects_no_other_message(app) {
        let mut pair = Pair::new(&app, "mutable:rt-refused").await;
        let serial = pair.publish("m", "text").await;
        let code = |error: capably::Error| error.code().0;
        let unknown = format!("{}9", &serial[..serial.len() - 1]);
        let change = pair.channel.update_message(message(&unknown, "x"));
        assert_eq!(code(change.await.unwrap_err()), 40400);
        let forced = pair.channel.update_message(message(&serial, "x")).param("_forceNack", true);
        assert_eq!(code(forced.await.unwrap_err()), 40099);
        let fixed = pair.clients[0].channels().get("fixed");
        let published = fixed.publish("m", "text").await.unwrap();
        let fixed_serial = published.serials[0].clone().unwrap();
        let change = fixed.delete_message(message(&fixed_serial, ()));
        assert_eq!(code(change.await.unwrap_err()), 93002);
        let annotations = fixed.annotations();
        let result = annotations.publish(fixed_serial, annotation("t", "n")).await;
        assert_eq!(code(result.unwrap_err()), 93002);
        let modes = RealtimeChannelOptions::new().modes([ChannelMode::Subscribe]);
        let listens = pair.clients[1].channels().get_with("mutable:rt-listens", modes);
        listens.attach().await.unwrap();
        let result = listens.annotations().publish(&*serial, annotation("t", "n")).await;
        assert_eq!(code(result.unwrap_err()), 40165);
        pair.publish("still", "here").await;
        pair.close().await;
    }
}
