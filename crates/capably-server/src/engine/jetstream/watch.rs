//! Reports changed facts, and the end of leases.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::{sync::watch, task::JoinHandle};

use super::{
    super::{Bucket, EngineError, Event},
    api::{Stored, StreamState},
    events::Events,
    facts,
    log::Log,
    tap::{Incoming, Sink, Source, Tap},
};

/// Reports the changes of a bucket's facts.
pub(super) async fn watch(
    log: &Arc<Log>,
    bucket: Bucket,
    events: Arc<Events>,
    connects: watch::Receiver<u64>,
) -> Result<JoinHandle<()>, EngineError> {
    let names = &log.names;
    let source = Source {
        stream: names.bucket_stream(bucket),
        subjects: names.bucket(bucket),
        live: names.bucket_live(bucket),
        is_listed: bucket.ttl().is_some(),
    };
    let mut watched = Watched { log: Arc::clone(log), bucket, events, leases: HashMap::new() };
    let mut tap = Tap::open(&log.api, source, connects, None).await?;
    if bucket.ttl().is_some() {
        let (stream, subjects) = (names.bucket_stream(bucket), names.bucket(bucket));
        watched.begin(&log.api.subjects(&stream, &subjects, 0).await?.state);
    }
    Ok(tokio::spawn(async move {
        loop {
            let incoming = tap.wait().await;
            if matches!(incoming, Incoming::End) {
                return;
            }
            tap.advance(incoming, &mut watched).await;
        }
    }))
}

struct Watched {
    log: Arc<Log>,
    bucket: Bucket,
    events: Arc<Events>,
    /// The sequences of the facts that end unless they are set again. Brokers remove them without a message.
    leases: HashMap<String, u64>,
}

impl Watched {
    /// Knows the leases that stand at the start.
    fn begin(&mut self, state: &StreamState) {
        let keys = state.subjects.keys();
        let keys = keys.filter_map(|subject| self.log.names.key(self.bucket, subject));
        // Their sequences are these at most.
        self.leases.extend(keys.map(|key| (key, state.last_seq)));
    }
}

impl Sink for Watched {
    fn accept(&mut self, stored: Stored) {
        let Some(key) = self.log.names.key(self.bucket, &stored.subject) else { return };
        match facts::value(&stored.payload) {
            Ok(value) => {
                if value.is_some() && self.bucket.ttl().is_some() {
                    self.leases.insert(key.clone(), stored.sequence);
                } else {
                    self.leases.remove(&key);
                }
                self.events.report(Event::FactChanged(self.bucket, key, value));
            }
            Err(error) => tracing::error!(%error, "a fact cannot be read"),
        }
    }

    fn listed(&mut self, done: u64, newest: u64, subjects: &BTreeMap<String, u64>) {
        let (names, events, bucket) = (&self.log.names, &self.events, self.bucket);
        self.leases.retain(|key, sequence| {
            // The list does not know of later leases: it is older, or of a leader that is new and behind. After the brokers
            // have lost the end of the stream, the sequences of leases are no higher than that end.
            let is_later = (*sequence).min(done) > newest;
            let stands = is_later || subjects.contains_key(&names.fact(bucket, key));
            if !stands {
                events.report(Event::FactChanged(bucket, key.clone(), None));
            }
            stands
        });
    }
}
