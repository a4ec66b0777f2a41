//! `Auth::token_details` (RSA16).

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use capably::{Capability, ClientOptions, Error, ErrorCode, Rest, TokenDetails};
use serde_json::json;

use super::{HOUR, NOW, giving, good, numbered, read, rejected, telling_time, with_callback};
use crate::support::scripted_http::{KEY, ScriptedHttp, respond};

fn accepting() -> ScriptedHttp {
    ScriptedHttp::always(respond(200, json!([])))
}

fn token(rest: &Rest) -> String {
    rest.auth().token_details().unwrap().token.to_string()
}

// UTS: rest/unit/RSA16a/token-from-callback-0
// Spec: RSA16
#[tokio::test]
async fn token_details_are_those_of_a_callback() {
    let details = good("callback-token-abc").issued(NOW).client_id("my-client");
    let given = details.clone();
    let rest = accepting().rest_with(with_callback(move |_| given.clone()).0);
    read(&rest).await.unwrap();
    assert_eq!(rest.auth().token_details(), Some(details));
}

// UTS: rest/unit/RSA16a/token-from-request-token-1
#[tokio::test]
async fn token_details_are_those_of_the_service() {
    let http = giving(json!({
        "token": "requested-token-xyz", "expires": NOW + HOUR, "issued": NOW,
        "keyName": "appId.keyId", "clientId": "token-client"
    }));
    let rest = http.rest();
    rest.auth().authorize().await.unwrap();
    let expected = good("requested-token-xyz").issued(NOW).client_id("token-client");
    assert_eq!(rest.auth().token_details(), Some(expected));
}

// UTS: rest/unit/RSA16b/token-string-in-options-0
#[test]
fn details_of_a_token_in_the_options_have_only_the_token() {
    let rest = Rest::new(ClientOptions::default().token("standalone-token-string")).unwrap();
    assert_eq!(rest.auth().token_details(), Some(TokenDetails::new("standalone-token-string")));
}

// UTS: rest/unit/RSA16b/token-string-from-callback-1
#[tokio::test]
async fn details_of_a_token_string_of_a_callback_have_only_the_token() {
    let options =
        ClientOptions::default().auth_callback(async |_| Ok::<_, Error>("just-a-token-string"));
    let rest = accepting().rest_with(options);
    read(&rest).await.unwrap();
    assert_eq!(rest.auth().token_details(), Some(TokenDetails::new("just-a-token-string")));
}

// UTS: rest/unit/RSA16c/set-on-instantiation-0
#[test]
fn token_details_of_the_options_are_available_at_once() {
    let initial = good("initial-token").issued(NOW).client_id("initial-client");
    let rest = Rest::new(ClientOptions::default().token_details(initial.clone())).unwrap();
    assert_eq!(rest.auth().token_details(), Some(initial));
}

// UTS: rest/unit/RSA16c/updated-after-authorize-1
#[tokio::test]
async fn token_details_change_with_each_authorization() {
    let (options, _) =
        with_callback(|n| good(format!("token-v{n}")).client_id(format!("client-v{n}")));
    let rest = accepting().rest_with(options);
    for n in 1..=2 {
        rest.auth().authorize().await.unwrap();
        let details = rest.auth().token_details().unwrap();
        assert_eq!(details.token, format!("token-v{n}"));
        assert_eq!(details.client_id, Some(format!("client-v{n}").into()));
    }
}

// RSA4b1 allows only the time of the service, so the test queries it first.
// UTS: rest/unit/RSA16c/updated-after-expiry-renewal-2
#[tokio::test]
async fn token_details_change_when_an_expired_token_is_renewed() {
    let clock = Arc::new(AtomicI64::new(NOW));
    let (now, again) = (Arc::clone(&clock), Arc::clone(&clock));
    let (options, _) = with_callback(move |n| {
        TokenDetails::new(format!("token-v{n}")).expires(again.load(Ordering::Relaxed) + 1000)
    });
    let options = options.key(KEY).query_time(true);
    let rest = telling_time().rest_with(options.wall_clock(move || now.load(Ordering::Relaxed)));
    rest.auth().create_token_request().await.unwrap();
    read(&rest).await.unwrap();
    assert_eq!(token(&rest), "token-v1");
    clock.fetch_add(999, Ordering::Relaxed);
    read(&rest).await.unwrap();
    assert_eq!(token(&rest), "token-v1", "it has a millisecond left");
    clock.fetch_add(1, Ordering::Relaxed);
    read(&rest).await.unwrap();
    assert_eq!(token(&rest), "token-v2");
}

