//! Connection states (RTN).

use std::time::Duration;

use capably::{
    Realtime,
    realtime::{Changes, ConnectionEvent, ConnectionState, ConnectionStateChange},
};
use capably_protocol::{ClientFrame, ServerFrame, frame::Connected};
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

mod auto_connect;
mod backoff;
mod closing;
mod error_reason;
mod failures;
mod fallback;
mod forwards;
mod heartbeat;
mod id_key;
mod listening;
mod network;
mod ping;
mod reauth;
mod recovery;
mod sleep;
mod update;
mod watching;
mod when;

async fn next_state(changes: &mut Changes<ConnectionStateChange>) -> ConnectionStateChange {
    changes.next().await.expect("the client lives")
}

async fn expect(changes: &mut Changes<ConnectionStateChange>, states: &[ConnectionState]) {
    for state in states {
        let change = next_state(changes).await;
        assert_eq!((change.current, change.event), (*state, ConnectionEvent::State(*state)));
    }
}

fn code(client: &Realtime) -> Option<u32> {
    client.connection().error_reason().map(|error| error.code().0)
}

// Spec: RTN2, RTN8, RTN9, RTN27, RTN11, RTN11f, RTN2a, RTN2b, RTN2d, RTN2e, RTN2f, RTN4b, RTN4d, RTN6, RTN8a, RTN9a, RTN11e, RTN13a, RTN13e, RTN27a, RTN27b, RTN27e, RTC1f
in_both_formats! {
    async fn connecting_then_connected(format) {
        let (client, mut service) = client_with(format, |options| {
            options.client_id("me").echo_messages(false).transport_param("remainPresentFor", 500)
        });
        let mut changes = client.connection().changes();
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        assert_eq!((client.connection().id(), client.connection().key()), (None, None));
        client.connection().connect();
        let attempt = service.attempt().await;
        assert_eq!(attempt.param("key").as_deref(), Some("appId.keyId:keySecret"));
        assert_eq!(attempt.param("v").as_deref(), Some("6"));
        assert_eq!(attempt.param("format").as_deref(), Some(format.name()));
        assert_eq!(attempt.param("echo").as_deref(), Some("false"));
        assert_eq!(attempt.param("clientId").as_deref(), Some("me"));
        assert_eq!(attempt.param("remainPresentFor").as_deref(), Some("500"));
        assert_eq!(attempt.param("resume"), None);
        assert_eq!(attempt.request.host, "main.realtime.ably.net");
        assert_eq!((attempt.request.port, attempt.request.tls), (443, true));
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        expect(&mut changes, &[ConnectionState::Connecting, ConnectionState::Connected]).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(client.connection().key().as_deref(), Some("key-1"));
        // Connecting again changes nothing (RTN11e).
        client.connection().connect();
        client.connection().ping_is_answered(&mut peer).await;
        assert!(service.is_quiet());
    }
}

trait PingIsAnswered {
    async fn ping_is_answered(&self, peer: &mut Peer);
}

impl PingIsAnswered for capably::realtime::Connection {
    async fn ping_is_answered(&self, peer: &mut Peer) {
        let ping = self.ping();
        let answer = async {
            match peer.receive().await {
                Some(ClientFrame::Heartbeat { id: Some(id) }) => {
                    // An answer to another ping is not an answer to this one (RTN13e).
                    peer.send(ServerFrame::Heartbeat { id: None });
                    peer.send(ServerFrame::Heartbeat { id: Some("another".into()) });
                    tokio::time::advance(Duration::from_millis(70)).await;
                    peer.send(ServerFrame::Heartbeat { id: Some(id) });
                }
                other => panic!("not a ping: {other:?}"),
            }
        };
        let (round_trip, ()) = tokio::join!(ping, answer);
        assert_eq!(round_trip.unwrap(), Duration::from_millis(70));
    }
}

