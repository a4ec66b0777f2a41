//! Announcements of nodes to each other.

use std::sync::Arc;

use async_nats::{Client, Subscriber};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    super::{Announcement, Event},
    events::Events,
    failure::Failure,
    log::Log,
};

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
