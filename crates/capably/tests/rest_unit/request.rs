//! Custom requests (RSC19, HP).

use std::time::Duration;

use capably::{
    ClientOptions, ErrorCode,
    http::{HttpErrorKind, HttpMethod, HttpResponse},
};
use capably_protocol::Format;
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, ScriptedHttp, encoded, respond},
};

const GET: HttpMethod = HttpMethod::Get;

fn empty() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

fn raw(response: HttpResponse) -> ScriptedHttp {
    ScriptedHttp::always(Answer::Raw(response))
}

fn failure(status: u16) -> Value {
    json!({"error": {"code": u32::from(status) * 100, "message": "Error"}})
}

fn alone() -> ClientOptions {
    ClientOptions::new(KEY).fallback_hosts(Vec::<String>::new())
}

// UTS: rest/unit/RSC19f/supports-http-methods-0
// Spec: RSC19
#[tokio::test]
async fn takes_every_method() {
    let http = empty();
    let rest = http.rest();
    let methods = [GET, HttpMethod::Post, HttpMethod::Put, HttpMethod::Patch, HttpMethod::Delete];
    for method in methods {
        assert!(rest.request(method, "/test").version(3).await.unwrap().is_success());
    }
    let asked: Vec<_> = http.requests().iter().map(|request| request.method()).collect();
    assert_eq!(asked, ["GET", "POST", "PUT", "PATCH", "DELETE"]);
    assert!(http.requests().iter().all(|request| request.path() == "/test"));
}

// UTS: rest/unit/RSC19f/query-params-passed-1
// UTS: rest/unit/RSC19f/custom-headers-passed-2
#[tokio::test]
async fn adds_parameters_and_headers() {
    let http = empty();
    let request = http.rest().request(GET, "/channels/test/messages");
    let request = request.param("limit", 10).param("direction", "back wards&");
    let request = request.header("X-Custom-Header", "custom-value");
    request.header("X-Another", "another-value").await.unwrap();
    let request = http.request();
    assert_eq!(request.param("limit").as_deref(), Some("10"));
    assert_eq!(request.param("direction").as_deref(), Some("back wards&"));
    assert_eq!(request.header("X-Custom-Header"), Some("custom-value"));
    assert_eq!(request.header("X-Another"), Some("another-value"));
}

// UTS: rest/unit/RSC19f/request-body-sent-3
// UTS: rest/unit/RSC19c/protocol-headers-json-0
// UTS: rest/unit/RSC19c/protocol-headers-msgpack-1
// UTS: rest/unit/RSC19c/body-encoded-per-protocol-2
#[tokio::test]
async fn sends_the_body_in_the_client_s_format() {
    for (options, kind) in
        both_formats().into_iter().zip(["application/x-msgpack", "application/json"])
    {
        let http = ScriptedHttp::always(respond(201, json!({"id": "123"})));
        let body = json!({"name": "event", "data": {"nested": "value"}});
        let request = http.rest_with(options).request(HttpMethod::Post, "/test").version(3);
        let response = request.body(body.clone()).await.unwrap();
        assert_eq!(response.items(), [json!({"id": "123"})]);
        let request = http.request();
        assert_eq!(request.header("Accept"), Some(kind));
        assert_eq!(request.header("Content-Type"), Some(kind));
        assert_eq!(request.body(), body);
    }
}

// UTS: rest/unit/RSC19f1/version-param-sets-header-0
// Spec: RSC19f1
#[tokio::test]
async fn sends_the_protocol_version() {
    let http = empty();
    let rest = http.rest();
    rest.request(GET, "/test").version(2).await.unwrap();
    rest.request(GET, "/test").version(3).await.unwrap();
    rest.request(GET, "/test").await.unwrap();
    let requests = http.requests();
    let versions: Vec<_> =
        requests.iter().map(|request| request.header("X-Ably-Version").unwrap()).collect();
    assert_eq!(versions, ["2", "3", "6"]);
}

