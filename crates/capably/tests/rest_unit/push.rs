//! The administration of push notifications (RSH1).

use capably::{
    DeviceDetails, DeviceFormFactor, DevicePlatform, DevicePushDetails, DevicePushState, ErrorInfo,
    JsonObject, PushChannelSubscription,
    http::HttpResponse,
    rest::{PushFilter, PushRecipient},
};
use serde_json::{Value, json};

use crate::{
    both_formats,
    support::scripted_http::{Answer, ScriptedHttp, respond},
};

fn done() -> ScriptedHttp {
    ScriptedHttp::always(Answer::Raw(HttpResponse::new(204, "")))
}

fn refused() -> ScriptedHttp {
    let error = json!({"code": 40000, "statusCode": 400, "message": "invalid"});
    ScriptedHttp::always(respond(400, json!({"error": error})))
}

fn object(value: Value) -> JsonObject {
    value.as_object().cloned().expect("an object")
}

fn recipient(token: &str) -> JsonObject {
    object(json!({"transportType": "apns", "deviceToken": token}))
}

fn phone(id: &str) -> Value {
    json!({
        "id": id, "clientId": "client-abc", "platform": "ios", "formFactor": "phone",
        "push": {"recipient": {}, "state": "Active"},
    })
}

// UTS: rest/unit/RSH1/push-admin-accessible-0
// UTS: rest/unit/RSH1a/publish-post-push-publish-0
// UTS: rest/unit/RSH1a/publish-clientid-recipient-1
// UTS: rest/unit/RSH1a/publish-deviceid-recipient-2
// Spec: RSC21
#[tokio::test]
async fn pushes_to_the_given_recipient() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(201, json!({})));
        let admin = http.rest_with(options).push().admin();
        let notification = json!({"notification": {"title": "Test", "body": "Hello"}});
        admin.publish(recipient("foo"), notification).await.unwrap();
        let data = json!({"data": {"key": "value"}});
        admin.publish(PushRecipient::client("user-123"), data).await.unwrap();
        let title = json!({"notification": {"title": "Device Push"}});
        admin.publish(PushRecipient::device("device-abc"), title).await.unwrap();
        let expected = [
            json!({
                "recipient": {"transportType": "apns", "deviceToken": "foo"},
                "notification": {"title": "Test", "body": "Hello"},
            }),
            json!({"recipient": {"clientId": "user-123"}, "data": {"key": "value"}}),
            json!({
                "recipient": {"deviceId": "device-abc"},
                "notification": {"title": "Device Push"},
            }),
        ];
        assert_eq!(http.requests().len(), 3);
        for (request, body) in http.requests().iter().zip(expected) {
            assert_eq!((request.method(), request.path()), ("POST", "/push/publish"));
            assert_eq!(request.body(), body);
        }
    }
}

// UTS: rest/unit/RSH1a/rejects-empty-recipient-3
// UTS: rest/unit/RSH1a/rejects-empty-data-4
// UTS: rest/unit/RSH1a/rejects-null-recipient-5
#[tokio::test]
async fn refuses_an_empty_recipient_or_payload() {
    let http = done();
    let admin = http.rest().push().admin();
    let title = json!({"notification": {"title": "Test"}});
    let errors = [
        admin.publish(json!({}), title.clone()).await.unwrap_err(),
        admin.publish(PushRecipient::client("user-123"), json!({})).await.unwrap_err(),
        admin.publish(Value::Null, title.clone()).await.unwrap_err(),
        admin.publish(json!("user-123"), title).await.unwrap_err(),
        admin.publish(PushRecipient::client("user-123"), Value::Null).await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40000, Some(400)); 5]);
    assert!(http.requests().is_empty());
}

// UTS: rest/unit/RSH1a/server-error-propagated-6
// UTS: rest/unit/RSH1b3/save-error-propagated-2
// UTS: rest/unit/RSH1c3/save-error-propagated-2
#[tokio::test]
async fn passes_errors_on() {
    let http = refused();
    let admin = http.rest().push().admin();
    let device = DeviceDetails { id: "device-001".into(), ..DeviceDetails::default() };
    let subscription = PushChannelSubscription::for_device("my-channel", "device-001");
    let errors = [
        admin.publish(json!({"transportType": "invalid"}), json!({"data": {}})).await.unwrap_err(),
        admin.device_registrations().save(&device).await.unwrap_err(),
        admin.channel_subscriptions().save(&subscription).await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40000, Some(400)); 3]);
    assert_eq!(http.requests().len(), 3);
}

