//! Facts: the newest message on a subject is the value of a key.
//!
//! Values are read from the leader of a stream, so that a value that one node has set is read by every node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::HeaderMap;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{
    super::{Bucket, EngineError, Fact},
    api::{Acknowledged, EXPECTED, Get, MESSAGE_ID, retry},
    clock,
    failure::Failure,
    log::Log,
};

/// The first byte of a stored value.
const VALUE: u8 = 1;
/// The only byte of a removed value, in buckets whose changes are reported.
const REMOVED: u8 = 2;
/// How long a removal is stored, so that nodes that are cut off learn of it afterwards.
const REMOVAL: Duration = Duration::from_secs(24 * 3600);
/// How many values are read at the same time.
const PARALLEL: usize = 32;

/// The buckets.
#[derive(Debug)]
pub(super) struct Facts {
    log: Arc<Log>,
    timeout: Duration,
    /// A random text and a counter, for the ids of messages.
    ids: (String, AtomicU64),
}

impl Facts {
    pub(super) fn new(log: Arc<Log>, timeout: Duration, node: String) -> Self {
        Self { log, timeout, ids: (node, 0.into()) }
    }

    pub(super) async fn get(
        &self,
        bucket: Bucket,
        key: &str,
    ) -> Result<Option<Bytes>, EngineError> {
        let stream = self.log.names.bucket_stream(bucket);
        let subject = self.log.names.fact(bucket, key);
        let stored = self.log.api.get(&stream, Get::Last(&subject)).await?;
        stored.map_or(Ok(None), |stored| value(&stored.payload))
    }

    pub(super) async fn list(
        &self,
        bucket: Bucket,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Fact>, EngineError> {
        let names = &self.log.names;
        let mut keys = self.keys(bucket, prefix).await?;
        keys.retain(|key| key.starts_with(prefix) && after.is_none_or(|after| &**key > after));
        keys.sort_unstable();
        let values = keys.into_iter().map(|key| async move {
            let (stream, subject) = (names.bucket_stream(bucket), names.fact(bucket, &key));
            let Some(stored) = self.log.api.get(&stream, Get::Last(&subject)).await? else {
                return Ok(None);
            };
            let value = value(&stored.payload)?;
            if value.is_none() && is_forgotten(bucket, stored.time, clock::now()) {
                let purged = self.log.api.purge(&stream, &subject, Some(stored.sequence)).await;
                // The next listing tries again.
                purged.unwrap_or_else(|reason| tracing::debug!(%reason, "an old removal stays"));
            }
            Ok::<_, EngineError>(value.map(|value| Fact { key, value }))
        });
        let mut values = stream::iter(values).buffered(PARALLEL);
        let mut facts = Vec::new();
        while facts.len() < limit
            && let Some(fact) = values.next().await
        {
            facts.extend(fact?);
        }
        Ok(facts)
    }

    /// The keys of a bucket that may begin with a prefix, in no order. Those of removed values may be among them.
    async fn keys(&self, bucket: Bucket, prefix: &str) -> Result<Vec<String>, EngineError> {
        let names = &self.log.names;
        let (stream, filter) = (names.bucket_stream(bucket), names.facts(bucket, prefix));
        let (mut keys, mut offset) = (Vec::new(), 0);
        loop {
            let subjects = || self.log.api.subjects(&stream, &filter, offset);
            let page = retry(Instant::now() + self.timeout, subjects).await?.state.subjects;
            if page.is_empty() {
                return Ok(keys);
            }
            offset += page.len();
            keys.extend(page.keys().filter_map(|subject| names.key(bucket, subject)));
        }
    }

    pub(super) async fn set(
        &self,
        bucket: Bucket,
        facts: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), EngineError> {
        for (key, value) in facts {
            let subject = self.log.names.fact(bucket, &key);
            let (id, deadline) = (self.id(), Instant::now() + self.timeout);
            let stored = match value {
                Some(value) => stored(&value),
                // Other nodes are told of the removal, so that it needs a message.
                None if is_watched(bucket) => Bytes::from_static(&[REMOVED]),
                None => {
                    let stream = self.log.names.bucket_stream(bucket);
                    retry(deadline, || self.log.api.purge(&stream, &subject, None)).await?;
                    continue;
                }
            };
            retry(deadline, || self.publish(&subject, &id, None, stored.clone())).await?;
        }
        Ok(())
    }

    pub(super) async fn create(
        &self,
        bucket: Bucket,
        key: &str,
        value: Bytes,
    ) -> Result<bool, EngineError> {
        let stream = self.log.names.bucket_stream(bucket);
        let subject = self.log.names.fact(bucket, key);
        let (id, deadline) = (self.id(), Instant::now() + self.timeout);
        let stored = stored(&value);
        let mut expected = 0;
        loop {
            let publish = || self.publish(&subject, &id, Some(expected), stored.clone());
            match retry(deadline, publish).await {
                Ok(_) => return Ok(true),
                Err(failure) if failure.is_conflict() => {}
                Err(failure) => return Err(failure.error()),
            }
            let last = self.log.api.get(&stream, Get::Last(&subject)).await?;
            expected = match last {
                // The acknowledgement of an earlier attempt was lost.
                Some(last) if last.id.as_deref() == Some(&*id) => return Ok(true),
                Some(last) if last.payload.first() == Some(&REMOVED) => last.sequence,
                Some(_) => return Ok(false),
                // It was removed meanwhile.
                None => 0,
            };
            if Instant::now() > deadline {
                return Err(Failure::TimedOut.error());
            }
        }
    }

    async fn publish(
        &self,
        subject: &str,
        id: &str,
        expected: Option<u64>,
        stored: Bytes,
    ) -> Result<Acknowledged, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(MESSAGE_ID, id);
        if let Some(expected) = expected {
            headers.insert(EXPECTED, expected.to_string());
        }
        self.log.api.publish(subject.to_owned(), headers, stored).await
    }

