//! An app under its lock: inputs go to its hub, and the outputs of the hub are carried out.

mod pending;
pub(crate) mod writer;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use capably_protocol::ErrorInfo;
use tokio::sync::{Notify, oneshot};

use self::{
    pending::Pending,
    writer::{Write, WriteQueue},
};
use super::socket::outbox::{Item, Outbox};
use crate::hub::{
    App, Delivery, Now, Output, TransportId,
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
    /// Where the records of the app go; none without a storage.
    writes: Option<WriteQueue>,
    /// How many commits have failed. It changes under the lock.
    epoch: AtomicU64,
    me: Weak<AppHandle>,
    /// All apps of the server: a push delivery may be for a channel of another app.
    apps: Weak<Apps>,
    /// Wakes the timekeeper.
    rearm: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    hub: App,
    outboxes: HashMap<TransportId, Arc<Outbox>>,
    outputs: Vec<Output>,
    /// Outputs that wait for storage; none without a storage.
    pending: Option<Pending>,
    /// An outbox above its high water, until a publisher has been told to pause.
    crowded: Option<Arc<Outbox>>,
    /// The deadline that the timekeeper knows.
    armed: Option<Duration>,
}

impl AppHandle {
    /// An app, whose entries are persisted if `writes` is given.
    pub(super) fn new(
        id: String,
        mut hub: App,
        apps: Weak<Apps>,
        rearm: Arc<Notify>,
        writes: Option<WriteQueue>,
    ) -> Arc<Self> {
        if writes.is_some() {
            hub.keep();
        }
        let state = State {
            pending: writes.is_some().then(|| Pending::new(hub.mark())),
            hub,
            outboxes: HashMap::new(),
            outputs: Vec::new(),
            crowded: None,
            armed: None,
        };
        Arc::new_cyclic(|me| Self {
            id,
            state: Mutex::new(state),
            writes,
            epoch: AtomicU64::new(0),
            me: Weak::clone(me),
            apps,
            rearm,
        })
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
        let mut unlocked = Unlocked::default();
        let mut state = self.lock();
        let result = state.input(input);
        self.carry_out(&mut state, &mut unlocked);
        let pressure = state.pressure();
        let State { hub, armed, .. } = &mut *state;
        let next = hub.next_timeout();
        let nearer = next.is_some_and(|next| armed.is_none_or(|armed| next < armed));
        if nearer {
            *armed = next;
        }
        drop(state);
        if nearer {
            self.rearm.notify_one();
        }
        self.finish(unlocked);
        (result, pressure)
    }

    /// Handles the timeouts that are due. Returns the next deadline.
    pub(super) fn handle_timeout(&self, now: Now) -> Option<Duration> {
        let mut unlocked = Unlocked::default();
        let mut state = self.lock();
        if state.hub.next_timeout().is_some_and(|next| next <= now.steady) {
            state.input(|hub, outputs| hub.handle_timeout(now, outputs));
            self.carry_out(&mut state, &mut unlocked);
        }
        let next = state.hub.next_timeout();
        state.armed = next;
        drop(state);
        self.finish(unlocked);
        next
    }

    /// Adds a transport: frames for it go to `outbox`.
    pub(super) fn add_transport(&self, transport: TransportId, outbox: Arc<Outbox>) {
        self.lock().outboxes.insert(transport, outbox);
    }

    /// Removes a transport, which has closed.
    pub(super) fn remove_transport(&self, transport: TransportId, now: Now) {
        self.with(|hub, outputs| hub.transport_closed(transport, now, outputs));
        self.lock().outboxes.remove(&transport);
    }

    /// How many commits have failed so far. A request compares it to see whether one has failed since.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Waits until all records so far are committed.
    ///
    /// # Errors
    /// Code 50000 when a commit has failed since `epoch`.
    pub(super) async fn committed(&self, epoch: u64) -> Result<(), ErrorInfo> {
        let committed = {
            let mut state = self.lock();
            let Some(pending) = &mut state.pending else { return Ok(()) };
            if self.epoch() != epoch || pending.broken {
                return Err(error::not_stored());
            }
            let (request, committed) = oneshot::channel();
            if pending.wait(request).is_some() {
                return Ok(());
            }
            committed
        };
        committed.await.unwrap_or_else(|_| Err(error::not_stored()))
    }

