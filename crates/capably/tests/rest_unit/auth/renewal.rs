//! Renewal of expired and rejected tokens (RSA4a2, RSA4b, RSC10).

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use capably::{
    ClientOptions, Error, ErrorCode, Rest, TokenDetails, TokenParams, TokenRequest,
    auth::AuthOptions,
};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    AUTH_URL, HOUR, NOW, authorizations, good, numbered, read, rejected, served_json, telling_time,
    to_auth_server, with_callback,
};
use crate::support::scripted_http::{Answer, KEY, ScriptedHttp, respond};

fn once_rejected(code: u32) -> ScriptedHttp {
    ScriptedHttp::sequence([rejected(code), respond(200, json!([]))])
}

// UTS: rest/unit/RSA4b/renewal-on-40142-0
// UTS: rest/unit/RSA4b/renewal-msgpack-response-4
// UTS: rest/unit/RSC10/request-retried-after-renewal-0
#[tokio::test]
async fn a_rejected_token_is_renewed_and_the_request_sent_again() {
    for binary in [true, false] {
        let http = once_rejected(40142);
        let (options, asked) = numbered();
        let rest = http.rest_with(options.use_binary_protocol(binary));
        let page = rest.channels().get("test").history().await.unwrap();
        assert_eq!(page.items().len(), 0);
        assert_eq!(asked.lock().unwrap().len(), 2);
        assert_eq!(authorizations(&http), ["Bearer token-1", "Bearer token-2"]);
    }
}

// UTS: rest/unit/RSA4b/renewal-on-40140-1
#[tokio::test]
async fn every_token_error_code_causes_a_renewal() {
    for code in 40140..=40149 {
        let http = once_rejected(code);
        let (options, asked) = numbered();
        read(&http.rest_with(options)).await.unwrap();
        assert_eq!((asked.lock().unwrap().len(), http.requests().len()), (2, 2), "{code}");
    }
}

// UTS: rest/unit/RSC10b/non-token-401-no-renewal-0
#[tokio::test]
async fn other_codes_cause_no_renewal() {
    for code in [40100, 40101, 40139, 40150, 40160] {
        let http = ScriptedHttp::always(rejected(code));
        let (options, asked) = numbered();
        let error = read(&http.rest_with(options)).await.unwrap_err();
        assert_eq!(error.code().0, code);
        assert_eq!((asked.lock().unwrap().len(), http.requests().len()), (1, 1), "{code}");
    }
}

// Spec: RSA4b
#[tokio::test]
async fn the_status_of_the_response_counts_not_the_stated_one() {
    let stated = json!({"error": {"code": 40142, "statusCode": 401, "message": "expired"}});
    let http = ScriptedHttp::always(respond(403, stated));
    let (options, asked) = numbered();
    assert_eq!(read(&http.rest_with(options)).await.unwrap_err().code().0, 40142);
    assert_eq!((asked.lock().unwrap().len(), http.requests().len()), (1, 1));
}

// RSA4b1 allows only the time of the service, so the test queries it first.
// UTS: rest/unit/RSA4b1/preemptive-renewal-0
#[tokio::test]
async fn an_expired_token_is_renewed_before_the_request() {
    let http = telling_time();
    let (options, asked) = with_callback(|count| match count {
        1 => TokenDetails::new("expired-token").expires(NOW - 1000),
        _ => good("fresh-token"),
    });
    let rest = http.rest_with(options.key(KEY).query_time(true));
    rest.auth().create_token_request().await.unwrap();
    rest.auth().authorize().await.unwrap();
    read(&rest).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(authorizations(&http), ["Bearer fresh-token"]);
}

