//! An app under its lock, and the carrying out of what its hub asks for.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    task::Waker,
    time::Duration,
};

use tokio::sync::Notify;

use super::outbox::{Item, Outbox};
use crate::hub::{App, Delivery, Now, Output, TransportId};

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

    /// Adds an app; `false` when there is one of that id.
    pub(super) fn add(&self, id: String, app: AppHandle) -> bool {
        match self.0.write().unwrap_or_else(PoisonError::into_inner).entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(app));
                true
            }
        }
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<AppHandle>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

/// An app. The lock is held for the time of one input and never across an await.
#[derive(Debug)]
pub(super) struct AppHandle {
    state: Mutex<State>,
    /// All apps of the server: what is pushed in one may be for a channel of another.
    apps: Weak<Apps>,
    rearm: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    hub: App,
    outboxes: HashMap<TransportId, Arc<Outbox>>,
    outputs: Vec<Output>,
    /// The deadline that the timekeeper knows.
    armed: Option<Duration>,
}

impl AppHandle {
    pub(super) fn new(hub: App, apps: Weak<Apps>, rearm: Arc<Notify>) -> Self {
        let state = State { hub, outboxes: HashMap::new(), outputs: Vec::new(), armed: None };
        Self { state: Mutex::new(state), apps, rearm }
    }

    /// Hands an input to the hub and queues what follows. Returns what the input returns.
    pub(super) fn with<R>(&self, input: impl FnOnce(&mut App, &mut Vec<Output>) -> R) -> R {
        self.with_pressure(input).0
    }

    /// As [`with`](Self::with), with a client for whom so much is waiting that whoever publishes to it
    /// should pause.
    pub(super) fn with_pressure<R>(
        &self,
        input: impl FnOnce(&mut App, &mut Vec<Output>) -> R,
    ) -> (R, Option<Arc<Outbox>>) {
        let mut rest = Rest::default();
        let mut state = self.lock();
        let State { hub, outboxes, outputs, armed } = &mut *state;
        let result = input(hub, outputs);
        rest.carry_out(outputs, outboxes);
        let next = hub.next_timeout();
        let nearer = next.is_some_and(|next| armed.is_none_or(|armed| next < armed));
        if nearer {
            *armed = next;
        }
        drop(state);
        if nearer {
            self.rearm.notify_one();
        }
        (result, self.finish(rest))
    }

    /// Does what is left to do without the lock.
    fn finish(&self, rest: Rest) -> Option<Arc<Outbox>> {
        rest.wakers.into_iter().for_each(Waker::wake);
        for delivery in rest.deliveries {
            self.deliver(&delivery);
        }
        rest.pressure
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
    pub(super) fn add_transport(&self, transport: TransportId, outbox: Arc<Outbox>) {
        self.lock().outboxes.insert(transport, outbox);
    }

    /// Forgets a transport.
    pub(super) fn remove_transport(&self, transport: TransportId, now: Now) {
        self.with(|hub, _| hub.transport_closed(transport, now));
        self.lock().outboxes.remove(&transport);
    }

    /// Does what is due, and says when it is next needed.
    pub(super) fn handle_timeout(&self, now: Now) -> Option<Duration> {
        let mut rest = Rest::default();
        let mut state = self.lock();
        let State { hub, outboxes, outputs, armed } = &mut *state;
        if hub.next_timeout().is_some_and(|next| next <= now.steady) {
            hub.handle_timeout(now, outputs);
            rest.carry_out(outputs, outboxes);
        }
        *armed = hub.next_timeout();
        let next = *armed;
        drop(state);
        self.finish(rest);
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left to do once the lock is free.
#[derive(Default)]
struct Rest {
    wakers: Vec<Waker>,
    pressure: Option<Arc<Outbox>>,
    deliveries: Vec<Delivery>,
}

impl Rest {
    fn carry_out(
        &mut self,
        outputs: &mut Vec<Output>,
        outboxes: &HashMap<TransportId, Arc<Outbox>>,
    ) {
        for output in outputs.drain(..) {
            match output {
                Output::Frame(to, frame) => {
                    self.queue(outboxes.get(&to), |outbox, wakers| outbox.push_frame(frame, wakers))
                }
                Output::Broadcast(to, broadcast) => {
                    self.queue(outboxes.get(&to), |outbox, wakers| {
                        outbox.push(Item::Broadcast(broadcast), wakers)
                    });
                }
                Output::Behind(to) => self.queue(outboxes.get(&to), |outbox, wakers| {
                    outbox.set_behind(wakers);
                    false
                }),
                Output::Close(to) => self.queue(outboxes.get(&to), |outbox, wakers| {
                    outbox.close(wakers);
                    false
                }),
                Output::Push(delivery) => self.deliveries.push(*delivery),
            }
        }
    }

    /// Puts something on an outbox, if its transport is still there. `put` says whether too much waits.
    fn queue(
        &mut self,
        outbox: Option<&Arc<Outbox>>,
        put: impl FnOnce(&Outbox, &mut Vec<Waker>) -> bool,
    ) {
        let Some(outbox) = outbox else { return };
        if put(outbox, &mut self.wakers) && self.pressure.is_none() {
            self.pressure = Some(Arc::clone(outbox));
        }
    }
}
