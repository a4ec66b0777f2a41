//! Leases: how a node tells the others that it is alive.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{Bucket, Engine, EngineError},
    hub::NodeId,
};

/// The interval at which a node renews its lease. It is a third of the time after which the engine ends it.
pub(super) const RENEWAL: Duration = Duration::from_secs(3);

/// The largest difference between the clocks of two nodes, in ms. Expiry, history and statistics depend on the clocks.
const MAX_CLOCK_DIFFERENCE: i64 = 30_000;

/// The value of a lease.
#[derive(Serialize, Deserialize)]
struct Lease {
    /// The time at which it was renewed, by the clock of the node, in ms since the epoch.
    time: i64,
    /// The version of the node, for operators.
    version: String,
}

/// The value of a new lease.
pub(super) fn lease(time: i64) -> Bytes {
    let lease = Lease { time, version: env!("CARGO_PKG_VERSION").to_owned() };
    serde_json::to_vec(&lease).unwrap_or_default().into()
}

/// The nodes that are alive. `time` is that of this node's clock, in ms since the epoch.
///
/// # Errors
/// An [`EngineError`] when the leases cannot be read, and [`EngineError::Mismatch`] when the clock of this node differs
/// too much from that of another.
pub(super) async fn nodes(engine: &dyn Engine, time: i64) -> Result<BTreeSet<NodeId>, EngineError> {
    let mut nodes = BTreeSet::new();
    for fact in engine.facts(Bucket::Nodes, "", None, 1000).await? {
        let Some(node) = NodeId::parse(&fact.key) else { continue };
        if let Ok(lease) = serde_json::from_slice::<Lease>(&fact.value) {
            let difference = time.saturating_sub(lease.time);
            // A lease may be older by the time until it is renewed, and until it ends.
            if difference.saturating_abs() > MAX_CLOCK_DIFFERENCE {
                return Err(EngineError::Mismatch(format!(
                    "the clock of this machine differs by {} s from that of node {node}: set the clocks of all \
                     nodes, for example with NTP",
                    difference / 1000
                )));
            }
        }
        nodes.insert(node);
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Mesh;

    #[tokio::test]
    async fn a_node_with_another_clock_is_refused() {
        let engine = Mesh::new().node();
        let (now, node) = (1_700_000_000_000, NodeId(7));
        let set = async |time| {
            let fact = (node.to_string(), Some(lease(time)));
            engine.set_facts(Bucket::Nodes, vec![fact]).await.unwrap();
        };
        for difference in [0, 29_000, -29_000] {
            set(now + difference).await;
            assert_eq!(nodes(&*engine, now).await.unwrap(), BTreeSet::from([node]));
        }
        for difference in [3_600_000, -3_600_000, i64::MAX] {
            set(now.saturating_add(difference)).await;
            let problem = nodes(&*engine, now).await.unwrap_err().to_string();
            assert!(problem.contains("the clock of this machine differs by"), "{problem}");
        }
        // A lease of a build that writes it in another form counts all the same.
        let facts =
            vec![(node.to_string(), Some("?".into())), ("no node".into(), Some("?".into()))];
        engine.set_facts(Bucket::Nodes, facts).await.unwrap();
        assert_eq!(nodes(&*engine, now).await.unwrap(), BTreeSet::from([node]));
    }
}
