//! The headers of every request, and the reading of replies (RSC7, RSC8, RSC13).

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use capably::{ClientOptions, http::HttpResponse};
use capably_protocol::Format;
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, ScriptedHttp, encoded, respond},
};

fn time() -> Answer {
    respond(200, json!([1_234_567_890_000_i64]))
}

// UTS: rest/unit/RSC7e/ably-version-header-0
// Spec: CSV2, CSV2a, CSV2b, CSV2c, CSV2d
#[tokio::test]
async fn the_version_header_names_the_protocol_version() {
    let http = ScriptedHttp::always(time());
    http.rest().time().await.unwrap();
    assert_eq!(http.request().header("X-Ably-Version"), Some("6"));
}

// UTS: rest/unit/RSC7d/ably-agent-header-format-0
// Spec: RSC7d1, RSC7d2, RSC7d4, RSC7d6, RSC7d6a
#[tokio::test]
async fn the_agent_header_names_the_library_and_its_wrappers() {
    let http = ScriptedHttp::always(time());
    http.rest_with(ClientOptions::new(KEY).agent("wrapper", Some("1.2.3"))).time().await.unwrap();
    let request = http.request();
    let agent = request.header("Ably-Agent").expect("there is an agent");
    let mut entries = agent.split(' ');
    let (name, version) = entries.next().and_then(|own| own.split_once('/')).expect("name/version");
    assert_eq!(name, "capably-rust");
    assert_eq!(version.split('.').filter(|part| part.parse::<u32>().is_ok()).count(), 3, "{agent}");
    assert_eq!(entries.next_back(), Some("wrapper/1.2.3"), "RSC7d6a");
}

// UTS: rest/unit/RSC7c/request-id-included-0
// Spec: TO3p
#[tokio::test]
async fn request_ids_are_added_by_the_option() {
    let http = ScriptedHttp::sequence([time(), respond(404, json!({}))]);
    let rest = http.rest_with(ClientOptions::new(KEY).add_request_ids(true));
    rest.time().await.unwrap();
    let error = rest.time().await.unwrap_err();

    let ids: Vec<_> =
        http.requests().iter().map(|request| request.param("request_id").expect("an id")).collect();
    for id in &ids {
        assert!(id.len() >= 12, "{id}");
        assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')), "{id}");
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(error.request_id(), Some(&*ids[1]), "the error names its request");
}

#[tokio::test]
async fn request_ids_are_absent_by_default() {
    let http = ScriptedHttp::always(time());
    http.rest().time().await.unwrap();
    assert_eq!(http.request().param("request_id"), None);
}

// UTS: rest/unit/RSC8a/protocol-selection-0
// UTS: rest/unit/RSC8c/accept-content-type-headers-0
// UTS: rest/unit/RSL4/json-protocol-content-type-2
// UTS: rest/unit/RSL4/msgpack-protocol-content-type-3
// Spec: RSC8b, TO3f
#[tokio::test]
async fn requests_use_the_chosen_format() {
    let expected = ["application/x-msgpack", "application/json"];
    for (options, expected) in both_formats().into_iter().zip(expected) {
        let http = ScriptedHttp::sequence([respond(201, json!({"serials": ["s1"]})), time()]);
        let rest = http.rest_with(options);
        rest.channels().get("test").publish("e", "d").await.unwrap();
        rest.time().await.unwrap();
        let requests = http.requests();
        assert_eq!(requests[0].header("Content-Type"), Some(expected));
        assert_eq!(requests[0].header("Accept"), Some(expected));
        assert_eq!(requests[1].header("Content-Type"), None, "there is no body");
        assert_eq!(requests[1].header("Accept"), Some(expected));
    }
}

// UTS: rest/unit/RSC8d/mismatched-response-content-type-0
#[tokio::test]
async fn a_reply_is_read_in_the_format_of_its_content_type() {
    let time = json!([1_234_567_890_000_i64]);
    for (options, other) in both_formats().into_iter().zip([Format::Json, Format::MsgPack]) {
        let http = ScriptedHttp::always(Answer::Raw(encoded(other, 200, &time)));
        assert_eq!(http.rest_with(options).time().await.unwrap(), 1_234_567_890_000);
    }
}

#[tokio::test]
async fn a_content_type_may_have_parameters_or_be_absent() {
    let json = ClientOptions::new(KEY).use_binary_protocol(false);
    for response in [
        HttpResponse::new(200, "[5]")
            .with_header("content-type", "Application/JSON; charset=utf-8"),
        HttpResponse::new(200, "[5]"),
    ] {
        let http = ScriptedHttp::always(Answer::Raw(response));
        assert_eq!(http.rest_with(json.clone()).time().await.unwrap(), 5);
    }
    // The reply then has the requested format.
    let http = ScriptedHttp::always(Answer::Raw(HttpResponse::new(200, &b"\x91\x05"[..])));
    assert_eq!(http.rest().time().await.unwrap(), 5);
}

#[tokio::test]
async fn the_type_of_a_reply_without_a_body_does_not_matter() {
    for options in both_formats() {
        let empty = HttpResponse::new(204, "").with_header("Content-Type", "text/html");
        let http = ScriptedHttp::always(Answer::Raw(empty));
        let devices = http.rest_with(options).push().admin().device_registrations();
        devices.remove("id").await.unwrap();
    }
}

// UTS: rest/unit/RSC8e/unsupported-content-type-0
// Spec: RSC8e1, RSC8e2
#[tokio::test]
async fn a_reply_of_another_type_is_an_error() {
    for options in both_formats() {
        let page = |status, body: &'static str| {
            Answer::Raw(HttpResponse::new(status, body).with_header("Content-Type", "text/html"))
        };
        let http = ScriptedHttp::sequence([
            page(500, "<html>Server Error</html>"),
            page(200, "<html>OK</html>"),
        ]);
        let rest = http.rest_with(options.fallback_hosts([""; 0]));
        let error = rest.time().await.unwrap_err();
        assert_eq!(error.status(), Some(500));
        assert_eq!(error.code().0, 50000);
        assert!(error.message().contains("PGh0bWw+U2VydmVyIEVycm9yPC9odG1sPg=="), "{error}");

        let error = rest.time().await.unwrap_err();
        assert_eq!((error.status(), error.code().0), (Some(400), 40013));
        assert!(error.message().contains("status 200"), "RSC8e2: {error}");
        assert!(error.message().contains("PGh0bWw+T0s8L2h0bWw+"), "{error}");
    }
}