// UTS: rest/unit/RSH1b1/get-device-details-0
// Spec: PCD1, PCD2, PCD3, PCD4, PCD5, PCD6, PCD7, PCP1, PCP2, PCP3, PCP4
#[tokio::test]
async fn reads_a_device() {
    for options in both_formats() {
        let error = json!({"code": 40000, "statusCode": 400, "message": "bad token"});
        let http = ScriptedHttp::always(respond(
            200,
            json!({
                "id": "device-001", "clientId": "client-abc", "formFactor": "phone",
                "platform": "ios", "metadata": {"model": "iPhone 14"},
                "push": {
                    "recipient": recipient("token-123"), "state": "Active", "errorReason": error,
                },
            }),
        ));
        let devices = http.rest_with(options).push().admin().device_registrations();
        let device = devices.get("device-001").await.unwrap();
        let request = http.request();
        let path = "/push/deviceRegistrations/device-001";
        assert_eq!((request.method(), request.path()), ("GET", path));
        let expected = DeviceDetails {
            id: "device-001".into(),
            client_id: Some("client-abc".into()),
            form_factor: Some(DeviceFormFactor::Phone),
            metadata: [("model".to_owned(), "iPhone 14".to_owned())].into(),
            platform: Some(DevicePlatform::Ios),
            push: DevicePushDetails {
                error_reason: Some(ErrorInfo::new(capably::ErrorCode(40000), 400, "bad token")),
                recipient: recipient("token-123"),
                state: Some(DevicePushState::Active),
            },
        };
        assert_eq!(device, expected);
        assert!(!format!("{device:?}").contains("token-123"), "{device:?}");
    }
}

// Spec: RSF1
#[tokio::test]
async fn unknown_values_of_a_device_are_kept() {
    let body = json!({
        "id": "d", "formFactor": "fridge", "platform": "amiga", "push": {"state": "ASLEEP"},
    });
    let http = ScriptedHttp::always(respond(200, body));
    let device = http.rest().push().admin().device_registrations().get("d").await.unwrap();
    assert_eq!(device.form_factor, Some(DeviceFormFactor::Unknown("fridge".into())));
    assert_eq!(device.platform, Some(DevicePlatform::Unknown("amiga".into())));
    assert_eq!(device.push.state, Some(DevicePushState::Unknown("ASLEEP".into())));
}

// UTS: rest/unit/RSH1b1/get-unknown-device-error-1
#[tokio::test]
async fn a_device_may_be_unknown() {
    let error = json!({"code": 40400, "statusCode": 404, "message": "Device not found"});
    let http = ScriptedHttp::always(respond(404, json!({"error": error})));
    let devices = http.rest().push().admin().device_registrations();
    let error = devices.get("nonexistent-device").await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (40400, Some(404)));
}

// UTS: rest/unit/RSH1b1/get-url-encodes-deviceid-2
#[tokio::test]
async fn a_device_s_id_is_one_segment_of_the_path() {
    let http = ScriptedHttp::always(respond(200, phone("x")));
    let devices = http.rest().push().admin().device_registrations();
    let id = "device/with special:chars";
    let escaped = "/push/deviceRegistrations/device%2Fwith%20special%3Achars";
    devices.get(id).await.unwrap();
    devices.save(&DeviceDetails { id: id.into(), ..DeviceDetails::default() }).await.unwrap();
    devices.remove(id).await.unwrap();
    assert!(http.requests().iter().all(|request| request.path() == escaped));
    let errors = [
        devices.get("").await.unwrap_err(),
        devices.save(&DeviceDetails::default()).await.unwrap_err(),
        devices.remove("").await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| error.code().0), [40003; 3]);
    assert_eq!(http.requests().len(), 3);
}

// UTS: rest/unit/RSH1b2/list-filtered-by-deviceid-0
// UTS: rest/unit/RSH1b2/list-filtered-by-clientid-1
// UTS: rest/unit/RSH1b2/list-with-limit-param-2
// Spec: RSH1b, RSH1b2
#[tokio::test]
async fn lists_devices() {
    for options in both_formats() {
        let http =
            ScriptedHttp::always(respond(200, json!([phone("device-001"), phone("device-002")])));
        let devices = http.rest_with(options).push().admin().device_registrations();
        let page = devices.list().device_id("device-001").await.unwrap();
        assert_eq!(page.items().len(), 2);
        assert_eq!(&*page.items()[0].id, "device-001");
        assert_eq!(&*page.items()[1].id, "device-002");
        assert_eq!(page.items()[1].client_id.as_deref(), Some("client-abc"));
        devices.list().client_id("client-abc").await.unwrap();
        devices.list().limit(2).await.unwrap();
        assert_eq!(http.requests().len(), 3);
        for (request, (name, value)) in http.requests().iter().zip([
            ("deviceId", "device-001"),
            ("clientId", "client-abc"),
            ("limit", "2"),
        ]) {
            assert_eq!((request.method(), request.path()), ("GET", "/push/deviceRegistrations"));
            assert_eq!(request.param(name).as_deref(), Some(value));
        }
    }
}

