//! The auth callback (RSA8d).

use std::time::Duration;

use capably::{
    Capability, ClientOptions, Error, ErrorCode, TokenParams, TokenRequest, auth::TokenSource,
};
use serde_json::json;

use super::{NOW, authorizations, giving, numbered, read};
use crate::support::scripted_http::{ScriptedHttp, respond};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

fn returning(source: impl Into<TokenSource>) -> ClientOptions {
    let source = source.into();
    ClientOptions::default().wall_clock(|| NOW).auth_callback(move |_| {
        let source = source.clone();
        async move { Ok::<_, Error>(source) }
    })
}

// UTS: rest/unit/RSA8d/callback-invoked-for-auth-0
#[tokio::test]
async fn a_callback_gives_the_token_for_a_request() {
    let http = accepting();
    let (options, asked) = numbered();
    read(&http.rest_with(options)).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [TokenParams::new()]);
    assert_eq!(http.request().header("Authorization"), Some("Bearer token-1"));
}

/// There is a limit of calls at a time, and none of calls one after the other.
#[tokio::test]
async fn a_callback_is_called_for_each_of_many_tokens() {
    let rest = accepting().rest_with(returning("token"));
    for _ in 0..300 {
        assert_eq!(rest.auth().request_token().await.unwrap().token, "token");
    }
}

// UTS: rest/unit/RSA8d/callback-returns-jwt-1
// Spec: RSA8g
#[tokio::test]
async fn a_callback_may_return_a_jwt() {
    let http = accepting();
    let jwt = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.test-jwt-payload";
    read(&http.rest_with(returning(jwt))).await.unwrap();
    assert_eq!(authorizations(&http), [format!("Bearer {jwt}")]);
}

// UTS: rest/unit/RSA8d/callback-returns-token-request-2
#[tokio::test]
async fn a_callback_may_return_a_token_request() {
    for binary in [true, false] {
        let http = giving(json!({"token": "exchanged-token", "expires": NOW + 3_600_000}));
        let params =
            TokenParams::new().ttl(Duration::from_secs(3600)).timestamp(NOW).nonce("unique-nonce");
        let mut request = TokenRequest::new("app.key", params);
        request.mac = Some("computed-mac".into());
        read(&http.rest_with(returning(request).use_binary_protocol(binary))).await.unwrap();
        let requests = http.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(
            (requests[0].method(), requests[0].path()),
            ("POST", "/keys/app.key/requestToken")
        );
        let expected = json!({
            "keyName": "app.key", "ttl": 3_600_000, "timestamp": NOW, "nonce": "unique-nonce",
            "mac": "computed-mac"
        });
        assert_eq!(requests[0].body(), expected, "as it was signed");
        assert_eq!(requests[1].header("Authorization"), Some("Bearer exchanged-token"));
    }
}

#[tokio::test]
async fn the_name_of_a_key_is_one_segment_of_the_path() {
    let http = giving(json!({"token": "exchanged"}));
    read(&http.rest_with(returning(json!({"keyName": "app.k/../e?y", "mac": "m"})))).await.unwrap();
    assert_eq!(http.requests()[0].path(), "/keys/app.k%2F..%2Fe%3Fy/requestToken");
}

// Spec: TO3j5, AO2b
#[tokio::test]
async fn a_callback_may_return_json() {
    let http = giving(json!({"token": "exchanged"}));
    for source in [
        json!({"token": "details", "expires": NOW + 1}),
        json!("string"),
        json!({"keyName": "app.key", "mac": "m", "nonce": "n", "timestamp": NOW.to_string()}),
    ] {
        read(&http.rest_with(returning(source))).await.unwrap();
    }
    assert_eq!(authorizations(&http), ["Bearer details", "Bearer string", "Bearer exchanged"]);
}

// UTS: rest/unit/RSA8d/callback-receives-token-params-3
// Spec: RSA8b
#[tokio::test]
async fn a_callback_receives_the_token_parameters() {
    let (options, asked) = numbered();
    let params = TokenParams::new()
        .client_id("requested-client-id")
        .ttl(Duration::from_secs(7200))
        .capability(Capability::new().allow("channel1", ["publish"]));
    accepting().rest_with(options).auth().authorize().params(params.clone()).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [params]);
    let asked = asked.lock().unwrap()[0].clone();
    assert_eq!(asked.capability.as_deref(), Some(r#"{"channel1":["publish"]}"#));
}

// UTS: rest/unit/RSA8d/callback-error-propagated-4
#[tokio::test]
async fn the_error_of_a_callback_fails_the_request() {
    let http = accepting();
    let options = ClientOptions::default().auth_callback(async |_| {
        Err::<TokenSource, _>(std::io::Error::other("Authentication server unavailable"))
    });
    let error = read(&http.rest_with(options)).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40170, Some(401)), "RSA4e");
    assert!(error.message().contains("Authentication server unavailable"), "{error}");
    assert_eq!(http.requests().len(), 0);
}

#[tokio::test]
async fn an_error_of_the_service_is_passed_on_as_it_is() {
    let http = accepting();
    let options = ClientOptions::default().auth_callback(async |_| {
        Err::<TokenSource, _>(Error::new(ErrorCode(40300), 403, "account blocked"))
    });
    let error = read(&http.rest_with(options)).await.unwrap_err();
    assert_eq!(
        (error.code().0, error.status(), error.message()),
        (40300, Some(403), "account blocked")
    );
}

#[tokio::test(start_paused = true)]
async fn a_callback_that_hangs_or_panics_is_an_error_in_time() {
    let http = accepting();
    let limit = Duration::from_secs(3);
    let hanging = ClientOptions::default()
        .http_request_timeout(limit)
        .auth_callback(|_| std::future::pending::<Result<TokenSource, Error>>());
    let start = tokio::time::Instant::now();
    let error = read(&http.rest_with(hanging)).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40170, Some(401)), "RSA4e");
    assert_eq!(start.elapsed(), limit);

    let panicking = ClientOptions::default()
        .auth_callback(|_| -> std::future::Ready<Result<TokenSource, Error>> { panic!("a bug") });
    let rest = http.rest_with(panicking);
    for _ in 0..2 {
        let error = read(&rest).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40170, Some(401)));
    }
    assert_eq!(http.requests().len(), 0);
}

// Spec: RSA4f
#[tokio::test]
async fn a_malformed_token_is_an_error() {
    let http = accepting();
    for source in [
        TokenSource::from(""),
        "x".repeat(128 * 1024 + 1).into(),
        json!({"secret": "hush"}).into(),
        json!(["hush"]).into(),
        json!({"token": {"hush": 1}}).into(),
    ] {
        let error = read(&http.rest_with(returning(source))).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40170, Some(401)));
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
    assert_eq!(http.requests().len(), 0);
}
