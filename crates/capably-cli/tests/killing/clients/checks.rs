//! The checks after a run: messages against the histories, and members against the clients.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use capably::{ClientOptions, Message, Rest, rest::Direction};
use tokio::time::Instant;

use super::{CHANNELS, Clients, Entry, Log, channel_name, client::Client, until};
use crate::processes::Cluster;

/// How long the members of a dead node stay at most: the node's lease, the remain time of a member, an election of
/// the brokers, and a margin for a busy machine.
const DEPARTURE: Duration = Duration::from_secs(10 + 15 + 10 + 10);
/// A member whose client is away for less than the remain time, with a second for the difference of the clients' and
/// the nodes' views, must not leave.
const REMAIN_MS: i64 = 14_000;
/// How many clients vanish at the end.
const VANISHING: usize = 8;

impl Clients {
    /// Compares acknowledgements, histories and subscribers.
    pub(crate) async fn check_messages(&self, cluster: &Cluster, key: &str) {
        for channel in 0..CHANNELS {
            let mut histories = Vec::new();
            for node in cluster.nodes() {
                match history(node.port, key, channel).await {
                    Ok(history) => histories.push((&node.name, history)),
                    Err(problem) => {
                        self.shared.fault(format!("no history at {}: {problem}", node.name))
                    }
                }
            }
            let Some((first, history)) = histories.first() else { continue };
            for (node, other) in &histories[1..] {
                if let Some(difference) = difference(history, other) {
                    self.shared.fault(format!(
                        "{}: {node} has another history than {first}: {difference}",
                        channel_name(channel)
                    ));
                }
            }
            self.check_history(channel, history);
            self.check_subscribers(channel, history).await;
        }
    }

    fn check_history(&self, channel: usize, history: &[Entry]) {
        let name = channel_name(channel);
        let mut serials = HashMap::new();
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in history {
            if serials.insert(entry.text.as_str(), entry.serial.as_str()).is_some() {
                self.shared.fault(format!("{name}: {} is twice in the history", entry.text));
            }
            let (publisher, number) = entry.text.split_once(':').unwrap();
            let number: u64 = number.parse().unwrap();
            let newest = newest.entry(publisher).or_default();
            if number < *newest {
                self.shared.fault(format!("{name}: {} is after {publisher}:{newest}", entry.text));
            }
            *newest = number.max(*newest);
        }
        for acknowledged in self.shared.acknowledged.lock().unwrap().iter() {
            if acknowledged.channel != channel {
                continue;
            }
            let text = &acknowledged.text;
            match serials.get(text.as_str()) {
                None => self.shared.fault(format!(
                    "{name}: {text} was acknowledged with {} and is lost",
                    acknowledged.serial
                )),
                Some(serial) if *serial != acknowledged.serial => self.shared.fault(format!(
                    "{name}: {text} has the serial {serial} and was acknowledged with {}",
                    acknowledged.serial
                )),
                Some(_) => {}
            }
        }
    }

    /// Every subscriber was attached before the first message. A subscriber that lost its connection has resumed.
    async fn check_subscribers(&self, channel: usize, history: &[Entry]) {
        let end = Instant::now() + Duration::from_secs(20);
        let logs: Vec<_> = {
            let logs = self.shared.logs.lock().unwrap();
            logs.iter().filter(|log| log.channel == channel).cloned().collect()
        };
        for log in logs {
            let compared = until(end, async || compare(&log, history)).await;
            if let Err(difference) = compared {
                let name = channel_name(channel);
                self.shared
                    .fault(format!("{name}: {} beside the history: {difference}", log.subscriber));
            }
        }
    }

    /// Checks the leaves of the run and the members, then ends clients and a node, and checks the members again.
    pub(crate) async fn check_members(&mut self, cluster: &Cluster, key: &str) {
        self.check_leaves();
        let nodes: Vec<_> = cluster.nodes().iter().map(|node| node.port).collect();
        self.expect_members(&nodes, key, "after the run").await;

        for client in self.all.drain(..VANISHING) {
            client.vanish();
        }
        let (victim, rest) = cluster.nodes().split_first().unwrap();
        victim.kill().await;
        let nodes: Vec<_> = rest.iter().map(|node| node.port).collect();
        self.expect_members(&nodes, key, "after clients and a node ended").await;
    }

    /// Waits until each node has exactly the members whose clients are connected.
    async fn expect_members(&self, nodes: &[u16], key: &str, when: &str) {
        let (began, end) = (Instant::now(), Instant::now() + DEPARTURE);
        for channel in 0..CHANNELS {
            let here = self.all.iter().filter(|client| client.home() == channel);
            let expected: BTreeSet<_> = here.clone().map(Client::id).collect();
            let mut views: Vec<(String, Rest)> = Vec::new();
            for port in nodes {
                views.push((format!("the node at port {port}"), rest(*port, key)));
            }
            for (view, rest) in &views {
                let same = until(end, async || {
                    let query =
                        rest.channels().get(channel_name(channel)).presence().get().limit(1000);
                    let page = query.await.map_err(|error| error.to_string())?;
                    same_members(&expected, page.items().iter().map(|member| &member.client_id))
                });
                if let Err(difference) = same.await {
                    self.shared
                        .fault(format!("{when}, {}: {view}: {difference}", channel_name(channel)));
                }
            }
            for client in here {
                let same = until(end, async || {
                    let members = client.channel(channel).presence().get().await;
                    let members = members.map_err(|error| error.to_string())?;
                    same_members(&expected, members.iter().map(|member| &member.client_id))
                });
                if let Err(difference) = same.await {
                    let (name, id) = (channel_name(channel), client.id());
                    self.shared.fault(format!("{when}, {name}: {id}: {difference}"));
                }
            }
        }
        println!("{when}, the members were right within {:.1} s", began.elapsed().as_secs_f64());
    }

