//! An app under its lock, and the carrying out of what its hub asks for.

pub(crate) mod pending;
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

use crate::front::{
    outbox::{Item, Outbox},
    pending::Held,
    writer::{Job, Jobs},
};
use crate::hub::{App, Delivery, Now, Output, TransportId, error};

/// The apps of a server, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Apps(RwLock<HashMap<String, Arc<AppHandle>>>);

impl Apps {
    pub(crate) fn get(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<AppHandle>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds an app.
    ///
    /// # Errors
    /// Code 40300 when there are `max` apps already, 50000 when there is one of that id.
    pub(crate) fn add(&self, app: Arc<AppHandle>, max: Option<usize>) -> Result<(), ErrorInfo> {
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

    pub(crate) fn remove(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

/// An app. The lock is held for the time of one input and never across an await.
#[derive(Debug)]
pub(crate) struct AppHandle {
    id: String,
    state: Mutex<State>,
    /// Where what is to be kept goes; none when nothing is.
    jobs: Option<Jobs>,
    /// How often what was to be kept could not be. Changes under the lock.
    epoch: AtomicU64,
    me: Weak<AppHandle>,
    /// All apps of the server: what is pushed in one may be for a channel of another.
    apps: Weak<Apps>,
    rearm: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    hub: App,
    outboxes: HashMap<TransportId, Arc<Outbox>>,
    outputs: Vec<Output>,
    /// What waits to be kept, if anything ever is.
    held: Option<Held>,
    /// A client for whom too much is waiting that nobody has been held back for yet.
    pressure: Option<Arc<Outbox>>,
    /// The deadline that the timekeeper knows.
    armed: Option<Duration>,
}

impl AppHandle {
    /// An app, whose hub keeps something if there is somewhere for it to go.
    pub(crate) fn new(
        id: String,
        mut hub: App,
        apps: Weak<Apps>,
        rearm: Arc<Notify>,
        jobs: Option<Jobs>,
    ) -> Arc<Self> {
        if jobs.is_some() {
            hub.keep();
        }
        let state = State {
            held: jobs.is_some().then(|| Held::new(hub.mark())),
            hub,
            outboxes: HashMap::new(),
            outputs: Vec::new(),
            pressure: None,
            armed: None,
        };
        Arc::new_cyclic(|me| Self {
            id,
            state: Mutex::new(state),
            jobs,
            epoch: AtomicU64::new(0),
            me: Weak::clone(me),
            apps,
            rearm,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Hands an input to the hub and queues what follows. Returns what the input returns.
    pub(crate) fn with<R>(&self, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
        self.with_pressure(input).0
    }

    /// As [`with`](Self::with), with a reason why whoever publishes should pause.
    pub(crate) fn with_pressure<R>(
        &self,
        input: impl FnOnce(&mut App, &mut Vec<Output>) -> R,
    ) -> (R, Option<Pressure>) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        let result = input_to(&mut state, input);
        self.carry_out(&mut state, &mut rest);
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
        self.finish(rest);
        (result, pressure)
    }

    /// Carries out what the hub asks for, or holds it until what is to be kept is.
    fn carry_out(&self, state: &mut State, rest: &mut Rest) {
        let State { hub, outboxes, outputs, held, pressure, .. } = state;
        if let (Some(held), Some(jobs)) = (held, &self.jobs) {
            hub.keep_serials(outputs);
            if let Some((ticket, records)) = held.hold(outputs, hub.mark()) {
                let epoch = self.epoch();
                let job = self.me.upgrade().map(|app| Job { app, epoch, ticket, records });
                if !job.is_some_and(|job| jobs.add(job)) {
                    held.broken = true;
                    self.take_back(state, rest);
                    return;
                }
            }
        }
        rest.carry_out(outputs, outboxes, pressure);
    }

    /// Takes back what was to be kept and cannot be.
    fn take_back(&self, state: &mut State, rest: &mut Rest) {
        let State { hub, outboxes, outputs, held: Some(held), pressure, .. } = state else {
            return;
        };
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let (mark, wakers) = held.refuse(outputs);
        rest.wakers.extend(wakers);
        hub.withdraw(mark, &error::not_stored(), outputs);
        rest.carry_out(outputs, outboxes, pressure);
    }

    /// How often what was to be kept could not be.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What was to be kept is, up to this ticket.
    pub(crate) fn kept(&self, ticket: u64) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        let State { outboxes, outputs, held, pressure, .. } = &mut *state;
        if let Some(held) = held {
            rest.wakers = held.release(ticket, outputs);
            rest.carry_out(outputs, outboxes, pressure);
        }
        drop(state);
        self.finish(rest);
    }

    /// What was to be kept could not be.
    pub(crate) fn not_kept(&self) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        self.take_back(&mut state, &mut rest);
        drop(state);
        self.finish(rest);
    }

    /// Waits until all is kept that was to be up to now, if it still can be since `epoch`.
    ///
    /// # Errors
    /// Code 50000 when something could not be kept.
    pub(crate) async fn settled(&self, epoch: u64) -> Result<(), ErrorInfo> {
        let settled = {
            let mut state = self.lock();
            let Some(held) = &mut state.held else { return Ok(()) };
            if self.epoch() != epoch || held.broken {
                return Err(error::not_stored());
            }
            let (request, settled) = oneshot::channel();
            if held.settle(request).is_some() {
                return Ok(());
            }
            settled
        };
        settled.await.unwrap_or_else(|_| Err(error::not_stored()))
    }

    /// Ready when there is room again for what is to be kept.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Some(held) = state.held.as_mut().filter(|held| held.is_crowded()) else {
            return Poll::Ready(());
        };
        if !held.held_back.iter().any(|waker| waker.will_wake(cx.waker())) {
            held.held_back.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Does what is left to do without the lock.
    fn finish(&self, rest: Rest) {
        rest.wakers.into_iter().for_each(Waker::wake);
        for delivery in rest.deliveries {
            self.deliver(&delivery);
        }
    }

    /// Publishes what was pushed, in this app or in another.
    fn deliver(&self, delivery: &Delivery) {
        // Without the server, there is nobody to tell.
        let Some(apps) = self.apps.upgrade() else { return };
        let result = apps.deliver(delivery);
        if let Err(error) = &result {
            tracing::debug!(code = error.code.0, "what was pushed cannot be published");
        }
        if let Some(device_id) = &delivery.device_id {
            self.with(|hub, _| hub.pushed(device_id, result));
        }
    }

    /// Makes a transport known; what the hub has for it goes to `outbox` from now on.
    pub(crate) fn add_transport(&self, transport: TransportId, outbox: Arc<Outbox>) {
        self.lock().outboxes.insert(transport, outbox);
    }

    /// Forgets a transport.
    pub(crate) fn remove_transport(&self, transport: TransportId, now: Now) {
        self.with(|hub, outputs| hub.transport_closed(transport, now, outputs));
        self.lock().outboxes.remove(&transport);
    }

    /// Does what is due, and says when it is next needed.
    pub(crate) fn handle_timeout(&self, now: Now) -> Option<Duration> {
        let mut rest = Rest::default();
        let mut state = self.lock();
        if state.hub.next_timeout().is_some_and(|next| next <= now.steady) {
            input_to(&mut state, |hub, outputs| hub.handle_timeout(now, outputs));
            self.carry_out(&mut state, &mut rest);
        }
        let next = state.hub.next_timeout();
        state.armed = next;
        drop(state);
        self.finish(rest);
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn input_to<R>(state: &mut State, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
    input(&mut state.hub, &mut state.outputs)
}

/// Why whoever publishes should pause.
pub(crate) enum Pressure {
    /// Too much waits for this client.
    Client(Arc<Outbox>),
    /// Too much waits to be kept.
    Storage,
}

impl State {
    /// Why whoever publishes should pause, if anything.
    fn pressure(&mut self) -> Option<Pressure> {
        if self.held.as_ref().is_some_and(Held::is_full) {
            return Some(Pressure::Storage);
        }
        self.pressure.take().map(Pressure::Client)
    }
}

/// What is left to do once the lock is free.
#[derive(Default)]
struct Rest {
    wakers: Vec<Waker>,
    deliveries: Vec<Delivery>,
}

impl Rest {
    fn carry_out(
        &mut self,
        outputs: &mut Vec<Output>,
        outboxes: &HashMap<TransportId, Arc<Outbox>>,
        pressure: &mut Option<Arc<Outbox>>,
    ) {
        for output in outputs.drain(..) {
            match output {
                Output::Frame(to, frame) => {
                    self.queue(outboxes.get(&to), pressure, |outbox, wakers| {
                        outbox.push_frame(frame, wakers)
                    })
                }
                Output::Broadcast(to, broadcast) => {
                    self.queue(outboxes.get(&to), pressure, |outbox, wakers| {
                        outbox.push(Item::Broadcast(broadcast), wakers)
                    });
                }
                Output::Behind(to) => self.queue(outboxes.get(&to), pressure, |outbox, wakers| {
                    outbox.set_behind(wakers);
                    false
                }),
                Output::Close(to) => self.queue(outboxes.get(&to), pressure, |outbox, wakers| {
                    outbox.close(wakers);
                    false
                }),
                Output::Push(delivery) => self.deliveries.push(*delivery),
                // It has been taken out where anything is kept.
                Output::Keep(_) => {}
            }
        }
    }

    /// Puts something on an outbox, if its transport is still there. `put` says whether too much waits.
    fn queue(
        &mut self,
        outbox: Option<&Arc<Outbox>>,
        pressure: &mut Option<Arc<Outbox>>,
        put: impl FnOnce(&Outbox, &mut Vec<Waker>) -> bool,
    ) {
        let Some(outbox) = outbox else { return };
        if put(outbox, &mut self.wakers) && pressure.is_none() {
            *pressure = Some(Arc::clone(outbox));
        }
    }
}