// UTS: rest/unit/RSC19b/uses-configured-auth-0
// UTS: rest/unit/RSC19b/cannot-override-auth-1
#[tokio::test]
async fn headers_of_a_request_do_not_replace_credentials() {
    for (options, expected) in [
        (ClientOptions::new(KEY), "Basic YXBwSWQua2V5SWQ6a2V5U2VjcmV0"),
        (ClientOptions::new("my-token-string"), "Bearer my-token-string"),
    ] {
        let http = empty();
        let request = http.rest_with(options).request(GET, "/test");
        let request = request.header("authorization", "Bearer malicious-token");
        request.header("x-ably-version", "1").await.unwrap();
        let request = http.request();
        let values = |name: &str| {
            let headers = request.0.headers.iter();
            headers
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(values("Authorization"), [expected]);
        assert_eq!(values("X-Ably-Version"), ["6"]);
    }
}

// UTS: rest/unit/RSC19c/response-decoded-by-content-type-3
// UTS: rest/unit/RSC19d/response-items-decoded-5
#[tokio::test]
async fn reads_the_format_of_the_content_type() {
    let items = [json!({"id": "msg1", "name": "event1"}), json!({"id": "msg2", "n": 1.5})];
    for format in [Format::Json, Format::MsgPack] {
        let http = raw(encoded(format, 200, &json!(items)));
        let response = http.rest().request(GET, "/test").version(3).await.unwrap();
        assert_eq!(response.items(), items);
    }
}

// UTS: rest/unit/RSC19d/response-status-code-0
// UTS: rest/unit/RSC19d/response-success-indicator-1
// Spec: HP1, HP4, HP5
#[tokio::test]
async fn a_refusal_is_a_response_like_any_other() {
    for (status, success) in [
        (200, true),
        (201, true),
        (204, true),
        (299, true),
        (300, false),
        (400, false),
        (404, false),
        (500, false),
    ] {
        let body = if status >= 400 { failure(status) } else { json!([]) };
        let http = ScriptedHttp::always(respond(status, body.clone()));
        let response = http.rest_with(alone()).request(GET, "/test").version(3).await.unwrap();
        assert_eq!((response.status(), response.is_success()), (status, success));
        let items = if status >= 400 { vec![body] } else { vec![] };
        assert_eq!(response.items(), items);
    }
}

// UTS: rest/unit/RSC19d/response-error-code-header-2
// UTS: rest/unit/RSC19d/response-error-message-header-3
// Spec: HP6, HP7
#[tokio::test]
async fn errors_are_in_the_headers() {
    let response = encoded(Format::Json, 401, &failure(401))
        .with_header("X-Ably-Errorcode", "40101")
        .with_header("X-Ably-Errormessage", "Token expired");
    let response = raw(response).rest().request(GET, "/test").version(3).await.unwrap();
    assert_eq!(response.error_code(), Some(ErrorCode(40101)));
    assert_eq!(response.error_message(), Some("Token expired"));
    let response = empty().rest().request(GET, "/test").await.unwrap();
    assert_eq!((response.error_code(), response.error_message()), (None, None));
}

// UTS: rest/unit/RSC19d/response-headers-accessible-4
// Spec: HP8
#[tokio::test]
async fn a_response_has_all_headers() {
    let response = encoded(Format::Json, 200, &json!([]))
        .with_header("X-Request-Id", "req-123")
        .with_header("X-Custom-Header", "custom-value");
    let response = raw(response).rest().request(GET, "/test").version(3).await.unwrap();
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("X-Request-Id"), Some("req-123"));
    assert_eq!(response.header("X-Custom-Header"), Some("custom-value"));
    assert_eq!(response.headers().len(), 3);
}

// UTS: rest/unit/RSC19d/pagination-with-link-headers-6
// Spec: HP2
#[tokio::test]
async fn pages_lead_to_the_next_with_the_same_headers() {
    let link = "</channels/test/messages?page=2>; rel=\"next\", \
                </channels/test/messages>; rel=\"first\"";
    let http = ScriptedHttp::sequence([
        respond(200, json!([{"id": "1"}, {"id": "2"}])).link(link),
        respond(200, json!([{"id": "3"}])),
    ]);
    let request = http.rest().request(GET, "/channels/test/messages").version(3);
    let first = request.header("X-Custom", "1").await.unwrap();
    assert_eq!(first.items().len(), 2);
    assert_eq!((first.has_next(), first.is_last()), (true, false));
    let second = first.next().await.unwrap().expect("there is a next page");
    assert_eq!(second.items(), [json!({"id": "3"})]);
    assert_eq!((second.has_next(), second.is_last()), (false, true));
    assert!(second.next().await.unwrap().is_none());
    first.first().await.unwrap().expect("there is a first page");
    let requests = http.requests();
    assert_eq!(requests[1].param("page").as_deref(), Some("2"));
    assert_eq!(requests[1].header("X-Ably-Version"), Some("3"));
    assert_eq!(requests[1].header("X-Custom"), Some("1"));
    assert_eq!(requests[2].0.url, requests[0].0.url);
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn a_link_to_another_host_is_not_followed() {
    let http = ScriptedHttp::always(
        respond(200, json!([])).link("<https://evil.example/x>; rel=\"next\""),
    );
    let response = http.rest().request(GET, "/test").await.unwrap();
    let error = response.next().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40000, Some(400)));
    assert_eq!(http.requests().len(), 1, "the credentials stay here");
}

