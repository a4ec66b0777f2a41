//! The program as a push device (RSH6 to RSH8).

use capably::{
    ClientOptions, DeviceDetails, PushChannelSubscription, Rest,
    http::HttpResponse,
    rest::{LocalDevice, PushChannel, PushFilter},
};
use serde_json::json;

use crate::{
    both_formats,
    support::scripted_http::{Answer, KEY, Request, ScriptedHttp, respond},
};

const SUBSCRIPTIONS: &str = "/push/channelSubscriptions";

fn device() -> LocalDevice {
    LocalDevice {
        id: "test-device-001".into(),
        client_id: Some("test-client".into()),
        device_identity_token: Some("test-device-identity-token".into()),
        ..LocalDevice::default()
    }
}

/// The push channel, for a client on this device.
fn push(rest: &Rest, device: LocalDevice) -> PushChannel {
    rest.set_device(device);
    rest.channels().get("my-channel").push()
}

fn done() -> ScriptedHttp {
    ScriptedHttp::always(Answer::Raw(HttpResponse::new(204, "")))
}

/// The device credentials of a request: a token or a secret.
fn proof(request: &Request) -> (Option<&str>, Option<&str>) {
    (request.header("X-Ably-DeviceToken"), request.header("X-Ably-DeviceSecret"))
}

const BY_TOKEN: (Option<&str>, Option<&str>) = (Some("test-device-identity-token"), None);

// UTS: rest/unit/RSH7a2/subscribe-device-post-0
// Spec: RSH6, RSH6a, RSH7, RSH7a, RSH7a3
#[tokio::test]
async fn subscribes_the_device() {
    for options in both_formats() {
        let body = json!({"channel": "my-channel", "deviceId": "test-device-001"});
        let http = ScriptedHttp::always(respond(200, body.clone()));
        push(&http.rest_with(options), device()).subscribe_device().await.unwrap();
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("POST", SUBSCRIPTIONS));
        assert_eq!(request.body(), body);
        assert_eq!(proof(&request), BY_TOKEN);
    }
}

// UTS: rest/unit/RSH7b2/subscribe-client-post-0
// Spec: RSH7b
#[tokio::test]
async fn subscribes_the_devices_of_the_client() {
    for options in both_formats() {
        let body = json!({"channel": "my-channel", "clientId": "test-client"});
        let http = ScriptedHttp::always(respond(200, body.clone()));
        push(&http.rest_with(options), device()).subscribe_client().await.unwrap();
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("POST", SUBSCRIPTIONS));
        assert_eq!(request.body(), body);
    }
}

// UTS: rest/unit/RSH7c2/unsubscribe-device-delete-0
// Spec: RSH7c, RSH7c3
#[tokio::test]
async fn unsubscribes_the_device() {
    let http = done();
    push(&http.rest(), device()).unsubscribe_device().await.unwrap();
    let request = http.request();
    assert_eq!((request.method(), request.path()), ("DELETE", SUBSCRIPTIONS));
    assert_eq!(request.param("channel").as_deref(), Some("my-channel"));
    assert_eq!(request.param("deviceId").as_deref(), Some("test-device-001"));
    assert_eq!(request.param("clientId"), None);
    assert_eq!(proof(&request), BY_TOKEN);
}

// UTS: rest/unit/RSH7d2/unsubscribe-client-delete-0
// Spec: RSH7d
#[tokio::test]
async fn unsubscribes_the_devices_of_the_client() {
    let http = done();
    push(&http.rest(), device()).unsubscribe_client().await.unwrap();
    let request = http.request();
    assert_eq!((request.method(), request.path()), ("DELETE", SUBSCRIPTIONS));
    assert_eq!(request.param("channel").as_deref(), Some("my-channel"));
    assert_eq!(request.param("clientId").as_deref(), Some("test-client"));
    assert_eq!(request.param("deviceId"), None);
}