// Spec: RSA4b1
#[tokio::test]
async fn without_the_time_of_the_service_only_a_rejection_ends_a_token() {
    for ahead in [2 * HOUR, 24 * HOUR, -24 * HOUR] {
        for binary in [true, false] {
            let clock = move || NOW + ahead;
            // Details, and no way to renew them.
            let http = ScriptedHttp::always(respond(200, json!([])));
            let options = ClientOptions::default().token_details(good("given"));
            let rest = http.rest_with(options.wall_clock(clock).use_binary_protocol(binary));
            read(&rest).await.unwrap();
            read(&rest).await.unwrap();
            assert_eq!(authorizations(&http), ["Bearer given", "Bearer given"]);

            // A token request: valid for one token.
            let http = ScriptedHttp::new(|request, _| {
                if request.url.contains("/requestToken") {
                    respond(201, json!({"token": "exchanged", "expires": NOW + HOUR}))
                } else {
                    respond(200, json!([]))
                }
            });
            let request = TokenRequest::new("appId.keyId", TokenParams::new().timestamp(NOW));
            let options = ClientOptions::default().token_request(request);
            let rest = http.rest_with(options.wall_clock(clock).use_binary_protocol(binary));
            for _ in 0..3 {
                read(&rest).await.unwrap();
            }
            assert_eq!(authorizations(&http), ["Bearer exchanged"; 3]);

            // A callback.
            let http = ScriptedHttp::always(respond(200, json!([])));
            let (options, asked) = numbered();
            let rest = http.rest_with(options.wall_clock(clock).use_binary_protocol(binary));
            for _ in 0..3 {
                read(&rest).await.unwrap();
            }
            assert_eq!(asked.lock().unwrap().len(), 1);
        }
    }
}

// Spec: RSA4b, RSA4b1
#[tokio::test]
async fn an_expired_token_that_cannot_be_renewed_is_still_sent() {
    for binary in [true, false] {
        let http = telling_time();
        let options = ClientOptions::default().token_details(good("given")).wall_clock(|| NOW);
        let rest = http.rest_with(options.use_binary_protocol(binary));
        let key = AuthOptions::new().key(KEY).query_time(true);
        rest.auth().create_token_request().options(key).await.unwrap();
        let past = AuthOptions::new().token_details(TokenDetails::new("old").expires(NOW - 1));
        rest.auth().authorize().options(past).await.unwrap();
        read(&rest).await.unwrap();
        assert_eq!(authorizations(&http), ["Bearer old"]);
    }
}

// Spec: RSA4b1, RSA10k
#[tokio::test]
async fn a_local_clock_that_was_set_does_not_renew_tokens_on_every_request() {
    let clock = Arc::new(AtomicI64::new(NOW));
    let now = Arc::clone(&clock);
    let http = telling_time();
    let (options, asked) = with_callback(|n| good(format!("token-{n}")));
    let options = options.key(KEY).query_time(true);
    let rest = http.rest_with(options.wall_clock(move || now.load(Ordering::Relaxed)));
    rest.auth().create_token_request().await.unwrap();
    read(&rest).await.unwrap();
    clock.fetch_add(24 * HOUR, Ordering::Relaxed);
    for _ in 0..5 {
        read(&rest).await.unwrap();
    }
    assert_eq!(asked.lock().unwrap().len(), 3);
    assert_eq!(authorizations(&http).last().unwrap(), "Bearer token-3");
}

// Spec: RSA4b1, RSA10k, TO3j10, AO2g
#[tokio::test]
async fn the_clock_of_the_service_decides_where_it_is_known() {
    let http = ScriptedHttp::new(|request, _| match path(request) {
        "/time" => respond(200, json!([NOW])),
        "/keys/appId.keyId/requestToken" => {
            respond(201, json!({"token": "t", "expires": NOW + 3_600_000}))
        }
        _ => respond(200, json!([])),
    });
    let options = ClientOptions::new(KEY).use_token_auth(true).query_time(true);
    let rest = http.rest_with(options.wall_clock(|| NOW + 24 * 3_600_000));
    for _ in 0..3 {
        read(&rest).await.unwrap();
    }
    assert_eq!(http.requests().len(), 5, "time and token are asked for once");
}

// UTS: rest/unit/RSA4a2/no-renewal-without-callback-0
// Spec: RSA4a
#[tokio::test]
async fn a_rejected_token_that_cannot_be_renewed_fails_the_request() {
    for binary in [true, false] {
        let http = ScriptedHttp::always(rejected(40142));
        let options = ClientOptions::default().token("static-token").use_binary_protocol(binary);
        let rest = http.rest_with(options);
        let error = read(&rest).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40171, Some(401)));
        assert_eq!(error.cause().map(|cause| cause.code.0), Some(40142));
        assert_eq!(http.requests().len(), 1);
        assert_eq!(rest.auth().token_details(), None, "RSA16d");
    }
}

