//! `Auth::revoke_tokens` (RSA17).

use capably::{
    ClientOptions,
    auth::{RevocationResult, RevocationTarget},
};
use serde_json::{Value, json};

use crate::support::scripted_http::{Request, ScriptedHttp, respond};

const KEY: &str = "appId.keyName:keySecret";

fn alice() -> RevocationTarget {
    RevocationTarget::client_id("alice")
}

fn success(target: &str) -> Value {
    json!({"target": target, "issuedBefore": 1_700_000_000_000_i64, "appliesAt": 1_700_000_001_000_i64})
}

fn failure(target: &str) -> Value {
    let error = json!({"code": 40000, "statusCode": 400, "message": "Invalid target type"});
    json!({"target": target, "error": error})
}

fn rests(http: &ScriptedHttp) -> [capably::Rest; 2] {
    [true, false].map(|binary| http.rest_with(ClientOptions::new(KEY).use_binary_protocol(binary)))
}

/// The requests of the clients of both formats.
fn asked(http: &ScriptedHttp) -> Vec<Request> {
    let requests = http.requests();
    assert_eq!(requests.len(), 2);
    requests
}

/// The body that the client of each format sends for these targets.
async fn sent(targets: &[RevocationTarget]) -> Vec<Request> {
    let http = ScriptedHttp::always(respond(201, json!([success("clientId:alice")])));
    for rest in rests(&http) {
        rest.auth().revoke_tokens(targets.to_vec()).await.unwrap();
    }
    asked(&http)
}

/// The result of the client of each format for this answer.
async fn answered(body: Value) -> Vec<RevocationResult> {
    let http = ScriptedHttp::always(respond(201, body));
    let mut results = Vec::new();
    for rest in rests(&http) {
        results.push(rest.auth().revoke_tokens([alice()]).await.unwrap());
    }
    results
}

// UTS: rest/unit/RSA17g/sends-post-correct-path-0
// UTS: rest/unit/RSA17/request-uses-basic-auth-0
#[tokio::test]
async fn posts_to_the_key_s_path_with_the_key() {
    let requests = sent(&[alice()]).await;
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.path(), "/keys/appId.keyName/revokeTokens");
        assert!(request.header("Authorization").unwrap().starts_with("Basic "));
    }
}

// UTS: rest/unit/RSA17b/single-specifier-targets-0
// UTS: rest/unit/RSA17e/issued-before-omitted-1
// UTS: rest/unit/RSA17f/reauth-margin-omitted-1
// Spec: TRT1, TRT2, TRT2a, TRT2b
#[tokio::test]
async fn a_target_is_type_and_value_and_absent_options_are_left_out() {
    for request in sent(&[alice()]).await {
        assert_eq!(request.body(), json!({"targets": ["clientId:alice"]}));
    }
}

// UTS: rest/unit/RSA17b/multiple-specifier-types-1
#[tokio::test]
async fn targets_may_have_several_types() {
    let targets = [
        alice(),
        RevocationTarget::revocation_key("group-1"),
        RevocationTarget::channel("secret"),
        RevocationTarget::new("new", "kind:x"),
    ];
    for request in sent(&targets).await {
        let expected = ["clientId:alice", "revocationKey:group-1", "channel:secret", "new:kind:x"];
        assert_eq!(request.body()["targets"], json!(expected));
    }
}

// UTS: rest/unit/RSA17c/all-success-result-0
#[tokio::test]
async fn counts_successes() {
    let items = json!([success("clientId:alice"), success("clientId:bob")]);
    let counted = json!({"successCount": 2, "failureCount": 0, "results": items});
    for body in [items, counted] {
        for result in answered(body).await {
            assert_eq!((result.success_count, result.failure_count), (2, 0));
            assert_eq!(result.results.len(), 2);
        }
    }
}

// UTS: rest/unit/RSA17c/mixed-success-failure-1
// Spec: BAR1, BAR2, BAR2a, BAR2b, BAR2c
#[tokio::test]
async fn some_targets_may_fail() {
    let items = json!([success("clientId:alice"), failure("invalidType:abc")]);
    let counted = json!({"successCount": 1, "failureCount": 1, "results": items});
    for body in [items, counted] {
        for result in answered(body).await {
            assert_eq!((result.success_count, result.failure_count), (1, 1));
            let good: Vec<_> = result.results.iter().map(Result::is_ok).collect();
            assert_eq!(good, [true, false]);
        }
    }
}

#[tokio::test]
async fn the_counts_of_the_service_precede_those_of_the_results() {
    let items = json!([success("clientId:alice")]);
    for result in answered(json!({"successCount": 8, "failureCount": 9, "results": items})).await {
        assert_eq!((result.success_count, result.failure_count), (8, 9));
        assert_eq!(result.results.len(), 1);
    }
}

// UTS: rest/unit/RSA17c/all-failure-result-2
#[tokio::test]
async fn all_targets_may_fail() {
    let items = [failure("invalidType:foo"), failure("invalidType:bar")];
    for result in answered(json!({"successCount": 0, "failureCount": 2, "results": items})).await {
        assert_eq!((result.success_count, result.failure_count), (0, 2));
        assert_eq!(result.results.iter().filter(|result| result.is_err()).count(), 2);
    }
}

