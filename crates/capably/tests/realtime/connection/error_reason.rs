//! The error reason (RTN25).

use std::time::Duration;

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use capably_protocol::{ErrorCode, ErrorInfo, Format, ServerFrame, frame::ErrorFrame};

use crate::{in_both_formats, support::*, tokens::*};

/// A client whose attempt to connect ends with this ERROR.
async fn refused(format: Format, code: u32, status: u16, message: &'static str) -> Realtime {
    let (client, mut service) = client(format);
    assert!(client.connection().error_reason().is_none());
    let mut changes = client.connection().changes();
    client.connection().connect();
    let mut peer = service.accept().await;
    let error = ErrorInfo::new(ErrorCode(code), status, message);
    peer.send(ServerFrame::Error(ErrorFrame { channel: None, error: Some(error.clone()) }));
    client.connection().when(ConnectionState::Failed).await.unwrap();
    let changes = seen(&mut changes);
    let failed: Vec<_> =
        changes.iter().filter(|change| change.current == ConnectionState::Failed).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].reason, Some(error));
    client
}

// UTS: realtime/unit/RTN25/error-reason-on-failed-0
// UTS: realtime/unit/RTN25/error-reason-protocol-error-5
// UTS: realtime/unit/RTN25/error-reason-in-state-change-6
// UTS: realtime/unit/RTN14a/invalid-key-failed-0
// UTS: realtime/unit/RTN14g/error-empty-channel-failed-0
in_both_formats! {
    async fn the_error_reason_is_the_error_of_the_service(format) {
        for (code, status, message) in [
            (40005, 400, "Invalid API key"),
            (50000, 500, "Internal server error"),
            (40003, 400, "Access token invalid"),
        ] {
            let client = refused(format, code, status, message).await;
            let error = client.connection().error_reason().unwrap();
            assert_eq!((error.code().0, error.status()), (code, Some(status)));
            assert_eq!(error.message(), message);
            assert_eq!((client.connection().id(), client.connection().key()), (None, None));
        }
    }
}

// UTS: realtime/unit/RTN25/error-reason-disconnected-1
// UTS: realtime/unit/RTN25/error-reason-cleared-on-connect-4
// UTS: realtime/unit/RTN14d/retry-recoverable-failure-0
// Spec: RTN14, TA3
in_both_formats! {
    async fn the_error_reason_of_a_failed_attempt_lasts_until_connected(format) {
        let (client, mut service) = client_with(format, |options| {
            options.disconnected_retry_timeout(Duration::from_secs(1))
        });
        client.connection().connect();
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(reason(&client), Some((80000, None, None)));
        let failed = tokio::time::Instant::now();
        let mut peer = service.accept().await;
        assert!((800..=1_002).contains(&failed.elapsed().as_millis()));
        assert_eq!(reason(&client), Some((80000, None, None)), "it stays while connecting");
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(reason(&client), None);
        assert!(service.is_quiet());
    }
}

// UTS: realtime/unit/RTN25/error-reason-suspended-2
// UTS: realtime/unit/RTN14e/disconnected-to-suspended-0
// UTS: realtime/unit/RTN14f/suspended-retries-indefinitely-0
in_both_formats! {
    async fn a_suspended_connection_has_an_error_reason(format) {
        let (client, mut service) = client_with(format, |options| {
            options
                .disconnected_retry_timeout(Duration::from_secs(1))
                .suspended_retry_timeout(Duration::from_secs(2))
        });
        let start = tokio::time::Instant::now();
        client.connection().connect();
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let refusals = async {
            loop {
                service.attempt().await.refuse();
            }
        };
        tokio::select! {
            suspended = client.connection().when(ConnectionState::Suspended) => {
                suspended.unwrap();
            }
            () = refusals => {}
        }
        assert_eq!(start.elapsed().as_secs(), 120);
        assert_eq!(reason(&client), Some((80002, Some(408), Some(80000))));
        // The client keeps retrying.
        for _ in 0..20 {
            let waiting = tokio::time::Instant::now();
            service.attempt().await.refuse();
            assert_eq!(waiting.elapsed().as_secs(), 2);
            client.connection().when(ConnectionState::Suspended).await.unwrap();
            assert_eq!(reason(&client), Some((80000, None, None)));
        }
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(reason(&client), None);
    }
}

// Spec: RTN14e
in_both_formats! {
    async fn suspending_during_an_attempt_gives_the_same_error_reason(format) {
        let (client, mut service) = client_with(format, |options| {
            options.disconnected_retry_timeout(Duration::from_secs(1))
        });
        let start = tokio::time::Instant::now();
        client.connection().connect();
        // The last attempt times out after ten seconds.
        let unanswered = loop {
            let attempt = service.attempt().await;
            if start.elapsed().as_secs() > 111 {
                break attempt;
            }
            attempt.refuse();
        };
        client.connection().when(ConnectionState::Suspended).await.unwrap();
        assert!(start.elapsed().as_secs() > 120);
        drop(unanswered);
        assert_eq!(reason(&client), Some((80002, Some(408), Some(80014))));
    }
}

// UTS: realtime/unit/RTN25/error-reason-token-error-3
in_both_formats! {
    async fn a_token_that_cannot_be_renewed_is_the_error_reason(format) {
        let (client, mut service) = client_of(format, ClientOptions::new("expired_token"));
        client.connection().connect();
        service.accept().await.send(error(None, 40142, 401));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(reason(&client), Some((40171, Some(401), Some(40142))));
    }
}

// UTS: realtime/unit/RTN14c/connection-timeout-0
in_both_formats! {
    async fn silence_of_the_service_is_the_error_reason(format) {
        let (client, mut service) = client_with(format, |options| {
            options.realtime_request_timeout(Duration::from_secs(1))
        });
        let start = tokio::time::Instant::now();
        client.connection().connect();
        let mut peer = service.accept().await;
        assert_eq!(client.connection().state(), ConnectionState::Connecting);
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(reason(&client), Some((80014, Some(408), None)));
        let message = client.connection().error_reason().unwrap().message().to_owned();
        assert!(message.contains("timeout"), "{message}");
        peer.closed().await;
    }
}
