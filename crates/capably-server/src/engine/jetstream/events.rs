//! Reporting events to the listener, and whether the brokers can be reached.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use super::super::{Event, Listener};

/// The most events that wait for the return of the brokers.
const MAX_HELD: usize = 10_000;

/// The listener, called for one event at a time.
#[derive(Default)]
pub(super) struct Events(Mutex<State>);

#[derive(Default)]
struct State {
    listener: Option<Listener>,
    is_lost: bool,
    /// The events that are to be reported after the return of the brokers.
    held: Vec<Event>,
}

impl Events {
    pub(super) fn listen(&self, listener: Listener) {
        let mut state = self.state();
        if state.is_lost {
            listener(Event::Lost);
        }
        state.listener = Some(listener);
    }

    /// Reports an event; while the brokers are lost, after their return.
    pub(super) fn report(&self, event: Event) {
        let mut state = self.state();
        if state.is_lost {
            state.held.push(event);
            if state.held.len() == MAX_HELD {
                state.release();
            }
        } else {
            state.report(event);
        }
    }

    /// Reports the loss of the brokers, once.
    pub(super) fn lost(&self, reason: &dyn fmt::Display) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_lost, true) {
            tracing::warn!(%reason, "JetStream cannot be reached");
            state.report(Event::Lost);
        }
    }

    /// Reports the events that were held, though the brokers are still lost: some streams may have a leader when that of the
    /// entries has none, and a revocation must not wait.
    pub(super) fn release(&self) {
        self.state().release();
    }

    /// Reports the return of the brokers, once.
    pub(super) fn regained(&self) {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_lost, false) {
            tracing::info!("JetStream can be reached again");
            state.report(Event::Regained);
            state.release();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn report(&self, event: Event) {
        if let Some(listener) = &self.listener {
            listener(event);
        }
    }

    fn release(&mut self) {
        std::mem::take(&mut self.held).into_iter().for_each(|event| self.report(event));
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("is_lost", &self.state().is_lost).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{super::super::Bucket, *};

    fn listened(events: &Events) -> mpsc::Receiver<String> {
        let (sender, receiver) = mpsc::channel();
        events.listen(Box::new(move |event| {
            let text = match event {
                Event::FactChanged(_, key, _) => key,
                event => format!("{event:?}"),
            };
            drop(sender.send(text));
        }));
        receiver
    }

    fn fact(key: &str) -> Event {
        Event::FactChanged(Bucket::Apps, key.to_owned(), None)
    }

    #[test]
    fn events_wait_for_the_return_of_the_brokers() {
        let events = Events::default();
        let heard = listened(&events);
        events.report(fact("1"));
        events.lost(&"");
        events.lost(&"");
        events.report(fact("2"));
        events.report(fact("3"));
        events.regained();
        events.regained();
        events.report(fact("4"));
        let heard: Vec<_> = heard.try_iter().collect();
        assert_eq!(heard, ["1", "Lost", "Regained", "2", "3", "4"]);
    }

    #[test]
    fn no_more_events_wait_than_the_memory_may_have() {
        let events = Events::default();
        let heard = listened(&events);
        events.lost(&"");
        for index in 0..=MAX_HELD {
            events.report(fact(&index.to_string()));
        }
        let early: Vec<_> = heard.try_iter().collect();
        assert_eq!(early.len(), 1 + MAX_HELD);
        events.regained();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["Regained", &MAX_HELD.to_string()]);
    }

    #[test]
    fn events_do_not_wait_for_brokers_that_stay_away() {
        let events = Events::default();
        events.lost(&"");
        let heard = listened(&events);
        events.report(fact("1"));
        events.release();
        events.regained();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["Lost", "1", "Regained"]);
    }
}
