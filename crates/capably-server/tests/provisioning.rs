//! Creating apps: who may create them, and how many.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use capably_protocol::{Format, Limits, codec};
use capably_server::{Server, ServerError};
use serde_json::{Value, json};

use support::*;

const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const FORMATS: [Format; 2] = [Format::Json, Format::MsgPack];

async fn post(server: &Server, format: Format, authorization: Option<&str>) -> (u16, Value) {
    let media_type = format.content_type();
    let mut headers = vec![format!("Content-Type: {media_type}"), format!("Accept: {media_type}")];
    headers.extend(authorization.map(|value| format!("Authorization: {value}")));
    let body = codec::encode_body(format, &json!({"keys": [{}]})).unwrap();
    let answer = Http::connect(server).await.request("POST", "/apps", &headers, &body).await;
    let value = codec::decode_body(format, &answer.body, &Limits::default()).unwrap();
    (answer.status, value)
}

fn code(answer: &(u16, Value)) -> (u16, u64) {
    assert_eq!(answer.1["error"]["statusCode"], answer.0);
    (answer.0, answer.1["error"]["code"].as_u64().unwrap())
}

#[tokio::test]
async fn beyond_loopback_creating_an_app_needs_a_secret() {
    let server = builder().bind(EVERYWHERE).start().await.unwrap();
    let key = basic(server.key());
    let key = key.strip_prefix("Authorization: ").unwrap();
    for format in FORMATS {
        for authorization in [None, Some("Bearer x"), Some("Bearer "), Some(key)] {
            let refused = post(&server, format, authorization).await;
            assert_eq!(code(&refused), (403, 40300), "{authorization:?}");
            let message = refused.1["error"]["message"].as_str().unwrap();
            assert!(message.contains("--provision-secret"), "{message}");
        }
    }
    // The existing app works as before, and the holder of its key can delete it.
    let answer = request(&server, "POST", "/channels/a/messages", &json!({"data": "x"})).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn an_app_is_created_with_the_secret() {
    for address in [EVERYWHERE, IpAddr::V4(Ipv4Addr::LOCALHOST)] {
        let server = builder().bind(address).provision_secret("s3cr3t").start().await;
        let server = server.unwrap();
        for format in FORMATS {
            for authorization in [
                None,
                Some("Bearer"),
                Some("Bearer "),
                Some("Bearer s3cr3"),
                Some("Bearer s3cr3t2"),
                Some("Bearer S3CR3T"),
                Some("Basic s3cr3t"),
                Some("s3cr3t"),
            ] {
                let refused = post(&server, format, authorization).await;
                assert_eq!(code(&refused), (401, 40101), "{authorization:?}");
                let message = refused.1["error"]["message"].as_str().unwrap();
                assert!(message.contains("Authorization: Bearer") && !message.contains("s3cr3t"));
            }
            let (status, made) = post(&server, format, Some("Bearer s3cr3t")).await;
            assert_eq!(status, 201);
            let key = made["keys"][0]["keyStr"].as_str().unwrap();
            let target = "/channels/a/messages";
            let (answer, _) = ask(&server, key, format, "GET", target, &Value::Null).await;
            assert_eq!(answer.status, 200);
        }
        assert!(!format!("{server:?}").contains("s3cr3t"));
    }
    let secret = builder().provision_secret("s3cr3t");
    assert!(!format!("{secret:?}").contains("s3cr3t"));
    let error = builder().provision_secret("").start().await.unwrap_err();
    assert!(matches!(error, ServerError::ProvisionSecret));
    assert_eq!(error.to_string(), "the secret for creating apps must not be empty");
}

#[tokio::test]
async fn on_loopback_creating_an_app_needs_no_secret() {
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    for address in
        [IpAddr::from(Ipv4Addr::new(127, 0, 0, 2)), Ipv6Addr::LOCALHOST.into(), mapped.into()]
    {
        // A machine may have no IPv6.
        let Ok(server) = builder().bind(address).start().await else {
            assert!(address.is_ipv6());
            continue;
        };
        for format in FORMATS {
            assert_eq!(post(&server, format, None).await.0, 201, "{address}");
        }
    }
}

#[tokio::test]
async fn the_number_of_apps_is_limited() {
    let server = builder().max_apps(3).start().await.unwrap();
    for format in FORMATS {
        let mut keys = app(&server, &json!({"keys": [{}]})).await;
        keys.extend(app(&server, &json!({"keys": [{}]})).await);
        let refused = post(&server, format, None).await;
        assert_eq!(code(&refused), (403, 40300));
        let message = refused.1["error"]["message"].as_str().unwrap();
        assert!(message.contains("`max_apps` of 3"), "{message}");
        // Deleting an app makes room for another.
        for key in keys {
            let target = format!("/apps/{}", key.split('.').next().unwrap());
            let (answer, _) = ask(&server, &key, format, "DELETE", &target, &Value::Null).await;
            assert_eq!(answer.status, 204);
        }
    }
}
