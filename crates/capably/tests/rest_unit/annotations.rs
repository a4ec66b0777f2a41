//! Annotations (RSAN).

use capably::{Annotation, AnnotationAction, ClientOptions, Message};
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{KEY, ScriptedHttp, respond},
};

fn made() -> ScriptedHttp {
    ScriptedHttp::always(respond(201, json!({})))
}

fn like() -> Annotation {
    Annotation {
        annotation_type: Some("com.example.reaction".into()),
        name: Some("like".into()),
        ..Annotation::default()
    }
}

// UTS: rest/unit/RSL10/annotations-attribute-type-0
// UTS: rest/unit/RSAN1c6/publish-post-annotation-create-0
// Spec: RSL10, RSAN1, RSAN1a, RSAN1a2, RSAN1c, RSAN1c1, RSAN1c2, RSAN1c5, RSAN1c6, RSAN2, RSAN2a, RSAN1a1
#[tokio::test]
async fn publishes_and_deletes_an_annotation() {
    for options in both_formats() {
        let http = made();
        let options = options.idempotent_rest_publishing(false);
        let annotations = http.rest_with(options).channels().get("a:b").annotations();
        annotations.publish("msg-serial-1", like()).await.unwrap();
        let message = Message { serial: Some("msg-serial-1".into()), ..Message::default() };
        annotations.delete(&message, like()).await.unwrap();
        for (request, action) in http.requests().iter().zip([0, 1]) {
            assert_eq!(request.method(), "POST");
            assert_eq!(request.path(), "/channels/a%3Ab/messages/msg-serial-1/annotations");
            assert_eq!(
                request.body(),
                json!([{
                    "action": action, "messageSerial": "msg-serial-1",
                    "type": "com.example.reaction", "name": "like",
                }])
            );
        }
        assert_eq!(http.requests().len(), 2);
    }
}

// UTS: rest/unit/RSAN1a3/publish-type-required-0
// Spec: RSAN1a3
#[tokio::test]
async fn an_annotation_needs_a_type_and_a_message() {
    let http = made();
    let annotations = http.rest().channels().get("test").annotations();
    let untyped = Annotation { annotation_type: None, ..like() };
    let empty = Annotation { annotation_type: Some("".into()), ..like() };
    let errors = [
        annotations.publish("s", untyped.clone()).await.unwrap_err(),
        annotations.publish("s", empty).await.unwrap_err(),
        annotations.delete("s", untyped).await.unwrap_err(),
        annotations.publish("", like()).await.unwrap_err(),
        annotations.get("").await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40003, Some(400)); 5]);
    assert!(http.requests().is_empty());
}

// Spec: RSAN1a4
#[tokio::test]
async fn an_annotation_may_be_too_large() {
    let http = made();
    let rest = http.rest_with(ClientOptions::new(KEY).max_message_size(10));
    let annotations = rest.channels().get("test").annotations();
    let large = Annotation { data: "1234567".into(), ..like() };
    let error = annotations.publish("s", large).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40009, Some(400)));
    assert!(http.requests().is_empty());
    let fits = Annotation { data: "123456".into(), ..like() };
    annotations.publish("s", fits).await.unwrap();
}

// UTS: rest/unit/RSAN1c3/annotation-data-encoded-0
#[tokio::test]
async fn encodes_the_payload() {
    for options in both_formats() {
        let http = made();
        let annotations = http.rest_with(options).channels().get("test").annotations();
        let data = json!({"key": "value", "nested": {"a": 1}});
        let annotation = Annotation { data: data.clone().into(), ..like() };
        annotations.publish("msg-serial-1", annotation).await.unwrap();
        let body = http.request().body();
        assert_eq!(body[0]["encoding"], "json");
        let text = body[0]["data"].as_str().expect("the data is text");
        assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap(), data);
    }
}

// UTS: rest/unit/RSAN1c4/idempotent-id-generated-0
// UTS: rest/unit/RSAN1c4/idempotent-id-not-generated-1
#[tokio::test]
async fn gives_an_annotation_an_id() {
    let http = made();
    for enabled in [true, false] {
        let options = ClientOptions::new(KEY).idempotent_rest_publishing(enabled);
        let annotations = http.rest_with(options).channels().get("test").annotations();
        annotations.publish("msg-serial-1", like()).await.unwrap();
    }
    let own = Annotation { id: Some("own".into()), ..like() };
    http.rest().channels().get("test").annotations().publish("s", own).await.unwrap();
    let body = http.requests()[0].body();
    let (base, index) = body[0]["id"].as_str().expect("an id").split_once(':').expect("a base");
    assert_eq!((base.len(), index), (16, "0"), "12 bytes");
    assert!(base.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_eq!(http.requests()[1].body()[0].get("id"), None);
    assert_eq!(http.requests()[2].body()[0]["id"], "own");
}

// Spec: RSAN3, RSAN3a, RSAN3b, RSAN3c, TAN2f1
#[tokio::test]
async fn reads_the_annotations_of_a_message() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {
                    "id": "ann-1", "action": 0, "type": "com.example.reaction", "name": "like",
                    "clientId": "user-1", "count": 1, "data": "[1]", "encoding": "json",
                    "serial": "ann-serial-1", "messageSerial": "msg-serial-1",
                    "timestamp": 1_700_000_000_000_i64, "extras": {"custom": "metadata"},
                },
                {"id": "ann-2", "action": 1, "name": "heart", "clientId": "user-2"},
            ]),
        ));
        let channel = http.rest_with(options).channels().get("a:b");
        let page = channel.annotations().get("msg-serial-1").limit(50).await.unwrap();
        let request = http.request();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.path(), "/channels/a%3Ab/messages/msg-serial-1/annotations");
        assert_eq!(request.param("limit").as_deref(), Some("50"));
        let [first, second] = page.items() else { panic!("{page:?}") };
        assert_eq!(first.id.as_deref(), Some("ann-1"));
        assert_eq!(first.action, Some(AnnotationAction::Create));
        assert_eq!(first.annotation_type.as_deref(), Some("com.example.reaction"));
        assert_eq!(first.name.as_deref(), Some("like"));
        assert_eq!(first.client_id.as_deref(), Some("user-1"));
        assert_eq!(first.count, Some(1));
        assert_eq!(first.data.as_json(), Some(&json!([1])));
        assert_eq!(first.encoding, None);
        assert_eq!(first.serial.as_deref(), Some("ann-serial-1"));
        assert_eq!(first.message_serial.as_deref(), Some("msg-serial-1"));
        assert_eq!(first.timestamp, Some(1_700_000_000_000));
        assert_eq!(first.extras.as_ref().unwrap()["custom"], "metadata");
        assert_eq!(second.name.as_deref(), Some("heart"));
        assert_eq!(second.action, Some(AnnotationAction::Delete));
    }
}
