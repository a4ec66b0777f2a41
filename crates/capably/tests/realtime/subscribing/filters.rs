//! Subscribing to messages that meet criteria (RTL22).

use capably::{
    JsonObject, Message, ReferenceExtras,
    realtime::{MessageFilter, Subscribe},
};
use capably_protocol::{Format, ServerFrame, frame::Delivery};
use futures_util::FutureExt;
use serde_json::json;

use crate::{in_both_formats, support::*};

/// A message with this name, data and reference.
fn message(name: &str, data: &str, reference: Option<(&str, &str)>) -> Message {
    let extras = reference.map(|(serial, kind)| ReferenceExtras::new(serial, kind).into());
    Message { extras, ..Message::new(name, data) }
}

/// The messages that a subscription with these names and filters receives, each sent in a separate frame.
async fn wanted(
    format: Format,
    names: &[&str],
    filters: impl IntoIterator<Item = MessageFilter>,
    messages: impl IntoIterator<Item = Message>,
) -> Vec<Message> {
    let (client, _service, mut peer, channel) = with_channel(format).await;
    let subscribe = names.iter().fold(channel.subscribe(), |own, name| own.name(*name));
    let subscribe = filters.into_iter().fold(subscribe, Subscribe::filter);
    let mut subscription = subscribe.await.unwrap();
    for message in messages {
        peer.send(ServerFrame::Message(Delivery::new("ch", vec![message])));
    }
    quiet(&client, &mut peer).await;
    std::iter::from_fn(|| subscription.next().now_or_never().flatten()).collect()
}

fn data(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.data.as_str().unwrap()).collect()
}

in_both_formats! {
    // UTS: realtime/unit/RTL22a/filter-matching-name-0
    // Spec: RTL22, RTL22d, MFI1, MFI2d
    async fn by_name(format) {
        let filter = MessageFilter::new().name("target-event");
        let messages = [
            message("target-event", "match-1", None),
            message("other-event", "no-match", None),
            message("target-event", "match-2", None),
            Message { data: "no-name".into(), ..Message::default() },
        ];
        let came = wanted(format, &[], [filter], messages).await;
        assert_eq!(data(&came), ["match-1", "match-2"]);
        assert!(came.iter().all(|message| message.name.as_deref() == Some("target-event")));
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL22a/filter-matching-ref-timeserial-1
    // Spec: MFI2b
    async fn a_filter_selects_by_reference(format) {
        let filter = MessageFilter::new().ref_timeserial("abc123@1700000000000-0");
        let messages = [
            message("reply", "match", Some(("abc123@1700000000000-0", "com.ably.reply"))),
            message("reply", "no-match", Some(("xyz789@1700000000000-0", "com.ably.reply"))),
            message("plain", "no-ref", None),
            message("reaction", "match-2", Some(("abc123@1700000000000-0", "com.ably.reaction"))),
        ];
        assert_eq!(data(&wanted(format, &[], [filter], messages).await), ["match", "match-2"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL22b/filter-isref-false-0
    // Spec: MFI2, MFI2a
    async fn a_filter_selects_by_presence_of_a_reference(format) {
        let headers: Option<JsonObject> = json!({ "headers": { "k": "v" } }).as_object().cloned();
        let messages = [
            message("plain", "no-extras", None),
            message("reply", "has-ref", Some(("abc123@1700000000000-0", "com.ably.reply"))),
            Message { extras: headers, ..Message::new("annotated", "extras-no-ref") },
            message("reaction", "also-has-ref", Some(("xyz789@1700000000000-0", "com.ably.reaction"))),
        ];
        let no_reference = MessageFilter::new().is_ref(false);
        let came = wanted(format, &[], [no_reference], messages.clone()).await;
        assert_eq!(data(&came), ["no-extras", "extras-no-ref"]);
        let reference = MessageFilter::new().is_ref(true);
        let came = wanted(format, &[], [reference], messages).await;
        assert_eq!(data(&came), ["has-ref", "also-has-ref"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL22c/filter-multiple-criteria-0
    // Spec: MFI2c
    async fn a_filter_combines_criteria(format) {
        let filter = MessageFilter::new().name("comment").ref_type("com.ably.reply");
        let messages = [
            message("comment", "both-match", Some(("abc@1700000000000-0", "com.ably.reply"))),
            message("comment", "name-only", Some(("def@1700000000000-0", "com.ably.reaction"))),
            message("update", "type-only", Some(("ghi@1700000000000-0", "com.ably.reply"))),
            message("update", "neither", None),
            message("comment", "both-match-2", Some(("jkl@1700000000000-0", "com.ably.reply"))),
        ];
        let came = wanted(format, &[], [filter], messages).await;
        assert_eq!(data(&came), ["both-match", "both-match-2"]);
    }
}

in_both_formats! {
    // UTS: realtime/unit/RTL22a/filter-matching-clientid-2
    // Spec: MFI2e
    async fn by_client(format) {
        let of = |client: &str, data: &str| Message {
            client_id: Some(client.into()),
            ..Message::new("chat", data)
        };
        let filter = MessageFilter::new().client_id("user-42");
        let messages = [
            of("user-42", "hello"),
            of("user-99", "hi"),
            message("system", "broadcast", None),
            of("user-42", "world"),
        ];
        let came = wanted(format, &[], [filter], messages).await;
        assert_eq!(data(&came), ["hello", "world"]);
        assert!(came.iter().all(|message| message.client_id.as_deref() == Some("user-42")));
    }
}

in_both_formats! {
    async fn a_subscription_combines_name_and_filter(format) {
        let messages = ["a", "b", "c", "d"].map(|name| message(name, name, None));
        let filters = ["b", "c"].map(|name| MessageFilter::new().name(name));
        assert_eq!(data(&wanted(format, &["a"], filters, messages.clone()).await), ["a", "b", "c"]);
        // A filter without criteria lets everything through.
        assert_eq!(wanted(format, &["a"], [MessageFilter::new()], messages).await.len(), 4);
    }
}

#[test]
fn a_malformed_reference_matches_no_criterion() {
    let with = |reference| Message {
        extras: json!({ "ref": reference }).as_object().cloned(),
        ..Message::default()
    };
    for (reference, is_ref) in [(json!(null), false), (json!("odd"), true), (json!({}), true)] {
        let message = with(reference);
        assert_eq!(MessageFilter::new().is_ref(true).matches(&message), is_ref);
        assert_eq!(MessageFilter::new().is_ref(false).matches(&message), !is_ref);
        assert!(!MessageFilter::new().ref_type("").matches(&message));
        assert!(!MessageFilter::new().ref_timeserial("").matches(&message));
    }
}
