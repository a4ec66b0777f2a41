//! The settings of a server, and its start.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use capably_protocol::ApiKey;

use super::{Server, ServerError, error::no_randomness, injection::Injection, redacted};
#[cfg(feature = "console")]
use crate::front::console::{Console, ConsoleSettings};
use crate::{
    engine::{Engine, EngineError},
    faults::Faults,
    front::{
        self, Admission, Provisioning, Shared,
        cluster::Cluster,
        webhooks::{Bounds, Defaults, Retry},
    },
    hub::{
        AppSpec, Retention, Settings,
        auth::{Key, is_app_id},
        capability::Capability,
        revocation::Revocations,
        secret::Secret,
    },
    service::{Listener, Service},
    webhooks::Rule,
};

/// The longest time of any setting: 30 years. It can be added to any clock without an overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// The shortest `max_idle_interval`. With a shorter one, the server would be busy with heartbeats alone.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(30);

/// The settings of a [`Server`], before it starts.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    bind: IpAddr,
    port: u16,
    key: Option<String>,
    connection_state_ttl: Duration,
    max_idle_interval: Duration,
    max_message_size: usize,
    max_frame_size: usize,
    max_queue: usize,
    max_presence_members: usize,
    presence_remain: Duration,
    objects_grace_period: Duration,
    max_objects: usize,
    max_objects_bytes: usize,
    max_inbound_rate: Option<u32>,
    max_apps: Option<usize>,
    max_connections: Option<usize>,
    max_app_connections: Option<usize>,
    max_channels: Option<usize>,
    max_request_rate: Option<u32>,
    max_log_bytes: usize,
    provision_secret: Option<Secret>,
    retention: Retention,
    faults: Option<Faults>,
    engine: Option<EngineSource>,
    cluster_secret: Option<Secret>,
    metrics: Option<SocketAddr>,
    drain_notice: Duration,
    webhook_rules: Vec<Rule>,
    webhooks: Defaults,
    #[cfg(feature = "console")]
    console: bool,
    #[cfg(feature = "tls")]
    tls: Option<crate::Tls>,
}

/// The engine of a server that is not started yet.
#[derive(Clone)]
enum EngineSource {
    Given(Arc<dyn Engine>),
    #[cfg(feature = "disk")]
    Directory(std::path::PathBuf),
}

