//! Messages from a publisher through the server to a subscriber: the rates for payloads and for listeners.

use std::{sync::Arc, time::Instant};

use capably::realtime::{Receipt, Subscription};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    Loads, median,
    process::{Process, runtime},
};

/// The most messages that the publisher has sent and the first listener has not received.
const IN_FLIGHT: usize = 256;
const ROUNDS: usize = 3;
/// The bytes that a message of the largest payload needs beside it: the service counts its name.
const NAME: usize = 4;

pub(crate) fn payload(loads: Loads) -> Vec<Vec<f64>> {
    let row = |bytes: usize| {
        let size = if bytes == 65_536 { bytes - NAME } else { bytes };
        let messages = (256 * 1024 * 1024 / bytes).min(50_000);
        let rate = rate(messages, size, 1);
        vec![bytes as f64, rate, rate * size as f64 / (1024.0 * 1024.0)]
    };
    loads.from(16, 4).into_iter().map(row).collect()
}

pub(crate) fn listeners(loads: Loads) -> Vec<Vec<f64>> {
    let row = |listeners: usize| {
        let rate = rate((2_000_000 / listeners).min(100_000), 100, listeners);
        vec![listeners as f64, rate, rate * listeners as f64]
    };
    loads.from(1, 10).into_iter().map(row).collect()
}

/// Messages a second, until each listener has received each message: the median of some rounds.
fn rate(messages: usize, size: usize, listeners: usize) -> f64 {
    let server = Process::start();
    runtime().block_on(async {
        let (publisher, subscriber) = (server.client().await, server.client().await);
        let channel = publisher.channels().get("prices");
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let window = Arc::new(Semaphore::new(IN_FLIGHT));
            let mut tasks = JoinSet::new();
            for number in 0..listeners {
                let subscription = subscriber.channels().get("prices").subscribe().await.unwrap();
                let window = (number == 0).then(|| Arc::clone(&window));
                tasks.spawn(receive(subscription, messages, window));
            }
            let data = "x".repeat(size);
            let start = Instant::now();
            let mut receipts: Vec<Receipt> = Vec::with_capacity(IN_FLIGHT);
            for _ in 0..messages {
                window.acquire().await.unwrap().forget();
                receipts.push(channel.publish("tick", data.as_str()).submit().await.unwrap());
                if receipts.len() == IN_FLIGHT {
                    for receipt in receipts.drain(..) {
                        receipt.await.unwrap();
                    }
                }
            }
            while let Some(task) = tasks.join_next().await {
                task.unwrap();
            }
            rates.push(messages as f64 / start.elapsed().as_secs_f64());
        }
        median(rates)
    })
}

async fn receive(mut subscription: Subscription, messages: usize, window: Option<Arc<Semaphore>>) {
    for _ in 0..messages {
        subscription.next().await.unwrap();
        if let Some(window) = &window {
            window.add_permits(1);
        }
    }
}
