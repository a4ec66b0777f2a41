//! What nodes learn from each other: changed facts, and announcements.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_nats::{Client, Subscriber};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    super::{Announcement, Bucket, EngineError, Event},
    api::{Get, Stored},
    events::Events,
    facts::{self, Facts},
    failure::Failure,
    log::Log,
    tap::{Incoming, Sink, Tap},
};

/// How often facts are checked for the end of their time.
const EXPIRY: Duration = Duration::from_millis(500);

/// Reports the changes of a bucket's facts.
pub(super) async fn watch_facts(
    log: &Arc<Log>,
    facts: &Facts,
    bucket: Bucket,
    events: Arc<Events>,
    connects: watch::Receiver<u64>,
) -> Result<JoinHandle<()>, EngineError> {
    let names = &log.names;
    let (stream, subjects) = (names.bucket_stream(bucket), names.bucket(bucket));
    let live = names.bucket_live(bucket);
    let mut tap = Tap::open(&log.api, stream, subjects, live, connects, None).await?;
    let mut watched = Watched { log: Arc::clone(log), bucket, events, expiring: HashMap::new() };
    if bucket.ttl().is_some() {
        facts.keys(bucket, "").await?.into_iter().for_each(|key| watched.renew(key));
    }
    Ok(tokio::spawn(async move {
        let mut expiry = interval(EXPIRY);
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                incoming = tap.wait() => {
                    if matches!(incoming, Incoming::End) {
                        return;
                    }
                    tap.advance(incoming, &mut watched).await;
                }
                _ = expiry.tick(), if !watched.expiring.is_empty() => watched.expire().await,
            }
        }
    }))
}

struct Watched {
    log: Arc<Log>,
    bucket: Bucket,
    events: Arc<Events>,
    /// When facts with a time to live end, if nobody sets them again. Brokers do not tell.
    expiring: HashMap<String, Instant>,
}

impl Sink for Watched {
    fn accept(&mut self, stored: Stored) {
        let Some(key) = self.log.names.key(self.bucket, &stored.subject) else { return };
        match facts::value(&stored.payload) {
            Ok(value) => {
                match &value {
                    Some(_) => self.renew(key.clone()),
                    None => drop(self.expiring.remove(&key)),
                }
                self.events.report(Event::FactChanged(self.bucket, key, value));
            }
            Err(error) => tracing::error!(%error, "a fact cannot be read"),
        }
    }
}

impl Watched {
    fn renew(&mut self, key: String) {
        if let Some(ttl) = self.bucket.ttl() {
            self.expiring.insert(key, Instant::now() + ttl);
        }
    }

    /// Reports facts whose time has ended.
    async fn expire(&mut self) {
        let now = Instant::now();
        let due = self.expiring.iter().filter(|(_, end)| **end <= now);
        let due: Vec<_> = due.map(|(key, _)| key.clone()).collect();
        let stream = self.log.names.bucket_stream(self.bucket);
        for key in due {
            let subject = self.log.names.fact(self.bucket, &key);
            // A change may be on its way, and brokers remove with a delay: only the stream is certain.
            if let Ok(None) = self.log.api.get(&stream, Get::Last(&subject)).await {
                self.expiring.remove(&key);
                self.events.report(Event::FactChanged(self.bucket, key, None));
            }
        }
    }
}

/// Sends and receives announcements.
#[derive(Debug)]
pub(super) struct Announcements {
    queue: mpsc::UnboundedSender<Announcement>,
    tasks: [JoinHandle<()>; 2],
}

/// The version of the form of announcements.
const VERSION: u8 = 1;
/// The length of a sender, in bytes.
const SENDER: usize = 16;

/// Tells this engine from all others.
pub(super) type Sender = [u8; SENDER];

impl Announcements {
    pub(super) async fn open(
        log: &Log,
        events: Arc<Events>,
        sender: Sender,
    ) -> Result<Self, Failure> {
        let client = log.api.client.clone();
        let subject = log.names.announcements();
        let (incoming, _) = log.api.subscribe(subject.clone(), &log.stream).await?;
        let (queue, outgoing) = mpsc::unbounded_channel();
        let receive = tokio::spawn(receive(incoming, events, sender));
        let send = tokio::spawn(send(client, subject, outgoing, sender));
        Ok(Self { queue, tasks: [receive, send] })
    }

    pub(super) fn send(&self, announcement: Announcement) {
        // The task has ended only if the engine is closed.
        drop(self.queue.send(announcement));
    }

    pub(super) fn stop(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Announcements {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn send(
    client: Client,
    subject: String,
    mut queue: mpsc::UnboundedReceiver<Announcement>,
    sender: Sender,
) {
    while let Some(announcement) = queue.recv().await {
        // The client would keep announcements, and send old news when it is connected again.
        if client.connection_state() == async_nats::connection::State::Connected
            && let Some(stored) = encode(&announcement, sender)
            && let Err(error) = client.publish(subject.clone(), stored).await
        {
            tracing::debug!(%error, "an announcement is lost");
        }
    }
}

async fn receive(mut incoming: Subscriber, events: Arc<Events>, own: Sender) {
    while let Some(message) = incoming.next().await {
        match decode(&message.payload) {
            Some((sender, _)) if sender == own => {}
            Some((_, announcement)) => events.report(Event::Announced(announcement)),
            None => tracing::warn!("an announcement has an unknown form"),
        }
    }
}

fn encode(announcement: &Announcement, sender: Sender) -> Option<Bytes> {
    let Announcement { node, payload } = announcement;
    let mut stored = BytesMut::with_capacity(3 + SENDER + node.len() + payload.len());
    stored.put_u8(VERSION);
    stored.put_slice(&sender);
    stored.put_u16(u16::try_from(node.len()).ok()?);
    stored.put_slice(node.as_bytes());
    stored.put_slice(payload);
    Some(stored.freeze())
}

fn decode(mut stored: &[u8]) -> Option<(Sender, Announcement)> {
    if stored.try_get_u8().ok()? != VERSION {
        return None;
    }
    let mut sender = [0; SENDER];
    stored.try_copy_to_slice(&mut sender).ok()?;
    let length = usize::from(stored.try_get_u16().ok()?);
    let (node, payload) = stored.split_at_checked(length)?;
    let node = std::str::from_utf8(node).ok()?.to_owned();
    Some((sender, Announcement { node, payload: Bytes::copy_from_slice(payload) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read_as_they_were_sent() {
        let announcement = Announcement { node: "n 1".into(), payload: Bytes::from_static(b"p") };
        let stored = encode(&announcement, [7; SENDER]).unwrap();
        assert_eq!(decode(&stored), Some(([7; SENDER], announcement)));
        for end in 0..stored.len() - 1 {
            assert_eq!(decode(&stored[..end]), None);
        }
        assert_eq!(decode(&[[9].as_slice(), &stored[1..]].concat()), None);
    }
}
