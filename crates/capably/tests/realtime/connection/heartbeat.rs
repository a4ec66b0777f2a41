//! Signs of life (RTN23).

use std::time::Duration;

use capably::{
    Message, Realtime,
    realtime::{Changes, ConnectionState, ConnectionStateChange},
};
use capably_protocol::{
    ClientFrame, Format, ServerFrame, Str,
    frame::{Ack, Action, Delivery},
};
use tokio::time::Instant;

use crate::{in_both_formats, support::*, tokens::*};

/// A connected client with this limit of silence in ms, plus the request timeout.
async fn watchful(
    format: Format,
    max_idle: u64,
    timeout: u64,
) -> (Realtime, Service, Peer, Changes<ConnectionStateChange>) {
    let (client, mut service) = client_with(format, |options| {
        options.realtime_request_timeout(Duration::from_millis(timeout))
    });
    let changes = client.connection().changes();
    client.connection().connect();
    let attempt = service.attempt().await;
    assert_eq!(attempt.param("resume"), None);
    let mut peer = attempt.accept();
    peer.send(connected_frame_with("connection-id-1", "connection-key-1", |connected| {
        connected.details.as_mut().unwrap().max_idle_interval = Some(max_idle);
    }));
    client.connection().when(ConnectionState::Connected).await.unwrap();
    (client, service, peer, changes)
}

/// The next attempt comes this many ms after `since`: it resumes, and the old transport is closed.
async fn lost_after(
    (client, mut service, mut peer, mut changes): (
        Realtime,
        Service,
        Peer,
        Changes<ConnectionStateChange>,
    ),
    since: Instant,
    millis: u128,
) {
    let attempt = service.attempt().await;
    let elapsed = since.elapsed().as_millis();
    assert!((millis..=millis + 2).contains(&elapsed), "{elapsed} ms");
    assert_eq!(attempt.param("resume").as_deref(), Some("connection-key-1"));
    peer.closed().await;
    let mut peer = attempt.accept();
    peer.send(connected_frame("connection-id-2", "connection-key-2"));
    client.connection().when(ConnectionState::Connected).await.unwrap();
    assert_eq!(client.connection().id().as_deref(), Some("connection-id-2"));
    assert_eq!(
        states(&seen(&mut changes)),
        [
            ConnectionState::Connecting,
            ConnectionState::Connected,
            ConnectionState::Disconnected,
            ConnectionState::Connecting,
            ConnectionState::Connected
        ]
    );
    assert!(service.is_quiet());
}

// UTS: realtime/unit/RTN23b/heartbeats-false-query-param-0
in_both_formats! {
    async fn a_connector_that_sees_pings_requests_no_heartbeats(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        assert_eq!(service.attempt().await.param("heartbeats").as_deref(), Some("false"));
    }
}

// The built-in connector sees pings. A custom connector that does not can request heartbeats.
// UTS: realtime/unit/RTN23a/heartbeats-true-query-param-0
in_both_formats! {
    async fn a_connector_that_sees_no_pings_can_request_heartbeats(format) {
        let (client, mut service) =
            client_with(format, |options| options.transport_param("heartbeats", true));
        client.connection().connect();
        assert_eq!(service.attempt().await.param("heartbeats").as_deref(), Some("true"));
    }
}

// UTS: realtime/unit/RTN23a/idle-timeout-reconnect-1
// UTS: realtime/unit/RTN23b/idle-timeout-reconnect-1
// UTS: realtime/unit/RTN23a/timeout-triggers-reconnect-4
// UTS: realtime/unit/RTN23b/timeout-triggers-reconnect-4
// UTS: realtime/unit/RTN23a/reconnect-uses-resume-5
// UTS: realtime/unit/RTN23b/reconnect-uses-resume-5
// Spec: RTN23
in_both_formats! {
    async fn silence_for_too_long_is_a_lost_connection(format) {
        for (max_idle, timeout) in [(5_000, 2_000), (2_000, 1_000)] {
            let world = watchful(format, max_idle, timeout).await;
            let silent = Instant::now();
            lost_after(world, silent, u128::from(max_idle + timeout)).await;
        }
    }
}

// UTS: realtime/unit/RTN23a/heartbeat-resets-timer-2
// UTS: realtime/unit/RTN23b/ping-frame-resets-timer-2
in_both_formats! {
    async fn heartbeats_and_pings_are_signs_of_life(format) {
        for ping in [false, true] {
            let mut world = watchful(format, 3_000, 1_000).await;
            advance(2_000).await;
            if ping {
                world.2.ping();
            } else {
                world.2.send(ServerFrame::Heartbeat { id: None });
            }
            let heard = Instant::now();
            tokio::task::yield_now().await;
            advance(2_000).await;
            tokio::task::yield_now().await;
            assert_eq!(world.0.connection().state(), ConnectionState::Connected);
            assert!(world.1.is_quiet());
            lost_after(world, heard, 4_000).await;
        }
    }
}

