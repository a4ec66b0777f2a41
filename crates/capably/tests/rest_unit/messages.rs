//! Single messages, their versions and their changes (RSL11, RSL14, RSL15).

use capably::{
    Message, MessageAction, MessageOperation, MessageVersion, Result, UpdateDeleteResult,
};
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, ScriptedHttp, respond},
};

fn changed() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!({"versionSerial": "vs1"})))
}

fn message(serial: &str, data: impl Into<capably::Data>) -> Message {
    Message { serial: Some(serial.into()), data: data.into(), ..Message::default() }
}

// UTS: rest/unit/RSL11b/get-correct-endpoint-0
// UTS: rest/unit/RSL11c/returns-decoded-message-0
// Spec: RSL11a, RSL11a1, RSL11b, RSL11c, RSL11
#[tokio::test]
async fn reads_a_message() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!({
                "id": "msg-id-1", "name": "test-event", "data": "{\"a\":1}", "encoding": "json",
                "serial": "serial-xyz", "clientId": "client-1", "timestamp": 1_700_000_000_000_i64,
                "extras": {"push": {"notification": {"title": "Test"}}},
                "version": {"serial": "version-serial-1", "timestamp": 1_700_000_000_000_i64},
            }),
        ));
        let channel = http.rest_with(options).channels().get("test-RSL11b");
        let message = channel.get_message("serial-xyz").await.unwrap();
        let request = http.request();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.path(), "/channels/test-RSL11b/messages/serial-xyz");
        assert!(request.bytes().is_empty());
        assert_eq!(message.id.as_deref(), Some("msg-id-1"));
        assert_eq!(message.name.as_deref(), Some("test-event"));
        assert_eq!(message.data.as_json(), Some(&json!({"a": 1})));
        assert_eq!(message.encoding, None);
        assert_eq!(message.serial.as_deref(), Some("serial-xyz"));
        assert_eq!(message.client_id.as_deref(), Some("client-1"));
        assert_eq!(message.timestamp, Some(1_700_000_000_000));
        assert_eq!(message.extras.as_ref().unwrap()["push"]["notification"]["title"], "Test");
        let version = message.version.as_ref().expect("it has a version");
        assert_eq!(version.serial.as_deref(), Some("version-serial-1"));
        channel.get_message(&message).await.unwrap();
        assert_eq!(http.requests()[1].path(), http.requests()[0].path());
    }
}

// UTS: rest/unit/RSL11b/url-encodes-serial-1
// UTS: rest/unit/RSL15b/serial-url-encoded-path-3
#[tokio::test]
async fn the_serial_is_one_segment_of_the_path() {
    let http = changed();
    let channel = http.rest().channels().get("a/b");
    channel.get_message("serial/with:special+chars").await.unwrap();
    channel.update_message(message("serial/special:chars", "updated")).await.unwrap();
    let path = |index: usize| http.requests()[index].path().to_owned();
    assert_eq!(path(0), "/channels/a%2Fb/messages/serial%2Fwith%3Aspecial%2Bchars");
    assert_eq!(path(1), "/channels/a%2Fb/messages/serial%2Fspecial%3Achars");
}

// UTS: rest/unit/RSL11a/missing-serial-error-0
// UTS: rest/unit/RSL15a/serial-required-throws-error-0
#[tokio::test]
async fn a_message_is_identified_by_its_serial() {
    let http = changed();
    let channel = http.rest().channels().get("test");
    let none = Message::new("x", "y");
    let empty = message("", "y");
    let errors = [
        channel.get_message("").await.unwrap_err(),
        channel.get_message(&none).await.unwrap_err(),
        channel.message_versions("").await.unwrap_err(),
        channel.update_message(none.clone()).await.unwrap_err(),
        channel.delete_message(none.clone()).await.unwrap_err(),
        channel.append_message(none).await.unwrap_err(),
        channel.update_message(empty).await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40003, Some(400)); 7]);
    assert!(http.requests().is_empty());
}

