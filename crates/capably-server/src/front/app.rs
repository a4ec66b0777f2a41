//! An app under its lock, and the carrying out of what its hub asks for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use tokio::sync::Notify;

use super::outbox::{Item, Outbox};
use crate::hub::{App, Now, Output, TransportId};

/// An app. The lock is held for the time of one input and never across an await.
#[derive(Debug)]
pub(super) struct AppHandle {
    state: Mutex<State>,
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
    pub(super) fn new(hub: App, rearm: Arc<Notify>) -> Self {
        let state = State { hub, outboxes: HashMap::new(), outputs: Vec::new(), armed: None };
        Self { state: Mutex::new(state), rearm }
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
        let mut wakers = Vec::new();
        let mut pressure = None;
        let mut state = self.lock();
        let State { hub, outboxes, outputs, armed } = &mut *state;
        let result = input(hub, outputs);
        carry_out(outputs, outboxes, &mut wakers, &mut pressure);
        let next = hub.next_timeout();
        let nearer = next.is_some_and(|next| armed.is_none_or(|armed| next < armed));
        if nearer {
            *armed = next;
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        if nearer {
            self.rearm.notify_one();
        }
        (result, pressure)
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
        let mut wakers = Vec::new();
        let mut state = self.lock();
        let State { hub, outboxes, outputs, armed } = &mut *state;
        if hub.next_timeout().is_some_and(|next| next <= now.steady) {
            hub.handle_timeout(now, outputs);
            carry_out(outputs, outboxes, &mut wakers, &mut None);
        }
        *armed = hub.next_timeout();
        let next = *armed;
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        next
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn carry_out(
    outputs: &mut Vec<Output>,
    outboxes: &HashMap<TransportId, Arc<Outbox>>,
    wakers: &mut Vec<Waker>,
    pressure: &mut Option<Arc<Outbox>>,
) {
    for output in outputs.drain(..) {
        let (Output::Frame(transport, _)
        | Output::Broadcast(transport, _)
        | Output::Behind(transport)
        | Output::Close(transport)) = &output;
        let Some(outbox) = outboxes.get(transport) else { continue };
        let congested = match output {
            Output::Frame(_, frame) => outbox.push_frame(frame, wakers),
            Output::Broadcast(_, broadcast) => outbox.push(Item::Broadcast(broadcast), wakers),
            Output::Behind(_) => {
                outbox.set_behind(wakers);
                false
            }
            Output::Close(_) => {
                outbox.close(wakers);
                false
            }
        };
        if congested && pressure.is_none() {
            *pressure = Some(Arc::clone(outbox));
        }
    }
}
