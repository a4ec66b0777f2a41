//! Webhooks in a cluster: each channel's events come from one node, in their order, and another goes on when that node is gone.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use capably_server::engine::{Bucket, Engine, Mesh};

use super::{endpoint::Reaction, support::Shared, *};

const KEY: &str = "app-id.key:secret";

/// How many channels tests publish on. With three nodes, each delivers the events of some: that one has none happens once in
/// millions of runs.
const CHANNELS: usize = 40;

fn channels() -> impl Iterator<Item = String> {
    (0..CHANNELS).map(|index| format!("channel{index}"))
}

/// An endpoint that can be down, and notes what it accepts.
struct Hook {
    endpoint: Endpoint,
    is_up: Arc<AtomicBool>,
    accepted: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    async fn new(is_up: bool) -> Self {
        let is_up = Arc::new(AtomicBool::new(is_up));
        let accepted: Arc<Mutex<Vec<String>>> = Arc::default();
        let (up, noted) = (Arc::clone(&is_up), Arc::clone(&accepted));
        let endpoint = Endpoint::with(move |_, request| {
            if !up.load(Ordering::SeqCst) {
                return Reaction::Status(503);
            }
            noted.lock().unwrap().extend(request.data());
            Reaction::Status(200)
        });
        Self { endpoint: endpoint.await, is_up, accepted }
    }

    fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::SeqCst);
    }

    /// Waits until so many messages were accepted. Returns their data, of each channel in the order in which they came.
    async fn accepted(&mut self, count: usize) -> BTreeMap<String, Vec<u32>> {
        while self.accepted.lock().unwrap().len() < count {
            self.endpoint.next().await;
        }
        let mut channels: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for data in self.accepted.lock().unwrap().iter() {
            let (channel, number) = data.split_once('-').unwrap();
            channels.entry(channel.to_owned()).or_default().push(number.parse().unwrap());
        }
        channels
    }
}

struct Node {
    /// The key of its lease.
    lease: String,
    server: Server,
}

struct Nodes {
    shared: Shared,
    nodes: Vec<Node>,
    rules: Vec<Rule>,
}

impl Nodes {
    async fn start(count: usize, rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules = rules.into_iter().collect();
        let mut nodes = Self { shared: Shared::new(), nodes: Vec::new(), rules };
        for _ in 0..count {
            nodes.add().await;
        }
        nodes
    }

    async fn add(&mut self) {
        let engine = self.shared.node();
        let server = server(Arc::clone(&engine), &self.rules).await;
        let leases = engine.facts(Bucket::Nodes, "", None, 100).await.unwrap();
        let is_new = |key: &String| self.nodes.iter().all(|node| node.lease != *key);
        let lease = leases.into_iter().map(|fact| fact.key).find(is_new).unwrap();
        self.nodes.push(Node { lease, server });
    }

    fn server(&self, index: usize) -> &Server {
        &self.nodes[index].server
    }

    /// Publishes messages with these numbers on every channel, each at another node than the one before.
    async fn publish(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            for (index, channel) in channels().enumerate() {
                let server = self.server((index + number as usize) % self.nodes.len());
                publish(server, &channel, [format!("{channel}-{number}")]).await;
            }
        }
    }

    /// Waits until the count of events that wait is as it should at every node.
    async fn until_waiting(&self, rule: &str, is_right: impl Fn(&Value) -> bool) {
        let right = async {
            for node in &self.nodes {
                while !is_right(&counts(&node.server, rule).await["waiting"]) {
                    tokio::task::yield_now().await;
                }
            }
        };
        timeout(support::PATIENCE, right).await.expect("the nodes do not deliver");
    }

    async fn all_delivered(&self) {
        self.until_waiting("rule", |waiting| *waiting == 0).await;
    }

    /// Ends a node as if its process had died, and its lease.
    async fn kill(&mut self, index: usize) {
        let Node { lease, server } = self.nodes.remove(index);
        drop(server);
        let engine = self.shared.node();
        engine.set_facts(Bucket::Nodes, vec![(lease, None)]).await.unwrap();
    }
}

async fn server(engine: Arc<dyn Engine>, rules: &[Rule]) -> Server {
    let builder = Server::builder()
        .key(KEY)
        .webhook_retry_unit(Duration::from_millis(100))
        .webhook_rules(rules.to_vec())
        .engine(engine);
    builder.start().await.unwrap()
}

fn batches(hook: &Hook) -> Rule {
    Rule::new(Source::Message, hook.endpoint.url()).id("rule").request_mode(RequestMode::Batch)
}

/// Waits for the next millisecond. A rule also reports what was published in the millisecond in which it was created: which of
/// the two came first cannot be told.
async fn next_millisecond() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let start = now();
    while now() == start {
        tokio::task::yield_now().await;
    }
}

fn every_channel(numbers: std::ops::Range<u32>) -> BTreeMap<String, Vec<u32>> {
    channels().map(|name| (name, numbers.clone().collect())).collect()
}

#[tokio::test]
async fn channels_keep_their_order_whatever_node_is_published_at() {
    for mode in MODES {
        let mut hook = Hook::new(true).await;
        let nodes = Nodes::start(3, [batches(&hook).request_mode(mode)]).await;
        nodes.publish(0..6).await;
        assert_eq!(hook.accepted(6 * CHANNELS).await, every_channel(0..6), "{mode:?}");
        for node in &nodes.nodes {
            let delivered = &counts(&node.server, "rule").await["delivered"];
            assert_ne!(delivered, 0, "the nodes share the channels");
        }
    }
}

