//! Messages that are changed after they were published.

use capably::{
    Annotation, AnnotationAction, Data, Message, MessageAction, MessageOperation, summary,
};

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
        expect_unique_serials(&app.rest().channels().get("mutable:test-RSL1n-serials")).await;
    }
}

in_both_formats! {
    // UTS: rest/integration/RSL11/get-message-by-serial-0
    async fn a_message_is_fetched_by_its_serial(app) {
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

        // Each version contains the serial of the message.
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

fn annotation(kind: &str, name: &str) -> Annotation {
    Annotation {
        annotation_type: Some(kind.into()),
        name: Some(name.into()),
        ..Annotation::default()
    }
}

in_both_formats! {
    // UTS: rest/integration/RSAN1/annotation-lifecycle-0
    // Spec: RSAN2, RSAN3b
    async fn an_annotation_is_created_and_deleted(app) {
        let channel = app.rest().channels().get("mutable:test-RSAN-lifecycle");
        let serial = published(&channel, "annotatable", "content").await;
        let annotations = channel.annotations();
        let like = annotation("com.ably.reactions", "like");
        annotations.publish(serial.as_str(), like.clone()).await.unwrap();
        let page = annotations.get(serial.as_str()).await.unwrap();
        let [made] = page.items() else { panic!("{page:?}") };
        assert_eq!(made.annotation_type.as_deref(), Some("com.ably.reactions"));
        assert_eq!(made.name.as_deref(), Some("like"));
        assert_eq!(made.action, Some(AnnotationAction::Create));
        assert_eq!(made.message_serial.as_deref(), Some(&*serial));

        annotations.delete(serial.as_str(), like).await.unwrap();
        let page = annotations.get(serial.as_str()).await.unwrap();
        let actions: Vec<_> = page.items().iter().map(|it| it.action).collect();
        assert_eq!(actions, [Some(AnnotationAction::Create), Some(AnnotationAction::Delete)]);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSAN3/get-annotations-paginated-0
    // Spec: RSAN1c3
    async fn annotations_come_in_pages(app) {
        let channel = app.rest().channels().get("mutable:test-RSAN3-paginated");
        let serial = published(&channel, "multi-annotated", "content").await;
        let annotations = channel.annotations();
        for (name, data) in [("like", Data::from("text")), ("heart", vec![0, 255].into())] {
            let annotation = Annotation { data, ..annotation("com.ably.reactions", name) };
            annotations.publish(serial.as_str(), annotation).await.unwrap();
        }
        let page = annotations.get(serial.as_str()).await.unwrap();
        let names: Vec<_> = page.items().iter().map(|it| it.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["like", "heart"]);
        for annotation in page.items() {
            assert_eq!(annotation.message_serial.as_deref(), Some(&*serial));
            assert_eq!(annotation.annotation_type.as_deref(), Some("com.ably.reactions"));
            assert!(annotation.timestamp.is_some());
        }
        assert_eq!(page.items()[0].data, "text".into());
        assert_eq!(page.items()[1].data, vec![0, 255].into());

        let first = annotations.get(serial.as_str()).limit(1).await.unwrap();
        assert_eq!(first.items(), &page.items()[..1]);
        let second = first.next().await.unwrap().unwrap();
        assert_eq!(second.items(), &page.items()[1..]);
        assert!(second.next().await.unwrap().is_none());
    }
}

in_both_formats! {
    // Spec: TM7b1, TM7b3, TM7b4, TM7b5, TM8a, TAN2e
    async fn a_message_has_the_summary_of_its_annotations(app) {
        let serial = {
            let channel = app.rest().channels().get("mutable:summaries");
            published(&channel, "annotated", "content").await
        };
        for client in ["ada", "joe"] {
            let rest = app.rest_with(|options| options.key(app.key(0)).client_id(client));
            let annotations = rest.channels().get("mutable:summaries").annotations();
            for (kind, name, count) in [
                ("r:distinct.v1", "👍", None),
                ("v:multiple.v1", "yes", Some(2)),
                ("f:flag.v1", "", None),
                ("t:total.v1", "", None),
            ] {
                let annotation = Annotation { count, ..annotation(kind, name) };
                annotations.publish(serial.as_str(), annotation).await.unwrap();
            }
        }
        let channel = app.rest().channels().get("mutable:summaries");
        let message = channel.get_message(serial.as_str()).await.unwrap();
        let summaries = message.summary();
        let distinct = summary::distinct_v1(&summaries["r:distinct.v1"]).unwrap();
        assert_eq!(distinct["👍"].client_ids, ["ada", "joe"]);
        assert_eq!((distinct["👍"].total, distinct["👍"].clipped), (2, false));
        let multiple = summary::multiple_v1(&summaries["v:multiple.v1"]).unwrap();
        assert_eq!((multiple["yes"].total, multiple["yes"].client_ids["joe"]), (4, 2));
        assert_eq!(summary::flag_v1(&summaries["f:flag.v1"]).unwrap().total, 2);
        assert_eq!(summary::total_v1(&summaries["t:total.v1"]).unwrap().total, 2);
        assert_eq!(channel.history().await.unwrap().items()[0].summary(), summaries);
    }
}
