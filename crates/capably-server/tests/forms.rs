//! Messages that are published as forms.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, Limits, codec};
use capably_server::Server;
use serde_json::json;

use support::*;

const FORM: &str = "application/x-www-form-urlencoded";
const TARGET: &str = "/channels/a/messages";

async fn publish(server: &Server, format: Format, media_type: &str, body: &str) -> Answer {
    let headers = [
        basic(server.key()),
        format!("Content-Type: {media_type}"),
        format!("Accept: {}", format.content_type()),
    ];
    Http::connect(server).await.request("POST", TARGET, &headers, body.as_bytes()).await
}

#[tokio::test]
async fn a_form_is_published_and_answered_in_the_accepted_format() {
    let server = server().await;
    for (number, format) in [Format::Json, Format::MsgPack].into_iter().enumerate() {
        let mut client = Client::connect(&server, format).await.0;
        client.attach("a").await;
        let body = format!(
            "name=a%20greeting&data=caf%C3%A9+%26+more&clientId=me&id=once{number}&\
             extras=%7B%22headers%22%3A%7B%22k%22%3A%22v%22%7D%7D"
        );
        for media_type in [FORM, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"] {
            let answer = publish(&server, format, media_type, &body).await;
            assert_eq!(answer.status, 201);
            assert_eq!(answer.header("content-type"), Some(format.content_type()));
            let answer: serde_json::Value =
                codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
            assert_eq!(answer["serials"].as_array().unwrap().len(), 1);
        }
        let delivered = client.message().await.items.remove(0);
        assert_eq!(delivered.name.as_deref(), Some("a greeting"));
        assert_eq!(delivered.data.as_str(), Some("café & more"));
        assert_eq!(delivered.client_id.as_deref(), Some("me"));
        assert_eq!(delivered.extras.unwrap()["headers"], json!({"k": "v"}));
        // The second message had the id of the first.
        let (_, history) =
            ask(&server, server.key(), Format::Json, "GET", TARGET, &json!(null)).await;
        assert_eq!(history.as_array().unwrap().len(), number + 1);
    }
}

#[tokio::test]
async fn forms_are_validated_like_messages() {
    let server = server().await;
    for (body, expected) in [
        ("", (400, 40000)),
        ("other=1", (400, 40000)),
        ("name=a&name=b", (400, 40000)),
        ("data=%4", (400, 40000)),
        ("data=%ff", (400, 40000)),
        ("extras=[]", (400, 40000)),
        ("data=%25&encoding=base64", (400, 40013)),
        ("clientId=", (400, 40012)),
        ("connectionKey=nobody&data=x", (400, 40006)),
    ] {
        assert_eq!(publish(&server, Format::Json, FORM, body).await.error(), expected, "{body}");
    }
    let json = publish(&server, Format::Json, FORM, r#"{"name":"a"}"#).await;
    assert_eq!(json.error(), (400, 40000));
    let message = json.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.ends_with("a body in JSON needs the Content-Type application/json"),
        "{message}"
    );
    let large = format!("data={}", "x".repeat(65_537));
    assert_eq!(publish(&server, Format::Json, FORM, &large).await.error(), (400, 40009));
    let (_, history) = ask(&server, server.key(), Format::Json, "GET", TARGET, &json!(null)).await;
    assert_eq!(history, json!([]));
}
