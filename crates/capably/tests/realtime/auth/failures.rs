//! Requests for a token that fail (RSA4c, RSA4d, RSA4e, RSA4f).

use std::time::Duration;

use capably::{
    ClientOptions, Rest,
    http::HttpResponse,
    realtime::{ConnectionState, ConnectionStateChange},
};
use capably_protocol::{Format, ServerFrame};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    http::scripted_http::{Answer, ScriptedHttp},
    in_both_formats,
    support::*,
    tokens::*,
};

fn only(changes: &[ConnectionStateChange], state: ConnectionState) -> (u32, u16, Option<Duration>) {
    let mut found = changes.iter().filter(|change| change.current == state);
    let change = found.next().expect("the state was entered");
    assert_eq!(found.next(), None, "the state was entered once");
    let reason = change.reason.as_ref().expect("there is a reason");
    (reason.code.0, reason.status_code, change.retry_in)
}

// UTS: realtime/unit/RSA4c2/callback-error-connecting-disconnected-0
// UTS: realtime/unit/RSA4c2/callback-error-causes-disconnected-0
// Spec: RSA4c, RSA4c1
in_both_formats! {
    async fn a_token_error_while_connecting_is_retried(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => refuse(50000, 500),
            _ => give(format!("valid-token-{number}")),
        });
        let (client, mut service) = client_of(format, options);
        let mut changes = client.connection().changes();
        client.connection().connect();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(reason(&client), Some((80019, Some(401), Some(50000))));
        let (code, status, retry_in) = only(&seen(&mut changes), ConnectionState::Disconnected);
        assert_eq!((code, status), (80019, 401));
        assert!((12..=15).contains(&retry_in.unwrap().as_secs()));
        assert!(service.is_quiet());
        // The next attempt requests a token again.
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("valid-token-2"));
        assert_eq!(tokens.asked(), 2);
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(reason(&client), None);
    }
}

// UTS: realtime/unit/RSA4c2/callback-timeout-connecting-disconnected-1
in_both_formats! {
    async fn a_callback_without_an_answer_times_out(format) {
        let tokens = Tokens::default();
        let options = tokens
            .scripted(|_| hang())
            .realtime_request_timeout(Duration::from_secs(10))
            .http_request_timeout(Duration::from_secs(3600));
        let (client, mut service) = client_of(format, options);
        let start = Instant::now();
        client.connection().connect();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(reason(&client), Some((80019, Some(401), Some(50003))));
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RSA4c3/callback-error-stays-connected-0
// Spec: RSA4c1, RTN22
in_both_formats! {
    async fn a_token_error_while_connected_keeps_the_connection(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give("initial-token"),
            _ => refuse(50000, 500),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        let mut changes = client.connection().changes();
        peer.send(ServerFrame::Auth);
        quiet(&client, &mut peer).await;
        assert_eq!(tokens.asked(), 2);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        expect_none(&mut changes);
        assert_eq!(reason(&client), Some((80019, Some(401), Some(50000))));
        // The previous token stays in use.
        let token = client.auth().token_details().unwrap();
        assert_eq!(token.token, "initial-token");
    }
}

// UTS: realtime/unit/RSA4d/callback-403-connecting-failed-0
// UTS: realtime/unit/RSA4d/callback-403-causes-failed-0
in_both_formats! {
    async fn a_403_while_connecting_is_final(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.scripted(|_| refuse(40300, 403)));
        let mut changes = client.connection().changes();
        client.connection().connect();
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert!(service.is_quiet());
        assert_eq!(reason(&client), Some((80019, Some(403), Some(40300))));
        let cause = client.connection().error_reason().unwrap().cause().unwrap().clone();
        assert_eq!(cause.status_code, 403);
        let changes = seen(&mut changes);
        assert_eq!(states(&changes), [ConnectionState::Connecting, ConnectionState::Failed]);
        assert_eq!(only(&changes, ConnectionState::Failed), (80019, 403, None));
        advance(600_000).await;
        assert_eq!(tokens.asked(), 1);
    }
}

// UTS: realtime/unit/RSA4d/callback-403-reauth-failed-1
// UTS: realtime/unit/RSA4d/callback-403-reauth-causes-failed-1
// Spec: RSA4d1
in_both_formats! {
    async fn a_403_while_connected_is_final(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give("initial-token"),
            _ => refuse(40300, 403),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        peer.send(ServerFrame::Auth);
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((80019, Some(403), Some(40300))));
        peer.closed().await;
    }
}

