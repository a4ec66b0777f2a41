//! Publishing messages (RTL6).

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use capably_protocol::{ErrorInfo, Message, PublishResult, Str, frame::Params};
use serde_json::Value;
use tokio::{sync::oneshot, task::coop};

use super::{ReceiptId, ReceiptTable};
use crate::{
    Error, Result,
    http::BoxFuture,
    outgoing::Outgoing,
    payload,
    realtime::{
        Channel,
        channel::ChannelShared,
        driver::{Command, DriverHandle, PublishCommand, Reply, gone},
        queue::Weigh,
    },
};

/// A publish of one or more messages, before it is sent.
///
/// Awaiting it publishes the messages, and returns once the service has accepted or refused them (RTL6b). To have
/// many publishes in flight, [`submit`](Self::submit) each of them and await the receipts later:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use capably::{ClientOptions, Realtime};
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = ClientOptions::new(server.key()).endpoint(server.endpoint()).port(server.port());
/// # let client = Realtime::connect(options.tls(false)).await?;
/// # let channel = client.channels().get("ticks");
/// let mut receipts = Vec::new();
/// for tick in 0..100 {
///     receipts.push(channel.publish("tick", tick.to_string()).submit().await?);
/// }
/// for receipt in receipts {
///     receipt.await?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// Publishes are sent in the order in which they are submitted or first polled. While the client is connecting or
/// disconnected they are queued, unless [`queue_messages`] is off (RTL6c2). After a reconnect, publishes without
/// an acknowledgement are sent again (RTN19a).
///
/// It borrows nothing, so it can be spawned or collected.
///
/// # With an outbox
/// If the client has an [`outbox`](crate::ClientOptions::outbox), awaiting the publish returns once the messages are
/// stored, in any state of connection and channel. The result then has no serials, because the service has not assigned
/// any. An error means that nothing was stored. Errors of the service go to the [receipt](Self::submit) and to
/// [`OutboxHandle::refusals`](crate::outbox::OutboxHandle::refusals). Further errors: 40031 if only some of the
/// messages have ids, 50000 when the store cannot be written, 50004 when it has no room. See [the
/// guide](crate::guide::outbox).
///
/// # Errors
/// The service's reason; 40003 for extras that are not a JSON object; 40009 if the messages are too large; 40012
/// for a client id that differs from this client's; 40013 for a payload that cannot be encoded; 40030 without any
/// message; 90001 on a channel that is suspended or failed; 80000, 80002, 80003 or 80017 in a connection state
/// that cannot wait for a connection (RTL6c4); 50003 when the service acknowledges nothing, or the client stays
/// unconnected, for the connectionStateTtl (two minutes), or for the [time limit](crate::Realtime#time-limits) of a
/// connection that is lost again and again. The service may have accepted such a message all the same.
///
/// [`queue_messages`]: crate::ClientOptions::queue_messages
#[derive(Debug)]
#[must_use = "nothing is published until this is awaited or submitted"]
pub struct MessagePublish {
    publisher: Publisher,
    outgoing: Outgoing,
    params: Params,
}

impl MessagePublish {
    pub(in crate::realtime) fn new(channel: &Channel, messages: impl Into<Arc<[Message]>>) -> Self {
        let outgoing = Outgoing::new(messages.into());
        Self { publisher: Publisher::new(channel), outgoing, params: Params::new() }
    }

    /// Makes the publish fail with this error.
    pub(crate) fn failing(mut self, error: Error) -> Self {
        self.outgoing.fail(error);
        self
    }

    /// Sets the id by which the service drops duplicates (TM2a). A single message gets the id itself; several
    /// messages get `id:0`, `id:1` and so on.
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.outgoing.id(&id.into());
        self
    }

    /// Publishes on behalf of this client. The publishing client must not have a client id of its own (RTL6e1).
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.outgoing.client_id(&client_id.into());
        self
    }

    /// Adds metadata to each message: a JSON object, such as `json!({"headers": {"priority": 1}})` (TM2i).
    pub fn extras(mut self, extras: impl Into<Value>) -> Self {
        self.outgoing.extras(extras.into());
        self
    }

    /// Sets a publish parameter (RTL6k).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.insert(name.into(), value.to_string());
        self
    }

    /// Submits the messages to the client, and returns a receipt to await later. Waits only while unacknowledged
    /// publishes take more than 64 MiB of memory. With an [`outbox`](crate::ClientOptions::outbox), it returns once the
    /// messages are stored, and the receipt resolves once they are acknowledged.
    ///
    /// # Errors
    /// 40003 for extras that are not a JSON object, 40013 for a payload that cannot be encoded, 40030 without any
    /// message, 80017 when the client has ended. The receipt returns all other errors.
    pub async fn submit(self) -> Result<Receipt> {
        let Self { publisher, outgoing, params } = self;
        let messages = outgoing.into_messages()?;
        if publisher.handle.shared.outbox.is_some() {
            let (reply, result) = oneshot::channel();
            publisher.store(messages, params, Some(reply)).await?;
            return Ok(Receipt(Pending::Stored(result)));
        }
        publisher.submit(messages, params).await
    }

    /// Stores the messages in the outbox, without a wait for the acknowledgement.
    async fn store(self) -> Result<PublishResult> {
        let Self { publisher, outgoing, params } = self;
        let messages = outgoing.into_messages()?;
        let serials = vec![None; messages.len()];
        publisher.store(messages, params, None).await?;
        Ok(PublishResult::new(serials))
    }
}