#[tokio::test]
async fn what_waits_at_a_node_that_dies_is_delivered_by_the_others() {
    let mut hook = Hook::new(false).await;
    let mut nodes = Nodes::start(3, [batches(&hook)]).await;
    nodes.publish(0..5).await;
    nodes.until_waiting("rule", |waiting| *waiting != 0).await;
    nodes.kill(0).await;
    hook.set_up(true);
    assert_eq!(hook.accepted(5 * CHANNELS).await, every_channel(0..5));
    nodes.publish(5..10).await;
    assert_eq!(hook.accepted(10 * CHANNELS).await, every_channel(0..10));
}

#[tokio::test]
async fn a_rule_gets_nothing_again_because_another_is_behind_when_a_node_stops() {
    let (mut hook, mut down) = (Hook::new(true).await, Hook::new(false).await);
    let mut nodes = Nodes::start(2, [batches(&hook), batches(&down).id("behind")]).await;
    nodes.publish(0..5).await;
    hook.accepted(5 * CHANNELS).await;
    nodes.all_delivered().await;
    nodes.nodes.remove(0).server.shutdown().await;
    nodes.publish(5..6).await;
    assert_eq!(hook.accepted(6 * CHANNELS).await, every_channel(0..6));
    down.set_up(true);
    assert_eq!(down.accepted(6 * CHANNELS).await, every_channel(0..6));
}

#[tokio::test]
async fn a_node_that_stops_hands_over_what_waits_and_nothing_else() {
    let mut hook = Hook::new(true).await;
    let mut nodes = Nodes::start(3, [batches(&hook)]).await;
    nodes.publish(0..5).await;
    hook.accepted(5 * CHANNELS).await;
    nodes.all_delivered().await;
    hook.set_up(false);
    nodes.publish(5..10).await;
    let stopped = nodes.nodes.remove(1);
    stopped.server.shutdown().await;
    hook.set_up(true);
    nodes.publish(10..12).await;
    assert_eq!(hook.accepted(12 * CHANNELS).await, every_channel(0..12));
}

#[tokio::test]
async fn a_new_node_takes_over_channels_without_a_loss_or_a_repetition() {
    let mut hook = Hook::new(true).await;
    let mut nodes = Nodes::start(1, [batches(&hook)]).await;
    nodes.publish(0..3).await;
    hook.accepted(3 * CHANNELS).await;
    nodes.all_delivered().await;
    hook.set_up(false);
    nodes.publish(3..6).await;
    nodes.add().await;
    nodes.publish(6..9).await;
    hook.set_up(true);
    assert_eq!(hook.accepted(9 * CHANNELS).await, every_channel(0..9));
    let second = &counts(nodes.server(1), "rule").await["delivered"];
    assert_ne!(second, 0, "the new node has some of the channels");
}

#[tokio::test]
async fn a_cluster_that_was_killed_delivers_the_rest_when_it_is_started_again() {
    let mut hook = Hook::new(false).await;
    let mut nodes = Nodes::start(2, [batches(&hook)]).await;
    nodes.publish(0..5).await;
    nodes.kill(0).await;
    nodes.kill(0).await;
    hook.set_up(true);
    nodes.add().await;
    assert_eq!(hook.accepted(5 * CHANNELS).await, every_channel(0..5));
    nodes.publish(5..6).await;
    assert_eq!(hook.accepted(6 * CHANNELS).await, every_channel(0..6));
}

#[tokio::test]
async fn a_rule_reports_what_is_published_after_it_at_any_node_and_nothing_before() {
    for format in FORMATS {
        let mut hook = Hook::new(true).await;
        // A rule that all channels have had events of.
        let other = Endpoint::new().await;
        let nodes = Nodes::start(2, [messages(&other).id("other")]).await;
        nodes.publish(0..3).await;
        next_millisecond().await;
        let rule = json!({
            "ruleType": "http", "requestMode": "batch", "source": {"type": "channel.message"},
            "target": {"url": hook.endpoint.url(), "format": "json"},
        });
        let path = "/apps/app-id/rules";
        let (answer, _) = ask(nodes.server(0), KEY, format, "POST", path, &rule).await;
        assert_eq!(answer.status, 201);
        nodes.publish(3..6).await;
        assert_eq!(hook.accepted(3 * CHANNELS).await, every_channel(3..6), "{format:?}");
    }
}

#[tokio::test]
async fn a_node_that_was_cut_off_misses_no_event() {
    let mut hook = Hook::new(true).await;
    let mesh = Mesh::new();
    let (first, second) = (mesh.node(), mesh.node());
    let rules = [batches(&hook)];
    let _cut = server(Arc::clone(&first) as Arc<dyn Engine>, &rules).await;
    let other = server(second, &rules).await;
    let publish_all = async |number: u32| {
        for channel in channels() {
            publish(&other, &channel, [format!("{channel}-{number}")]).await;
        }
    };
    publish_all(0).await;
    hook.accepted(CHANNELS).await;
    first.cut(true);
    publish_all(1).await;
    first.cut(false);
    assert_eq!(hook.accepted(2 * CHANNELS).await, every_channel(0..2));
}
