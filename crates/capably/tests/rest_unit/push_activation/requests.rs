//! The requests of an activation, in both formats.

use super::*;

// Spec: RSC21, RSH2a, RSH3a2b, RSH3b3b, RSH3c2a, RSH6a, RSH8, RSH8b, RSH8c, RSH8k, RSH8k1, RSH8k2
#[tokio::test]
async fn an_activation_registers_the_device() {
    let identities = [json!("identity"), json!({"token": "identity", "deviceId": "d"})];
    for (options, identity) in both_formats().into_iter().zip(identities) {
        let http = ScriptedHttp::always(respond(201, json!({"deviceIdentityToken": identity})));
        let push = push(&MemoryPushStorage::new())
            .form_factor(DeviceFormFactor::Phone)
            .metadata("model", "X1");
        let rest = http.rest_with(options.client_id("ada").push(push));
        assert_eq!(rest.device(), None);
        assert_eq!(rest.push().device().await.unwrap().id, "");
        rest.push().activate().await.unwrap();

        let device = rest.push().device().await.unwrap();
        assert_eq!(rest.device(), Some(device.clone()));
        assert_eq!(device.device_identity_token.as_deref(), Some("identity"));
        assert_eq!(device.client_id.as_deref(), Some("ada"));
        let secret = device.device_secret.clone().unwrap();
        // 32 bytes in base64, and a UUID.
        assert_eq!((secret.len(), device.id.len()), (44, 36));
        assert!(secret.ends_with('='));

        let request = http.request();
        assert_eq!((request.method(), request.path()), ("POST", DEVICES));
        let expected = json!({
            "id": &*device.id, "clientId": "ada", "platform": "android", "formFactor": "phone",
            "metadata": {"model": "X1"}, "deviceSecret": &*secret,
            "push": {"recipient": {"transportType": "fcm", "registrationToken": "t0"}},
        });
        assert_eq!(request.body(), expected);
        // An active device is not registered again.
        rest.push().activate().await.unwrap();
        assert_eq!(http.requests().len(), 1);
    }
}

#[tokio::test]
async fn every_device_has_an_identity_of_its_own() {
    let mut identities = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let rest = service().rest_with(options(&MemoryPushStorage::new()));
        rest.push().activate().await.unwrap();
        let device = rest.device().unwrap();
        identities.insert(device.id);
        identities.insert(device.device_secret.unwrap());
    }
    assert_eq!(identities.len(), 20);
}

// Spec: RSH2b, RSH3d2b, RSH3g2a, RSH6a
#[tokio::test]
async fn a_deactivation_needs_only_the_credentials_of_the_device() {
    for options in both_formats() {
        let http = service();
        let storage = MemoryPushStorage::new();
        let rest = http.rest_with(options.client_id("ada").push(push(&storage)));
        rest.push().activate().await.unwrap();
        let id = rest.device().unwrap().id;
        rest.push().deactivate().await.unwrap();
        let request = http.requests().pop().unwrap();
        assert_eq!((request.method(), request.path()), ("DELETE", DEVICES));
        assert_eq!(request.param("deviceId").as_deref(), Some(&*id));
        assert_eq!(request.header("X-Ably-DeviceToken"), Some("identity"));
        assert_eq!(request.header("Authorization"), None);
        assert_eq!(request.header("X-Ably-ClientId"), None);
        assert_eq!(rest.device(), None);
        assert_eq!(stored(&storage)["device"], json!({}));
        // Nothing is left to deactivate.
        rest.push().deactivate().await.unwrap();
        assert_eq!(http.requests().len(), 2);
        // The next device is another one.
        rest.push().activate().await.unwrap();
        assert_ne!(rest.device().unwrap().id, id);
    }
}

// Spec: RSH3d2c1, RSH3g3a
#[tokio::test]
async fn a_device_that_the_service_does_not_know_is_deactivated() {
    for (answer, code) in [
        (refused(40160, 401), None),
        (refused(40005, 400), None),
        (refused(40000, 400), Some(40000)),
        (refused(50000, 500), Some(50000)),
        (Answer::Fail(HttpErrorKind::Interrupted), Some(80003)),
    ] {
        let http = service_with("DELETE", answer);
        let rest = http.rest_with(options(&MemoryPushStorage::new()).fallback_hosts([""; 0]));
        rest.push().activate().await.unwrap();
        let outcome = rest.push().deactivate().await;
        assert_eq!(outcome.as_ref().err().map(|error| error.code().0), code);
        assert_eq!(rest.device().is_some(), code.is_some());
        // After a failure the device is still active.
        rest.push().activate().await.unwrap();
        let registrations = if code.is_some() { 1 } else { 2 };
        assert_eq!(methods(&http).iter().filter(|it| **it == "POST").count(), registrations);
    }
}

