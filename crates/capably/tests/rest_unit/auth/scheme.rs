//! Which credentials a client uses (RSA1 to RSA4).

use capably::{ClientOptions, Rest, auth::AuthOptions};
use serde_json::json;

use super::{
    AUTH_URL, NOW, auth_server, authorizations, giving, good, numbered, read, served_json,
};
use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

// UTS: rest/unit/RSA4/basic-auth-key-only-0
#[tokio::test]
async fn a_key_alone_is_sent_as_basic_authentication() {
    let http = accepting();
    read(&http.rest()).await.unwrap();
    assert_eq!(authorizations(&http), ["Basic YXBwSWQua2V5SWQ6a2V5U2VjcmV0"]);
}

// UTS: rest/unit/RSA3/token-auth-explicit-token-0
#[tokio::test]
async fn a_token_is_sent_as_a_bearer() {
    let http = accepting();
    read(&http.rest_with(ClientOptions::default().token("explicit-token-string"))).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer explicit-token-string"]);
}

// UTS: rest/unit/RSA3/token-auth-token-details-1
// Spec: TO3j3, AO2i
#[tokio::test]
async fn the_token_of_token_details_is_sent() {
    let http = accepting();
    let options = ClientOptions::default().wall_clock(|| NOW);
    read(&http.rest_with(options.token_details(good("token-from-details")))).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer token-from-details"]);
}

// UTS: rest/unit/RSA4/use-token-auth-forced-1
// Spec: TO3j4, AO2j, RSC9
#[tokio::test]
async fn use_token_auth_makes_a_key_request_a_token() {
    for binary in [true, false] {
        let http = giving(json!({"token": "obtained-token", "expires": NOW + 3_600_000}));
        let options = ClientOptions::new(KEY)
            .use_token_auth(true)
            .use_binary_protocol(binary)
            .wall_clock(|| NOW);
        let rest = http.rest_with(options);
        read(&rest).await.unwrap();
        read(&rest).await.unwrap();
        let requests = http.requests();
        assert_eq!(requests.len(), 3, "the token is got once");
        assert_eq!(
            (requests[0].method(), requests[0].path()),
            ("POST", "/keys/appId.keyId/requestToken")
        );
        assert_eq!(requests[0].header("Authorization"), None);
        let body = requests[0].body();
        assert_eq!((&body["keyName"], &body["timestamp"]), (&json!("appId.keyId"), &json!(NOW)));
        assert_eq!(authorizations(&http), ["Bearer obtained-token"; 2]);
    }
}

// UTS: rest/unit/RSA4/auth-callback-triggers-token-2
#[tokio::test]
async fn a_callback_selects_token_authentication() {
    let http = accepting();
    read(&http.rest_with(numbered().0)).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer token-1"]);
}

// UTS: rest/unit/RSA4/authurl-triggers-token-3
// Spec: TO3j6
#[tokio::test]
async fn an_auth_url_selects_token_authentication() {
    let http = auth_server(served_json(200, &json!({"token": "authurl-token"})));
    read(&http.rest_with(ClientOptions::default().auth_url(AUTH_URL))).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer authurl-token"]);
}

// UTS: rest/unit/RSA1/token-auth-takes-precedence-0
#[tokio::test]
async fn a_callback_precedes_a_key_and_a_token_precedes_both() {
    let http = accepting();
    read(&http.rest_with(numbered().0.key(KEY))).await.unwrap();
    read(&http.rest_with(numbered().0.key(KEY).token("given"))).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer token-1", "Bearer given"]);
}

#[tokio::test]
async fn a_key_is_used_where_token_auth_is_turned_off() {
    let http = accepting();
    let options = numbered().0.key(KEY).token("given").use_token_auth(false);
    let rest = http.rest_with(options);
    read(&rest).await.unwrap();
    assert_eq!(authorizations(&http), ["Basic YXBwSWQua2V5SWQ6a2V5U2VjcmV0"]);
    assert_eq!(rest.auth().token_details(), None, "RSA16d");
}

// Spec: TO3j2
#[tokio::test]
async fn a_token_request_is_exchanged_only_for_the_first_token() {
    let signed = ScriptedHttp::always(respond(500, json!({}))).rest().auth().create_token_request();
    let request = signed.await.unwrap();
    let http = ScriptedHttp::sequence([
        respond(500, json!({})),
        respond(201, json!({"token": "exchanged"})),
        respond(200, json!([])),
        super::rejected(40142),
    ]);
    let options = ClientOptions::default().token_request(request).endpoint("a.example.com");
    let rest = http.rest_with(options);
    assert_eq!(read(&rest).await.unwrap_err().code().0, 50000);
    read(&rest).await.unwrap();
    assert_eq!(http.requests()[1].path(), "/keys/appId.keyId/requestToken");
    assert_eq!(read(&rest).await.unwrap_err().code().0, 40171);
    assert_eq!(authorizations(&http), ["Bearer exchanged"; 2]);
}

// Spec: RSA3d, RSC1c, TN1, TN2, TN3
#[tokio::test]
async fn every_form_of_token_string_is_sent_unchanged() {
    for token in ["appId.ABC-def_123", "eyJhbGciOiJIUzI1NiJ9.eyJpYXQiOjF9.c2ln", "opaque"] {
        let http = accepting();
        read(&http.rest_with(token.into())).await.unwrap();
        read(&http.rest_with(ClientOptions::default().token(token))).await.unwrap();
        assert_eq!(authorizations(&http), [format!("Bearer {token}"), format!("Bearer {token}")]);
    }
}

// UTS: rest/unit/RSC18/token-auth-over-non-tls-0
// Spec: RSA3a
#[tokio::test]
async fn a_token_is_sent_without_tls() {
    let http = accepting();
    read(&http.rest_with(ClientOptions::default().token("explicit-token").tls(false)))
        .await
        .unwrap();
    let request = http.request();
    assert_eq!(request.header("Authorization"), Some("Bearer explicit-token"));
    assert_eq!(request.scheme(), "http");
}

// Spec: RSA14, RSA4
#[test]
fn token_auth_without_a_source_of_tokens_is_refused() {
    for options in [
        ClientOptions::default().use_token_auth(true),
        ClientOptions::new("token").use_token_auth(false),
    ] {
        assert_eq!(Rest::new(options).unwrap_err().code().0, 40106);
    }
}

// Spec: AO2, AO1, AO2a, AO2c, AO2h
#[tokio::test]
async fn wrong_options_of_an_operation_are_reported_together() {
    let rest = accepting().rest();
    let options = AuthOptions::new().key("no-key").auth_url("nowhere").token("");
    let error = rest.auth().request_token().options(options).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40101, Some(401)));
    assert_eq!(error.detail().keys().collect::<Vec<_>>(), ["auth_url", "key", "token"]);
}
