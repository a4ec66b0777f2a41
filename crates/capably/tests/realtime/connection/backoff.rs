//! The delays before retries (RTB1).

use std::time::Duration;

use capably::realtime::{ChannelState, ConnectionState};
use tokio::time::Instant;

use crate::{in_both_formats, support::*};

/// The ratio of each delay to the initial one.
const BACKOFF: [f64; 8] = [1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0, 2.0, 2.0, 2.0, 2.0];

// UTS: realtime/unit/RTB1/disconnected-retry-delay-0
// UTS: realtime/unit/RTB1a/backoff-coefficient-sequence-0
in_both_formats! {
    async fn a_connection_waits_longer_each_time(format) {
        let (client, mut service) = client_with(format, |options| {
            options.disconnected_retry_timeout(Duration::from_secs(2))
        });
        client.connection().connect();
        let mut peer = service.accept().await;
        peer.send(connected_frame("connection-1", "key-1"));
        client.connection().when(ConnectionState::Connected).await.unwrap();
        let mut changes = client.connection().changes();
        drop(peer);
        let mut promised = Vec::new();
        for _ in BACKOFF {
            service.attempt().await.refuse();
            loop {
                let change = changes.next().await.unwrap();
                let wait = change.retry_in.filter(|wait| !wait.is_zero());
                if change.current == ConnectionState::Disconnected && let Some(wait) = wait {
                    promised.push(wait.as_secs_f64());
                    break;
                }
            }
        }
        for (wait, backoff) in promised.iter().zip(BACKOFF) {
            assert!((2.0 * backoff * 0.8..=2.0 * backoff).contains(wait), "{promised:?}");
        }
    }
}

// UTS: realtime/unit/RTB1b/jitter-coefficient-range-0
in_both_formats! {
    async fn the_delays_of_two_clients_differ(format) {
        let mut jitters = Vec::new();
        for _ in 0..1_000 {
            let (client, mut service) = client(format);
            let mut changes = client.connection().changes();
            client.connection().connect();
            service.attempt().await.refuse();
            changes.next().await.unwrap();
            let wait = changes.next().await.unwrap().retry_in.unwrap();
            jitters.push(wait.as_secs_f64() / 15.0);
        }
        assert!(jitters.iter().all(|jitter| (0.8..=1.0).contains(jitter)), "{jitters:?}");
        let mean = jitters.iter().sum::<f64>() / jitters.len() as f64;
        assert!((0.85..=0.95).contains(&mean), "{mean}");
        let least = jitters.iter().copied().fold(f64::MAX, f64::min);
        let most = jitters.iter().copied().fold(f64::MIN, f64::max);
        assert!(most - least > 0.05, "{least} {most}");
    }
}

// The changes of a channel do not contain its delay, so the test measures it. A channel attaches again after DETACHED
// (RTL13); after the ERROR of the UTS test it has failed (RTL14).
// UTS: realtime/unit/RTB1/suspended-channel-retry-delay-1
in_both_formats! {
    async fn a_channel_waits_longer_each_time(format) {
        let (_client, _service, mut peer, channel) = with_channel_and(format, |options| {
            options.channel_retry_timeout(Duration::from_secs(3))
        }).await;
        let mut changes = channel.changes();
        peer.send(detached_because("ch", 90001));
        expect_states(&mut changes, &[ChannelState::Attaching]).await;
        for backoff in BACKOFF {
            peer.expect_attach("ch").await;
            peer.send(detached_because("ch", 90001));
            expect_states(&mut changes, &[ChannelState::Suspended]).await;
            let since = Instant::now();
            let change = loop {
                tokio::select! {
                    biased;
                    change = changes.next() => break change.unwrap(),
                    // Without these frames the client would replace the silent connection.
                    () = tokio::time::sleep(Duration::from_millis(500)) => peer.ping(),
                }
            };
            assert_eq!(change.current, ChannelState::Attaching);
            let waited = since.elapsed().as_secs_f64();
            let most = 3.0 * backoff;
            assert!((most * 0.8 - 0.002..=most + 0.002).contains(&waited), "{waited} of {most}");
        }
    }
}
