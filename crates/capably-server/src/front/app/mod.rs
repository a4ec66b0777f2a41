//! An app under its lock: inputs go to its hub, and the outputs of the hub are carried out.

mod damage;
mod facts;
mod fetch;
mod log;
mod objects;
mod reads;
mod statistics;
mod webhooks;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{ErrorInfo, Str};
use tokio::sync::{Notify, oneshot};

use self::{damage::Damage, facts::Facts, fetch::Loads, log::Appends};
pub(in crate::front) use self::{log::Log, webhooks::StoredWebhooks};
use super::{
    clock::Clock,
    socket::outbox::{Filling, Item, Outbox},
    webhooks::Webhooks,
};
use crate::hub::{
    Accepted, App, Delivery, Need, Notice, Now, Output, Proposed, Settings, SnapshotDraft, Ticket,
    TransportHash, TransportId,
    auth::{Credentials, PresentedKey},
    error,
};

/// The apps of a server, by their ids.
#[derive(Debug, Default)]
pub(super) struct Apps(RwLock<HashMap<String, Arc<AppHandle>>>);

impl Apps {
    pub(super) fn get(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<AppHandle>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds an app.
    ///
    /// # Errors
    /// Code 40300 when there are `max` apps already, 50000 when the id is taken.
    pub(super) fn add(&self, app: Arc<AppHandle>, max: Option<usize>) -> Result<(), ErrorInfo> {
        let mut apps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(max) = max.filter(|max| apps.len() >= *max) {
            return Err(error::too_many_apps(max));
        }
        match apps.entry(app.id.clone()) {
            Entry::Occupied(_) => Err(error::app_id_taken()),
            Entry::Vacant(entry) => {
                entry.insert(app);
                Ok(())
            }
        }
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Publishes a push delivery in the app of the key that its recipient has.
    ///
    /// # Errors
    /// Codes 40101, 40400 for the key, and those of a publish.
    fn publish(&self, delivery: &Delivery) -> Result<(), ErrorInfo> {
        let key = PresentedKey::parse(&delivery.key)?;
        let app = self.get(key.app_id()).ok_or_else(error::unknown_app)?;
        let credentials = Credentials::Key(key);
        app.with(|hub, outputs| {
            let identity = hub.authenticate(&credentials, None, delivery.now)?;
            let messages = vec![delivery.message()];
            // A push is accepted before it is committed, as by the other transports.
            hub.publish(&identity, &delivery.channel, messages, delivery.now, outputs)
        })?;
        Ok(())
    }
}

/// An app under its lock. The lock is held for one input, and never across an await.
#[derive(Debug)]
pub(super) struct AppHandle {
    id: String,
    state: Mutex<State>,
    /// Commits and stores the entries of the app. Without one, the hub does.
    log: Option<Log>,
    /// The channels that are being loaded.
    loads: Mutex<Loads>,
    /// Held while revocations are made and stored: an older list must not replace a newer one in the engine.
    revoking: tokio::sync::Mutex<()>,
    facts: Facts,
    /// Notified when a snapshot of objects was written, or could not be.
    saved: Notify,
    damage: Damage,
    pub(in crate::front) webhooks: Arc<Webhooks>,
    clock: Arc<Clock>,
    settings: Arc<Settings>,
    me: Weak<AppHandle>,
    /// All apps of the server: a push delivery may be for a channel of another app.
    apps: Weak<Apps>,
    /// Wakes the timekeeper.
    rearm: Arc<Notify>,
}

/// The outboxes of an app's transports.
type Outboxes = HashMap<TransportId, Arc<Outbox>, TransportHash>;

#[derive(Debug)]
struct State {
    hub: App,
    outboxes: Outboxes,
    outputs: Vec<Output>,
    /// The REST requests that wait for the engine.
    requests: HashMap<Ticket, oneshot::Sender<Result<Accepted, ErrorInfo>>>,
    /// An outbox above its high water, until a publisher has been told to pause.
    crowded: Option<Arc<Outbox>>,
    /// The deadline that the timekeeper knows.
    armed: Option<Duration>,
}

impl AppHandle {
    /// An app, whose entries are in this log of an engine, if there is one.
    pub(super) fn new(
        hub: App,
        settings: Arc<Settings>,
        log: Option<Log>,
        apps: Weak<Apps>,
        rearm: Arc<Notify>,
        node: Arc<str>,
        webhooks: Arc<Webhooks>,
    ) -> Arc<Self> {
        let id = hub.id().to_string();
        let clock = Arc::clone(webhooks.clock());
        let state = State {
            hub,
            outboxes: Outboxes::default(),
            outputs: Vec::new(),
            requests: HashMap::new(),
            crowded: None,
            armed: None,
        };
        let app = Arc::new_cyclic(|me| Self {
            log,
            loads: Mutex::default(),
            revoking: tokio::sync::Mutex::default(),
            facts: Facts::new(node),
            saved: Notify::new(),
            damage: Damage::default(),
            webhooks,
            id,
            state: Mutex::new(state),
            clock,
            settings,
            me: Weak::clone(me),
            apps,
            rearm,
        });
        let me = Arc::downgrade(&app);
        app.webhooks.set_failures(me);
        app
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Gives an input to the hub and carries out its outputs. Returns the result of the input.
    pub(super) fn with<R>(&self, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
        self.with_pressure(input).0
    }

    /// As [`with`](Self::with), for a publisher: returns the reason to pause, too.
    pub(super) fn with_pressure<R>(
        &self,
        input: impl FnOnce(&mut App, &mut Vec<Output>) -> R,
    ) -> (R, Option<Pressure>) {
        let mut state = self.lock();
        let result = state.input(input);
        let pressure = self.carry_out(state);
        (result, pressure)
    }

    /// Publishes, and waits until the entry is committed.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub(super) async fn commit(
        &self,
        input: impl FnOnce(&mut App, &mut Vec<Output>) -> Result<Proposed, ErrorInfo>,
    ) -> Result<Accepted, ErrorInfo> {
        let answered = {
            let mut state = self.lock();
            let proposed = state.input(input);
            let (answer, answered) = oneshot::channel();
            if let Ok(Proposed::Waiting(ticket)) = proposed {
                state.requests.insert(ticket, answer);
            }
            self.carry_out(state);
            match proposed? {
                Proposed::Committed(accepted) => return Ok(accepted),
                Proposed::Waiting(_) => answered,
            }
        };
        answered.await.unwrap_or_else(|_| Err(error::not_stored()))
    }

    /// Publishes something about a message, which may have to be fetched first. Waits until it is committed.
    ///
    /// # Errors
    /// The reason why it is refused, and codes 50003 and 50000 for the engine.
    pub(super) async fn commit_about(
        &self,
        channel: &str,
        serial: &str,
        input: impl FnOnce(&mut App, &mut Vec<Output>) -> Result<Proposed, ErrorInfo>,
    ) -> Result<Accepted, ErrorInfo> {
        self.commit_with(|hub| hub.need_of_message(channel, serial), input).await
    }

    /// Publishes something that may need data of the engine first. Waits until it is committed.
    ///
    /// # Errors
    /// The reason why it is refused, and codes 50003 and 50000 for the engine.
    pub(super) async fn commit_with(
        &self,
        need_of: impl Fn(&App) -> Option<Need>,
        input: impl FnOnce(&mut App, &mut Vec<Output>) -> Result<Proposed, ErrorInfo>,
    ) -> Result<Accepted, ErrorInfo> {
        let mut input = Some(input);
        loop {
            let mut need = None;
            let proposed = self.commit(|hub, outputs| {
                need = need_of(hub);
                match (&need, input.take()) {
                    (None, Some(input)) => input(hub, outputs),
                    (_, unused) => {
                        input = unused;
                        Err(error::not_stored())
                    }
                }
            });
            let committed = proposed.await;
            match need {
                Some(need) => self.fetch(need, None).await?,
                None => return committed,
            }
        }
    }

    /// Waits for its turn to revoke tokens. The turn lasts until the guard is dropped.
    pub(super) async fn turn_to_revoke(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.revoking.lock().await
    }

    /// Handles the timeouts that are due. Returns the next deadline.
    pub(super) fn handle_timeout(&self, now: Now) -> Option<Duration> {
        let mut state = self.lock();
        if state.hub.next_timeout().is_some_and(|next| next <= now.steady) {
            state.input(|hub, outputs| hub.handle_timeout(now, outputs));
        }
        let next = state.hub.next_timeout();
        state.armed = next;
        self.carry_out(state);
        next
    }

    /// Adds a transport: frames for it go to `outbox`.
    pub(super) fn add_transport(&self, transport: TransportId, outbox: Arc<Outbox>) {
        let mut state = self.lock();
        state.outboxes.insert(transport, outbox);
        self.carry_out(state);
    }

    /// Removes a transport, which has closed.
    pub(super) fn remove_transport(&self, transport: TransportId, now: Now) {
        let mut state = self.lock();
        state.input(|hub, outputs| hub.transport_closed(transport, now, outputs));
        state.outboxes.remove(&transport);
        self.carry_out(state);
    }

    /// Carries out the outputs of the hub, and releases the lock. Returns why a publisher should pause.
    ///
    /// Every use of the lock ends here, so that results of the engine that have arrived meanwhile are applied.
    fn carry_out(&self, mut guard: MutexGuard<'_, State>) -> Option<Pressure> {
        let mut unlocked = Unlocked::default();
        let state = &mut *guard;
        self.unfollow_dropped(state);
        if state.hub.is_observed() {
            // Under the lock, so that each channel's events stay in their order.
            let now = self.clock.now();
            let events = state.input(|hub, outputs| hub.take_events(now, outputs));
            self.webhooks.push(&events);
        }
        let appends = unlocked.carry_out(state);
        if let Some(log) = &self.log {
            self.webhooks.store_channels(&appends.entries);
            // Under the lock: the engine gets entries in the order in which the hub has checked them.
            log.append(appends, &self.me);
        }
        let next = state.hub.next_timeout();
        let nearer = next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed));
        if nearer {
            state.armed = next;
        }
        let pressure = state.crowded.take().map(Pressure::Client);
        drop(guard);
        if nearer {
            self.rearm.notify_one();
        }
        unlocked.wakers.into_iter().for_each(Waker::wake);
        for delivery in unlocked.deliveries {
            self.deliver(&delivery);
        }
        for work in unlocked.works {
            self.begin(work);
        }
        self.apply_results();
        match &self.log {
            Some(log) if log.is_full() => Some(Pressure::Storage),
            Some(_) | None => pressure,
        }
    }

