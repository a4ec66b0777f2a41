//! When a node of a cluster writes a snapshot of a channel's objects.

use std::collections::BTreeSet;

use super::{
    super::departing::{CHANNEL, Node},
    *,
};
use crate::hub::{
    NodeId, SnapshotEnd,
    log::proposal::{Body, Items, Operations},
};

const HERE: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
/// Longer than the time from a change to its snapshot.
const MINUTE: Duration = Duration::from_secs(61);

impl Node {
    /// A node sets a key of the root.
    fn set_at(&mut self, node: NodeId, key: &str) {
        let items = vec![set_text("root", key, "x")];
        let frame = Items { id: None, connection: None, items };
        let grace = Duration::from_secs(24 * 3600);
        self.commit_at(node, Body::Objects(Operations { frame, grace }));
        self.follow();
    }

    /// The snapshots that are to be written by now.
    fn drafts(&mut self) -> usize {
        let outputs = std::mem::take(&mut self.bench.outputs);
        outputs.iter().filter(|it| matches!(it, Output::SaveObjects(..))).count()
    }

    fn drafts_after(&mut self, time: Duration) -> usize {
        self.bench.advance(time);
        self.drafts()
    }

    fn saved(&mut self, end: SnapshotEnd) {
        self.bench.app.objects_saved(&CHANNEL, end, self.bench.now);
    }

    fn alive(&mut self, nodes: &[NodeId]) {
        let nodes: BTreeSet<_> = nodes.iter().copied().collect();
        self.bench.app.set_nodes(nodes, self.bench.now, &mut Vec::new());
    }
}

#[test]
fn one_snapshot_of_a_channel_is_written_at_a_time() {
    let mut node = Node::new();
    node.set_at(HERE, "a");
    assert_eq!(node.drafts_after(MINUTE), 1);
    node.set_at(HERE, "b");
    assert_eq!(node.drafts_after(MINUTE), 0, "the first is being written");
    node.saved(SnapshotEnd::Written);
    assert_eq!(node.drafts_after(MINUTE), 1);
    node.saved(SnapshotEnd::Written);
    assert_eq!(node.drafts_after(MINUTE), 0);
}

#[test]
fn a_snapshot_that_failed_is_written_again() {
    let mut node = Node::new();
    node.set_at(HERE, "a");
    assert_eq!(node.drafts_after(MINUTE), 1);
    node.saved(SnapshotEnd::Failed);
    assert_eq!(node.drafts_after(MINUTE), 1);
    node.saved(SnapshotEnd::Written);
    assert_eq!(node.drafts_after(MINUTE), 0);
}

#[test]
fn the_last_writer_writes_again_after_changes_of_others() {
    let mut node = Node::new();
    node.attached(None);
    node.alive(&[HERE, OTHER]);
    node.set_at(OTHER, "a");
    assert_eq!(node.drafts_after(MINUTE), 0, "the other node writes it");
    node.set_at(HERE, "b");
    assert_eq!(node.drafts_after(MINUTE), 1);
    node.saved(SnapshotEnd::Written);
    node.set_at(OTHER, "c");
    assert_eq!(node.drafts_after(MINUTE), 1, "this one may have replaced a newer one");
    node.saved(SnapshotEnd::NotNeeded);
    node.set_at(OTHER, "d");
    assert_eq!(node.drafts_after(MINUTE), 0);
}

#[test]
fn a_node_writes_the_snapshot_of_one_that_is_gone() {
    let mut node = Node::new();
    node.alive(&[HERE, OTHER]);
    node.set_at(OTHER, "a");
    node.alive(&[HERE]);
    assert_eq!(node.drafts_after(MINUTE), 1);
}
