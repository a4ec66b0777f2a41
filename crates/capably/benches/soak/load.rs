//! The work of a client.

use std::{
    mem,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use capably::{ClientOptions, Realtime};
use tokio::time::{Instant, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_millis(50);
/// A published message is received within this time, over any of the faults.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the clients have done.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    published: AtomicU64,
    received: AtomicU64,
    /// Calls that returned an error: a fault had a part in it.
    refused: AtomicU64,
    /// The times of the publishes since the last row, in milliseconds.
    latencies: Mutex<Vec<f64>>,
}

impl Counts {
    /// The times of the publishes since the last call, the shortest first.
    pub(crate) fn take_latencies(&self) -> Vec<f64> {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies = mem::take(&mut *latencies);
        latencies.sort_by(f64::total_cmp);
        latencies
    }

    pub(crate) fn summary(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} publishes were acknowledged, {} messages received, {} calls returned an error",
            count(&self.published),
            count(&self.received),
            count(&self.refused)
        )
    }

    fn add<T>(&self, counter: &AtomicU64, result: &Result<T, capably::Error>) {
        let counter = if result.is_ok() { counter } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) async fn client(
    number: usize,
    options: ClientOptions,
    counts: std::sync::Arc<Counts>,
    end: Instant,
) {
    let client = Realtime::connect(options).await.unwrap();
    let shared = client.channels().get("shared");
    let mut messages = shared.subscribe().await.unwrap();
    let received = std::sync::Arc::clone(&counts);
    let reader = tokio::spawn(async move {
        while messages.next().await.is_some() {
            received.received.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0_usize;
    while Instant::now() < end {
        tick.tick().await;
        turn += 1;
        let start = Instant::now();
        let publish = shared.publish("tick", "x".repeat(100)).into_future();
        let result = tokio::time::timeout(PATIENCE, publish).await.expect("a publish never ended");
        counts.add(&counts.published, &result);
        if result.is_ok() {
            let mut latencies = counts.latencies.lock().unwrap_or_else(PoisonError::into_inner);
            latencies.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let name = format!("own:{number}:{turn}");
        // Errors are counted: a fault may have met the call. What matters is that each call ends.
        let other = async {
            match turn % 40 {
                10 => shared.presence().enter().data("here").await,
                20 => shared.history().limit(20).await.map(drop),
                30 => shared.presence().leave().await,
                0 | 5 | 15 | 25 | 35 => {
                    let own = client.channels().get(name.as_str());
                    let attached = own.attach().await;
                    client.channels().release(&name);
                    attached
                }
                _ => Ok(()),
            }
        };
        let result = tokio::time::timeout(PATIENCE, other).await.expect("a call never ended");
        if result.is_err() {
            counts.add(&counts.refused, &result);
        }
    }
    client.close().await;
    reader.abort();
}
