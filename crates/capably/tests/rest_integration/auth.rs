//! Keys, tokens and JWTs, as the service accepts them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capably::{Error, TokenParams, http::HttpMethod};
use serde_json::json;

use crate::{in_both_formats, support::*};

in_both_formats! {
    // UTS: rest/integration/RSA4/basic-auth-key-0
    async fn a_key_authenticates_requests(app) {
        let reply = app.rest().request(HttpMethod::Get, "/channels/test-RSA4").await.unwrap();
        assert_eq!(reply.status(), 200);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA8/token-auth-jwt-0
    async fn a_jwt_authenticates_requests(app) {
        let token = jwt(app.key(0), 3600, json!({}));
        let rest = app.rest_with(|options| options.token(token));
        let reply = rest.request(HttpMethod::Get, "/channels/test-RSA8-jwt").await.unwrap();
        assert_eq!(reply.status(), 200);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA8/token-auth-native-1
    async fn a_token_of_the_service_authenticates_requests(app) {
        let details = app.rest().auth().request_token().await.unwrap();
        assert!(!details.token.is_empty());
        assert!(details.expires.unwrap() > now());
        let rest = app.rest_with(|options| options.token(details.token.to_string()));
        let reply = rest.request(HttpMethod::Get, "/channels/test-RSA8-native").await.unwrap();
        assert_eq!(reply.status(), 200);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA8/auth-callback-token-request-2
    async fn a_callback_may_give_a_signed_request(app) {
        let signer = app.rest();
        let rest = app.rest_with(|options| options.auth_callback(move |params| {
            let signer = signer.clone();
            async move { signer.auth().create_token_request().params(params).await }
        }));
        let reply = rest.request(HttpMethod::Get, "/channels/test-RSA8-callback").await.unwrap();
        assert_eq!(reply.status(), 200);
        let details = rest.auth().token_details().unwrap();
        assert_eq!(details.capability.as_deref(), Some(r#"{"*":["*"]}"#));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA8/auth-callback-jwt-3
    async fn a_callback_may_give_a_jwt(app) {
        let key = app.key(0).to_owned();
        let rest = app.rest_with(|options| options.client_id("ada").auth_callback(move |params| {
            let lifetime = params.ttl.map_or(3600, |ttl| ttl / 1000);
            let token = jwt(&key, lifetime, json!({"x-ably-clientId": params.client_id}));
            async move { Ok::<_, Error>(token) }
        }));
        let channel = rest.channels().get("test-RSA8-jwt-callback");
        let reply = rest.request(HttpMethod::Get, "/channels/test-RSA8-jwt-callback").await;
        assert_eq!(reply.unwrap().status(), 200);
        channel.publish("event", ()).await.unwrap();
        let page = channel.history().await.unwrap();
        assert_eq!(page.items()[0].client_id.as_deref(), Some("ada"));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA4/invalid-credentials-rejected-1
    async fn a_key_that_the_app_does_not_have_is_refused(app) {
        let (app_id, _) = app.key(0).split_once('.').unwrap();
        let unknown = format!("{app_id}.invalidKey:invalidSecret");
        let rest = app.rest_with(|options| options.key(unknown));
        let reply = rest.request(HttpMethod::Get, "/channels/test-RSA4-invalid").await.unwrap();
        assert_eq!((reply.status(), reply.error_code().unwrap().0), (401, 40400));
        let error = rest.channels().get("test-RSA4-invalid").status().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40400, Some(401)));
    }
}

in_both_formats! {
    // UTS: rest/integration/RSC10/token-renewal-expired-jwt-0
    async fn an_expired_jwt_is_renewed_once(app) {
        let calls = Arc::new(AtomicUsize::new(0));
        let (counter, key) = (Arc::clone(&calls), app.key(0).to_owned());
        let rest = app.rest_with(|options| options.auth_callback(move |_| {
            let lifetime = if counter.fetch_add(1, Ordering::SeqCst) == 0 { -5 } else { 3600 };
            let token = jwt(&key, lifetime, json!({}));
            async move { Ok::<_, Error>(token) }
        }));
        let reply = rest.request(HttpMethod::Get, "/channels/test-RSC10-renewal").await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}

in_both_formats! {
    // UTS: rest/integration/RSA8/capability-restriction-4
    async fn a_token_allows_only_its_capability(app) {
        let capability = json!({"test-RSA8-cap-allowed": ["publish", "subscribe"]}).to_string();
        let of_service = TokenParams::new().capability(capability.as_str());
        let of_service = app.rest().auth().request_token().params(of_service).await.unwrap();
        for token in [
            jwt(app.key(0), 3600, json!({"x-ably-capability": capability})),
            of_service.token.to_string(),
        ] {
            let rest = app.rest_with(|options| options.token(token));
            let publish = |name: &str| rest.channels().get(name).publish("test", "hello");
            publish("test-RSA8-cap-allowed").await.unwrap();
            let error = publish("test-RSA8-cap-denied").await.unwrap_err();
            assert_eq!((error.code().0, error.status()), (40160, Some(401)));
        }
    }
}

in_both_formats! {
    // Spec: RSA8f, RSA8f1, RSA8f2
    async fn an_anonymous_token_publishes_without_a_client_id(app) {
        let details = app.rest().auth().request_token().await.unwrap();
        assert_eq!(details.client_id, None);
        let rest = app.rest_with(|options| options.token_details(details));
        let channel = rest.channels().get("nobody");
        channel.publish("event", "data").await.unwrap();
        assert_eq!(channel.history().await.unwrap().items()[0].client_id, None);
        assert_eq!(rest.auth().client_id(), None);

        let error = channel.publish("event", "data").client_id("somebody").await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40012, Some(400)), "{error}");
        assert_eq!(channel.history().await.unwrap().items().len(), 1);
    }
}

in_both_formats! {
    // Spec: RSA8f3, RSA8f4
    async fn a_wildcard_token_publishes_with_any_client_id(app) {
        let params = TokenParams::new().client_id("*");
        let details = app.rest().auth().request_token().params(params).await.unwrap();
        let rest = app.rest_with(|options| options.token_details(details));
        let channel = rest.channels().get("anybody");
        channel.publish("event", "data").await.unwrap();
        channel.publish("event", "data").client_id("somebody").await.unwrap();
        let page = channel.history().await.unwrap();
        let clients: Vec<_> = page.items().iter().map(|item| item.client_id.as_deref()).collect();
        assert_eq!(clients, [Some("somebody"), None]);
        assert_eq!(rest.auth().client_id().as_deref(), Some("*"));
    }
}

in_both_formats! {
    // Spec: RSA4b, RSC10
    async fn requests_with_an_expired_token_share_one_renewal(app) {
        let calls = Arc::new(AtomicUsize::new(0));
        let (counter, key) = (Arc::clone(&calls), app.key(0).to_owned());
        let rest = app.rest_with(|options| options.auth_callback(move |_| {
            let lifetime = if counter.fetch_add(1, Ordering::SeqCst) == 0 { -5 } else { 3600 };
            let token = jwt(&key, lifetime, json!({}));
            async move { Ok::<_, Error>(token) }
        }));
        rest.auth().authorize().await.unwrap();
        let channel = rest.channels().get("crowd");
        let requests = (0..200).map(|_| channel.status());
        let replies = futures_util::future::join_all(requests).await;
        assert_eq!(replies.len(), 200);
        for reply in replies {
            reply.unwrap();
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }
}