// UTS: rest/unit/RSA4b/renewal-via-authurl-2
#[tokio::test]
async fn an_auth_url_renews_a_token() {
    let http = ScriptedHttp::new(|request, index| match index {
        0 => served_json(200, &json!({"token": "first-token", "expires": NOW + 1})),
        1 => respond(401, json!({"error": {"code": 40142, "message": "Token expired"}})),
        2 => {
            assert!(to_auth_server(request));
            served_json(200, &json!({"token": "second-token", "expires": NOW + 1}))
        }
        _ => respond(200, json!([])),
    });
    read(&http.rest_with(ClientOptions::default().wall_clock(|| NOW).auth_url(AUTH_URL)))
        .await
        .unwrap();
    assert_eq!(http.requests().len(), 4);
    assert_eq!(authorizations(&http), ["Bearer first-token", "Bearer second-token"]);
}

// UTS: rest/unit/RSA4b/renewal-limit-no-loop-3
#[tokio::test]
async fn a_request_renews_once_at_most() {
    let stated = json!({"error": {"code": 40142, "message": "Token expired"}});
    let http = ScriptedHttp::always(respond(401, stated));
    let (options, asked) = numbered();
    let rest = http.rest_with(options);
    let error = read(&rest).await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40142, Some(401)));
    assert_eq!((asked.lock().unwrap().len(), http.requests().len()), (2, 2));
    assert_eq!(rest.auth().token_details(), None, "RSA16d");
}

#[tokio::test]
async fn a_key_renews_a_token_of_the_options() {
    let http = ScriptedHttp::sequence([
        rejected(40142),
        respond(201, json!({"token": "new", "clientId": "ada"})),
        respond(200, json!([])),
    ]);
    let given = TokenDetails::new("old").client_id("ada");
    read(&http.rest_with(ClientOptions::new(KEY).token_details(given))).await.unwrap();
    assert_eq!(authorizations(&http), ["Bearer old", "Bearer new"]);
    assert_eq!(http.requests()[1].body()["clientId"], json!("ada"), "for the same client");
}

/// A service that accepts tokens from `token-2` on, and rejects others after a delay that differs for each request.
fn strict() -> ScriptedHttp {
    ScriptedHttp::new(|request, index| {
        let wait = Duration::from_millis(1 + (index % 20) as u64);
        let answer = if request.header("Authorization") == Some("Bearer token-1") {
            rejected(40142)
        } else {
            respond(200, json!([]))
        };
        Answer::After(wait, Box::new(answer))
    })
}

/// Options with a callback that takes 5 ms for each token or error, and the number of its calls.
fn slow(give: fn(usize) -> Result<TokenDetails, Error>) -> (ClientOptions, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let options = ClientOptions::default().wall_clock(|| NOW).auth_callback(move |_| {
        let count = counted.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            give(count)
        }
    });
    (options, calls)
}

fn token(count: usize) -> Result<TokenDetails, Error> {
    Ok(good(format!("token-{count}")))
}

async fn concurrently(rest: &Rest, count: usize) -> Vec<capably::Result<()>> {
    let requests = (0..count).map(|_| {
        let rest = rest.clone();
        tokio::spawn(async move { read(&rest).await })
    });
    join_all(requests).await.into_iter().map(Result::unwrap).collect()
}

