//! Revoking tokens over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use capably_protocol::{Format, Limits, ServerFrame, codec};
use capably_server::Server;
use serde_json::{Value, json};

use support::*;

async fn keys(server: &Server) -> Vec<String> {
    app(server, &json!({"keys": [{"revocableTokens": true}, {}]})).await
}

fn path(key: &str, what: &str) -> String {
    format!("/keys/{}/{what}", key.split(':').next().unwrap())
}

async fn token(server: &Server, key: &str, body: &Value) -> String {
    let target = path(key, "requestToken");
    let (_, details) = ask(server, key, Format::Json, "POST", &target, body).await;
    details["token"].as_str().unwrap().to_owned()
}

/// Waits until a token issued before this call is at least one millisecond old.
async fn next_millisecond(server: &Server) {
    let mut http = Http::connect(server).await;
    let start = http.request("GET", "/time", &[], b"").await.json();
    while http.request("GET", "/time", &[], b"").await.json() == start {}
}

// Spec: RSA17
#[tokio::test]
async fn a_revocation_applies_to_the_newest_token_and_not_to_the_next() {
    let server = server().await;
    let keys = keys(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let mut http = Http::connect(&server).await;
        let media_type = format.content_type();
        let headers = [
            basic(&keys[0]),
            format!("Content-Type: {media_type}"),
            format!("Accept: {media_type}"),
        ];
        let (request, revoke) = (path(&keys[0], "requestToken"), path(&keys[0], "revokeTokens"));
        let wanted = codec::encode_body(format, &json!({"clientId": format.name()})).unwrap();
        let targets = json!({"targets": [format!("clientId:{}", format.name())]});
        let targets = codec::encode_body(format, &targets).unwrap();
        let token = |answer: &Answer| {
            let details: Value =
                codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
            details["token"].as_str().unwrap().to_owned()
        };
        let mut before = token(&http.request("POST", &request, &headers, &wanted).await);
        for round in 0..100 {
            let answer = http.request("POST", &revoke, &headers, &targets).await;
            assert_eq!(answer.status, 201);
            let target = |token: &str| format!("/channels/a/messages?access_token={token}");
            let refused = http.request("GET", &target(&before), &[], b"").await;
            assert_eq!(refused.error(), (401, 40141), "round {round}");
            before = token(&http.request("POST", &request, &headers, &wanted).await);
            let answer = http.request("GET", &target(&before), &[], b"").await;
            assert_eq!(answer.status, 200, "round {round}");
        }
    }
}

