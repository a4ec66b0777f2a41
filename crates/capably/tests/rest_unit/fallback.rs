//! Fallback hosts (RSC15, REC2).

use std::{collections::HashSet, time::Duration};

use capably::{
    ClientOptions, Error,
    http::{HttpErrorKind, HttpResponse},
};
use serde_json::json;
use tokio::time::{Instant, advance};

use crate::support::scripted_http::{Answer, KEY, Request, ScriptedHttp, respond};

fn time() -> Answer {
    respond(200, json!([1_234_567_890_000_i64]))
}

fn failing(status: u16) -> Answer {
    respond(status, json!({"error": {"code": u32::from(status) * 100}}))
}

fn hosts(http: &ScriptedHttp) -> Vec<String> {
    http.requests().iter().map(|request| request.authority().to_owned()).collect()
}

fn letters(pattern: &str) -> Vec<String> {
    ["a", "b", "c", "d", "e"].map(|letter| pattern.replace('*', letter)).to_vec()
}

/// The error when every host fails, and the requested hosts.
async fn all_fail(options: ClientOptions) -> (Error, Vec<String>) {
    let http = ScriptedHttp::always(failing(500));
    let error = http.rest_with(options).time().await.unwrap_err();
    (error, hosts(&http))
}

// UTS: rest/unit/RSC15m/no-fallback-empty-hosts-0
#[tokio::test]
async fn without_fallback_hosts_the_first_failure_is_returned() {
    let (error, hosts) = all_fail(ClientOptions::new(KEY).fallback_hosts([""; 0])).await;
    assert_eq!((error.code().0, error.status()), (50000, Some(500)));
    assert_eq!(hosts, ["main.realtime.ably.net"]);
}

// UTS: rest/unit/RSC15a/fallback-random-order-0
// UTS: rest/unit/REC2c1/default-fallback-domains-0
#[tokio::test]
async fn fallbacks_are_tried_in_random_order() {
    let known = letters("main.*.fallback.ably-realtime.com");
    let mut orders = HashSet::new();
    for _ in 0..50 {
        let (error, mut hosts) = all_fail(KEY.into()).await;
        assert_eq!((error.code().0, error.status()), (50000, Some(500)));
        assert_eq!(hosts.remove(0), "main.realtime.ably.net");
        assert_eq!(hosts.len(), 3, "httpMaxRetryCount (TO3l5)");
        assert!(hosts.iter().all(|host| known.contains(host)), "{hosts:?}");
        assert_eq!(hosts.iter().collect::<HashSet<_>>().len(), 3, "each once: {hosts:?}");
        orders.insert(hosts);
    }
    // 50 draws of 60 orders give at least 5 distinct ones almost certainly.
    assert!(orders.len() >= 5, "{orders:?}");
}

// Spec: TO3l5
#[tokio::test]
async fn the_number_of_fallbacks_is_bounded() {
    for (count, expected) in [(0, 1), (1, 2), (5, 6), (9, 6)] {
        let (_, hosts) = all_fail(ClientOptions::new(KEY).http_max_retry_count(count)).await;
        assert_eq!(hosts.len(), expected, "{hosts:?}");
    }
}

// UTS: rest/unit/RSC15l/qualifying-errors-trigger-fallback-0
// UTS: rest/unit/RSC15l/http-5xx-triggers-fallback-4
// UTS: rest/unit/RSC25/primary-tried-before-fallback-3
// Spec: RSC15, RSC15l3
#[tokio::test]
async fn failures_of_the_service_go_to_another_host() {
    for status in 500..=504 {
        let http = ScriptedHttp::sequence([failing(status), time()]);
        http.rest().time().await.unwrap();
        let hosts = hosts(&http);
        assert_eq!(hosts.len(), 2, "{status}");
        assert_eq!(hosts[0], "main.realtime.ably.net");
        assert_ne!(hosts[1], hosts[0]);
    }
}

// UTS: rest/unit/RSC15l/http-4xx-no-fallback-5
#[tokio::test]
async fn refusals_go_to_no_other_host() {
    for status in [400, 401, 404, 429, 505] {
        let http = ScriptedHttp::always(failing(status));
        let error = http.rest().time().await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(hosts(&http), ["main.realtime.ably.net"]);
    }
}

// UTS: rest/unit/RSC15l4/cloudfront-error-triggers-fallback-0
#[tokio::test]
async fn a_failure_of_cloudfront_goes_to_another_host() {
    for status in [400, 403, 599] {
        let refused = HttpResponse::new(status, "{}").with_header("Server", "CloudFront");
        let http = ScriptedHttp::sequence([Answer::Raw(refused), time()]);
        http.rest().time().await.unwrap();
        let hosts = hosts(&http);
        assert_eq!(hosts.len(), 2, "{status}");
        assert_eq!(hosts[0], "main.realtime.ably.net");
        assert_ne!(hosts[1], hosts[0]);
    }
}