// UTS: realtime/unit/RTN23a/any-message-resets-timer-3
// UTS: realtime/unit/RTN23b/any-message-resets-timer-3
// UTS: realtime/unit/RTN23b/multiple-pings-keep-alive-6
in_both_formats! {
    async fn every_received_frame_is_a_sign_of_life(format) {
        let mut world = watchful(format, 2_000, 1_000).await;
        let mut heard = Instant::now();
        for round in 0..8 {
            advance(1_500).await;
            match round % 4 {
                0 => world.2.send(ServerFrame::Ack(Ack { msg_serial: 0, count: 1, res: vec![] })),
                1 => world.2.ping(),
                2 => {
                    let item = Message::new("event", "data");
                    world.2.send(ServerFrame::Message(Delivery::new("ch", vec![item])));
                }
                _ => world.2.ping(),
            }
            heard = Instant::now();
            tokio::task::yield_now().await;
            assert_eq!(world.0.connection().state(), ConnectionState::Connected);
            assert!(world.1.is_quiet());
        }
        lost_after(world, heard, 3_000).await;
    }
}

// Spec: RTN23a
in_both_formats! {
    async fn sent_frames_are_no_sign_of_life(format) {
        let world = watchful(format, 2_000, 1_000).await;
        let silent = Instant::now();
        advance(2_500).await;
        let connection = world.0.connection().clone();
        let ping = tokio::spawn(async move { connection.ping().await });
        lost_after(world, silent, 3_000).await;
        assert_eq!(code(ping.await.unwrap()), 50003);
    }
}

// Spec: CD2h
in_both_formats! {
    async fn a_service_may_be_silent_for_ever(format) {
        let (client, mut service, mut peer, _) = watchful(format, 0, 1_000).await;
        advance(86_400_000).await;
        quiet(&client, &mut peer).await;
        assert!(service.is_quiet());
    }
}

// Points from RTN23c on are newer than the specification in use, which `cargo xtask spec` reads.
// Platforms that suspend code while the socket stays open need this option.
// RTN23c
in_both_formats! {
    async fn bounced_heartbeats_can_be_requested(format) {
        let (client, mut service) =
            client_with(format, |options| options.transport_param("heartbeats", "bounce"));
        client.connection().connect();
        assert_eq!(service.attempt().await.param("heartbeats").as_deref(), Some("bounce"));
    }
}

// RTN23c1, RTN23c2
in_both_formats! {
    async fn a_ping_is_answered_with_its_id_with_or_without_heartbeats(format) {
        for heartbeats in ["false", "true", "bounce"] {
            let (client, mut service) =
                client_with(format, |options| options.transport_param("heartbeats", heartbeats));
            client.connection().connect();
            let mut peer = service.attempt().await.accept();
            peer.send(connected_frame("connection-id", "connection-key"));
            client.connection().when(ConnectionState::Connected).await.unwrap();
            for id in [Some("ping-1"), None, Some("ping-2")] {
                let id = id.map(Str::from);
                peer.send(ServerFrame::Ping { id: id.clone() });
                assert_eq!(peer.receive().await, Some(ClientFrame::Pong { id }));
            }
            quiet(&client, &mut peer).await;
        }
    }
}

// Spec: RTN23a
in_both_formats! {
    async fn a_ping_is_a_sign_of_life(format) {
        let mut world = watchful(format, 3_000, 1_000).await;
        advance(2_000).await;
        world.2.send(ServerFrame::Ping { id: Some("ping-3".into()) });
        let heard = Instant::now();
        tokio::task::yield_now().await;
        advance(2_000).await;
        tokio::task::yield_now().await;
        assert_eq!(world.0.connection().state(), ConnectionState::Connected);
        lost_after(world, heard, 4_000).await;
    }
}

// RTN23c1
in_both_formats! {
    async fn an_unsolicited_pong_is_ignored(format) {
        let (client, mut service, mut peer, mut changes) = watchful(format, 3_000, 1_000).await;
        peer.send(ServerFrame::Unknown { action: Action::Pong.number() });
        quiet(&client, &mut peer).await;
        assert_eq!(
            states(&seen(&mut changes)),
            [ConnectionState::Connecting, ConnectionState::Connected]
        );
        assert!(service.is_quiet());
    }
}
