//! Messages that were published: reading one, its versions, changing it (RTL28, RTL31, RTL32).

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

use capably_protocol::{
    Message, MessageAction, MessageOperation, UpdateDeleteResult, frame::Params,
};

use crate::realtime::{
    Channel,
    publishing::publish::{Receipt, Sender},
};
use crate::{
    Result,
    http::BoxFuture,
    rest::{MessageSerial, Query},
};

impl Channel {
    /// Replaces what a message holds when it is awaited; its serial says which message (RTL32).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use capably::{ClientOptions, Realtime, Rest, http::HttpMethod};
    /// # let server = capably_server::Server::builder().start().await?;
    /// # let options = |key: &str| {
    /// #     ClientOptions::new(key).endpoint(server.endpoint()).port(server.port()).tls(false)
    /// # };
    /// # let app = serde_json::json!({
    /// #     "keys": [{}], "namespaces": [{ "id": "mutable", "mutableMessages": true }],
    /// # });
    /// # let owner = Rest::new(options(server.key()))?;
    /// # let app = owner.request(HttpMethod::Post, "/apps").body(app).await?;
    /// # let key = app.items()[0]["keys"][0]["keyStr"].as_str().ok_or("a key")?;
    /// # let client = Realtime::connect(options(key)).await?;
    /// use capably::{Message, MessageAction};
    ///
    /// let channel = client.channels().get("mutable:notes");
    /// let mut messages = channel.subscribe().await?;
    /// channel.publish("note", "corected").await?;
    /// let note = messages.next().await.ok_or("the subscription ended")?;
    ///
    /// channel.update_message(Message { data: "corrected".into(), ..note }).await?;
    /// let updated = messages.next().await.ok_or("the subscription ended")?;
    /// assert_eq!(updated.action, Some(MessageAction::Update));
    /// assert_eq!(updated.data.as_str(), Some("corrected"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_message(&self, message: Message) -> ChangeMessage {
        ChangeMessage::new(self, message, MessageAction::Update)
    }

    /// Deletes a message when it is awaited; its serial says which message (RTL32).
    pub fn delete_message(&self, message: Message) -> ChangeMessage {
        ChangeMessage::new(self, message, MessageAction::Delete)
    }

    /// Appends to a message when it is awaited; its serial says which message (RTL32). To append much in a
    /// row, [`submit`](ChangeMessage::submit) each piece.
    pub fn append_message(&self, message: Message) -> ChangeMessage {
        ChangeMessage::new(self, message, MessageAction::Append)
    }

    /// Reads the latest version of a message over REST when it is awaited (RTL28).
    ///
    /// # Errors
    /// Code 40003 for an empty serial, 40400 when there is no such message, and what the service says.
    pub fn get_message(
        &self,
        message: impl Into<MessageSerial>,
    ) -> BoxFuture<'static, Result<Message>> {
        self.rest_channel().get_message(message)
    }

    /// Reads the versions of a message over REST when it is awaited (RTL31).
    pub fn message_versions(&self, message: impl Into<MessageSerial>) -> Query<Message> {
        self.rest_channel().message_versions(message)
    }
}

/// A change of a message.
///
/// Awaiting it sends the change, and returns once the service has accepted or refused. It waits for the
/// connection, and is sent again after a drop, as a [`Publish`](super::Publish) is. The message itself stays as
/// it is with the caller (RTL32c).
///
/// # Errors
/// 40003 for a message without a serial (RTL32a); 93002 on a channel whose messages cannot be changed; 40400
/// when there is no such message; 40160 without the right to change it; and as for a
/// [`Publish`](super::Publish).
#[derive(Debug)]
#[must_use = "nothing is changed until this is awaited or submitted"]
pub struct ChangeMessage {
    sender: Sender,
    message: Message,
    params: Params,
}

impl ChangeMessage {
    fn new(channel: &Channel, message: Message, action: MessageAction) -> Self {
        let message = Message { action: Some(action), version: None, ..message };
        Self { sender: Sender::new(channel), message, params: Params::new() }
    }

    /// Who changes it, and why (RTL32b2).
    pub fn operation(mut self, operation: MessageOperation) -> Self {
        self.message.version = Some(Box::new(operation.into()));
        self
    }

    /// Sets a publish parameter (RTL32e).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.insert(name.into(), value.to_string());
        self
    }

    /// Hands the change to the client, and returns a receipt to be awaited later. Changes leave in the order
    /// in which they are submitted or first awaited.
    ///
    /// # Errors
    /// 40003 for a message without a serial, 40013 for a payload that cannot be encoded, 80017 when the client
    /// has ended; the rest is the receipt's.
    pub async fn submit(self) -> Result<ChangeReceipt> {
        let Self { sender, message, params } = self;
        MessageSerial::from(&message).get()?;
        Ok(ChangeReceipt { receipt: sender.submit(vec![message], params).await? })
    }
}

impl IntoFuture for ChangeMessage {
    type Output = Result<UpdateDeleteResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.sender.handle().check_may_wait()?;
            self.submit().await?.await
        })
    }
}

/// A change on its way: resolves with the serial of the version that it makes, once the service has accepted it
/// (RTL32d), or with why it did not. Dropping it does not stop the change.
#[derive(Debug)]
#[must_use = "without awaiting it nobody knows whether the change succeeded"]
pub struct ChangeReceipt {
    receipt: Receipt,
}

impl Future for ChangeReceipt {
    type Output = Result<UpdateDeleteResult>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.receipt).poll(cx));
        Poll::Ready(result.map(|result| UpdateDeleteResult {
            version_serial: result.serials.into_iter().next().flatten(),
        }))
    }
}
