//! `Auth::authorize` (RSA10).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use capably::{ClientOptions, TokenParams, auth::AuthOptions};
use serde_json::json;

use super::{
    AUTH_URL, NOW, authorizations, giving, good, numbered, read, served_json, to_auth_server,
};
use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

fn with_key() -> ClientOptions {
    ClientOptions::new(KEY).wall_clock(|| NOW)
}

// UTS: rest/unit/RSA10a/authorize-default-params-0
// Spec: RSA10, RSA10f
#[tokio::test]
async fn authorizing_gets_a_token_for_later_requests() {
    for binary in [true, false] {
        let details = json!({"token": "obtained-token", "expires": NOW + 3_600_000, "keyName": "appId.keyId"});
        let http = giving(details);
        let rest = http.rest_with(with_key().use_binary_protocol(binary));
        let details = rest.auth().authorize().await.unwrap();
        assert_eq!(details, good("obtained-token"));
        read(&rest).await.unwrap();
        assert_eq!(authorizations(&http), ["Bearer obtained-token"]);
    }
}

// UTS: rest/unit/RSA10b/authorize-explicit-params-0
#[tokio::test]
async fn takes_parameters() {
    let (options, asked) = numbered();
    let rest = giving(json!({})).rest_with(options.client_id("default-client"));
    let params = TokenParams::new().client_id("override-client").ttl(Duration::from_secs(7200));
    rest.auth().authorize().params(params.clone()).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [params]);
}

// UTS: rest/unit/RSA10e/authorize-saves-params-0
#[tokio::test]
async fn authorizing_keeps_the_reusable_parameters() {
    let (options, asked) = numbered();
    let rest = giving(json!({})).rest_with(options);
    let kept = TokenParams::new().client_id("saved-client").ttl(Duration::from_secs(3600));
    let params = kept.clone().timestamp(NOW).nonce("0123456789abcdef");
    rest.auth().authorize().params(params.clone()).await.unwrap();
    rest.auth().authorize().await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [params, kept], "RSA10g");
}

// Spec: RSA10j, TO3j11
#[tokio::test]
async fn parameters_replace_all_earlier_ones() {
    let (options, asked) = numbered();
    let options = options.default_token_params(TokenParams::new().ttl(Duration::from_secs(5)));
    let rest = giving(json!({})).rest_with(options);
    rest.auth().authorize().await.unwrap();
    rest.auth().authorize().params(TokenParams::new()).await.unwrap();
    rest.auth().authorize().await.unwrap();
    let ttls: Vec<_> = asked.lock().unwrap().iter().map(|params| params.ttl).collect();
    assert_eq!(ttls, [Some(5000), None, None]);
}

// UTS: rest/unit/RSA10g/authorize-updates-token-details-0
#[tokio::test]
async fn changes_the_token_details() {
    let http = giving(json!({
        "token": "new-token", "expires": NOW + 3_600_000, "keyName": "appId.keyId",
        "clientId": "token-client"
    }));
    let rest = http.rest_with(with_key());
    assert_eq!(rest.auth().token_details(), None);
    let result = rest.auth().authorize().await.unwrap();
    let details = rest.auth().token_details().unwrap();
    assert_eq!(
        (&*details.token, details.client_id.as_deref()),
        ("new-token", Some("token-client"))
    );
    assert_eq!(details, result);
}

// UTS: rest/unit/RSA10h/authorize-replaces-auth-options-0
#[tokio::test]
async fn options_replace_earlier_ones() {
    let http = giving(json!({}));
    let (options, original) = numbered();
    let rest = http.rest_with(options);
    let fresh = AuthOptions::new().auth_callback(async |_| Ok::<_, capably::Error>(good("new")));
    rest.auth().authorize().options(fresh).await.unwrap();
    assert_eq!(rest.auth().authorize().await.unwrap().token, "new", "and are kept (RSA10g)");
    assert_eq!(original.lock().unwrap().len(), 0);
}

// Spec: RSA10g
#[tokio::test]
async fn query_time_applies_to_one_authorization() {
    let http = giving(json!({}));
    let rest = http.rest_with(with_key());
    let options = AuthOptions::new()
        .query_time(true)
        .auth_callback(async |_| Ok::<_, capably::Error>(good("new")));
    rest.auth().authorize().options(options).await.unwrap();
    let request = rest.auth().create_token_request().await.unwrap();
    assert_eq!(request.timestamp, Some(NOW));
    assert_eq!(http.requests().len(), 0);
}

// UTS: rest/unit/RSA10i/authorize-preserves-key-0
#[tokio::test]
async fn options_without_a_key_keep_the_key_of_the_client() {
    let http = ScriptedHttp::new(|request, _| {
        assert!(to_auth_server(request));
        served_json(200, &json!({"token": "via-url"}))
    });
    let rest = http.rest_with(with_key());
    let options = AuthOptions::new().auth_url(AUTH_URL);
    assert_eq!(rest.auth().authorize().options(options).await.unwrap().token, "via-url");
    let request = rest.auth().create_token_request().await.unwrap();
    assert!(request.is_signed_with("keySecret"));
}

