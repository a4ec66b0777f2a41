//! Publishing (RSL1, PBR).

use capably::{ClientOptions, Data, Message};
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{KEY, ScriptedHttp, respond},
};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(201, json!({"serials": ["serial1"]})))
}

/// The messages of a body, without the ids that the SDK adds.
fn messages(body: Value) -> Vec<Value> {
    let Value::Array(mut messages) = body else { panic!("{body} is not an array") };
    for message in &mut messages {
        message.as_object_mut().expect("a message is an object").remove("id");
    }
    messages
}

// UTS: rest/unit/RSL1a/publish-name-and-data-0
// Spec: RSL1, RSL1b
#[tokio::test]
async fn publishes_a_name_and_data() {
    for options in both_formats() {
        let http = accepting();
        let channel = http.rest_with(options).channels().get("test-RSL1a/ä b");
        channel.publish("greeting", "hello").await.unwrap();
        let request = http.request();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.path(), "/channels/test-RSL1a%2F%C3%A4%20b/messages");
        assert_eq!(messages(request.body()), [json!({"name": "greeting", "data": "hello"})]);
    }
}

// UTS: rest/unit/RSL1a/publish-message-array-1
// Spec: RSL1c
#[tokio::test]
async fn publishes_several_messages_in_one_request() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["s1", "s2", "s3"]})));
    let options = ClientOptions::new(KEY).use_binary_protocol(false);
    let channel = http.rest_with(options).channels().get("test-RSL1c");
    channel
        .publish_messages([
            Message::new("event1", "data1"),
            Message::new("event2", json!({"key": "value"})),
            Message::new("event3", vec![1, 2, 3]),
        ])
        .await
        .unwrap();
    assert_eq!(
        messages(http.request().body()),
        [
            json!({"name": "event1", "data": "data1"}),
            json!({"name": "event2", "data": "{\"key\":\"value\"}", "encoding": "json"}),
            json!({"name": "event3", "data": "AQID", "encoding": "base64"}),
        ]
    );
}

// UTS: rest/unit/RSL1e/null-name-and-data-0
#[tokio::test]
async fn omits_an_absent_name_and_absent_data() {
    for options in both_formats() {
        let options = options.idempotent_rest_publishing(false);
        for (name, data, expected) in [
            (None, Data::from("hello"), json!([{"data": "hello"}])),
            (Some("event"), Data::None, json!([{"name": "event"}])),
            (None, Data::None, json!([{}])),
        ] {
            let http = accepting();
            let message = Message { name: name.map(Into::into), data, ..Message::default() };
            let rest = http.rest_with(options.clone());
            rest.channels().get("test-RSL1e").publish_message(message).await.unwrap();
            assert_eq!(http.request().body(), expected);
        }
    }
}

// UTS: rest/unit/RSL1h/publish-signature-0
#[tokio::test]
async fn publish_takes_a_name_and_data() {
    let http = accepting();
    http.rest().channels().get("test-RSL1h").publish("event", "payload").await.unwrap();
    assert_eq!(messages(http.request().body()), [json!({"name": "event", "data": "payload"})]);
}

// UTS: rest/unit/RSL1i/message-size-limit-0
#[tokio::test]
async fn refuses_messages_above_the_size_limit() {
    for (size, fits) in [(1000, true), (1024, true), (1025, false), (10_000, false)] {
        let http = accepting();
        let rest = http.rest_with(ClientOptions::new(KEY).max_message_size(1024));
        // The name counts too (TM6a).
        let data = "x".repeat(size - "event".len());
        let result = rest.channels().get("test-RSL1i").publish("event", data).await;
        if fits {
            result.unwrap();
            assert_eq!(http.requests().len(), 1, "{size}");
        } else {
            let error = result.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40009, Some(400)), "{size}");
            let told = format!("a publish of {size} bytes is more than the limit of ");
            assert!(error.message().starts_with(&told), "{error}");
            assert!(error.message().ends_with(" (`max_message_size`)"), "{error}");
            assert!(http.requests().is_empty(), "{size}");
        }
    }
}

// Spec: TO3l8f
#[tokio::test]
async fn the_size_limit_is_for_all_messages_together() {
    let http = accepting();
    let rest = http.rest_with(ClientOptions::new(KEY).max_message_size(10));
    let channel = rest.channels().get("test");
    let messages = [Message::new("", "12345"), Message::new("", vec![0; 6])];
    let error = channel.publish_messages(messages).await.unwrap_err();
    assert_eq!(error.code().0, 40009);
    channel.publish("", "1234567890").extras(serde_json::Map::new()).await.unwrap_err();
    assert!(http.requests().is_empty());
}

// UTS: rest/unit/RSL1j/all-attributes-transmitted-0
// Spec: TM2h
#[tokio::test]
async fn sends_all_attributes_of_a_message() {
    for options in both_formats() {
        let http = accepting();
        let extras = json!({"push": {"notification": {"title": "Test"}}});
        let message = Message {
            client_id: Some("explicit-client-id".into()),
            id: Some("custom-message-id".into()),
            connection_key: Some("key-of-another".into()),
            extras: extras.as_object().cloned(),
            ..Message::new("test-event", "test-data")
        };
        let rest = http.rest_with(options);
        rest.channels().get("test-RSL1j").publish_message(message).await.unwrap();
        assert_eq!(
            http.request().body(),
            json!([{
                "name": "test-event", "data": "test-data", "id": "custom-message-id",
                "clientId": "explicit-client-id", "connectionKey": "key-of-another", "extras": extras,
            }])
        );
    }
}

