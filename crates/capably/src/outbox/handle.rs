//! The outbox as its client's user sees it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use capably_protocol::{
    ErrorCode, ErrorInfo, Message, Millis, Str,
    frame::{Params, Publish},
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
};

use super::{
    OutboxEntry, payload,
    room::Room,
    worker::{Acceptance, Job, Jobs, ReceiptSender, StoreState},
};
use crate::{
    Error, Result,
    auth::Clock,
    http::BoxFuture,
    realtime::{ChangeSender, Changes},
    sync::lock,
};

/// The outbox of a [`Realtime`](crate::Realtime) client; see [`Realtime::outbox`](crate::Realtime::outbox). It is
/// cheap to clone, and does not keep the client alive.
#[derive(Clone, Debug)]
pub struct OutboxHandle(Arc<OutboxShared>);

#[derive(Debug)]
pub(super) struct OutboxShared {
    pub(super) jobs: Jobs,
    pub(super) room: Arc<Room>,
    pub(super) state: watch::Receiver<StoreState>,
    pub(super) counters: Mutex<Counters>,
    pub(super) refusals: ChangeSender<RefusedPublish>,
    pub(super) runtime: Handle,
    pub(super) clock: Clock,
    pub(super) max_message_size: usize,
}

/// What the sender counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unsure: u64,
}

/// The outbox in numbers; see [`OutboxHandle::metrics`]. Counters are since the client was made, and only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxMetrics {
    /// Publishes that were stored.
    pub accepted: u64,
    /// How often a publish was sent, repetitions after errors included.
    pub sent: u64,
    /// Publishes that the service has acknowledged.
    pub acknowledged: u64,
    /// Publishes that the service has refused for good.
    pub refused: u64,
    /// Publishes that were handled as [`WhenUnsure`](super::WhenUnsure) says.
    pub unsure: u64,
    /// Refused publishes that were dropped because there were too many.
    pub dropped: u64,
    /// Publishes in the store that wait for their acknowledgement, now.
    pub waiting: u64,
    /// Their bytes in the store, now.
    pub bytes: u64,
    /// The age of the oldest of them, now; `None` if there is none.
    pub oldest: Option<Duration>,
    /// Refused publishes in the store, now.
    pub refused_waiting: u64,
    /// Their bytes in the store, now.
    pub refused_bytes: u64,
}

/// A publish that the service has refused for good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefusedPublish {
    /// Identifies it in the outbox, for [`OutboxHandle::retry`] and [`discard`](OutboxHandle::discard).
    pub seq: u64,
    /// The channel.
    pub channel: Str,
    /// The messages as they were sent, with their ids. Payloads are encoded, and encrypted if the channel has a cipher.
    pub messages: Vec<Message>,
    /// When the publish was accepted, in ms since the epoch.
    pub accepted_at: Millis,
    /// The reason.
    pub error: Error,
}

impl OutboxHandle {
    pub(super) fn new(shared: OutboxShared) -> Self {
        Self(Arc::new(shared))
    }

    pub(super) fn shared(&self) -> &OutboxShared {
        &self.0
    }