impl EngineSource {
    /// The name of the engine for the console.
    #[cfg(feature = "console")]
    fn name(source: Option<&Self>) -> &'static str {
        match source {
            None => "memory",
            Some(Self::Given(engine)) if engine.is_shared() => "cluster",
            Some(Self::Given(_)) => "custom",
            #[cfg(feature = "disk")]
            Some(Self::Directory(_)) => "disk",
        }
    }

    async fn open(self) -> Result<Arc<dyn Engine>, EngineError> {
        match self {
            Self::Given(engine) => Ok(engine),
            #[cfg(feature = "disk")]
            Self::Directory(path) => {
                let opened = tokio::task::spawn_blocking(|| crate::engine::Disk::open(path)).await;
                let opened = opened.map_err(|problem| EngineError::Other(Arc::new(problem)))?;
                Ok(Arc::new(opened?))
            }
        }
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            key: None,
            connection_state_ttl: Duration::from_secs(120),
            max_idle_interval: Duration::from_secs(15),
            max_message_size: 65_536,
            max_frame_size: 524_288,
            max_queue: 16 * 1024 * 1024,
            max_presence_members: 250,
            presence_remain: Duration::from_secs(15),
            objects_grace_period: Duration::from_secs(24 * 3600),
            max_objects: 200_000,
            max_objects_bytes: 64 * 1024 * 1024,
            max_inbound_rate: None,
            max_apps: None,
            max_connections: None,
            max_app_connections: None,
            max_channels: None,
            max_request_rate: None,
            max_log_bytes: 1024 * 1024 * 1024,
            provision_secret: None,
            retention: Retention {
                frames: 200_000,
                bytes: 128 * 1024 * 1024,
                age: Duration::from_secs(150),
            },
            faults: None,
            engine: None,
            cluster_secret: None,
            metrics: None,
            drain_notice: Duration::ZERO,
            webhook_rules: Vec::new(),
            webhooks: Defaults::default(),
            #[cfg(feature = "console")]
            console: false,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl Builder {
    /// The port to listen on; 0, the default, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The address to listen on; 127.0.0.1 by default.
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.bind = address;
        self
    }

    /// The key of the first app, as `appId.keyId:secret`. The app id has six letters, digits, `_` or `-`. The key has
    /// every capability. By default it is the key that the engine has stored, or else a random one.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long a client that lost its connection can resume it; 120 s by default (CD2f).
    pub fn connection_state_ttl(mut self, ttl: Duration) -> Self {
        self.connection_state_ttl = ttl;
        self
    }

    /// The longest silence before the server sends a client a heartbeat; 15 s by default, 30 ms at least (CD2h).
    pub fn max_idle_interval(mut self, interval: Duration) -> Self {
        self.max_idle_interval = interval;
        self
    }

    /// The largest publish, in bytes; 65,536 by default (CD2c).
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The largest frame and the largest body of a request, in bytes; 524,288 by default (CD2d).
    pub fn max_frame_size(mut self, bytes: usize) -> Self {
        self.max_frame_size = bytes;
        self
    }

    /// The size of each channel's log, which serves resumes and history: at most `frames` frames and about `bytes` bytes;
    /// 200,000 and 128 MiB by default.
    pub fn resume_buffer(mut self, frames: usize, bytes: usize) -> Self {
        self.retention.frames = frames;
        self.retention.bytes = bytes;
        self
    }

    /// The most bytes that may wait to be sent to a client. Beyond that it is disconnected (80020); 16 MiB by default.
    pub fn max_queue(mut self, bytes: usize) -> Self {
        self.max_queue = bytes;
        self
    }

    /// The most members of a channel; 250 by default.
    pub fn max_presence_members(mut self, members: usize) -> Self {
        self.max_presence_members = members;
        self
    }

    /// The most messages a second that a connection may publish, presence messages and annotations included. The messages
    /// of a second may come at once. More messages are refused with 42911. By default there is no limit, and
    /// `connectionDetails` has 250 (CD2e).
    pub fn max_inbound_rate(mut self, messages_per_second: u32) -> Self {
        self.max_inbound_rate = Some(messages_per_second);
        self
    }

    /// The most apps, the first one included. More apps are refused with 40300. Apps that an engine has stored count, but they are
    /// all loaded. By default there is no limit.
    pub fn max_apps(mut self, apps: usize) -> Self {
        self.max_apps = Some(apps);
        self
    }

    /// The most realtime connections in all apps. More clients are disconnected with 50004, and retry later. By default
    /// there is no limit.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// The most realtime connections of each app. More clients are disconnected with 40111, and retry later. `POST /apps`
    /// accepts a lower limit for its app, as `limits.connections.max`. By default there is no limit.
    pub fn max_app_connections(mut self, connections: usize) -> Self {
        self.max_app_connections = Some(connections);
        self
    }

    /// The most channels of each app: channels that are attached, and channels that have messages. Attaching or publishing
    /// to one more is refused with 40114. `POST /apps` accepts a lower limit for its app, as `limits.channels.max`. By
    /// default there is no limit.
    pub fn max_channels(mut self, channels: usize) -> Self {
        self.max_channels = Some(channels);
        self
    }

    /// The most REST requests a second with valid credentials of each app. The requests of a second may come at once. More
    /// requests are refused with 42918. `POST /apps` accepts a lower limit for its app, as `limits.requests.maxRate`. By
    /// default there is no limit.
    pub fn max_request_rate(mut self, requests_per_second: u32) -> Self {
        self.max_request_rate = Some(requests_per_second);
        self
    }

    /// About the most memory of each app's channels with their messages, in bytes; 1 GiB by default. Beyond that, the
    /// server drops the oldest messages of the channels that were published to and attached least recently. A client that
    /// resumes and has missed them learns that continuity was lost. Messages of an [engine](Self::engine) stay there.
    /// `POST /apps` accepts a lower limit for its app, as `limits.messages.maxLogBytes`.
    pub fn max_log_bytes(mut self, bytes: usize) -> Self {
        self.max_log_bytes = bytes;
        self
    }

    /// The secret for creating apps: `POST /apps` must have `Authorization: Bearer <secret>`.
    ///
    /// By default, every client can create apps on a server that [listens](Self::bind) on a loopback address, and no
    /// client can on any other address (40300).
    pub fn provision_secret(mut self, secret: impl Into<String>) -> Self {
        self.provision_secret = Some(Secret::new(secret.into()));
        self
    }

    /// How long a member stays present after its connection was lost; 15 s by default. A client can choose another time
    /// with `remainPresentFor`.
    pub fn presence_remain(mut self, remain: Duration) -> Self {
        self.presence_remain = remain;
        self
    }

    /// How long deleted objects and removed keys of maps are remembered, so that an operation that arrives late does not
    /// bring them back; 24 hours by default. Clients learn it when they connect (CD2i). All servers of a cluster need the
    /// same.
    pub fn objects_grace_period(mut self, period: Duration) -> Self {
        self.objects_grace_period = period;
        self
    }

    /// The most objects of each channel: maps and counters, those among them that are deleted and still remembered; 200,000 by
    /// default. An operation that would make one more is refused with 92001. `POST /apps` accepts a lower limit for its app,
    /// as `limits.objects.max`.
    pub fn max_objects(mut self, objects: usize) -> Self {
        self.max_objects = objects;
        self
    }

    /// About the largest size of the objects of each channel, in bytes; 64 MiB by default. Beyond that, operations that set
    /// values are refused with 92001, for up to 10 s after something was removed or replaced, too. `POST /apps` accepts a lower
    /// limit for its app, as `limits.objects.maxBytes`.
    pub fn max_objects_bytes(mut self, bytes: usize) -> Self {
        self.max_objects_bytes = bytes;
        self
    }

    /// The address of a second listener, which serves `GET /metrics` in the text format of Prometheus, and the health; port
    /// 0 takes a free port: see [`Server::metrics_addr`]. The metrics need no credentials, so choose an address that only
    /// operators reach.
    ///
    /// By default, the main listener serves `/metrics` on a server that [listens](Self::bind) on a loopback address, and
    /// no listener does on any other address.
    pub fn metrics(mut self, address: SocketAddr) -> Self {
        self.metrics = Some(address);
        self
    }

    /// How long [`Server::drain`] still accepts new clients after `GET /health/ready` has begun to fail; 0 by default.
    /// Choose the time in which a load balancer notices, if it cannot repeat a request that is answered with 503.
    pub fn drain_notice(mut self, notice: Duration) -> Self {
        self.drain_notice = notice;
        self
    }

    /// Adds rules for [webhooks](crate::webhooks) to the first app. They are not stored: the next server needs them again, with
    /// the same [ids](Rule::id) if it is to go on where this one stood. By default there are none.
    pub fn webhook_rules(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.webhook_rules.extend(rules);
        self
    }

    /// Lets webhooks call every address. By default they call public addresses only, and on a server that
    /// [listens](Self::bind) on a loopback address, loopback addresses too.
    pub fn allow_private_webhooks(mut self, on: bool) -> Self {
        self.webhooks.outbound.allowed.all = on;
        self
    }

    /// Webhooks trust these certificates, in PEM, besides the roots of the web: for endpoints with a certificate of a private
    /// authority. May be called more than once.
    ///
    /// # Errors
    /// [`TlsError::Certificate`](crate::TlsError::Certificate) when the PEM has no certificate, or one that cannot be a root.
    #[cfg(feature = "tls")]
    pub fn webhook_root(mut self, pem: impl AsRef<[u8]>) -> Result<Self, crate::TlsError> {
        self.webhooks.outbound.roots.add(pem.as_ref())?;
        Ok(self)
    }

    /// How much may wait for the endpoint of each rule: at most `events` events, and about `bytes` bytes; 50,000 and 32 MiB by
    /// default. Beyond that, the oldest events become dead letters (70003).
    pub fn webhook_queue(mut self, events: usize, bytes: usize) -> Self {
        self.webhooks.bounds = Bounds { events: events.max(1), bytes };
        self
    }

    /// How long an endpoint may take until it answers; 10 s by default. After that the request has failed (70001).
    pub fn webhook_timeout(mut self, timeout: Duration) -> Self {
        self.webhooks.outbound.timeout = timeout.min(LONGEST);
        self
    }

    /// The unit of the times after which failed webhooks are repeated; 1 s by default. A shorter one makes tests of an endpoint
    /// fast: with 10 ms, a single event is repeated after 40 ms and 200 ms, and a batch may wait for 3 s.
    pub fn webhook_retry_unit(mut self, unit: Duration) -> Self {
        self.webhooks.retry = Retry { unit: unit.min(Duration::from_secs(3600)) };
        self
    }

    /// Injects these faults between the server and its clients. By default clients connect to the server directly.
    pub fn faults(mut self, faults: &Faults) -> Self {
        self.faults = Some(faults.clone());
        self
    }

    /// Serves a web page at `/console/`, on which an operator watches and operates the server: its channels, connections and
    /// frames, tokens, [faults](crate::faults), statistics. [`Server::console_url`] has a link that opens it. Without the link,
    /// the operator signs in with a key of an app, and sees and does there what the key allows. By default there is no console.
    ///
    /// On a loopback address, the console has faults as well, unless [`faults`](Self::faults) has set some: clients go through
    /// them only from the first rule or action on, for which they are cut once and resume, and until all rules are removed. On
    /// other addresses, only faults that are set here can be used.
    ///
    /// On a loopback address, the page answers only to the names of one. Elsewhere, put TLS in front of the server.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use capably_server::Server;
    ///
    /// let server = Server::builder().console(true).start().await?;
    /// println!("open {}", server.console_url().unwrap_or_default());
    /// # assert!(server.console_url().is_some_and(|url| url.contains("/console/#")));
    /// # server.shutdown().await;
    /// # Ok::<_, capably_server::ServerError>(())
    /// # }).unwrap();
    /// ```
    #[cfg(feature = "console")]
    pub fn console(mut self, on: bool) -> Self {
        self.console = on;
        self
    }

    /// Clients connect with TLS: `https` and `wss`. A client without TLS is refused. The [metrics](Self::metrics) of a second
    /// listener stay without. With TLS, the server has no [`faults`](Self::faults): put a
    /// [`FaultProxy`](crate::faults::FaultProxy) in front of a server without TLS.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: &crate::Tls) -> Self {
        self.tls = Some(tls.clone());
        self
    }

    #[cfg(feature = "tls")]
    fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    fn has_tls(&self) -> bool {
        false
    }

    /// Orders and stores everything in this [engine](crate::engine): the next server with it continues from there. By
    /// default, each app orders its own entries and has them in memory.
    ///
    /// A message is acknowledged and delivered only after it is committed, so that an acknowledged or delivered message
    /// survives a crash. Messages that wait at the same time are committed together. When a message cannot be committed,
    /// its publisher gets an error (50000, or 50003 when the engine cannot be reached).
    ///
    /// Connections and live members of presence are not stored: a client that resumes after a restart gets a new
    /// connection (80018), and the messages that it has missed. Statistics are stored once a minute, and by
    /// [`Server::shutdown`]: a server that is killed loses what it has counted since.
    ///
    /// Several servers with an engine that [is shared](Engine::is_shared) are one service, a cluster: a client may use any of
    /// them, and resumes at another with the same connection id, without a lost or repeated message. All must have the same
    /// settings and [secret](Self::cluster_secret).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use capably_server::{Server, engine::Mesh};
    ///
    /// // In one process, for a test. For several machines there is `JetStream`, with the feature `cluster`.
    /// let mesh = Mesh::new();
    /// let first = Server::builder().engine(mesh.node()).start().await?;
    /// let second = Server::builder().engine(mesh.node()).start().await?;
    /// assert_eq!(first.key(), second.key());
    /// # first.shutdown().await;
    /// # second.shutdown().await;
    /// # Ok::<_, capably_server::ServerError>(())
    /// # }).unwrap();
    /// ```
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(EngineSource::Given(engine));
        self
    }

    /// As [`engine`](Self::engine), with a directory on disk. It is created if it does not exist.
    #[cfg(feature = "disk")]
    pub fn data(mut self, directory: impl Into<std::path::PathBuf>) -> Self {
        self.engine = Some(EngineSource::Directory(directory.into()));
        self
    }

    /// The secret of the cluster, if several servers share the [engine](Self::engine). It signs the keys with which clients
    /// resume at any of them, so all must have the same. By default, the first server makes one and stores it in the
    /// engine.
    pub fn cluster_secret(mut self, secret: impl Into<String>) -> Self {
        self.cluster_secret = Some(Secret::new(secret.into()));
        self
    }

    /// Starts the server on the current tokio runtime.
    ///
    /// # Errors
    /// A [`ServerError`] when the port is in use, the key or a setting is not valid, or the engine cannot be used.
    pub async fn start(self) -> Result<Server, ServerError> {
        if let Some(key) = &self.key {
            check(key)?;
        }
        if self.max_idle_interval.is_zero() {
            return Err(ServerError::IdleInterval);
        }
        let has_tls = self.has_tls();
        if has_tls && self.faults.is_some() {
            return Err(ServerError::FaultsWithTls);
        }
        let provisioning = match self.provision_secret {
            Some(secret) if secret.is("") => return Err(ServerError::ProvisionSecret),
            Some(secret) => Provisioning::Secret(secret),
            None if self.bind.to_canonical().is_loopback() => Provisioning::Open,
            None => Provisioning::Off,
        };
        let admission = Admission {
            provisioning,
            max_apps: self.max_apps,
            max_connections: self.max_connections,
        };
        let connection_state_ttl = self.connection_state_ttl.min(LONGEST);
        let presence_remain = self.presence_remain.min(LONGEST);
        // Heartbeats are sent at a third of this, in whole milliseconds: a shorter interval could round to zero.
        let max_idle_interval = self.max_idle_interval.clamp(SHORTEST_INTERVAL, LONGEST);
        let listener = Listener::bind(SocketAddr::new(self.bind, self.port))?;
        let metrics = self.metrics.map(Listener::bind).transpose()?;
        let retention = Retention {
            // A client that resumes at the last moment must still get the messages that it has missed.
            age: self.retention.age.max(connection_state_ttl + Duration::from_secs(30)),
            ..self.retention
        };
        #[cfg(feature = "console")]
        let engine_name = EngineSource::name(self.engine.as_ref());
        let engine = match self.engine {
            Some(source) => Some(source.open().await.map_err(ServerError::Engine)?),
            None => None,
        };
        let cluster = match &engine {
            Some(engine) if engine.is_shared() => {
                let joined = Cluster::join(Arc::clone(engine), self.cluster_secret).await;
                Some(joined.map_err(ServerError::Engine)?)
            }
            Some(_) | None => None,
        };
        let connection_secret = match &cluster {
            Some(cluster) => cluster.secret().clone(),
            None => front::random_secret().map_err(no_randomness)?,
        };
        let settings = Settings {
            server_id: "capably".into(),
            connection_secret,
            connection_state_ttl,
            max_idle_interval,
            max_message_size: self.max_message_size,
            max_frame_size: self.max_frame_size,
            max_presence_members: self.max_presence_members,
            presence_remain,
            objects_grace_period: self.objects_grace_period.min(LONGEST),
            max_objects: self.max_objects,
            max_objects_bytes: self.max_objects_bytes,
            max_inbound_rate: self.max_inbound_rate,
            max_channels: self.max_channels,
            max_connections: self.max_app_connections,
            max_request_rate: self.max_request_rate,
            max_log_bytes: self.max_log_bytes,
            retention,
        };
        let (host, port) = (listener.host(), listener.address.port());
        let mut shared =
            Shared::new(settings, admission, host, port, self.max_queue, engine, cluster);
        #[cfg(feature = "tls")]
        {
            shared.tls = self.tls;
        }
        let is_loopback = self.bind.to_canonical().is_loopback();
        shared.operating.metrics_on_main_port = metrics.is_none() && is_loopback;
        let mut webhooks = self.webhooks;
        webhooks.outbound.allowed.loopback = is_loopback;
        shared.webhooks = Arc::new(webhooks);
        // Before anything is read, so that no later change is missed.
        let events = shared.listen();
        let stored = shared.stored().await.map_err(ServerError::Engine)?;
        let key = match self.key.or(stored.first_key) {
            Some(key) => key,
            None => {
                let new = front::new_key().map_err(no_randomness)?;
                shared.claim_first_key(new).await.map_err(ServerError::Engine)?
            }
        };
        let parsed = check(&key)?;
        let created = Some(shared.now().wall);
        let mut first = AppSpec { id: parsed.app_id().into(), created, ..AppSpec::default() };
        let mut first_revocations = Revocations::default();
        for (spec, revocations) in stored.apps {
            if spec.id == first.id {
                (first, first_revocations) = (spec, revocations);
            } else {
                shared.restore_app(spec, revocations);
            }
        }
        let key_id = parsed.name().split_once('.').map_or("", |(_, id)| id);
        first.keys.retain(|key| key.id != key_id);
        first.keys.insert(0, Arc::new(Key::new(key_id, parsed.secret(), Capability::all())));
        let started = shared.start_app(first, first_revocations, &key).await;
        started.map_err(ServerError::Engine)?;
        shared.restore_facts().await.map_err(ServerError::Engine)?;
        let restored = shared.restore_webhooks(parsed.app_id(), self.webhook_rules).await;
        restored.map_err(ServerError::Rule)?;
        let faults = match self.faults {
            Some(faults) => Injection::Always(faults),
            #[cfg(feature = "console")]
            None if self.console && is_loopback && !has_tls => Injection::OnDemand(Faults::new()),
            None => Injection::Never,
        };
        #[cfg(feature = "console")]
        if self.console {
            let settings = ConsoleSettings {
                token: front::random_secret().map_err(no_randomness)?,
                first_app: parsed.app_id().to_owned(),
                first_key_id: key_id.to_owned(),
                is_loopback,
                engine: engine_name,
                faults: faults.access(),
            };
            shared.console = Some(Console::new(settings, shared.now()));
        }
        let shared = Arc::new(shared);
        shared.start_node(events).await.map_err(ServerError::Engine)?;
        let service = faults.start(listener, &shared)?;
        let metrics = metrics.map(|listener| {
            let shared = Arc::clone(&shared);
            Service::start(listener, |socket, stop| {
                front::operating::serve_metrics(socket, stop, shared)
            })
        });
        tracing::info!(address = %service.address(), "the server is ready");
        let drain_notice = self.drain_notice.min(LONGEST);
        Ok(Server { service, metrics, drain_notice, shared, key })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("bind", &self.bind)
            .field("port", &self.port)
            .field("key", &self.key.as_deref().map(redacted))
            .finish_non_exhaustive()
    }
}

/// Parses a key, and checks its app id.
fn check(key: &str) -> Result<ApiKey, ServerError> {
    let key: ApiKey = key.parse().map_err(ServerError::Key)?;
    if is_app_id(key.app_id()) { Ok(key) } else { Err(ServerError::AppId) }
}
