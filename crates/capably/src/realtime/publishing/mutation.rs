//! Published messages: reading a message and its versions, and changing it (RTL28, RTL31, RTL32).

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    task::{Context, Poll, ready},
};

use capably_protocol::{
    Message, MessageAction, MessageOperation, UpdateDeleteResult, frame::Params,
};

use super::publish::{Publisher, Receipt};
use crate::{
    Result,
    http::BoxFuture,
    realtime::Channel,
    rest::{MessageSerial, Query},
};

impl Channel {
    /// Replaces the content of a message when awaited. The serial identifies the message (RTL32).
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
    pub fn update_message(&self, message: Message) -> MessageChange {
        MessageChange::new(self, message, MessageAction::Update)
    }

    /// Deletes a message when awaited. The serial identifies the message (RTL32).
    pub fn delete_message(&self, message: Message) -> MessageChange {
        MessageChange::new(self, message, MessageAction::Delete)
    }

    /// Appends to a message when awaited. The serial identifies the message (RTL32). For many appends in a row,
    /// [`submit`](MessageChange::submit) each piece.
    pub fn append_message(&self, message: Message) -> MessageChange {
        MessageChange::new(self, message, MessageAction::Append)
    }

    /// Reads the latest version of a message over REST when awaited (RTL28).
    ///
    /// # Errors
    /// Code 40003 for an empty serial, 40400 when there is no such message, and the service's reason.
    pub fn get_message(
        &self,
        message: impl Into<MessageSerial>,
    ) -> BoxFuture<'static, Result<Message>> {
        self.rest_channel().get_message(message)
    }

    /// Reads the versions of a message over REST when awaited (RTL31).
    pub fn message_versions(&self, message: impl Into<MessageSerial>) -> Query<Message> {
        self.rest_channel().message_versions(message)
    }
}

/// A change of a published message, before it is sent.
///
/// Awaiting it sends the change, and returns once the service has accepted or refused it. Like a
/// [`MessagePublish`](super::MessagePublish), it waits for the connection, and is sent again after a reconnect. The
/// caller's message stays unchanged (RTL32c).
///
/// # Errors
/// 40003 for a message without a serial (RTL32a); 93002 on a channel whose messages cannot be changed; 40400
/// when there is no such message; 40160 without the right to change it; and the errors of a
/// [`MessagePublish`](super::MessagePublish).
#[derive(Debug)]
#[must_use = "nothing is changed until this is awaited or submitted"]
pub struct MessageChange {
    publisher: Publisher,
    message: Message,
    params: Params,
}

impl MessageChange {
    fn new(channel: &Channel, message: Message, action: MessageAction) -> Self {
        let message = Message { action: Some(action), version: None, ..message };
        Self { publisher: Publisher::new(channel), message, params: Params::new() }
    }

    /// Describes the change: its client id, a description, metadata (RTL32b2).
    pub fn operation(mut self, operation: MessageOperation) -> Self {
        self.message.version = Some(Box::new(operation.into()));
        self
    }

    /// Sets a publish parameter (RTL32e).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.insert(name.into(), value.to_string());
        self
    }

    /// Submits the change to the client, and returns a receipt to await later. Changes are sent in the order in
    /// which they are submitted or first polled.
    ///
    /// # Errors
    /// 40003 for a message without a serial, 40013 for a payload that cannot be encoded, 80017 when the client
    /// has ended. The receipt returns all other errors.
    pub async fn submit(self) -> Result<ChangeReceipt> {
        let Self { publisher, message, params } = self;
        MessageSerial::from(&message).get()?;
        Ok(ChangeReceipt { receipt: publisher.submit(vec![message], params).await? })
    }
}

impl IntoFuture for MessageChange {
    type Output = Result<UpdateDeleteResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            self.publisher.handle.check_may_wait()?;
            self.submit().await?.await
        })
    }
}

/// A change in flight. It resolves with the serial of the new version once the service has accepted it (RTL32d), or
/// with the reason why it did not. Dropping it does not stop the change.
#[derive(Debug)]
#[must_use = "without awaiting it, a failure of the change goes unnoticed"]
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
