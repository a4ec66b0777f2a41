//! A machine that sleeps: the wall clock advances, and the monotonic clock stops.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use capably::{ClientOptions, Realtime, realtime::ConnectionState};
use capably_protocol::Format;
use tokio::time::Instant;

use crate::{http::scripted_http::KEY, in_both_formats, support::*, tokens::*};

/// A wall clock that follows the paused clock, and that a sleep sets forward.
#[derive(Clone)]
struct Wall {
    start: Instant,
    slept: Arc<AtomicI64>,
}

impl Wall {
    fn new() -> Self {
        Self { start: Instant::now(), slept: Arc::default() }
    }

    fn options(&self) -> ClientOptions {
        let wall = self.clone();
        ClientOptions::new(KEY).fallback_hosts(NO_HOSTS).wall_clock(move || {
            1_700_000_000_000
                + i64::try_from(wall.start.elapsed().as_millis()).unwrap()
                + wall.slept.load(Ordering::SeqCst)
        })
    }

    fn sleep(&self, seconds: i64) {
        self.slept.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

/// A client that has been connected for 5 s.
async fn settled(format: Format, wall: &Wall) -> (Realtime, Service, Peer) {
    let (client, service, mut peer) = connected_as(format, wall.options()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    quiet(&client, &mut peer).await;
    (client, service, peer)
}

// Spec: RTN23a, RTN15a
in_both_formats! {
    async fn a_connection_that_slept_through_its_idle_limit_is_resumed_at_once(format) {
        let wall = Wall::new();
        let (client, mut service, mut peer) = settled(format, &wall).await;
        wall.sleep(3_600);
        let woke = Instant::now();
        let attempt = service.attempt().await;
        assert!(woke.elapsed() <= Duration::from_secs(1), "{:?}", woke.elapsed());
        assert_eq!(attempt.param("resume").as_deref(), Some("key-1"));
        assert_eq!(reason(&client), Some((80014, Some(408), None)));
        peer.closed().await;
        let mut peer = attempt.accept();
        peer.send(connected_frame("connection-1", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        // Each sleep counts once.
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(service.is_quiet());
    }
}

// Spec: RTN23a
in_both_formats! {
    async fn a_short_sleep_counts_as_silence(format) {
        let wall = Wall::new();
        let (client, mut service, mut peer) = settled(format, &wall).await;
        let heard = Instant::now();
        wall.sleep(8);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.connection().state(), ConnectionState::Connected);
        wall.sleep(8);
        service.attempt().await;
        // The limit of silence is 25 s; the machine slept for 16 s.
        assert_eq!(heard.elapsed().as_secs(), 9);
        peer.closed().await;

        // A frame after the sleep resets the silence.
        let wall = Wall::new();
        let (client, mut service, mut peer) = settled(format, &wall).await;
        wall.sleep(20);
        tokio::time::sleep(Duration::from_secs(2)).await;
        quiet(&client, &mut peer).await;
        let heard = Instant::now();
        service.attempt().await;
        assert_eq!(heard.elapsed().as_secs(), 25);
    }
}

// Spec: RTN11c
in_both_formats! {
    async fn a_sleep_ends_the_wait_for_a_retry(format) {
        let wall = Wall::new();
        let (client, mut service, peer) = settled(format, &wall).await;
        drop(peer);
        service.attempt().await.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        wall.sleep(60);
        let woke = Instant::now();
        let attempt = service.attempt().await;
        assert!(woke.elapsed() <= Duration::from_secs(1), "{:?}", woke.elapsed());
        // The time asleep counts as time without a connection: 120 s are enough to be suspended.
        attempt.refuse();
        client.connection().when(ConnectionState::Disconnected).await.unwrap();
        wall.sleep(60);
        let attempt = service.attempt().await;
        attempt.refuse();
        let change = client.connection().when(ConnectionState::Suspended).await.unwrap().unwrap();
        assert_eq!(change.previous, ConnectionState::Connecting);
        assert!(woke.elapsed() <= Duration::from_secs(2), "{:?}", woke.elapsed());
    }
}

// Spec: RTN14c
in_both_formats! {
    async fn a_sleep_restarts_an_attempt(format) {
        let wall = Wall::new();
        let (client, mut service) = client_of(format, wall.options());
        client.connection().connect();
        let mut dialled = service.attempt().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        wall.sleep(60);
        let woke = Instant::now();
        dialled.abandoned().await;
        let mut peer = service.accept().await;
        assert!(woke.elapsed() <= Duration::from_secs(1), "{:?}", woke.elapsed());
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
    }
}

in_both_formats! {
    async fn small_or_backward_clock_changes_are_no_sleep(format) {
        let wall = Wall::new();
        let (client, mut service, mut peer) = settled(format, &wall).await;
        let heard = Instant::now();
        for seconds in [1, 1, 1, -3_600] {
            wall.sleep(seconds);
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert!(service.is_quiet());
        // A sleep before the first connection has no effect.
        let attempt = service.attempt().await;
        assert_eq!(heard.elapsed().as_secs(), 25);
        peer.closed().await;
        drop(attempt);
        client.close().await;
        wall.sleep(86_400);
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-2", "key-2"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        quiet(&client, &mut peer).await;
        assert!(service.is_quiet());
    }
}
