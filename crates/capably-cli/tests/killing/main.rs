//! A cluster whose nodes and brokers are killed while clients use it.
//!
//! ```text
//! cargo test -p capably-cli --test killing
//! CAPABLY_KILL_SECONDS=300 CAPABLY_KILL_SEED=7 cargo test -p capably-cli --test killing
//! ```
//!
//! Three brokers and three nodes are processes of their own. Clients of the SDK connect to nodes at random, publish, are
//! present, and subscribe. Every few seconds, a node or a broker gets SIGKILL and is started again; at most one of each is
//! away at a time. Afterwards the run fails if
//!
//! - a message that was acknowledged is in no history, or not with every subscriber,
//! - a message is twice in a history or with a subscriber,
//! - a subscriber has another order than the history, or a publisher's messages are out of order,
//! - a client had to begin a new connection, though it was never away for long,
//! - a member left whose client was connected, or is missing at the end, or is there without its client,
//! - a call of a client does not end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "it is a program for people")]

mod balancer;
mod clients;
mod findings;
mod killer;
mod processes;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{clients::Clients, findings::Findings, killer::Killer, processes::Cluster};

#[tokio::main]
async fn main() -> ExitCode {
    let time = Duration::from_secs(number("CAPABLY_KILL_SECONDS").unwrap_or(30));
    let seed = number("CAPABLY_KILL_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    println!("killing for {} s, CAPABLY_KILL_SEED={seed}", time.as_secs());
    fastrand::seed(seed);
    let began = Instant::now();
    let findings = Arc::new(Findings::new());
    let cluster = Arc::new(Cluster::start().await);
    let key = cluster.create_app().await;
    let mut clients = Clients::start(&cluster, &key, &findings).await;
    println!("{:.1} s: {} clients are ready", began.elapsed().as_secs_f64(), clients::COUNT);

    let killer = Killer::start(&cluster, seed);
    clients.publish_for(time).await;
    let killed = killer.stop().await;
    println!("{:.1} s: {killed}", began.elapsed().as_secs_f64());

    clients.finish_publishing().await;
    println!("{:.1} s: every publish has ended", began.elapsed().as_secs_f64());
    clients.check_messages(&cluster, &key).await;
    println!("{:.1} s: messages are checked", began.elapsed().as_secs_f64());
    clients.check_members(&cluster, &key).await;
    println!("{:.1} s: members are checked", began.elapsed().as_secs_f64());
    clients.close().await;
    cluster.stop().await;
    findings.report()
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable}={value} is not a number")))
}
