//! Ids that let the service drop a repetition (RSL1k).

use capably::{ClientOptions, Message};
use serde_json::{Value, json};

use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(201, json!({"serials": ["s1"]})))
}

fn ids(body: &Value) -> Vec<Option<&str>> {
    let messages = body.as_array().expect("an array of messages");
    messages.iter().map(|message| message.get("id").and_then(Value::as_str)).collect()
}

#[track_caller]
fn split(id: Option<&str>) -> (&str, &str) {
    let (base, serial) = id.and_then(|id| id.split_once(':')).expect("an id of base and serial");
    assert!(base.len() >= 12, "at least 9 bytes: {base}");
    assert!(base.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{base}");
    (base, serial)
}

// UTS: rest/unit/RSL1k2/message-id-format-0
#[tokio::test]
async fn a_message_gets_a_random_base_and_a_serial() {
    let http = accepting();
    http.rest().channels().get("test-RSL1k2").publish("event", "data").await.unwrap();
    let body = http.request().body();
    assert_eq!(split(ids(&body)[0]).1, "0");
}

// UTS: rest/unit/RSL1k2/serial-increments-batch-1
#[tokio::test]
async fn messages_of_one_publish_share_a_base() {
    let http = accepting();
    let messages = ["event1", "event2", "event3"].map(|name| Message::new(name, "data"));
    http.rest().channels().get("test-RSL1k2").publish_messages(messages).await.unwrap();
    let body = http.request().body();
    let parts: Vec<_> = ids(&body).into_iter().map(split).collect();
    assert_eq!(parts.iter().map(|(_, serial)| *serial).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(parts.iter().all(|(base, _)| *base == parts[0].0), "{parts:?}");
}

// UTS: rest/unit/RSL1k3/unique-base-ids-0
#[tokio::test]
async fn each_publish_has_its_own_base() {
    let http = accepting();
    let channel = http.rest().channels().get("test-RSL1k3");
    channel.publish("event1", "data1").await.unwrap();
    channel.publish("event2", "data2").await.unwrap();
    let bodies: Vec<_> = http.requests().iter().map(|request| request.body()).collect();
    assert_ne!(split(ids(&bodies[0])[0]).0, split(ids(&bodies[1])[0]).0);
}

// UTS: rest/unit/RSL1k3/no-id-when-disabled-1
#[tokio::test]
async fn idempotent_ids_can_be_turned_off() {
    let http = accepting();
    let rest = http.rest_with(ClientOptions::new(KEY).idempotent_rest_publishing(false));
    rest.channels().get("test-RSL1k3").publish("event", "data").await.unwrap();
    assert_eq!(ids(&http.request().body()), [None]);
}

// UTS: rest/unit/RSL1k/client-id-preserved-0
#[tokio::test]
async fn a_given_id_is_kept() {
    let http = accepting();
    let channel = http.rest().channels().get("test-RSL1k");
    channel.publish("event", "data").id("my-custom-id").await.unwrap();
    assert_eq!(ids(&http.request().body()), [Some("my-custom-id")]);
}

#[tokio::test]
async fn one_id_for_several_messages_is_their_base() {
    let http = accepting();
    let messages = ["event1", "event2"].map(|name| Message::new(name, "data"));
    http.rest().channels().get("test").publish_messages(messages).id("x").await.unwrap();
    assert_eq!(ids(&http.request().body()), [Some("x:0"), Some("x:1")]);
}

#[tokio::test]
async fn an_empty_id_counts_as_absent() {
    let http = accepting();
    let channel = http.rest().channels().get("test");
    channel.publish("event", "data").id("").await.unwrap();
    channel.publish_messages(["a", "b"].map(Message::unnamed)).id("").await.unwrap();
    let bodies: Vec<_> = http.requests().iter().map(|request| request.body()).collect();
    assert_eq!(split(ids(&bodies[0])[0]).1, "0");
    assert_eq!(ids(&bodies[1]).into_iter().map(|id| split(id).1).collect::<Vec<_>>(), ["0", "1"]);
}

/// RSL1k3. The UTS test `rest/unit/RSL1k/mixed-ids-in-batch-1` expects an id for the message without
/// one; the specification says that ids, present or absent, are preserved.
#[tokio::test]
async fn one_given_id_leaves_the_other_messages_without_ids() {
    let http = accepting();
    let with_id =
        |id: &'static str| Message { id: Some(id.into()), ..Message::new("event", "data") };
    let messages =
        [with_id("client-id-1"), Message::new("event2", "data2"), with_id("client-id-2")];
    http.rest().channels().get("test-RSL1k").publish_messages(messages).await.unwrap();
    let body = http.request().body();
    assert_eq!(ids(&body), [Some("client-id-1"), None, Some("client-id-2")]);
}
