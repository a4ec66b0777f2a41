//! Reporting events to the listener, and whether the brokers can be reached.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use super::super::{Event, Listener};

/// The listener, called for one event at a time.
#[derive(Default)]
pub(super) struct Events(Mutex<State>);

#[derive(Default)]
struct State {
    listener: Option<Listener>,
    is_lost: bool,
}

impl Events {
    pub(super) fn listen(&self, listener: Listener) {
        self.state().listener = Some(listener);
    }

    pub(super) fn report(&self, event: Event) {
        if let Some(listener) = &self.state().listener {
            listener(event);
        }
    }

    /// Reports the loss of the brokers, once.
    pub(super) fn lost(&self, reason: &dyn fmt::Display) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_lost, true) {
            tracing::warn!(%reason, "JetStream cannot be reached");
            if let Some(listener) = &state.listener {
                listener(Event::Lost);
            }
        }
    }

    /// Reports the return of the brokers, once.
    pub(super) fn regained(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_lost, false) {
            tracing::info!("JetStream can be reached again");
            if let Some(listener) = &state.listener {
                listener(Event::Regained);
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("is_lost", &self.state().is_lost).finish_non_exhaustive()
    }
}
