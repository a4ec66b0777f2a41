//! Connections that do not open (RTN14).

use capably_protocol::frame::{Action, ErrorFrame};
use capably_server::faults::Rule;

use super::*;

/// The first CONNECTED becomes this error.
fn fail_first(scene: &Scene, error: ErrorInfo) {
    let frame = ServerFrame::Error(ErrorFrame { channel: None, error: Some(error) });
    scene.faults.add(Rule::to_client().action(Action::Connected).times(1).replace(frame));
}

async fn fails_with(scene: &Scene, error: ErrorInfo) {
    fail_first(scene, error.clone());
    let client = scene.client(|options| options);
    let mut changes = client.connection().changes();
    client.connection().connect();
    expect_states(&mut changes, &[ConnectionState::Connecting, ConnectionState::Failed]).await;
    let reason = client.connection().error_reason().unwrap();
    assert_eq!((reason.code(), reason.status()), (error.code, Some(error.status_code)));
    assert_eq!(reason.message(), &*error.message);
    assert_eq!((client.connection().id(), client.connection().key()), (None, None));
}

// UTS: realtime/proxy/RTN14a/fatal-connect-error-0
// Spec: RTN14a
in_both_formats! {
    async fn a_fatal_error_fails_the_connection(scene) {
        fails_with(&scene, error(40005, 400, "Invalid key")).await;
    }
}

// UTS: realtime/proxy/RTN14b/token-error-renew-reconnect-0
// Spec: RTN14b
in_both_formats! {
    async fn a_rejected_token_is_renewed(scene) {
        fail_first(&scene, error(40142, 401, "Token expired"));
        let (options, asked) = scene.options_with_tokens();
        let client = Realtime::new(options).unwrap();
        let mut changes = client.connection().changes();
        client.connection().connect();
        let states = [ConnectionState::Connecting, ConnectionState::Connected];
        expect_states(&mut changes, &states).await;
        assert!(client.connection().id().is_some());
        assert!(client.connection().key().is_some());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        assert_eq!(scene.log().connects().len(), 2);
        assert!(client.connection().error_reason().is_none());
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN14g/server-error-causes-failed-0
// Spec: RTN14g
in_both_formats! {
    async fn an_error_of_the_service_fails_the_connection(scene) {
        fails_with(&scene, error(50000, 500, "Internal server error")).await;
    }
}

// UTS: realtime/proxy/RTN14d/retry-after-refused-0
// Spec: RTN14d
in_both_formats! {
    async fn a_refused_connection_is_retried(scene) {
        scene.faults.add(Rule::opening().nth(1).times(1).refuse());
        let retry = Duration::from_millis(20);
        let client = scene.client(|options| options.disconnected_retry_timeout(retry));
        let mut changes = client.connection().changes();
        client.connection().connect();
        let states = [
            ConnectionState::Connecting,
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Connected,
        ];
        expect_states(&mut changes, &states).await;
        assert!(client.connection().id().is_some());
        assert!(client.connection().key().is_some());
        assert_eq!(scene.log().connects().len(), 2);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN14c/connection-timeout-0
// Spec: RTN14c
in_both_formats! {
    async fn a_silent_connection_attempt_times_out(scene) {
        scene.faults.add(Rule::to_client().action(Action::Connected).suppress());
        let limit = Duration::from_millis(300);
        let client = scene.client(|options| options.realtime_request_timeout(limit));
        let mut changes = client.connection().changes();
        client.connection().connect();
        let states = [ConnectionState::Connecting, ConnectionState::Disconnected];
        expect_states(&mut changes, &states).await;
        let reason = client.connection().error_reason().unwrap();
        assert_eq!(reason.code().0, 80014);
        assert!(reason.message().contains("timeout"), "{reason}");
        assert_eq!((client.connection().id(), client.connection().key()), (None, None));
        // The service did answer.
        let answered = |log: &Log| !log.server_frames(Action::Connected).is_empty();
        within(scene.faults.wait_until(answered)).await;
        client.close().await;
    }
}