// Spec: RTN14d, RTB1, RTB1a, RTB1b, RTN25, RTN27c, TA2
in_both_formats! {
    async fn refused_then_retried_with_backoff(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut waits = Vec::new();
        let mut attempt = service.attempt().await;
        for _ in 0..4 {
            attempt.refuse();
            expect(&mut changes, &[ConnectionState::Connecting]).await;
            let change = next_state(&mut changes).await;
            assert_eq!(change.current, ConnectionState::Disconnected);
            assert_eq!(change.reason.unwrap().code.0, 80000);
            assert_eq!(code(&client), Some(80000));
            let promised = change.retry_in.unwrap();
            let since = Instant::now();
            attempt = service.attempt().await;
            // The clock of the runtime counts in milliseconds.
            assert!(since.elapsed().abs_diff(promised) <= Duration::from_millis(2));
            waits.push(promised.as_secs_f64() / 15.0);
        }
        for (retry, wait) in [1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0].iter().zip(&waits) {
            assert!((retry * 0.8..=*retry).contains(wait), "{waits:?}");
        }
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(code(&client), None);
    }
}

// Spec: RTN14c
in_both_formats! {
    async fn an_attempt_without_an_answer_times_out(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        let start = Instant::now();
        client.connection().connect();
        let mut dialled = service.attempt().await;
        expect(&mut changes, &[ConnectionState::Connecting]).await;
        let change = next_state(&mut changes).await;
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.reason.unwrap().code.0, 80014);
        assert_eq!(start.elapsed().as_secs(), 10);
        dialled.abandoned().await;
        // The same holds for an open socket without a frame.
        let mut silent = service.accept().await;
        expect(&mut changes, &[ConnectionState::Connecting, ConnectionState::Disconnected]).await;
        silent.closed().await;
    }
}