    fn check_leaves(&self) {
        let connected: HashMap<_, _> =
            self.all.iter().map(|client| (client.id(), client.connected())).collect();
        for leave in self.shared.leaves.lock().unwrap().iter() {
            let Some(times) = connected.get(&leave.member) else { continue };
            let before = times.iter().rev().find(|time| time.from <= leave.time);
            let Some(before) = before else { continue };
            let away = leave.time - before.until;
            if away < REMAIN_MS {
                let state = if away < 0 {
                    "was connected".to_owned()
                } else {
                    format!("was away for {away} ms")
                };
                self.shared.fault(format!(
                    "{} saw {} leave at {}, which {state}",
                    leave.observer, leave.member, leave.time
                ));
            }
        }
    }
}

fn same_members<'a>(
    expected: &BTreeSet<String>,
    found: impl Iterator<Item = &'a Option<capably::Str>>,
) -> Result<(), String> {
    let found: Vec<_> = found.flatten().map(ToString::to_string).collect();
    let set: BTreeSet<_> = found.iter().cloned().collect();
    let ghosts: Vec<_> = set.difference(expected).collect();
    let missing: Vec<_> = expected.difference(&set).collect();
    if ghosts.is_empty() && missing.is_empty() && found.len() == set.len() {
        return Ok(());
    }
    Err(format!(
        "ghosts {ghosts:?}, missing {missing:?}, {} members of {} clients",
        found.len(),
        set.len()
    ))
}

/// Compares what a subscriber has received with the history. A difference is told with the nodes that sent the messages.
fn compare(log: &Log, history: &[Entry]) -> Result<(), String> {
    let received = log.received.lock().unwrap();
    let Some(difference) = difference(history, &received.entries) else { return Ok(()) };
    let mut known = HashMap::new();
    let mut sources = BTreeSet::new();
    let visits = log.balancer.visits();
    let node = |index: usize| {
        let time = received.times[index];
        let visit = visits.iter().rev().find(|(since, _)| *since <= time);
        visit.map(|(since, node)| (clock(*since), *node))
    };
    for (index, entry) in received.entries.iter().enumerate() {
        if let Some(first) = known.insert(&entry.text, index) {
            let serial = &received.entries[first].serial;
            let same = if *serial == entry.serial { "the same serial" } else { "another serial" };
            sources.insert((same, node(first), node(index)));
        }
    }
    let last = received.times.last().map(|time| clock(*time));
    Err(format!("{difference}; twice from {sources:?}, the last at {last:?}"))
}

/// The time of day as logs have it, in UTC.
fn clock(time: SystemTime) -> String {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{:02}:{:02}:{:02}.{millis:03}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// How the second list differs from the first.
fn difference(expected: &[Entry], found: &[Entry]) -> Option<String> {
    if expected == found {
        return None;
    }
    let text = |entry: &Entry| format!("{} ({})", entry.text, entry.serial);
    let mut known = HashSet::new();
    let twice: Vec<_> = found.iter().filter(|entry| !known.insert(&entry.text)).map(text).collect();
    let missing: Vec<_> =
        expected.iter().filter(|entry| !known.contains(&entry.text)).map(text).collect();
    let expected_texts: HashSet<_> = expected.iter().map(|entry| &entry.text).collect();
    let more: Vec<_> =
        found.iter().filter(|entry| !expected_texts.contains(&entry.text)).map(text).collect();
    let few = |entries: &[String]| entries.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let order = expected.iter().zip(found).position(|(one, other)| one != other);
    Some(format!(
        "{} missing ({}), {} twice ({}), {} more ({}), first difference at {order:?} of {}",
        missing.len(),
        few(&missing),
        twice.len(),
        few(&twice),
        more.len(),
        few(&more),
        expected.len(),
    ))
}

/// The history of a channel at one node, the oldest first.
async fn history(port: u16, key: &str, channel: usize) -> Result<Vec<Entry>, String> {
    let rest = rest(port, key);
    let end = Instant::now() + Duration::from_secs(20);
    until(end, async || {
        let name = channel_name(channel);
        let query = rest.channels().get(name).history().direction(Direction::Forwards).limit(1000);
        let mut page = query.await.map_err(|error| error.to_string())?;
        let mut entries = Vec::new();
        loop {
            entries.extend(page.items().iter().map(|message: &Message| Entry::new(message)));
            match page.next().await.map_err(|error| error.to_string())? {
                Some(next) => page = next,
                None => return Ok(entries),
            }
        }
    })
    .await
}

fn rest(port: u16, key: &str) -> Rest {
    Rest::new(ClientOptions::new(key).endpoint("127.0.0.1").port(port).tls(false)).unwrap()
}
