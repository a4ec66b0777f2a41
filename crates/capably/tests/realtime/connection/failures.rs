//! An established connection is lost (RTN15).

use std::time::Duration;

use capably::realtime::{ChannelState, ConnectionState};
use capably_protocol::ServerFrame;
use tokio::time::Instant;

use crate::{in_both_formats, support::*, tokens::*};

// UTS: realtime/unit/RTN15h3/non-token-error-resume-0
// UTS: realtime/unit/RTN15a/unexpected-transport-disconnect-0
// UTS: realtime/unit/RTN15b/successful-resume-0
// UTS: realtime/unit/RTN15e/connection-key-updated-0
// Spec: RTN15, RTN15c, RTN15c6, RTN15h
in_both_formats! {
    async fn a_lost_connection_is_resumed_at_once(format) {
        for word in [Some(ServerFrame::Disconnected { error: Some(info(80003, 503)) }), None] {
            let (client, mut service, mut peer) = connected(format).await;
            let mut changes = client.connection().changes();
            let lost = Instant::now();
            if let Some(word) = word {
                peer.send(word);
            }
            drop(peer);
            let attempt = service.attempt().await;
            assert!(lost.elapsed() < Duration::from_millis(2));
            assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
            let mut peer = attempt.accept();
            peer.send(connected_frame("connection-1", "key-1-updated"));
            client.connection().when(ConnectionState::Connected).await.unwrap();
            assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
            assert_eq!(client.connection().key().as_deref(), Some("key-1-updated"));
            assert_eq!(reason(&client), None);
            assert_eq!(
                states(&seen(&mut changes)),
                [
                    ConnectionState::Disconnected,
                    ConnectionState::Connecting,
                    ConnectionState::Connected
                ]
            );
            assert!(service.is_quiet());
        }
    }
}

// UTS: realtime/unit/RTN15c7/failed-resume-new-id-0
in_both_formats! {
    async fn a_resume_that_fails_gives_another_connection(format) {
        let (client, mut service, peer) = connected(format).await;
        drop(peer);
        let mut peer = service.accept().await;
        peer.send(connected_frame_with("connection-2", "key-2", |connected| {
            connected.error = Some(info(80008, 400));
        }));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("connection-2"));
        assert_eq!(client.connection().key().as_deref(), Some("key-2"));
        assert_eq!(reason(&client), Some((80008, Some(400), None)));
        assert_eq!(client.connection().state(), ConnectionState::Connected);
    }
}

// UTS: realtime/unit/RTN15c4/fatal-error-during-resume-0
in_both_formats! {
    async fn a_fatal_error_while_resuming_fails_the_connection(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        quiet(&client, &mut peer).await;
        drop(peer);
        let mut peer = service.accept().await;
        peer.send(error(None, 50000, 500));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((50000, Some(500), None)));
        assert_eq!(channel.state(), ChannelState::Failed);
        advance(600_000).await;
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTN15j/error-empty-channel-failed-0
in_both_formats! {
    async fn a_fatal_error_while_connected_fails_the_connection(format) {
        let (client, mut service, mut peer, channel) = with_channel(format).await;
        let mut changes = channel.changes();
        peer.send(error(None, 50000, 500));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((50000, Some(500), None)));
        let change = changes.next().await.unwrap();
        assert_eq!(change.current, ChannelState::Failed);
        assert_eq!(change.reason.unwrap().code.0, 50000);
        peer.closed().await;
        advance(600_000).await;
        assert!(service.is_quiet());
    }
}

// Spec: RTN14h, RTN14e, RTN15c7, DF1a
in_both_formats! {
    async fn a_connection_lost_for_long_is_still_resumed(format) {
        let (client, mut service) = client_with(format, |options| {
            options
                .disconnected_retry_timeout(Duration::from_secs(1))
                .suspended_retry_timeout(Duration::from_secs(2))
        });
        client.connection().connect();
        let mut peer = service.accept().await;
        // The service sets how long it keeps the connection's state.
        peer.send(connected_frame_with("connection-1", "key-1", |connected| {
            connected.details.as_mut().unwrap().connection_state_ttl = Some(5_000);
        }));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let lost = Instant::now();
        suspend(&client, &mut service, peer).await;
        assert_eq!(lost.elapsed().as_secs(), 5);
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("connection-2"));
        assert_eq!(client.connection().key().as_deref(), Some("key-2"));
    }
}
