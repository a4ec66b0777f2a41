//! A mixed load on `capably serve` for a long time, with faults. `cargo xtask soak` runs it, and judges its figures.
//!
//! `cargo bench -p capably --bench soak -- <capably> <seconds> <figures.csv>`, on Linux. `<capably>` is the command.
//! Clients publish to a channel that all of them read, enter its presence, read its history, and attach to channels
//! that they release again. Every two seconds a rule injects a fault. Each ten seconds, the figures get a row.
//! Without arguments, as in `cargo bench`, the program ends at once.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a soak prints what it does, and fails by panicking"
)]

mod load;
mod samples;
mod service;

use std::{env, sync::Arc, time::Duration};

use tokio::time::{Instant, interval_at, sleep_until};

use self::{load::Counts, samples::Samples, service::Service};

const CLIENTS: usize = 20;
const FAULTS_EVERY: Duration = Duration::from_secs(2);
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// How long the clients may take at the end for what they have under way, over faults that are still in force.
const LAST: Duration = Duration::from_secs(60);

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| !it.starts_with("--")).collect();
    let [command, seconds, figures] = &arguments[..] else {
        println!("usage: soak <capably> <seconds> <figures.csv>; see `cargo xtask soak`");
        return;
    };
    let seconds = Duration::from_secs(seconds.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(command, seconds, figures));
}

async fn run(command: &str, time: Duration, figures: &str) {
    let service = Service::start(command);
    let counts = Arc::new(Counts::default());
    let start = Instant::now();
    let end = start + time;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let options = service.options(number);
            tokio::spawn(load::client(number, options, Arc::clone(&counts), end))
        })
        .collect();
    let mut samples = Samples::create(figures);
    let mut faults = interval_at(start + FAULTS_EVERY, FAULTS_EVERY);
    let mut sampling = interval_at(start + SAMPLE_EVERY, SAMPLE_EVERY);
    let done = sleep_until(end);
    tokio::pin!(done);
    loop {
        tokio::select! {
            () = &mut done => break,
            _ = faults.tick() => service.inject_fault().await,
            _ = sampling.tick() => samples.add(start.elapsed(), &service, &counts).await,
        }
    }
    service.clear_faults().await;
    let all = async {
        for client in clients {
            client.await.unwrap();
        }
    };
    tokio::time::timeout(LAST, all).await.expect("a call of a client never ended");
    println!("{}", counts.summary());
}
