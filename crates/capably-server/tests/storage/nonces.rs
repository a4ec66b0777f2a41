//! A signed token request is accepted once, whatever happens to the server in between.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use capably_server::{Server, engine::Memory};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use super::{
    Place,
    engine::{Fate, Scripted},
    spec,
    support::{Answer, Http, app, basic},
};

/// A request that the key has signed.
fn signed(key: &str, nonce: &str) -> Value {
    let (name, secret) = key.split_once(':').unwrap();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let timestamp = since.as_millis();
    let text = format!("{name}\n\n\n\n{timestamp}\n{nonce}\n");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    let mac = STANDARD.encode(mac.finalize().into_bytes());
    json!({"keyName": name, "timestamp": timestamp as u64, "nonce": nonce, "mac": mac})
}

async fn send(server: &Server, request: &Value) -> Answer {
    let target = format!("/keys/{}/requestToken", request["keyName"].as_str().unwrap());
    let headers = ["Content-Type: application/json".to_owned()];
    let body = serde_json::to_vec(request).unwrap();
    Http::connect(server).await.request("POST", &target, &headers, &body).await
}

#[tokio::test]
async fn a_restart_forgets_no_nonce() {
    for place in Place::all() {
        let server = place.start().await;
        let keys = app(&server, &spec()).await;
        let request = signed(&keys[0], "a/nonce with \n anything");
        assert_eq!(send(&server, &request).await.status, 201);
        assert_eq!(send(&server, &request).await.error(), (401, 40105));
        server.shutdown().await;

        let server = place.start().await;
        assert_eq!(send(&server, &request).await.error(), (401, 40105));
        // Another nonce, and the same nonce with another key, are others.
        assert_eq!(send(&server, &signed(&keys[0], "other")).await.status, 201);
        let same = signed(&keys[2], "a/nonce with \n anything");
        assert_eq!(send(&server, &same).await.status, 201);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn of_equal_requests_at_the_same_time_one_is_accepted() {
    let server = Server::builder().engine(Arc::new(Memory::new())).start().await.unwrap();
    let request = signed(server.key(), "n");
    let requests = (0..20).map(|_| send(&server, &request));
    let answers = futures_util::future::join_all(requests).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    server.shutdown().await;
}

#[tokio::test]
async fn an_engine_that_fails_gives_no_token() {
    let engine = Arc::new(Scripted::default());
    let server = Server::builder().engine(engine.reopen()).start().await.unwrap();
    let request = signed(server.key(), "n");
    engine.next(Fate::Fail);
    assert_eq!(send(&server, &request).await.error(), (500, 50000));
    assert_eq!(send(&server, &request).await.status, 201);
    // A request with the key itself has no nonce, and needs no engine.
    engine.next(Fate::Fail);
    let name = server.key().split(':').next().unwrap();
    let target = format!("/keys/{name}/requestToken");
    let headers = [basic(server.key()), "Content-Type: application/json".to_owned()];
    let answer = Http::connect(&server).await.request("POST", &target, &headers, b"{}").await;
    assert_eq!(answer.status, 201);
    server.shutdown().await;
}
