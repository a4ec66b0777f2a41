//! Publishing over REST (RSL1).

use std::sync::Arc;

use capably_protocol::{ErrorCode, Message, PublishResult, Str, codec::encode_messages};
use serde::Deserialize;
use serde_json::Value;

use super::{call::Call, channel::RestChannel};
use crate::{Error, Result, http::BoxFuture, outgoing::Outgoing, payload, random};

/// A publish of one or more messages in one request, before it is sent. Awaiting it publishes the messages.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = capably_server::Server::builder().start().await?;
/// # let options = capably::ClientOptions::new(server.key())
/// #     .endpoint(server.endpoint()).port(server.port()).tls(false);
/// # let rest = capably::Rest::new(options)?;
/// let channel = rest.channels().get("greetings");
/// let result = channel.publish("greeting", "hello").client_id("ada").await?;
/// println!("published as {:?}", result.serials);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// 40003 for extras that are not a JSON object; 40009 for messages that together are larger than
/// [`max_message_size`](crate::ClientOptions::max_message_size) (RSL1i); 40013 for a payload that cannot be encoded
/// (RSL4a); 40030 without any message; the service's reason.
#[derive(Clone, Debug)]
#[must_use = "nothing is published until this is awaited"]
pub struct RestPublish {
    channel: RestChannel,
    outgoing: Outgoing,
    params: Vec<(String, String)>,
}

impl RestPublish {
    pub(crate) fn new(channel: RestChannel, messages: Vec<Message>) -> Self {
        Self { channel, outgoing: Outgoing::new(messages.into()), params: Vec::new() }
    }

    /// Makes the publish fail with this error.
    pub(crate) fn failing(mut self, error: Error) -> Self {
        self.outgoing.fail(error);
        self
    }

    /// Sets the id: a second publish with the same id has no effect (RSL1k2). A single message gets the id itself;
    /// several messages get `id:0`, `id:1` and so on.
    pub fn id(mut self, id: impl Into<Str>) -> Self {
        self.outgoing.id(&id.into());
        self
    }

    /// Publishes on behalf of this client. The credentials must allow any client id (RSL1m).
    pub fn client_id(mut self, client_id: impl Into<Str>) -> Self {
        self.outgoing.client_id(&client_id.into());
        self
    }

    /// Adds metadata to each message: a JSON object, such as `json!({"headers": {"priority": 1}})` (TM2i).
    pub fn extras(mut self, extras: impl Into<Value>) -> Self {
        self.outgoing.extras(extras.into());
        self
    }

    /// Adds a parameter to the request's query (RSL1l).
    pub fn param(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.params.push((name.into(), value.to_string()));
        self
    }

    async fn send(self) -> Result<PublishResult> {
        let Self { channel, outgoing, params } = self;
        let mut messages = outgoing.into_messages()?;
        let messages = Arc::make_mut(&mut messages);
        let pipeline = channel.pipeline();
        let options = &pipeline.config().options;
        check_size(messages, options.max_message_size)?;
        if options.idempotent_rest_publishing {
            add_ids(messages)?;
        }
        let cipher = channel.cipher();
        for message in &mut *messages {
            payload::encode(message, cipher.as_ref())?;
        }
        let body = encode_messages(pipeline.config().format(), messages);
        let mut call = Call::post(channel.path("messages"), body);
        for (name, value) in &params {
            call = call.param(name, value);
        }
        let published: PublishReply = pipeline.send(&call).await?.decode()?;
        let serials = published.serials.into_iter().map(|serial| serial.map(Str::from)).collect();
        Ok(PublishResult::new(serials))
    }
}

impl IntoFuture for RestPublish {
    type Output = Result<PublishResult>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The part of the reply that the result contains (RSL1n).
#[derive(Deserialize)]
struct PublishReply {
    #[serde(default)]
    serials: Vec<Option<String>>,
}

/// The size counts before the payloads are encoded (TM6).
fn check_size(messages: &[Message], limit: usize) -> Result<()> {
    let size: usize = messages.iter().map(Message::size).sum();
    if size <= limit {
        return Ok(());
    }
    let message =
        format!("a publish of {size} bytes is more than the limit of {limit} (`max_message_size`)");
    Err(Error::new(ErrorCode::MAX_MESSAGE_SIZE_EXCEEDED, 400, message))
}

/// Sets ids with a common random base, unless a message has an id (RSL1k1, RSL1k3).
pub(crate) fn add_ids(messages: &mut [Message]) -> Result<()> {
    let has_id = |message: &Message| message.id.as_ref().is_some_and(|id| !id.is_empty());
    if messages.iter().any(has_id) {
        return Ok(());
    }
    let base = random::id()?;
    for (index, message) in messages.iter_mut().enumerate() {
        message.id = Some(format!("{base}:{index}").into());
    }
    Ok(())
}
