//! Draining: the server gives up its clients before it stops, a few at a time, so that the other nodes are not overrun.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::{
    front::Shared,
    hub::{Need, error},
    server::LONGEST,
};

/// The time between two batches of clients.
const STEP: Duration = Duration::from_millis(100);

/// The fewest clients of a batch, so that a server with few clients does not take the whole time.
const MIN_BATCH: usize = 10;

/// The part of the time in which the last clients can read the frames sent to them.
const LINGER: Duration = Duration::from_secs(1);

/// Gives up all clients within `time`, after an announcement of `notice` in which the server still accepts new ones.
///
/// Each client gets the acknowledgements for everything that the server has read from it, and a DISCONNECTED (80003),
/// at which it connects again at once (RTN15h3). Returns when no client is connected any more, or when the time is over.
pub(crate) async fn drain(shared: &Shared, notice: Duration, time: Duration) {
    let readiness = &shared.operating.readiness;
    readiness.announce_drain();
    tracing::info!(connections = shared.transports(), ?notice, ?time, "the server drains");
    tokio::time::sleep(notice).await;
    readiness.close();
    let deadline = Instant::now() + time.min(LONGEST);
    let given_up = async {
        give_up(shared, time.saturating_sub(LINGER)).await;
        shared.operating.transports.emptied().await;
    };
    if timeout_at(deadline, given_up).await.is_err() {
        tracing::warn!(connections = shared.transports(), "some clients are still connected");
    }
}

/// Disconnects the clients in batches over `time`, the oldest transports first.
async fn give_up(shared: &Shared, time: Duration) {
    let end = Instant::now() + time.min(LONGEST);
    let mut steps = interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        steps.tick().await;
        // Listed anew for each step: a client that was accepted before the server closed may have connected since.
        let remaining = shared.operating.transports.after(last);
        if remaining.is_empty() {
            return;
        }
        let time_left = end.saturating_duration_since(Instant::now());
        for (transport, app) in remaining.iter().take(batch_size(remaining.len(), time_left)) {
            // What the engine has yet to commit is acknowledged first.
            let _ = timeout(LINGER, app.fetch(Need::Settled, Some(*transport))).await;
            let (now, error) = (shared.now(), error::shutting_down());
            app.with(|hub, outputs| hub.disconnect(*transport, error, now, outputs));
            last = Some(*transport);
        }
    }
}

/// How many of the remaining clients are disconnected in a step.
fn batch_size(remaining: usize, time_left: Duration) -> usize {
    let steps = time_left.as_millis() / STEP.as_millis() + 1;
    remaining.div_ceil(usize::try_from(steps).unwrap_or(usize::MAX)).max(MIN_BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_spreads_its_clients_evenly_over_the_time() {
        let (mut remaining, mut left) = (10_000, Duration::from_secs(20));
        let mut batches = Vec::new();
        while remaining > 0 {
            let batch = batch_size(remaining, left).min(remaining);
            batches.push(batch);
            remaining -= batch;
            left = left.saturating_sub(STEP);
        }
        assert_eq!(batches.len(), 201);
        assert!(batches.iter().all(|batch| (49..=50).contains(batch)), "{batches:?}");
    }

    #[test]
    fn a_batch_has_a_minimum_size_and_without_time_contains_all_clients() {
        assert_eq!(batch_size(5, Duration::from_secs(3600)), MIN_BATCH);
        assert_eq!(batch_size(5, Duration::MAX), MIN_BATCH);
        assert_eq!(batch_size(100_000, Duration::ZERO), 100_000);
    }
}