impl IntoFuture for MessagePublish {
    type Output = Result<PublishResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            if self.publisher.handle.shared.outbox.is_some() {
                return self.store().await;
            }
            self.publisher.handle.check_may_wait()?;
            self.submit().await?.await
        })
    }
}

/// A publish in flight. It resolves with the serials of the messages once the service has accepted them (RTL6j),
/// or with the reason why they were not published. Dropping it does not stop the publish.
#[derive(Debug)]
#[must_use = "without awaiting it, a failure of the publish goes unnoticed"]
pub struct Receipt(Pending);

#[derive(Debug)]
enum Pending {
    /// The driver settles the publish in its table of receipts.
    Sent(SentPublish),
    /// The outbox replies.
    Stored(oneshot::Receiver<Result<PublishResult, ErrorInfo>>),
}

/// A publish in the driver's table of receipts.
struct SentPublish {
    table: Arc<ReceiptTable>,
    /// `None` once the result was returned.
    id: Option<ReceiptId>,
}

impl Future for Receipt {
    type Output = Result<PublishResult>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            Pending::Sent(sent) => ready!(sent.poll(cx)),
            Pending::Stored(result) => ready!(Pin::new(result).poll(cx)).ok(),
        };
        Poll::Ready(match result {
            Some(result) => result.map_err(Error::from),
            None => Err(gone()),
        })
    }
}

impl SentPublish {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<PublishResult, ErrorInfo>>> {
        let Some(id) = self.id else { return Poll::Ready(None) };
        // A task that always finds results must still let the other tasks of its thread run.
        let budget = ready!(coop::poll_proceed(cx));
        let result = ready!(self.table.poll(id, cx));
        budget.made_progress();
        self.id = None;
        Poll::Ready(result)
    }
}

impl fmt::Debug for SentPublish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentPublish").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for SentPublish {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.table.abandon(id);
        }
    }
}

/// Publishes to a channel. It is cloned for each publish, so it has less than a [`Channel`].
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) handle: DriverHandle,
    channel: Arc<ChannelShared>,
}

impl Publisher {
    pub(super) fn new(channel: &Channel) -> Self {
        Self { handle: channel.handle.clone(), channel: Arc::clone(&channel.shared) }
    }

    /// Stores the messages in the outbox, which sends them.
    async fn store(
        self,
        mut messages: Arc<[Message]>,
        params: Params,
        receipt: Option<Reply<PublishResult>>,
    ) -> Result<()> {
        let Self { handle, channel } = self;
        encode(Arc::make_mut(&mut messages), &channel)?;
        match &handle.shared.outbox {
            Some(outbox) => outbox.accept(channel.name.clone(), messages, params, receipt).await,
            None => Err(gone()),
        }
    }

    /// Sends the messages to the driver, for one frame.
    pub(super) async fn submit(
        self,
        messages: impl Into<Arc<[Message]>>,
        params: Params,
    ) -> Result<Receipt> {
        let Self { handle, channel } = self;
        let mut messages = messages.into();
        encode(Arc::make_mut(&mut messages), &channel)?;
        let size = messages.iter().map(Weigh::weight).sum();
        let permits = handle.shared.window.reserve(size).await?;
        let table = Arc::clone(&handle.shared.receipts);
        let receipt = table.open(permits);
        handle.send(Command::Publish(PublishCommand {
            channel: channel.id,
            messages,
            params,
            receipt,
        }));
        Ok(Receipt(Pending::Sent(SentPublish { table, id: Some(receipt) })))
    }
}

fn encode(messages: &mut [Message], channel: &ChannelShared) -> Result<()> {
    let options = channel.options();
    for message in messages {
        payload::encode(message, options.cipher.as_ref())?;
    }
    Ok(())
}
