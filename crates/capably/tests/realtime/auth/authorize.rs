//! Authorizing in each state of the connection (RTC8).

use std::time::Duration;

use capably::{
    ClientOptions,
    realtime::{ChannelState, ConnectionEvent, ConnectionState},
};
use capably_protocol::ServerFrame;
use tokio::time::Instant;

use crate::{in_both_formats, support::*, tokens::*};

/// Accepts a connection that is opened with this token.
async fn accept_token(service: &mut Service, token: &str) -> Peer {
    let attempt = service.attempt().await;
    assert_eq!(attempt.param("accessToken").as_deref(), Some(token));
    let mut peer = attempt.accept();
    peer.send(connected_frame("connection-1", "key-1"));
    peer
}

// UTS: realtime/unit/RTC8a/authorize-connected-sends-auth-0
// Spec: RSA10a, RSA10f, RSA16c, AD1, AD2
in_both_formats! {
    async fn authorizing_while_connected_sends_the_token(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.options()).await;
        let mut changes = client.connection().changes();
        let answer = async {
            assert_eq!(peer.expect_auth().await, "token-2");
            peer.send(connected_frame("connection-1", "key-2"));
        };
        let (token, ()) = tokio::join!(client.auth().authorize(), answer);
        assert_eq!(token.unwrap().token, "token-2");
        assert_eq!(tokens.asked(), 2);
        assert_eq!(client.auth().token_details().unwrap().token, "token-2");
        quiet(&client, &mut peer).await;
        let changes = seen(&mut changes);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].event, ConnectionEvent::Update);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// UTS: realtime/unit/RTC8a1/successful-reauth-update-event-0
// Spec: RTN21, RTN24
in_both_formats! {
    async fn success_is_an_update_with_new_details(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        let mut changes = client.connection().changes();
        let answer = async {
            peer.expect_auth().await;
            peer.send(connected_frame_with("connection-id-2", "connection-key-2", |connected| {
                let details = connected.details.as_mut().unwrap();
                details.max_idle_interval = Some(20_000);
                details.connection_state_ttl = Some(180_000);
            }));
        };
        let (token, ()) = tokio::join!(client.auth().authorize(), answer);
        token.unwrap();
        let changes = seen(&mut changes);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].event, ConnectionEvent::Update);
        assert_eq!(changes[0].previous, ConnectionState::Connected);
        assert_eq!(changes[0].current, ConnectionState::Connected);
        assert_eq!(client.connection().id().as_deref(), Some("connection-id-2"));
        assert_eq!(client.connection().key().as_deref(), Some("connection-key-2"));
        // The new limit of silence is 20 s and the request timeout.
        let silent = Instant::now();
        assert_eq!(
            service.attempt().await.param("resume").as_deref(),
            Some("connection-key-2")
        );
        assert_eq!(silent.elapsed().as_secs(), 30);
    }
}

// UTS: realtime/unit/RTC8a1/capability-downgrade-channel-failed-1
in_both_formats! {
    async fn a_token_that_allows_less_fails_a_channel(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.options()).await;
        let channel = client.channels().get("private-channel");
        attach(&channel, &mut peer).await;
        let mut changes = channel.changes();
        let answer = async {
            peer.expect_auth().await;
            peer.send(connected_frame("connection-1", "key-2"));
            peer.send(error(Some("private-channel"), 40160, 401));
        };
        let (token, ()) = tokio::join!(client.auth().authorize(), answer);
        token.unwrap();
        let failed = changes.next().await.unwrap();
        assert_eq!(failed.current, ChannelState::Failed);
        let reason = failed.reason.unwrap();
        assert_eq!((reason.code.0, reason.status_code), (40160, 401));
        assert_eq!(channel.state(), ChannelState::Failed);
        expect_none(&mut changes);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// UTS: realtime/unit/RTC8a2/failed-reauth-connection-failed-0
in_both_formats! {
    async fn a_token_that_the_service_refuses_fails_the_connection(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.options()).await;
        let mut changes = client.connection().changes();
        let answer = async {
            peer.expect_auth().await;
            peer.send(error(None, 40012, 400));
        };
        let (outcome, ()) = tokio::join!(client.auth().authorize(), answer);
        assert_eq!(code(outcome), 40012);
        assert_eq!(client.connection().state(), ConnectionState::Failed);
        assert_eq!(reason(&client), Some((40012, Some(400), None)));
        assert_eq!(states(&seen(&mut changes)), [ConnectionState::Failed]);
    }
}

