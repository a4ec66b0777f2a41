//! The hub's front: sockets, HTTP, tasks and the clock.

mod app;
mod clock;
mod credentials;
mod http;
mod listener;
mod random;
mod rest;
mod router;
mod socket;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use capably_protocol::{ErrorInfo, ServerFrame};
use tokio::sync::{Notify, watch};

use self::{
    app::{
        AppHandle, Apps, pending,
        writer::{self, Jobs},
    },
    clock::Clock,
    http::cors,
    rest::{annotations, apps, batch, channels, form, messages, page, push, stats, tokens},
    socket::{closing, heartbeat, outbox, session, upgrade},
};
use crate::hub::{
    App, AppSpec, Now, Output, Record, Settings, TransportId, error, keep::Saved, secret::Secret,
};

pub(crate) use self::{
    app::writer::{Keeper, Open},
    http::{query, reply},
    listener::{Handle, accept, serve, serve_http, wait_for},
    rest::apps::new_key,
    socket::closing::{LINGER, finish, hang_up},
};

/// The rule of who may make apps, and the limits of the whole server.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    pub(crate) provisioning: Provisioning,
    /// Most apps, the one that the server starts with among them.
    pub(crate) max_apps: Option<usize>,
    /// Most transports in all apps.
    pub(crate) max_connections: Option<usize>,
}

/// The rule of who may make apps.
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

/// What all tasks of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) admission: Admission,
    /// The host that clients are told to connect to, and its port.
    pub(crate) endpoint: String,
    pub(crate) port: u16,
    /// Most bytes waiting for one client.
    pub(crate) max_queue: usize,
    /// Turns true when the server is to end.
    pub(crate) stop: watch::Sender<bool>,
    /// Where what is to be kept goes; none when nothing is.
    jobs: Option<Jobs>,
    pub(crate) apps: Arc<Apps>,
    pub(crate) clock: Clock,
    next_transport: AtomicU64,
    pub(crate) transports: AtomicUsize,
    /// Told when a deadline of some app comes nearer.
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
            max_queue,
            stop: watch::Sender::new(false),
            jobs: None,
            apps: Arc::default(),
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

    /// What is to be kept goes to this keeper.
    pub(crate) fn keep_with(&mut self, keeper: &Keeper) {
        self.jobs = Some(keeper.jobs());
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Takes a place for a transport.
    ///
    /// # Errors
    /// Code 50004 when there is none.
    pub(crate) fn take_transport(&self) -> Result<(), ErrorInfo> {
        let max = self.admission.max_connections.unwrap_or(usize::MAX);
        let one_more = |taken| (taken < max).then_some(taken + 1);
        let taken = self.transports.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.map(drop).map_err(|_| error::server_full(max))
    }

    /// Adds an app, which may not be kept yet.
    ///
    /// # Errors
    /// Code 40300 when there are as many apps as there may be, 50000 when there is one of that id.
    pub(crate) fn add_app(&self, spec: AppSpec) -> Result<Arc<AppHandle>, ErrorInfo> {
        let record = self.jobs.is_some().then(|| Record::spec(&spec));
        let id = spec.id.to_string();
        let hub = App::new(Arc::clone(&self.settings), spec, self.now());
        let app = self.handle(id, hub);
        self.apps.add(Arc::clone(&app), self.admission.max_apps)?;
        app.with(|_, outputs| outputs.extend(record.map(Output::Keep)));
        Ok(app)
    }

    /// Adds an app as it was kept.
    pub(crate) fn restore_app(&self, saved: Saved) {
        let id = saved.spec.id.to_string();
        let hub = App::restore(Arc::clone(&self.settings), saved, self.now());
        // Whatever was there before the limit was set stays.
        let added = self.apps.add(self.handle(id, hub), None);
        debug_assert!(added.is_ok(), "every app is stored once");
    }

    /// Adds the app that the server starts with, or what is new of it.
    ///
    /// # Errors
    /// Code 50000 when it cannot be kept.
    pub(crate) async fn start_app(&self, saved: Saved, key: &str) -> Result<(), ErrorInfo> {
        let records = [Record::spec(&saved.spec), Record::first_key(key)];
        let id = saved.spec.id.to_string();
        let keeps = self.jobs.is_some();
        self.restore_app(saved);
        let Some(app) = self.app(&id).filter(|_| keeps) else { return Ok(()) };
        app.with(|_, outputs| outputs.extend(records.map(Output::Keep)));
        app.settled(0).await
    }

    pub(crate) fn handle(&self, id: String, hub: App) -> Arc<AppHandle> {
        let apps = Arc::downgrade(&self.apps);
        AppHandle::new(id, hub, apps, Arc::clone(&self.rearm), self.jobs.clone())
    }

    pub(crate) fn app(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.apps.get(id)
    }

    pub(crate) fn remove_app(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.apps.remove(id)
    }

    /// Ends every connection of every app with this frame.
    pub(crate) fn end_all(&self, frame: &ServerFrame) {
        for app in self.apps.all() {
            app.with(|hub, outputs| hub.end(frame, outputs));
        }
    }

    pub(crate) fn new_transport(&self) -> TransportId {
        TransportId(self.next_transport.fetch_add(1, Ordering::Relaxed))
    }

    /// Does what is due in any app, for as long as the server runs.
    pub(crate) async fn keep_time(self: Arc<Self>) {
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