// UTS: rest/unit/RSC15l/connection-refused-fallback-0
// UTS: rest/unit/RSC15l/dns-error-fallback-1
// UTS: rest/unit/RSC15l/connection-timeout-fallback-2
// Spec: RSC15l1
#[tokio::test]
async fn an_unreachable_host_leads_to_another() {
    for kind in [HttpErrorKind::Connect, HttpErrorKind::Timeout, HttpErrorKind::Interrupted] {
        let http = ScriptedHttp::sequence([Answer::Fail(kind), time()]);
        assert_eq!(http.rest().time().await.unwrap(), 1_234_567_890_000, "{kind:?}");
        assert_eq!(http.requests().len(), 2, "{kind:?}");
    }
    for kind in [HttpErrorKind::Request, HttpErrorKind::Response] {
        let http = ScriptedHttp::sequence([Answer::Fail(kind), time()]);
        http.rest().time().await.unwrap_err();
        assert_eq!(http.requests().len(), 1, "{kind:?}");
    }
}

// UTS: rest/unit/RSC15l/request-timeout-fallback-3
// Spec: RSC15l2
#[tokio::test(start_paused = true)]
async fn a_request_that_times_out_goes_to_another_host() {
    let http = ScriptedHttp::sequence([Answer::Hang, time()]);
    let options = ClientOptions::new(KEY).http_request_timeout(Duration::from_secs(1));
    let start = Instant::now();
    assert_eq!(http.rest_with(options).time().await.unwrap(), 1_234_567_890_000);
    assert_eq!(start.elapsed(), Duration::from_secs(1));
    let hosts = hosts(&http);
    assert_eq!(hosts.len(), 2);
    assert_ne!(hosts[0], hosts[1]);
}

// Spec: TO3l6
#[tokio::test(start_paused = true)]
async fn the_time_for_fallbacks_is_bounded() {
    let http = ScriptedHttp::always(Answer::Hang);
    let start = Instant::now();
    let error = http.rest().time().await.unwrap_err();
    assert_eq!(error.code().0, 50003);
    // 10 s for the primary, 10 for one fallback; then the 15 s of httpMaxRetryDuration are over.
    assert_eq!(start.elapsed(), Duration::from_secs(20), "TO3l6");
    assert_eq!(http.requests().len(), 2);
}

// UTS: rest/unit/RSC7c/request-id-preserved-fallback-1
#[tokio::test]
async fn the_request_id_stays_the_same() {
    let http = ScriptedHttp::sequence([failing(500), time()]);
    let options = ClientOptions::new(KEY).add_request_ids(true);
    let rest = http.rest_with(options.fallback_hosts(["a.example.com", "b.example.com"]));
    rest.time().await.unwrap();
    let ids: Vec<_> = http.requests().iter().map(|request| request.param("request_id")).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids[0].is_some());
    assert_eq!(ids[0], ids[1]);
}

// UTS: rest/unit/RSL1k2/same-id-on-retry-2
#[tokio::test]
async fn a_publish_keeps_its_id() {
    let published = respond(201, json!({"serials": ["s1"]}));
    let http = ScriptedHttp::sequence([failing(500), published]);
    http.rest().channels().get("test-RSL1k2").publish("event", "data").await.unwrap();
    let bodies: Vec<_> = http.requests().iter().map(Request::body).collect();
    assert_eq!(bodies.len(), 2);
    assert!(bodies[0][0]["id"].is_string());
    assert_eq!(bodies[0][0]["id"], bodies[1][0]["id"]);
}

// UTS: rest/unit/RSC15f/successful-fallback-cached-0
#[tokio::test]
async fn a_working_fallback_is_preferred() {
    let http = ScriptedHttp::sequence([failing(500), time()]);
    let rest = http.rest();
    rest.time().await.unwrap();
    rest.time().await.unwrap();
    let hosts = hosts(&http);
    assert_eq!(hosts.len(), 3);
    assert_eq!(hosts[0], "main.realtime.ably.net");
    assert_ne!(hosts[1], hosts[0]);
    assert_eq!(hosts[2], hosts[1]);
}

// UTS: rest/unit/RSC15f/cached-fallback-expires-1
// Spec: TO3l10
#[tokio::test(start_paused = true)]
async fn the_preference_ends_with_its_time() {
    let http = ScriptedHttp::sequence([failing(500), time()]);
    let options = ClientOptions::new(KEY).fallback_retry_timeout(Duration::from_millis(100));
    let rest = http.rest_with(options);
    rest.time().await.unwrap();
    advance(Duration::from_millis(99)).await;
    rest.time().await.unwrap();
    advance(Duration::from_millis(1)).await;
    rest.time().await.unwrap();
    let hosts = hosts(&http);
    assert_eq!(hosts.len(), 4);
    assert_eq!(hosts[2], hosts[1]);
    assert_eq!(hosts[3], "main.realtime.ably.net");
}

