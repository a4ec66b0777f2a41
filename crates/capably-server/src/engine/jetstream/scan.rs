//! Reading a stream forwards.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::{
    api::{Api, Get, MESSAGE_ID, REQUEST, Stored},
    failure::Failure,
};

/// How many messages are read one by one before a consumer is created for the others.
const SINGLE: u32 = 3;
/// How many messages are read one by one after a consumer could not be created. To create one, brokers need a leader of all
/// streams, which may be away while the stream has its own.
const WITHOUT: u32 = 200;
/// The most messages of one request to a consumer.
const BATCH: usize = 500;
/// How long a consumer may be silent before the leader is asked instead: as long as the answer to a request may take, so that
/// a slow broker is not asked for each message.
const SILENCE: Duration = REQUEST;

/// Reads the messages on some subjects in the order of the stream.
///
/// Every message that was acknowledged before the scan began is found. Consumers read from a replica, which may be behind:
/// so a scan ends only when the leader knows no more.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    api: &'a Api,
    stream: &'a str,
    filter: String,
    next: u64,
    until: u64,
    /// Whether `until` is known to be committed.
    is_committed: bool,
    headers_only: bool,
    /// The number of messages that the caller still wants, as far as it is known.
    wanted: usize,
    /// How many messages are still to be read one by one.
    singles: u32,
    consumer: Option<Consumer>,
}

#[derive(Debug)]
struct Consumer {
    api: Api,
    stream: String,
    name: String,
    inbox: String,
    messages: Subscriber,
    headers_only: bool,
    /// The messages that the current request may still yield.
    requested: usize,
}

impl<'a> Scan<'a> {
    /// A scan of the messages from the sequence `from` up to `until`, both included.
    pub(super) fn new(
        api: &'a Api,
        stream: &'a str,
        filter: String,
        from: u64,
        until: u64,
    ) -> Self {
        Self {
            api,
            stream,
            filter,
            next: from.max(1),
            until,
            is_committed: false,
            headers_only: false,
            wanted: BATCH,
            singles: SINGLE,
            consumer: None,
        }
    }

    /// Limits how many messages are requested.
    pub(super) fn wanted(self, wanted: usize) -> Self {
        Self { wanted, ..self }
    }

    /// States that the message at the end is known to be committed. Then a leader that is new and does not know it yet is
    /// not believed.
    pub(super) fn up_to_committed(self) -> Self {
        Self { is_committed: true, ..self }
    }

    /// Reads no payloads.
    pub(super) fn headers_only(self) -> Self {
        // Single reads carry payloads.
        Self { headers_only: true, singles: 0, ..self }
    }

    /// The next message, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Stored>, Failure> {
        while self.next <= self.until {
            if let Some(consumer) = &mut self.consumer {
                let Some((stored, is_last)) = consumer.next(self.wanted).await? else {
                    self.consumer = None;
                    self.singles = SINGLE;
                    continue;
                };
                if is_last {
                    self.consumer = None;
                    self.singles = SINGLE;
                }
                if stored.sequence >= self.next {
                    return Ok(self.accept(stored));
                }
            } else if self.singles == 0 && self.until - self.next > u64::from(SINGLE) {
                let consumer = Consumer::create(
                    self.api,
                    self.stream,
                    &self.filter,
                    self.next,
                    self.headers_only,
                );
                match consumer.await {
                    Ok(consumer) => self.consumer = Some(consumer),
                    Err(failure) if failure.is_temporary() => self.singles = WITHOUT,
                    Err(failure) => return Err(failure),
                }
            } else {
                self.singles = self.singles.saturating_sub(1);
                let get = Get::Next(&self.filter, self.next);
                let Some(stored) = self.api.get(self.stream, get).await? else {
                    if self.is_committed && self.api.newest(self.stream).await? < self.until {
                        return Err(Failure::Odd("the leader of the stream is behind".into()));
                    }
                    break;
                };
                return Ok(self.accept(stored));
            }
        }
        self.consumer = None;
        Ok(None)
    }

    fn accept(&mut self, stored: Stored) -> Option<Stored> {
        self.next = stored.sequence.saturating_add(1);
        self.wanted = self.wanted.saturating_sub(1).max(1);
        (stored.sequence <= self.until).then_some(stored)
    }
}

