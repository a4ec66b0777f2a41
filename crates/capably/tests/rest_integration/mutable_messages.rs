//! Messages that are changed after they were published.

use std::collections::HashSet;

use capably::{Message, MessageAction, MessageOperation};

use crate::{in_both_formats, support::*};

fn change(serial: &str, data: &str) -> Message {
    Message { serial: Some(serial.into()), data: data.into(), ..Message::default() }
}

fn because(description: &str) -> MessageOperation {
    MessageOperation { description: Some(description.into()), ..MessageOperation::default() }
}

in_both_formats! {
    // UTS: rest/integration/RSL1n/publish-returns-serials-0
    async fn mutable_messages_have_serials(app) {
        let channel = app.rest().channels().get("mutable:test-RSL1n-serials");
        let one = channel.publish("event1", "data1").await.unwrap();
        let messages = ["event2", "event3", "event4"].map(|name| Message::new(name, "data"));
        let three = channel.publish_messages(messages).await.unwrap();
        assert_eq!((one.serials.len(), three.serials.len()), (1, 3));
        let serials = one.serials.iter().chain(&three.serials);
        let serials: HashSet<_> = serials.map(|serial| serial.as_deref().unwrap()).collect();
        assert_eq!(serials.len(), 4);
        assert!(serials.iter().all(|serial| !serial.is_empty()));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL11/get-message-by-serial-0
    async fn a_message_is_got_by_its_serial(app) {
        let channel = app.rest().channels().get("mutable:test-RSL11-getMessage");
        let serial = published(&channel, "test-event", "hello world").await;
        let message = channel.get_message(serial.as_str()).await.unwrap();
        assert_eq!(message.name.as_deref(), Some("test-event"));
        assert_eq!(message.data.as_str(), Some("hello world"));
        assert_eq!(message.serial.as_deref(), Some(serial.as_str()));
        assert_eq!(message.action, Some(MessageAction::Create));
        assert!(message.timestamp.is_some());
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL15/update-message-0
    async fn an_update_replaces_a_message(app) {
        let channel = app.rest().channels().get("mutable:test-RSL15-update");
        let serial = published(&channel, "original", "original-data").await;
        let update = Message { name: Some("updated".into()), ..change(&serial, "updated-data") };
        let result = channel.update_message(update).operation(because("edited content")).await;
        let version = result.unwrap().version_serial.expect("a version");
        assert!(!version.is_empty());

        let message = channel.get_message(serial.as_str()).await.unwrap();
        assert_eq!(message.name.as_deref(), Some("updated"));
        assert_eq!(message.data.as_str(), Some("updated-data"));
        assert_eq!(message.action, Some(MessageAction::Update));
        let latest = message.version.expect("a version");
        assert_eq!(latest.description.as_deref(), Some("edited content"));
        assert_eq!(latest.serial, Some(version));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL15/delete-message-1
    async fn a_message_can_be_deleted(app) {
        let channel = app.rest().channels().get("mutable:test-RSL15-delete");
        let serial = published(&channel, "to-delete", "delete-me").await;
        let gone = Message { serial: Some(serial.as_str().into()), ..Message::default() };
        let result = channel.delete_message(gone).await.unwrap();
        assert!(!result.version_serial.expect("a version").is_empty());
        let message = channel.get_message(serial.as_str()).await.unwrap();
        assert_eq!(message.action, Some(MessageAction::Delete));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL14/get-message-versions-0
    // Spec: RSL11a1, RSL14a1
    async fn a_message_has_all_its_versions(app) {
        let channel = app.rest().channels().get("mutable:test-RSL14-versions");
        let serial = published(&channel, "versioned", "v1").await;
        for (data, why) in [("v2", "first edit"), ("v3", "second edit")] {
            channel.update_message(change(&serial, data)).operation(because(why)).await.unwrap();
        }
        let versions = channel.message_versions(serial.as_str()).await.unwrap();
        let data: Vec<_> = versions.items().iter().map(|item| item.data.as_str()).collect();
        assert_eq!(data, [Some("v1"), Some("v2"), Some("v3")]);
        assert!(versions.items().iter().all(|item| item.serial.as_deref() == Some(&serial)));

        // Any of them says itself which message is meant.
        let again = channel.message_versions(&versions.items()[1]).await.unwrap();
        assert_eq!(again.items(), versions.items());
        let latest = channel.get_message(&versions.items()[0]).await.unwrap();
        assert_eq!(latest.data.as_str(), Some("v3"));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL15/append-message-2
    async fn a_message_can_be_appended_to(app) {
        let channel = app.rest().channels().get("mutable:test-RSL15-append");
        let serial = published(&channel, "appendable", "original").await;
        let append = channel.append_message(change(&serial, "-appended"));
        let result = append.operation(because("appended content")).await.unwrap();
        assert!(!result.version_serial.expect("a version").is_empty());
        let message = channel.get_message(serial.as_str()).await.unwrap();
        assert_eq!(message.data.as_str(), Some("original-appended"));
    }
}
