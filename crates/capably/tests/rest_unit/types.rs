//! The types of the REST client (TM, TP, TAN, TI).

use capably::{
    Annotation, AnnotationAction, CipherParams, Data, Error, ErrorCode, ErrorInfo, Message,
    MessageAction, PresenceAction, PresenceMessage,
};
use capably_protocol::{
    Format, Limits, ServerFrame,
    codec::{self, decode_body, encode_item},
};
use serde_json::{Value, json};

fn written<T: codec::Item>(item: &T) -> Value {
    serde_json::from_slice(&encode_item(Format::Json, item)).unwrap()
}

fn extras(value: Value) -> Option<capably::JsonObject> {
    value.as_object().cloned()
}

// UTS: rest/unit/TM2a/message-attributes-0
// UTS: rest/unit/TM2j/action-and-serial-fields-0
// UTS: rest/unit/TM/message-with-extras-1
// Spec: TM1, TM2, TM2b, TM2d, TM2e, TM2g, TM2i, TM2r
#[test]
fn a_message_is_written_with_all_its_attributes() {
    let push = json!({"push": {"notification": {"title": "Hello"}, "data": {"key": "value"}}});
    let message = Message {
        id: Some("unique-id".into()),
        client_id: Some("message-client".into()),
        connection_id: Some("conn-id".into()),
        timestamp: Some(1_234_567_890_000),
        encoding: Some("json".into()),
        extras: extras(push.clone()),
        serial: Some("serial-1".into()),
        action: Some(MessageAction::Update),
        ..Message::new("event-name", vec![1, 2])
    };
    assert_eq!(
        written(&message),
        json!({
            "id": "unique-id", "name": "event-name", "data": "AQI=", "encoding": "json/base64",
            "clientId": "message-client", "connectionId": "conn-id",
            "timestamp": 1_234_567_890_000_i64, "extras": push, "serial": "serial-1", "action": 1,
        })
    );
}

// UTS: rest/unit/TM4/message-constructors-0
// UTS: rest/unit/TM/null-missing-attributes-0
#[test]
fn a_message_has_its_given_fields() {
    assert_eq!(
        written(&Message::new("event-name", "payload")),
        json!({"name": "event-name", "data": "payload"})
    );
    let from = Message { client_id: Some("client-1".into()), ..Message::new("n", ()) };
    assert_eq!(written(&from), json!({"name": "n", "clientId": "client-1"}));
    assert_eq!(written(&Message::default()), json!({}));
}

// UTS: rest/unit/TM3/from-encoded-deserialization-0
// Spec: TM3
#[test]
fn a_message_can_be_made_of_json() {
    let value = json!({
        "id": "msg-123", "name": "test-event", "data": "hello world", "clientId": "sender-client",
        "connectionId": "conn-456", "timestamp": 1_234_567_890_000_i64, "encoding": null,
        "extras": {"headers": {"x-custom": "value"}},
    });
    let expected = Message {
        id: Some("msg-123".into()),
        client_id: Some("sender-client".into()),
        connection_id: Some("conn-456".into()),
        timestamp: Some(1_234_567_890_000),
        extras: extras(json!({"headers": {"x-custom": "value"}})),
        ..Message::new("test-event", "hello world")
    };
    assert_eq!(Message::from_encoded(value.clone(), None).unwrap(), expected);
    let two = Message::from_encoded_array(json!([value, value]), None).unwrap();
    assert_eq!(two, [expected.clone(), expected]);
}

