//! A token is requested before the transport is opened (RTN2e, RTN27b).

use std::sync::{Arc, Mutex};

use capably::{ClientOptions, TokenDetails, TokenParams, realtime::ConnectionState};
use tokio::sync::oneshot;

use crate::{in_both_formats, support::*, tokens::*};

// UTS: realtime/unit/RTN2e/token-before-websocket-0
// Spec: RTN27b
in_both_formats! {
    async fn a_token_is_requested_before_the_transport_opens(format) {
        let (give_it, given) = oneshot::channel::<()>();
        let gate = Mutex::new(Some(given));
        let tokens = Tokens::default();
        let options = tokens.scripted(move |_| {
            let given = gate.lock().unwrap().take().unwrap();
            Box::pin(async move {
                given.await.unwrap();
                Ok("callback-provided-token".into())
            })
        });
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        advance(1_000).await;
        assert_eq!(tokens.asked(), 1);
        assert!(service.is_quiet());
        give_it.send(()).unwrap();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("callback-provided-token"));
        assert_eq!(attempt.param("key"), None);
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

// UTS: realtime/unit/RTN2e/callback-error-prevents-connect-1
in_both_formats! {
    async fn a_failed_token_request_opens_no_transport(format) {
        let options = ClientOptions::default()
            .auth_callback(|_| async { Err::<String, _>("Auth callback failed") });
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert!(service.is_quiet());
        assert_eq!(reason(&client), Some((80019, Some(401), Some(40170))));
    }
}

// UTS: realtime/unit/RTN2e/callback-params-include-clientid-2
// Spec: RSA7d, RSA7e1, RTN2d
in_both_formats! {
    async fn the_callback_receives_the_client_id(format) {
        let received: Arc<Mutex<Vec<TokenParams>>> = Arc::default();
        let heard = Arc::clone(&received);
        let options = ClientOptions::default().client_id("my-client-id").auth_callback(
            move |params: TokenParams| {
                heard.lock().unwrap().push(params);
                let details = TokenDetails::new("token-for-client").client_id("my-client-id");
                async { Ok::<_, capably::Error>(details) }
            },
        );
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("clientId").as_deref(), Some("my-client-id"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let received = received.lock().unwrap();
        let client_ids: Vec<_> = received.iter().map(|params| params.client_id.clone()).collect();
        assert_eq!(client_ids, [Some("my-client-id".into())]);
    }
}

// UTS: realtime/unit/RTN2e/reuse-valid-token-3
in_both_formats! {
    async fn a_valid_token_is_reused(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        let goodbye = async {
            peer.receive().await;
            peer.send(capably_protocol::ServerFrame::Closed);
        };
        tokio::join!(client.close(), goodbye);
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-1"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(tokens.asked(), 1);
    }
}

in_both_formats! {
    async fn closing_does_not_wait_for_a_token(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.scripted(|_| hang()));
        let mut changes = client.connection().changes();
        client.connection().connect();
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        let start = tokio::time::Instant::now();
        client.close().await;
        assert_eq!(start.elapsed(), std::time::Duration::ZERO);
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Closing, ConnectionState::Closed]
        );
        advance(600_000).await;
        assert!(service.is_quiet());
        assert_eq!((tokens.asked(), client.connection().state()), (1, ConnectionState::Closed));
    }
}