// Spec: RSA4b
#[tokio::test(start_paused = true)]
async fn two_hundred_requests_with_an_expired_token_share_one_renewal() {
    for binary in [true, false] {
        let http = strict();
        let (options, calls) = slow(token);
        let rest = http.rest_with(options.use_binary_protocol(binary));
        rest.auth().authorize().await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        for outcome in concurrently(&rest, 200).await {
            outcome.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2, "one renewal");
        assert_eq!(http.requests().len(), 400, "every request was rejected once");
        assert_eq!(rest.auth().token_details().unwrap().token, "token-2");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_without_a_token_share_the_first_one() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let (options, calls) = slow(token);
    for outcome in concurrently(&http.rest_with(options), 200).await {
        outcome.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(authorizations(&http), vec!["Bearer token-1"; 200]);
}

#[tokio::test(start_paused = true)]
async fn requests_share_a_renewal_that_fails() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let (options, calls) = slow(|_| Err(Error::new(ErrorCode(50000), 500, "down")));
    let rest = http.rest_with(options);
    for outcome in concurrently(&rest, 200).await {
        assert_eq!(outcome.unwrap_err().message(), "down");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(read(&rest).await.unwrap_err().message(), "down", "and the next request tries anew");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!(http.requests().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_finished_renewal_is_not_shared() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let (options, calls) = slow(|_| Err(Error::new(ErrorCode(50000), 500, "down")));
    let rest = http.rest_with(options);
    // Waits for the renewal, and is not polled when it ends.
    let mut idle = Box::pin(read(&rest));
    assert!(futures_util::FutureExt::now_or_never(idle.as_mut()).is_none());
    read(&rest).await.unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    read(&rest).await.unwrap_err();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    idle.await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_outlasts_an_abandoned_request() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let (options, calls) = slow(token);
    let rest = http.rest_with(options);
    let given_up = tokio::time::timeout(Duration::from_millis(2), async {
        tokio::select! {
            outcome = read(&rest) => outcome,
            () = tokio::time::sleep(Duration::from_millis(1)) => Ok(()),
        }
    });
    let (first, second) = tokio::join!(given_up, read(&rest));
    first.unwrap().unwrap();
    second.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);

    // The renewal also continues without a waiting request, for the next one.
    let (options, calls) = slow(token);
    let rest = http.rest_with(options);
    let lone = tokio::time::timeout(Duration::from_millis(1), read(&rest)).await;
    assert!(lone.is_err());
    read(&rest).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_ends_with_its_client() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    let (options, calls) = slow(token);
    let rest = http.rest_with(options);
    let lone = tokio::time::timeout(Duration::from_millis(1), read(&rest)).await;
    assert!(lone.is_err());
    drop(rest);
    tokio::task::yield_now().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_authorization_replaces_a_renewal_in_progress() {
    let http = strict();
    let (options, calls) = slow(token);
    let rest = http.rest_with(options);
    let fresh = AuthOptions::new().token("token-9");
    let (outcome, authorized) = tokio::join!(read(&rest), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        rest.auth().authorize().options(fresh).await
    });
    outcome.unwrap();
    assert_eq!(authorized.unwrap().token, "token-9");
    assert_eq!(rest.auth().token_details().unwrap().token, "token-9");
    assert_eq!(authorizations(&http), ["Bearer token-9"]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

// Spec: RSA10g
#[tokio::test(start_paused = true)]
async fn a_token_authorized_meanwhile_is_renewed_by_its_own_options() {
    let http = ScriptedHttp::new(|request, _| match request.header("Authorization") {
        Some("Bearer token-1") => rejected(40142),
        _ => respond(200, json!([])),
    });
    let hanging = ClientOptions::default()
        .wall_clock(|| NOW)
        .auth_callback(async |_| std::future::pending::<Result<TokenDetails, Error>>().await);
    let rest = http.rest_with(hanging);
    let waiting = tokio::spawn({
        let rest = rest.clone();
        async move { read(&rest).await }
    });
    tokio::task::yield_now().await;

    let calls = Arc::new(AtomicUsize::new(0));
    let means = AuthOptions::new().auth_callback(move |_| {
        let count = calls.fetch_add(1, Ordering::Relaxed) + 1;
        async move { Ok::<_, Error>(good(format!("token-{count}"))) }
    });
    rest.auth().authorize().options(means).await.unwrap();
    let start = tokio::time::Instant::now();
    read(&rest).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody waits for the means of before");
    let mut sent = authorizations(&http);
    sent.sort();
    assert_eq!(sent.last().unwrap(), "Bearer token-2");
}

/// The path of a request, without scheme, host and query.
fn path(request: &capably::http::HttpRequest) -> &str {
    let after = request.url.splitn(4, '/').nth(3).unwrap_or_default();
    let start = request.url.len() - after.len() - 1;
    request.url[start..].split('?').next().unwrap_or_default()
}
