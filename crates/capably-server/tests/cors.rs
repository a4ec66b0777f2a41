//! Requests of browsers from another origin, and their preflight requests.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use support::*;

#[tokio::test]
async fn pages_of_any_origin_may_use_the_service() {
    let server = server().await;
    let mut http = Http::connect(&server).await;
    let origin = "Origin: https://example.com".to_owned();
    let preflight = [
        origin.clone(),
        "Access-Control-Request-Method: POST".to_owned(),
        "Access-Control-Request-Headers: authorization,x-ably-version".to_owned(),
    ];
    let answer = http.request("OPTIONS", "/channels/a/messages", &preflight, b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
    let allowed = answer.header("access-control-allow-headers");
    assert_eq!(allowed, Some("authorization,x-ably-version"));

    let answer = http.request("GET", "/time", std::slice::from_ref(&origin), b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("Link"));
    // The page can read errors as well.
    let answer = http.request("GET", "/channels/a/messages", &[origin], b"").await;
    assert_eq!(answer.error(), (401, 40101));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));

    let answer = http.request("GET", "/time", &[], b"").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(http.request("OPTIONS", "/time", &[], b"").await.error(), (404, 40400));
}
