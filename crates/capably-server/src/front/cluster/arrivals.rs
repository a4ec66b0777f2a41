//! The events of the engine that wait for the task of a node, in bounded memory.
//!
//! The engine calls its listener without waiting. Events that arrive faster than the task handles them are merged, and
//! nothing that the engine stores is lost: a fact waits once, with its latest value, and beyond the bound without the value,
//! which the task reads. An announcement is not stored anywhere; beyond the bound the node does what it does after an
//! outage, when it has missed announcements too.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::engine::{Announcement, Bucket, Event};

/// The most bytes of values and announcements that wait.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// The bytes that an announcement or a value counts, besides its own.
const OVERHEAD: usize = 64;

/// An event to handle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A fact has changed; it has no value any more if `None`.
    Fact(Bucket, String, Option<Bytes>),
    /// A fact has changed, and its value is to be read from the engine.
    Unread(Bucket, String),
    Announced(Announcement),
    /// Announcements have been dropped.
    Missed,
    Lost,
    Regained,
}

/// The events that wait. The engine adds them, and one task takes them.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    queue: Mutex<Queue>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// The values of the facts that wait. `None` if the value is to be read.
    values: BTreeMap<(Bucket, String), Option<Option<Bytes>>>,
    /// The bytes of values and announcements.
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Waiting {
    Fact(Bucket, String),
    Announced(Announcement),
    Missed,
    Lost,
    Regained,
}

impl Arrivals {
    /// Adds an event. Entries do not wait here.
    pub(super) fn add(&self, event: Event) {
        match event {
            Event::Committed(..) => return,
            Event::FactChanged(bucket, key, value) => {
                self.queue().fact(bucket, key, Some(value));
            }
            Event::Announced(announcement) => self.queue().announced(announcement),
            Event::Lost => self.queue().lost(),
            Event::Regained => self.queue().regained(),
        }
        self.added.notify_one();
    }

    /// Adds a fact again that could not be read, unless its value has arrived meanwhile.
    pub(super) fn add_unread(&self, bucket: Bucket, key: String) {
        let mut queue = self.queue();
        if !queue.values.contains_key(&(bucket, key.clone())) {
            queue.fact(bucket, key, None);
        }
    }

