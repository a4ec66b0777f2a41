//! The service rejects a token that can be renewed (RSA4b, RTN14b, RTN15h2, RTN15c5).

use std::sync::Arc;

use capably::{ClientOptions, TokenDetails, realtime::ConnectionState};
use capably_protocol::ServerFrame;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    http::scripted_http::{KEY, ScriptedHttp, respond},
    in_both_formats,
    support::*,
    tokens::*,
};

/// An HTTP client that answers token requests with `renewed_token_1`, `renewed_token_2` and so on.
fn token_service() -> ScriptedHttp {
    ScriptedHttp::new(|request, index| {
        assert!(request.url.contains("/keys/appId.keyId/requestToken"), "{}", request.url);
        let token = format!("renewed_token_{}", index + 1);
        respond(200, json!({ "token": token, "keyName": "appId.keyId" }))
    })
}

/// Options for a client that exchanges signed requests for tokens there.
fn by_key(http: &ScriptedHttp) -> ClientOptions {
    ClientOptions::new(KEY)
        .use_token_auth(true)
        .fallback_hosts(NO_HOSTS)
        .http_client(Arc::new(http.clone()))
}

// UTS: realtime/unit/RTN14b/token-error-with-renewal-0
in_both_formats! {
    async fn a_rejected_attempt_continues_with_a_new_token(format) {
        let http = token_service();
        let (client, mut service) = client_of(format, by_key(&http));
        let mut changes = client.connection().changes();
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("renewed_token_1"));
        let mut peer = attempt.accept();
        peer.send(error(None, 40142, 401));
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("renewed_token_2"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(http.requests().len(), 2);
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTN14b/token-renewal-fails-1
in_both_formats! {
    async fn an_attempt_fails_when_there_is_no_new_token(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give(TokenDetails::new("initial-token")),
            _ => refuse(40171, 401),
        });
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(error(None, 40142, 401));
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(tokens.asked(), 2);
        assert_eq!(reason(&client), Some((80019, Some(401), Some(40171))));
    }
}

// Spec: RTN14b
in_both_formats! {
    async fn a_second_rejected_token_ends_the_attempt(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        client.connection().connect();
        for token in ["token-1", "token-2"] {
            let attempt = service.attempt().await;
            assert_eq!(attempt.param("accessToken").as_deref(), Some(token));
            attempt.accept().send(error(None, 40142, 401));
        }
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(reason(&client), Some((40142, Some(401), None)));
        // After that, each attempt requests one token: the auth server is not flooded.
        for number in 3..6 {
            let waiting = Instant::now();
            let attempt = service.attempt().await;
            assert!((12..=30).contains(&waiting.elapsed().as_secs()));
            assert_eq!(attempt.param("accessToken"), Some(format!("token-{number}")));
            assert_eq!(tokens.asked(), number);
            attempt.accept().send(error(None, 40142, 401));
            client.connection().when(ConnectionState::Disconnected).await.unwrap();
        }
    }
}

// UTS: realtime/unit/RTN15h2/token-error-renew-success-0
// Spec: RTN15h2i
in_both_formats! {
    async fn a_connection_is_resumed_with_a_new_token(format) {
        let http = token_service();
        let (client, mut service, mut peer) = connected_as(format, by_key(&http)).await;
        let mut changes = client.connection().changes();
        let rejected = Instant::now();
        peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
        let attempt = service.attempt().await;
        assert!(rejected.elapsed().as_millis() < 2);
        assert_eq!(attempt.param("accessToken").as_deref(), Some("renewed_token_2"));
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1-renewed"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(http.requests().len(), 2);
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(client.connection().key().as_deref(), Some("key-1-renewed"));
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Disconnected, ConnectionState::Connecting, ConnectionState::Connected]
        );
    }
}

// UTS: realtime/unit/RTN15h2/token-error-renew-fails-1
in_both_formats! {
    async fn a_connection_without_a_new_token_is_disconnected(format) {
        let http = ScriptedHttp::new(|_, index| match index {
            0 => respond(200, json!({ "token": "renewed_token_1" })),
            _ => respond(401, json!({ "error": {
                "code": 40101, "statusCode": 401, "message": "Invalid credentials"
            }})),
        });
        let (client, mut service, mut peer) = connected_as(format, by_key(&http)).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
        for state in [
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Disconnected,
        ] {
            assert_eq!(changes.next().await.unwrap().current, state);
        }
        assert_eq!(reason(&client), Some((80019, Some(401), Some(40101))));
        assert!(service.is_quiet());
        assert_eq!(http.requests().len(), 2);
    }
}

// UTS: realtime/unit/RTN15c5/token-error-during-resume-0
in_both_formats! {
    async fn a_token_error_while_resuming_is_solved_by_a_new_token(format) {
        let tokens = Tokens::default();
        let (client, mut service, peer) = connected_as(format, tokens.options()).await;
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-1"));
        attempt.accept().send(error(None, 40142, 401));
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-2"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(tokens.asked(), 2);
    }
}

in_both_formats! {
    async fn a_service_that_rejects_every_token_on_arrival_is_not_hammered(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        for _ in 0..5 {
            peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
            peer = service.accept().await;
            peer.send(connected_frame("connection-1", "key-1"));
            client.connection().when(ConnectionState::Connected).await.unwrap();
        }
        let asked = tokens.asked();
        let rejected = Instant::now();
        peer.send(ServerFrame::Disconnected { error: Some(info(40142, 401)) });
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        service.attempt().await;
        assert!((12..=15).contains(&rejected.elapsed().as_secs()), "{:?}", rejected.elapsed());
        assert_eq!(tokens.asked(), asked + 1);
    }
}

// Spec: RSA4b1
in_both_formats! {
    async fn an_expired_token_is_renewed_before_connecting(format) {
        let tokens = Tokens::default();
        let options = tokens
            .options()
            .key(KEY)
            .query_time(true)
            .http_client(Arc::new(ScriptedHttp::always(respond(200, json!([1_700_000_000_000_i64])))))
            .wall_clock(|| 1_800_000_000_000)
            .token_details(TokenDetails::new("old").expires(1_699_999_999_999));
        let (client, mut service) = client_of(format, options);
        // Only the clock of the service decides, and the client does not know it at first.
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("old"));
        attempt.refuse();
        client.auth().create_token_request().await.unwrap();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-1"));
        assert_eq!(tokens.asked(), 1);
    }
}

// Spec: RSA4b, RSA16
in_both_formats! {
    async fn connection_and_rest_share_their_tokens(format) {
        let tokens = Tokens::default();
        let http = ScriptedHttp::new(|request, _| {
            assert_eq!(request.header("Authorization"), Some("Bearer token-1"));
            respond(200, json!([]))
        });
        let options = tokens.options().http_client(Arc::new(http.clone()));
        let (client, mut service) = client_of(format, options);
        client.rest().channels().get("ch").history().await.unwrap();
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-1"));
        client.rest().channels().get("ch").history().await.unwrap();
        assert_eq!((tokens.asked(), http.requests().len()), (1, 2));
    }
}