// Spec: RTN14a, RTN14g, RTN27h, RTN11d, RTN4f
in_both_formats! {
    async fn a_connection_error_is_final(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(error(None, 40101, 401));
        expect(&mut changes, &[ConnectionState::Connecting]).await;
        let change = next_state(&mut changes).await;
        assert_eq!(change.current, ConnectionState::Failed);
        assert_eq!(change.reason.unwrap().code.0, 40101);
        assert_eq!(change.retry_in, None);
        assert_eq!(code(&client), Some(40101));
        peer.closed().await;
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(client.connection().state(), ConnectionState::Failed);
        assert!(service.is_quiet());
        // The application may connect again, with a fresh state (RTN11d).
        client.connection().connect();
        let mut peer = service.accept().await;
        assert_eq!(code(&client), None);
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

// Spec: RTN15a, RTN15h3, RTN15b, RTN15b1, RTN15c6, RTN15e
in_both_formats! {
    async fn a_lost_transport_is_resumed_at_once(format) {
        let (client, mut service, peer) = connected(format).await;
        let mut changes = client.connection().changes();
        let lost = Instant::now();
        drop(peer);
        let attempt = service.attempt().await;
        assert!(lost.elapsed() < Duration::from_millis(2));
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        let change = next_state(&mut changes).await;
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.retry_in, Some(Duration::ZERO));
        assert_eq!(change.reason.unwrap().code.0, 80003);
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-2"));
        expect(&mut changes, &[ConnectionState::Connecting, ConnectionState::Connected]).await;
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        assert_eq!(client.connection().key().as_deref(), Some("key-2"));
        // The next resume uses the newest key (RTN15e).
        peer.send(ServerFrame::Disconnected { error: Some(info(80003, 503)) });
        assert_eq!(service.attempt().await.param("resume").as_deref(), Some("key-2"));
        peer.closed().await;
    }
}

// Spec: RTN15c7
in_both_formats! {
    async fn a_resume_that_fails_gives_a_new_connection(format) {
        let (client, mut service, peer) = connected(format).await;
        let mut changes = client.connection().changes();
        drop(peer);
        let mut peer = service.accept().await;
        let mut frame = match connected_frame("connection-2", "key-2") {
            ServerFrame::Connected(connected) => *connected,
            other => panic!("{other:?}"),
        };
        frame.error = Some(info(80018, 400));
        peer.send(ServerFrame::Connected(Box::new(frame)));
        expect(&mut changes, &[ConnectionState::Disconnected, ConnectionState::Connecting]).await;
        let change = next_state(&mut changes).await;
        assert_eq!(change.current, ConnectionState::Connected);
        assert_eq!(change.reason.unwrap().code.0, 80018);
        assert_eq!(code(&client), Some(80018));
        assert_eq!(client.connection().id().as_deref(), Some("connection-2"));
    }
}

// Spec: RTN14e, RTN14f, RTN14h, RTN27d, RTN11c, RTN13b
in_both_formats! {
    async fn suspended_after_the_state_ttl(format) {
        let (client, mut service, peer) = connected(format).await;
        let mut changes = client.connection().changes();
        let lost = Instant::now();
        drop(peer);
        let suspended = loop {
            tokio::select! {
                attempt = service.attempt() => attempt.refuse(),
                change = next_state(&mut changes) => {
                    if change.current == ConnectionState::Suspended {
                        break change;
                    }
                }
            }
        };
        assert_eq!(lost.elapsed().as_secs(), 120);
        assert_eq!(suspended.retry_in, Some(Duration::from_secs(30)));
        assert_eq!(suspended.reason.unwrap().code.0, 80002);
        assert_eq!(client.connection().ping().await.unwrap_err().code().0, 80002);
        // Attempts continue every 30 s, and still try to resume (RTN14h).
        for _ in 0..3 {
            let before = Instant::now();
            let attempt = service.attempt().await;
            assert_eq!(before.elapsed().as_secs(), 30);
            assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
            expect(&mut changes, &[ConnectionState::Connecting]).await;
            attempt.refuse();
            expect(&mut changes, &[ConnectionState::Suspended]).await;
        }
        // A connect call ends the wait (RTN11c).
        client.connection().connect();
        let before = Instant::now();
        let mut peer = service.accept().await;
        assert!(before.elapsed() < Duration::from_millis(2));
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

// Spec: RTN23a, RTN23b
in_both_formats! {
    async fn a_silent_connection_is_replaced(format) {
        let (client, mut service, mut peer) = connected(format).await;
        // Every frame is a sign of life, also a WebSocket ping (RTN23).
        for sign in 0..6 {
            tokio::time::sleep_until(Instant::now() + Duration::from_secs(20)).await;
            assert_eq!(client.connection().state(), ConnectionState::Connected);
            if sign % 2 == 0 {
                peer.ping();
            } else {
                peer.send(ServerFrame::Heartbeat { id: None });
            }
        }
        client.connection().ping_is_answered(&mut peer).await;
        let silent = Instant::now();
        let attempt = service.attempt().await;
        assert_eq!(silent.elapsed().as_secs(), 25);
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        assert_eq!(code(&client), Some(80014));
        peer.closed().await;
    }
}

// Spec: RTN13c
in_both_formats! {
    async fn a_ping_without_an_answer_times_out(format) {
        let (client, _service, mut peer) = connected(format).await;
        let start = Instant::now();
        let error = client.connection().ping().await.unwrap_err();
        assert_eq!(error.code().0, 50003);
        assert_eq!(start.elapsed().as_secs(), 10);
        assert!(matches!(peer.receive().await, Some(ClientFrame::Heartbeat { id: Some(_) })));
    }
}

// Spec: RTN13d
in_both_formats! {
    async fn a_ping_waits_for_the_connection(format) {
        let (client, mut service) = client(format);
        assert_eq!(client.connection().ping().await.unwrap_err().code().0, 80009);
        client.connection().connect();
        let peer = async {
            let mut peer = service.accept().await;
            tokio::time::advance(Duration::from_secs(3)).await;
            peer.send(connected_frame("connection-1", "key-1"));
            match peer.receive().await {
                Some(ClientFrame::Heartbeat { id }) => peer.send(ServerFrame::Heartbeat { id }),
                other => panic!("not a ping: {other:?}"),
            }
            peer
        };
        let (round_trip, _peer) = tokio::join!(client.connection().ping(), peer);
        // The time spent waiting is not part of the round trip.
        assert!(round_trip.unwrap() < Duration::from_millis(2));
    }
}

// Spec: RTN4c, RTN12a, RTN8d, RTN9d, RTN27f, RTN27g, RTC16a
in_both_formats! {
    async fn closing_waits_for_closed(format) {
        let (client, mut service, mut peer) = connected(format).await;
        let mut changes = client.connection().changes();
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            assert_eq!(client.connection().state(), ConnectionState::Closing);
            assert_eq!((client.connection().id(), client.connection().key()), (None, None));
            peer.send(ServerFrame::Closed);
            peer.closed().await;
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        expect(&mut changes, &[ConnectionState::Closing, ConnectionState::Closed]).await;
        assert_eq!(client.connection().ping().await.unwrap_err().code().0, 80017);
        // A new connection is not a resumed one (RTN11d).
        client.connection().connect();
        assert_eq!(service.attempt().await.param("resume"), None);
    }
}

// Spec: RTN12b
in_both_formats! {
    async fn closing_times_out_without_an_answer(format) {
        let (client, _service, mut peer) = connected(format).await;
        let start = Instant::now();
        client.close().await;
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        assert_eq!(peer.receive().await, Some(ClientFrame::Close));
        peer.closed().await;
    }
}

// Spec: RTN12c
in_both_formats! {
    async fn a_socket_lost_while_closing_is_closed(format) {
        let (client, _service, mut peer) = connected(format).await;
        let start = Instant::now();
        let service_side = async {
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            drop(peer);
        };
        tokio::join!(client.close(), service_side);
        assert!(start.elapsed() < Duration::from_millis(2));
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
}

in_both_formats! {
    async fn closing_while_dialling_a_black_hole_returns_at_once(format) {
        let (client, mut service) = client(format);
        let mut changes = client.connection().changes();
        client.connection().connect();
        let mut dialled = service.attempt().await;
        let start = Instant::now();
        client.close().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        expect(
            &mut changes,
            &[ConnectionState::Connecting, ConnectionState::Closing, ConnectionState::Closed],
        )
        .await;
        dialled.abandoned().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(service.is_quiet());
    }
}

// Spec: RTN12f
in_both_formats! {
    async fn closing_while_the_service_accepts_closes_properly(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        // The socket opens before the client processes the close.
        tokio::time::advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
        let service_side = async {
            client.connection().when(ConnectionState::Closing).await.unwrap();
            peer.send(connected_frame("connection-1", "key-1"));
            assert_eq!(peer.receive().await, Some(ClientFrame::Close));
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(client.close(), service_side);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
    }
}

// Spec: RTN12d
in_both_formats! {
    async fn closing_while_waiting_to_retry_is_immediate(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let start = Instant::now();
        client.close().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(client.connection().state(), ConnectionState::Closed);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(service.is_quiet());
    }
}

// Spec: RTN11b, RTL3b
in_both_formats! {
    async fn connecting_while_closing_leaves_the_old_transport(format) {
        let (client, mut service, mut old) = connected(format).await;
        let channel = client.channels().get("ch");
        let (attached, _) = tokio::join!(channel.attach(), old.attach("ch"));
        attached.unwrap();
        let closing = client.close();
        tokio::pin!(closing);
        tokio::select! {
            biased;
            () = &mut closing => panic!("CLOSED has not come"),
            frame = old.receive() => assert_eq!(frame, Some(ClientFrame::Close)),
        }
        let mut states = channel.changes();
        client.connection().connect();
        let mut peer = service.accept().await;
        assert_eq!(states.next().await.unwrap().current, capably::realtime::ChannelState::Detached);
        assert_eq!(
            states.next().await.unwrap().current,
            capably::realtime::ChannelState::Initialized
        );
        old.send(ServerFrame::Closed);
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("connection-2"));
    }
}

// Spec: RTN24, RTN4h
in_both_formats! {
    async fn a_second_connected_is_an_update(format) {
        let (client, _service, mut peer) = connected(format).await;
        let mut changes = client.connection().changes();
        let mut frame = match connected_frame("connection-1", "key-7") {
            ServerFrame::Connected(connected) => *connected,
            other => panic!("{other:?}"),
        };
        frame.error = Some(info(40142, 401));
        peer.send(ServerFrame::Connected(Box::new(frame)));
        let change = next_state(&mut changes).await;
        assert_eq!(change.event, ConnectionEvent::Update);
        assert_eq!(change.previous, ConnectionState::Connected);
        assert_eq!(change.current, ConnectionState::Connected);
        assert_eq!(change.reason.unwrap().code.0, 40142);
        assert_eq!(client.connection().key().as_deref(), Some("key-7"));
    }
}

// Spec: RTN21, CD2f, CD2h, DF1, DF1a
in_both_formats! {
    async fn the_service_may_set_the_limits(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(ServerFrame::Connected(Box::new(Connected {
            connection_id: Some("connection-1".into()),
            details: Some(capably_protocol::ConnectionDetails {
                connection_key: Some("key-1".into()),
                max_idle_interval: Some(2_000),
                connection_state_ttl: Some(5_000),
                ..Default::default()
            }),
            error: None,
        })));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let silent = Instant::now();
        let resume = service.attempt().await;
        assert_eq!(silent.elapsed().as_secs(), 12);
        // The attempt itself may take longer than the TTL; it then ends in SUSPENDED.
        let mut changes = client.connection().changes();
        let change = next_state(&mut changes).await;
        assert_eq!(change.current, ConnectionState::Suspended);
        assert_eq!(silent.elapsed().as_secs(), 22);
        assert!(resume.is_abandoned());
    }
}

in_both_formats! {
    async fn repeated_drops_are_retried_with_delay(format) {
        let (client, mut service, mut peer) = connected(format).await;
        for number in 2..=6 {
            let lost = Instant::now();
            peer.send(ServerFrame::Disconnected { error: Some(info(80003, 503)) });
            peer = service.accept().await;
            assert!(lost.elapsed() < Duration::from_millis(2), "attempt {number} is immediate");
            peer.send(connected_frame("connection-1", "key-1"));
            client.connection().when(ConnectionState::Connected).await.unwrap();
        }
        let lost = Instant::now();
        peer.send(ServerFrame::Disconnected { error: Some(info(80003, 503)) });
        peer = service.accept().await;
        assert!((12..=15).contains(&lost.elapsed().as_secs()), "{:?}", lost.elapsed());
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        // A long-lived connection resets the backoff.
        tokio::time::advance(Duration::from_secs(2)).await;
        let lost = Instant::now();
        peer.send(ServerFrame::Disconnected { error: Some(info(80003, 503)) });
        service.accept().await;
        assert!(lost.elapsed() < Duration::from_millis(2));
    }
}

in_both_formats! {
    async fn a_client_shows_no_secret(format) {
        let (client, _service, mut peer) = connected(format).await;
        let channel = client.channels().get("ch");
        let (subscribed, _) = tokio::join!(async { channel.subscribe().await }, peer.attach("ch"));
        let mut message = capably::Message::new("n", "d");
        message.connection_key = Some("key-1".into());
        let publish = channel.publish_message(message);
        let shown = format!("{client:?} {channel:?} {:?} {publish:?}", subscribed.unwrap());
        assert!(shown.contains("connection-1"), "{shown}");
        assert!(!shown.contains("key-1") && !shown.contains("keySecret"), "{shown}");
    }
}