    fn id(&self) -> String {
        format!("{}-{:x}", self.ids.0, self.ids.1.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether changes of a bucket's facts are reported.
pub(super) fn is_watched(bucket: Bucket) -> bool {
    match bucket {
        Bucket::Apps | Bucket::Revocations | Bucket::Push | Bucket::Nodes => true,
        Bucket::Snapshots | Bucket::Stats | Bucket::Nonces => false,
    }
}

/// Whether a removal of a certain time is of no use any more, in buckets where removals pile up. Times are in ms since the
/// epoch.
fn is_forgotten(bucket: Bucket, time: Option<i64>, now: i64) -> bool {
    match bucket {
        Bucket::Push | Bucket::Revocations => time
            .is_some_and(|time| i128::from(now) - i128::from(time) > REMOVAL.as_millis() as i128),
        // Apps are few, and a node that missed the removal of one would go on serving it.
        Bucket::Apps => false,
        // The brokers remove these by themselves, or nobody watches them.
        Bucket::Nodes | Bucket::Snapshots | Bucket::Stats | Bucket::Nonces => false,
    }
}

fn stored(value: &[u8]) -> Bytes {
    let mut stored = BytesMut::with_capacity(value.len() + 1);
    stored.put_u8(VALUE);
    stored.put_slice(value);
    stored.freeze()
}

/// The value in a stored form. `None` if it is removed.
pub(super) fn value(stored: &[u8]) -> Result<Option<Bytes>, EngineError> {
    match stored.split_first() {
        Some((&VALUE, value)) => Ok(Some(Bytes::copy_from_slice(value))),
        Some((&REMOVED, _)) => Ok(None),
        Some((form, _)) => Err(EngineError::Version(format!(
            "a fact has the form {form}, this server knows {VALUE}; start a newer server"
        ))),
        None => Err(EngineError::Corrupt("a fact is empty".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_removals_are_forgotten_where_they_pile_up() {
        let day = i64::try_from(REMOVAL.as_millis()).unwrap();
        for (bucket, time, is_old) in [
            (Bucket::Push, Some(0), true),
            (Bucket::Push, Some(1), false),
            (Bucket::Push, Some(i64::MAX), false),
            (Bucket::Push, None, false),
            (Bucket::Revocations, Some(0), true),
            (Bucket::Apps, Some(0), false),
        ] {
            assert_eq!(is_forgotten(bucket, time, day + 1), is_old, "{bucket:?} {time:?}");
        }
    }
}