// UTS: realtime/unit/RTC8a3/authorize-completes-after-response-0
in_both_formats! {
    async fn authorizing_resolves_when_the_service_has_answered(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.options()).await;
        let auth = client.auth().clone();
        let authorizing = tokio::spawn(async move { auth.authorize().await });
        assert_eq!(peer.expect_auth().await, "token-2");
        quiet(&client, &mut peer).await;
        assert!(!authorizing.is_finished());
        peer.send(connected_frame("connection-1", "key-2"));
        assert_eq!(authorizing.await.unwrap().unwrap().token, "token-2");
    }
}

// Spec: RTC8a3
in_both_formats! {
    async fn authorizing_times_out_without_an_answer(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.options()).await;
        let start = Instant::now();
        assert_eq!(code(client.auth().authorize().await), 50003);
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(peer.expect_auth().await, "token-2");
    }
}

// UTS: realtime/unit/RTC8b/authorize-connecting-halts-attempt-0
in_both_formats! {
    async fn authorizing_while_connecting_restarts_the_attempt(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        let mut changes = client.connection().changes();
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-1"));
        let mut first = attempt.accept();
        let second = async {
            let attempt = service.attempt().await;
            assert_eq!(attempt.param("accessToken").as_deref(), Some("token-2"));
            let mut peer = attempt.accept();
            peer.send(connected_frame("connection-1", "key-1"));
            peer
        };
        let (token, _peer) = tokio::join!(client.auth().authorize(), second);
        assert_eq!(token.unwrap().token, "token-2");
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(tokens.asked(), 2);
        first.closed().await;
        assert!(service.is_quiet());
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
    }
}

// Spec: RTC8b
in_both_formats! {
    async fn authorizing_stops_the_attempt_before_the_token_arrives(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => give("token-1"),
            _ => Box::pin(async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok("token-2".into())
            }),
        });
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        let mut dialled = service.attempt().await;
        let start = Instant::now();
        let halted = async {
            dialled.abandoned().await;
            assert_eq!(start.elapsed(), Duration::ZERO);
            assert_eq!(client.connection().state(), ConnectionState::Connecting);
            let mut peer = service.accept().await;
            assert_eq!(start.elapsed().as_secs(), 5);
            peer.send(connected_frame("connection-1", "key-1"));
            peer
        };
        let (token, _peer) = tokio::join!(client.auth().authorize(), halted);
        assert_eq!(token.unwrap().token, "token-2");
    }
}

// UTS: realtime/unit/RTC8b1/authorize-connecting-fails-on-failed-0
in_both_formats! {
    async fn authorizing_fails_with_the_connection(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        client.connection().connect();
        let _first = service.accept().await;
        let second = async {
            let mut peer = service.accept().await;
            peer.send(error(None, 40101, 401));
            peer
        };
        let (outcome, _peer) = tokio::join!(client.auth().authorize(), second);
        assert_eq!(code(outcome), 40101);
        assert_eq!(client.connection().state(), ConnectionState::Failed);
    }
}

// Spec: RTC8b1
in_both_formats! {
    async fn authorizing_ends_when_the_connection_is_closed_or_suspended(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        let auth = client.auth().clone();
        let authorizing = tokio::spawn(async move { auth.authorize().await });
        let _silent = service.attempt().await;
        client.close().await;
        assert_eq!(code(authorizing.await.unwrap()), 80017);

        // DISCONNECTED does not end the authorization.
        let auth = client.auth().clone();
        let start = Instant::now();
        let authorizing = tokio::spawn(async move { auth.authorize().await });
        let refusals = async {
            loop {
                service.attempt().await.refuse();
            }
        };
        tokio::select! {
            outcome = authorizing => assert_eq!(code(outcome.unwrap()), 80002),
            () = refusals => {}
        }
        assert_eq!(start.elapsed().as_secs(), 120);
        assert_eq!(client.connection().state(), ConnectionState::Suspended);
    }
}