#[tokio::test]
async fn an_error_quotes_at_most_512_bytes_of_an_unreadable_body() {
    let response =
        HttpResponse::new(403, vec![b'a'; 2000]).with_header("Content-Type", "text/plain");
    let http = ScriptedHttp::always(Answer::Raw(response));
    let error = http.rest().time().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40300, Some(403)));
    let encoded = error.message().rsplit(' ').next().expect("the excerpt comes last");
    assert_eq!(BASE64_STANDARD.decode(encoded).unwrap(), vec![b'a'; 512]);
}

// UTS: rest/unit/RSC8/error-decoded-from-msgpack-0
// Spec: TI2, TI4
#[tokio::test]
async fn reads_errors_in_both_formats() {
    let body = json!({"error": {
        "code": 40099, "statusCode": 400, "message": "Test error",
        "href": "https://help.ably.io/error/40099", "detail": {"a": "b"},
        "cause": {"code": 50001, "message": "inner"}
    }});
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(400, body.clone()));
        let error = http.rest_with(options).time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40099, Some(400)));
        assert_eq!(error.message(), "Test error");
        assert_eq!(error.href(), Some("https://help.ably.io/error/40099"));
        assert_eq!(error.detail()["a"], "b");
        assert_eq!(error.cause().map(|cause| cause.code.0), Some(50001));
    }
}

// UTS: rest/unit/RSC13/request-timeout-enforced-0
// Spec: TO3l4
#[tokio::test(start_paused = true)]
async fn a_request_has_a_time_limit() {
    let late = Answer::After(Duration::from_secs(5), Box::new(time()));
    let http = ScriptedHttp::always(late);
    let options = ClientOptions::new(KEY).http_request_timeout(Duration::from_secs(1));
    let start = tokio::time::Instant::now();
    let error = http.rest_with(options.fallback_hosts([""; 0])).time().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (50003, Some(500)));
    assert!(error.is_retryable());
    assert_eq!(start.elapsed(), Duration::from_secs(1));
}

// UTS: rest/unit/RSC18/tls-controls-protocol-scheme-0
// Spec: RSC7, TO3d
#[tokio::test]
async fn tls_decides_the_scheme() {
    for (tls, scheme) in [(true, "https"), (false, "http")] {
        let http = ScriptedHttp::always(time());
        http.rest_with(ClientOptions::new("token").tls(tls)).time().await.unwrap();
        assert_eq!(http.request().scheme(), scheme);
    }
}
