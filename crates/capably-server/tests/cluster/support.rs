//! Engines that record their events.

use std::{
    collections::VecDeque,
    ops::Deref,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

use capably_server::engine::{Engine, Entry, Event, JetStream, JetStreamBuilder, Position};
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};

use crate::brokers::Brokers;

/// Longer than a cluster of brokers needs to start, and to elect a leader.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn builder(brokers: &Brokers) -> JetStreamBuilder {
    JetStream::builder(brokers.addresses()).open_timeout(PATIENCE)
}

pub(crate) async fn open(brokers: &Brokers) -> JetStream {
    builder(brokers).open().await.unwrap()
}

/// Asks the JetStream interface of the brokers.
pub(crate) async fn request(brokers: &Brokers, operation: &str, body: &Value) -> Value {
    let client = brokers.client().await;
    let subject = format!("$JS.API.{operation}");
    let answer = client.request(subject, body.to_string().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// An engine, and what it reported.
pub(crate) struct Node {
    engine: Arc<JetStream>,
    events: Arc<Recorded>,
}

#[derive(Default)]
struct Recorded {
    events: Mutex<VecDeque<Event>>,
    more: Notify,
}

impl Node {
    pub(crate) async fn open(builder: JetStreamBuilder) -> Self {
        let engine = Arc::new(builder.open().await.unwrap());
        let events = Arc::new(Recorded::default());
        let recorded = Arc::clone(&events);
        engine.listen(Box::new(move |event| {
            recorded.events.lock().unwrap().push_back(event);
            recorded.more.notify_one();
        }));
        Self { engine, events }
    }

    /// A handle for other tasks.
    pub(crate) fn engine(&self) -> Arc<JetStream> {
        Arc::clone(&self.engine)
    }

    /// Takes the first event that `pick` finds a value in. Other events stay.
    #[track_caller]
    pub(crate) fn expect<T>(
        &self,
        mut pick: impl FnMut(&Event) -> Option<T>,
    ) -> impl Future<Output = T> {
        let caller = Location::caller();
        let found = async move {
            loop {
                let more = self.events.more.notified();
                {
                    let mut events = self.events.events.lock().unwrap();
                    let found = events.iter().enumerate();
                    let mut found = found.filter_map(|(at, event)| Some((at, pick(event)?)));
                    let first = found.next();
                    drop(found);
                    if let Some((at, value)) = first {
                        events.remove(at);
                        return value;
                    }
                }
                more.await;
            }
        };
        async move {
            match timeout(PATIENCE, found).await {
                Ok(found) => found,
                Err(_) => panic!(
                    "the event of {caller} is not reported in time; others are: {:?}",
                    self.events.events.lock().unwrap()
                ),
            }
        }
    }

    /// Takes all events until one matches, that one included.
    pub(crate) async fn until(&self, mut is_last: impl FnMut(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event| !is_last(event)) {
            events.push(self.expect(|event| Some(event.clone())).await);
        }
        events
    }

    /// Waits until the entry at a position of a channel is reported, and takes all entries of that channel.
    pub(crate) async fn committed(&self, channel: &str, until: Position) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        while entries.last().is_none_or(|entry| entry.position < until) {
            let entry = self.expect(|event| match event {
                Event::Committed(id, entry) if &*id.name == channel => Some(entry.clone()),
                _ => None,
            });
            entries.push(entry.await);
        }
        entries
    }
}

impl Deref for Node {
    type Target = JetStream;

    fn deref(&self) -> &JetStream {
        &self.engine
    }
}
