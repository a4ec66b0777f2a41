//! The channels of a cluster whose events webhooks report, and which node delivers them.
//!
//! Each channel has one node that delivers its events, so that they stay in their order whatever node they were published at. That
//! node reads them from the log, and stores how far each rule has come. When it is gone, another node goes on from there.
//!
//! The nodes agree without a message: of those that are alive, a channel has the one with the highest hash of both names. While they
//! disagree about who is alive, two nodes may deliver the same events, and none is lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use capably_protocol::{Millis, Str};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::keeper::KEPT;
use crate::{engine::Position, front::cluster::Cluster, hub::NodeId};

/// For how long a node that starts leaves channels to the nodes that have delivered their events so far: they learn of it, and store
/// how far they have come.
const HANDOVER: Duration = Duration::from_secs(2);

/// The time between two announcements, which gathers channels.
const TELL: Duration = Duration::from_millis(2);

/// How far the delivery of a channel's events has come, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::front) struct Progress {
    /// The events up to this position were given to the rules.
    pub(in crate::front) read: u64,
    /// The positions up to which the events of a rule were delivered or given up.
    #[serde(default)]
    pub(in crate::front) rules: BTreeMap<String, u64>,
}

/// A channel that its node is to read now, and what the node knows of it.
#[derive(Clone, Debug)]
pub(in crate::front) struct Due {
    pub(in crate::front) name: Str,
    /// The time of the first entry with an event, in ms since the epoch.
    pub(in crate::front) since: Millis,
    /// `None` if the node has to find out how far another has come.
    pub(in crate::front) reading: Option<Reading>,
    /// The newest entry that is known.
    pub(in crate::front) newest: Position,
}

/// Where the node that delivers the events of a channel stands.
#[derive(Clone, Debug)]
pub(in crate::front) struct Reading {
    /// All entries up to this position were given to the rules.
    pub(in crate::front) read: Position,
    /// By the ids of rules, the positions up to which another node had delivered their events.
    begun: BTreeMap<String, u64>,
    /// The progress of the channel that the engine has from this node.
    stored: Option<Progress>,
}

impl Reading {
    pub(in crate::front) fn new(read: Position, begun: BTreeMap<String, u64>) -> Self {
        Self { read, begun, stored: None }
    }

    /// Goes on where another node has stopped. Rules that it did not know begin after what it has read.
    pub(in crate::front) fn after(progress: Progress, rules: Vec<String>) -> Self {
        let Progress { read, rules: delivered } = progress;
        let begun = |id: String| (delivered.get(&id).copied().unwrap_or(read), id);
        let begun: BTreeMap<String, u64> =
            rules.into_iter().map(begun).map(|(position, id)| (id, position)).collect();
        let first = begun.values().copied().min().unwrap_or(read).min(read);
        Self::new(Position(first), begun)
    }

    /// The position up to which a rule had delivered its events when the node began; 0 if none is known.
    pub(super) fn begun_after(&self, rule: &str) -> u64 {
        self.begun.get(rule).copied().unwrap_or(0)
    }
}

/// The channels with events, in a cluster.
#[derive(Debug)]
pub(in crate::front) struct SharedChannels {
    cluster: Arc<Cluster>,
    app: Str,
    state: Mutex<State>,
    /// Wakes the task that reads.
    due: Notify,
    /// Wakes the task that tells other nodes of new entries.
    news: Notify,
    tasks: Mutex<Vec<AbortHandle>>,
}

#[derive(Debug)]
struct State {
    channels: HashMap<Str, Channel>,
    due: BTreeSet<Str>,
    /// Channels with new entries, until the other nodes are told.
    news: BTreeMap<Str, News>,
    /// Where the delivery of channels stands that are another node's now, until it is stored.
    left: Vec<(Str, Progress)>,
    nodes: BTreeSet<NodeId>,
}

/// The newest entry of a channel that a node has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::front) struct News {
    pub(in crate::front) position: u64,
    /// In ms since the epoch.
    pub(in crate::front) time: Millis,
}