// Spec: RSA4d, RSA4d1
in_both_formats! {
    async fn a_403_to_authorize_is_final_but_one_to_request_token_is_not(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give("initial-token"),
            _ => refuse(40300, 403),
        });
        let (client, _service, mut peer) = connected_as(format, options).await;
        let error = client.auth().request_token().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40300, Some(403)));
        quiet(&client, &mut peer).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        let error = client.auth().authorize().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40300, Some(403)));
        assert_eq!(client.connection().state(), ConnectionState::Failed);
        assert_eq!(reason(&client), Some((80019, Some(403), Some(40300))));
    }
}

// Spec: RSA4d
in_both_formats! {
    async fn a_403_of_the_auth_url_is_final(format) {
        let http = ScriptedHttp::always(Answer::Raw(HttpResponse::new(403, "go away")));
        let options = ClientOptions::default()
            .auth_url("https://auth.example.com/token")
            .http_client(std::sync::Arc::new(http.clone()));
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert!(service.is_quiet());
        let error = client.connection().error_reason().unwrap();
        assert_eq!((error.code().0, error.status()), (80019, Some(403)));
        assert_eq!(error.cause().unwrap().status_code, 403);
        assert_eq!(http.requests().len(), 1);
    }
}

// UTS: realtime/unit/RSA4f/callback-invalid-type-format-0
// UTS: realtime/unit/RSA4f/callback-oversized-token-format-1
// Spec: RSA4c
in_both_formats! {
    async fn a_malformed_token_is_an_error(format) {
        for invalid in [json!(12345), json!(["token"]), json!("x".repeat(131_073))] {
            let tokens = Tokens::default();
            let options = tokens.scripted(move |_| give(invalid.clone()));
            let (client, mut service) = client_of(format, options);
            client.connection().connect();
            client.connection().when(ConnectionState::Disconnected).await.unwrap();
            assert_eq!(reason(&client), Some((80019, Some(401), Some(40170))));
            assert!(service.is_quiet());
        }
    }
}

// UTS: realtime/unit/RSA4e/rest-callback-error-40170-0
#[tokio::test]
async fn rest_has_another_code_for_a_failed_token_request() {
    for format in [Format::Json, Format::MsgPack] {
        let options =
            ClientOptions::default().use_binary_protocol(format == Format::MsgPack).auth_callback(
                |_| async { Err::<String, _>("Network failure connecting to auth server") },
            );
        let client = Rest::new(options).unwrap();
        let error = client.channels().get("test-channel").status().await.unwrap_err();
        assert_eq!((error.code().0, error.status()), (40170, Some(401)));
        assert!(error.message().contains("Network failure connecting to auth server"), "{error}");
    }
}

// Spec: RTN14e, RSA4c2
in_both_formats! {
    async fn a_long_outage_of_the_auth_server_suspends_the_connection(format) {
        let tokens = Tokens::default();
        let (client, _service) = client_of(format, tokens.scripted(|_| refuse(50000, 500)));
        let start = Instant::now();
        client.connection().connect();
        client.connection().when(ConnectionState::Suspended).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 120);
        // The callback is called once per attempt.
        let asked = tokens.asked();
        assert!((4..=8).contains(&asked), "{asked}");
        advance(29_000).await;
        assert_eq!(tokens.asked(), asked);
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        client.connection().when(ConnectionState::Suspended).await.unwrap();
        assert_eq!(tokens.asked(), asked + 1);
        assert_eq!(reason(&client), Some((80019, Some(401), Some(50000))));
    }
}
