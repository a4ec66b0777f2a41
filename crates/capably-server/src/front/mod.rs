//! The hub's front: sockets, HTTP, tasks and the clock.

mod app;
mod batch;
mod clock;
mod credentials;
mod http;
mod listener;
mod messages;
mod outbox;
mod page;
mod provision;
mod query;
mod random;
mod reply;
mod rest;
mod session;
mod tokens;
mod upgrade;

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use capably_protocol::ServerFrame;
use tokio::sync::{Notify, watch};

use self::{app::AppHandle, clock::Clock};
use crate::hub::{App, AppSpec, Settings, TransportId};

pub(crate) use self::{listener::serve, provision::new_key};

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    /// The host that clients are told to connect to, and its port.
    pub(crate) endpoint: String,
    pub(crate) port: u16,
    /// Most bytes waiting for one client.
    pub(crate) max_queue: usize,
    /// Turns true when the server is to end.
    pub(crate) stop: watch::Sender<bool>,
    apps: RwLock<HashMap<String, Arc<AppHandle>>>,
    clock: Clock,
    next_transport: AtomicU64,
    transports: AtomicUsize,
    /// Told when a deadline of some app comes nearer.
    rearm: Arc<Notify>,
}

impl Shared {
    pub(crate) fn new(settings: Settings, endpoint: String, port: u16, max_queue: usize) -> Self {
        Self {
            settings: Arc::new(settings),
            endpoint,
            port,
            max_queue,
            stop: watch::Sender::new(false),
            apps: RwLock::default(),
            clock: Clock::start(),
            next_transport: AtomicU64::new(0),
            transports: AtomicUsize::new(0),
            rearm: Arc::default(),
        }
    }

    /// How many transports are in use.
    pub(crate) fn transports(&self) -> usize {
        self.transports.load(Ordering::Acquire)
    }

    /// Adds an app; `false` when there is one of that id.
    pub(crate) fn add_app(&self, spec: AppSpec) -> bool {
        let id = spec.id.to_string();
        let app = App::new(Arc::clone(&self.settings), spec, self.clock.now());
        let app = Arc::new(AppHandle::new(app, Arc::clone(&self.rearm)));
        let mut apps = self.apps.write().unwrap_or_else(PoisonError::into_inner);
        if apps.contains_key(&id) {
            return false;
        }
        apps.insert(id, app);
        true
    }

    fn app(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn remove_app(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.apps.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    fn all_apps(&self) -> Vec<Arc<AppHandle>> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Ends every connection of every app with this frame.
    fn end_all(&self, frame: &ServerFrame) {
        for app in self.all_apps() {
            app.with(|hub, outputs| hub.end(frame, outputs));
        }
    }

    fn new_transport(&self) -> TransportId {
        TransportId(self.next_transport.fetch_add(1, Ordering::Relaxed))
    }

    /// Does what is due in any app, for as long as the server runs.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            let next = self.all_apps().iter().filter_map(|app| app.handle_timeout(now)).min();
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