// Spec: RSH3d3b, RSH3e2c, RSH6a, RSH8g
#[tokio::test]
async fn a_new_address_is_sent_alone() {
    for options in both_formats() {
        let http = service();
        let (push, mut updates) = with_updates(push(&MemoryPushStorage::new()));
        let rest = http.rest_with(options.push(push));
        rest.push().activate().await.unwrap();
        rest.push().update_recipient(PushRecipient::apns("t1")).await.unwrap();
        soon(updates.recv()).await.unwrap().unwrap();
        let request = http.requests().pop().unwrap();
        let device = rest.device().unwrap();
        assert_eq!(
            (request.method(), request.path()),
            ("PATCH", &*format!("{DEVICES}/{}", device.id))
        );
        let address = json!({"transportType": "apns", "deviceToken": "t1"});
        assert_eq!(request.body(), json!({"push": {"recipient": address}}));
        assert_eq!(request.header("X-Ably-DeviceToken"), Some("identity"));
        assert!(request.header("Authorization").is_some());
        assert_eq!(Value::Object(device.push.recipient), address);
    }
}

// Spec: RSH3a2a3, RSH3e3b, RSH3e3c, RSH3e3d, RSH3f1
#[tokio::test]
async fn after_a_failed_update_an_activation_sends_all_details() {
    for options in both_formats() {
        let http = ScriptedHttp::new(|request, number| match (request.method.as_str(), number) {
            ("PATCH", _) | ("PUT", 2) => refused(40005, 400),
            (method, _) => answer(method),
        });
        let (push, mut updates) = with_updates(push(&MemoryPushStorage::new()));
        let rest = http.rest_with(options.push(push));
        rest.push().activate().await.unwrap();
        rest.push().update_recipient(PushRecipient::fcm("t1")).await.unwrap();
        let error = soon(updates.recv()).await.unwrap().unwrap_err();
        assert_eq!((error.code().0, error.status()), (40005, Some(400)));

        let error = rest.push().activate().await.unwrap_err();
        assert_eq!(error.code().0, 40005);
        assert!(error.remediation().unwrap().contains("deactivate"), "{error:?}");
        rest.push().activate().await.unwrap();
        assert_eq!(methods(&http), ["POST", "PATCH", "PUT", "PUT"]);
        let request = http.requests().pop().unwrap();
        let device = rest.device().unwrap();
        assert_eq!(request.path(), format!("{DEVICES}/{}", device.id));
        assert_eq!(request.header("X-Ably-DeviceToken"), Some("identity"));
        let expected = json!({
            "id": &*device.id, "platform": "android", "formFactor": "other",
            "push": {"recipient": {"transportType": "fcm", "registrationToken": "t1"}},
        });
        assert_eq!(request.body(), expected);
    }
}

// Spec: RSH3c3, RSH3c3a, RSH3a1d
#[tokio::test]
async fn a_registration_that_is_refused_ends_the_activation() {
    for (answer, code) in [
        (refused(40160, 401), 40160),
        (refused(40005, 400), 40005),
        (respond(201, json!({"id": "d"})), 40013),
        (respond(201, json!([])), 40013),
        (respond(201, json!({"deviceIdentityToken": {}})), 40013),
        (Answer::Hang, 50003),
    ] {
        tokio::time::pause();
        let http = service_with("POST", answer);
        let rest = http.rest_with(options(&MemoryPushStorage::new()));
        assert_eq!(rest.push().activate().await.unwrap_err().code().0, code);
        let first = rest.device().unwrap();
        assert_eq!(first.device_identity_token, None);
        // The device keeps its identity, so that another attempt is about the same device,
        let posts = http.requests().len();
        assert_eq!(rest.push().activate().await.unwrap_err().code().0, code);
        assert_eq!(rest.device().unwrap(), first);
        assert!(http.requests().len() > posts);
        // until it is deactivated.
        rest.push().deactivate().await.unwrap();
        assert_eq!(rest.device(), None);
        tokio::time::resume();
    }
}