    /// Waits for the next event. It is safe to drop the future.
    pub(super) async fn next(&self) -> Arrival {
        loop {
            if let Some(arrival) = self.queue().pop() {
                return arrival;
            }
            // One task waits: a notice before this call is stored.
            self.added.notified().await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// A fact has changed. `value` is `None` if it is to be read.
    fn fact(&mut self, bucket: Bucket, key: String, value: Option<Option<Bytes>>) {
        let old = self.values.remove(&(bucket, key.clone()));
        if let Some(Some(old)) = &old {
            self.bytes -= size(old.as_ref());
        }
        let value = value.filter(|value| self.bytes + size(value.as_ref()) <= MAX_BYTES);
        self.bytes += value.as_ref().map_or(0, |value| size(value.as_ref()));
        self.values.insert((bucket, key.clone()), value);
        if old.is_none() {
            self.waiting.push_back(Waiting::Fact(bucket, key));
        }
    }

    fn announced(&mut self, announcement: Announcement) {
        let size = size(Some(&announcement.payload));
        if self.bytes + size <= MAX_BYTES {
            self.bytes += size;
            self.waiting.push_back(Waiting::Announced(announcement));
        } else if self.waiting.back() != Some(&Waiting::Missed) {
            // After the announcements that wait. A second one follows facts at most.
            self.waiting.retain(|waiting| *waiting != Waiting::Missed);
            self.waiting.push_back(Waiting::Missed);
        }
    }

    fn lost(&mut self) {
        if self.last_state() != Some(&Waiting::Lost) {
            self.waiting.push_back(Waiting::Lost);
        }
    }

    fn regained(&mut self) {
        match self.last_state() {
            Some(Waiting::Regained) => {}
            // An outage that the task has not seen is over. The announcements are missed all the same.
            Some(_) | None => {
                self.waiting.retain(|it| !matches!(it, Waiting::Lost | Waiting::Regained));
                self.waiting.push_back(Waiting::Regained);
            }
        }
    }

    fn last_state(&self) -> Option<&Waiting> {
        self.waiting.iter().rev().find(|it| matches!(it, Waiting::Lost | Waiting::Regained))
    }

    fn pop(&mut self) -> Option<Arrival> {
        Some(match self.waiting.pop_front()? {
            Waiting::Fact(bucket, key) => {
                // Each fact that waits has an item in `values`.
                match self.values.remove(&(bucket, key.clone())).flatten() {
                    Some(value) => {
                        self.bytes -= size(value.as_ref());
                        Arrival::Fact(bucket, key, value)
                    }
                    None => Arrival::Unread(bucket, key),
                }
            }
            Waiting::Announced(announcement) => {
                self.bytes -= size(Some(&announcement.payload));
                Arrival::Announced(announcement)
            }
            Waiting::Missed => Arrival::Missed,
            Waiting::Lost => Arrival::Lost,
            Waiting::Regained => Arrival::Regained,
        })
    }
}

fn size(value: Option<&Bytes>) -> usize {
    OVERHEAD + value.map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(key: &str, value: &str) -> Event {
        Event::FactChanged(Bucket::Apps, key.to_owned(), Some(value.to_owned().into()))
    }

    fn announced(length: usize) -> Event {
        Event::Announced(Announcement { node: "n".into(), payload: vec![0; length].into() })
    }

    fn all(arrivals: &Arrivals) -> Vec<String> {
        let mut queue = arrivals.queue();
        let all = std::iter::from_fn(|| queue.pop());
        let text = all.map(|arrival| match arrival {
            Arrival::Fact(_, key, value) => {
                format!("{key}={}", String::from_utf8_lossy(&value.unwrap_or_default()))
            }
            Arrival::Unread(_, key) => format!("{key}?"),
            Arrival::Announced(it) => format!("{}", it.payload.len()),
            other => format!("{other:?}"),
        });
        let text = text.collect();
        assert_eq!((queue.bytes, queue.values.len()), (0, 0));
        text
    }

    #[test]
    fn a_fact_waits_once_with_its_latest_value() {
        let arrivals = Arrivals::default();
        for event in [fact("a", "1"), announced(3), fact("b", "1"), fact("a", "2")] {
            arrivals.add(event);
        }
        assert_eq!(all(&arrivals), ["a=2", "3", "b=1"]);
    }

    #[test]
    fn beyond_the_bound_facts_are_to_be_read_and_announcements_are_missed() {
        let arrivals = Arrivals::default();
        arrivals.add(fact("a", "1"));
        arrivals.add(announced(MAX_BYTES - 4 * OVERHEAD));
        let long = "x".repeat(1000);
        for _ in 0..10_000 {
            arrivals.add(fact("a", &long));
            arrivals.add(fact("b", "1"));
            arrivals.add(fact("c", &long));
            arrivals.add(announced(1000));
        }
        assert_eq!(arrivals.queue().waiting.len(), 5);
        assert!(arrivals.queue().bytes <= MAX_BYTES);
        let expected = format!("{}", MAX_BYTES - 4 * OVERHEAD);
        assert_eq!(all(&arrivals), ["a?", &expected, "b=1", "c?", "Missed"]);
        arrivals.add(fact("b", "2"));
        arrivals.add_unread(Bucket::Apps, "b".to_owned());
        arrivals.add_unread(Bucket::Apps, "c".to_owned());
        assert_eq!(all(&arrivals), ["b=2", "c?"]);
    }

    #[test]
    fn outages_that_are_over_are_one_return() {
        let arrivals = Arrivals::default();
        for event in [Event::Lost, Event::Lost, Event::Regained, Event::Regained, Event::Lost] {
            arrivals.add(event);
        }
        assert_eq!(all(&arrivals), ["Regained", "Lost"]);
        for event in [Event::Regained, Event::Lost, Event::Regained] {
            arrivals.add(event);
        }
        assert_eq!(all(&arrivals), ["Regained"]);
    }

    #[tokio::test]
    async fn the_task_is_woken() {
        let arrivals = std::sync::Arc::new(Arrivals::default());
        let next = tokio::spawn({
            let arrivals = std::sync::Arc::clone(&arrivals);
            async move { arrivals.next().await }
        });
        tokio::task::yield_now().await;
        arrivals.add(Event::Lost);
        assert_eq!(next.await.unwrap(), Arrival::Lost);
    }
}
