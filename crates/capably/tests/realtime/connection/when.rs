//! Waiting for a state (RTN26).

use std::time::Duration;

use capably::{
    Error, Realtime,
    realtime::{ConnectionState, ConnectionStateChange},
};
use tokio::task::JoinHandle;

use crate::{in_both_formats, support::*};

type Waiting = JoinHandle<Result<Option<ConnectionStateChange>, Error>>;

fn waiting(client: &Realtime, state: ConnectionState) -> Waiting {
    let connection = client.connection().clone();
    tokio::spawn(async move { connection.when(state).await })
}

/// Runs all tasks that are ready.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

// UTS: realtime/unit/RTN26a/immediate-callback-current-state-0
in_both_formats! {
    async fn waiting_for_the_current_state_returns_at_once_without_a_change(format) {
        let (client, _service, _peer) = connected(format).await;
        let start = tokio::time::Instant::now();
        assert_eq!(client.connection().when(ConnectionState::Connected).await.unwrap(), None);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

// UTS: realtime/unit/RTN26b/deferred-callback-future-state-0
in_both_formats! {
    async fn waiting_for_a_later_state_returns_its_change(format) {
        let (client, mut service) = client(format);
        assert_eq!(client.connection().state(), ConnectionState::Initialized);
        let waiting = waiting(&client, ConnectionState::Connected);
        settle().await;
        assert!(!waiting.is_finished());
        client.connection().connect();
        let mut peer = service.accept().await;
        assert!(!waiting.is_finished());
        peer.send(connected_frame("connection-1", "key-1"));
        let change = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!(change.current, ConnectionState::Connected);
        assert_eq!(change.previous, ConnectionState::Connecting);
    }
}

// The second connection shows that the wait ended with the first.
// UTS: realtime/unit/RTN26b/fires-only-once-1
in_both_formats! {
    async fn each_wait_ends_at_the_next_change(format) {
        let (client, mut service) = client(format);
        let waiting = waiting(&client, ConnectionState::Connected);
        settle().await;
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        let change = waiting.await.unwrap().unwrap().unwrap();
        assert_eq!(client.connection().id().as_deref(), Some("connection-1"));
        let mut changes = client.connection().changes();
        drop(peer);
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        let again = loop {
            let change = changes.next().await.unwrap();
            if change.current == ConnectionState::Connected {
                break change;
            }
        };
        assert_eq!(again.previous, change.previous);
        assert_eq!(client.connection().id().as_deref(), Some("connection-2"));
    }
}

// UTS: realtime/unit/RTN26a/multiple-whenstate-calls-1
in_both_formats! {
    async fn several_callers_may_wait(format) {
        let (client, mut service) = client(format);
        let one = waiting(&client, ConnectionState::Connected);
        let two = waiting(&client, ConnectionState::Connected);
        let three = waiting(&client, ConnectionState::Connecting);
        settle().await;
        client.connection().connect();
        let mut peer = service.accept().await;
        assert_eq!(three.await.unwrap().unwrap().unwrap().current, ConnectionState::Connecting);
        peer.send(connected_frame("connection-1", "key-1"));
        for waiting in [one, two] {
            let change = waiting.await.unwrap().unwrap().unwrap();
            assert_eq!(change.current, ConnectionState::Connected);
        }
    }
}

// UTS: realtime/unit/RTN26a/no-fire-for-past-state-2
in_both_formats! {
    async fn a_state_of_the_past_does_not_count(format) {
        let (client, _service, _peer) = connected(format).await;
        let waiting = waiting(&client, ConnectionState::Connecting);
        settle().await;
        advance(200).await;
        settle().await;
        assert!(!waiting.is_finished());
    }
}

// UTS: realtime/unit/RTN26/whenstate-different-states-0
in_both_formats! {
    async fn each_state_can_be_waited_for(format) {
        let (client, mut service) = client(format);
        let initialized = waiting(&client, ConnectionState::Initialized);
        let connecting = waiting(&client, ConnectionState::Connecting);
        let disconnected = waiting(&client, ConnectionState::Disconnected);
        settle().await;
        assert!(initialized.is_finished());
        assert!(!connecting.is_finished() && !disconnected.is_finished());
        client.connection().connect();
        service.attempt().await.refuse();
        assert_eq!(initialized.await.unwrap().unwrap(), None);
        let change = connecting.await.unwrap().unwrap().unwrap();
        assert_eq!(change.current, ConnectionState::Connecting);
        let change = disconnected.await.unwrap().unwrap().unwrap();
        assert_eq!(change.current, ConnectionState::Disconnected);
        assert_eq!(change.reason.unwrap().code.0, 80000);
    }
}

// Spec: RTN26
in_both_formats! {
    async fn a_wait_ends_with_the_reason_when_no_state_follows(format) {
        let (client, _service, mut peer) = connected(format).await;
        let suspended = waiting(&client, ConnectionState::Suspended);
        settle().await;
        peer.send(error(None, 40400, 404));
        assert_eq!(code(suspended.await.unwrap()), 40400);
        // The client had failed before.
        assert_eq!(code(client.connection().when(ConnectionState::Connected).await), 40400);
        assert_eq!(client.connection().when(ConnectionState::Failed).await.unwrap(), None);

        let (closed, _service) = client_with(format, |options| options);
        let connected = waiting(&closed, ConnectionState::Connected);
        settle().await;
        closed.close().await;
        assert_eq!(code(connected.await.unwrap()), 80017);
        assert_eq!(code(closed.connection().when(ConnectionState::Connected).await), 80017);
        assert_eq!(closed.connection().when(ConnectionState::Closed).await.unwrap(), None);
    }
}

// Spec: RTN11d, RTN26b
in_both_formats! {
    async fn a_wait_covers_a_connect_that_was_just_requested(format) {
        let (client, mut service, mut peer) = connected(format).await;
        peer.send(error(None, 40400, 404));
        client.connection().when(ConnectionState::Failed).await.unwrap();
        for round in ["connection-2", "connection-3"] {
            client.connection().connect();
            let accept = async {
                let mut peer = service.accept().await;
                peer.send(connected_frame(round, "key"));
                peer
            };
            let (change, _peer) =
                tokio::join!(client.connection().when(ConnectionState::Connected), accept);
            assert_eq!(change.unwrap().unwrap().current, ConnectionState::Connected);
            client.close().await;
        }
    }
}
