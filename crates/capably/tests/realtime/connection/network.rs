//! Network changes that the operating system reports (RTN20).

use std::time::Duration;

use capably::realtime::ConnectionState;
use tokio::time::Instant;

use crate::{in_both_formats, support::*, tokens::*};

// UTS: realtime/unit/RTN20a/network-loss-connected-disconnects-0
in_both_formats! {
    async fn losing_the_network_loses_the_connection(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let mut changes = client.connection().changes();
        client.connection().network_lost();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        peer.closed().await;
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-id-2", "connection-key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let changes = seen(&mut changes);
        assert_eq!(
            states(&changes),
            [ConnectionState::Disconnected, ConnectionState::Connecting, ConnectionState::Connected]
        );
        assert_eq!(changes[0].reason.as_ref().unwrap().code.0, 80003);
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTN20a/network-loss-connecting-disconnects-1
in_both_formats! {
    async fn losing_the_network_fails_an_attempt(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut dialled = service.attempt().await;
        let start = Instant::now();
        client.connection().network_lost();
        dialled.abandoned().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        let mut peer = service.accept().await;
        assert!((12..=15).contains(&start.elapsed().as_secs()));
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(
            states(&seen(&mut changes)),
            [
                ConnectionState::Connecting,
                ConnectionState::Disconnected,
                ConnectionState::Connecting,
                ConnectionState::Connected
            ]
        );
    }
}

// UTS: realtime/unit/RTN20b/network-available-disconnected-connects-0
in_both_formats! {
    async fn a_new_network_ends_the_wait_for_a_retry(format) {
        let (client, mut service) = client_with(format, |options| {
            options.disconnected_retry_timeout(Duration::from_secs(30))
        });
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let start = Instant::now();
        client.connection().network_available();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(2));
        assert_eq!(
            states(&seen(&mut changes)),
            [
                ConnectionState::Connecting,
                ConnectionState::Connected,
                ConnectionState::Disconnected,
                ConnectionState::Connecting,
                ConnectionState::Disconnected,
                ConnectionState::Connecting,
                ConnectionState::Connected
            ]
        );
        // The scheduled retry is cancelled.
        quiet(&client, &mut peer).await;
        advance(20_000).await;
        quiet(&client, &mut peer).await;
        advance(20_000).await;
        quiet(&client, &mut peer).await;
        assert!(service.is_quiet());
    }
}

// Spec: RTN20b
in_both_formats! {
    async fn a_new_network_connects_a_suspended_client(format) {
        let (client, mut service, peer) = connected(format).await;
        suspend(&client, &mut service, peer).await;
        let start = Instant::now();
        client.connection().network_available();
        let attempt = service.attempt().await;
        assert!(start.elapsed() < Duration::from_millis(2));
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
    }
}

// UTS: realtime/unit/RTN20c/network-available-connecting-restarts-0
in_both_formats! {
    async fn a_new_network_restarts_an_attempt(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut dialled = service.attempt().await;
        assert_eq!(client.connection().state(), ConnectionState::Connecting);
        client.connection().network_available();
        dialled.abandoned().await;
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-id", "connection-key"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert!(service.is_quiet());
    }
}

// Spec: RTN20
in_both_formats! {
    async fn other_states_ignore_network_changes(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let mut changes = client.connection().changes();
        client.connection().network_available();
        quiet(&client, &mut peer).await;
        expect_none(&mut changes);
        drop(peer);
        client.close().await;
        seen(&mut changes);
        client.connection().network_available();
        client.connection().network_lost();
        assert_eq!(client.connection().ping().await.unwrap_err().code().0, 80017);
        expect_none(&mut changes);
        while !service.is_quiet() {}
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
}

// Spec: RTN20a, RTN20c
in_both_formats! {
    async fn a_new_network_repeats_a_token_request(format) {
        let tokens = Tokens::default();
        let options = tokens.scripted(|number| match number {
            1 => hang(),
            _ => give(format!("token-{number}")),
        });
        let (client, mut service) = client_of(format, options);
        client.connection().connect();
        client.connection().when(ConnectionState::Connecting).await.unwrap();
        while tokens.asked() == 0 {
            tokio::task::yield_now().await;
        }
        client.connection().network_available();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("accessToken").as_deref(), Some("token-2"));
    }
}

// Spec: RTN20
#[tokio::test]
async fn watching_the_network_is_an_option_of_a_client() {
    use capably::{ClientOptions, Realtime};
    let options = || ClientOptions::new("app.key:secret").auto_connect(false);
    Realtime::new(options()).expect("the default suits every build");
    Realtime::new(options().network_events(false)).expect("every build can leave it off");
    let watching = Realtime::new(options().network_events(true));
    if cfg!(all(feature = "network-events", target_os = "linux")) {
        watching.expect("the build can watch");
    } else {
        let error = watching.expect_err("the build cannot watch");
        assert_eq!(error.code().0, 40000);
        assert!(error.detail().contains_key("network_events"), "{error}");
    }
}