// UTS: rest/unit/RSH7a1/subscribe-device-no-token-fails-0
// UTS: rest/unit/RSH7c1/unsubscribe-device-no-token-fails-0
#[tokio::test]
async fn a_device_that_is_not_registered_cannot_subscribe() {
    let http = done();
    let push = push(&http.rest(), LocalDevice { device_identity_token: None, ..device() });
    for refused in [push.subscribe_device().await, push.unsubscribe_device().await] {
        let error = refused.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)));
        assert!(error.message().contains("deviceIdentityToken"), "{error}");
        assert!(error.remediation().is_some());
    }
    assert!(http.requests().is_empty());
}

// UTS: rest/unit/RSH7b1/subscribe-client-no-clientid-fails-0
// UTS: rest/unit/RSH7d1/unsubscribe-client-no-clientid-fails-0
#[tokio::test]
async fn a_device_of_no_client_cannot_subscribe_it() {
    let http = done();
    let nobody_s = LocalDevice { client_id: None, ..device() };
    let push = push(&http.rest(), nobody_s);
    for refused in [push.subscribe_client().await, push.unsubscribe_client().await] {
        let error = refused.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)));
        assert!(error.message().contains("clientId"), "{error}");
    }
    assert!(http.requests().is_empty());
}

// Spec: RSH8
#[tokio::test]
async fn a_client_without_a_device_cannot_subscribe() {
    let http = done();
    let rest = http.rest();
    assert_eq!(rest.device(), None);
    let push = rest.channels().get("my-channel").push();
    let errors = [
        push.subscribe_device().await.unwrap_err(),
        push.unsubscribe_client().await.unwrap_err(),
        push.list_subscriptions().await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40000, Some(400)); 3]);
    assert!(http.requests().is_empty());

    rest.set_device(device());
    assert_eq!(rest.device(), Some(device()));
    push.unsubscribe_device().await.unwrap();
    rest.set_device(None);
    assert_eq!(rest.device(), None);
    push.unsubscribe_device().await.unwrap_err();
    assert_eq!(http.requests().len(), 1);
}

// UTS: rest/unit/RSH7e/list-subscriptions-with-filters-0
#[tokio::test]
async fn lists_the_subscriptions_of_device_and_client() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {"channel": "my-channel", "deviceId": "test-device-001"},
                {"channel": "my-channel", "clientId": "test-client"},
            ]),
        ));
        let push = push(&http.rest_with(options), device());
        let page = push.list_subscriptions().limit(10).await.unwrap();
        let request = http.request();
        assert_eq!((request.method(), request.path()), ("GET", SUBSCRIPTIONS));
        for (name, value) in [
            ("channel", "my-channel"),
            ("deviceId", "test-device-001"),
            ("clientId", "test-client"),
            ("concatFilters", "true"),
            ("limit", "10"),
        ] {
            assert_eq!(request.param(name).as_deref(), Some(value), "{name}");
        }
        let expected = [
            PushChannelSubscription::for_device("my-channel", "test-device-001"),
            PushChannelSubscription::for_client("my-channel", "test-client"),
        ];
        assert_eq!(page.items(), expected);
    }
}

// UTS: rest/unit/RSH7e/list-subscriptions-omits-clientid-1
#[tokio::test]
async fn lists_the_subscriptions_of_a_device_of_no_client() {
    let body = json!([{"channel": "my-channel", "deviceId": "test-device-001"}]);
    let http = ScriptedHttp::always(respond(200, body));
    let nobody_s = LocalDevice { client_id: None, ..device() };
    let page = push(&http.rest(), nobody_s).list_subscriptions().await.unwrap();
    let request = http.request();
    assert_eq!(request.param("channel").as_deref(), Some("my-channel"));
    assert_eq!(request.param("deviceId").as_deref(), Some("test-device-001"));
    assert_eq!(request.param("concatFilters").as_deref(), Some("true"));
    assert_eq!(request.param("clientId"), None);
    assert_eq!(page.items().len(), 1);
}

