//! Publishing (RTL6).

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use capably_protocol::{ErrorInfo, Message, PublishResult, Str, frame::Params};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::realtime::{
    Channel,
    channel::ChannelShared,
    driver::command::{self, Command, Handle, gone},
};
use crate::{Error, Result, http::BoxFuture, outgoing::Outgoing, payload};

/// Messages about to be published.
///
/// Awaiting it publishes, and returns once the service has accepted or refused (RTL6b). To have many
/// publishes on their way at once, [`submit`](Self::submit) each and await the receipts later:
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
/// Publishes leave in the order in which they are submitted or first awaited. While the client is
/// connecting or disconnected they are queued, unless [`queue_messages`] is off (RTL6c2); after a drop,
/// those without an acknowledgement are sent again (RTN19a).
///
/// It borrows nothing, and can be spawned or collected.
///
/// # Errors
/// The service's reason; 40003 for extras that are no JSON object; 40009 if too large; 40012 for a client id
/// that is not this client's; 40013 for a payload that cannot be encoded; 40030 when there is no message;
/// 90001 on a channel that is suspended or failed, or 80000, 80002, 80003 or 80017 in a state without a
/// connection to wait for (RTL6c4); 50003 when the service acknowledges nothing, or nobody connects the client,
/// within the connectionStateTtl (two minutes).
///
/// [`queue_messages`]: crate::ClientOptions::queue_messages
#[derive(Debug)]
#[must_use = "nothing is published until this is awaited or submitted"]
pub struct Publish {
    sender: Sender,
    outgoing: Outgoing,
    params: Params,
}

impl Publish {
    pub(crate) fn new(channel: &Channel, messages: Vec<Message>) -> Self {
        let outgoing = Outgoing::new(messages);
        Self { sender: Sender::new(channel), outgoing, params: Params::new() }
    }

    /// The id by which the service drops repetitions (TM2a). A single message gets it as it is; several
    /// messages get `id:0`, `id:1` and so on.
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.outgoing.id(&id.into());
        self
    }

    /// Publishes as this client, which a client without an identity of its own may (RTL6e1).
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

    /// Hands the messages to the client, and returns a receipt to be awaited later. Waits only while
    /// more than 64 MiB are unacknowledged.
    ///
    /// # Errors
    /// 40003 for extras that are no JSON object, 40013 for a payload that cannot be encoded, 40030 when there
    /// is no message, 80017 when the client has ended; the rest is the receipt's.
    pub async fn submit(self) -> Result<Receipt> {
        let Self { sender, outgoing, params } = self;
        sender.submit(outgoing.into_messages()?, params).await
    }
}

impl IntoFuture for Publish {
    type Output = Result<PublishResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.sender.handle.check_may_wait()?;
            self.submit().await?.await
        })
    }
}

/// What it takes to publish to a channel; less than a [`Channel`], since it is cloned for each publish.
#[derive(Debug)]
pub(super) struct Sender {
    handle: Handle,
    channel: Arc<ChannelShared>,
}

impl Sender {
    pub(super) fn new(channel: &Channel) -> Self {
        Self { handle: channel.handle.clone(), channel: Arc::clone(&channel.shared) }
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Hands messages to the driver, to go in one frame.
    pub(super) async fn submit(
        self,
        mut messages: Vec<Message>,
        params: Params,
    ) -> Result<Receipt> {
        let Self { handle, channel } = self;
        let options = channel.options();
        for message in &mut messages {
            payload::encode(message, options.cipher.as_ref())?;
        }
        let size = messages.iter().map(Message::size).sum();
        let permits = handle.take_window(size).await?;
        let (reply, answer) = oneshot::channel();
        handle.send(Command::Publish(command::Publish {
            channel: channel.id,
            messages: Arc::from(messages),
            params,
            permits,
            reply,
        }));
        Ok(Receipt { answer })
    }
}

/// A publish on its way: resolves with the serials of the messages once the service has accepted them
/// (RTL6j), or with why they were not published. Dropping it does not stop the publish.
#[derive(Debug)]
#[must_use = "without awaiting it nobody knows whether the publish succeeded"]
pub struct Receipt {
    answer: oneshot::Receiver<Result<PublishResult, ErrorInfo>>,
}

impl Future for Receipt {
    type Output = Result<PublishResult>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| match answer {
            Ok(result) => result.map_err(Error::from),
            Err(_) => Err(gone()),
        })
    }
}