// Spec: RSH3b3b
#[tokio::test]
async fn the_id_of_a_device_is_escaped_in_paths() {
    let storage = MemoryPushStorage::new();
    let content = json!({
        "version": 1, "activation": {"state": "AfterRegistrationSyncFailed"},
        "device": {"id": "a/b c", "deviceSecret": "s", "deviceIdentityToken": "identity"},
    });
    storage.store(content.to_string().as_bytes()).unwrap();
    let http = service();
    let rest = http.rest_with(options(&storage));
    rest.push().activate().await.unwrap();
    assert_eq!(http.requests()[0].path(), format!("{DEVICES}/a%2Fb%20c"));
}

// Spec: RSH3a2a1
#[tokio::test]
async fn a_device_of_another_client_is_refused_without_a_request() {
    let storage = MemoryPushStorage::new();
    let content = json!({
        "version": 1, "activation": {"state": "NotActivated"},
        "device": {
            "id": "d", "deviceSecret": "s", "deviceIdentityToken": "identity", "clientId": "ada",
        },
    });
    storage.store(content.to_string().as_bytes()).unwrap();
    let http = service();
    let rest = http.rest_with(options(&storage).client_id("bob"));
    let error = rest.push().activate().await.unwrap_err();
    assert_eq!((error.code().0, error.status()), (61002, Some(400)));
    assert!(error.remediation().unwrap().contains("deactivate"));
    assert!(http.requests().is_empty());
    assert_eq!(stored(&storage)["activation"]["state"], "AfterRegistrationSyncFailed");
    rest.push().deactivate().await.unwrap();
    rest.push().activate().await.unwrap();
    assert_eq!(methods(&http), ["DELETE", "POST"]);
    assert_eq!(rest.device().unwrap().client_id.as_deref(), Some("bob"));
}

// Spec: RSA7b2, RSH8d, RSH8e
#[tokio::test]
async fn a_client_that_becomes_identified_updates_its_device() {
    for options in both_formats() {
        let http = service();
        let (push, mut updates) = with_updates(push(&MemoryPushStorage::new()));
        let rest = http.rest_with(options.push(push));
        rest.push().activate().await.unwrap();
        assert_eq!(rest.device().unwrap().client_id, None);
        let token = |client_id: &str| {
            let mut token = TokenDetails::new(format!("token of {client_id}"));
            token.client_id = Some(client_id.into());
            capably::auth::AuthOptions::default().token_details(token)
        };
        rest.auth().authorize().options(token("*")).await.unwrap();
        rest.auth().authorize().options(token("ada")).await.unwrap();
        soon(updates.recv()).await.unwrap().unwrap();
        assert_eq!(methods(&http), ["POST", "PATCH"]);
        let request = http.requests().pop().unwrap();
        assert_eq!(request.body(), json!({"clientId": "ada"}));
        assert_eq!(rest.device().unwrap().client_id.as_deref(), Some("ada"));
        // A device keeps its client id.
        rest.auth().authorize().options(token("bob")).await.unwrap();
        assert_eq!(rest.push().device().await.unwrap().client_id.as_deref(), Some("ada"));
        assert_eq!(http.requests().len(), 2);
    }
}

// Spec: RSH8f
#[tokio::test]
async fn a_device_takes_the_client_id_of_its_registration() {
    let body = json!({"clientId": "ada", "deviceIdentityToken": {"token": "identity"}});
    let rest =
        ScriptedHttp::always(respond(201, body)).rest_with(options(&MemoryPushStorage::new()));
    rest.push().activate().await.unwrap();
    assert_eq!(rest.device().unwrap().client_id.as_deref(), Some("ada"));
}

