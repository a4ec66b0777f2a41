//! Kills nodes and brokers, and starts them again.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{task::JoinHandle, time::sleep};

use crate::processes::{Cluster, Process};

pub(crate) struct Killer {
    ends: Arc<AtomicBool>,
    nodes: JoinHandle<usize>,
    brokers: JoinHandle<usize>,
}

/// How often something was killed.
pub(crate) struct Killed {
    nodes: usize,
    brokers: usize,
}

impl Killer {
    pub(crate) fn start(cluster: &Arc<Cluster>, seed: u64) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let spawn = |pick: fn(&Cluster) -> &[Process], seed| {
            let (cluster, ends) = (Arc::clone(cluster), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut random = Rng::with_seed(seed);
                let mut kills = 0;
                loop {
                    sleep(Duration::from_millis(random.u64(1_000..4_000))).await;
                    if ends.load(Ordering::Relaxed) {
                        return kills;
                    }
                    let process = random.choice(pick(&cluster)).unwrap();
                    process.kill().await;
                    kills += 1;
                    sleep(Duration::from_millis(random.u64(100..4_000))).await;
                    process.start().await;
                    // At most one is away at a time. A broker is back when it has caught up.
                    process.healthy().await;
                }
            })
        };
        let nodes = spawn(Cluster::nodes, seed);
        let brokers = spawn(Cluster::brokers, seed ^ u64::MAX);
        Self { ends, nodes, brokers }
    }

    /// Waits until all processes are back.
    pub(crate) async fn stop(self) -> Killed {
        self.ends.store(true, Ordering::Relaxed);
        Killed { nodes: self.nodes.await.unwrap(), brokers: self.brokers.await.unwrap() }
    }
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "killed a node {} times, a broker {} times", self.nodes, self.brokers)
    }
}
