//! Publishes that nest deeper than their receivers decode are refused before they are sent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use capably_core::{ChannelId, OpId};
use capably_protocol::{
    Annotation, AnnotationAction, JsonObject, Message, PresenceAction, PresenceMessage,
};
use serde_json::{Value, json};

use support::*;

mod support;

const CHANNEL: ChannelId = ChannelId(0);

/// Extras with so many objects, one in the other.
fn extras(depth: usize) -> Option<JsonObject> {
    let value = (0..depth).fold(Value::Null, |inner, _| json!({ "a": inner }));
    value.as_object().cloned()
}

#[test]
fn extras_that_nest_too_deep_are_refused() {
    for (depth, outcome) in [(20, None), (200, Some(40013))] {
        let mut bench = Bench::connected(with_key());
        bench.attached(CHANNEL, "ch");
        let message = Message { extras: extras(depth), ..Message::new("n", "d") };
        bench.client.publish(CHANNEL, [message].into(), Default::default(), OpId(1), bench.now);
        let member = PresenceMessage {
            action: Some(PresenceAction::Enter),
            client_id: Some("ada".into()),
            extras: extras(depth),
            ..PresenceMessage::default()
        };
        bench.client.presence(CHANNEL, member, OpId(2), bench.now);
        let annotation = Annotation {
            action: Some(AnnotationAction::Create),
            annotation_type: Some("reaction:flag.v1".into()),
            message_serial: Some("serial".into()),
            extras: extras(depth),
            ..Annotation::default()
        };
        bench.client.annotate(CHANNEL, annotation, OpId(3), bench.now);
        let did = bench.did();
        let refused: Vec<_> = did.done.into_iter().map(|(op, result)| (op, result.err())).collect();
        match outcome {
            None => assert_eq!((did.sent.len(), refused), (3, vec![])),
            Some(code) => {
                let all = [1, 2, 3].map(|op| (OpId(op), Some(code)));
                assert_eq!((did.sent.len(), refused), (0, all.to_vec()));
            }
        }
    }
}