#[derive(Debug)]
struct Channel {
    since: Millis,
    /// Whether this node delivers its events.
    is_own: bool,
    /// When this node last learnt of a new entry.
    last: Instant,
    /// The newest entry that it knows of.
    newest: Position,
    /// When it may begin to deliver the events.
    begins: Instant,
    reading: Option<Reading>,
}

impl SharedChannels {
    pub(in crate::front) fn new(cluster: Arc<Cluster>, app: Str) -> Self {
        let nodes = cluster.nodes();
        let state = State {
            channels: HashMap::new(),
            due: BTreeSet::new(),
            news: BTreeMap::new(),
            left: Vec::new(),
            nodes,
        };
        let (due, news) = (Notify::new(), Notify::new());
        Self { cluster, app, state: Mutex::new(state), due, news, tasks: Mutex::default() }
    }

    /// Notes a channel with events. Returns whether its name is not stored yet: then the caller stores it.
    pub(super) fn note(&self, name: &str, since: Millis) -> bool {
        let mut state = self.state();
        let is_new = !state.channels.contains_key(name);
        if is_new {
            self.add(&mut state, name, since);
        }
        is_new
    }

    /// The name of a channel is stored since before this node has started.
    pub(in crate::front) fn restore(&self, name: &str, since: Millis) {
        self.hooked(name, since);
        let mut state = self.state();
        let is_alone = state.nodes.len() == 1;
        if let Some(channel) = state.channels.get_mut(name).filter(|_| !is_alone) {
            channel.begins += HANDOVER;
        }
    }

    /// The name of a channel is stored.
    pub(in crate::front) fn hooked(&self, name: &str, since: Millis) {
        let mut state = self.state();
        if let Some(channel) = state.channels.get_mut(name) {
            channel.since = channel.since.min(since);
            return;
        }
        if self.add(&mut state, name, since) {
            state.due.insert(name.into());
            self.due.notify_one();
        }
    }

    /// The name of a channel is stored no more: it has no events that are to be delivered.
    pub(in crate::front) fn unhooked(&self, name: &str) {
        let mut state = self.state();
        state.channels.remove(name);
        state.due.remove(name);
    }

    /// This node has committed an entry with events. Returns whether the caller has to store the name of the channel.
    pub(super) fn committed(&self, name: &Str, news: News) -> bool {
        // The name may be a slice of a whole frame; the map must not pin that.
        self.state().news.insert(Str::from(&**name), news);
        self.news.notify_one();
        self.has_news(name, news)
    }

    /// The channel has a new entry, of any node. Returns whether the caller has to store its name: it was removed, as the channel had
    /// no entries for long, or another node is just storing it.
    pub(super) fn has_news(&self, name: &str, news: News) -> bool {
        let mut state = self.state();
        let is_new = !state.channels.contains_key(name) && self.add(&mut state, name, news.time);
        let Some(channel) = state.channels.get_mut(name) else { return false };
        channel.last = Instant::now();
        channel.newest = channel.newest.max(Position(news.position));
        if channel.is_own {
            state.due.insert(name.into());
            self.due.notify_one();
        }
        is_new
    }

    /// This node may have missed what the others told.
    pub(in crate::front) fn missed_news(&self) {
        let mut state = self.state();
        let State { channels, due, .. } = &mut *state;
        let own = channels.iter().filter(|(_, channel)| channel.is_own);
        due.extend(own.map(|(name, _)| name.clone()));
        self.due.notify_one();
    }