// UTS: rest/unit/TRS2/success-result-attributes-0
// Spec: TRS1, TRS2a, TRS2b, TRS2c
#[tokio::test]
async fn a_success_has_target_and_times() {
    for result in answered(json!([success("clientId:alice")])).await {
        let success = result.results[0].as_ref().unwrap();
        assert_eq!(success.target, "clientId:alice");
        assert_eq!(success.issued_before, 1_700_000_000_000);
        assert_eq!(success.applies_at, 1_700_000_001_000);
    }
}

// UTS: rest/unit/TRF2/failure-result-attributes-0
// Spec: TRF1, TRF2a, TRF2b
#[tokio::test]
async fn a_failure_has_target_and_error() {
    let body =
        json!({"successCount": 0, "failureCount": 1, "results": [failure("invalidType:abc")]});
    for result in answered(body).await {
        let failure = result.results[0].as_ref().unwrap_err();
        assert_eq!(failure.target, "invalidType:abc");
        assert_eq!((failure.error.code().0, failure.error.status()), (40000, Some(400)));
        assert_eq!(failure.error.message(), "Invalid target type");
    }
}

async fn refused(options: ClientOptions) {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let error = http.rest_with(options).auth().revoke_tokens([alice()]).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40162, Some(401)));
    assert!(error.remediation().is_some());
    assert_eq!(http.requests().len(), 0);
}

// UTS: rest/unit/RSA17d/token-auth-revoke-rejected-0
#[tokio::test]
async fn a_client_with_a_token_cannot_revoke() {
    refused(ClientOptions::new("a.token.string")).await;
}

// UTS: rest/unit/RSA17d/use-token-auth-revoke-rejected-1
#[tokio::test]
async fn a_client_that_uses_token_auth_cannot_revoke() {
    refused(ClientOptions::new(KEY).use_token_auth(true)).await;
}

// Spec: RSA17d, RSA10a
#[tokio::test]
async fn a_client_that_has_authorized_cannot_revoke() {
    let http = ScriptedHttp::always(respond(201, json!({"token": "t"})));
    let rest = http.rest_with(ClientOptions::new(KEY));
    rest.auth().authorize().await.unwrap();
    let error = rest.auth().revoke_tokens([alice()]).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40162, Some(401)));
    assert_eq!(http.request().path(), "/keys/appId.keyName/requestToken");
}

// UTS: rest/unit/RSA17e/issued-before-included-0
#[tokio::test]
async fn a_revocation_may_be_limited_to_tokens_issued_before_a_time() {
    let http = ScriptedHttp::always(respond(201, json!([success("clientId:alice")])));
    for rest in rests(&http) {
        let revoke = rest.auth().revoke_tokens([alice()]).issued_before(1_699_999_000_000);
        revoke.await.unwrap();
    }
    for request in asked(&http) {
        assert_eq!(request.body()["issuedBefore"], json!(1_699_999_000_000_i64));
    }
}

// UTS: rest/unit/RSA17f/reauth-margin-included-0
#[tokio::test]
async fn a_revocation_may_leave_time_to_renew() {
    let http = ScriptedHttp::always(respond(201, json!([success("clientId:alice")])));
    for rest in rests(&http) {
        rest.auth().revoke_tokens([alice()]).allow_reauth_margin(true).await.unwrap();
    }
    for request in asked(&http) {
        assert_eq!(request.body()["allowReauthMargin"], json!(true));
    }
}

// UTS: rest/unit/RSA17f/both-options-together-2
#[tokio::test]
async fn a_revocation_may_have_both_options() {
    let http = ScriptedHttp::always(respond(201, json!([success("clientId:alice")])));
    for rest in rests(&http) {
        let revoke = rest.auth().revoke_tokens([alice()]);
        revoke.issued_before(1_699_999_000_000).allow_reauth_margin(true).await.unwrap();
    }
    for request in asked(&http) {
        let expected = json!({
            "targets": ["clientId:alice"],
            "issuedBefore": 1_699_999_000_000_i64,
            "allowReauthMargin": true
        });
        assert_eq!(request.body(), expected);
    }
}

// UTS: rest/unit/RSA17/server-error-propagated-0
#[tokio::test]
async fn passes_on_the_service_s_error() {
    let stated = json!({"error": {"code": 50000, "statusCode": 500, "message": "Internal error"}});
    let http = ScriptedHttp::always(respond(500, stated));
    for rest in rests(&http) {
        let error = rest.auth().revoke_tokens([alice()]).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (50000, Some(500)));
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_an_error() {
    for body in [json!({}), json!("x"), json!([1]), json!({"results": {}})] {
        let http = ScriptedHttp::always(respond(201, body.clone()));
        for rest in rests(&http) {
            let error = rest.auth().revoke_tokens([alice()]).await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40013, Some(400)), "{body}");
        }
    }
}
