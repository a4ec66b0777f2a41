//! `Rest::time` (RSC16).

use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{KEY, ScriptedHttp, respond},
};

const NOW: i64 = 1_704_067_200_000;

// UTS: rest/unit/RSC16/returns-server-time-0
#[tokio::test]
async fn returns_the_time_of_the_service() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(200, json!([NOW])));
        assert_eq!(http.rest_with(options).time().await.unwrap(), NOW);
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", "/time"));
    }
}

// UTS: rest/unit/RSC16/request-format-get-time-1
#[tokio::test]
async fn sends_the_standard_headers() {
    let http = ScriptedHttp::always(respond(200, json!([NOW])));
    http.rest().time().await.unwrap();
    let request = http.request();
    assert_eq!((request.method(), request.path()), ("GET", "/time"));
    assert_eq!(request.header("X-Ably-Version"), Some("6"));
    assert!(request.header("Ably-Agent").is_some_and(|agent| agent.starts_with("capably-rust/")));
}

// UTS: rest/unit/RSC16/no-auth-required-2
#[tokio::test]
async fn sends_no_credentials() {
    let http = ScriptedHttp::always(respond(200, json!([NOW])));
    http.rest().time().await.unwrap();
    assert_eq!(http.request().header("Authorization"), None);
}

// UTS: rest/unit/RSC16/works-without-tls-3
#[tokio::test]
async fn works_without_tls() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(200, json!([NOW])));
        let rest = http.rest_with(options.tls(false).use_token_auth(true));
        assert_eq!(rest.time().await.unwrap(), NOW);
        let request = http.request();
        assert_eq!(request.scheme(), "http");
        assert_eq!(request.header("Authorization"), None);
    }
}

// UTS: rest/unit/RSC16/error-propagated-4
#[tokio::test]
async fn passes_on_the_error_of_the_service() {
    let error = json!({
        "error": {"message": "Internal server error", "code": 50000, "statusCode": 500}
    });
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(500, error.clone()));
        let error = http.rest_with(options).time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (50000, Some(500)));
        assert_eq!(error.message(), "Internal server error");
    }
}

#[tokio::test]
async fn a_reply_without_a_time_is_an_error() {
    for body in [json!([]), json!({}), json!("soon"), json!([1.5]), json!(null)] {
        let http = ScriptedHttp::always(respond(200, body.clone()));
        let error = http.rest().time().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40013, Some(400)), "{body}");
    }
}

#[test]
fn a_call_without_a_runtime_is_an_error_and_not_a_panic() {
    let rest = capably::Rest::new(KEY).expect("constructing needs no runtime");
    let error = futures_util::FutureExt::now_or_never(rest.time()).expect("at once").unwrap_err();
    assert_eq!(error.code().0, 40000);
    assert!(error.to_string().contains("inside a tokio runtime"), "{error}");
}