#[tokio::test]
async fn an_unknown_message_is_an_error() {
    let body = json!({"error": {"code": 40400, "statusCode": 404, "message": "no such message"}});
    let http = ScriptedHttp::sequence([respond(404, body), respond(200, json!([]))]);
    let channel = http.rest().channels().get("test");
    let error = channel.get_message("s").await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40400, Some(404)));
    let error = channel.get_message("s").await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40013, Some(400)), "an empty array");
}

fn versions() -> Answer {
    respond(
        200,
        json!([
            {
                "name": "evt", "data": "updated-data", "serial": "msg-serial-1", "action": 1,
                "version": {
                    "serial": "vs2", "timestamp": 1_700_000_002_000_i64, "clientId": "user-1",
                    "description": "edit",
                },
            },
            {
                "name": "evt", "data": "original-data", "serial": "msg-serial-1", "action": 0,
                "version": {"serial": "vs1", "timestamp": 1_700_000_001_000_i64},
            },
        ]),
    )
}

// UTS: rest/unit/RSL14b/get-correct-endpoint-0
// UTS: rest/unit/RSL14c/returns-paginated-result-0
// Spec: RSL14, RSL14b, RSL14c
#[tokio::test]
async fn reads_the_versions_of_a_message() {
    for options in both_formats() {
        let http = ScriptedHttp::always(versions());
        let channel = http.rest_with(options).channels().get("test-RSL14b");
        let page = channel.message_versions("msg-serial-1").await.unwrap();
        let request = http.request();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.path(), "/channels/test-RSL14b/messages/msg-serial-1/versions");
        assert_eq!(page.items().len(), 2);
        let [latest, first] = page.items() else { panic!("{page:?}") };
        assert_eq!(latest.data.as_str(), Some("updated-data"));
        assert_eq!(latest.action, Some(MessageAction::Update));
        let version = latest.version.as_ref().expect("it has a version");
        assert_eq!(version.serial.as_deref(), Some("vs2"));
        assert_eq!(version.description.as_deref(), Some("edit"));
        assert_eq!(first.data.as_str(), Some("original-data"));
        assert_eq!(first.action, Some(MessageAction::Create));
    }
}

// UTS: rest/unit/RSL14a/params-as-querystring-0
// Spec: RSL14a1
#[tokio::test]
async fn versions_take_parameters() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let channel = http.rest().channels().get("test");
    let versions = channel.message_versions(&message("s", ()));
    versions.param("direction", "backwards").limit(10).await.unwrap();
    let request = http.request();
    assert_eq!(request.path(), "/channels/test/messages/s/versions");
    assert_eq!(request.param("direction").as_deref(), Some("backwards"));
    assert_eq!(request.param("limit").as_deref(), Some("10"));
}

// UTS: rest/unit/RSL15b/update-sends-patch-update-0
// UTS: rest/unit/RSL15b/delete-sends-patch-delete-1
// UTS: rest/unit/RSL15b/append-sends-patch-append-2
// UTS: rest/unit/RSL15b7/version-absent-no-operation-1
// Spec: RSL15b, RSL15b1, RSL15
#[tokio::test]
async fn changes_a_message() {
    for options in both_formats() {
        let http = changed();
        let channel = http.rest_with(options).channels().get("test-RSL15");
        let named = Message { name: Some("updated".into()), ..message("msg-serial-1", "new-data") };
        channel.update_message(named).await.unwrap();
        channel.delete_message(message("msg-serial-1", ())).await.unwrap();
        channel.append_message(message("msg-serial-1", "appended-data")).await.unwrap();
        let bodies: Vec<Value> = http.requests().iter().map(|request| request.body()).collect();
        assert_eq!(
            bodies,
            [
                json!({
                    "serial": "msg-serial-1", "action": 1, "name": "updated", "data": "new-data",
                }),
                json!({"serial": "msg-serial-1", "action": 2}),
                json!({"serial": "msg-serial-1", "action": 5, "data": "appended-data"}),
            ]
        );
        for request in http.requests() {
            assert_eq!(request.method(), "PATCH");
            assert_eq!(request.path(), "/channels/test-RSL15/messages/msg-serial-1");
        }
    }
}

