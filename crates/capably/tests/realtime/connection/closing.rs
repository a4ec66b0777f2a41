//! After close has returned, the client does nothing more (RTN12).

use std::time::Duration;

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use capably_protocol::{ClientFrame, Format, ServerFrame};
use tokio::time::Instant;

use crate::{
    http::scripted_http::KEY,
    in_both_formats,
    support::*,
    tokens::{Tokens, hang},
};

/// No event follows, even after a long wait.
async fn assert_over(client: &Realtime, service: &mut Service, state: ConnectionState) {
    assert_eq!(client.connection().state(), state);
    let mut changes = client.connection().changes();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    expect_none(&mut changes);
    assert_eq!(client.connection().state(), state);
    assert!(service.is_quiet());
}

/// Closes at once, and no event follows.
async fn assert_closes(client: Realtime, mut service: Service, state: ConnectionState) {
    let start = Instant::now();
    client.close().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    while let Ok(attempt) = tokio::time::timeout(Duration::ZERO, service.attempt()).await {
        assert!(attempt.is_abandoned(), "an attempt goes on");
    }
    assert_over(&client, &mut service, state).await;
}

/// A client that connects by itself.
fn eager(format: Format, options: ClientOptions) -> (Realtime, Service) {
    let (options, service) = scripted(format, options.fallback_hosts(NO_HOSTS));
    (Realtime::new(options.auto_connect(true)).unwrap(), service)
}

// Spec: RTN12f, RTN3
in_both_formats! {
    async fn closing_a_new_client_prevents_its_connection(format) {
        let (client, service) = eager(format, ClientOptions::new(KEY));
        assert_closes(client, service, ConnectionState::Closed).await;
        let tokens = Tokens::default();
        let (client, service) = eager(format, tokens.options());
        assert_closes(client, service, ConnectionState::Closed).await;
        assert_eq!(tokens.asked(), 0);
    }
}

// Spec: RTN12f
in_both_formats! {
    async fn closing_right_after_connect_prevents_the_connection(format) {
        let (client, service) = client(format);
        client.connection().connect();
        assert_closes(client, service, ConnectionState::Closed).await;
    }
}

in_both_formats! {
    async fn closing_works_before_connect(format) {
        let (client, service) = client(format);
        assert_closes(client, service, ConnectionState::Closed).await;
    }
}

// Spec: RTN12f
in_both_formats! {
    async fn closing_abandons_an_attempt(format) {
        // The client waits for a token.
        let tokens = Tokens::default();
        let (waiting, service) = client_of(format, tokens.scripted(|_| hang()));
        waiting.connection().connect();
        waiting.connection().when(ConnectionState::Connecting).await.unwrap();
        assert_closes(waiting, service, ConnectionState::Closed).await;

        // The client dials.
        let (dialling, mut service) = client(format);
        dialling.connection().connect();
        let mut attempt = service.attempt().await;
        assert_closes(dialling, service, ConnectionState::Closed).await;
        attempt.abandoned().await;

        // The client has a socket, and the service sends no frame.
        let (opened, mut service) = client(format);
        opened.connection().connect();
        let mut peer = service.accept().await;
        advance(1).await;
        tokio::task::yield_now().await;
        let start = Instant::now();
        opened.close().await;
        assert!(start.elapsed() <= Duration::from_secs(10), "{:?}", start.elapsed());
        peer.closed().await;
        assert_over(&opened, &mut service, ConnectionState::Closed).await;
    }
}

// Spec: RTN12a, RTN12b
in_both_formats! {
    async fn closing_closes_a_connection(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let answer = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        // Several callers may close the client, also while it is closing.
        tokio::join!(client.close(), client.close(), answer);
        assert_over(&client, &mut service, ConnectionState::Closed).await;
    }
}

// Spec: RTN12d
in_both_formats! {
    async fn closing_abandons_a_retry(format) {
        let (disconnected, mut service) = client(format);
        disconnected.connection().connect();
        service.attempt().await.refuse();
        disconnected.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_closes(disconnected, service, ConnectionState::Closed).await;

        let (suspended, mut service, peer) = connected(format).await;
        suspend(&suspended, &mut service, peer).await;
        assert_closes(suspended, service, ConnectionState::Closed).await;
    }
}

in_both_formats! {
    async fn closing_a_closed_or_failed_client_changes_nothing(format) {
        let (closed, mut service) = client(format);
        closed.close().await;
        closed.close().await;
        assert_over(&closed, &mut service, ConnectionState::Closed).await;

        let (failed, service, mut peer) = connected(format).await;
        peer.send(error(None, 50000, 500));
        failed.connection().when(ConnectionState::Failed).await.unwrap();
        assert_closes(failed, service, ConnectionState::Failed).await;
    }
}

// Spec: RTN11b, RTN11d
in_both_formats! {
    async fn connecting_after_closing_connects(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        client.close().await;
        client.connection().connect();
        // The connector also received the first attempt.
        assert!(service.attempt().await.is_abandoned());
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

in_both_formats! {
    async fn closing_returns_when_another_caller_connects(format) {
        let (client, mut service, _silent) = connected(format).await;
        let start = Instant::now();
        let connect = async {
            client.connection().when(ConnectionState::Closing).await.unwrap();
            client.connection().connect();
        };
        tokio::join!(client.close(), connect);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(client.connection().state(), ConnectionState::Connecting);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

// Spec: RTC8
in_both_formats! {
    async fn closing_ends_an_authorization(format) {
        let tokens = Tokens::default();
        let (client, mut service) = client_of(format, tokens.scripted(|_| hang()));
        let auth = client.auth().clone();
        let authorizing = tokio::spawn(async move { auth.authorize().await });
        while tokens.asked() == 0 {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        client.close().await;
        assert_eq!(code(authorizing.await.unwrap()), 80017);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_over(&client, &mut service, ConnectionState::Closed).await;
    }
}
