//! A node of a cluster: how it learns what the other nodes do, and tells them what it does.
//!
//! Entries of channels go straight to their app. Everything else goes through one task, in its order.

mod arrivals;
mod lease;
mod notice;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::Str;
use sha2::{Digest, Sha256};
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::{
    arrivals::{Arrival, Arrivals},
    notice::Notice,
};
use super::{Shared, app::Apps, clock::Clock, random, webhooks::News};
use crate::{
    engine::{Announcement, Bucket, Engine, EngineError, Event},
    hub::{self, NodeId, secret::Secret},
};

/// The interval at which a node tells the others what has changed of its occupancy.
const TELL_OCCUPANCY: Duration = Duration::from_millis(200);

/// The time between two attempts to read a fact that another node has changed.
const RETRY: Duration = Duration::from_millis(200);

/// The longest time for which a request waits for the other nodes. Leases of nodes that are gone end sooner.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// The longest time for which a node that stops waits for the engine to end its lease.
const LEAVING: Duration = Duration::from_secs(1);

/// The fact with the secret of the cluster, if it was not given one.
const SECRET: &str = "cluster-secret";

/// The fact by which nodes check that they have the same secret.
const SECRET_CHECK: &str = "cluster-secret-check";

/// A node of a cluster.
pub(crate) struct Cluster {
    pub(super) node: NodeId,
    engine: Arc<dyn Engine>,
    /// The secret of the cluster.
    secret: Secret,
    /// The nodes that are alive, this one among them.
    nodes: Mutex<BTreeSet<NodeId>>,
    /// The requests to the other nodes that wait for replies.
    requests: Mutex<HashMap<u64, Request>>,
    next_request: AtomicU64,
    task: Mutex<Option<AbortHandle>>,
}

/// A request that waits for replies.
struct Request {
    missing: BTreeSet<NodeId>,
    done: oneshot::Sender<()>,
}

/// The events of the engine that the task of the cluster handles.
pub(crate) type Events = Arc<Arrivals>;

impl Cluster {
    /// Joins the cluster of an engine.
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot be used, and [`EngineError::Mismatch`] when the cluster has another secret
    /// or other clocks.
    pub(crate) async fn join(
        engine: Arc<dyn Engine>,
        secret: Option<Secret>,
    ) -> Result<Self, EngineError> {
        let time = Clock::start().now().wall;
        let node = NodeId(u64::from_be_bytes(random::bytes().map_err(other)?));
        let secret = match secret {
            Some(secret) => {
                check(&*engine, &secret).await?;
                secret
            }
            None => stored_secret(&*engine).await?,
        };
        let mut nodes = lease::nodes(&*engine, time).await?;
        nodes.insert(node);
        Ok(Self {
            node,
            engine,
            secret,
            nodes: Mutex::new(nodes),
            requests: Mutex::default(),
            next_request: AtomicU64::new(0),
            task: Mutex::default(),
        })
    }