    /// Other nodes are alive now. Returns the channels whose events this node delivers no more.
    pub(super) fn set_nodes(
        &self,
        nodes: BTreeSet<NodeId>,
        progress: impl Fn(&Str, &Reading) -> Progress,
    ) -> HashSet<Str> {
        let mut lost = HashSet::new();
        let mut state = self.state();
        let State { channels, left, nodes: known, .. } = &mut *state;
        *known = nodes;
        for (name, channel) in channels {
            channel.is_own = self.is_own(known, name);
            if let Some(reading) = channel.reading.take_if(|_| !channel.is_own) {
                left.push((name.clone(), progress(name, &reading)));
                lost.insert(name.clone());
            }
        }
        drop(state);
        // Nodes that are gone may have told nobody of their last entries, and this node has some of their channels.
        self.missed_news();
        lost
    }

    /// Waits until channels may have to be read.
    pub(in crate::front) async fn woken(&self) {
        self.due.notified().await;
    }

    /// The channels of this node that are to be read now.
    pub(in crate::front) fn take_due(&self) -> Vec<Due> {
        let mut state = self.state();
        let State { channels, due, .. } = &mut *state;
        let time = Instant::now();
        let mut now = Vec::new();
        due.retain(|name| {
            let Some(channel) = channels.get(name).filter(|it| it.is_own) else { return false };
            let is_now = channel.begins <= time;
            if is_now {
                let (name, reading) = (name.clone(), channel.reading.clone());
                let Channel { since, newest, .. } = *channel;
                now.push(Due { name, since, reading, newest });
            }
            !is_now
        });
        now
    }

    /// There may be more to read of a channel.
    pub(in crate::front) fn read_on(&self, name: &Str) {
        self.read_again([name.clone()]);
        self.due.notify_one();
    }

    /// Channels could not be read. They are due again, once something wakes the task.
    pub(in crate::front) fn read_again(&self, names: impl IntoIterator<Item = Str>) {
        self.state().due.extend(names);
    }

    /// The entries after `reading` up to `read` are read. Gives them to the rules with `push`, unless the channel has become another
    /// node's meanwhile.
    pub(in crate::front) fn advance(
        &self,
        name: &Str,
        reading: &Reading,
        read: Position,
        push: impl FnOnce(),
    ) {
        let mut state = self.state();
        let channel = state.channels.get_mut(name).filter(|it| it.is_own);
        let Some(channel) = channel else { return };
        if channel.reading.as_ref().is_some_and(|it| it.read != reading.read) {
            return;
        }
        push();
        if read > reading.read {
            channel.last = Instant::now();
        }
        channel.reading = Some(Reading { read, ..reading.clone() });
    }

    /// Whether channels are another node's now, and their positions are not stored.
    pub(in crate::front) fn has_left(&self) -> bool {
        !self.state().left.is_empty()
    }

    /// The positions to store, with their channels, and the channels that have had no entries for long.
    pub(super) fn changed(
        &self,
        progress: impl Fn(&Str, &Reading) -> Progress,
    ) -> (Vec<(Str, Progress)>, Vec<Str>) {
        let state = self.state();
        let mut changed = state.left.clone();
        let mut idle = Vec::new();
        for (name, channel) in &state.channels {
            let Some(reading) = &channel.reading else { continue };
            let progress = progress(name, reading);
            if reading.stored.as_ref() != Some(&progress) {
                changed.push((name.clone(), progress));
            } else if channel.last.elapsed() > KEPT
                && progress.rules.values().all(|delivered| *delivered >= reading.read.0)
            {
                idle.push(name.clone());
            }
        }
        (changed, idle)
    }

    /// These positions are stored.
    pub(super) fn stored(&self, changed: Vec<(Str, Progress)>) {
        let mut state = self.state();
        state.left.retain(|left| !changed.contains(left));
        for (name, progress) in changed {
            let channel = state.channels.get_mut(&name);
            if let Some(reading) = channel.and_then(|it| it.reading.as_mut()) {
                reading.stored = Some(progress);
            }
        }
    }

    /// The channels that this node reads, and how far it has come.
    pub(in crate::front) fn own(&self) -> Vec<(Str, Position)> {
        let state = self.state();
        let own = state.channels.iter();
        own.filter_map(|(name, it)| Some((name.clone(), it.reading.as_ref()?.read))).collect()
    }

