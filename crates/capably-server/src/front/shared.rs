//! The state that all tasks of a server share: its apps, its clock, and its own limits.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, ServerFrame, frame::ErrorFrame};
use tokio::sync::Notify;

use super::{
    app::{AppHandle, Apps, Log, StoredWebhooks},
    clock::Clock,
    cluster::{Cluster, Events},
    comet::sessions::CometSessions,
    operating::Operating,
    webhooks::{Defaults, Webhooks},
};
use crate::{
    engine::{Bucket, Engine, EngineError, Fact},
    hub::{
        App, AppSpec, Now, Settings, TransportId, auth::is_app_id, error, revocation::Revocations,
        secret::Secret, spec,
    },
    webhooks::Rule,
};

/// The fact with the key of the app that the server started with. No app has such an id.
const FIRST_KEY: &str = "first-key";

/// The name of the node of an engine that has one only.
const ONE_NODE: &str = "local";

/// How often statistics are stored.
const STORE_STATS: Duration = Duration::from_secs(60);

/// The longest time for which a node of a cluster that stops waits for its engine.
const FINISHING: Duration = Duration::from_secs(3);

/// The apps whose statistics are stored at the same time.
const STORING: usize = 64;

/// The facts that are read at once.
const PAGE: usize = 1000;

/// The state that all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    admission: Admission,
    /// The host that clients are told to connect to.
    pub(crate) endpoint: String,
    pub(crate) port: u16,
    /// The metrics, the readiness and the open transports of the server.
    pub(crate) operating: Operating,
    /// The clients without a WebSocket.
    pub(super) comets: Arc<CometSessions>,
    #[cfg(feature = "console")]
    pub(crate) console: Option<super::console::Console>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::Tls>,
    /// Most bytes in the outbox of one client.
    pub(crate) max_queue: usize,
    /// The settings of the webhooks of all apps.
    pub(crate) webhooks: Arc<Defaults>,
    /// The name of this node among those that use the engine.
    node: Arc<str>,
    /// Commits and stores the entries of all apps. Without one, each app has its entries in memory.
    engine: Option<Arc<dyn Engine>>,
    /// The node that this server is, if several share the engine.
    cluster: Option<Arc<Cluster>>,
    apps: Arc<Apps>,
    clock: Arc<Clock>,
    next_transport: AtomicU64,
    transports: AtomicUsize,
    /// Wakes the timekeeper when an app has an earlier deadline than before.
    rearm: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(
        settings: Settings,
        admission: Admission,
        endpoint: String,
        port: u16,
        max_queue: usize,
        engine: Option<Arc<dyn Engine>>,
        cluster: Option<Cluster>,
    ) -> Self {
        let node = match &cluster {
            Some(cluster) => cluster.node.to_string().into(),
            None => ONE_NODE.into(),
        };
        Self {
            settings: Arc::new(settings),
            admission,
            endpoint,
            port,
            operating: Operating::default(),
            comets: Arc::default(),
            #[cfg(feature = "console")]
            console: None,
            #[cfg(feature = "tls")]
            tls: None,
            max_queue,
            webhooks: Arc::default(),
            node,
            engine,
            cluster: cluster.map(Arc::new),
            apps: Arc::default(),
            clock: Arc::new(Clock::start()),
            next_transport: AtomicU64::new(0),
            transports: AtomicUsize::new(0),
            rearm: Arc::default(),
        }
    }

    /// Whether clients connect with TLS.
    pub(crate) fn has_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Who may create apps.
    pub(super) fn provisioning(&self) -> &Provisioning {
        &self.admission.provisioning
    }

    pub(super) fn apps(&self) -> Vec<Arc<AppHandle>> {
        self.apps.all()
    }

    pub(super) fn app(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.apps.get(id)
    }

    /// Adds a new app, and stores its configuration.
    ///
    /// # Errors
    /// Code 40300 when the server has as many apps as it may, 50000 when the id is taken, 50000 and 50003 when the engine
    /// cannot store it.
    pub(super) async fn add_app(&self, spec: AppSpec) -> Result<(), ErrorInfo> {
        let id = spec.id.to_string();
        let stored = spec::write(&spec);
        self.apps.add(self.handle(spec), self.admission.max_apps)?;
        let result = self.set_facts(Bucket::Apps, vec![(id.clone(), Some(stored.into()))]).await;
        if result.is_err() {
            self.apps.remove(&id);
        }
        result
    }

    /// Reads the data that the engine has stored.
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot be read, or has something that the server cannot read.
    pub(crate) async fn stored(&self) -> Result<Stored, EngineError> {
        let mut stored = Stored::default();
        let Some(engine) = &self.engine else { return Ok(stored) };
        let mut last: Option<String> = None;
        loop {
            let page = engine.facts(Bucket::Apps, "", last.as_deref(), PAGE).await?;
            let Some(fact) = page.last() else { return Ok(stored) };
            last = Some(fact.key.clone());
            for Fact { key, value } in page {
                let corrupt = |why: String| EngineError::Corrupt(format!("the app {key}: {why}"));
                if key != FIRST_KEY && !is_app_id(&key) {
                    continue;
                }
                if key == FIRST_KEY {
                    let text = String::from_utf8(value.to_vec());
                    let text = text.map_err(|_| corrupt("its key is not text".into()))?;
                    stored.first_key = Some(text);
                    continue;
                }
                let spec = spec::read(&key, &value).map_err(corrupt)?;
                let mut revocations = Revocations::default();
                for fact in facts_of(&**engine, Bucket::Revocations, &key).await? {
                    let read = serde_json::from_slice(&fact.value);
                    let read = read.map_err(|why| corrupt(why.to_string()))?;
                    revocations.merge(read, self.now().wall);
                }
                stored.apps.push((spec, revocations));
            }
        }
    }

    /// The key of the fact with the revocations that this node knows. Each node has its own, so that none overwrites those of
    /// another.
    pub(super) fn revocations_key(&self, app: &str) -> String {
        format!("{app}/{}", self.node)
    }

    /// Adds an app that was stored.
    pub(crate) fn restore_app(&self, spec: AppSpec, revocations: Revocations) {
        let app = self.handle(spec);
        app.with(|hub, _| hub.set_revocations(revocations));
        // Without a limit: an operator who lowers it must not lose apps.
        let added = self.apps.add(app, None);
        debug_assert!(added.is_ok(), "every app is stored once");
    }

    /// Gives every app the facts that are stored for it. All apps must be there.
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot be read.
    pub(crate) async fn restore_facts(&self) -> Result<(), EngineError> {
        self.for_each_fact(Bucket::Push, |app, Fact { key, value }| {
            app.apply_fact(Bucket::Push, key, Some(value));
        })
        .await?;
        self.for_each_fact(Bucket::Stats, |app, fact| app.restore_stats(&fact)).await
    }

    /// Gives every app its rules for webhooks, the stored ones and those that the server is started with, and queues the events
    /// that an earlier server has not delivered. All apps must be there.
    ///
    /// # Errors
    /// Code 40000 for a rule that is not valid, 40400 for its unknown key, 50003 and 50000 for the engine.
    pub(crate) async fn restore_webhooks(
        &self,
        first_app: &str,
        mut given: Vec<Rule>,
    ) -> Result<(), ErrorInfo> {
        let mut stored: HashMap<String, StoredWebhooks> = HashMap::new();
        let read = self.for_each_fact(Bucket::Apps, |app, fact| {
            stored.entry(app.id().to_owned()).or_default().read(app.id(), &fact);
        });
        read.await.map_err(|problem| error::engine(&problem))?;
        stored.entry(first_app.to_owned()).or_default();
        for (id, stored) in stored {
            let Some(app) = self.apps.get(&id) else { continue };
            let given = if id == first_app { std::mem::take(&mut given) } else { Vec::new() };
            app.restore_webhooks(&stored, given).await?;
            app.resume_webhooks(stored).await?;
            // Before the first event: after a crash, the next server must not begin later.
            let positions = app.webhooks.store_positions().await;
            positions.map_err(|problem| error::engine(&problem))?;
        }
        Ok(())
    }

    /// Reads the facts of a bucket whose keys begin with the id of an app.
    async fn for_each_fact(
        &self,
        bucket: Bucket,
        mut receive: impl FnMut(Arc<AppHandle>, Fact),
    ) -> Result<(), EngineError> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let mut last: Option<String> = None;
        loop {
            let page = engine.facts(bucket, "", last.as_deref(), PAGE).await?;
            let Some(fact) = page.last() else { return Ok(()) };
            last = Some(fact.key.clone());
            for fact in page {
                let app = fact.key.split_once('/').and_then(|(app, _)| self.apps.get(app));
                // What is left of an app whose deletion was interrupted stays where it is.
                if let Some(app) = app {
                    receive(app, fact);
                }
            }
        }
    }

    /// Stores the statistics of all apps once a minute, for as long as the server runs. A server that is killed loses what
    /// it has counted since.
    pub(super) async fn keep_stats(self: Arc<Self>) {
        if self.engine.is_none() {
            return;
        }
        loop {
            tokio::time::sleep(STORE_STATS).await;
            self.store_stats().await;
        }
    }

    /// Stores the statistics of all apps.
    async fn store_stats(&self) {
        for apps in self.apps.all().chunks(STORING) {
            futures_util::future::join_all(apps.iter().map(|app| app.store_stats())).await;
        }
    }

    /// Writes the snapshots of objects that are not due yet: entries may expire before the server starts again.
    async fn store_objects(&self) {
        for apps in self.apps.all().chunks(STORING) {
            futures_util::future::join_all(apps.iter().map(|app| app.store_objects())).await;
        }
    }

    /// Adds the first app of the server, which may have been stored, and stores its key.
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot store it.
    pub(crate) async fn start_app(
        &self,
        spec: AppSpec,
        revocations: Revocations,
        key: &str,
    ) -> Result<(), EngineError> {
        let facts = vec![
            (spec.id.to_string(), Some(spec::write(&spec).into())),
            (FIRST_KEY.to_owned(), Some(key.to_owned().into())),
        ];
        self.restore_app(spec, revocations);
        match &self.engine {
            Some(engine) => engine.set_facts(Bucket::Apps, facts).await,
            None => Ok(()),
        }
    }

    /// The key of the app that the servers of an engine start with: `new`, unless another node was faster.
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot store it.
    pub(crate) async fn claim_first_key(&self, new: String) -> Result<String, EngineError> {
        let (Some(engine), Some(_)) = (&self.engine, &self.cluster) else { return Ok(new) };
        if engine.create_fact(Bucket::Apps, FIRST_KEY, new.clone().into()).await? {
            return Ok(new);
        }
        let stored = engine.fact(Bucket::Apps, FIRST_KEY).await?;
        let stored = stored.and_then(|key| String::from_utf8(key.to_vec()).ok());
        stored.ok_or_else(|| EngineError::Corrupt("the key of the first app is missing".into()))
    }

    /// Receives the events of an engine that several nodes share. `None` if this server is not one of several.
    pub(crate) fn listen(&self) -> Option<Events> {
        let cluster = self.cluster.as_ref()?;
        Some(cluster.listen(Arc::downgrade(&self.apps)))
    }

    /// Begins as a node of a cluster, with the events since [`listen`](Self::listen).
    ///
    /// # Errors
    /// An [`EngineError`] when the engine cannot store the lease.
    pub(crate) async fn start_node(
        self: &Arc<Self>,
        events: Option<Events>,
    ) -> Result<(), EngineError> {
        if let (Some(cluster), Some(events)) = (&self.cluster, events) {
            cluster.renew(self.now().wall).await?;
            cluster.start(self, events);
        }
        Ok(())
    }

    /// Applies a fact that another node has changed.
    pub(super) fn apply_fact(&self, bucket: Bucket, key: &str, value: Option<Bytes>) {
        let problem = match (bucket, value) {
            (Bucket::Apps, Some(value)) if is_app_id(key) && self.app(key).is_none() => {
                match spec::read(key, &value) {
                    Ok(spec) => {
                        // Another event may have added it meanwhile.
                        let _ = self.apps.add(self.handle(spec), None);
                        None
                    }
                    Err(problem) => Some(problem),
                }
            }
            (Bucket::Apps, value) if key.contains('/') => {
                if let Some(app) = key.split_once('/').and_then(|(app, _)| self.app(app)) {
                    app.apply_webhook_fact(key, value);
                }
                None
            }
            (Bucket::Apps, None) => {
                self.remove_app(key);
                None
            }
            (Bucket::Push, value) => {
                if let Some(app) = key.split_once('/').and_then(|(app, _)| self.app(app)) {
                    app.apply_fact(bucket, key.to_owned(), value);
                }
                None
            }
            (Bucket::Revocations, Some(value)) => match serde_json::from_slice(&value) {
                Ok(revocations) => {
                    let id = key.split_once('/').map_or(key, |(id, _)| id);
                    if let Some(app) = self.app(id) {
                        let now = self.now();
                        app.with(|hub, outputs| {
                            hub.apply_revocations(revocations, now, outputs);
                        });
                    }
                    None
                }
                Err(problem) => Some(problem.to_string()),
            },
            _ => None,
        };
        if let Some(problem) = problem {
            tracing::error!(problem, ?bucket, key, "a change of another node cannot be read");
        }
    }

    /// Ends an app: its clients are disconnected. Returns it if it was there.
    pub(super) fn remove_app(&self, id: &str) -> Option<Arc<AppHandle>> {
        let app = self.apps.remove(id)?;
        let error = Some(error::unknown_app());
        let frame = ServerFrame::Error(ErrorFrame { channel: None, error });
        app.webhooks.end();
        app.with(|hub, outputs| {
            hub.end(&frame, outputs);
            hub.end_objects();
        });
        Some(app)
    }

    /// Removes the stored data of an app.
    ///
    /// # Errors
    /// Codes 50003 and 50000 for the engine.
    pub(super) async fn forget_app(&self, app: &AppHandle) -> Result<(), ErrorInfo> {
        let id = app.id();
        self.set_facts(Bucket::Apps, vec![(id.to_owned(), None)]).await?;
        if let Some(engine) = &self.engine {
            let stored = facts_of(&**engine, Bucket::Revocations, id).await;
            let stored = stored.map_err(|problem| error::engine(&problem))?;
            let removed = stored.into_iter().map(|fact| (fact.key, None)).collect();
            self.set_facts(Bucket::Revocations, removed).await?;
        }
        app.forget_facts().await
    }

    /// Stores facts. In a cluster, all nodes have applied them when it returns.
    ///
    /// # Errors
    /// Codes 50003 and 50000 for the engine.
    pub(super) async fn set_facts(
        &self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), ErrorInfo> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let keys = facts.iter().map(|(key, _)| key.clone()).collect();
        engine.set_facts(bucket, facts).await.map_err(|problem| {
            tracing::error!(%problem, "the engine has not stored");
            error::engine(&problem)
        })?;
        let is_followed = matches!(bucket, Bucket::Apps | Bucket::Revocations | Bucket::Push);
        if let Some(cluster) = self.cluster.as_ref().filter(|_| is_followed) {
            cluster.spread(bucket, keys).await;
        }
        Ok(())
    }

    /// Stores the statistics and the objects, and closes the engine. A node of a cluster does not wait long for an engine that cannot be
    /// reached: everything that it has acknowledged is stored already.
    pub(crate) async fn finish(&self) {
        let finished = async {
            for app in self.apps.all() {
                if let Err(problem) = app.webhooks.store_positions().await {
                    tracing::warn!(%problem, "where the webhooks stand was not stored");
                }
                app.webhooks.end();
            }
            self.store_stats().await;
            self.store_objects().await;
            self.close_engine().await;
        };
        if self.cluster.is_none() {
            return finished.await;
        }
        if tokio::time::timeout(FINISHING, finished).await.is_err() {
            tracing::error!("the engine was not closed in time");
        }
    }

    /// Ends the delivery of events to endpoints.
    pub(crate) fn end_webhooks(&self) {
        self.apps.all().iter().for_each(|app| app.webhooks.end());
    }

    async fn close_engine(&self) {
        let Some(engine) = &self.engine else { return };
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
        if let Err(problem) = engine.close().await {
            tracing::error!(%problem, "the engine was not closed");
        }
    }

    fn handle(&self, spec: AppSpec) -> Arc<AppHandle> {
        let settings = Arc::clone(&self.settings);
        let now = self.now();
        let node = self.cluster.as_ref().map(|cluster| cluster.node);
        let mut hub = match &self.engine {
            Some(_) => App::with_engine(Arc::clone(&settings), spec, node, now),
            None => App::new(Arc::clone(&settings), spec, now),
        };
        if let Some(cluster) = &self.cluster {
            hub.set_nodes(cluster.nodes(), now, &mut Vec::new());
        }
        let apps = Arc::downgrade(&self.apps);
        let log = self.engine.as_ref().map(|engine| {
            let Operating { metrics, readiness, .. } = &self.operating;
            let (engine, cluster) = (Arc::clone(engine), self.cluster.clone());
            Log::new(engine, cluster, Arc::clone(metrics), Arc::clone(readiness))
        });
        let (rearm, node) = (Arc::clone(&self.rearm), Arc::clone(&self.node));
        let (id, defaults) = (hub.id().clone(), Arc::clone(&self.webhooks));
        let (engine, cluster) = (self.engine.clone(), self.cluster.clone());
        let webhooks = Webhooks::new(id, defaults, Arc::clone(&self.clock), engine, cluster);
        AppHandle::new(hub, settings, log, apps, rearm, node, webhooks)
    }

    /// How many transports are in use.
    pub(crate) fn transports(&self) -> usize {
        self.transports.load(Ordering::Acquire)
    }

    /// Takes a place for a transport.
    ///
    /// # Errors
    /// Code 50004 when all places are taken.
    pub(super) fn take_place(self: &Arc<Self>) -> Result<TransportPlace, ErrorInfo> {
        let max = self.admission.max_connections.unwrap_or(usize::MAX);
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.transports
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .map_err(|_| error::server_full(max))?;
        Ok(TransportPlace(Arc::clone(self)))
    }

    pub(super) fn new_transport(&self) -> TransportId {
        TransportId(self.next_transport.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends every connection of every app with this frame.
    pub(super) fn end_all(&self, frame: &ServerFrame) {
        for app in self.apps.all() {
            app.with(|hub, outputs| hub.end(frame, outputs));
        }
    }

    /// Handles the timeouts of all apps, for as long as the server runs.
    pub(super) async fn keep_time(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            let next = self.apps.all().iter().filter_map(|app| app.handle_timeout(now)).min();
            let sleep = async {
                match next {
                    Some(next) => tokio::time::sleep(next.saturating_sub(now.steady)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.rearm.notified() => {}
            }
        }
    }
}

/// The facts of a bucket whose keys are the id of an app, or begin with it and a slash.
async fn facts_of(
    engine: &dyn Engine,
    bucket: Bucket,
    app: &str,
) -> Result<Vec<Fact>, EngineError> {
    let mut found: Vec<Fact> = Vec::new();
    loop {
        let after = found.last().map(|fact| fact.key.as_str());
        let page = engine.facts(bucket, app, after, PAGE).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

/// The data of a server that its engine has stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The key of the app that the server started with.
    pub(crate) first_key: Option<String>,
    pub(crate) apps: Vec<(AppSpec, Revocations)>,
}

/// The limits of the whole server, and who may create apps.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) provisioning: Provisioning,
    /// Most apps, the first one included.
    pub(crate) max_apps: Option<usize>,
    /// Most transports in all apps.
    pub(crate) max_connections: Option<usize>,
}

/// Who may create apps.
#[derive(Debug, Default)]
pub(crate) enum Provisioning {
    /// Every client that reaches the server.
    #[default]
    Open,
    /// Clients that send the secret.
    Secret(Secret),
    /// Nobody.
    Off,
}

/// A place among the transports of the server. Dropping it frees the place.
pub(super) struct TransportPlace(Arc<Shared>);

impl Drop for TransportPlace {
    fn drop(&mut self) {
        self.0.transports.fetch_sub(1, Ordering::AcqRel);
    }
}