// Spec: WP6c
#[tokio::test]
async fn the_activation_of_a_wrapper_sdk_is_the_client_s_own() {
    let http = service();
    let (push, mut updates) = with_updates(push(&MemoryPushStorage::new()));
    let rest = http.rest_with(ClientOptions::new(KEY).push(push));
    let wrapper = WrapperSdkProxyOptions::new().agent("wrapper", Some("1.2.3"));
    let wrapped = rest.create_wrapper_sdk_proxy(&wrapper).unwrap();
    wrapped.push().activate().await.unwrap();
    wrapped.push().update_recipient(PushRecipient::fcm("t1")).await.unwrap();
    soon(updates.recv()).await.unwrap().unwrap();
    wrapped.push().deactivate().await.unwrap();
    assert_eq!(methods(&http), ["POST", "PATCH", "DELETE"]);
    for request in http.requests() {
        assert!(!request.header("Ably-Agent").unwrap().contains("wrapper"));
    }
    // The clients share the device.
    assert_eq!(rest.push().device().await.unwrap(), wrapped.push().device().await.unwrap());
}

// Spec: RSH7a2, RSH7a3, RSH7b1, RSH7c2, RSH7e, RSH8a
#[tokio::test]
async fn a_later_process_uses_the_device_without_activating_it() {
    for format in both_formats() {
        let storage = MemoryPushStorage::new();
        let first = service().rest_with(options(&storage));
        first.push().activate().await.unwrap();
        let device = first.device().unwrap();
        drop(first);

        let http =
            ScriptedHttp::always(respond(200, json!([{"channel": "c", "deviceId": &*device.id}])));
        let rest = http.rest_with(format.clone().push(push(&storage)));
        let channel = rest.channels().get("c");
        let list = channel.push().list_subscriptions().limit(10);
        assert_eq!(list.clone().await.unwrap().items().len(), 1);
        let request = http.request();
        for (name, value) in [
            ("channel", "c"),
            ("deviceId", &*device.id),
            ("concatFilters", "true"),
            ("limit", "10"),
        ] {
            assert_eq!(request.param(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(request.param("clientId"), None);
        assert_eq!(request.header("X-Ably-DeviceToken"), Some("identity"));

        let http = service_with("POST", respond(201, json!({"channel": "c", "deviceId": "d"})));
        let rest = http.rest_with(format.push(push(&storage)));
        let push = rest.channels().get("c").push();
        push.subscribe_device().await.unwrap();
        let request = http.request();
        assert_eq!(request.header("X-Ably-DeviceToken"), Some("identity"));
        assert_eq!(request.body(), json!({"channel": "c", "deviceId": &*device.id}));
        let error = push.subscribe_client().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)));
        push.unsubscribe_device().await.unwrap();
        assert_eq!(methods(&http), ["POST", "DELETE"]);
    }
}

// Spec: RSH7a1, RSH7c1
#[tokio::test]
async fn a_device_that_is_not_activated_cannot_subscribe() {
    let http = service();
    let rest = http.rest_with(options(&MemoryPushStorage::new()));
    let push = rest.channels().get("c").push();
    for refused in [push.subscribe_device().await, push.unsubscribe_device().await] {
        let error = refused.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)));
        assert!(error.message().contains("deviceIdentityToken"), "{error}");
        assert!(error.remediation().unwrap().contains("activate"), "{error:?}");
    }
    assert!(http.requests().is_empty());
}

#[tokio::test]
async fn a_client_without_the_option_is_no_device() {
    let http = service();
    let push = http.rest().push();
    let errors = [
        push.activate().await.unwrap_err(),
        push.deactivate().await.unwrap_err(),
        push.update_recipient(PushRecipient::fcm("t")).await.unwrap_err(),
        push.device().await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.code().0, error.status()), (40000, Some(400)));
        assert!(error.remediation().unwrap().contains("ClientOptions::push"));
    }
    assert!(http.requests().is_empty());
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let rest = service().rest_with(options(&MemoryPushStorage::new()));
    for none in
        [json!({}), json!("fcm"), json!({"registrationToken": "t"}), json!({"transportType": 1})]
    {
        let error = rest.push().update_recipient(none.clone()).await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40000, Some(400)), "{none}");
    }
    let error = rest.push().update_recipient(PushRecipient::client("ada")).await.unwrap_err();
    assert!(error.remediation().is_some());
}

#[test]
fn debug_shows_no_secret_of_a_device() {
    let storage = MemoryPushStorage::new();
    storage.store(b"s3cr3t").unwrap();
    let text = format!("{:?}", options(&storage));
    assert!(text.contains("MemoryPushStorage"), "{text}");
    assert!(!text.contains("s3cr3t") && !text.contains("t0"), "{text}");
}