#[tokio::test]
async fn attributes_can_be_set_on_the_call() {
    let http = accepting();
    let extras = json!({"headers": {"a": 1}});
    let channel = http.rest().channels().get("test");
    channel
        .publish("n", "d")
        .id("i")
        .client_id("c")
        .extras(extras.as_object().cloned().unwrap())
        .await
        .unwrap();
    let expected =
        json!([{"name": "n", "data": "d", "id": "i", "clientId": "c", "extras": extras}]);
    assert_eq!(http.request().body(), expected);
}

// UTS: rest/unit/RSL1l/params-as-querystring-0
#[tokio::test]
async fn sends_params_in_the_query() {
    let http = accepting();
    let channel = http.rest().channels().get("test-RSL1l");
    let message = Message::new("event", "data");
    channel
        .publish_message(message.clone())
        .param("customParam", "customValue")
        .param("anotherParam", 123)
        .await
        .unwrap();
    channel.publish_messages([message]).param("a&b", "c=d ü").param("flag", true).await.unwrap();

    let requests = http.requests();
    assert_eq!(requests[0].param("customParam").as_deref(), Some("customValue"));
    assert_eq!(requests[0].param("anotherParam").as_deref(), Some("123"));
    assert_eq!(requests[1].param("a&b").as_deref(), Some("c=d ü"));
    assert_eq!(requests[1].param("flag").as_deref(), Some("true"));
}

// UTS: rest/unit/RSL1m/clientid-not-injected-0
#[tokio::test]
async fn keeps_the_client_id_of_a_message() {
    let identified = ClientOptions::new(KEY).client_id("lib-client");
    for (options, given, expected) in [
        (identified.clone(), None, None),
        (identified, Some("lib-client"), Some("lib-client")),
        (ClientOptions::new(KEY), Some("msg-client"), Some("msg-client")),
    ] {
        let http = accepting();
        let message = Message { client_id: given.map(Into::into), ..Message::new("e", "d") };
        let rest = http.rest_with(options);
        rest.channels().get("test-RSL1m").publish_message(message).await.unwrap();
        assert_eq!(http.request().body()[0].get("clientId").and_then(Value::as_str), expected);
    }
}

async fn serials(answer: Value, count: usize) -> Vec<Option<String>> {
    let messages: Vec<_> = (0..count).map(|i| Message::new(format!("event{i}"), "data")).collect();
    let mut all: Vec<Vec<_>> = Vec::new();
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(201, answer.clone()));
        let channel = http.rest_with(options).channels().get("test-RSL1n");
        let result = channel.publish_messages(messages.clone()).await.unwrap();
        all.push(result.serials.into_iter().map(|serial| serial.map(|s| s.to_string())).collect());
    }
    assert_eq!(all[0], all[1], "both formats agree");
    all.remove(0)
}

// UTS: rest/unit/RSL1n/publish-result-single-message-0
#[tokio::test]
async fn returns_the_serial_of_a_message() {
    let http = ScriptedHttp::always(respond(201, json!({"serials": ["serial-abc"]})));
    let result = http.rest().channels().get("test-RSL1n").publish("event", "hello").await.unwrap();
    assert_eq!(result.serials, [Some("serial-abc".into())]);
}

// UTS: rest/unit/RSL1n/publish-result-batch-serials-1
// Spec: PBR1, PBR2, PBR2a
#[tokio::test]
async fn returns_the_serial_of_each_message() {
    let answer = json!({"channel": "c", "messageId": "m", "serials": ["s1", "s2", "s3"]});
    assert_eq!(serials(answer, 3).await, ["s1", "s2", "s3"].map(|s| Some(s.to_owned())));
}

// UTS: rest/unit/RSL1n/publish-result-null-serial-2
// Spec: PBR2a
#[tokio::test]
async fn a_conflated_message_has_no_serial() {
    let answer = json!({"serials": [null, "s2"]});
    assert_eq!(serials(answer, 2).await, [None, Some("s2".to_owned())]);
}

// Spec: RSL1d
#[tokio::test]
async fn a_refused_publish_is_an_error() {
    let error = json!({"error": {"code": 40160, "statusCode": 401, "message": "no"}});
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(401, error.clone()));
        let channel = http.rest_with(options).channels().get("test");
        let error = channel.publish("a", "b").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40160, Some(401)), "RSL1d");
    }
}

#[tokio::test]
async fn a_payload_needs_no_name_and_extras_are_json() {
    for binary in [false, true] {
        let http = ScriptedHttp::always(respond(201, json!({"serials": ["s1"]})));
        let rest = http.rest_with(ClientOptions::new(KEY).use_binary_protocol(binary));
        let channel = rest.channels().get("test");
        let extras = json!({"headers": {"a": 1}});
        channel.publish_data("data").extras(extras.clone()).await.unwrap();
        let body = http.request().body();
        assert_eq!((body[0].get("name"), &body[0]["data"]), (None, &json!("data")));
        assert_eq!(body[0]["extras"], extras);

        let error = channel.publish_data("data").extras(json!([1])).await.unwrap_err();
        assert_eq!(error.code().0, 40003, "{error}");
        assert_eq!(error.message(), "extras must be a JSON object, not an array");
        let error = channel.publish_messages([]).await.unwrap_err();
        assert_eq!(error.code().0, 40030, "{error}");
        assert_eq!(http.requests().len(), 1);
    }
}
