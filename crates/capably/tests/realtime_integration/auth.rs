//! Tokens on connections to the service.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use capably::{
    ClientOptions, Error, Realtime, TokenParams,
    realtime::{ConnectionEvent, ConnectionState},
};
use serde_json::{Value, json};

use crate::{
    app::{App, in_both_formats, jwt},
    support::{expect_states, within},
};

const OPENED: [ConnectionState; 2] = [ConnectionState::Connecting, ConnectionState::Connected];

/// A client whose callback returns JWTs with these claims. It is not connected.
fn client_with_jwts(app: &App, client_id: Option<&str>, claims: Value) -> Realtime {
    let key = app.key(0).to_owned();
    let options = app.options().auto_connect(false).auth_callback(move |_| {
        let token = jwt(&key, 3600, claims.clone());
        async move { Ok::<_, Error>(token) }
    });
    Realtime::new(client_id.into_iter().fold(options, ClientOptions::client_id)).unwrap()
}

/// Checks that the client connects at once, and closes it.
async fn expect_connection(client: Realtime) {
    let mut changes = client.connection().changes();
    client.connection().connect();
    expect_states(&mut changes, &OPENED).await;
    assert_eq!(client.connection().state(), ConnectionState::Connected);
    assert!(client.connection().id().is_some());
    assert!(client.connection().error_reason().is_none());
    client.close().await;
}

// UTS: realtime/integration/RTC8a/in-band-reauth-connected-0
// Spec: RTC8a
in_both_formats! {
    async fn a_live_connection_takes_a_new_token(app) {
        let client = client_with_jwts(&app, None, json!({}));
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        let id = client.connection().id().unwrap();
        let token = client.auth().authorize().await.unwrap();
        assert!(!token.token.is_empty());
        assert_eq!(client.connection().id(), Some(id));
        // The client stayed connected.
        let update = within(changes.next()).await.unwrap();
        let states = (update.previous, update.current);
        assert_eq!(states, (ConnectionState::Connected, ConnectionState::Connected));
        assert_eq!((update.event, update.reason), (ConnectionEvent::Update, None));
        client.close().await;
        let last = [ConnectionState::Closing, ConnectionState::Closed];
        expect_states(&mut changes, &last).await;
        assert_eq!(client.connection().metrics().attempts, 1);
    }
}

// UTS: realtime/integration/RTC8c/authorize-initiates-connection-0
// Spec: RTC8c
in_both_formats! {
    async fn authorizing_connects(app) {
        let client = client_with_jwts(&app, None, json!({}));
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        let mut changes = client.connection().changes();
        let token = client.auth().authorize().await.unwrap();
        expect_states(&mut changes, &OPENED).await;
        assert!(!token.token.is_empty());
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert!(client.connection().id().is_some());
        client.close().await;
    }
}

// UTS: realtime/integration/RSA8/token-auth-connect-0
// Spec: RSA8, RSA8d
in_both_formats! {
    async fn a_jwt_opens_a_connection(app) {
        let client = client_with_jwts(&app, None, json!({}));
        expect_connection(client).await;
    }
}

// UTS: realtime/integration/RSA7/matching-clientid-succeeds-0
// Spec: RSA15a
in_both_formats! {
    async fn a_token_of_the_same_client_opens_a_connection(app) {
        let claims = json!({"x-ably-clientId": "test-client"});
        let client = client_with_jwts(&app, Some("test-client"), claims);
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.auth().client_id().as_deref(), Some("test-client"));
        client.close().await;
    }
}

// UTS: realtime/integration/RSA7/mismatched-clientid-fails-1
// Spec: RSA15a, RSA15c
in_both_formats! {
    async fn a_token_of_another_client_fails_the_connection(app) {
        let claims = json!({"x-ably-clientId": "token-client-id"});
        let client = client_with_jwts(&app, Some("wrong-client-id"), claims);
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &[ConnectionState::Connecting, ConnectionState::Failed]).await;
        let reason = client.connection().error_reason().unwrap();
        assert_eq!((reason.code().0, reason.status()), (40102, Some(401)));
    }
}

// Spec: RSA7b3, RSA12b
in_both_formats! {
    async fn a_connection_sets_the_client_id(app) {
        let client = client_with_jwts(&app, None, json!({"x-ably-clientId": "token-client-id"}));
        assert_eq!(client.auth().client_id(), None);
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        assert_eq!(client.auth().client_id().as_deref(), Some("token-client-id"));
        client.close().await;
    }
}

// UTS: realtime/integration/RSA4b/token-renewal-on-expiry-0
// Spec: RSA4b, RTN15h2
in_both_formats! {
    async fn an_expiring_token_is_renewed(app) {
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, key) = (Arc::clone(&asked), app.key(0).to_owned());
        let options = app.options().auto_connect(false).auth_callback(move |_| {
            // The first token is valid for at least two seconds: its expiry is a whole second.
            let seconds = if counter.fetch_add(1, Ordering::SeqCst) == 0 { 3 } else { 3600 };
            let token = jwt(&key, seconds, json!({}));
            async move { Ok::<_, Error>(token) }
        });
        let client = Realtime::new(options).unwrap();
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        let id = client.connection().id();
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let lost = expect_states(&mut changes, &[ConnectionState::Disconnected]).await;
        let reason = lost.reason.unwrap();
        assert_eq!((reason.code.0, reason.status_code), (40142, 401));
        expect_states(&mut changes, &OPENED).await;
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.connection().id(), id);
        client.close().await;
    }
}

// UTS: realtime/integration/RSA9a/token-request-server-accepted-0
// Spec: RSA9a, RSA9g
in_both_formats! {
    async fn a_signed_request_opens_a_connection(app) {
        let creator = app.rest();
        let options = app.options().auto_connect(false).auth_callback(move |_| {
            creator.auth().create_token_request().into_future()
        });
        let client = Realtime::new(options).unwrap();
        expect_connection(client).await;
    }
}

// UTS: realtime/integration/RSA9/token-request-with-clientid-0
// Spec: RSA9
in_both_formats! {
    async fn a_signed_request_names_the_client(app) {
        let creator = app.rest();
        let options = app.options().auto_connect(false).client_id("ada").auth_callback(move |_| {
            let params = TokenParams::new().client_id("ada");
            creator.auth().create_token_request().params(params).into_future()
        });
        let client = Realtime::new(options).unwrap();
        let mut changes = client.connection().changes();
        client.connection().connect();
        expect_states(&mut changes, &OPENED).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.auth().client_id().as_deref(), Some("ada"));
        assert_eq!(client.auth().token_details().unwrap().client_id.as_deref(), Some("ada"));
        client.close().await;
    }
}