// Spec: RTC8b1
in_both_formats! {
    async fn closing_ends_an_authorization_that_waits_for_its_token(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|_| Box::pin(async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok("late".into())
        }));
        let (client, mut service) = client_of(format, options);
        let auth = client.auth().clone();
        let authorizing = tokio::spawn(async move { auth.authorize().await });
        tokio::task::yield_now().await;
        client.close().await;
        assert_eq!(code(authorizing.await.unwrap()), 80017);
        advance(60_000).await;
        assert!(service.is_quiet());
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
}

// UTS: realtime/unit/RTC8c/authorize-disconnected-initiates-connection-0
in_both_formats! {
    async fn authorizing_connects_an_initialized_client(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        let mut changes = client.connection().changes();
        let accept = accept_token(&mut service, "token-1");
        let (token, _peer) = tokio::join!(client.auth().authorize(), accept);
        assert_eq!(token.unwrap().token, "token-1");
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
        assert_eq!(tokens.asked(), 1);
    }
}

// UTS: realtime/unit/RTC8c/authorize-failed-initiates-connection-1
in_both_formats! {
    async fn authorizing_connects_a_failed_client(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(error(None, 40101, 401));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        let mut changes = client.connection().changes();
        let accept = accept_token(&mut service, "token-2");
        let (token, _peer) = tokio::join!(client.auth().authorize(), accept);
        assert_eq!(token.unwrap().token, "token-2");
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
    }
}

// UTS: realtime/unit/RTC8c/authorize-closed-initiates-connection-2
in_both_formats! {
    async fn authorizing_connects_a_closed_client(format) {
        let tokens = Tokens::default();
        let (client, mut service, mut peer) = connected_as(format, tokens.options()).await;
        let goodbye = async {
            peer.receive().await;
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), goodbye);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        let accept = async {
            let mut peer = service.accept().await;
            peer.send(connected_frame("connection-2", "key-2"));
            peer
        };
        let (token, _peer) = tokio::join!(client.auth().authorize(), accept);
        assert_eq!(token.unwrap().token, "token-2");
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// Spec: RTC8c
in_both_formats! {
    async fn authorizing_ends_the_wait_for_a_retry(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.options());
        client.connection().connect();
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let start = Instant::now();
        let accept = accept_token(&mut service, "token-2");
        let (token, _peer) = tokio::join!(client.auth().authorize(), accept);
        assert_eq!(token.unwrap().token, "token-2");
        assert!(start.elapsed() < Duration::from_millis(2));
    }
}

// Spec: RTC8, RSA10a
in_both_formats! {
    async fn a_client_with_a_key_uses_tokens_from_then_on(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let options = capably::auth::AuthOptions::new()
            .auth_callback(|_| async { Ok::<_, capably::Error>("a-token") });
        let answer = async {
            assert_eq!(peer.expect_auth().await, "a-token");
            peer.send(connected_frame("connection-1", "key-2"));
        };
        let (token, ()) = tokio::join!(client.auth().authorize().options(options), answer);
        assert_eq!(token.unwrap().token, "a-token");
        drop(peer);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("a-token"));
        assert_eq!(attempt.param("key"), None);
    }
}

// Spec: RTC8
in_both_formats! {
    async fn the_rest_client_of_a_connection_authorizes_it_too(format) {
        let tokens = Tokens::default();
        let (client, _service, mut peer) = connected_as(format, tokens.options()).await;
        let rest = client.rest().clone();
        let answer = async {
            assert_eq!(peer.expect_auth().await, "token-2");
            peer.send(connected_frame("connection-1", "key-2"));
        };
        let (token, ()) = tokio::join!(rest.auth().authorize(), answer);
        assert_eq!(token.unwrap().token, "token-2");
        // The connection still fails.
        drop(client);
        peer.closed().await;
        assert_eq!(rest.auth().authorize().await.unwrap().token, "token-3");
    }
}

// Spec: RSA10e, RSA15c
in_both_formats! {
    async fn a_token_for_another_client_fails_the_connection(format) {
        let tokens = Tokens::default();
        let options: ClientOptions = tokens.options().client_id("ada");
        let (client, _service, mut peer) = connected_as(format, options).await;
        let details = capably::TokenDetails::new("of-eve").client_id("eve");
        let other = capably::auth::AuthOptions::new().token_details(details);
        assert_eq!(code(client.auth().authorize().options(other).await), 40102);
        assert_eq!(client.connection().state(), ConnectionState::Failed);
        assert_eq!(reason(&client), Some((40102, Some(401), None)));
        peer.closed().await;
    }
}