impl Consumer {
    async fn create(
        api: &Api,
        stream: &str,
        filter: &str,
        from: u64,
        headers_only: bool,
    ) -> Result<Self, Failure> {
        let inbox = api.client.new_inbox();
        let messages = api.client.subscribe(inbox.clone()).await;
        let messages = messages.map_err(|error| Failure::odd(&error))?;
        let name = api.consumer(stream, filter, from, headers_only).await?;
        let (api, stream) = (api.clone(), stream.to_owned());
        Ok(Self { api, stream, name, inbox, messages, headers_only, requested: 0 })
    }

    /// The next message, and whether it is the last that the replica knows. `None` if there is none.
    async fn next(&mut self, wanted: usize) -> Result<Option<(Stored, bool)>, Failure> {
        if self.requested == 0 {
            self.requested = wanted.clamp(1, BATCH);
            let request = json!({ "batch": self.requested, "no_wait": true }).to_string();
            let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.name);
            let client = &self.api.client;
            let sent = client.publish_with_reply(subject, self.inbox.clone(), request.into()).await;
            sent.map_err(|error| Failure::odd(&error))?;
        }
        let Ok(Some(message)) = timeout(SILENCE, self.messages.next()).await else {
            return Ok(None);
        };
        // A status: there is no more, or the consumer is gone with its broker.
        if message.status.is_some() {
            return Ok(None);
        }
        self.requested -= 1;
        let delivered = delivered(message.reply.as_deref().unwrap_or_default());
        let (sequence, pending) = delivered
            .ok_or_else(|| Failure::Odd("a consumer sent a message without its place".into()))?;
        let id = message.headers.as_ref().filter(|_| self.headers_only);
        let id = id.and_then(|headers| headers.get(MESSAGE_ID)).map(|id| id.as_str().to_owned());
        Ok(Some((Stored { id, ..stored(sequence, message) }, pending == 0)))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Without a runtime, the broker removes the consumer when it has been idle for a while.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (api, stream, name) = (self.api.clone(), self.stream.clone(), self.name.clone());
        runtime.spawn(async move { api.drop_consumer(&stream, &name).await });
    }
}

/// A message as it was stored, from one that a broker delivered.
pub(super) fn stored(sequence: u64, message: Message) -> Stored {
    let Message { subject, payload, .. } = message;
    Stored { sequence, subject, id: None, payload, time: None }
}

/// The sequence of a delivered message in the stream, and the number of messages after it, from its reply subject:
/// `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<…>.<time>.<pending>`, with `<domain>.<account>` before the stream
/// where an account has a domain.
fn delivered(reply: &str) -> Option<(u64, u64)> {
    let tokens: Vec<_> = reply.split('.').collect();
    let (sequence, pending) = match tokens.len() {
        9 => (5, 8),
        11.. => (7, 10),
        _ => return None,
    };
    Some((tokens[sequence].parse().ok()?, tokens[pending].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_delivered_message_is_read() {
        assert_eq!(delivered("$JS.ACK.s.c.1.42.7.1700000000000000000.3"), Some((42, 3)));
        assert_eq!(delivered("$JS.ACK.d.a.s.c.1.42.7.1700000000000000000.3"), Some((42, 3)));
        assert_eq!(delivered("$JS.ACK.d.a.s.c.1.42.7.1700000000000000000.3.x"), Some((42, 3)));
        assert_eq!(delivered("_INBOX.x"), None);
        assert_eq!(delivered("$JS.ACK.s.c.1.x.7.1.3"), None);
    }
}