    /// Stores a publish. Nothing is awaited before its job is in the queue, so that publishes keep the order in which
    /// they are first polled.
    pub(crate) async fn accept(
        &self,
        channel: Str,
        mut messages: Arc<[Message]>,
        params: Params,
        receipt: Option<ReceiptSender>,
    ) -> Result<()> {
        check_size(&messages, self.0.max_message_size)?;
        payload::complete_ids(Arc::make_mut(&mut messages))?;
        let publish = Publish { channel, msg_serial: 0, items: messages, params };
        let payload = payload::encode(publish);
        let (accepted, answer) = oneshot::channel();
        let acceptance = Acceptance { payload, receipt, accepted };
        let _ticket = self.0.room.enter(acceptance, &self.0.jobs)?;
        answer.await.map_err(|_| closed())?
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<Result<T>>) -> Job) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        // Without a thread the job is dropped, and its reply with it.
        let _ = self.0.jobs.send(job(reply));
        answer.await.map_err(|_| closed())?
    }

    /// Counters and sizes. A metrics exporter can read them at any time.
    pub fn metrics(&self) -> OutboxMetrics {
        let StoreState { usage, accepted, dropped } = *self.0.state.borrow();
        let Counters { sent, acknowledged, refused, unsure } = *lock(&self.0.counters);
        let age = |at: Millis| {
            let age = self.0.clock.now().saturating_sub(at);
            Duration::from_millis(u64::try_from(age).unwrap_or_default())
        };
        OutboxMetrics {
            accepted,
            sent,
            acknowledged,
            refused,
            unsure,
            dropped,
            waiting: usage.entries,
            bytes: usage.bytes,
            oldest: usage.oldest.map(age),
            refused_waiting: usage.refused_entries,
            refused_bytes: usage.refused_bytes,
        }
    }

    /// Waits when awaited until no publish waits for its acknowledgement: each was acknowledged or refused. While the
    /// client is not connected, this takes until it is; for a limit, use `tokio::time::timeout`.
    ///
    /// # Errors
    /// 80017 when the outbox was closed, or the client has ended.
    pub fn flush(&self) -> BoxFuture<'static, Result<()>> {
        let mut state = self.0.state.clone();
        Box::pin(async move {
            let flushed = state.wait_for(|state| state.usage.entries == 0).await;
            flushed.map(drop).map_err(|_| closed())
        })
    }

    /// A stream of the publishes that the service refuses from this moment, in order. They also stay in the outbox
    /// until they are [discarded](Self::discard).
    pub fn refusals(&self) -> Changes<RefusedPublish> {
        self.0.refusals.listen(&self.0.runtime)
    }

    /// Reads the refused publishes when awaited, also those of earlier processes, in order.
    ///
    /// # Errors
    /// 80017 when the outbox was closed, 50000 when the store cannot be read.
    pub fn refused(&self) -> BoxFuture<'static, Result<Vec<RefusedPublish>>> {
        let outbox = self.clone();
        Box::pin(async move {
            let refused = outbox.ask(Job::Refused).await?;
            Ok(refused
                .into_iter()
                .map(|(entry, reason)| RefusedPublish::new(entry, &reason))
                .collect())
        })
    }

    /// Sends a refused publish again when awaited, as if it was published now; `None` for all. Returns how many there
    /// were. They keep their ids.
    ///
    /// # Errors
    /// 80017 when the outbox was closed, 50004 when it has no room, 50000 when the store cannot be written.
    pub fn retry(&self, seq: impl Into<Option<u64>>) -> BoxFuture<'static, Result<u64>> {
        let (outbox, seq) = (self.clone(), seq.into());
        Box::pin(async move { outbox.ask(|reply| Job::Retry(seq, reply)).await })
    }

    /// Removes a refused publish when awaited; `None` for all. Returns how many there were.
    ///
    /// # Errors
    /// 80017 when the outbox was closed, 50000 when the store cannot be written.
    pub fn discard(&self, seq: impl Into<Option<u64>>) -> BoxFuture<'static, Result<u64>> {
        let (outbox, seq) = (self.clone(), seq.into());
        Box::pin(async move { outbox.ask(|reply| Job::Discard(seq, reply)).await })
    }

    /// Closes the store when awaited, so that another client can open it. Publishes without an acknowledgement stay in
    /// it. Later publishes of this client fail with 80017.
    ///
    /// The store is also closed after the last handle of the client was dropped, but not at once.
    pub fn close(&self) -> BoxFuture<'static, ()> {
        let outbox = self.clone();
        Box::pin(async move {
            let (reply, closed) = oneshot::channel();
            // An error means that the store is closed.
            if outbox.0.jobs.send(Job::Close(Some(reply))).is_ok() {
                let _ = closed.await;
            }
        })
    }
}

impl RefusedPublish {
    fn new(entry: OutboxEntry, reason: &Bytes) -> Self {
        let OutboxEntry { seq, accepted_at, payload, .. } = entry;
        let error = payload::decode_reason(reason).into();
        let publish = payload::decode(&payload);
        let (channel, messages) =
            publish.map(|publish| (publish.channel, publish.items.to_vec())).unwrap_or_default();
        Self { seq, channel, messages, accepted_at, error }
    }
}

/// The size counts as for a publish without an outbox (RSL1i), before anything is stored.
fn check_size(messages: &[Message], limit: usize) -> Result<()> {
    let size: usize = messages.iter().map(Message::size).sum();
    if size <= limit {
        return Ok(());
    }
    let message =
        format!("a publish of {size} bytes is more than the limit of {limit} (`max_message_size`)");
    Err(Error::new(ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED, 400, message))
}

/// The outbox is closed.
pub(super) fn closed() -> Error {
    Error::new(ErrorCode::CONNECTION_CLOSED, 400, "the outbox is closed")
        .with_remedy("make a new client with the outbox")
}

/// The result of a receipt whose publish is not acknowledged yet, and may never be by this client.
pub(super) fn kept(reason: &str) -> ErrorInfo {
    let message = format!(
        "{reason}; the publish stays in the outbox, and is sent when a client with this outbox connects"
    );
    ErrorInfo::new(ErrorCode::CONNECTION_CLOSED, 400, message)
}