    /// Starts the tasks, unless they run. `read` reads channels.
    pub(in crate::front) fn start(
        self: &Arc<Self>,
        read: impl Future<Output = ()> + Send + 'static,
    ) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_empty() {
            let tell = tell(Arc::clone(self));
            tasks.extend([tokio::spawn(read), tokio::spawn(tell)].map(|it| it.abort_handle()));
        }
    }

    pub(super) fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Adds a channel. Returns whether this node delivers its events.
    fn add(&self, state: &mut State, name: &str, since: Millis) -> bool {
        let is_own = self.is_own(&state.nodes, name);
        let (now, newest) = (Instant::now(), Position(0));
        let channel = Channel { since, is_own, last: now, newest, begins: now, reading: None };
        state.channels.insert(name.into(), channel);
        is_own
    }

    /// Whether this node delivers the events of the channel.
    fn is_own(&self, nodes: &BTreeSet<NodeId>, name: &str) -> bool {
        node_of(nodes, &self.app, name) == Some(self.cluster.node)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the other nodes of new entries, for as long as the task runs.
async fn tell(channels: Arc<SharedChannels>) {
    loop {
        channels.news.notified().await;
        let news = std::mem::take(&mut channels.state().news);
        if !news.is_empty() {
            channels.cluster.announce_events(&channels.app, news.into_iter().collect());
        }
        sleep(TELL).await;
    }
}

/// The node that delivers the events of a channel.
fn node_of(nodes: &BTreeSet<NodeId>, app: &str, name: &str) -> Option<NodeId> {
    // Nodes of different versions must agree, so the hash is one that stays. An id of an app has no `/`.
    let hash = |node: &NodeId| -> [u8; 32] {
        let digest = Sha256::new().chain_update(node.0.to_be_bytes()).chain_update(app);
        digest.chain_update("/").chain_update(name).finalize().into()
    };
    nodes.iter().copied().max_by_key(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
        ids.into_iter().map(NodeId).collect()
    }

    #[test]
    fn nodes_share_channels_and_only_those_of_a_node_that_goes_move() {
        let all = nodes(1..=4);
        let names: Vec<String> = (0..4000).map(|number| format!("channel-{number}")).collect();
        let owner = |nodes, name: &String| node_of(nodes, "app", name).unwrap();
        for node in &all {
            let count = names.iter().filter(|name| owner(&all, name) == *node).count();
            assert!((800..1200).contains(&count), "{node} has {count} of 4,000");
        }
        let rest = nodes([1, 2, 4]);
        for name in &names {
            let before = owner(&all, name);
            assert!(before == NodeId(3) || owner(&rest, name) == before, "{name} has moved");
        }
        assert_eq!(node_of(&nodes([]), "app", "a"), None);
        let elsewhere =
            names.iter().filter(|name| node_of(&all, "b", name) != Some(owner(&all, name)));
        assert!(elsewhere.count() > 2000, "apps with the same channels differ");
    }

    async fn shared() -> SharedChannels {
        let engine = crate::engine::Mesh::new().node();
        let cluster = Cluster::join(engine, None).await.unwrap();
        SharedChannels::new(Arc::new(cluster), "app".into())
    }

    fn news(position: u64) -> News {
        News { position, time: 1 }
    }

    /// Reads a channel that is due up to a position.
    fn read(shared: &SharedChannels, position: u64) -> bool {
        let due = shared.take_due();
        let mut is_pushed = false;
        for Due { name, reading, .. } in &due {
            let reading = reading.clone();
            let reading = reading.unwrap_or_else(|| Reading::new(Position(0), BTreeMap::new()));
            shared.advance(name, &reading, Position(position), || is_pushed = true);
        }
        is_pushed
    }

    /// The progress of a rule that has delivered everything up to a position.
    fn delivered(position: u64) -> impl Fn(&Str, &Reading) -> Progress {
        move |_, reading| Progress {
            read: reading.read.0,
            rules: BTreeMap::from([("rule".to_owned(), position)]),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_is_idle_when_all_is_delivered_and_stored_and_no_entry_has_come_for_long() {
        let shared = shared().await;
        assert!(shared.has_news("a", news(5)), "its name is to be stored");
        assert!(!shared.has_news("a", news(5)), "once");
        assert!(read(&shared, 5));
        let long = KEPT + Duration::from_secs(1);
        tokio::time::advance(long).await;
        let changed = |delivered: &dyn Fn(&Str, &Reading) -> Progress| shared.changed(delivered);
        let (stored, idle) = changed(&delivered(3));
        assert_eq!((stored.len(), idle.len()), (1, 0), "nothing is stored yet");
        shared.stored(stored);
        assert_eq!(changed(&delivered(3)), (Vec::new(), Vec::new()), "two entries wait");
        let (stored, _) = changed(&delivered(5));
        shared.stored(stored);
        assert_eq!(changed(&delivered(5)), (Vec::new(), vec!["a".into()]));
        shared.has_news("a", news(6));
        assert!(read(&shared, 6));
        let (stored, idle) = changed(&delivered(6));
        assert_eq!((stored.len(), idle.len()), (1, 0));
        shared.stored(stored);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert_eq!(changed(&delivered(6)), (Vec::new(), Vec::new()), "an entry has come");
        tokio::time::advance(long).await;
        assert_eq!(changed(&delivered(6)).1, ["a"]);
        shared.unhooked("a");
        assert_eq!(shared.own(), []);
        assert!(shared.has_news("a", news(7)), "its name is to be stored again");
    }

    #[tokio::test]
    async fn what_was_read_for_another_node_is_not_delivered_here() {
        let shared = shared().await;
        shared.has_news("a", news(5));
        let [Due { name, .. }] = &shared.take_due()[..] else { panic!("one channel is due") };
        let reading = Reading::new(Position(0), BTreeMap::new());
        shared.advance(name, &reading, Position(5), || {});
        // Another node has the channel from here on.
        let own = shared.cluster.node;
        let other = (1..)
            .map(NodeId)
            .find(|id| node_of(&BTreeSet::from([own, *id]), "app", "a") == Some(*id));
        let both = BTreeSet::from([own, other.unwrap()]);
        assert_eq!(shared.set_nodes(both, delivered(4)), HashSet::from(["a".into()]));
        let reading = Reading::new(Position(5), BTreeMap::new());
        shared.advance(name, &reading, Position(9), || panic!("it is not this node's"));
        assert!(!shared.has_news("a", news(9)) && shared.take_due().is_empty());
        let (left, _) = shared.changed(delivered(9));
        assert_eq!(left, [("a".into(), delivered(4)(name, &reading))], "what it had delivered");
        assert!(shared.has_left());
        shared.stored(left);
        assert!(!shared.has_left());
    }

    #[test]
    fn a_node_goes_on_after_what_each_rule_has_delivered() {
        let rules = BTreeMap::from([("a".to_owned(), 5), ("gone".to_owned(), 1)]);
        let progress = Progress { read: 7, rules };
        let reading = Reading::after(progress, vec!["a".into(), "new".into()]);
        assert_eq!(reading.read, Position(5));
        assert_eq!(["a", "new", "later"].map(|id| reading.begun_after(id)), [5, 7, 0]);
    }

    #[test]
    fn progress_is_read_back_and_may_be_of_a_later_version() {
        let progress = Progress { read: 7, rules: BTreeMap::from([("a".to_owned(), 5)]) };
        let text = serde_json::to_string(&progress).unwrap();
        assert_eq!(text, r#"{"read":7,"rules":{"a":5}}"#);
        assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        let later: Progress = serde_json::from_str(r#"{"read":7,"x":1}"#).unwrap();
        assert_eq!(later, Progress { read: 7, ..Progress::default() });
    }
}