    /// The secret that signs connection keys.
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The nodes that are alive.
    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        lock(&self.nodes).clone()
    }

    /// Receives the events of the engine. The entries of channels go to their apps.
    pub(super) fn listen(&self, apps: Weak<Apps>) -> Events {
        let events = Events::default();
        let added = Arc::clone(&events);
        self.engine.listen(Box::new(move |event| match event {
            Event::Committed(channel, entry) => {
                let app = apps.upgrade().and_then(|apps| apps.get(&channel.app));
                if let Some(app) = app {
                    app.receive_entry(channel.name, entry);
                }
            }
            event => added.add(event),
        }));
        events
    }

    /// Renews the lease of this node.
    pub(super) async fn renew(&self, time: i64) -> Result<(), EngineError> {
        let lease = (self.node.to_string(), Some(lease::lease(time)));
        self.engine.set_facts(Bucket::Nodes, vec![lease]).await
    }

    /// Starts the task of the node.
    pub(super) fn start(self: &Arc<Self>, shared: &Arc<Shared>, events: Events) {
        let work = run(Arc::downgrade(self), Arc::downgrade(shared), events);
        *lock(&self.task) = Some(tokio::spawn(work).abort_handle());
    }

    /// Leaves the cluster: the other nodes learn at once that this one is gone.
    pub(super) async fn leave(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
        let lease = vec![(self.node.to_string(), None)];
        let ended = timeout(LEAVING, self.engine.set_facts(Bucket::Nodes, lease)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!(
                "the lease of this node ends by itself, as the engine has not removed it"
            );
        }
    }

    /// Sends the notice of an app's hub to the other nodes.
    pub(super) fn announce_of_hub(&self, app: &str, notice: hub::Notice) {
        self.announce(&Notice::of_hub(app, notice));
    }

    /// Tells the other nodes of new entries that webhooks report.
    pub(super) fn announce_events(&self, app: &Str, channels: Vec<(Str, News)>) {
        self.announce(&Notice::Events { app: app.clone(), channels });
    }

    fn announce(&self, notice: &Notice) {
        let node = self.node.to_string();
        self.engine.announce(Announcement { node, payload: notice.encode() });
    }

    /// Waits until all nodes have applied these facts, or are gone.
    pub(super) async fn spread(&self, bucket: Bucket, keys: Vec<String>) {
        let mut missing = self.nodes();
        missing.remove(&self.node);
        if missing.is_empty() {
            return;
        }
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (done, replied) = oneshot::channel();
        lock(&self.requests).insert(request, Request { missing, done });
        let facts: Vec<_> = keys.into_iter().map(|key| (bucket as u8, key)).collect();
        let replies = async {
            let mut replied = std::pin::pin!(replied);
            // An announcement can be lost.
            loop {
                self.announce(&Notice::Facts { request, facts: facts.clone() });
                if timeout(Duration::from_secs(1), &mut replied).await.is_ok() {
                    return;
                }
            }
        };
        if timeout(MAX_WAIT, replies).await.is_err() {
            tracing::warn!(?bucket, "some nodes have not confirmed a change");
        }
        lock(&self.requests).remove(&request);
    }

    /// A node has confirmed a request, or is gone.
    fn confirm(&self, request: Option<u64>, node: NodeId) {
        let mut requests = lock(&self.requests);
        for (id, waiting) in &mut *requests {
            if request.is_none_or(|request| request == *id) {
                waiting.missing.remove(&node);
            }
        }
        let complete: Vec<u64> = requests
            .iter()
            .filter(|(_, waiting)| waiting.missing.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in complete {
            if let Some(Request { done, .. }) = requests.remove(&id) {
                let _ = done.send(());
            }
        }
    }

    /// A lease has been made, renewed or ended.
    fn node_changed(&self, key: &str, is_alive: bool, shared: &Shared) {
        let Some(node) = NodeId::parse(key) else { return };
        // A node that was cut off for long renews its lease as soon as it can.
        if node == self.node {
            return;
        }
        let nodes = {
            let mut nodes = lock(&self.nodes);
            let changed = if is_alive { nodes.insert(node) } else { nodes.remove(&node) };
            if !changed {
                return;
            }
            nodes.clone()
        };
        tracing::info!(%node, is_alive, "the cluster has changed");
        if !is_alive {
            self.confirm(None, node);
        }
        let now = shared.now();
        for app in shared.apps() {
            app.with(|hub, outputs| hub.set_nodes(nodes.clone(), now, outputs));
            app.webhooks.set_nodes(nodes.clone());
        }
        if is_alive {
            self.tell_occupancy(shared, true);
        }
    }

    /// Tells the other nodes the occupancy of this one: what has changed, or everything.
    fn tell_occupancy(&self, shared: &Shared, all: bool) {
        for app in shared.apps() {
            let counts = app.with(|hub, _| hub.occupancy_to_tell(all));
            if all || !counts.is_empty() {
                self.announce(&Notice::Occupancy { app: app.id().into(), all, counts });
            }
        }
    }

    async fn receive(
        self: &Arc<Self>,
        arrival: Arrival,
        arrivals: &Arrivals,
        shared: &Arc<Shared>,
    ) {
        match arrival {
            Arrival::Fact(bucket, key, value) => self.fact_changed(bucket, &key, value, shared),
            Arrival::Unread(bucket, key) => match self.engine.fact(bucket, &key).await {
                Ok(value) => self.fact_changed(bucket, &key, value, shared),
                Err(EngineError::Closed) => {}
                Err(problem) => {
                    tracing::warn!(%problem, key, "a changed fact cannot be read yet");
                    arrivals.add_unread(bucket, key);
                    sleep(RETRY).await;
                }
            },
            Arrival::Announced(Announcement { node, payload }) => {
                if let (Some(node), Some(notice)) = (NodeId::parse(&node), Notice::decode(&payload))
                {
                    self.receive_notice(node, notice, shared);
                }
            }
            Arrival::Missed => {
                tracing::warn!("this node is too slow for the announcements of the others");
                self.announce(&Notice::Hello);
                self.tell_occupancy(shared, true);
                missed_events(shared);
            }
            Arrival::Lost => {
                let readiness = &shared.operating.readiness;
                readiness.engine_is_unavailable("the engine cannot be reached");
                set_outage(true, shared);
            }
            Arrival::Regained => {
                shared.operating.readiness.engine_is_available();
                set_outage(false, shared);
                self.announce(&Notice::Hello);
                self.tell_occupancy(shared, true);
                missed_events(shared);
            }
        }
    }

    fn fact_changed(&self, bucket: Bucket, key: &str, value: Option<Bytes>, shared: &Arc<Shared>) {
        match bucket {
            Bucket::Nodes => self.node_changed(key, value.is_some(), shared),
            _ => shared.apply_fact(bucket, key, value),
        }
    }

    fn receive_notice(self: &Arc<Self>, from: NodeId, notice: Notice, shared: &Arc<Shared>) {
        let now = shared.now();
        match notice {
            Notice::Hello => self.tell_occupancy(shared, true),
            Notice::Resumed { app, connection } => {
                if let Some(app) = shared.app(&app) {
                    app.with(|hub, outputs| hub.resumed_elsewhere(&connection, now, outputs));
                }
            }
            Notice::Serving { app, connection } => {
                if let Some(app) = shared.app(&app) {
                    app.with(|hub, _| hub.served_elsewhere(&connection, now));
                }
            }
            Notice::Ended { app, connection } => {
                if let Some(app) = shared.app(&app) {
                    app.with(|hub, outputs| hub.ended_elsewhere(connection, now, outputs));
                }
            }
            Notice::Ephemeral { app, channel, position, time, record } => {
                if let (Some(app), Some((position, record))) =
                    (shared.app(&app), notice::ephemeral(position, &record))
                {
                    app.with(|hub, outputs| {
                        hub.relay_ephemeral(&channel, (position, time), &record, now, outputs);
                    });
                }
            }
            Notice::Occupancy { app, all, counts } => {
                if let Some(app) = shared.app(&app) {
                    app.with(|hub, outputs| {
                        hub.set_remote_occupancy(from, all, counts, now, outputs);
                    });
                }
            }
            Notice::Events { app, channels } => {
                if let Some(app) = shared.app(&app) {
                    channels.iter().for_each(|(name, news)| app.webhooks.has_news(name, *news));
                }
            }
            Notice::Facts { request, facts } => {
                let (cluster, shared) = (Arc::clone(self), Arc::clone(shared));
                tokio::spawn(async move {
                    for (number, key) in facts {
                        if let Some(bucket) = notice::bucket(number) {
                            cluster.apply_newest(bucket, &key, &shared).await;
                        }
                    }
                    cluster.announce(&Notice::Seen { to: from.to_string(), request });
                });
            }
            Notice::Seen { to, request } => {
                if to == self.node.to_string() {
                    self.confirm(Some(request), from);
                }
            }
        }
    }

    /// Reads a fact that another node has changed, and applies it.
    async fn apply_newest(&self, bucket: Bucket, key: &str, shared: &Arc<Shared>) {
        loop {
            match self.engine.fact(bucket, key).await {
                Ok(value) => return shared.apply_fact(bucket, key, value),
                Err(EngineError::Closed) => return,
                Err(problem) => {
                    tracing::warn!(%problem, key, "a changed fact cannot be read yet");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

/// Handles events, renews the lease, and tells the occupancy, for as long as the server runs.
async fn run(cluster: Weak<Cluster>, shared: Weak<Shared>, events: Events) {
    let mut renewal = interval(lease::RENEWAL);
    let mut telling = interval(TELL_OCCUPANCY);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    telling.set_missed_tick_behavior(MissedTickBehavior::Delay);
    if let Some(cluster) = cluster.upgrade() {
        cluster.announce(&Notice::Hello);
    }
    let mut renewing: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        tokio::select! {
            arrival = events.next() => {
                let (Some(cluster), Some(shared)) = (cluster.upgrade(), shared.upgrade()) else {
                    return;
                };
                cluster.receive(arrival, &events, &shared).await;
            }
            _ = telling.tick() => {
                let (Some(cluster), Some(shared)) = (cluster.upgrade(), shared.upgrade()) else {
                    return;
                };
                cluster.tell_occupancy(&shared, false);
            }
            _ = renewal.tick() => {
                let (Some(cluster), Some(shared)) = (cluster.upgrade(), shared.upgrade()) else {
                    return;
                };
                // In a task of its own: an engine that is slow must not hold up events. One at a time.
                if renewing.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                    let time = shared.now().wall;
                    renewing = Some(tokio::spawn(async move {
                        if let Err(problem) = cluster.renew(time).await {
                            tracing::warn!(%problem, "the lease of this node is not renewed");
                        }
                    }));
                }
            }
        }
    }
}

/// Checks that the cluster has this secret.
async fn check(engine: &dyn Engine, secret: &Secret) -> Result<(), EngineError> {
    let mut digest = Sha256::new();
    digest.update(b"the secret of a cluster: ");
    digest.update(secret.reveal().as_bytes());
    let ours: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if engine.create_fact(Bucket::Apps, SECRET_CHECK, ours.clone().into()).await? {
        return Ok(());
    }
    match engine.fact(Bucket::Apps, SECRET_CHECK).await? {
        Some(theirs) if theirs == ours.as_bytes() => Ok(()),
        _ => Err(EngineError::Mismatch(
            "the cluster has another secret: start every node with the same one".to_owned(),
        )),
    }
}

/// This node may have missed that other nodes have committed entries which webhooks report.
fn missed_events(shared: &Shared) {
    for app in shared.apps() {
        if let Some(channels) = app.webhooks.shared() {
            channels.missed_news();
        }
    }
}

fn set_outage(is_away: bool, shared: &Shared) {
    let now = shared.now();
    for app in shared.apps() {
        app.with(|hub, _| hub.set_outage(is_away, now));
    }
}

/// The secret that the first node has made.
async fn stored_secret(engine: &dyn Engine) -> Result<Secret, EngineError> {
    if engine.fact(Bucket::Apps, SECRET_CHECK).await?.is_some() {
        return Err(EngineError::Mismatch(
            "the other nodes of the cluster were given a secret: start this node with the same one"
                .to_owned(),
        ));
    }
    let new = random::secret().map_err(other)?;
    let value = new.reveal().to_string();
    if engine.create_fact(Bucket::Apps, SECRET, value.into()).await? {
        return Ok(new);
    }
    let stored = engine.fact(Bucket::Apps, SECRET).await?;
    let stored = stored.and_then(|value| String::from_utf8(value.to_vec()).ok());
    let stored = stored.ok_or_else(|| EngineError::Corrupt("the cluster has no secret".into()))?;
    Ok(Secret::new(stored))
}

fn other(problem: impl std::error::Error + Send + Sync + 'static) -> EngineError {
    EngineError::Other(Arc::new(problem))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("node", &self.node).finish_non_exhaustive()
    }
}