    /// Ready when a publisher that pauses for storage can go on.
    pub(super) fn poll_storage(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Some(pending) = state.pending.as_mut().filter(|pending| pending.is_half_full()) else {
            return Poll::Ready(());
        };
        if !pending.paused.iter().any(|waker| waker.will_wake(cx.waker())) {
            pending.paused.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The writes up to this ticket are committed.
    fn commit_succeeded(&self, ticket: u64) {
        let mut unlocked = Unlocked::default();
        let mut state = self.lock();
        let State { outboxes, outputs, pending, crowded, .. } = &mut *state;
        if let Some(pending) = pending {
            unlocked.wakers = pending.commit(ticket, outputs);
            unlocked.carry_out(outputs, outboxes, crowded);
        }
        drop(state);
        self.finish(unlocked);
    }

    /// A write could not be committed.
    fn commit_failed(&self) {
        let mut unlocked = Unlocked::default();
        let mut state = self.lock();
        self.withdraw(&mut state, &mut unlocked);
        drop(state);
        self.finish(unlocked);
    }

    /// Carries out the outputs of the hub, or delays them until storage has committed the records before them.
    fn carry_out(&self, state: &mut State, unlocked: &mut Unlocked) {
        let State { hub, outboxes, outputs, pending, crowded, .. } = state;
        if let (Some(pending), Some(writes)) = (pending, &self.writes) {
            hub.keep_serials(outputs);
            if let Some((ticket, records)) = pending.delay(outputs, hub.mark()) {
                let epoch = self.epoch();
                let write = self.me.upgrade().map(|app| Write { app, epoch, ticket, records });
                if !write.is_some_and(|write| writes.add(write)) {
                    pending.broken = true;
                    self.withdraw(state, unlocked);
                    return;
                }
            }
        }
        unlocked.carry_out(outputs, outboxes, crowded);
    }

    /// Withdraws everything after the last committed write.
    fn withdraw(&self, state: &mut State, unlocked: &mut Unlocked) {
        let State { hub, outboxes, outputs, pending: Some(pending), crowded, .. } = state else {
            return;
        };
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let (mark, wakers) = pending.fail(outputs);
        unlocked.wakers.extend(wakers);
        hub.withdraw(mark, &error::not_stored(), outputs);
        unlocked.carry_out(outputs, outboxes, crowded);
    }

    /// Does the work that must not be done under the lock.
    fn finish(&self, unlocked: Unlocked) {
        unlocked.wakers.into_iter().for_each(Waker::wake);
        for delivery in unlocked.deliveries {
            self.deliver(&delivery);
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
        if let Some(device_id) = &delivery.device_id {
            self.with(|hub, _| hub.pushed(device_id, result));
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
    /// Too many bytes wait for storage.
    Storage,
}

impl State {
    fn input<R>(&mut self, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
        input(&mut self.hub, &mut self.outputs)
    }

    fn pressure(&mut self) -> Option<Pressure> {
        if self.pending.as_ref().is_some_and(Pending::is_full) {
            return Some(Pressure::Storage);
        }
        self.crowded.take().map(Pressure::Client)
    }
}

/// Work for after the lock: wakers are foreign code, and a delivery locks an app, maybe this one.
#[derive(Default)]
struct Unlocked {
    wakers: Vec<Waker>,
    deliveries: Vec<Delivery>,
}

impl Unlocked {
    fn carry_out(
        &mut self,
        outputs: &mut Vec<Output>,
        outboxes: &HashMap<TransportId, Arc<Outbox>>,
        crowded: &mut Option<Arc<Outbox>>,
    ) {
        for output in outputs.drain(..) {
            match output {
                Output::Frame(to, frame) => {
                    self.queue(outboxes.get(&to), crowded, |outbox, wakers| {
                        outbox.push_frame(frame, wakers)
                    })
                }
                Output::Broadcast(to, broadcast) => {
                    self.queue(outboxes.get(&to), crowded, |outbox, wakers| {
                        outbox.push(Item::Broadcast(broadcast), wakers)
                    });
                }
                Output::Behind(to) => self.queue(outboxes.get(&to), crowded, |outbox, wakers| {
                    outbox.set_behind(wakers);
                    false
                }),
                Output::Close(to) => self.queue(outboxes.get(&to), crowded, |outbox, wakers| {
                    outbox.close(wakers);
                    false
                }),
                Output::Push(delivery) => self.deliveries.push(*delivery),
                // With a storage, `Pending` has taken the records out. Without one, there is nowhere to put them.
                Output::Keep(_) => {}
            }
        }
    }

    /// Puts an output into an outbox, if its transport still exists. `put` returns whether the outbox is crowded.
    fn queue(
        &mut self,
        outbox: Option<&Arc<Outbox>>,
        crowded: &mut Option<Arc<Outbox>>,
        put: impl FnOnce(&Outbox, &mut Vec<Waker>) -> bool,
    ) {
        let Some(outbox) = outbox else { return };
        if put(outbox, &mut self.wakers) && crowded.is_none() {
            *crowded = Some(Arc::clone(outbox));
        }
    }
}