    /// Publishes a push delivery, in this app or in another.
    fn deliver(&self, delivery: &Delivery) {
        // The server is being dropped.
        let Some(apps) = self.apps.upgrade() else { return };
        let result = apps.publish(delivery);
        if let Err(error) = &result {
            tracing::debug!(code = error.code.0, "cannot publish a push delivery");
        }
        self.with(|hub, outputs| {
            hub.pushed(delivery.device_id.as_ref(), result, delivery.now, outputs);
        });
    }

    /// Stops following the channels that have left the memory. Under the lock: the channel may be loaded again at once.
    fn unfollow_dropped(&self, state: &mut State) {
        let Some(log) = self.log.as_ref().filter(|log| log.cluster.is_some()) else { return };
        let now = self.clock.now();
        for name in state.input(|hub, outputs| hub.take_dropped(now, outputs)) {
            log.engine.unfollow(&self.channel(&name));
        }
    }

    /// Begins work with the engine, or with other nodes.
    fn begin(&self, work: Work) {
        let Some(log) = &self.log else { return };
        let Some(app) = self.me.upgrade() else { return };
        match work {
            Work::Fetch(need) => drop(tokio::spawn(async move { app.fetch_until(need).await })),
            Work::Snapshot(channel, members) => {
                drop(tokio::spawn(async move { app.save_members(channel, members).await }));
            }
            Work::SaveObjects(channel, draft) => {
                let save = async move { app.save_objects(&channel, draft).await };
                drop(tokio::spawn(save));
            }
            Work::Notice(notice) => {
                if let Some(cluster) = &log.cluster {
                    cluster.announce_of_hub(&self.id, notice);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a publisher should pause.
pub(super) enum Pressure {
    /// Too many bytes wait in the outbox of this client.
    Client(Arc<Outbox>),
    /// Too many bytes wait for the engine.
    Storage,
}

impl State {
    fn input<R>(&mut self, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
        input(&mut self.hub, &mut self.outputs)
    }
}

/// Work for after the lock: wakers are foreign code, and a delivery locks an app, maybe this one.
#[derive(Default)]
struct Unlocked {
    wakers: Vec<Waker>,
    deliveries: Vec<Delivery>,
    works: Vec<Work>,
}

/// Work with the engine, or with other nodes.
enum Work {
    Fetch(Need),
    Snapshot(Str, Option<Bytes>),
    SaveObjects(Str, SnapshotDraft),
    Notice(Notice),
}

impl Unlocked {
    /// Carries out the outputs of the hub. Returns those for the engine.
    fn carry_out(&mut self, state: &mut State) -> Appends {
        let State { outputs, outboxes, requests, crowded, .. } = state;
        let mut appends = Appends::default();
        let mut current = Current { outboxes, outbox: None };
        for output in outputs.drain(..) {
            match output {
                Output::Frame(to, frame) => {
                    self.queue(&mut current, to, crowded, |outbox, wakers| {
                        outbox.push_frame(frame, wakers)
                    })
                }
                Output::Broadcast(to, broadcast) => {
                    self.queue(&mut current, to, crowded, |outbox, wakers| {
                        outbox.push(Item::Broadcast(broadcast), wakers)
                    });
                }
                Output::Behind(to) => self.queue(&mut current, to, crowded, |outbox, wakers| {
                    outbox.set_behind(wakers);
                    false
                }),
                Output::Close(to) => self.queue(&mut current, to, crowded, |outbox, wakers| {
                    outbox.close(wakers);
                    false
                }),
                Output::Push(delivery) => self.deliveries.push(*delivery),
                Output::Append(ticket, append, size) => appends.push(ticket, append, size),
                Output::Answer(ticket, result) => {
                    if let Some(request) = requests.remove(&ticket) {
                        // The client may have closed its connection in the meantime.
                        let _ = request.send(result);
                    }
                }
                Output::Fetch(need) => self.works.push(Work::Fetch(need)),
                Output::Snapshot(channel, members) => {
                    self.works.push(Work::Snapshot(channel, members));
                }
                Output::SaveObjects(channel, draft) => {
                    self.works.push(Work::SaveObjects(channel, draft));
                }
                Output::Notice(notice) => self.works.push(Work::Notice(notice)),
            }
        }
        appends
    }

    /// Puts an output into an outbox, if its transport still exists. `put` returns whether the outbox is crowded.
    fn queue(
        &mut self,
        current: &mut Current<'_>,
        to: TransportId,
        crowded: &mut Option<Arc<Outbox>>,
        put: impl FnOnce(&mut Filling<'_>, &mut Vec<Waker>) -> bool,
    ) {
        let Some((outbox, filling)) = current.outbox_of(to) else { return };
        if put(filling, &mut self.wakers) && crowded.is_none() {
            *crowded = Some(Arc::clone(outbox));
        }
    }
}

/// The outbox that outputs are put into. It stays locked while the outputs are for the same transport: a batch often
/// has hundreds for one subscriber.
struct Current<'a> {
    outboxes: &'a Outboxes,
    outbox: Option<(TransportId, &'a Arc<Outbox>, Filling<'a>)>,
}

impl<'a> Current<'a> {
    fn outbox_of(&mut self, to: TransportId) -> Option<(&'a Arc<Outbox>, &mut Filling<'a>)> {
        if self.outbox.as_ref().is_none_or(|(current, ..)| *current != to) {
            // Unlocked first: no session waits for two outboxes.
            self.outbox = None;
            let outbox = self.outboxes.get(&to)?;
            self.outbox = Some((to, outbox, outbox.fill()));
        }
        self.outbox.as_mut().map(|(_, outbox, filling)| (*outbox, filling))
    }
}
