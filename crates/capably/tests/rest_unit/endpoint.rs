//! The hosts of requests (REC, RSC25).

use capably::ClientOptions;
use serde_json::json;

use crate::support::scripted_http::{KEY, Request, ScriptedHttp, respond};

async fn request(options: ClientOptions) -> Request {
    let http = ScriptedHttp::always(respond(200, json!([1])));
    http.rest_with(options).time().await.unwrap();
    http.request()
}

async fn host(endpoint: &str) -> String {
    request(ClientOptions::new(KEY).endpoint(endpoint)).await.authority().to_owned()
}

// UTS: rest/unit/REC1a/default-primary-domain-0
// UTS: rest/unit/RSC25/default-primary-domain-0
// Spec: REC1, RSC7
#[tokio::test]
async fn the_default_is_the_main_domain() {
    assert_eq!(request(KEY.into()).await.authority(), "main.realtime.ably.net");
}

// UTS: rest/unit/REC1b2/explicit-hostname-with-period-0
#[tokio::test]
async fn a_name_with_a_period_is_a_host() {
    assert_eq!(host("custom.ably.example.com").await, "custom.ably.example.com");
}

// UTS: rest/unit/REC1b2/endpoint-localhost-1
#[tokio::test]
async fn localhost_is_a_host() {
    assert_eq!(host("localhost").await, "localhost");
}

// UTS: rest/unit/REC1b2/endpoint-ipv6-address-2
#[tokio::test]
async fn an_ipv6_address_is_a_host() {
    assert_eq!(host("::1").await, "[::1]");
}

// UTS: rest/unit/REC1b3/nonprod-routing-policy-0
#[tokio::test]
async fn a_non_production_routing_policy_has_its_domain() {
    assert_eq!(host("nonprod:sandbox").await, "sandbox.realtime.ably-nonprod.net");
}

// UTS: rest/unit/REC1b4/production-routing-policy-0
// UTS: rest/unit/RSC25/custom-endpoint-domain-1
// UTS: rest/unit/TO/endpoint-affects-host-0
// Spec: REC1b
#[tokio::test]
async fn a_routing_policy_has_its_domain() {
    assert_eq!(host("sandbox").await, "sandbox.realtime.ably.net");
    assert_eq!(host("test").await, "test.realtime.ably.net");
    assert_eq!(host("custom-env").await, "custom-env.realtime.ably.net");
}

// UTS: rest/unit/RSC25/multiple-requests-primary-domain-2
#[tokio::test]
async fn successive_requests_stay_with_the_primary_domain() {
    let http = ScriptedHttp::always(respond(200, json!([1])));
    let rest = http.rest();
    for _ in 0..3 {
        rest.time().await.unwrap();
    }
    let requests = http.requests();
    let hosts: Vec<_> = requests.iter().map(Request::authority).collect();
    assert_eq!(hosts, ["main.realtime.ably.net"; 3]);
}

// UTS: rest/unit/RSC25/request-path-preserved-4
#[tokio::test]
async fn the_path_is_that_of_the_request() {
    let http = ScriptedHttp::always(respond(200, json!([])));
    http.rest().channels().get("test-channel").history().await.unwrap();
    let request = http.request();
    assert_eq!(request.authority(), "main.realtime.ably.net");
    assert_eq!((request.method(), request.path()), ("GET", "/channels/test-channel/messages"));
}

// Spec: TO3k4, TO3k5
#[tokio::test]
async fn ports_other_than_the_scheme_s_own_are_in_the_url() {
    let options = ClientOptions::new(KEY).endpoint("localhost");
    assert_eq!(request(options.clone().tls_port(8443)).await.authority(), "localhost:8443");
    assert_eq!(request(options.clone().port(8080)).await.authority(), "localhost");
    let request = request(options.tls(false).port(8080)).await;
    assert_eq!(request.authority(), "localhost:8080");
}
