//! Claims of a JWT for each channel, over real sockets.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use capably_protocol::{
    Annotation, AnnotationAction, ClientFrame, Format, JsonObject, Message, PresenceAction,
    PresenceMessage, ServerFrame,
    frame::{AuthDetails, Publish},
};
use capably_server::Server;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use support::*;

/// A JWT of `ada`, signed with the key, with additional claims.
fn jwt(key: &str, claims: &Value) -> String {
    let (name, secret) = key.split_once(':').unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut all = json!({"iat": now, "exp": now + 3600, "x-ably-clientId": "ada"});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": name});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&all));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

async fn connect(server: &Server, format: Format, jwt: &str) -> Client {
    let mut client = Client::open(server, format, &format!("accessToken={jwt}")).await;
    assert!(matches!(client.next().await, ServerFrame::Connected(_)));
    client
}

fn extras(value: Value) -> Option<JsonObject> {
    value.as_object().cloned()
}

/// A frame with one item.
fn one<T>(channel: &str, msg_serial: u64, item: T) -> Publish<T> {
    Publish {
        channel: channel.into(),
        msg_serial,
        items: [item].into(),
        params: Default::default(),
    }
}

#[tokio::test]
async fn messages_and_members_contain_the_claim_of_a_token() {
    let server = server().await;
    let namespaces = json!([{"id": "mutable", "mutableMessages": true}]);
    let key = app(&server, &json!({"keys": [{}], "namespaces": namespaces})).await.remove(0);
    for format in [Format::Json, Format::MsgPack] {
        let channel = format!("mutable:{}::$chat", format.name());
        let room = format!("ably.room.mutable:{}", format.name());
        let token = jwt(&key, &json!({room: "host", "ably.channel.*": "guest"}));
        let mut ada = connect(&server, format, &token).await;
        let mut bob = Client::open(&server, format, &format!("key={key}&clientId=bob")).await;
        bob.next().await;
        let params = "publish,subscribe,presence_subscribe,annotation_subscribe".to_owned();
        let attach = capably_protocol::frame::Attach {
            channel: channel.as_str().into(),
            params: [("modes".to_owned(), params)].into(),
            ..Default::default()
        };
        bob.attach_with(attach).await;
        ada.attach(&channel).await;

        let forged = || extras(json!({"userClaim": "forged", "headers": {"a": 1}}));
        let expected = extras(json!({"userClaim": "host", "headers": {"a": 1}}));
        let message = Message { extras: forged(), ..Message::new("m", "x") };
        ada.publish(&channel, 0, vec![message.clone()]).await;
        let delivered = bob.message().await.items.remove(0);
        assert_eq!(delivered.extras, expected);

        let enter = PresenceMessage {
            action: Some(PresenceAction::Enter),
            extras: forged(),
            ..PresenceMessage::default()
        };
        ada.send(&ClientFrame::Presence(one(&channel, 1, enter))).await;
        let ServerFrame::Presence(told) = bob.next().await else { panic!("PRESENCE") };
        assert_eq!(told.items[0].extras, expected);

        let annotation = Annotation {
            action: Some(AnnotationAction::Create),
            annotation_type: Some("com.ably.reactions".into()),
            message_serial: delivered.serial.clone(),
            extras: forged(),
            ..Annotation::default()
        };
        ada.send(&ClientFrame::Annotation(one(&channel, 2, annotation))).await;
        let ServerFrame::Annotation(made) = bob.next().await else { panic!("ANNOTATION") };
        assert_eq!(made.items[0].extras, expected);

        // REST adds the claim to single publishes and to batches. A client without a claim cannot forge one.
        let path = format!("/channels/{}/messages", channel.replace('$', "%24"));
        let bearer = format!("Authorization: Bearer {token}");
        let headers = [bearer, "Content-Type: application/json".to_owned()];
        let body = json!({"extras": {"userClaim": "forged", "headers": {"a": 1}}});
        let batch = json!({"channels": [channel], "messages": body});
        let mut http = Http::connect(&server).await;
        for (target, body) in [(path.as_str(), &body), ("/messages", &batch)] {
            let answer = http.request("POST", target, &headers, body.to_string().as_bytes()).await;
            assert_eq!(answer.status, 201);
            assert_eq!(bob.message().await.items[0].extras, expected, "{target}");
        }
        bob.publish(&channel, 0, vec![message]).await;
        assert_eq!(bob.message().await.items[0].extras, extras(json!({"headers": {"a": 1}})));
        let (_, history) = ask(&server, &key, format, "GET", &path, &json!(null)).await;
        let claims: Vec<_> = history.as_array().unwrap().iter().map(|it| &it["extras"]).collect();
        let (claimed, plain) = (json!(expected), json!({"headers": {"a": 1}}));
        assert_eq!(claims, [&plain, &claimed, &claimed, &claimed]);
    }
}

#[tokio::test]
async fn a_new_token_replaces_the_claims_of_a_connection() {
    let server = server().await;
    let rate = "ably.limits.publish.perAttachment.maxRate.*";
    for format in [Format::Json, Format::MsgPack] {
        let claims = json!({"ably.channel.a": "first", rate: 0.001, "x-ably-clientType": "server"});
        let mut ada = connect(&server, format, &jwt(server.key(), &claims)).await;
        ada.attach("a").await;
        ada.publish("a", 0, vec![Message::new("m", "x")]).await;
        assert_eq!(ada.message().await.items[0].extras, extras(json!({"userClaim": "first"})));
        ada.ack().await;
        ada.publish("a", 1, vec![Message::new("m", "x")]).await;
        let ServerFrame::Nack(nack) = ada.next().await else { panic!("NACK") };
        let error = nack.error.unwrap();
        assert_eq!((nack.msg_serial, error.code.0, error.status_code), (1, 42911, 429));
        // Another channel has its own rate.
        ada.publish("b", 2, vec![Message::new("m", "x")]).await;
        ada.ack().await;
        let access_token = jwt(server.key(), &json!({"ably.channel.*": "second"})).into();
        ada.send(&ClientFrame::Auth(AuthDetails { access_token })).await;
        assert!(matches!(ada.next().await, ServerFrame::Connected(_)));
        ada.publish("a", 3, vec![Message::new("m", "x")]).await;
        assert_eq!(ada.message().await.items[0].extras, extras(json!({"userClaim": "second"})));
    }
}