// UTS: rest/unit/RSC19d/non-array-response-handling-7
// Spec: HP3
#[tokio::test]
async fn a_body_without_an_array_is_one_item() {
    for options in both_formats() {
        for body in [json!({"time": 1_234_567_890_000_i64}), json!(7), json!("text"), json!(true)] {
            let http = ScriptedHttp::always(respond(200, body.clone()));
            let response = http.rest_with(options.clone()).request(GET, "/time").await.unwrap();
            assert_eq!(response.items(), [body]);
        }
    }
}

// UTS: rest/unit/RSC19d/empty-response-handling-8
#[tokio::test]
async fn a_response_may_be_empty() {
    let http = raw(HttpResponse::new(204, ""));
    let request = http.rest().request(HttpMethod::Delete, "/channels/test/messages/123");
    let response = request.version(3).await.unwrap();
    assert_eq!((response.status(), response.is_success()), (204, true));
    assert!(response.items().is_empty());
}

// UTS: rest/unit/RSC19e/network-error-propagated-0
#[tokio::test]
async fn an_unreachable_service_is_an_error() {
    let http = ScriptedHttp::always(Answer::Fail(HttpErrorKind::Connect));
    let error = http.rest_with(alone()).request(GET, "/test").version(3).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (80000, None));
}

// UTS: rest/unit/RSC19e/timeout-error-handling-1
// Spec: RSC7c
#[tokio::test(start_paused = true)]
async fn a_timeout_is_an_error() {
    let late = Answer::After(Duration::from_secs(5), Box::new(respond(200, json!([]))));
    let http = ScriptedHttp::always(late);
    let options = alone().http_request_timeout(Duration::from_secs(1)).add_request_ids(true);
    let start = tokio::time::Instant::now();
    let error = http.rest_with(options).request(GET, "/test").version(3).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    assert_eq!((error.code().0, error.status()), (50003, Some(500)));
    assert_eq!(error.request_id(), http.request().param("request_id").as_deref());
}

// UTS: rest/unit/RSC19e/http-error-no-fallback-2
#[tokio::test]
async fn a_refusal_leads_to_no_fallback_host() {
    let response =
        encoded(Format::Json, 400, &failure(400)).with_header("X-Ably-Errorcode", "40000");
    let http = raw(response);
    let options =
        ClientOptions::new(KEY).fallback_hosts(["a.ably-realtime.com", "b.ably-realtime.com"]);
    let response = http.rest_with(options).request(GET, "/test").version(3).await.unwrap();
    assert_eq!((response.status(), response.is_success()), (400, false));
    assert_eq!(response.error_code(), Some(ErrorCode(40000)));
    assert_eq!(http.requests().len(), 1);
}

// UTS: rest/unit/RSC19e/fallback-on-server-error-3
#[tokio::test]
async fn a_failure_of_the_service_leads_to_a_fallback_host() {
    let broken = HttpResponse::new(500, "Internal Server Error");
    let broken = broken.with_header("Content-Type", "text/plain");
    let http = ScriptedHttp::sequence([Answer::Raw(broken), respond(200, json!([{"id": "1"}]))]);
    let options = ClientOptions::new(KEY).fallback_hosts(["fallback.ably-realtime.com"]);
    let response = http.rest_with(options).request(GET, "/test").version(3).await.unwrap();
    assert_eq!((response.status(), response.is_success()), (200, true));
    assert_eq!(http.requests().len(), 2);
    assert_eq!(http.requests()[1].authority(), "fallback.ably-realtime.com");
}

// Spec: TO3l9
#[tokio::test]
async fn a_body_may_be_too_large() {
    for options in both_formats() {
        let http = empty();
        let rest = http.rest_with(options.max_frame_size(1000));
        let send = |size| {
            let body = json!({"a": "x".repeat(size)});
            rest.request(HttpMethod::Post, "/x").body(body).into_future()
        };
        send(900).await.unwrap();
        let error = send(1000).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40009, Some(400)), "{error}");
        assert_eq!(http.requests().len(), 1, "it is not sent");
    }
}

// UTS: rest/unit/RSC19f/path-leading-slash-handling-4
#[tokio::test]
async fn a_path_may_lack_its_slash() {
    let http = empty();
    let rest = http.rest();
    for path in ["/channels/test", "channels/test"] {
        rest.request(GET, path).version(3).await.unwrap();
        assert_eq!(http.requests().pop().unwrap().path(), "/channels/test");
    }
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_an_error() {
    for (body, kind) in [
        ("[{\"id\":", "application/json"),
        ("\u{1}\u{2}", "application/x-msgpack"),
        ("<html></html>", "text/html"),
    ] {
        let http = raw(HttpResponse::new(200, body).with_header("Content-Type", kind));
        let error = http.rest().request(GET, "/test").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40013, Some(400)), "{kind}");
    }
    let page = HttpResponse::new(403, "<html></html>").with_header("Content-Type", "text/html");
    let response = raw(page).rest().request(GET, "/test").await.unwrap();
    assert_eq!((response.status(), response.items().len()), (403, 0));
}
