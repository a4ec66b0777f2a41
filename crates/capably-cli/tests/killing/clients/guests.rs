//! Members that stay for a few seconds. None may be there at the end.

use std::time::Duration;

use capably::Realtime;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{CHANNELS, channel_name, client::options};
use crate::balancer::Balancer;

/// How many are there at the same time.
const AT_ONCE: usize = 4;

pub(super) struct Guests {
    nodes: Vec<u16>,
    key: String,
}

impl Guests {
    pub(super) fn new(nodes: Vec<u16>, key: &str) -> Self {
        Self { nodes, key: key.to_owned() }
    }

    pub(super) fn come_and_go_until(
        &self,
        end: Instant,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (nodes, key) = (self.nodes.clone(), self.key.clone());
        async move {
            let mut places = JoinSet::new();
            for place in 0..AT_ONCE {
                let (nodes, key) = (nodes.clone(), key.clone());
                places.spawn(async move {
                    let mut number = 0;
                    while Instant::now() < end {
                        visit(&nodes, &key, &format!("guest{place}.{number}")).await;
                        number += 1;
                    }
                });
            }
            while let Some(ended) = places.join_next().await {
                ended.unwrap();
            }
        }
    }
}

/// Enters, stays, and goes: by leaving, by closing, or without a word.
async fn visit(nodes: &[u16], key: &str, name: &str) {
    let balancer = Balancer::start(nodes.to_vec()).await;
    let realtime = Realtime::new(options(key, &balancer, name)).unwrap();
    let room = realtime.channels().get(channel_name(fastrand::usize(..CHANNELS)));
    // A guest that gets no answer in time goes without a word as well: its entry may be stored.
    let entered = timeout(Duration::from_secs(10), room.presence().enter().into_future()).await;
    sleep(Duration::from_millis(fastrand::u64(..4_000))).await;
    if matches!(entered, Ok(Ok(()))) {
        let _ = match fastrand::u8(..3) {
            0 => {
                timeout(Duration::from_secs(5), room.presence().leave().into_future()).await.is_ok()
            }
            1 => timeout(Duration::from_secs(5), realtime.close()).await.is_ok(),
            _ => true,
        };
    }
    balancer.cut_off();
}