// UTS: rest/unit/RSH1b3/save-put-device-details-0
// UTS: rest/unit/RSH1b3/save-updates-existing-1
#[tokio::test]
async fn saves_a_device() {
    for options in both_formats() {
        let saved = |token: &str| {
            let push = json!({"recipient": recipient(token), "state": "Active"});
            respond(200, json!({"id": "device-001", "platform": "ios", "push": push}))
        };
        let http = ScriptedHttp::sequence([saved("token-old"), saved("token-new")]);
        let devices = http.rest_with(options).push().admin().device_registrations();
        let mut device = DeviceDetails {
            id: "device-001".into(),
            client_id: Some("client-abc".into()),
            platform: Some(DevicePlatform::Ios),
            form_factor: Some(DeviceFormFactor::Phone),
            metadata: [("model".to_owned(), "iPhone 14".to_owned())].into(),
            ..DeviceDetails::default()
        };
        for token in ["token-old", "token-new"] {
            device.push.recipient = recipient(token);
            let result = devices.save(&device).await.unwrap();
            assert_eq!(&*result.id, "device-001");
            assert_eq!(result.push.state, Some(DevicePushState::Active));
            assert_eq!(result.push.recipient["deviceToken"], token);
            let request = http.requests().pop().expect("a request");
            let path = "/push/deviceRegistrations/device-001";
            assert_eq!((request.method(), request.path()), ("PUT", path));
            assert_eq!(
                request.body(),
                json!({
                    "id": "device-001", "clientId": "client-abc", "platform": "ios",
                    "formFactor": "phone", "metadata": {"model": "iPhone 14"},
                    "push": {"recipient": recipient(token)},
                })
            );
        }
    }
}

// UTS: rest/unit/RSH1b4/remove-delete-device-0
// UTS: rest/unit/RSH1b4/remove-nonexistent-succeeds-1
// UTS: rest/unit/RSH1b5/remove-where-clientid-0
// UTS: rest/unit/RSH1b5/remove-where-deviceid-1
// UTS: rest/unit/RSH1b5/remove-where-no-match-succeeds-2
#[tokio::test]
async fn removes_devices() {
    let http = done();
    let devices = http.rest().push().admin().device_registrations();
    devices.remove("device-001").await.unwrap();
    devices.remove_where(&PushFilter::new().client_id("client-abc")).await.unwrap();
    devices.remove_where(&PushFilter::new().device_id("device-001")).await.unwrap();
    let base = "https://main.realtime.ably.net/push/deviceRegistrations";
    let asked: Vec<_> =
        http.requests().into_iter().map(|request| (request.method(), request.0.url)).collect();
    let expected = ["/device-001", "?clientId=client-abc", "?deviceId=device-001"];
    assert_eq!(asked, expected.map(|rest| ("DELETE", format!("{base}{rest}"))));
}

// UTS: rest/unit/RSH1c1/list-filtered-by-channel-0
// UTS: rest/unit/RSH1c1/list-filtered-by-device-client-1
// UTS: rest/unit/RSH1c1/list-with-limit-param-2
// Spec: RSH1c, PCS1, PCS2, PCS3, PCS4, PCS5
#[tokio::test]
async fn lists_subscriptions() {
    for options in both_formats() {
        let http = ScriptedHttp::always(respond(
            200,
            json!([
                {"channel": "my-channel", "deviceId": "device-001"},
                {"channel": "my-channel", "clientId": "client-abc"},
            ]),
        ));
        let subscriptions = http.rest_with(options).push().admin().channel_subscriptions();
        let page = subscriptions.list().channel("my-channel").await.unwrap();
        let expected = [
            PushChannelSubscription::for_device("my-channel", "device-001"),
            PushChannelSubscription::for_client("my-channel", "client-abc"),
        ];
        assert_eq!(page.items(), expected);
        assert_eq!(page.items()[0].channel(), "my-channel");
        assert_eq!(page.items()[0].device_id(), Some("device-001"));
        assert_eq!(page.items()[0].client_id(), None);
        assert_eq!(page.items()[1].client_id(), Some("client-abc"));
        let both = subscriptions.list().device_id("device-001").client_id("client-abc");
        both.await.unwrap();
        subscriptions.list().limit(5).await.unwrap();
        let requests = http.requests();
        for request in &requests {
            assert_eq!((request.method(), request.path()), ("GET", "/push/channelSubscriptions"));
        }
        assert_eq!(requests[0].param("channel").as_deref(), Some("my-channel"));
        assert_eq!(requests[1].param("deviceId").as_deref(), Some("device-001"));
        assert_eq!(requests[1].param("clientId").as_deref(), Some("client-abc"));
        assert_eq!(requests[2].param("limit").as_deref(), Some("5"));
    }
}

