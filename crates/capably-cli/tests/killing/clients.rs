//! The clients: what they do, and what must be true of it.

mod checks;
mod client;
mod guests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use capably::Message;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::{client::Client, guests::Guests};
use crate::{balancer::Balancer, findings::Findings, processes::Cluster};

pub(crate) const COUNT: usize = 30;
const CHANNELS: usize = 6;
/// In which all clients must be connected and every publish must have ended, after the last process is back.
const SETTLE: Duration = Duration::from_secs(45);

pub(crate) struct Clients {
    all: Vec<Client>,
    guests: Guests,
    shared: Arc<Shared>,
}

/// The figures of all clients: their publishes and connections.
struct Shared {
    findings: Arc<Findings>,
    published: AtomicUsize,
    acknowledged: Mutex<Vec<Acknowledged>>,
    /// The number of publishes that failed, by the error.
    refused: Mutex<BTreeMap<String, usize>>,
    logs: Mutex<Vec<Arc<Log>>>,
    leaves: Mutex<Vec<Leave>>,
    connections: AtomicUsize,
}

/// A message that was acknowledged.
struct Acknowledged {
    channel: usize,
    text: String,
    serial: String,
}

/// The messages that a subscriber has received, in order.
struct Log {
    subscriber: String,
    channel: usize,
    received: Mutex<Received>,
    balancer: Arc<Balancer>,
}

#[derive(Default)]
struct Received {
    entries: Vec<Entry>,
    times: Vec<SystemTime>,
}

/// A message, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    text: String,
    serial: String,
}

/// A leave that a client saw.
struct Leave {
    observer: String,
    member: String,
    time: i64,
}

impl Clients {
    pub(crate) async fn start(cluster: &Cluster, key: &str, findings: &Arc<Findings>) -> Self {
        let shared = Arc::new(Shared {
            findings: Arc::clone(findings),
            published: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
            refused: Mutex::default(),
            logs: Mutex::default(),
            leaves: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.port).collect();
        let mut all = Vec::new();
        for number in 0..COUNT {
            all.push(Client::start(number, &nodes, key, &shared).await);
        }
        Self { all, guests: Guests::new(nodes, key), shared }
    }

    /// Publishes on all clients, loses their connections now and then, and lets guests come and go.
    pub(crate) async fn publish_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for client in &mut self.all {
            tasks.spawn(client.publish_until(end));
            tasks.spawn(client.flap_until(end));
        }
        tasks.spawn(self.guests.come_and_go_until(end));
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    }

    /// Waits until every call has ended.
    pub(crate) async fn finish_publishing(&mut self) {
        let end = Instant::now() + SETTLE;
        for client in &mut self.all {
            client.settle(end).await;
        }
        let shared = &self.shared;
        println!(
            "published {}, acknowledged {}, refused {:?}, connected {} times",
            shared.published.load(Ordering::Relaxed),
            shared.acknowledged.lock().unwrap().len(),
            shared.refused.lock().unwrap(),
            shared.connections.load(Ordering::Relaxed),
        );
    }

    pub(crate) async fn close(self) {
        for client in self.all {
            if timeout(Duration::from_secs(20), client.realtime().close()).await.is_err() {
                self.shared.findings.fault(format!("close() of {} does not end", client.id()));
            }
        }
    }
}

impl Shared {
    fn fault(&self, fault: String) {
        self.findings.fault(fault);
    }
}

impl Entry {
    fn new(message: &Message) -> Self {
        Self {
            text: message.data.as_str().unwrap_or("no text").to_owned(),
            serial: message
                .serial
                .as_ref()
                .map_or_else(|| "no serial".to_owned(), ToString::to_string),
        }
    }
}

fn channel_name(channel: usize) -> String {
    format!("kept:{channel}")
}

/// Tries again until the attempt succeeds or the time is over.
async fn until<T>(
    end: Instant,
    mut attempt: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    loop {
        match attempt().await {
            Err(problem) if Instant::now() >= end => return Err(problem),
            Err(_) => sleep(Duration::from_millis(200)).await,
            Ok(value) => return Ok(value),
        }
    }
}
