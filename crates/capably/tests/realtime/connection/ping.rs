//! Pings (RTN13).

use std::time::Duration;

use capably::{Error, Realtime, realtime::ConnectionState};
use capably_protocol::{ClientFrame, Format, ServerFrame};
use tokio::{task::JoinHandle, time::Instant};

use crate::{in_both_formats, support::*};

fn pinging(client: &Realtime) -> JoinHandle<Result<Duration, Error>> {
    let connection = client.connection().clone();
    tokio::spawn(async move { connection.ping().await })
}

/// The id of the next ping.
async fn heard(peer: &mut Peer) -> capably::Str {
    match peer.receive().await {
        Some(ClientFrame::Heartbeat { id: Some(id) }) => id,
        other => panic!("not a ping: {other:?}"),
    }
}

fn answer(id: Option<&str>) -> ServerFrame {
    ServerFrame::Heartbeat { id: id.map(Into::into) }
}

/// A client whose requests time out after 2 s.
fn impatient(format: Format) -> (Realtime, Service) {
    client_with(format, |options| options.realtime_request_timeout(Duration::from_secs(2)))
}

// UTS: realtime/unit/RTN13a/ping-heartbeat-roundtrip-0
// Spec: RTN13
// UTS: realtime/unit/RTN13e/heartbeat-random-id-0
in_both_formats! {
    async fn a_ping_returns_the_round_trip_time(format) {
        let (client, _service, mut peer) = connected(format).await;
        let ping = pinging(&client);
        let id = heard(&mut peer).await;
        assert!(!id.is_empty());
        peer.send(answer(Some("wrong-id")));
        advance(30).await;
        peer.send(answer(Some(&id)));
        assert_eq!(ping.await.unwrap().unwrap(), Duration::from_millis(30));
        quiet(&client, &mut peer).await;
    }
}

// UTS: realtime/unit/RTN13e/no-id-heartbeat-ignored-1
in_both_formats! {
    async fn a_heartbeat_without_an_id_answers_no_ping(format) {
        let (client, _service, mut peer) = connected(format).await;
        let ping = pinging(&client);
        let id = heard(&mut peer).await;
        peer.send(answer(None));
        quiet(&client, &mut peer).await;
        assert!(!ping.is_finished());
        peer.send(answer(Some(&id)));
        ping.await.unwrap().unwrap();
    }
}

// UTS: realtime/unit/RTN13e/concurrent-pings-unique-ids-2
in_both_formats! {
    async fn each_ping_has_its_own_id_and_answer(format) {
        let (client, _service, mut peer) = connected(format).await;
        let (first, second) = (pinging(&client), pinging(&client));
        let (one, two) = (heard(&mut peer).await, heard(&mut peer).await);
        assert_ne!(one, two);
        advance(10).await;
        peer.send(answer(Some(&two)));
        assert_eq!(second.await.unwrap().unwrap(), Duration::from_millis(10));
        assert!(!first.is_finished());
        advance(10).await;
        peer.send(answer(Some(&one)));
        assert_eq!(first.await.unwrap().unwrap(), Duration::from_millis(20));
    }
}

// UTS: realtime/unit/RTN13c/ping-timeout-0
in_both_formats! {
    async fn time_out(format) {
        let (client, mut service) = impatient(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let start = Instant::now();
        let error = client.connection().ping().await.unwrap_err();
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!((error.code().0, error.status()), (50003, Some(408)));
        assert!(error.message().contains("timeout"), "{error}");
    }
}

// UTS: realtime/unit/RTN13b/ping-error-initialized-0
// UTS: realtime/unit/RTN13b/ping-error-suspended-1
// UTS: realtime/unit/RTN13b/ping-error-closed-2
// UTS: realtime/unit/RTN13b/ping-error-failed-3
in_both_formats! {
    async fn a_ping_fails_in_states_without_a_coming_connection(format) {
        let (suspended, mut service, peer) = connected(format).await;
        let initialized = client(format).0;
        assert_eq!(code(initialized.connection().ping().await), 80009);

        suspend(&suspended, &mut service, peer).await;
        assert_eq!(code(suspended.connection().ping().await), 80002);

        let (closed, _service, mut peer) = connected(format).await;
        let goodbye = async {
            peer.receive().await;
            // A ping fails while closing, too.
            assert_eq!(code(closed.connection().ping().await), 80017);
            peer.send(ServerFrame::Closed);
        };
        tokio::join!(closed.close(), goodbye);
        assert_eq!(code(closed.connection().ping().await), 80017);

        let (failed, _service, mut peer) = connected(format).await;
        peer.send(error(None, 40005, 400));
        failed.connection().when(ConnectionState::Failed).await.unwrap();
        assert_eq!(code(failed.connection().ping().await), 80000);
    }
}

// UTS: realtime/unit/RTN13d/ping-deferred-connecting-0
// UTS: realtime/unit/RTN13c/deferred-ping-timeout-1
in_both_formats! {
    async fn a_ping_waits_while_connecting(format) {
        let (client, mut service) = impatient(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        assert_eq!(client.connection().state(), ConnectionState::Connecting);
        let (answered, unanswered) = (pinging(&client), pinging(&client));
        advance(200).await;
        peer.send(connected_frame("connection-1", "key-1"));
        let connected_at = Instant::now();
        let id = heard(&mut peer).await;
        heard(&mut peer).await;
        peer.send(answer(Some(&id)));
        assert!(answered.await.unwrap().unwrap() < Duration::from_millis(2));
        // The time limit starts with the connection.
        let error = unanswered.await.unwrap().unwrap_err();
        assert_eq!(connected_at.elapsed().as_secs(), 2);
        assert_eq!(error.code().0, 50003);
        assert!(error.message().contains("timeout"), "{error}");
    }
}

// UTS: realtime/unit/RTN13d/ping-deferred-disconnected-1
in_both_formats! {
    async fn a_ping_waits_while_disconnected(format) {
        let (client, mut service, peer) = connected(format).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let ping = pinging(&client);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-2"));
        let id = heard(&mut peer).await;
        peer.send(answer(Some(&id)));
        ping.await.unwrap().unwrap();
        quiet(&client, &mut peer).await;
    }
}

// UTS: realtime/unit/RTN13b/deferred-ping-error-failed-4
in_both_formats! {
    async fn a_waiting_ping_fails_with_the_connection(format) {
        let (client, mut service) = client(format);
        client.connection().connect();
        let mut peer = service.accept().await;
        let ping = pinging(&client);
        advance(200).await;
        peer.send(error(None, 40005, 400));
        assert_eq!(code(ping.await.unwrap()), 40005);
        assert_eq!(client.connection().state(), ConnectionState::Failed);
    }
}

// UTS: realtime/unit/RTN13b/deferred-ping-error-suspended-5
in_both_formats! {
    async fn a_waiting_ping_fails_when_the_connection_is_suspended(format) {
        let (client, mut service, peer) = connected(format).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        let ping = pinging(&client);
        let start = Instant::now();
        let refusals = async {
            loop {
                service.attempt().await.refuse();
            }
        };
        tokio::select! {
            outcome = ping => assert_eq!(code(outcome.unwrap()), 80002),
            () = refusals => {}
        }
        assert_eq!(start.elapsed().as_secs(), 120);
    }
}