// UTS: rest/unit/RSH1c2/list-channels-paginated-0
// UTS: rest/unit/RSH1c2/list-channels-with-limit-1
#[tokio::test]
async fn lists_channels() {
    for options in both_formats() {
        let http = ScriptedHttp::sequence([
            respond(200, json!(["channel-1", "channel-2"]))
                .link("<./channels?limit=2&from=2>; rel=\"next\""),
            respond(200, json!(["channel-3"])),
        ]);
        let subscriptions = http.rest_with(options).push().admin().channel_subscriptions();
        let page = subscriptions.list_channels().limit(2).await.unwrap();
        assert_eq!(page.items(), ["channel-1", "channel-2"]);
        let second = page.next().await.unwrap().expect("there is a next page");
        assert_eq!(second.items(), ["channel-3"]);
        let requests = http.requests();
        assert_eq!((requests[0].method(), requests[0].path()), ("GET", "/push/channels"));
        assert_eq!(requests[0].param("limit").as_deref(), Some("2"));
        assert_eq!(requests[1].path(), "/push/channels");
        assert_eq!(requests[1].param("from").as_deref(), Some("2"));
    }
}

// UTS: rest/unit/RSH1c3/save-post-subscription-0
// UTS: rest/unit/RSH1c3/save-updates-existing-1
#[tokio::test]
async fn saves_a_subscription() {
    for options in both_formats() {
        for (subscription, body) in [
            (
                PushChannelSubscription::for_device("my-channel", "device-001"),
                json!({"channel": "my-channel", "deviceId": "device-001"}),
            ),
            (
                PushChannelSubscription::for_client("my-channel", "client-abc"),
                json!({"channel": "my-channel", "clientId": "client-abc"}),
            ),
        ] {
            let http = ScriptedHttp::always(respond(200, body.clone()));
            let subscriptions =
                http.rest_with(options.clone()).push().admin().channel_subscriptions();
            for _ in 0..2 {
                assert_eq!(subscriptions.save(&subscription).await.unwrap(), subscription);
            }
            assert_eq!(http.requests().len(), 2);
            for request in http.requests() {
                let path = "/push/channelSubscriptions";
                assert_eq!((request.method(), request.path()), ("POST", path));
                assert_eq!(request.body(), body);
            }
        }
    }
}

// UTS: rest/unit/RSH1c4/remove-delete-clientid-0
// UTS: rest/unit/RSH1c4/remove-delete-deviceid-1
// UTS: rest/unit/RSH1c4/remove-nonexistent-succeeds-2
// UTS: rest/unit/RSH1c5/remove-where-clientid-0
// UTS: rest/unit/RSH1c5/remove-where-deviceid-1
// UTS: rest/unit/RSH1c5/remove-where-no-match-succeeds-2
#[tokio::test]
async fn removes_subscriptions() {
    let http = done();
    let subscriptions = http.rest().push().admin().channel_subscriptions();
    let of_client = PushChannelSubscription::for_client("my-channel", "client-abc");
    subscriptions.remove(&of_client).await.unwrap();
    let of_device = PushChannelSubscription::for_device("my-channel", "device-001");
    subscriptions.remove(&of_device).await.unwrap();
    subscriptions.remove_where(&PushFilter::new().client_id("client-abc")).await.unwrap();
    subscriptions.remove_where(&PushFilter::new().device_id("device-001")).await.unwrap();
    let base = "https://main.realtime.ably.net/push/channelSubscriptions";
    let asked: Vec<_> =
        http.requests().into_iter().map(|request| (request.method(), request.0.url)).collect();
    let expected = [
        "channel=my-channel&clientId=client-abc",
        "channel=my-channel&deviceId=device-001",
        "clientId=client-abc",
        "deviceId=device-001",
    ];
    assert_eq!(asked, expected.map(|query| ("DELETE", format!("{base}?{query}"))));
}

#[tokio::test]
async fn a_filter_that_matches_everything_removes_nothing() {
    let http = done();
    let admin = http.rest().push().admin();
    let errors = [
        admin.device_registrations().remove_where(&PushFilter::new()).await.unwrap_err(),
        admin.channel_subscriptions().remove_where(&PushFilter::new()).await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| (error.code().0, error.status())), [(40003, Some(400)); 2]);
    assert!(http.requests().is_empty());
}

#[test]
fn debug_shows_no_address() {
    let text = format!("{:?}", PushRecipient::from(recipient("s3cr3t")));
    assert!(!text.contains("s3cr3t"), "{text}");
}