// Spec: RSL15b7
#[tokio::test]
async fn the_version_of_a_received_message_is_not_sent_with_its_change() {
    for options in both_formats() {
        let http = changed();
        let version = MessageVersion { serial: Some("v1".into()), ..MessageVersion::default() };
        let received = Message { version: Some(version.into()), ..message("s1", "updated") };
        http.rest_with(options).channels().get("test").update_message(received).await.unwrap();
        let expected = json!({"serial": "s1", "action": 1, "data": "updated"});
        assert_eq!(http.request().body(), expected);
    }
}

// UTS: rest/unit/RSL15b7/version-set-with-operation-0
#[tokio::test]
async fn a_change_has_client_description_and_metadata() {
    for options in both_formats() {
        let http = changed();
        let operation = MessageOperation {
            client_id: Some("user1".into()),
            description: Some("fixed typo".into()),
            metadata: Some([("reason".to_owned(), "typo".to_owned())].into()),
        };
        let channel = http.rest_with(options).channels().get("test");
        channel.update_message(message("s1", "updated")).operation(operation).await.unwrap();
        assert_eq!(
            http.request().body()["version"],
            json!({
                "clientId": "user1", "description": "fixed typo", "metadata": {"reason": "typo"},
            })
        );
    }
}

// UTS: rest/unit/RSL15e/returns-update-delete-result-0
// UTS: rest/unit/RSL15e/null-version-serial-1
// UTS: rest/unit/UDR2a/update-delete-result-fields-0
// Spec: UDR1, UDR2
#[tokio::test]
async fn returns_the_serial_of_the_new_version() {
    for options in both_formats() {
        for (body, expected) in [
            (json!({"versionSerial": "version-serial-abc"}), Some("version-serial-abc")),
            (json!({"versionSerial": null}), None),
            (json!({}), None),
            (json!({"versionSerial": "v", "channel": "x", "extra": [1]}), Some("v")),
        ] {
            let http = ScriptedHttp::always(respond(200, body));
            let channel = http.rest_with(options.clone()).channels().get("test");
            let result: Result<UpdateDeleteResult> =
                channel.update_message(message("s1", "updated")).await;
            assert_eq!(result.unwrap().version_serial.as_deref(), expected);
        }
    }
}

// UTS: rest/unit/RSL15f/params-sent-as-querystring-0
#[tokio::test]
async fn changes_take_parameters() {
    let http = changed();
    let channel = http.rest().channels().get("test");
    channel
        .update_message(message("s1", "u"))
        .param("key", "value")
        .param("num", 42)
        .await
        .unwrap();
    let request = http.request();
    assert_eq!(request.param("key").as_deref(), Some("value"));
    assert_eq!(request.param("num").as_deref(), Some("42"));
}

// UTS: rest/unit/RSL15d/body-encoded-per-rsl4-0
#[tokio::test]
async fn encodes_the_payload() {
    for options in both_formats() {
        let http = changed();
        let channel = http.rest_with(options).channels().get("test");
        channel.update_message(message("s1", json!({"key": "value"}))).await.unwrap();
        let body = http.request().body();
        assert_eq!(body["data"], r#"{"key":"value"}"#);
        assert_eq!(body["encoding"], "json");
    }
}

// Spec: RSL15e
#[tokio::test]
async fn a_change_that_is_refused_is_an_error() {
    let body = json!({"error": {"code": 93002, "statusCode": 400, "message": "not mutable"}});
    let http = ScriptedHttp::always(respond(400, body));
    let change = http.rest().channels().get("test").delete_message(message("s1", ()));
    let error = change.await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (93002, Some(400)));
}

// UTS: rest/unit/MOP2a/message-operation-fields-0
#[test]
fn an_operation_omits_absent_fields() {
    let full = MessageOperation {
        client_id: Some("user-1".into()),
        description: Some("edit description".into()),
        metadata: Some([("reason".to_owned(), "typo".to_owned())].into()),
    };
    assert_eq!(
        serde_json::to_value(&full).unwrap(),
        json!({
            "clientId": "user-1", "description": "edit description",
            "metadata": {"reason": "typo"},
        })
    );
    assert_eq!(serde_json::to_value(MessageOperation::default()).unwrap(), json!({}));
}
