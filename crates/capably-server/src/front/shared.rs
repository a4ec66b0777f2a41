//! The state that all tasks of a server share: its apps, its clock, and its own limits.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use capably_protocol::{ErrorInfo, ServerFrame};
use tokio::sync::Notify;

use super::{
    app::{
        AppHandle, Apps,
        writer::{StorageWriter, WriteQueue},
    },
    clock::Clock,
    operating::Operating,
};
use crate::hub::{
    App, AppSpec, Now, Output, Record, Settings, TransportId, error, keep::Saved, secret::Secret,
};

/// The state that all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    admission: Admission,
    /// The host that clients are told to connect to.
    pub(crate) endpoint: String,
    pub(crate) port: u16,
    /// What an operator sees of the server.
    pub(crate) operating: Operating,
    /// Most bytes in the outbox of one client.
    pub(crate) max_queue: usize,
    /// Where apps send their records; none without a storage.
    writes: Option<WriteQueue>,
    apps: Arc<Apps>,
    clock: Clock,
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
    ) -> Self {
        Self {
            settings: Arc::new(settings),
            admission,
            endpoint,
            port,
            operating: Operating::default(),
            max_queue,
            writes: None,
            apps: Arc::default(),
            clock: Clock::start(),
            next_transport: AtomicU64::new(0),
            transports: AtomicUsize::new(0),
            rearm: Arc::default(),
        }
    }

    /// Persists apps with this writer. Apps that exist already are not persisted, so it comes before them.
    pub(crate) fn persist_with(&mut self, writer: &StorageWriter) {
        self.writes = Some(writer.queue());
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

    /// Adds a new app. Its records may not be committed yet: see [`AppHandle::committed`].
    ///
    /// # Errors
    /// Code 40300 when the server has as many apps as it may, 50000 when the id is taken.
    pub(super) fn add_app(&self, spec: AppSpec) -> Result<Arc<AppHandle>, ErrorInfo> {
        let record = self.writes.is_some().then(|| Record::spec(&spec));
        let id = spec.id.to_string();
        let hub = App::new(Arc::clone(&self.settings), spec, self.now());
        let app = self.handle(id, hub);
        self.apps.add(Arc::clone(&app), self.admission.max_apps)?;
        app.with(|_, outputs| outputs.extend(record.map(Output::Keep)));
        Ok(app)
    }

    /// Adds an app from the storage.
    pub(crate) fn restore_app(&self, saved: Saved) {
        let id = saved.spec.id.to_string();
        let hub = App::restore(Arc::clone(&self.settings), saved, self.now());
        // Without a limit: an operator who lowers it must not lose apps.
        let added = self.apps.add(self.handle(id, hub), None);
        debug_assert!(added.is_ok(), "every app is stored once");
    }

    /// Adds the first app of the server and persists its key. The app may come from the storage.
    ///
    /// # Errors
    /// Code 50000 when its records cannot be committed.
    pub(crate) async fn start_app(&self, saved: Saved, key: &str) -> Result<(), ErrorInfo> {
        let records = [Record::spec(&saved.spec), Record::first_key(key)];
        let id = saved.spec.id.to_string();
        let persists = self.writes.is_some();
        self.restore_app(saved);
        let Some(app) = self.app(&id).filter(|_| persists) else { return Ok(()) };
        app.with(|_, outputs| outputs.extend(records.map(Output::Keep)));
        app.committed(0).await
    }

    pub(super) fn remove_app(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.apps.remove(id)
    }

    fn handle(&self, id: String, hub: App) -> Arc<AppHandle> {
        let apps = Arc::downgrade(&self.apps);
        AppHandle::new(id, hub, apps, Arc::clone(&self.rearm), self.writes.clone())
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