// UTS: rest/unit/RSA16c/updated-after-40142-renewal-3
#[tokio::test]
async fn token_details_change_when_a_rejected_token_is_renewed() {
    for binary in [true, false] {
        let http = ScriptedHttp::sequence([rejected(40142), respond(200, json!([]))]);
        let rest = http.rest_with(numbered().0.use_binary_protocol(binary));
        rest.auth().authorize().await.unwrap();
        assert_eq!(token(&rest), "token-1");
        read(&rest).await.unwrap();
        assert_eq!(token(&rest), "token-2");
    }
}

// UTS: rest/unit/RSA16d/null-with-basic-auth-0
#[tokio::test]
async fn token_details_are_none_with_a_key() {
    let rest = accepting().rest();
    read(&rest).await.unwrap();
    assert_eq!(rest.auth().token_details(), None);
}

// UTS: rest/unit/RSA16d/null-before-token-obtained-1
#[test]
fn token_details_are_none_before_the_first_token() {
    assert_eq!(Rest::new(numbered().0).unwrap().auth().token_details(), None);
}

// UTS: rest/unit/RSA16d/null-after-invalidation-2
#[tokio::test]
async fn token_details_are_none_after_a_rejected_token_could_not_be_renewed() {
    let http = ScriptedHttp::always(rejected(40142));
    let count = Arc::new(AtomicI64::new(0));
    let options = ClientOptions::default().wall_clock(|| NOW).auth_callback(move |_| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let failure = Error::new(ErrorCode(50000), 500, "Cannot obtain new token");
            if first { Ok(good("first-token")) } else { Err(failure) }
        }
    });
    let rest = http.rest_with(options);
    rest.auth().authorize().await.unwrap();
    assert_eq!(token(&rest), "first-token");
    let error = read(&rest).await.unwrap_err();
    assert_eq!((error.code().0, error.message()), (50000, "Cannot obtain new token"));
    assert_eq!(rest.auth().token_details(), None);
}

// Spec: RSA16d
#[tokio::test]
async fn token_details_are_none_after_an_expired_token_could_not_be_renewed() {
    let clock = Arc::new(AtomicI64::new(NOW));
    let now = Arc::clone(&clock);
    let count = Arc::new(AtomicI64::new(0));
    let options = ClientOptions::new(KEY)
        .query_time(true)
        .wall_clock(move || now.load(Ordering::Relaxed))
        .auth_callback(move |_| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                let failure = Error::new(ErrorCode(50000), 500, "Cannot obtain new token");
                if first { Ok(good("first-token")) } else { Err(failure) }
            }
        });
    let rest = telling_time().rest_with(options);
    rest.auth().create_token_request().await.unwrap();
    read(&rest).await.unwrap();
    assert_eq!(token(&rest), "first-token");
    clock.fetch_add(HOUR, Ordering::Relaxed);
    assert_eq!(read(&rest).await.unwrap_err().code().0, 50000);
    assert_eq!(rest.auth().token_details(), None);
}

// UTS: rest/unit/RSA16a/preserved-across-requests-0
#[tokio::test]
async fn token_details_stay_while_the_token_is_valid() {
    let (options, asked) = numbered();
    let rest = accepting().rest_with(options);
    for _ in 0..3 {
        read(&rest).await.unwrap();
        assert_eq!(token(&rest), "token-1");
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
}

// UTS: rest/unit/RSA16a/reflects-capability-1
#[tokio::test]
async fn token_details_contain_the_capability() {
    let text = r#"{"channel1":["publish","subscribe"],"channel2":["subscribe"]}"#;
    let rest = accepting().rest_with(with_callback(move |_| good("t").capability(text)).0);
    read(&rest).await.unwrap();
    let capability = rest.auth().token_details().unwrap().capability.unwrap();
    assert_eq!(capability, text);
    let expected = Capability::new()
        .allow("channel1", ["publish", "subscribe"])
        .allow("channel2", ["subscribe"]);
    assert_eq!(capability.parse(), Ok(expected));
}