// UTS: rest/unit/TM3/from-encoded-decodes-encoding-1
// UTS: rest/unit/TP3/presence-encoded-data-from-json-1
// Spec: TAN3, TM2e, TP3f, TAN2g
#[test]
fn payloads_are_decoded() {
    for (encoding, data, expected) in [
        (json!(null), "plain text", Data::from("plain text")),
        (json!("json"), r#"{"key":"value"}"#, Data::from(json!({"key": "value"}))),
        (json!("base64"), "SGVsbG8=", Data::from(b"Hello".to_vec())),
        (json!("json/base64"), "eyJrIjoidiJ9", Data::from(json!({"k": "v"}))),
    ] {
        let value = json!({"data": data, "encoding": encoding});
        let message = Message::from_encoded(value.clone(), None).unwrap();
        assert_eq!((message.data, message.encoding), (expected.clone(), None));
        let presence = PresenceMessage::from_encoded(value.clone(), None).unwrap();
        assert_eq!((presence.data, presence.encoding), (expected.clone(), None));
        let annotation = Annotation::from_encoded(value, None).unwrap();
        assert_eq!((annotation.data, annotation.encoding), (expected, None));
    }
}

#[test]
fn encrypted_payloads_need_the_key() {
    let cipher = CipherParams::from_key(&[7; 16]).unwrap();
    let mut message = Message::new("n", "secret");
    let encrypted = Some((&cipher, [9; 16]));
    capably_protocol::encoding::encode(&mut message.data, &mut message.encoding, encrypted)
        .unwrap();
    let value = written(&message);
    let read = Message::from_encoded(value.clone(), Some(&cipher)).unwrap();
    assert_eq!((read.data.as_str(), read.encoding), (Some("secret"), None));
    let kept = Message::from_encoded(value, None).unwrap();
    assert_eq!(kept.encoding.as_deref(), Some("utf-8/cipher+aes-128-cbc"));
    assert!(kept.data.as_bytes().is_some());
}

#[test]
fn malformed_messages_are_errors() {
    for value in [json!(null), json!([]), json!("text"), json!({"id": 7})] {
        let error = Message::from_encoded(value, None).unwrap_err();
        assert_eq!(error.code.0, 40013);
    }
    let error = Message::from_encoded_array(json!({}), None).unwrap_err();
    assert_eq!(error.code.0, 40013);
}

// UTS: rest/unit/TM5/message-action-enum-values-0
// UTS: rest/unit/TP2/presence-action-enum-values-0
#[test]
fn actions_have_the_numbers_of_the_specification() {
    for (number, action) in [
        (0, MessageAction::Create),
        (1, MessageAction::Update),
        (2, MessageAction::Delete),
        (3, MessageAction::Meta),
        (4, MessageAction::Summary),
        (5, MessageAction::Append),
    ] {
        assert_eq!((action.number(), MessageAction::from_number(number)), (number, action));
    }
    for (number, action) in [
        (0, PresenceAction::Absent),
        (1, PresenceAction::Present),
        (2, PresenceAction::Enter),
        (3, PresenceAction::Leave),
        (4, PresenceAction::Update),
    ] {
        assert_eq!((action.number(), PresenceAction::from_number(number)), (number, action));
    }
}

// UTS: rest/unit/TM2s/version-populated-from-wire-0
// Spec: TM2s3, TM2s4, TM2s5
#[test]
fn a_version_is_read() {
    let value = json!({"serial": "msg-serial-1", "version": {
        "serial": "version-serial-1", "timestamp": 1_700_000_001_000_i64, "clientId": "editor-1",
        "description": "fixed typo", "metadata": {"reason": "typo", "tool": "editor"},
    }});
    let message = Message::from_encoded(value, None).unwrap();
    let version = message.version.as_deref().expect("it has a version");
    assert_eq!(version.serial.as_deref(), Some("version-serial-1"));
    assert_eq!(version.timestamp, Some(1_700_000_001_000));
    assert_eq!(version.client_id.as_deref(), Some("editor-1"));
    assert_eq!(version.description.as_deref(), Some("fixed typo"));
    let metadata = version.metadata.as_ref().expect("it has metadata");
    assert_eq!((&*metadata["reason"], &*metadata["tool"]), ("typo", "editor"));
}

// UTS: rest/unit/TM2s1/version-defaults-from-message-0
// UTS: rest/unit/TM2u/annotations-defaults-empty-0
// Spec: TM2s2
#[test]
fn a_version_inherits_absent_fields_from_its_message() {
    let value = json!({"serial": "msg-serial-1", "timestamp": 1_700_000_000_000_i64});
    let message = Message::from_encoded(value, None).unwrap();
    assert!(message.summary().is_empty());
    let version = message.version();
    assert_eq!(version.serial.as_deref(), Some("msg-serial-1"));
    assert_eq!(version.timestamp, Some(1_700_000_000_000));
    assert_eq!(
        (&version.client_id, &version.description, &version.metadata),
        (&None, &None, &None)
    );
}

// UTS: rest/unit/TP3a/presence-message-attributes-0
// UTS: rest/unit/TP3/presence-from-json-0
// UTS: rest/unit/TP3/presence-to-json-2
// Spec: TP3b, TP3c, TP3e, TP3i, TP1
#[test]
fn a_presence_message_is_read_and_written() {
    let value = json!({
        "id": "pm-123", "action": 2, "clientId": "user-1", "connectionId": "conn-1",
        "data": "hello", "timestamp": 1_234_567_890_000_i64,
        "extras": {"headers": {"x-key": "x-value"}},
    });
    let presence = PresenceMessage {
        id: Some("pm-123".into()),
        action: Some(PresenceAction::Enter),
        client_id: Some("user-1".into()),
        connection_id: Some("conn-1".into()),
        data: "hello".into(),
        timestamp: Some(1_234_567_890_000),
        extras: extras(json!({"headers": {"x-key": "x-value"}})),
        ..PresenceMessage::default()
    };
    assert_eq!(written(&presence), value);
    assert_eq!(PresenceMessage::from_encoded(value, None).unwrap(), presence);
}

// UTS: rest/unit/TP3/null-attributes-omitted-3
#[test]
fn a_presence_message_omits_absent_fields() {
    let presence = PresenceMessage {
        action: Some(PresenceAction::Enter),
        client_id: Some("user-1".into()),
        ..PresenceMessage::default()
    };
    assert_eq!(written(&presence), json!({"action": 2, "clientId": "user-1"}));
}

// UTS: rest/unit/TP3h/member-key-combines-ids-0
#[test]
fn a_member_is_identified_by_connection_and_client() {
    let member = |connection: &str| PresenceMessage {
        connection_id: Some(connection.into()),
        client_id: Some("user-1".into()),
        ..PresenceMessage::default()
    };
    assert_eq!(member("conn-1").member_key(), "conn-1:user-1");
    assert_eq!(member("conn-2").member_key(), "conn-2:user-1");
}

// UTS: rest/unit/TP3d/connectionid-from-protocol-message-0
// UTS: rest/unit/TP3a/id-from-protocol-message-1
// UTS: rest/unit/TP3g/timestamp-from-protocol-message-0
#[test]
fn a_presence_message_inherits_absent_fields_from_its_frame() {
    let frame = json!({
        "action": 14, "channel": "c", "id": "proto-msg-42", "connectionId": "proto-conn-1",
        "timestamp": 9_999_999,
        "presence": [{"action": 2, "clientId": "alice"}, {"action": 2, "clientId": "bob"}],
    });
    for format in [Format::Json, Format::MsgPack] {
        let bytes = codec::encode_body(format, &frame).unwrap();
        let frame = codec::decode_server_frame(format, &bytes.into(), &Limits::default()).unwrap();
        let ServerFrame::Presence(frame) = frame else { panic!("{frame:?}") };
        for (index, id) in ["proto-msg-42:0", "proto-msg-42:1"].into_iter().enumerate() {
            let mut item = frame.items[index].clone();
            item.inherit(frame.id.as_ref(), index, frame.connection_id.as_ref(), frame.timestamp);
            assert_eq!(item.id.as_deref(), Some(id));
            assert_eq!(item.connection_id.as_deref(), Some("proto-conn-1"));
            assert_eq!(item.timestamp, Some(9_999_999));
        }
    }
}

// UTS: rest/unit/TP4/from-encoded-presence-0
#[test]
fn a_presence_message_can_be_made_of_json() {
    let raw = json!({
        "action": 2, "clientId": "user-1", "data": "{\"status\":\"online\"}", "encoding": "json",
    });
    let presence = PresenceMessage::from_encoded(raw, None).unwrap();
    assert_eq!(presence.action, Some(PresenceAction::Enter));
    assert_eq!(presence.client_id.as_deref(), Some("user-1"));
    assert_eq!(presence.data.as_json(), Some(&json!({"status": "online"})));
    assert_eq!(presence.encoding, None);
    let raw = json!([
        {"action": 2, "clientId": "alice", "data": "hello"},
        {"action": 2, "clientId": "bob", "data": "world"},
    ]);
    let both = PresenceMessage::from_encoded_array(raw, None).unwrap();
    let found: Vec<_> =
        both.iter().map(|item| (item.client_id.as_deref(), item.data.as_str())).collect();
    assert_eq!(found, [(Some("alice"), Some("hello")), (Some("bob"), Some("world"))]);
}

// UTS: rest/unit/TP5/presence-message-size-0
#[test]
fn the_size_of_a_presence_message_counts_client_and_payload() {
    let sized = |client: &str, data: Data| {
        PresenceMessage { client_id: Some(client.into()), data, ..PresenceMessage::default() }
            .size()
    };
    assert_eq!(sized("user-1", "hello".into()), 11);
    assert_eq!(sized("u", json!({"key": "value"}).into()), 1 + r#"{"key":"value"}"#.len());
}

// UTS: rest/unit/TAN2/annotation-attributes-and-action-0
// Spec: TAN1, TAN2, TAN2a, TAN2b, TAN2b1, TAN2c, TAN2d, TAN2e, TAN2f, TAN2h, TAN2i, TAN2j, TAN2k, TAN2l
#[test]
fn an_annotation_is_read_and_written() {
    let value = json!({
        "id": "ann-id-1", "action": 0, "clientId": "user-1", "name": "like", "count": 5,
        "data": "thumbs-up", "timestamp": 1_700_000_000_000_i64, "serial": "ann-serial-1",
        "messageSerial": "msg-serial-1", "type": "com.example.reaction",
        "extras": {"custom": "metadata"},
    });
    let annotation = Annotation {
        id: Some("ann-id-1".into()),
        action: Some(AnnotationAction::Create),
        client_id: Some("user-1".into()),
        name: Some("like".into()),
        count: Some(5),
        data: "thumbs-up".into(),
        timestamp: Some(1_700_000_000_000),
        serial: Some("ann-serial-1".into()),
        message_serial: Some("msg-serial-1".into()),
        annotation_type: Some("com.example.reaction".into()),
        extras: extras(json!({"custom": "metadata"})),
        ..Annotation::default()
    };
    assert_eq!(Annotation::from_encoded(value.clone(), None).unwrap(), annotation);
    assert_eq!(written(&annotation), value);
    for (number, action) in [(0, AnnotationAction::Create), (1, AnnotationAction::Delete)] {
        assert_eq!((action.number(), AnnotationAction::from_number(number)), (number, action));
    }
}

fn error_info(value: &Value) -> ErrorInfo {
    let bytes = serde_json::to_vec(value).unwrap();
    decode_body(Format::Json, &bytes, &Limits::default()).unwrap()
}

// UTS: rest/unit/TI1/errorinfo-attributes-0
// UTS: rest/unit/TI/errorinfo-from-json-0
// UTS: rest/unit/TI/errorinfo-nested-cause-1
#[test]
fn an_error_is_read_with_its_cause() {
    let error = Error::from(error_info(&json!({
        "code": 50000, "statusCode": 500, "message": "Internal error",
        "href": "https://help.ably.io/error/50000",
        "cause": {"code": 50001, "message": "Database connection failed"},
    })));
    assert_eq!((error.code(), error.status()), (ErrorCode(50000), Some(500)));
    assert_eq!(error.message(), "Internal error");
    assert_eq!(error.href(), Some("https://help.ably.io/error/50000"));
    let cause = error.cause().expect("it has a cause");
    assert_eq!((cause.code.0, &*cause.message), (50001, "Database connection failed"));
}

// Spec: TI6
#[test]
fn an_error_without_details_is_written_without_them() {
    let mut error = ErrorInfo::new(ErrorCode(40000), 400, "no");
    let written = |error: &ErrorInfo| serde_json::to_value(error).unwrap();
    assert_eq!(written(&error), json!({"code": 40000, "statusCode": 400, "message": "no"}));
    error.detail.insert("a".to_owned(), "b".to_owned());
    assert_eq!(written(&error)["detail"], json!({"a": "b"}));
}

// UTS: rest/unit/TI/common-error-codes-3
// Spec: TI3
#[test]
fn common_codes_are_known() {
    for (code, status) in [
        (ErrorCode::BAD_REQUEST, 40000),
        (ErrorCode::UNAUTHORIZED, 40100),
        (ErrorCode::INVALID_CREDENTIALS, 40101),
        (ErrorCode::TOKEN_ERROR_UNSPECIFIED, 40140),
        (ErrorCode::TOKEN_EXPIRED, 40142),
        (ErrorCode::CAPABILITY_DENIED, 40160),
        (ErrorCode::FORBIDDEN, 40300),
        (ErrorCode::NOT_FOUND, 40400),
        (ErrorCode::INTERNAL_ERROR, 50000),
        (ErrorCode::TIMEOUT_ERROR, 50003),
    ] {
        assert_eq!(code.0, status);
        assert!(code.title().is_some(), "{code}");
    }
}

// UTS: rest/unit/TI/error-equality-5
#[test]
fn errors_are_compared_by_their_fields() {
    let bad = || ErrorInfo::new(ErrorCode(40000), 400, "Bad request");
    assert_eq!(bad(), bad());
    assert_ne!(bad(), ErrorInfo::new(ErrorCode(40100), 401, "Unauthorized"));
}
