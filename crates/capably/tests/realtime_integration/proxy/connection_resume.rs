//! Connections that drop, and their continuation (RTN15, RTN16, RTN19).

use capably::realtime::{ChannelState, ChannelStateChange};
use capably_protocol::{
    ClientFrame,
    frame::{Action, ErrorFrame},
};
use capably_server::faults::{Connections, Entry, Event, Fate, Rule};

use super::*;

const RECONNECTED: [ConnectionState; 3] =
    [ConnectionState::Disconnected, ConnectionState::Connecting, ConnectionState::Connected];

/// A client that has lost its connection through this fault, and has another.
async fn reconnected(scene: &Scene, lose: impl FnOnce(&Connections)) -> Realtime {
    let client = scene.connected(|options| options).await;
    let key = client.connection().key().unwrap();
    let id = client.connection().id();
    let mut changes = client.connection().changes();
    lose(&scene.faults.connections());
    expect_states(&mut changes, &RECONNECTED).await;
    assert_eq!(scene.params("resume"), [None, Some(key.to_string())]);
    assert_eq!(client.connection().id(), id);
    assert!(client.connection().error_reason().is_none());
    client
}

// UTS: realtime/proxy/RTN15a/disconnect-triggers-resume-0
// Spec: RTN15a
in_both_formats! {
    async fn a_closed_connection_is_resumed(scene) {
        reconnected(&scene, |connections| connections.close(1000)).await.close().await;
    }
}

// UTS: realtime/proxy/RTN15a/tcp-close-triggers-resume-1
// Spec: RTN15a
in_both_formats! {
    async fn a_cut_connection_is_resumed(scene) {
        reconnected(&scene, Connections::disconnect).await.close().await;
    }
}

