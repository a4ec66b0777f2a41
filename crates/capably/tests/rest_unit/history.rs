//! History (RSL2).

use capably::rest::Direction;
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{ScriptedHttp, respond},
};

fn empty() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

// UTS: rest/unit/RSL2a/returns-paginated-result-0
#[tokio::test]
async fn returns_a_page_of_messages() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {"id": "msg1", "name": "event1", "data": "data1", "timestamp": 1000},
                {"id": "msg2", "name": "event2", "data": "data2", "timestamp": 2000},
            ]),
        ));
        let page = http.rest_with(options).channels().get("test-RSL2a").history().await.unwrap();
        assert_eq!(page.items().len(), 2);
        let message = &page.items()[0];
        assert_eq!(message.id.as_deref(), Some("msg1"));
        assert_eq!(message.name.as_deref(), Some("event1"));
        assert_eq!(message.data.as_str(), Some("data1"));
        assert_eq!(message.timestamp, Some(1000));
        assert_eq!(page.items()[1].id.as_deref(), Some("msg2"));
    }
}

// UTS: rest/unit/RSL2b/query-parameters-0
// UTS: rest/unit/RSL2b2/limit-parameter-0
#[tokio::test]
async fn sends_each_parameter_in_the_query() {
    let http = empty();
    let channel = http.rest().channels().get("test-RSL2b");
    channel.history().start(1_234_567_890_000).await.unwrap();
    channel.history().end(1_234_567_899_999).await.unwrap();
    channel.history().direction(Direction::Backwards).await.unwrap();
    channel.history().direction(Direction::Forwards).await.unwrap();
    channel.history().limit(50).await.unwrap();
    assert_eq!(http.requests().len(), 5);
    for (request, (name, value)) in http.requests().iter().zip([
        ("start", "1234567890000"),
        ("end", "1234567899999"),
        ("direction", "backwards"),
        ("direction", "forwards"),
        ("limit", "50"),
    ]) {
        assert_eq!(request.param(name).as_deref(), Some(value), "{request:?}");
    }
}

// UTS: rest/unit/RSL2b1/default-direction-backwards-0
// UTS: rest/unit/RSL2b3/default-limit-hundred-0
#[tokio::test]
async fn leaves_the_defaults_to_the_service() {
    let http = empty();
    http.rest().channels().get("test-RSL2b").history().await.unwrap();
    assert!(!http.request().0.url.contains('?'), "{}", http.request().0.url);
}

// UTS: rest/unit/RSL2/request-url-format-0
#[tokio::test]
async fn the_channel_s_name_is_one_segment_of_the_path() {
    for (name, escaped) in [
        ("test-RSL2-simple", "test-RSL2-simple"),
        ("test-RSL2-with:colon", "test-RSL2-with%3Acolon"),
        ("test-RSL2-with/slash", "test-RSL2-with%2Fslash"),
        ("test-RSL2-with space", "test-RSL2-with%20space"),
        ("a?b#c%d&e=f+g", "a%3Fb%23c%25d%26e%3Df%2Bg"),
        ("ünï✓", "%C3%BCn%C3%AF%E2%9C%93"),
    ] {
        let http = empty();
        http.rest().channels().get(name).history().await.unwrap();
        let request = http.request();
        assert_eq!(request.method(), "GET");
        assert_eq!(request.path(), format!("/channels/{escaped}/messages"));
    }
}

// UTS: rest/unit/RSL2/history-time-range-1
#[tokio::test]
async fn sends_a_range_of_time() {
    let http = empty();
    http.rest().channels().get("test-RSL2").history().start(1000).end(2000).await.unwrap();
    let request = http.request();
    assert_eq!(request.param("start").as_deref(), Some("1000"));
    assert_eq!(request.param("end").as_deref(), Some("2000"));
}

#[tokio::test]
async fn refuses_invalid_parameters() {
    let http = empty();
    let channel = http.rest().channels().get("test");
    for history in [
        channel.history().limit(0),
        channel.history().limit(1001),
        channel.history().start(2001).end(2000),
    ] {
        let error = history.await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40003, Some(400)), "{error}");
    }
    assert!(http.requests().is_empty());
    channel.history().limit(1000).start(2000).end(2000).await.unwrap();
}

#[tokio::test]
async fn fills_in_the_version_of_a_message() {
    let http = ScriptedHttp::always(respond(
        200,
        json!([
            {"serial": "s1", "timestamp": 1000},
            {"serial": "s1", "timestamp": 1000, "version": {"serial": "v2", "clientId": "ada"}},
        ]),
    ));
    let page = http.rest().channels().get("test").history().await.unwrap();
    let version = page.items()[0].version();
    assert_eq!((version.serial.as_deref(), version.timestamp), (Some("s1"), Some(1000)));
    let version = page.items()[1].version();
    assert_eq!((version.serial.as_deref(), version.timestamp), (Some("v2"), Some(1000)));
    assert_eq!(version.client_id.as_deref(), Some("ada"));
    assert!(page.items()[0].summary().is_empty());
}
