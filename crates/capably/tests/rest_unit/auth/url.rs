//! The auth URL (RSA8c).

use std::time::Duration;

use capably::{
    ClientOptions, TokenParams,
    auth::{AuthMethod, AuthOptions},
};
use serde_json::json;

use super::{AUTH_URL, NOW, auth_server, authorizations, read, served, served_json};
use crate::support::scripted_http::{Answer, Request, ScriptedHttp, respond};

fn options() -> ClientOptions {
    ClientOptions::default().wall_clock(|| NOW).auth_url(AUTH_URL)
}

fn a_token() -> Answer {
    served_json(200, &json!({"token": "authurl-token", "expires": NOW + 3_600_000}))
}

/// The request to the auth server by a client with these options.
async fn asked(options: ClientOptions) -> Request {
    let http = auth_server(a_token());
    read(&http.rest_with(options)).await.unwrap();
    assert_eq!(http.requests().len(), 2);
    assert_eq!(authorizations(&http), ["Bearer authurl-token"]);
    http.requests().remove(0)
}

// UTS: rest/unit/RSA8c/authurl-invoked-for-auth-0
#[tokio::test]
async fn an_auth_url_gives_the_token_for_a_request() {
    let request = asked(options()).await;
    assert_eq!(request.authority(), "auth.example.com");
    assert_eq!((request.method(), request.path()), ("GET", "/token"));
    assert_eq!(request.0.url, AUTH_URL, "there is nothing to tell");
    assert_eq!(request.header("Authorization"), None);
    assert_eq!(request.header("X-Ably-Version"), None);
    let accepted = "application/json, application/jwt, text/plain";
    assert_eq!(request.header("Accept"), Some(accepted));
}

// UTS: rest/unit/RSA8c/authurl-post-method-1
// Spec: RSA8c1, RSA8c1b, TO3j7, AO2d
#[tokio::test]
async fn an_auth_url_may_be_requested_with_post() {
    let request = asked(
        options().auth_method(AuthMethod::Post).auth_param("user", "a b&c").client_id("ada ✓"),
    )
    .await;
    assert_eq!((request.method(), &*request.0.url), ("POST", AUTH_URL));
    assert_eq!(request.header("Content-Type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(&request.bytes()[..], b"user=a%20b%26c&clientId=ada%20%E2%9C%93", "RSA8c1b");
}

// UTS: rest/unit/RSA8c/authurl-custom-headers-2
// Spec: TO3j8, AO2e
#[tokio::test]
async fn an_auth_url_receives_the_headers() {
    let request = asked(
        options()
            .auth_header("X-Custom-Header", "custom-value")
            .auth_header("X-API-Key", "my-api-key")
            .auth_header("Accept", "text/plain"),
    )
    .await;
    assert_eq!(request.header("X-Custom-Header"), Some("custom-value"));
    assert_eq!(request.header("X-API-Key"), Some("my-api-key"));
    assert_eq!(request.header("Accept"), Some("text/plain"), "the user's header counts");
}

// UTS: rest/unit/RSA8c/authurl-query-params-3
// Spec: TO3j9, AO2f
#[tokio::test]
async fn an_auth_url_receives_the_parameters() {
    let request =
        asked(options().auth_param("client_id", "my-client").auth_param("scope", "publish:*"))
            .await;
    assert_eq!(request.param("client_id").as_deref(), Some("my-client"));
    assert_eq!(request.param("scope").as_deref(), Some("publish:*"));
}

// Spec: RSA8c1a, RSA8c1c, RSA8c2, RSA5, RSA6
#[tokio::test]
async fn token_parameters_precede_others_and_the_url_keeps_its_own() {
    let url = format!("{AUTH_URL}?keep=1%2F2&user=old&ttl=1#fragment");
    let params = TokenParams::new()
        .ttl(Duration::from_secs(60))
        .capability(r#"{"*":["*"]}"#)
        .timestamp(NOW)
        .nonce("n");
    let given = options().auth_url(url).auth_param("user", "new").auth_param("ttl", 2);
    let http = auth_server(a_token());
    http.rest_with(given).auth().request_token().params(params).await.unwrap();
    let request = http.request();
    assert_eq!(
        request.0.url,
        format!(
            "{AUTH_URL}?keep=1%2F2&user=new&ttl=60000&capability=%7B%22%2A%22%3A%5B%22%2A%22%5D%7D\
             &timestamp={NOW}&nonce=n"
        )
    );
}

// Spec: RSA8c3
#[tokio::test]
async fn options_of_an_operation_replace_headers_and_parameters() {
    let http = auth_server(a_token());
    let rest = http.rest_with(options().auth_header("X-Old", "1").auth_param("old", 1));
    let fresh = AuthOptions::new().auth_url(AUTH_URL).auth_param("new", 2);
    rest.auth().request_token().options(fresh).await.unwrap();
    let request = http.request();
    assert_eq!((request.header("X-Old"), request.param("old")), (None, None));
    assert_eq!(request.param("new").as_deref(), Some("2"));
}

// UTS: rest/unit/RSA8c/authurl-returns-jwt-4
// Spec: RSA8g
#[tokio::test]
async fn an_auth_url_may_return_a_jwt_as_text() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.jwt-body.signature";
    for kind in ["text/plain", "application/jwt", "Text/Plain; charset=utf-8"] {
        let http = auth_server(served(200, kind, format!("{jwt}\n")));
        read(&http.rest_with(options())).await.unwrap();
        assert_eq!(authorizations(&http), [format!("Bearer {jwt}")], "{kind}");
    }
}

// Spec: RSA8c
#[tokio::test]
async fn an_auth_url_may_return_a_token_request() {
    let http = ScriptedHttp::new(|request, _| {
        if super::to_auth_server(request) {
            served_json(
                200,
                &json!({"keyName": "app.key", "timestamp": NOW, "nonce": "n", "mac": "m"}),
            )
        } else if request.url.contains("/keys/app.key/requestToken") {
            respond(201, json!({"token": "exchanged"}))
        } else {
            respond(200, json!([]))
        }
    });
    read(&http.rest_with(options())).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer exchanged"]);
}

// UTS: rest/unit/RSA8c/authurl-error-propagated-5
#[tokio::test]
async fn the_error_of_the_auth_server_fails_the_request() {
    let http = auth_server(served_json(500, &json!({"error": "Internal server error"})));
    let error = read(&http.rest_with(options())).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40170, Some(401)), "RSA4e");
    assert!(error.message().contains("auth server answered with status 500"), "{error}");
    assert_eq!(error.cause().map(|cause| cause.status_code), Some(500));
    assert_eq!(http.request().authority(), "auth.example.com");
}