#[tokio::test]
async fn an_immediate_revocation_replaces_one_with_a_margin() {
    let server = server().await;
    let keys = keys(&server).await;
    let revoke = path(&keys[0], "revokeTokens");
    for format in [Format::Json, Format::MsgPack] {
        let id = format.name();
        let token = token(&server, &keys[0], &json!({"clientId": id})).await;
        let mut client = Client::open(&server, format, &format!("accessToken={token}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        let mut body = json!({"targets": [format!("clientId:{id}")], "allowReauthMargin": true});
        ask(&server, &keys[0], format, "POST", &revoke, &body).await;
        assert_eq!(client.next().await, ServerFrame::Auth);
        body["allowReauthMargin"] = json!(false);
        ask(&server, &keys[0], format, "POST", &revoke, &body).await;
        assert_eq!(client.last_error().await, 40141);
        let target = format!("/channels/a/messages?access_token={token}");
        let answer = Http::connect(&server).await.request("GET", &target, &[], b"").await;
        assert_eq!(answer.error(), (401, 40141));
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_connections_and_is_refused() {
    let server = server().await;
    let keys = keys(&server).await;
    for format in [Format::Json, Format::MsgPack] {
        let revoked = token(&server, &keys[0], &json!({"clientId": format.name()})).await;
        let other = token(&server, &keys[0], &json!({"clientId": "other"})).await;
        let open = async |token: &str| {
            let mut client = Client::open(&server, format, &format!("accessToken={token}")).await;
            assert!(matches!(client.next().await, ServerFrame::Connected(_)));
            client
        };
        let (mut victim, mut bystander) = (open(&revoked).await, open(&other).await);

        let target = format!("clientId:{}", format.name());
        let body = json!({"targets": [target, "invalidType:abc"]});
        let revoke = path(&keys[0], "revokeTokens");
        let (answer, batch) = ask(&server, &keys[0], format, "POST", &revoke, &body).await;
        assert_eq!(answer.status, 201);
        assert_eq!((&batch["successCount"], &batch["failureCount"]), (&json!(1), &json!(1)));
        let [success, failure] = &batch["results"].as_array().unwrap()[..] else { panic!() };
        assert_eq!(success["target"], target);
        assert_eq!(success["issuedBefore"], success["appliesAt"]);
        assert_eq!(failure["target"], "invalidType:abc");
        assert_eq!(failure["error"]["code"], 40000);
        assert_eq!(failure["error"]["statusCode"], 400);

        assert_eq!(victim.last_error().await, 40141);
        let mut again = Client::open(&server, format, &format!("accessToken={revoked}")).await;
        assert_eq!(again.last_error().await, 40141);
        let history = |token| format!("/channels/a/messages?access_token={token}");
        let mut http = Http::connect(&server).await;
        assert_eq!(http.request("GET", &history(revoked), &[], b"").await.error(), (401, 40141));
        assert_eq!(http.request("GET", &history(other), &[], b"").await.status, 200);
        bystander.attach("a").await;

        let fresh = token(&server, &keys[0], &json!({"clientId": format.name()})).await;
        open(&fresh).await;
    }
}

#[tokio::test]
async fn with_a_margin_clients_are_first_asked_for_another_token() {
    let server = server().await;
    let keys = keys(&server).await;
    let capability = r#"{"a:*":["subscribe"]}"#;
    let token = token(&server, &keys[0], &json!({"capability": capability})).await;
    let mut client = Client::open(&server, Format::Json, &format!("accessToken={token}")).await;
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    next_millisecond(&server).await;
    let now = Http::connect(&server).await.request("GET", "/time", &[], b"").await.json();
    let now = now[0].as_i64().unwrap();
    let revoke = path(&keys[0], "revokeTokens");
    let body = json!({"targets": ["channel:a:*"], "issuedBefore": now, "allowReauthMargin": true});
    let (_, batch) = ask(&server, &keys[0], Format::Json, "POST", &revoke, &body).await;
    assert_eq!(batch["results"][0]["issuedBefore"], now);
    assert!(batch["results"][0]["appliesAt"].as_i64().unwrap() > now + 30_000);
    assert_eq!(client.next().await, ServerFrame::Auth);
    let target = format!("/channels/a:b/messages?access_token={token}");
    let still = Http::connect(&server).await.request("GET", &target, &[], b"").await;
    assert_eq!(still.error(), (401, 40160), "not revoked yet, only not allowed");
}

#[tokio::test]
async fn invalid_revocations_are_refused() {
    let server = server().await;
    let keys = keys(&server).await;
    let revoke = path(&keys[0], "revokeTokens");
    let body = json!({"targets": ["clientId:x"]});
    for (key, target, body, expected) in [
        (&keys[1], revoke.clone(), body.clone(), (401, 40133)),
        (&keys[1], path(&keys[1], "revokeTokens"), body.clone(), (401, 40163)),
        (&server.key().to_owned(), revoke.clone(), body.clone(), (401, 40133)),
        (&keys[0], revoke.clone(), json!({}), (400, 40000)),
        (&keys[0], revoke.clone(), json!({"targets": []}), (400, 40000)),
        (&keys[0], revoke.clone(), json!({"targets": [7]}), (400, 40000)),
        (&keys[0], revoke.clone(), json!({"targets": ["a:b"], "issuedBefore": "x"}), (400, 40000)),
    ] {
        let asked = ask(&server, key, Format::Json, "POST", &target, &body).await;
        assert_eq!(refusal(&asked), expected, "{target} {body}");
    }
    let token = token(&server, &keys[0], &json!({})).await;
    let target = format!("{revoke}?access_token={token}");
    let answer = Http::connect(&server).await.request("POST", &target, &[], b"{}").await;
    assert_eq!(answer.error(), (401, 40162));
    let none = Http::connect(&server).await.request("POST", &revoke, &[], b"{}").await;
    assert_eq!(none.error(), (401, 40101));
}