// UTS: rest/unit/RSA10j/authorize-replaces-existing-token-0
#[tokio::test]
async fn authorizing_replaces_a_valid_token() {
    let rest = giving(json!({})).rest_with(numbered().0);
    assert_eq!(rest.auth().authorize().await.unwrap().token, "token-1");
    assert_eq!(rest.auth().authorize().await.unwrap().token, "token-2");
    assert_eq!(rest.auth().token_details().unwrap().token, "token-2");
}

// UTS: rest/unit/RSA10k/authorize-query-time-0
#[tokio::test]
async fn the_time_is_requested_once_and_its_offset_kept() {
    const SERVICE: i64 = 1_234_567_890_000;
    for binary in [true, false] {
        let http = ScriptedHttp::new(|request, _| {
            if request.url.ends_with("/time") {
                respond(200, json!([SERVICE]))
            } else {
                respond(201, json!({"token": "synced", "expires": SERVICE + 3_600_000}))
            }
        });
        let clock = Arc::new(AtomicI64::new(NOW));
        let now = Arc::clone(&clock);
        let options = ClientOptions::new(KEY).use_binary_protocol(binary);
        let rest = http.rest_with(options.wall_clock(move || now.load(Ordering::Relaxed)));
        let query = || AuthOptions::new().query_time(true);
        rest.auth().authorize().options(query()).await.unwrap();
        clock.fetch_add(5000, Ordering::Relaxed);
        rest.auth().authorize().await.unwrap();
        rest.auth().authorize().options(query()).await.unwrap();
        let signed = rest.auth().create_token_request().await.unwrap();

        let requests = http.requests();
        let paths: Vec<_> = requests.iter().map(|request| request.path()).collect();
        let token = "/keys/appId.keyId/requestToken";
        assert_eq!(paths, ["/time", token, token, token]);
        assert_eq!(requests[0].header("Authorization"), None);
        assert_eq!(requests[1].body()["timestamp"], json!(SERVICE));
        assert_eq!(requests[2].body()["timestamp"], json!(SERVICE + 5000));
        assert_eq!(signed.timestamp, Some(SERVICE + 5000));
    }
}

// UTS: rest/unit/RSA10l/authorize-error-propagated-0
#[tokio::test]
async fn passes_on_the_service_s_error() {
    let stated = json!({"error": {"code": 40100, "statusCode": 401, "message": "Unauthorized"}});
    for binary in [true, false] {
        let http = ScriptedHttp::always(respond(401, stated.clone()));
        let options = ClientOptions::new("invalid.key:secret").use_binary_protocol(binary);
        let rest = http.rest_with(options);
        let error = rest.auth().authorize().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40100, Some(401)));
    }
}

// Spec: RSA10e, RSA10g, RSA4g
#[tokio::test]
async fn a_token_in_the_options_is_used_and_renewed_by_those_options() {
    let http = ScriptedHttp::sequence([
        super::rejected(40142),
        respond(200, json!([])),
        respond(200, json!([])),
    ]);
    let rest = http.rest_with(with_key());
    let options = AuthOptions::new()
        .token("given")
        .auth_callback(async |_| Ok::<_, capably::Error>("renewed"));
    assert_eq!(rest.auth().authorize().options(options).await.unwrap().token, "given");
    read(&rest).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer given", "Bearer renewed"]);
}

#[tokio::test]
async fn authorizing_without_a_source_of_tokens_is_an_error_and_changes_nothing() {
    let http = giving(json!({}));
    let rest = http.rest_with(ClientOptions::new("static"));
    assert_eq!(rest.auth().authorize().await.unwrap_err().code().0, 40171);
    let options = AuthOptions::new();
    assert_eq!(rest.auth().authorize().options(options).await.unwrap_err().code().0, 40106);
    assert_eq!(rest.auth().token_details().unwrap().token, "static");
    read(&rest).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer static"]);
}

// Spec: RSA8e, RSA8a, RSA8, TD4, TD5
#[tokio::test]
async fn requesting_a_token_does_not_use_it() {
    let http = giving(json!({"token": "other", "issued": NOW, "capability": "{\"*\":[\"*\"]}"}));
    let rest = http.rest_with(with_key());
    let details = rest.auth().request_token().await.unwrap();
    assert_eq!((&*details.token, details.issued), ("other", Some(NOW)));
    assert_eq!(details.capability.as_deref(), Some(r#"{"*":["*"]}"#));
    assert_eq!(rest.auth().token_details(), None);
    read(&rest).await.unwrap();
    assert_eq!(authorizations(&http), ["Basic YXBwSWQua2V5SWQ6a2V5U2VjcmV0"]);
}

#[test]
fn only_calls_over_the_network_need_a_runtime() {
    use futures_util::FutureExt;

    let rest = capably::Rest::new(KEY).unwrap();
    let error = rest.auth().authorize().into_future().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.code().0, 40000);
    let error = rest.auth().request_token().into_future().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.code().0, 40000);
    let signed = rest.auth().create_token_request().into_future().now_or_never().unwrap();
    assert!(signed.unwrap().is_signed_with("keySecret"));
}

#[tokio::test]
async fn debug_of_an_operation_shows_no_secret() {
    let rest = giving(json!({})).rest_with(ClientOptions::new(KEY).token("hush"));
    let options = AuthOptions::new().token("hush").key("a.b:hush");
    let text = format!("{:?} {:?}", rest.auth().authorize().options(options), rest.auth());
    assert!(!text.contains("hush") && !text.contains("keySecret"), "{text}");
}