/// A client that requests tokens for a client id.
fn client_with_tokens(client_id: &'static str) -> (Rest, ScriptedHttp) {
    let http = ScriptedHttp::new(move |request, _| {
        if request.url.contains("/requestToken") {
            respond(
                201,
                json!({
                    "token": "token", "keyName": "appId.keyId", "issued": 1, "clientId": client_id,
                    "expires": 99_999_999_999_999_i64, "capability": "{\"*\":[\"*\"]}",
                }),
            )
        } else {
            respond(201, json!({"channel": "my-channel", "clientId": client_id}))
        }
    });
    (http.rest_with(ClientOptions::new(KEY).use_token_auth(true)), http)
}

// Spec: RSH8d
#[tokio::test]
async fn a_device_belongs_to_the_client_of_its_token() {
    let nobody_s = LocalDevice { client_id: None, ..device() };
    let (rest, http) = client_with_tokens("ada");
    let of_ada = push(&rest, nobody_s.clone());
    assert_eq!(of_ada.subscribe_client().await.unwrap_err().code().0, 40000);
    rest.auth().authorize().await.unwrap();
    of_ada.subscribe_client().await.unwrap();
    let body = http.requests().pop().unwrap().body();
    assert_eq!(body, json!({"channel": "my-channel", "clientId": "ada"}));
    // The client id of the device comes first.
    push(&rest, device()).unsubscribe_client().await.unwrap();
    let request = http.requests().pop().unwrap();
    assert_eq!(request.param("clientId").as_deref(), Some("test-client"));

    // A wildcard is no client id.
    let (rest, _) = client_with_tokens("*");
    rest.auth().authorize().await.unwrap();
    let error = push(&rest, nobody_s).subscribe_client().await.unwrap_err();
    assert_eq!(error.code().0, 40000);
}

/// Requests about a device: each way to name it.
async fn ask_about(rest: &Rest, id: &str) {
    let admin = rest.push().admin();
    let (devices, subscriptions) = (admin.device_registrations(), admin.channel_subscriptions());
    devices.get(id).await.unwrap();
    devices.save(&DeviceDetails { id: id.into(), ..DeviceDetails::default() }).await.unwrap();
    devices.remove_where(&PushFilter::new().device_id(id)).await.unwrap();
    let subscription = PushChannelSubscription::for_device("c", id);
    subscriptions.save(&subscription).await.unwrap();
    subscriptions.remove(&subscription).await.unwrap();
}

// Spec: RSH1b1, RSH1b3, RSH1b5, RSH1c3, RSH1c4, RSH6, RSH6a, RSH6b, RSH8k, RSH8k1, RSH8k2
#[tokio::test]
async fn requests_about_the_device_authenticate_as_the_device() {
    let reply = json!({"id": "test-device-001", "channel": "c", "deviceId": "test-device-001"});
    let by_secret = LocalDevice {
        device_identity_token: None,
        device_secret: Some("s3cr3t".into()),
        ..device()
    };
    let both = LocalDevice { device_secret: Some("s3cr3t".into()), ..device() };
    let neither = LocalDevice { device_identity_token: None, ..device() };
    for (device, expected) in [
        (device(), BY_TOKEN),
        (both, BY_TOKEN),
        (by_secret, (None, Some("s3cr3t"))),
        (neither, (None, None)),
    ] {
        let http = ScriptedHttp::always(respond(200, reply.clone()));
        let rest = http.rest();
        rest.set_device(device);
        ask_about(&rest, "test-device-001").await;
        let proofs: Vec<_> = http.requests();
        assert_eq!(proofs.iter().map(proof).collect::<Vec<_>>(), [expected; 5]);

        // For other devices, the client is an administrator.
        ask_about(&rest, "another").await;
        let admin = rest.push().admin().channel_subscriptions();
        admin.save(&PushChannelSubscription::for_client("c", "ada")).await.unwrap();
        let others = &http.requests()[5..];
        assert_eq!(others.iter().map(proof).collect::<Vec<_>>(), [(None, None); 6]);
    }
}

#[test]
fn debug_shows_neither_token_nor_secret() {
    let device = LocalDevice { device_secret: Some("s3cr3t".into()), ..device() };
    let text = format!("{device:?}");
    assert!(text.contains("test-device-001"), "{text}");
    assert!(!text.contains("s3cr3t") && !text.contains("identity-token"), "{text}");
}
