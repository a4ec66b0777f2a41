//! `Auth::create_token_request` (RSA5, RSA6, RSA9).

use std::time::Duration;

use capably::{ClientOptions, TokenParams, TokenRequest, auth::AuthOptions};
use serde_json::json;

use super::NOW;
use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

async fn created(default: Option<TokenParams>, params: Option<TokenParams>) -> TokenRequest {
    let http = ScriptedHttp::always(respond(500, json!({})));
    let mut options = ClientOptions::new(KEY).wall_clock(|| NOW);
    if let Some(default) = default {
        options = options.default_token_params(default);
    }
    let rest = http.rest_with(options);
    let create = rest.auth().create_token_request();
    let request = match params {
        Some(params) => create.params(params).await.unwrap(),
        None => create.await.unwrap(),
    };
    assert_eq!(http.requests().len(), 0, "the network is not needed (RSA9a)");
    request
}

fn ttl(seconds: u64) -> TokenParams {
    TokenParams::new().ttl(Duration::from_secs(seconds))
}

fn capability(text: &str) -> TokenParams {
    TokenParams::new().capability(text)
}

// UTS: rest/unit/RSA5/ttl-null-when-unspecified-0
// UTS: rest/unit/RSA6/capability-null-when-unspecified-0
#[tokio::test]
async fn a_token_request_omits_absent_parameters() {
    let request = created(None, None).await;
    assert_eq!((request.ttl, request.capability.as_ref()), (None, None));
    assert_eq!(request.client_id, None);
    let json: serde_json::Value = serde_json::from_str(&request.to_json()).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["keyName", "mac", "nonce", "timestamp"]);
}

// UTS: rest/unit/RSA5b/explicit-ttl-preserved-0
// Spec: RSA9e
#[tokio::test]
async fn a_token_request_contains_the_ttl() {
    assert_eq!(created(None, Some(ttl(7200))).await.ttl, Some(7_200_000));
}

// UTS: rest/unit/RSA5c/ttl-from-default-params-0
#[tokio::test]
async fn a_token_request_has_the_ttl_of_the_default_parameters() {
    assert_eq!(created(Some(ttl(1800)), None).await.ttl, Some(1_800_000));
}

// UTS: rest/unit/RSA5d/explicit-ttl-overrides-default-0
#[tokio::test]
async fn a_given_ttl_precedes_the_default() {
    assert_eq!(created(Some(ttl(1800)), Some(ttl(600))).await.ttl, Some(600_000));
}

// UTS: rest/unit/RSA6b/explicit-capability-preserved-0
// Spec: RSA9f
#[tokio::test]
async fn a_token_request_contains_the_capability() {
    let text = r#"{"channel-a":["publish","subscribe"]}"#;
    assert_eq!(created(None, Some(capability(text))).await.capability.as_deref(), Some(text));
}

// UTS: rest/unit/RSA6c/capability-from-default-params-0
#[tokio::test]
async fn a_token_request_has_the_capability_of_the_default_parameters() {
    let text = r#"{"*":["subscribe"]}"#;
    assert_eq!(created(Some(capability(text)), None).await.capability.as_deref(), Some(text));
}

// UTS: rest/unit/RSA6d/explicit-capability-overrides-default-0
#[tokio::test]
async fn a_given_capability_precedes_the_default() {
    let text = r#"{"channel-x":["publish"]}"#;
    let request = created(Some(capability(r#"{"*":["subscribe"]}"#)), Some(capability(text))).await;
    assert_eq!(request.capability.as_deref(), Some(text));
}

// UTS: rest/unit/TO3/client-options-default-token-params-3
#[tokio::test]
async fn a_token_request_has_all_default_parameters() {
    let text = r#"{"*":["subscribe"]}"#;
    let params = ttl(7200).client_id("default-client").capability(text);
    let request = created(Some(params), None).await;
    assert_eq!((request.ttl, request.capability.as_deref()), (Some(7_200_000), Some(text)));
    assert_eq!(request.client_id.as_deref(), Some("default-client"));
}

// Spec: RSA9h, RSA8e
#[tokio::test]
async fn parameters_are_not_merged_with_the_default_ones() {
    let request = created(Some(ttl(1800)), Some(capability("{}"))).await;
    assert_eq!(request.ttl, None);
}

// Spec: RSA9a, RSA9c, RSA9d, RSA9g, TE2, RSA9, RSA9i
#[tokio::test]
async fn a_token_request_has_signature_timestamp_and_nonce() {
    let first = created(None, None).await;
    let second = created(None, None).await;
    assert_eq!((&*first.key_name, first.timestamp), ("appId.keyId", Some(NOW)));
    let nonces = [first.nonce.as_deref().unwrap(), second.nonce.as_deref().unwrap()];
    assert!(nonces[0].len() >= 16 && nonces[0] != nonces[1], "{nonces:?}");
    assert!(first.is_signed_with("keySecret") && second.is_signed_with("keySecret"));
}

// Spec: RSA9g, TK2d, TK2e
#[tokio::test]
async fn a_token_request_keeps_given_timestamp_and_nonce_and_ignores_default_ones() {
    let params = TokenParams::new().timestamp(5).nonce("mine");
    let request = created(None, Some(params.clone())).await;
    assert_eq!((request.timestamp, request.nonce.as_deref()), (Some(5), Some("mine")));
    assert!(request.is_signed_with("keySecret"));
    let request = created(Some(params), None).await;
    assert_eq!(request.timestamp, Some(NOW));
    assert_ne!(request.nonce.as_deref(), Some("mine"));
}

// Spec: RSA9g
#[tokio::test]
async fn a_token_request_is_signed_with_the_key_of_the_options() {
    let rest = ScriptedHttp::always(respond(200, json!([]))).rest();
    let options = AuthOptions::new().key("other.key:secret2");
    let request = rest.auth().create_token_request().options(options).await.unwrap();
    assert_eq!(request.key_name, "other.key");
    assert!(request.is_signed_with("secret2"));
}

// Spec: RSA9d
#[tokio::test]
async fn query_time_requests_the_time() {
    let http = ScriptedHttp::always(respond(200, json!([1_234_567_890_000_i64])));
    let rest = http.rest_with(ClientOptions::new(KEY).query_time(true).wall_clock(|| NOW));
    for _ in 0..2 {
        let request = rest.auth().create_token_request().await.unwrap();
        assert_eq!(request.timestamp, Some(1_234_567_890_000));
    }
    assert_eq!(http.request().path(), "/time");
}

#[tokio::test]
async fn a_token_request_without_a_key_is_an_error() {
    let rest = ScriptedHttp::always(respond(200, json!([]))).rest_with(ClientOptions::new("token"));
    let error = rest.auth().create_token_request().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40101, Some(401)));
}