#[tokio::test(start_paused = true)]
async fn the_preference_may_be_permanent() {
    let http = ScriptedHttp::sequence([failing(500), time()]);
    let rest = http.rest_with(ClientOptions::new(KEY).fallback_retry_timeout(Duration::MAX));
    rest.time().await.unwrap();
    advance(Duration::from_secs(1_000_000)).await;
    rest.time().await.unwrap();
    let hosts = hosts(&http);
    assert_eq!(hosts[2], hosts[1]);
}

#[tokio::test]
async fn the_preference_ends_when_the_host_fails() {
    let http = ScriptedHttp::sequence([failing(500), time(), failing(503), time()]);
    let rest = http.rest();
    for _ in 0..3 {
        rest.time().await.unwrap();
    }
    let hosts = hosts(&http);
    assert_eq!(hosts.len(), 5);
    assert_eq!(hosts[2], hosts[1], "the preferred one, which fails");
    assert_eq!(hosts[3], "main.realtime.ably.net", "from scratch (RSC15f)");
    assert_eq!(hosts[4], "main.realtime.ably.net", "and it is no longer preferred");
}

// UTS: rest/unit/RSC15f/expired-not-resurrected-2
#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_renew_the_preference() {
    let late = Answer::After(Duration::from_millis(200), Box::new(time()));
    let http = ScriptedHttp::sequence([failing(500), time(), late, time()]);
    let options = ClientOptions::new(KEY).fallback_retry_timeout(Duration::from_millis(100));
    let rest = http.rest_with(options);
    rest.time().await.unwrap();
    let held = tokio::spawn({
        let rest = rest.clone();
        async move { rest.time().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(http.requests().len(), 3, "the request that is held is on its way");
    advance(Duration::from_millis(150)).await;
    rest.time().await.unwrap();
    held.await.unwrap().unwrap();
    rest.time().await.unwrap();

    let hosts = hosts(&http);
    assert_eq!(hosts.len(), 5);
    assert_eq!(hosts[0], "main.realtime.ably.net");
    assert_ne!(hosts[1], "main.realtime.ably.net");
    assert_eq!(hosts[2], hosts[1]);
    assert_eq!(hosts[3], "main.realtime.ably.net");
    assert_eq!(hosts[4], "main.realtime.ably.net");
}

// UTS: rest/unit/REC2a2/custom-fallback-hosts-0
// Spec: REC2a
#[tokio::test]
async fn fallback_hosts_of_the_options_replace_the_default_ones() {
    let given = ["fb1.example.com", "fb2.example.com", "fb3.example.com"];
    let (_, mut hosts) = all_fail(ClientOptions::new(KEY).fallback_hosts(given)).await;
    assert_eq!(hosts.remove(0), "main.realtime.ably.net");
    hosts.sort();
    assert_eq!(hosts, given);
}

// UTS: rest/unit/REC2c2/explicit-hostname-no-fallbacks-0
#[tokio::test]
async fn a_host_name_has_no_fallbacks() {
    let (_, hosts) = all_fail(ClientOptions::new(KEY).endpoint("custom.ably.example.com")).await;
    assert_eq!(hosts, ["custom.ably.example.com"]);
}

// UTS: rest/unit/REC2c3/nonprod-fallback-domains-0
// UTS: rest/unit/REC2c4/production-endpoint-fallback-domains-0
// Spec: REC2, REC2c, RSC15n
#[tokio::test]
async fn a_routing_policy_has_its_fallbacks() {
    for (endpoint, primary, pattern) in [
        (
            "nonprod:staging",
            "staging.realtime.ably-nonprod.net",
            "staging.*.fallback.ably-realtime-nonprod.com",
        ),
        ("test", "test.realtime.ably.net", "test.*.fallback.ably-realtime.com"),
    ] {
        let options = ClientOptions::new(KEY).endpoint(endpoint).http_max_retry_count(5);
        let (_, mut hosts) = all_fail(options).await;
        assert_eq!(hosts.remove(0), primary);
        hosts.sort();
        assert_eq!(hosts, letters(pattern));
    }
}

#[tokio::test]
async fn further_pages_use_the_working_host() {
    let page = |link: &str| respond(200, json!([])).link(format!("<{link}>; rel=\"next\""));
    let http = ScriptedHttp::new(move |request, index| match index {
        0 => failing(500),
        // An absolute link to the host that answered is no link to another host.
        1 => page(&format!("{}?page=2", request.url)),
        _ => page("./messages?page=3"),
    });
    let page = http.rest().channels().get("test").history().await.unwrap();
    page.next().await.unwrap().expect("a page");
    let hosts = hosts(&http);
    assert_eq!(hosts.len(), 3);
    assert_eq!(hosts[2], hosts[1]);
}
