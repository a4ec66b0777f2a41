//! Tokens over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use base64::{Engine, engine::general_purpose::STANDARD};
use capably_protocol::{
    ClientFrame, Format, Limits, Message, ServerFrame, codec, frame::AuthDetails,
};
use capably_server::Server;
use serde_json::{Value, json};

use support::*;

async fn token(server: &Server, body: &Value) -> String {
    let answer = request(server, "POST", &token_path(server), body).await;
    assert_eq!(answer.status, 201);
    answer.json()["token"].as_str().unwrap().to_owned()
}

fn token_path(server: &Server) -> String {
    let name = server.key().split(':').next().unwrap();
    format!("/keys/{name}/requestToken")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {}", STANDARD.encode(token))
}

#[tokio::test]
async fn a_token_is_issued_in_either_format() {
    let server = server().await;
    let body = json!({"ttl": 60_000, "clientId": "me", "capability": r#"{"a":["*"]}"#});
    let answer = request(&server, "POST", &token_path(&server), &body).await;
    assert_eq!(answer.status, 201);
    let details = answer.json();
    assert_eq!(details["keyName"], server.key().split(':').next().unwrap());
    assert_eq!(details["capability"], r#"{"a":["*"]}"#);
    assert_eq!(details["clientId"], "me");
    let lifetime = details["expires"].as_i64().unwrap() - details["issued"].as_i64().unwrap();
    assert_eq!(lifetime, 60_000);

    let msgpack = Format::MsgPack.content_type();
    let headers =
        [basic(server.key()), format!("Content-Type: {msgpack}"), format!("Accept: {msgpack}")];
    let body = codec::encode_body(Format::MsgPack, &json!({"ttl": 5})).unwrap();
    let answer =
        Http::connect(&server).await.request("POST", &token_path(&server), &headers, &body).await;
    assert_eq!(answer.status, 201);
    let details: Value =
        codec::decode_body(Format::MsgPack, &answer.body, &Limits::default()).unwrap();
    assert_eq!(details["capability"], r#"{"*":["*"]}"#);
    assert_eq!(details.get("clientId"), None);
}

#[tokio::test]
async fn invalid_token_requests_are_refused() {
    let server = server().await;
    let app = server.key().split('.').next().unwrap();
    let path = token_path(&server);
    let mut http = Http::connect(&server).await;
    let key = vec![basic(server.key())];
    for (target, headers, body, expected) in [
        (path.clone(), vec![], "{}", (401, 40101)),
        (path.clone(), key.clone(), "[]", (400, 40000)),
        (path.clone(), key.clone(), "", (400, 40000)),
        (path.clone(), key.clone(), r#"{"ttl":-1}"#, (400, 40003)),
        (path.clone(), vec![], r#"{"mac":"AAAA","timestamp":1,"nonce":"x"}"#, (401, 40101)),
        ("/keys/wrong-key/requestToken".to_owned(), key.clone(), "{}", (401, 40101)),
        ("/keys/abcdef.key/requestToken".to_owned(), key.clone(), "{}", (404, 40400)),
        (format!("/keys/{app}.nobody/requestToken"), key.clone(), "{}", (401, 40400)),
    ] {
        let answer = http.request("POST", &target, &headers, body.as_bytes()).await;
        assert_eq!(answer.error(), expected, "{target} {body}");
    }
}

#[tokio::test]
async fn a_token_authenticates_rest_and_websockets() {
    let server = server().await;
    let body = json!({"clientId": "me", "capability": r#"{"a":["publish","subscribe"]}"#});
    let token = token(&server, &body).await;
    let mut http = Http::connect(&server).await;
    let publish = "/channels/a/messages";
    let in_query = |name: &str| format!("{publish}?{name}={token}");
    for (target, headers) in [
        (publish.to_owned(), vec![bearer(&token)]),
        (publish.to_owned(), vec![format!("Authorization: bearer {token}")]),
        (in_query("access_token"), vec![]),
        (in_query("accessToken"), vec![]),
    ] {
        let answer = http.request("POST", &target, &headers, b"{}").await;
        assert_eq!(answer.status, 201, "{target} {headers:?}");
    }
    let denied = http.request("GET", publish, &[bearer(&token)], b"").await;
    assert_eq!(denied.error(), (401, 40160));
    let claimed = http.request("POST", publish, &[bearer(&token)], br#"{"clientId":"you"}"#).await;
    assert_eq!(claimed.error(), (400, 40012));
    // "you"
    let headers = [bearer(&token), "X-Ably-ClientId: eW91".to_owned()];
    assert_eq!(http.request("POST", publish, &headers, b"{}").await.error(), (401, 40102));

    for format in [Format::Json, Format::MsgPack] {
        for name in ["access_token", "accessToken"] {
            let mut client = Client::open(&server, format, &format!("{name}={token}")).await;
            let ServerFrame::Connected(connected) = client.next().await else { panic!() };
            assert_eq!(connected.details.unwrap().client_id.as_deref(), Some("me"));
            client.attach("a").await;
            client.publish("a", 0, vec![Message::new("m", "x")]).await;
            assert_eq!(client.message().await.items[0].client_id.as_deref(), Some("me"));
        }
        let query = format!("accessToken={token}&clientId=you");
        let mut client = Client::open(&server, format, &query).await;
        assert_eq!(client.last_error().await, 40102);
    }
}

#[tokio::test]
async fn invalid_tokens_are_refused_by_rest_and_websockets() {
    let server = server().await;
    let expired = token(&server, &json!({"ttl": 1})).await;
    let time = |answer: &Answer| answer.json()[0].as_i64().unwrap();
    let mut http = Http::connect(&server).await;
    let start = time(&http.request("GET", "/time", &[], b"").await);
    while time(&http.request("GET", "/time", &[], b"").await) <= start + 1 {}
    let unsigned = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImludmFsaWQuaW52YWxpZCJ9.e30.AAAA";
    for (token, expected) in [
        (&*expired, (401, 40142)),
        ("invalid-token", (401, 40101)),
        ("made:up", (401, 40101)),
        (unsigned, (404, 40400)),
    ] {
        let answer = http.request("GET", "/channels/a/messages", &[bearer(token)], b"").await;
        assert_eq!(answer.error(), expected, "{token}");
        for format in [Format::Json, Format::MsgPack] {
            let mut client = Client::open(&server, format, &format!("accessToken={token}")).await;
            assert_eq!(client.last_error().await, expected.1 as u32, "{token}");
        }
    }
    let answer = http.request("GET", "/channels/a/messages", &[bearer(&expired)], b"").await;
    assert_eq!(answer.header("x-ably-errormessage"), Some("token expired"));
}

#[tokio::test]
async fn a_connection_ends_when_its_token_expires() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let token = token(&server, &json!({"ttl": 200})).await;
        let mut client = Client::open(&server, format, &format!("accessToken={token}")).await;
        assert!(matches!(client.next().await, ServerFrame::Connected(_)));
        assert_eq!(client.last_error().await, 40142);
    }
}

#[tokio::test]
async fn a_connection_accepts_a_new_token() {
    let server = server().await;
    for format in [Format::Json, Format::MsgPack] {
        let first = token(&server, &json!({"capability": r#"{"a":["subscribe"]}"#})).await;
        let mut client = Client::open(&server, format, &format!("accessToken={first}")).await;
        let ServerFrame::Connected(connected) = client.next().await else { panic!() };
        client.attach("a").await;
        let access_token = token(&server, &json!({"capability": r#"{"a":["*"]}"#})).await.into();
        client.send(&ClientFrame::Auth(AuthDetails { access_token })).await;
        let ServerFrame::Connected(updated) = client.next().await else { panic!() };
        assert_eq!(updated.connection_id, connected.connection_id);
        client.publish("a", 0, vec![Message::new("m", "x")]).await;
        assert_eq!(client.message().await.items.len(), 1);
        client.ack().await;
        let access_token = "made:up".into();
        client.send(&ClientFrame::Auth(AuthDetails { access_token })).await;
        assert_eq!(client.last_error().await, 40101);
    }
}