// UTS: realtime/proxy/RTN15b/resume-preserves-connid-0
// Spec: RTN15b, RTN15c6
in_both_formats! {
    async fn a_resumed_connection_keeps_its_id(scene) {
        let client = scene.connected(|options| options).await;
        let (id, key) = (client.connection().id().unwrap(), client.connection().key().unwrap());
        let mut changes = client.connection().changes();
        scene.faults.connections().close(1000);
        expect_states(&mut changes, &RECONNECTED).await;
        assert_eq!(client.connection().id(), Some(id));
        assert_ne!(client.connection().key(), Some(key.clone()));
        assert_eq!(scene.params("resume"), [None, Some(key.to_string())]);
        assert!(client.connection().error_reason().is_none());
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN15c7/failed-resume-new-connid-0
// Spec: RTN15c7
in_both_formats! {
    async fn a_resume_that_fails_yields_another_connection(scene) {
        let reason = error(80008, 400, "Unable to recover connection");
        let other =
            connected("proxy-injected-new-id", "proxy-injected-new-key", 120_000, Some(reason));
        scene.faults.add(Rule::to_client().action(Action::Connected).nth(2).times(1).replace(other));
        let client = scene.connected(|options| options).await;
        let id = client.connection().id().unwrap();
        assert_ne!(&*id, "proxy-injected-new-id");
        let mut changes = client.connection().changes();
        scene.faults.connections().close(1000);
        let change = expect_states(&mut changes, &RECONNECTED).await;
        assert_eq!(change.reason.unwrap().code.0, 80008);
        assert_eq!(client.connection().id().as_deref(), Some("proxy-injected-new-id"));
        assert_eq!(client.connection().key().as_deref(), Some("proxy-injected-new-key"));
        assert_eq!(client.connection().error_reason().unwrap().code().0, 80008);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        let resumes = scene.params("resume");
        assert_eq!(resumes.len(), 2);
        assert!(resumes[1].is_some());
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN15h1/token-error-nonrenewable-failed-0
// Spec: RTN15h1, RSA4a2
in_both_formats! {
    async fn a_token_that_cannot_be_renewed_fails_the_connection(scene) {
        let direct = Rest::new(scene.options()).unwrap();
        let token = direct.auth().request_token().await.unwrap().token;
        let client = Realtime::new(scene.options_without_key().token(token)).unwrap();
        client.connection().connect();
        within(client.connection().when(ConnectionState::Connected)).await.unwrap();
        let mut changes = client.connection().changes();
        let reason = error(40142, 401, "Token expired");
        let connections = scene.faults.connections();
        connections.inject_to_client(ServerFrame::Disconnected { error: Some(reason) });
        connections.close(1000);
        expect_states(&mut changes, &[ConnectionState::Failed]).await;
        let reason = client.connection().error_reason().unwrap();
        assert_eq!((reason.code().0, reason.status()), (40171, Some(401)));
        assert_eq!(scene.log().connects().len(), 1);
    }
}

// UTS: realtime/proxy/RTN15h3/non-token-error-reconnects-0
// Spec: RTN15h3
in_both_formats! {
    async fn a_disconnected_client_reconnects(scene) {
        let client = scene.connected(|options| options).await;
        let mut changes = client.connection().changes();
        let reason = error(80003, 500, "Service temporarily unavailable");
        let connections = scene.faults.connections();
        connections.inject_to_client(ServerFrame::Disconnected { error: Some(reason) });
        connections.close(1000);
        let change = expect_states(&mut changes, &RECONNECTED[..1]).await;
        assert_eq!(change.reason.unwrap().code.0, 80003);
        expect_states(&mut changes, &RECONNECTED[1..]).await;
        let resumes = scene.params("resume");
        assert_eq!(resumes.len(), 2);
        assert!(resumes[1].is_some());
        assert!(client.connection().error_reason().is_none());
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN15j/fatal-error-established-conn-0
// Spec: RTN15j
in_both_formats! {
    async fn an_error_of_the_connection_fails_it_and_its_channels(scene) {
        let client = scene.connected(|options| options).await;
        let channels = ["fatal-error-a", "fatal-error-b"].map(|name| client.channels().get(name));
        let (a, b) = tokio::join!(channels[0].attach(), channels[1].attach());
        a.and(b).unwrap();
        let mut changes = client.connection().changes();
        let mut channel_changes = channels.each_ref().map(|channel| channel.changes());
        let reason = error(50000, 500, "Internal server error");
        let frame = ErrorFrame { channel: None, error: Some(reason) };
        scene.faults.connections().inject_to_client(ServerFrame::Error(frame));
        expect_states(&mut changes, &[ConnectionState::Failed]).await;
        let reason = client.connection().error_reason().unwrap();
        assert_eq!((reason.code().0, reason.status()), (50000, Some(500)));
        for (channel, changes) in channels.iter().zip(&mut channel_changes) {
            let change: ChannelStateChange = changes.next().await.unwrap();
            assert_eq!(change.current, ChannelState::Failed);
            assert_eq!(channel.state(), ChannelState::Failed);
            assert_eq!(channel.error_reason().unwrap().code().0, 50000);
        }
        assert_eq!(scene.log().connects().len(), 1);
    }
}

// Spec: RTN14e, RTN14h
in_both_formats! {
    async fn a_client_resumes_an_old_connection_and_the_service_decides(scene) {
        let short = connected("proxy-ttl-test-id", "proxy-ttl-test-key", 1000, None);
        scene.faults.add(Rule::to_client().action(Action::Connected).nth(1).times(1).replace(short));
        scene.faults.add(Rule::opening().nth(2).times(1).refuse());
        let retry = Duration::from_millis(50);
        let client = scene.connected(|options| options.suspended_retry_timeout(retry)).await;
        assert_eq!(client.connection().id().as_deref(), Some("proxy-ttl-test-id"));
        let mut changes = client.connection().changes();
        scene.faults.connections().close(1000);
        let states = [
            ConnectionState::Disconnected,
            // At once, and refused.
            ConnectionState::Connecting,
            ConnectionState::Disconnected,
            ConnectionState::Suspended,
            ConnectionState::Connecting,
            ConnectionState::Connected,
        ];
        let change = expect_states(&mut changes, &states).await;
        // The service does not know the connection, and opens another.
        assert_eq!(change.reason.unwrap().code.0, 80018);
        let id = client.connection().id().unwrap();
        assert_ne!(&*id, "proxy-ttl-test-id");
        let key = Some("proxy-ttl-test-key".to_owned());
        assert_eq!(scene.params("resume"), [None, key.clone(), key]);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN19a/unacked-resent-on-resume-0
// Spec: RTN19a, RTN19a2
in_both_formats! {
    async fn unacknowledged_publishes_are_sent_again(scene) {
        let client = scene.connected(|options| options).await;
        let id = client.connection().id();
        let channel = client.channels().get("test-resend-unacked");
        within(channel.attach()).await.unwrap();
        // So that the serial differs from that of a new connection.
        within(channel.publish("event", "acknowledged").into_future()).await.unwrap();
        scene.faults.add(Rule::to_client().action(Action::Ack).times(1).suppress());
        let receipt = channel.publish("event", "test-data").submit().await.unwrap();
        let is_suppressed = |entry: &Entry| {
            matches!(&entry.event, Event::ToClient { frame, fate: Fate::Suppressed }
                if frame.action() == Action::Ack.number())
        };
        within(scene.faults.wait_until(|log| log.entries().any(is_suppressed))).await;
        let mut changes = client.connection().changes();
        scene.faults.connections().close(1000);
        expect_states(&mut changes, &RECONNECTED).await;
        let result = within(receipt).await.unwrap();
        assert!(result.serials[0].is_some());
        assert_eq!(client.connection().id(), id);
        let log = scene.log();
        assert_eq!(log.connects().len(), 2);
        assert!(log.connects()[1].get("resume").is_some());
        let serials: Vec<_> = log
            .client_frames(Action::Message)
            .into_iter()
            .map(|frame| match frame {
                ClientFrame::Message(publish) => publish.msg_serial,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(serials, [0, 1, 1]);
        client.close().await;
    }
}

// UTS: realtime/proxy/RTN16d/recovery-preserves-connid-0
// Spec: RTN16d, RTN16k
in_both_formats! {
    async fn a_recovered_connection_keeps_its_id_and_gets_a_new_key(scene) {
        let first = scene.connected(|options| options).await;
        let (id, key) = (first.connection().id().unwrap(), first.connection().key().unwrap());
        within(first.channels().get("recovery-test").attach()).await.unwrap();
        let recovery_key = first.connection().create_recovery_key().await.unwrap();
        // The client is cut off, so it cannot send CLOSE.
        let refused = scene.faults.add(Rule::opening().refuse());
        let mut changes = first.connection().changes();
        scene.faults.connections().close(1000);
        let states = [
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Disconnected,
        ];
        expect_states(&mut changes, &states).await;
        within(first.close()).await;
        assert_eq!(first.connection().state(), ConnectionState::Closed);
        scene.faults.remove(refused);
        scene.faults.clear_log();

        let second = scene.connected(|options| options.recover(recovery_key)).await;
        assert_eq!(second.connection().id(), Some(id));
        let second_key = second.connection().key().unwrap();
        assert_ne!(second_key, key);
        assert_eq!(scene.params("recover"), [Some(key.to_string())]);
        assert_eq!(scene.params("resume"), [None]);
        assert!(second.connection().error_reason().is_none());
        second.close().await;
    }
}

// UTS: realtime/proxy/RTN16l/recovery-failure-fresh-conn-0
// Spec: RTN16l
in_both_formats! {
    async fn a_recovery_that_fails_yields_another_connection(scene) {
        let reason = error(80008, 400, "Unable to recover connection");
        let other =
            connected("recovery-failed-new-id", "recovery-failed-new-key", 120_000, Some(reason));
        scene.faults.add(Rule::to_client().action(Action::Connected).nth(1).times(1).replace(other));
        let recovery_key = r#"{"connectionKey":"stale-old-key","msgSerial":99,"channelSerials":{"old-channel":"old-serial"}}"#;
        let client = scene.connected(|options| options.recover(recovery_key)).await;
        assert_eq!(client.connection().id().as_deref(), Some("recovery-failed-new-id"));
        assert_eq!(client.connection().key().as_deref(), Some("recovery-failed-new-key"));
        assert_eq!(client.connection().error_reason().unwrap().code().0, 80008);
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(scene.params("recover"), [Some("stale-old-key".to_owned())]);
        client.close().await;
    }
}
